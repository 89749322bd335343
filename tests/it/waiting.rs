//! Locks of others: docferry waits without making an application wait behind it, and says for
//! whom; and foreign keys that rows of others break while they are set aside.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use tokio_postgres::{Client, NoTls};

use crate::homes::{EXISTING, PIPELINE, Place, book, two_authors};
use crate::support::shown;

impl Place {
    /// Another session, under the name of an application.
    fn session(&self, name: &str) -> Client {
        let address = format!("{}?application_name={name}", self.address);
        self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        })
    }

    /// The application's tables with one that nothing refers to, and a document for it.
    fn with_notes(&self) {
        self.sql(EXISTING);
        self.sql("CREATE TABLE app.notes (id integer PRIMARY KEY, note text)");
        let pipeline = format!("{PIPELINE}{WITH_NOTES}");
        std::fs::write(self.path("books.toml"), pipeline).unwrap();
        let notes = [mongodb::bson::doc! {"_id": 1, "note": "first"}];
        crate::support::write_dump(&self.path("dump/books"), "notes", &notes);
    }

    fn start(arguments: &[&str]) -> Child {
        let mut docferry = Command::new(env!("CARGO_BIN_EXE_docferry"));
        docferry.args(arguments);
        docferry.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn start_load(&self, run: &str, more: &[&str]) -> Child {
        let mut docferry = Command::new(env!("CARGO_BIN_EXE_docferry"));
        docferry
            .arg("load")
            .arg(self.path("books.toml"))
            .arg("--staging")
            .arg(self.path("staging"));
        docferry.args(["--target", &self.address, "--run", run]).args(more);
        docferry.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// Reads what a command says until a line holds this text.
#[track_caller]
fn read_until(child: &mut Child, text: &str) -> String {
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "{text} is not said: {said}");
        said.push_str(&line);
        if line.contains(text) {
            child.stderr = Some(reader.into_inner());
            return said;
        }
    }
}

fn end(child: Child) -> Output {
    child.wait_with_output().unwrap()
}

#[test]
fn an_application_is_not_kept_waiting_by_a_load_or_a_rollback_that_waits() {
    let Some(place) = Place::new("docferry_waits") else { return };
    place.sql(EXISTING);
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    let (report, app) = (place.session("a%20report"), place.session("app"));
    let sql =
        |client: &Client, sql: &str| place.runtime.block_on(client.batch_execute(sql)).unwrap();
    sql(&app, "SET lock_timeout = '1s'");
    let rollback = ["rollback", "latest", "--target", &place.address];
    for command in ["load", "rollback", "replace"] {
        sql(&report, "BEGIN; SELECT count(*) FROM app.books");
        let mut waiting = match command {
            "load" => place.start_load(&run, &["--home", "existing"]),
            "rollback" => Place::start(&rollback),
            _ => place.start_load(&run, &["--home", "existing", "--mode", "replace"]),
        };
        let said = read_until(&mut waiting, "waiting for a lock");
        assert!(said.contains("of a report (role "), "{said}");
        assert!(said.contains("idle in transaction"), "{said}");
        // Whoever asks while docferry waits gets the lock within a second.
        for _ in 0..20 {
            sql(&app, "SELECT count(*) FROM app.books; UPDATE app.books SET pages = pages");
        }
        sql(&report, "COMMIT");
        let output = end(waiting);
        let expected = if command == "rollback" { Some(1) } else { Some(0) };
        assert_eq!(output.status.code(), expected, "{command}: {}", shown(&output));
        if command == "load" {
            continue;
        }
        // The application changed the rows, as it was free to.
        assert_eq!(place.rollback(&["--force"]).status.code(), Some(0), "{command}");
    }
}

#[test]
fn a_signal_ends_a_load_that_waits_for_a_lock() {
    let Some(place) = Place::new("docferry_wait_signal") else { return };
    place.sql(EXISTING);
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    let report = place.session("report");
    place.runtime.block_on(report.batch_execute("BEGIN; SELECT count(*) FROM app.books")).unwrap();
    let mut load = place.start_load(&run, &["--home", "existing"]);
    read_until(&mut load, "waiting for a lock");
    let stop = Command::new("kill").args(["-TERM", &load.id().to_string()]).status().unwrap();
    assert!(stop.success());
    let output = end(load);
    assert_eq!(output.status.code(), Some(130), "{}", shown(&output));
    drop(report);
    assert_eq!(place.load(&run, &["--home", "existing"]).status.code(), Some(0));
    place.verify(&run);
}

