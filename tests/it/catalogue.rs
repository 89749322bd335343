//! The target's catalogue: every damage after a load is named by `verify`, and nothing else.

use std::path::{Path, PathBuf};
use std::process::Output;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

use crate::support::{docferry, fresh_database, server, shown, write_dump};

const PIPELINE: &str = r#"
version = 1
name = "store"
schema = "app"
[enums]
Mood = ["CALM", "ANGRY", "SAD"]
Tone = ["LOW", "HIGH"]
[hooks]
after_load = ["after.sql"]
[tables.accounts]
unique = [["email"], ["nick", "title"]]
[tables.accounts.columns]
id = { from = "_id", type = "uuid", key = true }
email = { type = "text", required = true }
nick = { type = "varchar(40)" }
title = { type = "text" }
score = { type = "numeric(10,2)" }
seen = { type = "timestamptz" }
mood = { type = "Mood", default = "CALM" }
tone = { type = "Tone" }
label = { type = "text", default = "none", optional = true }
made = { type = "timestamp", default = "now", optional = true }
tags = { type = "text[]" }
parent = { type = "uuid", references = "accounts", on_delete = "set null", optional = true }
[tables.accounts.checks]
positive = "score >= 0"
named = "accounts.title <> ''"
[[tables.accounts.indexes]]
columns = ["seen"]
[[tables.accounts.indexes]]
columns = ["score"]
where = "score > 1"
[[tables.accounts.indexes]]
columns = ["title", "seen"]
unique = true
name = "one_title_at_a_time"
[[tables.accounts.indexes]]
columns = ["tags"]
method = "gin"
[[tables.accounts.indexes]]
columns = ["email", "score"]
lower = ["email"]
descending = ["score"]
unique = true
[[tables.accounts.search]]
columns = ["title", "tags"]
language = "english"
[tables.notes.columns]
id = { key = "serial", type = "bigint" }
account = { type = "uuid", references = "accounts", on_delete = "cascade" }
body = { type = "text" }
[tables.labels.columns]
id = { key = "serial", type = "integer" }
text = { type = "text" }
[tables.logs.columns]
id = { key = "serial", type = "integer" }
text = { type = "text" }
[tables.vaults]
tenant = "org"
[tables.vaults.columns]
id = { from = "_id", type = "uuid", key = true }
org = { type = "text", required = true }
[tables.safes]
tenant = "org"
[tables.safes.columns]
id = { from = "_id", type = "uuid", key = true }
org = { type = "integer", required = true }
[tables.groups.columns]
id = { from = "_id", type = "uuid", key = true }
name = { type = "text", unique = true }
owner = { type = "uuid", references = "accounts" }
[junctions.members]
columns = { account_id = "accounts", group_id = "groups" }
from = ["groups.members"]
[tables.lines]
each = "accounts.lines"
[tables.lines.columns]
account_id = { parent = true, references = "accounts" }
sku = { type = "text" }
pieces = { type = "integer" }
"#;

const AFTER: &str = "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN NEW.text = trim(NEW.text); RETURN NEW; END $$;\n\
    CREATE TRIGGER touched BEFORE UPDATE ON logs FOR EACH ROW EXECUTE FUNCTION touch();\n\
    CREATE INDEX more_indexes_are_fine ON groups (owner);\n";

pub(crate) fn id(kind: u8, number: u8) -> ObjectId {
    ObjectId::from_bytes([101, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, number])
}

fn write_store(folder: &Path) {
    let accounts = (1..=3_u8).map(|number| {
        doc! {
            "_id": id(1, number), "email": format!("a{number}@example.org"), "nick": "n",
            "title": format!("title {number}"), "score": i32::from(number),
            "seen": mongodb::bson::DateTime::from_millis(1_700_000_000_000),
            "mood": "SAD", "tone": "HIGH", "tags": ["x", "y"],
            "lines": [{"sku": "s1", "pieces": 1}, {"sku": "s2", "pieces": 2}, {"sku": "s2", "pieces": 2}],
        }
    });
    let some = |kind: u8, more: Document| -> Vec<Document> {
        let with_id = |number: u8| {
            let mut document = doc! {"_id": id(kind, number)};
            document.extend(more.clone());
            document
        };
        vec![with_id(1), with_id(2)]
    };
    let mut groups = some(7, doc! {"owner": id(1, 1), "members": [id(1, 1), id(1, 2)]});
    for (number, group) in groups.iter_mut().enumerate() {
        group.insert("name", format!("group {number}"));
    }
    write_dump(folder, "accounts", &accounts.collect::<Vec<_>>());
    write_dump(folder, "notes", &some(2, doc! {"account": id(1, 1), "body": "b"}));
    write_dump(folder, "labels", &some(3, doc! {"text": "t"}));
    write_dump(folder, "logs", &some(4, doc! {"text": "t"}));
    write_dump(folder, "vaults", &some(5, doc! {"org": "o"}));
    write_dump(folder, "safes", &some(6, doc! {"org": 1}));
    write_dump(folder, "groups", &groups);
}

