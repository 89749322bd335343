//! `docferry rejects`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{load_pipeline, told};
use crate::cli::RejectsArguments;
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Stage};
use crate::report::{Finished, summary};
use crate::staging::StagingError;
use crate::staging::latest::{self, Need};
use crate::staging::raw_json::RawJson;
use crate::staging::rejects::{List, Reject, lines};

pub(super) fn run(
    arguments: &RejectsArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let staging = &arguments.staging.staging;
    let found = latest::open(staging, &pipeline.name, &arguments.run, Need::Rows)?;
    let run = told(found, Stage::Transform, progress);
    let mut counts: BTreeMap<(String, String), (u64, String)> = BTreeMap::new();
    let mut shown: Vec<Reject> = Vec::new();
    let mut documents: BTreeMap<String, RawJson> = BTreeMap::new();
    let most = match (&arguments.show, arguments.list) {
        (Some(_), _) => usize::MAX,
        (None, list) => list.unwrap_or(0),
    };
    for stage in [Stage::Export, Stage::Transform] {
        for reject in lines::<Reject>(&run, List::Rejects, stage)? {
            let reject: Reject = reject?;
            let table = reject.table.clone().unwrap_or_else(|| reject.collection.clone());
            // The first line of a document has it for all, whatever else is asked for.
            if arguments.show.as_ref() == Some(&reject.id) && !reject.document.is_absent() {
                documents.entry(reject.collection.clone()).or_insert(reject.document.clone());
            }
            let wanted = |filter: &Option<String>, value: &str| {
                filter.as_ref().is_none_or(|filter| filter == value)
            };
            if !wanted(&arguments.table, &table)
                || !wanted(&arguments.rule, &reject.rule)
                || !wanted(&arguments.show, &reject.id)
            {
                continue;
            }
            let count = counts.entry((table, reject.rule.clone())).or_default();
            count.0 += 1;
            if count.1.is_empty() {
                count.1.clone_from(&reject.detail);
            }
            if shown.len() < most {
                shown.push(reject);
            }
        }
    }
    if let Some(id) = arguments.show.as_ref().filter(|_| shown.is_empty()) {
        return Err(StagingError::NoSuchReject { run: run.run().to_owned(), id: id.clone() }.into());
    }
    if let Some(first) = shown.first_mut().filter(|first| first.document.is_absent()) {
        first.document = documents.remove(&first.collection).unwrap_or_default();
    }
    let text = if arguments.show.is_some() {
        summary::rejected_documents(&shown)
    } else if arguments.list.is_some() {
        summary::reject_lines(&shown)
    } else {
        summary::reject_counts(&run, &counts)
    };
    let counted: Vec<_> = counts
        .iter()
        .map(|((table, rule), (count, example))| {
            json!({"table": table, "rule": rule, "count": count, "example": example})
        })
        .collect();
    let shown: Vec<Value> = shown.iter().map(listed).collect();
    let value = json!({"run": run.run(), "counts": counted, "rejects": shown});
    Ok(Finished { exit: Exit::Done, text, value })
}

/// A line as JSON output has it.
fn listed(reject: &Reject) -> Value {
    // Only what is nested too deeply for the output cannot be had as a value.
    serde_json::to_value(reject).unwrap_or_else(|_| {
        let mut reject = reject.clone();
        for part in [&mut reject.value, &mut reject.element_value, &mut reject.document] {
            *part = part.parsed().into();
        }
        serde_json::to_value(reject).unwrap_or_default()
    })
}
