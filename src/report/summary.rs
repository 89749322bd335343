//! The tables at the end of a command.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use crate::load::LoadReport;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{ExportManifest, Snapshot, TransformManifest};
use crate::verify::VerifyReport;

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What was exported.
pub fn export(run: &RunDirectory, manifest: &ExportManifest) -> String {
    let mut rows = table(&["collection", "documents", "BSON bytes", "parts", "staged bytes"]);
    let mut totals = [0; 4];
    for collection in &manifest.collections {
        let staged = collection.parts.iter().map(|part| part.file.bytes).sum::<u64>();
        let numbers = [
            collection.documents,
            collection.document_bytes,
            collection.parts.len() as u64,
            staged,
        ];
        for (total, number) in totals.iter_mut().zip(numbers) {
            *total += number;
        }
        let cells = numbers.map(|number| number.to_string());
        rows.add_row(std::iter::once(collection.name.clone()).chain(cells));
    }
    rows.add_row(std::iter::once("total".to_owned()).chain(totals.map(|total| total.to_string())));
    let mut text = format!("{rows}\nrun {} in {}", run.run(), run.path().display());
    if let Snapshot::None { reason } = &manifest.snapshot {
        let _ = write!(text, "\nno snapshot: {reason}");
    }
    text
}

/// What became of the exported documents.
pub fn transform(run: &RunDirectory, manifest: &TransformManifest) -> String {
    let mut rows = table(&["table", "read", "rows", "rejected", "dropped", "staged bytes"]);
    let mut totals = [0; 5];
    for entry in &manifest.tables {
        let staged = entry.parts.iter().map(|part| part.bytes).sum::<u64>();
        let numbers = [entry.records, entry.rows, entry.rejects, entry.dropped, staged];
        for (total, number) in totals.iter_mut().zip(numbers) {
            *total += number;
        }
        let cells = numbers.map(|number| number.to_string());
        rows.add_row(std::iter::once(entry.definition.name.clone()).chain(cells));
    }
    rows.add_row(std::iter::once("total".to_owned()).chain(totals.map(|total| total.to_string())));
    let mut text = format!("{rows}\nrun {} in {}", run.run(), run.path().display());
    for entry in &manifest.tables {
        for (what, counts) in [("rejected", &entry.rejects_by_rule), ("found", &entry.findings)] {
            for (rule, count) in counts {
                let _ = write!(text, "\n{}: {count} {what} by rule {rule}", entry.definition.name);
            }
        }
    }
    let empty = crate::transform::never_filled(manifest);
    if !empty.is_empty() {
        let _ = write!(text, "\ncolumns that no document fills: {}", empty.join(", "));
    }
    text
}

/// What was loaded.
pub fn load(run: &RunDirectory, report: &LoadReport, target: &str) -> String {
    let mut rows = table(&["table", "rows", "parts copied", "parts there before"]);
    let mut total = 0;
    for entry in &report.tables {
        total += entry.rows;
        rows.add_row([
            entry.table.clone(),
            entry.rows.to_string(),
            entry.parts.to_string(),
            entry.skipped.to_string(),
        ]);
    }
    rows.add_row(["total".to_owned(), total.to_string(), String::new(), String::new()]);
    format!("{rows}\nrun {} is in {target}", run.run())
}

/// What was proved.
pub fn verify(run: &RunDirectory, report: &VerifyReport) -> String {
    let mut rows = table(&["table", "staged rows", "found rows", "content digest", "proved"]);
    for entry in &report.tables {
        let proved = if entry.differences.is_empty() { "yes" } else { "NO" };
        rows.add_row([
            entry.table.clone(),
            entry.staged_rows.to_string(),
            entry.found_rows.to_string(),
            entry.found_digest[..16].to_owned(),
            proved.to_owned(),
        ]);
    }
    let mut text = rows.to_string();
    for entry in &report.tables {
        for difference in &entry.differences {
            let _ = write!(text, "\n{}: {difference}", entry.table);
        }
    }
    let verdict = if report.is_proved() { "every row is proved" } else { "there are differences" };
    let _ = write!(text, "\nrun {}: {verdict}", run.run());
    text
}
