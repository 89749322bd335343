//! The manifests: what a stage wrote, with the hash of every file and the counts that must agree.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checksum::{listed_sum, sha256_hex, write_sums};
use super::inventory::SourceObject;
use super::json_file::{parse_json, write_json};
use super::layout::{RunDirectory, io};
use super::own_files;
use super::part::PartFile;
use super::rejects::count_by_collection;
use super::table::TableDefinition;
use super::{FORMAT_VERSION, StagingError};
use crate::progress::Stage;

/// File name of a stage's manifest.
pub const MANIFEST: &str = "manifest.json";

/// `export/manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportManifest {
    /// Format version.
    pub format_version: u32,
    /// Version of docferry that wrote it.
    pub tool_version: String,
    /// Pipeline name.
    pub pipeline: String,
    /// Run id.
    pub run: String,
    /// Where the documents came from.
    pub source: SourceDescription,
    /// Whether all collections were read at one moment.
    pub snapshot: Snapshot,
    /// The export that this one adds to; none where this one is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// What was exported, sorted by name.
    pub collections: Vec<CollectionManifest>,
    /// What was not, and why.
    pub skipped: Vec<Skipped>,
    /// Every object of the source, taken or left out; empty in manifests of older versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_objects: Vec<SourceObject>,
}

/// The export that an incremental one adds to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Its run id.
    pub run: String,
    /// SHA-256 of its manifest.
    pub manifest_sha256: String,
    /// Exports from it down to the full one, both counted.
    pub length: u32,
}

/// A source, without credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceDescription {
    /// `mongodb`, `mongodump`, `archive`, …
    pub kind: String,
    /// URI without credentials, or path.
    pub address: String,
    /// Database name.
    pub database: String,
    /// Server version, where a server told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// What a SQLite file says of itself as a whole: `user_version`, `application_id`, `encoding`.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub settings: Value,
}

/// Whether an export is consistent across collections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Snapshot {
    /// All collections were read at this cluster time.
    ClusterTime {
        /// Seconds since the Unix epoch.
        seconds: u32,
        /// Counter within the second.
        increment: u32,
    },
    /// All were read in one transaction.
    Transaction,
    /// There is no common moment.
    None {
        /// Why not.
        reason: String,
    },
}

/// An exported collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionManifest {
    /// Collection name.
    pub name: String,
    /// `collection` or `timeseries`.
    pub kind: String,
    /// Documents staged.
    pub documents: u64,
    /// Their BSON bytes.
    pub document_bytes: u64,
    /// Documents of the source as it counts them, where the parts hold only what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_documents: Option<u64>,
    /// Records that are not BSON documents; each is a line in `rejects/export.jsonl`.
    pub rejects: u64,
    /// Parts, in `_id` order.
    pub parts: Vec<ExportPart>,
    /// The number that the server gave it when it was made; another means that it was made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// The source's records have no `_id`: the number of a record in its file, from 1, is the
    /// `_id` of its document.
    #[serde(default, skip_serializing_if = "is_false")]
    pub numbered: bool,
    /// Where the parts hold only what changed since the base was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// The greatest value of the field by which changes are found (canonical Extended JSON); the
    /// next incremental export begins there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_water: Option<Value>,
    /// Options as the source gave them (Extended JSON).
    #[serde(default)]
    pub options: Value,
    /// Indexes as the source gave them (Extended JSON).
    #[serde(default)]
    pub indexes: Vec<Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// How a collection differs from the base's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// The value from which on documents were taken (canonical Extended JSON); null where all were
    /// compared.
    pub since: Value,
    /// All documents were compared with those of the base.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compared: bool,
    /// Whether the `_id`s of the source were compared with those of the base.
    pub deletes_detected: bool,
    /// Parts whose documents are the `_id`s, each alone, of what is no longer there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<ExportPart>,
}

/// One exported part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPart {
    /// The file.
    #[serde(flatten)]
    pub file: PartFile,
    /// BSON bytes of its documents.
    pub document_bytes: u64,
    /// First `_id`, as in the `_id` column.
    pub first_id: String,
    /// Last `_id`.
    pub last_id: String,
    /// The greatest value of the field by which changes are found (canonical Extended JSON).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_water: Option<Value>,
}

/// Something in the source that was not exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// A view's definition (Extended JSON).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub options: Value,
}

/// `transform/manifest.json`. Holds no times, so that equal input gives an equal file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TransformManifest {
    /// Format version.
    pub format_version: u32,
    /// Version of docferry that wrote it.
    pub tool_version: String,
    /// Pipeline name.
    pub pipeline: String,
    /// Target schema.
    pub schema: String,
    /// SHA-256 of the pipeline file that was used.
    pub pipeline_sha256: String,
    /// SHA-256 of the export manifest that was read.
    pub export_sha256: String,
    /// SHA-256 of everything that the outcome depends on: both files, the SQL files, the version.
    #[serde(default)]
    pub input_sha256: String,
    /// Tables and junction tables, in the order of the pipeline file.
    pub tables: Vec<TableManifest>,
    /// Exported collections that the pipeline file leaves out on purpose, with their documents.
    pub ignored: BTreeMap<String, u64>,
    /// Records that the export rejected because they are no documents, by collection.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unreadable: BTreeMap<String, u64>,
    /// SHA-256 of the list of rejects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejects_sha256: Option<String>,
    /// SQL to run before the tables are made.
    #[serde(default)]
    pub before_load: Vec<Hook>,
    /// SQL to run after the last constraint is made.
    #[serde(default)]
    pub after_load: Vec<Hook>,
}

