//! Sources that are files; here mongodump directories, single `.bson` files, archives.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::journal::{Before, State};
use super::part::Batch;
use super::records::Feeder;
use super::writer::{Context, Range, RangeWriter};
use super::{About, ExportError, Exported, records, rejects_before, size_of};
use crate::progress::{Stage, Total};
use crate::source::SourceAddress;
use crate::source::archive::{Archive, Event, Position};
use crate::source::buckets::{Measurements, Series};
use crate::source::dump::{Dump, DumpReader, DumpedCollection, Frame};
use crate::source::json;
use crate::staging::manifest::{Skipped, Snapshot};

pub(super) async fn export(
    context: &Context,
    state: State,
    source: &SourceAddress,
    threads: usize,
) -> Result<Exported, ExportError> {
    match source {
        SourceAddress::Archive(path, database) => {
            let archive = Archive::open(path, database.as_deref())?;
            self::archive(context, state, source, archive).await
        }
        SourceAddress::File(path) => {
            directory(context, state, source, Dump::open_file(path)?, threads).await
        }
        SourceAddress::Dump(path) => {
            directory(context, state, source, Dump::open(path)?, threads).await
        }
        SourceAddress::Sqlite(path) => records::sqlite(context, state, source, path).await,
        SourceAddress::Json(path) => {
            records::json(context, state, source, path, json::open(path)?).await
        }
        SourceAddress::MongoDb(_) | SourceAddress::Postgres(_) => {
            Err(ExportError::OtherSource { begun: "files".to_owned(), given: source.display() })
        }
    }
}

fn exported(kind: &str, source: &SourceAddress, database: &str) -> Exported {
    let reason = "a dump does not tell whether its collections are of one moment".to_owned();
    Exported::of_files(kind, source, database, Snapshot::None { reason })
}

/// What a dump says of a collection, or why it is left out.
fn describe(collection: &DumpedCollection) -> Result<About, Skipped> {
    match collection.left_out() {
        Some(reason) => Err(Skipped {
            name: collection.name.clone(),
            reason: reason.to_owned(),
            options: collection.options(),
        }),
        None => {
            let (options, indexes) = (collection.options(), collection.indexes());
            let about = About::whole(collection.name.clone(), collection.kind(), options, indexes);
            Ok(About { uuid: collection.uuid(), ..about })
        }
    }
}

