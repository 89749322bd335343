//! Why documents could not be compared. Differences are no errors: they are the result.

use crate::staging::StagingError;
use crate::staging::tuples::TupleError;

/// A proof that ended early.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// Staged rows.
    #[error(transparent)]
    Tuples(#[from] TupleError),
    /// The pipeline file is not the one that the rows were made with.
    #[error("the pipeline file does not fit the run: {0}")]
    Pipeline(String),
    /// It was asked to stop.
    #[error("interrupted")]
    Interrupted,
}
