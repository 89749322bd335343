//! BSON values to column values: exact, or refused with the rule that was broken.

use std::borrow::Cow;

use super::cell::Cell;
use super::plan::ColumnPlan;
use crate::document::datetime;
use crate::document::decimal::{Decimal, decimal128_parts, numeric_text};
use crate::document::extended_json;
use crate::document::id::{self, canonical_uuid, parse_object_id_hex, uuid_from_object_id};
use crate::document::identity;
use crate::document::jsonb::{Changed, NulRule, write_json_text, write_jsonb};
use crate::document::raw::{Doc, Value};
use crate::pgcopy::PgType;
use crate::pipeline::model::{Nul, NullElements, UuidOrder};

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) rule: &'static str,
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn new(rule: &'static str, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}

/// The first microsecond of 4713 BC (Julian day 0), which is where PostgreSQL's dates begin.
const FIRST_MICRO: i64 = -210_866_803_200_000_000;
/// Greatest magnitude up to which every whole number is exact as a double.
const EXACT_DOUBLE: i64 = 1 << 53;

/// Takes the value where it is of the column's own type and needs no more than a look: then adds
/// what [`convert`] makes of it.
#[inline]
pub(super) fn take_as_it_is<'a>(
    pg_type: &PgType,
    value: &Value<'a>,
    cells: &mut Vec<Cell<'a>>,
) -> bool {
    // Each cell is made where it stays: moving it costs more than making it.
    match (value, pg_type) {
        (Value::String(text), PgType::Text) if memchr::memchr(0, text.as_bytes()).is_none() => {
            cells.push(Cell::Text(Cow::Borrowed(text)));
        }
        (Value::ObjectId(id), PgType::Uuid) => cells.push(Cell::Uuid(uuid_from_object_id(*id))),
        (Value::DateTime(millis), PgType::Timestamp(3..) | PgType::Timestamptz(3..)) => {
            match millis.checked_mul(1000) {
                Some(micros) if micros >= FIRST_MICRO => cells.push(Cell::Micros(micros)),
                _ => return false,
            }
        }
        (Value::Int32(number), PgType::Integer | PgType::BigInt) => {
            cells.push(Cell::Integer(i64::from(*number)));
        }
        (Value::Int64(number), PgType::BigInt) => cells.push(Cell::Integer(*number)),
        (Value::Double(number), PgType::Double) => cells.push(Cell::Double(*number)),
        (Value::Boolean(flag), PgType::Boolean) => cells.push(Cell::Boolean(*flag)),
        _ => return false,
    }
    true
}

/// Converts a value that is neither null nor missing. `changed` counts what the stored
/// value lacks.
pub(super) fn convert<'a>(
    column: &ColumnPlan,
    pg_type: &PgType,
    value: &Value<'a>,
    changed: &mut Changed,
) -> Result<Cell<'a>, Refusal> {
    if !column.values.is_empty()
        && let Some(text) = plain_text(value)
        && let Some(stored) = column.values.get(text.as_ref())
    {
        return convert_text(column, pg_type, Cow::Owned(stored.clone()), value, changed);
    }
    // A key stands for all values that MongoDB holds to be equal to it.
    let own;
    let value = if (column.is_key || column.reference.is_some()) && loses_identity(pg_type, value) {
        own = identity::scalar(value);
        &own
    } else {
        value
    };
    match pg_type {
        PgType::Boolean => boolean(column, value).map(Cell::Boolean),
        PgType::SmallInt => integer(column, value, i16::MIN.into(), i16::MAX.into(), pg_type),
        PgType::Integer => integer(column, value, i32::MIN.into(), i32::MAX.into(), pg_type),
        PgType::BigInt => integer(column, value, i64::MIN, i64::MAX, pg_type),
        PgType::Real => real(value, pg_type),
        PgType::Double => double(column, value, pg_type).map(Cell::Double),
        PgType::Numeric(scale) => numeric(column, value, *scale, pg_type),
        PgType::Text | PgType::Varchar(_) | PgType::Enum(_) => {
            let text = as_text(column, value).ok_or_else(|| unfit(value, pg_type))?;
            convert_text(column, pg_type, text, value, changed)
        }
        PgType::Bytea => match value {
            Value::Binary { bytes, .. } => Ok(Cell::Bytes(bytes)),
            _ => Err(unfit(value, pg_type)),
        },
        PgType::Uuid => uuid(column, value).map(Cell::Uuid),
        PgType::Jsonb => {
            let mut text = String::new();
            let rule = match column.nul {
                Nul::Reject => NulRule::Reject,
                Nul::Strip => NulRule::Strip,
            };
            let written = match value {
                Value::String(json) if column.parse_json => write_json_text(&mut text, json, rule),
                _ => write_jsonb(&mut text, value, rule),
            };
            let more = written.map_err(|error| Refusal::new(error.rule(), error.to_string()))?;
            changed.nuls += more.nuls;
            changed.negative_zeros += more.negative_zeros;
            Ok(Cell::Text(Cow::Owned(text)))
        }
        PgType::Date => date(column, value, pg_type),
        PgType::Time(precision) => time(column, value, *precision, pg_type),
        PgType::Timestamp(precision) | PgType::Timestamptz(precision) => {
            timestamp(column, value, *precision, pg_type)
        }
        PgType::Array(element) => array(column, element, value, changed),
    }
}

