//! Nights that go wrong: sources that are empty or lost much, clocks that jump, and the runs that
//! `latest` and `--resume` mean.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

use mongodb::bson::{Document, doc};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::{docferry, fresh_database, server, shown, with_database, write_dump};

/// A staging directory, its pipeline file, and a dump.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("shop.toml"), "version = 1\nname = \"shop\"\n").unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Replaces the dump `shop`: collections with so many documents.
    fn dump(&self, collections: &[(&str, i32)]) {
        let folder = self.path("dump/shop");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, documents) in collections {
            let documents: Vec<Document> = (0..*documents).map(|n| doc! {"_id": n}).collect();
            write_dump(&folder, name, &documents);
            // As mongodump writes it, so that a collection without documents is one.
            let metadata = folder.join(format!("{name}.metadata.json"));
            fs::write(
                metadata,
                format!("{{\"collectionName\":\"{name}\",\"type\":\"collection\"}}"),
            )
            .unwrap();
        }
    }

    fn at(&self, time: &str, arguments: &[&str]) -> Output {
        let mut command = docferry();
        command.args(arguments).arg("--staging").arg(self.path("staging"));
        command.env("DOCFERRY_CLOCK", time).output().unwrap()
    }

    /// A backup of a source at a moment.
    fn of(&self, source: &str, time: &str, more: &[&str]) -> Output {
        let pipeline = self.text("shop.toml");
        self.at(time, &[&["backup", &pipeline, "--source", source], more].concat())
    }

    /// A backup of the dump.
    fn backup(&self, time: &str, more: &[&str]) -> Output {
        self.of(&self.text("dump/shop"), time, more)
    }

    fn runs(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("staging/shop")) else { return Vec::new() };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> =
            names.filter(|name| name.len() == 16 && name.ends_with('Z')).collect();
        names.sort();
        names
    }

    fn latest(&self) -> Option<String> {
        let link = fs::read_link(self.path("staging/shop/latest")).ok()?;
        Some(link.to_str().unwrap().to_owned())
    }

    fn json(&self, path: &str) -> serde_json::Value {
        let path = self.path("staging/shop").join(path);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

#[track_caller]
fn assert_code(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", shown(output));
    shown(output)
}

/// Value of a metric of a backup; none where the file has no such line.
fn metric(place: &Place, name: &str) -> Option<String> {
    let text = fs::read_to_string(place.path("metrics")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")))?;
    line.rsplit(' ').next().map(str::to_owned)
}

#[test]
fn a_mistyped_database_is_no_backup_and_costs_none() {
    let Some(server) = server("DOCFERRY_TEST_MONGODB") else { return };
    let place = Place::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&server).await.unwrap();
        for name in ["docferry_night", "docferry_night_typo"] {
            client.database(name).drop().await.unwrap();
        }
        let orders = client.database("docferry_night").collection::<Document>("orders");
        orders.insert_many((0..200).map(|n| doc! {"_id": n})).await.unwrap();
    });
    let [good, typo] =
        ["docferry_night", "docferry_night_typo"].map(|name| with_database(&server, name));
    let metrics = place.text("metrics");
    let keep = ["--keep-daily", "2", "--metrics", &metrics];

    // In the first night there is nothing to compare with.
    let text = assert_code(&place.of(&typo, "2026-11-01T01:30:00Z", &keep), 13);
    assert!(text.contains("run 20261101T013000Z is held: the source has no collections"), "{text}");
    assert!(text.contains("--resume 20261101T013000Z --allow-empty"), "{text}");
    assert_eq!(place.latest(), None);
    assert_eq!(metric(&place, "docferry_last_success_timestamp_seconds"), None);

    assert_code(&place.of(&good, "2026-11-02T01:30:00Z", &keep), 0);
    assert_eq!(place.runs(), ["20261102T013000Z"], "an empty run goes once there is a good one");
    assert_eq!(metric(&place, "docferry_documents").as_deref(), Some("200"));
    for day in 3..=9 {
        let time = format!("2026-11-{day:02}T01:30:00Z");
        assert_code(&place.of(&typo, &time, &keep), 13);
        assert_code(
            &place.of(&typo, &time, &["--keep-last", "1", "--since-last", "--by", "at"]),
            13,
        );
    }
    assert_eq!(place.latest().as_deref(), Some("20261102T013000Z"));
    assert!(place.runs().contains(&"20261102T013000Z".to_owned()));
    assert_eq!(metric(&place, "docferry_documents").as_deref(), Some("200"));
    assert_eq!(metric(&place, "docferry_last_run_exit_status").as_deref(), Some("13"));
    let text =
        assert_code(&place.at("2026-11-09T02:00:00Z", &["runs", &place.text("shop.toml")]), 0);
    assert!(text.contains("export (held)") && text.contains("has no collections"), "{text}");

    // A prune by hand takes none of them for a good run either.
    let prune = ["prune", &place.text("shop.toml"), "--keep-last", "1"];
    assert_code(&place.at("2026-11-09T02:00:00Z", &prune), 0);
    assert!(place.runs().contains(&"20261102T013000Z".to_owned()));

    // The other commands that export know no empty source as a success.
    let pipeline = place.text("shop.toml");
    let export = ["export", &pipeline, "--source", &typo];
    let text = assert_code(&place.at("2026-11-10T01:30:00Z", &export), 13);
    assert!(text.contains("no collections"), "{text}");
    // The target is looked at before anything is read.
    let run = ["run", &pipeline, "--source", &typo, "--target", "postgres://127.0.0.1:1/x"];
    assert_code(&place.at("2026-11-10T01:30:00Z", &run), 1);
    assert_eq!(place.latest().as_deref(), Some("20261102T013000Z"));
    let held = place.runs().pop().unwrap();

    // One that is meant is accepted, and the documents that were there are kept all the same.
    let accept = ["--allow-empty", "--resume", &held, "--keep-last", "1"];
    assert_code(&place.of(&typo, "2026-11-10T02:30:00Z", &accept), 0);
    assert_eq!(place.latest(), Some(held.clone()));
    assert_eq!(place.runs(), ["20261102T013000Z".to_owned(), held]);
}

