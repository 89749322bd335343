//! Which runs of a pipeline are kept: rules in the manner of backup tools, and what other runs
//! still need. Runs are ordered by their ids, which only grow; the periods of rules are those of
//! the clock when a run began, in UTC.

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
use super::run_id::{REMOVED, time_of};
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
    /// When it began, by the clock.
    pub time: Option<DateTime>,
    /// Whether its export is finished and nobody needs to decide over it.
    pub good: bool,
    /// Whether its export is finished, but held: a person must decide.
    pub held: bool,
    /// Whether its export has documents.
    pub filled: bool,
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

/// Decides over the runs of a pipeline. The result has the same order: oldest first.
pub fn decide(runs: &[Candidate], keep: &Keep) -> Vec<Decision> {
    let mut kept: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let good: Vec<&Candidate> = runs.iter().rev().filter(|run| run.good).collect();
    for (number, run) in good.iter().enumerate().take(keep.last as usize) {
        kept.entry(&run.run).or_default().push(format!("last {}", number + 1));
    }
    let dated = dated(&good);
    let mut rule = |name: &str, count: u32, period: &dyn Fn(DateTime) -> String| {
        let mut seen: BTreeSet<String> = BTreeSet::new();
        let mut places = 0;
        for (run, time, ahead) in &dated {
            if places >= count || !seen.insert(period(*time)) {
                continue;
            }
            let reasons = kept.entry(run).or_default();
            if *ahead {
                // One of two clocks was wrong. A run that takes no place costs no other its own.
                reasons.push(format!("{name}, dated later than a run made after it"));
            } else {
                places += 1;
                reasons.push(format!("{name} {places}"));
            }
        }
    };
    rule("hourly", keep.hourly, &|time| time.strftime("%Y%m%d%H").to_string());
    rule("daily", keep.daily, &|time| time.strftime("%Y%m%d").to_string());
    rule("weekly", keep.weekly, &|time| time.strftime("%G-%V").to_string());
    rule("monthly", keep.monthly, &|time| time.strftime("%Y%m").to_string());
    rule("yearly", keep.yearly, &|time| time.strftime("%Y").to_string());
    let newest_good = good.first().map(|run| run.run.as_str());
    if let Some(newest) = newest_good {
        kept.entry(newest).or_default().push("the last good run".to_owned());
    }
    if let Some(filled) = good.iter().find(|run| run.filled)
        && newest_good != Some(&filled.run)
    {
        let reason = "the last good run that has documents".to_owned();
        kept.entry(&filled.run).or_default().push(reason);
    }
    for run in runs.iter().filter(|run| !run.good) {
        let newer = newest_good.is_none_or(|newest| run.run.as_str() > newest);
        let reason = match &run.unclear {
            Some(reason) => reason,
            // Nothing can be saved of an empty one after a good run.
            None if run.held && (run.filled || newer) => "held: a person must decide",
            None if !run.held && newer => "not finished, may be resumed",
            None => continue,
        };
        kept.entry(&run.run).or_default().push(reason.to_owned());
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
    // A base has a base of its own.
    let mut needed: Vec<&Candidate> =
        runs.iter().rev().filter(|run| kept.contains_key(run.run.as_str())).collect();
    while let Some(run) = needed.pop() {
        let base = run.base.as_ref();
        let base = base.and_then(|base| runs.iter().find(|other| other.run == *base));
        let Some(base) = base else { continue };
        let reason = format!("{} adds to it", run.run);
        let reasons = kept.entry(&base.run).or_default();
        if reasons.is_empty() {
            needed.push(base);
        }
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    runs.iter()
        .map(|run| Decision {
            run: run.run.clone(),
            kept_for: kept.remove(run.run.as_str()).unwrap_or_default(),
        })
        .collect()
}

/// Good runs, newest first, with their times, and whether a run that was made later has an earlier
/// one.
fn dated<'c>(good: &[&'c Candidate]) -> Vec<(&'c str, DateTime, bool)> {
    let mut earliest: Option<DateTime> = None;
    let mut dated = Vec::new();
    for run in good {
        let Some(time) = run.time else { continue };
        dated.push((run.run.as_str(), time, earliest.is_some_and(|earliest| time > earliest)));
        earliest = Some(earliest.map_or(time, |earliest| earliest.min(time)));
    }
    dated
}

