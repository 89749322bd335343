//! What is known before the first byte moves, and what is watched afterwards.

use std::fs;
use std::process::Output;

use mongodb::bson::doc;

use crate::homes::{Place, book, two_authors};
use crate::support::{docferry, shown, write_dump};

/// A dump of two authors and a book, and the arguments of a run of it.
fn dump(place: &Place) -> String {
    let dump = place.path("dump/books");
    write_dump(&dump, "authors", &two_authors());
    write_dump(&dump, "books", &[book(1, "Dune", 1)]);
    dump.to_str().unwrap().to_owned()
}

fn command(place: &Place, command: &str, source: &str, target: &str) -> Output {
    place.run(command, &["--source", source, "--target", target])
}

/// Runs, and looks, and wants both to say the same before anything is staged.
fn assert_refused(place: &Place, source: &str, target: &str, status: i32, said: &str, cure: &str) {
    for name in ["run", "doctor"] {
        let output = command(place, name, source, target);
        let text = shown(&output);
        let expected = if name == "run" { status } else { 1 };
        assert_eq!(output.status.code(), Some(expected), "{name}: {text}");
        assert!(text.contains(said), "{name} {said}: {text}");
        assert!(text.contains(cure), "{name} {cure}: {text}");
    }
    let staged = fs::read_dir(place.path("staging/books"));
    assert_eq!(staged.map_or(0, Iterator::count), 0, "something was staged: {said}");
}

#[test]
fn nothing_is_read_of_a_source_whose_target_cannot_be_loaded() {
    let Some(place) = Place::new("docferry_ahead") else { return };
    let source = dump(&place);
    let (server, database) = place.address.rsplit_once('/').unwrap();
    let none = format!("{server}/docferry_nowhere");
    assert_refused(&place, &source, &none, 1, "docferry_nowhere", "createdb");
    let nobody = place.address.replace("postgres@", "docferry_nobody@");
    assert_refused(&place, &source, &nobody, 1, "docferry_nobody", "account");
    let other = format!("{}?schema=public", place.address);
    assert_refused(&place, &source, &other, 2, "schema=public", "schema = \"public\"");
    place.sql(
        "CREATE SCHEMA app; CREATE TABLE app.books (id uuid); INSERT INTO app.books VALUES (NULL)",
    );
    assert_refused(&place, &source, &place.address, 1, "table books", "--mode");
    place.sql("DROP SCHEMA app CASCADE");
    place.sql(&format!("ALTER DATABASE {database} SET default_transaction_read_only = on"));
    let on = "default_transaction_read_only=off";
    assert_refused(&place, &source, &place.address, 1, "read only", on);
    let off = format!("{}?options=-c%20default_transaction_read_only%3Doff", place.address);
    let output = command(&place, "doctor", &source, &off);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let output = command(&place, "run", &source, &off);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
}

#[test]
fn a_source_that_does_not_fit_the_pipeline_file_is_known_ahead() {
    let Some(place) = Place::new("docferry_ahead_source") else { return };
    let source = dump(&place);
    let folder = place.path("dump/books");
    write_dump(&folder, "more", &[doc! {"_id": 1}]);
    assert_refused(&place, &source, &place.address, 2, "collection more", "`ignore`");
    fs::remove_file(folder.join("more.bson")).unwrap();
    fs::remove_file(folder.join("authors.bson")).unwrap();
    assert_refused(&place, &source, &place.address, 2, "no collection authors", "optional = true");
    let gone = place.path("gone").to_str().unwrap().to_owned();
    let output = command(&place, "doctor", &gone, &place.address);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    // One end that is broken does not hide the other.
    assert!(text.contains("no such file") && text.contains("it can be written to"), "{text}");
}

#[test]
fn a_backup_does_not_begin_where_there_is_no_room_to_write() {
    let Some(place) = Place::new("docferry_ahead_room") else { return };
    let source = dump(&place);
    let closed = place.path("file");
    fs::write(&closed, "").unwrap();
    let mut docferry = docferry();
    docferry.arg("backup").arg(place.path("books.toml")).args(["--source", &source]);
    // A file stands where the folder should be; above it there is room.
    let output = docferry.arg("--staging").arg(closed.join("staging")).output().unwrap();
    assert_ne!(output.status.code(), Some(0), "{}", shown(&output));
}

