//! An export back to a database of the kind it came from, or to the files of MongoDB's own tools.

mod archive;
mod check;
mod definitions;
mod differ;
mod dump;
mod error;
pub mod scratch;
mod selection;
mod server;
mod sqlite;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use check::{Checked, CheckedCollection, check};
use clap::ValueEnum;
pub use error::RestoreError;
pub use selection::Selection;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::progress::{Progress, Stage, Total};
use crate::source::is_mongodb;
use crate::staging::chain::Chain;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, ExportManifest, Skipped};

/// Where a restore goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A new SQLite file.
    Sqlite(PathBuf),
    /// A running MongoDB, with its URI as it was given.
    Server(String),
    /// A folder in which a mongodump directory is made.
    Dump(PathBuf),
    /// A new mongodump archive; gzipped where its name ends so.
    Archive(PathBuf),
}

impl Destination {
    /// Reads an address.
    pub fn parse(text: &str) -> Result<Self, RestoreError> {
        if is_mongodb(text) {
            return Ok(Self::Server(text.to_owned()));
        }
        match text.strip_prefix("sqlite:") {
            Some(path) if !path.is_empty() => {
                Ok(Self::Sqlite(path.strip_prefix("//").unwrap_or(path).into()))
            }
            None if !text.is_empty() && !text.contains("://") => {
                let plain = text.strip_suffix(".gz").unwrap_or(text);
                // `mysql:x` is a mistake, not a folder.
                let scheme = text.split_once(':').is_some_and(|(scheme, _)| {
                    !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphabetic())
                });
                if scheme || crate::redact::without_credentials(text) != text {
                    return Err(RestoreError::Destination(crate::redact::without_credentials(
                        text,
                    )));
                }
                Ok(if plain.ends_with(".archive") {
                    Self::Archive(text.into())
                } else {
                    Self::Dump(text.into())
                })
            }
            _ => Err(RestoreError::Destination(crate::redact::without_credentials(text))),
        }
    }
}

/// What becomes of collections of a server that hold documents already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Existing {
    /// Refuse, and write nothing.
    #[default]
    Refuse,
    /// Add what is missing. A document with an `_id` that is there with other content is left out
    /// and named.
    Add,
    /// Add what is missing, and put documents in the place of those with the same `_id`.
    Replace,
    /// Drop the collections first.
    Drop,
}

/// How a restore is done.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// What is restored.
    pub selection: Selection,
    /// What becomes of what is there.
    pub existing: Existing,
    /// Leave out all indexes but those of `_id`.
    pub no_indexes: bool,
    /// Gzip the files of a directory.
    pub gzip: bool,
    /// Inserts at the same time.
    pub threads: usize,
}

impl RestoreOptions {
    /// The indexes that are made, that of `_id` included.
    fn indexes<'c>(&self, collection: &'c CollectionManifest) -> &'c [Json] {
        if self.no_indexes { &[] } else { &collection.indexes }
    }

    /// The collections that are restored, which are told to who watches.
    fn selected<'c>(
        &self,
        manifest: &'c ExportManifest,
        progress: &dyn Progress,
    ) -> Vec<&'c CollectionManifest> {
        let collections = manifest.collections.iter();
        let selected: Vec<_> =
            collections.filter(|collection| self.selection.has(&collection.name)).collect();
        let expected = selected
            .iter()
            .map(|collection| (collection.name.clone(), Total::Records(collection.documents)));
        progress.expect(Stage::Restore, &expected.collect::<Vec<_>>());
        selected
    }

    /// Content of a collection's `.metadata.json`.
    fn metadata(&self, collection: &CollectionManifest) -> String {
        let CollectionManifest { name, kind, options, uuid, .. } = collection;
        metadata(name, kind, options, self.indexes(collection), uuid.as_deref())
    }

    /// A collection of which so many documents were written.
    fn restored(&self, collection: &CollectionManifest, rows: u64) -> RestoredTable {
        let made = self.indexes(collection).iter().filter(|index| index["name"] != "_id_");
        RestoredTable {
            name: collection.name.clone(),
            rows,
            indexes: made.count(),
            ..RestoredTable::default()
        }
    }
}

/// What was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// Tables or collections.
    pub tables: Vec<RestoredTable>,
    /// Views that were made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub views: Vec<String>,
    /// Documents left out because others with their `_id`s are there: collection and `_id`, the
    /// first hundred of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<(String, String)>,
    /// Indexes and views that the server refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
    /// What could not come back as it was.
    pub notes: Vec<String>,
}

/// An index or a view that the server refused; all others are there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Refused {
    /// Collection; of a view its name.
    pub collection: String,
    /// `index` or `view`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The server's message.
    pub detail: String,
}

