//! What PostgreSQL holds of one row.

use tokio_postgres::Client;

use super::{Held, TraceError};
use crate::pgcopy::reader::fields;
use crate::pgcopy::show;
use crate::postgres::content::{copy_rows, values_sql};
use crate::postgres::{quote_identifier, quote_literal};
use crate::proof::TracedRow;
use crate::staging::table::{TableDefinition, TableKind};

/// Looks a row up by its key; by all of it where it has none.
pub(super) async fn held(
    client: &Client,
    definition: &TableDefinition,
    row: &TracedRow,
) -> Result<Held, TraceError> {
    let key: Vec<&str> = match (definition.primary_key.as_slice(), definition.kind) {
        ([], TableKind::Table) => row.columns.iter().map(|it| it.column.as_str()).collect(),
        (key, _) => key.iter().map(String::as_str).collect(),
    };
    let conditions = row.columns.iter().filter(|it| key.contains(&it.column.as_str())).map(|it| {
        let column = quote_identifier(&it.column);
        let of_type = definition.columns.iter().find(|own| own.name == it.column);
        let of_type = of_type.map_or_else(String::new, |own| own.pg_type.to_string());
        match &it.value {
            None => format!("{column} IS NULL"),
            // Text compares with any type, and an enum's type need not be in the search path.
            Some(value) if of_type.starts_with('"') => {
                format!("{column}::text = {}", quote_literal(value))
            }
            Some(value) => format!("{column} = {}::{of_type}", quote_literal(value)),
        }
    });
    let rows = conditions.collect::<Vec<_>>().join(" AND ");
    let columns: Vec<&str> = definition.columns.iter().map(|column| column.name.as_str()).collect();
    let (schema, table) = (&definition.schema, &definition.name);
    let sql = values_sql(client, schema, table, &columns, Some(&rows)).await?;
    let mut found: Vec<Vec<u8>> = Vec::new();
    copy_rows(client, &sql, &definition.name, |tuple| found.push(tuple.to_vec())).await?;
    if found.contains(&row.tuple) {
        return Ok(Held::Equal);
    }
    let Some(other) = found.first() else { return Ok(Held::Missing) };
    let pairs = fields(&row.tuple).zip(fields(other)).zip(&definition.columns);
    let differing = pairs.filter(|((wanted, there), _)| wanted != there);
    let shown = differing.map(|((_, there), column)| {
        let value = there.map(|bytes| show::field(bytes, &column.pg_type, false));
        (column.name.clone(), value)
    });
    Ok(Held::Differs(shown.collect()))
}
