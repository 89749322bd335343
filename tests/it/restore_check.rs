//! Definitions of old servers, and restores that are tried: what differs is named, what was left
//! behind by a killed process is removed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use docferry::progress::{Progress, Silent};
use docferry::restore::{Checked, check};
use docferry::source::SourceAddress;
use docferry::staging::layout::RunDirectory;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::{Client, Database};
use tokio::runtime::Runtime;

use crate::support::{
    docferry, failpoint, fresh_database, server, shown, with_database, write_dump,
};

struct Trial {
    folder: tempfile::TempDir,
    runtime: Runtime,
}

impl Trial {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("old.toml"), "version = 1\nname = \"old\"\n").unwrap();
        Self { folder, runtime: Runtime::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn docferry(&self, arguments: &[&str]) -> Output {
        docferry().args(arguments).arg("--staging").arg(self.path("staging")).output().unwrap()
    }

    fn export(&self, source: &str) {
        let pipeline = self.path("old.toml");
        let output = self.docferry(&["export", pipeline.to_str().unwrap(), "--source", source]);
        assert!(output.status.success(), "{}", shown(&output));
    }

    fn database(&self, server: &str, name: &str) -> Database {
        let client = self.runtime.block_on(async { Client::with_uri_str(server).await.unwrap() });
        let database = client.database(name);
        self.runtime.block_on(async { database.drop().await.unwrap() });
        database
    }

    fn run(&self, database: &Database, command: Document) {
        self.runtime.block_on(async { database.run_command(command).await.unwrap() });
    }

    /// Compares what was restored with the newest run.
    fn check(&self, restored: &str) -> Vec<String> {
        let run = RunDirectory::open(&self.path("staging"), "old", "latest").unwrap();
        let address = SourceAddress::parse(restored).unwrap();
        let progress: Arc<dyn Progress> = Arc::new(Silent);
        let checked: Checked = self.runtime.block_on(check(&run, &address, 2, &progress)).unwrap();
        checked.differences()
    }
}

fn indexes(trial: &Trial, database: &Database, collection: &str) -> Vec<Document> {
    trial.runtime.block_on(async {
        let mut cursor =
            database.run_cursor_command(doc! {"listIndexes": collection}).await.unwrap();
        let mut found = Vec::new();
        while cursor.advance().await.unwrap() {
            found.push(cursor.deserialize_current().unwrap());
        }
        found
    })
}

#[test]
fn indexes_of_old_servers_come_back_and_a_refused_one_costs_itself_alone() {
    let Some(server) = server("DOCFERRY_TEST_MONGODB") else { return };
    let trial = Trial::new();
    let dump = trial.path("dump/legacy");
    write_dump(&dump, "users", &[doc! {"_id": 1, "u": "a", "w": 1}, doc! {"_id": 2, "u": "b"}]);
    write_dump(&dump, "posts", &[doc! {"_id": 1, "by": 1}]);
    std::fs::write(
        dump.join("users.metadata.json"),
        r#"{"options": {"flags": 1, "autoIndexId": true, "noPadding": true}, "indexes": [
            {"v": 1, "key": {"_id": 1}, "name": "_id_", "ns": "legacy.users"},
            {"v": 1, "unique": true, "key": {"u": 1}, "name": "u_1", "ns": "legacy.users",
             "background": true, "safe": null, "dropDups": true},
            {"v": 0, "key": {"w": true, "u": 0, "t": ""}, "name": "w_u_t"},
            {"v": 1, "key": {"w": "sideways"}, "name": "w_sideways"}]}"#,
    )
    .unwrap();
    std::fs::write(
        dump.join("posts.metadata.json"),
        r#"{"options": {}, "indexes": [
            {"v": 2, "key": {"_id": 1}, "name": "_id_"},
            {"v": 2, "key": {"by": -1}, "name": "by", "sparse": true}]}"#,
    )
    .unwrap();
    trial.export(dump.to_str().unwrap());
    let back = trial.database(&server, "docferry_old_indexes");
    let to = with_database(&server, "docferry_old_indexes");
    let output = trial.docferry(&["restore", "latest", "--to", &to]);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    for said in [
        "users: index w_sideways was refused and is not there:",
        "users, index u_1: options that the server does not know are left out: safe",
        "users, index w_u_t: its key w was true, which old servers took as 1",
        "users, index w_u_t: its key u was 0, which old servers took as 1",
        "users: options that the server does not know are left out: noPadding",
    ] {
        assert!(shown(&output).contains(said), "{said}: {}", shown(&output));
    }
    assert!(!shown(&output).contains("Check that the server runs"), "{}", shown(&output));

    let found = indexes(&trial, &back, "users");
    let by_name = |name: &str| found.iter().find(|index| index.get_str("name").unwrap() == name);
    assert!(by_name("u_1").unwrap().get_bool("unique").unwrap());
    assert_eq!(
        by_name("w_u_t").unwrap().get_document("key").unwrap(),
        &doc! {"w": 1, "u": 1, "t": 1}
    );
    assert!(by_name("w_sideways").is_none());
    assert_eq!(indexes(&trial, &back, "posts").len(), 2);
    let names = trial.runtime.block_on(async { back.list_collection_names().await.unwrap() });
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["posts", "users"]));

    // What the restore left out under its own rules is no difference; the refused index is one.
    assert_eq!(trial.check(&to), ["users: its index w_sideways is missing"]);
    let output = trial.docferry(&["restore-check", "latest", "--scratch", &server]);
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    assert!(shown(&output).contains("its index w_sideways is missing"), "{}", shown(&output));
}

