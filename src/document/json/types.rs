//! The types of BSON that JSON has no form for, out of the objects that stand for them:
//! MongoDB's specification "Extended JSON v2.0", and version 1 as mongoexport wrote it.

use super::number::{decimal128, exact_double, short};
use crate::document::datetime::days_of;
use crate::document::id::parse_object_id_hex;
use crate::document::raw::{Doc, Malformed, Value};

/// Keys that make an object stand for a value of another type.
const WRAPPERS: [&str; 16] = [
    "$oid",
    "$symbol",
    "$numberInt",
    "$numberLong",
    "$numberDouble",
    "$numberDecimal",
    "$binary",
    "$uuid",
    "$code",
    "$timestamp",
    "$regularExpression",
    "$dbPointer",
    "$date",
    "$minKey",
    "$maxKey",
    "$undefined",
];

/// Appends the value that an object stands for and gives its BSON type; nothing where the object
/// is a document as it is. The object was made BSON as if it were one. With `queries`, `$regex` with
/// `$options` is the operator of this name, not a regular expression of version 1.
pub(super) fn unwrapped(
    object: Doc<'_>,
    queries: bool,
    out: &mut Vec<u8>,
) -> Result<Option<u8>, String> {
    let unread = |error: Malformed| error.to_string();
    let mut fields = Vec::new();
    let mut wrapper = None;
    for element in object.elements() {
        let (name, value) = element.map_err(unread)?;
        if wrapper.is_none() {
            wrapper = WRAPPERS.iter().find(|wrapper| **wrapper == name).copied();
        }
        fields.push((name, value));
        if fields.len() > 2 {
            break;
        }
    }
    let Some(wrapper) = wrapper else {
        return match (field(&fields, "$regex"), field(&fields, "$options")) {
            (Some(Value::String(pattern)), Some(Value::String(options)))
                if fields.len() == 2 && !queries =>
            {
                regex(pattern, options, out).map(Some)
            }
            _ => Ok(None),
        };
    };
    let value = field(&fields, wrapper).ok_or("the object cannot be read")?;
    let second = match wrapper {
        "$binary" => field(&fields, "$type"),
        "$code" => field(&fields, "$scope"),
        _ => None,
    };
    if fields.len() != 1 + usize::from(second.is_some()) {
        return Err(format!("an object with {wrapper} has other fields"));
    }
    let wrong = || format!("{wrapper} has a value that is none of its forms: {}", said(value));
    typed(wrapper, value, second, out).map_err(|reason| reason.unwrap_or_else(wrong)).map(Some)
}

fn field<'f>(fields: &[(&str, Value<'f>)], name: &str) -> Option<Value<'f>> {
    fields.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
}

/// A value as a message shows it.
fn said(value: Value<'_>) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", short(text)),
        Value::Int32(number) => number.to_string(),
        Value::Int64(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        other => format!("BSON type {}", other.type_name()),
    }
}

