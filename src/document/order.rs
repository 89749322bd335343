//! MongoDB's comparison order of BSON values, which is the order of an `_id` index.

use std::cmp::Ordering;

use super::decimal::{Decimal, decimal128_parts};
use super::raw::{Doc, Value};

/// Compares two values. Total: values that MongoDB holds to be equal but that are not the same are
/// ordered by their type, so that sorting is deterministic.
pub fn compare(left: &Value<'_>, right: &Value<'_>) -> Ordering {
    by_value(left, right).then_with(|| by_type(left, right))
}

/// MongoDB's own comparison: values of different types can be equal, inside of documents too.
fn by_value(left: &Value<'_>, right: &Value<'_>) -> Ordering {
    rank(left).cmp(&rank(right)).then_with(|| same_rank(left, right))
}

/// The order of values that MongoDB holds to be equal.
fn by_type(left: &Value<'_>, right: &Value<'_>) -> Ordering {
    let inner = match (left, right) {
        (Value::Document(left), Value::Document(right))
        | (Value::Array(left), Value::Array(right))
        | (
            Value::JavaScriptWithScope { scope: left, .. },
            Value::JavaScriptWithScope { scope: right, .. },
        ) => left
            .values()
            .flatten()
            .zip(right.values().flatten())
            .map(|(left, right)| by_type(&left, &right))
            .find(|order| order.is_ne()),
        _ => None,
    };
    inner.unwrap_or_else(|| subtype(left).cmp(&subtype(right)))
}

/// Orders the kinds of two values; those that MongoDB compares with one another are equal.
pub fn kinds(left: &Value<'_>, right: &Value<'_>) -> Ordering {
    rank(left).cmp(&rank(right))
}

/// Compares two values of one kind; numbers of different types are equal where their values are.
pub fn same_value(left: &Value<'_>, right: &Value<'_>) -> Ordering {
    same_rank(left, right)
}

/// Both are numbers, of whatever types, and equal.
pub fn same_number(left: &Value<'_>, right: &Value<'_>) -> bool {
    let number = rank(&Value::Int32(0));
    rank(left) == number && rank(right) == number && same_rank(left, right).is_eq()
}

/// Orders documents by their `_id`s; one without comes first, as if it were null.
pub fn compare_ids(left: Option<&Value<'_>>, right: Option<&Value<'_>>) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => compare(left, right),
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

fn rank(value: &Value<'_>) -> u8 {
    match value {
        Value::MinKey => 0,
        Value::Undefined => 1,
        Value::Null => 2,
        Value::Int32(_) | Value::Int64(_) | Value::Double(_) | Value::Decimal128(_) => 3,
        Value::String(_) | Value::Symbol(_) => 4,
        Value::Document(_) => 5,
        Value::Array(_) => 6,
        Value::Binary { .. } => 7,
        Value::ObjectId(_) => 8,
        Value::Boolean(_) => 9,
        Value::DateTime(_) => 10,
        Value::Timestamp { .. } => 11,
        Value::Regex { .. } => 12,
        Value::DbPointer { .. } => 13,
        Value::JavaScript(_) => 14,
        Value::JavaScriptWithScope { .. } => 15,
        Value::MaxKey => 16,
    }
}

/// Within one rank, the order of values that are otherwise equal.
fn subtype(value: &Value<'_>) -> u8 {
    match value {
        Value::Int32(_) | Value::String(_) => 0,
        Value::Int64(_) | Value::Symbol(_) => 1,
        Value::Double(_) => 2,
        Value::Decimal128(_) => 3,
        _ => 0,
    }
}

fn same_rank(left: &Value<'_>, right: &Value<'_>) -> Ordering {
    use Value::{
        Array, Binary, Boolean, DateTime, DbPointer, Document, Int32, Int64, JavaScript,
        JavaScriptWithScope, ObjectId, Regex, String, Symbol, Timestamp,
    };
    match (left, right) {
        (String(left) | Symbol(left), String(right) | Symbol(right)) => {
            left.as_bytes().cmp(right.as_bytes())
        }
        (Document(left), Document(right)) => documents(*left, *right, true),
        (Array(left), Array(right)) => documents(*left, *right, false),
        (
            Binary { subtype: left_type, bytes: left },
            Binary { subtype: right_type, bytes: right },
        ) => left
            .len()
            .cmp(&right.len())
            .then_with(|| left_type.cmp(right_type))
            .then_with(|| left.cmp(right)),
        (ObjectId(left), ObjectId(right)) => left.cmp(right),
        (Boolean(left), Boolean(right)) => left.cmp(right),
        (DateTime(left), DateTime(right)) => left.cmp(right),
        (
            Timestamp { time: left, increment: left_increment },
            Timestamp { time: right, increment: right_increment },
        ) => (left, left_increment).cmp(&(right, right_increment)),
        (
            Regex { pattern: left, options: left_options },
            Regex { pattern: right, options: right_options },
        ) => (left, left_options).cmp(&(right, right_options)),
        (
            DbPointer { namespace: left, id: left_id },
            DbPointer { namespace: right, id: right_id },
        ) => left.len().cmp(&right.len()).then_with(|| (left, left_id).cmp(&(right, right_id))),
        (JavaScript(left), JavaScript(right)) => left.cmp(right),
        (
            JavaScriptWithScope { code: left, scope: left_scope },
            JavaScriptWithScope { code: right, scope: right_scope },
        ) => left.cmp(right).then_with(|| documents(*left_scope, *right_scope, true)),
        (Int32(left), Int32(right)) => left.cmp(right),
        (Int64(left), Int64(right)) => left.cmp(right),
        (Int32(left), Int64(right)) => i64::from(*left).cmp(right),
        (Int64(left), Int32(right)) => left.cmp(&i64::from(*right)),
        _ => match (Number::of(left), Number::of(right)) {
            (Some(left), Some(right)) => left.compare(&right),
            _ => Ordering::Equal,
        },
    }
}

