//! `docferry export`.

use std::sync::Arc;

use serde_json::json;

use super::{CommandError, load_pipeline, threads};
use crate::cli::ExportArguments;
use crate::export::{ExportOptions, export};
use crate::failure::Failure;
use crate::progress::{Progress, Stage};
use crate::report::{Finished, summary};
use crate::source::SourceAddress;
use crate::staging::layout::RunDirectory;
use crate::staging::lock::PipelineLock;
use crate::staging::manifest::ExportManifest;
use crate::staging::run::{RunRecord, run_id};

pub(super) fn run(
    arguments: &ExportArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let (directory, manifest) = stage(arguments, progress)?;
    Ok(Finished::done(
        summary::export(&directory, &manifest),
        json!({"run": directory.run(), "export": manifest}),
    ))
}

/// Does the work of the stage, as a new run.
pub(super) fn stage(
    arguments: &ExportArguments,
    progress: &Arc<dyn Progress>,
) -> Result<(RunDirectory, ExportManifest), Failure> {
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let source = SourceAddress::parse(&arguments.source)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let staging = &arguments.staging.staging;
    let _lock = PipelineLock::take(staging, &pipeline.name)?;
    let directory = RunDirectory::create(staging, &pipeline.name, &run_id(jiff::Timestamp::now()))?;
    let mut record = RunRecord::new(&directory, &source.display());
    record.start(&directory, Stage::Export)?;
    let options = ExportOptions {
        threads: threads(arguments.staging.threads),
        part_bytes: usize::from(arguments.part_mib) << 20,
        snapshot: !arguments.no_snapshot,
    };
    let result = runtime.block_on(export(&directory, &source, &options, progress));
    record.end_with(&directory, Stage::Export, result.is_ok())?;
    Ok((directory, result?))
}
