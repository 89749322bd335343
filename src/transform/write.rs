//! One exported part to one typed part: a pure function of the pipeline file, the part, and the
//! sets and verdicts that were settled before.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::columns::BatchBuilder;
use super::convert::reference_candidates;
use super::findings::Presence;
use super::ids::IdMap;
use super::journal::TransformJournal;
use super::junction::{Link, write_run};
use super::keys::KeySet;
use super::limit::RejectLimit;
use super::plan::{ArrayPlan, Plan, TablePlan};
use super::records::{Item, Place, Walk};
use super::settle::{Claims, Verdicts};
use super::shape::{Broken, Found, Row, Shaper, State};
use super::work::{WorkFile, WorkWriter};
use super::{PartTask, TransformError};
use crate::document::id::uuid_from_object_id;
use crate::document::jsonb::Changed;
use crate::document::raw::Value;
use crate::pgcopy::PgType;
use crate::progress::{Progress, Stage};
use crate::staging::exported::documents;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::JunctionCounts;
use crate::staging::part::{PartFile, PartWriter, WrittenPart};
use crate::staging::raw_json::RawJson;
use crate::staging::rejects::Reject;
use crate::staging::schema::{table_properties, table_schema};

/// Rows after which what was gathered is written.
const BATCH_ROWS: usize = 8192;

/// Lines listed per part and rule; beyond it findings are only counted.
const LISTED_FINDINGS: u64 = 1000;

/// What became of a part.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct PartResult {
    pub(super) file: Option<PartFile>,
    /// The map of old and new keys of a table with serial ones.
    pub(super) ids: Option<PartFile>,
    pub(super) records: u64,
    pub(super) rows: u64,
    pub(super) rejects: u64,
    pub(super) dropped: u64,
    pub(super) rejects_by_rule: BTreeMap<String, u64>,
    pub(super) findings: BTreeMap<String, u64>,
    /// Present, null, missing per column.
    pub(super) states: Vec<[u64; 3]>,
    /// Filled, empty, null, missing, undefined per array that other tables are made of.
    pub(super) absences: Vec<[u64; 5]>,
    pub(super) seen: Vec<bool>,
    pub(super) each_seen: bool,
    /// Accepted values: (set, values).
    #[serde(skip)]
    pub(super) feeds: Vec<(usize, Vec<u128>)>,
    /// What accepted records claim, where the part was written before its table was settled.
    #[serde(skip)]
    claims: Claims,
    /// The same on disk, for an attempt that goes on.
    feed_files: Vec<(usize, WorkFile)>,
    /// Sorted links: (junction, file).
    pub(super) runs: Vec<(usize, WorkFile)>,
    pub(super) junctions: BTreeMap<usize, JunctionCounts>,
    pub(super) reject_lines: Option<WorkFile>,
    pub(super) finding_lines: Option<WorkFile>,
}

impl PartResult {
    fn write_feeds(&mut self, folder: &Path, name: &str) -> Result<(), TransformError> {
        for (at, (set, keys)) in self.feeds.iter().enumerate() {
            let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
            let file = WorkFile::write(folder, &format!("{name}-{at}.feed"), &bytes)?;
            self.feed_files.push((*set, file));
        }
        Ok(())
    }

    /// Takes the accepted values from disk; none when they are not what was written.
    pub(super) fn read_feeds(&mut self, folder: &Path) -> Option<()> {
        self.feeds.clear();
        for (set, file) in &self.feed_files {
            let bytes = file.read(folder)?;
            let (keys, rest) = bytes.as_chunks::<16>();
            if !rest.is_empty() {
                return None;
            }
            self.feeds.push((*set, keys.iter().map(|key| u128::from_le_bytes(*key)).collect()));
        }
        Some(())
    }
}

/// A list that exists only once something is written to it.
struct Lines<'p> {
    folder: &'p Path,
    name: String,
    writer: Option<WorkWriter>,
}

