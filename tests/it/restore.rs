//! Exports back into MongoDB, and into the files of its own tools.

use std::path::{Path, PathBuf};
use std::process::Output;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc,
};
use mongodb::{Client, Database};
use tokio::runtime::Runtime;

use crate::support::{data, docferry, server, shown, with_database};

const PIPELINE: &str = "version = 1\nname = \"back\"\n";

/// One value of each BSON type, deprecated ones too.
fn every_type() -> Document {
    let mut document = doc! {
        "double": 0.1, "nan": f64::NAN, "minus zero": -0.0, "string": "ž\u{0}x", "document": {"b": 1, "a": 2},
        "array": [1, [2, []], {}], "object id": ObjectId::from_bytes([9; 12]), "true": true,
        "date": DateTime::from_millis(-62_135_596_800_001), "null": null, "int": i32::MIN,
        "long": i64::MAX, "decimal": "1.10".parse::<Decimal128>().unwrap(),
        "regex": Regex { pattern: "^a/".try_into().unwrap(), options: "im".try_into().unwrap() },
        "code": Bson::JavaScriptCode("x()".into()), "symbol": Bson::Symbol("s".into()),
        "scope": JavaScriptCodeWithScope { code: "y".into(), scope: doc! {"y": 1} },
        "timestamp": Timestamp { time: 7, increment: 9 },
        "empty timestamp": Timestamp { time: 0, increment: 0 },
        "min": Bson::MinKey, "max": Bson::MaxKey, "undefined": Bson::Undefined,
        "": "no name", "a.b": 1, "$c": 2,
    };
    for (name, subtype) in [
        ("generic", BinarySubtype::Generic),
        ("uuid", BinarySubtype::Uuid),
        ("old uuid", BinarySubtype::UuidOld),
        ("old", BinarySubtype::BinaryOld),
        ("own", BinarySubtype::UserDefined(0x80)),
    ] {
        document.insert(name, Binary { subtype, bytes: (0..16).collect() });
    }
    document
}

/// A database with every kind of index and collection.
async fn fill(database: &Database) {
    database.drop().await.unwrap();
    let run = |command: Document| async { database.run_command(command).await.unwrap() };
    let insert = |name: &'static str, documents: Vec<Document>| async move {
        database.collection::<Document>(name).insert_many(documents).await.unwrap();
    };
    run(doc! {"create": "people", "validator": {"$jsonSchema": {"required": ["name"]}}, "validationLevel": "moderate"}).await;
    let people = (0..3000).map(|n| {
        doc! {"_id": n, "name": format!("n{n}"), "mail": format!("{n}@example.com"), "age": n % 90,
            "about": "likes the sea", "place": {"type": "Point", "coordinates": [f64::from(n % 90), 10.0]}}
    });
    insert("people", people.collect()).await;
    run(doc! {"insert": "people", "documents": [{"_id": "no name"}], "bypassDocumentValidation": true}).await;
    run(doc! {"createIndexes": "people", "indexes": [
        {"key": {"mail": 1}, "name": "mail", "unique": true, "partialFilterExpression": {"mail": {"$exists": true}}},
        {"key": {"age": -1, "name": 1}, "name": "old first", "hidden": true},
        {"key": {"about": "text", "name": "text"}, "name": "words", "weights": {"about": 5}, "default_language": "english"},
        {"key": {"place": "2dsphere"}, "name": "near"},
        {"key": {"name": 1}, "name": "czech", "collation": {"locale": "cs", "strength": 2}},
        {"key": {"_id": "hashed"}, "name": "hashed"},
        {"key": {"$**": 1}, "name": "all", "wildcardProjection": {"age": 1}},
    ]}).await;
    insert("sessions", vec![doc! {"_id": ObjectId::from_bytes([1; 12]), "until": DateTime::MAX}])
        .await;
    run(doc! {"createIndexes": "sessions", "indexes": [{"key": {"until": 1}, "name": "ttl", "expireAfterSeconds": 3600}]}).await;
    let mut all = every_type();
    all.insert("_id", "all");
    insert("types", vec![all]).await;
    let ids = every_type().into_iter().filter(|(name, value)| {
        !matches!(value, Bson::Array(_) | Bson::RegularExpression(_) | Bson::Undefined)
            && name != "empty timestamp"
    });
    insert("ids", ids.map(|(name, value)| doc! {"_id": value, "name": name}).collect()).await;
    run(doc! {"create": "czech", "collation": {"locale": "cs"}}).await;
    insert("czech", vec![doc! {"_id": "č"}, doc! {"_id": "d"}, doc! {"_id": "c"}]).await;
    run(doc! {"create": "log", "capped": true, "size": 65536, "max": 100}).await;
    insert("log", (0..20).map(|n| doc! {"_id": n}).collect()).await;
    run(doc! {"create": "empty"}).await;
    insert("dots.and spaces/ž%", vec![doc! {"_id": 1}]).await;
    run(doc! {"create": "grown", "viewOn": "people", "pipeline": [{"$match": {"age": {"$gte": 18}}}]}).await;
}

