//! What `--source` names.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::SourceError;
use super::archive::{MAGIC, first_bytes};
use super::folder::{EntryKind, Folder, FolderKind, kind_of};
use crate::redact::{check, without_credentials};

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceAddress {
    /// A running MongoDB, with its URI as it was given.
    MongoDb(String),
    /// A PostgreSQL database that was loaded before, with its address as it was given.
    Postgres(String),
    /// A mongodump directory.
    Dump(PathBuf),
    /// A single `.bson` file of one.
    File(PathBuf),
    /// A mongodump archive, and the database in it where one was named.
    Archive(PathBuf, Option<String>),
    /// A SQLite database.
    Sqlite(PathBuf),
    /// A folder of mongoexport's files, or one of them.
    Json(PathBuf),
}

/// A text is the URI of a MongoDB.
pub fn is_mongodb(text: &str) -> bool {
    text.starts_with("mongodb://") || text.starts_with("mongodb+srv://")
}

impl SourceAddress {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        // Another text with `://` is a path, or an error.
        check(text).map_err(|fault| SourceError::unreadable(text, fault))?;
        if is_mongodb(text) {
            return Ok(Self::MongoDb(text.to_owned()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            if path.is_file() {
                check_not_empty(&path, "a SQLite database has at least a header")?;
                return Ok(Self::Sqlite(path));
            }
            let detail = "there is no such file".to_owned();
            return Err(SourceError::Address { address: without_credentials(text), detail });
        }
        let path = PathBuf::from(text);
        if path.is_dir() {
            return Ok(match Folder::list(&path)?.kind()? {
                FolderKind::Json => Self::Json(path),
                FolderKind::Dump => Self::Dump(path),
            });
        }
        if path.is_file() {
            return Self::file(path);
        }
        if let Some((path, database)) = text.rsplit_once('#') {
            return Self::database_of(PathBuf::from(path), database, text);
        }
        let detail = if path.exists() {
            "it is neither a file nor a folder"
        } else if text.contains("://") {
            "the scheme is not known"
        } else {
            "there is no such file or folder"
        };
        Err(SourceError::Address { address: without_credentials(text), detail: detail.to_owned() })
    }

    /// A file, by its content or its name.
    fn file(path: PathBuf) -> Result<Self, SourceError> {
        if first_bytes_are(&path, b"SQLite format 3\0")? {
            return Ok(Self::Sqlite(path));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match kind_of(&name) {
            // Both are empty files where a collection is empty.
            Ok(Some(EntryKind::Json { .. })) => return Ok(Self::Json(path)),
            Ok(Some(EntryKind::Data { .. })) => return Ok(Self::File(path)),
            _ => check_not_empty(&path, "no source is empty but a .bson file and one of JSON")?,
        }
        let archive = first_bytes(&path)? == MAGIC.to_le_bytes();
        Ok(if archive { Self::Archive(path, None) } else { Self::File(path) })
    }

    /// A database of several, of an archive or a folder.
    fn database_of(path: PathBuf, database: &str, text: &str) -> Result<Self, SourceError> {
        let no_source = |detail: &str| SourceError::Address {
            address: without_credentials(text),
            detail: detail.to_owned(),
        };
        if path.is_dir() {
            let inner = path.join(database);
            return if inner.is_dir() && !database.is_empty() {
                Self::parse(&inner.display().to_string())
            } else {
                Err(no_source("the folder holds no folder of that name"))
            };
        }
        if !path.is_file() {
            return Err(no_source("there is no such file or folder"));
        }
        match Self::file(path)? {
            Self::Archive(path, _) if !database.is_empty() => {
                Ok(Self::Archive(path, Some(database.to_owned())))
            }
            _ => Err(no_source("only an archive or a folder holds several databases")),
        }
    }

    /// The address without user, password and options.
    pub fn display(&self) -> String {
        match self {
            Self::MongoDb(uri) | Self::Postgres(uri) => without_credentials(uri),
            Self::Dump(path)
            | Self::File(path)
            | Self::Archive(path, None)
            | Self::Sqlite(path)
            | Self::Json(path) => path.display().to_string(),
            Self::Archive(path, Some(database)) => format!("{}#{database}", path.display()),
        }
    }
}

/// An error for a file without a single byte.
fn check_not_empty(path: &Path, why: &str) -> Result<(), SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    if path.metadata().map_err(io)?.len() > 0 {
        return Ok(());
    }
    let detail = format!("it is empty; {why}");
    Err(SourceError::Damaged { path: path.to_owned(), detail })
}

/// Whether a file begins so.
fn first_bytes_are(path: &Path, magic: &[u8]) -> Result<bool, SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(magic.len() as u64).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes == magic)
}
