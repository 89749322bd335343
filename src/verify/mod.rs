//! Proof that PostgreSQL holds what was staged: every row and column by digest, every foreign key
//! by the catalogue and by a search for orphans.

mod error;

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;

pub use error::VerifyError;
use futures_util::StreamExt;
use serde::Serialize;
use tokio_postgres::Client;

use crate::pgcopy::digest::{TableDigest, bucket, key_bytes, row_hash};
use crate::pgcopy::reader::{CopyReader, fields};
use crate::pgcopy::{CopyEncoder, PgType};
use crate::postgres::{
    PostgresError, Target, enum_oids, qualified, quote_identifier, quote_literal,
};
use crate::progress::{Progress, Stage};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{TableManifest, TransformManifest};
use crate::staging::part;
use crate::staging::table::TableDefinition;

/// Differing rows that are named per table.
const NAMED_ROWS: usize = 20;

/// What was proved.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Tables, in the order of the manifest.
    pub tables: Vec<TableVerdict>,
}

/// What was proved of a table.
#[derive(Clone, Debug, Serialize)]
pub struct TableVerdict {
    /// Table name.
    pub table: String,
    /// Rows staged.
    pub staged_rows: u64,
    /// Rows in PostgreSQL.
    pub found_rows: u64,
    /// Content digest of the staged rows.
    pub staged_digest: String,
    /// Content digest of the rows in PostgreSQL.
    pub found_digest: String,
    /// What differs, a sentence each.
    pub differences: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing differs.
    pub fn is_proved(&self) -> bool {
        self.tables.iter().all(|table| table.differences.is_empty())
    }
}

/// Compares a run's staged rows with what the target holds.
pub async fn verify(
    run: &RunDirectory,
    manifest: &TransformManifest,
    target: &Target,
    progress: &dyn Progress,
) -> Result<VerifyReport, VerifyError> {
    let client = target.connect().await?;
    let oids = enum_oids(&client, &manifest.schema).await?;
    let mut tables = Vec::new();
    for table in &manifest.tables {
        progress.start(Stage::Verify, &table.definition.name, Some(table.rows));
        tables.push(verify_table(run, table, &client, &oids).await?);
        progress.advance(Stage::Verify, &table.definition.name, table.rows, 0);
        progress.finish(Stage::Verify, &table.definition.name);
    }
    Ok(VerifyReport { tables })
}

async fn verify_table(
    run: &RunDirectory,
    table: &TableManifest,
    client: &Client,
    oids: &HashMap<String, u32>,
) -> Result<TableVerdict, VerifyError> {
    let definition = &table.definition;
    let key = key_positions(definition);
    let mut differences = Vec::new();
    let mut staged = TableDigest::default();
    if let Err(error) = staged_rows(run, table, oids, |tuple| staged.add(tuple, &key)) {
        match error {
            VerifyError::Staging(damaged) => differences.push(damaged.to_string()),
            other => return Err(other),
        }
    }
    let mut found = TableDigest::default();
    if let Err(error) = found_rows(client, definition, |tuple| found.add(tuple, &key)).await {
        match error {
            VerifyError::Postgres(missing) => differences.push(missing.to_string()),
            other => return Err(other),
        }
    }
    let differing = staged.differing(&found);
    if differences.is_empty() && !differing.is_empty() {
        differences = name_rows(run, table, client, oids, &key, &differing).await?;
    }
    if staged.rows != found.rows {
        differences.insert(0, format!("{} rows are staged, {} are there", staged.rows, found.rows));
    }
    differences.extend(check_references(client, definition).await?);
    Ok(TableVerdict {
        table: definition.name.clone(),
        staged_rows: staged.rows,
        found_rows: found.rows,
        staged_digest: staged.total().to_hex(),
        found_digest: found.total().to_hex(),
        differences,
    })
}

fn key_positions(definition: &TableDefinition) -> Vec<usize> {
    let position =
        |name: &String| definition.columns.iter().position(|column| column.name == *name);
    definition.primary_key.iter().filter_map(position).collect()
}

