//! How a stage tells what it is doing, and hears that it shall stop. Stages speak through this trait only; what a person sees
//! of it is decided in `report`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The four stages of a migration, and what else takes long enough to be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Source to exported parts.
    Export,
    /// Exported parts to typed parts.
    Transform,
    /// Typed parts to PostgreSQL.
    Load,
    /// Proof that staged files and PostgreSQL agree.
    Verify,
    /// What is staged is checked and looked at.
    Audit,
    /// Exported parts to a database of the kind they came from.
    Restore,
    /// What was loaded is dumped by PostgreSQL's own tool.
    Dump,
    /// A source is looked at, to draft a pipeline file.
    Plan,
    /// No stage of a migration: a database is being made up.
    Generate,
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Export => "export",
            Self::Transform => "transform",
            Self::Load => "load",
            Self::Verify => "verify",
            Self::Audit => "audit",
            Self::Restore => "restore",
            Self::Dump => "dump",
            Self::Plan => "plan",
            Self::Generate => "generate",
        })
    }
}

/// How much work there is, where it is known; an estimate is good enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// So many records.
    Records(u64),
    /// So many bytes.
    Bytes(u64),
    /// Nobody can tell.
    Unknown,
}

/// Receives the events of a running stage. Called from many threads at once.
pub trait Progress: Send + Sync {
    /// All that follows is about this run.
    fn run(&self, _run: &str) {}

    /// The items whose records make up the whole of a stage, ahead of the first.
    fn expect(&self, stage: Stage, items: &[(String, Total)]);

    /// Work on `item` (a collection or table) begins.
    fn start(&self, stage: Stage, item: &str, total: Total);

    /// `records` more records of `item`, `bytes` in size, are done.
    fn advance(&self, stage: Stage, item: &str, records: u64, bytes: u64);

    /// `item` is finished.
    fn finish(&self, stage: Stage, item: &str);

    /// Something a person should know that is not an error, such as a skipped view.
    fn note(&self, stage: Stage, message: &str);

    /// Whether the stage was asked to stop. It ends after the parts in hand, so that it can go on
    /// from there.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Says nothing; for tests and for `--quiet`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn expect(&self, _: Stage, _: &[(String, Total)]) {}
    fn start(&self, _: Stage, _: &str, _: Total) {}
    fn advance(&self, _: Stage, _: &str, _: u64, _: u64) {}
    fn finish(&self, _: Stage, _: &str) {}
    fn note(&self, _: Stage, _: &str) {}
}
