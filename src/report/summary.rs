//! The tables at the end of a command.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use indicatif::HumanCount;
use serde::Serialize;

use super::lines::{Lines, Table};
use super::proof::rules;
use crate::audit::{AuditReport, Level, Rows};
use crate::dump::DumpManifest;
use crate::load::{ForgetReport, LoadPlan, LoadReport, RollbackReport};
use crate::plan::{Drift, Plan};
use crate::progress::Stage;
use crate::restore::{Destination, RestoreReport};
use crate::sql::printable;
use crate::staging::inventory::{SourceObject, tally};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, ExportManifest, Snapshot, TransformManifest};
use crate::staging::rejects::{List, Reject};
use crate::staging::retention::{Candidate, Decision};
use crate::staging::run::{RunRecord, StageState};

pub(super) fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

/// Rows of a name and numbers, with their totals at the end.
pub(super) struct Sums<const N: usize> {
    rows: Table,
    totals: [u64; N],
}

impl<const N: usize> Sums<N> {
    pub(super) fn new(header: &[&str]) -> Self {
        Self { rows: Table::new(header), totals: [0; N] }
    }

    pub(super) fn add(&mut self, name: &str, numbers: [u64; N], last: Option<&str>) {
        for (total, number) in self.totals.iter_mut().zip(numbers) {
            *total += number;
        }
        let cells = numbers.map(count).into_iter().chain(last.map(str::to_owned));
        self.rows.add_row(std::iter::once(name.to_owned()).chain(cells));
    }

    pub(super) fn finish(mut self) -> Table {
        self.add("total", self.totals, None);
        self.rows
    }
}

/// Objects that were left out and are named with their reasons.
const NAMED_OBJECTS: usize = 20;

/// The objects of a source: how many were taken, and which were left out; a line each.
pub fn inventory(objects: &[SourceObject]) -> Lines {
    let mut text = Lines::default();
    if objects.is_empty() {
        return text;
    }
    let sums = tally(objects);
    let many = |number: u64, what: &str| {
        format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
    };
    let mut taken = format!("source: {} taken", many(sums.taken, "object"));
    if objects.iter().any(|object| object.records.is_some()) {
        let _ = write!(taken, " with {}", many(sums.records, "record"));
    }
    line!(text, "{taken}, {} left out", count(sums.left_out));
    let left = objects.iter().filter_map(|object| Some((object, object.reason()?)));
    for (object, reason) in left.clone().take(NAMED_OBJECTS) {
        line!(text, "left out: {} {} ({reason})", object.kind, object.name);
    }
    let unnamed = left.count().saturating_sub(NAMED_OBJECTS);
    if unnamed > 0 {
        line!(text, "left out: {} more", count(unnamed as u64));
    }
    text
}

/// What was exported.
pub fn export(run: &RunDirectory, manifest: &ExportManifest) -> Lines {
    let header = ["collection", "documents", "rejected", "BSON bytes", "parts", "staged bytes"];
    let mut rows = Sums::new(&header);
    for collection in &manifest.collections {
        let staged = collection.parts.iter().map(|part| part.file.bytes).sum();
        let numbers = [
            collection.documents,
            collection.rejects,
            collection.document_bytes,
            collection.parts.len() as u64,
            staged,
        ];
        rows.add(&collection.name, numbers, None);
    }
    let mut text = Lines::default();
    text.table(&rows.finish());
    line!(text, "run {} in {}", run.run(), run.path().display());
    text.append(inventory(&manifest.source_objects));
    let sum = |number: fn(&CollectionManifest) -> u64| -> u64 {
        manifest.collections.iter().map(number).fold(0, u64::saturating_add)
    };
    let (records, rejects) = (sum(CollectionManifest::records), sum(|one| one.rejects));
    if rejects > 0 {
        let list = run.resolve(&List::Rejects.path(Stage::Export));
        let loud = if rejects >= records - rejects { "WARNING: " } else { "" };
        line!(
            text,
            "{loud}{} of {} records are no documents (each is in {})",
            count(rejects),
            count(records),
            list.display()
        );
    }
    if let Some(base) = &manifest.base {
        let changed = manifest.collections.iter().filter_map(|found| found.changes.as_ref());
        let deleted: u64 =
            changed.flat_map(|changes| &changes.deleted).map(|part| part.file.rows).sum();
        line!(text, "it adds to run {}; {} deleted documents", base.run, count(deleted));
    }
    if let Snapshot::None { reason } = &manifest.snapshot {
        line!(text, "no snapshot: {reason}");
    }
    text
}

