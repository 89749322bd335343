//! Records that were refused, once more, under a corrected pipeline file.
//!
//! Only they become rows: the parts that are there stay as they are, and new ones stand beside
//! them. Links that were dangling because their target was refused are added too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::json;

use super::convert::reference_candidates;
use super::journal::TransformJournal;
use super::keys::KeySet;
use super::links::merge_junction;
use super::plan::{Plan, Sources, TablePlan, UniquePlan};
use super::settle::{Prior, settle};
use super::staged::identities;
use super::write::{Context, PartResult, finish_part, links_to};
use super::{RejectLimit, TransformError, TransformOptions, fingerprint, order, tasks};
use crate::document::extended_json;
use crate::document::jsonb::Changed;
use crate::document::raw::Doc;
use crate::pipeline::model::Pipeline;
use crate::progress::{Progress, Stage, Total};
use crate::staging::StagingError;
use crate::staging::checksum::{sha256_file, sha256_hex};
use crate::staging::json_file::replace;
use crate::staging::layout::{RunDirectory, create_folder};
use crate::staging::manifest::{ExportManifest, ExportPart, TableManifest, TransformManifest};
use crate::staging::own_files;
use crate::staging::part::PartFile;
use crate::staging::rejects::{self, List, Reject, RejectWriter};

/// Records of a table that are taken once more: documents by `_id`, with the elements that were
/// refused where the table has one row an element.
#[derive(Default)]
pub(super) struct Only {
    records: HashMap<String, HashSet<u64>>,
}

impl Only {
    pub(super) fn takes(&self, id: &str, element: u64) -> bool {
        self.records.get(id).is_some_and(|elements| elements.contains(&element))
    }
}

/// Transforms the rejects of a finished transform again.
pub fn retry_rejects(
    run: &RunDirectory,
    pipeline: &Pipeline,
    pipeline_text: &str,
    options: &TransformOptions,
    progress: &dyn Progress,
) -> Result<TransformManifest, TransformError> {
    run.recover(Stage::Transform)?;
    let export = ExportManifest::read(run)?;
    let mut manifest = TransformManifest::read(run)?;
    rejects::recover(run, &manifest)?;
    let pipeline = &pipeline.resolved(|name| export.has(name));
    let plan = Plan::new(pipeline, &Sources::of(&export))?;
    if plan.tables.iter().any(|table| table.serial) {
        return Err(TransformError::Unsupported(
            "--retry-rejects does not work with serial keys: transform the whole run".to_owned(),
        ));
    }
    same_tables(&plan, &manifest)?;
    let only = refused(run, &plan)?;
    if only.values().all(|only| only.records.is_empty()) {
        return Ok(manifest);
    }
    let before = manifest.input_sha256.clone();
    let export_sha256 = sha256_file(&run.resolve(ExportManifest::PATH))?;
    let input = fingerprint(pipeline, pipeline_text, &export_sha256);
    manifest.input_sha256 = sha256_hex(format!("retry {before} {input}").as_bytes());
    let next = run.preparing(Stage::Transform);
    next.name_folders(plan.names());
    let journal = TransformJournal::open(&next, &manifest.input_sha256)?;
    let retry = Retry {
        run: &next,
        plan: &plan,
        export: &export,
        journal: &journal,
        limit: &RejectLimit::new(None),
        progress,
        only: &only,
    };
    let added = options.pool()?.install(|| retry.shape(run, &manifest))?;
    journal.settle()?;
    note_nulls(run, &plan, &added, progress)?;

    let mut files: Vec<PartFile> = Vec::new();
    for there in &mut manifest.tables {
        there.retried.push(there.parts.len());
    }
    for (table, more) in added.tables.iter().chain(&added.junctions) {
        let there = manifest.tables.iter_mut().find(|there| there.definition.name == *table);
        let Some(there) = there else { continue };
        files.extend(more.parts.iter().cloned());
        add(there, more);
    }
    for (there, table) in manifest.tables.iter_mut().zip(&plan.tables) {
        there.definition = table.definition.clone();
    }
    manifest.pipeline_sha256 = sha256_hex(pipeline_text.as_bytes());
    let mut writer = RejectWriter::next(run, List::Rejects, Stage::Transform)?;
    for file in &added.reject_lines {
        writer.write_lines(&read_work(&journal, file)?)?;
    }
    manifest.rejects_sha256 = Some(writer.finish()?);
    for file in files {
        let (from, to) = (next.resolve(&file.path), run.resolve(&file.path));
        let folder = to.parent().unwrap_or(run.path());
        create_folder(folder)?;
        fs::rename(&from, &to).map_err(|source| StagingError::Io {
            action: "rename to",
            path: to.clone(),
            source,
        })?;
    }
    replace(&run.resolve("pipeline.toml"), pipeline_text.as_bytes())?;
    manifest.write(run)?;
    rejects::recover(run, &manifest)?;
    // Findings are only a list to read: they are added last.
    let mut findings = rejects::read_bytes(run, List::Findings, Stage::Transform)?;
    for file in &added.finding_lines {
        findings.extend(read_work(&journal, file)?);
    }
    replace(&run.resolve(&List::Findings.path(Stage::Transform)), &findings)?;
    drop(journal);
    run.abandon(Stage::Transform)?;
    Ok(manifest)
}

