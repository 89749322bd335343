//! What can be wrong with a source.

use std::path::PathBuf;

use crate::failure::{Exit, Explain};

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address is none that docferry reads.
    #[error("`{address}` is no source: {detail}")]
    Address {
        /// The address, without credentials.
        address: String,
        /// What is wrong.
        detail: String,
    },
    /// A file or folder cannot be read.
    #[error("could not read {path}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The server cannot be reached, or refused.
    #[error("could not {action} at {address} (tried {tries} times)")]
    Server {
        /// What was attempted.
        action: String,
        /// Server, without credentials.
        address: String,
        /// How often.
        tries: u32,
        /// Why not.
        #[source]
        source: ::mongodb::error::Error,
    },
    /// The snapshot ended before everything was read.
    #[error("the snapshot of {address} ended while collection {collection} was read")]
    SnapshotEnded {
        /// Server, without credentials.
        address: String,
        /// Collection being read.
        collection: String,
        /// The server's message.
        #[source]
        source: ::mongodb::error::Error,
    },
}

impl Explain for SourceError {
    fn exit(&self) -> Exit {
        match self {
            Self::Address { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Address { .. } => Some(
                "Name mongodb://HOST/DATABASE, the folder of a database in a mongodump directory, a mongodump archive, or a .bson file.".into(),
            ),
            Self::Server { .. } => {
                Some("Check that the server runs, and host, port, user and password.".into())
            }
            Self::SnapshotEnded { .. } => Some(
                "Raise the server's minSnapshotHistoryWindowInSeconds, or export with --no-snapshot.".into(),
            ),
            _ => None,
        }
    }
}
