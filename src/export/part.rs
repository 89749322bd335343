//! Documents gathered into a part.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, StringBuilder};
use arrow::record_batch::RecordBatch;

use super::ExportError;
use crate::document::id::id_text;
use crate::document::order::compare;
use crate::document::raw::{Doc, Value};
use crate::progress::Stage;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::ExportPart;
use crate::staging::part::PartWriter;
use crate::staging::schema::{export_properties, export_schema};

/// BSON bytes of one Arrow batch: large enough to compress well, small beside a part.
const BATCH_BYTES: usize = 4 << 20;

/// Documents one after another in one buffer.
#[derive(Default)]
pub(super) struct Batch {
    buffer: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// Where the next document's bytes are appended.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// What was appended since the last call is one document.
    pub(super) fn end_document(&mut self) {
        self.ends.push(self.buffer.len());
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.buffer.len()
    }

    fn document(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.buffer[start..self.ends[at]]
    }
}

/// A part in order, under a temporary name.
pub(super) struct SortedRun {
    pub(super) part: ExportPart,
    /// First and last document, to compare their `_id`s.
    pub(super) first: Vec<u8>,
    pub(super) last: Vec<u8>,
}

/// The `_id` of a document; a document without one comes first, as if it were null.
pub(super) fn id_of<'a>(
    collection: &str,
    bytes: &'a [u8],
) -> Result<Option<Value<'a>>, ExportError> {
    Doc::new(bytes).and_then(|document| document.get("_id")).map_err(|error| {
        ExportError::Document { collection: collection.to_owned(), detail: error.to_string() }
    })
}

/// Orders documents by their `_id`s.
pub(super) fn by_id(left: Option<&Value<'_>>, right: Option<&Value<'_>>) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => compare(left, right),
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

/// The `_id` as its column has it.
fn text_of(collection: &str, id: Option<&Value<'_>>) -> Result<String, ExportError> {
    match id {
        None => Ok(String::new()),
        Some(id) => id_text(id).map_err(|error| ExportError::Document {
            collection: collection.to_owned(),
            detail: error.to_string(),
        }),
    }
}

/// Sorts a batch and writes it as a part under a temporary name.
pub(super) fn write_run(
    run: &RunDirectory,
    namespace: &str,
    collection: &str,
    range: usize,
    number: usize,
    batch: &Batch,
) -> Result<SortedRun, ExportError> {
    let ids = (0..batch.len())
        .map(|at| id_of(collection, batch.document(at)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut order: Vec<usize> = (0..batch.len()).collect();
    if !ids.is_sorted_by(|left, right| by_id(left.as_ref(), right.as_ref()).is_le()) {
        order.sort_by(|left, right| by_id(ids[*left].as_ref(), ids[*right].as_ref()));
    }
    let folder = RunDirectory::part_path(Stage::Export, collection, 0);
    let folder = folder.rsplit_once('/').map_or("export", |(folder, _)| folder);
    let mut writer =
        RunWriter::create(run, namespace, &format!("{folder}/run-{range:05}-{number:05}.parquet"))?;
    for at in &order {
        writer.push(collection, batch.document(*at), ids[*at].as_ref())?;
    }
    let part = writer.finish(collection)?;
    let document =
        |at: Option<&usize>| at.map(|at| batch.document(*at).to_vec()).unwrap_or_default();
    Ok(SortedRun { part, first: document(order.first()), last: document(order.last()) })
}

/// Writes documents that come in order.
pub(super) struct RunWriter {
    writer: PartWriter,
    schema: arrow::datatypes::SchemaRef,
    ids: StringBuilder,
    documents: BinaryBuilder,
    pending: usize,
    bytes: u64,
    first_id: Option<String>,
    last_id: String,
}

impl RunWriter {
    pub(super) fn create(
        run: &RunDirectory,
        namespace: &str,
        path: &str,
    ) -> Result<Self, ExportError> {
        let schema = export_schema(namespace);
        let writer = PartWriter::create(run, path, Arc::clone(&schema), export_properties())?;
        Ok(Self {
            writer,
            schema,
            ids: StringBuilder::new(),
            documents: BinaryBuilder::new(),
            pending: 0,
            bytes: 0,
            first_id: None,
            last_id: String::new(),
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn push(
        &mut self,
        collection: &str,
        document: &[u8],
        id: Option<&Value<'_>>,
    ) -> Result<(), ExportError> {
        let text = text_of(collection, id)?;
        self.ids.append_value(&text);
        self.documents.append_value(document);
        self.bytes += document.len() as u64;
        self.pending += document.len();
        if self.first_id.is_none() {
            self.first_id = Some(text.clone());
        }
        self.last_id = text;
        if self.pending >= BATCH_BYTES { self.flush(collection) } else { Ok(()) }
    }

    fn flush(&mut self, collection: &str) -> Result<(), ExportError> {
        self.pending = 0;
        let columns: Vec<ArrayRef> =
            vec![Arc::new(self.ids.finish()), Arc::new(self.documents.finish())];
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|source| ExportError::Batch { collection: collection.to_owned(), source })?;
        Ok(self.writer.write(&batch)?)
    }

    pub(super) fn finish(mut self, collection: &str) -> Result<ExportPart, ExportError> {
        self.flush(collection)?;
        Ok(ExportPart {
            file: self.writer.finish()?,
            document_bytes: self.bytes,
            first_id: self.first_id.unwrap_or_default(),
            last_id: self.last_id,
        })
    }
}