/// What was looked at for a draft.
pub fn planned(plan: &Plan, path: &Path) -> Lines {
    let mut rows = Sums::new(&["collection", "documents", ""]);
    for (name, documents, whole) in &plan.collections {
        rows.add(name, [*documents], Some(if *whole { "" } else { "sample" }));
    }
    let file = path.display();
    let mut text = Lines::default();
    text.table(&rows.finish());
    text.append(inventory(&plan.objects));
    for (name, rejected, example) in &plan.rejected {
        let records = match rejected {
            1 => "1 record is no document and will be a reject".to_owned(),
            many => format!("{} records are no documents and will be rejects", count(*many)),
        };
        line!(text, "{name}: {records}: {example}");
    }
    line!(text, "{file}: {} points to decide, marked `decide:`", count(plan.decisions as u64));
    text
}

/// What changed since a pipeline file was written.
pub fn drift(found: &[Drift], pipeline: &str) -> Lines {
    if found.is_empty() {
        return Lines::of(format_args!("the source is as {pipeline} expects it"));
    }
    let mut rows = Table::plain(&["field", "change", "what"]);
    for one in found {
        let field = one.field.as_ref().map_or_else(String::new, |field| format!(".{field}"));
        let field = format!("{}{field}", one.collection);
        rows.add_row([field.as_str(), one.change.name(), one.detail.as_str()]);
    }
    let mut text = Lines::default();
    text.table(&rows);
    line!(text, "{} differences from {pipeline}", count(found.len() as u64));
    text
}

/// What was seen of a run.
pub fn audit(run: &RunDirectory, report: &AuditReport) -> Lines {
    let mut text = Lines::default();
    let mut exported =
        Sums::new(&["collection", "documents", "rejected", "BSON bytes", "staged bytes"]);
    for one in &report.collections {
        exported.add(&one.name, [one.documents, one.rejects, one.bytes, one.staged_bytes], None);
    }
    if !report.collections.is_empty() {
        text.table(&exported.finish());
    }
    for one in &report.tables {
        let mut rows = Table::new(&["column", "type", "nulls", "distinct", "least", "greatest"]);
        for column in [1, 4, 5] {
            rows.left(column);
        }
        for column in &one.columns {
            let about = if column.distinct_exact { "" } else { "≈ " };
            rows.add_row([
                column.name.clone(),
                column.pg_type.clone(),
                count(column.nulls),
                format!("{about}{}", count(column.distinct)),
                column.least.clone().unwrap_or_default(),
                column.greatest.clone().unwrap_or_default(),
            ]);
        }
        let numbers = [one.rows, one.records, one.rejects, one.merged, one.dropped].map(count);
        let [kept, records, rejects, merged, dropped] = numbers;
        let name = &one.name;
        line!(
            text,
            "{name}: {kept} rows of {records} records, {rejects} rejected, {merged} merged, \
             {dropped} dropped"
        );
        if !one.columns.is_empty() {
            text.table(&rows);
        }
        for reference in &one.references {
            line!(
                text,
                "  {} to {}: {} lead to a row, {} led nowhere",
                reference.columns,
                reference.target,
                count(reference.matched),
                count(reference.dangling)
            );
        }
        for refused in &one.refused {
            let column =
                refused.column.as_ref().map_or_else(String::new, |name| format!(".{name}"));
            let (rule, number) = (&refused.rule, count(refused.count));
            line!(text, "  rejected by {rule}{column}: {number} ({})", refused.detail);
        }
    }
    for problem in &report.problems {
        line!(text, "{problem}");
    }
    for remark in &report.remarks {
        line!(text, "{remark}");
    }
    let verdict = if report.problems.is_empty() {
        match report.level {
            Level::Files => {
                "every file is there and has its size; with --hashes or --read-data more is checked"
            }
            Level::Hashes => "every hash agrees",
            Level::Subset(_) => "every file is there, and the hashes and counts of this part agree",
            Level::Data => "every hash and every count agrees",
        }
        .to_owned()
    } else {
        format!("{} problems", report.problems.len())
    };
    if report.level == Level::Data {
        line!(text, "report: {}", run.path().join("report.html").display());
    }
    line!(text, "run {}: {verdict}", run.run());
    text
}

