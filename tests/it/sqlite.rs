//! SQLite databases: what their catalogue says arrives in PostgreSQL, or is named in the draft.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::Value;

use crate::support::{Migrated, docferry, migrate, shown};

/// A new database made by this SQL.
pub(crate) fn made(folder: &Path, name: &str, sql: &str) -> PathBuf {
    let path = folder.join(name);
    let sql = format!("PRAGMA foreign_keys = OFF; {sql}");
    Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
    path
}

pub(crate) fn address(path: &Path) -> String {
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

fn plan(database: &Path, folder: &Path) -> (PathBuf, String) {
    let file = folder.join("drafted.toml");
    let output =
        docferry().args(["plan", &address(database), "--force", "-o"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text)
}

/// A database that was planned, and run as it was drafted.
pub(crate) fn moved(label: &str, sql: &str) -> Option<(String, Migrated)> {
    let folder = tempfile::tempdir().unwrap();
    let database = made(folder.path(), "made.db", sql);
    let (file, text) = plan(&database, folder.path());
    let moved = migrate(&file, &address(&database), &format!("docferry_sqlite_{label}"))?;
    Some((text, moved))
}

/// The lines of the draft that a person is to decide, each with the line that it stands above.
fn decisions(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let said = (0..lines.len()).filter(|at| lines[*at].contains("decide: "));
    said.map(|at| lines[at..lines.len().min(at + 2)].join("\n")).collect()
}

#[track_caller]
fn assert_said(text: &str, words: &[&str]) {
    let said = decisions(text);
    let found = said.iter().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(found, "{words:?} is not said in\n{text}");
}

#[test]
fn generated_columns_arrive_with_their_values() {
    let sql = "CREATE TABLE lines(id INTEGER PRIMARY KEY, net REAL NOT NULL,
            gross REAL GENERATED ALWAYS AS (net * 1.25) STORED, label TEXT AS ('L' || id) VIRTUAL);
        INSERT INTO lines(id, net) VALUES(1, 100), (2, 80);";
    let Some((text, done)) = moved("generated", sql) else { return };
    done.assert_whole(2, 0);
    let rows = "SELECT concat_ws(' ', id, net, gross, label) FROM lines ORDER BY id";
    assert_eq!(done.rows(rows), ["1 100 125 L1", "2 80 100 L2"]);
    assert_said(&text, &["gross", "net * 1.25"]);
    assert_said(&text, &["label", "'L' || id"]);
}

#[test]
fn rows_without_a_key_of_their_own_all_arrive() {
    let sql = "CREATE TABLE codes(code TEXT PRIMARY KEY, v TEXT);
        INSERT INTO codes VALUES('x', '1'), (NULL, '2'), (NULL, '3');
        CREATE TABLE pairs(a INTEGER, b TEXT, PRIMARY KEY(a, b));
        INSERT INTO pairs VALUES(1, 'p'), (1, NULL), (1, NULL), (NULL, NULL);
        CREATE TABLE named(rowid TEXT, oid TEXT, _rowid_ TEXT);
        INSERT INTO named VALUES('a', 'b', 'c'), ('a', 'b', 'c'), ('d', 'e', 'f');
        CREATE TABLE counted(id integer auto_increment primary key, v TEXT);
        INSERT INTO counted(v) VALUES('a'), ('a'), ('b');
        CREATE TABLE contacts(_id INTEGER UNIQUE, name TEXT);
        INSERT INTO contacts VALUES(7, 'a'), (NULL, 'b'), (3, 'c');
        CREATE TABLE bikes(_id INTEGER PRIMARY KEY, name TEXT);
        INSERT INTO bikes VALUES(7, 'a'), (3, 'b');";
    let Some((text, done)) = moved("keys", sql) else { return };
    done.assert_whole(18, 0);
    assert_said(&text, &["2 rows have NULL in the primary key (code)"]);
    assert_said(&text, &["3 rows have NULL in the primary key (a, b)"]);
    let count = |table: &str| done.rows(&format!("SELECT count(*)::text FROM {table}"));
    assert_eq!(count("codes WHERE code IS NULL"), ["2"]);
    assert_eq!(count("named WHERE rowid = 'a'"), ["2"]);
    assert_eq!(count("counted WHERE id IS NULL"), ["3"]);
    let rows = "SELECT concat_ws(' ', _id, name) FROM contacts ORDER BY name";
    assert_eq!(done.rows(rows), ["7 a", "b", "3 c"]);
    assert_eq!(done.rows("SELECT _id::text FROM bikes ORDER BY 1"), ["3", "7"]);
    let indexes = "SELECT indexrelid::regclass::text FROM pg_index \
        WHERE indrelid IN ('codes'::regclass, 'contacts'::regclass) AND indisunique ORDER BY 1";
    assert_eq!(done.rows(indexes), ["codes_code_key", "contacts__id_key"]);
}

#[test]
fn numbers_that_were_given_out_are_not_given_again() {
    let sql = "CREATE TABLE tickets(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
        INSERT INTO tickets(v) VALUES('a'), ('b'), ('c'), ('d'), ('e');
        DELETE FROM tickets WHERE id > 2;
        CREATE TABLE emptied(id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT);
        INSERT INTO emptied(v) VALUES('a'), ('b'); DELETE FROM emptied;
        CREATE TABLE below(id INTEGER PRIMARY KEY, v TEXT);
        INSERT INTO below VALUES(-5, 'a'), (0, 'b');";
    let Some((_, done)) = moved("sequences", sql) else { return };
    done.assert_whole(4, 0);
    let next =
        |table: &str| done.rows(&format!("INSERT INTO {table}(v) VALUES('n') RETURNING id::text"));
    assert_eq!(next("tickets"), ["6"]);
    assert_eq!(next("emptied"), ["3"]);
    assert_eq!(next("below"), ["1"]);
}

#[test]
fn defaults_and_checks_are_kept_or_said() {
    let sql = "CREATE TABLE jobs(id INTEGER PRIMARY KEY,
            state TEXT NOT NULL DEFAULT 'new' CHECK(state IN ('new', 'it''s')),
            tries INTEGER NOT NULL DEFAULT 0, made DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
            active BOOLEAN NOT NULL DEFAULT 1, price DECIMAL(10,2) DEFAULT 1.50,
            code TEXT DEFAULT (upper(hex(randomblob(2)))), mail TEXT CHECK(mail GLOB '*@*'),
            old INTEGER CHECK(old > 5), CONSTRAINT few CHECK(tries BETWEEN 0 AND 9));
        PRAGMA ignore_check_constraints = ON;
        INSERT INTO jobs(id, made, mail, old) VALUES(1, '2024-01-31 10:00:00', 'a@x', 1);
        CREATE VIEW open_jobs AS SELECT * FROM jobs WHERE state = 'new';
        CREATE TRIGGER counts AFTER UPDATE ON jobs BEGIN UPDATE jobs SET tries = 1; END;";
    let Some((text, done)) = moved("defaults", sql) else { return };
    done.assert_whole(1, 0);
    let insert = "INSERT INTO jobs(id) VALUES(2) RETURNING concat_ws(' ', state, tries, active, price, \
        abs(extract(epoch FROM made - (now() AT TIME ZONE 'UTC'))) < 5)";
    assert_eq!(done.rows(insert), ["new 0 t 1.50 t"]);
    let checks =
        "SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND conrelid <> 0 ORDER BY 1";
    assert_eq!(done.rows(checks), ["few", "state_check"]);
    let broken = "SELECT count(*)::text FROM jobs WHERE NOT (state IN ('new', 'it''s'))";
    assert_eq!(done.rows(broken), ["0"]);
    assert_said(&text, &["DEFAULT upper(hex(randomblob(2))) is left out"]);
    assert_said(&text, &["CHECK (old > 5) is left out", "1 rows break it"]);
    assert_said(&text, &["CHECK (mail GLOB '*@*') is left out"]);
    assert_said(&text, &["view open_jobs"]);
    assert_said(&text, &["trigger counts"]);
}

