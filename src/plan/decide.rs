//! From what was found to tables and columns, as an engineer would lay them out: nothing that was
//! found is without a place, and what is a matter of taste is marked.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::draft::{Draft, DraftColumn, DraftIndex, DraftJunction, DraftTable, From};
use super::evidence::{Known, Verdict};
use super::names::{NameStyle, Names};
use super::survey::{Kind, Node, Survey};
use super::{Surveyed, relational};
use crate::pipeline::model::FieldPath;

/// Fields of a subdocument that become columns of their own, at most.
const MOST_FLAT_FIELDS: usize = 24;
/// Documents below which nobody can tell what they have in common.
const FEW: u64 = 10;
/// Share of the subdocuments that each of its fields must be in for that.
const FLAT_SHARE: f64 = 0.1;
/// Columns a table has before rare fields are put together.
const MANY_COLUMNS: usize = 60;
/// A field is rare below this share of the documents.
const RARE: f64 = 0.05;
/// Columns a table has at most.
const MOST_COLUMNS: usize = 250;
/// Fields of a subdocument in an array that become columns of a table.
const MOST_CHILD_FIELDS: usize = 80;
/// Bytes that a B-tree takes of a text, with a margin: a third of a page at the most.
const INDEX_BYTES: u64 = 2000;
/// Name of the column that takes what no other does.
const REST: &str = "rest";

/// A collection with what was decided for all of its tables.
struct Place {
    table: String,
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
    surveyed: &'p [Surveyed],
    known: Known<'p>,
    style: NameStyle,
    tables: Names,
    places: Vec<Place>,
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

/// A count with its thousands apart.
fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    if part < whole && share > 99.0 {
        "over 99 %".to_owned()
    } else if part > 0 && share < 1.0 {
        "under 1 %".to_owned()
    } else {
        format!("{share:.0} %")
    }
}

/// `3,214 of 3,365; int32 97 %, double 3 %`.
fn evidence(node: &Node, all: u64) -> String {
    let filled = node.filled();
    let mut said =
        if filled == all { String::new() } else { format!("{} of {}", count(filled), count(all)) };
    let kinds = node.kinds();
    if kinds.len() > 1 {
        let shares: Vec<String> = kinds
            .iter()
            .map(|kind| format!("{} {}", kind.name(), percent(node.count(*kind), filled)))
            .collect();
        if !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str(&shares.join(", "));
    }
    said
}

fn add(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(more);
}

/// The type that takes every value found, the comment, what a person should decide, `coerce` and
/// `json`.
struct Scalar {
    pg_type: &'static str,
    note: String,
    decide: Option<String>,
}

impl Scalar {
    fn new(pg_type: &'static str) -> Self {
        Self { pg_type, note: String::new(), decide: None }
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn decide(mut self, decide: impl Into<String>) -> Self {
        self.decide = Some(decide.into());
        self
    }
}

/// The narrowest type of a whole-number column; wider where not everything was read.
fn whole_type(node: &Node, whole: bool) -> &'static str {
    let fits =
        node.numbers.least >= i64::from(i32::MIN) && node.numbers.greatest <= i64::from(i32::MAX);
    if fits && whole && node.count(Kind::Int64) == 0 { "integer" } else { "bigint" }
}

