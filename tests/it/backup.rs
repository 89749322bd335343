//! Exports on a schedule: what is kept, and that all of it can be restored.

use std::path::PathBuf;
use std::process::Output;

use mongodb::bson::{Document, doc};

use crate::support::{docferry, shown, write_dump};

const PIPELINE: &str = "version = 1\nname = \"nightly\"\n";

struct Nights {
    folder: tempfile::TempDir,
}

impl Nights {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("nightly.toml"), PIPELINE).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn dump(&self, documents: &[Document]) {
        write_dump(&self.path("dump/shop"), "orders", documents);
    }

    /// A command at a moment.
    fn at(&self, time: &str, arguments: &[&str]) -> Output {
        let mut command = docferry();
        command.args(arguments).arg("--staging").arg(self.path("staging"));
        command.env("DOCFERRY_CLOCK", time).output().unwrap()
    }

    fn backup(&self, time: &str, keep: &[&str]) -> Output {
        let (pipeline, dump) = (self.path("nightly.toml"), self.path("dump/shop"));
        let mut arguments = vec!["backup", pipeline.to_str().unwrap(), "--source"];
        arguments.push(dump.to_str().unwrap());
        arguments.extend(keep);
        self.at(time, &arguments)
    }

    /// Ids of the runs that are there.
    fn runs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("staging/nightly")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("20")).collect();
        names.sort();
        names
    }
}

#[test]
fn forty_nights_leave_what_the_rules_say_and_all_of_it_restores() {
    let nights = Nights::new();
    let keep =
        ["--keep-last", "2", "--keep-daily", "7", "--keep-weekly", "3", "--keep-monthly", "2"];
    let mut documents: Vec<Document> = (0..50).map(|n| doc! {"_id": n, "night": 0}).collect();
    let mut contents = std::collections::BTreeMap::new();
    // From Thursday 1 October 2026, at half past one.
    for night in 1..=40 {
        documents.retain(|document| document.get_i32("_id").unwrap() % 40 != night % 40 - 1);
        documents.push(doc! {"_id": 1000 + night, "night": night});
        for document in documents
            .iter_mut()
            .filter(|document| document.get_i32("_id").unwrap() % 7 == night % 7)
        {
            document.insert("night", night);
        }
        let (month, day) = if night <= 31 { (10, night) } else { (11, night - 31) };
        let fails = [9, 23, 40].contains(&night);
        if fails {
            std::fs::remove_dir_all(nights.path("dump/shop")).unwrap();
            std::fs::create_dir_all(nights.path("dump/shop")).unwrap();
            // A dump that lost its documents; an empty folder would be no source, and no run begun.
            std::fs::write(nights.path("dump/shop/orders.metadata.json"), "{}").unwrap();
        } else {
            nights.dump(&documents);
        }
        let before = if night > 1 { nights.runs() } else { Vec::new() };
        let output = nights.backup(&format!("2026-{month}-{day:02}T01:30:00Z"), &keep);
        assert_eq!(output.status.success(), !fails, "night {night}: {}", shown(&output));
        if fails {
            // It costs none of those that are there.
            let after = nights.runs();
            assert!(before.iter().all(|run| after.contains(run)), "{before:?} {after:?}");
        } else {
            let run = format!("2026{month}{day:02}T013000Z");
            contents.insert(run, documents.clone());
        }
    }
    let runs = nights.runs();
    // Days: 33 to 39. Weeks: those of 8 November (Sunday), 1 November and 25 October. Months:
    // November and October. Nights of which nothing could be read have no run.
    assert_eq!(
        runs,
        [
            "20261025T013000Z",
            "20261031T013000Z",
            "20261101T013000Z",
            "20261102T013000Z",
            "20261103T013000Z",
            "20261104T013000Z",
            "20261105T013000Z",
            "20261106T013000Z",
            "20261107T013000Z",
            "20261108T013000Z",
        ]
    );
    for run in &runs {
        let output = nights.at("2026-11-10T00:00:00Z", &["audit", run, "--read-data"]);
        assert!(output.status.success(), "{run}: {}", shown(&output));
        let to = nights.path(run);
        let output =
            nights.at("2026-11-10T00:00:00Z", &["restore", run, "--to", to.to_str().unwrap()]);
        assert!(output.status.success(), "{run}: {}", shown(&output));
        let bytes = std::fs::read(to.join("shop/orders.bson")).unwrap();
        let mut rest = bytes.as_slice();
        let mut found = Vec::new();
        while !rest.is_empty() {
            found.push(Document::from_reader(&mut rest).unwrap());
        }
        assert_eq!(&found, &contents[run], "{run}");
    }
}

