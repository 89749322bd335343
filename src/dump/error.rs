//! Why a dump, or its trial, ended early.

use crate::failure::{Exit, Explain};
use crate::postgres::PostgresError;
use crate::postgres::content::ContentError;
use crate::staging::StagingError;

/// A dump that ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// PostgreSQL.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// What a table holds cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// One of PostgreSQL's programs is not installed.
    #[error("{name} is not installed")]
    NoProgram {
        /// Which one.
        name: &'static str,
    },
    /// A program cannot be started.
    #[error("could not run {name}")]
    Start {
        /// Which one.
        name: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A program failed.
    #[error("{name} failed: {detail}")]
    Program {
        /// Which one.
        name: &'static str,
        /// What it said last.
        detail: String,
    },
    /// There is nothing to dump.
    #[error("schema {schema} of {database} has no tables")]
    Empty {
        /// Schema.
        schema: String,
        /// Host, port and database.
        database: String,
    },
    /// A worker ended without a result: a defect of docferry.
    #[error("a worker of the dump ended unexpectedly")]
    Worker(#[source] tokio::task::JoinError),
    /// It was asked to stop.
    #[error("the dump was interrupted; nothing of it is kept")]
    Interrupted,
}

impl Explain for DumpError {
    fn exit(&self) -> Exit {
        match self {
            Self::Staging(error) => error.exit(),
            Self::Postgres(error) | Self::Content(ContentError::Postgres(error)) => error.exit(),
            Self::Empty { .. } => Exit::Usage,
            Self::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Staging(error) => error.hint(),
            Self::Postgres(error) | Self::Content(ContentError::Postgres(error)) => error.hint(),
            Self::NoProgram { .. } => Some(
                "Install PostgreSQL's client programs, not older than the server (Debian: postgresql-client).".into(),
            ),
            Self::Program { .. } => Some(
                "Its version must not be older than the server's; --target names the database.".into(),
            ),
            Self::Empty { .. } => Some("Load the run first, or name the database it was loaded into.".into()),
            _ => None,
        }
    }
}
