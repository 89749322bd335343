//! Random SQLite schemas: each property is in PostgreSQL's catalogue, or the draft says that it is
//! not.

use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use rusqlite::Connection;

use crate::sqlite::{address, made, moved};
use crate::support::{Migrated, assert_same, docferry, shown};

/// Properties that a generated table declares, with what tells that each is carried over or said.
#[derive(Clone, Debug)]
enum Trait {
    Default(usize),
    Check,
    NoCase(usize),
    Generated(usize),
    Unique(usize),
    Descending(usize),
    Partial(usize),
    Reference { update: bool, deferred: bool },
    Autoincrement,
}

#[derive(Clone, Debug)]
struct Made {
    name: String,
    columns: Vec<String>,
    traits: Vec<Trait>,
    rows: usize,
    sql: String,
}

const NAMES: [&str; 11] = [
    "plain",
    "Mixed",
    "two words",
    "select",
    "naïve",
    "a.b",
    "quo'te",
    "user",
    "x\"y",
    "order",
    "_id",
];
const TYPES: [&str; 8] =
    ["TEXT", "INTEGER", "REAL", "BOOLEAN", "DATETIME", "VARCHAR(40)", "DECIMAL(9,2)", ""];
const DEFAULTS: [&str; 9] = [
    "'new'",
    "0",
    "1",
    "-1.5",
    "CURRENT_TIMESTAMP",
    "(datetime('now'))",
    "NULL",
    "(lower(hex(randomblob(16))))",
    "(abs(-3))",
];
const CHECKS: [&str; 7] = [
    "{} IS NOT NULL OR 1",
    "{} IN ('a', 'b') OR {} IS NOT NULL",
    "length({}) < 100",
    "{} <> 'zzz'",
    "typeof({}) <> 'blob'",
    "{} NOT LIKE 'q%'",
    "{} <> 77 OR {} IS NULL",
];

/// Values that may stand in any column.
const ODD: [&str; 13] = [
    "''",
    "NULL",
    "'Ä'",
    "'ä'",
    "'A'",
    "'a'",
    "'2024-01-31'",
    "'2024-01-31 10:00:00+02:00'",
    "77",
    "1.25",
    "x'00ff'",
    "'{\"a\": 1}'",
    "9223372036854775807",
];

