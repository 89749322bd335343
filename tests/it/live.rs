//! Exports of a running server while collections are renamed, dropped and replaced, with `_id`s of
//! all kinds, and with answers that fail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::MutexGuard;

use docferry::staging::exported::documents;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::ExportManifest;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocumentBuf,
    Timestamp, doc,
};
use mongodb::{Client, Database};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::runtime::Runtime;

use crate::support::{failpoint, server, shown, with_database};

/// Documents of the collection that is changed: several replies.
const DOCUMENTS: i32 = 11_000;

struct Trial {
    /// There is one `failCommand` in a server.
    _failpoint: MutexGuard<'static, ()>,
    folder: tempfile::TempDir,
    runtime: Runtime,
    server: String,
    client: Client,
    name: &'static str,
}

impl Trial {
    fn new(variable: &str, name: &'static str) -> Option<Self> {
        let server = server(variable)?;
        let guard = failpoint();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("live.toml"), "version = 1\nname = \"live\"\n").unwrap();
        let runtime = Runtime::new().unwrap();
        let client = runtime.block_on(async { Client::with_uri_str(&server).await.unwrap() });
        Some(Self { _failpoint: guard, folder, runtime, server, client, name })
    }

    fn database(&self) -> Database {
        self.client.database(self.name)
    }

    fn run(&self, database: &str, command: Document) -> Document {
        let database = self.client.database(database);
        self.runtime.block_on(async { database.run_command(command).await.unwrap() })
    }

    fn insert(&self, collection: &str, documents: &[Document]) {
        let collection = self.database().collection::<Document>(collection);
        self.runtime.block_on(async { collection.insert_many(documents).await.unwrap() });
    }

    /// The database anew.
    fn fill(&self) {
        self.run(self.name, doc! {"dropDatabase": 1});
        let numbers = |count| (0..count).map(|n| doc! {"_id": n, "of": "many"}).collect::<Vec<_>>();
        self.insert("orders", &numbers(DOCUMENTS));
        self.insert("people", &numbers(6000));
        self.insert("small", &[doc! {"_id": "one"}, doc! {"_id": "two"}]);
    }

    /// Lets commands of docferry fail or wait; how often one did before.
    fn fail(&self, mode: Document, mut data: Document) -> i32 {
        data.insert("appName", self.name);
        let command = doc! {"configureFailPoint": "failCommand", "mode": mode, "data": data};
        self.run("admin", command).get_i32("count").unwrap()
    }

    fn wait_for(&self, times: i32) {
        let command = doc! {
            "waitForFailPoint": "failCommand", "timesEntered": times, "maxTimeMS": 30_000,
        };
        self.run("admin", command);
    }

    /// The same, as long as the export runs: false where it ended before.
    fn reached(&self, times: i32, export: &mut Child) -> bool {
        let database = self.client.database("admin");
        loop {
            let command = doc! {
                "waitForFailPoint": "failCommand", "timesEntered": times, "maxTimeMS": 500,
            };
            if self.runtime.block_on(async { database.run_command(command).await }).is_ok() {
                return true;
            }
            if export.try_wait().unwrap().is_some() {
                return false;
            }
        }
    }

    fn stop_failing(&self) {
        self.run("admin", doc! {"configureFailPoint": "failCommand", "mode": "off"});
    }

    fn command(&self, more: &[&str]) -> Command {
        let source = with_database(&self.server, self.name);
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("docferry"));
        command.arg("export").arg(self.folder.path().join("live.toml")).args(more);
        command.args(["--source", &format!("{source}&appName={}", self.name), "--staging"]);
        command.arg(self.staging()).env_remove("MONGODB_URI");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn staging(&self) -> PathBuf {
        self.folder.path().join("staging")
    }

    fn export(&self, more: &[&str]) -> Output {
        self.command(more).output().unwrap()
    }

    fn newest(&self) -> RunDirectory {
        let entries = std::fs::read_dir(self.staging().join("live")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let newest = names.filter(|name| name.starts_with('2')).max().unwrap();
        RunDirectory::open(&self.staging(), "live", &newest).unwrap()
    }

    /// What the newest run holds: `_id`s by collection, as the server has them.
    fn exported(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        let run = self.newest();
        let manifest = ExportManifest::read(&run).unwrap();
        let ids = manifest.collections.iter().map(|collection| {
            let mut ids = Vec::new();
            for part in &collection.parts {
                for batch in documents(&run, &part.file).unwrap() {
                    let batch = batch.unwrap();
                    ids.extend((0..batch.len()).map(|index| id_bytes(batch.bytes(index))));
                }
            }
            (collection.name.clone(), ids)
        });
        ids.collect()
    }

    fn manifest(&self) -> serde_json::Value {
        let run = self.newest();
        let bytes = std::fs::read(run.resolve(ExportManifest::PATH)).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    }

    /// What the server holds, in the order of its `_id` indexes.
    fn held(&self) -> BTreeMap<String, Vec<Vec<u8>>> {
        let database = self.database();
        self.runtime.block_on(async {
            let mut held = BTreeMap::new();
            for name in database.list_collection_names().await.unwrap() {
                let collection = database.collection::<RawDocumentBuf>(&name);
                let mut cursor = collection
                    .find(doc! {})
                    .hint(mongodb::options::Hint::Keys(doc! {"_id": 1}))
                    .sort(doc! {"_id": 1})
                    .await
                    .unwrap();
                let mut ids = Vec::new();
                while cursor.advance().await.unwrap() {
                    ids.push(id_bytes(cursor.current().as_bytes()));
                }
                held.insert(name, ids);
            }
            held
        })
    }
}