/// `dbHash`, options and indexes of every collection.
async fn state(database: &Database) -> (Document, Vec<Document>) {
    let mut hash = database.run_command(doc! {"dbHash": 1}).await.unwrap();
    // It holds names with the database's; the views are compared as they are listed.
    hash.get_document_mut("collections").unwrap().remove("system.views");
    let mut listed = Vec::new();
    let mut cursor = database.run_cursor_command(doc! {"listCollections": 1}).await.unwrap();
    while cursor.advance().await.unwrap() {
        let mut entry: Document = cursor.deserialize_current().unwrap();
        entry.remove("info");
        let name = entry.get_str("name").unwrap().to_owned();
        if name.starts_with("system.") {
            continue;
        }
        if entry.get_str("type").unwrap() == "collection" {
            let mut indexes =
                database.run_cursor_command(doc! {"listIndexes": &name}).await.unwrap();
            let mut found: Vec<Document> = Vec::new();
            while indexes.advance().await.unwrap() {
                found.push(indexes.deserialize_current().unwrap());
            }
            found.sort_by_key(|index| index.get_str("name").unwrap().to_owned());
            entry.insert("indexes", found);
        }
        listed.push(entry);
    }
    listed.sort_by_key(|entry| entry.get_str("name").unwrap().to_owned());
    (hash.get_document("collections").unwrap().clone(), listed)
}

struct Trial {
    folder: tempfile::TempDir,
    runtime: Runtime,
    server: String,
}

impl Trial {
    fn new() -> Option<Self> {
        let server = server("DOCFERRY_TEST_MONGODB")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("back.toml"), PIPELINE).unwrap();
        Some(Self { folder, runtime: Runtime::new().unwrap(), server })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn uri(&self, database: &str) -> String {
        with_database(&self.server, database)
    }

    fn database(&self, name: &str) -> Database {
        self.runtime
            .block_on(async { Client::with_uri_str(&self.server).await.unwrap() })
            .database(name)
    }

