//! `docferry dump` and `docferry restore-check`: the way back is tried before it is needed.

use std::path::Path;
use std::sync::Arc;

use mongodb::Client;
use serde_json::{Value, json};

use super::{CommandError, address, threads, told};
use crate::cli::{DumpArguments, RestoreCheckArguments};
use crate::dump::{self, DumpManifest};
use crate::failure::{Exit, Failure};
use crate::load::{self, Home, LoadOptions, Mode};
use crate::pipeline;
use crate::postgres::{PostgresError, Target, quote_identifier};
use crate::progress::{Progress, Stage};
use crate::report::{Finished, summary};
use crate::restore::scratch::{self, ScratchDatabase, ScratchFolder};
use crate::restore::{Destination, RestoreOptions, RestoreReport, check, restore};
use crate::source::mongodb::read_uri;
use crate::source::names::database_folder;
use crate::source::{SourceAddress, SourceError, is_mongodb};
use crate::staging::StagingError;
use crate::staging::latest::{self, Need};
use crate::staging::layout::RunDirectory;
use crate::staging::lock::{PipelineLock, RunLock};
use crate::staging::manifest::{ExportManifest, TransformManifest};
use crate::staging::own_files;
use crate::staging::run::RunRecord;
use crate::verify::{VerifyOptions, verify};

pub(super) fn dump(
    arguments: &DumpArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let target = address::target(&arguments.address, progress)?;
    let found = latest::find(&arguments.run.staging, &arguments.run.run, Need::Load)?;
    let run = told(found, Stage::Dump, progress);
    let _lock = PipelineLock::take(&arguments.run.staging, run.pipeline())?;
    progress.run(run.run());
    let schema = match &arguments.schema {
        Some(schema) => schema.clone(),
        None => TransformManifest::read(&run)?.schema,
    };
    let mut record = RunRecord::read(&run)?;
    record.start(&run, Stage::Dump)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let result = runtime.block_on(dump::dump(&run, &target, &schema, progress));
    record.end_with(&run, Stage::Dump, result.is_ok())?;
    let manifest = result?;
    let text = summary::dump(&run, &manifest);
    Ok(Finished::done(text, json!({"run": run.run(), "dump": manifest})))
}

/// What was tried, and what differs.
struct Tried {
    what: &'static str,
    compared: Value,
    lines: Vec<String>,
    differences: Vec<String>,
}

pub(super) fn run(
    arguments: &RestoreCheckArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let scratch = address::scratch(&arguments.scratch)?;
    let postgres = scratch.starts_with("postgres://") || scratch.starts_with("postgresql://");
    let run = if postgres {
        let found = latest::find(&arguments.run.staging, &arguments.run.run, Need::RowsOrDump)?;
        told(found, Stage::Restore, progress)
    } else {
        RunDirectory::find(&arguments.run.staging, &arguments.run.run)?
    };
    let _reading = RunLock::share(&run)?;
    progress.run(run.run());
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let name = scratch::name(run.run());
    let tried = if postgres {
        let server = Target::parse(&scratch)?;
        runtime.block_on(in_postgres(&run, &server, &name, progress))?
    } else if is_mongodb(&scratch) {
        runtime.block_on(in_mongodb(&run, &scratch, &name, threads(arguments.threads), progress))?
    } else {
        address::check_folder(&scratch)?;
        let parent = Path::new(&scratch);
        let failed = |source| CommandError::File { path: parent.join(&name), source };
        let folder = ScratchFolder::create(parent, &name).map_err(failed)?;
        let tried = runtime.block_on(in_folder(&run, folder.path(), progress));
        let removed = folder.remove();
        // What went wrong before says more.
        let tried = tried?;
        removed.map_err(failed)?;
        tried
    };
    let exit = if tried.differences.is_empty() { Exit::Done } else { Exit::Differences };
    let text = summary::restore_check(&run, tried.what, &tried.lines, &tried.differences);
    let value = json!({
        "run": run.run(), "tried": tried.what, "compared": tried.compared,
        "differences": tried.differences,
    });
    Ok(Finished { exit, text, value })
}

fn options(threads: usize) -> RestoreOptions {
    RestoreOptions { threads, ..RestoreOptions::default() }
}

