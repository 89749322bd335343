//! The identity of an `_id`: one form for all values that MongoDB holds to be one `_id`.
//!
//! MongoDB compares numbers by value, whatever their types: `1`, `1.0`, `NumberLong(1)` and
//! `NumberDecimal("1.00")` are one `_id`, and so are `0` and `-0.0`, and all NaNs. Keys, references,
//! junctions, surveys and look-ups of `_id`s go through this module, so that they agree.
//!
//! The form that stands for a number is the first of these that has exactly its value: int32, int64,
//! double, Decimal128 without trailing zeros. Numbers inside documents and arrays count as well. A
//! symbol stands for its text.

use std::borrow::Cow;

use serde_json::{Map, Value as Json, json};

use super::decimal::{Decimal, decimal128, decimal128_parts, decimal128_text};
use super::extended_json;
use super::order;
use super::raw::{Doc, MAX_DEPTH, Malformed, Value};

/// The value that stands for all that are equal to this one. Documents and arrays stay as they are:
/// see [`text`].
#[must_use]
pub fn scalar<'a>(value: &Value<'a>) -> Value<'a> {
    match *value {
        Value::Symbol(text) => Value::String(text),
        Value::Int64(_) | Value::Double(_) | Value::Decimal128(_) => number(value),
        other => other,
    }
}

/// The whole number that a value is, whatever its numeric type; none for fractions, for what 64
/// bits do not hold, and for what is no number. A negative zero is 0.
#[must_use]
pub fn whole(value: &Value<'_>) -> Option<i64> {
    match *value {
        Value::Int32(number) => Some(i64::from(number)),
        Value::Int64(number) => Some(number),
        Value::Double(number) => whole_double(number),
        Value::Decimal128(bytes) => match decimal128_parts(bytes) {
            Decimal::Finite { negative, digits, exponent } => {
                whole_decimal(negative, digits, exponent)
            }
            _ => None,
        },
        _ => None,
    }
}

/// Canonical Extended JSON of the form that stands for a value: equal for values that are one `_id`.
///
/// # Errors
///
/// When bytes inside the value are no BSON.
pub fn text(value: &Value<'_>) -> Result<String, Malformed> {
    Ok(to_json(value, 0)?.to_string())
}

/// The same for an `_id` that is known as canonical Extended JSON, as staged files have it. Text that
/// is no number stays as it is.
#[must_use]
pub fn of_staged(id: &str) -> Cow<'_, str> {
    // An ObjectId's digits, a text or a boolean begin otherwise.
    if !id.starts_with(['{', '[']) {
        return Cow::Borrowed(id);
    }
    of_plain(id)
}

/// The same for an `_id` as a person writes it: Extended JSON, or a plain number.
#[must_use]
pub fn of_plain(id: &str) -> Cow<'_, str> {
    match plain(id, text) {
        Some(Ok(text)) => Cow::Owned(text),
        _ => Cow::Borrowed(id),
    }
}

/// Looks at an `_id` as a person writes it: JSON, canonical or relaxed. None for text that is no JSON.
pub fn plain<R>(id: &str, look: impl FnOnce(&Value<'_>) -> R) -> Option<R> {
    let json = serde_json::from_str::<Json>(id.trim()).ok()?;
    let bytes = extended_json::to_bson(&json!({ "_id": json })).ok()?;
    let value = Doc::new(&bytes).ok()?.get("_id").ok()??;
    Some(look(&value))
}

fn number<'a>(value: &Value<'a>) -> Value<'a> {
    if let Some(number) = whole(value) {
        return i32::try_from(number).map_or(Value::Int64(number), Value::Int32);
    }
    match *value {
        Value::Double(number) if number.is_nan() => Value::Double(f64::NAN),
        Value::Decimal128(bytes) => match decimal128_parts(bytes) {
            Decimal::NaN => Value::Double(f64::NAN),
            Decimal::Infinity { negative: true } => Value::Double(f64::NEG_INFINITY),
            Decimal::Infinity { negative: false } => Value::Double(f64::INFINITY),
            Decimal::Finite { negative, digits, exponent } => {
                // The nearest double, if it is the same number.
                let near = decimal128_text(bytes).parse::<f64>().ok().filter(|near| {
                    near.is_finite() && order::same_value(&Value::Double(*near), value).is_eq()
                });
                near.map_or_else(|| reduced(negative, digits, exponent), Value::Double)
            }
        },
        other => other,
    }
}

/// A decimal without trailing zeros, as far as its exponent can rise.
fn reduced<'a>(negative: bool, mut digits: u128, mut exponent: i32) -> Value<'a> {
    while digits.is_multiple_of(10) && exponent < Decimal::MAX_EXPONENT {
        digits /= 10;
        exponent += 1;
    }
    Value::Decimal128(decimal128(negative, digits, exponent))
}

