//! A staged part into its table, in one transaction with its row in the ledger.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::ledger::Ledger;
use super::{LoadError, execute};
use crate::pgcopy::{CopyEncoder, PgType};
use crate::postgres::{PostgresError, qualified, quote_identifier};
use crate::staging::layout::RunDirectory;
use crate::staging::part::{self, PartFile};
use crate::staging::table::TableDefinition;

/// Bytes of one message to the server.
const CHUNK_BYTES: usize = 1 << 20;
/// Where an upsert's rows wait, in the session.
const WAITING: &str = "pg_temp.docferry_part";

/// A part to load.
pub(super) struct Work {
    pub(super) definition: Arc<TableDefinition>,
    pub(super) part: PartFile,
    /// For an upsert: the table of schema docferry that keeps the rows it changes.
    pub(super) saved_in: Option<String>,
}

fn column_names(definition: &TableDefinition) -> Vec<String> {
    definition.columns.iter().map(|column| quote_identifier(&column.name)).collect()
}

/// The COPY that fills a table.
pub(super) fn copy_sql(definition: &TableDefinition) -> String {
    let name = qualified(&definition.schema, &definition.name);
    format!("COPY {name} ({}) FROM STDIN (FORMAT binary)", column_names(definition).join(", "))
}

/// The statement that keeps the rows an upsert is about to change.
fn save_sql(definition: &TableDefinition, saved_in: &str) -> String {
    let (target, saved) =
        (qualified(&definition.schema, &definition.name), qualified("docferry", saved_in));
    let on = |left: &str, right: &str| {
        let pairs = definition.conflict_columns().iter().map(|column| {
            let column = quote_identifier(column);
            format!("{left}.{column} = {right}.{column}")
        });
        pairs.collect::<Vec<_>>().join(" AND ")
    };
    format!(
        "INSERT INTO {saved} SELECT t.xmin::text::bigint, t.* FROM {target} t JOIN {WAITING} p ON {} \
         WHERE {} AND NOT EXISTS (SELECT 1 FROM {saved} s WHERE {})",
        on("t", "p"),
        differs(definition, "t", "p"),
        on("s", "t"),
    )
}

fn differs(definition: &TableDefinition, left: &str, right: &str) -> String {
    let side = |side: &str| {
        let columns = column_names(definition);
        columns.iter().map(|column| format!("{side}.{column}")).collect::<Vec<_>>().join(", ")
    };
    format!("({}) IS DISTINCT FROM ({})", side(left), side(right))
}

/// The statement of an upsert; rows that are the same already are left alone.
pub(super) fn upsert_sql(definition: &TableDefinition) -> String {
    let columns = column_names(definition);
    let conflict = definition.conflict_columns();
    let quoted: Vec<String> = conflict.iter().map(|column| quote_identifier(column)).collect();
    let changed: Vec<String> = definition
        .columns
        .iter()
        .filter(|column| !conflict.contains(&column.name))
        .map(|column| quote_identifier(&column.name))
        .map(|column| format!("{column} = EXCLUDED.{column}"))
        .collect();
    let action = if changed.is_empty() {
        "NOTHING".to_owned()
    } else {
        format!(
            "UPDATE SET {} WHERE {}",
            changed.join(", "),
            differs(definition, "target", "EXCLUDED")
        )
    };
    format!(
        "INSERT INTO {} AS target ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {WAITING} \
         ON CONFLICT ({}) DO {action}",
        qualified(&definition.schema, &definition.name),
        quoted.join(", "),
        list = columns.join(", "),
    )
}

/// Loads a part; the number of its rows.
pub(super) async fn load_part(
    client: &Client,
    run: &RunDirectory,
    ledger: &Ledger,
    work: &Work,
    oids: &HashMap<String, u32>,
) -> Result<u64, LoadError> {
    let Work { definition, part, saved_in } = work;
    let failed = |source| PostgresError::Statement {
        action: format!("load {} into {}", part.path, definition.name),
        source,
    };
    execute(client, "begin".to_owned(), "BEGIN").await?;
    let inserted = match saved_in {
        None => {
            let rows = copy(client, run, &copy_sql(definition), work, oids).await?;
            i64::try_from(rows).unwrap_or(i64::MAX)
        }
        Some(saved_in) => {
            let target = qualified(&definition.schema, &definition.name);
            let columns = column_names(definition).join(", ");
            let make = format!(
                "CREATE TEMP TABLE docferry_part ON COMMIT DROP AS SELECT {columns} FROM {target} LIMIT 0"
            );
            execute(client, "make a table for the part".to_owned(), &make).await?;
            let sql = format!("COPY {WAITING} ({columns}) FROM STDIN (FORMAT binary)");
            copy(client, run, &sql, work, oids).await?;
            let save = save_sql(definition, saved_in);
            let saved = client.execute(&save, &[]).await.map_err(failed)?;
            let changed = client.execute(&upsert_sql(definition), &[]).await.map_err(failed)?;
            // A row changed twice in one run was kept the first time.
            i64::try_from(changed.saturating_sub(saved)).unwrap_or(i64::MAX)
        }
    };
    ledger.record_part(client, &definition.name, part, inserted).await?;
    execute(client, format!("commit {}", part.path), "COMMIT").await?;
    Ok(part.rows)
}

/// Sends a part by COPY; the number of rows that the server took.
async fn copy(
    client: &Client,
    run: &RunDirectory,
    sql: &str,
    work: &Work,
    oids: &HashMap<String, u32>,
) -> Result<u64, LoadError> {
    let definition = &work.definition;
    let columns: Vec<(String, PgType)> = definition
        .columns
        .iter()
        .map(|column| (column.name.clone(), column.pg_type.clone()))
        .collect();
    let encoder = CopyEncoder::new(&columns, oids)?;
    let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
    let (run, part) = (run.clone(), work.part.clone());
    // Decoding and encoding have a thread of their own, so that the socket never waits for them.
    let producer = tokio::task::spawn_blocking(move || -> Result<(), LoadError> {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES * 2);
        encoder.header(&mut buffer);
        for batch in part::open(&run, &part)? {
            let batch = batch.map_err(|source| crate::staging::StagingError::Arrow {
                path: part.path.clone().into(),
                source,
            })?;
            // Small slices, so that the buffer stays near the size of a message.
            for from in (0..batch.num_rows()).step_by(256) {
                let slice = batch.slice(from, 256.min(batch.num_rows() - from));
                encoder.encode(&slice, &mut buffer, None)?;
                if buffer.len() >= CHUNK_BYTES {
                    let full = std::mem::replace(&mut buffer, Vec::with_capacity(CHUNK_BYTES * 2));
                    if sender.blocking_send(Bytes::from(full)).is_err() {
                        return Ok(());
                    }
                }
            }
        }
        encoder.trailer(&mut buffer);
        let _ = sender.blocking_send(Bytes::from(buffer));
        Ok(())
    });
    let failed = |source| PostgresError::Statement {
        action: format!("copy {} into {}", work.part.path, definition.name),
        source,
    };
    let mut sink = pin!(client.copy_in::<_, Bytes>(sql).await.map_err(failed)?);
    while let Some(chunk) = receiver.recv().await {
        sink.send(chunk).await.map_err(failed)?;
    }
    // Only a producer that came to its end may end the COPY.
    producer.await.map_err(LoadError::Worker)??;
    let rows = sink.finish().await.map_err(failed)?;
    if rows == work.part.rows {
        return Ok(rows);
    }
    Err(LoadError::RowCount { part: work.part.path.clone(), expected: work.part.rows, found: rows })
}