#[test]
fn a_database_in_use_is_looked_at() {
    let Some(place) = Place::new("docferry_health") else { return };
    place.sql(
        "CREATE SCHEMA app;
         CREATE TABLE app.authors (id integer PRIMARY KEY, name text);
         INSERT INTO app.authors SELECT n, 'name ' || n FROM generate_series(1, 5000) n;
         CREATE TABLE app.books (id serial PRIMARY KEY, author integer REFERENCES app.authors,
             editor integer REFERENCES app.authors, title text);
         INSERT INTO app.books (author, editor, title)
             SELECT n, n, 'title ' || n % 10 FROM generate_series(1, 5000) n;
         CREATE INDEX ON app.books (editor);
         SELECT setval('app.books_id_seq', 2000000000);
         ANALYZE app.authors, app.books;",
    );
    let metrics = place.path("doctor.prom");
    let look = |more: &[&str]| {
        let mut docferry = docferry();
        docferry.args(["doctor", "--target", &place.address]).args(more);
        docferry.arg("--metrics").arg(&metrics).output().unwrap()
    };
    let output = look(&[]);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("app.books (author)") && !text.contains("(editor)"), "{text}");
    assert!(text.contains("app.books_id_seq has given out 93 %"), "{text}");
    assert!(text.contains("pg_stat_statements"), "{text}");
    // An index that could not be built stays behind.
    let failed = place.runtime.block_on(
        place.client.batch_execute("CREATE UNIQUE INDEX CONCURRENTLY titles ON app.books (title)"),
    );
    assert!(failed.is_err());
    let output = look(&["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = value["doctor"]["checks"].as_array().unwrap();
    let invalid = checks.iter().find(|check| check["about"] == "invalid indexes").unwrap();
    assert_eq!(invalid["detail"], "app.titles");
    assert_eq!(invalid["cure"], "REINDEX INDEX CONCURRENTLY app.titles;");
    let prometheus = fs::read_to_string(&metrics).unwrap();
    for line in [
        "docferry_doctor_invalid_indexes{command=\"doctor\",pipeline=\"\"} 1",
        "docferry_doctor_unindexed_foreign_keys{command=\"doctor\",pipeline=\"\"} 1",
        "docferry_doctor_checks{command=\"doctor\",pipeline=\"\",state=\"failure\"} 1",
        "docferry_doctor_connections_limit{command=\"doctor\",pipeline=\"\"} 200",
        "docferry_last_run_exit_status{command=\"doctor\",pipeline=\"\"} 1",
    ] {
        assert!(prometheus.contains(line), "{line}\n{prometheus}");
    }
    place.sql("DROP INDEX app.titles; CREATE INDEX ON app.books (author); SELECT setval('app.books_id_seq', 5000)");
    let output = look(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
}

#[test]
fn a_role_that_cannot_see_something_is_not_told_that_it_is_well() {
    let Some(place) = Place::new("docferry_unseeing") else { return };
    place.sql(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'docferry_unseeing') THEN \
         CREATE ROLE docferry_unseeing LOGIN; END IF; END $$; \
         CREATE TABLE own (id serial); SELECT setval('own_id_seq', 2147483647)",
    );
    // A transaction of another role stays open.
    place.sql("BEGIN; SELECT 1");
    let look = |user: &str| {
        let target = place.address.replace("postgres@", &format!("{user}@"));
        let output = docferry().args(["doctor", "--json", "--target", &target]).output().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        value["doctor"]["checks"].as_array().unwrap().clone()
    };
    let of = |checks: &[serde_json::Value], about: &str| {
        checks.iter().find(|check| check["about"] == about).unwrap().clone()
    };
    let unseeing = look("docferry_unseeing");
    let transaction = of(&unseeing, "longest transaction");
    assert_eq!(transaction["state"], "note", "{transaction}");
    assert_eq!(transaction["cure"], "GRANT pg_read_all_stats TO docferry_unseeing;");
    let sequences = of(&unseeing, "sequences");
    assert!(sequences["detail"].as_str().unwrap().contains("public.own_id_seq"), "{sequences}");
    // Its own session and that of the test are two at least.
    let used = of(&unseeing, "connections")["measures"][0]["value"].as_f64().unwrap();
    assert!(used >= 2.0, "{unseeing:?}");
    let all = look("postgres");
    assert_eq!(of(&all, "sequences")["state"], "failure");
    let transaction = of(&all, "longest transaction");
    assert!(transaction["detail"].as_str().unwrap().contains("old: process"), "{transaction}");
    place.sql("ROLLBACK");
    place.sql("DROP ROLE docferry_unseeing");
}

#[test]
fn queries_of_a_pipeline_file_have_their_time() {
    let Some(place) = Place::new("docferry_queries") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    let output = place.load(&run, &[]);
    assert!(output.status.success(), "{}", shown(&output));
    let pipeline = fs::read_to_string(place.path("books.toml")).unwrap();
    let with = |queries: &str| {
        let text = format!("{pipeline}\n[queries]\n{queries}\n");
        fs::write(place.path("books.toml"), text).unwrap();
        place.run(
            "doctor",
            &[
                "--health",
                "--target",
                &place.address,
                "--metrics",
                place.path("m").to_str().unwrap(),
            ],
        )
    };
    let output =
        with("titles = { sql = \"SELECT title FROM books ORDER BY title\", max_ms = 60000 }");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let metrics = fs::read_to_string(place.path("m")).unwrap();
    assert!(metrics.contains("docferry_doctor_query_limit_milliseconds{command=\"doctor\",pipeline=\"books\",query=\"titles\"} 60000"), "{metrics}");
    let output = with("slow = { sql = \"SELECT pg_sleep(0.03), * FROM books;\", max_ms = 10 }");
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(text.contains("ms of 10 ms") && text.contains("Seq Scan on books"), "{text}");
    // A query only reads.
    let output = with("drops = { sql = \"DELETE FROM books\", max_ms = 10 }");
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("read-only transaction"), "{text}");
    assert_eq!(place.text("SELECT count(*)::text FROM app.books"), "1");
    for (wrong, said) in [
        ("a = 1", "a query must be a table"),
        ("a = { sql = \"SELECT 1\" }", "needs `sql` and `max_ms`"),
        ("a = { sql = \"SELECT 1\", max_ms = 0 }", "whole number of milliseconds"),
        ("a = { sql = \"SELECT 1\", max_ms = 1, most = 2 }", "most"),
    ] {
        let output = with(wrong);
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{text}");
    }
}
