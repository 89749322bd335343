//! From what was found to tables and columns, as an engineer would lay them out: nothing that was
//! found is without a place, and what is a matter of taste is marked.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value as Json;

use super::column::{
    MOST_FLAT_FIELDS, add, count, evidence, flat_columns, makes_rows, members, names_are_data,
    scalar, share, whole_key,
};
use super::draft::{Draft, DraftColumn, DraftTable, From, path_text};
use super::evidence::{Known, Verdict};
use super::index::{INDEX_BYTES, descend, indexes};
use super::junction::IdArray;
use super::names::{NameStyle, Names};
use super::survey::{Kind, Node};
use super::{Surveyed, relational};
use crate::pipeline::model::FieldPath;

/// Kind of a collection that holds measurements.
const TIME_SERIES: &str = "timeseries";
/// Columns a table has before rare fields are put together.
const MANY_COLUMNS: usize = 60;
/// A field is rare below this share of the documents.
const RARE: f64 = 0.05;
/// Columns a table has at most.
const MOST_COLUMNS: usize = 250;
/// Name of the column that takes what no other does.
const REST: &str = "rest";

/// A collection with what was decided for all of its tables.
pub(super) struct Place {
    pub(super) table: String,
    key: Option<KeyColumn>,
    columns: Names,
}

/// The key that references to a table lead to.
#[derive(Clone, Debug)]
struct KeyColumn {
    name: String,
    field: String,
    pg_type: String,
    /// It is made from the `_id`, which does not return from it.
    digest: bool,
}

/// Everything known of a draft while it is made.
pub(super) struct Planner<'p> {
    pub(super) surveyed: &'p [Surveyed],
    known: Known<'p>,
    pub(super) style: NameStyle,
    pub(super) tables: Names,
    pub(super) places: Vec<Place>,
}

/// A column, or what else becomes of a path.
enum Shape {
    Column(Box<DraftColumn>),
    /// Columns of a subdocument, with its path.
    Flat,
    /// A table of its own, from the elements of an array or the members of a document.
    Child {
        members: bool,
    },
    /// A junction with another collection's table.
    Links(usize),
}

impl<'p> Planner<'p> {
    pub(super) fn new(surveyed: &'p [Surveyed], style: NameStyle) -> Self {
        let collections =
            surveyed.iter().map(|one| (one.listed.name.as_str(), &one.survey)).collect();
        Self {
            surveyed,
            known: Known { collections },
            style,
            tables: Names::new(style),
            places: Vec::new(),
        }
    }

    /// The whole draft.
    pub(super) fn draft(mut self, name: &str) -> Draft {
        let mut draft = Draft { name: name.to_owned(), ..Draft::default() };
        let referred = self.referred_keys();
        for at in 0..self.surveyed.len() {
            let place = self.place(at, &referred);
            self.places.push(place);
        }
        let mut arrays: Vec<IdArray> = Vec::new();
        let mut children = Vec::new();
        for at in 0..self.surveyed.len() {
            let one = &self.surveyed[at];
            let table = if relational(&one.listed) {
                super::relational::table(
                    self.surveyed,
                    at,
                    &self.names_of(),
                    &mut self.places[at].columns,
                )
            } else {
                self.table(at, &mut arrays, &mut children)
            };
            draft.tables.push(table);
        }
        super::relational::relate(self.surveyed, &mut draft.tables);
        for (at, path, members) in children {
            let child = self.child(at, &path, members);
            draft.tables.push(child);
        }
        draft.junctions = self.junctions(arrays);
        draft
    }

    fn names_of(&self) -> Vec<String> {
        self.places.iter().map(|place| place.table.clone()).collect()
    }

