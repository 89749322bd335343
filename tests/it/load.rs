//! Load into a real PostgreSQL.

use std::path::Path;

use crate::stages::{orders, people, run_stages};
use crate::support::{docferry, fresh_database, project, server, write_dump};

fn load(folder: &Path, address: &str) -> std::process::Output {
    docferry()
        .arg("load")
        .arg(folder.join("shop.toml"))
        .args(["--target", address, "--staging"])
        .arg(folder.join("staging-2"))
        .output()
        .unwrap()
}

#[test]
fn staged_rows_are_in_postgresql_once_however_often_they_are_loaded() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    write_dump(&dump, "people", &people());
    write_dump(&dump, "orders", &orders());
    run_stages(folder.path(), dump.to_str().unwrap(), "2");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_load"));
    for _ in 0..2 {
        let output = load(folder.path(), &address);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let one = |sql: &str| runtime.block_on(client.query_one(sql, &[])).unwrap();
    assert_eq!(one("SELECT count(*) FROM people").get::<_, i64>(0), 4);
    assert_eq!(one("SELECT count(*) FROM orders").get::<_, i64>(0), 2);
    assert_eq!(one("SELECT count(*) FROM lines").get::<_, i64>(0), 2);
    assert_eq!(one("SELECT count(*) FROM followers").get::<_, i64>(0), 3);
    assert_eq!(
        one("SELECT extra::text FROM orders WHERE extra IS NOT NULL").get::<_, String>(0),
        r#"{"n": "NaN", "$a": 2.0, "b.c": 1}"#
    );
    let valid = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated";
    assert_eq!(one(valid).get::<_, i64>(0), 4);
}

#[test]
fn every_change_after_the_load_is_found_and_named() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    write_dump(&dump, "people", &people());
    write_dump(&dump, "orders", &orders());
    run_stages(folder.path(), dump.to_str().unwrap(), "2");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_verify"));
    assert!(load(folder.path(), &address).status.success());
    let verify = || {
        let output = docferry()
            .arg("verify")
            .arg(folder.path().join("shop.toml"))
            .args(["--target", &address, "--staging"])
            .arg(folder.path().join("staging-2"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, shown) = verify();
    assert_eq!(code, Some(3), "{shown}");
    assert!(shown.contains("what arrived is proved"), "{shown}");
    let changes = [
        ("UPDATE people SET age = age + 1 WHERE email LIKE 'p1@%'", "differs in age"),
        ("DELETE FROM lines WHERE sku = 'b'", "2 rows are staged, 1 are there"),
        ("INSERT INTO people (id, email) VALUES (gen_random_uuid(), 'x@y.z')", "was not staged"),
        (
            "ALTER TABLE people DROP CONSTRAINT people_email_key; \
             UPDATE people p SET email = 'p' || (9 - substr(p.email, 2, 1)::int) || '@example.org' \
             WHERE substr(email, 2, 1) IN ('4', '5')",
            "differs in email",
        ),
        ("ALTER TABLE orders DROP CONSTRAINT orders_buyer_fkey", "orders_buyer_fkey is missing"),
    ];
    for (change, expected) in changes {
        runtime.block_on(client.batch_execute(change)).unwrap();
        let (code, shown) = verify();
        assert_eq!(code, Some(4), "{change}: {shown}");
        assert!(shown.contains(expected), "{change}: {shown}");
    }
}

#[test]
fn a_table_of_somebody_else_is_refused_before_anything_is_written() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    write_dump(&dump, "people", &people());
    write_dump(&dump, "orders", &orders());
    run_stages(folder.path(), dump.to_str().unwrap(), "2");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_refuse"));
    let theirs = "CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2)";
    runtime.block_on(client.batch_execute(theirs)).unwrap();
    let output = load(folder.path(), &address);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stderr).unwrap();
    assert!(shown.contains("table orders exists already and holds 2 rows"), "{shown}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname IN ('public', 'docferry')";
    let tables = runtime.block_on(client.query_one(tables, &[])).unwrap();
    assert_eq!(tables.get::<_, i64>(0), 1);
}