#[test]
fn what_holds_less_than_half_is_held_and_named() {
    let place = Place::new();
    place.dump(&[("orders", 1000), ("customers", 150), ("jobs", 3), ("plain", 0)]);
    assert_code(&place.backup("2026-11-01T01:30:00Z", &["--keep-last", "1"]), 0);
    // Half is enough, and what was empty may be gone.
    place.dump(&[("orders", 500), ("customers", 75), ("jobs", 2)]);
    assert_code(&place.backup("2026-11-02T01:30:00Z", &["--keep-last", "1"]), 0);
    assert_eq!(place.runs(), ["20261102T013000Z"]);

    for (night, collections, reasons) in [
        (
            3,
            vec![("orders", 249), ("customers", 75), ("jobs", 2)],
            vec!["collection orders has 249 of 500 documents left"],
        ),
        (
            4,
            vec![("orders", 500), ("jobs", 2)],
            vec!["collection customers with its 75 documents is gone"],
        ),
        (
            5,
            vec![("orders", 500), ("customers", 75), ("jobs", 0)],
            vec!["collection jobs has none of 2 documents left"],
        ),
        (
            6,
            vec![("Orders", 500), ("customers", 75), ("jobs", 2)],
            vec!["collection orders with its 500 documents is gone"],
        ),
        (
            7,
            vec![("orders", 250), ("customers", 37)],
            vec![
                "collection jobs with its 2 documents is gone",
                "all collections together have 287 of 577 documents left",
            ],
        ),
        (8, vec![("orders", 0)], vec!["orders has none of 500", "customers with its 75"]),
    ] {
        place.dump(&collections);
        let time = format!("2026-11-{night:02}T01:30:00Z");
        let text = assert_code(&place.backup(&time, &["--keep-last", "1"]), 13);
        for reason in reasons {
            assert!(text.contains(reason), "{reason}: {text}");
        }
        assert!(text.contains("compared with run 20261102T013000Z"), "{text}");
        assert_eq!(place.latest().as_deref(), Some("20261102T013000Z"));
        assert_eq!(place.runs().len(), night - 1, "nothing is removed");
        let record = place.json(&format!("202611{night:02}T013000Z/run.json"));
        assert_eq!(record["held"]["compared_with"], "20261102T013000Z");
    }
    // What it holds can be read and restored by its id.
    assert_code(
        &place.at("2026-11-09T00:00:00Z", &["audit", "20261103T013000Z", "--read-data"]),
        0,
    );

    // An export that goes on with it does not accept it.
    let (pipeline, source) = (place.text("shop.toml"), place.text("dump/shop"));
    let export = ["export", &pipeline, "--source", &source, "--resume", "20261103T013000Z"];
    let text = assert_code(&place.at("2026-11-09T00:00:00Z", &export), 13);
    assert!(text.contains("with `docferry backup` and"), "{text}");

    // Some of it is meant: the rest still holds the run.
    place.dump(&[("orders", 100), ("jobs", 0)]);
    let some = ["--allow-shrink=customers,jobs"];
    let text = assert_code(&place.backup("2026-11-09T01:30:00Z", &some), 13);
    assert!(text.contains("is held: collection orders has 100 of 500"), "{text}");
    let resumed = ["--allow-shrink", "--resume", "20261109T013000Z", "--keep-last", "1"];
    assert_code(&place.backup("2026-11-09T02:30:00Z", &resumed), 0);
    assert_eq!(place.latest().as_deref(), Some("20261109T013000Z"));
    assert!(place.json("latest/run.json")["held"].is_null());
    assert_eq!(place.json("latest/run.json")["accepted"].as_array().unwrap().len(), 4);
    // Those that are held stay until a person removes them, the good one before is gone.
    assert!(!place.runs().contains(&"20261102T013000Z".to_owned()), "{:?}", place.runs());
    assert!(place.runs().contains(&"20261103T013000Z".to_owned()));
    // From now on that is what is compared with; an option that is not needed does no harm.
    assert_code(&place.backup("2026-11-10T01:30:00Z", &["--allow-shrink=orders"]), 0);
    assert_code(&place.backup("2026-11-11T01:30:00Z", &["--resume", "20261110T013000Z"]), 0);
}

