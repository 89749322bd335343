//! A mongodump archive (`--archive`), plain or gzipped: one stream in which the documents of all
//! collections are interleaved.
//!
//! Layout, as mongodump documents it in mongo-tools, `common/archive`: a magic number; the prelude
//! (a header, one metadata document per collection, a terminator); then blocks, each a namespace
//! header, documents, and a terminator. A header with `EOF` ends its namespace and carries the
//! CRC-64 of all its documents.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crc::{CRC_64_XZ, Crc, Digest, Table};
use serde_json::Value as Json;

use super::SourceError;
use super::dump::{DumpReader, DumpedCollection, Frame};
use crate::document::raw::{Doc, Value};

/// The first four bytes of an archive, little-endian.
pub const MAGIC: u32 = 0x8199_e26d;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// An archive whose prelude was read.
pub struct Archive {
    /// The database: the only one in the archive.
    pub database: String,
    /// Collections, by name.
    pub collections: Vec<DumpedCollection>,
    path: PathBuf,
    stream: DumpReader,
    sums: HashMap<usize, Checksum>,
}

/// The checksum that ends a collection, over the bytes of all its documents.
pub struct Checksum(Digest<'static, u64, Table<16>>);

impl Default for Checksum {
    fn default() -> Self {
        Self(CRC.digest())
    }
}

impl Checksum {
    /// Adds a document.
    pub fn update(&mut self, document: &[u8]) {
        self.0.update(document);
    }

    /// The sum.
    pub fn finish(self) -> u64 {
        self.0.finalize()
    }
}

/// What the stream holds next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A document of this collection was appended to the buffer; it begins at this byte of the
    /// uncompressed stream.
    Document {
        /// Index into `collections`.
        collection: usize,
        /// Offset in bytes.
        offset: u64,
    },
    /// A collection is complete, and its checksum agrees.
    End {
        /// Index into `collections`.
        collection: usize,
    },
}

/// Where the stream is: outside a block, or inside one of a collection.
pub type Position = Option<usize>;

