//! The pipeline file compiled for shaping: slots for field paths, indexes instead of names.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use regex::Regex;
use rustc_hash::FxHashMap;

use super::TransformError;
use super::cell::Cell;
use super::checks::check;
use super::convert::{Refusal, convert};
use super::row_size;
use crate::document::jsonb::Changed;
use crate::document::raw::{Expected, Value};
use crate::pgcopy::PgType;
use crate::pipeline::definitions::table_definitions;
use crate::pipeline::model::{
    Column, Dangling, FieldPath, Fill, Key, Literal, Nul, NullElements, OnFail, Origin, Otherwise,
    Pipeline, Table, Unmapped, UuidOrder,
};
use crate::staging::manifest::{CollectionManifest, ExportManifest};
use crate::staging::table::TableDefinition;

/// Everything the workers share.
pub(super) struct Plan {
    pub(super) tables: Vec<TablePlan>,
    pub(super) junctions: Vec<JunctionPlan>,
    /// Referenced columns, whose accepted values are gathered: (table, column).
    pub(super) sets: Vec<(usize, usize)>,
}

impl Plan {
    /// Names that have a folder of parts.
    pub(super) fn names(&self) -> Vec<String> {
        let tables = self.tables.iter().map(|table| table.name.clone());
        let serial = self.tables.iter().filter(|table| table.serial);
        let ids = serial.map(|table| format!("{}.ids", table.name));
        let junctions = self.junctions.iter().map(|junction| junction.definition.name.clone());
        tables.chain(ids).chain(junctions).collect()
    }

    /// Whether the keys of a set are `_id`s for which numbers stand.
    pub(super) fn is_serial(&self, set: usize) -> bool {
        let (table, column) = self.sets[set];
        matches!(self.tables[table].columns[column].input, Input::Serial)
    }
}

/// Collections of an export that differ from those of documents.
#[derive(Default)]
pub(super) struct Sources {
    /// Tables of a relational source: their `_id` repeats what their columns hold, and needs no
    /// place. Each with the field that is numbered and the greatest number given out for it, where
    /// the source keeps count.
    tables: HashMap<String, Option<(String, i64)>>,
    /// Time series, in which several measurements may have one `_id`.
    series: HashSet<String>,
}

impl Sources {
    pub(super) fn of(export: &ExportManifest) -> Self {
        let of_kind = |kind: &'static str| {
            export.collections.iter().filter(move |collection| collection.kind == kind)
        };
        let tables = of_kind("table").map(|table| (table.name.clone(), given_out(table)));
        let series = of_kind("timeseries").map(|collection| collection.name.clone());
        Self { tables: tables.collect(), series: series.collect() }
    }
}

impl Sources {
    /// Collections of a source that is not exported: those that are tables, and time series.
    pub(super) fn named(
        tables: impl Iterator<Item = String>,
        series: impl Iterator<Item = String>,
    ) -> Self {
        Self { tables: tables.map(|name| (name, None)).collect(), series: series.collect() }
    }
}

/// The field of a table that is numbered, and the greatest number given out for it.
fn given_out(table: &CollectionManifest) -> Option<(String, i64)> {
    let options = &table.options;
    let columns = options["columns"].as_array().into_iter().flatten();
    let mut key = columns.filter(|column| column["key"].as_i64().is_some_and(|place| place > 0));
    let (Some(column), None) = (key.next(), key.next()) else { return None };
    Some((column["name"].as_str()?.to_owned(), options["sequence"].as_i64()?))
}

/// One table.
pub(super) struct TablePlan {
    pub(super) name: String,
    pub(super) source: String,
    pub(super) optional: bool,
    pub(super) each: Option<FieldPath>,
    pub(super) filter: Vec<(FieldPath, Literal)>,
    pub(super) otherwise: Otherwise,
    pub(super) unmapped: Unmapped,
    pub(super) columns: Vec<ColumnPlan>,
    /// Some row may be larger than a page.
    pub(super) can_overflow: bool,
    pub(super) tree: Node,
    pub(super) slots: usize,
    /// Path of the parent's key in the whole document, for `parent = true`.
    pub(super) parent: Option<FieldPath>,
    pub(super) arrays: Vec<ArrayPlan>,
    /// Arrays that become rows of other tables.
    pub(super) absences: Vec<AbsencePlan>,
    pub(super) key: Vec<usize>,
    pub(super) key_is_id: bool,
    /// Several documents may have one `_id`, which is no key here.
    pub(super) ids_repeat: bool,
    /// The key is a number that stands for the `_id`.
    pub(super) serial: bool,
    /// Values that no two rows share, besides the key.
    pub(super) unique: Vec<UniquePlan>,
    /// Sets this table feeds: (set, column).
    pub(super) feeds: Vec<(usize, usize)>,
    pub(super) definition: TableDefinition,
}

