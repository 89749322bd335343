//! What the documents of a collection hold, path by path, in memory that does not grow with their
//! number. Surveys of parts of a collection are made side by side and merged.

use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};

use super::text::Forms;
use crate::document::identity;
use crate::document::order;
use crate::document::raw::{Doc, Malformed, Value};
use crate::document::sketch::{KEYS, Sketch, mixed};

/// Fields of one document that are told apart; what is beyond is looked at together.
const MOST_FIELDS: usize = 3000;
/// The same for a subdocument: with more, its names are data.
const MOST_INNER_FIELDS: usize = 400;
/// Depth to which paths are told apart.
const MOST_DEPTH: usize = 12;
/// Distinct short texts that are remembered as they are.
const MOST_EXAMPLES: usize = 24;
/// Greatest length of such a text, in bytes.
const LONGEST_EXAMPLE: usize = 48;

/// One in so many values may be a mistake, and one at all among as many as [`ENOUGH`].
const OUTLIERS: u64 = 200;
const ENOUGH: u64 = 20;
/// Dates of PostgreSQL, in milliseconds: 4713 BC, and the last that 64 bits of microseconds hold.
const DATES: (i64, i64) = (-210_866_803_200_000, 9_223_372_036_854_775);

/// Kinds of values that a column tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Null,
    Int32,
    Int64,
    Double,
    Decimal,
    Boolean,
    String,
    ObjectId,
    Date,
    Uuid,
    Binary,
    Document,
    Array,
    /// What only Extended JSON writes: regular expressions, code, timestamps, minKey, …
    Other,
}

impl Kind {
    pub(super) const ALL: [Self; 14] = [
        Self::Null,
        Self::Int32,
        Self::Int64,
        Self::Double,
        Self::Decimal,
        Self::Boolean,
        Self::String,
        Self::ObjectId,
        Self::Date,
        Self::Uuid,
        Self::Binary,
        Self::Document,
        Self::Array,
        Self::Other,
    ];

    /// As comments write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Double => "double",
            Self::Decimal => "decimal128",
            Self::Boolean => "bool",
            Self::String => "string",
            Self::ObjectId => "ObjectId",
            Self::Date => "date",
            Self::Uuid => "UUID",
            Self::Binary => "binary",
            Self::Document => "document",
            Self::Array => "array",
            Self::Other => "other",
        }
    }

    fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Null | Value::Undefined => Self::Null,
            Value::Int32(_) => Self::Int32,
            Value::Int64(_) => Self::Int64,
            Value::Double(_) => Self::Double,
            Value::Decimal128(_) => Self::Decimal,
            Value::Boolean(_) => Self::Boolean,
            Value::String(_) => Self::String,
            Value::ObjectId(_) => Self::ObjectId,
            Value::DateTime(_) => Self::Date,
            Value::Binary { subtype: 4, bytes } if bytes.len() == 16 => Self::Uuid,
            Value::Binary { .. } => Self::Binary,
            Value::Document(_) => Self::Document,
            Value::Array(_) => Self::Array,
            _ => Self::Other,
        }
    }
}

/// Bounds of numbers.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    /// Least and greatest whole number, doubles included.
    pub(super) least: i64,
    pub(super) greatest: i64,
    /// Numbers with a fraction, or beyond what a double holds exactly.
    pub(super) fractions: u64,
    /// Zeros with a sign.
    pub(super) negative_zeros: u64,
    /// NaN and infinities.
    pub(super) special: u64,
    /// 0 and 1.
    pub(super) bits: u64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            least: i64::MAX,
            greatest: i64::MIN,
            fractions: 0,
            negative_zeros: 0,
            special: 0,
            bits: 0,
        }
    }
}

/// What was found at a path.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// Where the path occurred first: the document's place in the collection, and the field's
    /// place in it. Fields are listed in this order, whichever thread saw them.
    first: (u64, usize),
    /// Occurrences, null included.
    pub(super) present: u64,
    /// Occurrences by kind.
    pub(super) counts: [u64; Kind::ALL.len()],
    pub(super) numbers: Numbers,
    /// Dates beyond those of PostgreSQL.
    pub(super) far_dates: u64,
    /// Values of kinds that hardly ever occur here: mistakes, which need not decide the type.
    pub(super) outliers: u64,
    pub(super) forms: Forms,
    /// Distinct short texts with their counts, while there are few.
    pub(super) examples: Option<Vec<(String, u64)>>,
    pub(super) distinct: Sketch,
    /// Binary subtypes other than 4.
    pub(super) subtypes: Vec<u8>,
    /// Values that are BSON's undefined, counted as null.
    pub(super) undefined: u64,
    /// Arrays of scalars that hold a value twice, and those whose values do not ascend.
    pub(super) repeating: u64,
    pub(super) unordered: u64,
    /// Elements of arrays; the longest array; how many were empty.
    pub(super) elements: u64,
    pub(super) longest: u64,
    pub(super) empty: u64,
    pub(super) element: Option<Box<Node>>,
    pub(super) fields: Option<Box<Fields>>,
}

