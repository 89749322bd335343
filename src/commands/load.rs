//! `docferry load`, `docferry rollback` and `docferry ddl`.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{CommandError, address, doctor, go_on, load_pipeline};
use crate::cli::{LoadArguments, LoadWay, PipelineArgument, RollbackArguments};
use crate::failure::{Exit, Failure};
use crate::load::{self, LoadOptions, LoadReport};
use crate::pipeline::definitions::table_definitions;
use crate::postgres::ddl;
use crate::progress::{Progress, Stage};
use crate::report::{Finished, Lines, summary};
use crate::sql::printable;
use crate::staging::StagingError;
use crate::staging::latest::{Need, newest_with};
use crate::staging::layout::RunDirectory;
use crate::staging::lock::PipelineLock;
use crate::staging::manifest::TransformManifest;
use crate::staging::run::RunRecord;

pub(super) fn run(
    arguments: &LoadArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    if arguments.dry_run {
        return dry_run(arguments, progress);
    }
    let (directory, report) = stage(arguments, progress)?;
    let target = address::target(&arguments.target.address, progress)?;
    let exit = if report.left_out.is_empty() { Exit::Done } else { Exit::Differences };
    Ok(Finished {
        exit,
        text: summary::load(&directory, &report, &target.display()),
        value: json!({"run": directory.run(), "load": report}),
    })
}

pub(super) fn options(arguments: &LoadArguments) -> LoadOptions {
    let LoadWay { home, mode } = arguments.way;
    LoadOptions { connections: arguments.target.connections, home, mode }
}

fn dry_run(arguments: &LoadArguments, progress: &Arc<dyn Progress>) -> Result<Finished, Failure> {
    let options = options(arguments);
    let arguments = &arguments.target;
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let target = address::target_of(&pipeline, &arguments.address, progress)?;
    let directory = RunDirectory::open(&arguments.staging.staging, &pipeline.name, &arguments.run)?;
    let manifest = transformed(&directory, &arguments.staging.staging)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let plan = runtime.block_on(load::dry_run(&directory, &manifest, &target, &options))?;
    let value = json!({"run": directory.run(), "plan": plan});
    Ok(Finished::done(summary::plan(&plan, &target.display()), value))
}

pub(super) fn rollback(
    arguments: &RollbackArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let target = address::target(&arguments.address, progress)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let RollbackArguments { run, force, dry_run, .. } = arguments;
    if arguments.forget {
        let report = runtime.block_on(load::forget(&target, run, *dry_run))?;
        let text = summary::forget(&report, &target.display());
        return Ok(Finished::done(text, json!({"forget": report})));
    }
    let undone = load::rollback(&target, run, (*force, *dry_run), progress);
    let report = runtime.block_on(undone)?;
    let text = summary::rollback(&report, &target.display());
    Ok(Finished::done(text, json!({"rollback": report})))
}

/// Does the work of the stage.
pub(super) fn stage(
    arguments: &LoadArguments,
    progress: &Arc<dyn Progress>,
) -> Result<(RunDirectory, LoadReport), Failure> {
    let options = options(arguments);
    let arguments = &arguments.target;
    let path = &arguments.pipeline.pipeline;
    let pipeline = load_pipeline(path)?;
    let target = address::target_of(&pipeline, &arguments.address, progress)?;
    let staging = &arguments.staging.staging;
    let _lock = PipelineLock::take(staging, &pipeline.name)?;
    let directory = RunDirectory::open(staging, &pipeline.name, &arguments.run)?;
    let manifest = transformed(&directory, staging)?;
    doctor::check_server(&target, &pipeline, &options, progress)?;
    let mut record = RunRecord::read(&directory)?;
    progress.run(directory.run());
    record.start(&directory, Stage::Load)?;
    record.load_with(&directory, &options.mode.to_string())?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let result = runtime.block_on(load::load(&directory, &manifest, &target, &options, progress));
    record.end_with(&directory, Stage::Load, result.is_ok())?;
    let report = result.map_err(|error| go_on(error.into(), &directory))?;
    Ok((directory, report))
}

/// The rows of a run. A load writes, so it takes no older run than the one that is named; it says
/// which could be.
fn transformed(run: &RunDirectory, staging: &Path) -> Result<TransformManifest, Failure> {
    TransformManifest::read(run).map_err(|error| {
        let unfinished = matches!(error, StagingError::NotFinished { .. });
        let mut failure = Failure::from(error);
        if unfinished && let Ok(Some(older)) = newest_with(staging, run, Need::Rows) {
            failure.hint = Some(format!(
                "Transform it first: `docferry transform PIPELINE --run {}`. The newest run with a \
                 finished transform is {}: `--run {}`.",
                run.run(),
                older.run(),
                older.run()
            ));
        }
        failure
    })
}

pub(super) fn ddl(arguments: &PipelineArgument) -> Result<Finished, Failure> {
    let pipeline = load_pipeline(&arguments.pipeline)?;
    let definitions = table_definitions(&pipeline);
    let text = ddl::script(&definitions.iter().collect::<Vec<_>>());
    let value = json!({"pipeline": pipeline.name, "sql": text});
    let mut lines = Lines::default();
    lines.file(&printable(&text));
    Ok(Finished::done(lines, value))
}
