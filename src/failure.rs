//! What an error must say besides its text: the exit status it ends with, and the way out.

use std::error::Error;
use std::fmt;

/// How a command ends. The numbers are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// Something failed that no other status names.
    Failed,
    /// The arguments or the pipeline file are wrong.
    Usage,
    /// Done, but some records were rejected.
    Rejects,
    /// Verification found differences.
    Differences,
    /// There is no such run in the staging directory.
    NoSuchRun,
    /// Another process holds the lock.
    Locked,
    /// A staged file does not agree with its checksum, or has another format version.
    Damaged,
    /// Held: a person must decide.
    Held,
    /// The work was done, but its result could not be printed.
    Unprinted,
    /// Interrupted; the run can be resumed.
    Interrupted,
}

impl Exit {
    /// The process exit status.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Rejects => 3,
            Self::Differences => 4,
            Self::NoSuchRun => 10,
            Self::Locked => 11,
            Self::Damaged => 12,
            Self::Held => 13,
            Self::Unprinted => 15,
            Self::Interrupted => 130,
        }
    }
}

/// An error that knows its exit status and what the reader can do about it.
///
/// `Display` gives only the error's own part, lower case and without a full stop; causes are
/// reached through `source` and printed by the renderer, once each.
pub trait Explain: Error + Send + Sync + 'static {
    /// The exit status of a command that ends with this error.
    fn exit(&self) -> Exit {
        Exit::Failed
    }

    /// A sentence that says what to do next.
    fn hint(&self) -> Option<String> {
        None
    }

    /// Whether its text or its hint has lines of its own. What is inserted into them must be one
    /// line then, as [`crate::escape::line`] makes it; else line breaks are escaped when the error is
    /// printed.
    fn has_layout(&self) -> bool {
        false
    }
}

/// A command's failure: what `main` renders and turns into an exit status.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    /// The error, whose `source` chain holds the details.
    pub error: Box<dyn Error + Send + Sync>,
    /// What to do next.
    pub hint: Option<String>,
    /// Whether line breaks in its text are docferry's own.
    pub layout: bool,
}

impl<E: Explain> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            exit: error.exit(),
            hint: error.hint(),
            layout: error.has_layout(),
            error: Box::new(error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(formatter)
    }
}