#[test]
fn a_refusal_is_not_taken_for_a_server_that_cannot_be_reached() {
    let Some(server) = server("DOCFERRY_TEST_MONGODB") else { return };
    let trial = Trial::new();
    let dump = trial.path("dump/odd");
    write_dump(&dump, "c", &[doc! {"_id": 1}]);
    let metadata = r#"{"options": {"validator": {"$nonsense": 1}}, "indexes": []}"#;
    std::fs::write(dump.join("c.metadata.json"), metadata).unwrap();
    trial.export(dump.to_str().unwrap());
    trial.database(&server, "docferry_odd");
    let to = with_database(&server, "docferry_odd");
    let output = trial.docferry(&["restore", "latest", "--to", &to]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("make the collection c"), "{}", shown(&output));
    assert!(!shown(&output).contains("Check that the server runs"), "{}", shown(&output));
}

#[test]
fn each_definition_that_differs_is_named() {
    let Some(server) = server("DOCFERRY_TEST_MONGODB") else { return };
    let trial = Trial::new();
    let source = trial.database(&server, "docferry_defined");
    let rule = doc! {"$jsonSchema": {"required": ["name"]}};
    trial.run(&source, doc! {"create": "people", "validator": rule.clone()});
    trial.run(&source, doc! {"create": "log", "capped": true, "size": 4096, "max": 10});
    trial.run(&source, doc! {"create": "named", "collation": {"locale": "cs"}});
    trial.run(
        &source,
        doc! {"create": "adults", "viewOn": "people", "pipeline": [{"$match": {"age": {"$gt": 17}}}]},
    );
    trial.run(&source, doc! {"create": "all", "viewOn": "people", "pipeline": []});
    trial.run(&source, doc! {"insert": "people", "documents": [{"_id": 1, "name": "a"}]});
    trial.run(
        &source,
        doc! {"createIndexes": "people", "indexes": [
            {"key": {"name": 1, "age": 1}, "name": "both"}, {"key": {"age": 1}, "name": "age"},
        ]},
    );
    trial.export(&with_database(&server, "docferry_defined"));
    let back = trial.database(&server, "docferry_defined_back");
    let to = with_database(&server, "docferry_defined_back");
    let restore = || trial.docferry(&["restore", "latest", "--existing", "drop", "--to", &to]);

    let damages: [(&[Document], &str); 10] = [
        (&[], ""),
        (&[doc! {"collMod": "people", "validator": {}}], "people: its option validator is missing"),
        (
            &[doc! {"collMod": "people", "validator": {"a": 1}}],
            "people: its option validator is another one",
        ),
        (
            &[doc! {"collMod": "people", "validator": rule, "validationAction": "warn"}],
            "people: the export does not have its option validationAction",
        ),
        (&[doc! {"drop": "adults"}], "adults: it is missing"),
        (
            &[doc! {"collMod": "all", "viewOn": "people", "pipeline": [{"$limit": 1}]}],
            "all: its option pipeline is another one",
        ),
        (
            &[
                doc! {"drop": "log"},
                doc! {"create": "log", "capped": true, "size": 8192, "max": 10},
            ],
            "log: its option size is another one",
        ),
        (
            &[doc! {"drop": "named"}, doc! {"create": "named"}],
            "named: its option collation is missing, named: its index _id_ lacks its collation",
        ),
        (
            &[
                doc! {"dropIndexes": "people", "index": "both"},
                doc! {"createIndexes": "people", "indexes": [{"key": {"age": 1, "name": 1}, "name": "both"}]},
            ],
            "people: its index both has another key",
        ),
        (
            &[doc! {"collMod": "people", "index": {"name": "age", "hidden": true}}],
            "people: its index age is hidden, not so in the export",
        ),
    ];
    for (commands, expected) in damages {
        let output = restore();
        assert!(output.status.success(), "{}", shown(&output));
        for command in commands {
            trial.run(&back, command.clone());
        }
        assert_eq!(trial.check(&to).join(", "), expected, "{commands:?}");
    }
    assert!(restore().status.success());
    trial.run(&back, doc! {"create": "more"});
    trial.run(&back, doc! {"create": "seen", "viewOn": "people", "pipeline": []});
    let more = ["seen: the export does not have it", "more: the export does not have it"];
    assert_eq!(trial.check(&to), more);
}

