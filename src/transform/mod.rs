//! Exported parts to typed parts: documents become rows, references are checked against the rows
//! that were accepted, and arrays of ids become junction tables.
//!
//! Tables are shaped in the order of their references, so that the keys of a target are settled
//! before the rows that point to it. Tables with unique columns, and those whose references form a
//! cycle, are read twice: once to settle, once to write. Parts are spread over threads; what a
//! part becomes does not depend on which thread takes it, or when.

mod cell;
mod columns;
mod convert;
mod error;
mod junction;
mod keys;
mod order;
mod plan;
mod records;
mod settle;
mod shape;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

pub use error::TransformError;
use rayon::prelude::*;

use self::cell::{Cell, unordered};
use self::columns::BatchBuilder;
use self::junction::Merge;
use self::keys::KeySet;
use self::plan::{JunctionPlan, Plan, TablePlan};
use self::settle::describe_key;
use self::write::{Context, PartResult, begin_part, write_part};
use crate::pgcopy::PgType;
use crate::pipeline::model::Pipeline;
use crate::progress::{Progress, Stage, Total};
use crate::staging::checksum::{sha256_file, sha256_hex};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{
    ColumnCounts, ExportManifest, ExportPart, JunctionCounts, TableManifest, TransformManifest,
};
use crate::staging::part::{PartFile, PartWriter};
use crate::staging::rejects::{List, Reject, RejectWriter};
use crate::staging::schema::{table_properties, table_schema};
use crate::staging::{FORMAT_VERSION, StagingError};

/// Rows of a junction table's part: 32 MB of keys.
const JUNCTION_PART_ROWS: u64 = 1_000_000;
/// Rows of a junction's batch.
const JUNCTION_BATCH_ROWS: usize = 65_536;
/// Lines listed per junction and rule; beyond it findings are only counted.
const LISTED_FINDINGS: u64 = 10_000;

/// How a transform is done.
#[derive(Clone, Copy, Debug)]
pub struct TransformOptions {
    /// Threads; the output does not depend on it.
    pub threads: usize,
}

/// A part to work on.
pub(crate) struct PartTask<'p> {
    pub(crate) table_number: usize,
    pub(crate) index: usize,
    pub(crate) part: &'p ExportPart,
    pub(crate) previous_id: Option<&'p str>,
}

/// Transforms the export of a run.
pub fn transform(
    run: &RunDirectory,
    pipeline: &Pipeline,
    pipeline_text: &str,
    options: &TransformOptions,
    progress: &dyn Progress,
) -> Result<TransformManifest, TransformError> {
    let export = ExportManifest::read(run)?;
    let plan = Plan::new(pipeline)?;
    let ignored = check_collections(&plan, pipeline, &export)?;
    let directory = run.stage_directory(Stage::Transform);
    let clean = |path: &Path| match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StagingError::Io { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    };
    clean(&directory)?;
    let work = directory.join(".work");
    fs::create_dir_all(&work).map_err(|source| StagingError::Io {
        action: "create",
        path: work.clone(),
        source,
    })?;
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(options.threads).build().map_err(|error| {
            TransformError::Unsupported(format!("threads could not be started: {error}"))
        })?;
    let (tables, rejects, findings) =
        pool.install(|| shape_tables(run, &plan, &export, &work, progress))?;
    write_lines(run, List::Rejects, &rejects)?;
    write_lines(run, List::Findings, &findings)?;
    clean(&work)?;
    let manifest = TransformManifest {
        format_version: FORMAT_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        pipeline: pipeline.name.clone(),
        schema: pipeline.schema.clone(),
        pipeline_sha256: sha256_hex(pipeline_text.as_bytes()),
        export_sha256: sha256_file(&run.resolve(ExportManifest::PATH))?,
        tables,
        ignored,
        before_load: pipeline.before_load.clone(),
        after_load: pipeline.after_load.clone(),
    };
    manifest.write(run)?;
    Ok(manifest)
}

/// Every mapped collection exists, and every exported one is mapped or left out on purpose.
fn check_collections(
    plan: &Plan,
    pipeline: &Pipeline,
    export: &ExportManifest,
) -> Result<BTreeMap<String, u64>, TransformError> {
    let exported: HashMap<&str, u64> = export
        .collections
        .iter()
        .map(|collection| (collection.name.as_str(), collection.documents))
        .collect();
    let mut names: Vec<String> = plan
        .tables
        .iter()
        .filter(|table| !table.optional && !exported.contains_key(table.source.as_str()))
        .map(|table| table.source.clone())
        .collect();
    names.dedup();
    if !names.is_empty() {
        return Err(TransformError::MissingCollections { names });
    }
    let mut ignored = BTreeMap::new();
    let mut names = Vec::new();
    for collection in &export.collections {
        if plan.tables.iter().any(|table| table.source == collection.name) {
            continue;
        }
        if pipeline.ignore.contains(&collection.name) {
            ignored.insert(collection.name.clone(), collection.documents);
        } else {
            names.push(collection.name.clone());
        }
    }
    if names.is_empty() { Ok(ignored) } else { Err(TransformError::UnmappedCollections { names }) }
}

