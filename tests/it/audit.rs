//! What is staged, looked at by people before anything is loaded.

use std::path::{Path, PathBuf};
use std::process::Output;

use docferry::audit::{Level, audit};
use docferry::progress::Silent;
use docferry::staging::layout::RunDirectory;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};

use crate::homes::{Place, book, two_authors};
use crate::support::{docferry, shown, write_dump};

const PIPELINE: &str = r#"
version = 1
name = "shop"
[tables.buyers.columns]
id = { from = "_id", type = "uuid", key = true }
name = { type = "text", required = true }
[tables.orders.columns]
id = { from = "_id", type = "uuid", key = true }
buyer = { type = "uuid", references = "buyers" }
total = { type = "numeric" }
state = { type = "text" }
at = { type = "timestamptz" }
"#;

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number])
}

struct Staged {
    folder: tempfile::TempDir,
}

impl Staged {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dump = folder.path().join("dump/shop");
        let mut buyers: Vec<Document> =
            (0..10).map(|n| doc! {"_id": id(n), "name": format!("n{n}")}).collect();
        buyers.push(doc! {"_id": id(10)});
        write_dump(&dump, "buyers", &buyers);
        let orders: Vec<Document> = (0..200)
            .map(|n| {
                doc! {
                    "_id": id(n), "buyer": id(n % 11), "total": f64::from(n) / 4.0,
                    "state": if n % 4 == 0 { "new" } else { "paid <b>" },
                    "at": DateTime::from_millis(1_700_000_000_000 + i64::from(n) * 86_400_000),
                }
            })
            .collect();
        write_dump(&dump, "orders", &orders);
        let staged = Self { folder };
        std::fs::write(staged.path("shop.toml"), PIPELINE).unwrap();
        for (command, source) in [("export", true), ("transform", false)] {
            let mut run = docferry();
            run.arg(command)
                .arg(staged.path("shop.toml"))
                .arg("--staging")
                .arg(staged.path("staging"));
            if source {
                run.arg("--source").arg(&dump);
            }
            let output = run.output().unwrap();
            assert!(matches!(output.status.code(), Some(0 | 3)), "{}", shown(&output));
        }
        staged
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self) -> PathBuf {
        self.path("staging/shop/latest")
    }

    fn docferry(&self, arguments: &[&str]) -> Output {
        docferry().args(arguments).arg("--staging").arg(self.path("staging")).output().unwrap()
    }
}

