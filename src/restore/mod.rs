//! An export back to a database of the kind it came from.

mod error;
mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::RestoreError;
use serde::Serialize;

use crate::progress::Progress;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::ExportManifest;

/// Where a restore goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A new SQLite file.
    Sqlite(PathBuf),
}

impl Destination {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, RestoreError> {
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => {
                Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
            }
            _ => Err(RestoreError::Destination(text.to_owned())),
        }
    }
}

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// Tables with their rows, each read back and compared.
    pub tables: Vec<RestoredTable>,
    /// What could not come back as it was.
    pub notes: Vec<String>,
}

/// A restored table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredTable {
    /// Name.
    pub name: String,
    /// Rows.
    pub rows: u64,
}

/// Restores an export.
pub fn restore(
    run: &RunDirectory,
    manifest: &ExportManifest,
    destination: &Destination,
    progress: &Arc<dyn Progress>,
) -> Result<RestoreReport, RestoreError> {
    match destination {
        Destination::Sqlite(path) => sqlite::restore(run, manifest, path, progress.as_ref()),
    }
}