/// Equal numbers become unequal values of the type. Columns of numbers compare by value themselves.
fn loses_identity(pg_type: &PgType, value: &Value<'_>) -> bool {
    match pg_type {
        PgType::Real | PgType::Double => false,
        PgType::SmallInt | PgType::Integer | PgType::BigInt | PgType::Numeric(_) => {
            is_negative_zero(value)
        }
        _ => true,
    }
}

fn unfit(value: &Value<'_>, pg_type: &PgType) -> Refusal {
    Refusal::new(
        "type",
        format!("a value of BSON type {} does not fit {pg_type}", value.type_name()),
    )
}

fn beyond(pg_type: &PgType) -> Refusal {
    Refusal::new("range", format!("the value is outside the range of {pg_type}"))
}

/// The text of scalars that the pipeline file's `values` can name.
fn plain_text<'a>(value: &Value<'a>) -> Option<Cow<'a, str>> {
    match value {
        Value::String(text) | Value::Symbol(text) => Some(Cow::Borrowed(text)),
        Value::Boolean(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        _ => identity::whole(value).map(|number| Cow::Owned(number.to_string())),
    }
}

fn as_text<'a>(column: &ColumnPlan, value: &Value<'a>) -> Option<Cow<'a, str>> {
    match value {
        Value::String(text) | Value::Symbol(text) | Value::JavaScript(text) => {
            Some(Cow::Borrowed(text))
        }
        Value::ObjectId(id) => Some(Cow::Owned(crate::staging::checksum::to_hex(id))),
        Value::Binary { subtype: 4, bytes } => {
            uuid::Uuid::from_slice(bytes).ok().map(|id| Cow::Owned(id.to_string()))
        }
        Value::Regex { .. }
        | Value::Timestamp { .. }
        | Value::MinKey
        | Value::MaxKey
        | Value::DbPointer { .. }
        | Value::JavaScriptWithScope { .. } => extended_json::canonical(value).ok().map(Cow::Owned),
        Value::DateTime(millis) if column.coerce => {
            Some(Cow::Owned(datetime::iso8601_millis(*millis)))
        }
        Value::Decimal128(bytes) if column.coerce => Some(Cow::Owned(numeric_text(*bytes))),
        Value::Double(number) if column.coerce => Some(Cow::Owned(number.to_string())),
        _ if column.coerce => plain_text(value),
        _ => None,
    }
}