/// Every staged row as the bytes a COPY would send.
fn staged_rows(
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
async fn found_rows(
    client: &Client,
    definition: &TableDefinition,
    mut tuple: impl FnMut(&[u8]),
) -> Result<(), VerifyError> {
    let columns: Vec<String> =
        definition.columns.iter().map(|column| quote_identifier(&column.name)).collect();
    let sql = format!(
        "COPY {} ({}) TO STDOUT (FORMAT binary)",
        qualified(&definition.schema, &definition.name),
        columns.join(", ")
    );
    let failed = |source| PostgresError::Statement {
        action: format!("read table {}", definition.name),
        source,
    };
    let mut stream = pin!(client.copy_out(&sql).await.map_err(failed)?);
    let mut reader = CopyReader::default();
    while let Some(piece) = stream.next().await {
        reader.push(&piece.map_err(failed)?, &mut tuple)?;
    }
    if reader.ended() { Ok(()) } else { Err(crate::pgcopy::reader::NotACopy.into()) }
}

/// Rows of the differing buckets: key to hash and fields.
type Rows = BTreeMap<Vec<u8>, (Vec<u8>, [u8; 32])>;

/// Finds the rows behind differing digests and names them by key, never by value.
async fn name_rows(
    run: &RunDirectory,
    table: &TableManifest,
    client: &Client,
    oids: &HashMap<String, u32>,
    key: &[usize],
    differing: &[usize],
) -> Result<Vec<String>, VerifyError> {
    // Rows that would not be named anyway need not be held.
    let wanted = &differing[..differing.len().min(NAMED_ROWS)];
    let (mut staged, mut found) = (Rows::new(), Rows::new());
    let keep = |rows: &mut Rows, tuple: &[u8]| {
        let key = key_bytes(tuple, key);
        if wanted.binary_search(&bucket(&key)).is_ok() {
            rows.insert(key, (tuple.to_vec(), row_hash(tuple)));
        }
    };
    staged_rows(run, table, oids, |tuple| keep(&mut staged, tuple))?;
    found_rows(client, &table.definition, |tuple| keep(&mut found, tuple)).await?;
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

/// Every foreign key is there and validated, and no row points to nothing.
async fn check_references(
    client: &Client,
    definition: &TableDefinition,
) -> Result<Vec<String>, VerifyError> {
    let mut differences = Vec::new();
    let table = qualified(&definition.schema, &definition.name);
    for key in &definition.foreign_keys {
        let failed = |source| PostgresError::Statement {
            action: format!("check foreign key {}", key.name),
            source,
        };
        let valid = client
            .query_opt(
                &format!(
                    "SELECT convalidated FROM pg_constraint WHERE conrelid = to_regclass({}) AND conname = $1",
                    quote_literal(&table)
                ),
                &[&key.name],
            )
            .await
            .map_err(failed)?;
        match valid.map(|row| row.get::<_, bool>(0)) {
            None => differences.push(format!("foreign key {} is missing", key.name)),
            Some(false) => differences.push(format!("foreign key {} is not validated", key.name)),
            Some(true) => {}
        }
        let joined: Vec<String> = key
            .columns
            .iter()
            .zip(&key.references_columns)
            .map(|(own, other)| {
                format!("t.{} = r.{}", quote_identifier(own), quote_identifier(other))
            })
            .collect();
        let present: Vec<String> = key
            .columns
            .iter()
            .map(|own| format!("t.{} IS NOT NULL", quote_identifier(own)))
            .collect();
        let sql = format!(
            "SELECT count(*) FROM {table} t WHERE {} AND NOT EXISTS (SELECT 1 FROM {} r WHERE {})",
            present.join(" AND "),
            qualified(&definition.schema, &key.references_table),
            joined.join(" AND ")
        );
        let orphans = client.query_one(&sql, &[]).await.map_err(failed)?.get::<_, i64>(0);
        if orphans > 0 {
            differences.push(format!(
                "{orphans} rows point by {} to no row of {}",
                key.columns.join(", "),
                key.references_table
            ));
        }
    }
    Ok(differences)
}
