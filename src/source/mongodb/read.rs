//! Reading: cursors on a collection, whatever name it has meanwhile, at the snapshot.

use futures_util::TryStreamExt;
use mongodb::bson::error::Error as BsonError;
use mongodb::bson::{Bson, Document, RawBsonRef, RawDocumentBuf, doc};
use mongodb::raw_batch_cursor::{RawBatch, RawBatchCursor};

use super::collection::ListedCollection;
use super::range::IdRange;
use super::server::{Identity, Server, Tries};
use crate::source::SourceError;
use crate::source::error::{NAMESPACE_NOT_FOUND, UUID_MISMATCH, code, describe};

/// Documents of one reply.
const BATCH_DOCUMENTS: i32 = 5000;
/// How often a collection can get another name while a cursor on it is opened.
const MOST_NAMES: usize = 10;
/// The read timestamp is older than what the server keeps.
const SNAPSHOT_TOO_OLD: i32 = 239;
/// The same, or the collection was made or changed after it.
const SNAPSHOT_UNAVAILABLE: i32 = 246;

/// What is read of a collection.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'w> {
    /// Which part of the `_id` index.
    pub range: &'w IdRange,
    /// In the order of the `_id` index, else in whatever order there is.
    pub by_index: bool,
    /// Only what fits.
    pub filter: Option<&'w Document>,
    /// Only these fields.
    pub fields: Option<&'w Document>,
}

/// Documents of a range.
pub struct Reader {
    server: Server,
    listed: ListedCollection,
    cursor: Option<RawBatchCursor>,
    /// What is read when the cursor has come to its end.
    rest: Option<Document>,
}

impl Reader {
    /// The next reply as it came; none at the end.
    pub async fn next(&mut self) -> Result<Option<RawBatch>, SourceError> {
        loop {
            if let Some(cursor) = &mut self.cursor {
                let reply = cursor.try_next().await;
                match reply.map_err(|error| self.server.reading(&self.listed, error))? {
                    Some(reply) => return Ok(Some(reply)),
                    None => self.cursor = None,
                }
            }
            let Some(command) = self.rest.take() else { return Ok(None) };
            self.cursor = Some(self.server.open(&self.listed, command).await?);
        }
    }
}

