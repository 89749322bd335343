//! Whether bytes are BSON through and through.
//!
//! Every document of a file is looked at, so the question comes first and the reason after: a walk
//! that only follows lengths and tells text by eight bytes, then, for the few that are not sound,
//! the reader itself.

use super::raw::{Doc, MAX_DEPTH, Malformed, Value};

/// Looks at everything in a document once.
pub fn validate(bytes: &[u8]) -> Result<(), Malformed> {
    if sound(bytes) { Ok(()) } else { explain(bytes) }
}

/// Says what is wrong with a document, if anything is.
fn explain(bytes: &[u8]) -> Result<(), Malformed> {
    let base = bytes.as_ptr() as usize;
    let mut open = vec![Doc::new(bytes)?.elements()];
    while let Some(elements) = open.last_mut() {
        let offset = elements.bytes.as_ptr() as usize - base;
        match elements.next() {
            None => {
                open.pop();
            }
            Some(Err(error)) => {
                return Err(Malformed { offset: offset + error.offset, reason: error.reason });
            }
            Some(Ok((
                _,
                Value::Document(inner)
                | Value::Array(inner)
                | Value::JavaScriptWithScope { scope: inner, .. },
            ))) => {
                if open.len() >= MAX_DEPTH {
                    return Err(Malformed { offset, reason: "the document is nested too deeply" });
                }
                open.push(inner.elements());
            }
            Some(Ok(_)) => {}
        }
    }
    Ok(())
}

/// Whether [`explain`] finds nothing wrong: the same rules, without values and messages.
fn sound(bytes: &[u8]) -> bool {
    if Doc::new(bytes).is_err() {
        return false;
    }
    // Where each open document ends: the place of its terminator.
    let mut open = vec![bytes.len() - 1];
    let mut at = 4;
    while let Some(&end) = open.last() {
        if at == end {
            at += 1;
            open.pop();
            continue;
        }
        // The document's own terminator is no part of any element.
        let inside = &bytes[..end];
        let Some(step) = element_end(inside, at) else { return false };
        match step {
            Step::Over(next) => at = next,
            Step::Into { from, end } => {
                if open.len() >= MAX_DEPTH {
                    return false;
                }
                open.push(end);
                at = from;
            }
        }
    }
    true
}

/// What comes after the head of an element.
enum Step {
    /// The next element.
    Over(usize),
    /// A document with elements of its own, and its terminator.
    Into { from: usize, end: usize },
}

/// Follows the element at `at`; nothing when it is not sound.
#[inline]
fn element_end(bytes: &[u8], at: usize) -> Option<Step> {
    let kind = *bytes.get(at)?;
    let at = name_end(bytes, at + 1)?;
    let over = |length: usize| (at + length <= bytes.len()).then_some(Step::Over(at + length));
    match kind {
        0x01 | 0x09 | 0x11 | 0x12 => over(8),
        0x02 | 0x0D | 0x0E => string_end(bytes, at).map(Step::Over),
        0x03 | 0x04 => document_end(bytes, at).map(|end| Step::Into { from: at + 4, end }),
        0x05 => {
            let length = length_at(bytes, at)?;
            let subtype = *bytes.get(at + 4)?;
            let content = bytes.get(at + 5..at + 5 + length)?;
            if subtype == 2 && length_at(content, 0)? + 4 != length {
                return None;
            }
            Some(Step::Over(at + 5 + length))
        }
        0x06 | 0x0A | 0xFF | 0x7F => over(0),
        0x07 => over(12),
        0x08 => (*bytes.get(at)? <= 1).then_some(Step::Over(at + 1)),
        0x0B => name_end(bytes, name_end(bytes, at)?).map(Step::Over),
        0x0C => {
            let after = string_end(bytes, at)? + 12;
            (after <= bytes.len()).then_some(Step::Over(after))
        }
        0x0F => {
            let length = length_at(bytes, at)?;
            let scope = string_end(bytes, at + 4)?;
            let end = document_end(bytes, scope)?;
            // The scope is the last of it.
            (end + 1 == at + length).then_some(Step::Into { from: scope + 4, end })
        }
        0x10 => over(4),
        0x13 => over(16),
        _ => None,
    }
}