/// Columns whose values together belong to one row.
#[derive(Clone, Debug, Default)]
pub(super) struct UniquePlan {
    pub(super) columns: Vec<usize>,
    /// Places in `columns` of texts that are compared in lower case.
    pub(super) lower: Vec<usize>,
}

impl UniquePlan {
    /// Columns that are compared as they are.
    pub(super) fn plain(columns: Vec<usize>) -> Self {
        Self { columns, lower: Vec::new() }
    }
}

/// One column.
pub(super) struct ColumnPlan {
    pub(super) name: String,
    pub(super) pg_type: PgType,
    pub(super) nullable: bool,
    pub(super) optional: bool,
    pub(super) is_key: bool,
    pub(super) input: Input,
    /// The field, as errors name it.
    pub(super) field: String,
    pub(super) values: HashMap<String, String>,
    pub(super) labels: Vec<String>,
    pub(super) reference: Option<ReferencePlan>,
    pub(super) pattern: Option<Regex>,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) length: Option<u32>,
    pub(super) email: bool,
    /// The pipeline file states rules beyond the type.
    pub(super) has_rules: bool,
    pub(super) on_fail: OnFail,
    pub(super) nul: Nul,
    pub(super) coerce: bool,
    pub(super) format: Option<String>,
    pub(super) uuid_order: Option<UuidOrder>,
    pub(super) parse_json: bool,
    pub(super) empty_is_null: bool,
    pub(super) null_elements: NullElements,
    /// What stands for a field that is null or missing.
    pub(super) fill: Option<Cell<'static>>,
    /// A UUID key whose `_id` no other column holds: made from anything but an ObjectId or UUID it
    /// leaves nothing of the `_id` in PostgreSQL.
    pub(super) digest_only: bool,
    /// The slot of a column that has one, no reference, and no rules of its own: most values are
    /// taken as they are.
    pub(super) plain_slot: Option<usize>,
}

/// Where a column's value is found.
pub(super) enum Input {
    /// In the first of these slots that holds a value.
    Slots(Vec<usize>),
    Rest,
    Parent,
    Ordinal,
    Member,
    Element,
    /// The record's number in its table.
    Serial,
    /// What stands in this slot is named, not taken.
    Presence(usize),
}

/// A reference.
pub(super) struct ReferencePlan {
    pub(super) table: String,
    pub(super) set: usize,
    pub(super) key_type: PgType,
    /// The target's key is a number that stands for its `_id`.
    pub(super) serial: bool,
    pub(super) dangling: Dangling,
}

/// An array, or document of members, whose elements become rows of another table: where it holds
/// none, its own row is all that is left of it.
pub(super) struct AbsencePlan {
    pub(super) path: String,
    pub(super) slot: usize,
    /// A column of the table tells null, missing and empty apart.
    pub(super) told: bool,
}

/// An array of ids that feeds a junction.
pub(super) struct ArrayPlan {
    pub(super) junction: usize,
    pub(super) side: usize,
    pub(super) slot: usize,
    pub(super) path: String,
    pub(super) optional: bool,
}

/// A junction table.
pub(super) struct JunctionPlan {
    /// Sets of the two sides.
    pub(super) sets: [usize; 2],
    /// Column types of the two sides.
    pub(super) types: [PgType; 2],
    /// Types by which links are found: UUIDs of `_id`s for serial keys.
    pub(super) link_types: [PgType; 2],
    /// Rows have the position of their link in its array.
    pub(super) ordered: bool,
    /// Both sides hold arrays, so a link on one side only is worth listing.
    pub(super) two_sided: bool,
    pub(super) paths: Vec<String>,
    pub(super) definition: TableDefinition,
}

