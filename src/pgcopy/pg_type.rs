//! The PostgreSQL types docferry stages, and how they are written in SQL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits after the second's point that PostgreSQL keeps when none are stated.
pub(super) const DEFAULT_TIME_PRECISION: u8 = 6;

/// A PostgreSQL column type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PgType {
    /// `boolean`
    Boolean,
    /// `smallint`, 16 bits.
    SmallInt,
    /// `integer`, 32 bits.
    Integer,
    /// `bigint`, 64 bits.
    BigInt,
    /// `real`, IEEE 754 binary32.
    Real,
    /// `double precision`, IEEE 754 binary64.
    Double,
    /// `numeric` or `numeric(precision, scale)`.
    Numeric(Option<(u16, i16)>),
    /// `text`
    Text,
    /// `varchar(length)`, in characters; `varchar` without a length is `text`.
    Varchar(u32),
    /// `bytea`
    Bytea,
    /// `uuid`
    Uuid,
    /// `jsonb`
    Jsonb,
    /// `date`
    Date,
    /// `time(precision)` without time zone; precision 0 to 6.
    Time(u8),
    /// `timestamp(precision)` without time zone; precision 0 to 6.
    Timestamp(u8),
    /// `timestamptz(precision)`; precision 0 to 6.
    Timestamptz(u8),
    /// A named enum type of the target schema.
    Enum(String),
    /// A one-dimensional array.
    Array(Box<PgType>),
}

/// A type name that docferry does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a type docferry stages")]
pub struct ParsePgTypeError(pub String);

impl PgType {
    /// The element type of an array, or the type itself.
    pub fn element(&self) -> &Self {
        match self {
            Self::Array(element) => element,
            other => other,
        }
    }
}

/// As SQL writes it; an enum's name is quoted where SQL needs it, without its schema.
impl fmt::Display for PgType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |formatter: &mut fmt::Formatter<'_>, name: &str, precision: u8| {
            if precision == DEFAULT_TIME_PRECISION {
                formatter.write_str(name)
            } else {
                write!(formatter, "{name}({precision})")
            }
        };
        match self {
            Self::Boolean => formatter.write_str("boolean"),
            Self::SmallInt => formatter.write_str("smallint"),
            Self::Integer => formatter.write_str("integer"),
            Self::BigInt => formatter.write_str("bigint"),
            Self::Real => formatter.write_str("real"),
            Self::Double => formatter.write_str("double precision"),
            Self::Numeric(None) => formatter.write_str("numeric"),
            Self::Numeric(Some((precision, scale))) => {
                write!(formatter, "numeric({precision},{scale})")
            }
            Self::Text => formatter.write_str("text"),
            Self::Varchar(length) => write!(formatter, "varchar({length})"),
            Self::Bytea => formatter.write_str("bytea"),
            Self::Uuid => formatter.write_str("uuid"),
            Self::Jsonb => formatter.write_str("jsonb"),
            Self::Date => formatter.write_str("date"),
            Self::Time(precision) => time(formatter, "time", *precision),
            Self::Timestamp(precision) => time(formatter, "timestamp", *precision),
            Self::Timestamptz(precision) => time(formatter, "timestamptz", *precision),
            Self::Enum(name) => write!(formatter, "\"{}\"", name.replace('"', "\"\"")),
            Self::Array(element) => write!(formatter, "{element}[]"),
        }
    }
}

/// Reads SQL spellings and their usual aliases. A quoted name is an enum; so is nothing else:
/// whoever knows the enums resolves bare names first.
impl FromStr for PgType {
    type Err = ParsePgTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || ParsePgTypeError(text.to_owned());
        let trimmed = text.trim();
        if let Some(element) = trimmed.strip_suffix("[]") {
            let element = element.parse::<Self>().map_err(|_| unknown())?;
            // PostgreSQL's arrays have no fixed number of dimensions; one is what is staged.
            return match element {
                Self::Array(_) => Err(unknown()),
                scalar => Ok(Self::Array(Box::new(scalar))),
            };
        }
        if let Some(name) = trimmed.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            return Ok(Self::Enum(name.replace("\"\"", "\"")));
        }
        let lower = trimmed.to_ascii_lowercase();
        let (name, arguments) = match lower.split_once('(') {
            None => (lower.as_str(), Vec::new()),
            Some((name, rest)) => {
                let (inside, after) = rest.split_once(')').ok_or_else(unknown)?;
                if !after.trim().is_empty() {
                    return Err(unknown());
                }
                let arguments = inside
                    .split(',')
                    .map(|argument| argument.trim().parse::<i32>().map_err(|_| unknown()))
                    .collect::<Result<Vec<_>, _>>()?;
                (name.trim_end(), arguments)
            }
        };
        let plain = |kind: Self| if arguments.is_empty() { Ok(kind) } else { Err(unknown()) };
        let precision = |kind: fn(u8) -> Self| match arguments.as_slice() {
            [] => Ok(kind(DEFAULT_TIME_PRECISION)),
            [digits @ 0..=6] => u8::try_from(*digits).map(kind).map_err(|_| unknown()),
            _ => Err(unknown()),
        };
        match name {
            "boolean" | "bool" => plain(Self::Boolean),
            "smallint" | "int2" => plain(Self::SmallInt),
            "integer" | "int" | "int4" => plain(Self::Integer),
            "bigint" | "int8" => plain(Self::BigInt),
            "real" | "float4" => plain(Self::Real),
            "double precision" | "double" | "float8" => plain(Self::Double),
            "text" => plain(Self::Text),
            "bytea" => plain(Self::Bytea),
            "uuid" => plain(Self::Uuid),
            "jsonb" => plain(Self::Jsonb),
            "date" => plain(Self::Date),
            "time" => precision(Self::Time),
            "timestamp" => precision(Self::Timestamp),
            "timestamptz" => precision(Self::Timestamptz),
            "varchar" | "character varying" => match arguments.as_slice() {
                [] => Ok(Self::Text),
                [length] => match u32::try_from(*length) {
                    Ok(length @ 1..=10_485_760) => Ok(Self::Varchar(length)),
                    _ => Err(unknown()),
                },
                _ => Err(unknown()),
            },
            "numeric" | "decimal" => match arguments.as_slice() {
                [] => Ok(Self::Numeric(None)),
                [precision, rest @ ..] if rest.len() <= 1 => {
                    let scale = rest.first().copied().unwrap_or(0);
                    match (u16::try_from(*precision), i16::try_from(scale)) {
                        (Ok(precision @ 1..=1000), Ok(scale @ -1000..=1000)) => {
                            Ok(Self::Numeric(Some((precision, scale))))
                        }
                        _ => Err(unknown()),
                    }
                }
                _ => Err(unknown()),
            },
            _ => Err(unknown()),
        }
    }
}

impl Serialize for PgType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PgType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_as_it_is_written() {
        for text in [
            "boolean",
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "numeric(10,2)",
            "text",
            "varchar(20)",
            "bytea",
            "uuid",
            "jsonb",
            "date",
            "time(3)",
            "timestamp(3)",
            "timestamp",
            "timestamptz",
            "\"odd \"\"name\"",
            "text[]",
            "uuid[]",
        ] {
            let parsed: PgType = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in
            ["", "txt", "varchar(0)", "timestamp(7)", "numeric(1,2,3)", "text[][]", "int(4)"]
        {
            assert!(text.parse::<PgType>().is_err(), "{text}");
        }
    }
}