/// Appends the value of a wrapper. An error without a reason is a value of another kind.
fn typed(
    wrapper: &str,
    value: Value<'_>,
    second: Option<Value<'_>>,
    out: &mut Vec<u8>,
) -> Result<u8, Option<String>> {
    let kind = match (wrapper, value) {
        ("$oid", Value::String(text)) => {
            out.extend(parse_object_id_hex(text).ok_or(None)?);
            0x07
        }
        ("$symbol", Value::String(text)) => string(0x0e, text, out),
        ("$numberInt", Value::String(text)) => {
            out.extend(text.parse::<i32>().map_err(|_| None)?.to_le_bytes());
            0x10
        }
        ("$numberInt", Value::Int32(number)) => {
            out.extend(number.to_le_bytes());
            0x10
        }
        ("$numberLong", value) => {
            out.extend(integer(value).ok_or(None)?.to_le_bytes());
            0x12
        }
        ("$numberDouble", value) => {
            out.extend(double(value)?.to_le_bytes());
            0x01
        }
        ("$numberDecimal", value) => {
            out.extend(decimal(value)?);
            0x13
        }
        ("$binary", value) => binary(value, second, out)?,
        ("$uuid", Value::String(text)) => {
            let hyphens =
                [8, 13, 18, 23].iter().all(|index| text.as_bytes().get(*index) == Some(&b'-'));
            let uuid = uuid::Uuid::try_parse(text).ok().filter(|_| text.len() == 36 && hyphens);
            bytes_of_subtype(4, uuid.ok_or(None)?.as_bytes(), out)
        }
        ("$code", Value::String(code)) => match second {
            None => string(0x0d, code, out),
            Some(Value::Document(scope)) => {
                let start = out.len();
                out.extend([0; 4]);
                string(0x0d, code, out);
                out.extend(scope.bytes());
                let length = length(out.len() - start);
                out[start..start + 4].copy_from_slice(&length);
                0x0f
            }
            Some(_) => return Err(Some("$scope is no object".to_owned())),
        },
        ("$timestamp", Value::Document(parts)) => {
            let [time, increment] = two(parts, ["t", "i"]).ok_or(None)?;
            let part = |value| u32::try_from(whole(value)?).ok();
            out.extend(part(increment).ok_or(None)?.to_le_bytes());
            out.extend(part(time).ok_or(None)?.to_le_bytes());
            0x11
        }
        ("$regularExpression", Value::Document(parts)) => {
            match two(parts, ["pattern", "options"]) {
                Some([Value::String(pattern), Value::String(options)]) => {
                    regex(pattern, options, out)?
                }
                _ => return Err(None),
            }
        }
        ("$dbPointer", Value::Document(parts)) => match two(parts, ["$ref", "$id"]) {
            Some([Value::String(namespace), Value::ObjectId(id)]) => {
                string(0x0c, namespace, out);
                out.extend(id);
                0x0c
            }
            _ => return Err(None),
        },
        ("$date", Value::String(text)) => {
            out.extend(date(text)?.to_le_bytes());
            0x09
        }
        ("$date", value) => {
            out.extend(whole(value).ok_or(None)?.to_le_bytes());
            0x09
        }
        ("$minKey", Value::Int32(1)) => 0xff,
        ("$maxKey", Value::Int32(1)) => 0x7f,
        ("$undefined", Value::Boolean(true)) => 0x06,
        _ => return Err(None),
    };
    Ok(kind)
}

/// The two fields of an object that has no others.
fn two<'d>(object: Doc<'d>, names: [&str; 2]) -> Option<[Value<'d>; 2]> {
    let fields: Vec<_> = object.elements().take(3).collect::<Result<_, _>>().ok()?;
    let [first, second] = names.map(|name| field(&fields, name));
    (fields.len() == 2).then_some([first?, second?])
}

fn whole(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int32(number) => Some(i64::from(number)),
        Value::Int64(number) => Some(number),
        _ => None,
    }
}

fn integer(value: Value<'_>) -> Option<i64> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => whole(value),
    }
}

fn double(value: Value<'_>) -> Result<f64, Option<String>> {
    match value {
        Value::String("NaN") => Ok(f64::NAN),
        Value::String("Infinity") => Ok(f64::INFINITY),
        Value::String("-Infinity") => Ok(f64::NEG_INFINITY),
        Value::String(text) => {
            let digits = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
            if !text.bytes().all(digits) || text.parse::<f64>().is_err() {
                return Err(None);
            }
            let rounded =
                || format!("$numberDouble has digits that no double holds: {}", short(text));
            exact_double(text).ok_or_else(|| Some(rounded()))
        }
        Value::Double(number) => Ok(number),
        value => {
            let number = whole(value).ok_or(None)?;
            exact_double(&number.to_string()).ok_or(None)
        }
    }
}

fn decimal(value: Value<'_>) -> Result<[u8; 16], Option<String>> {
    match value {
        Value::String(text) => decimal128(text).ok_or(None),
        Value::Decimal128(bytes) => Ok(bytes),
        Value::Double(_) => Err(Some(
            "$numberDecimal needs its digits in quotes: as a number they may lose some".to_owned(),
        )),
        value => decimal128(&whole(value).ok_or(None)?.to_string()).ok_or(None),
    }
}