    /// The table's name and key.
    fn place(&mut self, at: usize, referred: &[Option<String>]) -> Place {
        let one = &self.surveyed[at];
        let mut columns = Names::new(self.style);
        let table = self.tables.give(&one.listed.name);
        // Measurements of a time series may share an `_id`.
        if relational(&one.listed) || one.listed.kind == TIME_SERIES {
            return Place { table, key: None, columns };
        }
        let survey = &one.survey;
        let fields = survey.root.fields.as_deref();
        // Where everyone refers to another field, that is the key.
        let field = self.own_key(at, referred);
        let Some(node) = fields.and_then(|fields| fields.get(&field)) else {
            let key = (survey.documents == 0).then(|| KeyColumn {
                name: columns.give("id"),
                field: "_id".to_owned(),
                pg_type: "uuid".to_owned(),
                digest: false,
            });
            return Place { table, key, columns };
        };
        if node.filled() < survey.documents {
            return Place { table, key: None, columns };
        }
        let found = scalar(node, one.whole);
        let numbers = whole_key(node, one.whole);
        let (pg_type, digest) = match numbers.unwrap_or(found.pg_type) {
            _ if one.numbered && field == "_id" => ("bigint", false),
            "text"
                if node.only(&[Kind::String])
                    && node.forms.bytes <= INDEX_BYTES
                    && node.forms.nuls == 0 =>
            {
                ("text", false)
            }
            // Ids of another kind among them become digests, and stay beside the key.
            "uuid" => ("uuid", node.outliers > 0),
            kind @ ("integer" | "bigint") => (kind, false),
            _ => ("uuid", true),
        };
        let has_id = fields.is_some_and(|fields| fields.get("id").is_some());
        let name = if field == "_id" && !has_id { "id" } else { field.as_str() };
        let name = columns.give(name);
        Place {
            table,
            key: Some(KeyColumn { name, field, pg_type: pg_type.to_owned(), digest }),
            columns,
        }
    }

    /// For each collection, a field other than `_id` by which others refer to its documents.
    fn referred_keys(&self) -> Vec<Option<String>> {
        let mut votes: Vec<BTreeMap<String, usize>> = vec![BTreeMap::new(); self.surveyed.len()];
        for (owner, one) in self.surveyed.iter().enumerate() {
            for (name, node) in one.survey.fields() {
                if let Verdict::Reference(found) = self.known.verdict(owner, name, node) {
                    *votes[found.collection].entry(found.field).or_default() += 1;
                }
            }
        }
        let most = |mut votes: BTreeMap<String, usize>| {
            let by_id = votes.remove("_id").unwrap_or_default();
            let (field, most) = votes.into_iter().max_by_key(|(_, votes)| *votes)?;
            (most > by_id).then_some(field)
        };
        votes.into_iter().map(most).collect()
    }

    /// The field by which the documents of a collection are known: where those of other collections
    /// are known by another field than `_id`, it is the same here.
    fn own_key(&self, at: usize, referred: &[Option<String>]) -> String {
        let usual = referred.iter().flatten().next();
        let own = referred[at].as_ref();
        own.or(usual.filter(|field| self.known.is_key(at, field)))
            .map_or_else(|| "_id".to_owned(), Clone::clone)
    }

    /// The table of a collection's documents. Arrays that make junctions, and paths that make
    /// tables, are added to the lists.
    fn table(
        &mut self,
        at: usize,
        arrays: &mut Vec<IdArray>,
        children: &mut Vec<(usize, Vec<String>, bool)>,
    ) -> DraftTable {
        let one = &self.surveyed[at];
        let survey = &one.survey;
        let mut table = DraftTable {
            name: self.places[at].table.clone(),
            source: one.listed.name.clone(),
            optional: survey.documents == 0,
            ..DraftTable::default()
        };
        table.about.push(about(one));
        let key = self.places[at].key.clone();
        let all = survey.documents;
        let mut paths: BTreeMap<String, String> = BTreeMap::new();
        if let Some(key) = &key {
            let mut column = DraftColumn::new(
                key.name.clone(),
                From::Path(vec![key.field.clone()]),
                &key.pg_type,
            );
            column.key = true;
            if one.numbered && key.field == "_id" {
                column.comment.push_str("the number of the record in its file");
                column.decide = Some(
                    "the records have no _id; a file with other records gives them other numbers"
                        .to_owned(),
                );
            }
            if key.digest {
                column.comment.push_str("made from the _id, which is kept beside it");
            }
            paths.insert(key.field.clone(), key.name.clone());
            table.columns.push(column);
        }
        let mut work: Work<'_> = VecDeque::new();
        for (name, node) in survey.fields() {
            if key.as_ref().is_some_and(|key| !key.digest && *key.field == **name) {
                continue;
            }
            work.push_back((vec![name.to_string()], node));
        }
        let mut columns = Vec::new();
        let mut states = Vec::new();
        let mut rest = survey.root.fields.as_ref().is_some_and(|fields| fields.others.is_some());
        while let Some((path, node)) = work.pop_front() {
            match self.shape(at, &path, node, all, true) {
                Shape::Column(column) => columns.push((node.present, path, *column)),
                Shape::Flat => {
                    put_fields_first(&mut work, &path, node);
                }
                Shape::Child { members } => {
                    states.extend(state(&path, node, all));
                    children.push((at, path, members));
                }
                Shape::Links(target) => {
                    states.extend(state(&path, node, all));
                    arrays.push((at, path, target));
                }
            }
        }
        if columns.len() > MANY_COLUMNS {
            let mut by_share: Vec<u64> = columns.iter().map(|(present, ..)| *present).collect();
            by_share.sort_unstable_by(|left, right| right.cmp(left));
            let least = by_share.get(MOST_COLUMNS).map_or(0, |present| present + 1);
            let before = columns.len();
            columns
                .retain(|(present, ..)| *present >= least && *present as f64 >= all as f64 * RARE);
            rest |= columns.len() < before;
        }
        for (_, path, mut column) in columns {
            column.name = self.places[at].columns.give(&path.join("_"));
            paths.insert(path_text(&path), column.name.clone());
            table.columns.push(column);
        }
        for (path, mut column) in states {
            column.name = self.places[at].columns.give(&format!("{}_state", path.join("_")));
            table.columns.push(column);
        }
        if rest || !one.whole || all == 0 {
            let name = self.places[at].columns.give(REST);
            let mut column = DraftColumn::new(name, From::Rest, "jsonb");
            column.comment = match (rest, one.whole) {
                (true, _) => "rare fields".to_owned(),
                (false, false) => "what the sample did not hold".to_owned(),
                (false, true) => "nothing is known of its documents yet".to_owned(),
            };
            table.columns.push(column);
        }
        indexes(one, &paths, &mut table);
        table.about.extend(validator(one));
        table
    }

