//! `docferry load` and `docferry ddl`.

use std::sync::Arc;

use serde_json::json;

use super::{CommandError, load_pipeline};
use crate::cli::{LoadArguments, PipelineArgument};
use crate::failure::{Exit, Failure};
use crate::load::{LoadOptions, load};
use crate::pipeline::definitions::table_definitions;
use crate::postgres::{Target, ddl};
use crate::progress::{Progress, Stage};
use crate::report::{Output, summary};
use crate::staging::layout::RunDirectory;
use crate::staging::lock::PipelineLock;
use crate::staging::manifest::TransformManifest;
use crate::staging::run::{RunRecord, StageState};

pub(super) fn run(
    arguments: &LoadArguments,
    progress: &Arc<dyn Progress>,
    output: &Output,
) -> Result<Exit, Failure> {
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let target = Target::parse(&arguments.target)?;
    let staging = &arguments.staging.staging;
    let _lock = PipelineLock::take(staging, &pipeline.name)?;
    let directory = RunDirectory::open(staging, &pipeline.name, &arguments.run)?;
    let manifest = TransformManifest::read(&directory)?;
    let mut record = RunRecord::read(&directory)?;
    record.start(&directory, Stage::Load)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let options = LoadOptions { connections: arguments.connections };
    let result = runtime.block_on(load(&directory, &manifest, &target, &options, progress));
    let state = if result.is_ok() { StageState::Done } else { StageState::Failed };
    record.end(&directory, Stage::Load, state)?;
    let report = result?;
    output.result(
        &summary::load(&directory, &report, &target.display()),
        &json!({"run": directory.run(), "load": report}),
    );
    Ok(Exit::Done)
}

pub(super) fn ddl(arguments: &PipelineArgument, output: &Output) -> Result<Exit, Failure> {
    let pipeline = load_pipeline(&arguments.pipeline)?;
    let definitions = table_definitions(&pipeline);
    let text = ddl::script(&definitions.iter().collect::<Vec<_>>());
    output.result(text.trim_end(), &json!({"pipeline": pipeline.name, "sql": text}));
    Ok(Exit::Done)
}
