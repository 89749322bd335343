//! Why a load ended early.

use super::Difference;
use crate::escape::line;
use crate::failure::{Exit, Explain};
use crate::pgcopy::CopyError;
use crate::postgres::PostgresError;
use crate::postgres::objects::{ObjectKind, Occupant, Wanted};
use crate::sql::printable;
use crate::staging::StagingError;
use tokio_postgres::error::SqlState;

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
    /// A target table holds rows.
    #[error("table {table} holds {rows} rows")]
    NotEmpty {
        /// Table name.
        table: String,
        /// Rows in it.
        rows: i64,
    },
    /// Tables that are there are not as the staged rows need them.
    #[error("the tables are not as the staged rows need them: {}", list(.0))]
    Differs(Vec<Difference>),
    /// Other objects of the schema have names that the load gives.
    #[error("names are taken in schema {schema}: {}", taken(.occupants))]
    NamesTaken {
        /// Schema.
        schema: String,
        /// Who has them.
        occupants: Vec<Occupant>,
    },
    /// An object of a table that this run made has another definition.
    #[error("{kind} {name} of table {table} is {found}, not {expected}")]
    OtherDefinition {
        /// Table name.
        table: String,
        /// Kind of the object.
        kind: ObjectKind,
        /// Its name.
        name: String,
        /// Definition in the staged files.
        expected: String,
        /// Definition in the database.
        found: String,
    },
    /// A type or function that tables need has another definition.
    #[error("{kind} {name} exists in schema {schema} as {found}, not as {expected}")]
    OtherType {
        /// Schema.
        schema: String,
        /// `enum type` or `function`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Definition in the staged files.
        expected: String,
        /// Definition in the database.
        found: String,
    },
    /// The run was loaded before in another way.
    #[error("the run was begun with --home {home} --mode {mode}")]
    OtherWay {
        /// Who made the tables.
        home: String,
        /// What became of rows.
        mode: String,
    },
    /// An SQL file holds a statement that would end the load's transaction.
    #[error(
        "SQL file {path}, line {line}: {statement} would end the transaction that it is part of"
    )]
    HookControls {
        /// Which file.
        path: String,
        /// Line of the statement.
        line: usize,
        /// Its first words.
        statement: String,
    },
    /// An SQL file ended the load's transaction all the same.
    #[error("SQL file {path} ended the transaction that it is part of")]
    HookEnded {
        /// Which file.
        path: String,
    },
    /// It was asked to stop.
    #[error("the load was interrupted")]
    Interrupted,
    /// The ledger knows no such run.
    #[error("run {run} is not loaded there")]
    NotLoaded {
        /// As it was named.
        run: String,
    },
    /// The load has not ended.
    #[error("the load of run {run} has not ended")]
    NotEnded {
        /// `pipeline/run`.
        run: String,
    },
    /// The rows that were there before were let go.
    #[error("the rows that the load of run {run} changed or replaced are no longer kept")]
    Forgotten {
        /// `pipeline/run`.
        run: String,
    },
    /// Several runs are meant.
    #[error("{run} is the id of several runs: {}", .names.join(", "))]
    Ambiguous {
        /// As it was named.
        run: String,
        /// Their full names.
        names: Vec<String>,
    },
    /// Rows were changed after the load.
    #[error("the data changed after the load: {}", .changes.join("; "))]
    ChangedSince {
        /// A sentence each.
        changes: Vec<String>,
    },
    /// Rows of tables that the load has nothing to do with would be changed.
    #[error("this would change rows of others: {}", .found.join("; "))]
    RowsOfOthers {
        /// What would change them, a sentence each.
        found: Vec<String>,
        /// Whether it is a load that is being undone.
        undo: bool,
    },
    /// Policies of its tables would keep the role from copying rows.
    #[error("tables of tenants ({}) need a role that row-level security does not hold back", .tables.join(", "))]
    HeldBack {
        /// Tables with a tenant that the load makes.
        tables: Vec<String>,
    },
    /// A lock was not to be had.
    #[error(
        "could not {action}: another transaction holds a lock{}",
        if .blockers.is_empty() { String::new() } else { format!(": {}", .blockers) }
    )]
    Blocked {
        /// What was attempted.
        action: String,
        /// The processes that were in the way.
        blockers: String,
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

/// Who has which name.
fn taken(occupants: &[Occupant]) -> String {
    let lines = occupants.iter().map(|occupant| {
        let Wanted { table, kind, name } = &occupant.wanted;
        let owner = match &occupant.table {
            Some(table) => format!("{} {name} of table {table}", occupant.kind),
            None => format!("{} {name}", occupant.kind),
        };
        match kind.as_str() {
            "table" | "enum type" => {
                own_line(&format!("{owner} has the name of a {kind} of the load"))
            }
            _ => own_line(&format!("{owner} has the name of the {kind} of table {table}")),
        }
    });
    lines.collect()
}

/// Those that hinder the load, then the others.
fn list(differences: &[Difference]) -> String {
    let of = |blocking: bool| differences.iter().filter(move |found| found.blocking == blocking);
    let lines = of(true).chain(of(false)).map(|found| own_line(&found.to_string()));
    lines.collect()
}

/// A line below the first one of an error.
fn own_line(text: &str) -> String {
    format!("\n  {}", line(text))
}

impl LoadError {
    /// Whether the server refused a statement for one of these reasons.
    pub(super) fn is(&self, codes: &[SqlState]) -> bool {
        let Self::Postgres(PostgresError::Statement { source, .. }) = self else { return false };
        source.code().is_some_and(|code| codes.contains(code))
    }

    /// Whether it may be well after a while: the server, or the way to it, was gone.
    pub(super) fn may_pass(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        match error {
            PostgresError::Connect { .. } | PostgresError::NoAnswer { .. } => true,
            PostgresError::Statement { source, .. } => {
                let stopped = [
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                    SqlState::CANNOT_CONNECT_NOW,
                ];
                source.is_closed()
                    || source.code().is_some_and(|code| stopped.contains(code))
                    || std::error::Error::source(source)
                        .is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
            }
            _ => false,
        }
    }
}

impl Explain for LoadError {
    fn has_layout(&self) -> bool {
        matches!(self, Self::Differs(_) | Self::NamesTaken { .. })
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Postgres(error) => error.exit(),
            Self::Staging(error) => error.exit(),
            Self::Locked { .. } | Self::Blocked { .. } => Exit::Locked,
            Self::Interrupted => Exit::Interrupted,
            Self::NotLoaded { .. } => Exit::NoSuchRun,
            Self::OtherWay { .. } | Self::Ambiguous { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Postgres(error) => error.hint(),
            Self::Staging(error) => error.hint(),
            Self::TableExists { .. } => Some(
                "Drop it, load into another schema (`schema` in the pipeline file), or use \
                     --home existing, --mode upsert or --mode replace."
                    .into(),
            ),
            Self::OtherPart { .. } => {
                Some("The run was transformed again after its load. Drop its tables first.".into())
            }
            Self::NotEmpty { .. } => {
                Some("Use --mode upsert or --mode replace, or empty it first.".into())
            }
            Self::Differs(_) => Some(
                "Nothing was written. Change the pipeline file, or the tables, until they agree."
                    .into(),
            ),
            Self::NamesTaken { schema, occupants } => {
                let renames: Vec<String> = occupants
                    .iter()
                    .map(|occupant| format!("\n  {};", printable(&occupant.rename)))
                    .collect();
                Some(format!(
                    "No row was copied. Load into another schema (`schema` in the pipeline file \
                     instead of {schema}), drop these objects, or rename them:{}",
                    renames.concat()
                ))
            }
            Self::OtherDefinition { kind, .. } => Some(format!(
                "Somebody made this {kind} after the load began. Drop it, and load again."
            )),
            Self::OtherType { kind, .. } => Some(format!(
                "No row was copied. Drop or rename this {kind}, change the pipeline file, or load \
                 into another schema (`schema` in the pipeline file)."
            )),
            Self::OtherWay { .. } => {
                Some("Go on in the same way, or undo it first with `docferry rollback`.".into())
            }
            Self::HookControls { .. } => Some(
                "Nothing was written. Leave the statement out, and transform again: each file is run \
                 in a transaction, together with its entry in the ledger."
                    .into(),
            ),
            Self::HookEnded { .. } => Some(
                "What was done until then stays. Undo it with `docferry rollback`, leave the \
                 statement out, and transform again."
                    .into(),
            ),
            Self::Interrupted => {
                Some("Loaded parts are kept: the same command goes on from there.".into())
            }
            Self::NotLoaded { .. } => {
                Some("The table docferry.runs of that database names the runs that are.".into())
            }
            Self::Ambiguous { .. } => Some("Name it as `pipeline/run`.".into()),
            Self::ChangedSince { .. } => Some(
                "Nothing was undone. --force undoes it all the same, these changes included."
                    .into(),
            ),
            Self::HeldBack { .. } => Some(
                "Nothing was written. Use a superuser, or give the role BYPASSRLS: the policies stand \
                 before the first row."
                    .into(),
            ),
            Self::RowsOfOthers { undo: false, .. } => Some(
                "Nothing of it was changed. Use --mode upsert, which keeps rows that are referred \
                 to; or change these rows, or drop these foreign keys, triggers and rules, first."
                    .into(),
            ),
            Self::RowsOfOthers { undo: true, .. } => Some(
                "Nothing was undone. Change or delete these rows, or drop these foreign keys, \
                 triggers and rules, first; --force does not touch rows of others either."
                    .into(),
            ),
            Self::Blocked { .. } => Some(
                "End that transaction, or wait for its end; then the same command again.".into(),
            ),
            Self::NotEnded { .. } => Some("Let it end first: `docferry load` goes on with it.".into()),
            Self::Forgotten { .. } => Some(
                "They were let go with `rollback --forget`: it can be neither undone nor added to. \
                 Load a new run."
                    .into(),
            ),
            Self::Locked { .. } => Some("Wait for it to end, or stop it.".into()),
            _ => None,
        }
    }
}
