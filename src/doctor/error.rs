//! What keeps a run from beginning.

use super::Check;
use crate::failure::{Exit, Explain};
use crate::postgres::PostgresError;
use crate::source::SourceError;

/// A check that could not be made, or that says no.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The run would not end well.
    #[error("nothing was begun: {}", .checks.iter().map(|check| check.detail.as_str()).collect::<Vec<_>>().join("; "))]
    NotReady {
        /// The checks that say so.
        checks: Vec<Check>,
    },
    /// PostgreSQL could not be asked.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The source could not be asked.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl Explain for DoctorError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotReady { checks } => {
                let file = |check: &Check| check.about == super::collections::ABOUT;
                if checks.iter().all(file) { Exit::Usage } else { Exit::Failed }
            }
            Self::Postgres(error) => error.exit(),
            Self::Source(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotReady { checks } => {
                let cures: Vec<&str> =
                    checks.iter().filter_map(|check| check.cure.as_deref()).collect();
                (!cures.is_empty()).then(|| cures.join(" "))
            }
            Self::Postgres(error) => error.hint(),
            Self::Source(error) => error.hint(),
        }
    }
}

/// An error of a statement, by what was attempted.
pub(super) fn failed(action: &str) -> impl FnOnce(tokio_postgres::Error) -> DoctorError {
    let action = action.to_owned();
    move |source| PostgresError::Statement { action, source }.into()
}
