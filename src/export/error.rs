//! Why an export ended early.

use crate::failure::{Exit, Explain};
use crate::source::SourceError;
use crate::source::mongodb::Difference;
use crate::staging::StagingError;

/// An export that ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// A document's `_id` cannot be read.
    #[error("a document of {collection} is not BSON: {detail}")]
    Document {
        /// Collection.
        collection: String,
        /// What is wrong.
        detail: String,
    },
    /// Documents do not come in the order that they must have to be compared.
    #[error("the documents of {collection} do not come in the order of their `_id`s")]
    Order {
        /// Collection.
        collection: String,
    },
    /// A collection is no longer what it was when the export began.
    #[error("collection {collection} was {difference} while the export ran")]
    Changed {
        /// Name at the start.
        collection: String,
        /// How.
        difference: Difference,
    },
    /// Collections are made, renamed and dropped faster than they can be listed.
    #[error("the collections of {address} change faster than they can be listed")]
    Restless {
        /// Server, without credentials.
        address: String,
    },
    /// Fewer or more documents came than there are.
    #[error(
        "{read} documents of {collection} came, and the server counts {counted} at the same moment"
    )]
    Miscounted {
        /// Collection.
        collection: String,
        /// Documents that came.
        read: u64,
        /// Those that the server counts.
        counted: u64,
    },
    /// The base of an incremental export would not be older than what is built on it.
    #[error("run {run} cannot add to run {base}: a base must have the smaller id")]
    BaseNotOlder {
        /// Run id.
        run: String,
        /// Run id of the base.
        base: String,
    },
    /// Documents could not be put into a batch.
    #[error("could not build a batch of {collection}")]
    Batch {
        /// Collection.
        collection: String,
        /// Why not.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// The export was asked to stop.
    #[error("the export was interrupted; what is finished is kept")]
    Interrupted,
    /// A source of which only all can be read.
    #[error("what changed since the last export cannot be told of {address}")]
    WholeOnly {
        /// Source, without credentials.
        address: String,
    },
    /// An incremental export is gone on with as if it were a whole one.
    #[error("run {run} was begun as one that adds to run {base}")]
    NeedsBase {
        /// Run id.
        run: String,
        /// Run id of the base.
        base: String,
    },
    /// The run belongs to another source.
    #[error("the run was begun from {begun}, not from {given}")]
    OtherSource {
        /// In the run's record.
        begun: String,
        /// On the command line.
        given: String,
    },
    /// Records of the source are neither documents nor rejects: a defect of docferry.
    #[error("not all of the source is accounted for: {}", problems.join("; "))]
    Unaccounted {
        /// What does not agree.
        problems: Vec<String>,
    },
    /// A worker ended without a result: a defect of docferry.
    #[error("a worker of the export ended unexpectedly")]
    Worker(#[source] tokio::task::JoinError),
}

impl ExportError {
    /// Whether collections of the source changed meanwhile: what is there now can be read.
    pub(super) fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Changed { .. }
                | Self::Source(SourceError::Gone { .. } | SourceError::CatalogueChanged { .. })
        )
    }
}

impl Explain for ExportError {
    fn exit(&self) -> Exit {
        match self {
            Self::Source(error) => error.exit(),
            Self::Staging(error) => error.exit(),
            Self::Interrupted => Exit::Interrupted,
            Self::OtherSource { .. } | Self::WholeOnly { .. } | Self::NeedsBase { .. } => {
                Exit::Usage
            }
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Staging(error) => error.hint(),
            Self::OtherSource { .. } => {
                Some("Name the same source, or begin a new run without --resume.".into())
            }
            Self::NeedsBase { .. } => Some(
                "Go on with `docferry backup --since-last --resume`, or begin a new run without --resume.".into(),
            ),
            Self::WholeOnly { .. } => {
                Some("Name a running MongoDB, or leave out --since-last.".into())
            }
            Self::Order { .. } => {
                Some("Export it without --since-last, and report this as a defect.".into())
            }
            Self::Changed { .. } => Some(
                "Run it again while nothing drops, renames or replaces collections.".into(),
            ),
            Self::Restless { .. } => Some(
                "Run it when fewer collections come and go, or with --no-snapshot.".into(),
            ),
            Self::Miscounted { .. } => Some("Run it again, and report this as a defect.".into()),
            Self::BaseNotOlder { .. } => Some(
                "Set the clock of this machine right, or make a full export without --since-last."
                    .into(),
            ),
            Self::Document { .. } => {
                Some("Take the dump again, or repair the collection with `validate`.".into())
            }
            Self::Unaccounted { .. } => Some(
                "Begin a new run without --resume; where it comes again, report it.".into(),
            ),
            _ => None,
        }
    }
}