    /// What becomes of a path.
    fn shape(&self, at: usize, path: &[String], node: &Node, all: u64, outermost: bool) -> Shape {
        let whole = self.surveyed[at].whole;
        let keyed =
            self.places[at].key.as_ref().is_some_and(|key| !key.digest || key.field == "_id");
        let jsonb = |comment: &str, decide: Option<String>| {
            let mut column = DraftColumn::new(String::new(), From::Path(path.to_vec()), "jsonb");
            column.comment = evidence(node, all);
            if !comment.is_empty() {
                add(&mut column.comment, comment);
            }
            column.decide = decide;
            column.required = whole && node.filled() == all && all > 0;
            Shape::Column(Box::new(column))
        };
        let name = path.last().map(String::as_str).unwrap_or_default();
        if node.only(&[Kind::Document]) {
            let Some(fields) = &node.fields else { return jsonb("", None) };
            let geo = fields.get("coordinates").is_some() && fields.get("type").is_some();
            if geo {
                return jsonb("GeoJSON", None);
            }
            if names_are_data(node) {
                let child = outermost && keyed && makes_rows(&members(node));
                return if child {
                    Shape::Child { members: true }
                } else {
                    jsonb("names are data", None)
                };
            }
            let flat =
                whole && flat_columns(node).is_some_and(|columns| columns <= MOST_FLAT_FIELDS);
            return if flat { Shape::Flat } else { jsonb("", None) };
        }
        if node.only(&[Kind::Array]) {
            let Some(element) = node.element.as_deref().filter(|element| element.filled() > 0)
            else {
                return jsonb("", Some("every array is empty".to_owned()));
            };
            let lengths = format!("at most {} elements", count(node.longest));
            if element.only(&[Kind::Document]) {
                let child = outermost
                    && keyed
                    && element.filled() == element.present
                    && makes_rows(element);
                return if child { Shape::Child { members: false } } else { jsonb(&lengths, None) };
            }
            if outermost
                && let Verdict::Reference(found) = self.known.verdict(at, name, element)
                && self.joinable(at, "_id")
                && self.joinable(found.collection, &found.field)
            {
                return Shape::Links(found.collection);
            }
            let item = scalar(element, whole);
            if item.pg_type == "jsonb" {
                return jsonb(&evidence(element, element.present), None);
            }
            let mut column = DraftColumn::new(
                String::new(),
                From::Path(path.to_vec()),
                format!("{}[]", item.pg_type),
            );
            column.comment = evidence(node, all);
            add(&mut column.comment, &lengths);
            column.required = whole && node.filled() == all && all > 0;
            return Shape::Column(Box::new(column));
        }
        let found = scalar(node, whole);
        let mut column = DraftColumn::new(String::new(), From::Path(path.to_vec()), found.pg_type);
        column.comment = evidence(node, all);
        if !found.note.is_empty() {
            add(&mut column.comment, &found.note);
        }
        column.decide = found.decide;
        let mistakes = node.outliers + node.far_dates;
        if node.undefined > 0 && found.pg_type != "jsonb" {
            let undefined = format!("{} are undefined and become NULL", count(node.undefined));
            add(&mut column.comment, &undefined);
        }
        column.required = whole && node.filled() == all && all > 0;
        if path != ["_id"] {
            self.refer(at, name, node, &mut column);
        }
        if mistakes > 0 && found.pg_type != "jsonb" {
            let blanks = node.count(Kind::String) == 0 && node.forms.empty > 0;
            if blanks {
                column.empty = true;
                column.required = false;
                let of = format!("{} of {} values", count(node.forms.empty), count(node.filled()));
                column.decide(format!("{of} are empty texts, and become NULL"));
            }
            let others = if blanks { mistakes - node.forms.empty } else { mistakes };
            if others > 0 {
                column.decide(mistaken(node, others, column.references.is_some()));
            }
        }
        Shape::Column(Box::new(column))
    }
    /// Whether a junction can refer to the table by this field.
    fn joinable(&self, collection: usize, field: &str) -> bool {
        self.places[collection].key.as_ref().is_some_and(|key| {
            key.field == field && matches!(key.pg_type.as_str(), "uuid" | "integer" | "bigint")
        })
    }