/// The fields of the documents at a path.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    names: FxHashMap<Box<str>, usize>,
    pub(super) nodes: Vec<(Box<str>, Node)>,
    /// All fields beyond those that are told apart, or whose names are data.
    pub(super) others: Option<Node>,
}

impl Fields {
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.names.get(name).map(|at| &self.nodes[*at].1)
    }

    /// The node of a field. `expected` is where it was in the document before.
    #[inline]
    fn of(&mut self, name: &str, expected: usize, most: usize) -> (&mut Node, usize) {
        if self.nodes.get(expected).is_some_and(|(there, _)| **there == *name) {
            return (&mut self.nodes[expected].1, expected);
        }
        let at = match self.names.get(name) {
            Some(at) => *at,
            None if self.nodes.len() >= most => {
                if most < MOST_FIELDS {
                    // So many names are data.
                    self.together();
                }
                return (self.others.get_or_insert_default(), expected);
            }
            None => {
                let at = self.nodes.len();
                self.names.insert(name.into(), at);
                self.nodes.push((name.into(), Node::default()));
                at
            }
        };
        (&mut self.nodes[at].1, at)
    }

    /// Takes all fields as one.
    pub(super) fn together(&mut self) {
        let others = self.others.get_or_insert_default();
        for (_, node) in self.nodes.drain(..) {
            others.merge(node);
        }
        self.names.clear();
    }

    /// Brings the fields into the order in which they occurred.
    fn finish(&mut self) {
        self.nodes.sort_by(|(left, one), (right, other)| {
            one.first.cmp(&other.first).then_with(|| left.cmp(right))
        });
        self.names = self.nodes.iter().zip(0..).map(|((name, _), at)| (name.clone(), at)).collect();
        for node in self.nodes.iter_mut().map(|(_, node)| node).chain(&mut self.others) {
            node.finish();
        }
    }

    fn merge(&mut self, other: Self, most: usize) {
        for (name, node) in other.nodes {
            let (own, _) = self.of(&name, usize::MAX, most);
            own.merge(node);
        }
        if let Some(others) = other.others {
            if most < MOST_FIELDS {
                self.together();
            }
            self.others.get_or_insert_default().merge(others);
        }
    }
}

/// The hash of a value that may be a key: equal for all forms of one key.
#[inline]
fn key_hash(value: &Value<'_>) -> u64 {
    let mut hasher = FxHasher::default();
    match &identity::scalar(value) {
        Value::ObjectId(id) => hasher.write(id),
        Value::String(text) => match text.len() {
            24 if let Some(id) = crate::document::id::parse_object_id_hex(text) => {
                hasher.write(&id);
            }
            36 if let Ok(id) = uuid::Uuid::try_parse(text) => hasher.write(id.as_bytes()),
            _ => {
                hasher.write_u8(2);
                hasher.write(text.as_bytes());
            }
        },
        Value::Binary { bytes, .. } => hasher.write(bytes),
        Value::Int32(number) => hasher.write_i64((*number).into()),
        Value::Int64(number) => hasher.write_i64(*number),
        Value::Double(number) => hasher.write_u64(number.to_bits()),
        Value::Boolean(flag) => hasher.write_u8(u8::from(*flag)),
        Value::DateTime(millis) => {
            hasher.write_u8(9);
            hasher.write_i64(*millis);
        }
        Value::Decimal128(bytes) => hasher.write(bytes),
        Value::Document(_) | Value::Array(_) => {
            // Numbers inside count by value as well.
            hasher.write(identity::text(value).unwrap_or_default().as_bytes());
        }
        _ => hasher.write_u8(0xff),
    }
    mixed(hasher.finish())
}

/// The hash of a link between two documents, the same from either side.
fn link_hash(left: u64, right: u64) -> u64 {
    mixed(left.min(right).rotate_left(1) ^ mixed(left.max(right)))
}

