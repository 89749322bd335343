//! `docferry export`.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{CommandError, address, load_pipeline, threads};
use crate::cli::{ExportArguments, SinceArguments};
use crate::export::{ExportError, ExportOptions, Since, export};
use crate::failure::{Exit, Failure};
use crate::pipeline::field_path;
use crate::pipeline::model::ChangedBy;
use crate::progress::{Progress, Stage};
use crate::report::{Finished, summary};
use crate::source::SourceAddress;
use crate::staging::StagingError;
use crate::staging::checksum::sha256_file;
use crate::staging::guard::{
    ALLOW_EMPTY, ALLOW_SHRINK, Allowed, Loss, losses, without_collections,
};
use crate::staging::journal::Journal;
use crate::staging::layout::{LATEST, RunDirectory};
use crate::staging::lock::PipelineLock;
use crate::staging::manifest::ExportManifest;
use crate::staging::resume::resumable;
use crate::staging::retention::last_good;
use crate::staging::run::{Held, RunRecord};

pub(super) fn run(
    arguments: &ExportArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let (directory, manifest) = stage(arguments, None, None, progress)?;
    Ok(Finished {
        exit: exit(&manifest),
        text: summary::export(&directory, &manifest),
        value: json!({"run": directory.run(), "began_at": began_at(&directory), "export": manifest}),
    })
}

/// When the run began, by the clock.
pub(super) fn began_at(run: &RunDirectory) -> Option<String> {
    RunRecord::read(run).ok()?.began_at
}

/// Done, or done with rejects.
pub(super) fn exit(manifest: &ExportManifest) -> Exit {
    let rejected = manifest.collections.iter().any(|collection| collection.rejects > 0);
    if rejected { Exit::Rejects } else { Exit::Done }
}

/// The export that a new one adds to; none where it must be a full one.
fn base(
    last: Result<RunDirectory, StagingError>,
    run: &str,
    arguments: &SinceArguments,
    source: &SourceAddress,
    progress: &Arc<dyn Progress>,
) -> Option<Since> {
    let full = |reason: &str| {
        progress.note(Stage::Export, &format!("a full export is made: {reason}"));
        None
    };
    let Ok(last) = last else { return full("there is no run to add to") };
    if last.run() >= run {
        return full(&format!("run {} is not older than run {run}", last.run()));
    }
    let manifest = match ExportManifest::read(&last) {
        Ok(manifest) => manifest,
        Err(error) => return full(&error.to_string()),
    };
    if manifest.source.address != source.display() {
        return full(&format!("run {} came from {}", last.run(), manifest.source.address));
    }
    let sha256 = sha256_file(&last.resolve(ExportManifest::PATH));
    let since = sha256
        .and_then(|sha256| Since::new(&last, sha256, arguments.detect_deletes, arguments.overlap));
    match since {
        Err(error) => full(&error.to_string()),
        Ok(since) if since.length() > arguments.full_after => {
            full(&format!("{} exports only add to the last one", since.length() - 1))
        }
        Ok(since) => Some(since),
    }
}

