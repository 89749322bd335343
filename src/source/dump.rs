//! A mongodump directory: one `.bson` file per collection with its `.metadata.json`, plain or
//! gzipped. How collections name their files is in `names`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::SourceError;
use super::buckets::Series;
use super::file::{SMALL, open, read_small};
use super::folder::{Entry, EntryKind, Folder, kind_of, reason_of, twice};
use super::names::{BUCKETS, Stem, file_stem, read_stem};
use crate::staging::inventory::SourceObject;

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
    /// The documents are the buckets of a time series, not its measurements: they come from
    /// `system.buckets.NAME`.
    pub buckets: bool,
    /// Content of the metadata file.
    pub metadata: Json,
}

impl DumpedCollection {
    fn metadata(&self, key: &str) -> Json {
        self.metadata.get(key).cloned().unwrap_or(Json::Null)
    }

    /// `collection`, `view` or `timeseries`.
    pub fn kind(&self) -> &str {
        let stated = self.metadata.get("type").and_then(Json::as_str).unwrap_or("collection");
        // `mongodump --viewsAsCollections` keeps the type of a view and takes its definition away.
        if stated == "view" && !self.is_view() { "collection" } else { stated }
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
        match self.metadata("indexes") {
            Json::Array(indexes) => indexes,
            _ => Vec::new(),
        }
    }

    /// Whether it is a view, which holds no documents of its own.
    fn is_view(&self) -> bool {
        self.options().get("viewOn").is_some()
    }

    /// The reason for leaving it out; `None` for a collection that holds documents.
    pub fn left_out(&self) -> Option<&'static str> {
        left_out(&self.name, self.is_view())
    }

    /// How its documents are unpacked where they are buckets; `path` is that of an archive.
    pub fn series(&self, path: &Path) -> Result<Option<Series>, SourceError> {
        if !self.buckets {
            return Ok(None);
        }
        let series = Series::of(&self.options()).ok_or_else(|| SourceError::Damaged {
            path: self.data.clone().unwrap_or_else(|| path.to_owned()),
            detail: format!("the metadata of the time series {} name no time field", self.name),
        })?;
        Ok(Some(series))
    }
}

/// The reason for leaving out a collection of this name; `None` for one that holds documents.
pub(super) fn left_out(name: &str, view: bool) -> Option<&'static str> {
    if name.starts_with("$admin.") {
        Some("users and roles of the server, with their secrets")
    } else if name.starts_with("system.") {
        Some("MongoDB's own collection")
    } else if view {
        Some("a view holds no documents of its own")
    } else {
        None
    }
}

/// Databases of the server itself, which come along when all are dumped.
const SERVERS_OWN: [&str; 3] = ["admin", "config", "local"];

/// The one database to read among several: those of the server itself count only where there is no
/// other.
pub(super) fn choose<'n>(names: &[&'n str]) -> Option<&'n str> {
    let others = names.iter().filter(|name| !SERVERS_OWN.contains(name));
    match (names, others.collect::<Vec<_>>().as_slice()) {
        (_, [only]) => Some(**only),
        ([only], _) => Some(*only),
        _ => None,
    }
}

/// One of several databases, for a hint.
pub(super) fn example<'n>(names: &[&'n str]) -> &'n str {
    let mut others = names.iter().filter(|name| !SERVERS_OWN.contains(name));
    others.next().or(names.first()).copied().unwrap_or_default()
}

/// A database of a dump.
#[derive(Clone, Debug)]
pub struct Dump {
    /// Database name: the folder's.
    pub database: String,
    /// Collections, by name.
    pub collections: Vec<DumpedCollection>,
    /// Every file below the folder that was named.
    pub objects: Vec<SourceObject>,
}