#[test]
fn files_that_hold_nothing_are_held_too() {
    let place = Place::new();
    rusqlite::Connection::open(place.path("empty.db")).unwrap().execute_batch("VACUUM").unwrap();
    fs::write(place.path("orders.json"), "[]\n").unwrap();
    place.dump(&[("orders", 0)]);
    for (day, source, reason) in [
        (1, format!("sqlite:{}", place.text("empty.db")), "the source has no collections"),
        (2, place.text("orders.json"), "1 collections and no documents"),
        (3, place.text("dump/shop"), "1 collections and no documents"),
    ] {
        let time = format!("2026-11-{day:02}T01:30:00Z");
        let output = place.of(&source, &time, &[]);
        // Files of zero bytes may be refused as damaged before.
        assert!(matches!(output.status.code(), Some(13 | 1 | 2 | 12)), "{}", shown(&output));
        if output.status.code() == Some(13) {
            assert!(shown(&output).contains(reason), "{}", shown(&output));
            let allowed = ["--allow-empty"];
            let output = place.of(&source, &time, &allowed);
            assert_code(&output, 0);
            fs::remove_dir_all(place.path("staging")).unwrap();
        }
        assert_eq!(place.latest(), None);
    }
}

#[test]
fn a_wrong_clock_neither_orders_runs_nor_takes_their_places() {
    let place = Place::new();
    place.dump(&[("orders", 10)]);
    // Twice within a second, and the first is removed by hand: its id does not come back.
    for _ in 0..2 {
        assert_code(&place.backup("2026-11-01T01:30:00Z", &[]), 0);
    }
    assert_eq!(place.runs(), ["20261101T013000Z", "20261101T013001Z"]);
    for run in place.runs() {
        fs::remove_dir_all(place.path("staging/shop").join(run)).unwrap();
    }
    for _ in 0..2 {
        assert_code(&place.backup("2026-11-01T01:30:00Z", &["--keep-last", "1"]), 0);
    }
    assert_eq!(place.runs(), ["20261101T013003Z"]);

    // One night in 2035: from the next one on it is a run like others, older than they are.
    assert_code(&place.backup("2035-11-02T01:30:00Z", &["--keep-daily", "3"]), 0);
    for day in 3..=4 {
        let time = format!("2026-11-{day:02}T01:30:00Z");
        assert_code(&place.backup(&time, &["--keep-daily", "3"]), 0);
    }
    let all = ["20261101T013003Z", "20351102T013000Z", "20351102T013001Z", "20351102T013002Z"];
    assert_eq!(place.runs(), all, "three days, and the one that takes no place");
    assert_eq!(place.latest().as_deref(), Some(all[3]));
    assert_eq!(place.json("latest/run.json")["began_at"], "2026-11-04T01:30:00.000Z");
    assert_code(&place.backup("2026-11-05T01:30:00Z", &["--keep-daily", "3"]), 0);
    assert_eq!(place.runs(), ["20351102T013001Z", "20351102T013002Z", "20351102T013003Z"]);
    assert_code(&place.backup("1965-01-01T00:00:00Z", &["--keep-last", "1"]), 0);
    assert_eq!(place.runs(), ["20351102T013004Z"]);

    // Without the file that remembers, what is there counts; ids end with the year 9999.
    fs::remove_file(place.path("staging/shop/.last-run")).unwrap();
    assert_code(&place.backup("2026-11-06T01:30:00Z", &[]), 0);
    assert_eq!(place.latest().as_deref(), Some("20351102T013005Z"));
    let last = place.path("staging/shop/99991231T235959Z");
    fs::create_dir(&last).unwrap();
    let text = assert_code(&place.backup("2026-11-07T01:30:00Z", &[]), 1);
    assert!(text.contains("no run can come after run 99991231T235959Z"), "{text}");
    assert!(text.contains(".last-run"), "{text}");
}

