//! Why a database could not be made.

use std::path::PathBuf;

use crate::failure::{Exit, Explain};
use crate::source::{SourceError, describe};

/// A database that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The pipeline file asks for something that cannot be made up.
    #[error("no documents can be made for {what}: {detail}")]
    Unsupported {
        /// Table and column, or junction.
        what: String,
        /// Why not.
        detail: String,
    },
    /// A document that is no BSON: a defect of docferry.
    #[error("a document of {collection} could not be encoded")]
    Document {
        /// Collection.
        collection: String,
        /// Why not.
        #[source]
        source: mongodb::bson::error::Error,
    },
    /// A file.
    #[error("could not write {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The server.
    #[error("could not {action} at {address}: {}", describe(.cause))]
    Server {
        /// What was attempted.
        action: String,
        /// Server, without credentials.
        address: String,
        /// Why not.
        cause: mongodb::error::Error,
    },
    /// SQLite refused.
    #[error("could not write SQLite file {path}: {cause}")]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// SQLite's message.
        cause: rusqlite::Error,
    },
    /// The file is there already.
    #[error("{path} is there already")]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// The URI is malformed.
    #[error(transparent)]
    Address(#[from] SourceError),
    /// The URI names no database.
    #[error("{0} names no database")]
    NoDatabase(String),
    /// A collection is not empty.
    #[error("collection {collection} at {address} holds documents already")]
    NotEmpty {
        /// Collection.
        collection: String,
        /// Server, without credentials.
        address: String,
    },
    /// A worker ended without a result: a defect of docferry.
    #[error("a worker ended unexpectedly")]
    Worker(#[source] tokio::task::JoinError),
}

impl Explain for GenerateError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unsupported { .. } | Self::NoDatabase(_) => Exit::Usage,
            Self::Address(error) => error.exit(),
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Address(error) => error.hint(),
            Self::NoDatabase(_) => Some("Write mongodb://HOST/DATABASE.".into()),
            Self::NotEmpty { .. } => Some("Name another database, or drop this one.".into()),
            Self::Server { .. } => {
                Some("Check that the server runs, and host, port, user and password.".into())
            }
            _ => None,
        }
    }
}