fn id_bytes(document: &[u8]) -> Vec<u8> {
    let document = RawDocumentBuf::from_bytes(document.to_vec()).unwrap();
    let id = document.get("_id").unwrap().unwrap();
    let mut alone = RawDocumentBuf::new();
    alone.append(mongodb::bson::raw::cstr!("_id"), id);
    alone.into_bytes()
}

/// What happens to collections meanwhile; whether the export succeeds with what was there, else it
/// may succeed with what is there then.
const CHANGES: [(&str, bool); 9] = [
    ("rename", false),
    ("drop", false),
    ("drop and make", false),
    ("rename over", false),
    ("$out", false),
    ("drop all", false),
    ("createIndex", true),
    ("collMod", true),
    ("new collection", true),
];

fn change(trial: &Trial, what: &str) {
    let (run, name) = (|command| trial.run(trial.name, command), trial.name);
    let rename = |from: &str, to: &str, over: bool| {
        let (from, to) = (format!("{name}.{from}"), format!("{name}.{to}"));
        trial.run("admin", doc! {"renameCollection": from, "to": to, "dropTarget": over});
    };
    match what {
        "rename" => rename("orders", "elsewhere", false),
        "drop" => drop(run(doc! {"drop": "orders"})),
        "drop and make" => {
            run(doc! {"drop": "orders"});
            trial.insert("orders", &[doc! {"_id": -1}]);
        }
        "rename over" => rename("small", "orders", true),
        "$out" => {
            run(doc! {"aggregate": "people", "pipeline": [{"$limit": 7}, {"$out": "orders"}],
            "cursor": {}});
        }
        "drop all" => drop(run(doc! {"dropDatabase": 1})),
        "createIndex" => {
            run(doc! {"createIndexes": "orders", "indexes": [{"key": {"of": 1}, "name": "of_1"}]});
        }
        "collMod" => {
            drop(run(doc! {"collMod": "orders", "validator": {"of": {"$type": "string"}}}));
        }
        _ => trial.insert("new", &[doc! {"_id": 1}]),
    }
}

/// Changes collections while an export waits for a reply, or reads its first one.
fn collections_change(trial: &Trial, snapshot: bool) {
    let mut succeeded = Vec::new();
    for (what, must) in CHANGES {
        for command in ["find", "getMore"] {
            trial.fill();
            let before = trial.held();
            let data =
                doc! {"failCommands": [command], "blockConnection": true, "blockTimeMS": 250};
            let count = trial.fail(doc! {"times": 1}, data);
            let export = trial.command(&["--threads", "2"]).spawn().unwrap();
            trial.wait_for(count + 1);
            change(trial, what);
            let output = export.wait_with_output().unwrap();
            let said = format!("{what} at {command}: {}", shown(&output));
            if output.status.success() {
                let exported = trial.exported();
                if exported == before {
                    succeeded.push(what);
                } else {
                    // It was read again, and that is said.
                    assert!(!must && exported == trial.held(), "{said}");
                    assert!(said.contains("goes on with what is there now"), "{said}");
                    assert_eq!(trial.manifest()["snapshot"]["kind"], "none", "{said}");
                }
                let skipped = trial.manifest()["skipped"].to_string();
                // Without a snapshot a new collection belongs to the same time as the others.
                assert_eq!(
                    skipped.contains("new"),
                    what == "new collection" && !snapshot,
                    "{said}"
                );
            } else {
                assert!(what == "drop all", "{said}");
                // What is there now is read; nothing of what is gone is left.
                let output = trial.export(&["--resume", "--allow-empty"]);
                assert!(output.status.success(), "{said}{}", shown(&output));
                assert!(trial.exported() == trial.held(), "{said}{}", shown(&output));
            }
            std::fs::remove_dir_all(trial.staging()).unwrap();
        }
    }
    if !snapshot {
        // By its number a renamed collection is read to its end.
        assert_eq!(succeeded.iter().filter(|what| **what == "rename").count(), 2);
    }
}