#[test]
fn a_run_can_be_read_by_someone_who_was_not_there() {
    let staged = Staged::new();
    let output = staged.docferry(&["audit", "latest", "--read-data", "--json"]);
    assert!(output.status.success(), "{}", shown(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let orders = &result["audit"]["tables"][1];
    assert_eq!(orders["rows"], 200);
    let column = |name: &str| {
        orders["columns"]
            .as_array()
            .unwrap()
            .iter()
            .find(|column| column["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(column("total")["greatest"], "49.75");
    assert_eq!(column("at")["least"], "2023-11-14T22:13:20.000Z");
    assert_eq!(column("state")["frequent"][0]["value"], "paid <b>");
    assert_eq!(column("state")["frequent"][0]["share"], 0.75);
    assert_eq!(column("buyer")["nulls"], 18);
    assert_eq!(orders["references"][0]["matched"], 182);
    assert_eq!(orders["references"][0]["dangling"], 18);
    let refused = &result["audit"]["tables"][0]["refused"][0];
    assert_eq!(
        (&refused["rule"], &refused["examples"][0]),
        (&"required".into(), &id(10).to_hex().into())
    );

    let page = std::fs::read_to_string(staged.run().join("report.html")).unwrap();
    assert!(page.contains("paid &lt;b&gt;") && !page.contains("paid <b>"), "values are escaped");
    assert!(page.contains("<svg") && page.contains(&id(10).to_hex()));
    for outside in ["http:", "https:", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs nothing else: {outside}");
    }
}

fn flip(path: &Path) {
    let middle = std::fs::metadata(path).unwrap().len() / 2;
    flip_at(path, usize::try_from(middle).unwrap(), 1);
}

fn flip_at(path: &Path, at: usize, bits: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= bits;
    std::fs::write(path, bytes).unwrap();
}

/// All files of a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// What an audit finds: nothing, or something.
fn is_sound(run: &Path, level: Level) -> bool {
    let staging = run.parent().unwrap().parent().unwrap();
    let Ok(run) = RunDirectory::find(staging, run.to_str().unwrap()) else { return false };
    audit(&run, level, &Silent).is_ok_and(|report| report.problems.is_empty())
}

#[test]
fn no_byte_changes_and_no_file_goes_unnoticed() {
    let staged = Staged::new();
    assert!(staged.docferry(&["audit", "latest", "--read-data"]).status.success());
    let run = staged.run().canonicalize().unwrap();
    assert!(is_sound(&run, Level::Data) && is_sound(&run, Level::Files));
    let files = files(&run);
    let names: Vec<&str> =
        files.iter().map(|path| path.strip_prefix(&run).unwrap().to_str().unwrap()).collect();
    for name in
        ["run.json", "pipeline.toml", "report.html", "SHA256SUMS", "rejects/transform.jsonl"]
    {
        assert!(names.contains(&name), "{names:?}");
    }
    for path in files {
        let length = usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
        // From the first byte to the last, whatever the length.
        let steps = 23.min(length);
        for step in 0..steps {
            let at = step * (length - 1) / (steps - 1).max(1);
            let bits = 1 << (step % 8);
            flip_at(&path, at, bits);
            assert!(!is_sound(&run, Level::Data), "{} at byte {at}", path.display());
            flip_at(&path, at, bits);
        }
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(!is_sound(&run, Level::Files), "{}", path.display());
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(is_sound(&run, Level::Data));
}

#[test]
fn the_data_is_read_in_parts_on_different_days() {
    let staged = Staged::new();
    let damaged = staged.run().join("export/orders/part-00000.parquet");
    flip(&damaged);
    let status = |level: &[&str]| {
        let output = staged.docferry(&[&["audit", "latest"], level].concat());
        (output.status.code(), shown(&output))
    };
    assert_eq!(status(&[]).0, Some(0));
    assert_eq!(status(&["--hashes"]).0, Some(12));
    let days: Vec<_> = (1..=3)
        .map(|day| status(&["--read-data-subset", &format!("{day}/3")]))
        .filter(|(code, _)| *code != Some(0))
        .collect();
    assert_eq!(days.len(), 1, "{days:?}");
    assert!(days[0].1.contains("orders/part-00000.parquet"), "{days:?}");
    for wrong in ["0/3", "4/3", "x"] {
        assert_eq!(status(&["--read-data-subset", wrong]).0, Some(2));
    }
}

#[test]
fn staged_files_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let staged = Staged::new();
    assert!(staged.docferry(&["audit", "latest", "--read-data"]).status.success());
    let pipeline = staged.path("staging/shop").canonicalize().unwrap();
    let mut open = Vec::new();
    for path in files(&pipeline) {
        for path in path.ancestors().take_while(|path| path.starts_with(&pipeline)) {
            if path.metadata().unwrap().permissions().mode() & 0o077 != 0 {
                open.push(path.to_owned());
            }
        }
    }
    assert_eq!(open, Vec::<PathBuf>::new());
}

#[test]
fn an_audit_names_every_file_that_changed() {
    let staged = Staged::new();
    flip(&staged.run().join("export/orders/part-00000.parquet"));
    std::fs::remove_file(staged.run().join("transform/buyers/part-00000.parquet")).unwrap();
    // The level that reads no data sees which file is gone.
    let output = staged.docferry(&["audit", "shop/latest"]);
    assert_eq!(output.status.code(), Some(12), "{}", shown(&output));
    assert!(!shown(&output).contains("orders/part-00000.parquet"), "{}", shown(&output));
    assert!(shown(&output).contains("transform/buyers/part-00000.parquet"), "{}", shown(&output));
    let output = staged.docferry(&["audit", "shop/latest", "--read-data"]);
    assert_eq!(output.status.code(), Some(12), "{}", shown(&output));
    let text = shown(&output);
    assert!(
        text.contains("export/orders/part-00000.parquet") && text.contains("SHA-256"),
        "{text}"
    );
    assert!(text.contains("transform/buyers/part-00000.parquet"), "{text}");
    let page = std::fs::read_to_string(staged.run().join("report.html")).unwrap();
    assert!(page.contains("do not agree with their manifests"));
}

#[test]
fn rows_and_documents_are_shown() {
    let staged = Staged::new();
    let rows = |conditions: &[&str]| {
        let mut arguments = vec!["show", "latest", "orders", "--json", "--limit", "1000"];
        for condition in conditions {
            arguments.extend(["--where", condition]);
        }
        let output = staged.docferry(&arguments);
        assert!(output.status.success(), "{}", shown(&output));
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        result["rows"].as_array().unwrap().len()
    };
    assert_eq!(rows(&[]), 200);
    assert_eq!(rows(&["state = new"]), 50);
    assert_eq!(rows(&["state != 'new'", "total < 9"]), 27);
    assert_eq!(rows(&["total >= 49.75"]), 1);
    assert_eq!(rows(&["buyer is null"]), 18);
    assert_eq!(rows(&["buyer is not null"]), 182);
    assert_eq!(rows(&["state ~ aid"]), 150);
    assert_eq!(rows(&["at < 2023-11-15"]), 1);

    let output = staged.docferry(&["show", "latest", "orders", "--id", &id(7).to_hex()]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["total"]["$numberDouble"], "1.75");
    let output = staged.docferry(&["show", "latest", "buyers", "--documents", "--limit", "3"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3);
    for (arguments, hint) in [
        (vec!["show", "latest", "ordrs"], "`orders`"),
        (vec!["show", "latest", "orders", "--where", "totl = 1"], "`total`"),
        (vec!["show", "latest", "orders", "--where", "total"], "COLUMN = VALUE"),
        (vec!["show", "latest", "orders", "--id", "x"], "_id"),
    ] {
        let output = staged.docferry(&arguments);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains(hint), "{}", shown(&output));
    }
}

#[test]
fn verifications_and_audits_of_one_run_at_once_agree() {
    let Some(place) = Place::new("docferry_at_once") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    assert!(place.load(&run, &[]).status.success());
    let staging = place.path("staging");
    let start = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_docferry"))
            .args(arguments)
            .arg("--staging")
            .arg(&staging)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    };
    let pipeline = place.path("books.toml");
    let verify = ["verify", pipeline.to_str().unwrap(), "--target", &place.address, "--run", &run];
    for _ in 0..15 {
        let at_once = [
            start(&verify),
            start(&["audit", &run]),
            start(&verify),
            start(&["audit", &run, "--read-data"]),
            start(&["audit", &run]),
        ];
        for command in at_once {
            let output = command.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        }
    }
}