/// The column type of scalars; `jsonb` where there is none in common.
fn scalar(node: &Node, whole: bool) -> Scalar {
    use Kind::{Binary, Boolean, Date, Decimal, Double, Int32, Int64, ObjectId, String, Uuid};
    let numbers = &node.numbers;
    if node.filled() == 0 {
        return Scalar::new("jsonb").decide("no document holds a value");
    }
    if node.only(&[Int32, Int64]) {
        return Scalar::new(whole_type(node, whole));
    }
    if node.only(&[Double]) {
        let plain = numbers.fractions == 0 && numbers.special == 0;
        let double = Scalar::new("double precision");
        return if plain && whole && node.filled() >= FEW {
            double.decide("every value is a whole number: bigint?")
        } else {
            double
        };
    }
    if node.only(&[Int32, Int64, Double]) {
        let plain = numbers.fractions == 0 && numbers.special == 0;
        return if plain && whole {
            Scalar::new(whole_type(node, true))
        } else {
            Scalar::new("numeric")
        };
    }
    if node.only(&[Int32, Int64, Double, Decimal]) {
        return Scalar::new("numeric");
    }
    if node.only(&[Boolean]) {
        return Scalar::new("boolean");
    }
    if node.only(&[ObjectId]) || node.only(&[Uuid]) {
        return Scalar::new("uuid");
    }
    if node.only(&[Uuid, String]) && node.forms.all(node.forms.uuids) && whole {
        return Scalar::new("uuid");
    }
    if node.only(&[String]) {
        return texts(node, whole);
    }
    if node.only(&[ObjectId, String]) {
        return Scalar::new("text").decide("ids and texts in one field");
    }
    if node.only(&[Date]) {
        return if node.far_dates <= node.filled() / 200 {
            Scalar::new("timestamptz")
        } else {
            Scalar::new("jsonb").decide("many dates are beyond those of PostgreSQL")
        };
    }
    if node.only(&[Binary]) && node.subtypes == [0] {
        return Scalar::new("bytea");
    }
    let jsonb = Scalar::new("jsonb");
    if node.subtypes.contains(&3) && node.only(&[Binary]) {
        return jsonb
            .decide("old UUIDs: type = \"uuid\" with uuid_order, once their byte order is known");
    }
    jsonb
}

fn texts(node: &Node, whole: bool) -> Scalar {
    let forms = &node.forms;
    if whole && forms.all(forms.uuids) {
        return Scalar::new("uuid");
    }
    let text = Scalar::new("text");
    if forms.nuls > 0 {
        return text.decide(format!(
            "{} texts hold U+0000, which PostgreSQL cannot store, and are rejects; nul = \"strip\" takes it out",
            count(forms.nuls)
        ));
    }
    for (all, what) in [
        (forms.dates, "every text is a date: type = \"date\"?"),
        (forms.timestamps + forms.dates, "every text is a date: type = \"timestamptz\"?"),
        (forms.numbers, "every text is a number: type = \"numeric\" with coerce = true?"),
        (forms.json, "every text is JSON: type = \"jsonb\" with json = true?"),
    ] {
        if forms.all(all) {
            return text.decide(what);
        }
    }
    match node.examples.as_deref() {
        Some(examples)
            if !forms.many
                && (2..=12).contains(&examples.len())
                && forms.texts >= 20 * examples.len() as u64 =>
        {
            let shown: Vec<&str> = examples.iter().map(|(text, _)| text.as_str()).collect();
            text.note(format!("{} values: {}", examples.len(), shown.join(", ")))
        }
        _ => text,
    }
}

/// Whether the names of a document's fields are data: ids, dates, numbers.
fn names_are_data(node: &Node) -> bool {
    let Some(fields) = &node.fields else { return false };
    if fields.others.is_some() {
        return true;
    }
    let names = fields.nodes.iter().map(|(name, _)| &**name);
    let all = fields.nodes.len();
    let data = names.filter(|name| looks_like_data(name)).count();
    let share = fields.nodes.iter().map(|(_, inner)| inner.present).sum::<u64>() as f64
        / (all as f64 * node.count(Kind::Document).max(1) as f64);
    all >= 2 && data * 10 >= all * 9 || all > 50 && share < 0.1
}

