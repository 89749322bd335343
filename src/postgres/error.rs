//! What PostgreSQL answers, in full.

use tokio_postgres::error::SqlState;

use crate::failure::{Exit, Explain};
use crate::redact::AddressFault;

/// A server that cannot be reached, or a statement that failed.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// The address cannot be read.
    #[error("the target address cannot be read")]
    Address(#[source] AddressFault),
    /// No connection.
    #[error("could not connect to PostgreSQL at {address} (tried {tries} times): {}", describe(.source))]
    Connect {
        /// Host, port and database.
        address: String,
        /// How often.
        tries: u32,
        /// Why not.
        source: tokio_postgres::Error,
    },
    /// The server accepts connections, and says nothing.
    #[error("PostgreSQL at {address} did not open a session within {seconds} seconds")]
    NoAnswer {
        /// Host, port and database.
        address: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A signal came before there was a session.
    #[error("interrupted while connecting to PostgreSQL at {address}")]
    Interrupted {
        /// Host, port and database.
        address: String,
    },
    /// What answers is a pooler that shares the sessions of the server.
    #[error(
        "{address} is a pooler that gives each transaction another session of PostgreSQL: locks \
         and settings would be lost, and reach others"
    )]
    Pooled {
        /// Host, port and database.
        address: String,
    },
    /// Others own, or may change, what decides over rows and tables of the target.
    #[error("the ledger of loads cannot be trusted: {}", .found.join("; "))]
    ForeignLedger {
        /// What is wrong, a sentence each.
        found: Vec<String>,
    },
    /// A statement failed.
    #[error("could not {action}: {}", describe(.source))]
    Statement {
        /// What was attempted.
        action: String,
        /// The server's answer.
        source: tokio_postgres::Error,
    },
    /// Certificates of the system cannot be read.
    #[error("could not set up TLS: {0}")]
    Tls(String),
}

/// The server's message, code, detail and place; the driver itself prints only "db error".
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(answer) => {
            let mut text = format!("{} (SQLSTATE {})", answer.message(), answer.code().code());
            for part in [answer.detail(), answer.where_()].into_iter().flatten() {
                text.push_str("; ");
                text.push_str(part);
            }
            text
        }
        None => error.to_string(),
    }
}

impl Explain for PostgresError {
    fn exit(&self) -> Exit {
        match self {
            Self::Address(_) => Exit::Usage,
            Self::Interrupted { .. } => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Address(fault) => Some(
                fault.hint().unwrap_or("Write postgres://USER@HOST:PORT/DATABASE.".into()),
            ),
            Self::Connect { .. } => {
                Some("Check that the server runs, and host, port, user and password.".into())
            }
            Self::NoAnswer { .. } => Some(
                "Something listens there, but no session opens: look at the server, or at the \
                 pooler or load balancer before it. `connect_timeout` in the address is the time \
                 that it may take, in seconds."
                    .into(),
            ),
            Self::ForeignLedger { .. } => Some(
                "Nothing was done. Use the role that made schema docferry; or look at what others \
                 made there, and drop it, take their rights back, or drop the schema (then loads \
                 made before cannot be rolled back)."
                    .into(),
            ),
            Self::Pooled { .. } => Some(
                "Use the direct address of the server, or a port of the pooler in session mode."
                    .into(),
            ),
            Self::Statement { source, .. } => match source.code() {
                Some(&SqlState::PROGRAM_LIMIT_EXCEEDED) => Some(
                    "A value is too long for the index: leave the index out, use method = \"hash\", \
                     or set `length` on the column, so that longer text is a reject."
                        .into(),
                ),
                Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                    Some("Use a role that owns the tables, or may create them.".into())
                }
                Some(&SqlState::DISK_FULL) => {
                    Some("Free space on the server; the same command goes on from there.".into())
                }
                _ => None,
            },
            Self::Tls(_) | Self::Interrupted { .. } => None,
        }
    }
}