pub(crate) struct Place {
    folder: tempfile::TempDir,
    server: String,
    runtime: Runtime,
    client: Client,
    database: String,
    pub(crate) address: String,
}

impl Place {
    pub(crate) fn new(database: &str) -> Option<Self> {
        let server = server("DOCFERRY_TEST_POSTGRES")?;
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let (client, address) = runtime.block_on(fresh_database(&server, database));
        Some(Self { folder, server, runtime, client, database: database.to_owned(), address })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, command: &str, pipeline: &str, more: &[&str]) -> Output {
        let mut docferry = docferry();
        docferry.arg(command).arg(self.path(pipeline)).arg("--staging").arg(self.path("staging"));
        docferry.args(["--target", &self.address]).args(more).output().unwrap()
    }

    pub(crate) fn run(&self, pipeline: &str, dump: &str) -> Output {
        let source = self.path(dump);
        self.command("run", pipeline, &["--source", source.to_str().unwrap()])
    }

    /// Stages a run without loading it.
    pub(crate) fn stage(&self, pipeline: &str, dump: &str) {
        for (command, more) in
            [("export", vec!["--source".into(), self.path(dump)]), ("transform", Vec::new())]
        {
            let mut docferry = docferry();
            docferry
                .arg(command)
                .arg(self.path(pipeline))
                .arg("--staging")
                .arg(self.path("staging"));
            let output = docferry.args(&more).output().unwrap();
            assert!(output.status.success(), "{}", shown(&output));
        }
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    pub(crate) fn text(&self, sql: &str) -> String {
        let row = self.runtime.block_on(self.client.query_one(sql, &[])).unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }

    /// A run of the store pipeline, proved.
    fn store(database: &str) -> Option<Self> {
        let place = Self::new(database)?;
        place.write("store.toml", PIPELINE);
        place.write("after.sql", AFTER);
        write_store(&place.path("dump/store"));
        let output = place.run("store.toml", "dump/store");
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        Some(place)
    }

    #[track_caller]
    pub(crate) fn assert_verified(&self, pipeline: &str) {
        let output = self.command("verify", pipeline, &[]);
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    }

    /// `verify` finds differences, and names all of these.
    #[track_caller]
    pub(crate) fn assert_differs(&self, pipeline: &str, expected: &[&str]) -> String {
        let output = self.command("verify", pipeline, &[]);
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(4), "{text}");
        for expected in expected {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        text
    }

    /// Replaces the database by a copy of another.
    fn copy_of(&mut self, template: &str) {
        let connect = |address: String| {
            let (client, connection) =
                self.runtime.block_on(tokio_postgres::connect(&address, NoTls)).unwrap();
            self.runtime.spawn(connection);
            client
        };
        let admin = connect(self.server.clone());
        let copy = format!("{}_copy", self.database);
        for sql in [
            format!("DROP DATABASE IF EXISTS {copy} WITH (FORCE)"),
            format!(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{template}'"
            ),
            format!("CREATE DATABASE {copy} TEMPLATE {template}"),
        ] {
            self.runtime.block_on(admin.batch_execute(&sql)).unwrap();
        }
        self.address = format!("{}/{copy}", self.server.rsplit_once('/').unwrap().0);
        self.client = connect(self.address.clone());
    }
}

/// What was done to the database, and what `verify` must say of it. Each concerns objects of its
/// own, so that any of them can be combined.
const DAMAGES: &[(&str, &str)] = &[
    (
        "ALTER TABLE app.accounts DROP CONSTRAINT accounts_email_key",
        "unique constraint accounts_email_key is missing",
    ),
    (
        "ALTER TABLE app.accounts DROP CONSTRAINT accounts_nick_title_key; \
         ALTER TABLE app.accounts ADD CONSTRAINT accounts_nick_title_key UNIQUE (nick, title) DEFERRABLE",
        "unique constraint accounts_nick_title_key is UNIQUE (\"nick\", \"title\") DEFERRABLE",
    ),
    ("DROP INDEX app.accounts_seen_idx", "index accounts_seen_idx is missing"),
    (
        "DROP INDEX app.accounts_score_idx; CREATE INDEX accounts_score_idx ON app.accounts (score) WHERE score > 2",
        "index accounts_score_idx is btree (\"score\") WHERE (score > (2)::numeric)",
    ),
    (
        "DROP INDEX app.one_title_at_a_time; CREATE INDEX one_title_at_a_time ON app.accounts (title, seen)",
        "index one_title_at_a_time is btree (\"title\", \"seen\"), expected: UNIQUE btree",
    ),
    (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'app.accounts_tags_idx'::regclass",
        "index accounts_tags_idx is gin (\"tags\"), not valid",
    ),
    (
        "DROP INDEX app.accounts_email_lower_score_key; CREATE UNIQUE INDEX accounts_email_lower_score_key \
         ON app.accounts (upper(email), score DESC)",
        "index accounts_email_lower_score_key is UNIQUE btree (upper(email), \"score\" DESC)",
    ),
    ("ALTER TABLE app.accounts DROP CONSTRAINT positive", "check positive is missing"),
    (
        "ALTER TABLE app.accounts DROP CONSTRAINT named; \
         ALTER TABLE app.accounts ADD CONSTRAINT named CHECK (title <> 'x')",
        "check named is CHECK (title <> 'x'::text), expected: CHECK (title <> ''::text)",
    ),
    ("ALTER TABLE app.accounts ALTER email DROP NOT NULL", "NOT NULL of column email is missing"),
    ("ALTER TABLE app.accounts ALTER label DROP DEFAULT", "default of column label is missing"),
    ("ALTER TABLE app.accounts ALTER mood SET DEFAULT 'SAD'", "default of column mood is 'SAD'"),
    (
        "ALTER TABLE app.accounts ALTER made SET DEFAULT clock_timestamp()",
        "default of column made is clock_timestamp()",
    ),
    (
        "ALTER TABLE app.accounts ALTER nick TYPE varchar(50)",
        "type of column nick is character varying(50), expected: varchar(40)",
    ),
    (
        "ALTER TABLE app.accounts ALTER score TYPE numeric(12,2)",
        "type of column score is numeric(12,2)",
    ),
    (
        "ALTER TABLE app.accounts ALTER seen TYPE timestamp USING seen AT TIME ZONE 'UTC'",
        "type of column seen is timestamp without time zone",
    ),
    (
        "ALTER TYPE app.\"Tone\" RENAME TO before; CREATE TYPE app.\"Tone\" AS ENUM ('HIGH', 'LOW'); \
         ALTER TABLE app.accounts ALTER tone TYPE app.\"Tone\" USING tone::text::app.\"Tone\"; DROP TYPE app.before",
        "enum type Tone is HIGH, LOW, expected: LOW, HIGH",
    ),
    (
        "ALTER TYPE app.\"Mood\" ADD VALUE 'GLAD' BEFORE 'SAD'",
        "enum type Mood is CALM, ANGRY, GLAD, SAD",
    ),
    ("DROP INDEX app.accounts_search_idx", "index accounts_search_idx is missing"),
    (
        "ALTER TABLE app.accounts DROP CONSTRAINT accounts_parent_fkey; ALTER TABLE app.accounts \
         ADD CONSTRAINT accounts_parent_fkey FOREIGN KEY (parent) REFERENCES app.accounts",
        "expected: FOREIGN KEY (\"parent\") REFERENCES \"app\".\"accounts\" (\"id\") ON DELETE SET NULL",
    ),
    (
        "ALTER TABLE app.notes DROP CONSTRAINT notes_account_fkey",
        "foreign key notes_account_fkey is missing",
    ),
    (
        "SELECT setval('app.notes_id_seq', 1)",
        "sequence notes_id_seq of column id is 2 as its next value",
    ),
    (
        "ALTER TABLE app.notes ALTER body SET DEFAULT 'free'; ALTER TABLE app.notes DROP CONSTRAINT notes_pkey",
        "primary key notes_pkey is missing",
    ),
    ("ALTER TABLE app.labels ALTER id DROP IDENTITY", "identity of column id is missing"),
    ("CREATE RULE nothing AS ON INSERT TO app.labels DO INSTEAD NOTHING", "rules is nothing"),
    (
        "ALTER TABLE app.logs ALTER id SET GENERATED ALWAYS",
        "identity of column id is GENERATED ALWAYS",
    ),
    ("ALTER TABLE app.logs DISABLE TRIGGER touched", "triggers is disabled: touched"),
    (
        "ALTER TABLE app.logs ALTER text TYPE text COLLATE \"POSIX\"",
        "collation of column text is POSIX",
    ),
    ("DROP POLICY tenant_isolation ON app.vaults", "policy tenant_isolation is missing"),
    (
        "ALTER TABLE app.vaults NO FORCE ROW LEVEL SECURITY",
        "row-level security is enabled, not forced",
    ),
    (
        "ALTER POLICY tenant_isolation ON app.safes USING (true)",
        "policy tenant_isolation is permissive, using true",
    ),
    ("CREATE POLICY all_see_all ON app.safes USING (true)", "policy all_see_all is permissive"),
    (
        "ALTER TABLE app.groups DROP CONSTRAINT groups_owner_fkey; ALTER TABLE app.groups ADD CONSTRAINT \
         groups_owner_fkey FOREIGN KEY (owner) REFERENCES app.accounts NOT VALID",
        "foreign key groups_owner_fkey is FOREIGN KEY (\"owner\") REFERENCES \"app\".\"accounts\" (\"id\"), not validated",
    ),
    ("ALTER TABLE app.members DISABLE TRIGGER ALL", "its triggers are disabled"),
    ("ALTER TABLE app.lines SET UNLOGGED", "table is unlogged"),
    ("CREATE TABLE app.heir () INHERITS (app.lines)", "children is app.heir"),
    (
        "INSERT INTO docferry.set_aside (run, schema_name, table_name, kind, name, make) \
         VALUES ('r', 'app', 'groups', 'index', 'gone', 'CREATE INDEX …')",
        "index gone is still set aside",
    ),
    ("UPDATE docferry.runs SET finished_at = NULL", "is not finished"),
    (
        "UPDATE docferry.loaded_parts SET sha256 = 'other' WHERE table_name = 'labels'",
        "labels: part transform/labels/part-00000.parquet in the ledger is loaded from a file",
    ),
];

#[test]
fn any_damage_of_the_catalogue_is_named_and_nothing_else() {
    let Some(mut place) = Place::store("docferry_catalogue") else { return };
    place.assert_verified("store.toml");
    let mut random = ChaCha8Rng::seed_from_u64(17);
    let mut order: Vec<usize> = (0..DAMAGES.len()).collect();
    // Every damage once, with others that differ from trial to trial.
    for index in (1..order.len()).rev() {
        let other = usize::try_from(random.next_u64() % (index as u64 + 1)).unwrap();
        order.swap(index, other);
    }
    for group in order.chunks(8) {
        place.copy_of("docferry_catalogue");
        let chosen: Vec<_> = group.iter().map(|index| DAMAGES[*index]).collect();
        for (sql, _) in &chosen {
            place.sql(sql);
        }
        let names: Vec<&str> = chosen.iter().map(|(_, name)| *name).collect();
        place.assert_differs("store.toml", &names);
        let report =
            std::fs::read_to_string(place.path("staging/store/latest/report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let differences = report["catalogue"]["differences"].as_array().unwrap();
        // Disabling all triggers of a junction concerns both of its foreign keys.
        let twice = usize::from(names.contains(&"its triggers are disabled"));
        assert_eq!(differences.len(), names.len() + twice, "{names:?}\n{differences:#?}");
        assert_eq!(report["proved"], false);
        let page = std::fs::read_to_string(place.path("staging/store/latest/report.html")).unwrap();
        assert!(page.contains("<h2>Catalogue</h2>"), "{page}");
    }
}

#[test]
fn what_is_gone_altogether_is_a_difference_and_no_failure() {
    let Some(mut place) = Place::store("docferry_catalogue_gone") else { return };
    for (damage, expected) in [
        ("DROP TABLE app.logs", "logs: table is missing"),
        ("DROP TABLE app.members, app.groups", "groups: table is missing"),
        ("ALTER TABLE app.accounts DROP COLUMN search", "column search is missing"),
        ("ALTER TABLE app.groups DROP COLUMN name", "column name is missing"),
        (
            "DROP SCHEMA docferry CASCADE; DROP INDEX app.members_group_id_idx",
            "index members_group_id_idx is missing",
        ),
        ("UPDATE docferry.runs SET run = 'store/another'", "not this one (loaded: store/another)"),
        (
            "ALTER TABLE app.lines RENAME TO was; CREATE VIEW app.lines AS SELECT * FROM app.was",
            "lines: table is a view",
        ),
    ] {
        place.copy_of("docferry_catalogue_gone");
        place.sql(damage);
        place.assert_differs("store.toml", &[expected]);
    }
}

#[test]
fn what_an_application_adds_is_no_difference() {
    let Some(place) = Place::store("docferry_catalogue_more") else { return };
    place.sql(
        "CREATE INDEX more ON app.accounts (lower(title) DESC) INCLUDE (nick) WHERE nick IS NOT NULL; \
         ALTER TABLE app.accounts ADD CONSTRAINT tighter CHECK (score < 1000), ADD extra text DEFAULT 'x'; \
         ALTER TABLE app.groups ALTER name SET NOT NULL; \
         CREATE TABLE app.others (id int PRIMARY KEY, account uuid REFERENCES app.accounts); \
         CREATE TRIGGER too BEFORE INSERT ON app.logs FOR EACH ROW EXECUTE FUNCTION app.touch()",
    );
    place.assert_verified("store.toml");
}

#[test]
fn rows_without_a_key_are_counted_and_inherited_rows_are_read() {
    let Some(mut place) = Place::store("docferry_catalogue_rows") else { return };
    for (damage, expected) in [
        (
            "DELETE FROM app.lines WHERE ctid = (SELECT min(ctid) FROM app.lines WHERE sku = 's1'); \
             INSERT INTO app.lines SELECT * FROM app.lines WHERE sku = 's2' LIMIT 1",
            vec!["s1, 1) is missing", "s2, 2) is staged 2 times, it is there 3 times"],
        ),
        (
            "CREATE TABLE app.heir () INHERITS (app.groups); \
             INSERT INTO app.heir (id, name) VALUES (gen_random_uuid(), 'ghost')",
            vec!["2 rows are staged, 3 are there", "was not staged", "children is app.heir"],
        ),
        (
            "ALTER TABLE app.logs DROP CONSTRAINT logs_pkey; INSERT INTO app.logs SELECT * FROM app.logs WHERE id = 1",
            vec!["row 1 is staged once, it is there 2 times", "primary key logs_pkey is missing"],
        ),
    ] {
        place.copy_of("docferry_catalogue_rows");
        place.sql(damage);
        place.assert_differs("store.toml", &expected);
    }
}

#[test]
fn a_role_that_may_only_read_verifies_all_but_the_text_of_expressions() {
    let Some(mut place) = Place::store("docferry_catalogue_reader") else { return };
    place.sql(
        "DO $$ BEGIN CREATE ROLE docferry_reader LOGIN BYPASSRLS; \
         EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
         REVOKE TEMPORARY ON DATABASE docferry_catalogue_reader FROM PUBLIC; \
         GRANT USAGE ON SCHEMA app, docferry TO docferry_reader; \
         GRANT SELECT ON ALL TABLES IN SCHEMA app, docferry TO docferry_reader",
    );
    place.address = place.address.replacen("postgres@", "docferry_reader@", 1);
    let output = place.command("verify", "store.toml", &[]);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("no temporary table can be made here"), "{text}");
    assert!(text.contains("sequence notes_id_seq may not be read by this role"), "{text}");
    place.sql(
        "DROP INDEX app.accounts_score_idx; ALTER TABLE app.accounts ALTER label DROP DEFAULT",
    );
    let names = ["index accounts_score_idx is missing", "default of column label is missing"];
    place.assert_differs("store.toml", &names);
}
