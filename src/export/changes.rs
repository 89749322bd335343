//! Incremental exports: what changed since an earlier one, and what is no longer there.
//!
//! Where a field holds the time of each document's last change, the greatest time of the base is
//! where reading begins. Nothing is lost by the field itself: documents without it, or with a value
//! of another kind, come along every time, what a clock or a slow transaction moved behind the mark
//! is met by an overlap, and times ahead of the server's clock are no marks. Where the field holds
//! no times, all documents are read and compared with the base, byte by byte.

use std::collections::HashSet;
use std::fs;
use std::sync::Arc;

use mongodb::bson::{Bson, Document, RawDocument, doc};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

use super::compare::{Pair, Sides};
use super::marks::Changed;
use super::part::{Batch, SortedRun, id_of, text_of};
use super::stream::{Query, read_range};
use super::writer::{Context, Range, RangeWriter};
use super::{ExportError, Found};
use crate::document::order::compare;
use crate::document::raw::Doc;
use crate::pipeline::model::FieldPath;
use crate::progress::Stage;
use crate::source::mongodb::{IdRange, ListedCollection, Server, extended};
use crate::staging::StagingError;
use crate::staging::chain::Chain;
use crate::staging::exported::documents;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{Base, Changes};

/// `_id`s that are asked for in one query.
const IDS_OF_A_QUERY: usize = 1000;

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

    /// How the changes of a collection are found; none where all of it must be taken.
    pub(super) fn way(
        &self,
        context: &Context,
        listed: &ListedCollection,
        by_index: bool,
    ) -> Result<Option<Way>, ExportError> {
        let manifest = self.chain.newest();
        let before = manifest.collections.iter().find(|found| found.name == listed.name);
        let (Some(before), Some(marking)) = (before, context.marking(&listed.name)) else {
            return Ok(None);
        };
        let same = before.kind == listed.kind
            && before.uuid == listed.uuid
            && before.options == extended(&listed.options)?
            && before.rejects == 0;
        if !by_index || !same || listed.is_capped() {
            return Ok(None);
        }
        let mark = before.high_water.as_ref();
        let changed =
            mark.and_then(|mark| Changed::since(mark, marking.field, self.overlap, marking.now));
        Ok(Some(match changed {
            Some(changed) => Way::Marked(Box::new(changed), marking.field.clone()),
            None => {
                let (name, field) = (&listed.name, marking.field.0.join("."));
                let note = format!(
                    "{name}: the last export found no time in {field} that is a mark, so all \
                     documents are compared with it"
                );
                context.progress.note(Stage::Export, &note);
                Way::Compared
            }
        }))
    }
}

/// How changes are found.
pub(super) enum Way {
    /// By the times in a field.
    Marked(Box<Changed>, FieldPath),
    /// By comparing all documents with those of the base.
    Compared,
}

/// Reads what changed of a collection, from its beginning whatever an earlier attempt did.
pub(super) async fn read(
    context: &Context,
    server: &Server,
    since: &Arc<Since>,
    listed: &ListedCollection,
    way: Way,
) -> Result<(Range, Found), ExportError> {
    let folder = context.run.resolve(&context.run.part_folder(Stage::Export, &listed.name));
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|source| StagingError::Io {
            action: "remove",
            path: folder,
            source,
        })?;
    }
    let sides = Sides {
        context: context.clone(),
        server: server.clone(),
        chain: since.chain.clone(),
        listed: listed.clone(),
    };
    match way {
        Way::Compared => by_content(sides, since).await,
        Way::Marked(changed, field) => by_mark(sides, since, *changed, field).await,
    }
}

/// The writer of a range that is read from its beginning.
async fn writer(
    context: &Context,
    server: &Server,
    collection: &str,
    number: usize,
) -> Result<RangeWriter, ExportError> {
    let mut writer = RangeWriter::new(context, server.database(), collection, number, &[])?;
    writer.restart().await?;
    Ok(writer)
}

/// Documents that differ from the base's on their way to parts.
struct Differing {
    writer: RangeWriter,
    batch: Batch,
}

/// All documents that are not, byte for byte, in the base.
async fn by_content(sides: Sides, since: &Since) -> Result<(Range, Found), ExportError> {
    let (context, listed) = (sides.context.clone(), sides.listed.clone());
    let all = IdRange::default();
    let query = Query { listed: &listed, range: &all, by_index: true, filter: None, fields: None };
    let writer = writer(&context, &sides.server, &listed.name, 0).await?;
    let differing = Differing { writer, batch: Batch::default() };
    let handle = Handle::current();
    let part_bytes = context.part_bytes;
    let take = move |state: &mut Differing, pair: Pair<'_>| {
        if pair.known == Some(pair.found) {
            return Ok(());
        }
        state.batch.buffer().extend_from_slice(pair.found);
        state.batch.end_document();
        if state.batch.bytes() >= part_bytes {
            handle.block_on(state.writer.submit(std::mem::take(&mut state.batch)))?;
        }
        Ok(())
    };
    let (mut differing, deleted) = sides.walk(query, differing, take).await?;
    if differing.batch.len() > 0 {
        differing.writer.submit(differing.batch).await?;
    }
    let range = differing.writer.finish().await?;
    let mark = since.chain.newest().collections.iter().find(|found| found.name == listed.name);
    // A mark of the base that is none, or not yet, is no mark of this export.
    let high_water = mark.and_then(|before| before.high_water.clone()).filter(|mark| {
        let marking = context.marking(&listed.name);
        marking.is_some_and(|marking| Changed::since(mark, marking.field, 0, marking.now).is_some())
    });
    let changes = Changes { since: Json::Null, compared: true, deletes_detected: true, deleted };
    Ok((range, Found { changes, high_water }))
}

