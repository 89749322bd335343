//! The SQL that makes tables, in the order in which a load needs it.

use std::fmt::Write as _;

use super::{qualified, quote_identifier, quote_literal};
use crate::pgcopy::PgType;
use crate::staging::table::TableDefinition;

/// Characters of a row that full-text search covers: a tsvector holds less than 1 MB, and one that
/// would be larger is an error that stops its row.
const SEARCHED_CHARACTERS: u32 = 200_000;

/// A statement and what it makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Table it concerns; empty for types and schemas.
    pub table: String,
    /// What it makes: `table`, `index`, …
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The SQL, without a semicolon.
    pub sql: String,
}

fn statement(table: &str, kind: &'static str, name: &str, sql: String) -> Statement {
    Statement { table: table.to_owned(), kind, name: name.to_owned(), sql }
}

fn column_list(columns: &[String]) -> String {
    columns.iter().map(|column| quote_identifier(column)).collect::<Vec<_>>().join(", ")
}

fn sql_type(schema: &str, pg_type: &PgType) -> String {
    match pg_type {
        PgType::Enum(name) => qualified(schema, name),
        PgType::Array(element) => format!("{}[]", sql_type(schema, element)),
        other => other.to_string(),
    }
}

/// Schema, enum types, and tables without keys.
pub fn create_statements(tables: &[&TableDefinition]) -> Vec<Statement> {
    let mut result = Vec::new();
    let Some(schema) = tables.first().map(|table| table.schema.as_str()) else { return result };
    result.push(statement(
        "",
        "schema",
        schema,
        format!("CREATE SCHEMA IF NOT EXISTS {}", quote_identifier(schema)),
    ));
    let mut made: Vec<&str> = Vec::new();
    for declared in tables.iter().flat_map(|table| &table.enums) {
        if made.contains(&declared.name.as_str()) {
            continue;
        }
        made.push(&declared.name);
        let labels: Vec<_> = declared.labels.iter().map(|label| quote_literal(label)).collect();
        result.push(statement(
            "",
            "enum",
            &declared.name,
            format!(
                "CREATE TYPE {} AS ENUM ({})",
                qualified(schema, &declared.name),
                labels.join(", ")
            ),
        ));
    }
    let array_search = tables.iter().any(|table| {
        table.search.iter().flat_map(|search| &search.sources).any(|source| is_array(table, source))
    });
    if array_search {
        // A generated column needs an immutable function; array_to_string is only stable.
        result.push(statement(
            "",
            "function",
            "docferry_text",
            format!(
                "CREATE FUNCTION {}(text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE \
                 AS $$ SELECT pg_catalog.array_to_string($1, ' ') $$",
                qualified(schema, "docferry_text")
            ),
        ));
    }
    result.extend(tables.iter().map(|table| create_table(table)));
    result
}

fn is_array(table: &TableDefinition, column: &str) -> bool {
    let found = table.columns.iter().find(|candidate| candidate.name == column);
    found.is_some_and(|column| matches!(column.pg_type, PgType::Array(_)))
}

fn create_table(table: &TableDefinition) -> Statement {
    let mut lines = Vec::new();
    for column in &table.columns {
        let name = quote_identifier(&column.name);
        let mut line = format!("    {name} {}", sql_type(&table.schema, &column.pg_type));
        if let Some(default) = &column.default {
            let _ = write!(line, " DEFAULT {default}");
        }
        if !column.nullable {
            line.push_str(" NOT NULL");
        }
        lines.push(line);
    }
    for search in &table.search {
        let sources: Vec<String> = search
            .sources
            .iter()
            .map(|source| {
                let column = quote_identifier(source);
                if is_array(table, source) {
                    format!("coalesce({}({column}), '')", qualified(&table.schema, "docferry_text"))
                } else {
                    format!("coalesce({column}, '')")
                }
            })
            .collect();
        lines.push(format!(
            "    {} tsvector GENERATED ALWAYS AS (to_tsvector({}::regconfig, left({}, {SEARCHED_CHARACTERS}))) STORED",
            quote_identifier(&search.column),
            quote_literal(&format!("pg_catalog.{}", search.language)),
            sources.join(" || ' ' || ")
        ));
    }
    statement(
        &table.name,
        "table",
        &table.name,
        format!(
            "CREATE TABLE {} (\n{}\n)",
            qualified(&table.schema, &table.name),
            lines.join(",\n")
        ),
    )
}

/// Primary keys, unique constraints, indexes and checks.
pub fn key_statements(tables: &[&TableDefinition]) -> Vec<Statement> {
    let mut result = Vec::new();
    for table in tables {
        let name = qualified(&table.schema, &table.name);
        let mut add = |kind: &'static str, made: &str, sql: String| {
            result.push(statement(&table.name, kind, made, sql));
        };
        if !table.primary_key.is_empty() {
            let key = format!("{}_pkey", table.name);
            let key = if key.len() > 63 {
                format!("{}_pkey", &table.name[..table.name.floor_char_boundary(58)])
            } else {
                key
            };
            add(
                "primary key",
                &key,
                format!(
                    "ALTER TABLE {name} ADD CONSTRAINT {} PRIMARY KEY ({})",
                    quote_identifier(&key),
                    column_list(&table.primary_key)
                ),
            );
        }
        for unique in &table.unique {
            add(
                "unique constraint",
                &unique.name,
                format!(
                    "ALTER TABLE {name} ADD CONSTRAINT {} UNIQUE ({})",
                    quote_identifier(&unique.name),
                    column_list(&unique.columns)
                ),
            );
        }
        for index in &table.indexes {
            let unique = if index.unique { "UNIQUE " } else { "" };
            let mut sql = format!(
                "CREATE {unique}INDEX {} ON {name} USING {} ({})",
                quote_identifier(&index.name),
                index.method,
                column_list(&index.columns)
            );
            if let Some(predicate) = &index.predicate {
                let _ = write!(sql, " WHERE {predicate}");
            }
            add("index", &index.name, sql);
        }
        for search in &table.search {
            add(
                "index",
                &search.index,
                format!(
                    "CREATE INDEX {} ON {name} USING gin ({})",
                    quote_identifier(&search.index),
                    quote_identifier(&search.column)
                ),
            );
        }
        for check in &table.checks {
            add(
                "check",
                &check.name,
                format!(
                    "ALTER TABLE {name} ADD CONSTRAINT {} CHECK ({})",
                    quote_identifier(&check.name),
                    check.expression
                ),
            );
        }
    }
    result
}

/// Foreign keys, each checked against every row.
pub fn foreign_key_statements(tables: &[&TableDefinition]) -> Vec<Statement> {
    let mut result = Vec::new();
    for table in tables {
        for key in &table.foreign_keys {
            let mut sql = format!(
                "ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({})",
                qualified(&table.schema, &table.name),
                quote_identifier(&key.name),
                column_list(&key.columns),
                qualified(&table.schema, &key.references_table),
                column_list(&key.references_columns)
            );
            if let Some(action) = &key.on_delete {
                let _ = write!(sql, " ON DELETE {action}");
            }
            result.push(statement(&table.name, "foreign key", &key.name, sql));
        }
    }
    result
}

/// All of it as a script.
pub fn script(tables: &[&TableDefinition]) -> String {
    let all = [create_statements(tables), key_statements(tables), foreign_key_statements(tables)];
    let mut text = String::new();
    for statement in all.iter().flatten() {
        let _ = writeln!(text, "{};\n", statement.sql);
    }
    text
}