/// Text that is known, for whatever type the column has.
fn convert_text<'a>(
    column: &ColumnPlan,
    pg_type: &PgType,
    text: Cow<'a, str>,
    value: &Value<'a>,
    changed: &mut Changed,
) -> Result<Cell<'a>, Refusal> {
    match pg_type {
        PgType::Enum(name) => {
            if column.labels.iter().any(|label| *label == text) {
                Ok(Cell::Text(text))
            } else {
                Err(Refusal::new("enum", format!("the value is not a label of {name}")))
            }
        }
        PgType::Text | PgType::Varchar(_) => {
            let text = without_nuls(column, text, changed)?;
            if let PgType::Varchar(limit) = pg_type
                && text.len() > *limit as usize
                && text.chars().count() > *limit as usize
            {
                return Err(Refusal::new("length", format!("more than {limit} characters")));
            }
            Ok(Cell::Text(text))
        }
        // `values` of another type: convert what stands there as if the source had held it.
        _ => {
            let stored = text.into_owned();
            let parsed = stored.parse::<i64>().map(Value::Int64);
            let parsed = parsed.or_else(|_| stored.parse::<bool>().map(Value::Boolean));
            match (pg_type, parsed) {
                (PgType::Boolean, Ok(parsed)) => boolean(column, &parsed).map(Cell::Boolean),
                (PgType::SmallInt | PgType::Integer | PgType::BigInt, Ok(parsed)) => {
                    integer(column, &parsed, i64::MIN, i64::MAX, pg_type)
                }
                _ => Err(unfit(value, pg_type)),
            }
        }
    }
}

fn without_nuls<'a>(
    column: &ColumnPlan,
    text: Cow<'a, str>,
    changed: &mut Changed,
) -> Result<Cow<'a, str>, Refusal> {
    if memchr::memchr(0, text.as_bytes()).is_none() {
        return Ok(text);
    }
    match column.nul {
        Nul::Reject => {
            Err(Refusal::new("nul", "the text holds U+0000, which PostgreSQL cannot store"))
        }
        Nul::Strip => {
            changed.nuls += text.bytes().filter(|byte| *byte == 0).count() as u64;
            Ok(Cow::Owned(text.replace('\0', "")))
        }
    }
}

fn boolean(column: &ColumnPlan, value: &Value<'_>) -> Result<bool, Refusal> {
    match value {
        Value::Boolean(flag) => Ok(*flag),
        Value::Int32(0) | Value::Int64(0) if column.coerce => Ok(false),
        Value::Int32(1) | Value::Int64(1) if column.coerce => Ok(true),
        Value::String("true") if column.coerce => Ok(true),
        Value::String("false") if column.coerce => Ok(false),
        _ => Err(unfit(value, &PgType::Boolean)),
    }
}

/// A whole number inside any numeric value, or why there is none.
fn whole(column: &ColumnPlan, value: &Value<'_>, pg_type: &PgType) -> Result<i64, Refusal> {
    match value {
        Value::Int32(number) => Ok(i64::from(*number)),
        Value::Int64(number) => Ok(*number),
        _ if is_negative_zero(value) => Err(no_negative_zero(pg_type)),
        Value::Double(number) if number.is_finite() => {
            if number.fract() != 0.0 {
                return Err(Refusal::new(
                    "type",
                    format!("a number with a fraction does not fit {pg_type}"),
                ));
            }
            identity::whole(value).ok_or_else(|| beyond(pg_type))
        }
        Value::Decimal128(bytes) => match decimal128_parts(*bytes) {
            Decimal::Finite { .. } => identity::whole(value).ok_or_else(|| {
                Refusal::new(
                    "type",
                    format!("the decimal is not a whole number that fits {pg_type}"),
                )
            }),
            _ => Err(unfit(value, pg_type)),
        },
        Value::String(text) if column.coerce => {
            text.trim().parse().map_err(|_| unfit(value, pg_type))
        }
        Value::Boolean(flag) if column.coerce => Ok(i64::from(*flag)),
        _ => Err(unfit(value, pg_type)),
    }
}

/// Only floating-point numbers have a zero with a sign.
fn is_negative_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Double(number) => *number == 0.0 && number.is_sign_negative(),
        Value::Decimal128(bytes) => {
            matches!(decimal128_parts(*bytes), Decimal::Finite { negative: true, digits: 0, .. })
        }
        _ => false,
    }
}

fn no_negative_zero(pg_type: &PgType) -> Refusal {
    Refusal::new(
        "type",
        format!("{pg_type} has no negative zero; double precision, which has one, holds it"),
    )
}

fn integer<'a>(
    column: &ColumnPlan,
    value: &Value<'_>,
    least: i64,
    greatest: i64,
    pg_type: &PgType,
) -> Result<Cell<'a>, Refusal> {
    let number = whole(column, value, pg_type)?;
    if (least..=greatest).contains(&number) {
        Ok(Cell::Integer(number))
    } else {
        Err(beyond(pg_type))
    }
}

