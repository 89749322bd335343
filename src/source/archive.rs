//! A mongodump archive (`--archive`), plain or gzipped: one stream in which the documents of all
//! collections are interleaved.
//!
//! Layout, as mongodump documents it in mongo-tools, `common/archive`: a magic number; the prelude
//! (a header, one metadata document per collection, a terminator); then blocks, each a namespace
//! header, documents, and a terminator. A header with `EOF` ends its namespace and carries the
//! CRC-64 of all its documents. Every namespace of the prelude has its end, views too; the blocks of
//! a time series are those of its buckets. What ends before all of these ends was cut off.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crc::{CRC_64_XZ, Crc, Digest, Table};
use serde_json::Value as Json;

use super::SourceError;
use super::dump::{DumpReader, DumpedCollection, Frame, choose, example};
use super::names::BUCKETS;
use crate::document::raw::{Doc, Value};
use crate::staging::inventory::SourceObject;

/// The first four bytes of an archive, little-endian.
pub const MAGIC: u32 = 0x8199_e26d;

static CRC: Crc<u64, Table<16>> = Crc::<u64, Table<16>>::new(&CRC_64_XZ);

/// An archive whose prelude was read.
pub struct Archive {
    /// The database that is read.
    pub database: String,
    /// Its collections, by name.
    pub collections: Vec<DumpedCollection>,
    /// Every namespace of the archive.
    pub objects: Vec<SourceObject>,
    path: PathBuf,
    stream: DumpReader,
    namespaces: Vec<Namespace>,
    /// Index into `namespaces`, by the name that blocks have.
    by_name: HashMap<String, usize>,
}

/// A namespace of the prelude.
struct Namespace {
    /// `database.collection`.
    name: String,
    /// Index into the collections of the database that is read.
    collection: Option<usize>,
    /// Its documents are given out.
    taken: bool,
    /// Of the documents so far; only of those that are given out.
    sum: Checksum,
    ended: bool,
}

/// Where a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Position {
    /// Between two blocks.
    #[default]
    Outside,
    /// In a block of this namespace.
    Block(usize),
    /// In the block of an end, which holds no documents.
    End,
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

impl Archive {
    /// Opens an archive and reads its prelude. Of several databases one has to be named, unless
    /// all others are the server's own.
    pub fn open(path: &Path, database: Option<&str>) -> Result<Self, SourceError> {
        Self::read(path, DumpReader::open(path)?, database)
    }

    /// Reads the prelude of an open stream; `path` is for messages.
    pub fn read(
        path: &Path,
        mut stream: DumpReader,
        database: Option<&str>,
    ) -> Result<Self, SourceError> {
        let described = prelude(path, &mut stream)?;
        let database = match database {
            Some(named) => named.to_owned(),
            None => only_database(path, &described)?,
        };
        let mut archive = Self {
            database,
            collections: Vec::new(),
            objects: Vec::new(),
            path: path.to_owned(),
            stream,
            namespaces: Vec::new(),
            by_name: HashMap::new(),
        };
        for (database, collection) in described {
            archive.add(&database, collection)?;
        }
        if archive.collections.is_empty() {
            return Err(SourceError::Address {
                address: format!("{}#{}", path.display(), archive.database),
                detail: "the archive holds no such database".to_owned(),
            });
        }
        Ok(archive)
    }