#[test]
fn an_incremental_run_is_newer_than_its_base_whatever_the_clock() {
    let Some(server) = server("DOCFERRY_TEST_MONGODB") else { return };
    let place = Place::new();
    let uri = with_database(&server, "docferry_night_back");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let orders = runtime.block_on(async {
        let database = mongodb::Client::with_uri_str(&server).await.unwrap();
        let database = database.database("docferry_night_back");
        database.drop().await.unwrap();
        database.collection::<Document>("orders")
    });
    let since = ["--since-last", "--by", "at", "--keep-last", "3"];
    for (night, time) in
        (0_i32..).zip(["2026-11-02T01:30:10Z", "2026-11-02T01:30:00Z", "2019-01-01T00:00:00Z"])
    {
        let at = mongodb::bson::DateTime::from_millis(1_700_000_000_000);
        runtime.block_on(async {
            orders.insert_one(doc! {"_id": night, "at": at}).await.unwrap();
        });
        assert_code(&place.of(&uri, time, &since), 0);
        let run = place.latest().unwrap();
        assert_eq!(run, format!("20261102T01301{night}Z"));
        let text = assert_code(&place.at(time, &["show", &run, "orders", "--documents"]), 0);
        let documents = text.lines().filter(|line| line.contains("_id")).count();
        assert_eq!(i32::try_from(documents).unwrap(), night + 1);
    }
    assert_eq!(place.json("latest/export/manifest.json")["base"]["length"], 2);

    // Deletions that nobody looks for are seen by the number of documents.
    runtime.block_on(async { orders.delete_many(doc! {"_id": {"$gte": 1}}).await.unwrap() });
    let text = assert_code(&place.of(&uri, "2026-11-03T01:30:00Z", &since), 13);
    assert!(text.contains("1 of 3 documents left"), "{text}");
}

/// A pipeline file with one table.
const ORDERS: &str = "version = 1\nname = \"shop\"\n[tables.orders.columns]\nid = { from = \"_id\", type = \"integer\", key = true }\n";

