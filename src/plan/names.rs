//! Names that PostgreSQL takes as they are, and that look like what they are.

use std::collections::HashSet;

use crate::staging::checksum::sha256_hex;

/// Bytes that PostgreSQL keeps of a name (NAMEDATALEN - 1).
const MOST_BYTES: usize = 63;
/// Room that is left for what is put behind a name: `_fkey`, `_idx`, numbers.
const ROOM: usize = 8;

/// How names are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum NameStyle {
    /// As the source has them, where PostgreSQL can have them.
    #[default]
    Keep,
    /// In lower case with underscores, so that nobody has to quote them.
    Snake,
}

/// Columns that every table has of its own.
const SYSTEM: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Words that SQL reserves in PostgreSQL: names that need quotes (PostgreSQL 17, appendix C,
/// those reserved or reserved for functions and types).
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "binary",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "group",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "intersect",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "natural",
    "not",
    "notnull",
    "null",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "outer",
    "overlaps",
    "placing",
    "primary",
    "references",
    "returning",
    "right",
    "select",
    "session_user",
    "similar",
    "some",
    "symmetric",
    "system_user",
    "table",
    "tablesample",
    "then",
    "to",
    "trailing",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
];

/// Gives names that no other has. Names of which only the case differs are told apart too: whoever
/// forgets the quotes would get the other one.
#[derive(Debug, Default)]
pub(super) struct Names {
    style: NameStyle,
    used: HashSet<String>,
}

impl Names {
    pub(super) fn new(style: NameStyle) -> Self {
        Self { style, used: HashSet::new() }
    }

    /// The name for something that the source calls so.
    pub(super) fn give(&mut self, source: &str) -> String {
        let styled = match self.style {
            NameStyle::Keep => visible(source),
            NameStyle::Snake => snake(source),
        };
        let mut name = if styled.is_empty() { "unnamed".to_owned() } else { styled };
        if SYSTEM.contains(&name.as_str())
            || self.style == NameStyle::Snake && RESERVED.binary_search(&name.as_str()).is_ok()
        {
            name.push('_');
        }
        let name = shortened(&name);
        let mut unique = name.clone();
        let mut number = 2;
        while !self.used.insert(unique.to_lowercase()) {
            unique = format!("{name}_{number}");
            number += 1;
        }
        unique
    }
}

/// Without what nobody sees: control characters, byte order marks, spaces at the ends.
fn visible(source: &str) -> String {
    let seen = |character: &char| {
        !character.is_control()
            && !matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    source.chars().filter(seen).collect::<String>().trim().to_owned()
}

/// `camelCase`, `Two Words`, `a.b$c` to `camel_case`, `two_words`, `a_b_c`.
fn snake(source: &str) -> String {
    let characters: Vec<char> = visible(source).chars().collect();
    let mut name = String::new();
    for (at, character) in characters.iter().enumerate() {
        if !character.is_alphanumeric() {
            if !name.is_empty() && !name.ends_with('_') {
                name.push('_');
            }
            continue;
        }
        let before = at.checked_sub(1).map(|at| characters[at]);
        // The plural of an abbreviation is one word with it: `IDs`.
        let plural = characters.get(at + 1) == Some(&'s')
            && characters.get(at + 2).is_none_or(|next| !next.is_lowercase());
        let after = characters.get(at + 1).filter(|_| !plural);
        let begins_word = character.is_uppercase()
            && before.is_some_and(|before| {
                before.is_lowercase()
                    || before.is_ascii_digit()
                    || before.is_uppercase() && after.is_some_and(|after| after.is_lowercase())
            });
        if begins_word && !name.ends_with('_') {
            name.push('_');
        }
        name.extend(character.to_lowercase());
    }
    let name = name.trim_end_matches('_').to_owned();
    if name.starts_with(|first: char| first.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// A longer name is cut and ends in a digest of the whole.
fn shortened(name: &str) -> String {
    if name.len() <= MOST_BYTES - ROOM {
        return name.to_owned();
    }
    let room = MOST_BYTES - ROOM - 9;
    let cut = (0..=room).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}_{}", &name[..cut], &sha256_hex(name.as_bytes())[..8])
}

/// How near two names are to meaning the same: 0 not at all, 3 the same word.
pub(super) fn likeness(field: &str, collection: &str) -> u32 {
    let field = stem(field);
    let collection = stem(collection);
    let last = collection.rsplit('_').next().unwrap_or(&collection).to_owned();
    if field.is_empty() || collection.is_empty() {
        0
    } else if field == collection {
        3
    } else if field == last || collection.ends_with(&format!("_{field}")) {
        2
    } else {
        u32::from(field.ends_with(&last) || collection.contains(&field))
    }
}

/// A name without what tells that it is a reference, and without its plural.
fn stem(name: &str) -> String {
    let name = snake(name);
    let mut stem = name.trim_start_matches('_');
    for ending in ["_ids", "_id", "ids", "_uuid", "_ref", "_refs", "_key", "id"] {
        if let Some(rest) = stem.strip_suffix(ending).filter(|rest| !rest.is_empty()) {
            stem = rest;
            break;
        }
    }
    match stem {
        stem if stem.ends_with("ies") && stem.len() > 4 => format!("{}y", &stem[..stem.len() - 3]),
        stem if stem.ends_with("sses") => stem[..stem.len() - 2].to_owned(),
        stem if stem.ends_with('s') && !stem.ends_with("ss") => stem[..stem.len() - 1].to_owned(),
        stem => stem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_legal_and_distinct() {
        let long = "ž".repeat(80);
        for style in [NameStyle::Keep, NameStyle::Snake] {
            let mut names = Names::new(style);
            let mut given = HashSet::new();
            for source in [
                "",
                " ",
                "\u{feff}name",
                "name",
                "Name",
                "a.b",
                "a$b",
                "a b",
                "😀",
                "user",
                "order",
                "xmin",
                &long,
                &format!("{long}x"),
                "createdAt",
                "created_at",
                "1st",
                "a\tb",
            ] {
                let name = names.give(source);
                assert!(!name.is_empty() && name.len() <= MOST_BYTES, "{source}: {name}");
                assert!(given.insert(name.to_lowercase()), "{source}: {name} twice");
            }
        }
    }

    #[test]
    fn names_are_as_people_expect_them() {
        for (source, expected) in [
            ("createdAt", "created_at"),
            ("HTTPServer", "http_server"),
            ("Full Name", "full_name"),
            ("user", "user_"),
            ("documentsIDs", "documents_ids"),
            ("a.b", "a_b"),
            ("2024", "_2024"),
            ("__v", "v"),
        ] {
            assert_eq!(Names::new(NameStyle::Snake).give(source), expected);
        }
        let mut keep = Names::new(NameStyle::Keep);
        assert_eq!(["user", "User", "a b"].map(|name| keep.give(name)), ["user", "User_2", "a b"]);
        assert!(RESERVED.is_sorted());
    }

    #[test]
    fn references_are_near_to_what_they_name() {
        assert_eq!(likeness("userId", "users"), 3);
        assert_eq!(likeness("account", "crm_Accounts"), 2);
        assert_eq!(likeness("accountsIDs", "crm_Accounts"), 2);
        assert_eq!(likeness("assigned_to", "crm_Accounts"), 0);
        assert_eq!(likeness("category_id", "categories"), 3);
    }
}