#[test]
fn what_is_compared_without_case_stays_unique() {
    let sql = "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT COLLATE NOCASE UNIQUE, nick TEXT,
            n INTEGER, gone INTEGER, shop INTEGER);
        CREATE UNIQUE INDEX u_nick ON users(nick COLLATE NOCASE);
        CREATE UNIQUE INDEX u_low ON users(lower(nick), n);
        CREATE UNIQUE INDEX u_live ON users(n) WHERE gone = 0;
        CREATE INDEX u_newest ON users(n DESC, email);
        CREATE INDEX u_shop ON users(shop); CREATE INDEX u_shop_n ON users(shop, n);
        CREATE INDEX u_odd ON users(n + 1);
        INSERT INTO users VALUES(1, 'Ann@x', 'Ann', 1, 0, 1), (2, 'bob@x', 'bob', 1, 1, 2);
        CREATE TABLE teams(name TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID;
        INSERT INTO teams VALUES('Red'), ('blue');
        CREATE TABLE members(id INTEGER PRIMARY KEY, team TEXT COLLATE NOCASE REFERENCES teams(name),
            person INTEGER UNIQUE REFERENCES users(id));
        INSERT INTO members VALUES(1, 'red', 1), (2, 'Red', 2);";
    let Some((text, done)) = moved("nocase", sql) else { return };
    done.assert_whole(6, 0);
    let again = |sql: &str| done.runtime.block_on(done.client.batch_execute(sql)).is_err();
    assert!(again("INSERT INTO users(id, email) VALUES(3, 'ANN@X')"));
    assert!(again("INSERT INTO users(id, nick) VALUES(3, 'ANN')"));
    assert!(again("INSERT INTO teams VALUES('RED')"));
    assert!(again("INSERT INTO users(id, n, gone) VALUES(3, 1, 0)"));
    assert!(!again("INSERT INTO users(id, n, gone) VALUES(3, 1, 1)"));
    let definitions: Vec<String> = done.rows(
        "SELECT substring(pg_get_indexdef(indexrelid) FROM 'USING btree (.*)') FROM pg_index \
         WHERE indrelid = 'users'::regclass AND NOT indisprimary ORDER BY 1",
    );
    assert_eq!(
        definitions,
        [
            "(lower(email))",
            "(lower(nick))",
            "(lower(nick), n)",
            "(n DESC, lower(email))",
            "(n) WHERE (gone = 0)",
            "(shop, n)",
        ]
    );
    let of_members = "SELECT indexrelid::regclass::text FROM pg_index \
        WHERE indrelid = 'members'::regclass ORDER BY 1";
    assert_eq!(done.rows(of_members), ["members_person_key", "members_pkey", "members_team_idx"]);
    assert_said(&text, &["u_odd", "n + 1"]);
    assert_said(&text, &["team", "compared without case", "1 of 2 values lead to no row"]);
}