/// What is done with a field, and with those inside it.
#[derive(Default)]
pub(super) struct Node {
    pub(super) slot: Option<usize>,
    /// A slot that only tells what the field is; it takes nothing.
    pub(super) presence: Option<usize>,
    /// Taken as a whole by something that is no column of this table.
    pub(super) taken: bool,
    /// Only what other tables take is inside: it may be an array of subdocuments.
    pub(super) on_the_way: bool,
    pub(super) children: Vec<Node>,
    names: FxHashMap<String, usize>,
    /// The children's names in order.
    order: Vec<(String, Option<Expected>)>,
}

impl Node {
    /// The name of the child at this place, made ready to be compared; nothing after the last.
    #[inline]
    pub(super) fn expected(&self, place: usize) -> Option<&Expected> {
        self.order.get(place)?.1.as_ref()
    }

    /// The name of the child at this place.
    pub(super) fn name(&self, place: usize) -> &str {
        self.order.get(place).map(|(name, _)| name.as_str()).unwrap_or_default()
    }

    /// The place of the child of this name.
    pub(super) fn child(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// Whether nothing inside has a slot of this table.
    fn holds_no_slots(&self) -> bool {
        self.children.iter().all(|child| child.slot.is_none() && child.holds_no_slots())
    }

    /// Marks the nodes above this path that lead to nothing of this table.
    fn mark_way(&mut self, path: &[String]) {
        let Some((first, rest)) = path.split_first().filter(|(_, rest)| !rest.is_empty()) else {
            return;
        };
        if let Some(at) = self.names.get(first) {
            let child = &mut self.children[*at];
            child.on_the_way = child.slot.is_none() && child.holds_no_slots();
            child.mark_way(rest);
        }
    }

    fn insert(&mut self, path: &[String]) -> &mut Self {
        let Some((first, rest)) = path.split_first() else { return self };
        let at = if let Some(at) = self.names.get(first) {
            *at
        } else {
            self.children.push(Self::default());
            self.order.push((first.clone(), Expected::new(first)));
            self.names.insert(first.clone(), self.children.len() - 1);
            self.children.len() - 1
        };
        self.children[at].insert(rest)
    }
}

struct Slots<'t> {
    tree: &'t mut Node,
    count: &'t mut usize,
}

impl Slots<'_> {
    fn of(&mut self, path: &FieldPath) -> usize {
        let node = self.tree.insert(&path.0);
        *node.slot.get_or_insert_with(|| {
            *self.count += 1;
            *self.count - 1
        })
    }

    /// The slot that tells what a field is.
    fn presence(&mut self, path: &FieldPath) -> usize {
        let node = self.tree.insert(&path.0);
        *node.presence.get_or_insert_with(|| {
            *self.count += 1;
            *self.count - 1
        })
    }
}

