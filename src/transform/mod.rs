//! Exported parts to typed parts: documents become rows, references are checked against the rows
//! that were accepted, and arrays of ids become junction tables.
//!
//! Tables are shaped in the order of their references, so that the keys of a target are settled
//! before the rows that point to it. Tables with unique columns, and those whose references form a
//! cycle, are read twice: once to settle, once to write. Parts are spread over threads; what a
//! part becomes does not depend on which thread takes it, or when.

mod cell;
mod checks;
mod columns;
mod convert;
pub mod direct;
mod error;
mod findings;
mod ids;
mod journal;
mod junction;
mod keys;
mod limit;
mod links;
mod order;
mod plan;
mod presence;
mod records;
mod retry;
mod row_size;
mod schedule;
mod settle;
mod shape;
mod staged;
pub mod trial;
mod work;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, OnceLock};

pub use error::TransformError;
pub use limit::MaxRejects;
pub use presence::never_filled;
use rayon::prelude::*;
pub use retry::retry_rejects;

use self::journal::{MergedJunction, TransformJournal, fingerprint};
use self::keys::KeySet;
use self::limit::RejectLimit;
use self::links::merge_junction;
use self::plan::{Plan, Sources, TablePlan};
use self::presence::{check_collections, check_presence, note_absences};
use self::retry::Only;
use self::schedule::Piece;
use self::work::WorkFile;
use self::write::{Context, PartResult, begin_part, finish_part, finish_unsettled};
use crate::pipeline::model::Pipeline;
use crate::progress::{Progress, Stage, Total};
use crate::staging::FORMAT_VERSION;
use crate::staging::checksum::{sha256_file, sha256_hex};
use crate::staging::json_file::replace;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{
    ArrayCounts, CollectionManifest, ColumnCounts, ExportManifest, ExportPart, TableManifest,
    TransformManifest,
};
use crate::staging::own_files;
use crate::staging::part;
use crate::staging::rejects::{List, RejectWriter};

/// How a transform is done.
#[derive(Clone, Copy, Debug)]
pub struct TransformOptions {
    /// Threads; the output does not depend on it.
    pub threads: usize,
    /// When the transform ends early because too much is refused.
    pub max_rejects: Option<MaxRejects>,
}

impl TransformOptions {
    fn pool(&self) -> Result<rayon::ThreadPool, TransformError> {
        rayon::ThreadPoolBuilder::new().num_threads(self.threads).build().map_err(|error| {
            TransformError::Unsupported(format!("threads could not be started: {error}"))
        })
    }
}

/// A part to work on.
struct PartTask<'p> {
    table_number: usize,
    index: usize,
    part: &'p ExportPart,
    previous_id: Option<&'p str>,
    /// When refused records are taken once more: which.
    only: Option<&'p Only>,
    /// Number of the first part that is written.
    first_index: usize,
    /// Number of the part's first record in its table, from 1.
    first_number: u64,
}

impl PartTask<'_> {
    /// Whether a record is to be taken: an element of a document where the table has one row an
    /// element, else the document.
    fn takes(&self, id: &str, element: usize) -> bool {
        self.only.is_none_or(|only| only.takes(id, element as u64))
    }
}

/// Transforms the export of a run, or goes on with a transform that was stopped.
///
/// The files of the last transform stay as they are until all of the new ones are there.
pub fn transform(
    run: &RunDirectory,
    pipeline: &Pipeline,
    pipeline_text: &str,
    options: &TransformOptions,
    progress: &dyn Progress,
) -> Result<TransformManifest, TransformError> {
    let export = ExportManifest::read(run)?;
    let pipeline = &pipeline.resolved(|name| export.has(name));
    let plan = Plan::new(pipeline, &Sources::of(&export))?;
    let ignored = check_collections(pipeline, &export)?;
    run.recover(Stage::Transform)?;
    let export_sha256 = sha256_file(&run.resolve(ExportManifest::PATH))?;
    let mut manifest = TransformManifest {
        format_version: FORMAT_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        pipeline: pipeline.name.clone(),
        schema: pipeline.schema.clone(),
        pipeline_sha256: sha256_hex(pipeline_text.as_bytes()),
        input_sha256: fingerprint(pipeline, pipeline_text, &export_sha256),
        export_sha256,
        tables: Vec::new(),
        ignored,
        unreadable: unreadable(&export),
        before_load: pipeline.before_load.clone(),
        after_load: pipeline.after_load.clone(),
        rejects_sha256: None,
    };
    let records = export.collections.iter().map(CollectionManifest::records).sum();
    let limit = RejectLimit::new(options.max_rejects.map(|most| most.of(records)));
    limit.add(manifest.unreadable.values().sum())?;
    if let Some(finished) = finished(run, &manifest.input_sha256, progress)? {
        limit.add(finished.tables.iter().map(|table| table.rejects).sum())?;
        return Ok(finished);
    }
    let next = run.preparing(Stage::Transform);
    next.name_folders(plan.names());
    let journal = TransformJournal::open(&next, &manifest.input_sha256)?;
    let shaped =
        options.pool()?.install(|| shape_tables(&next, &plan, &export, &journal, &limit, progress));
    if matches!(shaped, Err(TransformError::TooManyRejects { .. })) {
        // What was refused so far can be looked at.
        write_lines(run, List::Rejects, journal.work(), &journal.reject_lines())?;
    }
    let Shaped { tables, rejects, findings } = shaped?;
    note_absences(&plan, &tables, progress);
    manifest.tables = tables;
    manifest.rejects_sha256 = Some(write_lines(run, List::Rejects, journal.work(), &rejects)?);
    write_lines(run, List::Findings, journal.work(), &findings)?;
    // The run keeps the mapping that was used.
    replace(&run.resolve("pipeline.toml"), pipeline_text.as_bytes())?;
    manifest.write(&next)?;
    drop(journal);
    run.publish(Stage::Transform)?;
    journal::clear(run)?;
    Ok(manifest)
}

