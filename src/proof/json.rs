//! Values as the text that PostgreSQL prints for them as `jsonb`, and as canonical Extended JSON.

use std::fmt::Write as _;

use bson::spec::BinarySubtype;
use bson::{Bson, RawBsonRef};
use serde_json::value::RawValue;
use serde_json::{Map, Value as Json, json};

use super::date;
use super::fate::Rule;
use super::node::Node;
use super::number::Number;
use super::value::Reason;
use crate::pipeline::model::Nul;

/// Writes one `jsonb` value.
pub(super) struct JsonText<'n> {
    nul: Nul,
    out: String,
    /// Leaves that are not stored as they are.
    changed: &'n mut Vec<(usize, Rule)>,
}

impl<'n> JsonText<'n> {
    pub(super) fn new(nul: Nul, changed: &'n mut Vec<(usize, Rule)>) -> Self {
        Self { nul, out: String::new(), changed }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    pub(super) fn value(&mut self, node: &Node<'_>) -> Result<(), Reason> {
        match node.value {
            RawBsonRef::Document(_) => {
                let fields: Vec<_> =
                    node.children.iter().map(|child| (child.name, child)).collect();
                return self.object(fields);
            }
            RawBsonRef::Array(_) => {
                self.out.push('[');
                for (at, item) in node.children.iter().enumerate() {
                    self.comma(at);
                    self.value(item)?;
                }
                self.out.push(']');
            }
            RawBsonRef::Null => self.out.push_str("null"),
            RawBsonRef::Boolean(flag) => self.out.push_str(&flag.to_string()),
            RawBsonRef::String(text) => return self.string(text, node.leaves.start),
            RawBsonRef::ObjectId(id) => return self.string(&id.to_hex(), node.leaves.start),
            RawBsonRef::DateTime(at) => {
                return self.string(&date::text(at.timestamp_millis()), node.leaves.start);
            }
            RawBsonRef::Binary(binary) if is_uuid(node.value) => {
                let id = uuid::Uuid::from_slice(binary.bytes).unwrap_or_default();
                return self.string(&id.to_string(), node.leaves.start);
            }
            RawBsonRef::Int32(_)
            | RawBsonRef::Int64(_)
            | RawBsonRef::Double(_)
            | RawBsonRef::Decimal128(_) => self.number(node),
            _ => {
                let extended = extended(node.value).ok_or_else(|| {
                    Reason::new("malformed", "the value cannot be written as Extended JSON")
                })?;
                return self.extended(&extended, node.leaves.start);
            }
        }
        Ok(())
    }

    fn number(&mut self, node: &Node<'_>) {
        let Some(number) = Number::of(node.value) else { return };
        if number.is_negative_zero() {
            self.changed.push((node.leaves.start, Rule::NegativeZero));
        }
        let plain = number.plain();
        if !matches!(number, Number::Finite { .. }) {
            // JSON has no such numbers.
            let _ = write!(self.out, "\"{plain}\"");
            return;
        }
        self.out.push_str(&plain);
        // A double that is whole stays apart from an integer.
        if matches!(node.value, RawBsonRef::Double(_)) && !plain.contains('.') {
            self.out.push_str(".0");
        }
    }

    /// An object. `jsonb` has its keys in order of length, then of bytes.
    pub(super) fn object(&mut self, mut fields: Vec<(&str, &Node<'_>)>) -> Result<(), Reason> {
        fields.sort_by(|(left, _), (right, _)| by_length(left, right));
        if fields.windows(2).any(|pair| matches!(pair, [(left, _), (right, _)] if left == right)) {
            return Err(Reason::new("malformed", "an object inside has the same key twice"));
        }
        self.out.push('{');
        for (at, (name, node)) in fields.into_iter().enumerate() {
            self.comma(at);
            self.key(name)?;
            self.value(node)?;
        }
        self.out.push('}');
        Ok(())
    }

    fn comma(&mut self, at: usize) {
        if at > 0 {
            self.out.push_str(", ");
        }
    }

    fn key(&mut self, name: &str) -> Result<(), Reason> {
        if name.contains('\0') {
            return Err(nul());
        }
        self.quoted(name);
        self.out.push_str(": ");
        Ok(())
    }

    fn string(&mut self, text: &str, leaf: usize) -> Result<(), Reason> {
        if !text.contains('\0') {
            self.quoted(text);
            return Ok(());
        }
        if self.nul == Nul::Reject {
            return Err(nul());
        }
        self.changed.push((leaf, Rule::Nul));
        self.quoted(&text.replace('\0', ""));
        Ok(())
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\0'..='\u{1f}' => {
                    let _ = write!(self.out, "\\u{:04x}", u32::from(character));
                }
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
    }

    fn extended(&mut self, value: &Json, leaf: usize) -> Result<(), Reason> {
        match value {
            Json::Object(map) => {
                let mut fields: Vec<_> = map.iter().collect();
                fields.sort_by(|(left, _), (right, _)| by_length(left, right));
                self.out.push('{');
                for (at, (name, value)) in fields.into_iter().enumerate() {
                    self.comma(at);
                    // Keys of a scope are data.
                    if name.contains('\0') {
                        return Err(nul());
                    }
                    self.string(name, leaf)?;
                    self.out.push_str(": ");
                    self.extended(value, leaf)?;
                }
                self.out.push('}');
            }
            Json::Array(items) => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.comma(at);
                    self.extended(item, leaf)?;
                }
                self.out.push(']');
            }
            Json::String(text) => return self.string(text, leaf),
            scalar => self.out.push_str(&scalar.to_string()),
        }
        Ok(())
    }

    /// JSON that stands in a text: `json = true`. Of a key that occurs twice the last value stays.
    pub(super) fn text(&mut self, text: &str, leaf: usize) -> Result<(), Reason> {
        let wrong = |error: serde_json::Error| Reason::new("json", error.to_string());
        let raw: &RawValue = serde_json::from_str(text).map_err(wrong)?;
        let text = raw.get().trim();
        match text.chars().next() {
            Some('{') => {
                let fields: std::collections::HashMap<String, &RawValue> =
                    serde_json::from_str(text).map_err(wrong)?;
                let mut fields: Vec<_> = fields.into_iter().collect();
                fields.sort_by(|(left, _), (right, _)| by_length(left, right));
                self.out.push('{');
                for (at, (name, value)) in fields.iter().enumerate() {
                    self.comma(at);
                    self.key(name)?;
                    self.text(value.get(), leaf)?;
                }
                self.out.push('}');
            }
            Some('[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.comma(at);
                    self.text(item.get(), leaf)?;
                }
                self.out.push(']');
            }
            Some('"') => {
                let text: String = serde_json::from_str(text).map_err(wrong)?;
                return self.string(&text, leaf);
            }
            Some('-' | '0'..='9') => {
                let number = Number::parse(text).filter(fits_numeric).ok_or_else(|| {
                    Reason::new("range", "a number has more digits than `numeric` holds")
                })?;
                if number.is_negative_zero() {
                    self.changed.push((leaf, Rule::NegativeZero));
                }
                self.out.push_str(&number.plain());
            }
            _ => self.out.push_str(text),
        }
        Ok(())
    }
}

