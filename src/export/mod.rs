//! Source to exported parts: the BSON bytes as they are, in `_id` order, compressed and hashed.
//!
//! Collections and ranges of one collection are read at the same time. A part is gathered in
//! memory, brought into order if it is not, and written by a thread of its own while the next one
//! is read. Where the source does not give `_id` order across parts, the sorted parts are merged.

mod error;
mod merge;
mod part;

use std::sync::Arc;

pub use error::ExportError;
use mongodb::bson::{Document, RawDocumentBuf};
use serde_json::Value as Json;
use tokio::sync::{Semaphore, mpsc};

use self::part::{Batch, SortedRun, write_run};
use crate::document::extended_json::to_json;
use crate::document::raw::{Doc, Value};
use crate::progress::{Progress, Stage};
use crate::source::dump::{Dump, DumpReader};
use crate::source::mongodb::{IdRange, ListedCollection, Server};
use crate::source::{SourceAddress, SourceError};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{
    CollectionManifest, ExportManifest, Skipped, Snapshot, SourceDescription,
};
use crate::staging::rejects::{List, RejectWriter};

/// How an export is done.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// Ranges and collections read at the same time.
    pub threads: usize,
    /// BSON bytes of a part.
    pub part_bytes: usize,
    /// Read all collections at one moment where the server can.
    pub snapshot: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        Self { threads, part_bytes: 32 << 20, snapshot: true }
    }
}

/// Collections of at least this many BSON bytes are read in several ranges.
const SPLIT_BYTES: u64 = 64 << 20;
/// What an export reads in a second at the least, to tell ahead how long a snapshot must last.
const CAUTIOUS_BYTES_PER_SECOND: u64 = 50_000_000;
/// Seconds a snapshot lasts unless the server says otherwise.
const SNAPSHOT_SECONDS: u64 = 300;

/// Exports a source into a run.
pub async fn export(
    run: &RunDirectory,
    source: &SourceAddress,
    options: &ExportOptions,
    progress: &Arc<dyn Progress>,
) -> Result<ExportManifest, ExportError> {
    let mut manifest = match source {
        SourceAddress::MongoDb(uri) => export_server(run, uri, options, progress).await?,
        SourceAddress::Dump(path) => {
            let dump = Dump::open(path)?;
            export_dump(run, &source.display(), dump, options, progress).await?
        }
    };
    manifest.collections.sort_by(|left, right| left.name.cmp(&right.name));
    for skipped in &manifest.skipped {
        progress.note(Stage::Export, &format!("skipped {}: {}", skipped.name, skipped.reason));
    }
    RejectWriter::create(run, List::Rejects, Stage::Export)?.finish()?;
    manifest.write(run)?;
    Ok(manifest)
}

/// What a worker needs to write the parts of one range.
struct Target {
    run: RunDirectory,
    progress: Arc<dyn Progress>,
    namespace: String,
    collection: String,
    range: usize,
    part_bytes: usize,
}

impl Target {
    /// Starts the thread that writes batches; gives the end to send them to.
    fn writer(
        &self,
    ) -> (mpsc::Sender<Batch>, tokio::task::JoinHandle<Result<Vec<SortedRun>, ExportError>>) {
        let (sender, mut receiver) = mpsc::channel::<Batch>(1);
        let (run, progress) = (self.run.clone(), Arc::clone(&self.progress));
        let (namespace, collection, range) =
            (self.namespace.clone(), self.collection.clone(), self.range);
        let task = tokio::task::spawn_blocking(move || {
            let mut runs = Vec::new();
            while let Some(batch) = receiver.blocking_recv() {
                let (documents, bytes) = (batch.len() as u64, batch.bytes() as u64);
                runs.push(write_run(&run, &namespace, &collection, range, runs.len(), &batch)?);
                progress.advance(Stage::Export, &collection, documents, bytes);
            }
            Ok(runs)
        });
        (sender, task)
    }
}