fn binary(
    value: Value<'_>,
    subtype: Option<Value<'_>>,
    out: &mut Vec<u8>,
) -> Result<u8, Option<String>> {
    let (text, subtype) = match (value, subtype) {
        (Value::Document(parts), None) => match two(parts, ["base64", "subType"]) {
            Some([Value::String(text), Value::String(subtype)]) => (text, subtype.to_owned()),
            _ => return Err(None),
        },
        (Value::String(text), Some(Value::String(subtype))) => (text, subtype.to_owned()),
        (Value::String(text), Some(Value::Int32(subtype))) => (text, format!("{subtype:x}")),
        _ => return Err(None),
    };
    // Some writers took a subtype above 0x7f for a negative number of 32 bits.
    let digits = subtype.strip_prefix("ffffff").filter(|rest| rest.len() == 2).unwrap_or(&subtype);
    let hexadecimal =
        (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u8::from_str_radix(digits, 16).ok().filter(|_| hexadecimal);
    let number =
        number.ok_or_else(|| format!("`{}` is no subtype of a binary", short(&subtype)))?;
    let bytes = from_base64(text).ok_or_else(|| "a binary is no base64".to_owned())?;
    Ok(bytes_of_subtype(number, &bytes, out))
}

fn bytes_of_subtype(subtype: u8, bytes: &[u8], out: &mut Vec<u8>) -> u8 {
    // The deprecated subtype 2 repeats its length inside.
    let inner = if subtype == 2 { Some(length(bytes.len())) } else { None };
    out.extend(length(bytes.len() + inner.map_or(0, |inner| inner.len())));
    out.push(subtype);
    out.extend(inner.into_iter().flatten());
    out.extend(bytes);
    0x05
}

/// Bytes of base64 (RFC 4648, section 4), with padding.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let sextet = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (groups, rest) = text.as_bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (number, group) in groups.iter().enumerate() {
        let padding = match group {
            [_, _, b'=', b'='] => 2,
            [_, _, _, b'='] => 1,
            _ => 0,
        };
        if padding > 0 && number + 1 != groups.len() {
            return None;
        }
        let mut bits = 0_u32;
        for byte in &group[..4 - padding] {
            bits = bits << 6 | u32::from(sextet(*byte)?);
        }
        bits <<= 6 * padding;
        bytes.extend(&bits.to_be_bytes()[1..4 - padding]);
    }
    Some(bytes)
}

/// Lengths that come from a text whose own length fits.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("invariant: a record is far below 2^31 bytes").to_le_bytes()
}

fn string(kind: u8, text: &str, out: &mut Vec<u8>) -> u8 {
    out.extend(length(text.len() + 1));
    out.extend(text.as_bytes());
    out.push(0);
    kind
}

fn regex(pattern: &str, options: &str, out: &mut Vec<u8>) -> Result<u8, String> {
    if pattern.contains('\0') || options.contains('\0') {
        return Err("a regular expression holds U+0000, which BSON cannot".to_owned());
    }
    out.extend(pattern.as_bytes());
    out.push(0);
    // BSON has them in the order of the alphabet.
    let mut options: Vec<char> = options.chars().collect();
    options.sort_unstable();
    out.extend(options.into_iter().collect::<String>().as_bytes());
    out.push(0);
    Ok(0x0b)
}

