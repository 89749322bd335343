//! What a column should hold for a value: docs/pipeline-file.md, "What becomes of BSON values".

use bson::RawBsonRef;
use bson::spec::BinarySubtype;

use super::date;
use super::fate::Rule;
use super::identity::{key_uuid, object_id_text, of_object_id, standing, uuid_text};
use super::json::{JsonText, extended, is_uuid};
use super::mapping::ColumnMap;
use super::node::Node;
use super::number::Number;
use super::sets::Key;
use crate::pgcopy::PgType;
use crate::pipeline::model::{Fill, Literal, Nul, NullElements, UuidOrder};

/// A value of a column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Held {
    Null,
    Boolean(bool),
    Integer(i64),
    Real(f32),
    Double(f64),
    /// As PostgreSQL prints it.
    Numeric(String),
    Text(String),
    /// As PostgreSQL prints it.
    Json(String),
    Bytes(Vec<u8>),
    Uuid([u8; 16]),
    /// Days since 1970.
    Day(i64),
    /// Microseconds since midnight.
    Time(i64),
    /// Microseconds since 1970.
    Moment(i64),
    List(Vec<Held>),
}

/// Why a record is refused: the rule that its documents break.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason {
    pub(super) rule: &'static str,
    pub(super) detail: String,
    /// The keys that were looked for, where a row is missing.
    pub(super) missing: Vec<Key>,
}

impl Reason {
    pub(super) fn new(rule: &'static str, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into(), missing: Vec::new() }
    }

    /// The same of a column.
    pub(super) fn of(self, column: &str) -> Self {
        Self { detail: format!("{column}: {}", self.detail), ..self }
    }
}

fn unfit(pg_type: &PgType) -> Reason {
    Reason::new("type", format!("the value does not fit {pg_type}"))
}

fn beyond(pg_type: &PgType) -> Reason {
    Reason::new("range", format!("the value is outside the range of {pg_type}"))
}

/// Leaves that are not stored as they are, with the rule.
pub(super) type Changed = Vec<(usize, Rule)>;

/// 4713 BC, Julian day 0.
const FIRST_MICRO: i64 = -210_866_803_200_000_000;

/// What a column of this type holds for a value that is there.
pub(super) fn hold(
    column: &ColumnMap<'_>,
    pg_type: &PgType,
    node: &Node<'_>,
    changed: &mut Changed,
) -> Result<Held, Reason> {
    if let Some(text) = named(node.value)
        && let Some((_, stored)) = column.column.values.iter().rev().find(|(from, _)| *from == text)
    {
        changed.push((node.leaves.start, Rule::Values));
        return mapped(column, pg_type, stored, node, changed);
    }
    let by_identity = column.is_key() || column.reference.is_some();
    let value = if by_identity { identity_for(pg_type, node.value) } else { node.value };
    match pg_type {
        PgType::Boolean => boolean(column, value, pg_type),
        PgType::SmallInt => whole_within(column, value, pg_type, i16::MIN.into(), i16::MAX.into()),
        PgType::Integer => whole_within(column, value, pg_type, i32::MIN.into(), i32::MAX.into()),
        PgType::BigInt => whole_within(column, value, pg_type, i64::MIN, i64::MAX),
        PgType::Real => real(value, pg_type),
        PgType::Double => double(column, value, pg_type),
        PgType::Numeric(digits) => numeric(column, value, *digits, pg_type),
        PgType::Text | PgType::Varchar(_) | PgType::Enum(_) => {
            let text = text_of(column, value).ok_or_else(|| unfit(pg_type))?;
            text_held(column, pg_type, &text, node, changed)
        }
        PgType::Bytea => match value {
            RawBsonRef::Binary(binary) => Ok(Held::Bytes(binary.bytes.to_vec())),
            _ => Err(unfit(pg_type)),
        },
        PgType::Uuid => uuid_of(column, value).map(Held::Uuid),
        PgType::Jsonb => {
            let mut text = JsonText::new(column.column.nul, changed);
            match value {
                RawBsonRef::String(json) if column.column.parse_json => {
                    text.text(json, node.leaves.start)?;
                }
                _ if by_identity && node.children.is_empty() => {
                    text.value(&Node { leaves: node.leaves.clone(), ..Node::apart(value) })?;
                }
                _ => text.value(node)?,
            }
            Ok(Held::Json(text.finish()))
        }
        PgType::Date => day(column, value, pg_type),
        PgType::Time(digits) => time(column, value, *digits, pg_type),
        PgType::Timestamp(digits) | PgType::Timestamptz(digits) => {
            let micros = moment(column, value, pg_type)?;
            not_finer(micros, *digits, pg_type).map(Held::Moment)
        }
        PgType::Array(element) => list(column, element, node, changed),
    }
}

