//! The files of a source folder. All of them say together what the folder is; each is taken, or
//! named with the reason for leaving it out.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::SourceError;
use super::file::{self, SMALL};
use crate::staging::inventory::SourceObject;

/// A file of a source folder.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The file.
    pub(super) path: PathBuf,
    /// Its path below the source, for messages and manifests.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: u64,
    /// What its name says that it is.
    pub(super) kind: EntryKind,
}

/// What the name of a file says that it is; stems are without endings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    /// The documents of a dumped collection.
    Data {
        /// Its name as mongodump escapes it.
        stem: String,
    },
    /// The metadata of a dumped collection.
    Metadata {
        /// Its name as mongodump escapes it.
        stem: String,
    },
    /// mongodump's note of its version and the server's.
    VersionNote,
    /// Documents as mongoexport writes them.
    Json {
        /// Collection name.
        stem: String,
    },
    /// A table of text.
    Csv,
    /// A folder that is not looked into.
    Folder,
    /// Any other file, with the reason for leaving it out.
    Other(&'static str),
}

impl Entry {
    /// The same as an object that is left out.
    pub(super) fn left_out(&self, reason: &str) -> SourceObject {
        let kind = match &self.kind {
            EntryKind::Data { .. } => "bson",
            EntryKind::Metadata { .. } => "metadata",
            EntryKind::Json { .. } => "json",
            EntryKind::Folder => "folder",
            EntryKind::VersionNote | EntryKind::Csv | EntryKind::Other(_) => "file",
        };
        let bytes = (self.kind != EntryKind::Folder).then_some(self.bytes);
        SourceObject { bytes, ..SourceObject::left_out(&self.name, kind, reason) }
    }

    /// The same as an object that was taken into a collection.
    pub(super) fn taken(&self, kind: &str, collection: &str) -> SourceObject {
        SourceObject {
            bytes: Some(self.bytes),
            ..SourceObject::taken(&self.name, kind, collection)
        }
    }

    fn is_dumped(&self) -> bool {
        matches!(self.kind, EntryKind::Data { .. } | EntryKind::Metadata { .. })
    }

    fn is_json(&self) -> bool {
        matches!(self.kind, EntryKind::Json { .. })
    }
}

/// The kinds of folders that are sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FolderKind {
    /// A mongodump directory.
    Dump,
    /// Files of mongoexport.
    Json,
}

/// A folder with its files, and the folders in it with theirs.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// Its own files, by name.
    pub(super) files: Vec<Entry>,
    /// The folders in it, by name, each with its files; folders in those are not looked into.
    pub(super) folders: Vec<(String, Vec<Entry>)>,
}

impl Folder {
    /// Lists a folder.
    pub(super) fn list(path: &Path) -> Result<Self, SourceError> {
        let mut folder = Self { path: path.to_owned(), files: Vec::new(), folders: Vec::new() };
        for (name, path, is_folder) in children(path)? {
            if !is_folder {
                folder.files.push(entry(path, name)?);
                continue;
            }
            let mut files = Vec::new();
            for (inner, path, is_folder) in children(&path)? {
                let inner = format!("{name}/{inner}");
                files.push(if is_folder {
                    Entry { path, name: inner, bytes: 0, kind: EntryKind::Folder }
                } else {
                    entry(path, inner)?
                });
            }
            folder.folders.push((name, files));
        }
        Ok(folder)
    }

    /// A single file.
    pub(super) fn file(path: &Path, kind: EntryKind) -> Result<Entry, SourceError> {
        let bytes = fs::metadata(path).map_err(file::io_error(path))?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Entry { path: path.to_owned(), name, bytes, kind })
    }

    /// All of its files, those of the folders in it last.
    fn all(&self) -> impl Iterator<Item = &Entry> {
        self.files.iter().chain(self.folders.iter().flat_map(|(_, files)| files))
    }

    /// What all of its files say that it is.
    pub(super) fn kind(&self) -> Result<FolderKind, SourceError> {
        let dumped = self.all().find(|entry| entry.is_dumped());
        let exported = self.all().find(|entry| entry.is_json());
        match (dumped, exported) {
            (Some(dumped), Some(exported)) => Err(SourceError::Ambiguous {
                path: self.path.clone(),
                detail: format!(
                    "{} is of a mongodump directory, {} of mongoexport's JSON",
                    dumped.name, exported.name
                ),
                way_out: "Move the files of one kind to a folder of their own.".to_owned(),
            }),
            (Some(_), None) => Ok(FolderKind::Dump),
            (None, Some(_)) if self.files.iter().any(Entry::is_json) => Ok(FolderKind::Json),
            (None, Some(inner)) => Err(self.none(&format!(
                "the folder holds no files of JSON itself; {} is in a folder inside, which can be \
                 named instead",
                inner.name
            ))),
            (None, None) => Err(self.none(&self.nothing())),
        }
    }

    /// Why a folder without any file of a source is none.
    fn nothing(&self) -> String {
        if let Some(csv) = self.all().find(|entry| entry.kind == EntryKind::Csv) {
            return format!(
                "the folder holds CSV ({}), which is not read; export JSON with `mongoexport \
                 --type=json`",
                csv.name
            );
        }
        if let Some(note) = self.all().find(|entry| entry.kind == EntryKind::VersionNote) {
            return format!(
                "the folder holds mongodump's version note ({}) and no collections",
                note.name
            );
        }
        "the folder holds no .bson files and no files of JSON".to_owned()
    }

    fn none(&self, detail: &str) -> SourceError {
        SourceError::Address { address: self.path.display().to_string(), detail: detail.to_owned() }
    }

    /// The folders in it as objects that are left out, one for each file.
    pub(super) fn inner_left_out(&self, except: Option<&str>, reason: &str) -> Vec<SourceObject> {
        let mut objects = Vec::new();
        for (name, files) in &self.folders {
            if except == Some(name.as_str()) {
                continue;
            }
            if files.is_empty() {
                objects.push(SourceObject::left_out(&format!("{name}/"), "folder", "it is empty"));
            }
            objects.extend(files.iter().map(|entry| entry.left_out(reason)));
        }
        objects
    }
}

