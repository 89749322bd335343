//! What can be wrong with a source.

use std::path::{Path, PathBuf};

use ::mongodb::error::ErrorKind;
use rusqlite::ErrorCode;

use crate::failure::{Exit, Explain};
use crate::pgcopy::reader::NotACopy;
use crate::postgres::PostgresError;
use crate::redact::{AddressFault, without_credentials};

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The address is none that docferry reads.
    #[error("`{address}` is no source: {detail}")]
    Address {
        /// The address, without credentials.
        address: String,
        /// What is wrong.
        detail: String,
    },
    /// The address is malformed.
    #[error("the address {address} cannot be read")]
    Unreadable {
        /// What of it is not secret.
        address: String,
        /// What is wrong.
        #[source]
        fault: AddressFault,
    },
    /// A file or folder cannot be read.
    #[error("could not read {path}")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what its name says.
    #[error("{path} is damaged: {detail}")]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Files of which it cannot be told which ones are the source.
    #[error("{path} is no single source: {detail}")]
    Ambiguous {
        /// The folder or file.
        path: PathBuf,
        /// The files or databases that exclude each other.
        detail: String,
        /// How to choose.
        way_out: String,
    },
    /// A file of text has another encoding than UTF-8.
    #[error("{path} is not UTF-8 but {encoding}")]
    Encoding {
        /// Which one.
        path: PathBuf,
        /// The encoding that its first bytes tell.
        encoding: &'static str,
    },
    /// SQLite refused.
    #[error("could not {action} in {path}: {cause}")]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What was attempted.
        action: String,
        /// SQLite's message.
        cause: rusqlite::Error,
    },
    /// A SQLite file holds rows that it does not find again.
    #[error("{path} is damaged: {detail}")]
    SqliteDamaged {
        /// Which file.
        path: PathBuf,
        /// What does not agree.
        detail: String,
    },
    /// PostgreSQL cannot be reached, or refused.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// PostgreSQL's answer cannot be read.
    #[error(transparent)]
    Copy(NotACopy),
    /// The server cannot be reached, or refused.
    #[error("could not {action} at {address}{}: {}", tried(*.tries), describe(.cause))]
    Server {
        /// What was attempted.
        action: String,
        /// Server, without credentials.
        address: String,
        /// How often.
        tries: u32,
        /// The last answer.
        cause: ::mongodb::error::Error,
    },
    /// The server's answer lacks what it must have.
    #[error("could not {action} at {address}: the answer has no {lacks} that can be read")]
    Answer {
        /// What was attempted.
        action: String,
        /// Server, without credentials.
        address: String,
        /// What is missing.
        lacks: &'static str,
    },
    /// Options or an index that cannot be written down.
    #[error("options or an index that the server lists cannot be kept: {detail}")]
    Definition {
        /// What is wrong.
        detail: String,
    },
    /// A collection that is no longer there, or no longer the one that was listed.
    #[error(
        "collection {collection} of {address} was dropped, renamed or replaced while it was read: {detail}"
    )]
    Gone {
        /// Server, without credentials.
        address: String,
        /// Name at the start.
        collection: String,
        /// What shows it.
        detail: String,
    },
    /// It was asked to stop.
    #[error("the reading was interrupted")]
    Interrupted,
    /// A worker ended without a result: a defect of docferry.
    #[error("a reader of the source ended unexpectedly")]
    Worker(#[source] tokio::task::JoinError),
    /// A collection changed its name or definition after the snapshot, so that the server cannot
    /// read it there.
    #[error("collection {collection} of {address} was renamed, replaced or redefined after the moment that is read: {}", describe(.cause))]
    CatalogueChanged {
        /// Server, without credentials.
        address: String,
        /// Collection being read.
        collection: String,
        /// The server's message.
        cause: ::mongodb::error::Error,
    },
    /// The snapshot ended before everything was read.
    #[error("the snapshot of {address} ended while collection {collection} was read: {}", describe(.cause))]
    SnapshotEnded {
        /// Server, without credentials.
        address: String,
        /// Collection being read.
        collection: String,
        /// The server's message.
        cause: ::mongodb::error::Error,
    },
}

/// What a MongoDB server or its driver says, without the bytes of the reply.
pub fn describe(error: &::mongodb::error::Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(answer) => {
            format!("{} ({}, code {})", answer.message, answer.code_name, answer.code)
        }
        other => other.to_string(),
    }
}

/// Code of a server that knows no collection of this name or number.
pub(crate) const NAMESPACE_NOT_FOUND: i32 = 26;
/// Code of a server that knows no collection of this name and number.
pub(crate) const UUID_MISMATCH: i32 = 361;

/// The code with which a server refused; none where it did not answer.
pub(crate) fn code(error: &::mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(answer) => Some(answer.code),
        _ => None,
    }
}

/// Pauses before what failed is tried again, in milliseconds. An election takes about 12 seconds.
pub(crate) const PAUSES: [u64; 8] = [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000];

