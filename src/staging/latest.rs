//! The run that `latest` means: the newest whose export is finished and not held. Commands that
//! only read rows, or what was loaded, take the newest run that has them.

use std::path::Path;

use super::StagingError;
use super::layout::{LATEST, RunDirectory};
use super::manifest::TransformManifest;
use super::retention::run_ids;
use super::run::RunRecord;
use crate::progress::Stage;

/// What a command reads of a run besides its export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A finished transform.
    Rows,
    /// A finished transform, or a dump of what was loaded.
    RowsOrDump,
    /// A load.
    Load,
}

impl Need {
    fn is_met(self, run: &RunDirectory) -> bool {
        // A manifest that cannot be read is for the command to report.
        let transformed = || run.resolve(TransformManifest::PATH).exists();
        match self {
            Self::Rows => transformed(),
            Self::RowsOrDump => transformed() || run.resolve("dump/manifest.json").exists(),
            Self::Load => {
                RunRecord::read(run).is_ok_and(|record| record.stages.contains_key(&Stage::Load))
            }
        }
    }
}

/// A run, and the newer one that `latest` would mean were it not for the need.
#[derive(Debug)]
pub struct Found {
    /// The run.
    pub run: RunDirectory,
    /// Id of the newer one.
    pub newer: Option<String>,
}

/// Finds a run of a pipeline by its id, or the newest that has what a command needs by `latest`.
pub fn open(staging: &Path, pipeline: &str, run: &str, need: Need) -> Result<Found, StagingError> {
    let directory = RunDirectory::open(staging, pipeline, run)?;
    choose(directory, staging, run == LATEST, need)
}

/// The same for a run that is named without its pipeline.
pub fn find(staging: &Path, text: &str, need: Need) -> Result<Found, StagingError> {
    let directory = RunDirectory::find(staging, text)?;
    let name = text.rsplit_once('/').map_or(text, |(_, name)| name);
    let below = directory.path().parent().and_then(Path::parent).map(Path::to_owned);
    choose(directory, below.as_deref().unwrap_or(staging), name == LATEST, need)
}

fn choose(
    newest: RunDirectory,
    staging: &Path,
    latest: bool,
    need: Need,
) -> Result<Found, StagingError> {
    if !latest || need.is_met(&newest) {
        return Ok(Found { run: newest, newer: None });
    }
    match newest_with(staging, &newest, need)? {
        Some(run) => Ok(Found { run, newer: Some(newest.run().to_owned()) }),
        None => Ok(Found { run: newest, newer: None }),
    }
}

/// The newest run before another that has what is needed and is not held.
pub fn newest_with(
    staging: &Path,
    before: &RunDirectory,
    need: Need,
) -> Result<Option<RunDirectory>, StagingError> {
    for run in run_ids(staging, before.pipeline())?.into_iter().rev() {
        if run.as_str() >= before.run() {
            continue;
        }
        let Ok(directory) = RunDirectory::open(staging, before.pipeline(), &run) else { continue };
        let held = RunRecord::read(&directory).is_ok_and(|record| record.held.is_some());
        if !held && need.is_met(&directory) {
            return Ok(Some(directory));
        }
    }
    Ok(None)
}
