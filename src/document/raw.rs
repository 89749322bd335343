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

/// Nesting that is accepted; MongoDB itself stops at 180.
pub const MAX_DEPTH: usize = 1000;

impl<'a> Doc<'a> {
    /// A document out of its bytes. Looks at the length and the terminator only; everything else
    /// is checked where it is read.
    pub fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let length = read_i32(bytes, 0)?;
        if usize::try_from(length).ok() != Some(bytes.len()) {
            return Err(Malformed {
                offset: 0,
                reason: "the document's length is not that of its bytes",
            });
        }
        if bytes.len() < 5 || bytes.last() != Some(&0) {
            return Err(Malformed {
                offset: bytes.len(),
                reason: "the document has no terminator",
            });
        }
        Ok(Self(bytes))
    }

    /// All of its bytes.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether it has no fields.
    pub fn is_empty(self) -> bool {
        self.0.len() <= 5
    }

    /// Its fields in order. After an error the iterator ends.
    pub fn elements(self) -> Elements<'a> {
        Elements { bytes: self.0, at: 4 }
    }

    /// Its values in order, whatever their names: the elements of an array. After an error the
    /// iterator ends.
    pub fn values(self) -> impl Iterator<Item = Result<Value<'a>, Malformed>> {
        let mut elements = self.elements();
        std::iter::from_fn(move || elements.next_value())
    }

    /// The first field of this name. Fields before it are passed over by their lengths.
    pub fn get(self, name: &str) -> Result<Option<Value<'a>>, Malformed> {
        if name.as_bytes().contains(&0) {
            // No field has such a name, but bytes after a shorter one could look like it.
            return Ok(None);
        }
        let end = self.0.len() - 1;
        let mut at = 4;
        while at < end {
            let field = &self.0[at + 1..end];
            if field.starts_with(name.as_bytes()) && field.get(name.len()) == Some(&0) {
                let mut found = Elements { bytes: self.0, at };
                return found.next().map(|field| Ok(field?.1)).transpose();
            }
            match passed(&self.0[..end], at) {
                Some(next) => at = next,
                // What is wrong is for the reader to say.
                None => return self.search(name),
            }
        }
        Ok(None)
    }

    fn search(self, name: &str) -> Result<Option<Value<'a>>, Malformed> {
        for element in self.elements() {
            let (found, value) = element?;
            if found == name {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    /// The value at a path of field names through subdocuments.
    pub fn at(self, path: &[String]) -> Result<Option<Value<'a>>, Malformed> {
        let Some((first, rest)) = path.split_first() else {
            return Ok(Some(Value::Document(self)));
        };
        match self.get(first)? {
            Some(Value::Document(inner)) if !rest.is_empty() => inner.at(rest),
            Some(_) if !rest.is_empty() => Ok(None),
            other => Ok(other),
        }
    }
}

/// Name of a field, where another was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// The name that was expected.
    Expected,
    /// This one.
    Other(&'a str),
}

/// The name of a field as it stands in BSON, made ready to be compared.
#[derive(Clone, Debug)]
pub struct Expected {
    /// With its terminator.
    field: Box<[u8]>,
    /// Its first bytes, the first in the lowest, and ones where they are.
    word: u128,
    mask: u128,
}

/// Bytes that are compared at once.
const WORD: usize = size_of::<u128>();

impl Expected {
    /// The name of a field; nothing for one with U+0000, which no field has.
    pub fn new(name: &str) -> Option<Self> {
        if name.as_bytes().contains(&0) {
            return None;
        }
        let field: Box<[u8]> = name.bytes().chain([0]).collect();
        let mut start = [0; WORD];
        let length = field.len().min(WORD);
        start[..length].copy_from_slice(&field[..length]);
        let mask = u128::MAX >> (8 * (WORD - length));
        Some(Self { word: u128::from_le_bytes(start), mask, field })
    }

    #[inline]
    fn begins(&self, bytes: &[u8]) -> bool {
        match bytes.first_chunk::<WORD>() {
            Some(start) => {
                u128::from_le_bytes(*start) & self.mask == self.word
                    && (self.field.len() <= WORD || bytes.starts_with(&self.field))
            }
            None => bytes.starts_with(&self.field),
        }
    }
}

/// The fields of a document.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    pub(super) bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<(&'a str, Value<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let end = self.bytes.len() - 1;
        if self.at >= end {
            return None;
        }
        let kind = self.bytes[self.at];
        if kind == 0 {
            let error =
                Malformed { offset: self.at, reason: "the document ends before its length says" };
            self.at = end;
            return Some(Err(error));
        }
        let result = self.read(kind, end);
        if result.is_err() {
            self.at = end;
        }
        Some(result)
    }
}