/// Milliseconds since 1970 of an ISO 8601 date-time with an offset.
fn date(text: &str) -> Result<i64, String> {
    let none = || format!("`{}` is no date-time of ISO 8601 with an offset", short(text));
    let (day, time) = text.split_once('T').ok_or_else(none)?;
    let (signed, negative) = match day.as_bytes().first() {
        Some(b'+') => (&day[1..], false),
        Some(b'-') => (&day[1..], true),
        _ => (day, false),
    };
    let mut parts = signed.split('-');
    let mut part = |lengths: std::ops::RangeInclusive<usize>| {
        let digits = parts.next().filter(|digits| lengths.contains(&digits.len()))?;
        number(digits)
    };
    // A sign goes with a year of more than four digits.
    let year = part(if signed.len() == day.len() { 4..=4 } else { 6..=9 }).ok_or_else(none)?;
    let (month, day) = (part(2..=2).ok_or_else(none)?, part(2..=2).ok_or_else(none)?);
    if parts.next().is_some() {
        return Err(none());
    }
    let days = days_of(if negative { -year } else { year }, month, day).ok_or_else(none)?;
    let (clock, offset) = split_offset(time).ok_or_else(none)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':').map(|digits| number(digits).filter(|_| digits.len() == 2));
    let mut part = || parts.next().flatten();
    let (hour, minute) = (part().ok_or_else(none)?, part().ok_or_else(none)?);
    let second = if clock.len() > 5 { part().ok_or_else(none)? } else { 0 };
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return Err(none());
    }
    let (millis, finer) = fraction.split_at(fraction.len().min(3));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(none());
    }
    if finer.bytes().any(|digit| digit != b'0') {
        return Err(format!(
            "`{}` is finer than a millisecond, which BSON dates cannot hold",
            short(text)
        ));
    }
    let millis = number(&format!("{millis:0<3}")).ok_or_else(none)?;
    let seconds = (hour * 60 + minute) * 60 + second - offset * 60;
    days.checked_mul(86_400_000)
        .and_then(|start| start.checked_add(seconds * 1000 + millis))
        .ok_or_else(none)
}

/// Takes `Z`, `±hh`, `±hhmm` or `±hh:mm` off a time; the offset in minutes.
fn split_offset(time: &str) -> Option<(&str, i64)> {
    if let Some(clock) = time.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let index = time.rfind(['+', '-'])?;
    let (clock, offset) = time.split_at(index);
    let (sign, digits) = offset.split_at(1);
    let (hours, minutes) = match (digits.len(), digits.split_once(':')) {
        (2, None) => (digits, "0"),
        (4, None) => digits.split_at_checked(2)?,
        (5, Some((hours, minutes))) if hours.len() == 2 => (hours, minutes),
        _ => return None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let minutes = (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)?;
    Some((clock, if sign == "-" { -minutes } else { minutes }))
}

/// A number of digits alone.
fn number(digits: &str) -> Option<i64> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_both_versions_are_one_moment() {
        for text in [
            "2014-06-02T18:28:41Z",
            "2014-06-02T18:28:41.000Z",
            "2014-06-02T18:28:41.000000Z",
            "2014-06-02T14:28:41.000-0400",
            "2014-06-02T14:28:41-04:00",
            "2014-06-02T23:58:41+0530",
        ] {
            assert_eq!(date(text), Ok(1_401_733_721_000), "{text}");
        }
        assert_eq!(date("1969-12-31T23:59:59.9Z"), Ok(-100));
        assert_eq!(date("2016-02-29T00:00Z"), Ok(1_456_704_000_000));
        assert_eq!(date("+010000-01-01T00:00:00.000Z"), Ok(253_402_300_800_000));
        assert_eq!(date("-000001-01-01T00:00:00Z"), Ok(-62_198_755_200_000));
        for text in [
            "2014-06-02T18:28:41",
            "2014-06-02",
            "2015-02-29T00:00:00Z",
            "2014-13-02T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "2014-06-02T24:00:00Z",
            "2014-06-02T18:28:41.Z0",
            "14-06-02T18:28:41Z",
            "2014-06-02T18:28:41+99:00",
        ] {
            assert!(date(text).is_err(), "{text}");
        }
        assert!(date("2014-06-02T18:28:41.0001Z").unwrap_err().contains("finer"));
    }

    #[test]
    fn base64_comes_back() {
        for length in 0..20 {
            let bytes: Vec<u8> =
                (0..length).map(|byte: u8| byte.wrapping_mul(37).wrapping_add(200)).collect();
            let text = crate::document::extended_json::base64(&bytes);
            assert_eq!(from_base64(&text), Some(bytes));
        }
        for text in ["A", "AB", "ABC", "AB=C", "====", "AA==AAAA", "AA-_"] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }
}