    /// Adds the reference that a field's values show.
    fn refer(&self, at: usize, name: &str, node: &Node, column: &mut DraftColumn) {
        match self.known.verdict(at, name, node) {
            Verdict::Nothing => {}
            Verdict::Several(found) => {
                let shares: Vec<String> = found
                    .iter()
                    .map(|one| {
                        format!("{} {}", self.places[one.collection].table, share(one.share))
                    })
                    .collect();
                column.decide = Some(format!("ids of several collections: {}", shares.join(", ")));
            }
            Verdict::Reference(found) => {
                let place = &self.places[found.collection];
                let Some(key) = place.key.as_ref().filter(|key| key.field == found.field) else {
                    let target = format!("{}.{}", place.table, found.field);
                    column.decide = Some(format!("its values are those of {target}"));
                    return;
                };
                column.references = Some(place.table.clone());
                column.pg_type.clone_from(&key.pg_type);
                column.decide = None;
                column.index = true;
                if found.share < 1.0 {
                    column.dangling = Some("keep");
                    column.decide = Some(format!(
                        "{} of its values are there; \"null\" or \"reject\" makes a foreign key",
                        share(found.share)
                    ));
                } else {
                    let how = if found.exact { "every value" } else { "every sampled value" };
                    add(&mut column.comment, &format!("{how} found there"));
                }
            }
        }
    }

    /// The table of the elements at a path.
    fn child(&mut self, at: usize, path: &[String], members_are_rows: bool) -> DraftTable {
        let one = &self.surveyed[at];
        let parent = self.places[at].table.clone();
        let found = descend(&one.survey, path);
        let element = match (members_are_rows, found) {
            (true, Some(node)) => members(node),
            (false, Some(node)) => node.element.as_deref().cloned().unwrap_or_default(),
            (_, None) => Node::default(),
        };
        let mut each = path.to_vec();
        if members_are_rows {
            each.push(FieldPath::MEMBERS.to_owned());
        }
        let mut table = DraftTable {
            name: self.tables.give(&format!("{}_{}", one.listed.name, path.join("_"))),
            source: one.listed.name.clone(),
            each: Some(each),
            ..DraftTable::default()
        };
        let what = if members_are_rows { "members" } else { "elements" };
        table.about.push(format!("{} {what} of {}", count(element.present), path.join(".")));
        let mut names = Names::new(self.style);
        if let Some(key) = &self.places[at].key {
            let name = names.give(&format!("{parent}_id"));
            let mut column = DraftColumn::new(name, From::Parent, &key.pg_type);
            column.key = true;
            column.references = Some(parent);
            column.dangling = Some("reject");
            column.on_delete = Some("cascade".to_owned());
            table.columns.push(column);
        }
        let mut column = if members_are_rows {
            DraftColumn::new(names.give("name"), From::Member, "text")
        } else {
            DraftColumn::new(names.give("position"), From::Ordinal, "integer")
        };
        column.key = true;
        table.columns.push(column);
        if !element.only(&[Kind::Document]) {
            let found = scalar(&element, one.whole);
            let mut column = DraftColumn::new(names.give("value"), From::Element, found.pg_type);
            column.comment = evidence(&element, element.present);
            table.columns.push(column);
            return table;
        }
        let mut work: Work<'_> = VecDeque::new();
        put_fields_first(&mut work, &[], &element);
        while let Some((path, node)) = work.pop_front() {
            if let Shape::Column(mut column) = self.shape(at, &path, node, element.present, false) {
                column.name = names.give(&path.join("_"));
                table.columns.push(*column);
            } else {
                let fields = node.fields.as_ref().map(|fields| fields.nodes.as_slice());
                for (place, (name, node)) in fields.unwrap_or_default().iter().enumerate() {
                    let mut path = path.clone();
                    path.push(name.to_string());
                    work.insert(place, (path, node));
                }
            }
        }
        if !one.whole {
            let mut column = DraftColumn::new(names.give(REST), From::Rest, "jsonb");
            column.comment.push_str("what the sample did not hold");
            table.columns.push(column);
        }
        table
    }
}