/// Rows of a table.
pub fn rows(found: &Rows, all: u64) -> Lines {
    let header: Vec<&str> = found.columns.iter().map(String::as_str).collect();
    let mut shown = Table::plain(&header);
    for row in &found.rows {
        shown.add_row(row.iter().map(|value| value.as_deref().unwrap_or("NULL")));
    }
    let more = if found.more { ", and more" } else { "" };
    let mut text = Lines::default();
    text.table(&shown);
    line!(text, "{} rows{more}; the table has {}", found.rows.len(), count(all));
    text
}

/// What was restored.
pub fn restore(report: &RestoreReport, destination: &Destination, to: &str) -> Lines {
    let header = ["collection", "documents", "there already", "left out", "indexes"];
    let (mut tables, mut collections) = (Sums::new(&["table", "rows"]), Sums::new(&header));
    for table in &report.tables {
        tables.add(&table.name, [table.rows], None);
        let numbers = [table.rows, table.present, table.conflicts, table.indexes as u64];
        collections.add(&table.name, numbers, None);
    }
    let mut text = Lines::default();
    text.table(&match destination {
        Destination::Sqlite(_) => tables.finish(),
        _ => collections.finish(),
    });
    match destination {
        Destination::Sqlite(_) => line!(text, "every row was read back from {to}"),
        Destination::Server(_) => line!(text, "in {to}"),
        Destination::Dump(_) | Destination::Archive(_) => line!(text, "written to {to}"),
    }
    if !report.views.is_empty() {
        line!(text, "views: {}", report.views.join(", "));
    }
    for (collection, id) in &report.conflicts {
        line!(text, "{collection}: {id} is there with other content and was left out");
    }
    for refused in &report.refused {
        let of = if refused.kind == "view" { "" } else { &format!("{}: ", refused.collection) };
        let (kind, name, detail) = (refused.kind, &refused.name, &refused.detail);
        line!(text, "{of}{kind} {name} was refused and is not there: {detail}");
    }
    for note in &report.notes {
        line!(text, "{note}");
    }
    text
}

/// A dump beside a run.
pub fn dump(run: &RunDirectory, manifest: &DumpManifest) -> Lines {
    let mut rows = Sums::new(&["table", "rows"]);
    for (name, content) in &manifest.tables {
        rows.add(name, [content.rows], None);
    }
    let file = &manifest.file;
    let mut text = Lines::default();
    text.table(&rows.finish());
    line!(
        text,
        "{} of {}: {} bytes, SHA-256 {}",
        run.resolve(&file.path).display(),
        manifest.database,
        count(file.bytes),
        file.sha256
    );
    text
}

/// A restore that was tried.
pub fn restore_check(
    run: &RunDirectory,
    what: &str,
    lines: &[String],
    differences: &[String],
) -> Lines {
    let mut text = Lines::default();
    for line in lines {
        text.push(line);
    }
    for difference in differences {
        line!(text, "{difference}");
    }
    let run = run.run();
    if differences.is_empty() {
        line!(text, "the {what} of run {run} restores: every digest agrees");
    } else {
        line!(text, "the {what} of run {run} does not restore: {} differences", differences.len());
    }
    text
}

/// A run of a pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct RunLine {
    run: String,
    documents: Option<u64>,
    staged_bytes: Option<u64>,
    /// The run that it adds to.
    base: Option<String>,
    /// When it began, by the clock.
    began_at: Option<String>,
    /// Why it is held.
    held: Vec<String>,
    /// Stages and how they ended.
    stages: BTreeMap<Stage, StageState>,
}

