//! A reader of BSON bytes that borrows everything and copies nothing.
//!
//! The format is that of the BSON specification, version 1.1 (bsonspec.org).

/// A BSON document or array: its bytes, length prefix and terminator included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doc<'a>(&'a [u8]);

/// One value of a document.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// 0x01
    Double(f64),
    /// 0x02
    String(&'a str),
    /// 0x03
    Document(Doc<'a>),
    /// 0x04: a document whose field names are ignored.
    Array(Doc<'a>),
    /// 0x05; for subtype 2 the inner length is already taken off.
    Binary {
        /// Binary subtype.
        subtype: u8,
        /// Content.
        bytes: &'a [u8],
    },
    /// 0x06, deprecated.
    Undefined,
    /// 0x07
    ObjectId([u8; 12]),
    /// 0x08
    Boolean(bool),
    /// 0x09: milliseconds since the Unix epoch.
    DateTime(i64),
    /// 0x0A
    Null,
    /// 0x0B
    Regex {
        /// Pattern.
        pattern: &'a str,
        /// Options, in the order they are stored.
        options: &'a str,
    },
    /// 0x0C, deprecated.
    DbPointer {
        /// Collection.
        namespace: &'a str,
        /// Target.
        id: [u8; 12],
    },
    /// 0x0D
    JavaScript(&'a str),
    /// 0x0E, deprecated.
    Symbol(&'a str),
    /// 0x0F, deprecated.
    JavaScriptWithScope {
        /// Code.
        code: &'a str,
        /// Scope.
        scope: Doc<'a>,
    },
    /// 0x10
    Int32(i32),
    /// 0x11: replication's own timestamp.
    Timestamp {
        /// Seconds since the Unix epoch.
        time: u32,
        /// Counter within the second.
        increment: u32,
    },
    /// 0x12
    Int64(i64),
    /// 0x13: IEEE 754-2008 decimal128, binary integer decimal encoding, little-endian.
    Decimal128([u8; 16]),
    /// 0xFF
    MinKey,
    /// 0x7F
    MaxKey,
}

/// Bytes that are not BSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {offset}")]
pub struct Malformed {
    /// Offset from the start of the outermost bytes looked at.
    pub offset: usize,
    /// What is wrong.
    pub reason: &'static str,
}
