//! The pipeline file as the proof reads it: which field goes where.

use std::collections::BTreeMap;

use regex::Regex;

use super::fate::Rule;
use crate::pgcopy::PgType;
use crate::pipeline::model::{
    Column, FieldPath, Junction, Key, Literal, Origin, Pipeline, Table, Unmapped,
};
use crate::staging::manifest::{ExportManifest, TransformManifest};
use crate::staging::table::TableDefinition;

/// All tables and junctions that the run was transformed into.
pub(super) struct Mapping<'p> {
    pub(super) tables: Vec<TableMap<'p>>,
    pub(super) junctions: Vec<JunctionMap<'p>>,
}

/// A table and how its rows are made.
pub(super) struct TableMap<'p> {
    pub(super) table: &'p Table,
    pub(super) definition: &'p TableDefinition,
    pub(super) columns: Vec<ColumnMap<'p>>,
    /// Column types, in order.
    pub(super) types: Vec<PgType>,
    /// Places of the key's columns.
    pub(super) key: Vec<usize>,
    /// What takes each field of a record.
    pub(super) claims: Claim,
    /// Fields that columns and junctions read.
    pub(super) slots: usize,
    /// A column takes what no other does.
    pub(super) takes_rest: bool,
    /// A column takes the element as it is.
    pub(super) takes_element: bool,
    pub(super) serial: bool,
    /// Documents with one `_id` are one document twice.
    pub(super) ids_differ: bool,
    /// It answers for documents that no table of its collection takes.
    pub(super) answers: bool,
    /// Where the key of the holding document stands.
    pub(super) parent: Vec<String>,
    pub(super) arrays: Vec<ArrayMap>,
    /// Values that no two rows share: columns, and which of them are compared in lower case.
    pub(super) unique: Vec<(Vec<usize>, Vec<usize>)>,
}

pub(super) struct ColumnMap<'p> {
    pub(super) column: &'p Column,
    pub(super) nullable: bool,
    pub(super) labels: Vec<String>,
    pub(super) pattern: Option<Regex>,
    pub(super) reference: Option<ReferenceMap>,
    /// The slots of its fields.
    pub(super) slots: Vec<usize>,
}

impl ColumnMap<'_> {
    pub(super) fn is_key(&self) -> bool {
        self.column.key.is_some()
    }
}

/// The rows that a column points to.
pub(super) struct ReferenceMap {
    pub(super) table: usize,
    pub(super) column: usize,
    pub(super) key_type: PgType,
    /// Numbers stand for the `_id`s.
    pub(super) serial: bool,
}

/// An array of ids that fills a junction.
pub(super) struct ArrayMap {
    pub(super) junction: usize,
    pub(super) side: usize,
    pub(super) slot: usize,
}

pub(super) struct JunctionMap<'p> {
    pub(super) junction: &'p Junction,
    pub(super) definition: &'p TableDefinition,
    /// Column types, in order.
    pub(super) types: Vec<PgType>,
    /// The key columns of its two sides: table and column.
    pub(super) sides: [(usize, usize); 2],
}

/// What takes a field, and those inside it.
#[derive(Default)]
pub(super) struct Claim {
    /// A column or a junction reads it.
    pub(super) slot: Option<usize>,
    /// A column says what it is.
    pub(super) told: Option<usize>,
    /// It has its place elsewhere: under a rule, or in another table.
    pub(super) elsewhere: Option<Elsewhere>,
    /// Nothing of this table is inside, but what other tables take is.
    pub(super) on_the_way: bool,
    pub(super) inside: BTreeMap<String, Claim>,
}

/// The place of a field that is not in this table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    Rule(Rule),
    /// Rows of another table stand for it.
    Table,
}

impl Claim {
    fn at(&mut self, path: &[String]) -> &mut Self {
        path.iter().fold(self, |claim, name| claim.inside.entry(name.clone()).or_default())
    }

    fn slot(&mut self, path: &FieldPath, slots: &mut usize) -> usize {
        let claim = self.at(&path.0);
        *claim.slot.get_or_insert_with(|| {
            *slots += 1;
            *slots - 1
        })
    }

    fn told(&mut self, path: &FieldPath, slots: &mut usize) -> usize {
        let claim = self.at(&path.0);
        *claim.told.get_or_insert_with(|| {
            *slots += 1;
            *slots - 1
        })
    }

    fn elsewhere(&mut self, path: &[String], place: Elsewhere) {
        self.at(path).elsewhere.get_or_insert(place);
    }

    fn reads_nothing_inside(&self) -> bool {
        self.inside.values().all(|claim| claim.slot.is_none() && claim.reads_nothing_inside())
    }

    /// Marks what lies above the end of a path and is read by nothing of this table.
    fn lead(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first().filter(|(_, rest)| !rest.is_empty()) else {
            return;
        };
        if let Some(claim) = self.inside.get_mut(first) {
            claim.on_the_way = claim.slot.is_none() && claim.reads_nothing_inside();
            claim.lead(rest);
        }
    }
}