#[test]
fn hooks_run_once_and_an_error_in_one_names_its_line() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("notes");
    write_dump(&dump, "notes", &[mongodb::bson::doc! {"_id": mongodb::bson::oid::ObjectId::new()}]);
    let text = "version = 1\nname = \"shop\"\nschema = \"app\"\n[hooks]\nbefore_load = [\"before.sql\"]\n\
                after_load = [\"after.sql\"]\n[tables.notes.columns]\n\
                id = { from = \"_id\", type = \"uuid\", key = true }\n";
    let pipeline = folder.path().join("shop.toml");
    std::fs::write(&pipeline, text).unwrap();
    let write = |name: &str, sql: &str| std::fs::write(folder.path().join(name), sql).unwrap();
    write("before.sql", "CREATE TABLE runs_of_hooks (hook text);");
    write("after.sql", "INSERT INTO runs_of_hooks VALUES ('after');\nSELECT nonsense();");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_hooks"));
    let run = |command: &str, more: &[&str]| {
        let staging = folder.path().join("staging");
        let mut docferry = docferry();
        docferry.arg(command).arg(&pipeline).arg("--staging").arg(staging).args(more);
        docferry.output().unwrap()
    };
    let source = ["--source", dump.to_str().unwrap(), "--target", &address];
    let output = run("run", &source);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stderr).unwrap();
    assert!(shown.contains("could not run after.sql, line 2"), "{shown}");
    write("after.sql", "INSERT INTO runs_of_hooks VALUES ('after');");
    assert!(run("transform", &[]).status.success());
    for _ in 0..2 {
        let output = run("load", &["--target", &address]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let hooks = "SELECT count(*) FROM app.runs_of_hooks";
    let count = runtime.block_on(client.query_one(hooks, &[])).unwrap();
    assert_eq!(count.get::<_, i64>(0), 1);
    std::fs::remove_file(folder.path().join("after.sql")).unwrap();
    let output = run("export", &source[..2]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("shop.toml:6"));
}

#[test]
fn rows_that_do_not_meet_an_expectation_are_counted_and_loaded() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("trips");
    let trip =
        |id: i32, from: i32, to: i32| mongodb::bson::doc! {"_id": id, "from": from, "to": to};
    write_dump(&dump, "trips", &[trip(1, 1, 2), trip(2, 5, 4), trip(3, 3, 3)]);
    let pipeline = folder.path().join("trips.toml");
    let text = "version = 1\nname = \"trips\"\n[tables.trips.columns]\n\
                id = { from = \"_id\", type = \"integer\", key = true }\n\
                start = { from = \"from\", type = \"integer\" }\n\
                stop = { from = \"to\", type = \"integer\" }\n\
                [tables.trips.expectations]\nin_order = \"stop >= start\"\n";
    std::fs::write(&pipeline, text).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_client, address) = runtime.block_on(fresh_database(&server, "docferry_expectations"));
    let output = docferry()
        .arg("run")
        .arg(&pipeline)
        .args(["--source", dump.to_str().unwrap(), "--target", &address, "--staging"])
        .arg(folder.path().join("staging"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("trips: 1 rows do not meet in_order, for example 2"), "{shown}");
    let report = std::fs::read_to_string(folder.path().join("staging/trips/latest/report.html"));
    assert!(report.unwrap().contains("in_order"));
}