impl Plan {
    /// Compiles a pipeline.
    pub(super) fn new(pipeline: &Pipeline, sources: &Sources) -> Result<Self, TransformError> {
        let mut definitions: HashMap<String, TableDefinition> = table_definitions(pipeline)
            .into_iter()
            .map(|definition| (definition.name.clone(), definition))
            .collect();
        let mut definition_of = |name: &str| {
            definitions.remove(name).ok_or_else(|| {
                TransformError::Unsupported(format!("table {name} has no definition"))
            })
        };
        let position = |table: &str, column: &str| -> Result<(usize, usize), TransformError> {
            let at = pipeline.tables.iter().position(|candidate| candidate.name == table);
            let found = at.and_then(|at| {
                let columns = &pipeline.tables[at].columns;
                columns.iter().position(|candidate| candidate.name == column).map(|c| (at, c))
            });
            found.ok_or_else(|| {
                TransformError::Unsupported(format!("{table}.{column} does not exist"))
            })
        };
        let key_column = |table: &str| -> Result<(usize, usize), TransformError> {
            let unkeyed =
                || TransformError::Unsupported(format!("table {table} has no key of one column"));
            let found = pipeline.tables.iter().find(|candidate| candidate.name == table);
            let mut keys = found
                .ok_or_else(unkeyed)?
                .columns
                .iter()
                .filter(|column| column.key.is_some())
                .map(|column| column.name.as_str());
            match (keys.next(), keys.next()) {
                (Some(name), None) => position(table, name),
                _ => Err(unkeyed()),
            }
        };

        let mut sets: Vec<(usize, usize)> = Vec::new();
        let mut set_of = |target: (usize, usize)| {
            if let Some(at) = sets.iter().position(|set| *set == target) {
                at
            } else {
                sets.push(target);
                sets.len() - 1
            }
        };

        let mut tables = Vec::new();
        for table in &pipeline.tables {
            let mut tree = Node::default();
            let mut slots = 0;
            let mut paths = Slots { tree: &mut tree, count: &mut slots };
            let mut columns = Vec::new();
            let mut parent = None;
            for column in &table.columns {
                let serial = column.key == Some(Key::Serial);
                if serial && table.each.is_some() {
                    return Err(TransformError::Unsupported(format!(
                        "column {}.{}: a table with `each` has no serial key; use its parent's key \
                         and the ordinal",
                        table.name, column.name
                    )));
                }
                let reference = match &column.references {
                    None => None,
                    Some(reference) => {
                        let target = position(&reference.table, &reference.column)?;
                        if column.origin == Origin::Parent {
                            parent = Some(path_of(pipeline, target));
                        }
                        let key = &pipeline.tables[target.0].columns[target.1];
                        let serial = key.key == Some(Key::Serial);
                        Some(ReferencePlan {
                            table: reference.table.clone(),
                            set: set_of(target),
                            // A serial key is found by the UUID of the document's `_id`.
                            key_type: if serial { PgType::Uuid } else { key.pg_type.clone() },
                            serial,
                            dangling: column.dangling,
                        })
                    }
                };
                let (input, field) = match &column.origin {
                    _ if serial => {
                        // The id itself has a place in the map of old and new keys, and in the
                        // column that takes the rest.
                        if !table.columns.iter().any(|other| other.origin == Origin::Rest) {
                            paths.tree.insert(&["_id".to_owned()]).taken = true;
                        }
                        (Input::Serial, "_id".to_owned())
                    }
                    Origin::Paths(origins) => {
                        let field = origins
                            .iter()
                            .map(ToString::to_string)
                            .collect::<Vec<_>>()
                            .join(" or ");
                        (Input::Slots(origins.iter().map(|path| paths.of(path)).collect()), field)
                    }
                    Origin::Rest => (Input::Rest, "*".to_owned()),
                    Origin::Parent => (Input::Parent, "(parent)".to_owned()),
                    Origin::Ordinal => (Input::Ordinal, "(ordinal)".to_owned()),
                    Origin::Member => (Input::Member, "(member)".to_owned()),
                    Origin::Element => (Input::Element, "(element)".to_owned()),
                    Origin::Presence(path) => {
                        (Input::Presence(paths.presence(path)), path.to_string())
                    }
                };
                let labels = match column.pg_type.element() {
                    PgType::Enum(name) => pipeline
                        .enums
                        .iter()
                        .find(|candidate| candidate.name == *name)
                        .map(|found| found.labels.clone())
                        .unwrap_or_default(),
                    _ => Vec::new(),
                };
                let pattern = match &column.pattern {
                    None => None,
                    Some(pattern) => Some(Regex::new(pattern).map_err(|error| {
                        TransformError::Unsupported(format!(
                            "pattern of {}.{}: {error}",
                            table.name, column.name
                        ))
                    })?),
                };
                let has_rules = column.email
                    || column.pattern.is_some()
                    || column.min.is_some()
                    || column.max.is_some()
                    || column.length.is_some();
                let plain_slot = match &input {
                    Input::Slots(slots) if slots.len() == 1 => slots.first().copied(),
                    _ => None,
                };
                let plain_slot = plain_slot.filter(|_| {
                    !has_rules
                        && reference.is_none()
                        && column.values.is_empty()
                        && column.format.is_none()
                        && !column.empty_is_null
                });
                let mut made = ColumnPlan {
                    name: column.name.clone(),
                    pg_type: column.pg_type.clone(),
                    nullable: column.is_nullable(),
                    optional: column.optional || column.fill.is_some(),
                    is_key: column.key.is_some(),
                    input,
                    field,
                    values: column.values.iter().cloned().collect(),
                    labels,
                    reference,
                    pattern,
                    min: column.min,
                    max: column.max,
                    length: column.length,
                    email: column.email,
                    has_rules,
                    on_fail: column.on_fail,
                    nul: column.nul,
                    coerce: column.coerce,
                    format: column.format.clone(),
                    uuid_order: column.uuid_order,
                    parse_json: column.parse_json,
                    empty_is_null: column.empty_is_null,
                    null_elements: column.null_elements,
                    fill: None,
                    digest_only: false,
                    plain_slot,
                };
                made.fill = fill_of(&made, column).map_err(|refusal| {
                    TransformError::Unsupported(format!(
                        "fill of {}.{}: {}",
                        table.name, column.name, refusal.detail
                    ))
                })?;
                columns.push(made);
            }
            mark_digests(&mut columns);
            let mut arrays = Vec::new();
            for (at, junction) in pipeline.junctions.iter().enumerate() {
                for source in junction.from.iter().filter(|source| source.table == table.name) {
                    arrays.push(ArrayPlan {
                        junction: at,
                        side: source.side,
                        slot: paths.of(&source.path),
                        path: format!("{}.{}", table.name, source.path),
                        optional: source.optional,
                    });
                }
            }
            let absences = absences(pipeline, table, &mut paths);
            if sources.tables.contains_key(&table.source) {
                tree.insert(&["_id".to_owned()]).taken = true;
            }
            for path in &table.ignore {
                tree.insert(&path.0).taken = true;
            }
            for (path, _) in &table.filter {
                // A discriminator is known from the table itself.
                tree.insert(&path.0).taken = true;
            }
            if table.each.is_none() {
                let siblings = pipeline.tables.iter().filter(|other| other.source == table.source);
                for each in siblings.filter_map(|other| other.each.as_ref()) {
                    // Names that are data lead nowhere: the whole document of them is taken.
                    tree.insert(each.before_members()).taken = true;
                    tree.mark_way(each.before_members());
                }
            }
            let key: Vec<usize> = (0..columns.len()).filter(|at| columns[*at].is_key).collect();
            let serial = table.columns.iter().any(|column| column.key == Some(Key::Serial));
            let is_id = |column: &crate::pipeline::model::Column| {
                column.origin == Origin::Paths(vec![FieldPath(vec!["_id".into()])])
            };
            let key_is_id =
                table.each.is_none() && key.len() == 1 && (serial || is_id(&table.columns[key[0]]));
            let column_at = |name: &String| position(&table.name, name).map(|(_, column)| column);
            let mut unique = Vec::new();
            for names in &table.unique {
                let columns = names.iter().map(column_at).collect::<Result<Vec<_>, _>>()?;
                unique.push(UniquePlan::plain(columns));
            }
            for index in table.indexes.iter().filter(|index| index.checked()) {
                let columns = index.columns.iter().map(column_at).collect::<Result<Vec<_>, _>>()?;
                let names = index.columns.iter().enumerate();
                let lower = names.filter(|(_, name)| index.lower.contains(name));
                let lower = lower.map(|(place, _)| place).collect();
                unique.push(UniquePlan { columns, lower });
            }
            let mut definition = definition_of(&table.name)?;
            if let Some(Some((field, given))) = sources.tables.get(&table.source)
                && table.each.is_none()
            {
                let numbered = Origin::Paths(vec![FieldPath(vec![field.clone()])]);
                let all = definition.columns.iter_mut().zip(&table.columns);
                for (staged, _) in all.filter(|(_, column)| column.origin == numbered) {
                    staged.sequence = staged.identity.then_some(*given);
                }
            }
            tables.push(TablePlan {
                name: table.name.clone(),
                source: table.source.clone(),
                optional: table.optional,
                each: table.each.clone(),
                filter: table.filter.clone(),
                otherwise: table.otherwise,
                unmapped: table.unmapped.clone(),
                can_overflow: row_size::can_overflow(&columns),
                columns,
                tree,
                slots,
                parent,
                arrays,
                absences,
                key,
                key_is_id,
                ids_repeat: !key_is_id && sources.series.contains(&table.source),
                serial,
                unique,
                feeds: Vec::new(),
                definition,
            });
        }

        let mut junctions = Vec::new();
        for junction in &pipeline.junctions {
            let sides =
                [key_column(&junction.columns[0].table)?, key_column(&junction.columns[1].table)?];
            let types =
                sides.map(|(table, column)| pipeline.tables[table].columns[column].pg_type.clone());
            for key_type in &types {
                if !matches!(
                    key_type,
                    PgType::Uuid | PgType::SmallInt | PgType::Integer | PgType::BigInt
                ) {
                    return Err(TransformError::Unsupported(format!(
                        "junction {}: keys of type {key_type} are not supported yet",
                        junction.name
                    )));
                }
            }
            let holders: BTreeSet<usize> = junction.from.iter().map(|source| source.side).collect();
            let link_types = sides.map(|(table, column)| {
                let key = &pipeline.tables[table].columns[column];
                if key.key == Some(Key::Serial) { PgType::Uuid } else { key.pg_type.clone() }
            });
            junctions.push(JunctionPlan {
                sets: sides.map(&mut set_of),
                types,
                link_types,
                ordered: junction.position.is_some(),
                two_sided: holders.len() == 2,
                paths: junction
                    .from
                    .iter()
                    .map(|source| format!("{}.{}", source.table, source.path))
                    .collect(),
                definition: definition_of(&junction.name)?,
            });
        }
        for (set, (table, column)) in sets.iter().enumerate() {
            tables[*table].feeds.push((set, *column));
        }
        Ok(Self { tables, junctions, sets })
    }
}

