//! A source read from end to end in batches, for who wants to look at its documents and keep none.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value as Json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::archive::{Archive, Event, Position};
use super::buckets::{Measurements, Series};
use super::dump::{Dump, DumpReader, DumpedCollection, Frame};
use super::json::{self, JsonCollection, JsonFiles, JsonReader, Record};
use super::mongodb::{
    IdRange, Identity, ListedCollection, Server, Wanted, differences, extended, range_count,
};
use super::sqlite::{Left, Sqlite, SqliteTable};
use super::{SourceAddress, SourceError, plain_size};
use crate::staging::inventory::{SourceObject, of_skipped};
use crate::staging::manifest::Skipped;

/// BSON bytes of a batch.
const BATCH_BYTES: usize = 1 << 20;

/// Documents, one after another.
#[derive(Debug, Default)]
pub struct Documents {
    buffer: Vec<u8>,
    ends: Vec<usize>,
    place: u64,
}

impl Documents {
    /// How many.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The place of the first one among all of its collection; those of ranges lie far apart.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The documents.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.buffer[start..*end])
    }

    fn push(&mut self, document: &[u8]) {
        self.buffer.extend_from_slice(document);
        self.ends.push(self.buffer.len());
    }
}

/// A collection or table of a source.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Name.
    pub name: String,
    /// `collection`, `timeseries`, `table`.
    pub kind: String,
    /// Options as the source gives them.
    pub options: Json,
    /// Indexes as the source gives them.
    pub indexes: Vec<Json>,
    /// Documents, where the source tells; a server's own estimate.
    pub documents: Option<u64>,
    /// Bytes to read, where they are known.
    pub bytes: Option<u64>,
}

/// Takes batches from many threads at once: the collection's place in the list, and its documents.
/// False ends the reading.
pub type Take = Box<dyn Fn(usize, Documents) -> bool + Send + Sync>;

/// Where all readers hand over what they read.
struct Sink {
    take: Take,
    /// Collections of which some documents were left out.
    thinned: Vec<AtomicBool>,
    seen: Mutex<Vec<Seen>>,
}

/// How a collection was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// All of its documents were handed over.
    pub whole: bool,
    /// Records that are no documents.
    pub rejected: u64,
    /// Why the first of them is none.
    pub example: Option<String>,
    /// Its documents have no `_id` of their own: it is their number in the file.
    pub numbered: bool,
}

/// An open source.
pub struct Whole {
    /// Database name.
    pub database: String,
    /// What is read, in order of names.
    pub collections: Vec<Listed>,
    /// Every object of the source, taken or left out.
    pub objects: Vec<SourceObject>,
    from: From,
}

enum From {
    Server(Server, Vec<(ListedCollection, bool)>),
    Files(Vec<(PathBuf, Option<Series>)>),
    Archive(Box<Archive>, Vec<Option<usize>>),
    Sqlite(PathBuf, Vec<SqliteTable>, Vec<Left>),
    Json(Vec<JsonCollection>),
}

/// At most about so many documents of each collection, taken from all parts of it.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub Option<u64>);

/// Thins out what comes one after another: blocks are left out ever more often once the limit is
/// near, so that the sample reaches to the end of whatever length there is.
struct Thinner {
    limit: Option<u64>,
    seen: u64,
    taken: u64,
}

impl Thinner {
    const BLOCK: u64 = 256;

    fn new(limit: Limit) -> Self {
        Self { limit: limit.0, seen: 0, taken: 0 }
    }

    /// Whether the next document is taken.
    fn takes(&mut self) -> bool {
        let block = self.seen / Self::BLOCK;
        self.seen += 1;
        let Some(limit) = self.limit else { return true };
        // Each time another half of the limit is taken, the stride doubles.
        let stride = 1_u64 << (self.taken * 2 / limit.max(1)).min(40);
        let takes = block.is_multiple_of(stride);
        self.taken += u64::from(takes);
        takes
    }
}