/// The runs of a pipeline, oldest first.
pub fn run_lines(staging: &Path, pipeline: &str, runs: &[Candidate]) -> Vec<RunLine> {
    let line = |candidate: &Candidate| {
        let directory = RunDirectory::open(staging, pipeline, &candidate.run).ok();
        let record = directory.as_ref().and_then(|directory| RunRecord::read(directory).ok());
        let manifest = directory.and_then(|directory| ExportManifest::read(&directory).ok());
        let held = record.as_ref().and_then(|record| record.held.clone());
        let began_at = record.as_ref().and_then(|record| record.began_at.clone());
        let stages = record.map(|record| record.stages).unwrap_or_default();
        let sum = |manifest: &ExportManifest| -> u64 {
            manifest.collections.iter().map(|collection| collection.documents).sum()
        };
        RunLine {
            run: candidate.run.clone(),
            documents: manifest.as_ref().map(sum),
            staged_bytes: manifest.map(|found| found.files().map(|file| file.bytes).sum()),
            base: candidate.base.clone(),
            began_at,
            held: held.map(|held| held.reasons).unwrap_or_default(),
            stages: stages.into_iter().map(|(stage, record)| (stage, record.state)).collect(),
        }
    };
    runs.iter().map(line).collect()
}

/// The runs of a pipeline, for a person.
pub fn runs(lines: &[RunLine]) -> Lines {
    let mut rows = Table::new(&["run", "documents", "staged bytes", "adds to", "stages"]);
    for line in lines {
        let stages: Vec<String> = line
            .stages
            .iter()
            .map(|(stage, state)| match state {
                StageState::Done if *stage == Stage::Export && !line.held.is_empty() => {
                    format!("{stage} (held)")
                }
                StageState::Done => stage.to_string(),
                StageState::Running => format!("{stage} (not ended)"),
                StageState::Failed => format!("{stage} (failed)"),
            })
            .collect();
        rows.add_row([
            line.run.clone(),
            line.documents.map(count).unwrap_or_default(),
            line.staged_bytes.map(count).unwrap_or_default(),
            line.base.clone().unwrap_or_default(),
            stages.join(", "),
        ]);
    }
    if lines.is_empty() {
        return Lines::of("there is no run");
    }
    let mut text = Lines::default();
    text.table(&rows);
    for line in lines.iter().filter(|line| !line.held.is_empty()) {
        line!(text, "run {} is held: {}", line.run, line.held.join("; "));
    }
    text
}

/// What a prune did, or would do.
pub fn pruned(decisions: &[Decision], dry_run: bool) -> Lines {
    let mut text = Lines::default();
    let would = if dry_run { "would be " } else { "" };
    let mut removed = 0;
    for decision in decisions {
        if decision.kept_for.is_empty() {
            removed += 1;
            line!(text, "{}: {would}removed", decision.run);
        } else {
            line!(text, "{}: kept, {}", decision.run, decision.kept_for.join("; "));
        }
    }
    let kept = decisions.len() - removed;
    line!(text, "{removed} of {} runs {would}removed, {kept} kept", decisions.len());
    text
}

/// What became of the exported documents.
pub fn transform(run: &RunDirectory, manifest: &TransformManifest) -> Lines {
    let header = ["table", "read", "rows", "rejected", "merged", "dropped", "staged bytes"];
    let mut rows = Sums::new(&header);
    for entry in &manifest.tables {
        let staged = entry.parts.iter().map(|part| part.bytes).sum();
        let (merged, dropped) = (entry.merged(), entry.left_out());
        let numbers = [entry.records, entry.rows, entry.rejects, merged, dropped, staged];
        rows.add(&entry.definition.name, numbers, None);
    }
    for (name, documents) in &manifest.ignored {
        rows.add(&format!("{name} (ignored)"), [*documents, 0, 0, 0, *documents, 0], None);
    }
    for (name, records) in &manifest.unreadable {
        rows.add(&format!("{name} (unreadable)"), [*records, 0, *records, 0, 0, 0], None);
    }
    let mut text = Lines::default();
    text.table(&rows.finish());
    line!(text, "run {} in {}", run.run(), run.path().display());
    let entries = manifest.tables.iter();
    let counts = entries
        .map(|entry| (entry.definition.name.as_str(), &entry.rejects_by_rule, &entry.findings));
    rules(&mut text, run, counts);
    let empty = crate::transform::never_filled(manifest);
    if !empty.is_empty() {
        line!(text, "columns that no document fills: {}", empty.join(", "));
    }
    text
}

