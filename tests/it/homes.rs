//! Loads into tables that others own, into tables that hold rows, and the way back.

use std::path::PathBuf;
use std::process::Output;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::support::{
    assert_same, docferry, fresh_database, project, server, shown, state, write_dump,
};

pub(crate) const PIPELINE: &str = r#"
version = 1
name = "books"
schema = "app"
[enums]
Mood = ["GOOD", "BAD"]
[tables.authors.columns]
id = { from = "_id", type = "uuid", key = true }
name = { type = "text", required = true }
mood = { type = "Mood" }
[tables.books.columns]
id = { from = "_id", type = "uuid", key = true }
title = { type = "varchar(40)", required = true, unique = true }
pages = { type = "integer", index = true, optional = true }
author = { type = "uuid", references = "authors", on_delete = "cascade" }
[junctions.books_readers]
columns = { book_id = "books", reader_id = "authors" }
from = ["books.readers"]
"#;

/// The tables as an application's migrations make them.
pub(crate) const EXISTING: &str = r#"
CREATE SCHEMA app;
CREATE TYPE app."Mood" AS ENUM ('BAD', 'GOOD', 'NONE');
CREATE TABLE app.authors (id uuid PRIMARY KEY, name text NOT NULL, mood app."Mood");
CREATE TABLE app.books (number serial, id uuid NOT NULL, title varchar(40) NOT NULL, pages integer,
    author uuid, CONSTRAINT books_pk PRIMARY KEY (id), CONSTRAINT one_title UNIQUE (title));
CREATE TABLE app.books_readers (book_id uuid NOT NULL, reader_id uuid NOT NULL, PRIMARY KEY (book_id, reader_id));
ALTER TABLE app.books ADD CONSTRAINT "Written by" FOREIGN KEY (author) REFERENCES app.authors (id)
    ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
COMMENT ON CONSTRAINT "Written by" ON app.books IS 'who''s who';
ALTER TABLE app.books_readers ADD FOREIGN KEY (book_id) REFERENCES app.books (id) ON DELETE CASCADE;
ALTER TABLE app.books_readers ADD FOREIGN KEY (reader_id) REFERENCES app.authors (id) NOT VALID;
CREATE INDEX books_pages ON app.books USING btree (pages DESC NULLS LAST) WITH (fillfactor = 70) WHERE pages > 0;
COMMENT ON INDEX app.books_pages IS 'thick ones';
CREATE INDEX books_lower ON app.books (lower(title));
"#;

/// A database with the tables of an application, and a staging directory.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    pub(crate) address: String,
}

pub(crate) fn author(number: u8, name: &str) -> Document {
    doc! {"_id": id(1, number), "name": name, "mood": "GOOD"}
}

pub(crate) fn book(number: u8, title: &str, author: u8) -> Document {
    doc! {"_id": id(2, number), "title": title, "pages": i32::from(number), "author": id(1, author),
    "readers": [id(1, 1), id(1, 2)]}
}

pub(crate) fn id(kind: u8, number: u8) -> ObjectId {
    ObjectId::from_bytes([101, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, number])
}