/// Does the work of the stage, as a new run or as one that goes on. With `shrink`, of a backup, the
/// run is held where the source lost documents; collections named there may lose them.
pub(super) fn stage(
    arguments: &ExportArguments,
    since: Option<&SinceArguments>,
    shrink: Option<&[String]>,
    progress: &Arc<dyn Progress>,
) -> Result<(RunDirectory, ExportManifest), Failure> {
    let mut pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    if let Some(field) = since.and_then(|since| since.by.as_ref()) {
        pipeline.changed.field = Some(field_path(field));
    }
    let since = since.filter(|since| since.since_last);
    if since.is_some() && pipeline.changed == ChangedBy::default() {
        return Err(CommandError::NoField.into());
    }
    let source = address::source(&arguments.source)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let staging = &arguments.staging.staging;
    let _lock = PipelineLock::take(staging, &pipeline.name)?;
    let (directory, mut record, base) = match &arguments.resume {
        None => {
            let last = since.map(|_| RunDirectory::open(staging, &pipeline.name, LATEST));
            let directory = RunDirectory::create(staging, &pipeline.name)?;
            let base = last
                .zip(since)
                .and_then(|(last, since)| base(last, directory.run(), since, &source, progress));
            let mut record = RunRecord::new(&directory, &source.display())?;
            record.base = base.as_ref().map(|base| base.run().to_owned());
            (directory, record, base)
        }
        Some(run) => {
            let directory = if run == LATEST {
                resumable(staging, &pipeline.name, &source.display())?
            } else {
                RunDirectory::open(staging, &pipeline.name, run)?
            };
            let record = RunRecord::read(&directory)?;
            if record.source != source.display() {
                let (begun, given) = (record.source, source.display());
                return Err(ExportError::OtherSource { begun, given }.into());
            }
            let base = match (since, &record.base) {
                (Some(since), Some(run)) => {
                    base(directory.beside(run), directory.run(), since, &source, progress)
                }
                _ => None,
            };
            if let Some(lost) = record.base.as_ref().filter(|_| base.is_none()) {
                let (run, base) = (directory.run().to_owned(), lost.clone());
                return Err(ExportError::NeedsBase { run, base }.into());
            }
            (directory, record, base)
        }
    };
    progress.run(directory.run());
    let was_good = record.is_done(Stage::Export) && record.held.is_none();
    record.start(&directory, Stage::Export)?;
    let options = ExportOptions {
        threads: threads(arguments.staging.threads),
        part_bytes: usize::from(arguments.part_mib) << 20,
        snapshot: !arguments.no_snapshot,
        changed: pipeline.changed.clone(),
        since: base.map(Arc::new),
    };
    let result = runtime.block_on(export(&directory, &source, &pipeline, &options, progress));
    let mut option = "";
    if let Ok(manifest) = &result
        && !was_good
    {
        // What a backup held is not accepted by an export that goes on with it.
        let shrink = shrink.or(record.held.is_some().then_some(&[]));
        let guard = Guard { staging, allow_empty: arguments.allow_empty, shrink };
        option = guard.judge(&directory, manifest, &mut record, progress)?;
    }
    // Together with why it is held: a run that is finished and not held is a good one.
    record.end_with(&directory, Stage::Export, result.is_ok())?;
    match result {
        Ok(manifest) => {
            if let Some(held) = record.held {
                return Err(CommandError::held(directory.run(), held, option).into());
            }
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

/// What decides whether a finished export is a good run, or held.
struct Guard<'g> {
    staging: &'g Path,
    allow_empty: bool,
    /// Of a backup: collections that may shrink.
    shrink: Option<&'g [String]>,
}

impl Guard<'_> {
    /// Compares an export with the last good run before it, and records the outcome. Returns the
    /// option that accepts a run that is held.
    fn judge(
        &self,
        run: &RunDirectory,
        manifest: &ExportManifest,
        record: &mut RunRecord,
        progress: &Arc<dyn Progress>,
    ) -> Result<&'static str, StagingError> {
        let last = last_good(self.staging, run.pipeline(), Some(run.run()))?;
        let before = last.as_ref().map(|(_, manifest)| manifest);
        let all = losses(manifest, before, &Allowed::default());
        let shrink = self.shrink.map(<[String]>::to_vec);
        let allowed = Allowed { empty: self.allow_empty, shrink: shrink.unwrap_or_default() };
        let held = match self.shrink {
            Some(_) => losses(manifest, before, &allowed),
            None => without_collections(manifest, &allowed),
        };
        let text = |losses: &[Loss]| losses.iter().map(Loss::to_string).collect::<Vec<_>>();
        let accepted: Vec<Loss> = all.into_iter().filter(|loss| !held.contains(loss)).collect();
        let compared_with = last.map(|(run, _)| run.run().to_owned());
        for loss in &accepted {
            let than = compared_with.as_ref().map(|run| format!(" (compared with run {run})"));
            progress.note(Stage::Export, &format!("{loss}{}", than.unwrap_or_default()));
        }
        record.accepted = text(&accepted);
        let reasons = text(&held);
        record.held = (!reasons.is_empty()).then_some(Held { compared_with, reasons });
        let empty = held.iter().any(Loss::is_empty_source);
        Ok(if empty { ALLOW_EMPTY } else { ALLOW_SHRINK })
    }
}
