//! A running MongoDB. Documents are taken as the raw bytes of the server's replies.

use std::time::Duration;

use futures_util::TryStreamExt;
use mongodb::bson::error::Error as BsonError;
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocumentBuf, Timestamp, doc};
use mongodb::options::ClientOptions;
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};
use mongodb::{Client, Database};
use serde_json::Value as Json;

use super::SourceError;
use super::address::without_credentials;
use super::dump::left_out;
use crate::document::extended_json::to_json;
use crate::document::raw::{Doc, Value};
use crate::staging::checksum::to_hex;

/// How often a connection is tried.
const TRIES: u32 = 2;
/// How long the driver looks for a usable server in one try.
const SELECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Documents of one reply.
const BATCH_DOCUMENTS: i32 = 5000;
/// Collections of at least this many BSON bytes are read in several ranges.
const SPLIT_BYTES: u64 = 64 << 20;
/// Error codes by which a server says that a snapshot is gone: SnapshotTooOld,
/// SnapshotUnavailable.
const SNAPSHOT_GONE: [i32; 2] = [239, 246];

/// A connected server.
#[derive(Clone, Debug)]
pub struct Server {
    address: String,
    database: Database,
    /// Server version.
    pub version: String,
    /// The cluster time to read at; none on a standalone server.
    pub cluster_time: Option<Timestamp>,
}

/// A collection as the server lists it.
#[derive(Clone, Debug)]
pub struct ListedCollection {
    /// Name.
    pub name: String,
    /// `collection`, `view` or `timeseries`.
    pub kind: String,
    /// Options.
    pub options: Document,
    /// The number that the server gave it when it was made.
    pub uuid: Option<String>,
}

impl ListedCollection {
    /// Why it holds no documents of its own; none when it does.
    pub fn left_out(&self) -> Option<&'static str> {
        left_out(&self.name, self.kind == "view")
    }

    /// Whether old documents make room for new ones.
    pub fn is_capped(&self) -> bool {
        self.options.get_bool("capped").unwrap_or(false)
    }

    /// Whether its `_id` index gives the order of its documents. Another collation orders it
    /// otherwise; a time-series has no such index.
    pub fn reads_by_index(&self, indexes: &[Document]) -> bool {
        self.kind == "collection"
            && !self.options.contains_key("collation")
            && indexes.iter().any(|index| index.get_str("name").is_ok_and(|name| name == "_id_"))
    }
}

/// Into how many ranges a collection of so many BSON bytes is split for so many readers.
pub fn range_count(bytes: u64, readers: usize) -> usize {
    if bytes < SPLIT_BYTES || readers < 2 {
        return 1;
    }
    usize::try_from(bytes / SPLIT_BYTES).unwrap_or(2).clamp(2, readers * 4)
}

/// A range of an `_id` index: from `min`, included, to `max`, excluded.
#[derive(Clone, Debug, Default)]
pub struct IdRange {
    /// First `_id`.
    pub min: Option<Bson>,
    /// First `_id` after the range.
    pub max: Option<Bson>,
}

impl Server {
    /// Connects, and asks the server what it is. The URI names the database.
    pub async fn connect(uri: &str) -> Result<Self, SourceError> {
        Self::connect_to(uri, None).await
    }

    /// The same, with a database for where the URI names none.
    pub async fn connect_to(uri: &str, otherwise: Option<&str>) -> Result<Self, SourceError> {
        let address = without_credentials(uri);
        let fail = |action: &str, tries, cause| SourceError::Server {
            action: action.to_owned(),
            address: address.clone(),
            tries,
            cause,
        };
        let mut options =
            ClientOptions::parse(uri).await.map_err(|source| fail("read the URI", 1, source))?;
        options.app_name.get_or_insert_with(|| "docferry".to_owned());
        options.server_selection_timeout.get_or_insert(SELECTION_TIMEOUT);
        let client =
            Client::with_options(options).map_err(|source| fail("use the URI", 1, source))?;
        let otherwise = otherwise.map(|name| client.database(name));
        let Some(database) = client.default_database().or(otherwise) else {
            return Err(SourceError::Address {
                address,
                detail: "the URI names no database".to_owned(),
            });
        };
        let mut tries = 1;
        let hello = loop {
            match database.run_command(doc! {"hello": 1}).await {
                Ok(hello) => break hello,
                Err(_) if tries < TRIES => tries += 1,
                Err(source) => return Err(fail("connect", tries, source)),
            }
        };
        let build = database
            .run_command(doc! {"buildInfo": 1})
            .await
            .map_err(|source| fail("ask for the version", 1, source))?;
        // Only members of a replica set, and routers, can read at a cluster time.
        let clustered = hello.contains_key("setName")
            || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        let cluster_time = if clustered { hello.get_timestamp("operationTime").ok() } else { None };
        Ok(Self {
            address,
            database,
            version: build.get_str("version").unwrap_or_default().to_owned(),
            cluster_time,
        })
    }