impl Whole {
    /// Opens a source and lists what it holds.
    pub async fn open(address: &SourceAddress) -> Result<Self, SourceError> {
        match address {
            SourceAddress::MongoDb(uri) => Self::server(uri).await,
            SourceAddress::Dump(path) => Self::dump(Dump::open(path)?),
            SourceAddress::File(path) => Self::dump(Dump::open_file(path)?),
            SourceAddress::Archive(path, database) => {
                let mut archive = Archive::open(path, database.as_deref())?;
                let mut collections = Vec::new();
                let mut places = Vec::new();
                for collection in &archive.collections {
                    let listed = of_dump(collection, None);
                    places.push(listed.is_some().then_some(collections.len()));
                    collections.extend(listed);
                }
                let database = archive.database.clone();
                let objects = std::mem::take(&mut archive.objects);
                let from = From::Archive(Box::new(archive), places);
                Ok(Self { database, collections, objects, from })
            }
            SourceAddress::Sqlite(path) => {
                let file = Sqlite::open(path)?;
                let (tables, left) = file.tables()?;
                let mut collections = Vec::new();
                for table in &tables {
                    collections.push(Listed {
                        name: table.name.clone(),
                        kind: "table".to_owned(),
                        options: table.options.clone(),
                        indexes: table.indexes.clone(),
                        documents: Some(file.count(table)?),
                        bytes: None,
                    });
                }
                let skipped = left.iter().map(|left| Skipped {
                    name: left.name.clone(),
                    reason: left.reason.clone(),
                    options: Json::String(left.sql.clone()),
                });
                let objects = objects(&collections, &skipped.collect::<Vec<_>>());
                let from = From::Sqlite(path.clone(), tables, left);
                Ok(Self { database: stem(path), collections, objects, from })
            }
            SourceAddress::Json(path) => {
                let JsonFiles { collections: files, objects } = json::open(path)?;
                let listed = files.iter().map(|file| Listed {
                    name: file.name.clone(),
                    kind: "collection".to_owned(),
                    options: Json::Null,
                    indexes: Vec::new(),
                    documents: None,
                    bytes: plain_size(&file.path),
                });
                let collections = listed.collect();
                let from = From::Json(files);
                Ok(Self { database: stem(path), collections, objects, from })
            }
            SourceAddress::Postgres(_) => Err(SourceError::Address {
                address: address.display(),
                detail: "a loaded database has its pipeline file already".to_owned(),
            }),
        }
    }

    async fn server(uri: &str) -> Result<Self, SourceError> {
        let server = Server::connect(uri).await?;
        let (mut collections, mut places) = (Vec::new(), Vec::new());
        let mut left = Vec::new();
        for listed in server.collections().await? {
            if let Some(reason) = listed.left_out() {
                // They are what a time series is stored in.
                if !listed.is_buckets() {
                    let options = extended(&listed.options)?;
                    left.push(Skipped { name: listed.name, reason: reason.to_owned(), options });
                }
                continue;
            }
            let size = server.size(&listed).await?;
            let indexes = server.indexes(&listed).await?;
            collections.push(Listed {
                name: listed.name.clone(),
                kind: listed.kind.clone(),
                options: extended(&listed.options)?,
                indexes: indexes.iter().map(extended).collect::<Result<_, _>>()?,
                documents: size.map(|size| size.documents),
                bytes: size.map(|size| size.bytes),
            });
            let by_index = listed.reads_by_index(&indexes);
            places.push((listed, by_index));
        }
        let database = server.database().to_owned();
        let objects = objects(&collections, &left);
        Ok(Self { database, collections, objects, from: From::Server(server, places) })
    }

    fn dump(dump: Dump) -> Result<Self, SourceError> {
        let (mut collections, mut files) = (Vec::new(), Vec::new());
        for collection in &dump.collections {
            let Some(path) = &collection.data else { continue };
            if let Some(listed) = of_dump(collection, plain_size(path)) {
                collections.push(listed);
                files.push((path.clone(), collection.series(path)?));
            }
        }
        let (database, objects) = (dump.database, dump.objects);
        Ok(Self { database, collections, objects, from: From::Files(files) })
    }

