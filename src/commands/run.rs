//! `docferry run`: the four stages one after another.

use std::sync::Arc;

use serde_json::json;

use super::{CommandError, address, doctor, export, load, load_pipeline, transform, verify};
use crate::cli::RunArguments;
use crate::failure::{Exit, Failure};
use crate::load::unfinished;
use crate::pipeline::model::Pipeline;
use crate::postgres::Target;
use crate::progress::{Progress, Stage};
use crate::report::{Finished, proof, summary};
use crate::staging::layout::{LATEST, RunDirectory};
use crate::staging::resume::resumable_run;
use crate::staging::run::RunRecord;

pub(super) fn run(
    arguments: &RunArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let pipeline = load_pipeline(&arguments.export.pipeline.pipeline)?;
    let target = address::target_of(&pipeline, &arguments.address, progress)?;
    let mut export = arguments.export.clone();
    if export.resume.as_deref() == Some(LATEST) {
        let run = resumed(arguments, &pipeline, &target)?;
        progress.note(Stage::Export, &format!("going on with run {run}"));
        export.resume = Some(run);
    }
    let load = load::options(&arguments.load(LATEST));
    doctor::check_target(&target, &pipeline, export.resume.as_deref(), &load, progress)?;
    if export.resume.is_none() {
        let source = address::source(&export.source)?;
        doctor::check_source(&source, Some(&pipeline), &export.staging.staging, progress)?;
    }
    let (directory, exported) = export::stage(&export, None, None, progress)?;
    // Now, while the server has the history of the export.
    let again = verify::source_again(&arguments.verify(directory.run()), &directory, progress)
        .map_err(|failure| resume_with(failure, &directory))?;
    // The run just made, whatever `latest` names by then.
    transform::stage(&arguments.transform(directory.run()), progress)
        .map_err(|failure| resume_with(failure, &directory))?;
    load::stage(&arguments.load(directory.run()), progress)
        .map_err(|failure| resume_with(failure, &directory))?;
    let (_, report) = verify::stage(&arguments.verify(directory.run()), Some(again), progress)
        .map_err(|failure| resume_with(failure, &directory))?;
    let mut text = summary::inventory(&exported.source_objects);
    text.append(proof::run(&directory, &report));
    Ok(Finished {
        exit: verify::exit(&report),
        text,
        value: json!({"run": directory.run(), "proved": report.proved, "report": report}),
    })
}

/// The run that a bare `--resume` goes on with: the one whose load the target's ledger has as begun
/// and not ended, else the newest with a stage that did not end.
fn resumed(
    arguments: &RunArguments,
    pipeline: &Pipeline,
    target: &Target,
) -> Result<String, Failure> {
    let source = address::source(&arguments.export.source)?.display();
    let staging = &arguments.export.staging.staging;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    for run in runtime.block_on(unfinished(target, &pipeline.name))? {
        let Ok(directory) = RunDirectory::open(staging, &pipeline.name, &run) else { continue };
        if RunRecord::read(&directory).is_ok_and(|record| record.source == source) {
            return Ok(run);
        }
    }
    Ok(resumable_run(staging, &pipeline.name, &source)?.run().to_owned())
}

/// Says how to go on with the run: the same command alone would begin another one.
fn resume_with(failure: Failure, run: &RunDirectory) -> Failure {
    if failure.exit == Exit::Interrupted {
        let hint = format!(
            "What is finished is kept. Go on with the same command and `--resume {}`.",
            run.run()
        );
        return Failure { hint: Some(hint), ..failure };
    }
    let way_on = format!("Then go on with the same command and `--resume {}`.", run.run());
    let hint = match &failure.hint {
        Some(hint) => format!("{hint} {way_on}"),
        None => way_on,
    };
    Failure { hint: Some(hint), ..failure }
}
