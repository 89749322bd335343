//! A staged part into its table, in one transaction with its row in the ledger.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::Client;

use super::ledger::Ledger;
use super::upsert::{Kept, upsert_part};
use super::waiting::Waits;
use super::{LoadError, Shared, execute};
use crate::pgcopy::{CopyEncoder, PgType};
use crate::postgres::{PostgresError, qualified, quote_identifier};
use crate::staging::layout::RunDirectory;
use crate::staging::part::{self, PartFile};
use crate::staging::table::TableDefinition;

/// Bytes of one message to the server.
const CHUNK_BYTES: usize = 1 << 20;
/// Where an upsert's rows wait, in the session.
pub(super) const WAITING: &str = "pg_temp.docferry_part";

/// A part to load.
pub(super) struct Work {
    pub(super) definition: Arc<TableDefinition>,
    pub(super) part: PartFile,
    /// For an upsert: where the rows that it changes are kept.
    pub(super) kept: Option<Arc<Kept>>,
}

pub(super) fn column_names(definition: &TableDefinition) -> Vec<String> {
    definition.columns.iter().map(|column| quote_identifier(&column.name)).collect()
}

/// The COPY that fills a table.
pub(super) fn copy_sql(definition: &TableDefinition) -> String {
    let name = qualified(&definition.schema, &definition.name);
    format!("COPY {name} ({}) FROM STDIN (FORMAT binary)", column_names(definition).join(", "))
}

/// Loads a part; the number of its rows.
pub(super) async fn load_part(
    client: &Client,
    shared: &Shared<'_>,
    ledger: &Ledger,
    work: &Work,
    oids: &HashMap<String, u32>,
) -> Result<u64, LoadError> {
    let Work { definition, part, kept } = work;
    if let Some(kept) = kept {
        return upsert_part(client, shared, ledger, work, kept, oids).await;
    }
    let mut waits = Waits::new(client, shared.target, shared.progress);
    loop {
        let loaded = async {
            execute(client, "begin".to_owned(), "BEGIN").await?;
            let rows = copy(client, shared.run, &copy_sql(definition), work, oids).await?;
            let inserted = i64::try_from(rows).unwrap_or(i64::MAX);
            ledger.record_part(client, &definition.name, part, inserted).await?;
            execute(client, format!("commit {}", part.path), "COMMIT").await
        };
        match loaded.await {
            Ok(()) => return Ok(part.rows),
            Err(error) => {
                waits.after(&format!("copy rows into {}", definition.name), error).await?;
            }
        }
    }
}

/// Sends a part by COPY; the number of rows that the server took.
pub(super) async fn copy(
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
