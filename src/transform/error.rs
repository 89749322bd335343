//! Why a transform cannot go on. Records that break a rule are not errors: they are rejects.

use crate::failure::{Exit, Explain};
use crate::pipeline::model::{CURE_OF_MISSING, CURE_OF_UNPLACED};
use crate::staging::StagingError;

/// A transform that ended early.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// A file of working storage.
    #[error("could not use working file {path}")]
    Work {
        /// Which file.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The pipeline file maps collections that the export does not have.
    #[error("the export has no collection {}", .names.join(", "))]
    MissingCollections {
        /// Their names.
        names: Vec<String>,
    },
    /// The export has collections that the pipeline file does not mention.
    #[error("the pipeline file does not say what becomes of collection {}", .names.join(", "))]
    UnmappedCollections {
        /// Their names.
        names: Vec<String>,
    },
    /// Paths that occur in no document although rows need them.
    #[error("{}", .paths.join("; "))]
    NeverPresent {
        /// One sentence each.
        paths: Vec<String>,
    },
    /// The pipeline file asks for something this version cannot do.
    #[error("{0}")]
    Unsupported(String),
    /// Rejects can only be added to tables that stayed what they are.
    #[error("the pipeline file changes table {}", .names.join(", "))]
    OtherTables {
        /// Their names.
        names: Vec<String>,
    },
    /// It was asked to stop.
    #[error("the transform was interrupted")]
    Interrupted,
    /// More documents were refused than the caller accepts.
    #[error("{found} records were refused, at most {most} are accepted")]
    TooManyRejects {
        /// So far.
        found: u64,
        /// The limit.
        most: u64,
    },
    /// A batch could not be built.
    #[error("could not build a batch of table {table}")]
    Batch {
        /// Table name.
        table: String,
        /// Why not.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The counts do not agree: a defect of docferry.
    #[error(
        "table {table}: {records} records are not {rows} rows + {rejects} rejects + {dropped} dropped"
    )]
    Unbalanced {
        /// Table name.
        table: String,
        /// Records read.
        records: u64,
        /// Rows written.
        rows: u64,
        /// Records refused.
        rejects: u64,
        /// Records dropped under a rule.
        dropped: u64,
    },
}

impl Explain for TransformError {
    fn exit(&self) -> Exit {
        match self {
            Self::Staging(error) => error.exit(),
            Self::Interrupted => Exit::Interrupted,
            Self::OtherTables { .. } => Exit::Usage,
            Self::MissingCollections { .. }
            | Self::UnmappedCollections { .. }
            | Self::Unsupported(_) => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Staging(error) => error.hint(),
            Self::OtherTables { .. } => Some(
                "Rows can be added to tables with the same columns, keys and constraints only: \
                 leave out --retry-rejects and transform the whole run."
                    .into(),
            ),
            Self::Interrupted => {
                Some("Finished parts are kept: the same command goes on from there.".into())
            }
            Self::TooManyRejects { .. } => Some(
                "See them with `docferry rejects`, correct the pipeline file, and transform again.".into(),
            ),
            Self::Work { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("Free space on that file system; the same command goes on from there.".into())
            }
            Self::MissingCollections { .. } => Some(CURE_OF_MISSING.into()),
            Self::UnmappedCollections { .. } => Some(CURE_OF_UNPLACED.into()),
            Self::NeverPresent { .. } => Some(
                "Correct the path, or write `optional = true` beside it if the field may be absent everywhere.".into(),
            ),
            Self::Unbalanced { .. } => Some("This is a defect: please report it with the run's manifests.".into()),
            _ => None,
        }
    }
}