    /// The driver's handle of the database.
    pub fn handle(&self) -> &Database {
        &self.database
    }

    /// Name of the database.
    pub fn database(&self) -> &str {
        self.database.name()
    }

    /// The address without credentials.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn failed(
        &self,
        action: impl Into<String>,
    ) -> impl FnOnce(mongodb::error::Error) -> SourceError {
        let address = self.address.clone();
        let action = action.into();
        move |cause| SourceError::Server { action, address, tries: 1, cause }
    }

    /// Everything that the database lists, by name.
    pub async fn collections(&self) -> Result<Vec<ListedCollection>, SourceError> {
        let fail = || self.failed("list the collections");
        let mut cursor = self
            .database
            .run_cursor_command(doc! {"listCollections": 1, "nameOnly": false, "cursor": {}})
            .await
            .map_err(fail())?;
        let mut listed = Vec::new();
        while cursor.advance().await.map_err(fail())? {
            let entry = cursor.deserialize_current().map_err(fail())?;
            listed.push(ListedCollection {
                name: entry.get_str("name").unwrap_or_default().to_owned(),
                kind: entry.get_str("type").unwrap_or("collection").to_owned(),
                options: entry.get_document("options").cloned().unwrap_or_default(),
                uuid: match entry.get_document("info").ok().and_then(|info| info.get("uuid")) {
                    Some(Bson::Binary(uuid)) => Some(to_hex(&uuid.bytes)),
                    _ => None,
                },
            });
        }
        listed.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(listed)
    }

    /// The indexes of a collection.
    pub async fn indexes(&self, collection: &str) -> Result<Vec<Document>, SourceError> {
        let fail = || self.failed(format!("list the indexes of {collection}"));
        let mut cursor = self
            .database
            .run_cursor_command(doc! {"listIndexes": collection})
            .await
            .map_err(fail())?;
        let mut indexes = Vec::new();
        while cursor.advance().await.map_err(fail())? {
            indexes.push(cursor.deserialize_current().map_err(fail())?);
        }
        Ok(indexes)
    }

    /// Documents and their bytes, as the server's own statistics estimate them.
    pub async fn size(&self, collection: &str) -> Result<(u64, u64), SourceError> {
        let stats = self
            .database
            .run_command(doc! {"collStats": collection})
            .await
            .map_err(self.failed(format!("measure {collection}")))?;
        let number = |name: &str| match stats.get(name) {
            Some(Bson::Int32(number)) => u64::try_from(*number).unwrap_or(0),
            Some(Bson::Int64(number)) => u64::try_from(*number).unwrap_or(0),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an estimate"
            )]
            Some(Bson::Double(number)) => *number as u64,
            _ => 0,
        };
        Ok((number("count"), number("size")))
    }

    /// Splits a collection into about `count` ranges of similar size by a sample of its `_id`s.
    pub async fn split(&self, collection: &str, count: usize) -> Result<Vec<IdRange>, SourceError> {
        let fail = || self.failed(format!("sample {collection}"));
        let mut cursor = self
            .database
            .run_cursor_command(doc! {
                "aggregate": collection,
                "pipeline": [
                    {"$sample": {"size": i64::try_from(count * 20).unwrap_or(i64::MAX)}},
                    {"$project": {"_id": 1}},
                    {"$sort": {"_id": 1}},
                ],
                "cursor": {},
            })
            .await
            .map_err(fail())?;
        let mut sample = Vec::new();
        while cursor.advance().await.map_err(fail())? {
            sample.extend(cursor.deserialize_current().map_err(fail())?.remove("_id"));
        }
        sample.dedup();
        let mut ranges = Vec::new();
        let mut min = None;
        for at in 1..count {
            if let Some(max) = sample.get(at * sample.len() / count)
                && min.as_ref() != Some(max)
            {
                ranges.push(IdRange { min, max: Some(max.clone()) });
                min = Some(max.clone());
            }
        }
        ranges.push(IdRange { min, max: None });
        Ok(ranges)
    }

    /// Begins to read a range. With `by_index` in `_id` order; else in whatever order there is.
    ///
    /// Index bounds are used and not comparisons, because `$gte` sees only values of its own type.
    pub async fn read(
        &self,
        collection: &str,
        range: &IdRange,
        by_index: bool,
        filter: Option<&Document>,
    ) -> Result<Reader, SourceError> {
        let mut command = doc! {"find": collection, "batchSize": BATCH_DOCUMENTS};
        if let Some(filter) = filter {
            command.insert("filter", filter.clone());
        }
        if by_index {
            // The view of a time-series, which is an aggregation, refuses this.
            command.insert("noCursorTimeout", true);
            command.insert("hint", doc! {"_id": 1});
            command.insert("sort", doc! {"_id": 1});
            if let Some(min) = &range.min {
                command.insert("min", doc! {"_id": min.clone()});
            }
            if let Some(max) = &range.max {
                command.insert("max", doc! {"_id": max.clone()});
            }
        }
        self.begin(collection, command).await
    }

    /// Begins to read the `_id`s of a collection, in their order and out of their index alone.
    pub async fn read_ids(&self, collection: &str) -> Result<Reader, SourceError> {
        let command = doc! {
            "find": collection, "batchSize": BATCH_DOCUMENTS, "projection": {"_id": 1},
            "noCursorTimeout": true, "hint": {"_id": 1}, "sort": {"_id": 1},
        };
        self.begin(collection, command).await
    }

    async fn begin(&self, collection: &str, mut command: Document) -> Result<Reader, SourceError> {
        if let Some(time) = self.cluster_time {
            command.insert("readConcern", doc! {"level": "snapshot", "atClusterTime": time});
        }
        let begin = |command: Document| {
            let command = self.database.run_cursor_command(command);
            command.batch_size(BATCH_DOCUMENTS.unsigned_abs()).batch()
        };
        let mut begun = begin(command.clone()).await;
        if let Err(error) = &begun
            && refuses_no_timeout(error)
        {
            command.remove("noCursorTimeout");
            begun = begin(command.clone()).await;
        }
        if let Err(error) = &begun
            && refuses_capped(error)
        {
            command.remove("readConcern");
            begun = begin(command).await;
        }
        let cursor = begun.map_err(|error| self.reading(collection, error))?;
        Ok(Reader { server: self.clone(), collection: collection.to_owned(), cursor })
    }

    /// Whether the server can still read at the snapshot.
    pub async fn snapshot_lasts(&self) -> bool {
        let Some(time) = self.cluster_time else { return false };
        let command = doc! {
            "find": "docferry.probe", "limit": 1,
            "readConcern": {"level": "snapshot", "atClusterTime": time},
        };
        self.database.run_command(command).await.is_ok()
    }

    fn reading(&self, collection: &str, source: mongodb::error::Error) -> SourceError {
        let gone = match source.kind.as_ref() {
            mongodb::error::ErrorKind::Command(error) => SNAPSHOT_GONE.contains(&error.code),
            _ => false,
        };
        if gone {
            return SourceError::SnapshotEnded {
                address: self.address.clone(),
                collection: collection.to_owned(),
                cause: source,
            };
        }
        self.failed(format!("read {collection}"))(source)
    }
}