#[inline]
fn length_at(bytes: &[u8], at: usize) -> Option<usize> {
    let length = bytes.get(at..)?.first_chunk::<4>()?;
    usize::try_from(i32::from_le_bytes(*length)).ok()
}

/// The place of the terminator of the document at `at`.
#[inline]
fn document_end(bytes: &[u8], at: usize) -> Option<usize> {
    let length = length_at(bytes, at)?;
    let end = at + length.checked_sub(1)?;
    (length >= 5 && *bytes.get(end)? == 0).then_some(end)
}

/// What follows the string at `at`.
#[inline]
fn string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let text = bytes.get(at + 4..at + 4 + length_at(bytes, at)?)?;
    let (terminator, text) = text.split_last()?;
    (*terminator == 0 && is_text(text)).then_some(at + 4 + text.len() + 1)
}

/// Whether these bytes are UTF-8. Most text is short and ASCII, which is told eight bytes at a
/// time; the last eight may be looked at twice, which costs less than counting.
#[inline]
fn is_text(bytes: &[u8]) -> bool {
    let high = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => {
            let ends = u64::from_le_bytes(*first) | u64::from_le_bytes(*last);
            if bytes.len() <= 16 {
                ends
            } else {
                let (words, _) = bytes[8..].as_chunks::<8>();
                words.iter().fold(ends, |high, word| high | u64::from_le_bytes(*word))
            }
        }
        _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                u64::from(u32::from_le_bytes(*first) | u32::from_le_bytes(*last))
            }
            _ => bytes.iter().fold(0, |high, byte| high | u64::from(*byte)),
        },
    };
    high & HIGH_BITS == 0 || str::from_utf8(bytes).is_ok()
}

const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;

