//! What an export that was stopped had done, and what it does from there on.

use std::collections::{BTreeMap, HashMap};

use mongodb::bson::{Bson, Document, doc};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::document::extended_json::to_document;
use crate::progress::Stage;
use crate::source::mongodb::{IdRange, ListedCollection};
use crate::staging::StagingError;
use crate::staging::checksum::{from_hex, to_hex};
use crate::staging::journal::Journal;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, ExportPart, Snapshot};
use crate::staging::own_files::{all_inside, pairs_inside};

/// An event of an export.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Entry {
    /// The export began, or went on, at this snapshot.
    Snapshot { snapshot: Snapshot },
    /// The collections of a server at that moment, and its clock.
    Listed { now: Option<i64>, collections: Vec<ListedEntry> },
    /// What was read of a collection is void.
    Forgotten { collection: String },
    /// A collection is read in these ranges.
    Split { collection: String, ranges: Vec<[Option<String>; 2]> },
    /// A batch of a range was written.
    Batch(WrittenBatch),
    /// A range goes on with this batch: whatever was written of it and of later ones is void.
    Again { collection: String, range: usize, from: usize },
    /// The parts of a collection got their order: files to rename and to remove.
    Ordered {
        collection: String,
        parts: Vec<ExportPart>,
        #[serde(deserialize_with = "pairs_inside")]
        renames: Vec<(String, String)>,
        #[serde(deserialize_with = "all_inside")]
        removes: Vec<String>,
    },
    /// A collection is finished.
    Collection(Box<CollectionManifest>),
}

/// A collection of a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ListedEntry {
    pub(super) name: String,
    pub(super) kind: String,
    /// Canonical Extended JSON.
    pub(super) options: Json,
    pub(super) uuid: Option<String>,
    pub(super) identity: Option<String>,
}

impl ListedEntry {
    fn into_listed(self) -> Result<ListedCollection, String> {
        let Self { name, kind, options, uuid, identity } = self;
        Ok(ListedCollection { name, kind, options: to_document(&options)?, uuid, identity })
    }
}

/// A batch of a range.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WrittenBatch {
    pub(super) collection: String,
    pub(super) range: usize,
    pub(super) number: usize,
    /// Records taken from the source, rejects included.
    pub(super) records: u64,
    pub(super) rejects: u64,
    /// None when every record of the batch is a reject.
    pub(super) part: Option<ExportPart>,
}

/// What the journal says of a collection.
#[derive(Default)]
pub(super) struct Before {
    pub(super) ranges: Option<Vec<IdRange>>,
    /// Batches by range, in order and without a gap.
    pub(super) batches: BTreeMap<usize, Vec<WrittenBatch>>,
    pub(super) ordered: Option<Ordered>,
    pub(super) finished: Option<CollectionManifest>,
}

/// The order that a collection's parts got.
#[derive(Clone)]
pub(super) struct Ordered {
    pub(super) parts: Vec<ExportPart>,
    pub(super) renames: Vec<(String, String)>,
    pub(super) removes: Vec<String>,
}

/// The state of a whole export.
#[derive(Default)]
pub(super) struct State {
    pub(super) snapshot: Option<Snapshot>,
    /// The server's clock, and the collections that there were.
    pub(super) listing: Option<(Option<i64>, Vec<ListedCollection>)>,
    pub(super) collections: HashMap<String, Before>,
}

impl State {
    /// Whether no earlier attempt did anything.
    pub(super) fn is_empty(&self) -> bool {
        self.snapshot.is_none() && self.collections.is_empty()
    }

    fn of(&mut self, collection: String) -> &mut Before {
        self.collections.entry(collection).or_default()
    }

    /// What was done of a collection.
    pub(super) fn take(&mut self, collection: &str) -> Before {
        self.collections.remove(collection).unwrap_or_default()
    }
}

/// Opens the journal of a run, new or stopped.
pub(super) fn open(run: &RunDirectory) -> Result<(Journal, State), StagingError> {
    let (journal, entries) = Journal::open::<Entry>(run, Stage::Export)?;
    let mut state = State::default();
    let unreadable = |what: String| StagingError::Foreign {
        path: run.stage_directory(Stage::Export).join("journal.jsonl"),
        detail: format!("it cannot be read: {what}"),
    };
    for entry in entries {
        match entry {
            Entry::Snapshot { snapshot } => state.snapshot = Some(snapshot),
            Entry::Listed { now, collections } => {
                let listed = collections.into_iter().map(ListedEntry::into_listed);
                state.listing = Some((now, listed.collect::<Result<_, _>>().map_err(unreadable)?));
            }
            Entry::Forgotten { collection } => {
                state.take(&collection);
            }
            Entry::Split { collection, ranges } => {
                let ranges: Option<Vec<_>> = ranges.iter().map(range_from_text).collect();
                let ranges = ranges.ok_or_else(|| unreadable("a bound of a range".to_owned()))?;
                state.of(collection).ranges = Some(ranges);
            }
            Entry::Batch(batch) => {
                let before = state.of(batch.collection.clone());
                before.batches.entry(batch.range).or_default().push(batch);
            }
            Entry::Again { collection, range, from } => {
                let batches = state.of(collection).batches.entry(range).or_default();
                batches.retain(|batch| batch.number < from);
            }
            Entry::Ordered { collection, parts, renames, removes } => {
                state.of(collection).ordered = Some(Ordered { parts, renames, removes });
            }
            Entry::Collection(manifest) => {
                let name = manifest.name.clone();
                state.of(name).finished = Some(*manifest);
            }
        }
    }
    for batches in state.collections.values_mut().flat_map(|before| before.batches.values_mut()) {
        // Writers work side by side: what stands behind a gap is done again.
        batches.sort_by_key(|batch| batch.number);
        let whole = batches.iter().zip(0..).take_while(|(batch, at)| batch.number == *at).count();
        batches.truncate(whole);
    }
    Ok((journal, state))
}

/// The bounds of a range as text: the BSON of `{"": bound}` in hexadecimal.
pub(super) fn range_to_text(
    range: &IdRange,
) -> Result<[Option<String>; 2], mongodb::bson::error::Error> {
    let text = |bound: &Option<Bson>| {
        let bound = bound.as_ref().map(|bound| doc! {"": bound}.to_vec()).transpose();
        bound.map(|bytes| bytes.map(|bytes| to_hex(&bytes)))
    };
    Ok([text(&range.min)?, text(&range.max)?])
}

/// None where a bound cannot be read.
fn range_from_text(text: &[Option<String>; 2]) -> Option<IdRange> {
    let bound = |text: &Option<String>| {
        let Some(text) = text else { return Some(None) };
        let bytes = from_hex(text)?;
        Document::from_reader(bytes.as_slice()).ok()?.remove("").map(Some)
    };
    Some(IdRange { min: bound(&text[0])?, max: bound(&text[1])? })
}
