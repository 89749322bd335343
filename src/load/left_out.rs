//! Keys and indexes that PostgreSQL cannot hold. Its indexes take a third of a page of one row, which
//! depends on how well the row's values can be compressed: nobody knows before the index is built.
//! The rows are there by then, so the load goes on without it and says so; `verify` misses it.

use std::fmt;

use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::LoadError;
use crate::postgres::ddl::Statement;
use crate::postgres::{PostgresError, describe, qualified, quote_literal};
use crate::staging::manifest::TransformManifest;

/// Characters of a row that are shown.
const SHOWN: usize = 120;

/// A key or an index that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LeftOut {
    /// Table.
    pub table: String,
    /// `primary key`, `unique constraint`, `index` or `foreign key`.
    pub kind: &'static str,
    /// Name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// The beginning of a row that is too long for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<String>,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, kind, name, reason, row } = self;
        write!(formatter, "{table}: {kind} {name} is left out: {reason}")?;
        match row {
            Some(row) => write!(formatter, "; the row {row}…"),
            None => Ok(()),
        }
    }
}

/// The key or index of a statement that failed because PostgreSQL cannot hold it; none where it
/// failed for another reason.
pub(super) async fn of(
    client: &Client,
    schema: &str,
    statement: &Statement,
    error: &LoadError,
) -> Option<LeftOut> {
    let LoadError::Postgres(PostgresError::Statement { source, .. }) = error else { return None };
    let is_key = ["primary key", "unique constraint", "index"].contains(&statement.kind);
    if !is_key || source.code() != Some(&SqlState::PROGRAM_LIMIT_EXCEEDED) {
        return None;
    }
    let detail = source.as_db_error().and_then(tokio_postgres::error::DbError::detail);
    let row = match detail.and_then(place) {
        Some(place) => row(client, schema, &statement.table, place).await,
        None => None,
    };
    Some(LeftOut {
        table: statement.table.clone(),
        kind: statement.kind,
        name: statement.name.clone(),
        reason: describe(source),
        row,
    })
}

/// The place of a row in "Index row references tuple (0,1) in relation …".
fn place(detail: &str) -> Option<&str> {
    let start = detail.find("tuple (")? + "tuple ".len();
    let place = &detail[start..=start + detail[start..].find(')')?];
    place.bytes().all(|byte| b"(),0123456789".contains(&byte)).then_some(place)
}

/// The beginning of the row at a place.
async fn row(client: &Client, schema: &str, table: &str, place: &str) -> Option<String> {
    let sql = format!(
        "SELECT left(t::text, {SHOWN}) FROM {} t WHERE t.ctid = {}::tid",
        qualified(schema, table),
        quote_literal(place)
    );
    client.query_opt(&sql, &[]).await.ok().flatten().map(|row| row.get(0))
}

/// Takes foreign keys out that refer to a key which is not there.
pub(super) fn without_key(
    manifest: &TransformManifest,
    left_out: &mut Vec<LeftOut>,
    statements: &mut Vec<Statement>,
) {
    if left_out.is_empty() {
        return;
    }
    let gone = |table: &str, columns: &[String]| {
        let table = manifest.tables.iter().find(|other| other.definition.name == table)?;
        let definition = &table.definition;
        let key = definition.primary_key_name();
        let primary = (definition.primary_key == columns).then_some(key.as_str());
        let unique = definition.unique.iter().find(|unique| unique.columns == columns);
        let name = primary.or(unique.map(|unique| unique.name.as_str()))?;
        left_out.iter().any(|left| left.name == name).then(|| name.to_owned())
    };
    let mut more = Vec::new();
    for table in &manifest.tables {
        for foreign in &table.definition.foreign_keys {
            let Some(key) = gone(&foreign.references_table, &foreign.references_columns) else {
                continue;
            };
            let made = statements.len();
            statements.retain(|statement| {
                statement.table != table.definition.name || statement.name != foreign.name
            });
            if statements.len() < made {
                more.push(LeftOut {
                    table: table.definition.name.clone(),
                    kind: "foreign key",
                    name: foreign.name.clone(),
                    reason: format!(
                        "{key} of {}, which it refers to, is left out",
                        foreign.references_table
                    ),
                    row: None,
                });
            }
        }
    }
    left_out.extend(more);
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn the_place_of_a_row_is_read() {
        let detail = "Index row references tuple (12,3) in relation \"books\".";
        assert_eq!(place(detail), Some("(12,3)"));
        assert_eq!(place("tuple (0,1'; DROP)"), None);
        assert_eq!(place("nothing"), None);
    }
}
