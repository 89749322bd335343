//! The collections of a source against those of a pipeline file.

use std::collections::BTreeSet;

use super::{Check, State, names};
use crate::pipeline::model::{CURE_OF_MISSING, CURE_OF_UNPLACED, Pipeline};

pub(super) const ABOUT: &str = "pipeline file";

/// Whether a transform would find what it needs, and leave nothing over.
pub(super) fn compare(pipeline: &Pipeline, found: &BTreeSet<&str>) -> Vec<Check> {
    let pipeline = pipeline.resolved(|name| found.contains(name));
    let missing = pipeline.missing(|name| found.contains(name));
    let unplaced = pipeline.unplaced(found.iter().copied());
    let mut checks = Vec::new();
    if !missing.is_empty() {
        let detail = format!("the source has no collection {}", names(&missing));
        checks.push(Check::new(State::Failure, ABOUT, detail).cured(CURE_OF_MISSING));
    }
    if !unplaced.is_empty() {
        let unplaced = names(&unplaced);
        let detail =
            format!("the pipeline file does not say what becomes of collection {unplaced}");
        checks.push(Check::new(State::Failure, ABOUT, detail).cured(CURE_OF_UNPLACED));
    }
    if checks.is_empty() {
        let detail = format!("all {} collections have their place", found.len());
        checks.push(Check::fine(ABOUT, detail));
    }
    checks
}
