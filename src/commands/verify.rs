//! `docferry verify`.

use serde_json::json;

use super::{CommandError, load_pipeline};
use crate::cli::LoadArguments;
use crate::failure::{Exit, Failure};
use crate::postgres::Target;
use crate::progress::{Progress, Stage};
use crate::report::{Output, summary};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::TransformManifest;
use crate::staging::run::{RunRecord, StageState};
use crate::verify::verify;

pub(super) fn run(
    arguments: &LoadArguments,
    progress: &dyn Progress,
    output: &Output,
) -> Result<Exit, Failure> {
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let target = Target::parse(&arguments.target)?;
    let directory = RunDirectory::open(&arguments.staging.staging, &pipeline.name, &arguments.run)?;
    let manifest = TransformManifest::read(&directory)?;
    let mut record = RunRecord::read(&directory)?;
    record.start(&directory, Stage::Verify)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let result = runtime.block_on(verify(&directory, &manifest, &target, progress));
    let state = if result.is_ok() { StageState::Done } else { StageState::Failed };
    record.end(&directory, Stage::Verify, state)?;
    let report = result?;
    output.result(
        &summary::verify(&directory, &report),
        &json!({"run": directory.run(), "proved": report.is_proved(), "verify": report}),
    );
    Ok(if report.is_proved() { Exit::Done } else { Exit::Differences })
}
