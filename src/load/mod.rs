//! Typed parts into PostgreSQL: tables are made, filled by binary COPY over several connections,
//! then get their keys, indexes and foreign keys.
//!
//! Each part is one transaction together with its row in the ledger `docferry.loaded_parts`, so
//! that a repeated load never doubles a row.

mod error;
mod ledger;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
pub use error::LoadError;
use futures_util::SinkExt;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::error::ErrorPosition;

use crate::pgcopy::{CopyEncoder, PgType};
use crate::postgres::ddl::{Statement, create_statements, foreign_key_statements, key_statements};
use crate::postgres::{PostgresError, Target, enum_oids, qualified, quote_identifier};
use crate::progress::{Progress, Stage, Total};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{Hook, TransformManifest};
use crate::staging::part::{self, PartFile};
use crate::staging::table::TableDefinition;

/// Bytes of one message to the server.
const CHUNK_BYTES: usize = 1 << 20;

/// How a load is done.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Connections that copy and build at the same time.
    pub connections: usize,
}

/// What a load did.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// Tables, in the order of the manifest.
    pub tables: Vec<LoadedTable>,
}

/// What became of a table.
#[derive(Clone, Debug, Serialize)]
pub struct LoadedTable {
    /// Table name.
    pub table: String,
    /// Rows that are there because of this run.
    pub rows: u64,
    /// Parts copied now.
    pub parts: usize,
    /// Parts that the ledger had already.
    pub skipped: usize,
}

/// A part to copy.
struct Work {
    definition: Arc<TableDefinition>,
    part: PartFile,
}

/// Loads a run's transformed parts.
pub async fn load(
    run: &RunDirectory,
    manifest: &TransformManifest,
    target: &Target,
    options: &LoadOptions,
    progress: &Arc<dyn Progress>,
) -> Result<LoadReport, LoadError> {
    let definitions: Vec<&TableDefinition> =
        manifest.tables.iter().map(|table| &table.definition).collect();
    let client = target.connect().await?;
    ledger::lock(&client, manifest).await?;
    let loaded = ledger::read(&client, run.run(), &manifest.schema).await?;
    let ours = ledger::tables(&client, run.run(), &manifest.schema).await?;
    refuse_foreign_tables(&client, &definitions, &ours).await?;
    ledger::create(&client).await?;
    if ours.is_empty() {
        create_tables(&client, run, manifest, &definitions).await?;
    }
    copy_parts(run, manifest, target, options, &loaded, progress).await?;

    let existing = existing_names(&client, &manifest.schema).await?;
    let fresh = |statements: Vec<Statement>| -> Vec<Statement> {
        let made = |statement: &Statement| {
            existing.iter().any(|name| statement.what.ends_with(&format!(" {name}")))
                || (statement.what.starts_with("primary key of ")
                    && existing.contains(&format!("{}_pkey", statement.table)))
        };
        statements.into_iter().filter(|statement| !made(statement)).collect()
    };
    run_statements(target, options, fresh(key_statements(&definitions)), progress).await?;
    run_statements(target, options, fresh(foreign_key_statements(&definitions)), progress).await?;
    let ran = ledger::hooks(&client, run.run(), &manifest.schema).await?;
    for hook in manifest.after_load.iter().filter(|hook| !ran.contains(&hook.path)) {
        execute(&client, "begin".to_owned(), "BEGIN").await?;
        run_hook(&client, manifest, hook).await?;
        ledger::record_hook(&client, run.run(), &manifest.schema, &hook.path).await?;
        execute(&client, format!("commit {}", hook.path), "COMMIT").await?;
    }
    for definition in &definitions {
        let name = qualified(&definition.schema, &definition.name);
        execute(&client, format!("analyze {}", definition.name), &format!("ANALYZE {name}"))
            .await?;
    }
    ledger::finish(&client, run.run()).await?;
    let tables = manifest.tables.iter().map(|table| {
        let skipped = table.parts.iter().filter(|part| loaded.contains_key(&part.path)).count();
        LoadedTable {
            table: table.definition.name.clone(),
            rows: table.rows,
            parts: table.parts.len() - skipped,
            skipped,
        }
    });
    Ok(LoadReport { tables: tables.collect() })
}

async fn execute(client: &Client, action: String, sql: &str) -> Result<(), LoadError> {
    client
        .batch_execute(sql)
        .await
        .map_err(|source| LoadError::Postgres(PostgresError::Statement { action, source }))
}

