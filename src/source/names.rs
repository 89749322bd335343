//! Collection names as the names of mongodump's files.
//!
//! mongodump (mongo-tools, `common/util/file.go` and `mongodump/prepare.go`) escapes a name with
//! Go's `url.QueryEscape`. An escaped name over 238 bytes is cut to 208, followed by `%24` and the
//! SHA-1 of the whole name in unpadded URL-safe base64; the whole name then stands in
//! `collectionName` of the metadata.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha1::{Digest, Sha1};

/// Bytes that `url.QueryEscape` escapes; it writes a space as `+`.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b' ');

/// Bytes of the longest escaped name, so that `.metadata.json.gz` fits into 255.
const MAX_STEM: usize = 238;
/// Bytes of an escaped name that are kept when it is cut.
const CUT: usize = 208;
/// Stands between a cut name and its digest: an escaped `$`.
const DELIMITER: &str = "%24";
/// Before the name of a time series, the collection of its buckets.
pub const BUCKETS: &str = "system.buckets.";

/// Name of a collection's files, without their endings.
pub fn file_stem(collection: &str) -> String {
    let escaped = utf8_percent_encode(collection, ESCAPED).to_string().replace(' ', "+");
    if escaped.len() <= MAX_STEM {
        return escaped;
    }
    let digest = BASE64_URL_SAFE_NO_PAD.encode(Sha1::digest(collection.as_bytes()));
    format!("{}{DELIMITER}{digest}", &escaped[..CUT])
}

/// Name of a database's folder: its own, but that nothing leads out of the folder above.
pub fn database_folder(database: &str) -> String {
    let outside = |byte: u8| byte == b'/' || byte == b'\\' || byte.is_ascii_control();
    if !database.is_empty() && !database.starts_with('.') && !database.bytes().any(outside) {
        return database.to_owned();
    }
    let escaped = file_stem(database);
    match escaped.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => escaped,
    }
}

/// A file's name read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stem {
    /// The collection's name.
    Whole(String),
    /// A name that was cut; the whole one is in the metadata.
    Cut,
}

/// Reads the name of a file without its endings. The error says why it cannot be one of
/// mongodump's.
pub fn read_stem(stem: &str) -> Result<Stem, &'static str> {
    if stem.len() == MAX_STEM && stem.get(CUT..).is_some_and(|rest| rest.starts_with(DELIMITER)) {
        return Ok(Stem::Cut);
    }
    let bytes = stem.as_bytes();
    for (index, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%') {
        let digits = bytes.get(index + 1..index + 3);
        if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return Err("its name holds a % that escapes nothing");
        }
    }
    let spaced: Cow<'_, str> =
        if stem.contains('+') { stem.replace('+', " ").into() } else { stem.into() };
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(name) => Ok(Stem::Whole(name.into_owned())),
        Err(_) => Err("its name is not UTF-8 once it is unescaped"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_escaped_as_go_does_it() {
        for (name, stem) in [
            ("orders", "orders"),
            ("a b", "a+b"),
            ("a+b", "a%2Bb"),
            ("a%b", "a%25b"),
            ("a$b", "a%24b"),
            ("dots.and-_~", "dots.and-_~"),
            ("π/ß", "%CF%80%2F%C3%9F"),
        ] {
            assert_eq!(file_stem(name), stem);
            assert_eq!(read_stem(stem), Ok(Stem::Whole(name.to_owned())));
        }
        assert!(read_stem("100%").is_err());
        assert!(read_stem("%G0").is_err());
        assert!(read_stem("%FF").is_err());
    }

    #[test]
    fn long_names_are_cut_and_end_in_their_digest() {
        let name = "ж".repeat(45);
        let stem = file_stem(&name);
        assert_eq!(stem.len(), 238);
        assert!(stem.starts_with(&"%D0%B6".repeat(34)), "{stem}");
        // sha1 of the name, by another program.
        assert!(stem.ends_with("%D0%%24DtmLow8MromC-mMIA-HVMJRnXMM"), "{stem}");
        assert_eq!(read_stem(&stem), Ok(Stem::Cut));
        let longest = "n".repeat(238);
        assert_eq!(read_stem(&file_stem(&longest)), Ok(Stem::Whole(longest)));
    }

    proptest! {
        #[test]
        fn every_name_comes_back_or_is_known_to_be_cut(name in "\\PC{1,120}") {
            let stem = file_stem(&name);
            prop_assert!(stem.len() <= 238);
            prop_assert!(stem.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
            match read_stem(&stem) {
                Ok(Stem::Whole(read)) => prop_assert_eq!(read, name),
                Ok(Stem::Cut) => prop_assert_eq!(stem.len(), 238),
                Err(error) => prop_assert!(false, "{}", error),
            }
        }
    }
}