/// Shared tiers of Atlas let no cursor live for ever. A cursor that ends is opened again anyway.
fn refuses_no_timeout(error: &mongodb::error::Error) -> bool {
    const ATLAS_ERROR: i32 = 8000;
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(answer) => {
            answer.code == ATLAS_ERROR || answer.message.to_lowercase().contains("notimeout")
        }
        _ => false,
    }
}

/// Servers up to version 7 read capped collections outside of snapshots only.
fn refuses_capped(error: &mongodb::error::Error) -> bool {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(answer) => {
            SNAPSHOT_GONE.contains(&answer.code) && answer.message.contains("capped")
        }
        _ => false,
    }
}

/// Options and indexes as canonical Extended JSON, from which they can be made again.
pub fn extended(document: &Document) -> Json {
    let bytes =
        RawDocumentBuf::try_from(document).map(RawDocumentBuf::into_bytes).unwrap_or_default();
    let json = Doc::new(&bytes).and_then(|document| to_json(&Value::Document(document)));
    json.unwrap_or_default()
}

/// Documents of a range.
pub struct Reader {
    server: Server,
    collection: String,
    cursor: RawBatchCursor,
}

impl Reader {
    /// The next reply as it came; none at the end.
    pub async fn next(&mut self) -> Result<Option<RawBatch>, SourceError> {
        let reply = self.cursor.try_next().await;
        reply.map_err(|error| self.server.reading(&self.collection, error))
    }

    /// The documents of a reply, which keeps their bytes.
    pub fn documents<'r>(&self, reply: &'r RawBatch) -> Result<Vec<&'r [u8]>, SourceError> {
        let failed = |error| self.server.reading(&self.collection, error);
        let array = reply.doc_slices().map_err(failed)?;
        let bytes = |element: Result<RawBsonRef<'r>, BsonError>| match element? {
            RawBsonRef::Document(document) => Ok(document.as_bytes()),
            // A cursor returns documents only.
            _ => Ok(&[][..]),
        };
        let documents: Result<Vec<_>, BsonError> = array.into_iter().map(bytes).collect();
        documents.map_err(|error| failed(error.into()))
    }
}
