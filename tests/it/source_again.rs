//! The source read again after an export: what the export lost or changed is found, and what the
//! source became since is not mistaken for it.

use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, StringArray};
use arrow::record_batch::RecordBatch;
use docferry::document::id::id_text;
use docferry::document::raw::Doc;
use docferry::staging::exported::documents;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::{ExportManifest, ExportPart};
use docferry::staging::part::PartWriter;
use docferry::staging::schema::{export_properties, export_schema};
use mongodb::Database;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Document, RawDocumentBuf, doc};
use serde_json::Value as Json;
use tokio::runtime::Runtime;
use tokio_postgres::Client;

use crate::support::{docferry, failpoint, fresh_database, server, shown, with_database};

const PIPELINE: &str = r#"
version = 1
name = "again"
ignore = ["odd", "words", "readings", "few", "late"]
[backup]
changed = "changed"
[tables.items.columns]
id = { from = "_id", type = "bigint", key = true }
name = { type = "text" }
changed = { type = "timestamptz" }
tags = { type = "jsonb" }
"#;

const ITEMS: i64 = 250;

struct Place {
    folder: tempfile::TempDir,
    runtime: Runtime,
    _client: Client,
    target: String,
    source: String,
    database: Database,
}

impl Place {
    fn new(variable: &str, name: &str) -> Option<Self> {
        let mongodb = server(variable)?;
        let postgres = server("DOCFERRY_TEST_POSTGRES")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("again.toml"), PIPELINE).unwrap();
        let runtime = Runtime::new().unwrap();
        let (client, target) = runtime.block_on(fresh_database(&postgres, name));
        let source = format!("{}&appName={name}", with_database(&mongodb, name));
        let database = runtime.block_on(async {
            let database = mongodb::Client::with_uri_str(&source).await.unwrap();
            let database = database.default_database().unwrap();
            database.drop().await.unwrap();
            database
        });
        let place = Self { folder, runtime, _client: client, target, source, database };
        let item = |n| doc! {"_id": n, "name": format!("item {n}"), "tags": ["a", {"b": n}]};
        place.insert("items", (0..ITEMS).map(item));
        Some(place)
    }

    fn insert(&self, collection: &str, documents: impl IntoIterator<Item = Document>) {
        let collection = self.database.collection::<Document>(collection);
        let documents: Vec<Document> = documents.into_iter().collect();
        self.runtime.block_on(async { collection.insert_many(documents).await.unwrap() });
    }

    fn command(&self, command: Document) {
        self.runtime.block_on(async { self.database.run_command(command).await.unwrap() });
    }

    fn update(&self, id: i64, set: Document) {
        let update = doc! {"q": {"_id": id}, "u": {"$set": set}};
        self.command(doc! {"update": "items", "updates": [update]});
    }

    fn staging(&self) -> PathBuf {
        self.folder.path().join("staging")
    }

    fn docferry(&self, command: &str, more: &[&str]) -> Output {
        let pipeline = self.folder.path().join("again.toml");
        let mut program = docferry();
        program.args([command, pipeline.to_str().unwrap()]).args(more);
        program.arg("--staging").arg(self.staging()).output().unwrap()
    }

    #[track_caller]
    fn done(&self, command: &str, more: &[&str]) {
        let output = self.docferry(command, more);
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    }

    fn export(&self) {
        self.done("export", &["--source", &self.source]);
    }

    /// Brings what is exported into PostgreSQL.
    fn load(&self) {
        self.done("transform", &[]);
        self.done("load", &["--target", &self.target]);
    }

    fn verify(&self, more: &[&str]) -> Output {
        self.docferry("verify", &[&["--target", &self.target], more].concat())
    }

    /// The source compared with the export.
    fn again(&self, sample: &str) -> (Option<i32>, String) {
        let output = self.verify(&["--source", &self.source, "--sample", sample]);
        (output.status.code(), shown(&output))
    }

    fn run(&self) -> RunDirectory {
        RunDirectory::open(&self.staging(), "again", "latest").unwrap()
    }

    fn report(&self) -> Json {
        let text = std::fs::read(self.run().resolve("report.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    /// What was found of a collection.
    fn found(&self, name: &str) -> Json {
        let report = self.report();
        let collections = report["source_again"]["collections"].as_array().unwrap();
        collections.iter().find(|found| found["collection"] == name).unwrap().clone()
    }

    /// Exports other documents than were read, with manifests and hashes that agree.
    fn falsify(&self, collection: &str, change: impl Fn(&mut Vec<Document>)) {
        let run = self.run();
        let mut manifest = ExportManifest::read(&run).unwrap();
        let namespace = format!("{}.{collection}", manifest.source.database);
        let found = manifest.collections.iter_mut().find(|found| found.name == collection).unwrap();
        let [part] = found.parts.as_slice() else { panic!("one part: {:?}", found.parts) };
        let mut kept = Vec::new();
        for batch in documents(&run, &part.file).unwrap() {
            let batch = batch.unwrap();
            kept.extend((0..batch.len()).map(|at| Document::from_reader(batch.bytes(at)).unwrap()));
        }
        change(&mut kept);
        let bytes: Vec<Vec<u8>> = kept
            .iter()
            .map(|document| RawDocumentBuf::try_from(document).unwrap().into_bytes())
            .collect();
        let ids: Vec<String> = bytes
            .iter()
            .map(|bytes| id_text(&Doc::new(bytes).unwrap().get("_id").unwrap().unwrap()).unwrap())
            .collect();
        let schema = export_schema(&namespace);
        let path = part.file.path.clone();
        let mut writer =
            PartWriter::create(&run, &path, Arc::clone(&schema), export_properties()).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(&ids)),
            Arc::new(BinaryArray::from_iter_values(&bytes)),
        ];
        writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
        let file = writer.finish().unwrap();
        found.documents = file.rows;
        found.document_bytes = bytes.iter().map(|bytes| bytes.len() as u64).sum();
        found.parts = vec![ExportPart {
            file,
            document_bytes: found.document_bytes,
            first_id: ids[0].clone(),
            last_id: ids.last().unwrap().clone(),
            high_water: None,
        }];
        let rows = found.documents;
        for object in manifest.source_objects.iter_mut().filter(|one| one.name == collection) {
            object.records = object.records.map(|_| rows);
        }
        manifest.write(&run).unwrap();
    }
}