/// A column that tells what an array without elements is, where documents have more than one kind of
/// them: its elements are rows elsewhere, and nothing stands for an array that has none.
fn state(path: &[String], node: &Node, all: u64) -> Option<(Vec<String>, DraftColumn)> {
    let null = node.count(Kind::Null) - node.undefined;
    let kinds = [
        (node.empty, "empty"),
        (null, "null"),
        (all - node.present, "missing"),
        (node.undefined, "undefined"),
    ];
    let there: Vec<String> = kinds
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(number, kind)| format!("{kind} in {}", count(*number)))
        .collect();
    if there.len() < 2 {
        return None;
    }
    let mut column = DraftColumn::new(String::new(), From::Presence(path.to_vec()), "text");
    column.comment = there.join(", ");
    column.decide = Some("without this column these are one".to_owned());
    Some((path.to_vec(), column))
}

/// What to decide on values that are of none of the types that the others have.
fn mistaken(node: &Node, mistakes: u64, reference: bool) -> String {
    let of = format!("{} of {} values", count(mistakes), count(node.filled()));
    let what = if reference { "are no ids" } else { "do not fit and are rejects" };
    format!("{of} {what}")
}

/// What the collection's own validator asks of its fields (`$jsonSchema`).
fn validator(one: &Surveyed) -> Vec<String> {
    let schema = &one.listed.options["validator"]["$jsonSchema"];
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    let properties = schema["properties"].as_object();
    let mut found = Vec::new();
    for (name, rules) in properties.into_iter().flatten() {
        let mut said = Vec::new();
        for (rule, value) in rules.as_object().into_iter().flatten() {
            if matches!(
                rule.as_str(),
                "bsonType" | "type" | "enum" | "pattern" | "minimum" | "maximum" | "maxLength"
            ) {
                said.push(format!("{rule} {}", plain(value)));
            }
        }
        if required.contains(&name.as_str()) {
            said.push("required".to_owned());
        }
        let there = one.survey.fields().iter().any(|(field, _)| **field == **name);
        if !there {
            said.push("in no document".to_owned());
        }
        if !said.is_empty() {
            found.push(format!("validator: {name}: {}", said.join(", ")));
        }
    }
    if !found.is_empty() {
        found.push(
            "decide: which rules of the validator the columns keep (pattern, min, max, enums)"
                .to_owned(),
        );
    }
    found
}

/// A value of Extended JSON as people write it.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join("|"),
        Json::Object(fields) if fields.len() == 1 => {
            fields.values().next().map(plain).unwrap_or_default()
        }
        other => other.to_string(),
    }
}

/// Paths that are looked at next, in the order of the documents' fields.
type Work<'n> = VecDeque<(Vec<String>, &'n Node)>;

/// The fields of a subdocument stand in its place.
fn put_fields_first<'n>(work: &mut Work<'n>, path: &[String], node: &'n Node) {
    let fields = node.fields.as_deref().map(|fields| fields.nodes.as_slice());
    for (name, inner) in fields.unwrap_or_default().iter().rev() {
        let mut path = path.to_vec();
        path.push(name.to_string());
        work.push_front((path, inner));
    }
}

/// How much of a collection was read.
fn about(one: &Surveyed) -> String {
    let read = if one.whole {
        "all read".to_owned()
    } else {
        let of = one.listed.documents.map(|all| format!(" of about {}", count(all)));
        format!("a sample{}", of.unwrap_or_default())
    };
    let mut about = format!("{} documents, {read}", count(one.survey.documents));
    if one.listed.kind == TIME_SERIES {
        add(&mut about, "measurements of a time series, whose _id need not be unique: no key");
    }
    if let (rejected @ 1.., example) = &one.rejected {
        let records = match rejected {
            1 => "1 other record is no document, so that it is a reject and".to_owned(),
            many => format!(
                "{} other records are no documents, so that they are rejects and",
                count(*many)
            ),
        };
        let said = format!("decide: {records} nothing below is made from them: {example}");
        add(&mut about, &said);
    }
    about
}
