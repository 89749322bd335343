//! The links of all parts merged into the tables of junctions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::TransformError;
use super::cell::{Cell, ordered, unordered};
use super::columns::BatchBuilder;
use super::journal::{MergedJunction, TransformJournal};
use super::junction::{Link, Merge};
use super::keys::KeySet;
use super::plan::{JunctionPlan, Plan};
use super::settle::describe_key;
use super::work::WorkFile;
use super::write::PartResult;
use crate::pgcopy::PgType;
use crate::progress::{Progress, Stage, Total};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{JunctionCounts, TableManifest};
use crate::staging::part::{PartFile, PartWriter, WrittenPart};
use crate::staging::raw_json::RawJson;
use crate::staging::rejects::Reject;
use crate::staging::schema::{table_properties, table_schema};

/// Rows of a junction table's part: 32 MB of keys.
const JUNCTION_PART_ROWS: u64 = 1_000_000;
/// Rows of a junction's batch.
const JUNCTION_BATCH_ROWS: usize = 65_536;
/// Lines listed per junction and rule; beyond it findings are only counted.
const LISTED_FINDINGS: u64 = 10_000;

/// Merges the links of junction `at` into its table; `first` is the number of its first part.
pub(super) fn merge_junction(
    run: &RunDirectory,
    plan: &Plan,
    (at, first): (usize, usize),
    results: &[&PartResult],
    sets: &[Option<Arc<KeySet>>],
    journal: &TransformJournal,
    progress: &dyn Progress,
) -> Result<MergedJunction, TransformError> {
    if progress.interrupted() {
        return Err(TransformError::Interrupted);
    }
    if let Some(merged) = journal.junction(at) {
        return Ok(merged);
    }
    let junction = &plan.junctions[at];
    let name = &junction.definition.name;
    let mut counts = JunctionCounts::default();
    for path in &junction.paths {
        counts.elements.entry(path.clone()).or_default();
    }
    let mut findings: BTreeMap<String, u64> = BTreeMap::new();
    let mut runs = Vec::new();
    for part in results {
        runs.extend(
            part.runs
                .iter()
                .filter(|(to, _)| *to == at)
                .map(|(_, file)| journal.work().join(&file.name)),
        );
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
    let mut lister =
        LinkLister::new(plan, junction, journal.work(), format!("junction-{at}.findings"));
    let mut output = JunctionOutput::new(run, junction, first);
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
        let out = |side: usize, key: u128| {
            let number = sets[junction.sets[side]].as_ref().and_then(|set| set.number(key));
            number.map_or(key, ordered)
        };
        output.push(out(0, link.first), out(1, link.second), link.position)?;
    }
    counts.repeats += merge.repeats;
    let (rows, parts, written) = output.finish()?;
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
        ids: Vec::new(),
        rejects_by_rule: BTreeMap::new(),
        findings,
        columns: Vec::new(),
        arrays: Vec::new(),
        retried: Vec::new(),
        junction: Some(counts),
    };
    let merged = MergedJunction { manifest, finding_lines: lister.finish()? };
    journal.finish_junction(at, &merged, written)?;
    Ok(merged)
}

/// Writes the rows of a junction table.
struct JunctionOutput<'p> {
    run: &'p RunDirectory,
    junction: &'p JunctionPlan,
    /// Number of the first part.
    first: usize,
    builder: BatchBuilder,
    writer: Option<PartWriter>,
    rows: u64,
    parts: Vec<PartFile>,
    /// The same, not yet durable.
    written: Vec<WrittenPart>,
}

impl<'p> JunctionOutput<'p> {
    fn new(run: &'p RunDirectory, junction: &'p JunctionPlan, first: usize) -> Self {
        let position = junction.ordered.then_some(PgType::Integer);
        let types = junction.types.iter().cloned().chain(position);
        let builder = BatchBuilder::new(table_schema(&junction.definition), types);
        Self {
            run,
            junction,
            first,
            builder,
            writer: None,
            rows: 0,
            parts: Vec::new(),
            written: Vec::new(),
        }
    }

    fn push(&mut self, first: u128, second: u128, position: u32) -> Result<(), TransformError> {
        let cell = |pg_type: &PgType, key: u128| match pg_type {
            PgType::Uuid => Cell::Uuid(key.to_be_bytes()),
            _ => Cell::Integer(unordered(key)),
        };
        let [first_type, second_type] = &self.junction.types;
        // A position that is not asked for falls away: there is no column for it.
        let position = Cell::Integer(i64::from(position));
        let cells = [cell(first_type, first), cell(second_type, second), position];
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
            let path = self.run.part_path(
                Stage::Transform,
                &definition.name,
                self.first + self.parts.len(),
            );
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
            self.close(writer)?;
        } else {
            self.writer = Some(writer);
        }
        Ok(())
    }

    fn close(&mut self, writer: PartWriter) -> Result<(), TransformError> {
        let (part, written) = writer.close()?;
        self.parts.push(part);
        self.written.push(written);
        Ok(())
    }

    fn finish(mut self) -> Result<(u64, Vec<PartFile>, Vec<WrittenPart>), TransformError> {
        if self.builder.rows() > 0 || self.parts.is_empty() {
            self.flush()?;
        }
        if let Some(writer) = self.writer.take() {
            self.close(writer)?;
        }
        Ok((self.rows, self.parts, self.written))
    }

    fn error(&self, source: arrow::error::ArrowError) -> TransformError {
        TransformError::Batch { table: self.junction.definition.name.clone(), source }
    }
}

/// Lists links that a person should look at.
struct LinkLister<'p> {
    plan: &'p Plan,
    junction: &'p JunctionPlan,
    folder: &'p Path,
    name: String,
    lines: Vec<u8>,
}

impl<'p> LinkLister<'p> {
    fn new(plan: &'p Plan, junction: &'p JunctionPlan, folder: &'p Path, name: String) -> Self {
        Self { plan, junction, folder, name, lines: Vec::new() }
    }

    fn list(
        &mut self,
        rule: &str,
        link: Link,
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
        let describe = |side: usize, key: u128| match self.junction.link_types[side] {
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
            value: serde_json::Value::String(describe(1 - holder, other_key)).into(),
            detail,
            element: None,
            element_value: RawJson::ABSENT,
            document: RawJson::ABSENT,
        };
        serde_json::to_writer(&mut self.lines, &line).map_err(|source| TransformError::Work {
            path: self.folder.join(&self.name),
            source: source.into(),
        })?;
        self.lines.push(b'\n');
        Ok(())
    }

    fn finish(self) -> Result<Option<WorkFile>, TransformError> {
        if self.lines.is_empty() {
            return Ok(None);
        }
        WorkFile::write(self.folder, &self.name, &self.lines).map(Some)
    }
}