fn append(text: &mut String, more: &str) {
    text.push_str(more);
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn generated_table(number: usize) -> impl Strategy<Value = Made> {
    let index = |most: usize| 0..most;
    let column = (index(NAMES.len()), index(TYPES.len()));
    let traits = prop::collection::vec((index(9), index(64), index(64)), 1..6);
    let shape = (prop::collection::vec(column, 2..6), traits);
    (shape, 0..25_usize, any::<bool>(), any::<u64>()).prop_map(
        move |((columns, wanted), rows, auto, salt)| {
            let name = format!("t{number} {}", NAMES[number % NAMES.len()]);
            let mut names: Vec<String> = Vec::new();
            let mut kinds = Vec::new();
            for (at, kind) in columns {
                if !names.iter().any(|name| name == NAMES[at]) {
                    names.push(NAMES[at].to_owned());
                    kinds.push(TYPES[kind]);
                }
            }
            let mut behind = vec![String::new(); names.len()];
            let mut after = String::new();
            let mut extra = Vec::new();
            let mut traits = Vec::new();
            for (number, (kind, left, right)) in wanted.into_iter().enumerate() {
                let at = left % names.len();
                let column = quoted(&names[at]);
                let table = quoted(&name);
                let own = !["made", "parent"].contains(&kinds[at]);
                let free = own && behind[at].is_empty();
                match kind {
                    0 if own && !behind[at].contains("DEFAULT") => {
                        append(&mut behind[at], &format!(" DEFAULT {}", DEFAULTS[right % DEFAULTS.len()]));
                        if DEFAULTS[right % DEFAULTS.len()] != "NULL" {
                            traits.push(Trait::Default(at));
                        }
                    }
                    1 if own => {
                        let check = CHECKS[right % CHECKS.len()].replace("{}", &column);
                        append(&mut behind[at], &format!(" CHECK({check})"));
                        traits.push(Trait::Check);
                    }
                    2 if !behind[at].contains("COLLATE") && kinds[at] == "TEXT" => {
                        behind[at] += " COLLATE NOCASE UNIQUE";
                        traits.push(Trait::NoCase(at));
                    }
                    3 if !names.iter().any(|name| name == "made") => {
                        extra.push(format!("made TEXT AS ('m' || {column})"));
                        names.push("made".to_owned());
                        kinds.push("made");
                        behind.push(String::new());
                        traits.push(Trait::Generated(names.len() - 1));
                    }
                    4 if free => {
                        behind[at] += " UNIQUE";
                        traits.push(Trait::Unique(at));
                    }
                    5 => {
                        append(&mut after, &format!("CREATE INDEX \"d{number} {name}\" ON {table}({column} DESC, id);",
                            name = name.replace('"', "\"\"")));
                        traits.push(Trait::Descending(at));
                    }
                    6 => {
                        append(&mut after, &format!("CREATE INDEX \"p{number} {name}\" ON {table}({column}) WHERE {column} IS NOT NULL;",
                            name = name.replace('"', "\"\"")));
                        traits.push(Trait::Partial(at));
                    }
                    7 if !names.iter().any(|name| name == "parent") => {
                        let (update, deferred) = (right % 2 == 0, right % 3 == 0);
                        extra.push(format!(
                            "parent INTEGER REFERENCES {table}(id){}{}",
                            if update { " ON UPDATE CASCADE" } else { "" },
                            if deferred { " DEFERRABLE INITIALLY DEFERRED" } else { "" }
                        ));
                        names.push("parent".to_owned());
                        kinds.push("parent");
                        behind.push(String::new());
                        traits.push(Trait::Reference { update, deferred });
                    }
                    _ => {}
                }
            }
            if auto {
                traits.push(Trait::Autoincrement);
            }
            let key = if auto { " AUTOINCREMENT" } else { "" };
            let mut lines = vec![format!("id INTEGER PRIMARY KEY{key}")];
            let own = names.iter().zip(&kinds).zip(&behind);
            lines.extend(own.filter(|((_, kind), _)| !["made", "parent"].contains(*kind)).map(
                |((name, kind), behind)| format!("{} {kind}{behind}", quoted(name)),
            ));
            lines.extend(extra);
            let mut sql = format!("CREATE TABLE {} ({});{after}", quoted(&name), lines.join(", "));
            for row in 0..rows {
                let values: Vec<String> = kinds
                    .iter()
                    .enumerate()
                    .filter(|(_, kind)| **kind != "made")
                    .map(|(at, kind)| match *kind {
                        kind if kind != "parent" && (salt >> ((at + row) % 60)) % 8 == 0 => {
                            ODD[(usize::try_from(salt % 1000).unwrap() + row * 7 + at) % ODD.len()].to_owned()
                        }
                        "parent" => "1".to_owned(),
                        "INTEGER" | "REAL" | "DECIMAL(9,2)" => format!("{}", row + 5),
                        "BOOLEAN" => format!("{}", row % 2),
                        "DATETIME" => format!("'2024-01-{:02} 10:00:00'", row + 1),
                        _ => format!("'w{row}'"),
                    })
                    .collect();
                let of: Vec<String> = names
                    .iter()
                    .zip(&kinds)
                    .filter(|(_, kind)| **kind != "made")
                    .map(|(name, _)| quoted(name))
                    .collect();
                append(&mut sql, &format!(
                    "INSERT OR IGNORE INTO {} (id, {}) VALUES ({}, {});",
                    quoted(&name),
                    of.join(", "),
                    row + 1,
                    values.join(", ")
                ));
            }
            if auto {
                let name = name.replace('\'', "''");
                append(&mut sql, &format!(
                    "DELETE FROM sqlite_sequence WHERE name = '{name}';
                     INSERT INTO sqlite_sequence(name, seq) VALUES('{name}', 99);"
                ));
            }
            Made { name, columns: names, traits, rows, sql }
        },
    )
}

/// The blocks of a draft, by table.
fn block<'t>(text: &'t str, table: &str) -> &'t str {
    let named = |block: &&str| {
        let parsed: Option<toml::Table> = toml::from_str(block).ok();
        let tables = parsed.and_then(|parsed| parsed.get("tables").cloned());
        tables.is_some_and(|tables| tables.get(table).is_some())
    };
    text.split("\n\n").find(named).unwrap_or_default()
}

/// The SQL of a database of many tables, the same each time.
fn generated(seed: u8) -> (Vec<Made>, String) {
    let strategy: Vec<_> = (0..24).map(generated_table).collect();
    let config = proptest::test_runner::Config::default();
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, random);
    let tables = strategy.new_tree(&mut runner).unwrap().current();
    let sql = tables.iter().map(|table| table.sql.as_str()).collect();
    (tables, sql)
}

#[test]
fn every_property_of_any_schema_is_carried_over_or_said() {
    let (tables, sql) = generated(1);
    let Some((text, done)) = moved("any", &sql) else { return };
    assert!(matches!(done.output.status.code(), Some(0 | 3)), "{text}\n{}", done.shown());
    for table in &tables {
        assert_carried(table, block(&text, table.name.trim()), &done);
    }
}

