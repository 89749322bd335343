//! One value on its way from BSON to a column.

use std::borrow::Cow;

use super::keys::digest_identity;

/// A converted value, borrowed from the document where it can be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell<'a> {
    Null,
    Boolean(bool),
    /// smallint, integer and bigint, checked against the column's range.
    Integer(i64),
    Real(f32),
    Double(f64),
    /// Text, varchar, enum labels and jsonb.
    Text(Cow<'a, str>),
    /// numeric, as PostgreSQL prints it.
    Numeric(Cow<'a, str>),
    Bytes(&'a [u8]),
    Uuid([u8; 16]),
    /// Days since the Unix epoch.
    Date(i32),
    /// Microseconds since the Unix epoch, or since midnight.
    Micros(i64),
    List(Vec<Cell<'a>>),
}

impl Cell<'_> {
    /// What makes this value the same key as another: the same for equal values of one column
    /// type, and none for NULL, which equals nothing.
    pub(super) fn identity(&self) -> Option<u128> {
        match self {
            Self::Null => None,
            Self::Uuid(bytes) => Some(u128::from_be_bytes(*bytes)),
            Self::Integer(value) | Self::Micros(value) => Some(ordered(*value)),
            Self::Date(days) => Some(ordered(i64::from(*days))),
            Self::Boolean(value) => Some(u128::from(*value)),
            Self::Text(text) => Some(digest_identity(text.as_bytes())),
            // 1.50 and 1.5 are equal to PostgreSQL.
            Self::Numeric(text) => {
                let digits = match text.split_once('.') {
                    Some(_) => text.trim_end_matches('0').trim_end_matches('.'),
                    None => text,
                };
                Some(digest_identity(digits.as_bytes()))
            }
            Self::Bytes(bytes) => Some(digest_identity(bytes)),
            // PostgreSQL's unique indexes hold -0 and 0, and all NaNs, to be equal.
            Self::Real(value) => Some(float_identity(f64::from(*value))),
            Self::Double(value) => Some(float_identity(*value)),
            Self::List(cells) => {
                let mut bytes = Vec::with_capacity(cells.len() * 17);
                for cell in cells {
                    bytes.push(u8::from(cell != &Cell::Null));
                    bytes.extend(cell.identity().unwrap_or_default().to_be_bytes());
                }
                Some(digest_identity(&bytes))
            }
        }
    }
}

/// A whole number so that the order of identities is the order of numbers.
pub(super) fn ordered(value: i64) -> u128 {
    u128::from(value.cast_unsigned() ^ (1 << 63))
}

/// The number behind [`ordered`].
pub(super) fn unordered(identity: u128) -> i64 {
    u64::try_from(identity).unwrap_or(u64::MAX).cast_signed() ^ i64::MIN
}

fn float_identity(value: f64) -> u128 {
    let value = if value == 0.0 { 0.0 } else { value };
    let value = if value.is_nan() { f64::NAN } else { value };
    u128::from(value.to_bits())
}