/// Ids of the runs of a pipeline, oldest first.
pub fn run_ids(staging: &Path, pipeline: &str) -> Result<Vec<String>, StagingError> {
    let folder = staging.join(folder_name(pipeline));
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io("read", &folder))?,
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io("read", &folder))?;
        let is_folder = entry.file_type().map_err(io("look at", &entry.path()))?.is_dir();
        let name = entry.file_name().into_string().ok();
        ids.extend(name.filter(|name| is_folder && time_of(name).is_some()));
    }
    ids.sort();
    Ok(ids)
}

/// The last good run, of those made before another if one is named, with its export.
pub fn last_good(
    staging: &Path,
    pipeline: &str,
    before: Option<&str>,
) -> Result<Option<(RunDirectory, ExportManifest)>, StagingError> {
    for run in run_ids(staging, pipeline)?.into_iter().rev() {
        if before.is_some_and(|before| run.as_str() >= before)
            || !candidate(staging, pipeline, run.clone()).good
        {
            continue;
        }
        let directory = RunDirectory::open(staging, pipeline, &run)?;
        let manifest = ExportManifest::read(&directory)?;
        return Ok(Some((directory, manifest)));
    }
    Ok(None)
}

/// The runs of a pipeline, oldest first.
pub fn candidates(staging: &Path, pipeline: &str) -> Result<Vec<Candidate>, StagingError> {
    let ids = run_ids(staging, pipeline)?;
    Ok(ids.into_iter().map(|name| candidate(staging, pipeline, name)).collect())
}

fn candidate(staging: &Path, pipeline: &str, run: String) -> Candidate {
    // What cannot be read is no error: the others are judged all the same.
    let folder = staging.join(folder_name(pipeline)).join(&run);
    let Ok(directory) = RunDirectory::open(staging, pipeline, &run) else {
        // A run that was killed at its very beginning has no record either, but no manifest.
        let staged = [ExportManifest::PATH, TransformManifest::PATH];
        let staged = staged.iter().any(|manifest| folder.join(manifest).exists());
        return Candidate {
            time: time_of(&run),
            unclear: staged.then(|| "its run.json is missing".to_owned()),
            ..Candidate::unfinished(run)
        };
    };
    let record = RunRecord::read(&directory);
    let manifest = ExportManifest::read(&directory);
    let unclear = match (&manifest, &record) {
        (Err(StagingError::NotFinished { .. }), _) => {
            let rows = TransformManifest::read(&directory).is_ok();
            rows.then(|| "it has staged rows, but no export to judge it by".to_owned())
        }
        (Err(error), _) => Some(format!("its export cannot be read: {error}")),
        (Ok(_), Err(error)) => Some(format!("its run.json cannot be read: {error}")),
        (Ok(_), Ok(record)) => (!record.is_done(Stage::Export))
            .then(|| "its export is there, but did not end well: resume it".to_owned()),
    };
    let (record, manifest) = (record.ok(), manifest.ok());
    let load = record.as_ref().and_then(|record| record.stages.get(&Stage::Load));
    let loaded = load
        .filter(|load| load.state != StageState::Failed)
        .map(|load| load.mode.as_deref() == Some("upsert"));
    let whole = manifest.is_some() && unclear.is_none();
    let held = whole && record.as_ref().is_some_and(|record| record.held.is_some());
    let time = record.as_ref().and_then(RunRecord::time).or_else(|| time_of(&run));
    Candidate {
        time,
        good: whole && !held,
        held,
        filled: manifest.as_ref().is_some_and(ExportManifest::is_filled),
        base: manifest.and_then(|manifest| manifest.base).map(|base| base.run),
        unclear,
        loaded,
        run,
    }
}