    /// What a SQLite file holds that no collection is made of: views, triggers, some virtual tables.
    pub fn left_out(&self) -> &[Left] {
        match &self.from {
            From::Sqlite(_, _, left) => left,
            _ => &[],
        }
    }

    /// Reads it, with so many readers at the same time. Says of each collection how it was read.
    pub async fn read(
        self,
        readers: usize,
        limit: Limit,
        take: Take,
    ) -> Result<Vec<Seen>, SourceError> {
        let thinned = self.collections.iter().map(|_| AtomicBool::new(false)).collect();
        let seen = Mutex::new(vec![Seen::default(); self.collections.len()]);
        let take = Arc::new(Sink { take, thinned, seen });
        let places = Arc::new(Semaphore::new(readers.max(1)));
        let mut tasks: JoinSet<Result<(), SourceError>> = JoinSet::new();
        // What is read by name alone may have become something else.
        let mut named: Vec<(Server, Arc<ListedCollection>)> = Vec::new();
        match self.from {
            From::Server(server, listing) => {
                for (at, (listed, by_index)) in listing.into_iter().enumerate() {
                    let size = &self.collections[at];
                    let ranges = ranges(&server, (&listed, size), by_index, readers, limit).await?;
                    let listed = Arc::new(listed);
                    if server.identity_of(&listed) == Identity::Name {
                        named.push((server.clone(), Arc::clone(&listed)));
                    }
                    let share = Limit(limit.0.map(|limit| limit.div_ceil(ranges.len() as u64)));
                    for (number, range) in (0..).zip(ranges) {
                        let (server, listed) = (server.clone(), Arc::clone(&listed));
                        let (places, take) = (Arc::clone(&places), Arc::clone(&take));
                        tasks.spawn(async move {
                            let _place = places.acquire_owned().await;
                            read_range(
                                &server,
                                &listed,
                                (number, &range),
                                by_index,
                                share,
                                at,
                                &take,
                            )
                            .await
                        });
                    }
                }
            }
            From::Files(files) => {
                for (at, (path, series)) in files.into_iter().enumerate() {
                    let (places, take) = (Arc::clone(&places), Arc::clone(&take));
                    tasks.spawn(async move {
                        let _place = places.acquire_owned().await;
                        let read = move || read_dump(&path, series.as_ref(), limit, at, &take);
                        tokio::task::spawn_blocking(read).await.map_err(SourceError::Worker)?
                    });
                }
            }
            From::Json(files) => {
                for (at, file) in files.into_iter().enumerate() {
                    let (places, take) = (Arc::clone(&places), Arc::clone(&take));
                    tasks.spawn(async move {
                        let _place = places.acquire_owned().await;
                        let read = move || read_json(&file.path, limit, at, &take);
                        tokio::task::spawn_blocking(read).await.map_err(SourceError::Worker)?
                    });
                }
            }
            From::Archive(archive, places) => {
                let take = Arc::clone(&take);
                tasks.spawn_blocking(move || read_archive(*archive, &places, limit, &take));
            }
            From::Sqlite(path, tables, _) => {
                let take = Arc::clone(&take);
                tasks.spawn_blocking(move || {
                    let file = Sqlite::open(&path)?;
                    for (at, table) in tables.iter().enumerate() {
                        let mut feeder = Feeder::new(limit, at, &take);
                        file.rows::<SourceError>(table, |row| {
                            feeder.push(row);
                            Ok(())
                        })?;
                        if !feeder.finish() {
                            break;
                        }
                    }
                    Ok(())
                });
            }
        }
        while let Some(done) = tasks.join_next().await {
            done.map_err(SourceError::Worker)??;
        }
        if let Some((server, _)) = named.first() {
            let read: Vec<ListedCollection> =
                named.iter().map(|(_, listed)| listed.as_ref().clone()).collect();
            if let Some((listed, how)) = differences(&read, &server.collections().await?).first() {
                return Err(server.gone(listed, format!("it was {how}")));
            }
        }
        let mut seen = std::mem::take(&mut *take.seen());
        for (seen, thinned) in seen.iter_mut().zip(&take.thinned) {
            seen.whole = !thinned.load(Ordering::Relaxed);
        }
        Ok(seen)
    }
}