fn real<'a>(value: &Value<'_>, pg_type: &PgType) -> Result<Cell<'a>, Refusal> {
    let inexact = || Refusal::new("range", format!("the number is not exact as {pg_type}"));
    match value {
        Value::Double(number) => {
            #[expect(clippy::cast_possible_truncation, reason = "compared with the original below")]
            let narrow = *number as f32;
            if number.is_nan() || f64::from(narrow).to_bits() == number.to_bits() {
                Ok(Cell::Real(narrow))
            } else {
                Err(inexact())
            }
        }
        Value::Int32(number) if number.unsigned_abs() <= 1 << 24 =>
        {
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^24")]
            Ok(Cell::Real(*number as f32))
        }
        Value::Int32(_) | Value::Int64(_) | Value::Decimal128(_) => Err(inexact()),
        _ => Err(unfit(value, pg_type)),
    }
}

fn double(column: &ColumnPlan, value: &Value<'_>, pg_type: &PgType) -> Result<f64, Refusal> {
    match value {
        Value::Double(number) => Ok(*number),
        Value::Int32(number) => Ok(f64::from(*number)),
        Value::Int64(number) if number.unsigned_abs() <= EXACT_DOUBLE.cast_unsigned() => {
            Ok(*number as f64)
        }
        Value::Int64(_) => {
            Err(Refusal::new("range", format!("the number is not exact as {pg_type}")))
        }
        Value::Decimal128(bytes) => match decimal128_parts(*bytes) {
            Decimal::NaN => Ok(f64::NAN),
            Decimal::Infinity { negative } => {
                Ok(if negative { f64::NEG_INFINITY } else { f64::INFINITY })
            }
            Decimal::Finite { negative: true, digits: 0, .. } => Ok(-0.0),
            Decimal::Finite { .. } => match identity::whole(value) {
                Some(number) if number.unsigned_abs() <= EXACT_DOUBLE.cast_unsigned() => {
                    Ok(number as f64)
                }
                _ => Err(Refusal::new("range", format!("the decimal is not exact as {pg_type}"))),
            },
        },
        Value::String(text) if column.coerce => {
            text.trim().parse().map_err(|_| unfit(value, pg_type))
        }
        _ => Err(unfit(value, pg_type)),
    }
}

fn numeric<'a>(
    column: &ColumnPlan,
    value: &Value<'_>,
    scale: Option<(u16, i16)>,
    pg_type: &PgType,
) -> Result<Cell<'a>, Refusal> {
    if is_negative_zero(value) {
        return Err(no_negative_zero(pg_type));
    }
    let text = match value {
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Double(number) if number.is_nan() => "NaN".to_owned(),
        Value::Double(number) if number.is_infinite() => {
            if *number > 0.0 {
                "Infinity".to_owned()
            } else {
                "-Infinity".to_owned()
            }
        }
        // The shortest digits that name this double and no other.
        Value::Double(number) => format!("{number}"),
        Value::Decimal128(bytes) => numeric_text(*bytes),
        Value::String(text) if column.coerce && is_decimal(text.trim()) => text.trim().to_owned(),
        _ => return Err(unfit(value, pg_type)),
    };
    match scale {
        None => Ok(Cell::Numeric(Cow::Owned(text))),
        Some((precision, scale)) => rescale(&text, precision, scale)
            .map(|text| Cell::Numeric(Cow::Owned(text)))
            .ok_or_else(|| beyond(pg_type)),
    }
}

fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(whole) && all_digits(fraction)
}

