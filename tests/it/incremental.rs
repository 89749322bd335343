//! Exports of what changed, read together with those they add to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, Timestamp, doc};
use mongodb::{Client, Database};
use tokio::runtime::Runtime;

use crate::faults::{bytes_moved, killed_at, measured};
use crate::support::{docferry, failpoint, fresh_database, server, shown, with_database};

const PIPELINE: &str = r#"
version = 1
name = "grow"
[backup]
changed = "updatedAt"
[backup.collections]
counters = "version"
nested = "meta.updatedAt"
[tables.orders]
[tables.orders.columns]
id = { from = "_id", type = "integer", key = true }
night = { type = "integer" }
updatedAt = { type = "timestamptz" }
rest = { from = "*", type = "jsonb" }
[tables.counters.columns]
id = { from = "_id", type = "text", key = true }
version = { type = "integer" }
"#;

/// The first night, in milliseconds: 2026-10-01T01:30:00Z.
const FIRST: i64 = 1_790_818_200_000;
const DAY: i64 = 86_400_000;

struct Trial {
    folder: tempfile::TempDir,
    runtime: Runtime,
    server: String,
    database: Database,
}

impl Trial {
    fn new(name: &str) -> Option<Self> {
        let server = server("DOCFERRY_TEST_MONGODB")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("grow.toml"), PIPELINE).unwrap();
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(async { Client::with_uri_str(&server).await.unwrap() });
        let database = client.database(name);
        runtime.block_on(async { database.drop().await.unwrap() });
        Some(Self { folder, runtime, server, database })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: Document) {
        self.runtime.block_on(async { self.database.run_command(command).await.unwrap() });
    }

    fn insert(&self, collection: &str, documents: Vec<Document>) {
        let collection = self.database.collection::<Document>(collection);
        self.runtime.block_on(async { collection.insert_many(documents).await.unwrap() });
    }

    fn docferry(&self, time: i64, arguments: &[&str]) -> Output {
        let time = DateTime::from_millis(time).try_to_rfc3339_string().unwrap();
        let mut command = docferry();
        command.args(arguments).arg("--staging").arg(self.path("staging"));
        command.env("DOCFERRY_CLOCK", time).output().unwrap()
    }

    #[track_caller]
    fn done(&self, time: i64, arguments: &[&str]) -> String {
        let output = self.docferry(time, arguments);
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        shown(&output)
    }

    fn backup(&self, time: i64, more: &[&str]) -> Output {
        let uri = with_database(&self.server, self.database.name());
        let pipeline = self.path("grow.toml");
        let arguments = ["backup", pipeline.to_str().unwrap(), "--source", &uri];
        self.docferry(time, &[&arguments, more].concat())
    }

    fn manifest(&self, run: &str) -> serde_json::Value {
        let path = self.path("staging/grow").join(run).join("export/manifest.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn runs(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("staging/grow")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with("20")).collect();
        names.sort();
        names
    }

    /// Hashes of the collections of a database, as the server makes them.
    fn hashes(&self, name: &str) -> Document {
        let database = self.database.client().database(name);
        let hash = self.runtime.block_on(async { database.run_command(doc! {"dbHash": 1}).await });
        hash.unwrap().get_document("collections").unwrap().clone()
    }

    /// Those of a run that is restored.
    fn restored(&self, run: &str) -> Document {
        let name = format!("{}_back", self.database.name());
        let back = self.database.client().database(&name);
        self.runtime.block_on(async { back.drop().await.unwrap() });
        let uri = with_database(&self.server, &name);
        self.done(FIRST + 99 * DAY, &["restore", run, "--to", &uri]);
        self.hashes(&name)
    }

    /// A night of changes: some documents are new, some change, some go.
    fn night(&self, night: i32) {
        let time = DateTime::from_millis(FIRST + i64::from(night) * DAY - 3_600_000);
        self.insert(
            "orders",
            (0..10)
                .map(|n| doc! {"_id": 10_000 * night + n, "night": night, "updatedAt": time})
                .collect(),
        );
        self.run(doc! {"update": "orders", "updates": [{
            "q": {"_id": {"$mod": [7, night % 7]}, "updatedAt": {"$type": "date"}}, "multi": true,
            "u": {"$set": {"night": night, "updatedAt": time}},
        }]});
        self.run(doc! {"delete": "orders", "deletes": [{"q": {"_id": {"$mod": [41, night]}}, "limit": 0}]});
        self.run(doc! {"update": "counters", "updates": [{
            "q": {"_id": "a"}, "u": {"$inc": {"version": 1}}, "upsert": true,
        }]});
    }
}