/// Commands of an export at which a collection may be changed.
const COMMANDS: [&str; 5] = ["listCollections", "listIndexes", "aggregate", "find", "getMore"];

/// Changes a collection before, after and between all that an export asks: what it exports is the
/// collection of one of both moments, or it is an error and the next attempt ends well.
fn a_collection_changes_at_any_command(trial: &Trial, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut pick = |count: usize| usize::try_from(random.next_u64() % count as u64).unwrap();
    for _ in 0..24 {
        let (what, must) = CHANGES[pick(CHANGES.len())];
        let skipped = i32::try_from(pick(24)).unwrap();
        trial.fill();
        let before = trial.held();
        // All that follows waits a little, so that the change falls between two commands.
        let data = doc! {"failCommands": &COMMANDS, "blockConnection": true, "blockTimeMS": 60};
        let count = trial.fail(doc! {"skip": skipped}, data);
        let mut export = trial.command(&["--threads", "2"]).spawn().unwrap();
        let reached = trial.reached(count + 1, &mut export);
        trial.stop_failing();
        change(trial, what);
        let after = trial.held();
        let output = export.wait_with_output().unwrap();
        let said = format!("{what} after {skipped} commands ({reached}): {}", shown(&output));
        if output.status.success() {
            let exported = trial.exported();
            assert!(exported == before || exported == after, "{said}");
        } else {
            assert!(!must && what == "drop all", "{said}");
            let output = trial.export(&["--resume", "--allow-empty"]);
            assert!(output.status.success(), "{said}{}", shown(&output));
            assert!(trial.exported() == after, "{said}{}", shown(&output));
        }
        std::fs::remove_dir_all(trial.staging()).unwrap();
    }
}

#[test]
fn a_collection_of_a_replica_set_changes_at_any_command() {
    let Some(trial) = Trial::new("DOCFERRY_TEST_MONGODB", "docferry_live_any") else { return };
    a_collection_changes_at_any_command(&trial, 11);
}

#[test]
fn a_collection_of_a_standalone_server_changes_at_any_command() {
    let variable = "DOCFERRY_TEST_MONGODB_STANDALONE";
    let Some(trial) = Trial::new(variable, "docferry_live_any") else { return };
    a_collection_changes_at_any_command(&trial, 12);
}

#[test]
fn collections_of_a_replica_set_change_while_they_are_exported() {
    let Some(trial) = Trial::new("DOCFERRY_TEST_MONGODB", "docferry_live_set") else { return };
    collections_change(&trial, true);
}

#[test]
fn collections_of_a_standalone_server_change_while_they_are_exported() {
    let variable = "DOCFERRY_TEST_MONGODB_STANDALONE";
    let Some(trial) = Trial::new(variable, "docferry_live_alone") else { return };
    collections_change(&trial, false);
}

