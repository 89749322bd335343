//! Made-up values: a value is a function of the seed, the document and the column.

use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, doc, spec::BinarySubtype};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::pattern::matching;
use crate::pgcopy::PgType;
use crate::pipeline::model::{Column, EnumType};

const WORDS: [&str; 48] = [
    "account", "annual", "autumn", "balance", "border", "bridge", "budget", "canvas", "carrier",
    "cedar", "client", "copper", "delivery", "draft", "engine", "evening", "export", "factory",
    "ferry", "field", "garden", "glass", "harbour", "index", "invoice", "island", "journal",
    "kettle", "ledger", "letter", "market", "meadow", "number", "office", "orchard", "paper",
    "quarter", "review", "river", "sample", "school", "signal", "silver", "station", "timber",
    "value", "winter", "yard",
];
const FIRST_NAMES: [&str; 16] = [
    "Ada", "Bao", "Chloé", "Dmitri", "Elif", "Femi", "Grace", "Håkon", "Ines", "Jana", "Kofi",
    "Lucía", "Mei", "Noor", "Olga", "Žofie",
];
const LAST_NAMES: [&str; 16] = [
    "Adeyemi", "Bauer", "Castillo", "Dvořák", "Eriksen", "Fontaine", "García", "Haddad", "Ito",
    "Jansen", "Kowalski", "Lefèvre", "Müller", "Nguyễn", "O'Brien", "Park",
];
/// 1 January 2020, and five years, in milliseconds.
const FIRST_MILLIS: i64 = 1_577_836_800_000;
const MILLIS: u64 = 157_766_400_000;

/// A source of numbers for one document.
pub(super) struct Numbers(ChaCha8Rng);

impl Numbers {
    pub(super) fn new(seed: u64, collection: usize, number: u64) -> Self {
        // Splits the seed space so that neighbours have nothing in common.
        let mixed = seed
            ^ (collection as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
            ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03);
        Self(ChaCha8Rng::seed_from_u64(mixed))
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64() % bound.max(1)
    }

    fn pick<'t>(&mut self, from: &[&'t str]) -> &'t str {
        let at = self.below(from.len() as u64);
        from[usize::try_from(at).unwrap_or(0)]
    }

    fn words(&mut self, least: u64, most: u64) -> String {
        let count = least + self.below(most - least + 1);
        let words: Vec<&str> = (0..count).map(|_| self.pick(&WORDS)).collect();
        words.join(" ")
    }
}

/// A value that the column takes as it is.
pub(super) fn value(
    numbers: &mut Numbers,
    column: &Column,
    enums: &[EnumType],
    document: u64,
) -> Bson {
    if let Some((source, _)) = column.values.first()
        && numbers.below(4) == 0
    {
        return Bson::String(source.clone());
    }
    of_type(numbers, column, &column.pg_type, enums, document)
}

fn of_type(
    numbers: &mut Numbers,
    column: &Column,
    pg_type: &PgType,
    enums: &[EnumType],
    document: u64,
) -> Bson {
    match pg_type {
        PgType::Boolean => Bson::Boolean(numbers.below(2) == 1),
        PgType::SmallInt | PgType::Integer => whole(numbers, column, 100_000),
        PgType::BigInt => whole(numbers, column, 1 << 40),
        PgType::Real => Bson::Double(numbers.below(4096) as f64 / 8.0),
        PgType::Double => {
            let (least, greatest) = (column.min.unwrap_or(0.0), column.max.unwrap_or(10_000.0));
            // A quarter is exact, and so is every bound that a person writes.
            let steps = ((greatest - least) * 4.0).max(0.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a number of steps, not negative"
            )]
            let step = numbers.below(steps as u64 + 1);
            Bson::Double(least + step as f64 / 4.0)
        }
        PgType::Numeric(scale) => {
            let digits = numbers.below(100_000);
            let text = match scale {
                Some((_, 0)) => digits.to_string(),
                _ => format!("{}.{:02}", digits / 100, digits % 100),
            };
            text.parse::<Decimal128>().map_or(Bson::Int32(0), Bson::Decimal128)
        }
        PgType::Text => Bson::String(text(numbers, column, document)),
        PgType::Varchar(limit) => {
            let text = text(numbers, column, document);
            Bson::String(text.chars().take(*limit as usize).collect())
        }
        PgType::Bytea => Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: numbers.below(u64::MAX).to_be_bytes().to_vec(),
        }),
        PgType::Uuid => Bson::ObjectId(loose_id(numbers)),
        PgType::Jsonb => json(numbers),
        PgType::Date => Bson::DateTime(DateTime::from_millis(
            FIRST_MILLIS + numbers.below(1800).cast_signed() * 86_400_000,
        )),
        PgType::Time(_) => {
            Bson::String(format!("{:02}:{:02}:00", numbers.below(24), numbers.below(60)))
        }
        PgType::Timestamp(_) | PgType::Timestamptz(_) => Bson::DateTime(DateTime::from_millis(
            FIRST_MILLIS + numbers.below(MILLIS).cast_signed(),
        )),
        PgType::Enum(name) => {
            let found = enums.iter().find(|candidate| candidate.name == *name);
            let labels: Vec<&str> = found
                .map(|found| found.labels.iter().map(String::as_str).collect())
                .unwrap_or_default();
            Bson::String(numbers.pick(&labels).to_owned())
        }
        PgType::Array(element) => {
            let count = numbers.below(4);
            Bson::Array(
                (0..count).map(|_| of_type(numbers, column, element, enums, document)).collect(),
            )
        }
    }
}

