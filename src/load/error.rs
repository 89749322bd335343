//! Why a load ended early.

use crate::failure::{Exit, Explain};
use crate::pgcopy::CopyError;
use crate::postgres::PostgresError;
use crate::staging::StagingError;

/// A load that ended early.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The server.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// A part that cannot be encoded.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A target table is there already.
    #[error("table {table} exists already and holds {rows} rows")]
    TableExists {
        /// Table name.
        table: String,
        /// Rows in it.
        rows: i64,
    },
    /// A part was loaded from another file.
    #[error("{part} was loaded before with another content")]
    OtherPart {
        /// Path inside the run.
        part: String,
    },
    /// The server counted other rows than the manifest.
    #[error("{part} has {expected} rows in its manifest, the server took {found}")]
    RowCount {
        /// Path inside the run.
        part: String,
        /// In the manifest.
        expected: u64,
        /// By the server.
        found: u64,
    },
    /// Another load works on the schema.
    #[error("another load works on schema {schema}")]
    Locked {
        /// Schema.
        schema: String,
    },
    /// A worker ended without a result: a defect of docferry.
    #[error("a worker of the load ended unexpectedly")]
    Worker(#[source] tokio::task::JoinError),
}

impl Explain for LoadError {
    fn exit(&self) -> Exit {
        match self {
            Self::Postgres(error) => error.exit(),
            Self::Staging(error) => error.exit(),
            Self::Locked { .. } => Exit::Locked,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Postgres(error) => error.hint(),
            Self::Staging(error) => error.hint(),
            Self::TableExists { .. } => {
                Some("Drop it, or load into another schema: `schema` in the pipeline file.".into())
            }
            Self::OtherPart { .. } => {
                Some("The run was transformed again after its load. Drop its tables first.".into())
            }
            Self::Locked { .. } => Some("Wait for it to end, or stop it.".into()),
            _ => None,
        }
    }
}