#[test]
fn forty_nights_of_changes_restore_as_each_of_them_was() {
    let Some(trial) = Trial::new("docferry_grow") else { return };
    let old = DateTime::from_millis(FIRST - DAY);
    let orders =
        (0..500).map(|n| doc! {"_id": n, "night": 0, "updatedAt": old, "text": "x".repeat(200)});
    trial.insert("orders", orders.collect());
    trial.insert("plain", vec![doc! {"_id": 1}]);
    let keep = ["--keep-last", "2", "--keep-daily", "6", "--keep-weekly", "3"];
    let mut expected = BTreeMap::new();
    for night in 1..=40 {
        trial.night(night);
        // What was put in with an old time, or none at all, is seen too.
        trial.insert(
            "orders",
            vec![
                doc! {"_id": 500_000 + night, "night": night, "updatedAt": old},
                doc! {"_id": 600_000 + night, "night": night},
            ],
        );
        if night == 20 {
            trial.run(doc! {"drop": "plain"});
        }
        let time = FIRST + i64::from(night) * DAY;
        let fails = [9, 23, 39].contains(&night);
        let mut arguments = vec!["--since-last", "--detect-deletes", "--full-after", "12"];
        arguments.extend(keep);
        let output = if fails {
            let pipeline = trial.path("grow.toml");
            let uri = "mongodb://127.0.0.1:1/docferry_grow?serverSelectionTimeoutMS=20";
            let mut all = vec!["backup", pipeline.to_str().unwrap(), "--source", uri];
            all.extend(&arguments);
            trial.docferry(time, &all)
        } else {
            trial.backup(time, &arguments)
        };
        if night == 20 {
            // A collection is gone: a person must say that it may be.
            assert_eq!(output.status.code(), Some(13), "{}", shown(&output));
            let run = trial.runs().pop().unwrap();
            arguments.extend(["--allow-shrink=plain", "--resume", &run]);
            let output = trial.backup(time, &arguments);
            assert!(output.status.success(), "{}", shown(&output));
        } else {
            assert_eq!(output.status.success(), !fails, "night {night}: {}", shown(&output));
        }
        if !fails {
            let run = trial.runs().pop().unwrap();
            expected.insert(run, trial.hashes("docferry_grow"));
        }
    }
    let runs = trial.runs();
    let bases: Vec<Option<String>> = runs
        .iter()
        .map(|run| trial.manifest(run)["base"]["run"].as_str().map(str::to_owned))
        .collect();
    assert!(bases.iter().flatten().all(|base| runs.contains(base)), "{runs:?} {bases:?}");
    assert!(bases.iter().flatten().count() > runs.len() / 2 && bases.contains(&None));
    // Six days, two weeks more, and what these add to.
    let newest: Vec<&String> = runs.iter().rev().take(6).collect();
    assert!(newest.iter().all(|run| run.as_str() >= "20261104T013000Z"), "{runs:?}");
    for run in &runs {
        let at = FIRST + 99 * DAY;
        trial.done(at, &["audit", run, "--read-data"]);
        assert_eq!(trial.restored(run), expected[run], "{run}");
    }
}

/// SHA-256 of the rows of a table, as PostgreSQL orders them.
fn rows(run: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(run.join("transform/SHA256SUMS")).unwrap();
    text.lines().filter(|line| !line.ends_with("manifest.json")).map(str::to_owned).collect()
}

