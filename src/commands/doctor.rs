//! `docferry doctor`, and the same checks before `run`, `load` and `backup` begin.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tokio::runtime::Runtime;

use super::{CommandError, address, load_pipeline};
use crate::cli::{DoctorArguments, LoadWay};
use crate::doctor::{self, Check, HealthOptions, State, TargetNeeds};
use crate::failure::{Exit, Failure};
use crate::load::{self, Home, LoadOptions};
use crate::pipeline::definitions::table_definitions;
use crate::pipeline::model::Pipeline;
use crate::postgres::Target;
use crate::progress::{Progress, Stage};
use crate::redact::hide;
use crate::report::{Finished, causes, checks as report};
use crate::source::SourceAddress;
use crate::staging::manifest::TransformManifest;

pub(super) fn run(
    arguments: &DoctorArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let runtime = Runtime::new().map_err(CommandError::Runtime)?;
    let pipeline = match &arguments.pipeline {
        Some(path) => Some(load_pipeline(path)?),
        None => None,
    };
    let checks = match &pipeline {
        Some(pipeline) if !arguments.health => before(arguments, pipeline, &runtime, progress),
        _ => health(arguments, pipeline.as_ref(), &runtime, progress)?,
    };
    let worst = checks.iter().map(|check| check.state).max().unwrap_or(State::Fine);
    let exit = match worst {
        State::Fine | State::Note => Exit::Done,
        State::Warning => Exit::Differences,
        State::Failure => Exit::Failed,
    };
    let value = json!({"doctor": {"state": worst, "checks": checks}});
    Ok(Finished { exit, text: report::checks(&checks), value })
}

fn health(
    arguments: &DoctorArguments,
    pipeline: Option<&Pipeline>,
    runtime: &Runtime,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Check>, Failure> {
    let target = match pipeline {
        Some(pipeline) => address::target_of(pipeline, &arguments.target, progress)?,
        None => address::target(&arguments.target, progress)?,
    };
    let options = HealthOptions { slow_ms: arguments.slow };
    let mut checks = runtime.block_on(doctor::health(&target, &options))?;
    if let Some(pipeline) = pipeline {
        checks.extend(runtime.block_on(doctor::queries(&target, pipeline))?);
    }
    Ok(checks)
}

/// Everything that can be known before a run. What cannot be looked at is a failure among the
/// others.
fn before(
    arguments: &DoctorArguments,
    pipeline: &Pipeline,
    runtime: &Runtime,
    progress: &Arc<dyn Progress>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut size = None;
    match address::source_if_any(&arguments.source) {
        Ok(None) => checks.push(Check::not_named("source", "--source", "MONGODB_URI")),
        Err(failure) => checks.push(of_failure("source", &failure)),
        Ok(Some(source)) => match runtime.block_on(doctor::source(&source, Some(pipeline))) {
            Ok((found, bytes)) => {
                checks.extend(found);
                size = bytes;
            }
            Err(error) => checks.push(of_failure("source", &error.into())),
        },
    }
    checks.push(doctor::room(&arguments.staging, size));
    if !address::names_target(&arguments.target) {
        checks.push(Check::not_named("target", "--target", "DATABASE_URL"));
        return checks;
    }
    let target = match address::target_of(pipeline, &arguments.target, progress) {
        Ok(target) => target,
        Err(failure) => {
            checks.push(of_failure("target", &failure));
            return checks;
        }
    };
    let LoadWay { home, mode } = arguments.way;
    let options = LoadOptions { connections: arguments.connections, home, mode };
    match runtime.block_on(doctor::target(&target, &needs(pipeline, &options))) {
        Ok(found) => checks.extend(found),
        Err(error) => {
            checks.push(of_failure("target", &error.into()));
            return checks;
        }
    }
    // Its error says once more what a check has said.
    if checks.iter().any(|check| check.about == "rights" && check.state == State::Failure) {
        return checks;
    }
    match runtime.block_on(load::foresee(&planned(pipeline), None, &target, &options)) {
        Ok(differences) if differences.is_empty() => {
            checks.push(Check::new(State::Fine, "tables", "they can be loaded"));
        }
        Ok(differences) => checks.extend(
            differences.iter().map(|found| Check::new(State::Note, "tables", found.to_string())),
        ),
        Err(error) => checks.push(of_failure("tables", &error.into())),
    }
    checks
}

fn needs<'p>(pipeline: &'p Pipeline, options: &LoadOptions) -> TargetNeeds<'p> {
    TargetNeeds {
        schema: &pipeline.schema,
        makes_tables: options.home == Home::Create,
        connections: options.connections,
    }
}

fn planned(pipeline: &Pipeline) -> TransformManifest {
    TransformManifest::planned(&pipeline.name, &pipeline.schema, table_definitions(pipeline))
}

/// A failure as one check among others.
fn of_failure(about: &str, failure: &Failure) -> Check {
    let causes = causes(failure).map(|cause| format!(": {cause}"));
    let detail = format!("{failure}{}", causes.collect::<String>());
    let mut check = Check::new(State::Failure, about, hide(&detail));
    check.cure = failure.hint.as_deref().map(hide);
    check
}

/// Says what is to be known, and fails where a run would.
fn admit(checks: &[Check], stage: Stage, progress: &Arc<dyn Progress>) -> Result<(), Failure> {
    for check in checks.iter().filter(|check| check.state == State::Warning) {
        let cure = check.cure.as_deref().map(|cure| format!(" {cure}")).unwrap_or_default();
        progress.note(stage, &format!("{}: {}.{cure}", check.about, check.detail));
    }
    Ok(doctor::admit(checks)?)
}

/// What can be known before an export begins. With a pipeline, its collections are looked for.
pub(super) fn check_source(
    source: &SourceAddress,
    pipeline: Option<&Pipeline>,
    staging: &Path,
    progress: &Arc<dyn Progress>,
) -> Result<(), Failure> {
    let runtime = Runtime::new().map_err(CommandError::Runtime)?;
    let (mut checks, size) = runtime.block_on(doctor::source(source, pipeline))?;
    checks.push(doctor::room(staging, size));
    admit(&checks, Stage::Export, progress)
}

/// What a load needs of its server, whatever the tables are.
pub(super) fn check_server(
    target: &Target,
    pipeline: &Pipeline,
    options: &LoadOptions,
    progress: &Arc<dyn Progress>,
) -> Result<(), Failure> {
    let runtime = Runtime::new().map_err(CommandError::Runtime)?;
    let checks = runtime.block_on(doctor::target(target, &needs(pipeline, options)))?;
    admit(&checks, Stage::Load, progress)
}

/// What can be known before the rows of a load are staged. `run` is one that is gone on with.
pub(super) fn check_target(
    target: &Target,
    pipeline: &Pipeline,
    run: Option<&str>,
    options: &LoadOptions,
    progress: &Arc<dyn Progress>,
) -> Result<(), Failure> {
    check_server(target, pipeline, options, progress)?;
    let runtime = Runtime::new().map_err(CommandError::Runtime)?;
    runtime.block_on(load::foresee(&planned(pipeline), run, target, options))?;
    Ok(())
}
