//! `docferry transform`.

use std::fs;

use serde_json::json;

use super::{CommandError, load_pipeline, threads};
use crate::cli::TransformArguments;
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Stage};
use crate::report::{Output, summary};
use crate::staging::layout::RunDirectory;
use crate::staging::lock::PipelineLock;
use crate::staging::run::{RunRecord, StageState};
use crate::transform::{TransformOptions, transform};

pub(super) fn run(
    arguments: &TransformArguments,
    progress: &dyn Progress,
    output: &Output,
) -> Result<Exit, Failure> {
    let path = &arguments.pipeline.pipeline;
    let pipeline = load_pipeline(path)?;
    let file = |source| CommandError::File { path: path.clone(), source };
    let text = fs::read_to_string(path).map_err(file)?;
    let staging = &arguments.staging.staging;
    let _lock = PipelineLock::take(staging, &pipeline.name)?;
    let directory = RunDirectory::open(staging, &pipeline.name, &arguments.run)?;
    let mut record = RunRecord::read(&directory)?;
    record.start(&directory, Stage::Transform)?;
    // The run keeps the mapping that was used.
    fs::write(directory.resolve("pipeline.toml"), &text).map_err(file)?;
    let options = TransformOptions { threads: threads(arguments.staging.threads) };
    let result = transform(&directory, &pipeline, &text, &options, progress);
    let state = if result.is_ok() { StageState::Done } else { StageState::Failed };
    record.end(&directory, Stage::Transform, state)?;
    let manifest = result?;
    output.result(
        &summary::transform(&directory, &manifest),
        &json!({"run": directory.run(), "transform": manifest}),
    );
    let rejected = manifest.tables.iter().any(|table| table.rejects > 0);
    Ok(if rejected { Exit::Rejects } else { Exit::Done })
}