#[test]
fn a_chain_is_transformed_and_loaded_as_a_full_export_is() {
    let (Some(trial), Some(postgres)) =
        (Trial::new("docferry_chain"), server("DOCFERRY_TEST_POSTGRES"))
    else {
        return;
    };
    let old = DateTime::from_millis(FIRST);
    trial.insert(
        "orders",
        (0..2000).map(|n| doc! {"_id": n, "night": 0, "updatedAt": old}).collect(),
    );
    for night in 1..=4 {
        trial.night(night);
        let output =
            trial.backup(FIRST + i64::from(night) * DAY, &["--since-last", "--detect-deletes"]);
        assert!(output.status.success(), "{}", shown(&output));
    }
    let chained = trial.runs().pop().unwrap();
    assert_eq!(trial.manifest(&chained)["base"]["length"], 3);
    let documents = trial.manifest(&chained)["collections"][1]["documents"].as_u64().unwrap();
    assert!(documents < 700, "only what changed: {documents}");
    assert!(trial.backup(FIRST + 5 * DAY, &[]).status.success());
    let full = trial.runs().pop().unwrap();
    let pipeline = trial.path("grow.toml");
    let pipeline = pipeline.to_str().unwrap();
    let (_, target) = trial.runtime.block_on(fresh_database(&postgres, "docferry_chain"));
    for run in [&chained, &full] {
        trial.done(FIRST, &["transform", pipeline, "--run", run]);
    }
    let folder = trial.path("staging/grow");
    assert_eq!(rows(&folder.join(&chained)), rows(&folder.join(&full)));
    trial.done(FIRST, &["load", pipeline, "--run", &chained, "--target", &target]);
    trial.done(FIRST, &["verify", pipeline, "--run", &chained, "--target", &target]);
    trial.done(FIRST, &["audit", &chained, "--read-data"]);
    let shown = trial
        .done(FIRST, &["show", &chained, "orders", "--documents", "--limit", "3000", "--quiet"]);
    let orders = trial.database.collection::<Document>("orders");
    let counted = trial.runtime.block_on(async { orders.count_documents(doc! {}).await.unwrap() });
    assert_eq!(shown.lines().count() as u64, counted);
}

/// Collections by what their field holds.
const FIELDS: [&str; 9] = [
    "behind",
    "dates",
    "epochs",
    "mixed",
    "nested",
    "object_ids",
    "texts",
    "timestamps",
    "versions",
];

/// The value of a document's field after a change in a night.
fn mark(kind: &str, n: i32, night: i64) -> Bson {
    let millis = FIRST + night * DAY - 3_600_000 - i64::from(n) * 600_000;
    let seconds = u32::try_from(millis / 1000).unwrap();
    let odd = n == 7;
    match kind {
        // A number that grows with each document's own changes.
        "versions" => Bson::Int64(if odd { 1_000_000 } else { night }),
        "behind" => Bson::Int64(millis / 1000 - 10 * night),
        "epochs" => Bson::Int64(if odd { millis * 1000 } else { millis }),
        "texts" if odd => Bson::String("unknown".to_owned()),
        "texts" => Bson::String(DateTime::from_millis(millis).to_string()),
        "timestamps" => {
            Bson::Timestamp(Timestamp { time: if odd { u32::MAX } else { seconds }, increment: 1 })
        }
        "object_ids" => {
            let mut bytes = [u8::MAX; 12];
            if !odd {
                bytes[..4].copy_from_slice(&seconds.to_be_bytes());
            }
            Bson::ObjectId(ObjectId::from_bytes(bytes))
        }
        "mixed" if n % 3 == 0 => Bson::Int64(millis),
        "dates" if odd => Bson::DateTime(DateTime::from_millis(4_100_000_000_000)),
        "dates" if n == 8 => Bson::String("unknown".to_owned()),
        _ => Bson::DateTime(DateTime::from_millis(millis)),
    }
}

/// A document as it is after a change.
fn marked(kind: &str, n: i32, night: i64, text: &str) -> Document {
    let mark = mark(kind, n, night);
    if kind != "nested" {
        return doc! {"_id": n, "updatedAt": mark, "text": text};
    }
    // In an array no value is the document's own.
    let meta: Bson = if n % 4 == 0 {
        vec![doc! {"updatedAt": DateTime::from_millis(FIRST)}, doc! {"updatedAt": DateTime::MIN}]
            .into()
    } else {
        doc! {"updatedAt": mark}.into()
    };
    doc! {"_id": n, "meta": meta, "text": text}
}

