//! Pipeline files: those of the project are right, wrong ones are shown where they are wrong.

use std::path::Path;

use docferry::pipeline::{load, parse};

use crate::support::{docferry, migrate, project, shown};

#[test]
fn nextcrm_maps_every_model_enum_and_junction() {
    let pipeline = load(&project("pipelines/nextcrm.toml")).unwrap();
    assert_eq!(pipeline.tables.len(), 29);
    assert_eq!(pipeline.enums.len(), 10);
    assert_eq!(pipeline.junctions.len(), 10);
}

#[test]
fn each_mistake_is_shown_with_its_line_and_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    let text = "\
version = 1
name = \"wrong\"
[tables.users.columns]
id = { from = \"_id\", type = \"uuid\", key = true }
mail = { type = \"txet\" }
boss = { type = \"uuid\", references = \"user\" }
age = { type = \"integer\", requred = true }
";
    std::fs::write(&path, text).unwrap();
    let output = docferry().arg("check").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let shown = String::from_utf8(output.stderr).unwrap();
    for expected in
        ["wrong.toml:5", "`text`", "wrong.toml:6", "`users`", "wrong.toml:7", "`required`"]
    {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
}

#[test]
fn limits_of_postgresql_are_mistakes_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("limits.toml");
    let said = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = docferry().arg("check").arg(&path).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let columns = |number: usize, more: &str| {
        let columns: Vec<String> =
            (1..=number).map(|n| format!("\"c{n}\" = {{ type = \"text\"{more} }}\n")).collect();
        format!("version = 1\nname = \"l\"\n[tables.t.columns]\n{}", columns.concat())
    };
    let list = |number: usize| {
        let names: Vec<String> = (1..=number).map(|n| format!("\"c{n}\"")).collect();
        names.join(", ")
    };
    let search = "[[tables.t.search]]\ncolumns = [\"c1\"]\n";
    let index = |number| format!("[[tables.t.indexes]]\ncolumns = [{}]\n", list(number));
    let unique = |number| format!("[tables.t]\nunique = [[{}]]\n[tables.t.columns]", list(number));
    let enums =
        |label: &str| format!("version = 1\nname = \"l\"\n[enums]\nMood = [\"x\", \"{label}\"]\n");
    let long = "é".repeat(32);
    let with = |text: String, other: &str| text.replacen("[tables.t.columns]", other, 1);
    for (fits, over, line, what) in [
        (columns(1600, ""), columns(1601, ""), 1604, "a table of PostgreSQL has at most 1600"),
        (
            columns(1599, "") + search,
            columns(1600, "") + search,
            1603,
            "a table of PostgreSQL has at most 1599",
        ),
        (
            columns(32, ", key = true"),
            columns(33, ", key = true"),
            36,
            "a primary key of PostgreSQL has at most 32",
        ),
        (
            columns(40, "") + &index(32),
            columns(40, "") + &index(33),
            45,
            "an index of PostgreSQL has at most 32",
        ),
        (
            with(columns(40, ""), &unique(32)),
            with(columns(40, ""), &unique(33)),
            4,
            "a unique key of PostgreSQL has at most 32",
        ),
        (enums(&long[..62]), enums(&long), 4, "at most 63 bytes in PostgreSQL; this one has 64"),
        (enums("y"), enums("x"), 4, "the enum has this label already"),
        (
            columns(1, "").replace("c1", &long[..62]),
            columns(1, "").replace("c1", &long),
            4,
            "PostgreSQL cuts names after 63 bytes; this one has 64",
        ),
        (
            columns(1, "").replace("[tables", "schema = \"x\"\n[tables"),
            columns(1, "").replace("[tables", &format!("schema = \"{long}\"\n[tables")),
            3,
            "PostgreSQL cuts names after 63 bytes; this one has 64",
        ),
    ] {
        assert_eq!(said(&fits).0, Some(0), "{what}: {}", said(&fits).1);
        let (code, text) = said(&over);
        assert_eq!(code, Some(2), "{what}");
        assert!(text.contains(what) && text.contains(&format!("limits.toml:{line}:")), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(cut in 0_usize..2000, with in ".{0,20}") {
        let text = std::fs::read_to_string(project("pipelines/nextcrm.toml")).unwrap();
        let at = text.floor_char_boundary(cut);
        let damaged = format!("{}{with}{}", &text[..at], &text[at..text.floor_char_boundary(4000)]);
        let _ = parse(Path::new("damaged.toml"), &damaged);
    }
}

#[test]
fn a_sqlite_table_beyond_the_limits_is_drafted_within_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let names: Vec<String> = (1..=33).map(|n| format!("c{n}")).collect();
    let (columns, values) = (names.join(" INTEGER NOT NULL, "), vec!["1"; 33].join(", "));
    let connection = rusqlite::Connection::open(path("wide.db")).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TABLE keyed ({columns} INTEGER NOT NULL, v TEXT, PRIMARY KEY ({list}));
             INSERT INTO keyed VALUES ({values}, 'a');
             CREATE TABLE indexed ({columns} INTEGER NOT NULL, id INTEGER PRIMARY KEY);
             CREATE UNIQUE INDEX all_columns ON indexed ({list});
             INSERT INTO indexed VALUES ({values}, 1);",
            list = names.join(", ")
        ))
        .unwrap();
    drop(connection);
    let source = format!("sqlite:{}", path("wide.db").display());
    let output = docferry().args(["plan", &source, "-o"]).arg(path("wide.toml")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let draft = std::fs::read_to_string(path("wide.toml")).unwrap();
    assert!(draft.contains("decide: the primary key has 33 columns"), "{draft}");
    assert!(draft.contains("decide: it has more than 32 columns, left out"), "{draft}");
    let Some(migrated) = migrate(&path("wide.toml"), &source, "docferry_wide_keys") else { return };
    migrated.assert_whole(2, 0);
}
