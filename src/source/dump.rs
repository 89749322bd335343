//! A mongodump directory: one `.bson` file per collection with its `.metadata.json`, plain or
//! gzipped. Names are percent-encoded as mongodump does.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use percent_encoding::percent_decode_str;
use serde_json::Value as Json;

use super::SourceError;

/// Greatest length a dumped document can have; MongoDB's own limit is 16 MiB and 16 KiB.
const MAX_DOCUMENT_BYTES: usize = 48 << 20;

/// Bytes that are read at a time: they are still in the processor's cache when they are looked at.
const PIECE: usize = 256 << 10;

/// A collection of a dump.
#[derive(Clone, Debug)]
pub struct DumpedCollection {
    /// Collection name.
    pub name: String,
    /// The `.bson` file; a view has none.
    pub data: Option<PathBuf>,
    /// Content of the metadata file.
    pub metadata: Json,
}

impl DumpedCollection {
    fn metadata(&self, key: &str) -> Json {
        self.metadata.get(key).cloned().unwrap_or_default()
    }

    /// `collection`, `view` or `timeseries`.
    pub fn kind(&self) -> &str {
        self.metadata.get("type").and_then(Json::as_str).unwrap_or("collection")
    }

    /// Its options (Extended JSON).
    pub fn options(&self) -> Json {
        self.metadata("options")
    }

    /// The number that the server gave it when it was made.
    pub fn uuid(&self) -> Option<String> {
        let uuid = self.metadata.get("uuid").and_then(Json::as_str);
        uuid.filter(|uuid| !uuid.is_empty()).map(str::to_owned)
    }

    /// Its indexes (Extended JSON).
    pub fn indexes(&self) -> Vec<Json> {
        self.metadata("indexes").as_array().cloned().unwrap_or_default()
    }

    /// Why it holds no documents of its own; none when it does.
    pub fn left_out(&self) -> Option<&'static str> {
        let view = self.kind() == "view" || self.options().get("viewOn").is_some();
        left_out(&self.name, view)
    }
}

/// Why a collection of this name holds no documents of its own; none when it does.
pub(super) fn left_out(name: &str, view: bool) -> Option<&'static str> {
    if name.starts_with("system.") {
        Some("MongoDB's own collection")
    } else if view {
        Some("a view holds no documents of its own")
    } else {
        None
    }
}

/// How many bytes there are to read in a file; nobody can tell of a compressed one.
pub fn plain_size(path: &Path) -> Option<u64> {
    let compressed = path.extension().is_some_and(|extension| extension == "gz");
    path.metadata().ok().filter(|_| !compressed).map(|found| found.len())
}

/// A database of a dump.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Database name: the folder's.
    pub database: String,
    /// Collections, by name.
    pub collections: Vec<DumpedCollection>,
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SourceError + '_ {
    |source| SourceError::Io { path: path.to_owned(), source }
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut paths = fs::read_dir(path)
        .and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
        })
        .map_err(io_error(path))?;
    paths.sort();
    Ok(paths)
}

impl Dump {
    /// Looks at a folder: a database's, or one that holds just one such folder.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let holds_data = |path: &Path| -> Result<bool, SourceError> {
            Ok(entries(path)?.iter().any(|entry| collection_of(entry).is_some()))
        };
        let mut folder = path.to_owned();
        if !holds_data(path)? {
            let mut databases = Vec::new();
            for entry in entries(path)? {
                if entry.is_dir() && holds_data(&entry)? {
                    databases.push(entry);
                }
            }
            match databases.as_slice() {
                [one] => folder.clone_from(one),
                [] => {
                    return Err(SourceError::Address {
                        address: path.display().to_string(),
                        detail: "the folder holds no .bson files".to_owned(),
                    });
                }
                many => {
                    let names: Vec<_> =
                        many.iter().map(|path| path.display().to_string()).collect();
                    return Err(SourceError::Address {
                        address: path.display().to_string(),
                        detail: format!(
                            "it holds several databases; name one of {}",
                            names.join(", ")
                        ),
                    });
                }
            }
        }
        let database = folder.canonicalize().unwrap_or_else(|_| folder.clone());
        let database = database.file_name().map(|name| name.to_string_lossy().into_owned());
        let mut collections: Vec<DumpedCollection> = Vec::new();
        for entry in entries(&folder)? {
            let Some((name, is_data)) = collection_of(&entry) else { continue };
            let at = if let Some(at) = collections.iter().position(|known| known.name == name) {
                at
            } else {
                collections.push(DumpedCollection { name, data: None, metadata: Json::Null });
                collections.len() - 1
            };
            if is_data {
                collections[at].data = Some(entry);
            } else {
                let mut text = String::new();
                open(&entry)?.read_to_string(&mut text).map_err(io_error(&entry))?;
                collections[at].metadata = serde_json::from_str(&text).map_err(|error| {
                    SourceError::Damaged { path: entry.clone(), detail: error.to_string() }
                })?;
            }
        }
        collections.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(Self { database: database.unwrap_or_default(), collections })
    }
}

impl Dump {
    /// A single `.bson` file: one collection, with its metadata file where there is one beside it.
    pub fn open_file(path: &Path) -> Result<Self, SourceError> {
        let Some((name, true)) = collection_of(path) else {
            return Err(SourceError::Address {
                address: path.display().to_string(),
                detail: "it is neither an archive nor a .bson file".to_owned(),
            });
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut dump = Self::open(folder.unwrap_or(Path::new(".")))?;
        dump.collections.retain(|collection| collection.name == name);
        for collection in &mut dump.collections {
            collection.data = Some(path.to_owned());
        }
        Ok(dump)
    }
}

/// The collection that a file belongs to, and whether it holds its documents.
fn collection_of(path: &Path) -> Option<(String, bool)> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let (stem, is_data) = match name.strip_suffix(".bson") {
        Some(stem) => (stem, true),
        None => (name.strip_suffix(".metadata.json")?, false),
    };
    // The prelude describes the server, the oplog belongs to no database.
    if stem == "prelude" || (stem == "oplog" && is_data) {
        return None;
    }
    Some((percent_decode_str(stem).decode_utf8().ok()?.into_owned(), is_data))
}

