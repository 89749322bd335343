//! Incremental exports: what changed since an earlier one, by a field that the application sets
//! whenever it changes a document, and what is no longer there, by comparing `_id`s.
//!
//! Nothing is lost by a field that is not there: documents without it, or with a value of another
//! kind, come along every time. What a clock or a slow transaction moved behind the mark is met by
//! an overlap, and by the comparison of `_id`s, which finds new documents with old marks too.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use mongodb::bson::raw::cstr;
use mongodb::bson::{Bson, DateTime, Document, RawDocumentBuf, Timestamp, doc};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::part::{PartsWriter, SortedRun, id_of};
use super::server::{Query, read_range};
use super::writer::{Context, Range, RangeWriter};
use super::{ExportError, Found};
use crate::document::extended_json::{to_bson, to_document, to_json};
use crate::document::order::{compare, compare_ids};
use crate::document::raw::{Doc, Value};
use crate::pipeline::model::FieldPath;
use crate::progress::Stage;
use crate::source::mongodb::{IdRange, ListedCollection, Server, extended};
use crate::staging::StagingError;
use crate::staging::chain::Chain;
use crate::staging::exported::{Cursor, documents};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{Base, Changes, ExportPart};

/// Every type name that `$type` knows, with the kind of mark it belongs to.
const TYPES: [(&str, Option<Kind>); 20] = [
    ("date", Some(Kind::Date)),
    ("timestamp", Some(Kind::Timestamp)),
    ("objectId", Some(Kind::ObjectId)),
    ("string", Some(Kind::String)),
    ("int", Some(Kind::Number)),
    ("long", Some(Kind::Number)),
    ("double", Some(Kind::Number)),
    ("decimal", Some(Kind::Number)),
    ("symbol", Some(Kind::String)),
    ("object", None),
    ("array", None),
    ("binData", None),
    ("undefined", None),
    ("bool", None),
    ("null", None),
    ("regex", None),
    ("dbPointer", None),
    ("javascript", None),
    ("minKey", None),
    ("maxKey", None),
];
/// A type that servers may no longer know, apart from the others.
const SCOPED_CODE: &str = "javascriptWithScope";
/// `_id`s that are asked for in one query.
const IDS_OF_A_QUERY: usize = 1000;

/// Kinds of values that can be marks, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    String,
    Number,
    ObjectId,
    Timestamp,
    Date,
}

fn kind_of(value: &Value<'_>) -> Option<Kind> {
    match value {
        Value::DateTime(_) => Some(Kind::Date),
        Value::Timestamp { .. } => Some(Kind::Timestamp),
        Value::ObjectId(_) => Some(Kind::ObjectId),
        Value::Int32(_) | Value::Int64(_) => Some(Kind::Number),
        Value::Double(number) if !number.is_nan() => Some(Kind::Number),
        Value::String(_) => Some(Kind::String),
        _ => None,
    }
}

/// The greatest value of a field so far.
pub(super) struct HighWater {
    path: Vec<String>,
    /// Dates after this one, in milliseconds, are no marks: nothing would ever be later.
    now: i64,
    /// `{"": value}`.
    greatest: Option<Vec<u8>>,
}

impl HighWater {
    pub(super) fn of(field: &FieldPath) -> Self {
        Self { path: field.0.clone(), now: DateTime::now().timestamp_millis(), greatest: None }
    }

    /// Looks at a document.
    pub(super) fn see(&mut self, document: &[u8]) {
        let found = Doc::new(document).and_then(|document| document.at(&self.path));
        let Ok(Some(value)) = found else { return };
        let Some(kind) = kind_of(&value) else { return };
        if matches!(value, Value::DateTime(millis) if millis > self.now) {
            return;
        }
        let greatest = self.greatest.as_deref().and_then(|bytes| Doc::new(bytes).ok());
        let greatest = greatest.and_then(|greatest| greatest.get("").ok().flatten());
        let greater = greatest.is_none_or(|greatest| {
            let order = Some(kind).cmp(&kind_of(&greatest));
            order.then_with(|| compare(&value, &greatest)).is_gt()
        });
        if greater {
            self.greatest = to_json(&value).ok().and_then(|json| wrapped(&json));
        }
    }

    pub(super) fn into_json(self) -> Option<Json> {
        let bytes = self.greatest?;
        let value = Doc::new(&bytes).and_then(|document| document.get("")).ok()??;
        to_json(&value).ok()
    }
}

/// `{"": value}` as BSON.
fn wrapped(value: &Json) -> Option<Vec<u8>> {
    to_bson(&serde_json::json!({"": value})).ok()
}

/// The greatest of several marks.
pub(super) fn greatest<'m>(marks: impl Iterator<Item = &'m Json>) -> Option<Json> {
    let mut best = HighWater { path: vec![String::new()], now: i64::MAX, greatest: None };
    for mark in marks {
        if let Some(bytes) = wrapped(mark) {
            best.see(&bytes);
        }
    }
    best.into_json()
}