type Shaped = (Vec<TableManifest>, Vec<PathBuf>, Vec<PathBuf>);

fn shape_tables(
    run: &RunDirectory,
    plan: &Plan,
    export: &ExportManifest,
    work: &Path,
    progress: &dyn Progress,
) -> Result<Shaped, TransformError> {
    let mut sets: Vec<Option<KeySet>> = plan.sets.iter().map(|_| None).collect();
    let mut results: Vec<Vec<PartResult>> = plan.tables.iter().map(|_| Vec::new()).collect();
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
    for group in order::groups_of(plan) {
        let parts: Vec<Vec<PartTask<'_>>> = group
            .tables
            .iter()
            .map(|member| tasks(*member, collections.get(plan.tables[*member].source.as_str())))
            .collect();
        let settled = if group.cyclic
            || group
                .tables
                .iter()
                .zip(&parts)
                .any(|(member, parts)| must_settle(&plan.tables[*member], parts))
        {
            let (verdicts, settled) = settle::settle(run, plan, &group.tables, &parts, &sets)?;
            for (set, keys) in settled {
                sets[set] = Some(keys);
            }
            Some(verdicts)
        } else {
            None
        };
        for (at, member) in group.tables.iter().enumerate() {
            let table = &plan.tables[*member];
            let total = parts[at].iter().map(|task| task.part.file.rows).sum();
            progress.start(Stage::Transform, &table.name, Total::Records(total));
            let context = Context { run, plan, sets: &sets, work, progress };
            let written: Result<Vec<PartResult>, TransformError> = parts[at]
                .par_iter()
                .map(|task| {
                    let verdicts = settled.as_ref().map(|settled| &settled[at][task.index]);
                    write_part(&context, table, task, verdicts)
                })
                .collect();
            results[*member] = written?;
            progress.finish(Stage::Transform, &table.name);
            for (feed, (set, _)) in table.feeds.iter().enumerate() {
                if sets[*set].is_none() {
                    let keys: Vec<u128> = results[*member]
                        .iter_mut()
                        .flat_map(|part| std::mem::take(&mut part.feeds[feed].1))
                        .collect();
                    sets[*set] = Some(KeySet::new(keys));
                }
            }
        }
    }
    check_presence(plan, &results)?;

    let mut manifests = Vec::new();
    for (table, results) in plan.tables.iter().zip(&results) {
        manifests.push(table_manifest(run, table, results)?);
    }
    let merged: Result<Vec<_>, TransformError> = (0..plan.junctions.len())
        .into_par_iter()
        .map(|at| merge_junction(run, plan, at, &results, &sets, work, progress))
        .collect();
    let mut finding_lines: Vec<PathBuf> =
        results.iter().flatten().filter_map(|part| part.finding_lines.clone()).collect();
    for (manifest, lines) in merged? {
        manifests.push(manifest);
        finding_lines.extend(lines);
    }
    let reject_lines =
        results.iter().flatten().filter_map(|part| part.reject_lines.clone()).collect();
    Ok((manifests, reject_lines, finding_lines))
}

fn tasks<'p>(table_number: usize, parts: Option<&&'p [ExportPart]>) -> Vec<PartTask<'p>> {
    let parts = parts.copied().unwrap_or_default();
    let previous =
        std::iter::once(None).chain(parts.iter().map(|part| Some(part.last_id.as_str())));
    parts
        .iter()
        .zip(previous)
        .enumerate()
        .map(|(index, (part, previous_id))| PartTask { table_number, index, part, previous_id })
        .collect()
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

