//! BSON to the very text that PostgreSQL prints for the same `jsonb`, so that a value comes back
//! from the server byte for byte as it was sent.
//!
//! That text has keys in order of length, then bytes; `": "` and `", "` between tokens; numbers as
//! `numeric` prints them. What JSON cannot say is kept as text: dates in ISO 8601, ids in
//! hexadecimal, NaN and the infinities as strings, other BSON types as canonical Extended JSON.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;

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
    /// Text that is no JSON.
    #[error("the text is no JSON: {0}")]
    Syntax(String),
    /// A number that `numeric` cannot hold.
    #[error("a number inside has more digits than PostgreSQL's numeric")]
    Number,
    /// Bytes that are not BSON.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// A key, borrowed where it has no escapes.
#[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// A JSON number as `numeric` prints it: without exponent, with the digits after the point that it
/// was written with.
fn plain_number(text: &str) -> Option<String> {
    // PostgreSQL documentation, section 8.1.2: digits before and after the point.
    const WHOLE: i64 = 131_072;
    const FRACTION: i64 = 16_383;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let point = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let significant = all.trim_start_matches('0');
    let zeros = i64::try_from(all.len() - significant.len()).ok()?;
    let scale = (i64::try_from(fraction.len()).ok()?.checked_sub(exponent)?).max(0);
    if scale > FRACTION || (!significant.is_empty() && point - zeros > WHOLE) {
        return None;
    }
    let zero = significant.is_empty();
    let mut result = String::new();
    if !zero {
        result.push_str(sign);
    }
    let length = i64::try_from(all.len()).ok()?;
    let mut before = String::new();
    for at in 0..point.max(0) {
        if zero {
            break;
        }
        before.push(if at < length {
            char::from(all.as_bytes()[usize::try_from(at).ok()?])
        } else {
            '0'
        });
    }
    let before = before.trim_start_matches('0');
    result.push_str(if before.is_empty() { "0" } else { before });
    if scale > 0 {
        result.push('.');
        for at in point..point.checked_add(scale)? {
            let digit = usize::try_from(at).ok().and_then(|at| all.as_bytes().get(at));
            result.push(digit.map_or('0', |digit| char::from(*digit)));
        }
    }
    Some(result)
}

impl JsonbError {
    /// The reject rule it falls under.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Nul => "nul",
            Self::RepeatedKey | Self::Malformed(_) => "malformed",
            Self::Syntax(_) => "json",
            Self::Number => "range",
        }
    }
}

/// What the stored text lacks of the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// U+0000 that were taken out under the rule.
    pub nuls: u64,
    /// Negative zeros that became 0: `numeric`, of which `jsonb` makes its numbers, has none.
    pub negative_zeros: u64,
    /// Nulls that were taken out of an array under the rule.
    pub null_elements: u64,
}

struct Writer<'o> {
    out: &'o mut String,
    rule: NulRule,
    changed: Changed,
}

/// Writes a value.
pub fn write_jsonb(
    out: &mut String,
    value: &Value<'_>,
    rule: NulRule,
) -> Result<Changed, JsonbError> {
    let mut writer = Writer { out, rule, changed: Changed::default() };
    writer.value(value, 0)?;
    Ok(writer.changed)
}

/// Writes one object made of these fields.
pub fn write_jsonb_fields<'a>(
    out: &mut String,
    fields: impl Iterator<Item = (&'a str, Value<'a>)>,
    rule: NulRule,
) -> Result<Changed, JsonbError> {
    let mut writer = Writer { out, rule, changed: Changed::default() };
    writer.object(fields.map(Ok), 0)?;
    Ok(writer.changed)
}

/// Writes JSON text as PostgreSQL prints it. Numbers keep their digits; of a key that occurs twice the
/// last value stays, as `jsonb` itself has it.
pub fn write_json_text(out: &mut String, text: &str, rule: NulRule) -> Result<Changed, JsonbError> {
    let raw: &RawValue =
        serde_json::from_str(text).map_err(|error| JsonbError::Syntax(error.to_string()))?;
    let mut writer = Writer { out, rule, changed: Changed::default() };
    writer.raw(raw, 0)?;
    Ok(writer.changed)
}