fn read_work(
    journal: &TransformJournal,
    file: &super::work::WorkFile,
) -> Result<Vec<u8>, TransformError> {
    let path = journal.work().join(&file.name);
    own_files::read(&path).map_err(|source| TransformError::Work { path, source })
}

/// Rows can only be added to tables that stay what they are; an enum may have gained labels.
fn same_tables(plan: &Plan, manifest: &TransformManifest) -> Result<(), TransformError> {
    let junctions = plan.junctions.iter().map(|junction| &junction.definition);
    let wanted = plan.tables.iter().map(|table| &table.definition).chain(junctions);
    let mut changed = Vec::new();
    let mut count = 0;
    for definition in wanted {
        count += 1;
        let there = manifest.tables.iter().find(|there| there.definition.name == definition.name);
        let same = there.is_some_and(|there| {
            let mut with_labels = there.definition.clone();
            for label in &mut with_labels.enums {
                let new = definition.enums.iter().find(|new| new.name == label.name);
                if let Some(new) = new.filter(|new| new.labels.starts_with(&label.labels)) {
                    label.labels.clone_from(&new.labels);
                }
            }
            with_labels == *definition
        });
        if !same {
            changed.push(definition.name.clone());
        }
    }
    if changed.is_empty() && count == manifest.tables.len() {
        return Ok(());
    }
    Err(TransformError::OtherTables { names: changed })
}

/// The refused records of every table.
fn refused(run: &RunDirectory, plan: &Plan) -> Result<HashMap<String, Only>, TransformError> {
    let mut all: HashMap<String, Only> =
        plan.tables.iter().map(|table| (table.name.clone(), Only::default())).collect();
    for line in rejects::lines::<RefusedLine>(run, List::Rejects, Stage::Transform)? {
        let RefusedLine { id, table, element } = line?;
        if let Some(only) = all.get_mut(&table) {
            only.records.entry(id).or_default().insert(element);
        }
    }
    Ok(all)
}

#[derive(serde::Deserialize)]
struct RefusedLine {
    id: String,
    #[serde(default)]
    table: String,
    #[serde(default)]
    element: u64,
}

/// What the retry adds.
struct Added {
    /// Tables and junctions by name; counts are those of the refused records alone.
    tables: Vec<(String, TableManifest)>,
    junctions: Vec<(String, TableManifest)>,
    reject_lines: Vec<super::work::WorkFile>,
    finding_lines: Vec<super::work::WorkFile>,
    /// Keys of the new rows, by set.
    keys: Vec<KeySet>,
}

struct Retry<'r> {
    /// As it is prepared.
    run: &'r RunDirectory,
    plan: &'r Plan,
    export: &'r ExportManifest,
    journal: &'r TransformJournal,
    limit: &'r RejectLimit,
    progress: &'r dyn Progress,
    only: &'r HashMap<String, Only>,
}