/// A restored table or collection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RestoredTable {
    /// Name.
    pub name: String,
    /// Rows or documents that were written.
    pub rows: u64,
    /// Those that were there already, the same in every byte.
    pub present: u64,
    /// Those left out because others with their `_id`s are there.
    pub conflicts: u64,
    /// Indexes made, that of `_id` not counted.
    pub indexes: usize,
}

/// Conflicts that a report names.
const NAMED_CONFLICTS: usize = 100;

/// Restores an export.
pub async fn restore(
    run: &RunDirectory,
    destination: &Destination,
    options: &RestoreOptions,
    progress: &Arc<dyn Progress>,
) -> Result<RestoreReport, RestoreError> {
    let chain = Chain::open(run)?;
    let manifest = chain.newest();
    let sqlite = matches!(destination, Destination::Sqlite(_));
    if sqlite && !options.selection.is_everything() {
        return Err(RestoreError::WholeOnly);
    }
    let rows = manifest.collections.iter().find(|collection| collection.kind == "table");
    if let Some(collection) = rows.filter(|_| !sqlite) {
        return Err(RestoreError::NotDocuments {
            collection: collection.name.clone(),
            kind: manifest.source.kind.clone(),
        });
    }
    options.selection.check(manifest)?;
    let (shared, told) = (options.clone(), Arc::clone(progress));
    match destination.clone() {
        Destination::Server(uri) => {
            let report = server::restore(run, chain, &uri, options, progress).await?;
            options.selection.check_found(report)
        }
        Destination::Dump(path) => {
            blocking(move || dump::restore(&chain, &path, &shared, told.as_ref())).await
        }
        Destination::Archive(path) => {
            blocking(move || archive::restore(&chain, &path, &shared, told.as_ref())).await
        }
        Destination::Sqlite(path) => {
            let run = run.clone();
            blocking(move || sqlite::restore(&run, chain.newest(), &path, told.as_ref())).await
        }
    }
}

/// Fills a file under a temporary name, and gives it its own when it is whole.
fn new_file<T>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<T, RestoreError>,
) -> Result<T, RestoreError> {
    if path.exists() {
        return Err(RestoreError::Exists { path: path.to_owned() });
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".writing");
    let temporary = PathBuf::from(temporary);
    let failed = |source| RestoreError::Io { path: path.to_owned(), source };
    if temporary.exists() {
        fs::remove_file(&temporary).map_err(failed)?;
    }
    let filled = fill(&temporary).and_then(|result| {
        // Unlike a rename it does not take the place of a file that came meanwhile.
        fs::hard_link(&temporary, path).map_err(failed)?;
        Ok(result)
    });
    let _ = fs::remove_file(&temporary);
    filled
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RestoreError> + Send + 'static,
) -> Result<T, RestoreError> {
    tokio::task::spawn_blocking(work).await.map_err(RestoreError::Worker)?
}

/// The views of an export, which hold no documents.
fn views(manifest: &ExportManifest) -> impl Iterator<Item = &Skipped> {
    manifest.skipped.iter().filter(|skipped| skipped.options.get("viewOn").is_some())
}

/// What an export has besides its collections and a restore makes again: views and, of SQLite,
/// triggers.
fn remade(manifest: &ExportManifest) -> impl Iterator<Item = &Skipped> {
    let skipped = manifest.skipped.iter();
    skipped.filter(|skipped| {
        let sql = skipped.options.as_str().map(sqlite::is_remade);
        sql.unwrap_or_else(|| skipped.options.get("viewOn").is_some())
    })
}

/// Content of a `.metadata.json` file, as mongodump writes it: canonical Extended JSON.
fn metadata(
    name: &str,
    kind: &str,
    options: &Json,
    indexes: &[Json],
    uuid: Option<&str>,
) -> String {
    let options = if options.is_object() { options.clone() } else { json!({}) };
    let mut metadata = json!({"options": options, "indexes": indexes});
    if let Some(uuid) = uuid {
        metadata["uuid"] = uuid.into();
    }
    metadata["collectionName"] = name.into();
    metadata["type"] = kind.into();
    metadata.to_string()
}

/// What of a collection is not the same afterwards.
fn notes(collection: &CollectionManifest, files: bool) -> Vec<String> {
    let name = &collection.name;
    let mut notes = Vec::new();
    if collection.rejects > 0 {
        let rejects = collection.rejects;
        notes.push(format!(
            "{name}: {rejects} records that are no documents stay in rejects/export.jsonl"
        ));
    }
    if collection.options.get("capped").is_some_and(|capped| *capped == json!(true)) {
        notes.push(format!("{name} is capped: its documents come in `_id` order"));
    }
    if collection.kind == "timeseries" && files {
        notes.push(format!(
            "{name} is a time series: the file holds its measurements, not the server's buckets, \
             so that only docferry restores it as one"
        ));
    }
    notes
}