    fn docferry(&self, arguments: &[&str]) -> Output {
        docferry().args(arguments).arg("--staging").arg(self.path("staging")).output().unwrap()
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) -> String {
        let output = self.docferry(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        shown(&output)
    }

    fn export(&self, source: &str) {
        let pipeline = self.path("back.toml");
        self.done(&["export", pipeline.to_str().unwrap(), "--source", source]);
    }

    #[track_caller]
    fn assert_same(&self, left: &Database, right: &Database) {
        let (left, right) =
            self.runtime.block_on(async { (state(left).await, state(right).await) });
        // The order of a capped collection is that of its inserts, here the same.
        assert_eq!(left.0, right.0);
        assert_eq!(left.1, right.1);
    }
}

#[test]
fn a_restored_database_has_the_same_hash_whichever_way_it_took() {
    let Some(trial) = Trial::new() else { return };
    let source = trial.database("docferry_restore");
    trial.runtime.block_on(fill(&source));
    let back = trial.database("docferry_restore_back");
    let again = |from: &str| {
        trial.runtime.block_on(async { back.drop().await.unwrap() });
        trial.export(from);
        trial.done(&["restore", "latest", "--to", &trial.uri("docferry_restore_back")]);
        trial.assert_same(&source, &back);
    };
    again(&trial.uri("docferry_restore"));

    // As the files of MongoDB's tools, which are read again.
    for (to, read) in [
        ("plain", "plain/docferry_restore"),
        ("packed", "packed"),
        ("all.archive", "all.archive"),
        ("all.archive.gz", "all.archive.gz"),
    ] {
        let mut arguments = vec!["restore".to_owned(), "latest".to_owned(), "--to".to_owned()];
        arguments.push(trial.path(to).display().to_string());
        if to == "packed" {
            arguments.push("--gzip".to_owned());
        }
        trial.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        again(trial.path(read).to_str().unwrap());
    }
    assert!(trial.path("plain/docferry_restore/dots.and+spaces%2F%C5%BE%25.bson").is_file());
    assert!(trial.path("packed/docferry_restore/people.metadata.json.gz").is_file());

    // Nothing is written over.
    let output =
        trial.docferry(&["restore", "latest", "--to", trial.path("plain").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    let to = trial.uri("docferry_restore_back");
    let output = trial.docferry(&["restore", "latest", "--to", &to]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("people") && shown(&output).contains("--existing"));
    trial.done(&["restore", "latest", "--to", &to, "--existing", "drop"]);
    trial.assert_same(&source, &back);
    trial.done(&["restore", "latest", "--to", &to, "--existing", "add"]);
    trial.assert_same(&source, &back);
}

#[test]
fn what_was_lost_is_put_back_and_nothing_else() {
    let Some(trial) = Trial::new() else { return };
    let source = trial.database("docferry_restore_part");
    trial.runtime.block_on(fill(&source));
    let uri = trial.uri("docferry_restore_part");
    trial.export(&uri);
    let people = source.collection::<Document>("people");
    trial.runtime.block_on(async {
        people.delete_one(doc! {"_id": 7}).await.unwrap();
        people.update_one(doc! {"_id": 8}, doc! {"$set": {"name": "changed"}}).await.unwrap();
        people.update_one(doc! {"_id": 9}, doc! {"$set": {"name": "kept"}}).await.unwrap();
    });
    let name = |id: i32| {
        let found = trial.runtime.block_on(async { people.find_one(doc! {"_id": id}).await });
        found.unwrap().map(|found| found.get_str("name").unwrap().to_owned())
    };
    let ids = ["--id", "{\"$numberInt\":\"7\"}", "--id", "{\"$numberInt\":\"8\"}"];
    let mut arguments = vec!["restore", "latest", "--collection", "people", "--to", &uri];
    arguments.extend(ids);
    let output = trial.docferry(&arguments);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    // One that changed since is named, and left as it is.
    arguments.extend(["--existing", "add"]);
    let output = trial.docferry(&arguments);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert!(shown(&output).contains("{\"$numberInt\":\"8\"}"), "{}", shown(&output));
    assert_eq!((name(7), name(8)), (Some("n7".into()), Some("changed".into())));
    *arguments.last_mut().unwrap() = "replace";
    trial.done(&arguments);
    assert_eq!((name(8), name(9)), (Some("n8".into()), Some("kept".into())));

    // A part in files.
    let to = trial.path("part");
    trial.done(&[
        "restore",
        "latest",
        "--collection",
        "people",
        "--filter",
        r#"{"age": {"$lt": 10}}"#,
        "--to",
        to.to_str().unwrap(),
    ]);
    let folder = to.join("docferry_restore_part");
    let mut files: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["people.bson", "people.metadata.json"]);
    let bytes = std::fs::read(folder.join("people.bson")).unwrap();
    let mut documents = Vec::new();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        documents.push(Document::from_reader(&mut rest).unwrap());
    }
    assert!(documents.iter().all(|document| document.get_i32("age").unwrap() < 10));
    assert_eq!(documents.len(), 340);

    for (arguments, hint) in [
        (vec!["--collection", "peple", "--to", "x"], "`people`"),
        (vec!["--id", "nobody", "--to", "x", "--collection", "log"], "_id"),
        (vec!["--filter", "{\"$where\": \"1\"}", "--to", "x"], "$where"),
        (vec!["--collection", "people", "--to", "sqlite:x.db"], "as a whole"),
    ] {
        let output = trial.docferry(&[&["restore", "latest"], arguments.as_slice()].concat());
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains(hint), "{}", shown(&output));
    }
}