/// The export that a new one adds to.
#[derive(Debug)]
pub struct Since {
    /// It and those below it.
    chain: Chain,
    /// How the new manifest names it.
    pub(super) base: Base,
    /// Whether `_id`s are compared.
    detect_deletes: bool,
    /// Seconds before a mark from which on documents are taken once more.
    overlap: u32,
}

impl Since {
    /// What comes after an export, with its manifest's hash.
    pub fn new(
        run: &RunDirectory,
        manifest_sha256: String,
        detect_deletes: bool,
        overlap: u32,
    ) -> Result<Self, StagingError> {
        let chain = Chain::open(run)?;
        let length = u32::try_from(chain.bases().count() + 1).unwrap_or(u32::MAX);
        let base = Base { run: run.run().to_owned(), manifest_sha256, length };
        Ok(Self { chain, base, detect_deletes, overlap })
    }

    /// Run id of the base.
    pub fn run(&self) -> &str {
        &self.base.run
    }

    /// Exports from the base down to the full one.
    pub fn length(&self) -> u32 {
        self.base.length
    }

    /// The query for what changed of a collection; none where all of it must be read.
    pub(super) fn query(
        &self,
        listed: &ListedCollection,
        field: Option<&FieldPath>,
        by_index: bool,
    ) -> Option<Wanted> {
        let manifest = self.chain.newest();
        let before = manifest.collections.iter().find(|found| found.name == listed.name)?;
        let same = before.kind == listed.kind
            && before.uuid == listed.uuid
            && before.options == extended(&listed.options)
            && before.rejects == 0;
        let mark = before.high_water.clone()?;
        if !by_index || !same || listed.is_capped() {
            return None;
        }
        let from = self.lowered(to_document(&serde_json::json!({"": mark})).ok()?.remove("")?);
        let kind = wrapped(&mark)?;
        let kind = kind_of(&Doc::new(&kind).ok()?.get("").ok()??)?;
        let field = field?.0.join(".");
        let mut others: Vec<&str> =
            TYPES.iter().filter(|(_, of)| *of != Some(kind)).map(|(name, _)| *name).collect();
        others.push(SCOPED_CODE);
        let since = doc! {"": from.clone()};
        let mut any = vec![
            doc! {&field: {"$gte": from}},
            doc! {&field: {"$exists": false}},
            doc! {&field: {"$type": others}},
        ];
        if kind == Kind::Number {
            // It is a number, but not greater than any.
            any.push(doc! {&field: f64::NAN});
        }
        let since = extended(&since).get("").cloned().unwrap_or_default();
        Some(Wanted { filter: doc! {"$or": any}, since, mark })
    }

    /// The mark, moved back by the overlap where it is a time.
    fn lowered(&self, mark: Bson) -> Bson {
        match mark {
            Bson::DateTime(time) => {
                let millis = time.timestamp_millis().saturating_sub(i64::from(self.overlap) * 1000);
                Bson::DateTime(DateTime::from_millis(millis))
            }
            Bson::Timestamp(Timestamp { time, .. }) => {
                Bson::Timestamp(Timestamp { time: time.saturating_sub(self.overlap), increment: 0 })
            }
            mark => mark,
        }
    }
}

/// What is read of a collection.
pub(super) struct Wanted {
    filter: Document,
    since: Json,
    mark: Json,
}

/// Reads what changed of a collection, from its beginning whatever an earlier attempt did.
pub(super) async fn read(
    context: &Context,
    server: &Server,
    since: &Arc<Since>,
    collection: &str,
    wanted: Wanted,
) -> Result<(Range, Found), ExportError> {
    let folder = context.run.resolve(&context.run.part_folder(Stage::Export, collection));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|source| StagingError::Io {
            action: "remove",
            path: folder,
            source,
        })?;
    }
    let writer = |number| async move {
        let mut writer = RangeWriter::new(context, server.database(), collection, number, &[])?;
        writer.restart().await?;
        Ok::<_, ExportError>(writer)
    };
    let all = IdRange::default();
    let query = Query { collection, range: &all, by_index: false, filter: None };
    let filter = Query { filter: Some(&wanted.filter), ..query };
    let changed = read_range(context, server, &filter, writer(0).await?).await?;
    let mut deleted = Vec::new();
    let mut range = Range { runs: changed.runs, rejects: changed.rejects };
    if since.detect_deletes {
        let compared = compare_with_base(context, server, since, collection, &range.runs).await?;
        deleted = compared.deleted;
        for (number, ids) in (1..).zip(compared.unmarked.chunks(IDS_OF_A_QUERY)) {
            let filter = doc! {"_id": {"$in": ids.to_vec()}};
            let writer = writer(number).await?;
            let filter = Query { filter: Some(&filter), ..query };
            let found = read_range(context, server, &filter, writer).await?;
            range.runs.extend(found.runs);
            range.rejects += found.rejects;
        }
        if !compared.unmarked.is_empty() {
            let number = compared.unmarked.len();
            let note = format!("{collection}: {number} new documents have old marks");
            context.progress.note(Stage::Export, &note);
        }
    }
    let changes = Changes { since: wanted.since, deletes_detected: since.detect_deletes, deleted };
    Ok((range, Found { changes, high_water: Some(wanted.mark) }))
}

