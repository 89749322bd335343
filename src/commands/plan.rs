//! `docferry plan`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{CommandError, load_pipeline, threads};
use crate::cli::PlanArguments;
use crate::failure::{Exit, Failure};
use crate::plan::{PlanOptions, diff, plan};
use crate::progress::Progress;
use crate::report::{Finished, summary};
use crate::source::SourceAddress;

pub(super) fn run(
    arguments: &PlanArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let source = SourceAddress::parse(&arguments.source)?;
    let options = PlanOptions {
        threads: threads(arguments.threads),
        sample: arguments.sample,
        names: arguments.names,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    if let Some(path) = &arguments.diff {
        let pipeline = load_pipeline(path)?;
        let found = runtime.block_on(diff(&source, &pipeline, &options, progress))?;
        return Ok(Finished {
            exit: if found.is_empty() { Exit::Done } else { Exit::Differences },
            text: summary::drift(&found, &pipeline.name),
            value: json!({"pipeline": pipeline.name, "differences": found}),
        });
    }
    if let Some(path) = arguments.output.as_ref().filter(|path| path.exists() && !arguments.force) {
        return Err(CommandError::Exists { path: path.clone() }.into());
    }
    let name = name(arguments.output.as_deref(), &source);
    let plan = runtime.block_on(plan(&source, &name, &options, progress))?;
    let value = json!({"name": name, "collections": plan.collections, "pipeline": plan.toml});
    let Some(path) = &arguments.output else {
        return Ok(Finished::done(plan.toml.trim_end(), value));
    };
    write(path, &plan.toml).map_err(|source| CommandError::File { path: path.clone(), source })?;
    Ok(Finished::done(summary::planned(&plan, path), value))
}

/// The pipeline's name: the file's, or the database's.
fn name(output: Option<&Path>, source: &SourceAddress) -> String {
    let from = output.and_then(Path::file_stem).map(|name| name.to_string_lossy().into_owned());
    let shown = source.display();
    let last = || {
        shown
            .rsplit('/')
            .next()
            .unwrap_or_default()
            .split('.')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let name = from.unwrap_or_else(last);
    if name.is_empty() { "pipeline".to_owned() } else { name }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