/// What a metadata file says.
fn metadata(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn real_dumps_come_back_with_the_same_bytes_and_names() {
    let (Some(data), Some(trial)) = (data(), Trial::new()) else { return };
    for dump in ["mongodump/sample_mflix", "mongodump/dbkoda", "mongo-tools/foodump/test"] {
        let dump = data.join(dump);
        trial.export(dump.to_str().unwrap());
        let to = trial.path(&format!("again-{}", dump.file_name().unwrap().display()));
        trial.done(&["restore", "latest", "--to", to.to_str().unwrap()]);
        let folder = to.join(dump.file_name().unwrap());
        for entry in std::fs::read_dir(&dump).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let written = folder.join(name);
            if name.ends_with(".metadata.json") {
                let (before, after) = (metadata(&path), metadata(&written));
                for (key, value) in before.as_object().unwrap() {
                    assert_eq!(after.get(key), Some(value), "{key} of {}", path.display());
                }
            } else if path.extension().is_some_and(|ending| ending == "bson") {
                let mut before = documents(&path);
                let mut after = documents(&written);
                before.sort();
                after.sort();
                assert_eq!(before, after, "{}", path.display());
            }
        }
    }
}

/// The documents of a file.
fn documents(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut documents = Vec::new();
    while let Some(length) = rest.first_chunk::<4>() {
        let (document, more) = rest.split_at(u32::from_le_bytes(*length) as usize);
        documents.push(document.to_vec());
        rest = more;
    }
    documents
}

#[test]
fn a_restore_is_tried_and_leaves_nothing_behind() {
    let Some(trial) = Trial::new() else { return };
    let source = trial.database("docferry_tried");
    trial.runtime.block_on(fill(&source));
    trial.export(&trial.uri("docferry_tried"));
    let folder = trial.path("scratch");
    std::fs::create_dir(&folder).unwrap();
    let names =
        || trial.runtime.block_on(async { source.client().list_database_names().await.unwrap() });
    let before = names();
    for scratch in [folder.to_str().unwrap(), trial.server.as_str()] {
        let text = trial.done(&["restore-check", "latest", "--scratch", scratch]);
        assert!(text.contains("every digest agrees"), "{text}");
    }
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    let left: Vec<String> = names().into_iter().filter(|name| !before.contains(name)).collect();
    // Another test has some of its own.
    let own = |name: &&String| !name.starts_with("docferry_check_20260101");
    assert!(left.iter().filter(own).all(|name| !name.starts_with("docferry_check")), "{left:?}");
}