/// All rows of all tables, and what made them.
fn content(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let list = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let width = statement.column_count();
        let rows = statement.query_map([], |row| {
            Ok((0..width).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect())
        });
        rows.unwrap().map(|row| row.map(|row: Vec<String>| row.join(" ")).unwrap()).collect()
    };
    let mut all = list("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2");
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1";
    let mut statement = connection.prepare(tables).unwrap();
    let names: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for name in names {
        let order = if name == "sqlite_sequence" { "name" } else { "rowid" };
        all.push(name.clone());
        all.extend(list(&format!("SELECT * FROM {} ORDER BY {order}", quoted(&name))));
    }
    all
}

#[test]
fn any_schema_comes_back_as_it_was() {
    for seed in 2..6 {
        let (_, sql) = generated(seed);
        let folder = tempfile::tempdir().unwrap();
        let database = made(folder.path(), "any.db", &sql);
        let pipeline = folder.path().join("any.toml");
        let text = "version = 1\nname = \"any\"\n[tables.t.columns]\nid = { type = \"text\" }\n";
        std::fs::write(&pipeline, text).unwrap();
        let run = |arguments: &[&str]| {
            let staging = folder.path().join("staging");
            let output = docferry().args(arguments).arg("--staging").arg(staging).output().unwrap();
            assert!(output.status.success(), "{sql}\n{}", shown(&output));
        };
        run(&["export", pipeline.to_str().unwrap(), "--source", &address(&database)]);
        let back = folder.path().join("back.db");
        run(&["restore", "latest", "--to", &address(&back)]);
        assert_same(&content(&database), &content(&back));
    }
}

#[track_caller]
fn assert_carried(table: &Made, block: &str, done: &Migrated) {
    let draft: toml::Table = toml::from_str(block).unwrap();
    let columns = draft["tables"][table.name.trim()]["columns"].as_table().unwrap();
    let names: Vec<&String> = columns.keys().collect();
    // `id` stands first, the others in order.
    let target = |at: usize| names[at + 1].as_str();
    let relation = format!("'{}'::regclass", quoted(table.name.trim()).replace('\'', "''"));
    let said = |words: &[&str]| {
        block
            .lines()
            .any(|line| line.contains("decide: ") && words.iter().all(|word| line.contains(word)))
    };
    let exists = |sql: &str| done.rows(&format!("SELECT EXISTS({sql})::text")) == ["true"];
    let column = |at: usize| target(at).replace('\'', "''");
    let index = |at: usize, what: &str| {
        exists(&format!(
            "SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attname = '{}' \
             WHERE i.indrelid = {relation} AND pg_get_indexdef(i.indexrelid) LIKE '%{what}%' \
               AND (a.attnum = ANY(i.indkey) OR pg_get_indexdef(i.indexrelid) LIKE '%lower(%')",
            column(at)
        ))
    };
    let checks = table.traits.iter().filter(|one| matches!(one, Trait::Check)).count();
    let count = |sql: &str| done.rows(sql)[0].parse::<usize>().unwrap();
    let kept = count(&format!(
        "SELECT count(*)::text FROM pg_constraint WHERE conrelid = {relation} AND contype = 'c'"
    ));
    let named = block
        .lines()
        .filter(|line| line.contains("CHECK (") || line.starts_with("# check "))
        .count();
    assert!(kept + named >= checks, "{kept} + {named} of {checks} checks: {table:?}\n{block}");
    let rows = count(&format!("SELECT count(*)::text FROM {}", quoted(table.name.trim())));
    assert!(rows <= table.rows);
    for one in &table.traits {
        let fine = match one {
            Trait::Default(at) => {
                said(&["DEFAULT"])
                    || exists(&format!(
                        "SELECT 1 FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid \
                         AND a.attnum = d.adnum WHERE d.adrelid = {relation} AND a.attname = '{}'",
                        column(*at)
                    ))
            }
            Trait::Check => true,
            Trait::NoCase(at) => index(*at, "lower(") || said(&["unique key", "left out"]),
            Trait::Generated(at) => {
                said(&["SQLite computes it"]) && columns.contains_key(target(*at))
            }
            Trait::Unique(at) => index(*at, "UNIQUE") || said(&["unique key", "left out"]),
            Trait::Descending(at) => index(*at, "DESC") || said(&["index d", "left out"]),
            Trait::Partial(at) => index(*at, "WHERE") || said(&["index p", "left out"]),
            Trait::Reference { update, deferred } => exists(&format!(
                "SELECT 1 FROM pg_constraint WHERE conrelid = {relation} AND contype = 'f' \
                 AND (confupdtype = 'c') = {update} AND condeferrable = {deferred}"
            )),
            Trait::Autoincrement => {
                let name = quoted(table.name.trim()).replace('\'', "''");
                done.rows(&format!("SELECT nextval(pg_get_serial_sequence('{name}', 'id'))::text"))
                    == ["100"]
            }
        };
        assert!(
            fine,
            "{one:?} of {} ({:?}) is gone:\n{block}\n{}",
            table.name, table.columns, table.sql
        );
    }
}