/// The order of keys in `jsonb`: by length, then by bytes.
fn key_order(left: &str, right: &str) -> Ordering {
    left.len().cmp(&right.len()).then_with(|| left.as_bytes().cmp(right.as_bytes()))
}

impl Writer<'_> {
    fn raw(&mut self, raw: &RawValue, depth: usize) -> Result<(), JsonbError> {
        if depth > MAX_DEPTH {
            return Err(Malformed { offset: 0, reason: "the text is nested too deeply" }.into());
        }
        let text = raw.get().trim();
        let syntax = |error: serde_json::Error| JsonbError::Syntax(error.to_string());
        match text.as_bytes().first() {
            Some(b'{') => {
                // A map keeps the last of equal keys.
                let fields: BTreeMap<Key<'_>, &RawValue> =
                    serde_json::from_str(text).map_err(syntax)?;
                let mut fields: Vec<_> =
                    fields.into_iter().map(|(key, value)| (key.0, value)).collect();
                fields.sort_by(|(left, _), (right, _)| key_order(left, right));
                self.out.push('{');
                for (at, (name, value)) in fields.into_iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    if name.contains('\0') {
                        return Err(JsonbError::Nul);
                    }
                    self.string(&name)?;
                    self.out.push_str(": ");
                    self.raw(value, depth + 1)?;
                }
                self.out.push('}');
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).map_err(syntax)?;
                self.out.push('[');
                for (at, item) in items.into_iter().enumerate() {
                    if at > 0 {
                        self.out.push_str(", ");
                    }
                    self.raw(item, depth + 1)?;
                }
                self.out.push(']');
            }
            Some(b'"') => {
                let text: String = serde_json::from_str(text).map_err(syntax)?;
                self.string(&text)?;
            }
            Some(b'-' | b'0'..=b'9') => {
                let number = plain_number(text).ok_or(JsonbError::Number)?;
                // Only zero loses its sign.
                let lost = text.starts_with('-') && !number.starts_with('-');
                self.changed.negative_zeros += u64::from(lost);
                self.out.push_str(&number);
            }
            _ => self.out.push_str(text),
        }
        Ok(())
    }

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
                let parts = decimal128_parts(*bytes);
                let lost = matches!(parts, Decimal::Finite { negative: true, digits: 0, .. });
                self.changed.negative_zeros += u64::from(lost);
                if matches!(parts, Decimal::Finite { .. }) {
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
        fields.sort_by(|(left, _), (right, _)| key_order(left, right));
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
                fields.sort_by(|(left, _), (right, _)| key_order(left, right));
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
            self.changed.negative_zeros += u64::from(number.is_sign_negative());
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
                self.changed.nuls += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_text_comes_out_as_jsonb_prints_it() {
        for (text, expected) in [
            (
                r#" {"bb": 1.50, "a": [1e2, -0, -0.0, 1E-3], "a": null} "#,
                r#"{"a": null, "bb": 1.50}"#,
            ),
            ("[1e2, -0, -0.0, 1E-3, 12.5e1, 0e5, 0.00e1]", "[100, 0, 0.0, 0.001, 125, 0, 0.0]"),
            (r#""a\u00e9\n""#, r#""aé\n""#),
            ("123456789012345678901234567890.1", "123456789012345678901234567890.1"),
        ] {
            let mut out = String::new();
            write_json_text(&mut out, text, NulRule::Reject).unwrap();
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        assert!(matches!(
            write_json_text(&mut out, "{'a'}", NulRule::Reject),
            Err(JsonbError::Syntax(_))
        ));
        assert_eq!(
            write_json_text(&mut out, r#"["\u0000"]"#, NulRule::Reject),
            Err(JsonbError::Nul)
        );
        assert_eq!(write_json_text(&mut out, "1e999999", NulRule::Reject), Err(JsonbError::Number));
    }
}