/// A key stands for all values that MongoDB holds to be equal; columns of numbers compare by value
/// themselves, but for the sign of zero.
fn identity_for<'a>(pg_type: &PgType, value: RawBsonRef<'a>) -> RawBsonRef<'a> {
    match pg_type {
        PgType::Real | PgType::Double => value,
        PgType::SmallInt | PgType::Integer | PgType::BigInt | PgType::Numeric(_) => {
            if Number::of(value).is_some_and(|number| number.is_negative_zero()) {
                RawBsonRef::Int32(0)
            } else {
                value
            }
        }
        _ => standing(value),
    }
}

/// A value as `values` of the pipeline file names it.
fn named(value: RawBsonRef<'_>) -> Option<String> {
    match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => Some(text.to_owned()),
        RawBsonRef::Boolean(flag) => Some(flag.to_string()),
        other => Number::of(other)?.whole().map(|whole| whole.to_string()),
    }
}

/// What stands in the pipeline file for a value, in a column of this type.
fn mapped(
    column: &ColumnMap<'_>,
    pg_type: &PgType,
    stored: &str,
    node: &Node<'_>,
    changed: &mut Changed,
) -> Result<Held, Reason> {
    match pg_type {
        PgType::Text | PgType::Varchar(_) | PgType::Enum(_) => {
            text_held(column, pg_type, stored, node, changed)
        }
        PgType::SmallInt | PgType::Integer | PgType::BigInt => {
            let number = match (stored, column.column.coerce) {
                ("true", true) => Ok(1),
                ("false", true) => Ok(0),
                (digits, _) => digits.parse::<i64>(),
            };
            number.map(Held::Integer).map_err(|_| unfit(pg_type))
        }
        PgType::Boolean => match (stored, column.column.coerce) {
            ("true", _) => Ok(Held::Boolean(true)),
            ("false", _) => Ok(Held::Boolean(false)),
            ("1", true) => Ok(Held::Boolean(true)),
            ("0", true) => Ok(Held::Boolean(false)),
            _ => Err(unfit(pg_type)),
        },
        _ => Err(unfit(pg_type)),
    }
}

fn text_of(column: &ColumnMap<'_>, value: RawBsonRef<'_>) -> Option<String> {
    let coerce = column.column.coerce;
    match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => {
            Some(text.to_owned())
        }
        RawBsonRef::ObjectId(id) => Some(id.to_hex()),
        RawBsonRef::Binary(binary) if is_uuid(value) => {
            uuid::Uuid::from_slice(binary.bytes).ok().map(|id| id.to_string())
        }
        RawBsonRef::RegularExpression(_)
        | RawBsonRef::Timestamp(_)
        | RawBsonRef::MinKey
        | RawBsonRef::MaxKey
        | RawBsonRef::DbPointer(_)
        | RawBsonRef::JavaScriptCodeWithScope(_) => extended(value).map(|json| json.to_string()),
        RawBsonRef::DateTime(at) if coerce => Some(date::text(at.timestamp_millis())),
        RawBsonRef::Decimal128(_) if coerce => Number::of(value).map(|number| number.plain()),
        RawBsonRef::Double(number) if coerce => Some(number.to_string()),
        _ if coerce => named(value),
        _ => None,
    }
}

fn text_held(
    column: &ColumnMap<'_>,
    pg_type: &PgType,
    text: &str,
    node: &Node<'_>,
    changed: &mut Changed,
) -> Result<Held, Reason> {
    if let PgType::Enum(name) = pg_type {
        let known = column.labels.iter().any(|label| label == text);
        let unknown = || Reason::new("enum", format!("the value is not a label of {name}"));
        return known.then(|| Held::Text(text.to_owned())).ok_or_else(unknown);
    }
    let mut text = text.to_owned();
    if text.contains('\0') {
        if column.column.nul == Nul::Reject {
            return Err(Reason::new("nul", "the text holds U+0000, which PostgreSQL cannot store"));
        }
        changed.push((node.leaves.start, Rule::Nul));
        text.retain(|character| character != '\0');
    }
    match pg_type {
        PgType::Varchar(limit) if text.chars().count() > *limit as usize => {
            Err(Reason::new("length", format!("more than {limit} characters")))
        }
        _ => Ok(Held::Text(text)),
    }
}