impl<'p> Mapping<'p> {
    /// Reads a pipeline whose sources have the names of the export; says what is missing.
    pub(super) fn new(
        pipeline: &'p Pipeline,
        manifest: &'p TransformManifest,
        export: &ExportManifest,
    ) -> Result<Self, String> {
        let definition = |name: &str| {
            let found = manifest.tables.iter().find(|table| table.definition.name == name);
            let found = found.map(|table| &table.definition);
            found.ok_or_else(|| format!("table {name} is not in the transform's manifest"))
        };
        let junctions = pipeline.junctions.iter().map(|junction| {
            let sides = junction.columns.each_ref().map(|side| key_of(pipeline, &side.table));
            let [first, second] = sides;
            let definition = definition(&junction.name)?;
            Ok(JunctionMap {
                junction,
                definition,
                types: types(definition),
                sides: [first?, second?],
            })
        });
        let tables = pipeline
            .tables
            .iter()
            .map(|table| TableMap::new(pipeline, table, definition(&table.name)?, export));
        Ok(Self {
            tables: tables.collect::<Result<_, String>>()?,
            junctions: junctions.collect::<Result<_, String>>()?,
        })
    }
}

impl Mapping<'_> {
    /// Columns of a table to which references lead.
    pub(super) fn referred(&self, table: usize) -> impl Iterator<Item = usize> + use<> {
        let all = self.tables.iter().flat_map(|other| &other.columns);
        let all = all.filter_map(|column| column.reference.as_ref());
        let mut columns: Vec<usize> =
            all.filter(|it| it.table == table).map(|it| it.column).collect();
        columns.sort_unstable();
        columns.dedup();
        columns.into_iter()
    }

    /// Whether references lead from one table to another, through others or to itself.
    pub(super) fn leads(&self, from: usize, to: usize) -> bool {
        let (mut ahead, mut seen) = (vec![from], vec![false; self.tables.len()]);
        while let Some(at) = ahead.pop() {
            if at == to {
                return true;
            }
            if std::mem::replace(seen.get_mut(at).unwrap_or(&mut true), true) {
                continue;
            }
            let columns = self.tables.get(at).map_or(&[][..], |table| &table.columns);
            let references = columns.iter().filter_map(|column| column.reference.as_ref());
            ahead.extend(references.map(|reference| reference.table));
        }
        false
    }
}

/// Where a table's key of one column is.
fn key_of(pipeline: &Pipeline, name: &str) -> Result<(usize, usize), String> {
    let missing = || format!("table {name} has no key of one column");
    let at = pipeline.tables.iter().position(|table| table.name == name).ok_or_else(missing)?;
    let columns = pipeline.tables.get(at).map_or(&[][..], |table| &table.columns);
    let column = columns.iter().position(|column| column.key.is_some()).ok_or_else(missing)?;
    Ok((at, column))
}

impl<'p> TableMap<'p> {
    fn new(
        pipeline: &'p Pipeline,
        table: &'p Table,
        definition: &'p TableDefinition,
        export: &ExportManifest,
    ) -> Result<Self, String> {
        let of_source = export.collections.iter().find(|found| found.name == table.source);
        let kind = of_source.map_or("", |found| found.kind.as_str());
        let (mut claims, mut slots) = (Claim::default(), 0);
        let serial = table.columns.iter().any(|column| column.key == Some(Key::Serial));
        let takes_rest = table.columns.iter().any(|column| column.origin == Origin::Rest);
        let mut columns = Vec::new();
        let mut parent = vec!["_id".to_owned()];
        for column in &table.columns {
            let reference = reference_of(pipeline, column)?;
            if column.origin == Origin::Parent
                && let Some(reference) = &reference
                && let Some(path) = path_of(pipeline, reference)
            {
                parent = path;
            }
            let of_column = match &column.origin {
                _ if column.key == Some(Key::Serial) => Vec::new(),
                Origin::Paths(paths) => {
                    paths.iter().map(|path| claims.slot(path, &mut slots)).collect()
                }
                Origin::Presence(path) => vec![claims.told(path, &mut slots)],
                _ => Vec::new(),
            };
            columns.push(ColumnMap {
                column,
                nullable: column.is_nullable(),
                labels: labels_of(pipeline, column),
                pattern: pattern_of(column)?,
                reference,
                slots: of_column,
            });
        }
        let mut arrays = Vec::new();
        for (at, junction) in pipeline.junctions.iter().enumerate() {
            for from in junction.from.iter().filter(|from| from.table == table.name) {
                let slot = claims.slot(&from.path, &mut slots);
                arrays.push(ArrayMap { junction: at, side: from.side, slot });
            }
        }
        if serial && !takes_rest {
            claims.elsewhere(&["_id".to_owned()], Elsewhere::Rule(Rule::SerialKey));
        }
        if kind == "table" {
            claims.elsewhere(&["_id".to_owned()], Elsewhere::Rule(Rule::RowId));
        }
        for path in &table.ignore {
            claims.elsewhere(&path.0, Elsewhere::Rule(Rule::Ignored));
        }
        for (path, _) in &table.filter {
            claims.elsewhere(&path.0, Elsewhere::Rule(Rule::Where));
        }
        if table.each.is_none() {
            for each in each_of(pipeline, &table.source) {
                claims.elsewhere(each.before_members(), Elsewhere::Table);
                claims.lead(each.before_members());
            }
        }
        let key: Vec<usize> = places(&table.columns, |column| column.key.is_some());
        let first = pipeline
            .tables
            .iter()
            .find(|other| other.source == table.source && other.each.is_none());
        let key_is_id = table.each.is_none() && key.len() == 1 && {
            let is_id = Origin::Paths(vec![FieldPath(vec!["_id".to_owned()])]);
            serial
                || key
                    .iter()
                    .any(|at| table.columns.get(*at).is_some_and(|key| key.origin == is_id))
        };
        Ok(Self {
            table,
            definition,
            columns,
            types: types(definition),
            key,
            claims,
            slots,
            takes_rest,
            takes_element: table.columns.iter().any(|column| column.origin == Origin::Element),
            serial,
            ids_differ: key_is_id || kind != "timeseries",
            answers: !table.filter.is_empty()
                && first.is_some_and(|first| first.name == table.name),
            parent,
            arrays,
            unique: unique_of(table),
        })
    }

