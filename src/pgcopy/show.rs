//! Tuples as people read them.

use std::fmt::Write as _;

use super::PgType;
use super::reader::fields;
use crate::document::datetime::iso8601_millis;
use crate::staging::checksum::to_hex;

/// Characters of a field that are shown of a row without a key.
const SHOWN: usize = 40;
/// Milliseconds from 1970 to 2000, from where PostgreSQL counts.
const EPOCH_MILLIS: i64 = 946_684_800_000;
/// Days from 1970 to 2000.
const EPOCH_DAYS: i64 = 10_957;

/// The key of a row as a person can look it up; the whole row where there is none.
pub fn row(tuple: &[u8], types: &[PgType], key: &[usize]) -> String {
    let all: Vec<Option<&[u8]>> = fields(tuple).collect();
    let whole: Vec<usize> = (0..all.len()).collect();
    let shown = if key.is_empty() { &whole } else { key };
    let parts: Vec<String> = shown
        .iter()
        .map(|index| match (all.get(*index).copied().flatten(), types.get(*index)) {
            (Some(bytes), Some(pg_type)) => field(bytes, pg_type, key.is_empty()),
            _ => "NULL".to_owned(),
        })
        .collect();
    let text = parts.join(", ");
    if key.is_empty() { format!("({text})") } else { text }
}

/// One value of a tuple; with `cut` its beginning.
pub fn field(bytes: &[u8], pg_type: &PgType, cut: bool) -> String {
    let text = value(bytes, pg_type).unwrap_or_else(|| format!("\\x{}", to_hex(bytes)));
    match text.char_indices().nth(SHOWN).filter(|_| cut) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn value(bytes: &[u8], pg_type: &PgType) -> Option<String> {
    Some(match pg_type {
        PgType::SmallInt => i16::from_be_bytes(bytes.try_into().ok()?).to_string(),
        PgType::Integer => i32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        PgType::BigInt => i64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        PgType::Double => f64::from_be_bytes(bytes.try_into().ok()?).to_string(),
        PgType::Real => f32::from_be_bytes(bytes.try_into().ok()?).to_string(),
        PgType::Boolean => (bytes != [0]).to_string(),
        PgType::Uuid => uuid::Uuid::from_slice(bytes).ok()?.to_string(),
        PgType::Date => {
            let days = i64::from(i32::from_be_bytes(bytes.try_into().ok()?)) + EPOCH_DAYS;
            iso8601_millis(days * 86_400_000).split('T').next()?.to_owned()
        }
        PgType::Time(_) => moment(i64::from_be_bytes(bytes.try_into().ok()?), 0)
            .split_once('T')?
            .1
            .trim_end_matches('Z')
            .to_owned(),
        PgType::Timestamp(_) | PgType::Timestamptz(_) => {
            moment(i64::from_be_bytes(bytes.try_into().ok()?), EPOCH_MILLIS)
        }
        PgType::Text | PgType::Varchar(_) | PgType::Enum(_) => str::from_utf8(bytes).ok()?.into(),
        // A byte that says the version comes first.
        PgType::Jsonb => str::from_utf8(bytes.get(1..)?).ok()?.into(),
        PgType::Numeric(_) => numeric(bytes)?,
        PgType::Array(element) => list(bytes, element)?,
        PgType::Bytea => return None,
    })
}

/// Microseconds as ISO 8601: milliseconds, and what is finer where there is anything.
fn moment(micros: i64, epoch_millis: i64) -> String {
    let text = iso8601_millis(micros.div_euclid(1000).saturating_add(epoch_millis));
    match micros.rem_euclid(1000) {
        0 => text,
        finer => format!("{}{finer:03}Z", text.trim_end_matches('Z')),
    }
}

/// Groups of four digits, with the weight of the first, a sign and the digits after the point.
fn numeric(bytes: &[u8]) -> Option<String> {
    let (words, _) = bytes.as_chunks::<2>();
    let words: Vec<u16> = words.iter().map(|word| u16::from_be_bytes(*word)).collect();
    let [_, weight, sign, scale, groups @ ..] = words.as_slice() else { return None };
    let sign = match sign {
        0 => "",
        0x4000 => "-",
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        _ => return Some("-Infinity".to_owned()),
    };
    let weight = i64::from(weight.cast_signed());
    let group = |at: i64| {
        let place = usize::try_from(weight - at).ok();
        place.and_then(|place| groups.get(place)).copied().unwrap_or(0)
    };
    let (mut whole, mut fraction) = (String::new(), String::new());
    for at in (0..=weight.max(0)).rev() {
        let _ = write!(whole, "{:04}", group(at));
    }
    let whole = whole.trim_start_matches('0');
    let scale = usize::from(*scale);
    for at in 1..=i64::try_from(scale.div_ceil(4)).ok()? {
        let _ = write!(fraction, "{:04}", group(-at));
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if scale == 0 { "" } else { "." };
    Some(format!("{sign}{whole}{point}{}", fraction.get(..scale)?))
}

fn list(bytes: &[u8], element: &PgType) -> Option<String> {
    let mut parts = Vec::new();
    // Dimensions, NULLs, element type, length, first index.
    let mut rest = bytes.get(20..).unwrap_or_default();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            parts.push("NULL".to_owned());
            rest = after;
            continue;
        };
        parts.push(field(after.get(..length)?, element, false));
        rest = after.get(length..)?;
    }
    Some(format!("{{{}}}", parts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_their_type_and_not_by_their_length() {
        assert_eq!(field(b"abcd", &PgType::Text, false), "abcd");
        assert_eq!(field(b"sixteen bytes it", &PgType::Text, false), "sixteen bytes it");
        assert_eq!(field(&7_i32.to_be_bytes(), &PgType::Integer, false), "7");
        assert_eq!(
            field(&0_i64.to_be_bytes(), &PgType::Timestamp(6), false),
            "2000-01-01T00:00:00.000Z"
        );
        assert_eq!(
            field(&1_i64.to_be_bytes(), &PgType::Timestamp(6), false),
            "2000-01-01T00:00:00.000001Z"
        );
        assert_eq!(field(&1_i32.to_be_bytes(), &PgType::Date, false), "2000-01-02");
        assert_eq!(field(&1_000_000_i64.to_be_bytes(), &PgType::Time(6), false), "00:00:01.000");
        assert_eq!(field(&[0xff], &PgType::Bytea, false), "\\xff");
        assert_eq!(
            field("ä".repeat(50).as_bytes(), &PgType::Text, true),
            format!("{}…", "ä".repeat(40))
        );
    }

    #[test]
    fn numbers_are_shown_with_their_scale() {
        let words =
            |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
        for (bytes, expected) in [
            (words(&[2, 0, 0, 2, 1, 5000]), "1.50"),
            (words(&[1, 1, 0x4000, 0, 12]), "-120000"),
            (words(&[1, 0xffff, 0, 3, 10]), "0.001"),
            (words(&[0, 0, 0, 2]), "0.00"),
            (words(&[0, 0, 0xC000, 0]), "NaN"),
        ] {
            assert_eq!(field(&bytes, &PgType::Numeric(None), false), expected);
        }
    }
}
