//! Which runs of a pipeline are kept: rules in the manner of backup tools, and what other runs
//! still need. Times are those of the run ids, in UTC.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use jiff::civil::DateTime;
use serde::Serialize;

use super::StagingError;
use super::layout::{RunDirectory, folder_name, io};
use super::lock::{PipelineLock, RunLock};
use super::manifest::{ExportManifest, TransformManifest};
use super::run::{RunRecord, StageState};
use crate::progress::Stage;

/// How many runs are kept: the newest so many, and the newest of each of the last so many hours,
/// days, weeks (from Monday), months and years that have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Newest runs.
    pub last: u32,
    /// Hours.
    pub hourly: u32,
    /// Days.
    pub daily: u32,
    /// Weeks.
    pub weekly: u32,
    /// Months.
    pub monthly: u32,
    /// Years.
    pub yearly: u32,
}

impl Keep {
    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A run as the rules see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Run id.
    pub run: String,
    /// Whether its export is finished.
    pub good: bool,
    /// Why it cannot be told whether it is of use; such a run is for a person to remove.
    pub unclear: Option<String>,
    /// The run that its export adds to.
    pub base: Option<String>,
    /// Whether its rows were loaded; with true, beside those of the run loaded before.
    pub loaded: Option<bool>,
}

/// What becomes of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Run id.
    pub run: String,
    /// Why it is kept; nothing where it is not.
    pub kept_for: Vec<String>,
}

/// When a run began, as its id says.
pub fn time_of(run: &str) -> Option<DateTime> {
    if run.len() != 16 {
        return None;
    }
    DateTime::strptime("%Y%m%dT%H%M%SZ", run).ok()
}

/// Decides over the runs of a pipeline. The result has the same order: oldest first.
pub fn decide(runs: &[Candidate], keep: &Keep) -> Vec<Decision> {
    let mut kept: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let good: Vec<(&str, DateTime)> = runs
        .iter()
        .rev()
        .filter(|run| run.good)
        .filter_map(|run| Some((run.run.as_str(), time_of(&run.run)?)))
        .collect();
    let mut rule = |name: &str, count: u32, period: &dyn Fn(DateTime) -> String| {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        for (run, time) in &good {
            if seen.len() < count as usize && seen.insert(period(*time)) {
                kept.entry(run).or_default().push(format!("{name} {}", seen.len()));
            }
        }
    };
    rule("last", keep.last, &|time| time.to_string());
    rule("hourly", keep.hourly, &|time| time.strftime("%Y%m%d%H").to_string());
    rule("daily", keep.daily, &|time| time.strftime("%Y%m%d").to_string());
    rule("weekly", keep.weekly, &|time| time.strftime("%G-%V").to_string());
    rule("monthly", keep.monthly, &|time| time.strftime("%Y%m").to_string());
    rule("yearly", keep.yearly, &|time| time.strftime("%Y").to_string());
    if let Some((newest, _)) = good.first() {
        kept.entry(newest).or_default().push("the last good run".to_owned());
    }
    let newest_good = good.first().map(|(run, _)| *run);
    for run in runs.iter().filter(|run| !run.good) {
        if let Some(reason) = &run.unclear {
            kept.entry(&run.run).or_default().push(reason.clone());
        } else if newest_good.is_none_or(|newest| run.run.as_str() > newest) {
            kept.entry(&run.run).or_default().push("not finished, may be resumed".to_owned());
        }
    }
    // What the database holds: the last load, and what a rollback of an upsert goes back to.
    let mut loads = runs.iter().rev().filter_map(|run| Some((run, run.loaded?)));
    if let Some((loaded, beside)) = loads.next() {
        let reason = "its rows are loaded: verify and rollback refer to it";
        kept.entry(&loaded.run).or_default().push(reason.to_owned());
        if beside && let Some((before, _)) = loads.next() {
            let reason =
                format!("{} was loaded over it: its rollback goes back to this", loaded.run);
            kept.entry(&before.run).or_default().push(reason);
        }
    }
    // A base has a base of its own: the newest first.
    for run in runs.iter().rev() {
        if let Some(base) = &run.base
            && kept.contains_key(run.run.as_str())
            && let Some(base) = runs.iter().find(|other| other.run == *base)
        {
            kept.entry(&base.run).or_default().push(format!("{} adds to it", run.run));
        }
    }
    runs.iter()
        .map(|run| Decision {
            run: run.run.clone(),
            kept_for: kept.remove(run.run.as_str()).unwrap_or_default(),
        })
        .collect()
}

/// The runs of a pipeline, oldest first.
pub fn candidates(staging: &Path, pipeline: &str) -> Result<Vec<Candidate>, StagingError> {
    let folder = staging.join(folder_name(pipeline));
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io("read", &folder))?,
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| time_of(name).is_some())
        .collect();
    names.sort();
    Ok(names.into_iter().map(|name| candidate(staging, pipeline, name)).collect())
}

fn candidate(staging: &Path, pipeline: &str, run: String) -> Candidate {
    // What cannot be read is no error: the others are judged all the same.
    let directory = RunDirectory::open(staging, pipeline, &run).ok();
    let record = directory.as_ref().and_then(|directory| RunRecord::read(directory).ok());
    let manifest = directory.as_ref().map(ExportManifest::read);
    let unclear = match &manifest {
        Some(Err(StagingError::NotFinished { .. })) => {
            let transform = directory.as_ref().map(TransformManifest::read);
            let rows = matches!(transform, Some(Ok(_)));
            rows.then(|| "it has staged rows, but no export to judge it by".to_owned())
        }
        Some(Err(error)) => Some(format!("its export cannot be read: {error}")),
        _ => None,
    };
    let manifest = manifest.and_then(Result::ok);
    let load = record.as_ref().and_then(|record| record.stages.get(&Stage::Load));
    let loaded = load
        .filter(|load| load.state != StageState::Failed)
        .map(|load| load.mode.as_deref() == Some("upsert"));
    let base = manifest.as_ref().and_then(|manifest| manifest.base.as_ref());
    let base = base.map(|base| base.run.clone());
    Candidate { base, good: manifest.is_some(), unclear, loaded, run }
}