/// An ObjectId as it is made half an hour from now.
fn later() -> ObjectId {
    let now = DateTime::now().timestamp_millis() / 1000 + 1800;
    ObjectId::from_parts(u32::try_from(now).unwrap(), [7; 5], [1, 2, 3])
}

fn fill(place: &Place) {
    let ids: Vec<Bson> = vec![
        Bson::MinKey,
        Bson::Null,
        Bson::Double(f64::NAN),
        Bson::Int32(1),
        Bson::Double(2.0),
        Bson::Decimal128("3.50".parse().unwrap()),
        Bson::Int64(1 << 60),
        "text".into(),
        Bson::Symbol("symbol".to_owned()),
        doc! {"a": 1, "b": [1.5]}.into(),
        Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![9; 16] }),
        ObjectId::new().into(),
        true.into(),
        DateTime::now().into(),
        Bson::MaxKey,
    ];
    place.insert("odd", ids.into_iter().map(|id| doc! {"_id": id, "v": 0.0}));
    let collation = doc! {"locale": "de", "strength": 1};
    place.command(doc! {"create": "words", "collation": collation});
    place.insert("words", ["Zebra", "äpfel", "birne", "Citrone"].map(|id| doc! {"_id": id}));
    place.command(doc! {"create": "few"});
    let series = doc! {"timeField": "at", "metaField": "of"};
    place.command(doc! {"create": "readings", "timeseries": series});
    let reading = |n: i64| {
        let mut reading =
            doc! {"at": DateTime::from_millis(1_700_000_000_000 + n / 2), "of": n % 3};
        reading.insert("value", n);
        if n % 5 == 0 {
            reading.insert("more", "x");
        }
        // As different drivers write them.
        reading.insert("_id", if n % 7 == 0 { Bson::Int64(1) } else { ObjectId::new().into() });
        reading
    };
    place.insert("readings", (0..60).map(reading));
}