#[test]
fn a_collection_is_never_taken_for_another_one_whatever_the_user_may_ask() {
    let variables = ["DOCFERRY_TEST_MONGODB", "DOCFERRY_TEST_MONGODB_STANDALONE"];
    for (variable, snapshot) in variables.into_iter().zip([true, false]) {
        let Some(trial) = Trial::new(variable, "docferry_live_rights") else { return };
        // Without the right to use numbers, and without a server that compares them.
        for refused in [1, 2] {
            for what in ["rename", "drop", "drop and make", "rename over"] {
                // A busy machine may let the export end before its next reply is held up.
                let mut held_up = 150;
                let (before, export) = loop {
                    trial.fill();
                    let before = trial.held();
                    let count = trial.fail(
                        doc! {"times": refused},
                        doc! {"failCommands": ["listIndexes", "aggregate"], "errorCode": 13,
                        "blockConnection": true, "blockTimeMS": held_up},
                    );
                    let mut export = trial.command(&["--threads", "2"]).spawn().unwrap();
                    trial.wait_for(count + refused);
                    let count = trial.fail(
                        doc! {"times": 1},
                        doc! {"failCommands": ["getMore"], "blockConnection": true, "blockTimeMS": 250},
                    );
                    if trial.reached(count + 1, &mut export) {
                        break (before, export);
                    }
                    std::fs::remove_dir_all(trial.staging()).unwrap();
                    held_up *= 2;
                };
                change(&trial, what);
                let output = export.wait_with_output().unwrap();
                let said = format!("{what}, {refused} refused: {}", shown(&output));
                assert!(output.status.success(), "{said}");
                if said.contains("goes on with what is there now") {
                    assert!(trial.exported() == trial.held(), "{said}");
                } else {
                    assert!(trial.exported() == before, "{said}");
                    // By its name alone nothing is known of what was read.
                    assert_eq!(refused, 1, "{said}");
                    assert!(snapshot || what == "rename", "{said}");
                }
                std::fs::remove_dir_all(trial.staging()).unwrap();
            }
        }
    }
}

#[test]
fn a_time_series_that_is_made_anew_meanwhile_is_read_again() {
    let variable = "DOCFERRY_TEST_MONGODB_STANDALONE";
    let Some(trial) = Trial::new(variable, "docferry_live_series") else { return };
    trial.run(trial.name, doc! {"dropDatabase": 1});
    let make = |count: i64| {
        trial.run(
            trial.name,
            doc! {"create": "measured", "timeseries": {"timeField": "t", "metaField": "m"}},
        );
        let measurement =
            |n| doc! {"_id": n, "t": DateTime::from_millis(n * 1000), "m": n % 50, "v": n};
        trial.insert("measured", &(0..count).map(measurement).collect::<Vec<_>>());
    };
    make(6000);
    let data = doc! {"failCommands": ["getMore"], "blockConnection": true, "blockTimeMS": 300};
    let count = trial.fail(doc! {"times": 1}, data);
    let export = trial.command(&[]).spawn().unwrap();
    trial.wait_for(count + 1);
    trial.run(trial.name, doc! {"drop": "measured"});
    make(10);
    let output = export.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(shown(&output).contains("collection measured was dropped"), "{}", shown(&output));
    assert_eq!(trial.manifest()["collections"][0]["documents"], 10);
}

#[test]
fn a_resume_depends_neither_on_threads_nor_on_growth() {
    let Some(trial) = Trial::new("DOCFERRY_TEST_MONGODB_STANDALONE", "docferry_live_grown") else {
        return;
    };
    for (first, second) in [("1", "4"), ("4", "1")] {
        trial.run(trial.name, doc! {"dropDatabase": 1});
        let large = |n| doc! {"_id": n, "text": "x".repeat(1 << 13)};
        let fill = |from: i32, to: i32| {
            let numbers: Vec<Document> = (from..to).map(large).collect();
            numbers.chunks(1000).for_each(|some| trial.insert("grown", some));
        };
        fill(0, 6000);
        let data = doc! {"failCommands": ["getMore"], "blockConnection": true, "blockTimeMS": 400};
        let count = trial.fail(doc! {"times": 1}, data);
        let way = ["--threads", first, "--part-mib", "4", "--no-snapshot"];
        let mut export = trial.command(&way).spawn().unwrap();
        trial.wait_for(count + 1);
        export.kill().unwrap();
        export.wait().unwrap();
        trial.stop_failing();
        // Beyond the size from which a collection is read in several ranges.
        fill(6000, 18_000);
        let way = ["--threads", second, "--part-mib", "4", "--no-snapshot", "--resume"];
        let output = trial.export(&way);
        assert!(output.status.success(), "{first}, {second}: {}", shown(&output));
        assert!(trial.exported() == trial.held(), "{first}, {second}: {}", shown(&output));
        std::fs::remove_dir_all(trial.staging()).unwrap();
    }
}

