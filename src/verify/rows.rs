//! Rows on both sides as the bytes of their COPY tuples, and names for those that differ.

use std::collections::{BTreeMap, HashMap};

use tokio_postgres::Client;

use super::{NAMED_ROWS, VerifyError};
use crate::pgcopy::digest::{bucket, key_bytes, row_hash};
use crate::pgcopy::reader::fields;
use crate::pgcopy::{CopyEncoder, PgType};
use crate::postgres::content::copy_rows;
use crate::postgres::{PostgresError, qualified, quote_identifier};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::TableManifest;
use crate::staging::part;
use crate::staging::table::TableDefinition;

/// Where the key's columns stand in a tuple.
pub(super) fn key_positions(definition: &TableDefinition) -> Vec<usize> {
    let position =
        |name: &String| definition.columns.iter().position(|column| column.name == *name);
    definition.primary_key.iter().filter_map(position).collect()
}

/// Every staged row as the bytes a COPY would send.
pub(super) fn staged_rows(
    run: &RunDirectory,
    table: &TableManifest,
    oids: &HashMap<String, u32>,
    mut tuple: impl FnMut(&[u8]),
) -> Result<(), VerifyError> {
    let definition = &table.definition;
    let columns: Vec<(String, PgType)> = definition
        .columns
        .iter()
        .map(|column| (column.name.clone(), column.pg_type.clone()))
        .collect();
    let encoder = CopyEncoder::new(&columns, oids)?;
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    for file in &table.parts {
        for batch in part::open(run, file)? {
            let batch = batch.map_err(|source| crate::staging::StagingError::Arrow {
                path: file.path.clone().into(),
                source,
            })?;
            for from in (0..batch.num_rows()).step_by(256) {
                buffer.clear();
                ends.clear();
                let slice = batch.slice(from, 256.min(batch.num_rows() - from));
                encoder.encode(&slice, &mut buffer, Some(&mut ends))?;
                let mut start = 0;
                for end in &ends {
                    tuple(&buffer[start..*end]);
                    start = *end;
                }
            }
        }
    }
    Ok(())
}

/// Every row of the table as the server sends it.
pub(super) async fn found_rows(
    client: &Client,
    definition: &TableDefinition,
    tuple: impl FnMut(&[u8]),
) -> Result<(), VerifyError> {
    let columns: Vec<String> =
        definition.columns.iter().map(|column| quote_identifier(&column.name)).collect();
    let name = qualified(&definition.schema, &definition.name);
    let columns = columns.join(", ");
    let failed = |source| PostgresError::Statement {
        action: format!("read table {}", definition.name),
        source,
    };
    let kind = client
        .query_one("SELECT relkind::text FROM pg_class WHERE oid = to_regclass($1)", &[&name])
        .await
        .map_err(failed)?;
    // COPY reads no partitioned table itself, only a query of one.
    let sql = if kind.get::<_, &str>(0) == "p" {
        format!("COPY (SELECT {columns} FROM {name}) TO STDOUT (FORMAT binary)")
    } else {
        format!("COPY {name} ({columns}) TO STDOUT (FORMAT binary)")
    };
    Ok(copy_rows(client, &sql, &definition.name, tuple).await?)
}

/// Rows of the differing buckets: key to hash and fields.
type Rows = BTreeMap<Vec<u8>, (Vec<u8>, [u8; 32])>;

/// Finds the rows behind differing digests and names them by key, never by value.
pub(super) async fn name_rows(
    run: &RunDirectory,
    table: &TableManifest,
    client: &Client,
    oids: &HashMap<String, u32>,
    key: &[usize],
    differing: &[usize],
    is_own: &(impl Fn(&[u8]) -> bool + Sync),
) -> Result<Vec<String>, VerifyError> {
    // Rows that would not be named anyway need not be held.
    let wanted = &differing[..differing.len().min(NAMED_ROWS)];
    let (mut staged, mut found) = (Rows::new(), Rows::new());
    let keep = |rows: &mut Rows, tuple: &[u8]| {
        if wanted.binary_search(&bucket(tuple, key)).is_ok() {
            rows.insert(key_bytes(tuple, key), (tuple.to_vec(), row_hash(tuple)));
        }
    };
    staged_rows(run, table, oids, |tuple| keep(&mut staged, tuple))?;
    let keep_own = |tuple: &[u8]| {
        if is_own(tuple) {
            keep(&mut found, tuple);
        }
    };
    found_rows(client, &table.definition, keep_own).await?;
    let mut named = Vec::new();
    for (row_key, (tuple, hash)) in &staged {
        match found.get(row_key) {
            None => named.push(format!("row {} is missing", describe(tuple, key))),
            Some((_, other)) if other == hash => {}
            Some((other, _)) => {
                let pairs = fields(tuple).zip(fields(other)).zip(&table.definition.columns);
                let columns: Vec<&str> = pairs
                    .filter(|((staged, found), _)| staged != found)
                    .map(|(_, column)| column.name.as_str())
                    .collect();
                named.push(format!(
                    "row {} differs in {}",
                    describe(tuple, key),
                    columns.join(", ")
                ));
            }
        }
    }
    for (row_key, (tuple, _)) in &found {
        if !staged.contains_key(row_key) {
            named.push(format!("row {} was not staged", describe(tuple, key)));
        }
    }
    named.truncate(NAMED_ROWS);
    if differing.len() > wanted.len() {
        named.push("more rows differ".to_owned());
    }
    Ok(named)
}

/// A key as a person can look it up.
fn describe(tuple: &[u8], key: &[usize]) -> String {
    let all: Vec<Option<&[u8]>> = fields(tuple).collect();
    let parts: Vec<String> = key
        .iter()
        .map(|at| match all.get(*at).copied().flatten() {
            Some(bytes) => match uuid::Uuid::from_slice(bytes) {
                Ok(uuid) => uuid.to_string(),
                Err(_) => match (bytes.len(), str::from_utf8(bytes)) {
                    (4, _) => bytes.try_into().map_or(0, i32::from_be_bytes).to_string(),
                    (8, _) => bytes.try_into().map_or(0, i64::from_be_bytes).to_string(),
                    (_, Ok(text)) => text.to_owned(),
                    (_, Err(_)) => crate::staging::checksum::to_hex(bytes),
                },
            },
            None => "NULL".to_owned(),
        })
        .collect();
    parts.join(", ")
}