/// Records that the export rejected, by collection.
fn unreadable(export: &ExportManifest) -> BTreeMap<String, u64> {
    let collections = export.collections.iter().filter(|collection| collection.rejects > 0);
    collections.map(|collection| (collection.name.clone(), collection.rejects)).collect()
}

/// The transform of this input, if it was finished before and all its parts are whole.
fn finished(
    run: &RunDirectory,
    input_sha256: &str,
    progress: &dyn Progress,
) -> Result<Option<TransformManifest>, TransformError> {
    let Ok(manifest) = TransformManifest::read(run) else { return Ok(None) };
    if manifest.input_sha256 != input_sha256 {
        return Ok(None);
    }
    for table in &manifest.tables {
        let name = &table.definition.name;
        progress.start(Stage::Transform, name, Total::Records(table.rows));
        for file in table.parts.iter().chain(&table.ids) {
            if let Err(error) = part::check(run, file) {
                progress.note(Stage::Transform, &format!("all is transformed again: {error}"));
                return Ok(None);
            }
            progress.advance(Stage::Transform, name, file.rows, file.bytes);
        }
        progress.finish(Stage::Transform, name);
    }
    journal::clear(run)?;
    Ok(Some(manifest))
}

/// What became of all tables.
struct Shaped {
    tables: Vec<TableManifest>,
    rejects: Vec<WorkFile>,
    findings: Vec<WorkFile>,
}

/// What became of the tables of a group, and the sets that they fill.
struct ShapedGroup {
    results: Vec<Vec<PartResult>>,
    sets: Vec<(usize, Arc<KeySet>)>,
}

/// Shapes the tables of a group; the sets of all others it refers to are there.
fn shape_group(
    earlier: &Context<'_>,
    group: &order::Group,
    collections: &HashMap<&str, &[ExportPart]>,
) -> Result<ShapedGroup, TransformError> {
    let Context { run, plan, progress, .. } = *earlier;
    let parts: Vec<Vec<PartTask<'_>>> = group
        .tables
        .iter()
        .map(|member| tasks(*member, collections.get(plan.tables[*member].source.as_str())))
        .collect();
    let members = group.tables.iter().zip(&parts);
    let mut sets = earlier.sets.to_vec();
    let mut own = Vec::new();
    let start = |table: &TablePlan, parts: &[PartTask<'_>]| {
        let total = parts.iter().map(|task| task.part.file.rows).sum();
        progress.start(Stage::Transform, &table.name, Total::Records(total));
    };
    let mut settled = None;
    let mut unsettled = None;
    if !group.cyclic
        && let ([member], [parts]) = (group.tables.as_slice(), parts.as_slice())
        && must_settle(&plan.tables[*member], parts)
    {
        let table = &plan.tables[*member];
        start(table, parts);
        unsettled = finish_unsettled(earlier, table, parts)?;
    }
    if unsettled.is_none()
        && (group.cyclic
            || members.clone().any(|(member, parts)| must_settle(&plan.tables[*member], parts)))
    {
        let (verdicts, keys) =
            settle::settle(run, plan, &group.tables, &parts, earlier.sets, None)?;
        for (set, keys) in keys {
            sets[set] = Some(Arc::new(keys));
            own.push(set);
        }
        settled = Some(verdicts);
    }
    let mut results = Vec::new();
    for (at, (member, parts)) in members.enumerate() {
        let table = &plan.tables[*member];
        if unsettled.is_none() {
            start(table, parts);
        }
        let context = Context { sets: &sets, ..*earlier };
        let write = |task: &PartTask<'_>| {
            let verdicts = settled.as_ref().map(|settled| &settled[at][task.index]);
            finish_part(&context, table, task, verdicts)
        };
        let mut written = match unsettled.take() {
            Some(written) => written,
            None => parts.par_iter().map(write).collect::<Result<Vec<_>, _>>()?,
        };
        progress.finish(Stage::Transform, &table.name);
        for (feed, (set, _)) in table.feeds.iter().enumerate() {
            if sets[*set].is_none() {
                let feed: Vec<u128> = written
                    .iter_mut()
                    .flat_map(|part| std::mem::take(&mut part.feeds[feed].1))
                    .collect();
                sets[*set] = Some(Arc::new(KeySet::from_feed(feed, plan.is_serial(*set))));
                own.push(*set);
            }
        }
        results.push(written);
    }
    let own = own.into_iter().filter_map(|set| Some((set, sets[set].clone()?))).collect();
    Ok(ShapedGroup { results, sets: own })
}

