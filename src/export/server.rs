//! A running MongoDB: collections and ranges read at the same time, at one snapshot where there is
//! one, each read on from its last `_id` when the connection is lost.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocument};
use tokio::sync::Semaphore;

use super::changes;
use super::journal::{Entry, State, range_to_text};
use super::part::Batch;
use super::writer::{Context, Range, RangeWriter};
use super::{About, ExportError, ExportOptions, Exported, rejects_before};
use crate::progress::{Stage, Total};
use crate::source::mongodb::{IdRange, Server, extended, range_count};
use crate::source::{SourceError, describe, may_pass};
use crate::staging::manifest::{Skipped, Snapshot, SourceDescription};

/// What an export reads in a second at the least, to tell ahead how long a snapshot must last.
const CAUTIOUS_BYTES_PER_SECOND: u64 = 50_000_000;
/// Seconds a snapshot lasts unless the server says otherwise.
const SNAPSHOT_SECONDS: u64 = 300;
/// Pauses before a read is tried again, in milliseconds. An election takes about 12 seconds.
const PAUSES: [u64; 8] = [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000];

pub(super) async fn export(
    context: &Context,
    mut state: State,
    uri: &str,
    options: &ExportOptions,
) -> Result<Exported, ExportError> {
    let mut server = Server::connect(uri).await?;
    let snapshot = choose_snapshot(context, &state, &mut server, options).await?;
    let source = SourceDescription {
        kind: "mongodb".to_owned(),
        address: server.address().to_owned(),
        database: server.database().to_owned(),
        server_version: Some(server.version.clone()),
        settings: serde_json::Value::Null,
    };
    let mut exported = Exported::new(source, snapshot);
    let mut work = Vec::new();
    let mut total_bytes = 0;
    for listed in server.collections().await? {
        if let Some(reason) = listed.left_out() {
            if !listed.name.starts_with("system.buckets.") {
                let options = extended(&listed.options);
                exported.skipped.push(Skipped {
                    name: listed.name,
                    reason: reason.to_owned(),
                    options,
                });
            }
            continue;
        }
        let (documents, bytes) = server.size(&listed.name).await.unwrap_or_default();
        total_bytes += bytes;
        work.push((bytes, documents, listed));
    }
    if server.cluster_time.is_some() && total_bytes / CAUTIOUS_BYTES_PER_SECOND > SNAPSHOT_SECONDS {
        context.progress.note(
            Stage::Export,
            "the snapshot may end before all is read: raise minSnapshotHistoryWindowInSeconds \
             (300 by default), or use --no-snapshot",
        );
    }
    // The largest first, so that no thread is left with it at the end.
    work.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.2.name.cmp(&right.2.name)));
    let expected =
        work.iter().map(|(_, documents, listed)| (listed.name.clone(), Total::Records(*documents)));
    context.progress.expect(Stage::Export, &expected.collect::<Vec<_>>());
    context.run.name_folders(work.iter().map(|(_, _, listed)| listed.name.clone()));
    let places = Arc::new(Semaphore::new(options.threads.max(1)));
    let mut collections = Vec::new();
    for (bytes, documents, listed) in work {
        context.check()?;
        let mut before = state.take(&listed.name);
        if let Some(finished) = context.finished(&before) {
            exported.collections.push(finished);
            continue;
        }
        let indexes = server.indexes(&listed.name).await.unwrap_or_default();
        let by_index = listed.reads_by_index(&indexes);
        let mut about = About::whole(
            listed.name.clone(),
            &listed.kind,
            extended(&listed.options),
            indexes.iter().map(extended).collect(),
        );
        about.uuid.clone_from(&listed.uuid);
        if listed.is_capped() && server.cluster_time.is_some() {
            let note =
                format!("{} is capped, and may be read outside of the snapshot", listed.name);
            context.progress.note(Stage::Export, &note);
        }
        context.progress.start(Stage::Export, &listed.name, Total::Records(documents));
        let mut tasks = Vec::new();
        let since = options.since.as_ref().and_then(|since| {
            let wanted = since.query(&listed, context.changed.of(&listed.name), by_index)?;
            Some((Arc::clone(since), wanted))
        });
        if let Some((since, wanted)) = since {
            before.ordered = None;
            about.source_documents = Some(documents);
            let (server, places) = (server.clone(), Arc::clone(&places));
            let (context, name) = (context.clone(), listed.name.clone());
            tasks.push(tokio::spawn(async move {
                let _place = places.acquire_owned().await;
                let read = changes::read(&context, &server, &since, &name, wanted).await;
                read.map(|(range, found)| (range, Some(found)))
            }));
        } else if before.ordered.is_none() {
            let ranges = match before.ranges.take() {
                Some(ranges) => ranges,
                None => split(context, &server, &listed.name, bytes, by_index, options).await?,
            };
            for (at, range) in ranges.into_iter().enumerate() {
                let writer = RangeWriter::new(
                    context,
                    server.database(),
                    &listed.name,
                    at,
                    before.batches.get(&at).map(Vec::as_slice).unwrap_or_default(),
                )?;
                let (server, places) = (server.clone(), Arc::clone(&places));
                let (context, name) = (context.clone(), listed.name.clone());
                tasks.push(tokio::spawn(async move {
                    let _place = places.acquire_owned().await;
                    let query = Query { collection: &name, range: &range, by_index, filter: None };
                    let read = read_range(&context, &server, &query, writer).await;
                    read.map(|range| (range, None))
                }));
            }
        }
        collections.push((about, before, tasks));
    }
    // All are waited for, so that what is in hand is kept when one of them fails.
    let mut failure = None;
    for (mut about, before, tasks) in collections {
        let mut ranges = Vec::new();
        if before.ordered.is_some() {
            ranges.push(rejects_before(&before));
        }
        for task in tasks {
            match task.await.map_err(ExportError::Worker)? {
                Ok((range, found)) => {
                    ranges.push(range);
                    about.changes = about.changes.or(found);
                }
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        if failure.is_none() {
            let concluded = context.conclude(server.database(), about, ranges, before.ordered);
            exported.collections.push(concluded.await?);
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(exported),
    }
}

/// The moment to read at: that of an earlier attempt while the server still has it.
async fn choose_snapshot(
    context: &Context,
    state: &State,
    server: &mut Server,
    options: &ExportOptions,
) -> Result<Snapshot, ExportError> {
    let mut snapshot = match server.cluster_time {
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
    match (&state.snapshot, server.cluster_time) {
        (Some(Snapshot::ClusterTime { seconds, increment }), Some(now)) => {
            let begun = mongodb::bson::Timestamp { time: *seconds, increment: *increment };
            server.cluster_time = Some(begun);
            if server.snapshot_lasts().await {
                snapshot = Snapshot::ClusterTime { seconds: *seconds, increment: *increment };
            } else {
                server.cluster_time = Some(now);
                let reason = format!(
                    "the export was stopped and its snapshot at {seconds}.{increment} ended: what \
                     was read before is of that moment, the rest of {}.{}",
                    now.time, now.increment
                );
                context.progress.note(Stage::Export, &reason);
                snapshot = Snapshot::None { reason };
            }
        }
        // What an earlier attempt said of its documents stays true.
        (Some(Snapshot::None { reason }), _) => {
            snapshot = Snapshot::None { reason: reason.clone() };
        }
        (Some(Snapshot::ClusterTime { seconds, increment }), None) => {
            let reason = format!(
                "only what was read before the export was stopped is of one moment, \
                 {seconds}.{increment}"
            );
            snapshot = Snapshot::None { reason };
        }
        (Some(Snapshot::Transaction) | None, _) => {}
    }
    if state.snapshot.as_ref() != Some(&snapshot) {
        context.journal.append(&Entry::Snapshot { snapshot: snapshot.clone() })?;
    }
    Ok(snapshot)
}

async fn split(
    context: &Context,
    server: &Server,
    collection: &str,
    bytes: u64,
    by_index: bool,
    options: &ExportOptions,
) -> Result<Vec<IdRange>, ExportError> {
    let ranges = match range_count(bytes, options.threads) {
        count @ 2.. if by_index => server.split(collection, count).await?,
        _ => vec![IdRange::default()],
    };
    if ranges.len() > 1 {
        context.journal.append(&Entry::Split {
            collection: collection.to_owned(),
            ranges: ranges.iter().map(range_to_text).collect(),
        })?;
    }
    Ok(ranges)
}

/// How far a range was read.
#[derive(Default)]
struct Place {
    batch: Batch,
    /// The last document handed over.
    last: Option<Vec<u8>>,
    /// Tries that failed since a document came.
    tries: usize,
}

impl Place {
    /// The `_id` after which to go on.
    fn last_id(&self) -> Option<Bson> {
        id_of(self.batch.last_document().or(self.last.as_deref())?)
    }

    /// Hands over the documents in hand.
    async fn submit(&mut self, writer: &mut RangeWriter) -> Result<(), ExportError> {
        self.last = self.batch.last_document().map(<[u8]>::to_vec);
        writer.submit(std::mem::take(&mut self.batch)).await
    }
}

/// What is read of a collection.
#[derive(Clone, Copy)]
pub(super) struct Query<'q> {
    pub(super) collection: &'q str,
    pub(super) range: &'q IdRange,
    /// In the order of the `_id` index, else in whatever order there is.
    pub(super) by_index: bool,
    /// Only what fits.
    pub(super) filter: Option<&'q Document>,
}

/// Reads a range, or without an order what fits a query, to its end, over again after errors that
/// may pass.
pub(super) async fn read_range(
    context: &Context,
    server: &Server,
    query: &Query<'_>,
    mut writer: RangeWriter,
) -> Result<Range, ExportError> {
    let Query { collection, by_index, .. } = *query;
    if !by_index {
        // Without an order there is no place to go on from.
        writer.restart().await?;
    }
    let mut place = Place { last: writer.last_document().map(<[u8]>::to_vec), ..Place::default() };
    loop {
        let attempt = read_on(context, server, query, &mut place, &mut writer);
        match attempt.await {
            Ok(()) => return writer.finish().await,
            Err(ExportError::Source(SourceError::Server { action, address, cause, .. }))
                if may_pass(&cause) =>
            {
                let Some(pause) = PAUSES.get(place.tries).copied() else {
                    writer.finish().await?;
                    let tries = u32::try_from(place.tries + 1).unwrap_or(u32::MAX);
                    return Err(SourceError::Server { action, address, tries, cause }.into());
                };
                place.tries += 1;
                let cause = describe(&cause);
                let note = format!("{collection}: could not {action}, trying again: {cause}");
                context.progress.note(Stage::Export, &note);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if !by_index {
                    place = Place { tries: place.tries, ..Place::default() };
                    writer.restart().await?;
                }
            }
            Err(error) => {
                // What is in hand is kept.
                writer.finish().await?;
                return Err(error);
            }
        }
    }
}

/// Reads from the given place to the end of the range, or to the first error.
async fn read_on(
    context: &Context,
    server: &Server,
    query: &Query<'_>,
    place: &mut Place,
    writer: &mut RangeWriter,
) -> Result<(), ExportError> {
    let Query { collection, range, by_index, filter } = *query;
    context.check()?;
    let last = if by_index { place.last_id() } else { None };
    let from = match &last {
        Some(id) => IdRange { min: Some(id.clone()), max: range.max.clone() },
        None => range.clone(),
    };
    let mut reader = server.read(collection, &from, by_index, filter).await?;
    let mut skip = last;
    while let Some(reply) = reader.next().await? {
        place.tries = 0;
        for document in reader.documents(&reply)? {
            // The bound of a range is part of it: the last document comes once more, if it is
            // still there.
            if let Some(last) = skip.take()
                && id_of(document).as_ref() == Some(&last)
            {
                continue;
            }
            place.batch.buffer().extend_from_slice(document);
            place.batch.end_document();
            if place.batch.bytes() >= context.part_bytes {
                place.submit(writer).await?;
                context.check()?;
            }
        }
    }
    if place.batch.len() > 0 {
        place.submit(writer).await?;
        context.check()?;
    }
    Ok(())
}

fn id_of(document: &[u8]) -> Option<Bson> {
    RawDocument::from_bytes(document).ok()?.get("_id").ok().flatten()?.try_into().ok()
}