/// Decimal text with exactly `scale` digits after the point, when that is exact and fits.
fn rescale(text: &str, precision: u16, scale: i16) -> Option<String> {
    let scale = usize::try_from(scale).ok()?;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    if !is_decimal(digits) {
        return None;
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.trim_start_matches('0');
    if fraction.len() > scale || whole.len() + scale > usize::from(precision) {
        return None;
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let zero = whole == "0" && fraction.is_empty();
    let sign = if zero { "" } else { sign };
    Some(if scale == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{fraction:0<scale$}")
    })
}

/// A UUID from whatever identifies a document.
pub(super) fn key_uuid(value: &Value<'_>) -> Result<[u8; 16], Refusal> {
    id::key_uuid(value).map_err(|error| Refusal::new("malformed", error.to_string()))
}

fn uuid(column: &ColumnPlan, value: &Value<'_>) -> Result<[u8; 16], Refusal> {
    if column.is_key {
        return key_uuid(value);
    }
    match value {
        Value::ObjectId(id) => Ok(uuid_from_object_id(*id)),
        Value::String(text) => canonical_uuid(text)
            .or_else(|| parse_object_id_hex(text).map(uuid_from_object_id))
            .ok_or_else(|| Refusal::new("type", "the text is neither a UUID nor an ObjectId")),
        Value::Binary { subtype: 4, bytes } => {
            <[u8; 16]>::try_from(*bytes).map_err(|_| unfit(value, &PgType::Uuid))
        }
        Value::Binary { subtype: 3, bytes } => {
            let bytes = <[u8; 16]>::try_from(*bytes).map_err(|_| unfit(value, &PgType::Uuid))?;
            match column.uuid_order {
                Some(order) => Ok(legacy_uuid(bytes, order)),
                None => Err(Refusal::new(
                    "type",
                    "a legacy UUID (binary subtype 3) needs `uuid_order` in the pipeline file",
                )),
            }
        }
        Value::Document(target) => match dbref_id(*target) {
            Some(id) => key_uuid(&id),
            None => Err(unfit(value, &PgType::Uuid)),
        },
        Value::DbPointer { id, .. } => Ok(uuid_from_object_id(*id)),
        _ => Err(unfit(value, &PgType::Uuid)),
    }
}

fn legacy_uuid(bytes: [u8; 16], order: UuidOrder) -> [u8; 16] {
    let mut result = bytes;
    match order {
        UuidOrder::Standard => {}
        UuidOrder::CSharp => {
            result[0..4].reverse();
            result[4..6].reverse();
            result[6..8].reverse();
        }
        UuidOrder::Java => {
            result[0..8].reverse();
            result[8..16].reverse();
        }
    }
    result
}

/// The `$id` of a DBRef.
pub(super) fn dbref_id(document: Doc<'_>) -> Option<Value<'_>> {
    match (document.get("$ref"), document.get("$id")) {
        (Ok(Some(_)), Ok(id)) => id,
        _ => None,
    }
}

/// The key values that a reference may mean, most likely first.
pub(super) fn reference_candidates<'a>(
    column: &ColumnPlan,
    target_type: &PgType,
    value: &Value<'a>,
    changed: &mut Changed,
) -> Result<[Option<Cell<'a>>; 2], Refusal> {
    let value = match value {
        Value::Document(document) => dbref_id(*document).unwrap_or(*value),
        other => *other,
    };
    if *target_type != PgType::Uuid {
        return Ok([Some(convert(column, target_type, &value, changed)?), None]);
    }
    match value {
        Value::ObjectId(id) => Ok([Some(Cell::Uuid(uuid_from_object_id(id))), None]),
        Value::DbPointer { id, .. } => Ok([Some(Cell::Uuid(uuid_from_object_id(id))), None]),
        Value::String(text) => {
            let as_id = parse_object_id_hex(text).map(|id| Cell::Uuid(uuid_from_object_id(id)));
            let as_text = Cell::Uuid(key_uuid(&value)?);
            Ok(match as_id {
                Some(id) => [Some(id), Some(as_text)],
                None => [Some(as_text), None],
            })
        }
        Value::Array(_) | Value::Null | Value::Undefined => Err(unfit(&value, target_type)),
        _ => Ok([Some(Cell::Uuid(key_uuid(&value)?)), None]),
    }
}

fn date<'a>(column: &ColumnPlan, value: &Value<'_>, pg_type: &PgType) -> Result<Cell<'a>, Refusal> {
    const DAY: i64 = 86_400_000_000;
    let micros = match value {
        Value::String(text) if column.format.is_none() => {
            if let Some(days) = datetime::parse_date(text) {
                return Ok(Cell::Date(days));
            }
            micros_of(column, value, pg_type)?
        }
        _ => micros_of(column, value, pg_type)?,
    };
    if micros.rem_euclid(DAY) != 0 {
        return Err(Refusal::new("type", format!("a time of day does not fit {pg_type}")));
    }
    i32::try_from(micros.div_euclid(DAY)).map(Cell::Date).map_err(|_| beyond(pg_type))
}