impl Retry<'_> {
    fn parts(&self, table: &TablePlan) -> Option<&[ExportPart]> {
        let found = self.export.collections.iter().find(|found| found.name == table.source);
        found.map(|found| found.parts.as_slice())
    }

    fn shape(
        &self,
        staged: &RunDirectory,
        manifest: &TransformManifest,
    ) -> Result<Added, TransformError> {
        let plan = self.plan;
        let there = |name: &str| manifest.tables.iter().find(|there| there.definition.name == name);
        let mut sets: Vec<Option<Arc<KeySet>>> = plan.sets.iter().map(|_| None).collect();
        for (set, (table, column)) in sets.iter_mut().zip(&plan.sets) {
            let table = &plan.tables[*table];
            if let Some(there) = there(&table.name) {
                *set = identities(staged, table, there, &[UniquePlan::plain(vec![*column])])?
                    .pop()
                    .map(Arc::new);
            }
        }
        let before: Vec<Arc<KeySet>> =
            sets.iter().map(|set| set.clone().unwrap_or_default()).collect();
        let mut keys: Vec<KeySet> = plan.sets.iter().map(|_| KeySet::default()).collect();
        let mut results: Vec<Vec<PartResult>> = plan.tables.iter().map(|_| Vec::new()).collect();
        for group in order::groups_of(plan) {
            let mut parts = Vec::new();
            let mut taken = Vec::new();
            for member in &group.tables {
                let table = &plan.tables[*member];
                let only = &self.only[&table.name];
                let mut work = Vec::new();
                if !only.records.is_empty() {
                    work = tasks(*member, self.parts(table).as_ref());
                }
                let first = there(&table.name).map_or(0, next_index);
                for task in &mut work {
                    task.only = Some(only);
                    task.first_index = first;
                }
                parts.push(work);
                let mut groups = table.unique.clone();
                groups.push(UniquePlan::plain(table.key.clone()));
                taken.push(match there(&table.name) {
                    Some(there) => identities(staged, table, there, &groups)?,
                    None => groups.iter().map(|_| KeySet::default()).collect(),
                });
            }
            let prior = Prior { sets: &before, taken };
            let (verdicts, settled) =
                settle(self.run, plan, &group.tables, &parts, &sets, Some(&prior))?;
            for (set, new) in settled {
                sets[set] = Some(Arc::new(before[set].union(&new)));
                keys[set] = new;
            }
            for (at, member) in group.tables.iter().enumerate() {
                let table = &plan.tables[*member];
                let total = self.only[&table.name].records.len() as u64;
                self.progress.start(Stage::Transform, &table.name, Total::Records(total));
                let context = Context {
                    run: self.run,
                    plan,
                    sets: &sets,
                    journal: self.journal,
                    progress: self.progress,
                    rejects: self.limit,
                };
                let written: Result<Vec<PartResult>, TransformError> = parts[at]
                    .par_iter()
                    .map(|task| finish_part(&context, table, task, Some(&verdicts[at][task.index])))
                    .collect();
                results[*member] = written?;
                self.progress.finish(Stage::Transform, &table.name);
            }
        }
        let tables = plan
            .tables
            .iter()
            .zip(&results)
            .map(|(table, results)| (table.name.clone(), super::counts(table, results)));
        let tables = tables.collect();
        let reject_lines =
            results.iter().flatten().filter_map(|part| part.reject_lines.clone()).collect();
        let mut finding_lines: Vec<_> =
            results.iter().flatten().filter_map(|part| part.finding_lines.clone()).collect();
        self.links_of_accepted(&sets, &before, &keys, &mut results)?;
        let mut junctions = Vec::new();
        for (at, junction) in plan.junctions.iter().enumerate() {
            let touched = |part: &PartResult| {
                part.junctions.contains_key(&at) || part.runs.iter().any(|(to, _)| *to == at)
            };
            if !results.iter().flatten().any(touched) {
                continue;
            }
            let name = &junction.definition.name;
            let first = there(name).map_or(0, next_index);
            let merged = merge_junction(
                self.run,
                plan,
                (at, first),
                &results.iter().flatten().collect::<Vec<_>>(),
                &sets,
                self.journal,
                self.progress,
            )?;
            finding_lines.extend(merged.finding_lines);
            junctions.push((name.clone(), merged.manifest));
        }
        Ok(Added { tables, junctions, reject_lines, finding_lines, keys })
    }

    /// Links that accepted rows hold to rows that are accepted only now: they were dangling.
    fn links_of_accepted(
        &self,
        sets: &[Option<Arc<KeySet>>],
        before: &[Arc<KeySet>],
        keys: &[KeySet],
        results: &mut [Vec<PartResult>],
    ) -> Result<(), TransformError> {
        let plan = self.plan;
        let context = Context {
            run: self.run,
            plan,
            sets,
            journal: self.journal,
            progress: self.progress,
            rejects: self.limit,
        };
        for (member, table) in plan.tables.iter().enumerate() {
            let concerned = table
                .arrays
                .iter()
                .any(|array| !keys[plan.junctions[array.junction].sets[1 - array.side]].is_empty());
            if !concerned {
                continue;
            }
            let parts = tasks(member, self.parts(table).as_ref());
            let found: Result<Vec<PartResult>, TransformError> = parts
                .par_iter()
                .map(|task| links_to(&context, table, task, before, keys))
                .collect();
            results[member].extend(found?);
        }
        Ok(())
    }
}

