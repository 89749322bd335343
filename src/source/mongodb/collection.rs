//! The collections that a server lists: what they are, and what became different since.

use std::collections::BTreeMap;

use mongodb::bson::{Binary, Bson, Document, RawDocumentBuf, doc, spec::BinarySubtype};
use serde_json::Value as Json;

use super::server::{Identity, Server};
use crate::document::extended_json::to_json;
use crate::document::raw::{Doc, Value};
use crate::source::dump::left_out;
use crate::source::error::{NAMESPACE_NOT_FOUND, code};
use crate::source::names::BUCKETS;
use crate::source::{SourceError, describe};
use crate::staging::checksum::{from_hex, to_hex};

/// A sort needs more memory than it may use.
const NO_DISK_USE: i32 = 292;

/// A collection as the server lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedCollection {
    /// Name.
    pub name: String,
    /// `collection`, `view` or `timeseries`.
    pub kind: String,
    /// Options.
    pub options: Document,
    /// The number that the server gave it when it was made.
    pub uuid: Option<String>,
    /// The number of the collection that holds its documents: its own, or its buckets'.
    pub identity: Option<String>,
}

impl ListedCollection {
    fn of(mut entry: Document) -> Option<Self> {
        let uuid = match entry.get_document("info").ok().and_then(|info| info.get("uuid")) {
            Some(Bson::Binary(uuid)) => Some(to_hex(&uuid.bytes)),
            _ => None,
        };
        Some(Self {
            name: entry.get_str("name").ok()?.to_owned(),
            kind: match entry.get("type") {
                Some(Bson::String(kind)) => kind.clone(),
                // Servers before 3.4 know collections only.
                None => "collection".to_owned(),
                Some(_) => return None,
            },
            options: match entry.remove("options") {
                Some(Bson::Document(options)) => options,
                None => Document::new(),
                Some(_) => return None,
            },
            identity: uuid.clone(),
            uuid,
        })
    }

    /// Why it holds no documents of its own; none when it does.
    pub fn left_out(&self) -> Option<&'static str> {
        left_out(&self.name, self.kind == "view")
    }

    /// Whether it holds the buckets of a time series, which is listed itself.
    pub fn is_buckets(&self) -> bool {
        self.name.starts_with(BUCKETS)
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

    /// Its number as commands take it; none for what can be read by its name alone.
    pub(super) fn number(&self) -> Option<Binary> {
        let bytes = from_hex(self.uuid.as_deref().filter(|_| self.kind == "collection")?)?;
        Some(Binary { subtype: BinarySubtype::Uuid, bytes })
    }
}

/// How a collection differs from an earlier listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It has this name now.
    Renamed(String),
    /// Nothing has its name.
    Dropped,
    /// Another collection has its name.
    Replaced,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Renamed(name) => write!(formatter, "renamed to {name}"),
            Self::Dropped => formatter.write_str("dropped"),
            Self::Replaced => {
                formatter.write_str("dropped or renamed, and another made in its place")
            }
        }
    }
}

/// The collections with documents that a later listing has no more as they were.
pub fn differences<'l>(
    before: &'l [ListedCollection],
    after: &[ListedCollection],
) -> Vec<(&'l ListedCollection, Difference)> {
    let names: BTreeMap<&str, &ListedCollection> =
        after.iter().map(|listed| (listed.name.as_str(), listed)).collect();
    let identities: BTreeMap<&str, &ListedCollection> = after
        .iter()
        // The buckets of a time series have its number, but not its name.
        .filter(|listed| !listed.is_buckets())
        .filter_map(|listed| Some((listed.identity.as_deref()?, listed)))
        .collect();
    let difference = |listed: &ListedCollection| {
        let named = names.get(listed.name.as_str()).copied();
        if named.is_some_and(|named| {
            named.identity == listed.identity && (named.kind == "view") == (listed.kind == "view")
        }) {
            return None;
        }
        let moved = listed.identity.as_deref().and_then(|identity| identities.get(identity));
        Some(match (moved, named) {
            (Some(moved), _) => Difference::Renamed(moved.name.clone()),
            (None, Some(_)) => Difference::Replaced,
            (None, None) => Difference::Dropped,
        })
    };
    before
        .iter()
        .filter(|listed| listed.left_out().is_none())
        .filter_map(|listed| Some((listed, difference(listed)?)))
        .collect()
}

/// Documents and BSON bytes of a collection, as the server's own statistics estimate them.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Documents.
    pub documents: u64,
    /// BSON bytes.
    pub bytes: u64,
}

impl Server {
    /// Everything that the database lists, by name.
    pub async fn collections(&self) -> Result<Vec<ListedCollection>, SourceError> {
        self.list(doc! {"listCollections": 1, "nameOnly": false, "cursor": {}}).await
    }

    async fn list(&self, command: Document) -> Result<Vec<ListedCollection>, SourceError> {
        let action = "list the collections";
        let mut listed = Vec::new();
        for entry in self.entries(action, &command).await? {
            let found = ListedCollection::of(entry);
            listed.push(found.ok_or_else(|| self.unreadable(action, "name, type or options"))?);
        }
        let buckets: BTreeMap<String, Option<String>> = listed
            .iter()
            .filter_map(|found| {
                Some((found.name.strip_prefix(BUCKETS)?.to_owned(), found.uuid.clone()))
            })
            .collect();
        for series in listed.iter_mut().filter(|found| found.kind == "timeseries") {
            if let Some(uuid) = buckets.get(&series.name) {
                series.identity.clone_from(uuid);
            }
        }
        listed.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(listed)
    }

