//! A running MongoDB: collections and ranges read at the same time, at one snapshot where there is
//! one, each read on from its last `_id` when the connection is lost.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::changes::{self, Since, Way};
use super::journal::{Before, Entry, State, range_to_text};
use super::moment::{self, Beginning};
use super::stream::{Query, read_range};
use super::writer::{Context, Range, RangeWriter};
use super::{About, ExportError, ExportOptions, Exported, Found, rejects_before};
use crate::progress::{Stage, Total};
use crate::source::SourceError;
use crate::source::mongodb::{
    CAUTIOUS_BYTES_PER_SECOND, IdRange, ListedCollection, SNAPSHOT_SECONDS, Server, Size,
    differences, extended, range_count,
};
use crate::staging::manifest::{CollectionManifest, Skipped, Snapshot, SourceDescription};

pub(super) async fn export(
    context: &Context,
    mut state: State,
    uri: &str,
    options: &ExportOptions,
) -> Result<Exported, ExportError> {
    let mut server = Server::connect(uri).await?;
    let Beginning { snapshot, listing, now } =
        moment::begin(context, &mut state, &mut server, options).await?;
    let context = &Context { now, ..context.clone() };
    let source = SourceDescription {
        kind: "mongodb".to_owned(),
        address: server.address().to_owned(),
        database: server.database().to_owned(),
        server_version: server.version.clone(),
        settings: serde_json::Value::Null,
    };
    let mut exported = Exported::new(source, snapshot);
    let mut work = Vec::new();
    for listed in &listing {
        match listed.left_out() {
            Some(_) if listed.is_buckets() => {}
            Some(reason) => exported.skipped.push(Skipped {
                name: listed.name.clone(),
                reason: reason.to_owned(),
                options: extended(&listed.options)?,
            }),
            None => work.push((server.size(listed).await?, listed.clone())),
        }
    }
    announce(context, &server, &mut work);
    let mut export = Export {
        context,
        server: &server,
        options,
        places: Arc::new(Semaphore::new(options.threads.max(1))),
    };
    let mut begun = Vec::new();
    for (size, listed) in work {
        context.check()?;
        let before = state.take(&listed.name);
        match context.finished(&before) {
            Some(finished) => exported.collections.push(finished),
            None => begun.push(export.begin(listed, size, before).await?),
        }
    }
    // All are waited for, so that what is in hand is kept when one of them fails.
    let mut failure = None;
    for begun in begun {
        match export.finish(begun, failure.is_some(), &exported.snapshot).await {
            Ok(finished) => exported.collections.extend(finished),
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let made = moment::confirm(context, &server, &listing).await?;
    exported.made_meanwhile = !made.is_empty();
    // What was made after a snapshot does not belong to its moment.
    if server.cluster_time.is_none() {
        exported.skipped.extend(made);
    }
    Ok(exported)
}

/// Says what is to be read, the largest first, so that no thread is left with it at the end.
fn announce(context: &Context, server: &Server, work: &mut [(Option<Size>, ListedCollection)]) {
    let bytes = |size: &Option<Size>| size.map_or(0, |size| size.bytes);
    let total: u64 = work.iter().map(|(size, _)| bytes(size)).sum();
    if server.cluster_time.is_some() && total / CAUTIOUS_BYTES_PER_SECOND > SNAPSHOT_SECONDS {
        context.progress.note(
            Stage::Export,
            "the snapshot may end before all is read: raise minSnapshotHistoryWindowInSeconds \
             (300 by default), or use --no-snapshot",
        );
    }
    work.sort_by(|(left_size, left), (right_size, right)| {
        bytes(right_size).cmp(&bytes(left_size)).then_with(|| left.name.cmp(&right.name))
    });
    let expected: Vec<(String, Total)> =
        work.iter().map(|(size, listed)| (listed.name.clone(), total_of(*size))).collect();
    context.progress.expect(Stage::Export, &expected);
}

fn total_of(size: Option<Size>) -> Total {
    size.map_or(Total::Unknown, |size| Total::Records(size.documents))
}

/// A task that reads a range, or what changed.
type Reading = JoinHandle<Result<(Range, Option<Found>), ExportError>>;

/// A collection that is being read.
struct Begun {
    about: About,
    listed: ListedCollection,
    size: Option<Size>,
    by_index: bool,
    before: Before,
    tasks: Vec<Reading>,
}

/// What all collections of an export have in common.
struct Export<'e> {
    context: &'e Context,
    server: &'e Server,
    options: &'e ExportOptions,
    /// Room for readers.
    places: Arc<Semaphore>,
}

impl Export<'_> {
    /// Begins to read a collection.
    async fn begin(
        &mut self,
        listed: ListedCollection,
        size: Option<Size>,
        mut before: Before,
    ) -> Result<Begun, ExportError> {
        let Self { context, server, options, .. } = *self;
        let indexes = server.indexes(&listed).await?;
        let by_index = listed.reads_by_index(&indexes);
        let mut about = About::whole(
            listed.name.clone(),
            &listed.kind,
            extended(&listed.options)?,
            indexes.iter().map(extended).collect::<Result<_, _>>()?,
        );
        about.uuid.clone_from(&listed.uuid);
        if listed.is_capped() && server.cluster_time.is_some() {
            let note =
                format!("{} is capped, and may be read outside of the snapshot", listed.name);
            context.progress.note(Stage::Export, &note);
        }
        context.progress.start(Stage::Export, &listed.name, total_of(size));
        let way = match &options.since {
            Some(since) => {
                let way = since.way(context, &listed, by_index)?;
                way.map(|way| (Arc::clone(since), way))
            }
            None => None,
        };
        let mut tasks = Vec::new();
        if let Some((since, way)) = way {
            before.ordered = None;
            about.source_documents = size.map(|size| size.documents);
            tasks.push(self.read_changes(&listed, since, way));
        } else if before.ordered.is_none() {
            let ranges = match before.ranges.take() {
                Some(ranges) => ranges,
                // Batches of a collection whose ranges are not written down are of one.
                None if !before.batches.is_empty() => vec![IdRange::default()],
                None => self.split(&listed, size, by_index).await?,
            };
            for (number, range) in ranges.into_iter().enumerate() {
                let batches = before.batches.get(&number).map_or(&[][..], Vec::as_slice);
                let database = server.database();
                let writer = RangeWriter::new(context, database, &listed.name, number, batches)?;
                tasks.push(self.read(&listed, range, by_index, writer));
            }
        }
        Ok(Begun { about, listed, size, by_index, before, tasks })
    }

    async fn split(
        &self,
        listed: &ListedCollection,
        size: Option<Size>,
        by_index: bool,
    ) -> Result<Vec<IdRange>, ExportError> {
        let bytes = size.map_or(0, |size| size.bytes);
        let ranges = match range_count(bytes, self.options.threads) {
            count @ 2.. if by_index => self.server.split(listed, count).await?,
            _ => vec![IdRange::default()],
        };
        let texts: Result<Vec<_>, _> = ranges.iter().map(range_to_text).collect();
        let texts = texts.map_err(|error| SourceError::Definition { detail: error.to_string() })?;
        let collection = listed.name.clone();
        self.context.journal.append(&Entry::Split { collection, ranges: texts })?;
        Ok(ranges)
    }

    fn read(
        &self,
        listed: &ListedCollection,
        range: IdRange,
        by_index: bool,
        writer: RangeWriter,
    ) -> Reading {
        let (server, places) = (self.server.clone(), Arc::clone(&self.places));
        let (context, listed) = (self.context.clone(), listed.clone());
        tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            let query =
                Query { listed: &listed, range: &range, by_index, filter: None, fields: None };
            let read = read_range(&context, &server, &query, writer).await;
            read.map(|range| (range, None))
        })
    }

    fn read_changes(&self, listed: &ListedCollection, since: Arc<Since>, way: Way) -> Reading {
        let (server, places) = (self.server.clone(), Arc::clone(&self.places));
        let (context, listed) = (self.context.clone(), listed.clone());
        tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            let read = changes::read(&context, &server, &since, &listed, way).await;
            read.map(|(range, found)| (range, Some(found)))
        })
    }

    /// Waits for a collection, and brings its parts into order unless another one failed.
    async fn finish(
        &self,
        begun: Begun,
        failed: bool,
        snapshot: &Snapshot,
    ) -> Result<Option<CollectionManifest>, ExportError> {
        let Begun { mut about, listed, size, by_index, before, tasks } = begun;
        let mut ranges = Vec::new();
        if before.ordered.is_some() {
            ranges.push(rejects_before(&before));
        }
        let mut failure = None;
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
        if let Some(error) = failure {
            return Err(error);
        }
        if failed {
            return Ok(None);
        }
        let whole = before.ordered.is_none() && about.changes.is_none();
        if whole && by_index && matches!(snapshot, Snapshot::ClusterTime { .. }) {
            self.count(&listed, size, &ranges).await?;
        }
        let database = self.server.database();
        let concluded = self.context.conclude(database, about, ranges, before.ordered);
        concluded.await.map(Some)
    }

    /// Compares the documents of a collection with those that the server counts at the snapshot.
    ///
    /// Where the collection's own number of documents is the same, nothing more is asked: a count
    /// by the index costs about a tenth of the reading.
    async fn count(
        &self,
        listed: &ListedCollection,
        size: Option<Size>,
        ranges: &[Range],
    ) -> Result<(), ExportError> {
        let written = ranges.iter().flat_map(|range| &range.runs).map(|run| run.part.file.rows);
        let rejects = ranges.iter().map(|range| range.rejects);
        let read: u64 = written.chain(rejects).sum();
        if listed.is_capped() || size.is_some_and(|size| size.documents == read) {
            return Ok(());
        }
        match self.server.count(listed).await? {
            Some(counted) if counted != read => {
                moment::forget(self.context, &listed.name)?;
                // By its name alone the server counts what stands there now.
                let current = self.server.collections().await?;
                let changed = differences(std::slice::from_ref(listed), &current);
                if let Some((_, difference)) = changed.into_iter().next() {
                    let collection = listed.name.clone();
                    return Err(ExportError::Changed { collection, difference });
                }
                Err(ExportError::Miscounted { collection: listed.name.clone(), read, counted })
            }
            Some(_) => Ok(()),
            None => {
                let note = format!(
                    "{}: its documents cannot be counted at the snapshot any more",
                    listed.name
                );
                self.context.progress.note(Stage::Export, &note);
                Ok(())
            }
        }
    }
}