#[test]
fn latest_means_the_newest_run_that_has_what_a_command_reads() {
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let place = Place::new();
    fs::write(place.path("shop.toml"), ORDERS).unwrap();
    place.dump(&[("orders", 10)]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, target) = runtime.block_on(fresh_database(&postgres, "docferry_latest"));
    let (pipeline, source) = (place.text("shop.toml"), place.text("dump/shop"));
    let at = |arguments: &[&str]| place.at("2026-11-01T01:30:00Z", arguments);
    assert_code(&at(&["run", &pipeline, "--source", &source, "--target", &target]), 0);
    let migrated = place.latest().unwrap();
    assert_code(&place.backup("2026-11-02T01:30:00Z", &[]), 0);
    let newer = place.latest().unwrap();
    assert!(newer > migrated);

    for arguments in [
        vec!["verify", &pipeline, "--target", &target],
        vec!["dump", "shop/latest", "--target", &target],
        vec!["restore-check", "latest", "--scratch", &postgres],
        vec!["rejects", &pipeline],
    ] {
        let text = assert_code(&at(&arguments), 0);
        let said = format!("latest is run {migrated} here: the newer run {newer}");
        assert!(text.contains(&said), "{arguments:?}: {text}");
    }
    // What writes takes no older run than the one that is named, but says which there is.
    let text = assert_code(&at(&["load", &pipeline, "--target", &target]), 10);
    assert!(text.contains(&format!("`--run {migrated}`")), "{text}");
    assert_code(&at(&["load", &pipeline, "--target", &target, "--run", &migrated]), 0);
    // The export is that of the newest, with or without the link.
    for _ in 0..2 {
        let text = assert_code(&at(&["audit", "latest"]), 0);
        assert!(text.contains(&newer), "{text}");
        fs::remove_file(place.path("staging/shop/latest")).unwrap();
        if place.latest().is_none() {
            let text = assert_code(&at(&["audit", "shop/latest"]), 0);
            assert!(text.contains(&newer), "{text}");
        }
        std::os::unix::fs::symlink(&newer, place.path("staging/shop/latest")).unwrap();
    }

    // A rollback says what it undoes, tries it first, and knows whose `latest` is meant.
    fs::write(
        place.path("other.toml"),
        ORDERS.replace("shop", "other").replace("tables.orders", "tables.again").replace(
            "[tables.again.columns]",
            "[tables.again]\nsource = \"orders\"\n[tables.again.columns]",
        ),
    )
    .unwrap();
    let other = place.text("other.toml");
    assert_code(&at(&["run", &other, "--source", &source, "--target", &target]), 0);
    let undo = |arguments: &[&str]| {
        docferry().args(["rollback", "--target", &target]).args(arguments).output().unwrap()
    };
    let text = assert_code(&undo(&["latest"]), 2);
    assert!(text.contains("other/latest, shop/latest"), "{text}");
    let text = assert_code(&undo(&["shop/latest", "--dry-run"]), 0);
    assert!(text.contains(&format!("run shop/{migrated} would be undone")), "{text}");
    let tables = || -> i64 {
        let sql = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
        runtime.block_on(client.query_one(sql, &[])).unwrap().get(0)
    };
    assert_eq!(tables(), 2);
    let text = assert_code(&undo(&["shop/latest"]), 0);
    assert!(text.contains(&format!("run shop/{migrated} is undone")), "{text}");
    assert_eq!(tables(), 1);
    assert_code(&undo(&["shop/latest"]), 10);
    assert_code(&undo(&["latest"]), 0);
    assert_eq!(tables(), 0);
}