impl<'p> Lines<'p> {
    fn new(folder: &'p Path, name: String) -> Self {
        Self { folder, name, writer: None }
    }

    fn write(&mut self, line: &Reject) -> Result<(), TransformError> {
        let mut bytes = serde_json::to_vec(line).map_err(|error| TransformError::Work {
            path: self.folder.join(&self.name),
            source: error.into(),
        })?;
        bytes.push(b'\n');
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => WorkWriter::create(self.folder, &self.name)?,
        };
        writer.write(self.folder, &bytes)?;
        self.writer = Some(writer);
        Ok(())
    }

    fn finish(self) -> Result<Option<WorkFile>, TransformError> {
        self.writer.map(|writer| writer.finish(self.folder)).transpose()
    }
}

/// What the workers share.
pub(super) struct Context<'p> {
    pub(super) run: &'p RunDirectory,
    pub(super) plan: &'p Plan,
    pub(super) sets: &'p [Option<Arc<KeySet>>],
    pub(super) journal: &'p TransformJournal,
    pub(super) progress: &'p dyn Progress,
    pub(super) rejects: &'p RejectLimit,
}

/// What becomes of a part of `table`: from an earlier attempt, or written now.
pub(super) fn finish_part(
    context: &Context<'_>,
    table: &TablePlan,
    task: &PartTask<'_>,
    verdicts: Option<&Verdicts>,
) -> Result<PartResult, TransformError> {
    let (number, index) = (task.table_number, task.index);
    let result = if let Some(result) = context.journal.part(number, index) {
        let (records, bytes) = (task.part.file.rows, task.part.document_bytes);
        context.progress.advance(Stage::Transform, &table.name, records, bytes);
        result
    } else {
        let (result, written) = write_part(context, table, task, verdicts, false)?;
        context.journal.finish_part(number, index, &result, written)?;
        result
    };
    context.rejects.add(result.rejects)?;
    Ok(result)
}