/// Fields pairwise: type, then name, then value. What is malformed ends a document.
fn documents(left: Doc<'_>, right: Doc<'_>, names: bool) -> Ordering {
    let mut left = left.elements().flatten();
    let mut right = right.elements().flatten();
    loop {
        let ((left_name, left), (right_name, right)) = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => (left, right),
        };
        let order = rank(&left).cmp(&rank(&right));
        let order = if names { order.then_with(|| left_name.cmp(right_name)) } else { order };
        let order = order.then_with(|| by_value(&left, &right));
        if order.is_ne() {
            return order;
        }
    }
}

/// A number, exactly.
#[derive(Debug)]
enum Number {
    NaN,
    Infinite(bool),
    /// `± mantissa × 2^twos × 10^tens`
    Finite {
        negative: bool,
        mantissa: u128,
        twos: i32,
        tens: i32,
    },
}

impl Number {
    fn of(value: &Value<'_>) -> Option<Self> {
        let whole = |number: i64| Self::Finite {
            negative: number < 0,
            mantissa: u128::from(number.unsigned_abs()),
            twos: 0,
            tens: 0,
        };
        Some(match value {
            Value::Int32(number) => whole(i64::from(*number)),
            Value::Int64(number) => whole(*number),
            Value::Double(number) if number.is_nan() => Self::NaN,
            Value::Double(number) if number.is_infinite() => Self::Infinite(*number < 0.0),
            Value::Double(number) => {
                let bits = number.to_bits();
                let exponent = i32::try_from((bits >> 52) & 0x7ff).unwrap_or(0);
                let fraction = u128::from(bits & ((1 << 52) - 1));
                let (mantissa, twos) = if exponent == 0 {
                    (fraction, -1074)
                } else {
                    (fraction | 1 << 52, exponent - 1075)
                };
                Self::Finite { negative: bits >> 63 == 1, mantissa, twos, tens: 0 }
            }
            Value::Decimal128(bytes) => match decimal128_parts(*bytes) {
                Decimal::NaN => Self::NaN,
                Decimal::Infinity { negative } => Self::Infinite(negative),
                Decimal::Finite { negative, digits, exponent } => {
                    Self::Finite { negative, mantissa: digits, twos: 0, tens: exponent }
                }
            },
            _ => return None,
        })
    }

    fn compare(&self, other: &Self) -> Ordering {
        // NaN comes before every number.
        let class = |number: &Self| match number {
            Self::NaN => 0,
            Self::Infinite(true) => 1,
            Self::Finite { .. } => 2,
            Self::Infinite(false) => 3,
        };
        let order = class(self).cmp(&class(other));
        let (
            Self::Finite { negative, mantissa, twos, tens },
            Self::Finite {
                negative: other_negative,
                mantissa: other_mantissa,
                twos: other_twos,
                tens: other_tens,
            },
        ) = (self, other)
        else {
            return order;
        };
        let sign = |negative: bool, mantissa: u128| match (negative, mantissa) {
            (_, 0) => 0,
            (true, _) => -1,
            (false, _) => 1,
        };
        let (left, right) = (sign(*negative, *mantissa), sign(*other_negative, *other_mantissa));
        if left != right || left == 0 {
            return left.cmp(&right);
        }
        let order =
            magnitude((*mantissa, *twos, *tens), (*other_mantissa, *other_twos, *other_tens));
        if left < 0 { order.reverse() } else { order }
    }
}

/// Compares `mantissa × 2^twos × 10^tens` of both sides, by estimate where that decides, else by
/// whole numbers of as many words as it takes.
fn magnitude(left: (u128, i32, i32), right: (u128, i32, i32)) -> Ordering {
    let estimate = |(mantissa, twos, tens): (u128, i32, i32)| {
        (mantissa as f64).log2() + f64::from(twos) + f64::from(tens) * std::f64::consts::LOG2_10
    };
    let difference = estimate(left) - estimate(right);
    if difference.abs() > 0.001 {
        return difference.total_cmp(&0.0);
    }
    // Close to one another: bring both to whole numbers of one scale.
    let twos = left.1.min(right.1);
    let tens = left.2.min(right.2);
    let scaled = |(mantissa, own_twos, own_tens): (u128, i32, i32)| {
        let low = u64::try_from(mantissa & u128::from(u64::MAX)).unwrap_or(0);
        let mut words = Vec::from([low, u64::try_from(mantissa >> 64).unwrap_or(0)]);
        for _ in 0..own_tens - tens {
            multiply(&mut words, 10);
        }
        let shift = (own_twos - twos).unsigned_abs();
        for _ in 0..shift / 32 {
            multiply(&mut words, 1 << 32);
        }
        multiply(&mut words, 1 << (shift % 32));
        words
    };
    let (mut left, mut right) = (scaled(left), scaled(right));
    let length = left.len().max(right.len());
    left.resize(length, 0);
    right.resize(length, 0);
    left.iter().rev().cmp(right.iter().rev())
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]
fn multiply(words: &mut Vec<u64>, factor: u64) {
    let mut carry = 0_u128;
    for word in words.iter_mut() {
        carry += u128::from(*word) * u128::from(factor);
        *word = carry as u64;
        carry >>= 64;
    }
    if carry > 0 {
        words.push(carry as u64);
    }
}