impl Node {
    pub(super) fn count(&self, kind: Kind) -> u64 {
        self.counts[kind as usize]
    }

    /// Occurrences that hold a value.
    pub(super) fn filled(&self) -> u64 {
        self.present - self.count(Kind::Null)
    }

    /// The kinds that occur, null left out, the most frequent first.
    pub(super) fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Null && self.count(*kind) > 0)
            .collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(self.count(*kind)));
        kinds
    }

    /// Whether only these kinds occur, and one of them does.
    pub(super) fn only(&self, kinds: &[Kind]) -> bool {
        let found = self.kinds();
        !found.is_empty() && found.iter().all(|kind| kinds.contains(kind))
    }

    fn add(&mut self, value: &Value<'_>, depth: usize, at: (u64, usize)) -> Result<(), Malformed> {
        let kind = Kind::of(value);
        if self.present == 0 || at < self.first {
            self.first = at;
        }
        self.present += 1;
        self.counts[kind as usize] += 1;
        match value {
            Value::Int32(number) => self.whole((*number).into()),
            Value::Int64(number) => self.whole(*number),
            Value::Double(number) => self.double(*number),
            Value::DateTime(millis) => {
                self.far_dates += u64::from(*millis < DATES.0 || *millis > DATES.1);
            }
            Value::Decimal128(_) => match identity::whole(value) {
                Some(number) => self.whole(number),
                None => self.numbers.fractions += 1,
            },
            Value::String(text) => {
                self.forms.add(text);
                self.example(text);
                if text.is_empty() {
                    return Ok(());
                }
            }
            Value::Binary { subtype, .. }
                if kind == Kind::Binary && !self.subtypes.contains(subtype) =>
            {
                self.subtypes.push(*subtype);
            }
            Value::Document(inner) => {
                return if depth < MOST_DEPTH {
                    self.document(*inner, depth, at.0)
                } else {
                    Ok(())
                };
            }
            Value::Array(items) => return self.array(*items, depth, at.0),
            Value::Undefined => {
                self.undefined += 1;
                return Ok(());
            }
            Value::Null => return Ok(()),
            _ => {}
        }
        self.distinct.add(key_hash(value));
        Ok(())
    }

    /// Kinds that a field has once in hundreds of documents are mistakes: as rejects they are
    /// found, as jsonb they would take the type from all others.
    fn set_mistakes_aside(&mut self) {
        let filled = self.filled();
        let few = (filled / OUTLIERS).max(u64::from(filled >= ENOUGH));
        let mut kinds = self.kinds();
        kinds.reverse();
        // Texts that are all empty say no more than NULL does.
        if kinds.len() > 1 && self.forms.empty > 0 && self.count(Kind::String) == self.forms.empty {
            self.outliers += self.forms.empty;
            self.counts[Kind::String as usize] = 0;
            kinds.retain(|kind| *kind != Kind::String);
        }
        for kind in kinds {
            let count = self.count(kind);
            let number =
                |kind| matches!(kind, Kind::Int32 | Kind::Int64 | Kind::Double | Kind::Decimal);
            let numbers = Kind::ALL.into_iter().filter(|other| number(*other) && *other != kind);
            // A few numbers of another kind among numbers widen the column, and lose nothing.
            let widens =
                number(kind) && numbers.map(|other| self.count(other)).sum::<u64>() > count;
            if !widens && self.outliers + count <= few {
                self.outliers += count;
                self.counts[kind as usize] = 0;
            }
        }
    }

    fn whole(&mut self, number: i64) {
        self.numbers.least = self.numbers.least.min(number);
        self.numbers.greatest = self.numbers.greatest.max(number);
        self.numbers.bits += u64::from(matches!(number, 0 | 1));
    }

    #[expect(clippy::cast_possible_truncation, reason = "its bounds are looked at first")]
    fn double(&mut self, number: f64) {
        const BOUND: f64 = 9_007_199_254_740_992.0;
        if !number.is_finite() {
            self.numbers.special += 1;
        } else if number.fract() != 0.0 || number.abs() > BOUND {
            self.numbers.fractions += 1;
        } else {
            if number == 0.0 && number.is_sign_negative() {
                self.numbers.negative_zeros += 1;
            }
            self.whole(number as i64);
        }
    }

    fn example(&mut self, text: &str) {
        // Once there are too many the list stays empty.
        let examples = self.examples.get_or_insert_default();
        if let Some((_, count)) = examples.iter_mut().find(|(known, _)| known == text) {
            *count += 1;
        } else if self.forms.many {
        } else if examples.len() < MOST_EXAMPLES && text.len() <= LONGEST_EXAMPLE {
            examples.push((text.to_owned(), 1));
        } else {
            self.forms.many = true;
            examples.clear();
        }
    }

    fn document(&mut self, document: Doc<'_>, depth: usize, at: u64) -> Result<(), Malformed> {
        if document.is_empty() {
            self.empty += 1;
        }
        let most = if depth == 0 { MOST_FIELDS } else { MOST_INNER_FIELDS };
        let fields = self.fields.get_or_insert_default();
        let mut expected = 0;
        for (place, element) in document.elements().enumerate() {
            let (name, value) = element?;
            let node = if most < MOST_FIELDS && fields.others.is_some() {
                fields.others.get_or_insert_default()
            } else {
                let (node, at) = fields.of(name, expected, most);
                expected = at + 1;
                node
            };
            node.add(&value, depth + 1, (at, place))?;
        }
        Ok(())
    }

    fn array(&mut self, items: Doc<'_>, depth: usize, at: u64) -> Result<(), Malformed> {
        let mut length = 0;
        let mut before: Option<Value<'_>> = None;
        let mut ascending = true;
        for item in items.elements() {
            let (_, value) = item?;
            length += 1;
            if !matches!(value, Value::Document(_) | Value::Array(_)) {
                ascending &= before.is_none_or(|before| order::same_value(&before, &value).is_lt());
                before = Some(value);
            }
            if depth < MOST_DEPTH {
                self.element.get_or_insert_default().add(&value, depth + 1, (at, 0))?;
            }
        }
        if !ascending {
            self.disordered(items);
        }
        self.elements += length;
        self.longest = self.longest.max(length);
        self.empty += u64::from(length == 0);
        Ok(())
    }

    /// Counts an array whose values do not ascend, or repeat.
    fn disordered(&mut self, items: Doc<'_>) {
        let values: Vec<Value<'_>> = items.elements().flatten().map(|(_, value)| value).collect();
        let falls = |pair: &[Value<'_>]| order::compare(&pair[0], &pair[1]).is_gt();
        self.unordered += u64::from(values.windows(2).any(falls));
        let mut hashes: Vec<u64> = values.iter().map(key_hash).collect();
        hashes.sort_unstable();
        self.repeating += u64::from(hashes.windows(2).any(|pair| pair[0] == pair[1]));
    }

    pub(super) fn merge(&mut self, other: Self) {
        if self.present == 0 || other.present > 0 && other.first < self.first {
            self.first = other.first;
        }
        self.present += other.present;
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own += more;
        }
        self.numbers.least = self.numbers.least.min(other.numbers.least);
        self.numbers.greatest = self.numbers.greatest.max(other.numbers.greatest);
        self.numbers.fractions += other.numbers.fractions;
        self.numbers.special += other.numbers.special;
        self.numbers.bits += other.numbers.bits;
        self.numbers.negative_zeros += other.numbers.negative_zeros;
        self.undefined += other.undefined;
        self.repeating += other.repeating;
        self.unordered += other.unordered;
        self.far_dates += other.far_dates;
        self.forms.merge(&other.forms);
        for (text, count) in other.examples.unwrap_or_default() {
            let examples = self.examples.get_or_insert_default();
            match examples.iter_mut().find(|(known, _)| *known == text) {
                Some((_, own)) => *own += count,
                None => examples.push((text, count)),
            }
        }
        if let Some(examples) = &mut self.examples
            && (self.forms.many || examples.len() > MOST_EXAMPLES)
        {
            self.forms.many = true;
            examples.clear();
        }
        self.distinct.merge(other.distinct);
        for subtype in other.subtypes {
            if !self.subtypes.contains(&subtype) {
                self.subtypes.push(subtype);
            }
        }
        self.elements += other.elements;
        self.longest = self.longest.max(other.longest);
        self.empty += other.empty;
        if let Some(element) = other.element {
            self.element.get_or_insert_default().merge(*element);
        }
        if let Some(fields) = other.fields {
            self.fields.get_or_insert_default().merge(*fields, MOST_INNER_FIELDS);
        }
    }

    fn finish(&mut self) {
        self.set_mistakes_aside();
        self.distinct.finish();
        self.subtypes.sort_unstable();
        if let Some(examples) = &mut self.examples {
            examples.sort();
        }
        if let Some(element) = &mut self.element {
            element.finish();
        }
        if let Some(fields) = &mut self.fields {
            fields.finish();
        }
    }
}