fn looks_like_data(name: &str) -> bool {
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    let hex = name.len() >= 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let number = !name.is_empty() && digits == name.len();
    let date = name.len() >= 7 && digits * 2 >= name.len() && name.contains(['-', '/']);
    hex || number || date || name.contains('@')
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
        let mut arrays: Vec<(usize, Vec<String>, usize)> = Vec::new();
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
        if relational(&one.listed) {
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
        let (pg_type, digest) = match found.pg_type {
            "text"
                if node.only(&[Kind::String])
                    && node.forms.bytes <= INDEX_BYTES
                    && node.forms.nuls == 0 =>
            {
                ("text", false)
            }
            kind @ ("uuid" | "integer" | "bigint") => (kind, false),
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
        arrays: &mut Vec<(usize, Vec<String>, usize)>,
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
        table.about.push(self.about(one));
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
            if key.digest {
                column.comment = "made from the _id, which is kept beside it".to_owned();
            }
            paths.insert(key.field.clone(), key.name.clone());
            table.columns.push(column);
        }
        let mut work: Vec<(Vec<String>, &Node)> = Vec::new();
        for (name, node) in survey.fields() {
            if key.as_ref().is_some_and(|key| !key.digest && *key.field == **name) {
                continue;
            }
            work.push((vec![name.to_string()], node));
        }
        let mut columns = Vec::new();
        let mut rest = survey.root.fields.as_ref().is_some_and(|fields| fields.others.is_some());
        while let Some((path, node)) = (!work.is_empty()).then(|| work.remove(0)) {
            match self.shape(at, &path, node, all, true) {
                Shape::Column(column) => columns.push((node.present, path, *column)),
                Shape::Flat => {
                    let fields = node.fields.as_ref().map(|fields| fields.nodes.as_slice());
                    let inner = fields.unwrap_or_default().iter().enumerate();
                    for (place, (name, node)) in inner {
                        let mut path = path.clone();
                        path.push(name.to_string());
                        work.insert(place, (path, node));
                    }
                }
                Shape::Child { members } => children.push((at, path, members)),
                Shape::Links(target) => arrays.push((at, path, target)),
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
            paths.insert(super::draft::path_text(&path), column.name.clone());
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
        self.indexes(one, &paths, &mut table);
        table
    }

    fn about(&self, one: &Surveyed) -> String {
        let read = if one.whole {
            "all read".to_owned()
        } else {
            let of = one.listed.documents.map(|all| format!(" of about {}", count(all)));
            format!("a sample{}", of.unwrap_or_default())
        };
        let mut about = format!("{} documents, {read}", count(one.survey.documents));
        if one.survey.malformed > 0 {
            add(&mut about, &format!("{} are no BSON", count(one.survey.malformed)));
        }
        about
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
                let child = outermost && keyed && Self::makes_rows(&members(node));
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
                    && Self::makes_rows(element);
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
        if mistakes > 0 && found.pg_type != "jsonb" {
            add(
                &mut column.comment,
                &format!("{} values do not fit and are rejects", count(mistakes)),
            );
        }
        column.required = whole && node.filled() == all && all > 0;
        if path != ["_id"] {
            self.refer(at, name, node, &mut column);
        }
        Shape::Column(Box::new(column))
    }

    /// Whether the documents at a node are alike enough to be rows.
    fn makes_rows(node: &Node) -> bool {
        if node.only(&[Kind::Document]) {
            return node.fields.as_ref().is_some_and(|fields| {
                fields.others.is_none()
                    && !fields.nodes.is_empty()
                    && fields.nodes.len() <= MOST_CHILD_FIELDS
                    && !names_are_data(node)
            });
        }
        node.kinds().len() == 1
            && scalar(node, true).pg_type != "jsonb"
            && !node.only(&[Kind::Array])
    }

    /// Whether a junction can refer to the table by this field.
    fn joinable(&self, collection: usize, field: &str) -> bool {
        self.places[collection].key.as_ref().is_some_and(|key| {
            (key.field == field || field == "_id" && key.field == "_id")
                && matches!(key.pg_type.as_str(), "uuid" | "integer" | "bigint")
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
                        format!("{} {:.0} %", self.places[one.collection].table, one.share * 100.0)
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
                        "{:.0} % of its values are there; \"null\" or \"reject\" makes a foreign key",
                        found.share * 100.0
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
        let fields =
            element.fields.as_deref().map(|fields| fields.nodes.as_slice()).unwrap_or_default();
        let mut work: Vec<(Vec<String>, &Node)> =
            fields.iter().map(|(name, node)| (vec![name.to_string()], node)).collect();
        while let Some((path, node)) = (!work.is_empty()).then(|| work.remove(0)) {
            match self.shape(at, &path, node, element.present, false) {
                Shape::Column(mut column) => {
                    column.name = names.give(&path.join("_"));
                    table.columns.push(*column);
                }
                _ => {
                    let fields = node.fields.as_ref().map(|fields| fields.nodes.as_slice());
                    for (place, (name, node)) in fields.unwrap_or_default().iter().enumerate() {
                        let mut path = path.clone();
                        path.push(name.to_string());
                        work.insert(place, (path, node));
                    }
                }
            }
        }
        if !one.whole {
            let mut column = DraftColumn::new(names.give(REST), From::Rest, "jsonb");
            column.comment = "what the sample did not hold".to_owned();
            table.columns.push(column);
        }
        table
    }

    /// Junctions out of arrays of ids; two arrays that hold the same links are one.
    fn junctions(&mut self, arrays: Vec<(usize, Vec<String>, usize)>) -> Vec<DraftJunction> {
        let mut left: Vec<Option<(usize, Vec<String>, usize)>> =
            arrays.into_iter().map(Some).collect();
        let mut junctions = Vec::new();
        for at in 0..left.len() {
            let Some((owner, path, target)) = left[at].take() else { continue };
            let mut best: Option<(f64, usize)> = None;
            for (other, array) in left.iter().enumerate() {
                let Some((other_owner, other_path, other_target)) = array else { continue };
                if (*other_owner, *other_target) != (target, owner) {
                    continue;
                }
                let share = self.same_links((owner, &path), (*other_owner, other_path));
                if share > 0.3 && best.is_none_or(|(most, _)| share > most) {
                    best = Some((share, other));
                }
            }
            let other = best.and_then(|(share, other)| Some((share, left[other].take()?)));
            junctions.push(self.junction((owner, path, target), other));
        }
        junctions
    }

    /// Which share of the sampled links of one array the other holds too.
    fn same_links(&self, one: (usize, &[String]), other: (usize, &[String])) -> f64 {
        let links = |(at, path): (usize, &[String])| match path {
            [name] => self.surveyed[at].survey.links.get(name),
            _ => None,
        };
        match (links(one), links(other)) {
            (Some(one), Some(other)) => {
                let share = |(looked, found): (usize, usize)| {
                    if looked == 0 { 0.0 } else { found as f64 / looked as f64 }
                };
                share(one.found_in(other)).max(share(other.found_in(one)))
            }
            _ => 0.0,
        }
    }

    fn junction(
        &mut self,
        (owner, path, target): (usize, Vec<String>, usize),
        other: Option<(f64, (usize, Vec<String>, usize))>,
    ) -> DraftJunction {
        let (first, second) = (self.places[owner].table.clone(), self.places[target].table.clone());
        let name = match &other {
            Some(_) => format!(
                "{}_{}",
                self.surveyed[owner].listed.name, self.surveyed[target].listed.name
            ),
            None => format!("{}_{}", self.surveyed[owner].listed.name, path.join("_")),
        };
        let name = self.tables.give(&name);
        let mut names = Names::new(self.style);
        let own = names.give(&format!("{first}_id"));
        let far = if owner == target { path.join("_") } else { format!("{second}_id") };
        let far = names.give(&far);
        let side = |side: &String| (owner == target).then(|| side.clone());
        let mut from = vec![(first.clone(), path.clone(), side(&own))];
        let mut comment = format!("{} of {first} hold ids of {second}", path.join("."));
        if let Some((share, (_, other_path, _))) = other {
            let _ = std::fmt::Write::write_fmt(
                &mut comment,
                format_args!(
                    ", {} of {second} {:.0} % of the same links",
                    other_path.join("."),
                    share * 100.0
                ),
            );
            from.push((second.clone(), other_path, side(&far)));
        }
        DraftJunction { name, columns: [(own, first), (far, second)], from, comment }
    }

    /// Indexes and unique keys that the collection has.
    fn indexes(&self, one: &Surveyed, paths: &BTreeMap<String, String>, table: &mut DraftTable) {
        for index in &one.listed.indexes {
            let name = index["name"].as_str().unwrap_or_default();
            let Some(keys) = index["key"].as_object().filter(|_| name != "_id_") else { continue };
            let said = |what: &str| format!("index {name}: {what}");
            if index.get("partialFilterExpression").is_some_and(|filter| !filter.is_null()) {
                table.about.push(said("decide: partial, left out: write its condition as `where`"));
                continue;
            }
            if index.get("expireAfterSeconds").is_some_and(|after| !after.is_null()) {
                table
                    .about
                    .push(said("decide: documents expire by it; PostgreSQL needs a job for that"));
            }
            let special = keys.values().find_map(Json::as_str);
            if special == Some("text") {
                let weights = index["weights"].as_object();
                let fields = weights.map(|weights| weights.keys().cloned().collect::<Vec<_>>());
                let columns: Vec<String> = fields
                    .unwrap_or_default()
                    .iter()
                    .filter_map(|field| paths.get(field).cloned())
                    .collect();
                let texts = columns.iter().all(|name| {
                    table.columns.iter().any(|column| {
                        column.name == *name && matches!(column.pg_type.as_str(), "text" | "text[]")
                    })
                });
                if texts && !columns.is_empty() && table.search.is_empty() {
                    table.search.push(columns);
                } else {
                    table.about.push(said(
                        "decide: full text over fields that are no text columns, left out",
                    ));
                }
                continue;
            }
            if let Some(special) = special {
                table.about.push(said(&format!("decide: {special}, left out")));
                continue;
            }
            let columns: Option<Vec<String>> = keys
                .keys()
                .map(|field| paths.get(&super::draft::path_text(&split(field))).cloned())
                .collect();
            let Some(columns) = columns else {
                table.about.push(said("left out: a field of it is no column of this table"));
                continue;
            };
            let found: Vec<&DraftColumn> =
                table.columns.iter().filter(|column| columns.contains(&column.name)).collect();
            let long = found.iter().any(|column| match &column.from {
                From::Path(path) => {
                    descend(&one.survey, path).is_some_and(|node| node.forms.bytes > INDEX_BYTES)
                }
                _ => false,
            });
            let nested = found
                .iter()
                .any(|column| column.pg_type == "jsonb" || column.pg_type.ends_with("[]"));
            let sparse = index["sparse"] == true;
            if long {
                table.about.push(said("decide: texts are too long for a B-tree, left out"));
            } else if nested {
                if let [only] = columns.as_slice() {
                    table
                        .indexes
                        .push(DraftIndex { columns: vec![only.clone()], method: Some("gin") });
                } else {
                    table.about.push(said("decide: over arrays or documents, left out"));
                }
            } else if index["unique"] == true && one.whole {
                let is_key = table
                    .columns
                    .iter()
                    .any(|column| column.key && columns == [column.name.clone()]);
                if !is_key && !table.unique.contains(&columns) {
                    table.unique.push(columns);
                }
                if sparse {
                    table.about.push(said(
                        "sparse and unique: PostgreSQL's unique keys take any number of NULLs",
                    ));
                }
            } else {
                let draft = DraftIndex { columns, method: None };
                let simple = found.len() == 1 && found[0].index;
                if !simple && !table.indexes.contains(&draft) {
                    table.indexes.push(draft);
                }
            }
        }
    }
}

/// How many columns a subdocument becomes; none when its fields are too many or too different.
fn flat_columns(node: &Node) -> Option<usize> {
    let documents = node.count(Kind::Document);
    let fields = node.fields.as_ref().filter(|fields| !fields.nodes.is_empty())?;
    if documents < FEW || names_are_data(node) {
        return None;
    }
    let mut columns = 0;
    for (_, inner) in &fields.nodes {
        if (inner.present as f64) < documents as f64 * FLAT_SHARE {
            return None;
        }
        let documents = inner.count(Kind::Document) > 0;
        columns += if documents {
            flat_columns(inner).filter(|_| inner.only(&[Kind::Document]))?
        } else {
            1
        };
    }
    Some(columns)
}

/// All members of a document as one.
fn members(node: &Node) -> Node {
    let Some(fields) = &node.fields else { return Node::default() };
    let mut fields = fields.clone();
    fields.together();
    fields.others.take().unwrap_or_default()
}

/// An index names a field by its path.
fn split(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

fn descend<'s>(survey: &'s Survey, path: &[String]) -> Option<&'s Node> {
    let (last, parents) = path.split_last()?;
    let mut fields = survey.root.fields.as_deref()?;
    for name in parents {
        fields = fields.get(name)?.fields.as_deref()?;
    }
    fields.get(last)
}
