//! Why an audit ended early.

use crate::failure::{Exit, Explain};
use crate::pipeline::nearest_name;
use crate::staging::StagingError;

/// An audit that ended early. What it finds is no error.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The staging directory.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// A name that the run does not have.
    #[error("there is no `{name}` in it")]
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
    /// A document that cannot be shown.
    #[error("document {id} of {collection} is no BSON: {detail}")]
    Document {
        /// Collection.
        collection: String,
        /// Its `_id`.
        id: String,
        /// What is wrong.
        detail: String,
    },
    /// A condition that cannot be read.
    #[error("`{0}` is no condition")]
    Condition(String),
    /// It was asked to stop.
    #[error("the audit was interrupted")]
    Interrupted,
}

impl AuditError {
    /// A name that is not there, with the nearest of those that are.
    pub(crate) fn no_such<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Self {
        let near = nearest_name(name, names).map(str::to_owned);
        Self::NoSuch { name: name.to_owned(), near }
    }
}

impl Explain for AuditError {
    fn exit(&self) -> Exit {
        match self {
            Self::Staging(error) => error.exit(),
            Self::NoSuch { .. } | Self::NoDocument { .. } | Self::Condition(_) => Exit::Usage,
            Self::Document { .. } => Exit::Damaged,
            Self::Interrupted => Exit::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Staging(error) => error.hint(),
            Self::NoSuch { near, .. } => {
                near.as_ref().map(|near| format!("Did you mean `{near}`?"))
            }
            Self::NoDocument { .. } => {
                Some("An _id is written as the `_id` column of the exported parts has it.".into())
            }
            Self::Condition(_) => Some(
                "Write `COLUMN = VALUE`, with =, !=, <, <=, >, >= or ~, or `COLUMN is null`."
                    .into(),
            ),
            Self::Document { .. } | Self::Interrupted => None,
        }
    }
}
