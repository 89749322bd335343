//! What `--source` names.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::archive::{MAGIC, first_bytes};
use super::{SourceError, json};

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
    /// A mongodump archive.
    Archive(PathBuf),
    /// A SQLite database.
    Sqlite(PathBuf),
    /// A folder of mongoexport's files, or one of them.
    Json(PathBuf),
}

impl SourceAddress {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if text.starts_with("mongodb://") || text.starts_with("mongodb+srv://") {
            return Ok(Self::MongoDb(text.to_owned()));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            if path.is_file() {
                return Ok(Self::Sqlite(path));
            }
            let detail = "there is no such file".to_owned();
            return Err(SourceError::Address { address: text.to_owned(), detail });
        }
        let path = PathBuf::from(text);
        if path.is_dir() {
            // A dump holds JSON too, but only as metadata.
            let exports = !json::collections(&path)?.is_empty();
            return Ok(if exports { Self::Json(path) } else { Self::Dump(path) });
        }
        if path.is_file() {
            if first_bytes_are(&path, b"SQLite format 3\0")? {
                return Ok(Self::Sqlite(path));
            }
            if json::collection_of(&path).is_some() {
                return Ok(Self::Json(path));
            }
            let archive = first_bytes(&path)? == MAGIC.to_le_bytes();
            return Ok(if archive { Self::Archive(path) } else { Self::File(path) });
        }
        let detail = if text.contains("://") {
            "the scheme is not known"
        } else {
            "there is no such file or folder"
        };
        Err(SourceError::Address { address: without_credentials(text), detail: detail.to_owned() })
    }

    /// The address without user, password and options.
    pub fn display(&self) -> String {
        match self {
            Self::MongoDb(uri) | Self::Postgres(uri) => without_credentials(uri),
            Self::Dump(path)
            | Self::File(path)
            | Self::Archive(path)
            | Self::Sqlite(path)
            | Self::Json(path) => path.display().to_string(),
        }
    }
}

/// Whether a file begins so.
fn first_bytes_are(path: &Path, magic: &[u8]) -> Result<bool, SourceError> {
    let io = |source| SourceError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(magic.len() as u64).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes == magic)
}

/// A URI without user, password and query: each can hold a secret. So can what was meant to be one.
pub fn without_credentials(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return match uri.rsplit_once('@') {
            Some((before, after)) if before.contains(':') => format!("…@{after}"),
            _ => uri.to_owned(),
        };
    };
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    // A password may hold a slash although it should not: the last @ is what counts.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    format!("{scheme}://{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_never_shown() {
        for uri in [
            "mongodb://user:secret@host:1/db?authSource=admin",
            "mongodb://user:se/cr@et@host:1/db",
            "mongodb+srv://user:secret@host/db?tlsCertificateKeyFilePassword=secret",
        ] {
            let shown = SourceAddress::parse(uri).unwrap().display();
            assert!(!shown.contains("se"), "{shown}");
        }
        assert_eq!(without_credentials("mongodb:/user:secret@host/db"), "…@host/db");
        assert_eq!(without_credentials("dump/a@b.bson"), "dump/a@b.bson");
    }
}