/// Refuses, before anything is written, tables that this run did not make.
async fn refuse_foreign_tables(
    client: &Client,
    definitions: &[&TableDefinition],
    ours: &[String],
) -> Result<(), LoadError> {
    for definition in definitions.iter().filter(|definition| !ours.contains(&definition.name)) {
        let name = qualified(&definition.schema, &definition.name);
        let statement =
            |source| PostgresError::Statement { action: format!("look at {name}"), source };
        let exists = client
            .query_one("SELECT to_regclass($1) IS NOT NULL", &[&name])
            .await
            .map_err(statement)?
            .get::<_, bool>(0);
        if !exists {
            continue;
        }
        let rows = client
            .query_one(&format!("SELECT count(*) FROM {name}"), &[])
            .await
            .map_err(statement)?
            .get::<_, i64>(0);
        return Err(LoadError::TableExists { table: definition.name.clone(), rows });
    }
    Ok(())
}

async fn create_tables(
    client: &Client,
    run: &RunDirectory,
    manifest: &TransformManifest,
    definitions: &[&TableDefinition],
) -> Result<(), LoadError> {
    execute(client, "begin".to_owned(), "BEGIN").await?;
    for hook in &manifest.before_load {
        run_hook(client, manifest, hook).await?;
    }
    for statement in create_statements(definitions) {
        execute(client, format!("create {}", statement.what), &statement.sql).await?;
    }
    ledger::start(client, run.run(), manifest, definitions).await?;
    execute(client, "commit the new tables".to_owned(), "COMMIT").await
}

/// Runs an SQL file of the pipeline in the target schema; an error names its line.
async fn run_hook(
    client: &Client,
    manifest: &TransformManifest,
    hook: &Hook,
) -> Result<(), LoadError> {
    let schema = quote_identifier(&manifest.schema);
    let prepare =
        format!("CREATE SCHEMA IF NOT EXISTS {schema}; SET LOCAL search_path TO {schema}, public");
    execute(client, format!("prepare for {}", hook.path), &prepare).await?;
    client.batch_execute(&hook.sql).await.map_err(|source| {
        let position = match source.as_db_error().and_then(|answer| answer.position()) {
            Some(ErrorPosition::Original(position)) => usize::try_from(*position).ok(),
            _ => None,
        };
        let line = position.map(|position| {
            let before = hook.sql.chars().take(position.saturating_sub(1));
            1 + before.filter(|character| *character == '\n').count()
        });
        let action = match line {
            Some(line) => format!("run {}, line {line}", hook.path),
            None => format!("run {}", hook.path),
        };
        LoadError::Postgres(PostgresError::Statement { action, source })
    })
}

/// Names of constraints and indexes in the schema.
async fn existing_names(client: &Client, schema: &str) -> Result<Vec<String>, LoadError> {
    let rows = client
        .query(
            "SELECT conname::text FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace \
             WHERE nspname = $1 UNION SELECT indexname::text FROM pg_indexes WHERE schemaname = $1",
            &[&schema],
        )
        .await
        .map_err(|source| PostgresError::Statement { action: "read the catalogue".to_owned(), source })?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn copy_parts(
    run: &RunDirectory,
    manifest: &TransformManifest,
    target: &Target,
    options: &LoadOptions,
    loaded: &HashMap<String, String>,
    progress: &Arc<dyn Progress>,
) -> Result<(), LoadError> {
    let mut tables: Vec<_> = manifest.tables.iter().collect();
    // The largest first, so that no connection is left with it at the end.
    tables.sort_by_key(|table| {
        std::cmp::Reverse(table.parts.iter().map(|part| part.bytes).sum::<u64>())
    });
    let expected =
        tables.iter().map(|table| (table.definition.name.clone(), Total::Records(table.rows)));
    progress.expect(Stage::Load, &expected.collect::<Vec<_>>());
    let mut queue = VecDeque::new();
    for table in tables {
        let definition = Arc::new(table.definition.clone());
        progress.start(Stage::Load, &definition.name, Total::Records(table.rows));
        for part in &table.parts {
            match loaded.get(&part.path) {
                None => queue
                    .push_back(Work { definition: Arc::clone(&definition), part: part.clone() }),
                Some(sha256) if *sha256 == part.sha256 => {
                    progress.advance(Stage::Load, &definition.name, part.rows, part.bytes);
                }
                Some(_) => return Err(LoadError::OtherPart { part: part.path.clone() }),
            }
        }
    }
    let queue = Arc::new(Mutex::new(queue));
    let mut tasks = Vec::new();
    for _ in 0..options.connections.max(1) {
        let client = target.connect().await?;
        let (run, queue, progress) = (run.clone(), Arc::clone(&queue), Arc::clone(progress));
        tasks.push(tokio::spawn(async move {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(work) = next else { return Ok::<(), LoadError>(()) };
                copy_part(&client, &run, &work, progress.as_ref()).await?;
            }
        }));
    }
    for task in tasks {
        task.await.map_err(LoadError::Worker)??;
    }
    for table in &manifest.tables {
        progress.finish(Stage::Load, &table.definition.name);
    }
    Ok(())
}