/// Documents from the mark on; with `--detect-deletes` also those whose field differs from the
/// base's.
async fn by_mark(
    sides: Sides,
    since: &Since,
    changed: Changed,
    field: FieldPath,
) -> Result<(Range, Found), ExportError> {
    let (context, server, listed) =
        (sides.context.clone(), sides.server.clone(), sides.listed.clone());
    let all = IdRange::default();
    let query = Query { listed: &listed, range: &all, by_index: false, filter: None, fields: None };
    let first = writer(&context, &server, &listed.name, 0).await?;
    let marked = Query { filter: Some(&changed.filter), ..query };
    let mut range = read_range(&context, &server, &marked, first).await?;
    let mut deleted = Vec::new();
    if since.detect_deletes {
        let keys = keys_of(&context, &range.runs)?;
        let mut fields = doc! {"_id": 1};
        if field.0.first().is_some_and(|first| first != "_id") {
            fields.insert(field.0.join("."), 1);
        }
        let projected = Query { by_index: true, fields: Some(&fields), ..query };
        let unmarked = Unmarked {
            sides: sides.clone(),
            handle: Handle::current(),
            keys,
            field,
            ids: Vec::new(),
            range: Range { runs: Vec::new(), rejects: 0 },
            queries: 0,
            found: 0,
        };
        let (mut unmarked, gone) = sides.walk(projected, unmarked, Unmarked::take).await?;
        unmarked.read().await?;
        if unmarked.found > 0 {
            let note = format!(
                "{}: {} documents are new or changed, and have old marks",
                listed.name, unmarked.found
            );
            context.progress.note(Stage::Export, &note);
        }
        range.runs.extend(unmarked.range.runs);
        range.rejects += unmarked.range.rejects;
        deleted = gone;
    }
    let Changed { since: from, mark, .. } = changed;
    let deletes_detected = since.detect_deletes;
    let changes = Changes { since: from, compared: false, deletes_detected, deleted };
    Ok((range, Found { changes, high_water: Some(mark) }))
}

/// Sixteen bytes for each `_id` of what was read.
fn keys_of(context: &Context, runs: &[SortedRun]) -> Result<HashSet<[u8; 16]>, ExportError> {
    let mut keys = HashSet::new();
    for run in runs {
        for batch in documents(&context.run, &run.part.file)? {
            let batch = batch?;
            keys.extend((0..batch.len()).map(|index| key(batch.id(index))));
        }
    }
    Ok(keys)
}

fn key(id: &str) -> [u8; 16] {
    let mut key = [0; 16];
    key.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
    key
}

/// Documents that the mark passed over although they are new, or have another value in the field
/// than in the base.
struct Unmarked {
    sides: Sides,
    handle: Handle,
    /// What was read already.
    keys: HashSet<[u8; 16]>,
    field: FieldPath,
    /// `_id`s that are still to be read.
    ids: Vec<Bson>,
    range: Range,
    queries: usize,
    found: u64,
}

impl Unmarked {
    fn take(&mut self, pair: Pair<'_>) -> Result<(), ExportError> {
        let name = &self.sides.listed.name;
        let fail = |detail: String| ExportError::Document { collection: name.clone(), detail };
        if let Some(known) = pair.known {
            let at = |document| {
                let found = Doc::new(document).and_then(|document| document.at(&self.field.0));
                found.map_err(|error| fail(error.to_string()))
            };
            let same = match (at(known)?, at(pair.found)?) {
                (Some(known), Some(found)) => compare(&known, &found).is_eq(),
                (known, found) => known.is_none() && found.is_none(),
            };
            if same {
                return Ok(());
            }
        }
        let text = text_of(name, id_of(name, pair.found)?.as_ref())?;
        if self.keys.contains(&key(&text)) {
            return Ok(());
        }
        let raw = RawDocument::from_bytes(pair.found).map_err(|error| fail(error.to_string()))?;
        let id = raw.get("_id").map_err(|error| fail(error.to_string()))?;
        let id = id.ok_or_else(|| fail("it has no `_id`".to_owned()))?;
        self.ids.push(Bson::try_from(id).map_err(|error| fail(error.to_string()))?);
        if self.ids.len() >= IDS_OF_A_QUERY {
            let handle = self.handle.clone();
            handle.block_on(self.read())?;
        }
        Ok(())
    }

    /// Reads what is to be read.
    async fn read(&mut self) -> Result<(), ExportError> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let Sides { context, server, listed, .. } = &self.sides;
        let ids = std::mem::take(&mut self.ids);
        self.queries += 1;
        self.found += ids.len() as u64;
        let filter: Document = doc! {"_id": {"$in": ids}};
        let all = IdRange::default();
        let query =
            Query { listed, range: &all, by_index: false, filter: Some(&filter), fields: None };
        let writer = writer(context, server, &listed.name, self.queries).await?;
        let found = read_range(context, server, &query, writer).await?;
        self.range.runs.extend(found.runs);
        self.range.rejects += found.rejects;
        Ok(())
    }
}
