//! What tables hold, as the bytes of their COPY tuples.

use std::collections::BTreeMap;
use std::pin::pin;

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::{PostgresError, VALUE_TYPE, qualified, quote_identifier};
use crate::pgcopy::digest::{ContentDigest, row_hash};
use crate::pgcopy::reader::{CopyReader, NotACopy};

/// The content of a table, whatever the order of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Rows.
    pub rows: u64,
    /// Their digest.
    pub digest: String,
}

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The server refused.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Its answer cannot be read.
    #[error(transparent)]
    Copy(#[from] NotACopy),
}

/// Every row that a `COPY … TO STDOUT (FORMAT binary)` sends; `table` is for messages.
pub async fn copy_rows(
    client: &Client,
    sql: &str,
    table: &str,
    mut tuple: impl FnMut(&[u8]),
) -> Result<(), ContentError> {
    let failed =
        |source| PostgresError::Statement { action: format!("read table {table}"), source };
    let mut stream = pin!(client.copy_out(sql).await.map_err(failed)?);
    let mut reader = CopyReader::default();
    while let Some(piece) = stream.next().await {
        reader.push(&piece.map_err(failed)?, &mut tuple)?;
    }
    if reader.ended() { Ok(()) } else { Err(NotACopy.into()) }
}

/// The COPY that sends these columns of a table as values of the types that docferry stages; `rows`
/// is a condition.
pub async fn values_sql(
    client: &Client,
    schema: &str,
    table: &str,
    columns: &[&str],
    rows: Option<&str>,
) -> Result<String, PostgresError> {
    let name = qualified(schema, table);
    let sql = format!(
        "SELECT relkind = 'r' AND NOT relhassubclass, v.json, v.padded \
         FROM pg_class c CROSS JOIN LATERAL ( \
           SELECT coalesce(array_agg(attname::text) FILTER (WHERE t.typname = 'json'), '{{}}') AS json, \
             coalesce(array_agg(attname::text) FILTER (WHERE t.typname = 'bpchar'), '{{}}') AS padded \
           FROM pg_attribute a {VALUE_TYPE} \
           WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) v \
         WHERE c.oid = to_regclass($1)"
    );
    let found = client.query_opt(&sql, &[&name]).await.map_err(|source| {
        PostgresError::Statement { action: format!("look at table {table}"), source }
    })?;
    let (plain, json, padded): (bool, Vec<String>, Vec<String>) =
        found.map_or((true, Vec::new(), Vec::new()), |row| (row.get(0), row.get(1), row.get(2)));
    let values = columns.iter().map(|column| {
        let quoted = quote_identifier(column);
        let is_of = |names: &[String]| names.iter().any(|name| name == column);
        if is_of(&json) {
            format!("{quoted}::pg_catalog.jsonb")
        } else if is_of(&padded) {
            // The cast leaves out the blanks that fill the column.
            format!("{quoted}::pg_catalog.text")
        } else {
            quoted
        }
    });
    let values = values.collect::<Vec<_>>().join(", ");
    // COPY of a table leaves out the rows of those that inherit from it, which a query returns.
    Ok(match rows {
        None if plain && json.is_empty() && padded.is_empty() => {
            format!("COPY {name} ({values}) TO STDOUT (FORMAT binary)")
        }
        None => format!("COPY (SELECT {values} FROM {name}) TO STDOUT (FORMAT binary)"),
        Some(rows) => {
            format!("COPY (SELECT {values} FROM {name} WHERE {rows}) TO STDOUT (FORMAT binary)")
        }
    })
}

/// The content of every table of a schema, by name. What a partitioned table holds counts once, as
/// its own.
pub async fn contents(
    client: &Client,
    schema: &str,
) -> Result<BTreeMap<String, Content>, ContentError> {
    let sql = "SELECT relname FROM pg_class c WHERE relnamespace = to_regnamespace($1)::oid \
               AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname";
    let quoted = super::quote_identifier(schema);
    let tables = client.query(sql, &[&quoted]).await.map_err(|source| {
        PostgresError::Statement { action: format!("list the tables of schema {schema}"), source }
    })?;
    let mut found = BTreeMap::new();
    for row in tables {
        let name: String = row.get(0);
        let table = qualified(schema, &name);
        let sql = format!("COPY (SELECT * FROM {table}) TO STDOUT (FORMAT binary)");
        let (mut rows, mut digest) = (0, ContentDigest::default());
        let add = |tuple: &[u8]| {
            rows += 1;
            digest.add(row_hash(tuple));
        };
        copy_rows(client, &sql, &name, add).await?;
        found.insert(name, Content { rows, digest: digest.to_hex() });
    }
    Ok(found)
}