fn shape_tables(
    run: &RunDirectory,
    plan: &Plan,
    export: &ExportManifest,
    journal: &TransformJournal,
    limit: &RejectLimit,
    progress: &dyn Progress,
) -> Result<Shaped, TransformError> {
    let sets: Vec<OnceLock<Arc<KeySet>>> = plan.sets.iter().map(|_| OnceLock::new()).collect();
    let results: Vec<OnceLock<Vec<PartResult>>> =
        plan.tables.iter().map(|_| OnceLock::new()).collect();
    let merged: Vec<OnceLock<MergedJunction>> =
        plan.junctions.iter().map(|_| OnceLock::new()).collect();
    let collections: HashMap<&str, &[ExportPart]> = export
        .collections
        .iter()
        .map(|collection| (collection.name.as_str(), collection.parts.as_slice()))
        .collect();
    let expected = plan.tables.iter().map(|table| {
        let parts = collections.get(table.source.as_str()).copied().unwrap_or_default();
        let documents = parts.iter().map(|part| part.file.rows).sum();
        (table.name.clone(), Total::Records(documents))
    });
    progress.expect(Stage::Transform, &expected.collect::<Vec<_>>());
    let groups = order::groups_of(plan);
    let pieces = pieces(plan, &groups, &collections);
    schedule::run(&pieces, |piece| {
        let known: Vec<_> = sets.iter().map(|set| set.get().cloned()).collect();
        let Some(group) = groups.get(piece) else {
            let at = piece - groups.len();
            let parts: Vec<&PartResult> =
                results.iter().filter_map(OnceLock::get).flatten().collect();
            let merged = &merged[at];
            return merge_junction(run, plan, (at, 0), &parts, &known, journal, progress)
                .map(|done| _ = merged.set(done));
        };
        let context = Context { run, plan, sets: &known, journal, progress, rejects: limit };
        let shaped = shape_group(&context, group, &collections)?;
        for (member, written) in group.tables.iter().zip(shaped.results) {
            let _ = results[*member].set(written);
        }
        for (set, keys) in shaped.sets {
            let _ = sets[set].set(keys);
        }
        Ok(())
    })?;
    journal.settle()?;
    let results: Vec<Vec<PartResult>> =
        results.into_iter().map(|written| written.into_inner().unwrap_or_default()).collect();
    check_presence(plan, &results)?;

    let mut tables = Vec::new();
    for (table, results) in plan.tables.iter().zip(&results) {
        tables.push(table_manifest(run, table, results)?);
    }
    let mut findings: Vec<WorkFile> =
        results.iter().flatten().filter_map(|part| part.finding_lines.clone()).collect();
    for merged in merged.into_iter().filter_map(OnceLock::into_inner) {
        tables.push(merged.manifest);
        findings.extend(merged.finding_lines);
    }
    let rejects = results.iter().flatten().filter_map(|part| part.reject_lines.clone()).collect();
    Ok(Shaped { tables, rejects, findings })
}

/// The groups and, after them, the junctions, with what must be there before.
fn pieces(
    plan: &Plan,
    groups: &[order::Group],
    collections: &HashMap<&str, &[ExportPart]>,
) -> Vec<Piece> {
    let bytes = |table: &usize| -> u64 {
        let parts = collections.get(plan.tables[*table].source.as_str());
        parts.copied().unwrap_or_default().iter().map(|part| part.document_bytes).sum()
    };
    let targets = order::targets_of(plan, groups);
    let shaped = groups
        .iter()
        .zip(targets)
        .map(|(group, after)| Piece { after, weight: group.tables.iter().map(bytes).sum() });
    let merged = (0..plan.junctions.len()).map(|at| {
        let after = order::sources_of(plan, groups, at);
        // Links are a small part of the documents that hold them.
        let weight = after.iter().flat_map(|group| &groups[*group].tables).map(bytes).sum::<u64>();
        Piece { after, weight: weight / 8 }
    });
    shaped.chain(merged).collect()
}

