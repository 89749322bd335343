//! Values as a binary COPY has them: the PostgreSQL documentation, "COPY", "Binary Format", and the
//! `…_send` function of each type.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::number::Number;
use super::value::{Held, standing_double};
use crate::pgcopy::PgType;

/// Days and microseconds from 1970 to 2000, from where PostgreSQL counts.
const DAYS_TO_2000: i64 = 10_957;
const MICROS_TO_2000: i64 = 946_684_800_000_000;

/// Identifiers of the target's enum types.
pub(super) type EnumOids = HashMap<String, u32>;

/// A row as one tuple; none where a value does not go into its column.
pub(super) fn tuple(cells: &[Held], types: &[&PgType], oids: &EnumOids) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    out.extend(i16::try_from(cells.len()).ok()?.to_be_bytes());
    for (held, pg_type) in cells.iter().zip(types) {
        field(&mut out, held, pg_type, oids)?;
    }
    Some(out)
}

/// A field: its length and its bytes; the length -1 of NULL.
pub(super) fn field(
    out: &mut Vec<u8>,
    held: &Held,
    pg_type: &PgType,
    oids: &EnumOids,
) -> Option<()> {
    if *held == Held::Null {
        out.extend((-1_i32).to_be_bytes());
        return Some(());
    }
    let bytes = content(held, pg_type, oids)?;
    out.extend(i32::try_from(bytes.len()).ok()?.to_be_bytes());
    out.extend(bytes);
    Some(())
}

/// The bytes of a value that is not NULL.
pub(super) fn content(held: &Held, pg_type: &PgType, oids: &EnumOids) -> Option<Vec<u8>> {
    Some(match (held, pg_type) {
        (Held::Boolean(flag), PgType::Boolean) => vec![u8::from(*flag)],
        (Held::Integer(number), PgType::SmallInt) => {
            i16::try_from(*number).ok()?.to_be_bytes().into()
        }
        (Held::Integer(number), PgType::Integer) => {
            i32::try_from(*number).ok()?.to_be_bytes().into()
        }
        (Held::Integer(number), PgType::BigInt) => number.to_be_bytes().into(),
        (Held::Real(number), PgType::Real) => number.to_be_bytes().into(),
        (Held::Double(number), PgType::Double) => number.to_be_bytes().into(),
        (Held::Numeric(text), PgType::Numeric(_)) => numeric(&Number::parse(text)?)?,
        (Held::Text(text), PgType::Text | PgType::Varchar(_) | PgType::Enum(_)) => {
            text.as_bytes().to_vec()
        }
        // A byte that says the version comes first.
        (Held::Json(text), PgType::Jsonb) => [&[1], text.as_bytes()].concat(),
        (Held::Bytes(bytes), PgType::Bytea) => bytes.clone(),
        (Held::Uuid(bytes), PgType::Uuid) => bytes.to_vec(),
        (Held::Day(day), PgType::Date) => {
            i32::try_from(day.checked_sub(DAYS_TO_2000)?).ok()?.to_be_bytes().into()
        }
        (Held::Time(micros), PgType::Time(_)) => micros.to_be_bytes().into(),
        (Held::Moment(micros), PgType::Timestamp(_) | PgType::Timestamptz(_)) => {
            micros.checked_sub(MICROS_TO_2000)?.to_be_bytes().into()
        }
        (Held::List(items), PgType::Array(element)) => list(items, element, oids)?,
        _ => return None,
    })
}

/// What PostgreSQL lets one row take of a page.
pub(super) const PAGE_BYTES: usize = 8160;

/// Bytes of a row in its page once every value of more than 24 bytes was moved out, which leaves 18
/// of each (PostgreSQL documentation, "TOAST", and "Database Page Layout").
pub(super) fn row_bytes(cells: &[Held], types: &[PgType]) -> usize {
    let start = (23 + types.len().div_ceil(8)).next_multiple_of(8);
    let of_bytes = |length: usize| if length < 24 { length + 1 } else { 18 };
    let mut end = start;
    for (held, pg_type) in cells.iter().zip(types) {
        let (width, step) = match held {
            Held::Null => continue,
            Held::Boolean(_) => (1, 1),
            Held::Integer(_) if *pg_type == PgType::SmallInt => (2, 2),
            Held::Integer(_) if *pg_type == PgType::Integer => (4, 4),
            Held::Integer(_) | Held::Double(_) | Held::Time(_) | Held::Moment(_) => (8, 8),
            Held::Real(_) | Held::Day(_) => (4, 4),
            Held::Uuid(_) => (16, 1),
            Held::Text(_) if matches!(pg_type, PgType::Enum(_)) => (4, 4),
            Held::Text(text) => (of_bytes(text.len()), 1),
            Held::Bytes(bytes) => (of_bytes(bytes.len()), 1),
            Held::Numeric(text) => (of_bytes(2 + 2 * text.len().div_ceil(4)), 1),
            Held::Json(text) if matches!(text.as_str(), "{}" | "[]") => (5, 1),
            // Its binary form may stay in the row where it is short: no escape is longer than six.
            Held::Json(text) if text.len() <= 144 => (24, 1),
            Held::List(items) if items.is_empty() => (13, 1),
            Held::List(items)
                if items.len() < 4
                    && matches!(pg_type.element(), PgType::Boolean | PgType::SmallInt) =>
            {
                (24, 1)
            }
            Held::Json(_) | Held::List(_) => (18, 1),
        };
        end = end.next_multiple_of(step) + width;
    }
    end.next_multiple_of(8)
}

