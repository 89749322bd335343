//! Nothing is empty that nobody asked to be empty: collections, paths and columns.

use std::collections::BTreeMap;

use super::TransformError;
use super::plan::{Input, Plan};
use super::write::PartResult;
use crate::pipeline::model::Pipeline;
use crate::progress::{Progress, Stage};
use crate::staging::manifest::{ExportManifest, TableManifest, TransformManifest};

/// Every mapped collection exists, and every exported one is mapped or left out on purpose.
pub(super) fn check_collections(
    pipeline: &Pipeline,
    export: &ExportManifest,
) -> Result<BTreeMap<String, u64>, TransformError> {
    let names = pipeline.missing(|name| export.has(name));
    if !names.is_empty() {
        return Err(TransformError::MissingCollections { names });
    }
    let names = pipeline.unplaced(export.collections.iter().map(|found| found.name.as_str()));
    let ignored = export.collections.iter().filter(|found| !pipeline.takes(&found.name));
    let ignored = ignored.map(|found| (found.name.clone(), found.documents)).collect();
    if names.is_empty() { Ok(ignored) } else { Err(TransformError::UnmappedCollections { names }) }
}

/// A required column, junction array or `each` path that occurs in no document at all is an error:
/// an empty result that nobody asked for.
pub(super) fn check_presence(
    plan: &Plan,
    results: &[Vec<PartResult>],
) -> Result<(), TransformError> {
    let mut paths = Vec::new();
    for (table, parts) in plan.tables.iter().zip(results) {
        let documents_read = parts.iter().map(|part| part.records).sum::<u64>();
        if table.each.is_some()
            && !parts.is_empty()
            && !table.optional
            && !parts.iter().any(|part| part.each_seen)
        {
            paths.push(format!("table {}: its `each` path occurs in no document", table.name));
        }
        if documents_read == 0 {
            continue;
        }
        let seen = |slot: usize| parts.iter().any(|part| part.seen.get(slot) == Some(&true));
        for column in &table.columns {
            if let Input::Slots(slots) = &column.input
                && !column.nullable
                && !column.optional
                && !slots.iter().any(|slot| seen(*slot))
            {
                paths.push(format!(
                    "table {}: field {} of required column {} occurs in no document of {}",
                    table.name, column.field, column.name, table.source
                ));
            }
        }
        for array in table.arrays.iter().filter(|array| !array.optional && !seen(array.slot)) {
            paths.push(format!(
                "array {} of junction {} occurs in no document",
                array.path, plan.junctions[array.junction].definition.name
            ));
        }
    }
    if paths.is_empty() { Ok(()) } else { Err(TransformError::NeverPresent { paths }) }
}

/// Says of which arrays PostgreSQL does not tell what they were: rows of another table stand for
/// their elements, and nothing stands for what an array without elements is.
pub(super) fn note_absences(plan: &Plan, tables: &[TableManifest], progress: &dyn Progress) {
    for (table, manifest) in plan.tables.iter().zip(tables) {
        for (array, counts) in table.absences.iter().zip(&manifest.arrays) {
            let kinds = [
                (counts.empty, "empty"),
                (counts.null, "null"),
                (counts.missing, "missing"),
                (counts.undefined, "undefined"),
            ];
            let there: Vec<String> = kinds
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, kind)| format!("{kind} in {count}"))
                .collect();
            if array.told || there.len() < 2 {
                continue;
            }
            progress.note(
                Stage::Transform,
                &format!(
                    "{}.{} is {}: one thing in PostgreSQL; a column with `presence = true` tells \
                     them apart",
                    table.name,
                    array.path,
                    there.join(", ")
                ),
            );
        }
    }
}

/// Columns that are nullable and hold nothing at all: probably a wrong path.
pub fn never_filled(manifest: &TransformManifest) -> Vec<String> {
    let tables = manifest.tables.iter().filter(|table| table.rows > 0);
    tables
        .flat_map(|table| {
            let empty = table.columns.iter().filter(|column| column.present == 0);
            empty.map(|column| format!("{}.{}", table.definition.name, column.name))
        })
        .collect()
}
