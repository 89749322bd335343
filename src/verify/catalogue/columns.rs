//! Columns: their types with modifiers, NOT NULL, defaults, identity, generation, collation.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::check::{Tables, failed};
use super::difference::Findings;
use super::scratch::Scratch;
use crate::pgcopy::PgType;
use crate::postgres::{PostgresError, VALUE_TYPE, catalogue_type, staged_type};
use crate::staging::table::{ColumnDefinition, TableDefinition};
use crate::verify::VerifyError;

/// The columns of some tables of a schema.
fn columns() -> String {
    format!(
        "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
       t.enum_name, coalesce(t.enum_schema = n.oid, true),
       a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attgenerated::text, a.attidentity::text,
       (SELECT collname::text FROM pg_collation l
        WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation),
       t.text, t.in_domain OR t.folds_case
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
{VALUE_TYPE}
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE n.nspname = $1 AND c.relname = ANY ($2) AND a.attnum > 0 AND NOT a.attisdropped"
    )
}

/// A column of the database.
pub(super) struct Column {
    type_text: String,
    /// Its type, where it is one that docferry makes.
    pg_type: Option<PgType>,
    /// The type of the values that it holds, where docferry stages such a type.
    holds: Option<PgType>,
    not_null: bool,
    /// Its default, or what it is generated from.
    pub(super) expression: Option<String>,
    generated: bool,
    identity: String,
    collation: Option<String>,
}

/// Columns by table and name.
pub(super) type Columns = HashMap<(String, String), Column>;

/// Reads the columns of some tables of a schema.
pub(super) async fn read(
    client: &Client,
    schema: &str,
    tables: &[String],
) -> Result<Columns, PostgresError> {
    let rows = client.query(&columns(), &[&schema, &tables]).await.map_err(failed("columns"))?;
    let column = |row: &tokio_postgres::Row| {
        let type_text: String = row.get(2);
        let enum_name: Option<String> = row.get(3);
        // An enum of another schema is another type.
        let in_schema: bool = row.get(4);
        let (text, enum_name): (&str, _) = (row.get(10), enum_name.as_deref());
        let is_other: bool = row.get(11);
        Column {
            pg_type: catalogue_type(text, enum_name).filter(|_| in_schema && !is_other),
            holds: staged_type(text, enum_name).filter(|_| in_schema),
            type_text,
            not_null: row.get(5),
            expression: row.get(6),
            generated: !row.get::<_, &str>(7).is_empty(),
            identity: row.get(8),
            collation: row.get(9),
        }
    };
    Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), column(row))).collect())
}

/// Compares the columns of all tables.
pub(super) async fn check(
    client: &Client,
    tables: &Tables<'_>,
    scratch: &Scratch,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let names: Vec<String> = tables.all().map(|definition| definition.name.clone()).collect();
    let found = read(client, tables.schema, &names).await?;
    let of = |definition: &TableDefinition, column: &str| {
        found.get(&(definition.name.clone(), column.to_owned()))
    };
    for definition in &tables.own {
        for column in &definition.columns {
            findings.count();
            match of(definition, &column.name) {
                Some(found) => own(definition, column, found, scratch, findings),
                None => missing(definition, column, findings),
            }
        }
        for search in &definition.search {
            findings.count();
            let object = format!("column {}", search.column);
            let expected = scratch.column(&definition.name, &search.column);
            let shown = expected.map_or("a generated tsvector".to_owned(), |expression| {
                format!("tsvector generated as {expression}")
            });
            let Some(found) = of(definition, &search.column) else {
                findings.differs(&definition.name, object, shown, None);
                continue;
            };
            let same = expected.is_none() || found.expression.as_deref() == expected;
            if !found.generated || found.type_text != "tsvector" || !same {
                let generated = match &found.expression {
                    Some(expression) if found.generated => format!(" generated as {expression}"),
                    _ => ", not generated".to_owned(),
                };
                let found = format!("{}{generated}", found.type_text);
                findings.differs(&definition.name, object, shown, found);
            }
        }
    }
    for definition in &tables.existing {
        for column in &definition.columns {
            findings.count();
            match of(definition, &column.name) {
                None => missing(definition, column, findings),
                Some(found) if fits(&column.pg_type, found.holds.as_ref()) => {}
                Some(found) => other_type(definition, column, found, findings),
            }
        }
    }
    Ok(())
}

fn missing(definition: &TableDefinition, column: &ColumnDefinition, findings: &mut Findings) {
    let object = format!("column {}", column.name);
    findings.differs(&definition.name, object, column.pg_type.to_string(), None);
}

fn other_type(
    definition: &TableDefinition,
    column: &ColumnDefinition,
    found: &Column,
    findings: &mut Findings,
) {
    let object = format!("type of column {}", column.name);
    findings.differs(&definition.name, object, column.pg_type.to_string(), found.type_text.clone());
}

/// Whether a column of an application holds what is staged: texts may have another limit, which
/// the load has compared.
fn fits(staged: &PgType, found: Option<&PgType>) -> bool {
    let is_text = |pg_type: &PgType| matches!(pg_type, PgType::Text | PgType::Varchar(_));
    found.is_some_and(|found| found == staged || (is_text(found) && is_text(staged)))
}

fn own(
    definition: &TableDefinition,
    column: &ColumnDefinition,
    found: &Column,
    scratch: &Scratch,
    findings: &mut Findings,
) {
    let (table, name) = (&definition.name, &column.name);
    if found.pg_type.as_ref() != Some(&column.pg_type) {
        other_type(definition, column, found, findings);
    }
    if let Some(collation) = &found.collation {
        let object = format!("collation of column {name}");
        findings.differs(table, object, "the default of its type", collation.clone());
    }
    let required = !column.nullable || definition.primary_key.contains(name);
    if required && !found.not_null {
        let object = format!("NOT NULL of column {name}");
        findings.differs(table, object, "NULL is refused", None);
    }
    if found.generated {
        let object = format!("column {name}");
        findings.differs(table, object, "holds what is written", "generated".to_owned());
        return;
    }
    if column.identity && found.identity != "d" {
        let found = match found.identity.as_str() {
            "a" => Some("GENERATED ALWAYS AS IDENTITY".to_owned()),
            _ => None,
        };
        let object = format!("identity of column {name}");
        findings.differs(table, object, "GENERATED BY DEFAULT AS IDENTITY", found);
    }
    if let Some(default) = &column.default {
        let expected = scratch.column(table, name);
        let same = match (expected, &found.expression) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(expected), Some(found)) => expected == found,
        };
        if !same {
            let expected = expected.unwrap_or(default);
            let object = format!("default of column {name}");
            findings.differs(table, object, expected, found.expression.clone());
        }
    }
}