/// Writes the parts of a table as if no two records had the same key or unique values, which is
/// nearly always so, and says what became of them if it was; nothing if it was not.
pub(super) fn finish_unsettled(
    context: &Context<'_>,
    table: &TablePlan,
    tasks: &[PartTask<'_>],
) -> Result<Option<Vec<PartResult>>, TransformError> {
    if tasks.iter().any(|task| context.journal.part(task.table_number, task.index).is_some()) {
        // An earlier attempt settled the table.
        return Ok(None);
    }
    let parts: Result<Vec<_>, TransformError> =
        tasks.par_iter().map(|task| write_part(context, table, task, None, true)).collect();
    let mut parts = parts?;
    let claims = parts.iter_mut().map(|(part, _)| std::mem::take(&mut part.claims));
    if !Claims::all_differ(claims.collect()) {
        // A part of which nothing is left in the end would not be written over.
        for (part, written) in parts {
            written.map(WrittenPart::discard).transpose()?;
            if let Some(ids) = part.ids {
                let path = context.run.resolve(&ids.path);
                fs::remove_file(&path).map_err(|source| TransformError::Work { path, source })?;
            }
        }
        return Ok(None);
    }
    let mut results = Vec::with_capacity(parts.len());
    for (task, (result, written)) in tasks.iter().zip(parts) {
        context.journal.finish_part(task.table_number, task.index, &result, written)?;
        context.rejects.add(result.rejects)?;
        results.push(result);
    }
    Ok(Some(results))
}

/// Shapes a part of `table` and writes what it becomes, not yet durable. With `unsettled` its
/// accepted records are kept in mind.
fn write_part(
    context: &Context<'_>,
    table: &TablePlan,
    task: &PartTask<'_>,
    verdicts: Option<&Verdicts>,
    unsettled: bool,
) -> Result<(PartResult, Option<WrittenPart>), TransformError> {
    if context.progress.interrupted() {
        return Err(TransformError::Interrupted);
    }
    let mut part = PartInProgress::new(context, table, task);
    let mut walk = Walk::new(table, &context.plan.tables, task);
    let mut shaper = Shaper::new(table, context.sets);
    for batch in documents(context.run, &task.part.file)? {
        let batch = batch?;
        let mut row = Row::default();
        walk.each(&batch, |place, item| {
            let Place { id, number, .. } = place;
            part.result.records += 1;
            let verdict = verdicts.and_then(|verdicts| verdicts.get(&number));
            let record = match item {
                Item::Dropped => {
                    part.result.dropped += 1;
                    return Ok(());
                }
                Item::Broken(broken) => return part.reject(&place, None, broken),
                Item::Record(record) => record,
            };
            let value = record.element;
            match (shaper.shape(record, &mut row), verdict) {
                (Err(broken), _) => part.reject(&place, value, broken),
                (Ok(()), Some(verdict)) => {
                    let broken = Broken {
                        rule: verdict.rule,
                        column: verdict.column,
                        field: verdict.column.map(|at| table.columns[at].field.clone()),
                        value: None,
                        detail: verdict.detail.clone(),
                    };
                    part.reject(&place, value, broken)
                }
                (Ok(()), None) => {
                    if unsettled {
                        part.result.claims.add(table, &row);
                    }
                    part.accept(id, &row)
                }
            }
        })?;
        // The next batch may have its documents in the same place.
        part.shown = None;
        if part.builder.rows() >= BATCH_ROWS {
            part.flush()?;
        }
        let (documents, bytes) = (batch.len() as u64, batch.total_bytes());
        context.progress.advance(Stage::Transform, &table.name, documents, bytes);
    }
    part.result.each_seen = walk.each_seen;
    part.result.seen = shaper.seen;
    part.finish()
}

/// Links that accepted rows of a part hold to keys that are new.
pub(super) fn links_to(
    context: &Context<'_>,
    table: &TablePlan,
    task: &PartTask<'_>,
    before: &[Arc<KeySet>],
    keys: &[KeySet],
) -> Result<PartResult, TransformError> {
    let mut part = PartInProgress::new(context, table, task);
    part.name.push_str("-again");
    part.findings = Lines::new(context.journal.work(), format!("{}.findings", part.name));
    let mut walk = Walk::new(table, &context.plan.tables, task);
    let mut shaper = Shaper::new(table, context.sets);
    for batch in documents(context.run, &task.part.file)? {
        let batch = batch?;
        let mut row = Row::default();
        walk.each(&batch, |place, item| {
            let Item::Record(record) = item else { return Ok(()) };
            let shaped = shaper.shape(record, &mut row).is_ok();
            match row.link_identity(&table.key).filter(|_| shaped) {
                Some(own) => part.link(place.id, own, &row),
                None => Ok(()),
            }
        })?;
    }
    let mut result = PartResult::default();
    for (junction, mut links) in part.links.into_iter().enumerate() {
        let [first, second] = context.plan.junctions[junction].sets;
        links.retain(|link| {
            let known = |set: usize, key: u128| before[set].contains(key);
            let new = |set: usize, key: u128| keys[set].contains(key);
            if link.sides == 1 {
                known(first, link.first) && new(second, link.second)
            } else {
                known(second, link.second) && new(first, link.first)
            }
        });
        if links.is_empty() {
            continue;
        }
        let counts = result.junctions.entry(junction).or_default();
        // Under a path of its own: they were counted when their rows were accepted.
        counts.elements.insert(String::new(), links.len() as u64);
        let name = format!("{}-{junction}.links", part.name);
        result.runs.push((junction, write_run(context.journal.work(), &name, links)?));
    }
    Ok(result)
}

/// Distinct targets of one array.
#[derive(Default)]
struct Targets {
    few: Vec<u128>,
    many: FxHashSet<u128>,
}

impl Targets {
    /// Up to so many, a look through all of them is faster than hashing.
    const FEW: usize = 16;

    fn clear(&mut self) {
        self.few.clear();
        if !self.many.is_empty() {
            // Clearing would cost as much as the longest array ever did.
            self.many = FxHashSet::default();
        }
    }

    /// Whether the target is new.
    fn insert(&mut self, target: u128) -> bool {
        if self.few.contains(&target) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(target);
            return true;
        }
        self.many.insert(target)
    }
}