#[test]
fn a_sound_export_is_what_the_source_holds() {
    for (variable, moment) in [
        ("DOCFERRY_TEST_MONGODB", "the source was read again at the export's cluster time"),
        ("DOCFERRY_TEST_MONGODB_STANDALONE", "the source was read again as it is now"),
    ] {
        let name = format!("again_sound_{}", variable.len());
        let Some(place) = Place::new(variable, &name) else { return };
        fill(&place);
        let arguments = ["--source", &place.source, "--target", &place.target];
        let output = place.docferry("run", &arguments);
        for sample in ["1000", "all", "3"] {
            let (code, text) = if sample == "1000" {
                (output.status.code(), shown(&output))
            } else {
                place.again(sample)
            };
            assert_eq!(code, Some(0), "{text}");
            assert!(text.contains(moment), "{text}");
            for (collection, documents) in
                [("items", 250), ("odd", 15), ("words", 4), ("few", 0), ("readings", 60)]
            {
                let found = place.found(collection);
                assert_eq!(found["exported"], documents, "{found}");
                assert_eq!(found["counted"], documents, "{found}");
                assert_eq!((&found["different"], &found["changed_since"]), (&0.into(), &0.into()));
                let drawn = documents.min(sample.parse().unwrap_or(1000));
                assert_eq!((&found["sampled"], &found["asked"]), (&drawn.into(), &drawn.into()));
                let equal = found["equal"].as_u64().unwrap();
                // Of two samples a document may be in both.
                assert!(equal >= drawn && equal <= drawn * 2, "{found}");
            }
        }
        assert_eq!(place.report()["proved"], true);
        let mut rollback = docferry();
        rollback.args(["rollback", "latest", "--target", &place.target]).assert().success();
        let output = place.docferry("run", &[&arguments[..], &["--no-source"]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        assert!(shown(&output).contains("the source was not read again"), "{}", shown(&output));
        assert!(place.report()["source_again"].is_null());
    }
}

#[test]
fn a_document_that_the_export_lost_is_found() {
    let Some(place) = Place::new("DOCFERRY_TEST_MONGODB", "again_lost") else { return };
    fill(&place);
    place.export();
    place.falsify("items", |items| items.retain(|item| item.get_i64("_id").unwrap() != 77));
    place.falsify("words", |words| words.retain(|word| word.get_str("_id").unwrap() != "birne"));
    place.falsify("readings", |all| all.retain(|one| one.get_i64("value").unwrap() != 11));
    place.load();
    // Nothing else can tell.
    let output = place.verify(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(shown(&output).contains("the source was not read again"), "{}", shown(&output));
    for sample in ["all", "1000"] {
        let (code, text) = place.again(sample);
        assert_eq!(code, Some(4), "{text}");
        for line in [
            r#"collection items, _id {"$numberLong":"77"}: the source holds a document that the export has not"#,
            "collection items: the source counts 250 documents, the export has 249",
            r#"collection words, _id "birne": the source holds a document that the export has not"#,
            "collection readings: the source counts 60 documents, the export has 59",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert_eq!(place.found("readings")["different"], 1, "{text}");
        assert_eq!(place.report()["proved"], false);
        let page = std::fs::read_to_string(place.run().resolve("report.html")).unwrap();
        let told = "&quot;birne&quot;: the source holds a document that the export has not";
        assert!(page.contains("<h2>Source read again</h2>") && page.contains(told), "{page}");
    }
    // Where the sample misses it, the counts tell.
    let (code, text) = place.again("10");
    assert_eq!(code, Some(4), "{text}");
    let found = place.found("items");
    assert_eq!((&found["sampled"], &found["asked"]), (&10.into(), &10.into()));
}

#[test]
fn a_document_that_the_export_changed_or_made_up_is_found() {
    let Some(place) = Place::new("DOCFERRY_TEST_MONGODB", "again_changed") else { return };
    fill(&place);
    place.export();
    place.falsify("items", |items| {
        items[42].get_array_mut("tags").unwrap()[1] = doc! {"b": 43_i64}.into();
        items.push(doc! {"_id": 9000_i64, "name": "made up"});
    });
    place.falsify("odd", |odd| {
        let one = odd.iter_mut().find(|one| one.get("_id") == Some(&Bson::Int32(1))).unwrap();
        one.insert("_id", 1.0);
    });
    place.falsify("readings", |all| {
        let one = all.iter_mut().find(|one| one.get_i64("value").unwrap() == 12).unwrap();
        one.insert("value", 12.5);
    });
    place.load();
    for sample in ["all", "1000"] {
        let (code, text) = place.again(sample);
        assert_eq!(code, Some(4), "{text}");
        for line in [
            r#"collection items, _id {"$numberLong":"42"}, field tags.1.b: the document differs ({"$numberLong":"42"} at the source, {"$numberLong":"43"} in the export)"#,
            r#"collection items, _id {"$numberLong":"9000"}: the export holds a document that the source has not"#,
            r#"collection odd, _id {"$numberDouble":"1.0"}, field _id: the document differs ({"$numberInt":"1"} at the source, {"$numberDouble":"1.0"} in the export)"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(place.found("readings")["different"].as_u64().unwrap() >= 1, "{text}");
    }
    let field = r#"field value: the document differs ({"$numberLong":"12"} at the source, {"$numberDouble":"12.5"} in the export)"#;
    assert!(place.again("all").1.contains(field));
}

#[test]
fn what_is_written_after_a_snapshot_is_no_difference() {
    let Some(place) = Place::new("DOCFERRY_TEST_MONGODB", "again_after") else { return };
    fill(&place);
    place.export();
    place.load();
    place.insert("items", [doc! {"_id": 1000_i64}, doc! {"_id": "text"}]);
    place.update(5, doc! {"name": "other"});
    place.command(doc! {"delete": "items", "deletes": [{"q": {"_id": 6_i64}, "limit": 1}]});
    place.insert("readings", [doc! {"at": DateTime::now(), "of": 1, "value": 1}]);
    place.insert("late", [doc! {"_id": later()}]);
    for sample in ["all", "1000"] {
        let (code, text) = place.again(sample);
        assert_eq!(code, Some(0), "{text}");
        let found = place.found("items");
        assert_eq!((&found["at_export"], &found["counted"]), (&true.into(), &250.into()));
        assert_eq!(found["changed_since"], 0, "{found}");
    }
    // One that was renamed may be readable only as it is now: under its new name.
    let (from, to) = ("again_after.items", "again_after.things");
    let rename = doc! {"renameCollection": from, "to": to};
    let client = place.database.client().database("admin");
    place.runtime.block_on(async { client.run_command(rename).await.unwrap() });
    let (code, text) = place.again("all");
    let found = place.found("items");
    if found["at_export"] == true {
        assert_eq!((code, &found["counted"]), (Some(0), &250.into()), "{text}");
    } else {
        assert_eq!((code, &found["different"]), (Some(4), &4.into()), "{text}");
        assert!(text.contains("items has the name things now"), "{text}");
    }
}

#[test]
fn an_incremental_export_is_compared_as_a_whole() {
    let Some(place) = Place::new("DOCFERRY_TEST_MONGODB", "again_increments") else { return };
    let changed = |id: i64| doc! {"_id": id, "name": "new", "changed": DateTime::now()};
    place.insert("items", [changed(300)]);
    let backup = ["--source", &place.source, "--since-last", "--detect-deletes"];
    place.done("backup", &backup);
    place.insert("items", [changed(301)]);
    place.update(5, doc! {"name": "other", "changed": DateTime::now()});
    place.command(doc! {"delete": "items", "deletes": [{"q": {"_id": 6_i64}, "limit": 1}]});
    place.done("backup", &backup);
    assert!(ExportManifest::read(&place.run()).unwrap().base.is_some());
    place.load();
    place.update(7, doc! {"name": "later"});
    for sample in ["all", "1000"] {
        let (code, text) = place.again(sample);
        assert_eq!(code, Some(0), "{text}");
        let found = place.found("items");
        assert_eq!((&found["exported"], &found["equal"]), (&251.into(), &251.into()), "{text}");
    }
}

#[test]
fn an_answer_that_fails_is_asked_for_again() {
    let _turn = failpoint();
    let Some(place) = Place::new("DOCFERRY_TEST_MONGODB", "again_failing") else { return };
    place.insert("few", (0..11_000).map(|n| doc! {"_id": n}));
    place.export();
    place.load();
    let admin = place.database.client().database("admin");
    let fail = |mode: Bson, command: &str| {
        let data = doc! {
            "failCommands": [command], "closeConnection": true, "appName": "again_failing",
        };
        let command = doc! {"configureFailPoint": "failCommand", "mode": mode, "data": data};
        place.runtime.block_on(async { admin.run_command(command).await.unwrap() });
    };
    for (command, sample) in [("getMore", "all"), ("find", "all"), ("find", "5000")] {
        fail(doc! {"times": 1}.into(), command);
        let (code, text) = place.again(sample);
        fail("off".into(), command);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("trying again"), "{text}");
        assert_eq!(place.found("few")["different"], 0);
    }
    assert_eq!(place.found("few")["sampled"], 5000);
}

#[test]
fn without_a_snapshot_documents_tell_when_they_were_written() {
    let Some(place) = Place::new("DOCFERRY_TEST_MONGODB_STANDALONE", "again_now") else { return };
    place.export();
    place.load();
    place.insert("items", [doc! {"_id": later(), "name": "new"}]);
    place.insert("late", [doc! {"_id": later()}]);
    for sample in ["all", "1000"] {
        let (code, text) = place.again(sample);
        assert_eq!(code, Some(0), "{text}");
        let found = place.found("items");
        assert_eq!((&found["at_export"], &found["changed_since"]), (&false.into(), &1.into()));
        assert_eq!((&found["counted"], &found["equal"]), (&251.into(), &250.into()));
        assert_eq!(place.found("late")["written_since"], 1);
    }
    // The field of the last change says so too.
    let soon = DateTime::from_millis(DateTime::now().timestamp_millis() + 60_000);
    place.update(7, doc! {"name": "other", "changed": soon});
    let (code, text) = place.again("all");
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(place.found("items")["changed_since"], 2);
    // What nothing speaks for is a difference.
    place.update(8, doc! {"name": "other"});
    place.insert("items", [doc! {"_id": -1_i64}]);
    let (code, text) = place.again("all");
    assert_eq!(code, Some(4), "{text}");
    let told = "changed since the export, or lost: cannot be told apart";
    for line in [
        format!(r#"_id {{"$numberLong":"8"}}, field name: the document differs: {told}"#),
        format!(
            r#"_id {{"$numberLong":"-1"}}: the source holds a document that the export has not: {told}"#
        ),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    let (code, text) = place.again("10");
    assert_eq!(code, Some(4), "{text}");
    assert!(
        text.contains("the source counts 252 documents, the export has 250, and 1 have"),
        "{text}"
    );
}

#[test]
fn a_history_that_is_gone_is_said() {
    let _turn = failpoint();
    let Some(place) = Place::new("DOCFERRY_TEST_MONGODB", "again_gone") else { return };
    place.export();
    place.load();
    place.insert("items", [doc! {"_id": later()}]);
    let admin = place.database.client().database("admin");
    let fail = |mode: Bson| {
        // The second aggregation counts the documents of the first collection.
        let data = doc! {"failCommands": ["aggregate"], "errorCode": 239, "appName": "again_gone"};
        let command = doc! {"configureFailPoint": "failCommand", "mode": mode, "data": data};
        place.runtime.block_on(async { admin.run_command(command).await.unwrap() });
    };
    fail(doc! {"times": 2}.into());
    let (code, text) = place.again("all");
    fail("off".into());
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("items was read again as it is now: the snapshot of"), "{text}");
    let found = place.found("items");
    assert_eq!((&found["at_export"], &found["changed_since"]), (&false.into(), &1.into()));
}

#[test]
fn collections_of_one_side_are_found() {
    for variable in ["DOCFERRY_TEST_MONGODB", "DOCFERRY_TEST_MONGODB_STANDALONE"] {
        let name = format!("again_sides_{}", variable.len());
        let Some(place) = Place::new(variable, &name) else { return };
        fill(&place);
        place.export();
        let run = place.run();
        let mut manifest = ExportManifest::read(&run).unwrap();
        manifest.collections.retain(|found| found.name != "odd");
        manifest.source_objects.retain(|object| object.name != "odd");
        manifest.write(&run).unwrap();
        place.load();
        let (code, text) = place.again("10");
        assert_eq!(code, Some(4), "{text}");
        assert!(text.contains("collection odd: the export has no such collection"), "{text}");
        let found = place.found("odd");
        assert_eq!((&found["exported"], &found["counted"]), (&Json::Null, &15.into()));
        // One that is dropped can be read no more, or only as it was.
        place.command(doc! {"drop": "few"});
        let (_, text) = place.again("10");
        let standalone = variable.ends_with("STANDALONE");
        let gone = text.contains("collection few: the source has no such collection");
        assert!(gone || !standalone, "{text}");
    }
}

#[test]
fn a_source_that_cannot_be_read_is_an_error() {
    let Some(place) = Place::new("DOCFERRY_TEST_MONGODB", "again_away") else { return };
    place.export();
    place.load();
    let away = "mongodb://user:secret@127.0.0.1:1/again_away?serverSelectionTimeoutMS=200";
    let output = place.verify(&["--source", away]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(!shown(&output).contains("secret"), "{}", shown(&output));
    let output = place.verify(&["--source", &place.source, "--sample", "0"]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let folder = place.folder.path().join("dump");
    crate::support::write_dump(&folder, "items", &[doc! {"_id": 1}]);
    let output = place.verify(&["--source", folder.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(
        shown(&output).contains("the source was not read again: it is no"),
        "{}",
        shown(&output)
    );
}