#[test]
fn resume_goes_on_with_the_run_that_is_half_loaded() {
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let place = Place::new();
    let hooks = "name = \"shop\"\n[hooks]\nafter_load = [\"last.sql\"]";
    fs::write(place.path("shop.toml"), ORDERS.replace("name = \"shop\"", hooks)).unwrap();
    fs::write(place.path("last.sql"), "INSERT INTO gate VALUES (1)").unwrap();
    place.dump(&[("orders", 10)]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, target) = runtime.block_on(fresh_database(&postgres, "docferry_half"));
    let (pipeline, source) = (place.text("shop.toml"), place.text("dump/shop"));
    let run = |time: &str, more: &[&str]| {
        let arguments = ["run", &pipeline, "--source", &source, "--target", &target];
        place.at(time, &[&arguments, more].concat())
    };
    let text = assert_code(&run("2026-11-01T01:30:00Z", &[]), 1);
    assert!(text.contains("`--resume 20261101T013000Z`"), "{text}");
    // The same command alone would be another run, which the tables of the first stop before it is
    // begun; a backup is one.
    let text = assert_code(&run("2026-11-02T01:30:00Z", &[]), 1);
    assert!(text.contains("exists already"), "{text}");
    assert_code(&place.backup("2026-11-03T01:30:00Z", &[]), 0);
    runtime.block_on(client.batch_execute("CREATE TABLE gate (n integer)")).unwrap();
    let text = assert_code(&run("2026-11-04T01:30:00Z", &["--resume"]), 0);
    assert!(text.contains("going on with run 20261101T013000Z"), "{text}");
    assert!(text.contains("\nrun 20261101T013000Z: ") && text.contains("every row is proved"));
    // Nothing is half loaded any more: now it is the run that was not transformed.
    let text = assert_code(&run("2026-11-05T01:30:00Z", &["--resume"]), 1);
    assert!(text.contains("going on with run 20261103T013000Z"), "{text}");
}

#[test]
fn every_name_has_a_folder_of_its_own() {
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let names = [
        "manifest.json",
        "SHA256SUMS",
        "sha256sums",
        "journal.jsonl",
        "Journal.JSONL",
        "Orders",
        "orders",
        "caf\u{e9}",
        "cafe\u{301}",
        "aux",
        "a.",
        "a",
        "items",
        "items.ids",
    ];
    let Some(server) = server("DOCFERRY_TEST_MONGODB") else { return };
    let place = Place::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database = runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&server).await.unwrap();
        let database = client.database("docferry_names");
        database.drop().await.unwrap();
        for (number, name) in (0..).zip(names) {
            let ids = (0..=number).map(|n| doc! {"_id": format!("{number}-{n}")});
            database.collection::<Document>(name).insert_many(ids).await.unwrap();
        }
        database
    });
    let mut file = String::from("version = 1\nname = \"shop\"\n");
    for name in names {
        let kind = if name == "items" {
            "bigint\", from = \"_id\", key = \"serial\""
        } else {
            "text\", from = \"_id\", key = true"
        };
        let _ = write!(file, "[tables.\"{name}\".columns]\nid = {{ type = \"{kind} }}\n");
    }
    fs::write(place.path("shop.toml"), file).unwrap();
    let (_, target) = runtime.block_on(fresh_database(&postgres, "docferry_names"));
    let uri = with_database(&server, "docferry_names");
    let pipeline = place.text("shop.toml");
    let time = "2026-11-01T01:30:00Z";
    assert_code(&place.at(time, &["run", &pipeline, "--source", &uri, "--target", &target]), 0);

    // No two folders differ by case or normalisation alone, and none is a file of the stage.
    for stage in ["export", "transform"] {
        let manifest = place.json(&format!("latest/{stage}/manifest.json"));
        let list = manifest["collections"].as_array().or(manifest["tables"].as_array()).unwrap();
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for item in list {
            let name = item["name"].as_str().or(item["definition"]["name"].as_str()).unwrap();
            let files = item["parts"].as_array().unwrap().iter();
            for part in files.chain(item["ids"].as_array().into_iter().flatten()) {
                let path = part["path"].as_str().unwrap();
                let folder = path.rsplit_once('/').unwrap().0.to_lowercase();
                let folder = folder.replace('\u{e9}', "e\u{301}");
                assert!(place.path("staging/shop/latest").join(path).is_file());
                let ids = if path.contains("items.ids") && name == "items" { " ids" } else { "" };
                let other = seen.insert(folder, format!("{name}{ids}"));
                assert!(other.is_none_or(|other| other == format!("{name}{ids}")), "{path}");
            }
        }
        assert_eq!(seen.len(), names.len() + usize::from(stage == "transform"));
    }
    assert!(
        place.path("staging/shop/latest/export/a/part-00000.parquet").exists()
            || place.path("staging/shop/latest/export/items/part-00000.parquet").exists()
    );
    assert_code(&place.at(time, &["audit", "latest", "--read-data"]), 0);
    assert_code(&place.at(time, &["restore-check", "latest", "--scratch", &server]), 0);
    runtime.block_on(async { database.drop().await.unwrap() });
}

