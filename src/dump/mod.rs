//! What was loaded, dumped by PostgreSQL's own pg_dump beside the run it came from, and tried by
//! pg_restore.
//!
//! The digests of all tables are taken in the very snapshot that is dumped, so that a restored dump
//! can be compared with what there was.

mod error;
mod program;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use error::DumpError;
use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use self::program::Program;
use crate::postgres::content::{Content, contents};
use crate::postgres::{PostgresError, Target, quote_identifier};
use crate::progress::{Progress, Stage, Total};
use crate::staging::checksum::sha256_file;
use crate::staging::json_file::{read_json, write_json};
use crate::staging::layout::{RunDirectory, create_file, create_folder, folder_name, io};
use crate::staging::part::{self, PartFile};
use crate::staging::{FORMAT_VERSION, StagingError};

/// File of what is known of a dump, in its run.
const MANIFEST: &str = "dump/manifest.json";

/// `dump/manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpManifest {
    /// Format version.
    pub format_version: u32,
    /// Version of docferry that wrote it.
    pub tool_version: String,
    /// What pg_dump says of itself.
    pub pg_dump: String,
    /// Host, port and database.
    pub database: String,
    /// Schema.
    pub schema: String,
    /// When the snapshot was taken, UTC, RFC 3339.
    pub taken_at: String,
    /// The file, in pg_dump's custom format. Its rows are those of all tables.
    pub file: PartFile,
    /// What the tables held.
    pub tables: BTreeMap<String, Content>,
}

impl DumpManifest {
    /// Reads that of a run; none where there is no dump.
    pub fn read(run: &RunDirectory) -> Result<Option<Self>, StagingError> {
        let path = run.path().join(MANIFEST);
        if path.exists() { read_json(&path, "dump manifest").map(Some) } else { Ok(None) }
    }
}

fn failed(action: &str) -> impl FnOnce(tokio_postgres::Error) -> PostgresError {
    let action = action.to_owned();
    move |source| PostgresError::Statement { action, source }
}

/// Dumps a schema into a run.
pub async fn dump(
    run: &RunDirectory,
    target: &Target,
    schema: &str,
    progress: &Arc<dyn Progress>,
) -> Result<DumpManifest, DumpError> {
    let program = Program::find("pg_dump")?;
    let client = target.connect().await?;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
    client.batch_execute(begin).await.map_err(failed("begin a snapshot"))?;
    let row = client.query_one("SELECT pg_export_snapshot(), to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')", &[]);
    let row = row.await.map_err(failed("share a snapshot"))?;
    let (snapshot, taken_at): (String, String) = (row.get(0), row.get(1));
    progress.start(Stage::Dump, schema, Total::Unknown);
    let tables = contents(&client, schema).await?;
    if tables.is_empty() {
        return Err(DumpError::Empty { schema: schema.to_owned(), database: target.display() });
    }
    let rows = tables.values().map(|content| content.rows).sum();
    progress.advance(Stage::Dump, schema, rows, 0);
    let folder = run.path().join("dump");
    create_folder(&folder)?;
    let relative = format!("dump/{}.dump", folder_name(schema));
    let path = run.path().join(&relative);
    let temporary = path.with_extension("dump.writing");
    create_file(&temporary)?;
    let quoted = quote_identifier(schema);
    let mut arguments = vec![
        "--format=custom".to_owned(),
        "--no-password".to_owned(),
        format!("--snapshot={snapshot}"),
        format!("--schema={quoted}"),
        format!("--file={}", temporary.display()),
    ];
    if program.major >= 14 {
        // Types of an extension are needed to make the tables again.
        arguments.push("--extension=*".to_owned());
    }
    program.run(target, &arguments, progress).await?;
    end(&client).await?;
    let bytes = temporary.metadata().map_err(io("read", &temporary))?.len();
    let sha256 = sha256_file(&temporary)?;
    std::fs::File::open(&temporary)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, &path))
        .map_err(io("rename to", &path))?;
    let manifest = DumpManifest {
        format_version: FORMAT_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        pg_dump: program.version,
        database: target.display(),
        schema: schema.to_owned(),
        taken_at,
        file: PartFile { path: relative, rows, bytes, sha256 },
        tables,
    };
    write_json(&run.path().join(MANIFEST), "dump manifest", &manifest)?;
    progress.finish(Stage::Dump, schema);
    Ok(manifest)
}

async fn end(client: &Client) -> Result<(), DumpError> {
    Ok(client.batch_execute("COMMIT").await.map_err(failed("end the snapshot"))?)
}

/// Restores the dump of a run into an empty database and compares what the tables hold; what
/// differs, a sentence each.
pub async fn check(
    run: &RunDirectory,
    manifest: &DumpManifest,
    scratch: &Target,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<String>, DumpError> {
    let program = Program::find("pg_restore")?;
    part::check(run, &manifest.file)?;
    let client = scratch.connect().await?;
    // A new database has the schema public, and so has the dump of it.
    let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", quote_identifier(&manifest.schema));
    client.batch_execute(&drop).await.map_err(failed("empty the database"))?;
    progress.start(Stage::Restore, &manifest.schema, Total::Records(manifest.file.rows));
    let arguments = [
        "--exit-on-error".to_owned(),
        "--no-owner".to_owned(),
        "--no-privileges".to_owned(),
        "--no-password".to_owned(),
        format!("--dbname={}", scratch.database()),
        run.resolve(&manifest.file.path).display().to_string(),
    ];
    program.run(scratch, &arguments, progress).await?;
    let found = contents(&client, &manifest.schema).await?;
    progress.advance(Stage::Restore, &manifest.schema, manifest.file.rows, 0);
    progress.finish(Stage::Restore, &manifest.schema);
    let mut differences = Vec::new();
    for (name, before) in &manifest.tables {
        match found.get(name) {
            None => differences.push(format!("table {name} is missing")),
            Some(after) if after == before => {}
            Some(after) => differences.push(format!(
                "table {name} holds {} rows with digest {}, not {} with {}",
                after.rows, after.digest, before.rows, before.digest
            )),
        }
    }
    let more = found.keys().filter(|name| !manifest.tables.contains_key(*name));
    differences.extend(more.map(|name| format!("table {name} was not dumped")));
    Ok(differences)
}
