//! Why a verification could not be done. Differences are no errors: they are its result.

use crate::failure::{Exit, Explain};
use crate::pgcopy::CopyError;
use crate::pgcopy::reader::NotACopy;
use crate::postgres::PostgresError;
use crate::postgres::content::ContentError;
use crate::proof::ProofError;
use crate::source::SourceError;
use crate::staging::StagingError;
use crate::staging::tuples::TupleError;

/// A verification that ended early.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The server.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The documents could not be read again.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A part that cannot be encoded.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A worker ended without a result: a defect of docferry.
    #[error("a worker of the verification ended unexpectedly")]
    Worker(#[source] tokio::task::JoinError),
    /// The source, which is read again.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Bytes of a document that are no BSON.
    #[error("collection {collection}: {detail}")]
    Document {
        /// Collection.
        collection: String,
        /// What is wrong.
        detail: String,
    },
    /// An answer that cannot be read.
    #[error(transparent)]
    Answer(#[from] NotACopy),
}

impl Explain for VerifyError {
    fn exit(&self) -> Exit {
        match self {
            Self::Postgres(error) => error.exit(),
            Self::Staging(error) | Self::Proof(ProofError::Staging(error)) => error.exit(),
            Self::Proof(ProofError::Interrupted) => Exit::Interrupted,
            Self::Source(error) => error.exit(),
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Postgres(error) => error.hint(),
            Self::Staging(error) | Self::Proof(ProofError::Staging(error)) => error.hint(),
            Self::Source(error) => error.hint(),
            _ => None,
        }
    }
}

impl From<TupleError> for VerifyError {
    fn from(error: TupleError) -> Self {
        match error {
            TupleError::Staging(error) => error.into(),
            TupleError::Copy(error) => error.into(),
        }
    }
}

impl From<ContentError> for VerifyError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Postgres(error) => error.into(),
            ContentError::Copy(error) => error.into(),
        }
    }
}