/// The arrays of a table's documents that other tables are made of: those right in the document, and
/// those of junctions.
fn absences(pipeline: &Pipeline, table: &Table, paths: &mut Slots<'_>) -> Vec<AbsencePlan> {
    if table.each.is_some() {
        return Vec::new();
    }
    let children = pipeline.tables.iter().filter(|other| other.source == table.source);
    let children = children.filter_map(|child| child.each.as_ref());
    let children = children.map(FieldPath::before_members).filter(|path| path.len() == 1);
    let junctions = pipeline.junctions.iter().flat_map(|junction| &junction.from);
    let junctions = junctions.filter(|from| from.table == table.name);
    let mut found: Vec<FieldPath> = children
        .map(|path| FieldPath(path.to_vec()))
        .chain(junctions.map(|from| from.path.clone()))
        .collect();
    found.sort();
    found.dedup();
    let plan = |path: FieldPath| AbsencePlan {
        slot: paths.presence(&path),
        told: table.columns.iter().any(|column| column.origin == Origin::Presence(path.clone())),
        path: path.to_string(),
    };
    found.into_iter().map(plan).collect()
}

/// Marks UUID keys from slots that no other column reads.
fn mark_digests(columns: &mut [ColumnPlan]) {
    let slots = |column: &ColumnPlan| match &column.input {
        Input::Slots(slots) => slots.clone(),
        _ => Vec::new(),
    };
    let all: Vec<Vec<usize>> = columns.iter().map(slots).collect();
    for (place, column) in columns.iter_mut().enumerate() {
        let own = &all[place];
        let shared = all
            .iter()
            .enumerate()
            .any(|(other, slots)| other != place && slots.iter().any(|slot| own.contains(slot)));
        column.digest_only = column.is_key
            && column.pg_type == PgType::Uuid
            && column.reference.is_none()
            && !own.is_empty()
            && !shared;
    }
}

