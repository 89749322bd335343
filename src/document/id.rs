//! Identity: `_id`s as text, and the UUIDs made from them.
//!
//! A UUID of an ObjectId is of RFC 9562 version 7. From the most significant bit:
//!
//! | bits | content |
//! | --- | --- |
//! | 48 | the ObjectId's second, in milliseconds |
//! | 4 | version, 7 |
//! | 12 | the first 12 bits of the ObjectId's other 8 bytes |
//! | 2 | variant, binary 10 |
//! | 52 | the remaining 52 bits |
//! | 10 | zero |
//!
//! So UUIDs sort as their ObjectIds do, and an ObjectId can be had back.

use serde_json::Value as Json;

use super::raw::{Malformed, Value};
use super::{extended_json, identity};

/// Namespace of the version 5 UUIDs that other `_id`s get: the version 5 UUID of
/// `https://docferry.dev/id` in the URL namespace of RFC 9562, section 6.6.
pub fn namespace() -> uuid::Uuid {
    uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, b"https://docferry.dev/id")
}

/// An `_id` as text: an ObjectId as 24 hexadecimal digits, anything else as canonical Extended
/// JSON.
pub fn id_text(value: &Value<'_>) -> Result<String, Malformed> {
    match value {
        Value::ObjectId(id) => Ok(crate::staging::checksum::to_hex(id)),
        other => extended_json::canonical(other),
    }
}

/// The digits of an ObjectId, without memory of their own: it is done once a document.
pub fn object_id_hex(id: &[u8; 12]) -> impl AsRef<str> + use<> {
    struct Digits([u8; 24]);
    impl AsRef<str> for Digits {
        fn as_ref(&self) -> &str {
            // Digits are text.
            str::from_utf8(&self.0).unwrap_or_default()
        }
    }
    let mut digits = Digits([0; 24]);
    for (pair, byte) in digits.0.chunks_exact_mut(2).zip(id) {
        pair.copy_from_slice(&HEX[usize::from(*byte)]);
    }
    digits
}

/// The two digits of each byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    table
};

/// The version 7 UUID of an ObjectId.
pub fn uuid_from_object_id(id: [u8; 12]) -> [u8; 16] {
    let [s0, s1, s2, s3, rest @ ..] = id;
    let millis = u128::from(u32::from_be_bytes([s0, s1, s2, s3])) * 1000;
    let rest = u128::from(u64::from_be_bytes(rest));
    let bits =
        millis << 80 | 7 << 76 | (rest >> 52) << 64 | 0b10 << 62 | (rest & ((1 << 52) - 1)) << 10;
    bits.to_be_bytes()
}

/// The ObjectId that a UUID was made from, if it was made from one.
pub fn object_id_from_uuid(uuid: [u8; 16]) -> Option<[u8; 12]> {
    let bits = u128::from_be_bytes(uuid);
    let millis = bits >> 80;
    let fits = (bits >> 76) & 0xf == 7
        && (bits >> 62) & 0b11 == 0b10
        && bits.trailing_zeros() >= 10
        && millis.is_multiple_of(1000);
    if !fits {
        return None;
    }
    let seconds = u32::try_from(millis / 1000).ok()?;
    let rest = ((bits >> 64) & 0xfff) << 52 | (bits >> 10) & ((1 << 52) - 1);
    let mut id = [0; 12];
    id[..4].copy_from_slice(&seconds.to_be_bytes());
    id[4..].copy_from_slice(&u64::try_from(rest).ok()?.to_be_bytes());
    Some(id)
}

/// The UUID of any `_id`: version 7 of an ObjectId, version 5 over the canonical Extended JSON of
/// anything else, numbers in the form of their [identity].
pub fn uuid_from_value(value: &Value<'_>) -> Result<[u8; 16], Malformed> {
    match value {
        Value::ObjectId(id) => Ok(uuid_from_object_id(*id)),
        other => {
            let text = identity::text(other)?;
            Ok(uuid::Uuid::new_v5(&namespace(), text.as_bytes()).into_bytes())
        }
    }
}

/// The key of a document: its `_id` where that is a UUID, as binary or as text, else the UUID made
/// from it.
pub fn key_uuid(value: &Value<'_>) -> Result<[u8; 16], Malformed> {
    match own_uuid(value) {
        Some(id) => Ok(id),
        None => uuid_from_value(value),
    }
}

/// A digest stands for the value as a UUID key, and the value does not return from it.
pub fn is_digest(value: &Value<'_>) -> bool {
    !matches!(value, Value::ObjectId(_)) && own_uuid(value).is_none()
}

/// The UUID that a value is.
fn own_uuid(value: &Value<'_>) -> Option<[u8; 16]> {
    match identity::scalar(value) {
        Value::Binary { subtype: 4, bytes } => bytes.try_into().ok(),
        Value::String(text) => canonical_uuid(text),
        _ => None,
    }
}

/// A UUID in its usual form of 36 characters, nothing else.
pub fn canonical_uuid(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    uuid::Uuid::try_parse(text).ok().map(uuid::Uuid::into_bytes)
}

/// An ObjectId out of its 24 hexadecimal digits.
pub fn parse_object_id_hex(text: &str) -> Option<[u8; 12]> {
    let digits = text.as_bytes();
    if digits.len() != 24 {
        return None;
    }
    let mut id = [0; 12];
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(id)
}

/// Whether an `_id` as its column has it is the one that a person means: texts and numbers are
/// Extended JSON in the files.
pub fn is_named(staged: &str, wanted: &str) -> bool {
    if staged == wanted {
        return true;
    }
    let Ok(json) = serde_json::from_str::<Json>(staged) else { return false };
    match &json {
        Json::String(text) => text == wanted,
        Json::Object(fields) => {
            let number = ["$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"];
            let written = number.iter().find_map(|name| fields.get(*name));
            written.and_then(Json::as_str) == Some(wanted)
                || identity::of_staged(staged) == identity::of_plain(wanted)
        }
        _ => identity::of_staged(staged) == identity::of_plain(wanted),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn object_ids_come_back_from_their_uuids(id: [u8; 12]) {
            prop_assert_eq!(object_id_from_uuid(uuid_from_object_id(id)), Some(id));
        }

        #[test]
        fn uuids_sort_as_their_object_ids(left: [u8; 12], right: [u8; 12]) {
            prop_assert_eq!(
                left.cmp(&right),
                uuid_from_object_id(left).cmp(&uuid_from_object_id(right))
            );
        }

        #[test]
        fn no_other_uuid_passes_for_an_object_id(bytes: [u8; 16]) {
            if let Some(id) = object_id_from_uuid(bytes) {
                prop_assert_eq!(uuid_from_object_id(id), bytes);
            }
        }
    }

    #[test]
    fn a_uuid_of_an_object_id_is_of_version_7() {
        let id = parse_object_id_hex("507f1f77bcf86cd799439011").unwrap();
        let uuid = uuid::Uuid::from_bytes(uuid_from_object_id(id));
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
    }
}
