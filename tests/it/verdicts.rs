//! The sums and the last words of a run: every record of the source is counted, from its first byte
//! on, and "every row is proved" is said only where all of them arrived.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use crate::support::{Migrated, docferry, fresh_database, server, shown, write_dump};

const SCHOOL: &str = r#"
version = 1
name = "school"
ignore = ["drafts"]
[tables.pupils.columns]
id = { from = "_id", type = "uuid", key = true }
name = { type = "text", required = true }
[tables.courses.columns]
id = { from = "_id", type = "uuid", key = true }
title = { type = "text" }
[junctions.pupils_courses]
columns = { pupil_id = "pupils", course_id = "courses" }
from = ["pupils.courses", "courses.pupils"]
[tables.marks]
each = "pupils.marks"
[tables.marks.columns]
pupil = { parent = true, references = "pupils" }
mark = { element = true, type = "integer", required = true }
"#;

fn id(kind: u8, number: u8) -> Bson {
    ObjectId::from_bytes([0x66, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, number]).into()
}

/// Adds records that are framed as documents and hold none.
fn add_broken(folder: &Path, collection: &str, count: u8) {
    let path = folder.join(format!("{collection}.bson"));
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
    for number in 0..count {
        let document = doc! {"_id": id(9, number), "name": "broken"};
        let mut bytes = RawDocumentBuf::try_from(&document).unwrap().into_bytes();
        // No such type of value.
        bytes[4] = 0x60;
        file.write_all(&bytes).unwrap();
    }
}

/// Four pupils, one without a name; two courses; drafts that no table takes.
fn school(folder: &Path) {
    let pupil = |number: u8, courses: Vec<Bson>, marks: Vec<Bson>| -> Document {
        doc! {"_id": id(1, number), "name": format!("p{number}"), "courses": courses, "marks": marks}
    };
    let mut pupils = vec![
        pupil(1, vec![id(2, 1), id(2, 2)], vec![1.into(), 2.into()]),
        pupil(2, vec![id(2, 1), id(2, 1)], vec![3.into(), "four".into()]),
        pupil(3, vec![], vec![]),
        pupil(4, vec![], vec![]),
    ];
    pupils[3].remove("name");
    let courses = vec![
        doc! {"_id": id(2, 1), "title": "a", "pupils": [id(1, 1)]},
        doc! {"_id": id(2, 2), "title": "b", "pupils": [id(1, 3)]},
    ];
    write_dump(folder, "pupils", &pupils);
    write_dump(folder, "courses", &courses);
    write_dump(folder, "drafts", &[doc! {"_id": 1}, doc! {"_id": 2}]);
}

struct Place {
    folder: tempfile::TempDir,
    runtime: Runtime,
    client: Client,
    address: String,
}

impl Place {
    fn new(database: &str, pipeline: &str) -> Option<Self> {
        let server = server("DOCFERRY_TEST_POSTGRES")?;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("school.toml"), pipeline).unwrap();
        let runtime = Runtime::new().unwrap();
        let (client, address) = runtime.block_on(fresh_database(&server, database));
        Some(Self { folder, runtime, client, address })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str, more: &[&str]) -> Output {
        let mut command = docferry();
        command.arg(name).arg(self.path("school.toml")).args(more);
        command.arg("--staging").arg(self.path("staging")).output().unwrap()
    }

    fn run(&self) -> Output {
        let source = self.path("school");
        let target = ["--target", self.address.as_str()];
        self.command("run", &[&["--source", source.to_str().unwrap()], &target[..]].concat())
    }

    fn latest(&self, name: &str) -> String {
        fs::read_to_string(self.path("staging/school/latest").join(name)).unwrap()
    }

    fn migrated(self, output: Output) -> Migrated {
        let Self { folder, runtime, client, address } = self;
        Migrated { folder, runtime, client, address, output }
    }
}

fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn every_record_is_counted_from_the_first_byte_of_the_source() {
    let Some(place) = Place::new("docferry_sums", SCHOOL) else { return };
    school(&place.path("school"));
    add_broken(&place.path("school"), "pupils", 3);

    let output = place.run();
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    let verdict = "5 of 11 records arrived, 4 rejected, 2 dropped under a rule; \
                   7 of 10 array elements arrived, 1 rejected, 2 merged with an equal link; \
                   what arrived is proved against the export; the source was not read again";
    assert!(last_line(&output).ends_with(verdict), "{}", shown(&output));
    let total = shown(&output).lines().find(|line| line.contains("│ total")).unwrap().to_owned();
    let numbers: Vec<u64> = total.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // Read, rejected, merged, dropped, rows, rows in PostgreSQL.
    assert_eq!(numbers, [21, 5, 2, 2, 12, 12], "{}", shown(&output));
    for line in ["pupils (unreadable)", "drafts (ignored)", "rejects/export.jsonl", "pupils: 3"] {
        assert!(shown(&output).contains(line), "{line}: {}", shown(&output));
    }

    let report: Json = serde_json::from_str(&place.latest("report.json")).unwrap();
    assert_eq!(report["verdict"], verdict);
    assert_eq!(
        report["records"],
        json!({"read": 11, "arrived": 5, "rejected": 4, "merged": 0, "dropped": 2})
    );
    assert_eq!(
        report["elements"],
        json!({"read": 10, "arrived": 7, "rejected": 1, "merged": 2, "dropped": 0})
    );
    let pupils = &report["collections"][2];
    assert_eq!(
        *pupils,
        json!({
            "name": "pupils", "unreadable": 3, "ignored": false, "staged": 3, "found": 3,
            "read": 7, "arrived": 3, "rejected": 4, "merged": 0, "dropped": 0,
        })
    );
    let page = place.latest("report.html");
    assert!(page.contains(verdict), "{page}");
    assert!(page.contains("class=\"verdict part\""), "{page}");

    // Each command that has rejects says so; the proof is the same without the run's list.
    let target = ["--target", place.address.as_str(), "--documents"];
    let output = place.command("verify", &target);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert!(last_line(&output).ends_with(verdict), "{}", shown(&output));
    let source = place.path("school");
    let output = place.command("backup", &["--source", source.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert!(shown(&output).contains("3 of 11 records are no documents"), "{}", shown(&output));
}

#[test]
fn a_reject_of_the_export_that_is_not_listed_is_found() {
    let Some(place) = Place::new("docferry_sums_listed", SCHOOL) else { return };
    school(&place.path("school"));
    add_broken(&place.path("school"), "courses", 2);
    assert_eq!(place.run().status.code(), Some(3));
    let list = place.path("staging/school/latest/rejects/export.jsonl");
    let text = fs::read_to_string(&list).unwrap();
    fs::write(&list, text.lines().next().unwrap().to_owned() + "\n").unwrap();
    let said = "collection courses: 2 records were rejected by the export, 1 of them are listed";
    let output = place.command("verify", &["--target", place.address.as_str()]);
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    assert!(shown(&output).contains(said), "{}", shown(&output));
    assert!(last_line(&output).ends_with("there are differences"), "{}", shown(&output));
    let output = docferry()
        .args(["audit", "school/latest", "--hashes", "--staging"])
        .arg(place.path("staging"))
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(shown(&output).contains(said), "{}", shown(&output));
}

#[test]
fn a_run_of_nothing_proves_nothing() {
    const ONE: &str = r#"
version = 1
name = "school"
[tables.pupils.columns]
id = { from = "_id", type = "uuid", key = true }
name = { type = "text", required = true }
"#;
    // Nothing but broken records, and nothing but records that the transform rejects.
    let Some(place) = Place::new("docferry_sums_nothing", ONE) else { return };
    write_dump(&place.path("school"), "pupils", &[]);
    add_broken(&place.path("school"), "pupils", 4);
    let output = place.run();
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    let verdict = "0 of 4 records arrived, 4 rejected; nothing arrived, so nothing is proved";
    assert!(last_line(&output).ends_with(verdict), "{}", shown(&output));
    let loud = "WARNING: 4 of 4 records of collection pupils were rejected";
    assert!(shown(&output).contains(loud), "{}", shown(&output));

    let place = Place::new("docferry_sums_nothing", ONE).unwrap();
    write_dump(&place.path("school"), "pupils", &[doc! {"_id": id(1, 1), "name": ["no text"]}]);
    let migrated = {
        let output = place.run();
        place.migrated(output)
    };
    migrated.assert_whole(1, 1);
    let verdict = "0 of 1 records arrived, 1 rejected; nothing arrived, so nothing is proved";
    assert!(last_line(&migrated.output).ends_with(verdict), "{}", migrated.shown());

    let place = Place::new("docferry_sums_nothing", ONE).unwrap();
    write_dump(&place.path("school"), "pupils", &[]);
    let output = place.run();
    assert!(!shown(&output).contains("every row is proved"), "{}", shown(&output));
    if output.status.success() {
        assert!(last_line(&output).ends_with("nothing is proved"), "{}", shown(&output));
    }
}