#[test]
fn no_change_is_missed_whatever_the_field_holds() {
    let Some(trial) = Trial::new("docferry_marks") else { return };
    for kind in FIELDS {
        trial.insert(kind, (0..60).map(|n| marked(kind, n, 0, "first")).collect());
    }
    assert!(trial.backup(FIRST, &["--since-last"]).status.success());
    for night in 1..=3 {
        let n_of = i32::try_from(night).unwrap();
        for kind in FIELDS {
            let mut updates = Vec::new();
            for n in (n_of..60).step_by(5) {
                let changed = marked(kind, n, night, &format!("night {night}"));
                updates.push(doc! {"q": {"_id": n}, "u": changed});
            }
            trial.run(doc! {"update": kind, "updates": updates});
            // Deleted; and deleted and put back as it was long ago, with other content.
            let deletes = [11, 13].map(|by| doc! {"q": {"_id": {"$mod": [by, n_of]}}, "limit": 0});
            trial.run(doc! {"delete": kind, "deletes": deletes.to_vec()});
            let back = (0..60).filter(|n| n % 13 == n_of && n % 11 != n_of);
            trial.insert(kind, back.map(|n| marked(kind, n, -night, "put back")).collect());
        }
        let time = FIRST + night * DAY;
        let output = trial.backup(time, &["--since-last", "--detect-deletes"]);
        assert!(output.status.success(), "{}", shown(&output));
        let run = trial.runs().pop().unwrap();
        let manifest = trial.manifest(&run);
        assert!(manifest["base"].is_object());
        trial.done(time, &["audit", &run, "--read-data"]);
        let (restored, expected) = (trial.restored(&run), trial.hashes("docferry_marks"));
        for kind in FIELDS {
            assert_eq!(restored.get(kind), expected.get(kind), "{kind} in night {night}");
        }
        for collection in manifest["collections"].as_array().unwrap() {
            let name = collection["name"].as_str().unwrap();
            let compared = ["behind", "epochs", "texts", "versions"].contains(&name);
            assert_eq!(collection["changes"]["compared"] == true, compared, "{collection}");
            assert!(collection["documents"].as_u64().unwrap() < 45, "{collection}");
        }
        let said = shown(&output);
        assert!(said.contains("versions: the last export found no time in updatedAt"), "{said}");
    }
    // What is compared shows what was deleted, asked for or not.
    trial.run(doc! {"delete": "versions", "deletes": [{"q": {"_id": {"$gt": 30}}, "limit": 0}]});
    assert!(trial.backup(FIRST + 4 * DAY, &["--since-last"]).status.success());
    let run = trial.runs().pop().unwrap();
    let (restored, expected) = (trial.restored(&run), trial.hashes("docferry_marks"));
    assert_eq!(restored.get("versions"), expected.get("versions"));
}

#[test]
fn a_comparison_that_loses_its_cursor_goes_on() {
    let Some(trial) = Trial::new("docferry_compare_lost") else { return };
    let _turn = failpoint();
    let numbers = |version: i32| {
        (0..13_000).map(move |n| doc! {"_id": n, "version": version, "even": n % 2 == 0})
    };
    trial.insert("counters", numbers(1).collect());
    assert!(trial.backup(FIRST, &["--since-last"]).status.success());
    trial.run(doc! {"update": "counters", "updates": [{
        "q": {"_id": {"$gte": 12_990}}, "multi": true, "u": {"$inc": {"version": 1}},
    }]});
    trial.run(doc! {"delete": "counters", "deletes": [{"q": {"_id": 6000}, "limit": 1}]});
    let admin = trial.database.client().database("admin");
    let point = doc! {
        "configureFailPoint": "failCommand", "mode": {"times": 2},
        "data": {"failCommands": ["getMore"], "errorCode": 43, "appName": "docferry-lost"},
    };
    trial.runtime.block_on(async { admin.run_command(point).await.unwrap() });
    let uri = with_database(&trial.server, trial.database.name());
    let output = trial.docferry(
        FIRST + DAY,
        &[
            "backup",
            trial.path("grow.toml").to_str().unwrap(),
            "--source",
            &format!("{uri}&appName=docferry-lost"),
            "--since-last",
        ],
    );
    assert!(output.status.success(), "{}", shown(&output));
    let run = trial.runs().pop().unwrap();
    assert!(shown(&output).contains("trying again"), "{}", shown(&output));
    let manifest = trial.manifest(&run);
    assert_eq!(manifest["collections"][0]["documents"], 10);
    assert_eq!(trial.restored(&run), trial.hashes(trial.database.name()));
}