/// Opens a file; one that begins as gzip does is unpacked on the way, whatever its name.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, SourceError> {
    let file = File::open(path).map_err(io_error(path))?;
    // Small, so that what is read in large pieces is not copied through it.
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let gzipped = reader.fill_buf().map_err(io_error(path))?.starts_with(&[0x1f, 0x8b]);
    if gzipped {
        Ok(Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(reader))))
    } else {
        Ok(Box::new(reader))
    }
}

/// What a stream of documents holds next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A document was appended to the buffer; it begins at this byte of the uncompressed stream.
    Document {
        /// Offset in bytes.
        offset: u64,
    },
    /// Four bytes of ones, which end a block of an archive.
    Terminator {
        /// Offset in bytes.
        offset: u64,
    },
    /// The end of the stream.
    End,
    /// Bytes that cannot be followed; what there was of them is in the buffer.
    Broken {
        /// What is wrong.
        reason: String,
        /// Where they begin.
        offset: u64,
    },
}

/// Reads documents one after another out of a stream. They are framed by their length, not looked
/// into.
pub struct DumpReader {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    offset: u64,
}

impl DumpReader {
    /// Opens a file, gzipped or not.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Ok(Self::new(path, open(path)?))
    }

    /// Reads an open stream; `path` is for messages.
    pub fn new(path: &Path, input: Box<dyn BufRead + Send>) -> Self {
        Self { path: path.to_owned(), input, offset: 0 }
    }

    /// The next four bytes as a little-endian number; 0 where there are fewer.
    pub(super) fn magic(&mut self) -> Result<u32, SourceError> {
        let mut bytes = [0; 4];
        let read = self.fill(&mut bytes)?;
        self.offset += read as u64;
        Ok(if read == 4 { u32::from_le_bytes(bytes) } else { 0 })
    }

    /// Reads until the buffer is full or the stream ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let mut read = 0;
        while read < buffer.len() {
            match self.input.read(&mut buffer[read..]) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SourceError::Io { path: self.path.clone(), source }),
            }
        }
        Ok(read)
    }

    /// Appends so many bytes to `buffer`, or as many as there are.
    fn append(&mut self, wanted: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut left = wanted;
        while left > 0 {
            let piece = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                piece => piece?,
            };
            if piece.is_empty() {
                break;
            }
            let taken = piece.len().min(left);
            buffer.extend_from_slice(&piece[..taken]);
            self.input.consume(taken);
            left -= taken;
        }
        Ok(())
    }

    /// Appends documents to `buffer` until they have `most` bytes or more, read in as few pieces as
    /// possible; `end` is told where each one begins in the stream and where it ends in the buffer.
    /// Says what comes after them; `Document` where there may be more.
    pub fn frames(
        &mut self,
        buffer: &mut Vec<u8>,
        most: usize,
        mut end: impl FnMut(u64, usize),
    ) -> Result<Frame, SourceError> {
        let start = buffer.len();
        let base = self.offset;
        let mut at = start;
        while at - start < most {
            let offset = base + (at - start) as u64;
            self.offset = offset;
            if buffer.len() < at + 4 {
                self.extend(buffer, (at + PIECE).min(start + most).max(at + 4))?;
            }
            let Some(prefix) = buffer.get(at..).and_then(|rest| rest.first_chunk::<4>()) else {
                return Ok(if buffer.len() == at {
                    Frame::End
                } else {
                    Frame::Broken { reason: "the file ends inside a document".to_owned(), offset }
                });
            };
            let stated = i32::from_le_bytes(*prefix);
            let length = usize::try_from(stated).unwrap_or(0);
            if stated == -1 {
                buffer.truncate(at);
                self.offset = offset + 4;
                return Ok(Frame::Terminator { offset });
            }
            if !(5..=MAX_DOCUMENT_BYTES).contains(&length) {
                buffer.truncate(at + 4);
                let reason = format!("a document claims a length of {stated} bytes");
                return Ok(Frame::Broken { reason, offset });
            }
            if buffer.len() < at + length {
                self.extend(buffer, (at + PIECE).min(start + most).max(at + length))?;
            }
            if buffer.len() < at + length {
                let reason = "the file ends inside a document".to_owned();
                return Ok(Frame::Broken { reason, offset });
            }
            at += length;
            end(offset, at);
        }
        self.offset = base + (at - start) as u64;
        Ok(Frame::Document { offset: self.offset })
    }

    /// Reads until the buffer has so many bytes or the stream ends.
    fn extend(&mut self, buffer: &mut Vec<u8>, length: usize) -> Result<(), SourceError> {
        let wanted = length.saturating_sub(buffer.len());
        let read = if wanted < PIECE / 4 {
            self.append(wanted, buffer)
        } else {
            // It reads straight into the buffer, past that of the reader.
            (&mut self.input).take(wanted as u64).read_to_end(buffer).map(drop)
        };
        read.map_err(|source| SourceError::Io { path: self.path.clone(), source })
    }

    /// Appends the next document's bytes to `buffer`.
    pub fn frame(&mut self, buffer: &mut Vec<u8>) -> Result<Frame, SourceError> {
        let mut began = 0;
        match self.frames(buffer, 1, |offset, _| began = offset)? {
            Frame::Document { .. } => Ok(Frame::Document { offset: began }),
            other => Ok(other),
        }
    }
}
