//! Source to exported parts: the BSON bytes as they are, in `_id` order, compressed and hashed.
//!
//! Collections and ranges of one collection are read at the same time. A batch is gathered in
//! memory, brought into order if it is not, and written by a thread of its own while the next one
//! is read. Where the source does not give `_id` order across batches, the sorted parts are merged.
//! A journal tells what is written, so that an export that was stopped goes on from there.

mod changes;
mod compare;
mod error;
mod files;
mod journal;
mod marks;
mod merge;
mod moment;
mod part;
mod records;
mod server;
mod stream;
mod whole;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use changes::Since;
pub use error::ExportError;
use mongodb::bson::DateTime;
use serde_json::Value as Json;
use tokio::sync::Semaphore;
pub use whole::whole;

use self::journal::{Before, Entry, Ordered, State};
use self::writer::{Context, Range, reject_files};
use crate::pipeline::inverse::way_back;
use crate::pipeline::model::{ChangedBy, Pipeline};
use crate::progress::{Progress, Stage, Total};
use crate::source::{SourceAddress, plain_size};
use crate::staging::StagingError;
use crate::staging::inventory::{self, SourceObject, of_collections};
use crate::staging::journal::Journal;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{
    Changes, CollectionManifest, ExportManifest, Skipped, Snapshot, SourceDescription,
};
use crate::staging::own_files;
use crate::staging::part::check as check_part;
use crate::staging::rejects::{List, RejectWriter};

/// How an export is done.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Ranges and collections read, and parts written, at the same time.
    pub threads: usize,
    /// BSON bytes of a part.
    pub part_bytes: usize,
    /// Read all collections at one moment where the server can.
    pub snapshot: bool,
    /// The fields by which later exports find what changed.
    pub changed: ChangedBy,
    /// Take only what changed since an earlier export.
    pub since: Option<Arc<Since>>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let changed = ChangedBy::default();
        Self { threads, part_bytes: 16 << 20, snapshot: true, changed, since: None }
    }
}

/// What was read of a source, before it is written down.
struct Exported {
    source: SourceDescription,
    snapshot: Snapshot,
    collections: Vec<CollectionManifest>,
    skipped: Vec<Skipped>,
    /// Every object of the source, where there is not one for each collection.
    objects: Vec<SourceObject>,
    /// Records that were read of collections, where they were counted.
    read: BTreeMap<String, u64>,
    /// The source has collections that were made after these were listed.
    made_meanwhile: bool,
}

impl Exported {
    fn new(source: SourceDescription, snapshot: Snapshot) -> Self {
        let (collections, skipped, objects) = (Vec::new(), Vec::new(), Vec::new());
        let (read, made_meanwhile) = (BTreeMap::new(), false);
        Self { source, snapshot, collections, skipped, objects, read, made_meanwhile }
    }

    /// The same for a source that is no server.
    fn of_files(kind: &str, source: &SourceAddress, database: &str, snapshot: Snapshot) -> Self {
        let source = SourceDescription {
            kind: kind.to_owned(),
            address: source.display(),
            database: database.to_owned(),
            server_version: None,
            settings: serde_json::Value::Null,
        };
        Self::new(source, snapshot)
    }
}

/// How often an export begins anew because collections changed while it read them.
const ATTEMPTS: usize = 4;

/// How much there is to read in a file; nobody can tell of a compressed one.
fn size_of(path: &Path) -> Total {
    plain_size(path).map_or(Total::Unknown, Total::Bytes)
}

