//! From PostgreSQL back to SQLite, and there again.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{
    Migrated, assert_same, data, docferry, fresh_database, migrate, project, server, shown, state,
};

fn sums(run: &Path, stage: &str) -> Vec<String> {
    let text = std::fs::read_to_string(run.join(stage).join("SHA256SUMS")).unwrap();
    text.lines().filter(|line| !line.ends_with("manifest.json")).map(str::to_owned).collect()
}

/// Digests of all tables, as PostgreSQL returns them.
fn digests(migrated: &Migrated) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(migrated.run().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let tables = report["tables"].as_array().unwrap();
    tables.iter().map(|table| (text(&table["table"]), text(&table["found_digest"]))).collect()
}

fn there_and_back(name: &str, source: &str, label: &str) {
    let pipeline = project(&format!("pipelines/{name}.toml"));
    let database = format!("docferry_way_{label}");
    let Some(there) = migrate(&pipeline, source, &database) else { return };
    assert!(matches!(there.output.status.code(), Some(0 | 3)), "{}", there.shown());

    // The export itself goes back to the file it came from.
    let copy = there.folder.path().join("copy.db");
    let restored = docferry()
        .args(["restore", there.run().to_str().unwrap(), "--to"])
        .arg(format!("sqlite:{}", copy.display()))
        .output()
        .unwrap();
    assert!(restored.status.success(), "{}", shown(&restored));
    let again = there.folder.path().join("again");
    let output = docferry()
        .args(["export", pipeline.to_str().unwrap(), "--source"])
        .arg(format!("sqlite:{}", copy.display()))
        .arg("--staging")
        .arg(&again)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let rows = |run: &Path| -> Vec<String> {
        // The namespace in a part is the file's name: the documents are what must agree.
        let path = run.join("export/manifest.json");
        let manifest: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let collections = manifest["collections"].as_array().unwrap();
        collections
            .iter()
            .map(|table| {
                format!(
                    "{} {} {} {} {}",
                    table["name"],
                    table["documents"],
                    table["document_bytes"],
                    table["indexes"],
                    table["options"]["sql"],
                )
            })
            .collect()
    };
    assert_same(&rows(&there.run()), &rows(&again.join(name).join("latest")));

    // The rows of the loaded database go back too, and give the same rows when they return.
    let staging = there.folder.path().join("back");
    let output = docferry()
        .args(["export", pipeline.to_str().unwrap(), "--source", &there.address, "--staging"])
        .arg(&staging)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(!shown(&output).contains("comes from inside"), "{}", shown(&output));
    let back = there.folder.path().join("back.db");
    let to = format!("sqlite:{}", back.display());
    let restore = || {
        docferry()
            .args(["restore", "latest", "--to", &to, "--staging"])
            .arg(&staging)
            .output()
            .unwrap()
    };
    let output = restore();
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(restore().status.code(), Some(2), "an existing file is not overwritten");

    let returned = migrate(&pipeline, &to, &format!("{database}_2")).unwrap();
    assert_eq!(returned.output.status.code(), Some(0), "{}", returned.shown());
    assert_eq!(digests(&there), digests(&returned));
    // pg_dump sees what the digests do not: defaults, sequences, generated columns.
    assert_same(&state(&there.address), &state(&returned.address));

    // The same rows without the detour: export of PostgreSQL is a source like any other.
    let direct = migrate(&pipeline, &there.address, &format!("{database}_3")).unwrap();
    assert_eq!(direct.output.status.code(), Some(0), "{}", direct.shown());
    assert_eq!(digests(&there), digests(&direct));
    assert_eq!(
        sums(&returned.run(), "transform"),
        sums(&direct.run(), "transform"),
        "the same rows are the same files"
    );
}