/// Where a column's value stands in its document.
fn path_of(pipeline: &Pipeline, (table, column): (usize, usize)) -> FieldPath {
    let column = &pipeline.tables[table].columns[column];
    match &column.origin {
        Origin::Paths(paths) if !paths.is_empty() && column.key != Some(Key::Serial) => {
            paths[0].clone()
        }
        _ => FieldPath(vec!["_id".to_owned()]),
    }
}

/// The cell that `fill` states, by the rules for a value of a document.
fn fill_of(plan: &ColumnPlan, column: &Column) -> Result<Option<Cell<'static>>, Refusal> {
    let literal = match &column.fill {
        None => return Ok(None),
        Some(Fill::EmptyArray) => return Ok(Some(Cell::List(Vec::new()))),
        Some(Fill::Literal(literal)) => literal,
    };
    let value = match literal {
        Literal::String(text) => Value::String(text),
        Literal::Integer(number) => Value::Int64(*number),
        Literal::Float(number) => Value::Double(*number),
        Literal::Boolean(flag) => Value::Boolean(*flag),
    };
    let cell = convert(plan, &plan.pg_type, &value, &mut Changed::default())?;
    check(plan, &cell)?;
    Ok(Some(match cell {
        Cell::Text(text) => Cell::Text(Cow::Owned(text.into_owned())),
        Cell::Numeric(text) => Cell::Numeric(Cow::Owned(text.into_owned())),
        Cell::Boolean(flag) => Cell::Boolean(flag),
        Cell::Integer(number) => Cell::Integer(number),
        Cell::Real(number) => Cell::Real(number),
        Cell::Double(number) => Cell::Double(number),
        _ => return Err(Refusal::new("type", format!("it does not fit {}", plan.pg_type))),
    }))
}