impl Place {
    pub(crate) fn new(database: &str) -> Option<Self> {
        let server = server("DOCFERRY_TEST_POSTGRES")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("books.toml"), PIPELINE).unwrap();
        let runtime = Runtime::new().unwrap();
        let (client, address) = runtime.block_on(fresh_database(&server, database));
        Some(Self { folder, runtime, client, address })
    }

    /// A database that is there.
    pub(crate) fn at(address: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let (client, connection) =
            runtime.block_on(tokio_postgres::connect(address, NoTls)).unwrap();
        runtime.spawn(connection);
        Self { folder, runtime, client, address: address.to_owned() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Exports and transforms these documents; the run's id.
    pub(crate) fn stage(&self, authors: &[Document], books: &[Document]) -> String {
        let dump = self.path("dump/books");
        write_dump(&dump, "authors", authors);
        write_dump(&dump, "books", books);
        self.stage_dump()
    }

    /// Exports and transforms what lies in the dump; the run's id.
    pub(crate) fn stage_dump(&self) -> String {
        let dump = self.path("dump/books");
        let source = dump.to_str().unwrap().to_owned();
        for (command, more) in [("export", vec!["--source", &source]), ("transform", vec![])] {
            let output = self.run(command, &more);
            assert!(output.status.success(), "{}", shown(&output));
        }
        let latest = std::fs::read_link(self.path("staging/books/latest")).unwrap();
        latest.to_str().unwrap().to_owned()
    }

    pub(crate) fn run(&self, command: &str, more: &[&str]) -> Output {
        let mut docferry = docferry();
        docferry.arg(command).arg(self.path("books.toml"));
        docferry.arg("--staging").arg(self.path("staging")).args(more).output().unwrap()
    }

    pub(crate) fn load(&self, run: &str, more: &[&str]) -> Output {
        self.run("load", &[&["--target", &self.address, "--run", run], more].concat())
    }

    pub(crate) fn verify(&self, run: &str) {
        let output = self.run("verify", &["--target", &self.address, "--run", run]);
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    }

    pub(crate) fn rollback(&self, more: &[&str]) -> Output {
        let mut docferry = docferry();
        docferry.args(["rollback", "latest", "--target", &self.address]).args(more);
        docferry.output().unwrap()
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    pub(crate) fn text(&self, sql: &str) -> String {
        let row = self.runtime.block_on(self.client.query_one(sql, &[])).unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    pub(crate) fn titles(&self) -> String {
        self.text("SELECT string_agg(title, ' ' ORDER BY title) FROM app.books")
    }
}

pub(crate) fn two_authors() -> Vec<Document> {
    vec![author(1, "Ann"), author(2, "Bob")]
}

#[test]
fn an_application_gets_its_tables_back_as_they_were() {
    let Some(place) = Place::new("docferry_existing") else { return };
    place.sql(EXISTING);
    let before = state(&place.address);
    let one = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    let output = place.load(&one, &["--home", "existing", "--dry-run"]);
    assert!(output.status.success(), "{}", shown(&output));
    let plan = shown(&output);
    assert!(plan.contains("DROP INDEX app.books_pages;"), "{plan}");
    assert!(plan.contains("(FORMAT binary); -- 2 rows"), "{plan}");
    assert!(plan.contains("enum Mood has more labels: NONE"), "{plan}");
    assert_same(&before, &state(&place.address));

    let output = place.load(&one, &["--home", "existing"]);
    assert!(output.status.success(), "{}", shown(&output));
    place.verify(&one);
    let definitions = |state: Vec<String>| -> Vec<String> {
        state
            .into_iter()
            .filter(|line| !line.starts_with("INSERT") && !line.contains("setval"))
            .collect()
    };
    assert_same(&definitions(before.clone()), &definitions(state(&place.address)));
    // Twice is as once.
    let output = place.load(&one, &["--home", "existing"]);
    assert!(output.status.success(), "{}", shown(&output));
    assert_same(&definitions(before.clone()), &definitions(state(&place.address)));
    assert_eq!(place.titles(), "Dune Emma");

    let output = place.rollback(&[]);
    assert!(output.status.success(), "{}", shown(&output));
    assert_same(&before, &state(&place.address));
}

#[test]
fn every_difference_is_listed_before_anything_is_written() {
    let Some(place) = Place::new("docferry_differences") else { return };
    place.sql(
        r#"
        CREATE SCHEMA app;
        CREATE TYPE app."Mood" AS ENUM ('BAD');
        CREATE TABLE app.authors (id uuid PRIMARY KEY, name varchar(3) NOT NULL, mood app."Mood",
            born date NOT NULL);
        CREATE TABLE app.books (id text PRIMARY KEY, title varchar(40) NOT NULL,
            pages integer GENERATED ALWAYS AS (1) STORED);
        CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
        CREATE TRIGGER touch BEFORE INSERT ON app.books FOR EACH ROW EXECUTE FUNCTION app.touch();
        "#,
    );
    let one = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    let before = state(&place.address);
    let output = place.load(&one, &["--home", "existing"]);
    assert_eq!(output.status.code(), Some(1));
    let text = shown(&output);
    for difference in [
        "authors.mood: enum Mood has no label GOOD",
        "authors.name: text is staged, varchar(3) is there",
        "authors.born: nothing is staged for it, it is NOT NULL and has no default",
        "books.id: uuid is staged, text is there",
        "books.pages: the column is generated and cannot be written",
        "books.author: the column is not there",
        "books: trigger touch calls touch, which needs column updated_at, which is not there",
        "books_readers: the table is not there",
    ] {
        assert!(text.contains(difference), "{difference}\n{text}");
    }
    assert_same(&before, &state(&place.address));
}

#[test]
fn upsert_and_replace_leave_the_same_rows_however_often_and_can_be_undone() {
    let Some(place) = Place::new("docferry_modes") else { return };
    let one = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    let output = place.load(&one, &[]);
    assert!(output.status.success(), "{}", shown(&output));
    let first = state(&place.address);

    // Another run changes a book, adds one, and does not mention the second.
    let two = place.stage(&two_authors(), &[book(1, "Dune II", 2), book(3, "Faust", 1)]);
    let output = place.load(&two, &[]);
    assert_eq!(output.status.code(), Some(1), "tables that hold rows are refused");
    for _ in 0..2 {
        let output = place.load(&two, &["--mode", "upsert"]);
        assert!(output.status.success(), "{}", shown(&output));
        assert_eq!(place.titles(), "Dune II Emma Faust");
        place.verify(&two);
    }
    let output = place.rollback(&[]);
    assert!(output.status.success(), "{}", shown(&output));
    assert_same(&first, &state(&place.address));
    assert_eq!(place.titles(), "Dune Emma");

    for _ in 0..2 {
        let output = place.load(&two, &["--mode", "replace"]);
        assert!(output.status.success(), "{}", shown(&output));
        assert_eq!(place.titles(), "Dune II Faust");
        place.verify(&two);
    }
    let output = place.rollback(&[]);
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(place.titles(), "Dune Emma");

    let output = place.rollback(&[]);
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(
        place.text(
            "SELECT string_agg(nspname, ' ') FROM pg_namespace WHERE nspname IN ('app', 'docferry')"
        ),
        ""
    );
    let output = place.load(&one, &[]);
    assert!(output.status.success(), "{}", shown(&output));
    place.verify(&one);
    assert_eq!(place.titles(), "Dune Emma");
    assert_same(&first, &state(&place.address));
}

#[test]
fn a_rollback_refuses_when_rows_changed_unless_it_is_forced() {
    let Some(place) = Place::new("docferry_changed") else { return };
    let one = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    assert!(place.load(&one, &[]).status.success());
    place.sql("UPDATE app.books SET pages = 7 WHERE title = 'Dune'; DELETE FROM app.books_readers");
    let output = place.rollback(&[]);
    assert_eq!(output.status.code(), Some(1));
    let text = shown(&output);
    assert!(text.contains("1 rows of books were added or changed"), "{text}");
    assert!(text.contains("4 loaded rows of books_readers were changed or deleted"), "{text}");
    assert_eq!(place.titles(), "Dune Emma");
    assert!(place.rollback(&["--force"]).status.success());
    let output = place.rollback(&[]);
    assert_eq!(output.status.code(), Some(10), "{}", shown(&output));
}

#[test]
fn a_row_that_cannot_be_loaded_leaves_the_application_its_constraints() {
    let Some(place) = Place::new("docferry_aside") else { return };
    place.sql(EXISTING);
    // The application refuses what docferry's pipeline file allows.
    place.sql("ALTER TABLE app.books ADD CONSTRAINT thin CHECK (pages < 3)");
    let one = place.stage(&two_authors(), &[book(1, "Dune", 1), book(5, "Emma", 2)]);
    let constraints = "SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), '; ' ORDER BY conname) \
                       || (SELECT string_agg(indexdef, '; ' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'app') \
                       FROM pg_constraint WHERE connamespace = 'app'::regnamespace";
    let before = place.text(constraints);
    let output = place.load(&one, &["--home", "existing", "--connections", "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(shown(&output).contains("thin"), "{}", shown(&output));
    assert_eq!(place.text("SELECT count(*)::text FROM app.books"), "0");
    let restored = place.text(constraints);
    let missing = place.text("SELECT string_agg(name, ' ' ORDER BY name) FROM docferry.set_aside");
    // Links were loaded before their books: their foreign key waits for the end of the load.
    if missing.is_empty() {
        assert_eq!(restored, before);
    } else {
        assert_eq!(missing, "books_readers_book_id_fkey");
    }
    place.sql("ALTER TABLE app.books DROP CONSTRAINT thin");
    let output = place.load(&one, &["--home", "existing"]);
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(
        place.text(constraints),
        before.replace("thin CHECK ((pages < 3)); ", "").replace("; thin CHECK ((pages < 3))", "")
    );
    place.verify(&one);
}

#[test]
fn a_load_that_failed_and_left_a_constraint_set_aside_is_not_proved() {
    let Some(place) = Place::new("docferry_not_back") else { return };
    place.sql(EXISTING);
    // What the rows need is there before the load, and gone at its end.
    place.sql(
        "CREATE TABLE app.shelves (pages integer PRIMARY KEY); \
         INSERT INTO app.shelves VALUES (1), (2); \
         ALTER TABLE app.books ADD CONSTRAINT on_shelf FOREIGN KEY (pages) REFERENCES app.shelves; \
         CREATE FUNCTION app.clear() RETURNS trigger LANGUAGE plpgsql \
         AS 'BEGIN DELETE FROM app.shelves; RETURN NULL; END'; \
         CREATE TRIGGER clear AFTER INSERT ON app.authors EXECUTE FUNCTION app.clear()",
    );
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    let output = place.load(&run, &["--home", "existing"]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert_eq!(place.titles(), "Dune Emma", "all rows are there");
    let output = place.run("verify", &["--target", &place.address, "--run", &run]);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains("books: foreign key on_shelf is there, but not validated: 2 rows"),
        "{text}"
    );
    assert!(text.contains("is not finished"), "{text}");
    place.sql("INSERT INTO app.shelves VALUES (1), (2)");
    let output = place.load(&run, &["--home", "existing"]);
    assert!(output.status.success(), "{}", shown(&output));
    place.verify(&run);
    // What the application owns may change; what the rows need may not.
    place.sql("ALTER TABLE app.books DROP CONSTRAINT one_title, ALTER title DROP NOT NULL");
    place.verify(&run);
    place.sql("ALTER TABLE app.books_readers DISABLE TRIGGER ALL");
    let output = place.run("verify", &["--target", &place.address, "--run", &run]);
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    assert!(shown(&output).contains("its triggers are disabled"), "{}", shown(&output));
}

#[test]
fn nextcrm_loads_into_the_tables_of_its_application_and_leaves_them_as_they_were() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let runtime = Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_prisma"));
    let schema = std::fs::read_to_string(project("tests/fixtures/nextcrm-prisma.sql")).unwrap();
    runtime.block_on(client.batch_execute(&schema)).unwrap();
    let count = |sql: &str| -> i64 { runtime.block_on(client.query_one(sql, &[])).unwrap().get(0) };
    assert!(count("SELECT count(*) FROM pg_constraint WHERE contype = 'f'") >= 50);
    assert!(count("SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'") >= 150);
    let dump = || {
        let dump = std::process::Command::new("pg_dump")
            .args(["--schema-only", "--exclude-schema=docferry", "--dbname", &address])
            .output()
            .unwrap();
        assert!(dump.status.success(), "{}", shown(&dump));
        let text = String::from_utf8(dump.stdout).unwrap();
        // The key of a dump changes each time.
        text.lines()
            .filter(|line| !line.contains("restrict "))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let before = dump();
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("dump/nextcrm").to_str().unwrap().to_owned();
    let pipeline = project("pipelines/nextcrm.toml").to_str().unwrap().to_owned();
    let run = |command: &str, more: &[&str]| {
        let mut docferry = docferry();
        docferry.args([command, &pipeline]).args(more).output().unwrap()
    };
    let output = run("generate", &["--to", &source, "--documents", "3000"]);
    assert!(output.status.success(), "{}", shown(&output));
    let staging = folder.path().join("staging").to_str().unwrap().to_owned();
    let way =
        ["--source", &source, "--target", &address, "--staging", &staging, "--home", "existing"];
    let output = run("run", &way);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert!(shown(&output).contains("arrived is proved"), "{}", shown(&output));
    assert_same(&before, &dump());
    let rows = count("SELECT count(*) FROM \"DocumentsToTasks\"");
    assert!(rows > 0);
    let output = docferry().args(["rollback", "latest", "--target", &address]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert_same(&before, &dump());
    assert_eq!(count("SELECT count(*) FROM \"DocumentsToTasks\""), 0);
}

#[test]
fn two_loads_into_one_schema_exclude_each_other() {
    let Some(place) = Place::new("docferry_locked") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    place.sql("SELECT pg_advisory_lock(hashtextextended('docferry:app', 0))");
    let output = place.load(&run, &[]);
    assert_eq!(output.status.code(), Some(11), "{}", shown(&output));
    place.sql("SELECT pg_advisory_unlock_all()");
    let output = place.load(&run, &[]);
    assert!(output.status.success(), "{}", shown(&output));
}

#[test]
fn kept_rows_are_let_go_on_demand_and_the_load_cannot_be_undone_then() {
    let Some(place) = Place::new("docferry_forget") else { return };
    let one = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    assert!(place.load(&one, &[]).status.success());
    let two = place.stage(&two_authors(), &[book(1, "Dune II", 2), book(3, "Faust", 1)]);
    let output = place.load(&two, &["--mode", "upsert"]);
    assert!(output.status.success(), "{}", shown(&output));
    let kept =
        "SELECT count(*)::text FROM pg_class WHERE relname LIKE 'saved\\_%' AND relkind = 'r'
                AND relname <> 'saved_rows'";
    let before = place.text(kept);
    assert_ne!(before, "0");
    let now = state(&place.address);

    let output = place.rollback(&["--forget", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(shown(&output).contains("could then no longer be undone"), "{}", shown(&output));
    assert_eq!(place.text(kept), before);
    let output = place.rollback(&["--forget"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(
        shown(&output).contains(&format!("{two} can no longer be undone")),
        "{}",
        shown(&output)
    );
    assert_eq!(place.text(kept), "0");
    assert_same(&now, &state(&place.address));
    place.verify(&two);

    for force in [&[][..], &["--force"], &["--dry-run"]] {
        let output = place.rollback(force);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        assert!(shown(&output).contains("are no longer kept"), "{}", shown(&output));
    }
    assert_same(&now, &state(&place.address));
    // Once more changes nothing, nor does the same load.
    assert!(place.rollback(&["--forget"]).status.success());
    let output = place.load(&two, &["--mode", "upsert"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert_same(&now, &state(&place.address));
}

#[test]
fn columns_are_filled_where_documents_lack_a_value() {
    let Some(place) = Place::new("docferry_fill") else { return };
    let pipeline = "version = 1\nname = \"books\"\nschema = \"app\"\n[enums]\nmood = [\"GOOD\", \"BAD\"]\n\
        [tables.things.columns]\nid = { from = \"_id\", type = \"integer\", key = true }\n\
        __v = { type = \"integer\", required = true, fill = 0 }\n\
        price = { type = \"numeric(8,2)\", fill = 1 }\n\
        mood = { type = \"mood\", fill = \"GOOD\", on_fail = \"null\" }\n\
        name = { type = \"text\", empty = \"null\", fill = \"?\" }\n\
        tags = { type = \"text[]\", fill = [], null_elements = \"drop\" }\n\
        flags = { type = \"text[]\", null_elements = \"reject\" }\n";
    std::fs::write(place.path("books.toml"), pipeline).unwrap();
    let documents = [
        doc! {"_id": 1},
        doc! {"_id": 2, "__v": null, "price": null, "mood": "UGLY", "name": "", "tags": [null, "a", null]},
        doc! {"_id": 3, "__v": 7, "price": 2.5, "mood": "BAD", "name": "x", "tags": [], "flags": ["f"]},
        doc! {"_id": 4, "flags": [null]},
    ];
    write_dump(&place.path("dump/books"), "things", &documents);
    // The application's table takes no NULL.
    place.sql(
        "CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('GOOD', 'BAD');
         CREATE TABLE app.things (id integer PRIMARY KEY, __v integer NOT NULL DEFAULT 3,
             price numeric(8,2) NOT NULL, mood app.mood NOT NULL, name text NOT NULL,
             tags text[] NOT NULL, flags text[])",
    );
    let dump = place.path("dump/books");
    for arguments in [vec!["export", "--source", dump.to_str().unwrap()], vec!["transform"]] {
        let output = place.run(arguments[0], &arguments[1..]);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", shown(&output));
    }
    let output = place.run("load", &["--target", &place.address, "--home", "existing"]);
    assert!(output.status.success(), "{}", shown(&output));
    let rows = "SELECT string_agg(t::text, ' ' ORDER BY id) FROM app.things t";
    assert_eq!(
        place.text(rows),
        "(1,0,1.00,GOOD,?,{},) (2,0,1.00,GOOD,?,{a},) (3,7,2.50,BAD,x,{},{f})"
    );
    let output = place.run("verify", &["--target", &place.address, "--documents", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert_eq!(report["verify"]["documents"]["collections"][0]["different"], 0, "{report}");
    let rejects = place.run("rejects", &["--list"]);
    assert!(shown(&rejects).contains("null_element"), "{}", shown(&rejects));
    for (wrong, said) in [
        ("a = { type = \"integer\", fill = \"x\" }", "does not fill integer"),
        ("a = { type = \"smallint\", fill = 40000 }", "does not fill smallint"),
        ("a = { type = \"mood\", fill = \"UGLY\" }", "does not fill \"mood\""),
        ("a = { type = \"text[]\", fill = [\"x\"] }", "text, a number, true or false"),
        ("a = { type = \"integer\", references = \"things\", fill = 1 }", "no key, no reference"),
        ("a = { type = \"text\", null_elements = \"drop\" }", "does not apply to text"),
        ("a = { type = \"varchar(2)\", fill = \"long\" }", "fill of things.a"),
    ] {
        std::fs::write(place.path("books.toml"), format!("{pipeline}{wrong}\n")).unwrap();
        let command = if wrong.contains("varchar") { "transform" } else { "check" };
        let mut docferry = docferry();
        docferry.arg(command).arg(place.path("books.toml"));
        if command == "transform" {
            docferry.arg("--staging").arg(place.path("staging"));
        }
        let output = docferry.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong}: {}", shown(&output));
        assert!(shown(&output).contains(said), "{wrong}: {}", shown(&output));
    }
}

#[test]
fn keys_that_are_checked_otherwise_are_told_before_the_copy() {
    let Some(place) = Place::new("docferry_odd_keys") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    place.sql(EXISTING);
    place.sql(
        "CREATE UNIQUE INDEX authors_lower ON app.authors (lower(name));
         CREATE COLLATION app.folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE UNIQUE INDEX books_folded ON app.books (title COLLATE app.folded)",
    );
    let plan = |more: &[&str]| {
        let output = place.load(&run, &[&["--home", "existing", "--dry-run"], more].concat());
        shown(&output)
    };
    let text = plan(&[]);
    assert!(text.contains("authors_lower") && text.contains("books_folded"), "{text}");
    assert!(text.contains("rows that differ may be one to a unique index"), "{text}");
    // A key that is checked at the end cannot tell rows that are there already.
    place.sql(
        "ALTER TABLE app.books DROP CONSTRAINT books_pk CASCADE;
         ALTER TABLE app.books ADD CONSTRAINT books_pk PRIMARY KEY (id) DEFERRABLE",
    );
    let text = plan(&["--mode", "upsert"]);
    assert!(text.contains("books: the key (id) is deferrable"), "{text}");
}

#[test]
fn foreign_keys_that_no_file_declares_are_looked_at_before_the_copy() {
    let Some(place) = Place::new("docferry_undeclared") else { return };
    let pipeline = "version = 1\nname = \"books\"\nschema = \"app\"\n\
        [tables.boards.columns]\nid = { from = \"_id\", type = \"uuid\", key = true }\n\
        [tables.sections.columns]\nid = { from = \"_id\", type = \"uuid\", key = true }\n\
        board = { type = \"uuid\" }\nshop = { type = \"text\" }\nnumber = { type = \"integer\" }\n";
    std::fs::write(place.path("books.toml"), pipeline).unwrap();
    place.sql(
        "CREATE SCHEMA app; CREATE TABLE app.boards (id uuid PRIMARY KEY);
         CREATE TABLE app.shops (name text, number integer, PRIMARY KEY (name, number));
         CREATE TABLE app.sections (id uuid PRIMARY KEY, shop text, number integer,
             board uuid CONSTRAINT of_board REFERENCES app.boards ON DELETE CASCADE,
             CONSTRAINT of_shop FOREIGN KEY (shop, number) REFERENCES app.shops);
         INSERT INTO app.shops VALUES ('north', 1)",
    );
    let dump = place.path("dump/books");
    let boards = [doc! {"_id": id(1, 1)}];
    let section = |at: u8, board: u8, shop: &str| {
        doc! {"_id": id(2, at), "board": id(1, board), "shop": shop, "number": 1}
    };
    let load = |sections: &[Document], more: &[&str]| {
        write_dump(&dump, "boards", &boards);
        write_dump(&dump, "sections", sections);
        let run = place.stage_dump();
        place.load(&run, &[&["--home", "existing"], more].concat())
    };
    let broken = [section(1, 1, "north"), section(2, 9, "north"), section(3, 1, "south")];
    for more in [&["--dry-run"][..], &[]] {
        let output = load(&broken, more);
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains("sections.board: 1 staged rows break the foreign key of_board"),
            "{text}"
        );
        assert!(text.contains("sections.shop, number: 1 staged rows break"), "{text}");
        assert!(text.contains("south, 1"), "{text}");
    }
    // Nothing was written, and nothing is set aside.
    assert_eq!(place.text("SELECT count(*)::text FROM app.boards"), "0");
    let keys = "SELECT count(*)::text FROM pg_constraint WHERE contype = 'f' AND convalidated \
                AND connamespace = 'app'::regnamespace";
    assert_eq!(place.text(keys), "2");
    let mut null = section(4, 1, "north");
    null.insert("shop", mongodb::bson::Bson::Null);
    let output = load(&[section(1, 1, "north"), null], &[]);
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(place.text(keys), "2");
}

#[test]
fn domains_and_citext_take_what_their_base_types_do() {
    let Some(place) = Place::new("docferry_domains") else { return };
    let pipeline = "version = 1\nname = \"books\"\nschema = \"app\"\n\
        [tables.people.columns]\nid = { from = \"_id\", type = \"uuid\", key = true }\n\
        email = { type = \"text\" }\nage = { type = \"integer\" }\ncode = { type = \"varchar(8)\" }\n\
        tags = { type = \"text[]\" }\nnick = { type = \"text\" }\n";
    std::fs::write(place.path("books.toml"), pipeline).unwrap();
    let citext = place
        .text("SELECT count(*)::text FROM pg_available_extensions WHERE name = 'citext'")
        == "1";
    let email = if citext { "citext" } else { "text" };
    if citext {
        place.sql("CREATE EXTENSION citext");
    }
    place.sql(&format!(
        "CREATE SCHEMA app;
         CREATE DOMAIN app.number AS integer NOT NULL;
         CREATE DOMAIN app.age AS app.number CHECK (VALUE BETWEEN 0 AND 150);
         CREATE DOMAIN app.code AS varchar(8);
         CREATE DOMAIN app.tags AS text[];
         CREATE TABLE app.addresses (email {email} PRIMARY KEY);
         INSERT INTO app.addresses VALUES ('{}'), ('bo@x.org');
         CREATE COLLATION app.folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE app.nicks (nick text COLLATE app.folded PRIMARY KEY);
         INSERT INTO app.nicks VALUES ('AN');
         CREATE TABLE app.people (id uuid PRIMARY KEY, email {email} UNIQUE REFERENCES app.addresses,
             nick text COLLATE app.folded REFERENCES app.nicks, age app.age, code app.code, tags app.tags)",
        if citext { "AN@x.org" } else { "An@x.org" },
    ));
    let person = |at: u8, email: &str, age: i32| {
        doc! {"_id": id(1, at), "email": email, "nick": "an", "age": age, "code": "x", "tags": ["a", "b"]}
    };
    let load = |people: &[Document], more: &[&str]| {
        write_dump(&place.path("dump/books"), "people", people);
        let run = place.stage_dump();
        let output = place.load(&run, &[&["--home", "existing"], more].concat());
        (run, output)
    };
    let people = [person(1, "An@x.org", 30), person(2, "bo@x.org", 31)];
    let (_, output) = load(&people, &["--dry-run"]);
    let text = shown(&output);
    assert!(text.contains("people.age: integer is staged, the domain app.age is there"), "{text}");
    if citext {
        assert!(text.contains("people.email: text is staged, citext is there"), "{text}");
        assert!(text.contains("people_email_key"), "a unique index that folds: {text}");
    }
    let (run, output) = load(&people, &[]);
    assert!(output.status.success(), "{}", shown(&output));
    place.verify(&run);
    let (run, output) = load(&people, &["--mode", "upsert"]);
    assert!(output.status.success(), "{}", shown(&output));
    place.verify(&run);
    assert_eq!(
        place.text("SELECT string_agg(email::text, ' ' ORDER BY id) FROM app.people"),
        "An@x.org bo@x.org"
    );
    for _ in 0..2 {
        let rollback = ["rollback", "latest", "--target", &place.address];
        let output = docferry().args(rollback).output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
    }
    // The comparison refuses what a domain would where it can tell, else the copy does.
    let mut null = person(2, "bo@x.org", 0);
    null.insert("age", mongodb::bson::Bson::Null);
    for (person, said) in [
        (null, "NULL is staged, the column is NOT NULL"),
        (person(2, "bo@x.org", 151), "age_check"),
    ] {
        let (_, output) = load(&[person], &[]);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        assert!(shown(&output).contains(said), "{said}: {}", shown(&output));
        assert_eq!(place.text("SELECT count(*)::text FROM app.people"), "0");
    }
    if citext {
        let by = pipeline.replace(
            "[tables.people.columns]",
            "[tables.people]\nupsert_by = [\"email\"]\n[tables.people.columns]",
        );
        std::fs::write(place.path("books.toml"), by).unwrap();
        let (_, output) = load(&people, &["--mode", "upsert"]);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        assert!(shown(&output).contains("rows are found again by it"), "{}", shown(&output));
    }
}

#[test]
fn json_and_char_take_what_the_types_that_docferry_stages_hold() {
    let Some(place) = Place::new("docferry_json") else { return };
    let pipeline = "version = 1\nname = \"books\"\nschema = \"app\"\n\
        [tables.people.columns]\nid = { from = \"_id\", type = \"uuid\", key = true }\n\
        extra = { type = \"jsonb\" }\ncode = { type = \"varchar(4)\" }\n";
    std::fs::write(place.path("books.toml"), pipeline).unwrap();
    place.sql(
        "CREATE SCHEMA app;
         CREATE TABLE app.codes (code char(4) PRIMARY KEY);
         INSERT INTO app.codes VALUES ('x'), ('y'), ('abc'), ('abcd'), ('');
         CREATE TABLE app.people (id uuid PRIMARY KEY, extra json, code char(4) UNIQUE REFERENCES app.codes)",
    );
    let load = |people: &[Document], more: &[&str]| {
        write_dump(&place.path("dump/books"), "people", people);
        let run = place.stage_dump();
        let output = place.load(&run, &[&["--home", "existing"], more].concat());
        (run, output)
    };
    // To a char(n) blanks at the end are nothing, also where its values are keys.
    let (_, output) = load(&[doc! {"_id": id(1, 9), "code": "x  "}], &["--dry-run"]);
    assert!(output.status.success(), "{}", shown(&output));
    let people = [
        doc! {"_id": id(1, 1), "extra": {"b": 1, "a": [1.5, "\u{e9}", null]}, "code": "x"},
        doc! {"_id": id(1, 2), "extra": "text", "code": "abcd"},
        doc! {"_id": id(1, 3), "code": ""},
    ];
    let (_, output) = load(&people, &["--dry-run"]);
    let text = shown(&output);
    assert!(text.contains("people.extra: jsonb is staged, json is there"), "{text}");
    assert!(text.contains("people.code: varchar(4) is staged, char(4) is there"), "{text}");
    for mode in ["insert", "replace"] {
        let (run, output) = load(&people, &["--mode", mode]);
        assert!(output.status.success(), "{mode}: {}", shown(&output));
        place.verify(&run);
        assert_eq!(
            place.text("SELECT string_agg(coalesce(extra::text, '-') || code, ' ' ORDER BY id) FROM app.people"),
            "{\"a\": [1.5, \"\u{e9}\", null], \"b\": 1}x \"text\"abcd -"
        );
    }
    // A changed value of either is named.
    for (change, column) in [("extra = '{\"a\": 2}'", "extra"), ("code = 'y'", "code")] {
        place.sql(&format!("UPDATE app.people SET {change} WHERE code = 'x' OR code = 'y'"));
        let output = place.run("verify", &["--target", &place.address]);
        assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
        assert!(shown(&output).contains(column), "{column}: {}", shown(&output));
    }
    let (_, output) = load(&people, &["--mode", "upsert"]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("json has no comparison"), "{}", shown(&output));
    // A value that the column has no room for stops before anything is written.
    place.sql("ALTER TABLE app.people ALTER code TYPE char(3) USING left(code, 3)");
    let (_, output) = load(&people, &["--mode", "replace"]);
    assert!(shown(&output).contains("char(3) is there"), "{}", shown(&output));
    assert_eq!(place.text("SELECT count(*)::text FROM app.people"), "3");
}