#[test]
fn rules_are_tried_before_anything_is_removed() {
    let nights = Nights::new();
    nights.dump(&[doc! {"_id": 1}]);
    for day in 1..=3 {
        let output = nights.backup(&format!("2026-11-0{day}T01:30:00Z"), &[]);
        assert!(output.status.success(), "{}", shown(&output));
    }
    let pipeline = nights.path("nightly.toml");
    let prune = |more: &[&str]| {
        nights.at("2026-11-04T00:00:00Z", &[&["prune", pipeline.to_str().unwrap()], more].concat())
    };
    assert_eq!(prune(&[]).status.code(), Some(2));
    let output = prune(&["--keep-last", "1", "--dry-run"]);
    assert!(shown(&output).contains("2 of 3 runs would be removed"), "{}", shown(&output));
    assert_eq!(nights.runs().len(), 3);
    let output = nights.at("2026-11-04T00:00:00Z", &["runs", pipeline.to_str().unwrap(), "--json"]);
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["runs"][2]["documents"], 1);
    let output = prune(&["--keep-last", "1"]);
    assert!(shown(&output).contains("20261103T013000Z: kept, last 1"), "{}", shown(&output));
    assert_eq!(nights.runs(), ["20261103T013000Z"]);

    // One that is being read stays until that has ended.
    assert!(nights.backup("2026-11-04T01:30:00Z", &[]).status.success());
    let reader = std::fs::File::open(nights.path("staging/nightly/20261103T013000Z")).unwrap();
    reader.lock_shared().unwrap();
    let output = prune(&["--keep-last", "1"]);
    assert!(shown(&output).contains("another process reads it"), "{}", shown(&output));
    drop(reader);
    assert!(prune(&["--keep-last", "1"]).status.success());
    assert_eq!(nights.runs(), ["20261104T013000Z"]);

    // A run that cannot be read may hold what can be saved: it is named, not removed.
    assert!(nights.backup("2026-11-05T01:30:00Z", &[]).status.success());
    std::fs::write(nights.path("staging/nightly/20261104T013000Z/export/manifest.json"), "{")
        .unwrap();
    let output = prune(&["--keep-last", "1"]);
    assert!(shown(&output).contains("its export cannot be read"), "{}", shown(&output));
    assert_eq!(nights.runs().len(), 2);
}

#[test]
fn two_nights_at_once_are_one_night() {
    let nights = Nights::new();
    nights
        .dump(&(0..200_000).map(|n| doc! {"_id": n, "text": "x".repeat(200)}).collect::<Vec<_>>());
    let (pipeline, dump, staging) =
        (nights.path("nightly.toml"), nights.path("dump/shop"), nights.path("staging"));
    let start = || {
        std::process::Command::new(assert_cmd::cargo::cargo_bin!("docferry"))
            .args(["backup", pipeline.to_str().unwrap(), "--source", dump.to_str().unwrap()])
            .args(["--staging", staging.to_str().unwrap()])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut both = [start(), start()];
    let mut codes = both.each_mut().map(|child| child.wait().unwrap().code());
    codes.sort();
    assert_eq!(codes, [Some(0), Some(11)]);
    assert_eq!(nights.runs().len(), 1);
}
