//! `docferry backup`, `docferry prune` and `docferry runs`: exports under a schedule.

use std::sync::Arc;

use serde_json::json;

use super::{address, doctor, export, load_pipeline};
use crate::cli::{BackupArguments, PruneArguments, RunsArguments};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::{Finished, summary};
use crate::staging::retention::{Decision, candidates, prune as prune_runs};

pub(super) fn run(
    arguments: &BackupArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    if arguments.export.resume.is_none() {
        let source = address::source(&arguments.export.source)?;
        doctor::check_source(&source, None, &arguments.export.staging.staging, progress)?;
    }
    let (directory, manifest) = export::stage(
        &arguments.export,
        Some(&arguments.since),
        Some(&arguments.allow_shrink),
        progress,
    )?;
    let mut text = summary::export(&directory, &manifest);
    // Only after success, so that a night that failed costs no run.
    let keep = arguments.keep.rules();
    let staging = &arguments.export.staging.staging;
    let pruned = if keep.is_empty() {
        Vec::new()
    } else {
        let pruned =
            prune_runs(staging, directory.pipeline(), &keep, Some(directory.run()), false)?;
        text.append(summary::pruned(&pruned, false));
        pruned
    };
    let value = json!({
        "run": directory.run(), "began_at": export::began_at(&directory), "export": manifest,
        "pruned": told(&pruned),
    });
    Ok(Finished { exit: export::exit(&manifest), text, value })
}

fn told(decisions: &[Decision]) -> serde_json::Value {
    let (removed, kept): (Vec<_>, Vec<_>) =
        decisions.iter().partition(|decision| decision.kept_for.is_empty());
    let removed: Vec<&str> = removed.iter().map(|decision| decision.run.as_str()).collect();
    json!({"removed": removed, "kept": kept})
}

pub(super) fn prune(arguments: &PruneArguments) -> Result<Finished, Failure> {
    let keep = arguments.keep.rules();
    if keep.is_empty() {
        return Err(super::CommandError::NoRules.into());
    }
    let pipeline = load_pipeline(&arguments.of.pipeline.pipeline)?;
    let decisions =
        prune_runs(&arguments.of.staging, &pipeline.name, &keep, None, arguments.dry_run)?;
    let text = summary::pruned(&decisions, arguments.dry_run);
    Ok(Finished::done(text, json!({"dry_run": arguments.dry_run, "pruned": told(&decisions)})))
}

pub(super) fn runs(arguments: &RunsArguments) -> Result<Finished, Failure> {
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let staging = &arguments.staging;
    let found = candidates(staging, &pipeline.name)?;
    let lines = summary::run_lines(staging, &pipeline.name, &found);
    Ok(Finished::done(summary::runs(&lines), json!({"pipeline": pipeline.name, "runs": lines})))
}
