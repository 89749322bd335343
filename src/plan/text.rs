//! What texts look like: ids, dates, numbers, JSON.

use crate::document::datetime::{has_offset, parse_date, parse_timestamp};
use crate::document::id::parse_object_id_hex;

/// Texts longer than this are not tried as JSON.
const LONGEST_JSON: usize = 1 << 20;

/// How many texts had which form.
#[derive(Clone, Debug, Default)]
pub(super) struct Forms {
    /// Texts looked at.
    pub(super) texts: u64,
    /// Empty ones.
    pub(super) empty: u64,
    /// The longest, in characters.
    pub(super) characters: u64,
    /// The longest, in bytes.
    pub(super) bytes: u64,
    /// With U+0000.
    pub(super) nuls: u64,
    /// UUIDs as PostgreSQL prints them.
    pub(super) uuids: u64,
    /// 24 hexadecimal digits.
    pub(super) object_ids: u64,
    /// ISO 8601 dates without a time.
    pub(super) dates: u64,
    /// ISO 8601 dates with a time.
    pub(super) timestamps: u64,
    /// Those of them with an offset from UTC.
    pub(super) offsets: u64,
    /// The same, but finer than a microsecond.
    pub(super) finer: u64,
    /// Numbers.
    pub(super) numbers: u64,
    /// JSON objects and arrays.
    pub(super) json: u64,
    /// JSON of any kind.
    pub(super) any_json: u64,
    /// There are too many distinct texts to remember.
    pub(super) many: bool,
}

impl Forms {
    #[inline]
    pub(super) fn add(&mut self, text: &str) {
        let bytes = text.as_bytes();
        self.texts += 1;
        self.bytes = self.bytes.max(bytes.len() as u64);
        if bytes.len() as u64 > self.characters {
            self.characters = self.characters.max(text.chars().count() as u64);
        }
        self.nuls += u64::from(bytes.contains(&0));
        let Some(first) = bytes.first() else {
            self.empty += 1;
            return;
        };
        let filled = self.texts - self.empty;
        match bytes.len() {
            24 if parse_object_id_hex(text).is_some() => self.object_ids += 1,
            36 if bytes[8] == b'-' && is_uuid(text) => self.uuids += 1,
            _ => {}
        }
        if first.is_ascii_digit() || *first == b'-' {
            if bytes.len() >= 10 && bytes.len() <= 35 && bytes[4] == b'-' {
                if parse_date(text).is_some() {
                    self.dates += 1;
                } else if parse_timestamp(text).is_some() {
                    self.timestamps += 1;
                    self.offsets += u64::from(has_offset(text));
                } else if is_finer(text) {
                    self.finer += 1;
                }
            }
            if bytes.len() <= 40 && is_number(bytes) {
                self.numbers += 1;
                self.any_json += u64::from(self.any_json + 1 == filled);
            }
        } else if matches!(first, b'{' | b'[') {
            // Once another text was no JSON, this one does not matter.
            if self.any_json + 1 == filled
                && bytes.len() <= LONGEST_JSON
                && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
            {
                self.json += 1;
                self.any_json += 1;
            }
        } else if matches!(text, "null" | "true" | "false") || *first == b'"' {
            let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            self.any_json += u64::from(is_json && self.any_json + 1 == filled);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.texts += other.texts;
        self.empty += other.empty;
        self.characters = self.characters.max(other.characters);
        self.bytes = self.bytes.max(other.bytes);
        self.nuls += other.nuls;
        self.uuids += other.uuids;
        self.object_ids += other.object_ids;
        self.dates += other.dates;
        self.timestamps += other.timestamps;
        self.offsets += other.offsets;
        self.finer += other.finer;
        self.numbers += other.numbers;
        self.json += other.json;
        self.any_json += other.any_json;
        self.many |= other.many;
    }

    /// Whether there are texts, and all are of a form that so many have.
    pub(super) fn all(&self, count: u64) -> bool {
        self.texts > 0 && count == self.texts
    }
}

/// A UUID in lower case with dashes: one that a `uuid` column gives back as it was.
fn is_uuid(text: &str) -> bool {
    let lower = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f' | b'-');
    text.bytes().all(lower) && uuid::Uuid::try_parse(text).is_ok()
}

/// A date with a time that `timestamp` would round.
fn is_finer(text: &str) -> bool {
    let Some((whole, fraction)) = text.rsplit_once(['.', ',']) else { return false };
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    digits > 6 && parse_timestamp(&format!("{whole}{}", &fraction[digits..])).is_some()
}

/// A decimal number without needless zeros at the front.
fn is_number(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = parts.next().unwrap_or_default();
    let fraction = parts.next();
    let all_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    all_digits(whole)
        && fraction.is_none_or(all_digits)
        && (whole.len() == 1 || whole.first() != Some(&b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Forms {
        let mut forms = Forms::default();
        for text in texts {
            forms.add(text);
        }
        forms
    }

    #[test]
    fn forms_are_recognised() {
        let forms =
            of(&["2024-01-31", "2024-02-30", "2024-01-31T10:00:00Z", "2024-01-31 10:00:00.5"]);
        assert_eq!((forms.dates, forms.timestamps), (1, 2));
        assert_eq!(of(&["1", "-1.50", "0", "007", "1e5", "", "-"]).numbers, 3);
        let forms = of(&["{\"a\": 1}", "[]", "null", "3", "\"x\""]);
        assert!(forms.all(forms.any_json) && forms.json == 2);
        let forms = of(&["{\"a\": 1}", "{a}"]);
        assert!(!forms.all(forms.any_json));
        assert_eq!(of(&["507f1f77bcf86cd799439011", "507f1f77bcf86cd79943901x"]).object_ids, 1);
        let uuid = "0190163d-8694-739b-aea5-966c26f8ad91";
        assert_eq!(of(&[uuid, &uuid.to_uppercase()]).uuids, 1);
        assert_eq!(of(&["é\0"]).characters, 2);
    }
}
