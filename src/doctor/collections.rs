//! The collections of a source against those of a pipeline file.

use std::collections::BTreeSet;

use super::{Check, State, names};
use crate::pipeline::model::Pipeline;

pub(super) const ABOUT: &str = "pipeline file";

/// Whether a transform would find what it needs, and leave nothing over.
pub(super) fn compare(pipeline: &Pipeline, found: &BTreeSet<&str>) -> Vec<Check> {
    let pipeline = pipeline.resolved(|name| found.contains(name));
    let sources: BTreeSet<&str> =
        pipeline.tables.iter().map(|table| table.source.as_str()).collect();
    let needed = pipeline.tables.iter().filter(|table| !table.optional);
    let missing: BTreeSet<&str> = needed
        .map(|table| table.source.as_str())
        .filter(|source| !found.contains(source))
        .collect();
    let left: Vec<String> = found
        .iter()
        .filter(|name| !sources.contains(*name))
        .filter(|name| !pipeline.ignore.iter().any(|ignored| ignored == *name))
        .map(|name| (*name).to_owned())
        .collect();
    let mut checks = Vec::new();
    if !missing.is_empty() {
        let missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
        let detail = format!("the source has no collection {}", names(&missing));
        checks.push(Check::new(State::Failure, ABOUT, detail).cured(
            "Correct `source`, or write `optional = true` on the table if the collection may be absent.",
        ));
    }
    if !left.is_empty() {
        let detail =
            format!("the pipeline file does not say what becomes of collection {}", names(&left));
        checks.push(Check::new(State::Failure, ABOUT, detail).cured(
            "Map it to a table, or name it in the pipeline file's top-level `ignore` list.",
        ));
    }
    if checks.is_empty() {
        let detail = format!("all {} collections have their place", sources.len());
        checks.push(Check::fine(ABOUT, detail));
    }
    checks
}