impl Sink {
    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a record that is no document.
    fn reject(&self, collection: usize, reason: impl FnOnce() -> String) {
        let seen = &mut self.seen()[collection];
        seen.rejected += 1;
        seen.example.get_or_insert_with(reason);
    }
}

/// The objects of a source that has one for each collection.
fn objects(collections: &[Listed], left: &[Skipped]) -> Vec<SourceObject> {
    let taken = collections
        .iter()
        .map(|listed| SourceObject::taken(&listed.name, &listed.kind, &listed.name));
    taken.chain(left.iter().map(of_skipped)).collect()
}

/// Gathers documents into batches and hands them over.
struct Feeder<'t> {
    thinner: Thinner,
    collection: usize,
    take: &'t Arc<Sink>,
    batch: Documents,
    /// Place of the next document.
    place: u64,
    wanted: bool,
}

impl<'t> Feeder<'t> {
    fn new(limit: Limit, collection: usize, take: &'t Arc<Sink>) -> Self {
        let (batch, thinner) = (Documents::default(), Thinner::new(limit));
        Self { thinner, collection, take, batch, place: 0, wanted: true }
    }

    /// Says whether more is wanted.
    fn push(&mut self, document: &[u8]) -> bool {
        if !self.thinner.takes() {
            self.take.thinned[self.collection].store(true, Ordering::Relaxed);
        } else if self.wanted {
            if self.batch.is_empty() {
                self.batch.place = self.place;
            }
            self.place += 1;
            self.batch.push(document);
            if self.batch.bytes() >= BATCH_BYTES {
                self.submit();
            }
        }
        self.wanted
    }

    /// The same for a document of a dump, which may be a bucket of measurements. A bucket that
    /// cannot be unpacked is for the export to reject.
    fn push_from(
        &mut self,
        document: &[u8],
        series: Option<&Series>,
        measurements: &mut Measurements,
    ) -> bool {
        let Some(series) = series else { return self.push(document) };
        if measurements.unpack(document, series).is_err() {
            self.take.thinned[self.collection].store(true, Ordering::Relaxed);
        }
        measurements.iter().all(|measurement| self.push(measurement))
    }

    fn submit(&mut self) {
        if !self.batch.is_empty() {
            self.wanted &= (self.take.take)(self.collection, std::mem::take(&mut self.batch));
        }
    }

    fn finish(mut self) -> bool {
        self.submit();
        self.wanted
    }
}

async fn ranges(
    server: &Server,
    (listed, size): (&ListedCollection, &Listed),
    by_index: bool,
    readers: usize,
    limit: Limit,
) -> Result<Vec<IdRange>, SourceError> {
    let sampled = limit.0.is_some_and(|limit| size.documents.is_some_and(|all| all > limit));
    // Many short ranges at random places make a sample. Without a size there is one range.
    let count = if sampled { 64 } else { range_count(size.bytes.unwrap_or(0), readers) };
    if !by_index || count < 2 {
        return Ok(vec![IdRange::default()]);
    }
    server.split(listed, count).await
}

async fn read_range(
    server: &Server,
    listed: &ListedCollection,
    (number, range): (u64, &IdRange),
    by_index: bool,
    limit: Limit,
    at: usize,
    take: &Arc<Sink>,
) -> Result<(), SourceError> {
    let wanted = Wanted { range, by_index, filter: None, fields: None };
    let mut reader = server.read(listed, wanted).await?;
    let mut feeder = Feeder::new(Limit(None), at, take);
    feeder.place = number << 40;
    let mut left = limit.0.unwrap_or(u64::MAX);
    'reading: while left > 0
        && let Some(reply) = reader.next().await?
    {
        for document in server.documents(listed, &reply)? {
            if left == 0 || !feeder.push(document) {
                break 'reading;
            }
            left -= 1;
        }
    }
    if left == 0 {
        take.thinned[at].store(true, Ordering::Relaxed);
    }
    feeder.finish();
    Ok(())
}

