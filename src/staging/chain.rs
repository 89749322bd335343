//! A full export and the incremental ones made after it, read as one.

use std::cmp::Ordering;

use arrow::array::{BinaryBuilder, StringBuilder};

use super::StagingError;
use super::checksum::sha256_hex;
use super::exported::{Batches, Cursor, Documents, documents};
use super::layout::{RunDirectory, io};
use super::manifest::{CollectionManifest, ExportManifest};
use super::own_files;
use super::part::{PartFile, READ_BATCH_ROWS};
use crate::document::order::compare;
use crate::document::raw::{Doc, Value};

/// BSON bytes of a batch of merged documents.
const BATCH_BYTES: usize = 4 << 20;

/// The exports that a run is read from, newest first. A full export stands alone.
#[derive(Clone, Debug)]
pub struct Chain {
    links: Vec<(RunDirectory, ExportManifest)>,
}

impl Chain {
    /// Follows a run to its full export. Every base must be there and be the one that was built on.
    pub fn open(run: &RunDirectory) -> Result<Self, StagingError> {
        let mut manifest = ExportManifest::read(run)?;
        let mut run = run.clone();
        let mut links = Vec::new();
        while let Some(base) = manifest.base.clone() {
            let below = run.beside(&base.run).map_err(|_| StagingError::NoBase {
                run: run.run().to_owned(),
                base: base.run.clone(),
            })?;
            let path = below.resolve(ExportManifest::PATH);
            let bytes = own_files::read(&path).map_err(io("read", &path))?;
            if sha256_hex(&bytes) != base.manifest_sha256 {
                let run = run.run().to_owned();
                return Err(StagingError::OtherBase { run, base: base.run });
            }
            let older = ExportManifest::read(&below)?;
            // A base is older than what was built on it, so that this comes to an end.
            if below.run() >= run.run() {
                let detail = format!("it names {} as its base, which is not older", base.run);
                return Err(StagingError::Foreign {
                    path: run.resolve(ExportManifest::PATH),
                    detail,
                });
            }
            links.push((
                std::mem::replace(&mut run, below),
                std::mem::replace(&mut manifest, older),
            ));
        }
        links.push((run, manifest));
        Ok(Self { links })
    }

    /// Manifest of the newest export: it lists every collection that there was.
    pub fn newest(&self) -> &ExportManifest {
        &self.links[0].1
    }

    /// The exports below the newest one.
    pub fn bases(&self) -> impl Iterator<Item = &RunDirectory> {
        self.links.iter().skip(1).map(|(run, _)| run)
    }

    /// Whether it is more than one export.
    pub fn is_incremental(&self) -> bool {
        self.links.len() > 1
    }

    /// The documents of a collection in pieces that can be read on their own; one after another
    /// they are in `_id` order.
    pub fn pieces(&self, collection: &str) -> Result<Vec<Piece>, StagingError> {
        let mut layers = Vec::new();
        for (run, manifest) in &self.links {
            let found = manifest.collections.iter().find(|found| found.name == collection);
            let Some(found) = found else { break };
            layers.push(Layer::new(run, found));
            if found.changes.is_none() {
                return Ok(match layers.pop() {
                    Some(whole) if layers.is_empty() => whole.split(),
                    whole => vec![Piece { layers: layers.into_iter().chain(whole).collect() }],
                });
            }
        }
        if layers.is_empty() {
            return Ok(Vec::new());
        }
        let detail = format!("no export below it has the whole of collection {collection}");
        Err(StagingError::Foreign { path: self.links[0].0.resolve(ExportManifest::PATH), detail })
    }
}

/// What one export says of a collection.
#[derive(Clone, Debug)]
struct Layer {
    run: RunDirectory,
    parts: Vec<PartFile>,
    deleted: Vec<PartFile>,
}

impl Layer {
    fn new(run: &RunDirectory, collection: &CollectionManifest) -> Self {
        let files = |parts: &[super::manifest::ExportPart]| -> Vec<PartFile> {
            parts.iter().map(|part| part.file.clone()).collect()
        };
        let deleted = collection.changes.as_ref().map(|changes| files(&changes.deleted));
        Self {
            run: run.clone(),
            parts: files(&collection.parts),
            deleted: deleted.unwrap_or_default(),
        }
    }

    fn cursor(&self, files: &[PartFile]) -> Cursor {
        Cursor::new(Box::new(parts(&self.run, files.to_vec())))
    }