/// One night of a random schedule.
#[derive(Clone, Debug)]
struct Night {
    source: Source,
    /// Seconds that the clock is off.
    drift: i64,
    keep: Vec<&'static str>,
    allow: Vec<&'static str>,
    incremental: bool,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    Good,
    Typo,
    Emptied,
    Shrunken,
    WithoutOne,
    Unreachable,
}

fn night() -> impl Strategy<Value = Night> {
    let source = prop_oneof![
        6 => Just(Source::Good),
        2 => Just(Source::Typo),
        1 => Just(Source::Emptied),
        2 => Just(Source::Shrunken),
        1 => Just(Source::WithoutOne),
        1 => Just(Source::Unreachable),
    ];
    let drift = prop_oneof![
        4 => Just(0_i64),
        1 => -20_i64..20,
        1 => Just(9 * 365 * 86_400),
        1 => Just(-30 * 365 * 86_400),
        1 => -40_i64 * 86_400..40 * 86_400,
    ];
    let rules = vec![
        "--keep-last=1",
        "--keep-hourly=2",
        "--keep-daily=2",
        "--keep-weekly=1",
        "--keep-monthly=1",
        "--keep-yearly=1",
    ];
    let allow = prop::sample::select(vec!["--allow-empty", "--allow-shrink", "--allow-shrink=a"]);
    (
        source,
        drift,
        prop::sample::subsequence(rules, 0..3),
        prop::option::weighted(0.15, allow),
        any::<bool>(),
    )
        .prop_map(|(source, drift, keep, allow, incremental)| Night {
            source,
            drift,
            keep,
            allow: allow.into_iter().collect(),
            incremental,
        })
}

