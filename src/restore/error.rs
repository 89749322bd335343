//! Why a restore ended early.

use std::path::PathBuf;

use crate::document::filter::FilterError;
use crate::failure::{Exit, Explain};
use crate::source::SourceError;
use crate::staging::StagingError;

/// A restore that ended early. What it had written is removed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The server, or what reads it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The filter.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// A worker ended without a result: a defect of docferry.
    #[error("a worker of the restore ended unexpectedly")]
    Worker(#[source] tokio::task::JoinError),
    /// A part of an export cannot become a SQLite file.
    #[error("a SQLite file is restored as a whole")]
    WholeOnly,
    /// The export holds rows.
    #[error(
        "{collection} was exported from a source of kind {kind}, whose rows are no documents of MongoDB"
    )]
    NotDocuments {
        /// Table.
        collection: String,
        /// Kind of source.
        kind: String,
    },
    /// A collection that the export does not have.
    #[error("the run has no collection or view {name}")]
    NoSuchCollection {
        /// As it was named.
        name: String,
        /// The nearest that there is.
        near: Option<String>,
    },
    /// Documents that the export does not have.
    #[error("no document has the _id {}", .ids.join(" or "))]
    NoDocument {
        /// As they were named.
        ids: Vec<String>,
    },
    /// A document that cannot be read.
    #[error("document {id} is no BSON: {detail}")]
    Document {
        /// Its `_id`.
        id: String,
        /// What is wrong.
        detail: String,
    },
    /// What the export says of a collection cannot be understood.
    #[error("{what} of {collection} cannot be made again: {detail}")]
    Definition {
        /// What it is.
        what: &'static str,
        /// Collection.
        collection: String,
        /// What is wrong.
        detail: String,
    },
    /// Collections hold documents.
    #[error("{address} has documents in {}", .collections.join(", "))]
    NotEmpty {
        /// Server, without credentials.
        address: String,
        /// Which ones.
        collections: Vec<String>,
    },
    /// Another restore was begun there.
    #[error("another restore into {address} was begun and is not finished")]
    OtherRestore {
        /// Server, without credentials.
        address: String,
    },
    /// A document was refused.
    #[error("document {id} of {collection} was refused: {detail}")]
    Refused {
        /// Collection.
        collection: String,
        /// Its `_id`.
        id: String,
        /// The server's message.
        detail: String,
    },
    /// A write was not confirmed as the write concern asks.
    #[error("could not {action}: it is not confirmed by the replica set: {detail}")]
    Unconfirmed {
        /// What was attempted.
        action: String,
        /// The server's message.
        detail: String,
    },
    /// Documents are missing, or too many.
    #[error("{collection} has {found} documents after the restore, not {expected}")]
    Count {
        /// Collection.
        collection: String,
        /// As many as were restored.
        expected: u64,
        /// As many as there are.
        found: u64,
    },
    /// The address is none that can be restored to.
    #[error("`{0}` is nothing that a run can be restored to")]
    Destination(String),
    /// There is a file already.
    #[error("{path} exists already")]
    Exists {
        /// Which one.
        path: PathBuf,
    },
    /// A file cannot be put in its place.
    #[error("could not write {path}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The run's documents are no rows.
    #[error("{collection} was exported from a source of kind {kind}, whose documents are no rows")]
    NotRows {
        /// Collection.
        collection: String,
        /// Kind of source.
        kind: String,
    },
    /// A value that no row of a table has.
    #[error("field {field} of {collection}, _id {id}, holds no value of a table")]
    Value {
        /// Collection.
        collection: String,
        /// `_id` of the document.
        id: String,
        /// Field.
        field: String,
    },
    /// SQLite refused.
    #[error("could not {action} in {path}")]
    Sqlite {
        /// What was attempted.
        action: String,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rusqlite::Error,
    },
    /// What was read back is not what was written.
    #[error("table {table} does not hold what was written to it")]
    Differs {
        /// Table.
        table: String,
    },
    /// It was asked to stop.
    #[error("the restore was interrupted")]
    Interrupted,
}

impl Explain for RestoreError {
    fn exit(&self) -> Exit {
        match self {
            Self::Staging(error) => error.exit(),
            Self::Source(error) => error.exit(),
            Self::Filter(_)
            | Self::WholeOnly
            | Self::NotDocuments { .. }
            | Self::NoSuchCollection { .. }
            | Self::NoDocument { .. }
            | Self::NotEmpty { .. }
            | Self::OtherRestore { .. } => Exit::Usage,
            Self::Document { .. } => Exit::Damaged,
            Self::Destination(_) | Self::Exists { .. } | Self::NotRows { .. } => Exit::Usage,
            Self::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Staging(error) => error.hint(),
            Self::Destination(_) => Some(
                "Name mongodb://HOST/DATABASE, a folder, FILE.archive, FILE.archive.gz or sqlite:FILE.".into(),
            ),
            Self::Source(error) => error.hint(),
            Self::Filter(_) => Some("Write it as for mongodump's --query: '{\"state\": \"open\"}'.".into()),
            Self::WholeOnly => Some("Leave out --collection, --id and --filter.".into()),
            Self::NotDocuments { .. } => Some("Restore it to sqlite:FILE.".into()),
            Self::NoSuchCollection { near, .. } => {
                near.as_ref().map(|near| format!("Did you mean `{near}`?"))
            }
            Self::NoDocument { .. } => {
                Some("An _id is written as the `_id` column of the exported parts has it.".into())
            }
            Self::NotEmpty { .. } => Some(
                "Name another database, or say what becomes of them with --existing add, replace or drop.".into(),
            ),
            Self::OtherRestore { .. } => Some(
                "Go on with it by the same command, or drop the collection docferry.restore and what it had restored.".into(),
            ),
            Self::Interrupted | Self::Unconfirmed { .. } => {
                Some("The same command goes on with it.".into())
            }
            Self::Exists { .. } => Some("Name a new file, or move that one away.".into()),
            Self::NotRows { .. } => Some(
                "A run of SQLite or PostgreSQL goes to SQLite: export the loaded database with `--source postgres://…` first.".into(),
            ),
            Self::Differs { .. } => {
                Some("Its column types change the values: SQLite converts text that looks like a number in columns of number types.".into())
            }
            _ => None,
        }
    }
}