struct Compared {
    deleted: Vec<ExportPart>,
    /// `_id`s that are at the server, but neither in the base nor among what was read.
    unmarked: Vec<Bson>,
}

/// Goes through the `_id`s of the server and of the base side by side.
async fn compare_with_base(
    context: &Context,
    server: &Server,
    since: &Arc<Since>,
    collection: &str,
    read: &[SortedRun],
) -> Result<Compared, ExportError> {
    // A few replies at a time.
    let (sender, receiver) = mpsc::channel::<Vec<RawDocumentBuf>>(2);
    let (shared, since) = (context.clone(), Arc::clone(since));
    let (name, namespace) = (collection.to_owned(), format!("{}.{collection}", server.database()));
    let files: Vec<_> = read.iter().map(|run| run.part.file.clone()).collect();
    let comparing = tokio::task::spawn_blocking(move || {
        let mut marked = HashSet::new();
        for file in &files {
            for batch in documents(&shared.run, file)? {
                let batch = batch?;
                marked.extend((0..batch.len()).map(|at| key(batch.id(at))));
            }
        }
        compare_ids_of(&shared, &since, &name, &namespace, &marked, receiver)
    });
    let fed = feed(context, server, collection, sender).await;
    let compared = comparing.await.map_err(ExportError::Worker)?;
    // An error of the comparison ends the feeding too, and says more.
    let compared = compared?;
    fed?;
    Ok(compared)
}

/// Sixteen bytes for an `_id`.
fn key(id: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
    key
}

async fn feed(
    context: &Context,
    server: &Server,
    collection: &str,
    sender: mpsc::Sender<Vec<RawDocumentBuf>>,
) -> Result<(), ExportError> {
    let mut reader = server.read_ids(collection).await?;
    while let Some(reply) = reader.next().await? {
        context.check()?;
        let mut ids = Vec::new();
        for document in reader.documents(&reply)? {
            ids.extend(RawDocumentBuf::from_bytes(document.to_vec()));
        }
        if sender.send(ids).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn compare_ids_of(
    context: &Context,
    since: &Since,
    collection: &str,
    namespace: &str,
    marked: &HashSet<[u8; 16]>,
    mut receiver: mpsc::Receiver<Vec<RawDocumentBuf>>,
) -> Result<Compared, ExportError> {
    let pieces = since.chain.pieces(collection)?.into_iter();
    let mut base = Cursor::new(Box::new(pieces.flat_map(|piece| piece.read())));
    let mut unmarked = Vec::new();
    let parts = PartsWriter::new(&context.run, (namespace, collection), context.part_bytes, None);
    let mut gone = Gone { collection, parts: parts.of_deleted() };
    while let Some(reply) = receiver.blocking_recv() {
        for found in reply {
            let id = id_of(collection, found.as_bytes())?;
            let mut known = false;
            while !known
                && base.fill()?
                && let Some((_, document)) = base.current()
            {
                match compare_ids(id_of(collection, document)?.as_ref(), id.as_ref()) {
                    std::cmp::Ordering::Less => gone.push(document)?,
                    std::cmp::Ordering::Equal => known = true,
                    std::cmp::Ordering::Greater => break,
                }
                base.pass();
            }
            if !known {
                let text = super::part::text_of(collection, id.as_ref())?;
                if !marked.contains(&key(&text)) {
                    let id = found.get("_id").ok().flatten();
                    unmarked.extend(id.and_then(|id| Bson::try_from(id).ok()));
                }
            }
        }
    }
    while base.fill()?
        && let Some((_, document)) = base.current()
    {
        gone.push(document)?;
        base.pass();
    }
    Ok(Compared { deleted: gone.parts.finish()?, unmarked })
}

/// Writes the `_id`s of what is no longer there.
struct Gone<'g> {
    collection: &'g str,
    parts: PartsWriter<'g>,
}

impl Gone<'_> {
    fn push(&mut self, document: &[u8]) -> Result<(), ExportError> {
        let id = id_of(self.collection, document)?;
        let mut alone = RawDocumentBuf::new();
        let raw = mongodb::bson::RawDocument::from_bytes(document).ok();
        if let Some(value) = raw.and_then(|raw| raw.get("_id").ok().flatten()) {
            alone.append(cstr!("_id"), value);
        }
        self.parts.push(alone.as_bytes(), id.as_ref())
    }
}