/// One part, in one transaction with its row in the ledger.
async fn copy_part(
    client: &Client,
    run: &RunDirectory,
    work: &Work,
    progress: &dyn Progress,
) -> Result<(), LoadError> {
    let definition = &work.definition;
    let columns: Vec<(String, PgType)> = definition
        .columns
        .iter()
        .map(|column| (column.name.clone(), column.pg_type.clone()))
        .collect();
    let oids = enum_oids(client, &definition.schema).await?;
    let encoder = CopyEncoder::new(&columns, &oids)?;
    let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
    let (owned_run, part) = (run.clone(), work.part.clone());
    // Decoding and encoding have a thread of their own, so that the socket never waits for them.
    let producer = tokio::task::spawn_blocking(move || -> Result<(), LoadError> {
        let mut buffer = Vec::with_capacity(CHUNK_BYTES * 2);
        encoder.header(&mut buffer);
        for batch in part::open(&owned_run, &part)? {
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
    let names: Vec<String> = columns.iter().map(|(name, _)| quote_identifier(name)).collect();
    let sql = format!(
        "COPY {} ({}) FROM STDIN (FORMAT binary)",
        qualified(&definition.schema, &definition.name),
        names.join(", ")
    );
    let failed = |source| PostgresError::Statement {
        action: format!("copy {} into {}", work.part.path, definition.name),
        source,
    };
    execute(client, "begin".to_owned(), "BEGIN").await?;
    let mut sink = pin!(client.copy_in::<_, Bytes>(&sql).await.map_err(failed)?);
    while let Some(chunk) = receiver.recv().await {
        sink.send(chunk).await.map_err(failed)?;
    }
    // Only a producer that came to its end may end the COPY.
    producer.await.map_err(LoadError::Worker)??;
    let rows = sink.finish().await.map_err(failed)?;
    if rows != work.part.rows {
        return Err(LoadError::RowCount {
            part: work.part.path.clone(),
            expected: work.part.rows,
            found: rows,
        });
    }
    ledger::record(client, run.run(), &definition.schema, &definition.name, &work.part).await?;
    execute(client, format!("commit {}", work.part.path), "COMMIT").await?;
    progress.advance(Stage::Load, &definition.name, rows, work.part.bytes);
    Ok(())
}

/// Statements that do not depend on one another, over all connections.
async fn run_statements(
    target: &Target,
    options: &LoadOptions,
    statements: Vec<Statement>,
    progress: &Arc<dyn Progress>,
) -> Result<(), LoadError> {
    let item = "keys and indexes";
    progress.start(Stage::Load, item, Total::Records(statements.len() as u64));
    let queue = Arc::new(Mutex::new(VecDeque::from(statements)));
    let mut tasks = Vec::new();
    for _ in 0..options.connections.max(1) {
        let client = target.connect().await?;
        execute(&client, "raise the memory".to_owned(), "SET maintenance_work_mem = '256MB'")
            .await?;
        let (queue, progress) = (Arc::clone(&queue), Arc::clone(progress));
        tasks.push(tokio::spawn(async move {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(statement) = next else { return Ok::<(), LoadError>(()) };
                // Foreign keys lock both tables, and two of them each other.
                retry_deadlock(&client, &statement).await?;
                progress.advance(Stage::Load, item, 1, 0);
            }
        }));
    }
    for task in tasks {
        task.await.map_err(LoadError::Worker)??;
    }
    progress.finish(Stage::Load, item);
    Ok(())
}

async fn retry_deadlock(client: &Client, statement: &Statement) -> Result<(), LoadError> {
    loop {
        match client.batch_execute(&statement.sql).await {
            Ok(()) => return Ok(()),
            Err(error)
                if error.code()
                    == Some(&tokio_postgres::error::SqlState::T_R_DEADLOCK_DETECTED) => {}
            Err(source) => {
                let action = format!("create {}", statement.what);
                return Err(PostgresError::Statement { action, source }.into());
            }
        }
    }
}