/// An array of values that may be ids, as links from its documents.
pub(super) type Links = FxHashMap<String, Sketch>;

/// What one collection holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Survey {
    /// Documents looked at.
    pub(super) documents: u64,
    /// The greatest document, in bytes.
    pub(super) greatest: u64,
    /// Bytes that are no document.
    pub(super) malformed: u64,
    pub(super) root: Node,
    /// All keys: `_id`, and other fields by which documents are known.
    pub(super) keys: Vec<(String, Sketch)>,
    /// Links by array path, to tell the two sides of one relation.
    pub(super) links: Links,
}

/// Fields besides `_id` by which documents may refer to each other.
pub(super) const OTHER_KEYS: [&str; 4] = ["id", "uuid", "guid", "key"];

impl Survey {
    /// Looks at one document, at this place in its collection.
    pub(super) fn add(&mut self, bytes: &[u8], place: u64) {
        let Ok(document) = Doc::new(bytes) else {
            self.malformed += 1;
            return;
        };
        self.documents += 1;
        self.greatest = self.greatest.max(bytes.len() as u64);
        self.root.present += 1;
        self.root.counts[Kind::Document as usize] += 1;
        if self.root.document(document, 0, place).is_err() {
            self.malformed += 1;
            return;
        }
        let mut own = None;
        for (name, value) in document.elements().flatten() {
            if name == "_id" {
                own = Some(key_hash(&value));
                self.key("_id", &value);
            } else if OTHER_KEYS.contains(&name) {
                self.key(name, &value);
            } else if let Value::Array(items) = value
                && let Some(own) = own
            {
                self.link(name, own, items);
            }
        }
    }