impl TransformManifest {
    /// What a transform would stage, before there is a row.
    pub fn planned(pipeline: &str, schema: &str, definitions: Vec<TableDefinition>) -> Self {
        let tables = definitions.into_iter().map(TableManifest::planned);
        Self {
            format_version: FORMAT_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: pipeline.to_owned(),
            schema: schema.to_owned(),
            pipeline_sha256: String::new(),
            export_sha256: String::new(),
            input_sha256: String::new(),
            tables: tables.collect(),
            ignored: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            rejects_sha256: None,
            before_load: Vec::new(),
            after_load: Vec::new(),
        }
    }
}

/// An SQL file of the pipeline, carried along so that the load needs the staged files alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its path, as the pipeline file names it.
    pub path: String,
    /// Its text.
    pub sql: String,
}

/// A staged table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableManifest {
    /// Its definition, as every part carries it too.
    pub definition: TableDefinition,
    /// Documents (or array elements) read for it: `rows + rejects + dropped`.
    pub records: u64,
    /// Rows staged.
    pub rows: u64,
    /// Records refused.
    pub rejects: u64,
    /// Records that are no row of their own and no reject: left out under a rule of the pipeline
    /// file, or merged with an equal link.
    pub dropped: u64,
    /// Parts, in order.
    pub parts: Vec<PartFile>,
    /// Where the parts of each later `--retry-rejects` begin among the parts. Rows before it refer to
    /// no row after it: what was dangling stays NULL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retried: Vec<usize>,
    /// Parts of the map of old and new keys, of a table with serial ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<PartFile>,
    /// Refused records by rule.
    pub rejects_by_rule: BTreeMap<String, u64>,
    /// What was changed or noticed under a rule of the pipeline file, by rule: dangling
    /// references set to NULL, NULs stripped, dropped fields.
    pub findings: BTreeMap<String, u64>,
    /// What each column's field held.
    pub columns: Vec<ColumnCounts>,
    /// What the arrays were that other tables are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrays: Vec<ArrayCounts>,
    /// Counts of a junction table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub junction: Option<JunctionCounts>,
}

impl TableManifest {
    fn planned(definition: TableDefinition) -> Self {
        Self {
            definition,
            records: 0,
            rows: 0,
            rejects: 0,
            dropped: 0,
            parts: Vec::new(),
            retried: Vec::new(),
            ids: Vec::new(),
            rejects_by_rule: BTreeMap::new(),
            findings: BTreeMap::new(),
            columns: Vec::new(),
            arrays: Vec::new(),
            junction: None,
        }
    }
}

/// What the field of a column held, over all documents that became rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnCounts {
    /// Column name.
    pub name: String,
    /// A value was there.
    pub present: u64,
    /// The field was null.
    pub null: u64,
    /// There was no such field.
    pub missing: u64,
}

/// What an array was in the documents that became rows, where its elements are rows of another
/// table. Without a column that tells them apart (`presence = true`), empty, null and missing arrays
/// are one thing in PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayCounts {
    /// Path of the array.
    pub path: String,
    /// It holds elements.
    pub filled: u64,
    /// It holds none.
    pub empty: u64,
    /// The field was null.
    pub null: u64,
    /// There was no such field.
    pub missing: u64,
    /// The field was undefined.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undefined: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Where the elements of a junction's arrays went:
/// `elements = rows + both_sides + repeats + nulls + dangling + refused`, summed over both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JunctionCounts {
    /// Array elements read, per source path.
    pub elements: BTreeMap<String, u64>,
    /// Links found on both sides, which are one row.
    pub both_sides: u64,
    /// Links that only the first side holds.
    pub only_first: u64,
    /// Links that only the second side holds.
    pub only_second: u64,
    /// Repeats inside one array.
    pub repeats: u64,
    /// Null elements.
    pub nulls: u64,
    /// Elements whose target is not among the accepted rows.
    pub dangling: u64,
    /// Elements that are no id.
    pub refused: u64,
}

impl ExportManifest {
    /// Path inside a run.
    pub const PATH: &'static str = "export/manifest.json";

    /// Writes the manifest and its `SHA256SUMS`.
    pub fn write(&self, run: &RunDirectory) -> Result<(), StagingError> {
        write_stage(run, Stage::Export, Self::PATH, "export manifest", self, self.files())
    }

    /// Its parts, in the order of `SHA256SUMS`.
    pub fn files(&self) -> impl Iterator<Item = &PartFile> + Clone {
        self.collections.iter().flat_map(CollectionManifest::files)
    }