/// Groups of four digits: their number, the weight of the first, the sign, the digits after the
/// point, the groups. Groups of zeros at either end are left out. The server sends an infinity with
/// a scale of 32.
fn numeric(number: &Number) -> Option<Vec<u8>> {
    let special = |sign: u16, scale: u16| {
        [0, 0, sign, scale].iter().flat_map(|word| word.to_be_bytes()).collect()
    };
    let negative = match number {
        Number::NaN => return Some(special(0xC000, 0)),
        Number::Infinity { negative: false } => return Some(special(0xD000, 32)),
        Number::Infinity { negative: true } => return Some(special(0xF000, 32)),
        Number::Finite { negative, digits, .. } => *negative && !digits.is_empty(),
    };
    let (whole, fraction) = number.parts()?;
    let before = whole.len().div_ceil(4);
    let after = fraction.len().div_ceil(4);
    let digits = format!("{whole:0>0$}{fraction:0<1$}", before * 4, after * 4);
    let mut groups: Vec<u16> = Vec::with_capacity(before + after);
    for at in (0..digits.len()).step_by(4) {
        groups.push(digits.get(at..at + 4)?.parse().ok()?);
    }
    let mut weight = i64::try_from(before).ok()? - 1;
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..zeros);
    weight -= i64::try_from(zeros).ok()?;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let mut out = Vec::new();
    out.extend(u16::try_from(groups.len()).ok()?.to_be_bytes());
    out.extend(i16::try_from(weight).ok()?.to_be_bytes());
    out.extend(if negative { 0x4000_u16 } else { 0 }.to_be_bytes());
    out.extend(u16::try_from(fraction.len()).ok()?.to_be_bytes());
    out.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    Some(out)
}

/// Dimensions, whether there are NULLs, the element type, then length and first index of the one
/// dimension, then the elements. An empty array has no dimension.
fn list(items: &[Held], element: &PgType, oids: &EnumOids) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    out.extend(i32::from(!items.is_empty()).to_be_bytes());
    out.extend(i32::from(items.contains(&Held::Null)).to_be_bytes());
    out.extend(oid(element, oids)?.to_be_bytes());
    if !items.is_empty() {
        out.extend(i32::try_from(items.len()).ok()?.to_be_bytes());
        out.extend(1_i32.to_be_bytes());
        for item in items {
            field(&mut out, item, element, oids)?;
        }
    }
    Some(out)
}

/// Identifiers of types, as `pg_type.dat` of PostgreSQL's sources has them.
fn oid(pg_type: &PgType, enums: &EnumOids) -> Option<u32> {
    Some(match pg_type {
        PgType::Boolean => 16,
        PgType::Bytea => 17,
        PgType::BigInt => 20,
        PgType::SmallInt => 21,
        PgType::Integer => 23,
        PgType::Text => 25,
        PgType::Real => 700,
        PgType::Double => 701,
        PgType::Varchar(_) => 1043,
        PgType::Date => 1082,
        PgType::Time(_) => 1083,
        PgType::Timestamp(_) => 1114,
        PgType::Timestamptz(_) => 1184,
        PgType::Numeric(_) => 1700,
        PgType::Uuid => 2950,
        PgType::Jsonb => 3802,
        PgType::Enum(name) => *enums.get(name)?,
        PgType::Array(_) => return None,
    })
}

/// What makes a value of a column the same key as another, from its bytes: equal for values that
/// PostgreSQL holds to be equal.
pub(super) fn identity(bytes: &[u8], pg_type: &PgType) -> u128 {
    match pg_type {
        PgType::Uuid => {
            if let Ok(uuid) = bytes.try_into() {
                return u128::from_be_bytes(uuid);
            }
        }
        // 1.5 and 1.50 differ in their scale alone.
        PgType::Numeric(_) => {
            let value = [bytes.get(..6), bytes.get(8..)].into_iter().flatten();
            return digest(&value.flatten().copied().collect::<Vec<u8>>());
        }
        PgType::Double => {
            if let Ok(number) = bytes.try_into() {
                return digest(&standing_double(f64::from_be_bytes(number)).to_be_bytes());
            }
        }
        PgType::Real => {
            if let Ok(number) = bytes.try_into() {
                let number = standing_double(f64::from(f32::from_be_bytes(number)));
                return digest(&number.to_be_bytes());
            }
        }
        _ => {}
    }
    digest(bytes)
}

/// Half of a SHA-256.
pub(super) fn digest(bytes: &[u8]) -> u128 {
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    hash.first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}