impl Dump {
    /// Looks at a folder: a database's, or one that holds the folders of databases, of which one
    /// is read.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let mut folder = Folder::list(path)?;
        // The oplog of a whole server lies beside the folders of its databases.
        let is_oplog =
            |entry: &Entry| matches!(&entry.kind, EntryKind::Data { stem } if stem == "oplog");
        let is_dumped = |entry: &Entry| {
            matches!(entry.kind, EntryKind::Data { .. } | EntryKind::Metadata { .. })
        };
        let databases: Vec<String> = folder
            .folders
            .iter()
            .filter(|(_, files)| files.iter().any(is_dumped))
            .map(|(name, _)| name.clone())
            .collect();
        let own = folder.files.iter().any(|entry| is_dumped(entry) && !is_oplog(entry));
        if own || databases.is_empty() {
            let mut objects = folder.inner_left_out(
                None,
                "it is in a folder inside, which is read only when it is named",
            );
            let found = gather(&folder.files)?;
            objects.extend(found.objects);
            let database = folder_name(path);
            return Ok(Self { database, collections: found.collections, objects });
        }
        let names: Vec<&str> = databases.iter().map(String::as_str).collect();
        let Some(database) = choose(&names).map(str::to_owned) else {
            return Err(SourceError::Ambiguous {
                path: path.to_owned(),
                detail: format!("it holds several databases ({})", names.join(", ")),
                way_out: format!("Name one of them: {}.", path.join(example(&names)).display()),
            });
        };
        let reason = format!("only database {database} is read");
        let mut objects = folder.inner_left_out(Some(&database), &reason);
        objects.extend(folder.files.iter().map(|entry| match &entry.kind {
            EntryKind::Data { .. } => SourceObject {
                kind: "oplog".to_owned(),
                ..entry.left_out("the oplog of the server")
            },
            _ => entry.left_out(reason_of(entry)),
        }));
        let chosen = folder.folders.iter().position(|(name, _)| *name == database);
        let files = chosen.map(|index| folder.folders.swap_remove(index).1).unwrap_or_default();
        let found = gather(&files)?;
        objects.extend(found.objects);
        Ok(Self { database, collections: found.collections, objects })
    }

    /// A single `.bson` file: one collection, with its metadata file where there is one beside it.
    /// No other file is looked at.
    pub fn open_file(path: &Path) -> Result<Self, SourceError> {
        let file_name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = match kind_of(file_name) {
            Ok(Some(EntryKind::Data { stem })) => stem,
            Ok(Some(EntryKind::Csv)) => {
                let detail =
                    "it is CSV, which is not read; export JSON with `mongoexport --type=json`";
                return Err(no_source(path, detail));
            }
            _ => return Err(no_source(path, "it is neither an archive nor a .bson file")),
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        // Buckets have their metadata under the name of the time series.
        let of_series = match read_stem(&stem) {
            Ok(Stem::Whole(name)) => name.strip_prefix(BUCKETS).map(file_stem),
            _ => None,
        };
        let described = of_series.as_ref().unwrap_or(&stem);
        let mut files = vec![Folder::file(path, EntryKind::Data { stem: stem.clone() })?];
        for ending in ["metadata.json", "metadata.json.gz"] {
            let beside = folder.join(format!("{described}.{ending}"));
            if beside.is_file() {
                let kind = EntryKind::Metadata { stem: described.clone() };
                files.push(Folder::file(&beside, kind)?);
            }
        }
        let found = gather(&files)?;
        if let Some(object) = found.objects.iter().find(|object| object.name == file_name)
            && let Some(reason) = object.reason()
        {
            return Err(no_source(path, reason));
        }
        let database = folder_name(folder);
        Ok(Self { database, collections: found.collections, objects: found.objects })
    }
}

fn no_source(path: &Path, detail: &str) -> SourceError {
    SourceError::Address { address: path.display().to_string(), detail: detail.to_owned() }
}

/// The last name of a folder's path.
fn folder_name(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The collections of a folder's files, and each file as an object.
struct Gathered {
    collections: Vec<DumpedCollection>,
    objects: Vec<SourceObject>,
}

/// The files of one name.
#[derive(Default)]
struct Files<'e> {
    data: Option<&'e Entry>,
    metadata: Option<&'e Entry>,
}

impl<'e> Files<'e> {
    /// The first of them, for messages.
    fn any(&self) -> Option<&'e Entry> {
        self.data.or(self.metadata)
    }

    fn each(&self) -> impl Iterator<Item = &'e Entry> + use<'e> {
        self.data.into_iter().chain(self.metadata)
    }
}

fn damaged(entry: &Entry, detail: impl Into<String>) -> SourceError {
    SourceError::Damaged { path: entry.path.clone(), detail: detail.into() }
}