#[test]
fn a_dump_beside_the_run_is_tried_too() {
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/shop");
    let documents: Vec<Document> = (0..500)
        .map(|n| doc! {"_id": n, "state": if n % 2 == 0 { "NEW" } else { "OLD" }, "tags": ["a"]})
        .collect();
    crate::support::write_dump(&dump, "orders", &documents);
    let pipeline = folder.path().join("dumped.toml");
    std::fs::write(
        &pipeline,
        "version = 1\nname = \"dumped\"\n[enums]\nOrder_State = [\"NEW\", \"OLD\"]\n\
         [tables.orders.columns]\nid = { from = \"_id\", type = \"integer\", key = true }\n\
         state = { type = \"Order_State\" }\ntags = { type = \"text[]\" }\n",
    )
    .unwrap();
    let migrated =
        crate::support::migrate(&pipeline, dump.to_str().unwrap(), "docferry_dumped").unwrap();
    migrated.assert_whole(500, 0);
    let staging = migrated.folder.path().join("staging");
    let run = |arguments: &[&str]| {
        docferry().args(arguments).arg("--staging").arg(&staging).output().unwrap()
    };
    let tried = || run(&["restore-check", "latest", "--scratch", &postgres]);
    let output = tried();
    assert!(shown(&output).contains("the staged rows of run"), "{}", shown(&output));
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));

    let output = run(&["dump", "latest", "--target", &migrated.address]);
    assert!(output.status.success(), "{}", shown(&output));
    assert!(migrated.run().join("dump/public.dump").is_file());
    let output = tried();
    assert!(shown(&output).contains("the dump of run"), "{}", shown(&output));
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(run(&["audit", "latest", "--read-data"]).status.success());

    // A dump of something else is no dump of this.
    let manifest = migrated.run().join("dump/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(
        &manifest,
        text.replace("\"rows\": 500,\n      \"digest\"", "\"rows\": 501,\n      \"digest\""),
    )
    .unwrap();
    let output = tried();
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    assert!(shown(&output).contains("table orders holds 500 rows"), "{}", shown(&output));
    std::fs::write(&manifest, text).unwrap();
    let file = migrated.run().join("dump/public.dump");
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    assert_eq!(tried().status.code(), Some(12));
    assert!(run(&["audit", "latest"]).status.success(), "its size is the same");
    assert_eq!(run(&["audit", "latest", "--hashes"]).status.code(), Some(12));
    // Another test has some of its own.
    let left = migrated.rows(
        "SELECT datname::text FROM pg_database WHERE datname LIKE 'docferry_check%' \
         AND datname NOT LIKE 'docferry_check_20260101%'",
    );
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn a_restore_that_was_killed_goes_on_to_the_same_end() {
    let Some(trial) = Trial::new() else { return };
    let source = trial.database("docferry_restore_kill");
    let back = trial.database("docferry_restore_kill_back");
    trial.runtime.block_on(async {
        fill(&source).await;
        let many = source.collection::<Document>("many");
        let documents = (0..40_000).map(|n| doc! {"_id": n, "text": "x".repeat(1500)});
        many.insert_many(documents).await.unwrap();
        let index = doc! {"createIndexes": "many", "indexes": [{"key": {"text": 1, "_id": 1}, "name": "text"}]};
        source.run_command(index).await.unwrap();
    });
    trial.export(&trial.uri("docferry_restore_kill"));
    let to = trial.uri("docferry_restore_kill_back");
    let arguments = ["restore", "latest", "--to", &to, "--threads", "1", "--staging"];
    let part = ["--collection", "many", "--filter", r#"{"_id": {"$lt": 30000}}"#];
    for (point, more) in [(5000, &[][..]), (20_000, &[]), (35_000, &[]), (25_000, &part)] {
        trial.runtime.block_on(async { back.drop().await.unwrap() });
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("docferry"))
            .args(arguments)
            .arg(trial.path("staging"))
            .args(more)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let many = back.collection::<Document>("many");
        let mut killed = false;
        while !killed && child.try_wait().unwrap().is_none() {
            let there =
                trial.runtime.block_on(async { many.estimated_document_count().await.unwrap() });
            if there >= point {
                child.kill().unwrap();
                killed = true;
            }
        }
        child.wait().unwrap();
        assert!(killed, "it was still at work with {point} documents");
        trial.done(&[&["restore", "latest", "--to", &to], more].concat());
        if more.is_empty() {
            trial.assert_same(&source, &back);
        } else {
            let found = trial.runtime.block_on(async { many.count_documents(doc! {}).await });
            assert_eq!(found.unwrap(), 30_000);
        }
    }
}