/// What follows the name at `at`, its terminator included.
#[inline]
fn name_end(bytes: &[u8], at: usize) -> Option<usize> {
    let mut here = at;
    let mut high = 0;
    loop {
        let Some(word) = bytes.get(here..).and_then(|rest| rest.first_chunk::<8>()) else {
            // Near the end of the document there is no whole word left.
            let rest = bytes.get(at..)?;
            let length = rest.iter().position(|byte| *byte == 0)?;
            return str::from_utf8(&rest[..length]).is_ok().then_some(at + length + 1);
        };
        let word = u64::from_le_bytes(*word);
        // The lowest marked byte is the first that is zero.
        let zeros = word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS;
        if zeros == 0 {
            high |= word;
            here += 8;
            continue;
        }
        let before = zeros.trailing_zeros() - 7;
        high |= word & !(u64::MAX << before);
        let end = here + before as usize / 8;
        let text = high & HIGH_BITS == 0 || str::from_utf8(&bytes[at..end]).is_ok();
        return text.then_some(end + 1);
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::spec::BinarySubtype;
    use mongodb::bson::{
        Binary, Bson, JavaScriptCodeWithScope, Regex, Timestamp, doc, oid::ObjectId,
    };
    use proptest::prelude::*;

    use super::super::raw::{Expected, Name};
    use super::*;

    /// A document with every BSON type, names and text beyond ASCII, and depth.
    fn every_type() -> Vec<u8> {
        let binary = |subtype, bytes: &[u8]| Binary { subtype, bytes: bytes.to_vec() };
        let document = doc! {
            "_id": ObjectId::from_bytes([7; 12]),
            "": "",
            "name of more than eight bytes": "text of more than eight bytes",
            "größe": "naïve — 日本語",
            "double": 1.5, "true": true, "null": Bson::Null, "int": 7, "long": 1_i64 << 40,
            "date": mongodb::bson::DateTime::from_millis(-1),
            "array": [1, "two", [3], { "four": 4 }],
            "document": { "a": { "b": { "c": "d" } }, "empty": {} },
            "binary": binary(BinarySubtype::Generic, b"123"),
            "old": binary(BinarySubtype::BinaryOld, b"1234"),
            "regex": Regex { pattern: "^a".try_into().unwrap(), options: "ix".try_into().unwrap() },
            "code": Bson::JavaScriptCode("f()".into()),
            "scope": JavaScriptCodeWithScope { code: "g()".into(), scope: doc! { "x": 1 } },
            "symbol": Bson::Symbol("s".into()),
            "timestamp": Timestamp { time: 1, increment: 2 },
            "decimal": "1.5".parse::<mongodb::bson::Decimal128>().unwrap(),
            "min": Bson::MinKey, "max": Bson::MaxKey, "undefined": Bson::Undefined,
        };
        document.to_vec().unwrap()
    }

    proptest! {
        #[test]
        fn what_is_sound_is_what_the_reader_can_read(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            small in any::<bool>(),
        ) {
            let mut bytes = every_type();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                // Small values are lengths and types more often than not.
                bytes[at] = if small { value % 20 } else { value };
            }
            prop_assert_eq!(sound(&bytes), explain(&bytes).is_ok());
        }

        #[test]
        fn names_that_are_expected_or_passed_over_change_nothing(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            left_out in any::<prop::sample::Index>(),
        ) {
            let whole = every_type();
            let mut names: Vec<&str> =
                Doc::new(&whole).unwrap().elements().map(|field| field.unwrap().0).collect();
            names.remove(left_out.index(names.len()));
            let mut bytes = whole.clone();
            for (at, value) in changes {
                // The ends stay, so that it can be read at all.
                let at = 4 + at.index(bytes.len() - 5);
                bytes[at] = value;
            }
            let document = Doc::new(&bytes).unwrap();
            let text = |name: &str, value: Value<'_>| format!("{name}: {value:?}");
            let read: Vec<_> = document
                .elements()
                .map(|field| field.map(|(name, value)| text(name, value)).map_err(|_| ()))
                .collect();
            let mut elements = document.elements();
            let mut expecting = Vec::new();
            for at in 0.. {
                let expected = names.get(at).and_then(|name| Expected::new(name));
                let Some(field) = elements.next_expecting(expected.as_ref()) else { break };
                expecting.push(field.map_err(|_| ()).map(|(name, value)| match name {
                    Name::Expected => text(names[at], value),
                    Name::Other(name) => text(name, value),
                }));
            }
            prop_assert_eq!(&expecting, &read);
            if read.iter().all(Result::is_ok) {
                let fields = document.elements().map(|field| format!("{:?}", field.unwrap().1));
                let values = document.values().map(|value| format!("{:?}", value.unwrap()));
                prop_assert_eq!(values.collect::<Vec<_>>(), fields.collect::<Vec<_>>());
            }
        }

        #[test]
        fn what_is_cut_off_is_not_sound(length in any::<prop::sample::Index>()) {
            let bytes = every_type();
            prop_assert!(!sound(&bytes[..length.index(bytes.len())]));
        }
    }

    #[test]
    fn every_field_is_found_behind_the_others() {
        let bytes = every_type();
        let document = Doc::new(&bytes).unwrap();
        for (name, value) in document.elements().map(Result::unwrap) {
            assert_eq!(document.get(name), Ok(Some(value)), "{name}");
        }
        assert_eq!(document.get("tru"), Ok(None));
        assert_eq!(document.get("truest"), Ok(None));
        // The bytes are there: the name, its terminator, the value.
        assert_eq!(document.get("true\0\u{1}"), Ok(None));
    }

    #[test]
    fn a_document_of_every_type_is_sound_and_one_too_deep_is_not() {
        assert!(sound(&every_type()));
        let nested = |depth| {
            let mut bytes = vec![5, 0, 0, 0, 0];
            for _ in 1..depth {
                let length = i32::try_from(bytes.len() + 8).unwrap();
                bytes = [&length.to_le_bytes()[..], b"\x03a\0", &bytes, &[0]].concat();
            }
            bytes
        };
        for (depth, accepted) in [(MAX_DEPTH, true), (MAX_DEPTH + 1, false)] {
            assert_eq!(
                (sound(&nested(depth)), explain(&nested(depth)).is_ok()),
                (accepted, accepted)
            );
        }
    }
}