async fn compared(
    run: &RunDirectory,
    report: &RestoreReport,
    restored: &str,
    threads: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Tried, Failure> {
    let checked = check(run, &SourceAddress::parse(restored)?, threads, progress).await?;
    let lines = checked
        .collections
        .iter()
        .map(|one| format!("{}: {} documents, digest {}", one.name, one.documents, one.digest));
    let lines = lines.chain(report.notes.iter().cloned()).collect();
    let differences = checked.differences();
    Ok(Tried { what: "export", lines, differences, compared: json!(checked.collections) })
}

/// Restores the export as files, those of mongodump or one of SQLite, and reads them.
async fn in_folder(
    run: &RunDirectory,
    folder: &Path,
    progress: &Arc<dyn Progress>,
) -> Result<Tried, Failure> {
    let manifest = ExportManifest::read(run)?;
    let name = database_folder(&manifest.source.database);
    let rows = manifest.collections.iter().any(|collection| collection.kind == "table");
    let (destination, restored) = if rows || manifest.source.kind == "sqlite" {
        let file = folder.join(format!("{name}.db"));
        let restored = format!("sqlite:{}", file.display());
        (Destination::Sqlite(file), restored)
    } else {
        (Destination::Dump(folder.to_owned()), folder.join(name).display().to_string())
    };
    let report = restore(run, &destination, &options(1), progress).await?;
    compared(run, &report, &restored, threads(None), progress).await
}

/// Restores the export into a new database of a server, which is dropped afterwards.
async fn in_mongodb(
    run: &RunDirectory,
    uri: &str,
    name: &str,
    threads: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Tried, Failure> {
    let named = address::with_database(uri, name);
    let failed = |action: String| {
        let address = crate::redact::without_credentials(&named);
        move |cause| SourceError::Server { action, address, tries: 1, cause }
    };
    let connected = Client::with_options(read_uri(&named).await?);
    let client = connected.map_err(failed("connect".to_owned()))?;
    let scratch = ScratchDatabase::create(&client, name).await;
    let scratch = scratch.map_err(failed(format!("make the scratch database {name}")))?;
    let destination = Destination::Server(named.clone());
    let restored = restore(run, &destination, &options(threads), progress).await;
    let tried = match restored {
        Ok(report) => compared(run, &report, &named, threads, progress).await,
        Err(error) => Err(error.into()),
    };
    let dropped = scratch.remove().await;
    // What went wrong before says more.
    let tried = tried?;
    dropped.map_err(failed(format!("drop {name}")))?;
    Ok(tried)
}

/// Restores the dump, or loads the staged rows, into a new database, which is dropped afterwards.
async fn in_postgres(
    run: &RunDirectory,
    server: &Target,
    name: &str,
    progress: &Arc<dyn Progress>,
) -> Result<Tried, Failure> {
    let admin = server.connect().await?;
    let statement = |action: &'static str| {
        move |source| PostgresError::Statement { action: action.to_owned(), source }
    };
    let quoted = quote_identifier(name);
    // The locale of the template may order text otherwise, but the bytes are the same.
    let made = scratch::create_postgres(&admin, name).await;
    made.map_err(statement("make a scratch database"))?;
    let scratch = server.with_database(name);
    let tried = match DumpManifest::read(run)? {
        Some(manifest) => dumped(run, &manifest, &scratch, progress).await,
        None => loaded(&run.whole_if_any(), &scratch, progress).await,
    };
    let drop = format!("DROP DATABASE {quoted} WITH (FORCE)");
    let dropped = admin.batch_execute(&drop).await;
    let tried = tried?;
    dropped.map_err(statement("drop the scratch database"))?;
    Ok(tried)
}

async fn dumped(
    run: &RunDirectory,
    manifest: &DumpManifest,
    scratch: &Target,
    progress: &Arc<dyn Progress>,
) -> Result<Tried, Failure> {
    let differences = dump::check(run, manifest, scratch, progress).await?;
    let lines = manifest.tables.iter();
    let lines =
        lines.map(|(name, one)| format!("{name}: {} rows, digest {}", one.rows, one.digest));
    Ok(Tried {
        what: "dump",
        lines: lines.collect(),
        differences,
        compared: json!(manifest.tables),
    })
}

async fn loaded(
    run: &RunDirectory,
    scratch: &Target,
    progress: &Arc<dyn Progress>,
) -> Result<Tried, Failure> {
    let manifest = TransformManifest::read(run)?;
    let path = run.resolve("pipeline.toml");
    let text = own_files::read_text(&path).map_err(|source| StagingError::Io {
        action: "read",
        path: path.clone(),
        source,
    })?;
    let pipeline = pipeline::parse(&path, &text)?;
    let options = LoadOptions { connections: 2, home: Home::Create, mode: Mode::Insert };
    load::load(run, &manifest, scratch, &options, progress).await?;
    let options = VerifyOptions { connections: 2, documents: false };
    let report = verify(run, &pipeline, &manifest, scratch, &options, progress).await?;
    let lines = report.tables.iter().map(|table| {
        format!("{}: {} rows, digest {}", table.table, table.found_rows, table.found_digest)
    });
    let differences = report.tables.iter().flat_map(|table| {
        table.differences.iter().map(|difference| format!("{}: {difference}", table.table))
    });
    Ok(Tried {
        what: "staged rows",
        lines: lines.collect(),
        differences: differences
            .chain(report.catalogue.differences.iter().map(ToString::to_string))
            .chain(report.balance.iter().cloned())
            .collect(),
        compared: json!(report.tables),
    })
}