/// Error codes of a server that is going down, changing its primary, or has lost a cursor; what
/// was asked can be asked again. From MongoDB's `error_codes.yml`, category RetriableError, with
/// CursorNotFound, CursorKilled and QueryPlanKilled.
const PASSING: [i32; 20] = [
    6, 7, 43, 89, 91, 134, 175, 189, 237, 262, 358, 384, 9001, 10107, 11600, 11602, 13388, 13435,
    13436, 50915,
];

/// Whether an error may pass, so that it is worth to try again.
pub fn may_pass(error: &::mongodb::error::Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. } => true,
        ErrorKind::Command(answer) => PASSING.contains(&answer.code),
        _ => false,
    }
}

/// The way out of what a server, or its driver, said: a refusal is none of a server that cannot be
/// reached.
fn server_hint(error: &::mongodb::error::Error) -> Option<String> {
    const UNAUTHORIZED: i32 = 13;
    const AUTHENTICATION_FAILED: i32 = 18;
    let text = match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => "Check user, password and `authSource`.",
        ErrorKind::Command(answer) => match answer.code {
            AUTHENTICATION_FAILED => "Check user, password and `authSource`.",
            UNAUTHORIZED => "Give the user the privilege, or use one that has it.",
            _ if may_pass(error) => "Try it again when the server is ready.",
            // The server's own words say what it refuses.
            _ => return None,
        },
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::ServerSelection { .. } => {
            "Check that the server runs, and host, port, user and password."
        }
        _ => return None,
    };
    Some(text.to_owned())
}

fn tried(tries: u32) -> String {
    if tries > 1 { format!(" (tried {tries} times)") } else { String::new() }
}

impl SourceError {
    /// Whether a collection can no longer be read at the moment that was asked for.
    pub fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Gone { .. } | Self::SnapshotEnded { .. } | Self::CatalogueChanged { .. }
        )
    }

    /// The error of an address that is malformed.
    pub fn unreadable(address: &str, fault: AddressFault) -> Self {
        Self::Unreadable { address: without_credentials(address), fault }
    }
}

impl Explain for SourceError {
    fn exit(&self) -> Exit {
        match self {
            Self::Address { .. } | Self::Unreadable { .. } | Self::Ambiguous { .. } => Exit::Usage,
            Self::Postgres(error) => error.exit(),
            Self::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Address { .. } => Some(
                "Name mongodb://HOST/DATABASE, sqlite:FILE, postgres://HOST/DATABASE, the folder of a database in a mongodump directory, a mongodump archive (ARCHIVE#DATABASE where it holds several), a .bson file, or a file or folder of mongoexport's JSON.".into(),
            ),
            Self::Unreadable { fault, .. } => fault.hint(),
            Self::Ambiguous { way_out, .. } => Some(way_out.clone()),
            Self::Encoding { .. } => Some(
                "Convert it: `iconv -f UTF-16 -t UTF-8 FILE > NEW` (or UTF-32). PowerShell's `>` writes UTF-16: let mongoexport write its file itself, with --out.".into(),
            ),
            Self::Server { cause, .. } => server_hint(cause),
            Self::Postgres(error) => error.hint(),
            Self::Answer { .. } => Some("Check that it is a MongoDB, and which version.".into()),
            Self::Gone { .. } => Some(
                "Run it again while nothing drops, renames or replaces collections.".into(),
            ),
            Self::CatalogueChanged { .. } => Some(
                "Run it again: a new snapshot sees the collection as it is now.".into(),
            ),
            Self::SnapshotEnded { .. } => Some(
                "Raise the server's minSnapshotHistoryWindowInSeconds, or export with --no-snapshot.".into(),
            ),
            Self::SqliteDamaged { .. } => Some(
                "Repair a copy: `sqlite3 COPY REINDEX` makes indexes anew, `sqlite3 FILE .recover | sqlite3 NEW` saves what the pages hold.".into(),
            ),
            Self::Sqlite { path, cause, .. } => sqlite_hint(path, cause),
            _ => None,
        }
    }
}

/// The way out of an error of SQLite.
fn sqlite_hint(path: &Path, cause: &rusqlite::Error) -> Option<String> {
    let log = path.with_file_name(format!(
        "{}-wal",
        path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default()
    ));
    match cause.sqlite_error_code()? {
        ErrorCode::NotADatabase => Some(
            "It is no SQLite database, or an encrypted one: decrypt it first, as with sqlcipher_export.".into(),
        ),
        ErrorCode::DatabaseCorrupt => Some(
            "`sqlite3 FILE .recover | sqlite3 NEW` saves what the pages hold; look at what is missing before it is moved.".into(),
        ),
        ErrorCode::ReadOnly | ErrorCode::CannotOpen if log.exists() => Some(
            "Its newest rows are in the file of the same name with -wal, which SQLite opens only where it may write: copy both into another folder, and read the copy.".into(),
        ),
        ErrorCode::ReadOnly | ErrorCode::CannotOpen => Some(
            "A database in WAL mode is opened only where SQLite may write beside it: copy it into another folder, and read the copy.".into(),
        ),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            Some("Another program is writing to it: try again when it is done.".into())
        }
        _ => None,
    }
}