struct PartInProgress<'p> {
    context: &'p Context<'p>,
    table: &'p TablePlan,
    index: usize,
    /// Address of the document that the last reject came from, as long as its batch is there.
    shown: Option<usize>,
    /// How the names of its working files begin.
    name: String,
    builder: BatchBuilder,
    writer: Option<PartWriter>,
    ids: Option<IdMap<'p>>,
    /// By junction.
    links: Vec<Vec<Link>>,
    /// Elements of each of the table's arrays.
    elements: Vec<u64>,
    targets: Targets,
    rejects: Lines<'p>,
    findings: Lines<'p>,
    result: PartResult,
}

impl<'p> PartInProgress<'p> {
    fn new(context: &'p Context<'p>, table: &'p TablePlan, task: &PartTask<'_>) -> Self {
        let schema = table_schema(&table.definition);
        let types = table.columns.iter().map(|column| column.pg_type.clone());
        let name = format!("{}-{:05}", task.table_number, task.index);
        let file = |kind: &str| format!("{name}.{kind}");
        let work = context.journal.work();
        Self {
            context,
            table,
            index: task.first_index + task.index,
            shown: None,
            builder: BatchBuilder::new(schema, types),
            writer: None,
            ids: table
                .serial
                .then(|| IdMap::new(context.run, &table.name, task.first_index + task.index)),
            links: vec![Vec::new(); context.plan.junctions.len()],
            elements: vec![0; table.arrays.len()],
            targets: Targets::default(),
            rejects: Lines::new(work, file("rejects")),
            findings: Lines::new(work, file("findings")),
            name,
            result: PartResult {
                states: vec![[0; 3]; table.columns.len()],
                absences: vec![[0; 5]; table.absences.len()],
                feeds: table.feeds.iter().map(|(set, _)| (*set, Vec::new())).collect(),
                ..PartResult::default()
            },
        }
    }

    /// Lists a record that becomes no row; `element` is what it is in its array.
    fn reject(
        &mut self,
        place: &Place<'_>,
        element: Option<Value<'_>>,
        broken: Broken<'_>,
    ) -> Result<(), TransformError> {
        self.result.rejects += 1;
        *self.result.rejects_by_rule.entry(broken.rule.to_owned()).or_default() += 1;
        // Elements of one document come one after another, and it is written with the first only.
        let shown = self.shown.replace(place.bytes.as_ptr() as usize);
        let again = self.table.each.is_some() && shown == self.shown;
        self.rejects.write(&Reject {
            collection: self.table.source.clone(),
            id: place.id.to_owned(),
            table: Some(self.table.name.clone()),
            column: broken.column.map(|at| self.table.columns[at].name.clone()),
            field: broken.field,
            rule: broken.rule.to_owned(),
            value: broken.value.as_ref().map_or(RawJson::ABSENT, RawJson::of),
            detail: broken.detail,
            element: self.table.each.as_ref().map(|_| place.element),
            element_value: element.as_ref().map_or(RawJson::ABSENT, RawJson::of),
            document: if again { RawJson::ABSENT } else { RawJson::of_document(place.bytes) },
        })
    }

