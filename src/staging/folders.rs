//! Folders of collections and tables: each has one of its own on any file system, also on those
//! that fold case, normalise Unicode, or give some names a meaning. What is not ASCII is escaped.

use std::collections::HashSet;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::checksum::{SUMS, sha256_hex};
use super::journal::JOURNAL;
use super::manifest::MANIFEST;

/// Characters that a collection or table name cannot keep as a folder name: separators, and those
/// that some file systems refuse. A leading dot is escaped by hand.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b'/')
    .add(b'\\')
    .add(b':')
    .add(b'*')
    .add(b'?')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'|')
    .add(b'%');
/// Files that stand beside the folders.
const RESERVED: [&str; 3] = [MANIFEST, SUMS, JOURNAL];
/// Names of devices on Windows and its network shares, with any ending.
const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
/// Bytes of a folder name that are not cut.
const MOST_BYTES: usize = 200;
/// Hexadecimal digits of the digest that makes a folder name unique.
const DIGITS: usize = 16;

/// A name as the name of a folder, without a look at others. Longer names than file systems allow
/// are cut and made unique by a digest.
pub fn folder_name(name: &str) -> String {
    let escaped = escaped(name);
    if escaped.len() <= MOST_BYTES {
        return escaped;
    }
    let cut = (0..=180).rev().find(|index| escaped.is_char_boundary(*index)).unwrap_or(0);
    with_digest(&escaped[..cut], name)
}

fn escaped(name: &str) -> String {
    let escaped = utf8_percent_encode(name, ESCAPED).to_string();
    match escaped.strip_prefix('.') {
        Some(rest) => format!("%2E{rest}"),
        None => escaped,
    }
}

fn with_digest(folder: &str, name: &str) -> String {
    format!("{folder}~{}", &sha256_hex(name.as_bytes())[..DIGITS])
}

/// Folders of the collections or tables of one stage.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// Keys that several names have.
    shared: HashSet<String>,
}

impl Folders {
    /// Of all names at once, so that a folder does not depend on the order of the work.
    pub(super) fn new(names: impl IntoIterator<Item = String>) -> Self {
        let (mut seen, mut shared) = (HashSet::new(), HashSet::new());
        for name in names {
            let key = key(&folder_name(&name));
            if !seen.insert(key.clone()) {
                shared.insert(key);
            }
        }
        Self { shared }
    }

    /// The folder of the map of old and new keys of a table; its name stands among the others as
    /// `<table>.ids`.
    pub(super) fn of_ids(&self, table: &str) -> String {
        let name = format!("{table}.ids");
        let folder = folder_name(&name);
        if self.shared.contains(&key(&folder)) {
            return with_digest(&folder, &format!("{table}\0ids"));
        }
        self.of(&name)
    }

    /// The folder of a name: the name itself, escaped, and with a digest at its end where a file
    /// system might take it for another.
    pub(super) fn of(&self, name: &str) -> String {
        let folder = folder_name(name);
        let key = key(&folder);
        if self.shared.contains(&key)
            || RESERVED.iter().any(|reserved| reserved.to_ascii_lowercase() == key)
            || folder.ends_with(['.', ' '])
        {
            return with_digest(&folder, name);
        }
        if is_device(&key) {
            let rest = folder.get(1..).unwrap_or_default();
            return format!("%{:02X}{rest}", folder.as_bytes().first().unwrap_or(&0));
        }
        // A name that looks as if it had a digest must not meet one that has it.
        match folder.rsplit_once('~') {
            Some((before, digits)) if is_digest(digits) && escaped(name) == folder => {
                format!("{before}%7E{digits}")
            }
            _ => folder,
        }
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_device(key: &str) -> bool {
    let stem = key.split('.').next().unwrap_or_default().trim_end();
    let numbered = |prefix: &str| {
        let number = stem.strip_prefix(prefix);
        number.is_some_and(|number| {
            number.len() == 1 && number != "0" && number.as_bytes()[0].is_ascii_digit()
        })
    };
    DEVICES.contains(&stem) || numbered("com") || numbered("lpt")
}

/// The same for all folders that some file system takes for one. All of a folder's name is ASCII,
/// so that only case, and dots and spaces at the end, can be lost.
fn key(folder: &str) -> String {
    folder.trim_end_matches(['.', ' ']).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folders(names: &[&str]) -> Vec<String> {
        let folders = Folders::new(names.iter().map(|name| (*name).to_owned()));
        names.iter().map(|name| folders.of(name)).collect()
    }

    #[test]
    fn usual_names_are_their_own_folders() {
        let names = ["orders", "crm_Accounts", "a b", "x.files", "fs.chunks", "con1", "a~b"];
        assert_eq!(folders(&names), names);
        assert_eq!(folders(&[".a/b%", "é"]), ["%2Ea%2Fb%25", "%C3%A9"]);
    }

    #[test]
    fn names_that_a_file_system_takes_for_one_have_a_folder_each() {
        for names in [
            ["Orders", "orders"],
            ["caf\u{e9}", "cafe\u{301}"],
            ["A/b", "a/B"],
            ["σ", "ς"],
            ["a", "a."],
        ] {
            let found = folders(&names);
            assert_ne!(key(&found[0]), key(&found[1]), "{found:?}");
            assert!(found.iter().all(|folder| !folder.ends_with('.')), "{found:?}");
        }
    }

    #[test]
    fn files_of_the_stage_and_devices_are_no_folders() {
        for name in ["manifest.json", "SHA256SUMS", "sha256sums", "Journal.jsonl"] {
            assert_eq!(folders(&[name]), [with_digest(name, name)]);
        }
        assert_eq!(folders(&["AUX", "com1.log", "nul"]), ["%41UX", "%63om1.log", "%6Eul"]);
    }

    #[test]
    fn nothing_looks_like_what_was_made_unique() {
        let long = "l".repeat(300);
        let cut = folder_name(&long);
        let found = folders(&[&long, &cut, "Orders", "orders", &with_digest("orders", "orders")]);
        let keys: HashSet<String> = found.iter().map(|folder| key(folder)).collect();
        assert_eq!(keys.len(), 5, "{found:?}");
    }

    proptest! {
        #[test]
        fn different_names_have_different_folders(
            names in prop::collection::hash_set("[aAée\u{301}ß.S~%/ \u{fb01}f]{1,4}|con|CON|SHA256SUMS", 1..40)
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let found = Folders::new(names.iter().cloned());
            let keys: HashSet<String> = names.iter().map(|name| key(&found.of(name))).collect();
            prop_assert_eq!(keys.len(), names.len());
            let mut reversed = names.clone();
            reversed.reverse();
            let again = Folders::new(reversed);
            prop_assert!(names.iter().all(|name| found.of(name) == again.of(name)));
        }
    }
}