/// What was loaded.
pub fn load(run: &RunDirectory, report: &LoadReport, target: &str) -> Lines {
    let mut rows = Sums::new(&["table", "rows", "parts copied", "parts there before"]);
    for entry in &report.tables {
        let numbers = [entry.rows, entry.parts as u64, entry.skipped as u64];
        rows.add(&entry.table, numbers, None);
    }
    let mut text = Lines::default();
    text.table(&rows.finish());
    for left in &report.left_out {
        line!(text, "{left}");
    }
    line!(text, "run {} is in {target}", run.run());
    text
}

/// What a load would do.
pub fn plan(plan: &LoadPlan, target: &str) -> Lines {
    let mut text = Lines::default();
    line!(text, "-- what a load into {target} would do; nothing was written");
    for difference in &plan.differences {
        line!(text, "-- differs: {difference}");
    }
    for step in &plan.steps {
        let sql = printable(&step.sql);
        match step.rows {
            Some(rows) => text.file(&format!("{sql}; -- {} rows", count(rows))),
            None => text.file(&format!("{sql};")),
        }
    }
    text
}

/// How many records were refused, by table and rule, with an example each.
pub fn reject_counts(
    run: &RunDirectory,
    counts: &BTreeMap<(String, String), (u64, String)>,
) -> Lines {
    if counts.is_empty() {
        return Lines::of(format_args!("run {} has no such rejects", run.run()));
    }
    let mut rows = Table::plain(&["table", "rule", "records", "for example"]);
    for ((table, rule), (number, example)) in counts {
        rows.add_row([table.clone(), rule.clone(), count(*number), example.clone()]);
    }
    let mut text = Lines::default();
    text.table(&rows);
    text.push("list them with --list, see one with --show ID");
    text
}

/// Refused records, a line each.
pub fn reject_lines(rejects: &[Reject]) -> Lines {
    let mut text = Lines::default();
    for reject in rejects {
        let table = reject.table.as_ref().unwrap_or(&reject.collection);
        let column = reject.column.as_ref().map(|column| format!(".{column}"));
        let element = reject.element.map(|element| format!(" element {element}"));
        let value =
            if reject.value.is_absent() { String::new() } else { format!(" {}", reject.value) };
        line!(
            text,
            "{table}{} {}{} {}:{value} {}",
            column.unwrap_or_default(),
            reject.id,
            element.unwrap_or_default(),
            reject.rule,
            reject.detail
        );
    }
    text
}

/// Rejects of one document, with the document.
pub fn rejected_documents(rejects: &[Reject]) -> Lines {
    let mut text = reject_lines(rejects);
    if let Some(reject) = rejects.iter().find(|reject| !reject.document.is_absent()) {
        text.json(&reject.document.pretty());
    }
    text
}

/// What a load no longer keeps.
pub fn forget(report: &ForgetReport, target: &str) -> Lines {
    let mut rows = Sums::new(&["table", "earlier rows", "bytes"]);
    for entry in &report.tables {
        rows.add(&entry.table, [entry.rows, entry.bytes], None);
    }
    let mut text = Lines::default();
    text.table(&rows.finish());
    let would = if report.dry_run { "would be" } else { "are" };
    line!(text, "the earlier rows {would} let go in {target}");
    let then = if report.dry_run { "could then" } else { "can" };
    line!(text, "run {} {then} no longer be undone", report.run);
    text
}

/// What a rollback undid.
pub fn rollback(report: &RollbackReport, target: &str) -> Lines {
    let mut rows = Table::new(&["table", "dropped", "rows deleted", "rows put back"]);
    for entry in &report.tables {
        let dropped = if entry.dropped { "yes" } else { "no" };
        let (deleted, restored) = (count(entry.deleted), count(entry.restored));
        rows.add_row([entry.table.clone(), dropped.to_owned(), deleted, restored]);
    }
    let mut text = Lines::default();
    text.table(&rows);
    if !report.hooks.is_empty() {
        let hooks = report.hooks.join(", ");
        line!(text, "SQL files ran with the load; what they did stays: {hooks}");
    }
    for note in &report.notes {
        line!(text, "{note}");
    }
    let would = if report.dry_run { "would be" } else { "is" };
    line!(text, "run {} {would} undone in {target}", report.run);
    text
}