async fn directory(
    context: &Context,
    mut state: State,
    source: &SourceAddress,
    mut dump: Dump,
    threads: usize,
) -> Result<Exported, ExportError> {
    let mut result = exported("mongodump", source, &dump.database);
    result.objects = dump.objects;
    // The largest first, so that no thread is left with it at the end.
    let bytes = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    dump.collections.sort_by_cached_key(|collection| {
        (Reverse(collection.data.as_ref().map_or(0, bytes)), collection.name.clone())
    });
    let names = dump.collections.iter().filter(|collection| collection.data.is_some());
    context.run.name_folders(names.map(|collection| collection.name.clone()));
    let places = Arc::new(Semaphore::new(threads));
    let data = dump.collections.iter().filter_map(|collection| {
        Some((collection.name.clone(), size_of(collection.data.as_ref()?)))
    });
    context.progress.expect(Stage::Export, &data.collect::<Vec<_>>());
    let mut tasks = Vec::new();
    for collection in dump.collections {
        let about = match describe(&collection) {
            Ok(about) => about,
            Err(skipped) => {
                result.skipped.push(skipped);
                continue;
            }
        };
        // Whatever is not left out has a file of documents.
        let Some(path) = collection.data.clone() else { continue };
        let series = collection.series(&path)?;
        let before = state.take(&about.name);
        if let Some(finished) = context.finished(&before) {
            result.collections.push(finished);
            continue;
        }
        context.progress.start(Stage::Export, &about.name, size_of(&path));
        let (context, database) = (context.clone(), dump.database.clone());
        let places = Arc::clone(&places);
        tasks.push(tokio::spawn(async move {
            let _place = places.acquire_owned().await;
            context.check()?;
            let (range, read) = if before.ordered.is_some() {
                (rejects_before(&before), None)
            } else {
                let read =
                    read_file(&context, &database, &about.name, (path, series), &before).await;
                read.map(|(range, read)| (range, Some(read)))?
            };
            let concluded = context.conclude(&database, about, vec![range], before.ordered);
            Ok((concluded.await?, read))
        }));
    }
    // All are waited for, so that what is in hand is kept when one of them fails.
    let mut failure = None;
    for task in tasks {
        match task.await.map_err(ExportError::Worker)? {
            Ok((collection, read)) => {
                result.read.extend(read.map(|read| (collection.name.clone(), read)));
                result.collections.push(collection);
            }
            Err(error) => {
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None => Ok(result),
    }
}

/// Reads a file to its end, and counts its records.
async fn read_file(
    context: &Context,
    database: &str,
    collection: &str,
    (path, series): (PathBuf, Option<Series>),
    before: &Before,
) -> Result<(Range, u64), ExportError> {
    let mut writer = RangeWriter::only(context, database, collection, before)?;
    let (context, handle) = (context.clone(), Handle::current());
    let reader = tokio::task::spawn_blocking(move || {
        let read = match &series {
            None => read_documents(&context, &handle, &path, &mut writer),
            Some(series) => read_buckets(&context, &handle, &path, series, &mut writer),
        };
        // What is in hand is kept, whatever ended the reading.
        let range = handle.block_on(writer.finish())?;
        read.map(|read| (range, read))
    });
    reader.await.map_err(ExportError::Worker)?
}

fn read_documents(
    context: &Context,
    handle: &Handle,
    path: &Path,
    writer: &mut RangeWriter,
) -> Result<u64, ExportError> {
    let mut reader = DumpReader::open(path)?;
    let mut skipped = Vec::new();
    let mut read = 0;
    for _ in 0..writer.taken() {
        skipped.clear();
        match reader.frame(&mut skipped)? {
            Frame::Document { .. } => read += 1,
            // It was the last that an earlier attempt took.
            Frame::Broken { .. } | Frame::Terminator { .. } => return Ok(read + 1),
            Frame::End => return Ok(read),
        }
    }
    loop {
        let mut batch = Batch::default();
        let more = match batch.read(&mut reader, context.part_bytes)? {
            Frame::Document { .. } => true,
            Frame::Broken { reason, offset } => {
                batch.end_broken(offset, &reason);
                false
            }
            Frame::Terminator { offset } => {
                batch.buffer().extend_from_slice(&[0xff; 4]);
                batch.end_broken(offset, "a document claims a length of -1 bytes");
                false
            }
            Frame::End => false,
        };
        read += batch.len() as u64;
        if batch.len() > 0 {
            handle.block_on(writer.submit(batch))?;
            context.check()?;
        }
        if !more {
            return Ok(read);
        }
    }
}

/// Reads a file of buckets to its end, and counts its records: each measurement is one, and so is
/// a bucket that cannot be unpacked.
fn read_buckets(
    context: &Context,
    handle: &Handle,
    path: &Path,
    series: &Series,
    writer: &mut RangeWriter,
) -> Result<u64, ExportError> {
    let mut reader = DumpReader::open(path)?;
    let mut feeder = Feeder::new(context, handle, writer);
    let (mut bucket, mut measurements) = (Vec::new(), Measurements::default());
    let mut read = 0;
    loop {
        bucket.clear();
        match reader.frame(&mut bucket)? {
            Frame::Document { offset } => match measurements.unpack(&bucket, series) {
                Ok(()) => {
                    for measurement in measurements.iter() {
                        read += 1;
                        feeder.push(measurement, Some(offset))?;
                    }
                }
                Err(error) => {
                    read += 1;
                    feeder.push_broken(&bucket, offset, &error.to_string())?;
                }
            },
            Frame::Broken { reason, offset } => {
                feeder.push_broken(&bucket, offset, &reason)?;
                feeder.submit()?;
                return Ok(read + 1);
            }
            Frame::Terminator { offset } => {
                let reason = "a document claims a length of -1 bytes";
                feeder.push_broken(&[0xff; 4], offset, reason)?;
                feeder.submit()?;
                return Ok(read + 1);
            }
            Frame::End => {
                feeder.submit()?;
                return Ok(read);
            }
        }
    }
}

/// A collection of an archive while its documents come.
struct Stream {
    writer: RangeWriter,
    batch: Batch,
    to_skip: u64,
    /// Records that the archive gave.
    read: u64,
}

impl Stream {
    /// Takes a record; `broken` is the reason for which it is no document.
    fn push(
        &mut self,
        context: &Context,
        handle: &Handle,
        (bytes, offset): (&[u8], u64),
        broken: Option<String>,
    ) -> Result<(), ExportError> {
        self.read += 1;
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return Ok(());
        }
        self.batch.buffer().extend_from_slice(bytes);
        let last = broken.is_some();
        match broken {
            None => self.batch.end_document_at(offset),
            Some(reason) => self.batch.end_broken(offset, &reason),
        }
        if last || self.batch.bytes() >= context.part_bytes { self.submit(handle) } else { Ok(()) }
    }

    fn submit(&mut self, handle: &Handle) -> Result<(), ExportError> {
        if self.batch.len() > 0 {
            handle.block_on(self.writer.submit(std::mem::take(&mut self.batch)))?;
        }
        Ok(())
    }
}

async fn archive(
    context: &Context,
    mut state: State,
    source: &SourceAddress,
    mut archive: Archive,
) -> Result<Exported, ExportError> {
    let database = archive.database.clone();
    let mut result = exported("archive", source, &database);
    result.objects = std::mem::take(&mut archive.objects);
    let names = archive.collections.iter().map(|collection| collection.name.clone());
    context.run.name_folders(names);
    // By index into the archive's collections.
    let mut wanted: BTreeMap<usize, (About, Before)> = BTreeMap::new();
    for (at, collection) in archive.collections.iter().enumerate() {
        match describe(collection) {
            Err(skipped) => result.skipped.push(skipped),
            Ok(about) => {
                let before = state.take(&about.name);
                match context.finished(&before) {
                    Some(finished) => result.collections.push(finished),
                    None => {
                        context.progress.start(Stage::Export, &about.name, Total::Unknown);
                        wanted.insert(at, (about, before));
                    }
                }
            }
        }
    }
    let (shared, handle, owner) = (context.clone(), Handle::current(), database.clone());
    let reader = tokio::task::spawn_blocking(move || {
        let mut streams = BTreeMap::new();
        let read = read_archive(&shared, &handle, archive, &owner, &wanted, &mut streams);
        // What is in hand is kept, whatever ended the reading.
        let mut ranges = BTreeMap::new();
        for (at, stream) in streams {
            ranges.insert(at, (handle.block_on(stream.writer.finish())?, stream.read));
        }
        read.map(|()| (wanted, ranges))
    });
    let (wanted, mut ranges) = reader.await.map_err(ExportError::Worker)??;
    for (at, (about, before)) in wanted {
        let range = match ranges.remove(&at) {
            Some((range, read)) => {
                result.read.insert(about.name.clone(), read);
                range
            }
            None => rejects_before(&before),
        };
        let concluded = context.conclude(&database, about, vec![range], before.ordered);
        result.collections.push(concluded.await?);
    }
    Ok(result)
}

fn read_archive(
    context: &Context,
    handle: &Handle,
    mut archive: Archive,
    database: &str,
    wanted: &BTreeMap<usize, (About, Before)>,
    streams: &mut BTreeMap<usize, Stream>,
) -> Result<(), ExportError> {
    for (at, (about, before)) in wanted.iter().filter(|(_, (_, before))| before.ordered.is_none()) {
        let writer = RangeWriter::only(context, database, &about.name, before)?;
        let to_skip = writer.taken();
        streams.insert(*at, Stream { writer, batch: Batch::default(), to_skip, read: 0 });
    }
    let mut position = Position::default();
    let (mut document, mut measurements) = (Vec::new(), Measurements::default());
    loop {
        document.clear();
        match archive.next(&mut position, &mut document)? {
            None => return Ok(()),
            Some(Event::Document { collection, offset }) => {
                let Some(stream) = streams.get_mut(&collection) else { continue };
                let record = (document.as_slice(), offset);
                let Some(series) = archive.collections[collection].series(archive.path())? else {
                    stream.push(context, handle, record, None)?;
                    continue;
                };
                match measurements.unpack(&document, &series) {
                    Ok(()) => {
                        for measurement in measurements.iter() {
                            stream.push(context, handle, (measurement, offset), None)?;
                        }
                    }
                    Err(error) => {
                        stream.push(context, handle, record, Some(error.to_string()))?;
                    }
                }
            }
            Some(Event::End { collection }) => {
                let Some(stream) = streams.get_mut(&collection) else { continue };
                stream.submit(handle)?;
            }
        }
        context.check()?;
    }
}