    fn key(&mut self, name: &str, value: &Value<'_>) {
        let at = if let Some(at) = self.keys.iter().position(|(known, _)| known == name) {
            at
        } else {
            self.keys.push((name.to_owned(), Sketch::with_room(KEYS)));
            self.keys.len() - 1
        };
        if !matches!(value, Value::Null | Value::Undefined | Value::Document(_) | Value::Array(_)) {
            self.keys[at].1.add(key_hash(value));
        }
    }

    /// The links of an array whose first element may be an id.
    fn link(&mut self, name: &str, own: u64, items: Doc<'_>) {
        let mut values = items.elements().flatten().map(|(_, value)| value).peekable();
        let is_id = |value: &Value<'_>| {
            matches!(value, Value::ObjectId(_))
                || identity::whole(value).is_some()
                || matches!(value, Value::String(text) if matches!(text.len(), 24 | 36))
                || matches!(value, Value::Binary { subtype: 4, .. })
        };
        if !values.peek().is_some_and(is_id) {
            return;
        }
        if !self.links.contains_key(name) {
            self.links.insert(name.to_owned(), Sketch::default());
        }
        if let Some(links) = self.links.get_mut(name) {
            for value in values.filter(is_id) {
                links.add(link_hash(own, key_hash(&value)));
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.documents += other.documents;
        self.greatest = self.greatest.max(other.greatest);
        self.malformed += other.malformed;
        self.root.present += other.root.present;
        self.root.counts[Kind::Document as usize] += other.root.present;
        if let Some(fields) = other.root.fields {
            self.root.fields.get_or_insert_default().merge(*fields, MOST_FIELDS);
        }
        for (name, sketch) in other.keys {
            match self.keys.iter_mut().find(|(known, _)| *known == name) {
                Some((_, own)) => own.merge(sketch),
                None => self.keys.push((name, sketch)),
            }
        }
        for (name, sketch) in other.links {
            self.links.entry(name).or_default().merge(sketch);
        }
    }

    /// Ends the survey: what was gathered can be asked from now on.
    pub(super) fn finish(&mut self) {
        self.root.finish();
        for (_, sketch) in &mut self.keys {
            sketch.finish();
        }
        for sketch in self.links.values_mut() {
            sketch.finish();
        }
    }

    pub(super) fn fields(&self) -> &[(Box<str>, Node)] {
        self.root.fields.as_ref().map(|fields| fields.nodes.as_slice()).unwrap_or_default()
    }
}
