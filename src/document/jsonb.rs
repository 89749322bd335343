//! BSON to the very text that PostgreSQL prints for the same `jsonb`, so that a value comes back
//! from the server byte for byte as it was sent.
//!
//! That text has keys in order of length, then bytes; `": "` and `", "` between tokens; numbers as
//! `numeric` prints them. What JSON cannot say is kept as text: dates in ISO 8601, ids in
//! hexadecimal, NaN and the infinities as strings, other BSON types as canonical Extended JSON.

use std::fmt::Write as _;

use super::decimal::{Decimal, decimal128_parts, numeric_text};
use super::extended_json;
use super::raw::{Doc, MAX_DEPTH, Malformed, Value};
use crate::staging::checksum::to_hex;

/// What happens to U+0000, which PostgreSQL cannot store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NulRule {
    /// The value is refused.
    Reject,
    /// The character is taken out.
    Strip,
}

/// Why a value cannot be jsonb.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonbError {
    /// U+0000 in a string or key.
    #[error("a string or key inside holds U+0000, which PostgreSQL cannot store")]
    Nul,
    /// One object has a key twice; jsonb would keep the last only.
    #[error("an object inside has the same key twice")]
    RepeatedKey,
    /// Bytes that are not BSON.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl JsonbError {
    /// The reject rule it falls under.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Nul => "nul",
            Self::RepeatedKey | Self::Malformed(_) => "malformed",
        }
    }
}

struct Writer<'o> {
    out: &'o mut String,
    rule: NulRule,
    stripped: u64,
}

/// Writes a value; gives the number of U+0000 taken out.
pub fn write_jsonb(out: &mut String, value: &Value<'_>, rule: NulRule) -> Result<u64, JsonbError> {
    let mut writer = Writer { out, rule, stripped: 0 };
    writer.value(value, 0)?;
    Ok(writer.stripped)
}

/// Writes one object made of these fields; gives the number of U+0000 taken out.
pub fn write_jsonb_fields<'a>(
    out: &mut String,
    fields: impl Iterator<Item = (&'a str, Value<'a>)>,
    rule: NulRule,
) -> Result<u64, JsonbError> {
    let mut writer = Writer { out, rule, stripped: 0 };
    writer.object(fields.map(Ok), 0)?;
    Ok(writer.stripped)
}