/// Puts the files of one database together.
fn gather(entries: &[Entry]) -> Result<Gathered, SourceError> {
    let mut stems: BTreeMap<&str, Files<'_>> = BTreeMap::new();
    let mut objects = Vec::new();
    for entry in entries {
        let (place, what) = match &entry.kind {
            EntryKind::Data { stem } => {
                (&mut stems.entry(stem).or_default().data, "the documents of one collection")
            }
            EntryKind::Metadata { stem } => {
                (&mut stems.entry(stem).or_default().metadata, "the metadata of one collection")
            }
            _ => {
                objects.push(entry.left_out(reason_of(entry)));
                continue;
            }
        };
        if let Some(first) = place.replace(entry) {
            return Err(twice(first, entry, what));
        }
    }
    let mut named: BTreeMap<String, (DumpedCollection, Files<'_>)> = BTreeMap::new();
    // Buckets of time series, with their own names; none where it was cut.
    let mut buckets: Vec<(Option<String>, &str, &Entry)> = Vec::new();
    for (stem, files) in stems {
        let Some(any) = files.any() else { continue };
        let whole = match read_stem(stem) {
            Ok(Stem::Whole(name)) => Some(name),
            Ok(Stem::Cut) => None,
            Err(detail) => return Err(damaged(any, detail)),
        };
        let series = match &whole {
            Some(name) => name.strip_prefix(BUCKETS),
            None => stem.strip_prefix(BUCKETS),
        };
        if let (Some(series), Some(data)) = (series, files.data) {
            let own = whole.is_some().then(|| series.to_owned());
            buckets.push((own, stem, data));
            objects.extend(files.metadata.map(|entry| entry.left_out("MongoDB's own collection")));
            continue;
        }
        // Metadata of what is left out by its name is not read.
        if let Some(reason) = whole.as_deref().and_then(|name| left_out(name, false)) {
            objects.extend(files.each().map(|entry| entry.left_out(reason)));
            continue;
        }
        let metadata = files.metadata.map_or(Ok(Json::Null), metadata)?;
        let name = match whole {
            Some(name) => name,
            None => match metadata.get("collectionName").and_then(Json::as_str) {
                Some(name) => name.to_owned(),
                None => {
                    let detail = "its name was cut, and no metadata tells the whole one";
                    return Err(damaged(any, detail));
                }
            },
        };
        let data = files.data.map(|entry| entry.path.clone());
        let collection = DumpedCollection { name: name.clone(), data, buckets: false, metadata };
        if let Some((_, (_, before))) = named.get_key_value(&name)
            && let Some(before) = before.any()
        {
            return Err(twice(before, any, &format!("of collection {name}")));
        }
        named.insert(name, (collection, files));
    }
    join_buckets(&mut named, buckets)?;
    let mut collections = Vec::new();
    for (name, (collection, files)) in named {
        check_files(&collection, &files)?;
        let of_kind = |entry: &Entry| match entry.kind {
            EntryKind::Metadata { .. } => "metadata",
            _ => "bson",
        };
        objects.extend(files.each().map(|entry| match collection.left_out() {
            Some(reason) => entry.left_out(reason),
            None => entry.taken(of_kind(entry), &name),
        }));
        collections.push(collection);
    }
    Ok(Gathered { collections, objects })
}

/// Gives time series the files of their buckets.
fn join_buckets<'e>(
    named: &mut BTreeMap<String, (DumpedCollection, Files<'e>)>,
    buckets: Vec<(Option<String>, &str, &'e Entry)>,
) -> Result<(), SourceError> {
    for (name, stem, data) in buckets {
        let found = named.values_mut().find(|(collection, _)| match &name {
            Some(name) => collection.name == *name,
            None => file_stem(&format!("{BUCKETS}{}", collection.name)) == stem,
        });
        match found {
            Some((collection, files)) if collection.kind() == "timeseries" => {
                if let Some(first) = files.data.replace(data) {
                    let what = format!("of the time series {}", collection.name);
                    return Err(twice(first, data, &what));
                }
                collection.data = Some(data.path.clone());
                collection.buckets = true;
            }
            _ => {
                let detail = "it holds the buckets of a time series, whose metadata are missing";
                return Err(damaged(data, detail));
            }
        }
    }
    Ok(())
}

/// A collection has documents, a view has none.
fn check_files(collection: &DumpedCollection, files: &Files<'_>) -> Result<(), SourceError> {
    match (collection.left_out(), files.data, files.metadata) {
        (None, None, Some(metadata)) => {
            let detail = format!(
                "the documents of collection {} are missing: mongodump writes a .bson file beside \
                 the metadata, even of an empty collection",
                collection.name
            );
            Err(damaged(metadata, detail))
        }
        (Some(reason), Some(data), _) if data.bytes > 0 => {
            Err(damaged(data, format!("it holds documents of {}: {reason}", collection.name)))
        }
        _ => Ok(()),
    }
}

/// Reads a metadata file.
fn metadata(entry: &Entry) -> Result<Json, SourceError> {
    let text = read_small(&entry.path, SMALL)?;
    if text.is_empty() {
        let detail = "it is empty; without it the collection is read, but not its indexes";
        return Err(damaged(entry, detail));
    }
    match serde_json::from_slice(&text) {
        Ok(metadata @ Json::Object(_)) => Ok(metadata),
        Ok(_) => Err(damaged(entry, "it is no JSON object")),
        Err(error) => Err(damaged(entry, format!("it is no JSON: {error}"))),
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
