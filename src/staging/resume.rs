//! Which run a bare `--resume` goes on with.

use std::path::Path;

use super::StagingError;
use super::layout::{LATEST, RunDirectory};
use super::retention::run_ids;
use super::run::RunRecord;
use crate::progress::Stage;

/// The newest run of a source of which some stage was begun and did not end well; otherwise the one
/// that an export goes on with.
pub fn resumable_run(
    staging: &Path,
    pipeline: &str,
    source: &str,
) -> Result<RunDirectory, StagingError> {
    for run in run_ids(staging, pipeline)?.into_iter().rev() {
        let Ok(directory) = RunDirectory::open(staging, pipeline, &run) else { continue };
        let Ok(record) = RunRecord::read(&directory) else { continue };
        let begun = [Stage::Export, Stage::Transform, Stage::Load, Stage::Verify];
        let open = begun
            .into_iter()
            .any(|stage| record.stages.contains_key(&stage) && !record.is_done(stage));
        if record.source == source && open {
            return Ok(directory);
        }
    }
    resumable(staging, pipeline, source)
}

/// The newest run of a source whose export did not end and that no finished one followed; the
/// newest run at all where every one is finished.
pub fn resumable(
    staging: &Path,
    pipeline: &str,
    source: &str,
) -> Result<RunDirectory, StagingError> {
    let mut newest = None;
    for run in run_ids(staging, pipeline)?.into_iter().rev() {
        let Ok(directory) = RunDirectory::open(staging, pipeline, &run) else { continue };
        let Ok(record) = RunRecord::read(&directory) else { continue };
        let finished = record.is_done(Stage::Export);
        if record.source == source && !finished {
            return Ok(directory);
        }
        newest.get_or_insert(directory);
        if finished && record.held.is_none() {
            break;
        }
    }
    match newest {
        Some(newest) => Ok(newest),
        // It says that there is none.
        None => RunDirectory::open(staging, pipeline, LATEST),
    }
}