/// An `_id` of any kind that a server takes.
fn any_id(random: &mut ChaCha8Rng, depth: u32) -> Bson {
    let mut number = |below: u64| random.next_u64() % below;
    let whole = i32::try_from(number(40)).unwrap() - 20;
    match number(if depth == 0 { 17 } else { 15 }) {
        0 => Bson::Int32(whole),
        1 => Bson::Int64(i64::from(whole) << number(50)),
        2 => Bson::Double(f64::from(whole) / 4.0),
        3 => Bson::Double(
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324, 9.007_199_254_740_993e15]
                [usize::try_from(number(6)).unwrap()],
        ),
        4 => {
            let texts = ["0.1", "NaN", "Infinity", "-1E-6176", "9007199254740993", "1.50"];
            Bson::Decimal128(
                texts[usize::try_from(number(6)).unwrap()].parse::<Decimal128>().unwrap(),
            )
        }
        5 => Bson::String(
            "aÄ\u{10348}\0z".chars().cycle().take(whole.unsigned_abs() as usize).collect(),
        ),
        6 => Bson::Symbol(format!("s{whole}")),
        7 => {
            let subtype = [BinarySubtype::Generic, BinarySubtype::Uuid, BinarySubtype::Md5];
            let subtype = subtype[usize::try_from(number(3)).unwrap()];
            Bson::Binary(Binary { subtype, bytes: vec![7; 16] })
        }
        8 => Bson::ObjectId(ObjectId::from_bytes([u8::try_from(number(256)).unwrap(); 12])),
        9 => Bson::Boolean(whole > 0),
        10 => Bson::DateTime(DateTime::from_millis(i64::from(whole) * 86_400_000)),
        11 => Bson::Timestamp(Timestamp { time: whole.unsigned_abs(), increment: 1 }),
        12 => Bson::JavaScriptCode(format!("f({whole})")),
        13 => {
            let code = format!("g({})", whole % 3);
            Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code,
                scope: doc! {"n": whole},
            })
        }
        14 => [Bson::Null, Bson::MinKey, Bson::MaxKey][usize::try_from(number(3)).unwrap()].clone(),
        kind => {
            let (left, right) = (any_id(random, 1), any_id(random, 1));
            let array = Bson::Array(vec![left.clone(), right.clone()]);
            Bson::Document(if kind == 15 {
                doc! {"a": left, "b": right}
            } else {
                doc! {"a": array, "c": Bson::Document(doc! {"d": right})}
            })
        }
    }
}

/// Inserts documents of which some may have an `_id` that is there already.
fn insert_what_goes(trial: &Trial, collection: &str, documents: Vec<Document>) {
    let collection = trial.database().collection::<Document>(collection);
    trial.runtime.block_on(async {
        let _ = collection.insert_many(documents).ordered(false).await;
    });
}

#[test]
fn every_id_comes_once_and_in_order_whatever_the_split_and_the_retries() {
    let Some(trial) = Trial::new("DOCFERRY_TEST_MONGODB", "docferry_live_ids") else { return };
    trial.run(trial.name, doc! {"dropDatabase": 1});
    let mut random = ChaCha8Rng::seed_from_u64(16);
    let small = (0..9000).map(|_| doc! {"_id": any_id(&mut random, 0)}).collect::<Vec<_>>();
    // What stands at the ends must be there in each.
    let ends = || [Bson::MinKey, Bson::Double(f64::NAN), Bson::Int32(3), Bson::MaxKey];
    insert_what_goes(&trial, "small", ends().map(|id| doc! {"_id": id}).to_vec());
    insert_what_goes(&trial, "small", small);
    insert_what_goes(&trial, "small", (0..9000).map(|n| doc! {"_id": format!("t{n}")}).collect());
    trial.run(
        trial.name,
        doc! {
            "create": "clustered", "clusteredIndex": {"key": {"_id": 1}, "unique": true},
        },
    );
    let wide = |id: Bson| doc! {"_id": id, "text": "x".repeat(600_000)};
    for (collection, texts) in [("wide", 100), ("clustered", 30)] {
        insert_what_goes(&trial, collection, ends().map(wide).to_vec());
        let more = (0..60).map(|_| wide(any_id(&mut random, 0))).collect();
        insert_what_goes(&trial, collection, more);
        let more = (0..texts).map(|n| wide(Bson::String(format!("w{n}")))).collect();
        insert_what_goes(&trial, collection, more);
    }
    let expected = trial.held();
    // More than 64 MiB are split.
    assert!(expected["wide"].len() > 115, "{}", expected["wide"].len());
    for (threads, retries) in [("1", 3), ("4", 0), ("4", 3)] {
        // A cursor that is lost again and again, after its first reply and after later ones.
        if retries > 0 {
            let data = doc! {"failCommands": ["getMore"], "errorCode": 43};
            trial.fail(doc! {"times": retries}, data);
        }
        let output = trial.export(&["--threads", threads, "--part-mib", "4"]);
        trial.stop_failing();
        assert!(output.status.success(), "{}", shown(&output));
        assert_eq!(shown(&output).contains("trying again"), retries > 0, "{}", shown(&output));
        let exported = trial.exported();
        for (name, ids) in &expected {
            assert_eq!(exported[name].len(), ids.len(), "{name} with {threads} threads");
            assert!(exported[name] == *ids, "{name} with {threads} threads");
        }
        std::fs::remove_dir_all(trial.staging()).unwrap();
    }
    // Begun by one reader, and gone on with by four: the ranges are those of the beginning.
    let data = doc! {"failCommands": ["getMore"], "errorCode": 2};
    trial.fail(doc! {"skip": 6}, data);
    let output = trial.export(&["--threads", "1", "--part-mib", "1"]);
    trial.stop_failing();
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let output = trial.export(&["--threads", "4", "--part-mib", "1", "--resume"]);
    assert!(output.status.success(), "{}", shown(&output));
    assert!(trial.exported() == expected);
    trial.run(trial.name, doc! {"dropDatabase": 1});
}