fn boolean(column: &ColumnMap<'_>, value: RawBsonRef<'_>, of: &PgType) -> Result<Held, Reason> {
    let flag = match value {
        RawBsonRef::Boolean(flag) => Some(flag),
        _ if !column.column.coerce => None,
        RawBsonRef::Int32(0) | RawBsonRef::Int64(0) | RawBsonRef::String("false") => Some(false),
        RawBsonRef::Int32(1) | RawBsonRef::Int64(1) | RawBsonRef::String("true") => Some(true),
        _ => None,
    };
    flag.map(Held::Boolean).ok_or_else(|| unfit(of))
}

fn whole_within(
    column: &ColumnMap<'_>,
    value: RawBsonRef<'_>,
    of: &PgType,
    least: i64,
    greatest: i64,
) -> Result<Held, Reason> {
    let number = whole(column, value, of)?;
    let fits = (least..=greatest).contains(&number);
    fits.then_some(Held::Integer(number)).ok_or_else(|| beyond(of))
}

/// The whole number inside any numeric value.
fn whole(column: &ColumnMap<'_>, value: RawBsonRef<'_>, of: &PgType) -> Result<i64, Reason> {
    match (value, Number::of(value)) {
        (_, Some(number)) if number.is_negative_zero() => Err(unfit(of)),
        (_, Some(number)) => number.whole().ok_or_else(|| unfit(of)),
        (RawBsonRef::String(text), _) if column.column.coerce => {
            text.trim().parse().map_err(|_| unfit(of))
        }
        (RawBsonRef::Boolean(flag), _) if column.column.coerce => Ok(i64::from(flag)),
        _ => Err(unfit(of)),
    }
}

fn real(value: RawBsonRef<'_>, of: &PgType) -> Result<Held, Reason> {
    let held = match value {
        RawBsonRef::Double(number) => {
            #[expect(clippy::cast_possible_truncation, reason = "compared with the number below")]
            let narrow = number as f32;
            let same = f64::from(narrow).to_bits() == number.to_bits() || number.is_nan();
            same.then_some(narrow)
        }
        RawBsonRef::Int32(number) if number.unsigned_abs() <= 1 << 24 => {
            number.to_string().parse().ok()
        }
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Decimal128(_) => None,
        _ => return Err(unfit(of)),
    };
    held.map(Held::Real).ok_or_else(|| beyond(of))
}

fn double(column: &ColumnMap<'_>, value: RawBsonRef<'_>, of: &PgType) -> Result<Held, Reason> {
    /// Up to here every whole number is a double.
    const EXACT: u64 = 1 << 53;
    let held = match (value, Number::of(value)) {
        (RawBsonRef::Double(number), _) => Some(number),
        (_, Some(Number::NaN)) => Some(f64::NAN),
        (_, Some(Number::Infinity { negative: true })) => Some(f64::NEG_INFINITY),
        (_, Some(Number::Infinity { negative: false })) => Some(f64::INFINITY),
        (_, Some(number)) if number.is_negative_zero() => Some(-0.0),
        (_, Some(number)) => {
            let whole = number.whole().filter(|whole| whole.unsigned_abs() <= EXACT);
            whole.map(|whole| whole as f64)
        }
        (RawBsonRef::String(text), _) if column.column.coerce => {
            return text.trim().parse().map(Held::Double).map_err(|_| unfit(of));
        }
        _ => return Err(unfit(of)),
    };
    held.map(Held::Double).ok_or_else(|| beyond(of))
}