impl<'a> Elements<'a> {
    /// The next field. Documents of a collection mostly have their fields in one order: a name
    /// that is the expected one is compared and not read.
    #[inline]
    pub fn next_expecting(
        &mut self,
        expected: Option<&Expected>,
    ) -> Option<Result<(Name<'a>, Value<'a>), Malformed>> {
        let end = self.bytes.len() - 1;
        let rest = self.bytes.get(self.at + 1..end)?;
        if let Some(expected) = expected
            && self.bytes[self.at] != 0
            && expected.begins(rest)
        {
            let at = self.at + 1 + expected.field.len();
            return match self.read_value(self.bytes[self.at], at, end) {
                Ok(value) => Some(Ok((Name::Expected, value))),
                Err(error) => {
                    self.at = end;
                    Some(Err(error))
                }
            };
        }
        Some(self.next()?.map(|(name, value)| (Name::Other(name), value)))
    }

    /// The value of the next field, whose name is passed over.
    #[inline]
    fn next_value(&mut self) -> Option<Result<Value<'a>, Malformed>> {
        let end = self.bytes.len() - 1;
        let name = self.bytes.get(self.at + 1..end)?;
        let value = match name.iter().position(|byte| *byte == 0) {
            Some(length) if self.bytes[self.at] != 0 => {
                self.read_value(self.bytes[self.at], self.at + 2 + length, end)
            }
            // What is wrong is for the reader to say.
            _ => return Some(self.next()?.map(|(_, value)| value)),
        };
        if value.is_err() {
            self.at = end;
        }
        Some(value)
    }

    #[inline]
    fn read(&mut self, kind: u8, end: usize) -> Result<(&'a str, Value<'a>), Malformed> {
        let (name, at) = cstring(&self.bytes[..end], self.at + 1)?;
        Ok((name, self.read_value(kind, at, end)?))
    }

    #[inline]
    fn read_value(&mut self, kind: u8, mut at: usize, end: usize) -> Result<Value<'a>, Malformed> {
        // The document's own terminator is no part of any element.
        let bytes = &self.bytes[..end];
        let value = match kind {
            0x01 => Value::Double(f64::from_le_bytes(take(bytes, &mut at)?)),
            0x02 => Value::String(string(bytes, &mut at)?),
            0x03 => Value::Document(document(bytes, &mut at)?),
            0x04 => Value::Array(document(bytes, &mut at)?),
            0x05 => binary(bytes, &mut at)?,
            0x06 => Value::Undefined,
            0x07 => Value::ObjectId(take(bytes, &mut at)?),
            0x08 => match take::<1>(bytes, &mut at)? {
                [0] => Value::Boolean(false),
                [1] => Value::Boolean(true),
                _ => {
                    return Err(Malformed {
                        offset: at - 1,
                        reason: "a boolean is neither 0 nor 1",
                    });
                }
            },
            0x09 => Value::DateTime(i64::from_le_bytes(take(bytes, &mut at)?)),
            0x0A => Value::Null,
            0x0B => {
                let (pattern, after) = cstring(bytes, at)?;
                let (options, after) = cstring(bytes, after)?;
                at = after;
                Value::Regex { pattern, options }
            }
            0x0C => {
                let namespace = string(bytes, &mut at)?;
                Value::DbPointer { namespace, id: take(bytes, &mut at)? }
            }
            0x0D => Value::JavaScript(string(bytes, &mut at)?),
            0x0E => Value::Symbol(string(bytes, &mut at)?),
            0x0F => {
                let start = at;
                let length = i32::from_le_bytes(take(bytes, &mut at)?);
                let code = string(bytes, &mut at)?;
                let scope = document(bytes, &mut at)?;
                if usize::try_from(length).ok() != Some(at - start) {
                    return Err(Malformed {
                        offset: start,
                        reason: "the length of code with scope is not that of its parts",
                    });
                }
                Value::JavaScriptWithScope { code, scope }
            }
            0x10 => Value::Int32(i32::from_le_bytes(take(bytes, &mut at)?)),
            0x11 => {
                let increment = u32::from_le_bytes(take(bytes, &mut at)?);
                Value::Timestamp { time: u32::from_le_bytes(take(bytes, &mut at)?), increment }
            }
            0x12 => Value::Int64(i64::from_le_bytes(take(bytes, &mut at)?)),
            0x13 => Value::Decimal128(take(bytes, &mut at)?),
            0xFF => Value::MinKey,
            0x7F => Value::MaxKey,
            _ => return Err(Malformed { offset: self.at, reason: "there is no such BSON type" }),
        };
        self.at = at;
        Ok(value)
    }
}

/// What follows the field at `at`, by its lengths alone; nothing where they cannot be.
#[inline]
fn passed(bytes: &[u8], at: usize) -> Option<usize> {
    let name = bytes.get(at + 1..)?;
    let value = at + 2 + name.iter().position(|byte| *byte == 0)?;
    let next = value + value_length(bytes[at], bytes.get(value..)?)?;
    (next <= bytes.len()).then_some(next)
}