    /// Whether the table's `unmapped` leaves out what no column takes.
    pub(super) fn drops_rest(&self) -> bool {
        self.table.unmapped == Unmapped::Drop
    }

    /// The conditions under which a document belongs to the table.
    pub(super) fn filter(&self) -> &'p [(FieldPath, Literal)] {
        &self.table.filter
    }
}

/// Column types of a table, in order.
fn types(definition: &TableDefinition) -> Vec<PgType> {
    definition.columns.iter().map(|column| column.pg_type.clone()).collect()
}

fn each_of<'p>(pipeline: &'p Pipeline, source: &str) -> impl Iterator<Item = &'p FieldPath> {
    let of_source = pipeline.tables.iter().filter(move |other| other.source == source);
    of_source.filter_map(|other| other.each.as_ref())
}

fn places(columns: &[Column], wanted: impl Fn(&Column) -> bool) -> Vec<usize> {
    columns.iter().enumerate().filter(|(_, column)| wanted(column)).map(|(at, _)| at).collect()
}

fn reference_of(pipeline: &Pipeline, column: &Column) -> Result<Option<ReferenceMap>, String> {
    let Some(reference) = &column.references else { return Ok(None) };
    let missing = || format!("{}.{} does not exist", reference.table, reference.column);
    let mut tables = pipeline.tables.iter().enumerate();
    let (at, table) =
        tables.find(|(_, table)| table.name == reference.table).ok_or_else(missing)?;
    let mut columns = table.columns.iter().enumerate();
    let (place, key) =
        columns.find(|(_, column)| column.name == reference.column).ok_or_else(missing)?;
    let serial = key.key == Some(Key::Serial);
    let key_type = if serial { PgType::Uuid } else { key.pg_type.clone() };
    Ok(Some(ReferenceMap { table: at, column: place, key_type, serial }))
}

/// Where the key that a reference points to stands in its document.
fn path_of(pipeline: &Pipeline, reference: &ReferenceMap) -> Option<Vec<String>> {
    let key = pipeline.tables.get(reference.table)?.columns.get(reference.column)?;
    match &key.origin {
        Origin::Paths(paths) if !reference.serial => Some(paths.first()?.0.clone()),
        _ => None,
    }
}

fn labels_of(pipeline: &Pipeline, column: &Column) -> Vec<String> {
    let PgType::Enum(name) = column.pg_type.element() else { return Vec::new() };
    let found = pipeline.enums.iter().find(|found| found.name == *name);
    found.map(|found| found.labels.clone()).unwrap_or_default()
}

fn pattern_of(column: &Column) -> Result<Option<Regex>, String> {
    let pattern = column.pattern.as_deref().map(Regex::new).transpose();
    pattern.map_err(|error| format!("pattern of {}: {error}", column.name))
}

fn unique_of(table: &Table) -> Vec<(Vec<usize>, Vec<usize>)> {
    let place = |name: &String| table.columns.iter().position(|column| column.name == *name);
    let plain = table.unique.iter().map(|names| {
        let columns: Vec<usize> = names.iter().filter_map(place).collect();
        (columns, Vec::new())
    });
    let indexes = table.indexes.iter().filter(|index| index.checked()).map(|index| {
        let columns: Vec<usize> = index.columns.iter().filter_map(place).collect();
        let lower = index.lower.iter().filter_map(place).collect();
        (columns, lower)
    });
    plain.chain(indexes).collect()
}