#[test]
fn times_keep_their_offsets_and_their_digits() {
    let sql = "CREATE TABLE e(id INTEGER PRIMARY KEY, zoned DATETIME, mixed DATETIME, fine DATETIME, plain DATETIME);
        INSERT INTO e VALUES
            (1, '2024-06-01 12:00:00+02:00', '2024-06-01 12:00:00', '2024-06-01 12:00:00.1234567', '2024-06-01 12:00:00'),
            (2, '2024-06-01 12:00:00-05:00', '2024-06-01T12:00:00+09:00', '2024-06-01 12:00:00', '2024-06-01');";
    let Some((text, done)) = moved("times", sql) else { return };
    done.assert_whole(2, 0);
    let types = "SELECT data_type::text FROM information_schema.columns WHERE table_name = 'e' ORDER BY ordinal_position";
    assert_eq!(
        done.rows(types),
        ["bigint", "timestamp with time zone", "text", "text", "timestamp without time zone"]
    );
    let rows =
        "SELECT concat_ws('|', zoned AT TIME ZONE 'UTC', mixed, fine, plain) FROM e ORDER BY id";
    assert_eq!(
        done.rows(rows),
        [
            "2024-06-01 10:00:00|2024-06-01 12:00:00|2024-06-01 12:00:00.1234567|2024-06-01 12:00:00",
            "2024-06-01 17:00:00|2024-06-01T12:00:00+09:00|2024-06-01 12:00:00|2024-06-01 00:00:00"
        ]
    );
    assert_said(&text, &["mixed", "1 of 2 times have an offset"]);
    assert_said(&text, &["fine", "1 of 2 times are finer than a microsecond"]);
}

