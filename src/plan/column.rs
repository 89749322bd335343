//! The column that takes every value of a field, and what is said of it.

use super::survey::{Kind, Node};

/// Fields of a subdocument that become columns of their own, at most.
pub(super) const MOST_FLAT_FIELDS: usize = 24;
/// Documents below which nobody can tell what they have in common.
const FEW: u64 = 10;
/// Share of the subdocuments that each of its fields must be in for that.
const FLAT_SHARE: f64 = 0.1;
/// Fields of a subdocument in an array that become columns of a table.
const MOST_CHILD_FIELDS: usize = 80;

/// A count with its thousands apart.
pub(super) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

pub(super) fn percent(part: u64, whole: u64) -> String {
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

/// A share that is not whole is never shown as if it were.
pub(super) fn share(share: f64) -> String {
    if share < 1.0 && share > 0.99 {
        "over 99 %".to_owned()
    } else {
        format!("{:.0} %", share * 100.0)
    }
}

/// `3,214 of 3,365; int32 97 %, double 3 %`.
pub(super) fn evidence(node: &Node, all: u64) -> String {
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

pub(super) fn add(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(more);
}

/// The type that takes every value found, the comment, and what a person should decide.
pub(super) struct Scalar {
    pub(super) pg_type: &'static str,
    pub(super) note: String,
    pub(super) decide: Option<String>,
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
pub(super) fn scalar(node: &Node, whole: bool) -> Scalar {
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
        return if plain && numbers.negative_zeros == 0 && whole && node.filled() >= FEW {
            double.decide("every value is a whole number: bigint?")
        } else {
            double
        };
    }
    if numbers.negative_zeros > 0 && node.only(&[Int32, Int64, Double, Decimal]) {
        return with_negative_zeros(node);
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

/// Numbers of several types with zeros that have a sign, which only floating point keeps.
fn with_negative_zeros(node: &Node) -> Scalar {
    const EXACT: i64 = 1 << 53;
    let zeros = format!("{} negative zeros", count(node.numbers.negative_zeros));
    let exact = node.count(Kind::Decimal) == 0
        && node.numbers.least >= -EXACT
        && node.numbers.greatest <= EXACT;
    if exact {
        return Scalar::new("double precision")
            .note(format!("{zeros}, which numeric does not have"));
    }
    Scalar::new("numeric").decide(format!("{zeros} do not fit numeric and are rejects"))
}

/// The type of a key made of numbers that are all whole, whatever their types: one number is one
/// `_id`. Numbers that were doubles may grow beyond 32 bits as others do not.
pub(super) fn whole_key(node: &Node, whole: bool) -> Option<&'static str> {
    use Kind::{Decimal, Double, Int32, Int64};
    let plain = node.numbers.fractions == 0 && node.numbers.special == 0;
    if !plain || !node.only(&[Int32, Int64, Double, Decimal]) {
        return None;
    }
    Some(if node.only(&[Int32, Int64]) { whole_type(node, whole) } else { "bigint" })
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
pub(super) fn names_are_data(node: &Node) -> bool {
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

/// Whether the documents at a node are alike enough to be rows.
pub(super) fn makes_rows(node: &Node) -> bool {
    if node.only(&[Kind::Document]) {
        return node.fields.as_ref().is_some_and(|fields| {
            fields.others.is_none()
                && !fields.nodes.is_empty()
                && fields.nodes.len() <= MOST_CHILD_FIELDS
                && !names_are_data(node)
        });
    }
    node.kinds().len() == 1 && scalar(node, true).pg_type != "jsonb" && !node.only(&[Kind::Array])
}

/// How many columns a subdocument becomes; none when its fields are too many or too different.
pub(super) fn flat_columns(node: &Node) -> Option<usize> {
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
pub(super) fn members(node: &Node) -> Node {
    let Some(fields) = &node.fields else { return Node::default() };
    let mut fields = fields.clone();
    fields.together();
    fields.others.take().unwrap_or_default()
}
