//! SQLite databases: what their catalogue says arrives in PostgreSQL, or is named in the draft.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::support::migrate;

/// A new database made by this SQL.
fn made(folder: &Path, name: &str, sql: &str) -> PathBuf {
    let path = folder.join(name);
    Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    path
}

fn address(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

#[test]
fn the_pipeline_file_says_what_an_application_relies_on() {
    let folder = tempfile::tempdir().unwrap();
    let database = made(
        folder.path(),
        "people.db",
        "CREATE TABLE teams(id INTEGER PRIMARY KEY, name TEXT);
         INSERT INTO teams VALUES(1, 'red'), (2, 'blue');
         CREATE TABLE people(id INTEGER PRIMARY KEY, email TEXT, team INTEGER, seen TEXT, joined TEXT);
         INSERT INTO people VALUES(1, 'Ann@x', 1, '', '2024-01-31 10:00:00'),
             (2, 'ann@X', 1, '2024-01-01', NULL), (3, 'bob@x', 2, '2024-02-01', NULL), (4, NULL, 2, '', NULL);",
    );
    let pipeline = folder.path().join("people.toml");
    let text = "version = 1\nname = \"people\"\n\
        [tables.teams.columns]\nid = { type = \"bigint\", key = true }\nname = { type = \"text\" }\n\
        [tables.people.columns]\nid = { type = \"bigint\", key = true }\n\
        email = { type = \"text\" }\n\
        team = { type = \"bigint\", references = \"teams\", on_update = \"cascade\", deferrable = \"deferred\" }\n\
        seen = { type = \"date\", empty = \"null\" }\n\
        joined = { type = \"timestamp\", default = { sql = \"CURRENT_TIMESTAMP AT TIME ZONE 'UTC'\" } }\n\
        [[tables.people.indexes]]\ncolumns = [\"email\"]\nlower = [\"email\"]\nunique = true\n\
        [[tables.people.indexes]]\ncolumns = [\"seen\", \"id\"]\ndescending = [\"seen\"]\n";
    std::fs::write(&pipeline, text).unwrap();
    let Some(done) = migrate(&pipeline, &address(&database), "docferry_sqlite_says") else {
        return;
    };
    done.assert_whole(6, 1);
    let run = done.run();
    let rejects = std::fs::read_to_string(run.join("rejects/transform.jsonl")).unwrap();
    assert!(rejects.contains("has the same email in lower case"), "{rejects}");
    assert_eq!(done.rows("SELECT id::text FROM people WHERE seen IS NULL ORDER BY id"), ["1", "4"]);
    let findings = std::fs::read_to_string(run.join("findings/transform.jsonl")).unwrap();
    assert_eq!(findings.matches("empty_null").count(), 2, "{findings}");
    let definitions = "SELECT replace(pg_get_indexdef(indexrelid), 'public.', '') FROM pg_index \
        WHERE indrelid = 'people'::regclass AND NOT indisprimary ORDER BY 1";
    assert_eq!(
        done.rows(definitions),
        [
            "CREATE INDEX people_seen_id_idx ON people USING btree (seen DESC, id)",
            "CREATE INDEX people_team_idx ON people USING btree (team)",
            "CREATE UNIQUE INDEX people_email_lower_key ON people USING btree (lower(email))",
        ]
    );
    assert_eq!(
        done.rows("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'"),
        ["FOREIGN KEY (team) REFERENCES teams(id) ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED"]
    );
    let hour = "INSERT INTO people(id) VALUES (9) RETURNING \
        (joined - (now() AT TIME ZONE 'UTC') = interval '0')::text";
    assert_eq!(done.rows(hour), ["true"]);
}
