//! `docferry transform`.

use std::fs;
use std::sync::Arc;

use serde_json::json;

use super::{CommandError, go_on, load_pipeline, threads};
use crate::cli::TransformArguments;
use crate::export::{ExportOptions, whole};
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Stage};
use crate::report::{Finished, summary};
use crate::staging::layout::RunDirectory;
use crate::staging::lock::PipelineLock;
use crate::staging::manifest::TransformManifest;
use crate::staging::run::RunRecord;
use crate::transform::{TransformOptions, retry_rejects, transform};

pub(super) fn run(
    arguments: &TransformArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let (directory, manifest) = stage(arguments, progress)?;
    Ok(Finished {
        exit: exit(&manifest),
        text: summary::transform(&directory, &manifest),
        value: json!({"run": directory.run(), "transform": manifest}),
    })
}

/// Done, or done with rejects.
pub(super) fn exit(manifest: &TransformManifest) -> Exit {
    let rejected = manifest.tables.iter().any(|table| table.rejects > 0);
    if rejected { Exit::Rejects } else { Exit::Done }
}

/// Does the work of the stage.
pub(super) fn stage(
    arguments: &TransformArguments,
    progress: &Arc<dyn Progress>,
) -> Result<(RunDirectory, TransformManifest), Failure> {
    let path = &arguments.pipeline.pipeline;
    let pipeline = load_pipeline(path)?;
    let file = |source| CommandError::File { path: path.clone(), source };
    let text = fs::read_to_string(path).map_err(file)?;
    let staging = &arguments.staging.staging;
    let _lock = PipelineLock::take(staging, &pipeline.name)?;
    let directory = RunDirectory::open(staging, &pipeline.name, &arguments.run)?;
    progress.run(directory.run());
    let directory = whole(&directory, ExportOptions::default().part_bytes, progress)?;
    let mut record = RunRecord::read(&directory)?;
    record.start(&directory, Stage::Transform)?;
    let options = TransformOptions {
        threads: threads(arguments.staging.threads),
        max_rejects: arguments.max_rejects,
    };
    let work = if arguments.retry_rejects { retry_rejects } else { transform };
    let result = work(&directory, &pipeline, &text, &options, progress.as_ref());
    record.end_with(&directory, Stage::Transform, result.is_ok())?;
    let manifest = result.map_err(|error| go_on(error.into(), &directory))?;
    Ok((directory, manifest))
}