    /// Adds a namespace of the prelude.
    fn add(&mut self, database: &str, collection: DumpedCollection) -> Result<(), SourceError> {
        let name = format!("{database}.{}", collection.name);
        let index = self.namespaces.len();
        if self.by_name.insert(name.clone(), index).is_some() {
            return Err(self.damaged(format!("its prelude names {name} twice")));
        }
        let kind = collection.kind().to_owned();
        if kind == "timeseries" {
            let blocks = format!("{database}.{BUCKETS}{}", collection.name);
            if self.by_name.insert(blocks.clone(), index).is_some() {
                return Err(self.damaged(format!("its prelude names {blocks} twice")));
            }
        }
        let left_out = if database == self.database {
            collection.left_out().map(str::to_owned)
        } else if database.is_empty() {
            Some("the oplog of the server".to_owned())
        } else {
            Some(format!("only database {} is read", self.database))
        };
        self.objects.push(match &left_out {
            None => SourceObject::taken(&name, &kind, &collection.name),
            Some(reason) => SourceObject::left_out(&name, &kind, reason),
        });
        let own = database == self.database;
        self.namespaces.push(Namespace {
            name,
            collection: own.then_some(self.collections.len()),
            taken: left_out.is_none(),
            sum: Checksum::default(),
            ended: false,
        });
        if own {
            self.collections.push(collection);
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads on. `position` is kept between calls. `None` is the end, which comes after the end of
    /// every namespace.
    pub fn next(
        &mut self,
        position: &mut Position,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Event>, SourceError> {
        loop {
            let Position::Block(index) = *position else {
                match self.between(position)? {
                    Some(event) => return Ok(Some(event)),
                    None if *position == Position::Outside => return Ok(None),
                    None => continue,
                }
            };
            let start = buffer.len();
            let frame = self.stream.frame(buffer)?;
            let namespace = &mut self.namespaces[index];
            match frame {
                Frame::Document { offset } => match namespace.collection {
                    Some(collection) if namespace.taken => {
                        namespace.sum.update(&buffer[start..]);
                        return Ok(Some(Event::Document { collection, offset }));
                    }
                    // Other databases and what is left out are passed over.
                    _ => buffer.truncate(start),
                },
                Frame::Terminator { .. } => *position = Position::Outside,
                Frame::End => {
                    let detail = format!("it ends inside {}", namespace.name);
                    return Err(self.damaged(detail));
                }
                Frame::Broken { reason, offset } => {
                    return Err(self.damaged(format!("{reason} at byte {offset}")));
                }
            }
        }
    }

    /// Reads what is no document: the header of a block, the block of an end with its terminator,
    /// the end. `None` with the position outside is the end.
    fn between(&mut self, position: &mut Position) -> Result<Option<Event>, SourceError> {
        let mut header = Vec::new();
        let inside = *position == Position::End;
        match (self.stream.frame(&mut header)?, inside) {
            (Frame::Broken { reason, offset }, _) => {
                Err(self.damaged(format!("{reason} at byte {offset}")))
            }
            (Frame::End, true) => {
                Err(self.damaged("it ends inside the end of a collection".into()))
            }
            (Frame::End, false) => self.check_ends().map(|()| None),
            (Frame::Terminator { .. }, true) => {
                // The next frame is read by the caller's loop.
                *position = Position::Outside;
                self.between(position)
            }
            (Frame::Terminator { offset }, false) => {
                Err(self.damaged(format!("there is a terminator without a block at byte {offset}")))
            }
            (Frame::Document { offset }, true) => Err(self
                .damaged(format!("documents follow the end of their collection at byte {offset}"))),
            (Frame::Document { offset }, false) => self.header(&header, offset, position),
        }
    }

    /// Every namespace of the prelude has come to its end.
    fn check_ends(&self) -> Result<(), SourceError> {
        match self.namespaces.iter().find(|namespace| !namespace.ended) {
            None => Ok(()),
            Some(open) => Err(self.damaged(format!(
                "it stops before the end of {}: it was cut off, or its mongodump was stopped",
                open.name
            ))),
        }
    }

    fn header(
        &mut self,
        header: &[u8],
        offset: u64,
        position: &mut Position,
    ) -> Result<Option<Event>, SourceError> {
        let document = Doc::new(header).map_err(|error| self.damaged(error.to_string()))?;
        let name = format!("{}.{}", text(&document, "db"), text(&document, "collection"));
        let Some(index) = self.by_name.get(&name).copied() else {
            return Err(self.damaged(format!(
                "the block at byte {offset} is of {name}, which its prelude does not name"
            )));
        };
        let namespace = &self.namespaces[index];
        if namespace.ended {
            let detail = format!("{name} goes on at byte {offset}, after its end");
            return Err(self.damaged(detail));
        }
        if let Some(collection) = namespace.collection {
            let collection = &mut self.collections[collection];
            collection.buckets = collection.kind() == "timeseries" && name != namespace.name;
            collection.series(&self.path)?;
        }
        if document.get("EOF") != Ok(Some(Value::Boolean(true))) {
            *position = Position::Block(index);
            return Ok(None);
        }
        *position = Position::End;
        let namespace = &mut self.namespaces[index];
        namespace.ended = true;
        let found = std::mem::take(&mut namespace.sum).finish();
        let Some(collection) = namespace.collection.filter(|_| namespace.taken) else {
            return Ok(None);
        };
        match document.get("CRC") {
            Ok(Some(Value::Int64(stated))) if stated.cast_unsigned() == found => {
                Ok(Some(Event::End { collection }))
            }
            Ok(Some(Value::Int64(_))) => Err(self.damaged(format!(
                "the checksum of collection {name}, which ends at byte {offset}, does not agree"
            ))),
            _ => Err(self
                .damaged(format!("the end of collection {name} at byte {offset} has no checksum"))),
        }
    }

    fn damaged(&self, detail: String) -> SourceError {
        SourceError::Damaged { path: self.path.clone(), detail }
    }
}

/// A text of a header, empty where there is none.
fn text(document: &Doc<'_>, field: &str) -> String {
    match document.get(field) {
        Ok(Some(Value::String(text))) => text.to_owned(),
        _ => String::new(),
    }
}

/// Reads the prelude: the databases and collections, by name.
fn prelude(
    path: &Path,
    stream: &mut DumpReader,
) -> Result<Vec<(String, DumpedCollection)>, SourceError> {
    let damaged = |detail: String| SourceError::Damaged { path: path.to_owned(), detail };
    if stream.magic()? != MAGIC {
        return Err(damaged("it does not begin as an archive does".to_owned()));
    }
    let mut described: Vec<(String, DumpedCollection)> = Vec::new();
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
                let (database, name) = (text(&document, "db"), text(&document, "collection"));
                if name.is_empty() {
                    return Err(damaged("its prelude has an entry without a collection".into()));
                }
                // There is none of a collection that was dropped meanwhile, and of the oplog.
                let metadata = text(&document, "metadata");
                let mut metadata = match serde_json::from_str(&metadata) {
                    Ok(metadata @ Json::Object(_)) => metadata,
                    _ if metadata.is_empty() => Json::Object(serde_json::Map::new()),
                    Ok(_) => {
                        let detail = format!("the metadata of {database}.{name} are no object");
                        return Err(damaged(detail));
                    }
                    Err(error) => {
                        let detail = format!("the metadata of {database}.{name} are no JSON");
                        return Err(damaged(format!("{detail}: {error}")));
                    }
                };
                let kind = text(&document, "type");
                if metadata.get("type").is_none() && !kind.is_empty() {
                    metadata["type"] = kind.into();
                }
                let collection = DumpedCollection { name, data: None, buckets: false, metadata };
                described.push((database, collection));
            }
        }
    }
    described.sort_by(|left, right| (&left.0, &left.1.name).cmp(&(&right.0, &right.1.name)));
    Ok(described)
}

/// The database to read where none is named.
fn only_database(
    path: &Path,
    described: &[(String, DumpedCollection)],
) -> Result<String, SourceError> {
    let mut names: Vec<&str> = described.iter().map(|(database, _)| database.as_str()).collect();
    names.dedup();
    names.retain(|name| !name.is_empty());
    if names.is_empty() {
        let detail = "it names no collection".to_owned();
        return Err(SourceError::Damaged { path: path.to_owned(), detail });
    }
    if let Some(database) = choose(&names) {
        return Ok(database.to_owned());
    }
    Err(SourceError::Ambiguous {
        path: path.to_owned(),
        detail: format!("the archive holds several databases ({})", names.join(", ")),
        way_out: format!("Name one of them: `{}#{}`.", path.display(), example(&names)),
    })
}

/// The first four bytes of a file, unpacked where it is gzipped; fewer when it is shorter.
pub(super) fn first_bytes(path: &Path) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    super::file::open(path)?
        .take(4)
        .read_to_end(&mut bytes)
        .map_err(|source| SourceError::Io { path: path.to_owned(), source })?;
    Ok(bytes)
}