async fn export_server(
    run: &RunDirectory,
    uri: &str,
    options: &ExportOptions,
    progress: &Arc<dyn Progress>,
) -> Result<ExportManifest, ExportError> {
    let mut server = Server::connect(uri).await?;
    let snapshot = match server.cluster_time {
        Some(time) if options.snapshot => {
            Snapshot::ClusterTime { seconds: time.time, increment: time.increment }
        }
        Some(_) => Snapshot::None { reason: "the export was asked not to use one".to_owned() },
        None => Snapshot::None {
            reason: "the server is not a member of a replica set and has no snapshots".to_owned(),
        },
    };
    if !options.snapshot {
        server.cluster_time = None;
    }
    let description = SourceDescription {
        kind: "mongodb".to_owned(),
        address: server.address().to_owned(),
        database: server.database().to_owned(),
        server_version: Some(server.version.clone()),
    };
    let mut manifest = ExportManifest::new(run, description, snapshot);
    let mut work = Vec::new();
    let mut total_bytes = 0;
    for listed in server.collections().await? {
        if let Some(reason) = skip_reason(&listed) {
            if !listed.name.starts_with("system.buckets.") {
                let options = extended(&listed.options);
                manifest.skipped.push(Skipped { name: listed.name, reason, options });
            }
            continue;
        }
        let (documents, bytes) = server.size(&listed.name).await.unwrap_or_default();
        total_bytes += bytes;
        work.push((bytes, documents, listed));
    }
    if server.cluster_time.is_some() && total_bytes / CAUTIOUS_BYTES_PER_SECOND > SNAPSHOT_SECONDS {
        progress.note(
            Stage::Export,
            "the snapshot may end before all is read: raise minSnapshotHistoryWindowInSeconds \
             (300 by default), or use --no-snapshot",
        );
    }
    // The largest first, so that no thread is left with it at the end.
    work.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.2.name.cmp(&right.2.name)));
    let places = Arc::new(Semaphore::new(options.threads.max(1)));
    let mut collections = Vec::new();
    for (bytes, documents, listed) in work {
        let indexes = server.indexes(&listed.name).await.unwrap_or_default();
        // Another collation orders the `_id` index otherwise; a time-series has no such index.
        let by_index = listed.kind == "collection"
            && !listed.options.contains_key("collation")
            && indexes.iter().any(|index| index.get_str("name").is_ok_and(|name| name == "_id_"));
        let ranges = if by_index && bytes >= SPLIT_BYTES && options.threads > 1 {
            let count =
                usize::try_from(bytes / SPLIT_BYTES).unwrap_or(2).clamp(2, options.threads * 4);
            server.split(&listed.name, count).await?
        } else {
            vec![IdRange::default()]
        };
        progress.start(Stage::Export, &listed.name, Some(documents));
        let mut tasks = Vec::new();
        for (at, range) in ranges.into_iter().enumerate() {
            let target = Target {
                run: run.clone(),
                progress: Arc::clone(progress),
                namespace: format!("{}.{}", server.database(), listed.name),
                collection: listed.name.clone(),
                range: at,
                part_bytes: options.part_bytes,
            };
            let (server, places) = (server.clone(), Arc::clone(&places));
            tasks.push(tokio::spawn(async move {
                let _place = places.acquire_owned().await;
                read_range(&server, &target, &range, by_index).await
            }));
        }
        collections.push((listed, indexes, tasks));
    }
    for (listed, indexes, tasks) in collections {
        let mut runs = Vec::new();
        for task in tasks {
            runs.extend(task.await.map_err(ExportError::Worker)??);
        }
        let mut collection = collect(run, server.database(), &listed.name, runs, options).await?;
        progress.finish(Stage::Export, &listed.name);
        collection.kind = listed.kind;
        collection.options = extended(&listed.options);
        collection.indexes = indexes.iter().map(extended).collect();
        manifest.collections.push(collection);
    }
    Ok(manifest)
}

/// Options and indexes as canonical Extended JSON, from which they can be made again.
fn extended(document: &Document) -> Json {
    let bytes =
        RawDocumentBuf::try_from(document).map(RawDocumentBuf::into_bytes).unwrap_or_default();
    let json = Doc::new(&bytes).and_then(|document| to_json(&Value::Document(document)));
    json.unwrap_or_default()
}

fn skip_reason(listed: &ListedCollection) -> Option<String> {
    if listed.name.starts_with("system.") {
        Some("MongoDB's own collection".to_owned())
    } else if listed.kind == "view" {
        Some("a view holds no documents of its own".to_owned())
    } else {
        None
    }
}

async fn read_range(
    server: &Server,
    target: &Target,
    range: &IdRange,
    by_index: bool,
) -> Result<Vec<SortedRun>, ExportError> {
    let (sender, writer) = target.writer();
    let mut reader = server.read(&target.collection, range, by_index).await?;
    let mut batch = Batch::default();
    loop {
        let more = reader.next(batch.buffer()).await?;
        if more {
            batch.end_document();
        }
        if batch.len() > 0 && (!more || batch.bytes() >= target.part_bytes) {
            // A closed channel means that the writer failed; its own error is the one to show.
            if sender.send(std::mem::take(&mut batch)).await.is_err() {
                break;
            }
        }
        if !more {
            break;
        }
    }
    drop(sender);
    writer.await.map_err(ExportError::Worker)?
}