/// Whole numbers as applications leave them: mostly int32, some int64, some doubles.
fn whole(numbers: &mut Numbers, column: &Column, bound: u64) -> Bson {
    #[expect(clippy::cast_possible_truncation, reason = "bounds in a pipeline file are small")]
    let least = column.min.map_or(0, |least| least as i64);
    let bound = column.max.map_or(bound, |most| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as above")]
        let span = (most - least as f64) as u64;
        bound.min(span + 1)
    });
    let number = least + numbers.below(bound).cast_signed();
    match (numbers.below(10), i32::try_from(number)) {
        (0, _) => Bson::Double(number as f64),
        (1, _) | (_, Err(_)) => Bson::Int64(number),
        (_, Ok(number)) => Bson::Int32(number),
    }
}

fn text(numbers: &mut Numbers, column: &Column, document: u64) -> String {
    if let Some(pattern) = &column.pattern
        && let Some(text) = matching(pattern, document)
    {
        return text;
    }
    let name = column.name.to_lowercase();
    let has = |part: &str| name.contains(part);
    let mut text = if has("email") || has("mail") || column.email {
        // The number keeps it unique.
        format!("{}.{document}@example.org", numbers.pick(&WORDS))
    } else if has("url") || has("website") || has("link") {
        format!("https://{}.example.org/{document}", numbers.pick(&WORDS))
    } else if has("phone") || has("fax") || has("mobile") {
        format!("+420 {:09}", numbers.below(1_000_000_000))
    } else if has("description") || has("content") || has("comment") || has("notes") {
        numbers.words(6, 24)
    } else if has("first") {
        numbers.pick(&FIRST_NAMES).to_owned()
    } else if has("last") {
        numbers.pick(&LAST_NAMES).to_owned()
    } else if name == "name" || has("full_name") || has("title") {
        format!("{} {}", numbers.pick(&FIRST_NAMES), numbers.words(1, 3))
    } else if numbers.below(25) == 0 {
        String::new()
    } else {
        numbers.words(1, 2)
    };
    if let Some(limit) = column.length {
        text = text.chars().take(limit as usize).collect();
    }
    text
}

/// An id that belongs to no document.
pub(super) fn loose_id(numbers: &mut Numbers) -> mongodb::bson::oid::ObjectId {
    let mut bytes = [0xEE; 12];
    bytes[..4].copy_from_slice(&1_500_000_000_u32.to_be_bytes());
    bytes[4..].copy_from_slice(&numbers.below(u64::MAX).to_be_bytes());
    mongodb::bson::oid::ObjectId::from_bytes(bytes)
}

/// JSON as applications keep it: a few fields of several types, one of them nested.
fn json(numbers: &mut Numbers) -> Bson {
    let mut inner = Document::new();
    inner.insert(numbers.pick(&WORDS), numbers.below(100).cast_signed());
    inner.insert(numbers.pick(&WORDS), numbers.words(1, 3));
    let mut outer = doc! {
        "label": numbers.pick(&WORDS),
        "count": i32::try_from(numbers.below(1000)).unwrap_or(0),
        "ratio": numbers.below(1000) as f64 / 8.0,
        "inner": inner,
    };
    match numbers.below(8) {
        0 => drop(outer.insert("dotted.key", true)),
        1 => drop(outer.insert("$dollar", Bson::Null)),
        2 => drop(outer.insert("list", vec![Bson::Int32(1), Bson::Double(2.5), Bson::Null])),
        _ => {}
    }
    Bson::Document(outer)
}