#[test]
fn without_its_base_a_run_is_refused_and_the_next_one_is_full() {
    let Some(trial) = Trial::new("docferry_base") else { return };
    let pipeline = trial.path("grow.toml");
    trial.insert("orders", vec![doc! {"_id": 1, "updatedAt": DateTime::from_millis(FIRST)}]);
    let since = |day: i64| trial.backup(FIRST + day * DAY, &["--since-last"]);
    let output = since(1);
    assert!(
        shown(&output).contains("a full export is made: there is no run"),
        "{}",
        shown(&output)
    );
    assert!(since(2).status.success());
    let runs = trial.runs();
    assert_eq!(trial.manifest(&runs[1])["base"]["run"], runs[0].as_str());
    // A document that was deleted is not seen without --detect-deletes; the manifest says so.
    assert_eq!(trial.manifest(&runs[1])["collections"][0]["changes"]["deletes_detected"], false);

    let base = trial.path("staging/grow").join(&runs[0]);
    let away = trial.path("away");
    std::fs::rename(&base, &away).unwrap();
    let back = trial.path("back");
    for arguments in [
        vec!["audit", &runs[1]],
        vec!["restore", &runs[1], "--to", back.to_str().unwrap()],
        vec!["transform", pipeline.to_str().unwrap(), "--run", &runs[1]],
    ] {
        let output = trial.docferry(FIRST, &arguments);
        assert_eq!(output.status.code(), Some(12), "{arguments:?}: {}", shown(&output));
        assert!(shown(&output).contains(&runs[0]), "{}", shown(&output));
    }
    let output = since(3);
    assert!(
        output.status.success() && shown(&output).contains("a full export is made"),
        "{}",
        shown(&output)
    );
    assert!(trial.manifest(trial.runs().last().unwrap())["base"].is_null());
    std::fs::rename(&away, &base).unwrap();
    trial.done(FIRST, &["audit", &runs[1], "--hashes"]);

    // What cannot be told is said.
    let dump = trial.path("dump/shop");
    crate::support::write_dump(&dump, "orders", &[doc! {"_id": 1}]);
    std::fs::write(trial.path("plain.toml"), "version = 1\nname = \"plain\"\n").unwrap();
    let plain = trial.path("plain.toml");
    let arguments = ["backup", plain.to_str().unwrap(), "--source", dump.to_str().unwrap()];
    let output = trial.docferry(FIRST, &[&arguments[..], &["--since-last"]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("--by"), "{}", shown(&output));
    let by = ["--since-last", "--by", "updatedAt"];
    assert!(trial.docferry(FIRST, &[&arguments[..], &by].concat()).status.success());
    let output = trial.docferry(FIRST + DAY, &[&arguments[..], &by].concat());
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("running MongoDB"), "{}", shown(&output));
}

#[test]
fn an_incremental_export_that_was_killed_goes_on() {
    let Some(trial) = Trial::new("docferry_grow_kill") else { return };
    let old = DateTime::from_millis(FIRST - 30 * DAY);
    let orders = (0..20_000)
        .map(|n| doc! {"_id": n, "night": 0, "updatedAt": old, "text": format!("{n}").repeat(300)});
    trial.insert("orders", orders.collect());
    let uri = with_database(&trial.server, trial.database.name());
    let (pipeline, staging) = (trial.path("grow.toml"), trial.path("staging"));
    let backup = |time: i64, more: &[&str]| {
        let time = DateTime::from_millis(time).try_to_rfc3339_string().unwrap();
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("docferry"));
        command.args(["backup", pipeline.to_str().unwrap(), "--source", &uri, "--part-mib", "1"]);
        command.args(["--since-last", "--detect-deletes", "--staging", staging.to_str().unwrap()]);
        command.env("DOCFERRY_CLOCK", time).args(more);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    };
    assert!(backup(FIRST, &[]).output().unwrap().status.success());
    trial.run(doc! {"update": "orders", "updates": [{
        "q": {"_id": {"$mod": [2, 0]}}, "multi": true,
        "u": {"$set": {"night": 1, "updatedAt": DateTime::from_millis(FIRST)}},
    }]});
    // Later nights take the same documents once more: their date is the last mark.
    let (output, bytes) = measured(backup(FIRST + DAY, &[]), bytes_moved);
    assert!(output.status.success(), "{}", shown(&output));
    for (night, share) in (2..).zip([20, 50, 80, 95]) {
        trial.night(night);
        let time = FIRST + i64::from(night) * DAY;
        let killed = killed_at(backup(time, &[]), bytes * share / 100, bytes_moved);
        assert!(killed, "it was over before {share} percent");
        let mut export = docferry();
        export.args(["export", pipeline.to_str().unwrap(), "--source", &uri, "--resume"]);
        let output = export.arg("--staging").arg(&staging).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains("--since-last --resume"), "{}", shown(&output));
        let output = backup(time + 60_000, &["--resume"]).output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        let run = trial.runs().pop().unwrap();
        assert!(trial.manifest(&run)["base"].is_object(), "it still only adds");
        trial.done(time, &["audit", &run, "--read-data"]);
        assert_eq!(trial.restored(&run), trial.hashes(trial.database.name()), "{share} percent");
    }
}
