//! `docferry export`.

use std::sync::Arc;

use serde_json::json;

use super::{CommandError, load_pipeline, threads};
use crate::cli::ExportArguments;
use crate::export::{ExportOptions, export};
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Stage};
use crate::report::{Output, summary};
use crate::source::SourceAddress;
use crate::staging::layout::RunDirectory;
use crate::staging::lock::PipelineLock;
use crate::staging::run::{RunRecord, StageState, run_id};

pub(super) fn run(
    arguments: &ExportArguments,
    progress: &Arc<dyn Progress>,
    output: &Output,
) -> Result<Exit, Failure> {
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
    let state = if result.is_ok() { StageState::Done } else { StageState::Failed };
    record.end(&directory, Stage::Export, state)?;
    let manifest = result?;
    output.result(
        &summary::export(&directory, &manifest),
        &json!({"run": directory.run(), "export": manifest}),
    );
    Ok(Exit::Done)
}