/// After each night: the newest run that holds the data is there, ids grew, `latest` is a good run,
/// and all that is kept restores.
fn live_through(server: &str, nights: &[Night]) -> Result<(), TestCaseError> {
    let place = Place::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let name = "docferry_nights";
    let database = runtime
        .block_on(async { mongodb::Client::with_uri_str(server).await.unwrap().database(name) });
    runtime.block_on(async { database.drop().await.unwrap() });
    // Collections stay what they are where they can, so that incremental runs only add.
    let fill = |collection: &str, count: i32, night: i64| {
        runtime.block_on(async {
            let at = mongodb::bson::DateTime::from_millis(1_700_000_000_000 + night * 1000);
            let collection = database.collection::<Document>(collection);
            if count == 0 {
                return collection.drop().await.unwrap();
            }
            collection.delete_many(doc! {"_id": {"$gte": count}}).await.unwrap();
            let change = doc! {"$set": {"night": night, "at": at}};
            collection.update_many(doc! {}, change).await.unwrap();
            let there = collection.count_documents(doc! {}).await.unwrap();
            let there = i32::try_from(there).unwrap();
            if there < count {
                let new = (there..count).map(|n| doc! {"_id": n, "night": night, "at": at});
                collection.insert_many(new).await.unwrap();
            }
        });
    };
    let pipeline = place.text("shop.toml");
    let mut ids: Vec<String> = Vec::new();
    // Documents of each good run, by its id.
    let mut good: BTreeMap<String, u64> = BTreeMap::new();
    for (number, night) in nights.iter().enumerate() {
        let size = 120 + i32::try_from(number).unwrap();
        let (a, b) = match night.source {
            Source::Emptied => (0, 0),
            Source::Shrunken => (30, 20),
            Source::WithoutOne => (0, 20),
            _ => (size, 20),
        };
        fill("a", a, i64::try_from(number).unwrap());
        fill("b", b, i64::try_from(number).unwrap());
        let uri = match night.source {
            Source::Typo => with_database(server, "docferry_nights_typo"),
            Source::Unreachable => {
                format!("mongodb://127.0.0.1:1/{name}?serverSelectionTimeoutMS=20")
            }
            _ => with_database(server, name),
        };
        let seconds = 1_793_000_000 + i64::try_from(number).unwrap() * 86_400 + night.drift;
        let time = mongodb::bson::DateTime::from_millis(seconds * 1000);
        let time = time.try_to_rfc3339_string().unwrap();
        let mut arguments = vec!["backup", &pipeline, "--source", &uri];
        arguments.extend(&night.keep);
        arguments.extend(&night.allow);
        if night.incremental {
            arguments.extend(["--since-last", "--by", "at", "--detect-deletes"]);
        }
        let before = place.runs();
        let output = place.at(&time, &arguments);
        let code = output.status.code().unwrap();
        let text = format!("night {number}, {night:?}: {}", shown(&output));
        let after = place.runs();
        let made: Vec<&String> = after.iter().filter(|run| !before.contains(run)).collect();
        if matches!(night.source, Source::Unreachable) {
            // What cannot be read is known before a run is begun.
            prop_assert_eq!((code, made.len()), (1, 0), "{}", text);
            prop_assert_eq!(&before, &after, "{}", text);
            continue;
        }
        prop_assert_eq!(made.len(), 1, "{}", text);
        prop_assert!(ids.iter().all(|id| id < made[0]), "ids grow: {}", text);
        ids.push(made[0].clone());
        let holds = u64::try_from(a + b).unwrap();
        let last = good.iter().next_back().map(|(_, holds)| *holds);
        let is_loss = match night.source {
            Source::Good => false,
            Source::Typo | Source::Emptied | Source::Unreachable => true,
            Source::Shrunken | Source::WithoutOne => last.is_some_and(|last| last > holds),
        };
        match (night.source, code) {
            (_, 0) => {
                prop_assert!(!is_loss || !night.allow.is_empty(), "{}", text);
                let holds = if matches!(night.source, Source::Typo) { 0 } else { holds };
                good.insert(made[0].clone(), holds);
                prop_assert_eq!(place.latest(), Some(made[0].clone()), "{}", text);
            }
            (_, code) => {
                prop_assert_eq!(code, 13, "{}", text);
                prop_assert!(is_loss, "{}", text);
                prop_assert!(before.iter().all(|run| after.contains(run)), "{}", text);
            }
        }
        prop_assert_eq!(place.latest(), good.keys().next_back().cloned(), "{}", text);
        for newest in [good.iter().next_back(), good.iter().rfind(|(_, holds)| **holds > 0)] {
            let there = newest.is_none_or(|(run, _)| after.contains(run));
            prop_assert!(there, "{:?} of {:?}: {}", newest, after, text);
        }
        good.retain(|run, _| after.contains(run));
    }
    let last = "2026-11-20T00:00:00Z";
    for (run, holds) in &good {
        let output = place.at(last, &["audit", run, "--read-data"]);
        prop_assert!(output.status.success(), "{}", shown(&output));
        if *holds > 0 {
            let to = place.path(run);
            let to = ["restore", run, "--to", to.to_str().unwrap()];
            let output = place.at(last, &to);
            prop_assert!(output.status.success(), "{}", shown(&output));
            let mut found = 0;
            for collection in ["a", "b"] {
                let path = place.path(run).join(name).join(format!("{collection}.bson"));
                let mut rest = fs::read(path).unwrap_or_default();
                while !rest.is_empty() {
                    let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
                    rest.drain(..length);
                    found += 1;
                }
            }
            prop_assert_eq!(found, *holds, "{}", run);
        }
    }
    Ok(())
}

/// `DOCFERRY_TEST_NIGHTS` is the number of schedules of twelve nights that are tried.
#[test]
fn no_sequence_of_nights_loses_the_newest_run_that_holds_the_data() {
    let Some(server) = server("DOCFERRY_TEST_MONGODB") else { return };
    let cases = std::env::var("DOCFERRY_TEST_NIGHTS").ok().and_then(|text| text.parse().ok());
    let config =
        Config { cases: cases.unwrap_or(8), failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let nights = prop::collection::vec(night(), 1..=12);
    runner.run(&nights, |nights| live_through(&server, &nights)).unwrap();
}