async fn export_dump(
    run: &RunDirectory,
    address: &str,
    dump: Dump,
    options: &ExportOptions,
    progress: &Arc<dyn Progress>,
) -> Result<ExportManifest, ExportError> {
    let description = SourceDescription {
        kind: "mongodump".to_owned(),
        address: address.to_owned(),
        database: dump.database.clone(),
        server_version: None,
    };
    let reason = "a dump does not tell whether its collections are of one moment".to_owned();
    let mut manifest = ExportManifest::new(run, description, Snapshot::None { reason });
    let places = Arc::new(Semaphore::new(options.threads.max(1)));
    let mut tasks = Vec::new();
    for collection in dump.collections {
        let options_of = |key: &str| collection.metadata.get(key).cloned().unwrap_or_default();
        let metadata = options_of("options");
        let kind = collection.metadata.get("type").and_then(Json::as_str).unwrap_or("collection");
        let is_view = kind == "view" || metadata.get("viewOn").is_some();
        let reason = if collection.name.starts_with("system.") {
            Some("MongoDB's own collection")
        } else if is_view {
            Some("a view holds no documents of its own")
        } else {
            None
        };
        let (Some(path), None) = (&collection.data, reason) else {
            let reason = reason.unwrap_or("the dump holds its metadata only").to_owned();
            manifest.skipped.push(Skipped { name: collection.name, reason, options: metadata });
            continue;
        };
        progress.start(Stage::Export, &collection.name, None);
        let target = Target {
            run: run.clone(),
            progress: Arc::clone(progress),
            namespace: format!("{}.{}", dump.database, collection.name),
            collection: collection.name.clone(),
            range: 0,
            part_bytes: options.part_bytes,
        };
        let (path, places) = (path.clone(), Arc::clone(&places));
        let task = tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            read_file(&path, &target).await
        });
        let indexes = options_of("indexes").as_array().cloned().unwrap_or_default();
        tasks.push((collection.name.clone(), kind.to_owned(), metadata, indexes, task));
    }
    for (name, kind, metadata, indexes, task) in tasks {
        let runs = task.await.map_err(ExportError::Worker)??;
        let mut collection = collect(run, &dump.database, &name, runs, options).await?;
        progress.finish(Stage::Export, &name);
        collection.kind = kind;
        collection.options = metadata;
        collection.indexes = indexes;
        manifest.collections.push(collection);
    }
    Ok(manifest)
}

async fn read_file(path: &std::path::Path, target: &Target) -> Result<Vec<SortedRun>, ExportError> {
    let (sender, writer) = target.writer();
    let (path, part_bytes) = (path.to_owned(), target.part_bytes);
    let reader = tokio::task::spawn_blocking(move || -> Result<(), SourceError> {
        let mut reader = DumpReader::open(&path)?;
        let mut batch = Batch::default();
        loop {
            let more = reader.next(batch.buffer())?;
            if more {
                batch.end_document();
            }
            if batch.len() > 0
                && (!more || batch.bytes() >= part_bytes)
                && sender.blocking_send(std::mem::take(&mut batch)).is_err()
            {
                return Ok(());
            }
            if !more {
                return Ok(());
            }
        }
    });
    reader.await.map_err(ExportError::Worker)??;
    writer.await.map_err(ExportError::Worker)?
}

/// Puts the runs of a collection in order and gives them their names.
async fn collect(
    run: &RunDirectory,
    database: &str,
    name: &str,
    runs: Vec<SortedRun>,
    options: &ExportOptions,
) -> Result<CollectionManifest, ExportError> {
    let (run, namespace, owned) = (run.clone(), format!("{database}.{name}"), name.to_owned());
    let part_bytes = options.part_bytes;
    let task = tokio::task::spawn_blocking(move || {
        merge::in_order(&run, &namespace, &owned, runs, part_bytes)
    });
    let parts = task.await.map_err(ExportError::Worker)??;
    Ok(CollectionManifest {
        name: name.to_owned(),
        kind: "collection".to_owned(),
        documents: parts.iter().map(|part| part.file.rows).sum(),
        document_bytes: parts.iter().map(|part| part.document_bytes).sum(),
        rejects: 0,
        parts,
        options: Json::Null,
        indexes: Vec::new(),
    })
}