/// Removes what is not kept. A run goes under another name first, so that it is never there in
/// part. The lock keeps a run that is being written away from this.
pub fn prune(
    staging: &Path,
    pipeline: &str,
    keep: &Keep,
    dry_run: bool,
) -> Result<Vec<Decision>, StagingError> {
    let _lock = PipelineLock::take(staging, pipeline)?;
    let folder = staging.join(folder_name(pipeline));
    let mut decisions = decide(&candidates(staging, pipeline)?, keep);
    if dry_run {
        return Ok(decisions);
    }
    for decision in decisions.iter_mut().filter(|decision| decision.kept_for.is_empty()) {
        let Some(_taken) = RunLock::take(&folder.join(&decision.run))? else {
            decision.kept_for.push("another process reads it".to_owned());
            continue;
        };
        let (from, to) =
            (folder.join(&decision.run), folder.join(format!("{REMOVED}{}", decision.run)));
        fs::rename(&from, &to).map_err(io("rename", &from))?;
    }
    for entry in fs::read_dir(&folder).map_err(io("read", &folder))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(REMOVED) {
            let path = entry.path();
            fs::remove_dir_all(&path).map_err(io("remove", &path))?;
        }
    }
    Ok(decisions)
}

/// Begins the name of a run that is being removed.
const REMOVED: &str = ".removing-";

#[cfg(test)]
mod tests {
    use super::*;

    fn good(run: &str) -> Candidate {
        Candidate { run: run.to_owned(), good: true, unclear: None, base: None, loaded: None }
    }

    fn kept(runs: &[Candidate], keep: &Keep) -> Vec<String> {
        let decisions = decide(runs, keep).into_iter();
        decisions.filter(|one| !one.kept_for.is_empty()).map(|one| one.run).collect()
    }

    #[test]
    fn the_newest_of_each_period_is_kept() {
        let runs: Vec<Candidate> = [
            "20251230T010000Z",
            "20251231T010000Z",
            "20260101T010000Z",
            "20260101T020000Z",
            "20260101T023000Z",
            "20260105T010000Z",
            "20260201T010000Z",
        ]
        .map(good)
        .into();
        let rule = |keep: Keep| kept(&runs, &keep);
        assert_eq!(
            rule(Keep { last: 2, ..Keep::default() }),
            ["20260105T010000Z", "20260201T010000Z"]
        );
        assert_eq!(
            rule(Keep { hourly: 3, ..Keep::default() }),
            ["20260101T023000Z", "20260105T010000Z", "20260201T010000Z"]
        );
        assert_eq!(
            rule(Keep { daily: 4, ..Keep::default() }),
            ["20251231T010000Z", "20260101T023000Z", "20260105T010000Z", "20260201T010000Z"]
        );
        // 29 December 2025 to 4 January 2026 are one week.
        assert_eq!(
            rule(Keep { weekly: 9, ..Keep::default() }),
            ["20260101T023000Z", "20260105T010000Z", "20260201T010000Z"]
        );
        assert_eq!(
            rule(Keep { monthly: 2, ..Keep::default() }),
            ["20260105T010000Z", "20260201T010000Z"]
        );
        assert_eq!(
            rule(Keep { yearly: 2, ..Keep::default() }),
            ["20251231T010000Z", "20260201T010000Z"]
        );
        assert_eq!(rule(Keep::default()), ["20260201T010000Z"], "never the last good run");
    }

    #[test]
    fn what_another_run_needs_is_kept_and_named() {
        let mut runs: Vec<Candidate> =
            ["20260101T010000Z", "20260102T010000Z", "20260103T010000Z", "20260104T010000Z"]
                .map(good)
                .into();
        runs[2].base = Some(runs[1].run.clone());
        runs[3].base = Some(runs[2].run.clone());
        let decisions = decide(&runs, &Keep { last: 1, ..Keep::default() });
        assert_eq!(decisions[0].kept_for, Vec::<String>::new());
        assert_eq!(decisions[1].kept_for, ["20260103T010000Z adds to it"]);
        assert_eq!(decisions[2].kept_for, ["20260104T010000Z adds to it"]);

        let mut runs: Vec<Candidate> =
            ["20260101T010000Z", "20260102T010000Z", "20260103T010000Z"].map(good).into();
        runs[0].loaded = Some(false);
        runs[1].loaded = Some(true);
        assert_eq!(kept(&runs, &Keep { last: 1, ..Keep::default() }).len(), 3);
        runs[1].loaded = Some(false);
        assert_eq!(kept(&runs, &Keep { last: 1, ..Keep::default() }).len(), 2);
    }

    #[test]
    fn what_was_not_finished_counts_for_no_rule() {
        let mut runs: Vec<Candidate> =
            ["20260101T010000Z", "20260102T010000Z", "20260103T010000Z", "20260104T010000Z"]
                .map(good)
                .into();
        runs[1].good = false;
        runs[3].good = false;
        let keep = Keep { daily: 2, ..Keep::default() };
        runs[1].unclear = Some("its export cannot be read".to_owned());
        assert_eq!(kept(&runs, &keep).len(), 4, "it is for a person to remove");
        runs[1].unclear = None;
        // The older one is in nobody's way to be resumed any more.
        assert_eq!(
            kept(&runs, &keep),
            ["20260101T010000Z", "20260103T010000Z", "20260104T010000Z"]
        );
    }
}