/// Exports a source into a run, or goes on with an export that was stopped.
pub async fn export(
    run: &RunDirectory,
    source: &SourceAddress,
    pipeline: &Pipeline,
    options: &ExportOptions,
    progress: &Arc<dyn Progress>,
) -> Result<ExportManifest, ExportError> {
    if let Ok(finished) = ExportManifest::read(run) {
        check_finished(run, &finished, progress)?;
        return Ok(finished);
    }
    if let Some(since) = options.since.as_ref().filter(|since| since.run() >= run.run()) {
        // Nobody could read it: a base is older than what was built on it.
        let (run, base) = (run.run().to_owned(), since.run().to_owned());
        return Err(ExportError::BaseNotOlder { run, base });
    }
    let (journal, state) = journal::open(run)?;
    let threads = options.threads.max(1);
    let context = Context {
        run: run.clone(),
        progress: Arc::clone(progress),
        journal: Arc::new(journal),
        // One more than there are threads: some writer always waits for its file to be durable.
        writers: Arc::new(Semaphore::new(threads + 1)),
        part_bytes: options.part_bytes,
        changed: Arc::new(options.changed.clone()),
        now: DateTime::now().timestamp_millis(),
        validate: matches!(
            source,
            SourceAddress::Dump(_) | SourceAddress::File(_) | SourceAddress::Archive(..)
        ),
    };
    if options.since.is_some() && !matches!(source, SourceAddress::MongoDb(_)) {
        return Err(ExportError::WholeOnly { address: source.display() });
    }
    let exported = match source {
        SourceAddress::MongoDb(uri) => read_server(context, state, uri, options).await?,
        SourceAddress::Postgres(address) => {
            records::postgres(&context, state, source, address, &way_back(pipeline)).await?
        }
        _ => files::export(&context, state, source, threads).await?,
    };
    let Exported { source, snapshot, collections, skipped, objects, read, .. } = exported;
    let mut manifest = ExportManifest::new(run, source, snapshot);
    manifest.collections = collections;
    manifest.skipped = skipped;
    if manifest.collections.iter().any(|collection| collection.changes.is_some()) {
        manifest.base = options.since.as_ref().map(|since| since.base.clone());
    }
    manifest.collections.sort_by(|left, right| left.name.cmp(&right.name));
    manifest.source_objects = if objects.is_empty() {
        of_collections(&manifest.collections, &manifest.skipped)
    } else {
        with_records(objects, &manifest.collections, &read)
    };
    manifest.source_objects.sort_by(|left, right| left.name.cmp(&right.name));
    for skipped in &manifest.skipped {
        progress.note(Stage::Export, &format!("skipped {}: {}", skipped.name, skipped.reason));
    }
    let problems = inventory::problems(&manifest);
    if !problems.is_empty() {
        return Err(ExportError::Unaccounted { problems });
    }
    list_rejects(run, &manifest)?;
    manifest.write(run)?;
    Journal::discard(run, Stage::Export)?;
    Ok(manifest)
}

/// Reads a server. A collection that is replaced, as `$out` does it, or dropped meanwhile is read
/// again as it is then, at a new moment; what is finished stays.
async fn read_server(
    mut context: Context,
    mut state: State,
    uri: &str,
    options: &ExportOptions,
) -> Result<Exported, ExportError> {
    let mut left = ATTEMPTS;
    loop {
        left -= 1;
        let changed = match server::export(&context, state, uri, options).await {
            Err(error) if left > 0 && error.is_change() => error.to_string(),
            // One that was dropped may be the one that was made: it is not to be missed.
            Ok(exported) if exported.made_meanwhile && left > 0 && left + 1 < ATTEMPTS => {
                "collections were made while they were read again".to_owned()
            }
            ended => return ended,
        };
        let note = format!("{changed}; the export goes on with what is there now");
        context.progress.note(Stage::Export, &note);
        let journal;
        (journal, state) = journal::open(&context.run)?;
        context.journal = Arc::new(journal);
    }
}

/// Gives the objects that hold documents their numbers of records: those that were counted, else
/// those that were exported by an earlier attempt.
fn with_records(
    mut objects: Vec<SourceObject>,
    collections: &[CollectionManifest],
    read: &BTreeMap<String, u64>,
) -> Vec<SourceObject> {
    for object in objects.iter_mut().filter(|object| object.kind != "metadata") {
        let Some(name) = object.collection() else { continue };
        let exported = collections.iter().find(|collection| collection.name == name);
        let exported = exported.map(|collection| collection.documents + collection.rejects);
        object.records = read.get(name).copied().or(exported);
    }
    objects
}

/// An export that is finished already: its parts must agree with their hashes.
fn check_finished(
    run: &RunDirectory,
    manifest: &ExportManifest,
    progress: &Arc<dyn Progress>,
) -> Result<(), ExportError> {
    for collection in &manifest.collections {
        progress.start(Stage::Export, &collection.name, Total::Records(collection.documents));
        for part in &collection.parts {
            check_part(run, &part.file)?;
            progress.advance(Stage::Export, &collection.name, part.file.rows, part.document_bytes);
        }
        progress.finish(Stage::Export, &collection.name);
    }
    // It may have been stopped between its last two steps.
    Ok(Journal::discard(run, Stage::Export)?)
}