/// Names of the indexes in the newest run, by collection.
fn index_names(manifest: &serde_json::Value, collection: usize) -> Vec<&str> {
    let indexes = manifest["collections"][collection]["indexes"].as_array().unwrap();
    indexes.iter().map(|index| index["name"].as_str().unwrap()).collect()
}

#[test]
fn an_answer_that_fails_is_asked_for_again_or_is_an_error() {
    let Some(trial) = Trial::new("DOCFERRY_TEST_MONGODB", "docferry_live_answers") else { return };
    trial.fill();
    change(&trial, "createIndex");
    let expected = trial.held();
    // One that may pass: once for each command that is not a cursor's.
    for command in ["listIndexes", "listCollections", "collStats", "buildInfo", "aggregate"] {
        let data = doc! {"failCommands": [command], "errorCode": 11602};
        trial.fail(doc! {"times": 1}, data);
        let output = trial.export(&[]);
        assert!(output.status.success(), "{command}: {}", shown(&output));
        assert!(trial.exported() == expected, "{command}");
        assert_eq!(index_names(&trial.manifest(), 0), ["_id_", "of_1"], "{command}");
    }
    // One that does not: an export without indexes would be no copy.
    for (skip, command) in [(1, "listIndexes"), (0, "listCollections")] {
        let data = doc! {"failCommands": [command], "errorCode": 13};
        trial.fail(doc! {"skip": skip}, data);
        let output = trial.export(&[]);
        assert_eq!(output.status.code(), Some(1), "{command}: {}", shown(&output));
        trial.stop_failing();
    }
    // Sizes are for the progress and the split only.
    trial.fail(doc! {"times": 3}, doc! {"failCommands": ["collStats"], "errorCode": 13});
    let output = trial.export(&[]);
    assert!(output.status.success(), "{}", shown(&output));
    assert!(trial.exported() == expected);
    // A plan reads the same way.
    let uri = format!("{}&appName={}", with_database(&trial.server, trial.name), trial.name);
    trial.fail(doc! {"skip": 1}, doc! {"failCommands": ["listIndexes"], "errorCode": 13});
    let plan = |file: &str| {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("docferry"));
        command.args(["plan", &uri, "-o"]).arg(trial.folder.path().join(file));
        command.output().unwrap()
    };
    let output = plan("refused.toml");
    trial.stop_failing();
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(!Path::new(&trial.folder.path().join("refused.toml")).exists());
    let output = plan("drafted.toml");
    assert!(output.status.success(), "{}", shown(&output));
}

#[test]
fn fewer_documents_than_the_server_counts_are_an_error() {
    let Some(trial) = Trial::new("DOCFERRY_TEST_MONGODB", "docferry_live_count") else { return };
    trial.fill();
    // Written after the snapshot, so that the collection's own number is another one.
    let data = doc! {"failCommands": ["collStats"], "blockConnection": true, "blockTimeMS": 250};
    let count = trial.fail(doc! {"times": 1}, data);
    let before = trial.held();
    let export = trial.command(&[]).spawn().unwrap();
    trial.wait_for(count + 1);
    for name in ["orders", "people", "small"] {
        trial.insert(name, &[doc! {"_id": "late"}]);
    }
    let output = export.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(trial.exported() == before, "what came later is not of that moment");
}