/// Names, paths, and whether they are folders, of what is in a folder, by name.
fn children(folder: &Path) -> Result<Vec<(String, PathBuf, bool)>, SourceError> {
    let failed = |source| SourceError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default();
        let shown = name.to_string_lossy().into_owned();
        if name.to_str().is_none() && kind_of(&shown) != Ok(None) {
            return Err(SourceError::Damaged { path, detail: "its name is not UTF-8".to_owned() });
        }
        let is_folder = path.is_dir();
        found.push((shown, path, is_folder));
    }
    found.sort();
    Ok(found)
}

/// Looks at a file, whose name below the source is given.
fn entry(path: PathBuf, name: String) -> Result<Entry, SourceError> {
    let last = name.rsplit('/').next().unwrap_or_default();
    let kind = kind_of(last);
    let bytes = match fs::metadata(&path) {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => {
            return Ok(Entry { path, name, bytes: 0, kind: EntryKind::Other("no regular file") });
        }
        // A link that leads nowhere, unless its name says that it matters.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && kind == Ok(None) => {
            let kind = EntryKind::Other("a link that leads nowhere");
            return Ok(Entry { path, name, bytes: 0, kind });
        }
        Err(source) => return Err(SourceError::Io { path, source }),
    };
    let kind = match kind {
        Ok(Some(EntryKind::Json { stem })) if stem == "prelude" && is_version_note(&path) => {
            EntryKind::VersionNote
        }
        Ok(Some(kind)) => kind,
        Ok(None) => EntryKind::Other("no file of a dump or of mongoexport"),
        Err(reason) => EntryKind::Other(reason),
    };
    Ok(Entry { path, name, bytes, kind })
}

/// What a file's name says that it is; `None` where it says nothing, an error where the file is
/// never one of a source.
pub(super) fn kind_of(name: &str) -> Result<Option<EntryKind>, &'static str> {
    if name.starts_with('.') {
        return Err("a hidden file");
    }
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    if let Some(stem) = plain.strip_suffix(".bson") {
        return Ok(Some(EntryKind::Data { stem: stem.to_owned() }));
    }
    if let Some(stem) = plain.strip_suffix(".metadata.json") {
        return Ok(Some(EntryKind::Metadata { stem: stem.to_owned() }));
    }
    let json = [".json", ".ndjson", ".jsonl"].iter().find_map(|ending| plain.strip_suffix(ending));
    if let Some(stem) = json {
        return Ok(Some(EntryKind::Json { stem: stem.to_owned() }));
    }
    let csv = [".csv", ".tsv"].iter().any(|ending| plain.strip_suffix(ending).is_some());
    Ok(csv.then_some(EntryKind::Csv))
}

/// Whether a file is the note that mongodump writes of its version and the server's.
fn is_version_note(path: &Path) -> bool {
    let Ok(text) = file::read_small(path, SMALL) else { return false };
    let Ok(Json::Object(note)) = serde_json::from_slice(&text) else { return false };
    !note.contains_key("_id") && note.contains_key("ServerVersion")
}

/// The reason for leaving out a file that is no collection's.
pub(super) fn reason_of(entry: &Entry) -> &'static str {
    match entry.kind {
        EntryKind::VersionNote => "mongodump's note of its version and the server's",
        EntryKind::Csv => "CSV is not read",
        EntryKind::Folder => "a folder inside that of the database",
        EntryKind::Other(reason) => reason,
        EntryKind::Data { .. } | EntryKind::Metadata { .. } | EntryKind::Json { .. } => {
            "no file of a dump or of mongoexport"
        }
    }
}

/// Two files of which one alone can be read.
pub(super) fn twice(first: &Entry, second: &Entry, what: &str) -> SourceError {
    SourceError::Ambiguous {
        path: first.path.parent().unwrap_or(Path::new(".")).to_owned(),
        detail: format!("{} and {} are both {what}", first.name, second.name),
        way_out: "Move one of them away.".to_owned(),
    }
}
