//! `docferry export`.

use std::sync::Arc;

use serde_json::json;

use super::{CommandError, address, load_pipeline, threads};
use crate::cli::ExportArguments;
use crate::export::{ExportError, ExportOptions, export};
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Stage};
use crate::report::{Finished, summary};
use crate::staging::journal::Journal;
use crate::staging::layout::{LATEST, RunDirectory};
use crate::staging::lock::PipelineLock;
use crate::staging::manifest::ExportManifest;
use crate::staging::run::{RunRecord, run_id};

pub(super) fn run(
    arguments: &ExportArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let (directory, manifest) = stage(arguments, progress)?;
    Ok(Finished {
        exit: exit(&manifest),
        text: summary::export(&directory, &manifest),
        value: json!({"run": directory.run(), "export": manifest}),
    })
}

/// Done, or done with rejects.
pub(super) fn exit(manifest: &ExportManifest) -> Exit {
    let rejected = manifest.collections.iter().any(|collection| collection.rejects > 0);
    if rejected { Exit::Rejects } else { Exit::Done }
}

/// Does the work of the stage, as a new run or as one that goes on.
pub(super) fn stage(
    arguments: &ExportArguments,
    progress: &Arc<dyn Progress>,
) -> Result<(RunDirectory, ExportManifest), Failure> {
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let source = address::source(&arguments.source)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let staging = &arguments.staging.staging;
    let _lock = PipelineLock::take(staging, &pipeline.name)?;
    let (directory, mut record) = match &arguments.resume {
        None => {
            let directory = RunDirectory::create(staging, &pipeline.name, run_id)?;
            let record = RunRecord::new(&directory, &source.display());
            (directory, record)
        }
        Some(run) => {
            let directory = if run == LATEST {
                RunDirectory::newest(staging, &pipeline.name)?
            } else {
                RunDirectory::open(staging, &pipeline.name, run)?
            };
            let record = RunRecord::read(&directory)?;
            if record.source != source.display() {
                let (begun, given) = (record.source, source.display());
                return Err(ExportError::OtherSource { begun, given }.into());
            }
            (directory, record)
        }
    };
    progress.run(directory.run());
    record.start(&directory, Stage::Export)?;
    let options = ExportOptions {
        threads: threads(arguments.staging.threads),
        part_bytes: usize::from(arguments.part_mib) << 20,
        snapshot: !arguments.no_snapshot,
    };
    let result = runtime.block_on(export(&directory, &source, &pipeline, &options, progress));
    record.end_with(&directory, Stage::Export, result.is_ok())?;
    match result {
        Ok(manifest) => {
            directory.become_latest()?;
            Ok((directory, manifest))
        }
        Err(error) => {
            let mut failure = Failure::from(error);
            let run = directory.run();
            if !Journal::exists(&directory, Stage::Export) {
                // Nothing was begun that could be gone on with.
                return Err(failure);
            }
            let way_on = format!("Go on with the same command and `--resume {run}`.");
            failure.hint = Some(match failure.hint {
                Some(hint) => format!("{hint} {way_on}"),
                None => way_on,
            });
            Err(failure)
        }
    }
}