/// Foreign keys and indexes as the application sees them.
const CONSTRAINTS: &str = "SELECT string_agg(pg_get_constraintdef(oid), '; ' ORDER BY conname) \
    || (SELECT string_agg(indexdef, '; ' ORDER BY indexname) FROM pg_indexes WHERE schemaname = 'app') \
    FROM pg_constraint WHERE connamespace = 'app'::regnamespace";

#[test]
fn a_signal_in_the_middle_of_a_load_gives_the_application_its_constraints_back() {
    let Some(place) = Place::new("docferry_signal_aside") else { return };
    place.with_notes();
    let before = place.text(CONSTRAINTS);
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    let writer = place.session("writer");
    let hold = "BEGIN; INSERT INTO app.notes VALUES (1, 'mine')";
    place.runtime.block_on(writer.batch_execute(hold)).unwrap();
    let mut load = place.start_load(&run, &["--home", "existing", "--connections", "1"]);
    read_until(&mut load, "waiting for a lock");
    assert_ne!(place.text(CONSTRAINTS), before, "they are set aside");
    let stop = Command::new("kill").args(["-TERM", &load.id().to_string()]).status().unwrap();
    assert!(stop.success());
    let output = end(load);
    assert_eq!(output.status.code(), Some(130), "{}", shown(&output));
    assert_eq!(place.text(CONSTRAINTS), before);
    place.runtime.block_on(writer.batch_execute("ROLLBACK")).unwrap();
    assert_eq!(place.load(&run, &["--home", "existing"]).status.code(), Some(0));
    assert_eq!(place.text(CONSTRAINTS), before);
    place.verify(&run);
}

/// The same pipeline with a table that nothing refers to.
const WITH_NOTES: &str = "[tables.notes.columns]\nid = { from = \"_id\", type = \"integer\", key = true }\n\
                          note = { type = \"text\" }\n";

#[test]
fn a_row_of_an_application_that_breaks_a_foreign_key_stops_neither_load_nor_rollback() {
    let Some(place) = Place::new("docferry_orphan") else { return };
    place.with_notes();
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    let way = ["--home", "existing"];

    // A note that is not committed holds the load up while the foreign keys are away.
    let writer = place.session("writer");
    let hold = "BEGIN; INSERT INTO app.notes VALUES (1, 'mine')";
    place.runtime.block_on(writer.batch_execute(hold)).unwrap();
    let mut load = place.start_load(&run, &[&way[..], &["--connections", "1"]].concat());
    read_until(&mut load, "waiting for a lock");
    place.sql("INSERT INTO app.books_readers VALUES (gen_random_uuid(), gen_random_uuid())");
    place.runtime.block_on(writer.batch_execute("ROLLBACK")).unwrap();
    let output = end(load);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains(
            "foreign key books_readers_book_id_fkey of books_readers is back, but not \
                           validated: 1 rows that others wrote"
        ),
        "{text}"
    );
    assert!(text.contains("VALIDATE CONSTRAINT \"books_readers_book_id_fkey\""), "{text}");
    let output = place.run("verify", &["--target", &place.address, "--run", &run]);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains("books_readers_book_id_fkey is there, but not validated: 1 rows"),
        "{text}"
    );

    // It guards new rows all the same, and another load goes on.
    let orphan = "INSERT INTO app.books_readers VALUES (gen_random_uuid(), gen_random_uuid())";
    assert!(place.runtime.block_on(place.client.batch_execute(orphan)).is_err());
    assert_eq!(place.load(&run, &way).status.code(), Some(0));
    let output = place.rollback(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("1 rows of books_readers were added"), "{}", shown(&output));
    let output = place.rollback(&["--force"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(shown(&output).contains("is back, but not validated"), "{}", shown(&output));
    let left = place.text("SELECT count(*)::text FROM app.books_readers");
    assert_eq!(left, "1", "the row of the application stays");

    // Corrected, the next load validates it.
    place.sql("DELETE FROM app.books_readers");
    place.sql("ALTER TABLE app.books_readers VALIDATE CONSTRAINT books_readers_book_id_fkey");
    assert_eq!(place.load(&run, &way).status.code(), Some(0));
    place.verify(&run);
}
