//! The SQL that makes tables, in the order in which a load needs it.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::{qualified, quote_identifier, quote_literal};
use crate::pgcopy::PgType;
use crate::staging::table::{IndexDefinition, TableDefinition};

/// Characters of a row that full-text search covers. A tsvector holds 1,048,575 bytes
/// (`MAXSTRPOS`), and one that would be larger is an error that stops its row. A hyphenated word and
/// a URL are in it twice, as a whole and in parts, and each word takes up to 5 bytes more: at most
/// three times the bytes of the text.
const SEARCHED_CHARACTERS: u32 = 200_000;
/// The same where those characters have more bytes than this.
const SEARCHED_BYTES: u32 = 300_000;
const SEARCHED_WIDE_CHARACTERS: u32 = 90_000;

/// The function that makes one text of a text array, for full-text search.
pub const TEXT_OF_ARRAY: &str = "docferry_text";
/// Its body.
pub const TEXT_OF_ARRAY_BODY: &str = " SELECT pg_catalog.array_to_string($1, ' ') ";

/// The policy that shows a session the rows of its tenant.
pub const TENANT_POLICY: &str = "tenant_isolation";

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

/// What an index holds: columns, some in lower case or from the greatest value to the least.
fn index_columns(index: &IndexDefinition) -> String {
    let columns = index.columns.iter().map(|column| {
        let quoted = quote_identifier(column);
        let value = if index.lower.contains(column) { format!("lower({quoted})") } else { quoted };
        if index.descending.contains(column) { format!("{value} DESC") } else { value }
    });
    columns.collect::<Vec<_>>().join(", ")
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
            TEXT_OF_ARRAY,
            format!(
                "CREATE FUNCTION {}(text[]) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE \
                 AS $${TEXT_OF_ARRAY_BODY}$$",
                qualified(schema, TEXT_OF_ARRAY)
            ),
        ));
    }
    // PostgreSQL names the sequence of an identity column itself, and takes another name where the
    // usual one is taken by then: a table of that name comes first.
    let sequences: HashSet<String> =
        tables.iter().flat_map(|table| sequence_names(table)).collect();
    let (first, then): (Vec<&TableDefinition>, Vec<&TableDefinition>) =
        tables.iter().partition(|table| sequences.contains(&table.name));
    result.extend(first.into_iter().chain(then).map(create_table));
    result
}

/// The usual names of the sequences of a table's identity columns.
fn sequence_names(table: &TableDefinition) -> impl Iterator<Item = String> {
    let identity = table.columns.iter().filter(|column| column.identity);
    identity.map(|column| format!("{}_{}_seq", table.name, column.name))
}

fn is_array(table: &TableDefinition, column: &str) -> bool {
    let found = table.columns.iter().find(|candidate| candidate.name == column);
    found.is_some_and(|column| matches!(column.pg_type, PgType::Array(_)))
}

/// A table without keys.
pub fn create_table(table: &TableDefinition) -> Statement {
    let mut lines = Vec::new();
    for column in &table.columns {
        let name = quote_identifier(&column.name);
        let mut line = format!("    {name} {}", sql_type(&table.schema, &column.pg_type));
        if column.identity {
            line.push_str(" GENERATED BY DEFAULT AS IDENTITY");
        }
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
                    format!("coalesce({}({column}), '')", qualified(&table.schema, TEXT_OF_ARRAY))
                } else {
                    format!("coalesce({column}, '')")
                }
            })
            .collect();
        let text = sources.join(" || ' ' || ");
        lines.push(format!(
            "    {} tsvector GENERATED ALWAYS AS (to_tsvector({}::regconfig, left({text}, \
             CASE WHEN octet_length(left({text}, {SEARCHED_CHARACTERS})) <= {SEARCHED_BYTES} \
             THEN {SEARCHED_CHARACTERS} ELSE {SEARCHED_WIDE_CHARACTERS} END))) STORED",
            quote_identifier(&search.column),
            quote_literal(&format!("pg_catalog.{}", search.language)),
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
            let key = table.primary_key_name();
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
                index_columns(index)
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
            if let Some(action) = &key.on_update {
                let _ = write!(sql, " ON UPDATE {action}");
            }
            if let Some(checked) = &key.deferrable {
                let _ = write!(sql, " DEFERRABLE {checked}");
            }
            result.push(statement(&table.name, "foreign key", &key.name, sql));
        }
    }
    result
}

/// Row-level security of tables that belong to tenants: a session sees and writes the rows of the
/// tenant in its setting `app.current_tenant_id`, and none without it. Each can be repeated.
pub fn policy_statements(tables: &[&TableDefinition]) -> Vec<Statement> {
    let mut result = Vec::new();
    for table in tables {
        let Some(tenant) = &table.tenant else { continue };
        let name = qualified(&table.schema, &table.name);
        let found = table.columns.iter().find(|column| column.name == *tenant);
        let tenant_type =
            found.map_or("text".to_owned(), |column| sql_type(&table.schema, &column.pg_type));
        let condition = format!(
            "{} = nullif(current_setting('app.current_tenant_id', true), '')::{tenant_type}",
            quote_identifier(tenant)
        );
        let sql = format!(
            "ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;\n\
             ALTER TABLE {name} FORCE ROW LEVEL SECURITY;\n\
             DROP POLICY IF EXISTS {TENANT_POLICY} ON {name};\n\
             CREATE POLICY {TENANT_POLICY} ON {name} USING ({condition}) WITH CHECK ({condition})"
        );
        result.push(statement(&table.name, "policy of", &table.name, sql));
    }
    result
}

/// All of it as a script.
pub fn script(tables: &[&TableDefinition]) -> String {
    let all = [
        create_statements(tables),
        policy_statements(tables),
        key_statements(tables),
        foreign_key_statements(tables),
    ];
    let mut text = String::new();
    for statement in all.iter().flatten() {
        let _ = writeln!(text, "{};\n", statement.sql);
    }
    text
}
