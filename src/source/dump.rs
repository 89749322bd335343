//! A mongodump directory: one `.bson` file per collection with its `.metadata.json`, plain or
//! gzipped. Names are percent-encoded as mongodump does.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use percent_encoding::percent_decode_str;
use serde_json::Value as Json;

use super::SourceError;

/// Greatest length a dumped document can have; MongoDB's own limit is 16 MiB and 16 KiB.
const MAX_DOCUMENT_BYTES: usize = 48 << 20;

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

fn open(path: &Path) -> Result<Box<dyn Read + Send>, SourceError> {
    let file = File::open(path).map_err(io_error(path))?;
    let reader = BufReader::with_capacity(1 << 20, file);
    if path.extension().is_some_and(|extension| extension == "gz") {
        Ok(Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(reader))))
    } else {
        Ok(Box::new(reader))
    }
}

/// Reads documents one after another out of a `.bson` file.
pub struct DumpReader {
    path: PathBuf,
    input: Box<dyn Read + Send>,
    offset: u64,
}

impl DumpReader {
    /// Opens a `.bson` or `.bson.gz` file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Ok(Self { path: path.to_owned(), input: open(path)?, offset: 0 })
    }

    /// Where the next document begins, in bytes of the uncompressed file.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends the next document's bytes to `buffer`; false at the end. The bytes are framed by
    /// their length, not looked into.
    pub fn next(&mut self, buffer: &mut Vec<u8>) -> Result<bool, SourceError> {
        let mut prefix = [0; 4];
        let mut read = 0;
        while read < 4 {
            match self.input.read(&mut prefix[read..]) {
                Ok(0) if read == 0 => return Ok(false),
                Ok(0) => return Err(self.cut_off()),
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SourceError::Io { path: self.path.clone(), source }),
            }
        }
        let length = usize::try_from(i32::from_le_bytes(prefix)).unwrap_or(0);
        if !(5..=MAX_DOCUMENT_BYTES).contains(&length) {
            return Err(SourceError::Damaged {
                path: self.path.clone(),
                detail: format!(
                    "the document at byte {} claims a length of {} bytes",
                    self.offset,
                    i32::from_le_bytes(prefix)
                ),
            });
        }
        let start = buffer.len();
        buffer.extend_from_slice(&prefix);
        buffer.resize(start + length, 0);
        self.input.read_exact(&mut buffer[start + 4..]).map_err(|source| {
            if source.kind() == io::ErrorKind::UnexpectedEof {
                self.cut_off()
            } else {
                SourceError::Io { path: self.path.clone(), source }
            }
        })?;
        self.offset += length as u64;
        Ok(true)
    }

    fn cut_off(&self) -> SourceError {
        SourceError::Damaged {
            path: self.path.clone(),
            detail: format!("the file ends inside the document at byte {}", self.offset),
        }
    }
}
