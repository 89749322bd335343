//! Rows on both sides as the bytes of their COPY tuples, and names for those that differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio_postgres::Client;

use super::{NAMED_ROWS, VerifyError};
use crate::pgcopy::digest::{bucket, key_bytes, row_hash};
use crate::pgcopy::reader::fields;
use crate::pgcopy::{PgType, show};
use crate::postgres::content::{copy_rows, values_sql};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::TableManifest;
use crate::staging::table::TableDefinition;
use crate::staging::tuples::staged_tuples;

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
    Ok(staged_tuples(run, table, oids, |_, _, bytes| tuple(bytes))?)
}

/// Every row of the table as the server sends it.
pub(super) async fn found_rows(
    client: &Client,
    definition: &TableDefinition,
    tuple: impl FnMut(&[u8]),
) -> Result<(), VerifyError> {
    let columns: Vec<&str> = definition.columns.iter().map(|column| column.name.as_str()).collect();
    let sql = values_sql(client, &definition.schema, &definition.name, &columns, None).await?;
    Ok(copy_rows(client, &sql, &definition.name, tuple).await?)
}

/// Rows of the differing buckets by key and hash, and how often each is there. Without a key the
/// whole row is its key, and it may be there several times.
type Rows = BTreeMap<Vec<u8>, BTreeMap<[u8; 32], (Vec<u8>, u64)>>;

/// Finds the rows behind differing digests and names them by key, by their content where they have
/// none.
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
            let rows = rows.entry(key_bytes(tuple, key)).or_default();
            rows.entry(row_hash(tuple)).or_insert_with(|| (tuple.to_vec(), 0)).1 += 1;
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
    let none = BTreeMap::new();
    let keys: BTreeSet<&Vec<u8>> = staged.keys().chain(found.keys()).collect();
    for row_key in keys {
        let staged = staged.get(row_key).unwrap_or(&none);
        let found = found.get(row_key).unwrap_or(&none);
        name_row(&table.definition, key, staged, found, &mut named);
        if named.len() > NAMED_ROWS {
            break;
        }
    }
    let more = named.len() > NAMED_ROWS || differing.len() > wanted.len();
    named.truncate(NAMED_ROWS);
    if more {
        named.push("more rows differ".to_owned());
    }
    Ok(named)
}

/// Says what differs between the staged and the found rows of one key.
fn name_row(
    definition: &TableDefinition,
    key: &[usize],
    staged: &BTreeMap<[u8; 32], (Vec<u8>, u64)>,
    found: &BTreeMap<[u8; 32], (Vec<u8>, u64)>,
    named: &mut Vec<String>,
) {
    if staged == found {
        return;
    }
    let count = |rows: &BTreeMap<[u8; 32], (Vec<u8>, u64)>| -> u64 {
        rows.values().map(|(_, count)| count).sum()
    };
    let (wanted, there) = (count(staged), count(found));
    let Some((tuple, _)) = staged.values().chain(found.values()).next() else { return };
    let types: Vec<PgType> =
        definition.columns.iter().map(|column| column.pg_type.clone()).collect();
    let row = show::row(tuple, &types, key);
    match (wanted, there) {
        (0, 1) => named.push(format!("row {row} was not staged")),
        (1, 0) => named.push(format!("row {row} is missing")),
        (1, 1) => {
            let other = found.values().next().map_or(tuple, |(other, _)| other);
            let pairs = fields(tuple).zip(fields(other)).zip(&definition.columns);
            let columns: Vec<&str> = pairs
                .filter(|((staged, found), _)| staged != found)
                .map(|(_, column)| column.name.as_str())
                .collect();
            named.push(format!("row {row} differs in {}", columns.join(", ")));
        }
        _ if wanted == there => named.push(format!("rows {row} differ")),
        _ => named.push(format!(
            "row {row} is staged {}, it is there {}",
            times(wanted),
            times(there)
        )),
    }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}