fn time<'a>(
    column: &ColumnPlan,
    value: &Value<'_>,
    precision: u8,
    pg_type: &PgType,
) -> Result<Cell<'a>, Refusal> {
    let Value::String(text) = value else { return Err(unfit(value, pg_type)) };
    let micros = match &column.format {
        Some(format) => datetime::parse_time_with_format(text, format),
        None => datetime::parse_time(text),
    }
    .ok_or_else(|| Refusal::new("type", "the text is not a time of day in the expected form"))?;
    coarse(micros, precision, pg_type)
}

/// A time that the precision of its type holds without rounding.
fn coarse<'a>(micros: i64, precision: u8, pg_type: &PgType) -> Result<Cell<'a>, Refusal> {
    let unit = 10_i64.pow(6 - u32::from(precision.min(6)));
    if micros % unit != 0 {
        return Err(Refusal::new("type", format!("the time is finer than {pg_type}")));
    }
    Ok(Cell::Micros(micros))
}

fn timestamp<'a>(
    column: &ColumnPlan,
    value: &Value<'_>,
    precision: u8,
    pg_type: &PgType,
) -> Result<Cell<'a>, Refusal> {
    let micros = micros_of(column, value, pg_type)?;
    coarse(micros, precision, pg_type)
}

fn micros_of(column: &ColumnPlan, value: &Value<'_>, pg_type: &PgType) -> Result<i64, Refusal> {
    let micros = match value {
        _ if let Some(unit) = epoch_unit(column) => {
            // Seconds may have a fraction; finer than a microsecond is refused.
            let text = match value {
                Value::Double(number) if number.is_finite() => number.to_string(),
                _ => whole(column, value, pg_type)?.to_string(),
            };
            scaled(&text, unit).ok_or_else(|| beyond(pg_type))?
        }
        Value::DateTime(millis) => millis.checked_mul(1000).ok_or_else(|| beyond(pg_type))?,
        Value::String(text) => match &column.format {
            Some(format) => datetime::parse_with_format(text, format),
            None => datetime::parse_timestamp(text),
        }
        .ok_or_else(|| Refusal::new("type", "the text is not a date in the expected form"))?,
        _ => return Err(unfit(value, pg_type)),
    };
    if micros < FIRST_MICRO { Err(beyond(pg_type)) } else { Ok(micros) }
}

/// For dates as numbers, `format = "epoch"` and `"epoch_ms"`: digits of a microsecond that the
/// unit leaves.
fn epoch_unit(column: &ColumnPlan) -> Option<u32> {
    match column.format.as_deref() {
        Some("epoch") => Some(6),
        Some("epoch_ms") => Some(3),
        _ => None,
    }
}

/// Decimal text times a power of ten, if that is whole.
fn scaled(text: &str, power: u32) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > power as usize {
        return None;
    }
    format!("{whole}{fraction:0<width$}", width = power as usize).parse().ok()
}

fn array<'a>(
    column: &ColumnPlan,
    element: &PgType,
    value: &Value<'a>,
    changed: &mut Changed,
) -> Result<Cell<'a>, Refusal> {
    let Value::Array(items) = value else {
        if column.coerce {
            return convert(column, element, value, changed).map(|cell| Cell::List(vec![cell]));
        }
        return Err(Refusal::new(
            "type",
            format!(
                "a single value of BSON type {} stands where {element}[] is expected",
                value.type_name()
            ),
        ));
    };
    let mut cells = Vec::new();
    for item in items.elements() {
        let (_, item) = item.map_err(|error| Refusal::new("malformed", error.to_string()))?;
        match (item, column.null_elements) {
            (Value::Null, NullElements::Keep) => cells.push(Cell::Null),
            (Value::Null, NullElements::Drop) => changed.null_elements += 1,
            (Value::Null, NullElements::Reject) => {
                return Err(Refusal::new("null_element", "an element of the array is null"));
            }
            (item, _) => cells.push(convert(column, element, &item, changed)?),
        }
    }
    Ok(Cell::List(cells))
}
