//! The ledger in the target database: which run made which tables and loaded which parts.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::LoadError;
use crate::postgres::PostgresError;
use crate::staging::manifest::TransformManifest;
use crate::staging::part::PartFile;
use crate::staging::table::TableDefinition;

const TABLES: &str = "
CREATE SCHEMA IF NOT EXISTS docferry;
CREATE TABLE IF NOT EXISTS docferry.runs (
    run text PRIMARY KEY, pipeline text NOT NULL, schema_name text NOT NULL, tool_version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz);
CREATE TABLE IF NOT EXISTS docferry.created_tables (
    run text NOT NULL, schema_name text NOT NULL, table_name text NOT NULL,
    PRIMARY KEY (run, schema_name, table_name));
CREATE TABLE IF NOT EXISTS docferry.ran_hooks (
    run text NOT NULL, schema_name text NOT NULL, path text NOT NULL,
    ran_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run, schema_name, path));
CREATE TABLE IF NOT EXISTS docferry.loaded_parts (
    run text NOT NULL, schema_name text NOT NULL, table_name text NOT NULL, part text NOT NULL,
    sha256 text NOT NULL, rows bigint NOT NULL, loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, schema_name, table_name, part))";

fn failed(action: &str) -> impl FnOnce(tokio_postgres::Error) -> LoadError {
    let action = action.to_owned();
    move |source| PostgresError::Statement { action, source }.into()
}

/// Keeps two loads into one schema apart for as long as the session lasts.
pub(super) async fn lock(client: &Client, manifest: &TransformManifest) -> Result<(), LoadError> {
    let name = format!("docferry:{}", manifest.schema);
    let taken = client
        .query_one("SELECT pg_try_advisory_lock(hashtextextended($1, 0))", &[&name])
        .await
        .map_err(failed("take the lock"))?
        .get::<_, bool>(0);
    if taken { Ok(()) } else { Err(LoadError::Locked { schema: manifest.schema.clone() }) }
}

pub(super) async fn create(client: &Client) -> Result<(), LoadError> {
    client.batch_execute(TABLES).await.map_err(failed("create the ledger"))
}

async fn exists(client: &Client) -> Result<bool, LoadError> {
    let row = client
        .query_one("SELECT to_regclass('docferry.created_tables') IS NOT NULL", &[])
        .await
        .map_err(failed("look for the ledger"))?;
    Ok(row.get(0))
}

/// Parts of the run that are loaded: path to SHA-256.
pub(super) async fn read(
    client: &Client,
    run: &str,
    schema: &str,
) -> Result<HashMap<String, String>, LoadError> {
    if !exists(client).await? {
        return Ok(HashMap::new());
    }
    let rows = client
        .query(
            "SELECT part, sha256 FROM docferry.loaded_parts WHERE run = $1 AND schema_name = $2",
            &[&run, &schema],
        )
        .await
        .map_err(failed("read the ledger"))?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Tables that the run made.
pub(super) async fn tables(
    client: &Client,
    run: &str,
    schema: &str,
) -> Result<Vec<String>, LoadError> {
    if !exists(client).await? {
        return Ok(Vec::new());
    }
    let rows = client
        .query(
            "SELECT table_name FROM docferry.created_tables WHERE run = $1 AND schema_name = $2",
            &[&run, &schema],
        )
        .await
        .map_err(failed("read the ledger"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// SQL files that were run after the load.
pub(super) async fn hooks(
    client: &Client,
    run: &str,
    schema: &str,
) -> Result<Vec<String>, LoadError> {
    let sql = "SELECT path FROM docferry.ran_hooks WHERE run = $1 AND schema_name = $2";
    let rows = client.query(sql, &[&run, &schema]).await.map_err(failed("read the ledger"))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Records an SQL file; in the transaction that runs it.
pub(super) async fn record_hook(
    client: &Client,
    run: &str,
    schema: &str,
    path: &str,
) -> Result<(), LoadError> {
    let sql = "INSERT INTO docferry.ran_hooks (run, schema_name, path) VALUES ($1, $2, $3)";
    client.execute(sql, &[&run, &schema, &path]).await.map_err(failed("record a hook"))?;
    Ok(())
}

/// Records the run and the tables it makes; in the transaction that makes them.
pub(super) async fn start(
    client: &Client,
    run: &str,
    manifest: &TransformManifest,
    definitions: &[&TableDefinition],
) -> Result<(), LoadError> {
    client
        .execute(
            "INSERT INTO docferry.runs (run, pipeline, schema_name, tool_version) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (run) DO NOTHING",
            &[&run, &manifest.pipeline, &manifest.schema, &env!("CARGO_PKG_VERSION")],
        )
        .await
        .map_err(failed("record the run"))?;
    for definition in definitions {
        client
            .execute(
                "INSERT INTO docferry.created_tables VALUES ($1, $2, $3)",
                &[&run, &definition.schema, &definition.name],
            )
            .await
            .map_err(failed("record a table"))?;
    }
    Ok(())
}

/// Records a part; in the transaction that loads it.
pub(super) async fn record(
    client: &Client,
    run: &str,
    schema: &str,
    table: &str,
    part: &PartFile,
) -> Result<(), LoadError> {
    let rows = i64::try_from(part.rows).unwrap_or(i64::MAX);
    client
        .execute(
            "INSERT INTO docferry.loaded_parts (run, schema_name, table_name, part, sha256, rows) \
             VALUES ($1, $2, $3, $4, $5, $6)",
            &[&run, &schema, &table, &part.path, &part.sha256, &rows],
        )
        .await
        .map_err(failed("record a part"))?;
    Ok(())
}

/// Records the end of the run's load.
pub(super) async fn finish(client: &Client, run: &str) -> Result<(), LoadError> {
    client
        .execute("UPDATE docferry.runs SET finished_at = now() WHERE run = $1", &[&run])
        .await
        .map_err(failed("record the end"))?;
    Ok(())
}