fn whole_double(number: f64) -> Option<i64> {
    // Both bounds are exact as doubles; the upper one is the first number that is too large.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    #[expect(clippy::cast_possible_truncation, reason = "whole, and in range as just checked")]
    (fits && number.fract() == 0.0).then_some(number as i64)
}

fn whole_decimal(negative: bool, mut digits: u128, mut exponent: i32) -> Option<i64> {
    while digits != 0 && exponent < 0 {
        if !digits.is_multiple_of(10) {
            return None;
        }
        digits /= 10;
        exponent += 1;
    }
    while digits != 0 && exponent > 0 {
        digits = digits.checked_mul(10)?;
        exponent -= 1;
    }
    let magnitude = i128::try_from(digits).ok()?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn to_json(value: &Value<'_>, depth: usize) -> Result<Json, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed { offset: 0, reason: "the document is nested too deeply" });
    }
    match value {
        Value::Document(document) => {
            let mut fields = Map::new();
            for element in document.elements() {
                let (name, value) = element?;
                fields.insert(name.to_owned(), to_json(&value, depth + 1)?);
            }
            Ok(Json::Object(fields))
        }
        Value::Array(items) => {
            let items = items.elements().map(|item| to_json(&item?.1, depth + 1));
            Ok(Json::Array(items.collect::<Result<_, _>>()?))
        }
        other => extended_json::to_json(&scalar(other)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Value<'static> {
        let parsed: mongodb::bson::Decimal128 = text.parse().unwrap();
        Value::Decimal128(parsed.bytes())
    }

    #[test]
    fn equal_numbers_have_one_identity() {
        for (values, expected) in [
            (
                vec![
                    Value::Int32(1),
                    Value::Int64(1),
                    Value::Double(1.0),
                    decimal("1"),
                    decimal("1.00"),
                    decimal("10E-1"),
                ],
                r#"{"$numberInt":"1"}"#,
            ),
            (
                vec![Value::Int32(0), Value::Double(-0.0), decimal("-0"), decimal("0E+10")],
                r#"{"$numberInt":"0"}"#,
            ),
            (
                vec![Value::Int64(1 << 40), Value::Double((1_u64 << 40) as f64)],
                r#"{"$numberLong":"1099511627776"}"#,
            ),
            (
                vec![Value::Double(0.5), decimal("0.5"), decimal("0.50")],
                r#"{"$numberDouble":"0.5"}"#,
            ),
            (vec![decimal("0.1"), decimal("0.100")], r#"{"$numberDecimal":"0.1"}"#),
            (vec![Value::Double(0.1)], r#"{"$numberDouble":"0.1"}"#),
            (
                vec![Value::Double(f64::NAN), Value::Double(-f64::NAN), decimal("NaN")],
                r#"{"$numberDouble":"NaN"}"#,
            ),
            (
                vec![Value::Double(f64::INFINITY), decimal("Infinity")],
                r#"{"$numberDouble":"Infinity"}"#,
            ),
        ] {
            for value in values {
                assert_eq!(text(&value).unwrap(), expected, "{value:?}");
            }
        }
    }

    #[test]
    fn a_staged_id_has_the_identity_of_its_value() {
        assert_eq!(of_staged(r#"{"$numberDouble":"7.0"}"#), r#"{"$numberInt":"7"}"#);
        assert_eq!(of_staged(r#"{"a":{"$numberLong":"7"}}"#), r#"{"a":{"$numberInt":"7"}}"#);
        assert_eq!(of_staged("507f1f77bcf86cd799439011"), "507f1f77bcf86cd799439011");
        assert_eq!(of_staged(r#""7""#), r#""7""#);
    }

    fn numbers() -> impl Strategy<Value = Value<'static>> {
        let small = -20_i64..20;
        prop_oneof![
            any::<i32>().prop_map(Value::Int32),
            any::<i64>().prop_map(Value::Int64),
            any::<f64>().prop_map(Value::Double),
            small.clone().prop_map(Value::Int64),
            small.clone().prop_map(|number| Value::Double(number as f64 / 4.0)),
            (small, -4_i32..4).prop_map(|(digits, exponent)| {
                Value::Decimal128(decimal128(
                    digits < 0,
                    u128::from(digits.unsigned_abs()),
                    exponent,
                ))
            }),
            (any::<bool>(), any::<u64>(), -30_i32..30).prop_map(|(negative, digits, exponent)| {
                Value::Decimal128(decimal128(negative, digits.into(), exponent))
            }),
        ]
    }

    proptest! {
        #[test]
        fn identities_are_equal_where_the_numbers_are(left in numbers(), right in numbers()) {
            let equal = order::same_value(&left, &right).is_eq();
            prop_assert_eq!(text(&left).unwrap() == text(&right).unwrap(), equal);
        }

        #[test]
        fn a_number_has_the_value_of_its_identity(value in numbers()) {
            prop_assert!(order::same_value(&value, &scalar(&value)).is_eq());
        }
    }
}