#[test]
fn a_filter_takes_what_the_server_takes() {
    let Some(trial) = Trial::new() else { return };
    let database = trial.database("docferry_filter");
    let values: Vec<Bson> = vec![
        Bson::Int32(1),
        Bson::Int64(1),
        Bson::Double(1.0),
        Bson::Double(1.5),
        Bson::Double(f64::NAN),
        Bson::Decimal128("1".parse().unwrap()),
        Bson::Int32(-3),
        Bson::String(String::new()),
        Bson::String("a".into()),
        Bson::String("b".into()),
        Bson::Null,
        Bson::Boolean(true),
        Bson::Boolean(false),
        Bson::DateTime(DateTime::from_millis(0)),
        Bson::DateTime(DateTime::MAX),
        Bson::ObjectId(ObjectId::from_bytes([7; 12])),
        Bson::MinKey,
        Bson::MaxKey,
        Bson::Array(vec![]),
        Bson::Array(vec![1.into(), "a".into()]),
        Bson::Array(vec![Bson::Null]),
        Bson::Array(vec![Bson::Array(vec![1.into()])]),
        Bson::Document(doc! {}),
        Bson::Document(doc! {"b": 1}),
        Bson::Document(doc! {"b": 1, "c": 2}),
        Bson::Array(vec![doc! {"b": 1}.into(), doc! {"b": [2, 3]}.into(), 4.into()]),
        Bson::Timestamp(Timestamp { time: 3, increment: 1 }),
    ];
    let mut documents: Vec<Document> =
        (0..).zip(&values).map(|(n, value)| doc! {"_id": n, "a": value.clone()}).collect();
    documents.push(doc! {"_id": 100});
    let collection = database.collection::<Document>("values");
    trial.runtime.block_on(async {
        database.drop().await.unwrap();
        collection.insert_many(&documents).await.unwrap();
    });
    let mut filters = Vec::new();
    for value in &values {
        for operator in ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"] {
            filters.push(doc! {"a": {operator: value.clone()}});
            filters.push(doc! {"a.b": {operator: value.clone()}});
        }
        filters.push(doc! {"a": {"$in": [value.clone(), 1.5]}});
        filters.push(doc! {"a": {"$nin": [value.clone(), "b"]}});
        filters.push(doc! {"a": {"$not": {"$gte": value.clone()}}});
        filters.push(doc! {"a.0": value.clone()});
        filters.push(doc! {"$or": [{"a": value.clone()}, {"_id": {"$lt": 2}}]});
    }
    filters.push(doc! {"a": {"$exists": false}});
    filters.push(doc! {"a.b": {"$exists": true}});
    let mut differing = Vec::new();
    for filter in filters {
        let text = Bson::Document(filter.clone()).into_canonical_extjson().to_string();
        let parsed = docferry::document::filter::Filter::parse(&text).unwrap();
        let taken: Vec<i32> = documents
            .iter()
            .filter(|document| {
                let bytes = mongodb::bson::RawDocumentBuf::try_from(*document).unwrap();
                parsed.takes(docferry::document::raw::Doc::new(bytes.as_bytes()).unwrap()).unwrap()
            })
            .map(|document| document.get_i32("_id").unwrap())
            .collect();
        let found: Vec<i32> = trial.runtime.block_on(async {
            let mut cursor = collection.find(filter.clone()).sort(doc! {"_id": 1}).await.unwrap();
            let mut found = Vec::new();
            while cursor.advance().await.unwrap() {
                found.push(cursor.deserialize_current().unwrap().get_i32("_id").unwrap());
            }
            found
        });
        if taken != found {
            differing.push(format!("{text}: {taken:?}, the server takes {found:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