    fn find(&mut self, id: &str, found: &Found<'_>) -> Result<(), TransformError> {
        let count = self.result.findings.entry(found.rule.to_owned()).or_default();
        *count += 1;
        if *count > LISTED_FINDINGS {
            return Ok(());
        }
        self.findings.write(&Reject {
            collection: self.table.source.clone(),
            id: id.to_owned(),
            table: Some(self.table.name.clone()),
            column: found.column.map(|at| self.table.columns[at].name.clone()),
            field: found.field.clone(),
            rule: found.rule.to_owned(),
            value: found.value.as_ref().map_or(RawJson::ABSENT, RawJson::of),
            detail: found.detail.clone(),
            element: None,
            element_value: RawJson::ABSENT,
            document: RawJson::ABSENT,
        })
    }

    fn accept(&mut self, id: &str, row: &Row<'_>) -> Result<(), TransformError> {
        self.builder.append(&row.cells).map_err(|source| self.batch_error(source))?;
        self.result.rows += 1;
        for (counts, state) in self.result.states.iter_mut().zip(&row.states) {
            match state {
                State::Present => counts[0] += 1,
                State::Null => counts[1] += 1,
                State::Missing => counts[2] += 1,
            }
        }
        for (counts, array) in self.result.absences.iter_mut().zip(&self.table.absences) {
            counts[Presence::of(row.slots[array.slot].as_ref()) as usize] += 1;
        }
        for found in &row.findings {
            self.find(id, found)?;
        }
        for ((_, column), (_, keys)) in self.table.feeds.iter().zip(&mut self.result.feeds) {
            keys.extend(row.feed(*column));
        }
        if !self.table.arrays.is_empty()
            && let Some(own) = row.link_identity(&self.table.key)
        {
            self.link(id, own, row)?;
        }
        if let Some(ids) = &mut self.ids
            && let (Some(serial), Some(Cell::Integer(number))) =
                (row.serial, self.table.key.first().map(|at| &row.cells[*at]))
        {
            ids.push(id, serial, *number)?;
        }
        Ok(())
    }

    /// Gathers the links that the row's arrays hold.
    fn link(&mut self, id: &str, own: u128, row: &Row<'_>) -> Result<(), TransformError> {
        let table = self.table;
        for (at, array) in table.arrays.iter().enumerate() {
            let Some(value) = &row.slots[array.slot] else { continue };
            self.targets.clear();
            match value {
                Value::Null | Value::Undefined => {}
                Value::Array(items) => {
                    for (position, item) in (0..).zip(items.values().flatten()) {
                        self.elements[at] += 1;
                        self.element(id, own, array, (position, &item))?;
                    }
                }
                // One id where an array is expected means one link.
                single => {
                    self.elements[at] += 1;
                    self.element(id, own, array, (0, single))?;
                }
            }
        }
        Ok(())
    }

    /// One element of an array.
    fn element(
        &mut self,
        id: &str,
        own: u128,
        array: &ArrayPlan,
        (position, value): (u32, &Value<'_>),
    ) -> Result<(), TransformError> {
        let ArrayPlan { junction, side, path, .. } = array;
        let (junction, side) = (*junction, *side);
        let plan = &self.context.plan.junctions[junction];
        let other = 1 - side;
        let (set_table, set_column) = self.context.plan.sets[plan.sets[other]];
        let column = &self.context.plan.tables[set_table].columns[set_column];
        let finding = |rule: &'static str, detail: &str| Found {
            rule,
            column: None,
            field: Some(path.to_owned()),
            value: Some(*value),
            detail: detail.to_owned(),
        };
        if matches!(value, Value::Null | Value::Undefined) {
            self.counts(junction).nulls += 1;
            let found = finding("null_element", "a null element makes no link");
            return self.find_link(id, &plan.definition.name, &found);
        }
        let target = match (value, &plan.link_types[other]) {
            // Nearly every element is one ObjectId.
            (Value::ObjectId(id), PgType::Uuid) => {
                Some(u128::from_be_bytes(uuid_from_object_id(*id)))
            }
            (value, link_type) => {
                let mut changed = Changed::default();
                let candidates = reference_candidates(column, link_type, value, &mut changed);
                candidates.ok().and_then(|[first, _]| first).and_then(|cell| cell.identity())
            }
        };
        let Some(target) = target else {
            self.counts(junction).refused += 1;
            let found = finding("refused_element", "the element is no id");
            return self.find_link(id, &plan.definition.name, &found);
        };
        let position = if plan.ordered { position } else { 0 };
        let link = if side == 0 {
            Link { first: own, second: target, position, sides: 1 }
        } else {
            Link { first: target, second: own, position, sides: 2 }
        };
        if !plan.ordered && !self.targets.insert(target) {
            self.counts(junction).repeats += 1;
            let found = finding("repeat", "the id occurs earlier in the same array");
            return self.find_link(id, &plan.definition.name, &found);
        }
        self.links[junction].push(link);
        Ok(())
    }

