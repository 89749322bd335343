//! Why a restore ended early.

use std::path::PathBuf;

use crate::failure::{Exit, Explain};
use crate::staging::StagingError;

/// A restore that ended early. What it had written is removed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
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
    #[error("the restore was interrupted; nothing of it is kept")]
    Interrupted,
}

impl Explain for RestoreError {
    fn exit(&self) -> Exit {
        match self {
            Self::Staging(error) => error.exit(),
            Self::Destination(_) | Self::Exists { .. } | Self::NotRows { .. } => Exit::Usage,
            Self::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Staging(error) => error.hint(),
            Self::Destination(_) => Some("Name sqlite:FILE.".into()),
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