fn read_dump(
    path: &Path,
    series: Option<&Series>,
    limit: Limit,
    at: usize,
    take: &Arc<Sink>,
) -> Result<(), SourceError> {
    let mut reader = DumpReader::open(path)?;
    let mut feeder = Feeder::new(limit, at, take);
    let (mut document, mut measurements) = (Vec::new(), Measurements::default());
    loop {
        document.clear();
        match reader.frame(&mut document)? {
            Frame::Document { .. } => {
                if !feeder.push_from(&document, series, &mut measurements) {
                    break;
                }
            }
            Frame::End => break,
            // The export rejects what is no document; what follows it cannot be looked at.
            Frame::Broken { reason, offset } => {
                take.reject(at, || format!("record at byte {offset}: {reason}"));
                take.thinned[at].store(true, Ordering::Relaxed);
                break;
            }
            Frame::Terminator { offset } => {
                take.reject(at, || format!("record at byte {offset} claims a length of -1 bytes"));
                take.thinned[at].store(true, Ordering::Relaxed);
                break;
            }
        }
    }
    feeder.finish();
    Ok(())
}

fn read_json(path: &Path, limit: Limit, at: usize, take: &Arc<Sink>) -> Result<(), SourceError> {
    let mut reader = JsonReader::open(path)?;
    let mut feeder = Feeder::new(limit, at, take);
    let mut document = Vec::new();
    while let Some((offset, record)) = reader.record(&mut document)? {
        match record {
            Record::Document => {
                if !feeder.push(&document) {
                    break;
                }
            }
            Record::Broken { reason, .. } => {
                take.reject(at, || format!("record at byte {offset}: {reason}"));
            }
        }
        document.clear();
    }
    take.seen()[at].numbered = reader.numbered();
    feeder.finish();
    Ok(())
}

fn read_archive(
    mut archive: Archive,
    places: &[Option<usize>],
    limit: Limit,
    take: &Arc<Sink>,
) -> Result<(), SourceError> {
    let mut feeders: Vec<Feeder<'_>> =
        places.iter().flatten().map(|at| Feeder::new(limit, *at, take)).collect();
    let (mut position, mut document) = (Position::default(), Vec::new());
    let mut measurements = Measurements::default();
    while let Some(event) = archive.next(&mut position, &mut document)? {
        if let Event::Document { collection, .. } = event
            && let Some(at) = places[collection]
        {
            let series = archive.collections[collection].series(archive.path())?;
            if !feeders[at].push_from(&document, series.as_ref(), &mut measurements) {
                return Ok(());
            }
        }
        document.clear();
    }
    for feeder in feeders {
        feeder.finish();
    }
    Ok(())
}

fn stem(path: &Path) -> String {
    let name = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    name.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a dump says of a collection; none when it holds no documents of its own.
fn of_dump(collection: &DumpedCollection, bytes: Option<u64>) -> Option<Listed> {
    collection.left_out().is_none().then(|| Listed {
        name: collection.name.clone(),
        kind: collection.kind().to_owned(),
        options: collection.options(),
        indexes: collection.indexes(),
        documents: None,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_reaches_to_the_end() {
        for length in [10_u64, 1000, 100_000, 10_000_000] {
            let mut thinner = Thinner::new(Limit(Some(1000)));
            let taken: Vec<u64> = (0..length).filter(|_| thinner.takes()).collect();
            assert!(taken.len() as u64 <= length.min(16_000), "{length}: {}", taken.len());
            assert!(taken.len() as u64 >= length.min(1000) / 2, "{length}: {}", taken.len());
            if let Some(last) = taken.last() {
                assert!(*last >= length / 2 - 1, "{length}: {last}");
            }
        }
    }
}