    /// The indexes of a collection.
    pub async fn indexes(&self, listed: &ListedCollection) -> Result<Vec<Document>, SourceError> {
        let action = format!("list the indexes of {}", listed.name);
        let number = listed.number().filter(|_| self.identity() == Identity::Number);
        let command = match &number {
            Some(number) => doc! {"listIndexes": number.clone()},
            None => doc! {"listIndexes": &listed.name},
        };
        let gone = |detail| self.gone(listed, detail);
        let indexes = match self.entries(&action, &command).await {
            Ok(indexes) => indexes,
            Err(SourceError::Server { cause, .. }) if code(&cause) == Some(NAMESPACE_NOT_FOUND) => {
                return Err(gone(describe(&cause)));
            }
            Err(error) => return Err(error),
        };
        if number.is_none() && listed.identity.is_some() {
            // They are those of whatever has the name.
            let names = vec![listed.name.clone(), format!("{BUCKETS}{}", listed.name)];
            let filter = doc! {"name": {"$in": names}};
            let command = doc! {"listCollections": 1, "filter": filter, "cursor": {}};
            let found = self.list(command).await?;
            if !found
                .iter()
                .any(|found| found.name == listed.name && found.identity == listed.identity)
            {
                return Err(gone("another collection has its name, or none".to_owned()));
            }
        }
        Ok(indexes)
    }

    /// The indexes of whatever has a name.
    pub async fn indexes_of(&self, name: &str) -> Result<Vec<Document>, SourceError> {
        let action = format!("list the indexes of {name}");
        self.entries(&action, &doc! {"listIndexes": name}).await
    }

    /// How large a collection is; none where the server does not say, to this user or at all.
    ///
    /// Nothing but the number of ranges and the progress depends on it.
    pub async fn size(&self, listed: &ListedCollection) -> Result<Option<Size>, SourceError> {
        let action = format!("measure {}", listed.name);
        let stats = match self.answer(&action, &doc! {"collStats": &listed.name}).await {
            Ok(stats) => stats,
            Err(SourceError::Server { cause, .. }) if code(&cause).is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        let number = |name: &str| match stats.get(name) {
            Some(Bson::Int32(number)) => u64::try_from(*number).ok(),
            Some(Bson::Int64(number)) => u64::try_from(*number).ok(),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an estimate"
            )]
            Some(Bson::Double(number)) => Some(*number as u64),
            _ => None,
        };
        Ok(number("count").zip(number("size")).map(|(documents, bytes)| Size { documents, bytes }))
    }

    /// Counts the documents of a collection by its `_id` index, at the snapshot where there is one;
    /// none where the server can no longer tell.
    pub async fn count(&self, listed: &ListedCollection) -> Result<Option<u64>, SourceError> {
        match self.count_of(listed, true, None).await {
            Ok(counted) => Ok(Some(counted)),
            Err(error) if error.is_lost() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Counts the documents of a collection, or those that fit a query, at the snapshot where there
    /// is one; by its `_id` index or in whatever way there is.
    pub async fn count_of(
        &self,
        listed: &ListedCollection,
        by_index: bool,
        filter: Option<&Document>,
    ) -> Result<u64, SourceError> {
        let action = format!("count the documents of {}", listed.name);
        let mut pipeline: Vec<Document> =
            filter.iter().map(|filter| doc! {"$match": (*filter).clone()}).collect();
        pipeline.push(doc! {"$count": "n"});
        let more = if by_index {
            doc! {"hint": {"_id": 1}}
        } else {
            doc! {}
        };
        let counted = self.aggregate(&action, listed, pipeline, more).await?;
        let Some(counted) = counted.first() else { return Ok(0) };
        let number = match counted.get("n") {
            Ok(Some(number)) => number.as_i64().or(number.as_i32().map(i64::from)),
            _ => None,
        };
        let number = number.and_then(|number| u64::try_from(number).ok());
        number.ok_or_else(|| self.unreadable(&action, "number"))
    }

    /// Draws documents at random, each at most once, or of each only some fields; at the snapshot
    /// where there is one.
    pub async fn draw(
        &self,
        listed: &ListedCollection,
        count: u64,
        fields: Option<Document>,
    ) -> Result<Vec<RawDocumentBuf>, SourceError> {
        let size = i64::try_from(count).unwrap_or(i64::MAX);
        let mut pipeline = vec![doc! {"$sample": {"size": size}}];
        pipeline.extend(fields.map(|fields| doc! {"$project": fields}));
        let action = format!("sample {}", listed.name);
        match self.aggregate(&action, listed, pipeline.clone(), doc! {}).await {
            // Not asked for at once: shared tiers of Atlas refuse it.
            Err(SourceError::Server { cause, .. }) if code(&cause) == Some(NO_DISK_USE) => {
                self.aggregate(&action, listed, pipeline, doc! {"allowDiskUse": true}).await
            }
            drawn => drawn,
        }
    }
}

/// Options and indexes as canonical Extended JSON, from which they can be made again.
pub fn extended(document: &Document) -> Result<Json, SourceError> {
    let unreadable = |detail: String| SourceError::Definition { detail };
    let raw = RawDocumentBuf::try_from(document).map_err(|error| unreadable(error.to_string()))?;
    Doc::new(raw.as_bytes())
        .and_then(|document| to_json(&Value::Document(document)))
        .map_err(|error| unreadable(error.to_string()))
}
