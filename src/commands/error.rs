//! What can go wrong in a command itself.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::failure::{Exit, Explain};
use crate::staging::guard::ALLOW_SHRINK;
use crate::staging::run::Held;

/// Reasons that a message lists.
const MOST_REASONS: usize = 10;

/// A command that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The asynchronous runtime.
    #[error("could not start the runtime")]
    Runtime(#[source] std::io::Error),
    /// The operating system's signals.
    #[error("could not prepare for signals")]
    Signals(#[source] std::io::Error),
    /// A file.
    #[error("could not read or write {path}")]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file is there already.
    #[error("{path} exists already")]
    Exists {
        /// Which one.
        path: PathBuf,
    },
    /// Neither a source nor a schema was named.
    #[error("name a source")]
    NoSource,
    /// `--database` for a source that is one database.
    #[error("--database chooses one of several, and this source is one database")]
    OneDatabase,
    /// An incremental export without the field that tells changes.
    #[error("it is not said by which field changes are found")]
    NoField,
    /// No target was named.
    #[error("name a target")]
    NoTarget,
    /// A file with a secret that others can read.
    #[error("{path} holds a secret, and others can read or write it (mode {mode:o})")]
    OpenSecret {
        /// Which one.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file without an address.
    #[error("{path} holds no address")]
    NoAddress {
        /// Which one.
        path: PathBuf,
    },
    /// A prune without a rule.
    #[error("there is no rule that says what is kept")]
    NoRules,
    /// The source holds nothing, or less than at the last good run.
    #[error("run {run} is held: {}", list(.reasons))]
    Held {
        /// Run id.
        run: String,
        /// The good run that it was compared with.
        compared_with: Option<String>,
        /// What the source lacks.
        reasons: Vec<String>,
        /// The option that accepts it.
        option: &'static str,
    },
    /// An id that is none.
    #[error("`{0}` is neither an ObjectId, nor a UUID made from one, nor an _id in Extended JSON")]
    Id(String),
}

/// Sentences in a row; of many the first ones.
fn list(reasons: &[String]) -> String {
    let mut text = reasons.iter().take(MOST_REASONS).cloned().collect::<Vec<_>>().join("; ");
    if let Some(more) = reasons.len().checked_sub(MOST_REASONS).filter(|more| *more > 0) {
        let _ = write!(text, "; and {more} more");
    }
    text
}

impl CommandError {
    /// The error of a run that is held.
    pub(super) fn held(run: &str, held: Held, option: &'static str) -> Self {
        let Held { compared_with, reasons } = held;
        Self::Held { run: run.to_owned(), compared_with, reasons, option }
    }
}

impl Explain for CommandError {
    fn exit(&self) -> Exit {
        match self {
            Self::Held { .. } => Exit::Held,
            Self::Id(_)
            | Self::Exists { .. }
            | Self::NoSource
            | Self::OneDatabase
            | Self::NoTarget
            | Self::NoField
            | Self::OpenSecret { .. }
            | Self::NoAddress { .. }
            | Self::NoRules => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("Name a new file, or overwrite it with --force.".into()),
            Self::NoSource => Some(
                "With --source, --source-file or MONGODB_URI; `plan` takes a schema with --prisma as well.".into(),
            ),
            Self::OneDatabase => Some("Leave --database out.".into()),
            Self::NoField => Some(
                "Name it with --by, or in the pipeline file: [backup] changed = \"updatedAt\".".into(),
            ),
            Self::NoTarget => Some(
                "With --target, --target-file, DATABASE_URL, or PGHOST and PGDATABASE.".into(),
            ),
            Self::OpenSecret { path, .. } => Some(format!("chmod 600 {}", path.display())),
            Self::NoAddress { .. } => Some("Its first line is the address.".into()),
            Self::NoRules => {
                Some("Name one or more: --keep-last 3 --keep-daily 7 --keep-monthly 12.".into())
            }
            Self::Held { run, compared_with, option, .. } => {
                let command =
                    if *option == ALLOW_SHRINK { "`docferry backup`" } else { "the same command" };
                let stays = match compared_with {
                    Some(last) => format!("It was compared with run {last}, the last good one, which stays `latest`; nothing was removed."),
                    None => "There is no good run yet, and `latest` does not point to this one.".to_owned(),
                };
                Some(format!(
                    "{stays} Check the source and the name of its database. If it is meant to hold so little, accept the run with {command} and `--resume {run} {option}`."
                ))
            }
            Self::Id(_) => Some(
                "An ObjectId has 24 hexadecimal digits; a text is quoted as JSON: '\"ann\"'.".into(),
            ),
            _ => None,
        }
    }
}