#[test]
fn generated_databases_return_as_they_were() {
    for name in ["assessment-bot", "neo-alexandria"] {
        let folder = tempfile::tempdir().unwrap();
        let to = format!("sqlite:{}", folder.path().join("made.db").display());
        let pipeline = project(&format!("pipelines/{name}.toml"));
        let output = docferry()
            .args(["generate", pipeline.to_str().unwrap(), "--to", &to, "--documents", "2000"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        there_and_back(name, &to, &format!("made_{}", name.replace('-', "_")));
    }
}

#[test]
fn real_files_return_as_they_were() {
    let Some(data) = data() else { return };
    for (name, file) in [
        ("assessment-bot", "writely_ielts_bot.db"),
        ("neo-alexandria", "neo_alexandria_test.db"),
        ("neo-alexandria", "neo_alexandria_oldest.db"),
    ] {
        let source = format!("sqlite:{}", data.join("sqlite").join(file).display());
        there_and_back(name, &source, "real");
    }
}

const LEDGER: &str = r#"
version = 1
name = "ledger"
[tables.accounts.columns]
code = { type = "varchar(10)", key = true }
region = { type = "integer", key = true }
title = { from = "Full Name", type = "text", required = true }
open = { type = "boolean", coerce = true }
rate = { type = "double precision" }
amount = { type = "numeric", coerce = true }
seen = { type = "timestamptz", format = "epoch" }
noted = { type = "timestamp(3)", format = "epoch_ms" }
opened = { type = "date" }
paid = { type = "timestamptz" }
raw = { type = "bytea" }
about = { type = "jsonb", json = true }
[tables.notes.columns]
id = { type = "bigint", key = true }
text = { type = "text", required = true }
about = { type = "jsonb" }
"#;

#[test]
fn values_at_the_edges_return_and_what_cannot_is_named() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("ledger.toml");
    std::fs::write(&pipeline, LEDGER).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_ledger"));
    let fill = r#"
        CREATE TABLE accounts (code varchar(10), region integer, title text NOT NULL, open boolean,
            rate double precision, amount numeric, seen timestamptz, noted timestamp(3), opened date,
            paid timestamptz, raw bytea, about jsonb, PRIMARY KEY (code, region));
        CREATE TABLE notes (id bigint PRIMARY KEY, text text NOT NULL, about jsonb);
        INSERT INTO accounts VALUES
            ('007', 1, '12', true, 0.1, 1.10, '2024-02-29 12:00:00.000001Z', '2024-02-29 12:00:00.5',
             '0001-01-01', '1969-12-31 23:59:59.999999Z', '\x00ff', '{"n": 123456789012345678901234567890.10}'),
            ('7', -2147483648, '', false, '-Infinity', 123456789012345678901234567890123456789.5, NULL,
             NULL, NULL, NULL, '', '5'),
            ('1e3', 2, 'ž "quoted"', NULL, 5e-324, -0.0010, '1970-01-01Z', '1970-01-01', '9999-12-31',
             '9999-12-31 23:59:59Z', NULL, 'null');
        INSERT INTO notes VALUES (1, 'left', '{}')"#;
    runtime.block_on(client.batch_execute(fill)).unwrap();
    let staging = folder.path().join("staging");
    let output = docferry()
        .args(["export", pipeline.to_str().unwrap(), "--source", &address, "--staging"])
        .arg(&staging)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(
        shown(&output).contains("skipped notes: column about is no text"),
        "{}",
        shown(&output)
    );
    let back = folder.path().join("back.db");
    let to = format!("sqlite:{}", back.display());
    let output = docferry()
        .args(["restore", "ledger/latest", "--to", &to, "--staging"])
        .arg(&staging)
        .output();
    assert!(shown(&output.unwrap()).contains("notes is left out"));
    // The table that stays is enough for the pipeline to be run again.
    let rest = LEDGER.split("[tables.notes").next().unwrap();
    std::fs::write(&pipeline, rest).unwrap();
    let returned = migrate(&pipeline, &to, "docferry_ledger_2").unwrap();
    assert_eq!(returned.output.status.code(), Some(0), "{}", returned.shown());
    let rows = "SELECT to_jsonb(a)::text || raw::text FROM accounts a ORDER BY code COLLATE \"C\"";
    let before = runtime.block_on(client.query(rows, &[])).unwrap();
    let before: Vec<String> =
        before.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or("NULL".into())).collect();
    assert_eq!(before, returned.rows(rows));
}

#[test]
fn documents_of_mongodb_do_not_go_to_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/some");
    crate::support::write_dump(&dump, "notes", &[mongodb::bson::doc! {"_id": 1}]);
    let pipeline = folder.path().join("some.toml");
    std::fs::write(&pipeline, "version = 1\nname = \"some\"\n[tables.notes.columns]\nid = { from = \"_id\", type = \"integer\", key = true }\n").unwrap();
    let staging = folder.path().join("staging");
    let run = |arguments: &[&str]| {
        docferry().args(arguments).arg("--staging").arg(&staging).output().unwrap()
    };
    let output = run(&["export", pipeline.to_str().unwrap(), "--source", dump.to_str().unwrap()]);
    assert!(output.status.success(), "{}", shown(&output));
    let file = folder.path().join("back.db");
    let to = format!("sqlite:{}", file.display());
    let output = run(&["restore", "latest", "--to", &to]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("--source postgres://"), "{}", shown(&output));
    assert!(!file.exists());
    assert_eq!(run(&["restore", "20000101T000000Z", "--to", &to]).status.code(), Some(10));
    assert_eq!(run(&["restore", "latest", "--to", "mysql:x"]).status.code(), Some(2));
}
