//! `docferry plan`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio::runtime::Runtime;

use super::{CommandError, address, load_pipeline, threads};
use crate::cli::PlanArguments;
use crate::failure::{Exit, Failure};
use crate::pipeline::{self, model::Pipeline};
use crate::plan::{Drift, PlanOptions, diff, from_prisma, plan};
use crate::progress::Progress;
use crate::report::{Finished, Lines, summary};
use crate::source::SourceAddress;
use crate::staging::own_files::write_own;

pub(super) fn run(
    arguments: &PlanArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    if let Some(path) = arguments.output.as_ref().filter(|path| path.exists() && !arguments.force) {
        return Err(CommandError::Exists { path: path.clone() }.into());
    }
    let file = arguments.source_file.as_deref();
    let (text, database) = (arguments.source.as_deref(), arguments.database.as_deref());
    let source = address::named_source(text, file, database)?;
    match (&arguments.prisma, &arguments.diff, source) {
        (Some(schema), _, source) => prisma(arguments, schema, source.as_ref(), progress),
        (None, Some(path), Some(source)) => {
            let pipeline = load_pipeline(path)?;
            let found = compare(arguments, &source, &pipeline, progress)?;
            Ok(Finished {
                exit: if found.is_empty() { Exit::Done } else { Exit::Differences },
                text: summary::drift(&found, &pipeline.name),
                value: json!({"pipeline": pipeline.name, "differences": found}),
            })
        }
        (None, None, Some(source)) => draft(arguments, &source, progress),
        // The command line asks for a source or a schema.
        (None, _, None) => Err(CommandError::NoSource.into()),
    }
}

fn options(arguments: &PlanArguments) -> PlanOptions {
    PlanOptions {
        threads: threads(arguments.threads),
        sample: arguments.sample,
        names: arguments.names,
    }
}

fn compare(
    arguments: &PlanArguments,
    source: &SourceAddress,
    pipeline: &Pipeline,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Drift>, Failure> {
    let runtime = Runtime::new().map_err(CommandError::Runtime)?;
    Ok(runtime.block_on(diff(source, pipeline, &options(arguments), progress))?)
}

/// Drafts from what a database holds.
fn draft(
    arguments: &PlanArguments,
    source: &SourceAddress,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let name = name(arguments.output.as_deref(), &source.display());
    let runtime = Runtime::new().map_err(CommandError::Runtime)?;
    let plan = runtime.block_on(plan(source, &name, &options(arguments), progress))?;
    let value = json!({
        "name": name, "collections": plan.collections, "rejected": plan.rejected,
        "source_objects": plan.objects, "pipeline": plan.toml,
    });
    let Some(path) = &arguments.output else {
        return Ok(Finished::done(file(&plan.toml), value));
    };
    write(path, &plan.toml)?;
    Ok(Finished::done(summary::planned(&plan, path), value))
}

/// Drafts from a Prisma schema, and compares a source with it.
fn prisma(
    arguments: &PlanArguments,
    schema: &Path,
    source: Option<&SourceAddress>,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let name = name(arguments.output.as_deref(), &schema.display().to_string());
    let toml = from_prisma(schema, &name)?;
    let path = arguments.output.as_deref();
    let pipeline = pipeline::parse(path.unwrap_or(schema), &toml)?;
    let found = match source {
        Some(source) => compare(arguments, source, &pipeline, progress)?,
        None => Vec::new(),
    };
    let value = json!({"name": name, "pipeline": toml, "differences": found});
    let Some(path) = path else {
        return Ok(Finished::done(file(&toml), value));
    };
    write(path, &toml)?;
    let text = match source {
        Some(_) => summary::drift(&found, &path.display().to_string()),
        None => {
            let tables = pipeline.tables.len();
            Lines::of(format_args!("{}: {tables} tables", path.display()))
        }
    };
    Ok(Finished::done(text, value))
}

/// The draft as it is printed.
fn file(toml: &str) -> Lines {
    let mut lines = Lines::default();
    lines.file(toml);
    lines
}

/// The pipeline's name: that of the file it is written to, or of what it is drafted from.
fn name(output: Option<&Path>, from: &str) -> String {
    let output = output.and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned());
    let name = output.unwrap_or_else(|| {
        let last = from.rsplit('/').next().unwrap_or_default();
        last.split('.').next().unwrap_or_default().to_owned()
    });
    if name.is_empty() { "pipeline".to_owned() } else { name }
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    let failed = |source| CommandError::File { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    write_own(path, text.as_bytes()).map_err(failed)
}