/// A required column, junction array or `each` path that occurs in no document at all is an error:
/// an empty result that nobody asked for.
fn check_presence(plan: &Plan, results: &[Vec<PartResult>]) -> Result<(), TransformError> {
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
            if let plan::Input::Slots(slots) = &column.input
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

fn table_manifest(
    run: &RunDirectory,
    table: &TablePlan,
    results: &[PartResult],
) -> Result<TableManifest, TransformError> {
    let mut manifest = TableManifest {
        definition: table.definition.clone(),
        records: 0,
        rows: 0,
        rejects: 0,
        dropped: 0,
        parts: Vec::new(),
        rejects_by_rule: BTreeMap::new(),
        findings: BTreeMap::new(),
        columns: Vec::new(),
        junction: None,
    };
    let mut states = vec![[0; 3]; table.columns.len()];
    for part in results {
        manifest.records += part.records;
        manifest.rows += part.rows;
        manifest.rejects += part.rejects;
        manifest.dropped += part.dropped;
        manifest.parts.extend(part.file.clone());
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
    }
    for (column, [present, null, missing]) in table.columns.iter().zip(states) {
        manifest.columns.push(ColumnCounts { name: column.name.clone(), present, null, missing });
    }
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

/// Merges the links of a junction into its table.
fn merge_junction(
    run: &RunDirectory,
    plan: &Plan,
    at: usize,
    results: &[Vec<PartResult>],
    sets: &[Option<KeySet>],
    work: &Path,
    progress: &dyn Progress,
) -> Result<(TableManifest, Option<PathBuf>), TransformError> {
    let junction = &plan.junctions[at];
    let name = &junction.definition.name;
    let mut counts = JunctionCounts::default();
    for path in &junction.paths {
        counts.elements.entry(path.clone()).or_default();
    }
    let mut findings: BTreeMap<String, u64> = BTreeMap::new();
    let mut runs = Vec::new();
    for part in results.iter().flatten() {
        runs.extend(part.runs.iter().filter(|(to, _)| *to == at).map(|(_, path)| path.clone()));
        if let Some(part) = part.junctions.get(&at) {
            for (path, elements) in &part.elements {
                *counts.elements.entry(path.clone()).or_default() += elements;
            }
            counts.repeats += part.repeats;
            counts.nulls += part.nulls;
            counts.refused += part.refused;
        }
        for (key, count) in &part.findings {
            if let Some((table, rule)) = key.split_once('\0')
                && table == name
            {
                *findings.entry(rule.to_owned()).or_default() += count;
            }
        }
    }
    let elements: u64 = counts.elements.values().sum();
    progress.start(Stage::Transform, name, Total::Records(elements));
    let mut lister = LinkLister::new(plan, junction, work.join(format!("junction-{at}.findings")));
    let mut output = JunctionOutput::new(run, junction);
    let mut merge = Merge::open(runs)?;
    let known = |side: usize, key: u128| {
        sets[junction.sets[side]].as_ref().is_some_and(|set| set.contains(key))
    };
    while let Some(link) = merge.next()? {
        if !known(0, link.first) || !known(1, link.second) {
            counts.dangling += u64::from(link.sides.count_ones());
            lister.list("dangling", link, &mut findings)?;
            continue;
        }
        match link.sides {
            1 => counts.only_first += 1,
            2 => counts.only_second += 1,
            _ => counts.both_sides += 1,
        }
        if junction.two_sided && link.sides != 3 {
            lister.list("one_sided", link, &mut findings)?;
        }
        output.push(link.first, link.second)?;
    }
    counts.repeats += merge.repeats;
    let (rows, parts) = output.finish()?;
    progress.advance(Stage::Transform, name, elements, 0);
    progress.finish(Stage::Transform, name);
    // A link found on both sides is two elements and one row.
    let left_over =
        counts.both_sides + counts.repeats + counts.nulls + counts.dangling + counts.refused;
    if elements != rows + left_over {
        return Err(TransformError::Unbalanced {
            table: name.clone(),
            records: elements,
            rows,
            rejects: 0,
            dropped: left_over,
        });
    }
    let manifest = TableManifest {
        definition: junction.definition.clone(),
        records: elements,
        rows,
        rejects: 0,
        dropped: left_over,
        parts,
        rejects_by_rule: BTreeMap::new(),
        findings,
        columns: Vec::new(),
        junction: Some(counts),
    };
    Ok((manifest, lister.finish()?))
}

/// Writes the rows of a junction table.
struct JunctionOutput<'p> {
    run: &'p RunDirectory,
    junction: &'p JunctionPlan,
    builder: BatchBuilder,
    writer: Option<PartWriter>,
    rows: u64,
    parts: Vec<PartFile>,
}

impl<'p> JunctionOutput<'p> {
    fn new(run: &'p RunDirectory, junction: &'p JunctionPlan) -> Self {
        let types = junction.types.iter().cloned();
        let builder = BatchBuilder::new(table_schema(&junction.definition), types);
        Self { run, junction, builder, writer: None, rows: 0, parts: Vec::new() }
    }

    fn push(&mut self, first: u128, second: u128) -> Result<(), TransformError> {
        let cell = |pg_type: &PgType, key: u128| match pg_type {
            PgType::Uuid => Cell::Uuid(key.to_be_bytes()),
            _ => Cell::Integer(unordered(key)),
        };
        let [first_type, second_type] = &self.junction.types;
        let cells = [cell(first_type, first), cell(second_type, second)];
        self.builder.append(&cells).map_err(|source| self.error(source))?;
        self.rows += 1;
        if self.builder.rows() >= JUNCTION_BATCH_ROWS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), TransformError> {
        let batch = self.builder.finish().map_err(|source| self.error(source))?;
        let mut writer = if let Some(writer) = self.writer.take() {
            writer
        } else {
            let definition = &self.junction.definition;
            let path =
                RunDirectory::part_path(Stage::Transform, &definition.name, self.parts.len());
            PartWriter::create(
                self.run,
                &path,
                table_schema(definition),
                table_properties(definition),
            )?
        };
        if batch.num_rows() > 0 {
            writer.write(&batch)?;
        }
        if writer.rows() >= JUNCTION_PART_ROWS {
            self.parts.push(writer.finish()?);
        } else {
            self.writer = Some(writer);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(u64, Vec<PartFile>), TransformError> {
        if self.builder.rows() > 0 || self.parts.is_empty() {
            self.flush()?;
        }
        if let Some(writer) = self.writer {
            self.parts.push(writer.finish()?);
        }
        Ok((self.rows, self.parts))
    }

    fn error(&self, source: arrow::error::ArrowError) -> TransformError {
        TransformError::Batch { table: self.junction.definition.name.clone(), source }
    }
}

/// Lists links that a person should look at.
struct LinkLister<'p> {
    plan: &'p Plan,
    junction: &'p JunctionPlan,
    path: PathBuf,
    lines: Vec<u8>,
}

impl<'p> LinkLister<'p> {
    fn new(plan: &'p Plan, junction: &'p JunctionPlan, path: PathBuf) -> Self {
        Self { plan, junction, path, lines: Vec::new() }
    }

    fn list(
        &mut self,
        rule: &str,
        link: junction::Link,
        findings: &mut BTreeMap<String, u64>,
    ) -> Result<(), TransformError> {
        let count = findings.entry(rule.to_owned()).or_default();
        *count += 1;
        if *count > LISTED_FINDINGS {
            return Ok(());
        }
        let holder = usize::from(link.sides == 2);
        let (holder_key, other_key) =
            if holder == 0 { (link.first, link.second) } else { (link.second, link.first) };
        let name = |side: usize| &self.plan.tables[self.plan.sets[self.junction.sets[side]].0];
        let describe = |side: usize, key: u128| match self.junction.types[side] {
            PgType::Uuid => describe_key(Some(key)),
            _ => unordered(key).to_string(),
        };
        let detail = match rule {
            "one_sided" => format!("the {} it names does not name it", name(1 - holder).name),
            _ => format!("no accepted row of {} has this key", name(1 - holder).name),
        };
        let line = Reject {
            collection: name(holder).source.clone(),
            id: describe(holder, holder_key),
            table: Some(self.junction.definition.name.clone()),
            column: None,
            field: None,
            rule: rule.to_owned(),
            value: serde_json::Value::String(describe(1 - holder, other_key)),
            detail,
            document: serde_json::Value::Null,
        };
        serde_json::to_writer(&mut self.lines, &line).map_err(|source| TransformError::Work {
            path: self.path.clone(),
            source: source.into(),
        })?;
        self.lines.push(b'\n');
        Ok(())
    }

    fn finish(self) -> Result<Option<PathBuf>, TransformError> {
        if self.lines.is_empty() {
            return Ok(None);
        }
        fs::write(&self.path, &self.lines)
            .map_err(|source| TransformError::Work { path: self.path.clone(), source })?;
        Ok(Some(self.path))
    }
}

/// Puts the lists of the parts together, in the order of tables and parts.
fn write_lines(run: &RunDirectory, list: List, files: &[PathBuf]) -> Result<(), TransformError> {
    let mut writer = RejectWriter::create(run, list, Stage::Transform)?;
    for path in files {
        let lines =
            fs::read(path).map_err(|source| TransformError::Work { path: path.clone(), source })?;
        writer.write_lines(&lines)?;
    }
    Ok(writer.finish()?)
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