fn tasks<'p>(table_number: usize, parts: Option<&&'p [ExportPart]>) -> Vec<PartTask<'p>> {
    let mut tasks = Vec::new();
    let (mut previous_id, mut first_number) = (None, 1);
    for (index, part) in parts.copied().unwrap_or_default().iter().enumerate() {
        tasks.push(PartTask {
            table_number,
            index,
            part,
            previous_id,
            only: None,
            first_index: 0,
            first_number,
        });
        previous_id = Some(part.last_id.as_str());
        first_number += part.file.rows;
    }
    tasks
}

/// Whether two records can have the same key or unique values. Keys made from ObjectIds cannot:
/// repeated `_id`s stand side by side and are found while writing.
fn must_settle(table: &TablePlan, parts: &[PartTask<'_>]) -> bool {
    let is_object_id = |id: &str| crate::document::id::parse_object_id_hex(id).is_some();
    // In `_id` order values of one type stand together, so the ends tell of the middle.
    let all_object_ids = parts.first().is_none_or(|task| is_object_id(&task.part.first_id))
        && parts.last().is_none_or(|task| is_object_id(&task.part.last_id));
    !table.unique.is_empty() || !table.key_is_id || !all_object_ids
}

/// The sums over the parts of a table.
fn counts(table: &TablePlan, results: &[PartResult]) -> TableManifest {
    let mut manifest = TableManifest {
        definition: table.definition.clone(),
        records: 0,
        rows: 0,
        rejects: 0,
        dropped: 0,
        parts: Vec::new(),
        ids: Vec::new(),
        rejects_by_rule: BTreeMap::new(),
        findings: BTreeMap::new(),
        columns: Vec::new(),
        arrays: Vec::new(),
        retried: Vec::new(),
        junction: None,
    };
    let mut absences = vec![[0; 5]; table.absences.len()];
    let mut states = vec![[0; 3]; table.columns.len()];
    for part in results {
        manifest.records += part.records;
        manifest.rows += part.rows;
        manifest.rejects += part.rejects;
        manifest.dropped += part.dropped;
        manifest.parts.extend(part.file.clone());
        manifest.ids.extend(part.ids.clone());
        for (rule, count) in &part.rejects_by_rule {
            *manifest.rejects_by_rule.entry(rule.clone()).or_default() += count;
        }
        for (rule, count) in part.findings.iter().filter(|(rule, _)| !rule.contains('\0')) {
            *manifest.findings.entry(rule.clone()).or_default() += count;
        }
        for (total, counts) in states.iter_mut().zip(&part.states) {
            for (total, count) in total.iter_mut().zip(counts) {
                *total += count;
            }
        }
        for (total, counts) in absences.iter_mut().zip(&part.absences) {
            for (total, count) in total.iter_mut().zip(counts) {
                *total += count;
            }
        }
    }
    for (array, [filled, empty, null, missing, undefined]) in table.absences.iter().zip(absences) {
        let path = array.path.clone();
        let counts = ArrayCounts { path, filled, empty, null, missing, undefined };
        manifest.arrays.push(counts);
    }
    for (column, [present, null, missing]) in table.columns.iter().zip(states) {
        manifest.columns.push(ColumnCounts { name: column.name.clone(), present, null, missing });
    }
    manifest
}

fn table_manifest(
    run: &RunDirectory,
    table: &TablePlan,
    results: &[PartResult],
) -> Result<TableManifest, TransformError> {
    let mut manifest = counts(table, results);
    if manifest.parts.is_empty() {
        // The definition must reach the load although there are no rows.
        manifest.parts.push(begin_part(run, table, 0)?.finish()?);
    }
    if manifest.records != manifest.rows + manifest.rejects + manifest.dropped {
        return Err(TransformError::Unbalanced {
            table: table.name.clone(),
            records: manifest.records,
            rows: manifest.rows,
            rejects: manifest.rejects,
            dropped: manifest.dropped,
        });
    }
    Ok(manifest)
}

/// Puts the lists of the parts together, in the order of tables and parts.
fn write_lines(
    run: &RunDirectory,
    list: List,
    work: &Path,
    files: &[WorkFile],
) -> Result<String, TransformError> {
    let mut writer = RejectWriter::create(run, list, Stage::Transform)?;
    for file in files {
        let path = work.join(&file.name);
        let lines = own_files::read(&path)
            .map_err(|source| TransformError::Work { path: path.clone(), source })?;
        writer.write_lines(&lines)?;
    }
    Ok(writer.finish()?)
}