/// The number after that of the last part.
fn next_index(table: &TableManifest) -> usize {
    let number = |file: &PartFile| {
        let (_, name) = file.path.rsplit_once("part-")?;
        name.strip_suffix(".parquet")?.parse::<usize>().ok()
    };
    table.parts.iter().filter_map(number).max().map_or(0, |last| last + 1)
}

/// Adds the outcome of refused records to that of their table.
fn add(there: &mut TableManifest, more: &TableManifest) {
    there.rows += more.rows;
    there.parts.extend(more.parts.iter().cloned());
    for (rule, count) in &more.findings {
        *there.findings.entry(rule.clone()).or_default() += count;
    }
    for (there, more) in there.arrays.iter_mut().zip(&more.arrays) {
        there.filled += more.filled;
        there.empty += more.empty;
        there.null += more.null;
        there.missing += more.missing;
        there.undefined += more.undefined;
    }
    match (&mut there.junction, &more.junction) {
        (Some(there_counts), Some(counts)) => {
            let mut found_now = 0;
            for (path, elements) in &counts.elements {
                if path.is_empty() {
                    // Counted when its row was accepted, as dangling.
                    found_now = *elements;
                } else {
                    *there_counts.elements.entry(path.clone()).or_default() += elements;
                }
            }
            there_counts.both_sides += counts.both_sides;
            there_counts.only_first += counts.only_first;
            there_counts.only_second += counts.only_second;
            there_counts.repeats += counts.repeats;
            there_counts.nulls += counts.nulls;
            there_counts.refused += counts.refused;
            there_counts.dangling = (there_counts.dangling + counts.dangling) - found_now;
            if let Some(dangling) = there.findings.get_mut("dangling") {
                *dangling -= found_now;
            }
            there.records += more.records - found_now;
            there.dropped = there.records - there.rows;
        }
        _ => {
            // They were counted as records and rejects already.
            there.rejects = more.rejects;
            there.rejects_by_rule.clone_from(&more.rejects_by_rule);
            there.dropped += more.dropped;
            for (there, more) in there.columns.iter_mut().zip(&more.columns) {
                there.present += more.present;
                there.null += more.null;
                there.missing += more.missing;
            }
        }
    }
}

/// References that were set to NULL because their target was refused, which is accepted now, stay
/// NULL in rows that are staged: that is said.
fn note_nulls(
    run: &RunDirectory,
    plan: &Plan,
    added: &Added,
    progress: &dyn Progress,
) -> Result<(), TransformError> {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for line in rejects::lines::<Reject>(run, List::Findings, Stage::Transform)? {
        let line = line?;
        if line.rule != "dangling" {
            continue;
        }
        let table = plan.tables.iter().find(|table| Some(&table.name) == line.table.as_ref());
        let column = table.and_then(|table| {
            table.columns.iter().find(|column| Some(&column.name) == line.column.as_ref())
        });
        let (Some(table), Some(column)) = (table, column) else { continue };
        let Some(reference) = &column.reference else { continue };
        let Ok(bytes) = extended_json::to_bson(&json!({ "value": line.value.parsed() })) else {
            continue;
        };
        let value = Doc::new(&bytes).ok().and_then(|held| held.get("value").ok().flatten());
        let found = value.and_then(|value| {
            let mut changed = Changed::default();
            reference_candidates(column, &reference.key_type, &value, &mut changed).ok()
        });
        let keys = found.into_iter().flatten().flatten();
        let mut keys = keys.filter_map(|cell| cell.identity());
        if keys.any(|key| added.keys[reference.set].contains(key)) {
            *counts.entry((table.name.clone(), column.name.clone())).or_default() += 1;
        }
    }
    for ((table, column), count) in counts {
        progress.note(
            Stage::Transform,
            &format!(
                "{count} rows of {table} have NULL in {column} because their target was refused, \
                 which is accepted now: transform the whole run to set them"
            ),
        );
    }
    Ok(())
}
