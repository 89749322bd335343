//! Why nothing can be told.

use crate::failure::{Exit, Explain};
use crate::postgres::PostgresError;
use crate::postgres::content::ContentError;
use crate::proof::ProofError;
use crate::staging::StagingError;
use crate::staging::tuples::TupleError;

/// A trace that ended early.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// Staged rows.
    #[error(transparent)]
    Tuples(#[from] TupleError),
    /// The documents.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The server.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// Rows of the server.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A name that the run does not have.
    #[error("the run has no collection and no table `{name}`")]
    NoSuch {
        /// As it was named.
        name: String,
        /// The nearest that there is.
        near: Option<String>,
    },
    /// A document that the collection does not have.
    #[error("collection {collection} has no document with the _id {id}")]
    NoDocument {
        /// Collection.
        collection: String,
        /// As it was named.
        id: String,
    },
    /// A row that no document leads to.
    #[error("no document leads to a row of {table} with the key {key}")]
    NoRow {
        /// Table.
        table: String,
        /// As it was named.
        key: String,
    },
}

impl Explain for TraceError {
    fn exit(&self) -> Exit {
        match self {
            Self::Staging(error)
            | Self::Tuples(TupleError::Staging(error))
            | Self::Proof(ProofError::Staging(error)) => error.exit(),
            Self::Postgres(error) | Self::Content(ContentError::Postgres(error)) => error.exit(),
            Self::NoSuch { .. } | Self::NoDocument { .. } | Self::NoRow { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Staging(error)
            | Self::Tuples(TupleError::Staging(error))
            | Self::Proof(ProofError::Staging(error)) => error.hint(),
            Self::Postgres(error) | Self::Content(ContentError::Postgres(error)) => error.hint(),
            Self::NoSuch { near, .. } => {
                near.as_ref().map(|near| format!("Did you mean `{near}`?"))
            }
            Self::NoDocument { .. } => Some(
                "An _id is written as the `_id` column of the exported parts has it; the key of a \
                 row is asked for with the name of its table."
                    .into(),
            ),
            Self::NoRow { .. } => Some(
                "A key is written as PostgreSQL prints it, several columns joined with \", \"."
                    .into(),
            ),
            _ => None,
        }
    }
}