fn numeric(
    column: &ColumnMap<'_>,
    value: RawBsonRef<'_>,
    digits: Option<(u16, i16)>,
    of: &PgType,
) -> Result<Held, Reason> {
    let number = match value {
        RawBsonRef::String(text) if column.column.coerce => {
            let plain = text.trim();
            let unsigned = plain.strip_prefix('-').unwrap_or(plain);
            let digits_alone = unsigned.split('.').count() <= 2
                && unsigned
                    .split('.')
                    .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
            if !digits_alone {
                return Err(unfit(of));
            }
            // PostgreSQL prints a text without zeros before it and without the sign of zero.
            Number::parse(plain)
        }
        other => Number::of(other).filter(|number| !number.is_negative_zero()),
    };
    let number = number.ok_or_else(|| unfit(of))?;
    let Some((precision, scale)) = digits else { return Ok(Held::Numeric(number.plain())) };
    let (whole, fraction) = number.parts().ok_or_else(|| beyond(of))?;
    let scale = usize::try_from(scale).map_err(|_| beyond(of))?;
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.trim_start_matches('0');
    if fraction.len() > scale || whole.len() + scale > usize::from(precision) {
        return Err(beyond(of));
    }
    let zero = whole.is_empty() && fraction.is_empty();
    let negative = matches!(number, Number::Finite { negative: true, .. }) && !zero;
    let sign = if negative { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if scale == 0 { "" } else { "." };
    Ok(Held::Numeric(format!("{sign}{whole}{point}{fraction:0<scale$}")))
}

fn uuid_of(column: &ColumnMap<'_>, value: RawBsonRef<'_>) -> Result<[u8; 16], Reason> {
    let found = match value {
        _ if column.is_key() => key_uuid(value),
        RawBsonRef::ObjectId(id) => Some(of_object_id(id.bytes())),
        RawBsonRef::String(text) => {
            uuid_text(text).or_else(|| object_id_text(text).map(of_object_id))
        }
        RawBsonRef::Binary(binary) => match (binary.subtype, column.column.uuid_order) {
            (BinarySubtype::Uuid, _) => binary.bytes.try_into().ok(),
            (BinarySubtype::UuidOld, Some(order)) => {
                binary.bytes.try_into().ok().map(|bytes| in_order(bytes, order))
            }
            _ => None,
        },
        RawBsonRef::Document(_) => target_of_reference(value).and_then(key_uuid),
        RawBsonRef::DbPointer(_) => pointer_id(value).map(of_object_id),
        _ => None,
    };
    found.ok_or_else(|| unfit(&PgType::Uuid))
}

/// The bytes of a UUID that a driver wrote in its own order.
fn in_order(bytes: [u8; 16], order: UuidOrder) -> [u8; 16] {
    let places: [usize; 16] = match order {
        UuidOrder::Standard => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        UuidOrder::CSharp => [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15],
        UuidOrder::Java => [7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8],
    };
    places.map(|place| bytes.get(place).copied().unwrap_or_default())
}

/// The `$id` of a DBRef.
pub(super) fn target_of_reference(value: RawBsonRef<'_>) -> Option<RawBsonRef<'_>> {
    let RawBsonRef::Document(document) = value else { return None };
    document.get("$ref").ok()??;
    document.get("$id").ok()?
}

/// The id of a DBPointer, of which the library shows the text alone.
pub(super) fn pointer_id(value: RawBsonRef<'_>) -> Option<[u8; 12]> {
    let json = extended(value)?;
    object_id_text(json.get("$dbPointer")?.get("$id")?.get("$oid")?.as_str()?)
}

fn day(column: &ColumnMap<'_>, value: RawBsonRef<'_>, of: &PgType) -> Result<Held, Reason> {
    if let (RawBsonRef::String(text), None) = (value, &column.column.format)
        && let Some(day) = date::day(text)
    {
        return Ok(Held::Day(day));
    }
    let micros = moment(column, value, of)?;
    if micros.rem_euclid(date::DAY) != 0 {
        return Err(Reason::new("type", format!("a time of day does not fit {of}")));
    }
    let day = micros.div_euclid(date::DAY);
    i32::try_from(day).map(|_| Held::Day(day)).map_err(|_| beyond(of))
}

fn time(
    column: &ColumnMap<'_>,
    value: RawBsonRef<'_>,
    digits: u8,
    of: &PgType,
) -> Result<Held, Reason> {
    let RawBsonRef::String(text) = value else { return Err(unfit(of)) };
    let micros = match &column.column.format {
        Some(format) => date::time_by(text, format),
        None => date::time(text),
    };
    not_finer(micros.ok_or_else(|| unfit(of))?, digits, of).map(Held::Time)
}

/// PostgreSQL would round what is finer than its type.
fn not_finer(micros: i64, digits: u8, of: &PgType) -> Result<i64, Reason> {
    let unit = 10_i64.pow(6 - u32::from(digits.min(6)));
    let fits = micros % unit == 0;
    fits.then_some(micros).ok_or_else(|| unfit(of))
}

fn moment(column: &ColumnMap<'_>, value: RawBsonRef<'_>, of: &PgType) -> Result<i64, Reason> {
    let micros = match (column.column.format.as_deref(), value) {
        (Some(unit @ ("epoch" | "epoch_ms")), _) => {
            let text = match value {
                RawBsonRef::Double(number) if number.is_finite() => number.to_string(),
                _ => whole(column, value, of)?.to_string(),
            };
            let places = if unit == "epoch" { 6 } else { 3 };
            shifted(&text, places).ok_or_else(|| beyond(of))?
        }
        (_, RawBsonRef::DateTime(at)) => {
            at.timestamp_millis().checked_mul(1000).ok_or_else(|| beyond(of))?
        }
        (Some(format), RawBsonRef::String(text)) => {
            date::moment_by(text, format).ok_or_else(|| unfit(of))?
        }
        (None, RawBsonRef::String(text)) => date::moment(text).ok_or_else(|| unfit(of))?,
        _ => return Err(unfit(of)),
    };
    if micros < FIRST_MICRO { Err(beyond(of)) } else { Ok(micros) }
}

/// Decimal text with its point moved to the right, where that makes a whole number of it.
fn shifted(text: &str, places: usize) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let fraction = fraction.trim_end_matches('0');
    let fits = fraction.len() <= places;
    fits.then(|| format!("{whole}{fraction:0<places$}").parse().ok()).flatten()
}

fn list(
    column: &ColumnMap<'_>,
    element: &PgType,
    node: &Node<'_>,
    changed: &mut Changed,
) -> Result<Held, Reason> {
    if !node.is_array() {
        if column.column.coerce {
            return hold(column, element, node, changed).map(|held| Held::List(vec![held]));
        }
        return Err(Reason::new("type", format!("{element}[] is expected")));
    }
    let mut items = Vec::with_capacity(node.children.len());
    for item in &node.children {
        match (item.value, column.column.null_elements) {
            (RawBsonRef::Null, NullElements::Keep) => items.push(Held::Null),
            (RawBsonRef::Null, NullElements::Drop) => {
                changed.extend(item.leaves.clone().map(|leaf| (leaf, Rule::NullElement)));
            }
            (RawBsonRef::Null, NullElements::Reject) => {
                return Err(Reason::new("null_element", "an element is null"));
            }
            _ => items.push(hold(column, element, item, changed)?),
        }
    }
    Ok(Held::List(items))
}

/// What `fill` states.
pub(super) fn filled(column: &ColumnMap<'_>, fill: &Fill) -> Result<Held, Reason> {
    let value = match fill {
        Fill::EmptyArray => return Ok(Held::List(Vec::new())),
        Fill::Literal(Literal::String(text)) => RawBsonRef::String(text),
        Fill::Literal(Literal::Integer(number)) => RawBsonRef::Int64(*number),
        Fill::Literal(Literal::Float(number)) => RawBsonRef::Double(*number),
        Fill::Literal(Literal::Boolean(flag)) => RawBsonRef::Boolean(*flag),
    };
    hold(column, &column.column.pg_type, &Node::apart(value), &mut Changed::new())
}

/// Whether a value meets what the pipeline file asks beyond its type.
pub(super) fn meets_rules(column: &ColumnMap<'_>, held: &Held) -> Result<(), Reason> {
    let rules = column.column;
    let too_long = |limit: u32| Reason::new("length", format!("longer than {limit}"));
    match held {
        Held::Text(text) | Held::Json(text) => {
            if column.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(text)) {
                return Err(Reason::new("pattern", "the text does not match the pattern"));
            }
            if let Some(limit) = rules.length
                && text.chars().count() > limit as usize
            {
                return Err(too_long(limit));
            }
            if rules.email && !is_email(text) {
                return Err(Reason::new("email", "the text is no e-mail address"));
            }
        }
        Held::List(items) => {
            if let Some(limit) = rules.length
                && items.len() > limit as usize
            {
                return Err(too_long(limit));
            }
        }
        Held::Numeric(text) => within(column, text.parse().unwrap_or(f64::NAN))?,
        Held::Integer(number) => within(column, *number as f64)?,
        Held::Real(number) => within(column, f64::from(*number))?,
        Held::Double(number) => within(column, *number)?,
        _ => {}
    }
    Ok(())
}

fn within(column: &ColumnMap<'_>, number: f64) -> Result<(), Reason> {
    let least = column.column.min.is_none_or(|least| number >= least);
    let greatest = column.column.max.is_none_or(|greatest| number <= greatest);
    match (least, greatest) {
        (false, _) => Err(Reason::new("min", "less than the least value")),
        (_, false) => Err(Reason::new("max", "more than the greatest value")),
        _ => Ok(()),
    }
}

/// Something, one `@`, and names joined by dots; no white space.
fn is_email(text: &str) -> bool {
    let parts: Vec<&str> = text.split('@').collect();
    let [local, domain] = parts.as_slice() else { return false };
    let labels: Vec<&str> = domain.split('.').collect();
    !local.is_empty()
        && labels.len() > 1
        && labels.iter().all(|label| !label.is_empty())
        && !text.chars().any(char::is_whitespace)
}

/// Whether two doubles are one value to a unique index: the sign of zero and the kind of NaN do not
/// count.
pub(super) fn standing_double(number: f64) -> f64 {
    match number {
        0.0 => 0.0,
        _ if number.is_nan() => f64::NAN,
        other => other,
    }
}