/// Puts the lists of refused records together, in the order of the collections.
fn list_rejects(run: &RunDirectory, manifest: &ExportManifest) -> Result<(), ExportError> {
    let mut list = RejectWriter::create(run, List::Rejects, Stage::Export)?;
    let mut files: Vec<PathBuf> = Vec::new();
    for collection in manifest.collections.iter().filter(|collection| collection.rejects > 0) {
        files.extend(reject_files(run, &collection.name));
    }
    for path in &files {
        let lines = own_files::read(path).map_err(|source| StagingError::Io {
            action: "read",
            path: path.clone(),
            source,
        })?;
        list.write_lines(&lines)?;
    }
    list.finish()?;
    for path in files {
        fs::remove_file(&path).map_err(|source| StagingError::Io {
            action: "remove",
            path,
            source,
        })?;
    }
    Ok(())
}

/// What is known of a collection besides its documents.
struct About {
    name: String,
    kind: String,
    options: Json,
    indexes: Vec<Json>,
    uuid: Option<String>,
    /// The records have no `_id`: their numbers stand in for it.
    numbered: bool,
    /// Documents that the source counts, where only what changed was read.
    source_documents: Option<u64>,
    /// Where only what changed was read.
    changes: Option<Found>,
}

/// What an incremental export found of a collection besides changed documents.
struct Found {
    changes: Changes,
    /// The greatest mark of the exports before.
    high_water: Option<Json>,
}

impl About {
    fn whole(name: String, kind: &str, options: Json, indexes: Vec<Json>) -> Self {
        let kind = kind.to_owned();
        let (uuid, source_documents, changes) = (None, None, None);
        Self { name, kind, options, indexes, uuid, numbered: false, source_documents, changes }
    }
}

impl Context {
    /// A collection that an earlier attempt finished, after its hashes agreed.
    fn finished(&self, before: &Before) -> Option<CollectionManifest> {
        let manifest = before.finished.as_ref()?;
        self.progress.start(Stage::Export, &manifest.name, Total::Records(manifest.documents));
        for part in &manifest.parts {
            if let Err(error) = check_part(&self.run, &part.file) {
                let note = format!("{} is exported again: {error}", manifest.name);
                self.progress.note(Stage::Export, &note);
                return None;
            }
            let bytes = part.document_bytes;
            self.progress.advance(Stage::Export, &manifest.name, part.file.rows, bytes);
        }
        self.progress.finish(Stage::Export, &manifest.name);
        Some(manifest.clone())
    }

    /// Puts the parts of a collection in order, gives them their names, and journals the end.
    async fn conclude(
        &self,
        database: &str,
        about: About,
        ranges: Vec<Range>,
        ordered: Option<Ordered>,
    ) -> Result<CollectionManifest, ExportError> {
        let context = self.clone();
        let namespace = format!("{database}.{}", about.name);
        let task = tokio::task::spawn_blocking(move || {
            let rejects = ranges.iter().map(|range| range.rejects).sum();
            let runs = ranges.into_iter().flat_map(|range| range.runs).collect();
            let ordered = match ordered {
                Some(ordered) => ordered,
                None => {
                    let ordered = merge::in_order(
                        &context.run,
                        &namespace,
                        &about.name,
                        runs,
                        context.part_bytes,
                        context.marking(&about.name),
                    )?;
                    context.journal.append(&Entry::Ordered {
                        collection: about.name.clone(),
                        parts: ordered.parts.clone(),
                        renames: ordered.renames.clone(),
                        removes: ordered.removes.clone(),
                    })?;
                    ordered
                }
            };
            merge::carry_out(&context.run, &ordered)?;
            let parts = ordered.parts;
            let marks = parts.iter().filter_map(|part| part.high_water.as_ref());
            let (changes, before) = match about.changes {
                Some(found) => (Some(found.changes), found.high_water),
                None => (None, None),
            };
            let manifest = CollectionManifest {
                high_water: marks::greatest(marks.chain(before.as_ref())),
                changes,
                uuid: about.uuid,
                numbered: about.numbered,
                name: about.name,
                kind: about.kind,
                documents: parts.iter().map(|part| part.file.rows).sum(),
                document_bytes: parts.iter().map(|part| part.document_bytes).sum(),
                source_documents: about.source_documents,
                rejects,
                parts,
                options: about.options,
                indexes: about.indexes,
            };
            context.journal.append(&Entry::Collection(Box::new(manifest.clone())))?;
            context.progress.finish(Stage::Export, &manifest.name);
            Ok(manifest)
        });
        task.await.map_err(ExportError::Worker)?
    }
}

/// Records refused by earlier batches, where the parts are in order already.
fn rejects_before(before: &Before) -> Range {
    let batches = before.batches.values().flatten();
    Range { runs: Vec::new(), rejects: batches.map(|batch| batch.rejects).sum() }
}