    fn split(self) -> Vec<Piece> {
        let Self { run, parts, .. } = self;
        let piece = |part| Piece {
            layers: vec![Self { run: run.clone(), parts: vec![part], deleted: Vec::new() }],
        };
        parts.into_iter().map(piece).collect()
    }
}

/// Documents that are read one after another.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Newest first.
    layers: Vec<Layer>,
}

impl Piece {
    /// Reads them. A part is opened, and its hash checked, when its first document is asked for.
    pub fn read(&self) -> Batches {
        match self.layers.as_slice() {
            [layer] => Box::new(parts(&layer.run, layer.parts.clone())),
            layers => Box::new(Merged {
                layers: layers
                    .iter()
                    .map(|layer| MergedLayer {
                        documents: layer.cursor(&layer.parts),
                        deleted: layer.cursor(&layer.deleted),
                    })
                    .collect(),
                ended: false,
            }),
        }
    }
}

/// The documents of several parts, opened one after another.
fn parts(
    run: &RunDirectory,
    files: Vec<PartFile>,
) -> impl Iterator<Item = Result<Documents, StagingError>> + Send + use<> {
    let run = run.clone();
    files.into_iter().flat_map(move |file| -> Batches {
        match documents(&run, &file) {
            Ok(batches) => Box::new(batches),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    })
}

/// The `_id` of a cursor's document; null where it has none, none at the end.
fn id_of(cursor: &Cursor) -> Result<Option<Value<'_>>, StagingError> {
    let Some((_, bytes)) = cursor.current() else { return Ok(None) };
    let id = Doc::new(bytes).and_then(|document| document.get("_id"));
    let id = id.map_err(|error| StagingError::Foreign {
        path: "an exported part".into(),
        detail: format!("a document in it is no BSON: {error}"),
    })?;
    Ok(Some(id.unwrap_or(Value::Null)))
}

struct MergedLayer {
    documents: Cursor,
    deleted: Cursor,
}

/// Several layers as one: of each `_id` what the newest layer says counts.
struct Merged {
    /// Newest first.
    layers: Vec<MergedLayer>,
    ended: bool,
}

impl Merged {
    fn batch(&mut self) -> Result<Option<Documents>, StagingError> {
        let (mut ids, mut kept) = (StringBuilder::new(), BinaryBuilder::new());
        let (mut rows, mut bytes) = (0, 0);
        while rows < READ_BATCH_ROWS && bytes < BATCH_BYTES {
            for layer in &mut self.layers {
                layer.documents.fill()?;
                layer.deleted.fill()?;
            }
            let Some((newest, here)) = self.next_id()? else {
                self.ended = true;
                break;
            };
            let layer = &self.layers[newest];
            // What was deleted after it was read is gone.
            if !here[newest].1
                && let Some((id, document)) = layer.documents.current()
            {
                ids.append_value(id);
                kept.append_value(document);
                rows += 1;
                bytes += document.len();
            }
            for (layer, (document, deleted)) in self.layers.iter_mut().zip(here) {
                if document {
                    layer.documents.pass();
                }
                if deleted {
                    layer.deleted.pass();
                }
            }
        }
        Ok((rows > 0).then(|| Documents::new(ids.finish(), &kept.finish())))
    }

    /// The newest layer that has the least `_id`, and which cursors of all layers stand at it.
    #[expect(clippy::type_complexity, reason = "two flags a layer, used once")]
    fn next_id(&self) -> Result<Option<(usize, Vec<(bool, bool)>)>, StagingError> {
        let mut ids = Vec::new();
        for layer in &self.layers {
            ids.push([id_of(&layer.documents)?, id_of(&layer.deleted)?]);
        }
        let least = ids.iter().flatten().flatten().min_by(|left, right| compare(left, right));
        let Some(least) = least else { return Ok(None) };
        let at_least = |id: &Option<Value<'_>>| {
            id.as_ref().is_some_and(|id| compare(id, least) == Ordering::Equal)
        };
        let here: Vec<(bool, bool)> =
            ids.iter().map(|[document, deleted]| (at_least(document), at_least(deleted))).collect();
        let newest = here.iter().position(|(document, deleted)| *document || *deleted);
        Ok(newest.map(|newest| (newest, here)))
    }
}

impl Iterator for Merged {
    type Item = Result<Documents, StagingError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.batch() {
                Ok(Some(batch)) => return Some(Ok(batch)),
                Ok(None) => {}
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