impl Archive {
    /// Opens an archive and reads its prelude.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Self::read(path, DumpReader::open(path)?)
    }

    /// Reads the prelude of an open stream; `path` is for messages.
    pub fn read(path: &Path, mut stream: DumpReader) -> Result<Self, SourceError> {
        let damaged = |detail: String| SourceError::Damaged { path: path.to_owned(), detail };
        if stream.magic()? != MAGIC {
            return Err(damaged("it does not begin as an archive does".to_owned()));
        }
        let mut databases: Vec<(String, DumpedCollection)> = Vec::new();
        let mut header = true;
        loop {
            let mut bytes = Vec::new();
            match stream.frame(&mut bytes)? {
                Frame::Terminator { .. } => break,
                Frame::End => return Err(damaged("it ends inside its prelude".to_owned())),
                Frame::Broken { reason, offset } => {
                    return Err(damaged(format!("{reason} at byte {offset} of its prelude")));
                }
                // The first document describes the dump as a whole.
                Frame::Document { .. } if header => header = false,
                Frame::Document { .. } => {
                    let document = Doc::new(&bytes).map_err(|error| damaged(error.to_string()))?;
                    let text = |name: &str| match document.get(name) {
                        Ok(Some(Value::String(text))) => text.to_owned(),
                        _ => String::new(),
                    };
                    let metadata = text("metadata");
                    let metadata = serde_json::from_str(&metadata).unwrap_or(Json::Null);
                    let collection =
                        DumpedCollection { name: text("collection"), data: None, metadata };
                    databases.push((text("db"), collection));
                }
            }
        }
        let mut names: Vec<&String> = databases
            .iter()
            .map(|(database, _)| database)
            .filter(|name| !name.is_empty())
            .collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > 1 {
            // The server's own databases come along when all are dumped.
            names.retain(|name| !["admin", "config", "local"].contains(&name.as_str()));
        }
        let database = match names.as_slice() {
            [one] => (*one).clone(),
            [] => return Err(damaged("it names no collection".to_owned())),
            many => {
                let names: Vec<&str> = many.iter().map(|name| name.as_str()).collect();
                return Err(SourceError::Address {
                    address: path.display().to_string(),
                    detail: format!(
                        "the archive holds several databases ({}); dump one with `mongodump --db`",
                        names.join(", ")
                    ),
                });
            }
        };
        let mut collections: Vec<DumpedCollection> = databases
            .into_iter()
            .filter(|(owner, _)| *owner == database)
            .map(|(_, collection)| collection)
            .collect();
        collections.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Self { database, collections, path: path.to_owned(), stream, sums: HashMap::new() })
    }

    /// Reads on. `position` is kept between calls, and begins as none. The end is none.
    pub fn next(
        &mut self,
        position: &mut Position,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Event>, SourceError> {
        loop {
            if let Some(collection) = *position {
                let start = buffer.len();
                match self.stream.frame(buffer)? {
                    Frame::Document { offset } => {
                        // The oplog and other databases are passed over.
                        if collection >= self.collections.len() {
                            buffer.truncate(start);
                            continue;
                        }
                        self.sums.entry(collection).or_default().update(&buffer[start..]);
                        return Ok(Some(Event::Document { collection, offset }));
                    }
                    Frame::Terminator { .. } => *position = None,
                    Frame::End => {
                        return Err(self.damaged("it ends inside a collection".to_owned()));
                    }
                    Frame::Broken { reason, offset } => {
                        return Err(self.damaged(format!("{reason} at byte {offset}")));
                    }
                }
                continue;
            }
            let mut header = Vec::new();
            match self.stream.frame(&mut header)? {
                Frame::End => return Ok(None),
                Frame::Terminator { .. } => {}
                Frame::Broken { reason, offset } => {
                    return Err(self.damaged(format!("{reason} at byte {offset}")));
                }
                Frame::Document { offset } => {
                    if let Some(event) = self.header(&header, offset, position)? {
                        return Ok(Some(event));
                    }
                }
            }
        }
    }

    fn header(
        &mut self,
        header: &[u8],
        offset: u64,
        position: &mut Position,
    ) -> Result<Option<Event>, SourceError> {
        let document = Doc::new(header).map_err(|error| self.damaged(error.to_string()))?;
        let text = |name: &str| match document.get(name) {
            Ok(Some(Value::String(text))) => text.to_owned(),
            _ => String::new(),
        };
        let (database, name) = (text("db"), text("collection"));
        let known = self.collections.iter().position(|collection| collection.name == name);
        let collection = known.filter(|_| database == self.database).unwrap_or(usize::MAX);
        if document.get("EOF") != Ok(Some(Value::Boolean(true))) {
            *position = Some(collection);
            return Ok(None);
        }
        // The block of an end holds a terminator and nothing else.
        *position = Some(usize::MAX);
        let found = self.sums.remove(&collection).unwrap_or_default().finish();
        if collection == usize::MAX {
            return Ok(None);
        }
        match document.get("CRC") {
            Ok(Some(Value::Int64(stated))) if stated.cast_unsigned() != found => {
                Err(self.damaged(format!(
                    "the checksum of collection {name}, which ends at byte {offset}, does not agree"
                )))
            }
            _ => Ok(Some(Event::End { collection })),
        }
    }

    fn damaged(&self, detail: String) -> SourceError {
        SourceError::Damaged { path: self.path.clone(), detail }
    }
}

/// The first four bytes of a file, unpacked where it is gzipped; fewer when it is shorter.
pub(super) fn first_bytes(path: &Path) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    super::dump::open(path)?
        .take(4)
        .read_to_end(&mut bytes)
        .map_err(|source| SourceError::Io { path: path.to_owned(), source })?;
    Ok(bytes)
}