fn sqlite(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[test]
fn an_export_of_sqlite_is_tried_as_a_file() {
    let trial = Trial::new();
    sqlite(
        &trial.path("shop.db"),
        "CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL, data BLOB);
         CREATE TABLE notes (text TEXT);
         CREATE TABLE lines (item INTEGER REFERENCES items(id), pos INTEGER, PRIMARY KEY (item, pos));
         CREATE INDEX items_name ON items (name);
         CREATE VIEW cheap AS SELECT * FROM items WHERE price < 2;
         CREATE TRIGGER cheap_gone INSTEAD OF DELETE ON cheap BEGIN DELETE FROM items WHERE id = old.id; END;
         INSERT INTO items VALUES (1, 'a', 1.5, x'00ff'), (2, 'b', 2, NULL), (7, 'c', NULL, x'');
         INSERT INTO notes VALUES ('x'), (NULL), ('x');
         INSERT INTO lines VALUES (1, 1), (1, 2), (7, 1);",
    );
    let source = format!("sqlite:{}", trial.path("shop.db").display());
    trial.export(&source);
    let scratch = trial.path("scratch");
    let output =
        trial.docferry(&["restore-check", "latest", "--scratch", scratch.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(shown(&output).contains("items: 3 documents, digest"), "{}", shown(&output));
    assert!(shown(&output).contains("every digest agrees"), "{}", shown(&output));
    assert_eq!(std::fs::read_dir(&scratch).unwrap().count(), 0);

    let back = trial.path("back.db");
    let to = format!("sqlite:{}", back.display());
    for (damage, expected) in [
        ("", vec![]),
        ("UPDATE items SET price = 2.5 WHERE id = 2", vec!["items: its documents have other bytes"]),
        ("DELETE FROM notes WHERE text IS NULL", vec!["notes: it has 2 documents, not 3"]),
        ("DROP INDEX items_name", vec!["items: its index items_name is missing"]),
        ("DROP TRIGGER cheap_gone", vec!["cheap_gone: it is missing"]),
        (
            "DROP TRIGGER cheap_gone; DROP VIEW cheap; CREATE VIEW cheap AS SELECT 1;
             CREATE TRIGGER cheap_gone INSTEAD OF DELETE ON cheap BEGIN DELETE FROM items WHERE id = old.id; END;",
            vec!["cheap: its definition is another one"],
        ),
        ("CREATE TABLE more (a)", vec!["more: the export does not have it"]),
    ] {
        let _ = std::fs::remove_file(&back);
        let output = trial.docferry(&["restore", "latest", "--to", &to]);
        assert!(output.status.success(), "{}", shown(&output));
        sqlite(&back, damage);
        assert_eq!(trial.check(&to), expected, "{damage}");
    }
}

#[test]
fn scratch_places_that_a_killed_process_left_are_removed_and_nothing_else() {
    const LEFT: &str = "docferry_check_20260101t000000z_999999999";
    const OTHER: &str = "docferry_check_20260101t000000z_999999998";
    let Some(mongodb) = server("DOCFERRY_TEST_MONGODB") else { return };
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let trial = Trial::new();
    write_dump(&trial.path("dump/d"), "c", &[doc! {"_id": 1}]);
    let pipeline = "version = 1\nname = \"old\"\n[tables.c.columns]\n\
                    id = { from = \"_id\", type = \"integer\", key = true }\n";
    std::fs::write(trial.path("old.toml"), pipeline).unwrap();
    trial.export(trial.path("dump/d").to_str().unwrap());
    let output = trial.docferry(&["transform", trial.path("old.toml").to_str().unwrap()]);
    assert!(output.status.success(), "{}", shown(&output));
    let tried = |scratch: &str| trial.docferry(&["restore-check", "latest", "--scratch", scratch]);

    // One database with a mark that nobody renews, one with a mark of now, one without a mark.
    let mark =
        |alive: DateTime| doc! {"_id": "x", "place": "elsewhere", "process": 1_i64, "alive": alive};
    let marked = |name: &str, alive: DateTime| {
        let database = trial.database(&mongodb, name);
        let mut mark = mark(alive);
        mark.insert("_id", name);
        trial.run(&database, doc! {"insert": "docferry.scratch", "documents": [mark]});
        database
    };
    let used = format!("{LEFT}9");
    let databases = [
        marked(LEFT, DateTime::from_millis(0)),
        marked(&used, DateTime::now()),
        trial.database(&mongodb, OTHER),
    ];
    trial.run(&databases[2], doc! {"insert": "c", "documents": [{"_id": 1}]});
    let output = tried(&mongodb);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let names = trial
        .runtime
        .block_on(async { databases[0].client().list_database_names().await.unwrap() });
    let checks: Vec<&String> =
        names.iter().filter(|name| name.starts_with("docferry_check_20260101")).collect();
    assert_eq!(checks, [OTHER, &used]);
    for database in &databases {
        trial.runtime.block_on(async { database.drop().await.unwrap() });
    }

    // The same in PostgreSQL, where a comment is the mark.
    let (client, _address) = trial.runtime.block_on(fresh_database(&postgres, LEFT));
    drop(client);
    let (admin, _address) = trial.runtime.block_on(fresh_database(&postgres, OTHER));
    let comment = format!(
        "COMMENT ON DATABASE {LEFT} IS 'a scratch database of docferry restore-check; it may be removed'"
    );
    trial.runtime.block_on(admin.batch_execute(&comment)).unwrap();
    let gone = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    while trial.runtime.block_on(admin.query_one(gone, &[&LEFT])).unwrap().get::<_, i64>(0) > 0 {}
    let output = tried(&postgres);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let left =
        "SELECT datname::text FROM pg_database WHERE datname LIKE 'docferry_check_20260101%'";
    let left = trial.runtime.block_on(admin.query(left, &[])).unwrap();
    let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, [OTHER]);
    drop(admin);
    let (admin, _address) =
        trial.runtime.block_on(fresh_database(&postgres, "docferry_scratch_tests"));
    let drop_other = format!("DROP DATABASE {OTHER} WITH (FORCE)");
    trial.runtime.block_on(admin.batch_execute(&drop_other)).unwrap();
}

#[test]
fn a_process_that_is_stopped_removes_its_scratch_database_and_of_a_killed_one_the_next_does() {
    let Some(server) = server("DOCFERRY_TEST_MONGODB") else { return };
    let trial = Trial::new();
    write_dump(&trial.path("dump/d"), "c", &[doc! {"_id": 1}]);
    trial.export(trial.path("dump/d").to_str().unwrap());
    let admin = trial.database(&server, "docferry_stopped").client().database("admin");
    let scratch = format!("{server}&appName=docferry_stopped");
    let names = || {
        let names = trial.runtime.block_on(async { admin.client().list_database_names().await });
        names.unwrap().into_iter().collect::<BTreeSet<_>>()
    };
    let _turn = failpoint();
    for signal in ["TERM", "INT", "KILL"] {
        // Only what this test restores waits, until the signal is there.
        trial.run(
            &admin,
            doc! {"configureFailPoint": "failCommand", "mode": "alwaysOn", "data": {
                "failCommands": ["insert"], "appName": "docferry_stopped",
                "blockConnection": true, "blockTimeMS": 3000,
            }},
        );
        let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin!("docferry"))
            .args(["restore-check", "latest", "--scratch", &scratch, "--staging"])
            .arg(trial.path("staging"))
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let ending = format!("_{}", child.id());
        let own = |name: &String| name.starts_with("docferry_check_") && name.ends_with(&ending);
        while !names().iter().any(own) {}
        let sent = std::process::Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        let status = child.wait().unwrap();
        trial.run(&admin, doc! {"configureFailPoint": "failCommand", "mode": "off"});
        if signal == "KILL" {
            assert!(names().iter().any(own));
            let output = trial.docferry(&["restore-check", "latest", "--scratch", &server]);
            assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        } else {
            assert_eq!(status.code(), Some(130), "{signal}");
        }
        assert!(!names().iter().any(own), "{signal}");
    }
}