    fn counts(&mut self, junction: usize) -> &mut JunctionCounts {
        self.result.junctions.entry(junction).or_default()
    }

    /// A finding that belongs to a junction; counted with the junction, not with this table.
    fn find_link(
        &mut self,
        id: &str,
        junction: &str,
        found: &Found<'_>,
    ) -> Result<(), TransformError> {
        let count = self.result.findings.entry(format!("{junction}\0{}", found.rule)).or_default();
        *count += 1;
        if *count > LISTED_FINDINGS {
            return Ok(());
        }
        self.findings.write(&Reject {
            collection: self.table.source.clone(),
            id: id.to_owned(),
            table: Some(junction.to_owned()),
            column: None,
            field: found.field.clone(),
            rule: found.rule.to_owned(),
            value: found.value.as_ref().map_or(RawJson::ABSENT, RawJson::of),
            detail: found.detail.clone(),
            element: None,
            element_value: RawJson::ABSENT,
            document: RawJson::ABSENT,
        })
    }

    /// Writes the rows gathered so far.
    fn flush(&mut self) -> Result<(), TransformError> {
        if self.builder.rows() == 0 {
            return Ok(());
        }
        let batch = self.builder.finish().map_err(|source| self.batch_error(source))?;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => begin_part(self.context.run, self.table, self.index)?,
        };
        writer.write(&batch)?;
        self.writer = Some(writer);
        Ok(())
    }

    fn finish(mut self) -> Result<(PartResult, Option<WrittenPart>), TransformError> {
        self.flush()?;
        let mut written = None;
        if let Some(writer) = self.writer {
            let (file, part) = writer.close()?;
            self.result.file = Some(file);
            written = Some(part);
        }
        if let Some(ids) = self.ids {
            self.result.ids = ids.finish()?;
        }
        for (array, elements) in self.table.arrays.iter().zip(&self.elements) {
            if *elements > 0 {
                let counts = self.result.junctions.entry(array.junction).or_default();
                *counts.elements.entry(array.path.clone()).or_default() += elements;
            }
        }
        for (junction, links) in self.links.into_iter().enumerate() {
            if !links.is_empty() {
                let name = format!("{}-{junction}.links", self.name);
                let run = write_run(self.context.journal.work(), &name, links)?;
                self.result.runs.push((junction, run));
            }
        }
        self.result.write_feeds(self.context.journal.work(), &self.name)?;
        self.result.reject_lines = self.rejects.finish()?;
        self.result.finding_lines = self.findings.finish()?;
        Ok((self.result, written))
    }

    fn batch_error(&self, source: arrow::error::ArrowError) -> TransformError {
        TransformError::Batch { table: self.table.name.clone(), source }
    }
}

/// Begins the part of this number.
pub(super) fn begin_part(
    run: &RunDirectory,
    table: &TablePlan,
    index: usize,
) -> Result<PartWriter, TransformError> {
    let path = run.part_path(Stage::Transform, &table.name, index);
    let schema = table_schema(&table.definition);
    Ok(PartWriter::create(run, &path, schema, table_properties(&table.definition))?)
}