impl Server {
    /// The documents of a reply, which keeps their bytes.
    pub fn documents<'r>(
        &self,
        listed: &ListedCollection,
        reply: &'r RawBatch,
    ) -> Result<Vec<&'r [u8]>, SourceError> {
        let array = reply.doc_slices().map_err(|error| self.reading(listed, error))?;
        let bytes = |element: Result<RawBsonRef<'r>, BsonError>| match element {
            Ok(RawBsonRef::Document(document)) => Ok(document.as_bytes()),
            Ok(_) => Err(self.unreadable(&format!("read {}", listed.name), "documents")),
            Err(error) => Err(self.reading(listed, error.into())),
        };
        array.into_iter().map(bytes).collect()
    }

    /// Begins to read. By the index in `_id` order; else in whatever order there is.
    ///
    /// Index bounds are used and not comparisons, because `$gte` sees only values of its own type.
    /// A range without an upper bound ends before `MaxKey`, which is asked for by itself.
    pub async fn read(
        &self,
        listed: &ListedCollection,
        wanted: Wanted<'_>,
    ) -> Result<Reader, SourceError> {
        let mut command = doc! {"batchSize": BATCH_DOCUMENTS};
        if let Some(fields) = wanted.fields {
            command.insert("projection", fields.clone());
        }
        let (mut first, mut rest) = (true, None);
        if wanted.by_index {
            // The view of a time-series, which is an aggregation, refuses this.
            command.insert("noCursorTimeout", true);
            command.insert("hint", doc! {"_id": 1});
            command.insert("sort", doc! {"_id": 1});
            let IdRange { min, max } = wanted.range;
            if min.is_some() && max.is_none() {
                let mut last = command.clone();
                last.insert("filter", doc! {"_id": Bson::MaxKey});
                rest = Some(last);
                command.insert("max", doc! {"_id": Bson::MaxKey});
            }
            if let Some(min) = min {
                command.insert("min", doc! {"_id": min.clone()});
                first = *min != Bson::MaxKey;
            }
            if let Some(max) = max {
                command.insert("max", doc! {"_id": max.clone()});
            }
        }
        if let Some(filter) = wanted.filter {
            command.insert("filter", filter.clone());
        }
        let cursor = if first { Some(self.open(listed, command).await?) } else { None };
        Ok(Reader { server: self.clone(), listed: listed.clone(), cursor, rest })
    }

    async fn open(
        &self,
        listed: &ListedCollection,
        mut command: Document,
    ) -> Result<RawBatchCursor, SourceError> {
        let mut name = listed.name.clone();
        let mut snapshot = self.cluster_time;
        for _ in 0..MOST_NAMES {
            let identity = self.identity_of(listed);
            let mut find = match listed.number() {
                Some(number) if identity == Identity::Number => doc! {"find": number},
                Some(number) if identity == Identity::Checked => {
                    doc! {"find": &name, "collectionUUID": number}
                }
                _ => doc! {"find": &name},
            };
            find.extend(command.clone());
            if let Some(time) = snapshot {
                find.insert("readConcern", doc! {"level": "snapshot", "atClusterTime": time});
            }
            let opened = self.handle().run_cursor_command(find);
            let opened = opened.batch_size(BATCH_DOCUMENTS.unsigned_abs()).batch().await;
            match opened {
                Ok(cursor) => return Ok(cursor),
                Err(error) if command.contains_key("noCursorTimeout") && no_timeout(&error) => {
                    command.remove("noCursorTimeout");
                }
                Err(error) if snapshot.is_some() && listed.is_capped() && no_capped(&error) => {
                    snapshot = None;
                }
                Err(error) => match new_name(&error) {
                    Some(new) if new != name => name = new,
                    _ => return Err(self.reading(listed, error)),
                },
            }
        }
        Err(self.gone(listed, "it gets one name after another".to_owned()))
    }

    /// The whole result of an aggregation over a collection, at the snapshot.
    pub(super) async fn aggregate(
        &self,
        action: &str,
        listed: &ListedCollection,
        pipeline: Vec<Document>,
        more: Document,
    ) -> Result<Vec<RawDocumentBuf>, SourceError> {
        let (mut name, mut names) = (listed.name.clone(), 0);
        let mut command = doc! {"aggregate": &name, "pipeline": pipeline, "cursor": {}};
        command.extend(more);
        if let Some(number) = listed.number().filter(|_| self.checks) {
            command.insert("collectionUUID", number);
        }
        if let Some(time) = self.cluster_time.filter(|_| !listed.is_capped()) {
            command.insert("readConcern", doc! {"level": "snapshot", "atClusterTime": time});
        }
        let mut tries = Tries::default();
        loop {
            match self.try_entries(&command).await {
                Ok(entries) => return Ok(entries),
                Err(cause) => match new_name(&cause) {
                    Some(new) if new != name && names < MOST_NAMES => {
                        names += 1;
                        command.insert("aggregate", &new);
                        name = new;
                    }
                    _ => match self.lost(listed, &cause) {
                        Some(error) => return Err(error),
                        None => tries.after(self, action, cause).await?,
                    },
                },
            }
        }
    }

    /// Whether the server can still read a collection at the snapshot.
    pub async fn snapshot_lasts(&self, listed: &ListedCollection) -> Result<bool, SourceError> {
        let pipeline = vec![doc! {"$limit": 1}, doc! {"$project": {"_id": 1}}];
        let action = format!("read {} at the snapshot", listed.name);
        match self.aggregate(&action, listed, pipeline, doc! {}).await {
            Ok(_) => Ok(true),
            Err(
                SourceError::Gone { .. }
                | SourceError::SnapshotEnded { .. }
                | SourceError::CatalogueChanged { .. },
            ) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What an error says of the collection, if it does.
    fn lost(
        &self,
        listed: &ListedCollection,
        error: &mongodb::error::Error,
    ) -> Option<SourceError> {
        let (address, collection) = (self.address().to_owned(), listed.name.clone());
        let cause = error.clone();
        match code(error)? {
            NAMESPACE_NOT_FOUND | UUID_MISMATCH => Some(self.gone(listed, describe(error))),
            SNAPSHOT_UNAVAILABLE if describe(error).contains("catalog") => {
                Some(SourceError::CatalogueChanged { address, collection, cause })
            }
            SNAPSHOT_TOO_OLD | SNAPSHOT_UNAVAILABLE => {
                Some(SourceError::SnapshotEnded { address, collection, cause })
            }
            _ => None,
        }
    }

    fn reading(&self, listed: &ListedCollection, error: mongodb::error::Error) -> SourceError {
        match self.lost(listed, &error) {
            Some(lost) => lost,
            None => self.failed(format!("read {}", listed.name))(error),
        }
    }
}

/// The name that a collection has now, where the server refuses its old one.
fn new_name(error: &mongodb::error::Error) -> Option<String> {
    if code(error) != Some(UUID_MISMATCH) {
        return None;
    }
    error.server_response()?.get_str("actualCollection").ok().map(str::to_owned)
}

/// Shared tiers of Atlas let no cursor live for ever. A cursor that ends is opened again anyway.
fn no_timeout(error: &mongodb::error::Error) -> bool {
    const ATLAS_ERROR: i32 = 8000;
    code(error) == Some(ATLAS_ERROR) || describe(error).to_lowercase().contains("notimeout")
}

/// Servers up to version 7 read capped collections outside of snapshots only.
fn no_capped(error: &mongodb::error::Error) -> bool {
    matches!(code(error), Some(SNAPSHOT_TOO_OLD | SNAPSHOT_UNAVAILABLE))
        && describe(error).contains("capped")
}