/// Bytes of a value of this type at the start of `bytes`, by its lengths alone: nothing in it is
/// checked, and it may be longer than `bytes`. None where there is no such type or length.
#[inline]
pub fn value_length(kind: u8, bytes: &[u8]) -> Option<usize> {
    let length = || usize::try_from(read_i32(bytes, 0).ok()?).ok();
    Some(match kind {
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x02 | 0x0D | 0x0E => 4 + length()?,
        0x03 | 0x04 | 0x0F => length().filter(|length| *length >= 5)?,
        0x05 => 5 + length()?,
        0x06 | 0x0A | 0xFF | 0x7F => 0,
        0x07 => 12,
        0x08 => 1,
        0x0B => {
            let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == 0);
            ends.nth(1)?.0 + 1
        }
        0x0C => 16 + length()?,
        0x10 => 4,
        0x13 => 16,
        _ => return None,
    })
}

#[inline]
fn take<const N: usize>(bytes: &[u8], at: &mut usize) -> Result<[u8; N], Malformed> {
    let chunk = bytes.get(*at..).and_then(|rest| rest.first_chunk::<N>());
    let chunk = chunk.ok_or(Malformed { offset: *at, reason: "the value is cut off" })?;
    *at += N;
    Ok(*chunk)
}

fn read_i32(bytes: &[u8], at: usize) -> Result<i32, Malformed> {
    let mut at = at;
    Ok(i32::from_le_bytes(take(bytes, &mut at)?))
}

#[inline]
fn cstring(bytes: &[u8], at: usize) -> Result<(&str, usize), Malformed> {
    let rest = bytes.get(at..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(Malformed { offset: at, reason: "a name or pattern has no end" })?;
    let text = str::from_utf8(&rest[..length])
        .map_err(|_| Malformed { offset: at, reason: "a name or pattern is not UTF-8" })?;
    Ok((text, at + length + 1))
}

#[inline]
fn string<'a>(bytes: &'a [u8], at: &mut usize) -> Result<&'a str, Malformed> {
    let start = *at;
    let length = i32::from_le_bytes(take(bytes, at)?);
    let content = usize::try_from(length)
        .ok()
        .filter(|length| *length >= 1)
        .and_then(|length| bytes.get(*at..*at + length))
        .ok_or(Malformed {
            offset: start,
            reason: "a string's length does not fit its document",
        })?;
    *at += content.len();
    match content.split_last() {
        Some((0, text)) => str::from_utf8(text)
            .map_err(|_| Malformed { offset: start + 4, reason: "a string is not UTF-8" }),
        _ => Err(Malformed { offset: *at, reason: "a string has no terminator" }),
    }
}

#[inline]
fn document<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Doc<'a>, Malformed> {
    let start = *at;
    let length = read_i32(bytes, start)?;
    let content =
        usize::try_from(length).ok().and_then(|length| bytes.get(start..start + length)).ok_or(
            Malformed { offset: start, reason: "a subdocument's length does not fit its document" },
        )?;
    *at += content.len();
    Doc::new(content)
        .map_err(|error| Malformed { offset: start + error.offset, reason: error.reason })
}

fn binary<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Value<'a>, Malformed> {
    let start = *at;
    let misfit = Malformed { offset: start, reason: "a binary's length does not fit its document" };
    let length =
        usize::try_from(i32::from_le_bytes(take(bytes, at)?)).map_err(|_| misfit.clone())?;
    let [subtype] = take(bytes, at)?;
    let content = bytes.get(*at..*at + length).ok_or(misfit)?;
    *at += length;
    if subtype != 2 {
        return Ok(Value::Binary { subtype, bytes: content });
    }
    // The deprecated subtype 2 repeats its length inside.
    let inner = content.split_first_chunk::<4>().filter(|(inner, rest)| {
        usize::try_from(i32::from_le_bytes(**inner)).ok() == Some(rest.len())
    });
    match inner {
        Some((_, rest)) => Ok(Value::Binary { subtype, bytes: rest }),
        None => Err(Malformed {
            offset: start,
            reason: "the inner length of a binary of subtype 2 is not that of its bytes",
        }),
    }
}

impl Value<'_> {
    /// The type's alias in MongoDB's query language.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Double(_) => "double",
            Self::String(_) => "string",
            Self::Document(_) => "object",
            Self::Array(_) => "array",
            Self::Binary { .. } => "binData",
            Self::Undefined => "undefined",
            Self::ObjectId(_) => "objectId",
            Self::Boolean(_) => "bool",
            Self::DateTime(_) => "date",
            Self::Null => "null",
            Self::Regex { .. } => "regex",
            Self::DbPointer { .. } => "dbPointer",
            Self::JavaScript(_) => "javascript",
            Self::Symbol(_) => "symbol",
            Self::JavaScriptWithScope { .. } => "javascriptWithScope",
            Self::Int32(_) => "int",
            Self::Timestamp { .. } => "timestamp",
            Self::Int64(_) => "long",
            Self::Decimal128(_) => "decimal",
            Self::MinKey => "minKey",
            Self::MaxKey => "maxKey",
        }
    }
}
