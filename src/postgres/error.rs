//! What PostgreSQL answers, in full.

use tokio_postgres::error::SqlState;

use super::rights::MissingRight;
use crate::escape::line;
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
    /// A host is not of the kind that `target_session_attrs` names.
    #[error("{address} is no server of the kind `{wanted}`, as target_session_attrs wants it")]
    OtherHost {
        /// Host, port and database.
        address: String,
        /// `read-write`, `read-only`, `primary` or `standby`.
        wanted: String,
    },
    /// The role may not do what a load does.
    #[error("{}", .missing.iter().map(|missing| missing.detail.as_str()).collect::<Vec<_>>().join("; "))]
    MissingRights {
        /// What it may not do.
        missing: Vec<MissingRight>,
    },
    /// The address names another schema than the pipeline file.
    #[error(
        "the target address says schema={}, and the pipeline file fills schema `{}`",
        line(.stated), line(.schema)
    )]
    OtherSchema {
        /// The schema of the address.
        stated: String,
        /// The schema of the pipeline file.
        schema: String,
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

/// The way out where PostgreSQL cannot hold something.
fn beyond_a_limit(error: &tokio_postgres::Error) -> Option<String> {
    let message = error.as_db_error()?.message();
    let hint = if message.contains("index row") {
        "A value is too long for the index: leave the index out, use method = \"hash\", or set \
         `length` on the column, so that longer text is a reject."
    } else if message.contains("row is too big") {
        "The row has too many values for a page of 8 kB: put some columns into one with from = \"*\"."
    } else if message.contains("tsvector") {
        "The text has too many words for a search column: set `length` on it, or leave the search out."
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// The way out of a connection that did not come about, by what was answered.
fn how_to_connect(error: &tokio_postgres::Error) -> String {
    let Some(code) = error.code() else {
        return match encryption(error) {
            Some(Encryption::Certificate) => {
                "The server's certificate is not trusted. Name the file of its authority with \
                 sslrootcert=FILE in the address; sslmode=require encrypts without looking at it."
            }
            Some(Encryption::Missing) => {
                "The server has no TLS, or not for this host and role: sslmode=prefer uses it only \
                 where it is there."
            }
            Some(Encryption::Other) => {
                "The connection could not be encrypted: see sslmode, sslrootcert, sslcert and \
                 ssl_min_protocol_version in the address."
            }
            None => "Check that the server runs, and host and port.",
        }
        .to_owned();
    };
    let told = |text: &str| error.as_db_error().is_some_and(|told| told.message().contains(text));
    match *code {
        SqlState::INVALID_PASSWORD => {
            "Check user and password. A password in a URI is percent-encoded: `@` is %40, `/` %2F.".into()
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION if told("pg_hba.conf") => {
            "pg_hba.conf of the server has no line for this role, database, host and encryption: add \
             one, or see sslmode."
                .into()
        }
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "Check the user: without one in the address it is the account that runs docferry.".into()
        }
        SqlState::INVALID_CATALOG_NAME => {
            "Create the database first: docferry makes schemas and tables in it (createdb NAME).".into()
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "The role may not connect to the database: GRANT CONNECT ON DATABASE … TO ….".into()
        }
        SqlState::TOO_MANY_CONNECTIONS | SqlState::CONFIGURATION_LIMIT_EXCEEDED => {
            "All connections that the server or the role has are in use: end some, or use fewer with \
             --connections."
                .into()
        }
        SqlState::CANNOT_CONNECT_NOW => "The server starts or stops: try again.".into(),
        // What poolers answer to a parameter of the startup message.
        SqlState::PROTOCOL_VIOLATION | SqlState::FEATURE_NOT_SUPPORTED
            if told("startup parameter") =>
        {
            "A pooler answers there and takes no `options`: use the direct address of the server, or \
             leave `options` and PGOPTIONS out."
                .into()
        }
        _ => "The server refused the connection: see its message.".into(),
    }
}

/// Why a connection could not be encrypted.
enum Encryption {
    Certificate,
    Missing,
    Other,
}

fn encryption(error: &tokio_postgres::Error) -> Option<Encryption> {
    if !error.to_string().starts_with("error performing TLS handshake") {
        return None;
    }
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let tls = inner
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return Some(Encryption::Certificate);
        }
        if inner.to_string().contains("does not support TLS") {
            return Some(Encryption::Missing);
        }
        cause = inner.source();
    }
    Some(Encryption::Other)
}

impl Explain for PostgresError {
    fn exit(&self) -> Exit {
        match self {
            Self::Address(_) | Self::OtherSchema { .. } => Exit::Usage,
            Self::Interrupted { .. } => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Address(fault) => {
                Some(fault.hint().unwrap_or("Write postgres://USER@HOST:PORT/DATABASE.".into()))
            }
            Self::Connect { source, .. } => Some(how_to_connect(source)),
            Self::OtherHost { .. } => {
                Some("Name the right host, or leave target_session_attrs out.".into())
            }
            Self::MissingRights { missing } => {
                let cures: Vec<&str> =
                    missing.iter().map(|missing| missing.cure.as_str()).collect();
                Some(format!("As the owner or a superuser: {}", cures.join(" ")))
            }
            Self::OtherSchema { stated, .. } => Some(format!(
                "Write `schema = \"{}\"` into the pipeline file and stage anew, or take `schema` out \
                 of the address.",
                line(stated)
            )),
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
                Some(&SqlState::PROGRAM_LIMIT_EXCEEDED) => beyond_a_limit(source),
                Some(&SqlState::INSUFFICIENT_PRIVILEGE) => Some(
                    "Use the role that owns the object, or have its owner GRANT the right; \
                         `docferry doctor PIPELINE` lists what is missing."
                        .into(),
                ),
                Some(&SqlState::DISK_FULL) => {
                    Some("Free space on the server; the same command goes on from there.".into())
                }
                _ => None,
            },
            Self::Tls(_) | Self::Interrupted { .. } => None,
        }
    }
}