    /// Says, a sentence each, where the rejects of a collection are not the lines of the list of
    /// rejects: a record of the source would be neither a document nor a reject.
    pub fn rejects_not_listed(&self, run: &RunDirectory) -> Result<Vec<String>, StagingError> {
        let mut listed = count_by_collection(run)?;
        let mut wrong = Vec::new();
        for collection in &self.collections {
            let (name, rejects) = (&collection.name, collection.rejects);
            let lines = listed.remove(name).unwrap_or(0);
            if lines != rejects {
                wrong.push(format!(
                    "collection {name}: {rejects} records were rejected by the export, {lines} of them are listed"
                ));
            }
        }
        let unknown = listed.into_iter();
        wrong.extend(unknown.map(|(name, lines)| {
            format!("collection {name} is not in the export, but {lines} rejects of it are listed")
        }));
        Ok(wrong)
    }

    /// Whether it holds or adds to a document.
    pub fn is_filled(&self) -> bool {
        let filled = |collection: &CollectionManifest| {
            collection.documents > 0 || collection.changes.is_some() || collection.rejects > 0
        };
        self.collections.iter().any(filled)
    }

    /// Whether a collection was exported.
    pub fn has(&self, collection: &str) -> bool {
        self.collections.iter().any(|found| found.name == collection)
    }

    /// Reads it; an error that names the stage when it is not there.
    pub fn read(run: &RunDirectory) -> Result<Self, StagingError> {
        read_stage(run, Self::PATH, Stage::Export, "export manifest")
    }

    /// Reads the bytes of one; `path` is for messages.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, StagingError> {
        parse_json(path, "export manifest", bytes)
    }

    /// A manifest with nothing in it yet.
    pub fn new(run: &RunDirectory, source: SourceDescription, snapshot: Snapshot) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: run.pipeline().to_owned(),
            run: run.run().to_owned(),
            source,
            snapshot,
            base: None,
            collections: Vec::new(),
            skipped: Vec::new(),
            source_objects: Vec::new(),
        }
    }
}

impl CollectionManifest {
    /// Records that the source held: documents and rejects.
    pub fn records(&self) -> u64 {
        self.documents.saturating_add(self.rejects)
    }

    /// Its parts, those of deleted documents last.
    pub fn files(&self) -> impl Iterator<Item = &PartFile> + Clone {
        let deleted = self.changes.iter().flat_map(|changes| &changes.deleted);
        self.parts.iter().chain(deleted).map(|part| &part.file)
    }
}

impl TableManifest {
    /// Links that another element of the source's arrays holds too, so that they are one row.
    pub fn merged(&self) -> u64 {
        let links = self.junction.as_ref();
        let merged = links.map_or(0, |links| links.both_sides.saturating_add(links.repeats));
        merged.min(self.dropped)
    }

    /// Records left out under a rule of the pipeline file.
    pub fn left_out(&self) -> u64 {
        self.dropped - self.merged()
    }
}

impl TransformManifest {
    /// Path inside a run.
    pub const PATH: &'static str = "transform/manifest.json";

    /// Its parts, in the order of `SHA256SUMS`.
    pub fn files(&self) -> impl Iterator<Item = &PartFile> + Clone {
        self.tables.iter().flat_map(|table| table.parts.iter().chain(&table.ids))
    }

    /// Writes the manifest and its `SHA256SUMS`.
    pub fn write(&self, run: &RunDirectory) -> Result<(), StagingError> {
        write_stage(run, Stage::Transform, Self::PATH, "transform manifest", self, self.files())
    }

    /// Reads it; an error that names the stage when it is not there.
    pub fn read(run: &RunDirectory) -> Result<Self, StagingError> {
        read_stage(run, Self::PATH, Stage::Transform, "transform manifest")
    }

    /// Reads the bytes of one; `path` is for messages.
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, StagingError> {
        parse_json(path, "transform manifest", bytes)
    }
}

/// Writes a manifest between two lists of hashes: the second has its own, so that an edit is
/// found; while it is replaced it has none.
fn write_stage<'a, T: Serialize>(
    run: &RunDirectory,
    stage: Stage,
    path: &str,
    what: &'static str,
    manifest: &T,
    files: impl Iterator<Item = &'a PartFile> + Clone,
) -> Result<(), StagingError> {
    let directory = run.stage_directory(stage);
    write_sums(&directory, &stage.to_string(), files.clone(), None)?;
    let bytes = write_json(&run.resolve(path), what, manifest)?;
    write_sums(&directory, &stage.to_string(), files, Some(&sha256_hex(&bytes)))
}

fn read_stage<T: serde::de::DeserializeOwned>(
    run: &RunDirectory,
    path: &str,
    stage: Stage,
    what: &'static str,
) -> Result<T, StagingError> {
    let path = run.resolve(path);
    let bytes = match own_files::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(StagingError::NotFinished { run: run.run().to_owned(), stage });
        }
        read => read.map_err(io("read", &path))?,
    };
    // What cannot be read, or has another version, is said first: that says more.
    let manifest = parse_json(&path, what, &bytes)?;
    match listed_sum(&run.stage_directory(stage), MANIFEST) {
        Some(sha256) if sha256 != sha256_hex(&bytes) => Err(StagingError::Edited { path }),
        _ => Ok(manifest),
    }
}