/// PostgreSQL's `numeric` has 131,072 digits before the point and 16,383 after it.
fn fits_numeric(number: &Number) -> bool {
    match number {
        Number::Finite { digits, scale, .. } => {
            let digits = i64::try_from(digits.len()).unwrap_or(i64::MAX);
            let before = if digits == 0 { 0 } else { digits.saturating_sub(*scale) };
            *scale <= 16_383 && before <= 131_072
        }
        _ => true,
    }
}

fn nul() -> Reason {
    Reason::new("nul", "PostgreSQL cannot store U+0000")
}

fn by_length(left: &str, right: &str) -> std::cmp::Ordering {
    (left.len(), left.as_bytes()).cmp(&(right.len(), right.as_bytes()))
}

/// A UUID as BSON has it: binary subtype 4, 16 bytes.
pub(super) fn is_uuid(value: RawBsonRef<'_>) -> bool {
    matches!(value, RawBsonRef::Binary(binary)
        if binary.subtype == BinarySubtype::Uuid && binary.bytes.len() == 16)
}

/// Canonical Extended JSON of a value; none where it cannot be read.
pub(super) fn extended(value: RawBsonRef<'_>) -> Option<Json> {
    Some(match value {
        RawBsonRef::Double(number) => json!({ "$numberDouble": double(number) }),
        RawBsonRef::RegularExpression(regex) => {
            let mut options: Vec<char> = regex.options.as_str().chars().collect();
            options.sort_unstable();
            let options: String = options.into_iter().collect();
            json!({"$regularExpression": {"pattern": regex.pattern.as_str(), "options": options}})
        }
        RawBsonRef::Document(document) => {
            let mut fields = Map::new();
            for element in document {
                let (name, value) = element.ok()?;
                fields.insert(name.as_str().to_owned(), extended(value)?);
            }
            Json::Object(fields)
        }
        RawBsonRef::Array(items) => {
            let items = items.into_iter().map(|item| extended(item.ok()?));
            Json::Array(items.collect::<Option<_>>()?)
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            let scope = extended(RawBsonRef::Document(code.scope))?;
            json!({"$code": code.code, "$scope": scope})
        }
        RawBsonRef::DateTime(at) => {
            json!({"$date": {"$numberLong": at.timestamp_millis().to_string()}})
        }
        other => Bson::try_from(other).ok()?.into_canonical_extjson(),
    })
}

/// The shortest digits that name a double, with a point or an exponent.
pub(super) fn double(number: f64) -> String {
    match number {
        _ if number.is_nan() => "NaN".to_owned(),
        f64::INFINITY => "Infinity".to_owned(),
        f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => zmij::Buffer::new().format_finite(number).to_owned(),
    }
}