#[test]
fn one_odd_value_takes_no_type_away() {
    let sql = "CREATE TABLE owners(id TEXT PRIMARY KEY);
        CREATE TABLE pets(id INTEGER PRIMARY KEY, owner TEXT REFERENCES owners(id), tame BOOLEAN,
            born DATE NOT NULL, weight REAL, none JSON, word VARCHAR(9), price DECIMAL(8,2), tag CHAR(36),
            code TEXT);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
        INSERT INTO owners SELECT printf('%08x-0000-4000-8000-000000000000', i) FROM n;
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30)
        INSERT INTO pets SELECT i, printf('%08x-0000-4000-8000-000000000000', i), i % 2,
            printf('2024-01-%02d', i), i / 2.0, NULL, NULL, NULL, NULL, 'c' || i FROM n;
        UPDATE pets SET owner = '' WHERE id = 3; UPDATE pets SET tame = 2 WHERE id = 4;
        UPDATE pets SET born = '' WHERE id = 5; UPDATE pets SET weight = '' WHERE id = 6;";
    let Some((text, done)) = moved("odd", sql) else { return };
    done.assert_whole(60, 1);
    let types = "SELECT column_name || ' ' || format_type(a.atttypid, a.atttypmod) FROM information_schema.columns \
        JOIN pg_attribute a ON a.attrelid = 'pets'::regclass AND attname = column_name \
        WHERE table_name = 'pets' ORDER BY ordinal_position";
    assert_eq!(
        done.rows(types),
        [
            "id bigint",
            "owner uuid",
            "tame boolean",
            "born date",
            "weight double precision",
            "none jsonb",
            "word character varying(9)",
            "price numeric(8,2)",
            "tag uuid",
            "code text"
        ]
    );
    let keys = "SELECT count(*)::text FROM pg_constraint WHERE contype = 'f'";
    assert_eq!(done.rows(keys), ["1"]);
    let nulls = "SELECT concat_ws(' ', id, owner IS NULL, born IS NULL, weight IS NULL) FROM pets \
        WHERE owner IS NULL OR born IS NULL OR weight IS NULL ORDER BY id";
    assert_eq!(done.rows(nulls), ["3 t f f", "5 f t f", "6 f f t"]);
    assert_said(&text, &["owner", "1 empty texts become NULL"]);
    assert_said(&text, &["tame", "1 of 30 values are no boolean"]);
    assert_said(&text, &["born", "1 empty texts become NULL", "declared NOT NULL"]);
    let rejects = std::fs::read_to_string(done.run().join("rejects/transform.jsonl")).unwrap();
    assert_eq!(rejects.lines().count(), 1, "{rejects}");
}

const SHOP: &str = "PRAGMA user_version = 7; PRAGMA application_id = 1234;
    CREATE TABLE notes(id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT COLLATE NOCASE, size AS (length(body)));
    INSERT INTO notes(body) VALUES('green apples'), ('red cars'), ('gone'); DELETE FROM notes WHERE id = 3;
    CREATE VIRTUAL TABLE notes_fts USING fts5(body, content='notes', content_rowid='id');
    INSERT INTO notes_fts(notes_fts) VALUES('rebuild');
    CREATE VIRTUAL TABLE mail USING fts5(subject, body);
    INSERT INTO mail VALUES('hello', 'only here lives this text'), ('bye', 'and this');
    CREATE VIRTUAL TABLE bare USING fts5(body, content='');
    CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
    INSERT INTO boxes VALUES(5, 0.5, 1.5);
    CREATE TABLE mail_extra(id INTEGER PRIMARY KEY, v TEXT); INSERT INTO mail_extra VALUES(1, 'real');
    CREATE TABLE contacts(_id TEXT, v TEXT PRIMARY KEY); INSERT INTO contacts VALUES('a', NULL), ('b', NULL);
    CREATE VIEW all_notes AS SELECT * FROM notes;
    CREATE TRIGGER on_note AFTER INSERT ON notes BEGIN INSERT INTO notes_fts(rowid, body) VALUES(new.id, new.body); END;";

