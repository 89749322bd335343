//! Keys: what stands in PostgreSQL for an `_id`.
//!
//! MongoDB holds numbers of equal value to be one `_id`. The form that stands for a number is the
//! first of int32, int64, double and Decimal128 without trailing zeros that has exactly its value.

use bson::spec::BinarySubtype;
use bson::{Decimal128, RawBsonRef};
use serde_json::{Map, Value as Json};

use super::json::extended;
use super::number::{Number, exact_digits};

/// The UUID of an `_id`, as a key: its own where it is one, else one that is made from it. None
/// where the value cannot be read.
pub(super) fn key_uuid(value: RawBsonRef<'_>) -> Option<[u8; 16]> {
    match (value, own_uuid(value)) {
        (_, Some(own)) => Some(own),
        (RawBsonRef::ObjectId(id), _) => Some(of_object_id(id.bytes())),
        _ => {
            let space = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, b"https://docferry.dev/id");
            let text = standing_for(value)?.to_string();
            Some(uuid::Uuid::new_v5(&space, text.as_bytes()).into_bytes())
        }
    }
}

/// Whether the value does not come back from its key.
pub(super) fn is_digest(value: RawBsonRef<'_>) -> bool {
    !matches!(value, RawBsonRef::ObjectId(_)) && own_uuid(value).is_none()
}

fn own_uuid(value: RawBsonRef<'_>) -> Option<[u8; 16]> {
    match value {
        RawBsonRef::Binary(binary) if binary.subtype == BinarySubtype::Uuid => {
            binary.bytes.try_into().ok()
        }
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => uuid_text(text),
        _ => None,
    }
}

/// A UUID in its form of 36 characters.
pub(super) fn uuid_text(text: &str) -> Option<[u8; 16]> {
    let parts: Vec<&str> = text.split('-').collect();
    if parts.iter().map(|part| part.len()).ne([8, 4, 4, 4, 12]) {
        return None;
    }
    let digits = u128::from_str_radix(&parts.concat(), 16).ok()?;
    // `from_str_radix` takes a sign.
    let plain = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit());
    plain.then(|| digits.to_be_bytes())
}

/// Version 7 of RFC 9562: the second in milliseconds, the version, 12 bits, the variant, 52 bits,
/// ten zeros.
pub(super) fn of_object_id(id: [u8; 12]) -> [u8; 16] {
    let mut bits = [0_u8; 16];
    bits[4..].copy_from_slice(&id);
    let id = u128::from_be_bytes(bits);
    let (second, rest) = (id >> 64, id & u128::from(u64::MAX));
    let (high, low) = (rest >> 52, rest & ((1 << 52) - 1));
    let fields = [(second * 1000, 80), (7, 76), (high, 64), (0b10, 62), (low, 10)];
    fields.iter().fold(0, |all, (field, shift)| all | field << shift).to_be_bytes()
}

/// An ObjectId in its form of 24 digits.
pub(super) fn object_id_text(text: &str) -> Option<[u8; 12]> {
    bson::oid::ObjectId::parse_str(text).ok().map(|id| id.bytes())
}

/// A number or symbol in the form that stands for all that are equal to it; others as they are.
pub(super) fn standing(value: RawBsonRef<'_>) -> RawBsonRef<'_> {
    let Some(number) = Number::of(value) else {
        return match value {
            RawBsonRef::Symbol(text) => RawBsonRef::String(text),
            other => other,
        };
    };
    match (&number, number.whole()) {
        (_, Some(whole)) => match i32::try_from(whole) {
            Ok(whole) => RawBsonRef::Int32(whole),
            Err(_) => RawBsonRef::Int64(whole),
        },
        (Number::NaN, _) => RawBsonRef::Double(f64::NAN),
        (Number::Infinity { negative }, _) => {
            RawBsonRef::Double(if *negative { f64::NEG_INFINITY } else { f64::INFINITY })
        }
        (Number::Finite { .. }, None) => {
            if matches!(value, RawBsonRef::Double(_)) {
                return value;
            }
            let digits = number.reduced();
            match digits.parse::<f64>() {
                Ok(near) if near.is_finite() && exact_digits(near) == digits => {
                    RawBsonRef::Double(near)
                }
                _ => reduced_decimal(&number).map_or(value, RawBsonRef::Decimal128),
            }
        }
    }
}

/// A decimal without zeros at its end, as far as its exponent can rise.
fn reduced_decimal(number: &Number) -> Option<Decimal128> {
    const GREATEST_EXPONENT: i64 = 6111;
    let Number::Finite { negative, digits, scale } = number else { return None };
    let (mut digits, mut exponent) = (digits.clone(), -scale);
    while digits.ends_with('0') && exponent < GREATEST_EXPONENT {
        digits.pop();
        exponent += 1;
    }
    let sign = if *negative { "-" } else { "" };
    format!("{sign}{digits}E{exponent:+}").parse().ok()
}

/// Canonical Extended JSON in which each number has the form that stands for it.
fn standing_for(value: RawBsonRef<'_>) -> Option<Json> {
    match value {
        RawBsonRef::Document(document) => {
            let mut fields = Map::new();
            for element in document {
                let (name, value) = element.ok()?;
                fields.insert(name.as_str().to_owned(), standing_for(value)?);
            }
            Some(Json::Object(fields))
        }
        RawBsonRef::Array(items) => {
            let items = items.into_iter().map(|item| standing_for(item.ok()?));
            Some(Json::Array(items.collect::<Option<_>>()?))
        }
        other => extended(standing(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_holds_the_object_id() {
        // The example of sql/functions: second 0x507f1f77, then bcf 86cd799439011.
        let id = object_id_text("507f1f77bcf86cd799439011").unwrap();
        let uuid = uuid::Uuid::from_bytes(of_object_id(id));
        assert_eq!(uuid.get_version_num(), 7);
        let (seconds, nanos) = uuid.get_timestamp().unwrap().to_unix();
        assert_eq!((seconds, nanos), (0x507f_1f77, 0));
    }

    #[test]
    fn equal_numbers_lead_to_one_key() {
        let decimal = |text: &str| RawBsonRef::Decimal128(text.parse().unwrap());
        for group in [
            vec![
                RawBsonRef::Int32(1),
                RawBsonRef::Int64(1),
                RawBsonRef::Double(1.0),
                decimal("1.00"),
            ],
            vec![RawBsonRef::Int32(0), RawBsonRef::Double(-0.0), decimal("-0E+3")],
            vec![RawBsonRef::Double(0.5), decimal("0.50")],
            vec![decimal("0.1"), decimal("0.100")],
        ] {
            let keys: Vec<_> = group.iter().map(|value| key_uuid(*value).unwrap()).collect();
            assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{group:?}");
        }
        assert_ne!(key_uuid(RawBsonRef::Double(0.1)), key_uuid(decimal("0.1")));
    }
}