#[test]
fn the_schema_of_each_pipeline_is_what_ddl_prints() {
    for entry in std::fs::read_dir(project("pipelines")).unwrap() {
        let pipeline = entry.unwrap().path();
        let name = pipeline.file_stem().unwrap().to_str().unwrap().to_owned();
        let output = docferry().arg("ddl").arg(&pipeline).output().unwrap();
        let kept =
            std::fs::read_to_string(project(&format!("sql/{name}/schema.sql"))).unwrap_or_default();
        assert!(
            String::from_utf8(output.stdout).unwrap() == kept,
            "write it again: docferry ddl pipelines/{name}.toml > sql/{name}/schema.sql"
        );
    }
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    write_dump(&dump, "people", &people());
    write_dump(&dump, "orders", &orders());
    run_stages(folder.path(), dump.to_str().unwrap(), "2");
    let output = load(folder.path(), "postgres://me:topsecret@127.0.0.1:1/nowhere");
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stderr).unwrap();
    assert!(shown.contains("127.0.0.1:1/nowhere (tried 3 times)"), "{shown}");
    assert!(!shown.contains("topsecret"), "{shown}");
}

#[test]
fn sql_files_that_would_end_the_transaction_are_refused_and_found_if_they_do() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("notes");
    write_dump(&dump, "notes", &[mongodb::bson::doc! {"_id": mongodb::bson::oid::ObjectId::new()}]);
    let text = "version = 1\nname = \"shop\"\nschema = \"app\"\n[hooks]\n\
                before_load = [\"first.sql\", \"before.sql\"]\nafter_load = [\"after.sql\"]\n\
                [tables.notes.columns]\nid = { from = \"_id\", type = \"uuid\", key = true }\n";
    std::fs::write(folder.path().join("shop.toml"), text).unwrap();
    let write = |name: &str, sql: &str| std::fs::write(folder.path().join(name), sql).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_controls"));
    let run = |command: &str, more: &[&str]| {
        let mut docferry = docferry();
        docferry.arg(command).arg(folder.path().join("shop.toml")).args(more);
        if command != "check" {
            docferry.arg("--staging").arg(folder.path().join("staging"));
        }
        docferry.output().unwrap()
    };
    let fine =
        "SAVEPOINT a; ROLLBACK TO a;\nDO $$ BEGIN PERFORM 'x; COMMIT; y'; END $$; -- COMMIT;\n";
    for (name, line) in [("first.sql", 5), ("before.sql", 5), ("after.sql", 6)] {
        for file in ["first.sql", "before.sql", "after.sql"] {
            write(file, fine);
        }
        assert_eq!(run("check", &[]).status.code(), Some(0));
        for control in ["commit", "BEGIN", "ROLLBACK", "START TRANSACTION", "end"] {
            write(name, &format!("{fine}SELECT 1;\n{control};"));
            let output = run("check", &[]);
            let said = crate::support::shown(&output);
            assert_eq!(output.status.code(), Some(2), "{said}");
            let control = control.to_uppercase();
            let expected = format!("SQL file {name}, line 4: {control} would end the transaction");
            assert!(said.contains(&expected), "{said}");
            assert!(said.contains(&format!("shop.toml:{line}")), "{said}");
            let output = run("load", &["--target", &address]);
            assert_eq!(output.status.code(), Some(2));
        }
        write(name, fine);
    }
    // What is staged is looked at as well: an earlier docferry let it through.
    let source = ["--source", dump.to_str().unwrap()];
    assert!(run("export", &source).status.success());
    assert!(run("transform", &[]).status.success());
    // This one the server alone can tell, after a setting of the file before it.
    write("first.sql", "SET standard_conforming_strings = off;");
    write("before.sql", "SELECT 'x\\''; COMMIT; --'\n");
    assert!(run("transform", &[]).status.success());
    let output = run("load", &["--target", &address]);
    let said = crate::support::shown(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("SQL file before.sql ended the transaction"), "{said}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'app'";
    assert_eq!(runtime.block_on(client.query_one(tables, &[])).unwrap().get::<_, i64>(0), 0);
    let output = docferry().args(["rollback", "latest", "--target", &address]).output().unwrap();
    assert!(output.status.success(), "{}", crate::support::shown(&output));
    write("before.sql", fine);
    write("first.sql", fine);
    assert!(run("transform", &[]).status.success());
    let output = run("load", &["--target", &address]);
    assert!(output.status.success(), "{}", crate::support::shown(&output));
}