impl Candidate {
    /// A run that did not come far.
    fn unfinished(run: String) -> Self {
        let (good, held, filled) = (false, false, false);
        Self { run, time: None, good, held, filled, unclear: None, base: None, loaded: None }
    }
}

/// Removes what is not kept, but never the run `made` by the command that prunes. A run goes under
/// another name first, so that it is never there in part. The lock keeps a run that is being
/// written away from this.
pub fn prune(
    staging: &Path,
    pipeline: &str,
    keep: &Keep,
    made: Option<&str>,
    dry_run: bool,
) -> Result<Vec<Decision>, StagingError> {
    let _lock = PipelineLock::take(staging, pipeline)?;
    let folder = staging.join(folder_name(pipeline));
    let mut decisions = decide(&candidates(staging, pipeline)?, keep);
    for decision in decisions.iter_mut().filter(|decision| Some(&*decision.run) == made) {
        if decision.kept_for.is_empty() {
            decision.kept_for.push("it was just made".to_owned());
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn good(run: &str) -> Candidate {
        let (time, unfinished) = (time_of(run), Candidate::unfinished(run.to_owned()));
        Candidate { time, good: true, filled: true, ..unfinished }
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
    fn a_wrong_clock_takes_no_place_and_orders_nothing() {
        let days = |days: &[&str]| -> Vec<Candidate> {
            let number = |(number, day): (usize, &&str)| {
                let run = good(&format!("20260101T0000{number:02}Z"));
                Candidate { time: time_of(&format!("{day}T010000Z")), ..run }
            };
            days.iter().enumerate().map(number).collect()
        };
        let kept = |runs: &[Candidate], keep: &Keep| -> Vec<usize> {
            let runs = kept(runs, keep);
            runs.iter().map(|run| run[13..15].parse().unwrap()).collect()
        };
        let runs = days(&["20261101", "20351101", "20261102", "20261103"]);
        assert_eq!(kept(&runs, &Keep { last: 1, ..Keep::default() }), [3]);
        assert_eq!(kept(&runs, &Keep { daily: 2, ..Keep::default() }), [2, 3]);
        assert_eq!(kept(&runs, &Keep { daily: 3, ..Keep::default() }), [0, 1, 2, 3]);
        assert_eq!(kept(&runs, &Keep { yearly: 1, ..Keep::default() }), [3]);
        // One that is dated in the past takes no other's place either.
        let runs = days(&["20261101", "20261102", "19700101", "20261103"]);
        assert_eq!(kept(&runs, &Keep { daily: 3, ..Keep::default() }), [0, 1, 2, 3]);
        assert_eq!(kept(&runs, &Keep { daily: 1, ..Keep::default() }), [3]);
    }

    #[test]
    fn what_a_person_must_decide_over_stays() {
        let mut runs: Vec<Candidate> =
            ["20260101T010000Z", "20260102T010000Z", "20260103T010000Z", "20260104T010000Z"]
                .map(good)
                .into();
        for run in &mut runs[1..] {
            (run.good, run.held) = (false, true);
        }
        runs[2].filled = false;
        let keep = Keep { last: 1, ..Keep::default() };
        assert_eq!(kept(&runs, &keep).len(), 4);
        // It was right again in the fourth night: of an empty one nothing can be saved.
        (runs[3].good, runs[3].held) = (true, false);
        assert_eq!(kept(&runs, &keep), ["20260102T010000Z", "20260104T010000Z"]);
        // A person said that it may be empty: what came before is not removed for that.
        (runs[1].good, runs[1].held) = (true, false);
        (runs[2].good, runs[2].held) = (true, false);
        runs[3].filled = false;
        assert_eq!(kept(&runs, &keep), ["20260102T010000Z", "20260104T010000Z"]);
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