impl Writer<'_> {
    fn value(&mut self, value: &Value<'_>, depth: usize) -> Result<(), JsonbError> {
        if depth > MAX_DEPTH {
            return Err(Malformed { offset: 0, reason: "the document is nested too deeply" }.into());
        }
        match value {
            Value::Null => self.out.push_str("null"),
            Value::Boolean(flag) => self.out.push_str(if *flag { "true" } else { "false" }),
            Value::Int32(number) => {
                let _ = write!(self.out, "{number}");
            }
            Value::Int64(number) => {
                let _ = write!(self.out, "{number}");
            }
            Value::Double(number) if number.is_finite() => self.double(*number),
            Value::Double(number) => {
                let text = if number.is_nan() {
                    "\"NaN\""
                } else if *number > 0.0 {
                    "\"Infinity\""
                } else {
                    "\"-Infinity\""
                };
                self.out.push_str(text);
            }
            Value::Decimal128(bytes) => {
                let text = numeric_text(*bytes);
                if matches!(decimal128_parts(*bytes), Decimal::Finite { .. }) {
                    self.out.push_str(&text);
                } else {
                    let _ = write!(self.out, "\"{text}\"");
                }
            }
            Value::String(text) => self.string(text)?,
            Value::ObjectId(id) => {
                let _ = write!(self.out, "\"{}\"", to_hex(id));
            }
            Value::DateTime(millis) => {
                let _ = write!(self.out, "\"{}\"", extended_json::date_text(*millis));
            }
            Value::Binary { subtype: 4, bytes } if bytes.len() == 16 => {
                let id = uuid::Uuid::from_slice(bytes).unwrap_or_default();
                let _ = write!(self.out, "\"{id}\"");
            }
            Value::Document(document) => self.document(*document, depth)?,
            Value::Array(items) => {
                self.out.push('[');
                for (at, item) in items.elements().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    self.value(&item?.1, depth + 1)?;
                }
                self.out.push(']');
            }
            other => {
                let json = extended_json::to_json(other)?;
                self.json(&json)?;
            }
        }
        Ok(())
    }

    fn document(&mut self, document: Doc<'_>, depth: usize) -> Result<(), JsonbError> {
        self.object(document.elements(), depth)
    }

    fn object<'a>(
        &mut self,
        fields: impl Iterator<Item = Result<(&'a str, Value<'a>), Malformed>>,
        depth: usize,
    ) -> Result<(), JsonbError> {
        let mut fields = fields.collect::<Result<Vec<_>, _>>()?;
        fields.sort_by(|(left, _), (right, _)| {
            left.len().cmp(&right.len()).then_with(|| left.as_bytes().cmp(right.as_bytes()))
        });
        if fields.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(JsonbError::RepeatedKey);
        }
        self.out.push('{');
        for (at, (name, value)) in fields.iter().enumerate() {
            if at > 0 {
                self.out.push_str(", ");
            }
            // A key without its NULs could equal another one: refused whatever the rule.
            if name.contains('\0') {
                return Err(JsonbError::Nul);
            }
            self.string(name)?;
            self.out.push_str(": ");
            self.value(value, depth + 1)?;
        }
        self.out.push('}');
        Ok(())
    }

    /// Extended JSON of the types that JSON has no form for.
    fn json(&mut self, json: &serde_json::Value) -> Result<(), JsonbError> {
        match json {
            serde_json::Value::Object(map) => {
                let mut fields: Vec<_> = map.iter().collect();
                fields.sort_by(|(left, _), (right, _)| {
                    left.len().cmp(&right.len()).then_with(|| left.as_bytes().cmp(right.as_bytes()))
                });
                self.out.push('{');
                for (at, (name, value)) in fields.into_iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    self.string(name)?;
                    self.out.push_str(": ");
                    self.json(value)?;
                }
                self.out.push('}');
            }
            serde_json::Value::Array(items) => {
                self.out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    self.json(item)?;
                }
                self.out.push(']');
            }
            serde_json::Value::String(text) => self.string(text)?,
            scalar => {
                let _ = write!(self.out, "{scalar}");
            }
        }
        Ok(())
    }

    /// The shortest digits that name the double, without an exponent; whole numbers keep `.0`, so
    /// that they stay apart from integers.
    fn double(&mut self, number: f64) {
        if number == 0.0 {
            self.out.push_str("0.0");
            return;
        }
        let start = self.out.len();
        let _ = write!(self.out, "{number}");
        if !self.out[start..].contains('.') {
            self.out.push_str(".0");
        }
    }

    fn string(&mut self, text: &str) -> Result<(), JsonbError> {
        self.out.push('"');
        let mut from = 0;
        for (at, byte) in text.bytes().enumerate() {
            let escape = match byte {
                b'"' => "\\\"",
                b'\\' => "\\\\",
                0x08 => "\\b",
                0x0c => "\\f",
                b'\n' => "\\n",
                b'\r' => "\\r",
                b'\t' => "\\t",
                0..0x20 => "",
                _ => continue,
            };
            self.out.push_str(&text[from..at]);
            from = at + 1;
            if byte == 0 {
                if self.rule == NulRule::Reject {
                    return Err(JsonbError::Nul);
                }
                self.stripped += 1;
            } else if escape.is_empty() {
                let _ = write!(self.out, "\\u{byte:04x}");
            } else {
                self.out.push_str(escape);
            }
        }
        self.out.push_str(&text[from..]);
        self.out.push('"');
        Ok(())
    }
}