#[test]
fn texts_of_virtual_tables_are_read_and_their_indexes_are_named() {
    let Some((text, done)) = moved("virtual", SHOP) else { return };
    done.assert_whole(8, 0);
    let tables = "SELECT relname::text FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1";
    assert_eq!(done.rows(tables), ["boxes", "contacts", "mail", "mail_extra", "notes"]);
    assert_eq!(done.rows("SELECT subject FROM mail ORDER BY 1"), ["bye", "hello"]);
    assert_eq!(done.rows("SELECT concat_ws(' ', id, x0, x1) FROM boxes"), ["5 0.5 1.5"]);
    assert_said(&text, &["virtual table notes_fts", "over the text of notes"]);
    assert_said(&text, &["virtual table bare", "no text"]);
    assert_said(&text, &["view all_notes"]);
    let manifest = std::fs::read_to_string(done.run().join("export/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let skipped: Vec<&str> = manifest["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(skipped.contains(&"mail_content") && skipped.contains(&"boxes_node"), "{skipped:?}");
    assert_eq!(manifest["source"]["settings"]["user_version"], 7);
}

/// All that a database holds, as SQL and rows.
fn content(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let list = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map([], |row| {
            let values = (0..width).map(|at| format!("{:?}", row.get::<_, Value>(at).unwrap()));
            Ok(values.collect::<Vec<_>>().join(" "))
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    let mut all = list(
        "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1, 2",
    );
    for pragma in ["user_version", "application_id"] {
        all.extend(list(&format!("PRAGMA {pragma}")));
    }
    for table in ["notes", "mail", "boxes", "mail_extra", "contacts", "sqlite_sequence"] {
        all.push(table.to_owned());
        all.extend(list(&format!("SELECT rowid, * FROM {table} ORDER BY 1, 2")));
    }
    all.extend(list("SELECT rowid FROM notes_fts WHERE notes_fts MATCH 'apples'"));
    all
}

#[test]
fn all_of_a_catalogue_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let database = made(folder.path(), "shop.db", SHOP);
    let (file, _) = plan(&database, folder.path());
    let staging = folder.path().join("staging");
    let export = docferry()
        .args(["export", file.to_str().unwrap(), "--source", &address(&database), "--staging"])
        .arg(&staging)
        .output()
        .unwrap();
    assert!(export.status.success(), "{}", shown(&export));
    let back = folder.path().join("back.db");
    let restore = docferry()
        .args(["restore", "latest", "--to", &address(&back), "--staging"])
        .arg(&staging)
        .output()
        .unwrap();
    assert!(restore.status.success(), "{}", shown(&restore));
    assert!(shown(&restore).contains("bare is left out"), "{}", shown(&restore));
    let mut expected = content(&database);
    expected.retain(|line| !line.contains("bare"));
    assert_eq!(content(&back), expected);
}

#[test]
fn an_index_that_lacks_rows_is_an_error_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = made(
        folder.path(),
        "damaged.db",
        "CREATE TABLE t(k TEXT PRIMARY KEY, v TEXT) ; CREATE INDEX t_v ON t(v);
         INSERT INTO t VALUES('a', '1'), ('b', '2');",
    );
    // The index is hidden while a row is written.
    let root: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_master WHERE name = 't_v'", [], |row| row.get(0))
        .unwrap();
    let write = |sql: &str| {
        let sql = format!("PRAGMA writable_schema = ON; {sql}");
        Connection::open(&path).unwrap().execute_batch(&sql).unwrap();
    };
    write("DELETE FROM sqlite_master WHERE name = 't_v'");
    write("INSERT INTO t VALUES('c', '3')");
    write(&format!(
        "INSERT INTO sqlite_master VALUES('index', 't_v', 't', {root}, 'CREATE INDEX t_v ON t(v)')"
    ));
    for arguments in [vec!["plan"], vec!["export", "x.toml", "--source"]] {
        let pipeline = folder.path().join("x.toml");
        std::fs::write(
            &pipeline,
            "version = 1\nname = \"x\"\n[tables.t.columns]\nk = { type = \"text\", key = true }\n",
        )
        .unwrap();
        let output = docferry()
            .current_dir(folder.path())
            .args(arguments)
            .arg(address(&path))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        let said = shown(&output);
        assert!(said.contains("table t has 3 rows, its index t_v holds 2"), "{said}");
        assert!(said.contains("REINDEX"), "{said}");
    }
}

#[test]
fn a_database_without_tables_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = made(folder.path(), "empty.db", "VACUUM; PRAGMA user_version = 1;");
    let (_, text) = plan(&path, folder.path());
    assert_said(&text, &["nothing to move"]);
}
