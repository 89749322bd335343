//! Every record is accounted for: what the manifests and lists of a run must agree on.

use std::collections::BTreeMap;

use super::VerifyError;
use super::account::{Account, Sums};
use crate::pipeline::model::Pipeline;
use crate::progress::Stage;
use crate::staging::inventory;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{ExportManifest, TransformManifest};
use crate::staging::rejects::{List, count_by_table};

/// What does not add up, a sentence each.
pub(super) fn check(
    run: &RunDirectory,
    pipeline: &Pipeline,
    manifest: &TransformManifest,
    export: Option<&ExportManifest>,
) -> Result<Vec<String>, VerifyError> {
    let mut wrong = Vec::new();
    let listed = count_by_table(run, List::Rejects, Stage::Transform)?;
    for table in &manifest.tables {
        let name = &table.definition.name;
        let (records, rows) = (table.records, table.rows);
        if records != rows + table.rejects + table.dropped {
            wrong.push(format!(
                "{name}: {records} records are not {rows} rows, {} rejects and {} dropped",
                table.rejects, table.dropped
            ));
        }
        let in_parts: u64 = table.parts.iter().map(|part| part.rows).sum();
        if in_parts != rows {
            wrong.push(format!("{name}: {rows} rows are not the {in_parts} rows of its parts"));
        }
        let lines = listed.get(name).copied().unwrap_or(0);
        if lines != table.rejects {
            wrong.push(format!("{name}: {} rejects, {lines} of them listed", table.rejects));
        }
        if let Some(links) = &table.junction {
            let elements: u64 = links.elements.values().sum();
            let found = links.only_first
                + links.only_second
                + 2 * links.both_sides
                + links.repeats
                + links.nulls
                + links.dangling
                + links.refused;
            let linked = links.only_first + links.only_second + links.both_sides;
            if elements != found || linked != rows {
                wrong.push(format!(
                    "{name}: {elements} array elements are not accounted for by {rows} rows"
                ));
            }
        }
    }
    if let Some(export) = export {
        collections(pipeline, manifest, export, &mut wrong);
        wrong.extend(inventory::problems(export));
        wrong.extend(export.rejects_not_listed(run)?);
    }
    Ok(wrong)
}

/// No record is left over: `read = arrived + rejected + merged + dropped`, once every staged row was
/// found.
pub(super) fn unaccounted(account: &Account) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |name: &str, sums: &Sums| {
        let Sums { read, arrived, rejected, merged, dropped } = *sums;
        let known = [rejected, merged, dropped].into_iter().fold(arrived, u64::saturating_add);
        if known != read {
            wrong.push(format!(
                "{name}: {read} were read, {arrived} arrived, {rejected} were rejected, {merged} \
                 merged and {dropped} dropped"
            ));
        }
    };
    for collection in &account.collections {
        check(&format!("records of collection {}", collection.name), &collection.sums);
    }
    check("array elements", &account.elements);
    wrong
}

/// Every exported document reached a table, or was left out on purpose.
fn collections(
    pipeline: &Pipeline,
    manifest: &TransformManifest,
    export: &ExportManifest,
    wrong: &mut Vec<String>,
) {
    let mut taken: BTreeMap<&str, u64> = BTreeMap::new();
    for table in pipeline.tables.iter().filter(|table| table.each.is_none()) {
        let found = manifest.tables.iter().find(|entry| entry.definition.name == table.name);
        *taken.entry(&table.source).or_default() += found.map_or(0, |entry| entry.records);
    }
    for collection in &export.collections {
        let name = collection.name.as_str();
        let in_parts: u64 = collection.parts.iter().map(|part| part.file.rows).sum();
        if in_parts != collection.documents {
            wrong.push(format!(
                "collection {name}: {} documents are not the {in_parts} of its parts",
                collection.documents
            ));
        }
        let reached = taken.get(name).or_else(|| manifest.ignored.get(name)).copied().unwrap_or(0);
        if reached != collection.documents {
            wrong.push(format!(
                "collection {name}: {} documents were exported, {reached} reached a table",
                collection.documents
            ));
        }
    }
}
