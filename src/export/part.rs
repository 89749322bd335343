//! Documents gathered into a part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, BinaryArray, BinaryBuilder, StringArray, StringBuilder};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::record_batch::RecordBatch;

use serde_json::json;

use super::ExportError;
use super::marks::{HighWater, Marking};
use crate::document::id::{id_text, object_id_hex};
use crate::document::order::compare_ids;
use crate::document::raw::{Doc, Value};
use crate::document::sound::validate;
use crate::progress::Stage;
use crate::source::SourceError;
use crate::source::dump::{DumpReader, Frame};
use crate::staging::exported::documents;
use crate::staging::json_file::replace;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::ExportPart;
use crate::staging::part::{PartWriter, WrittenPart};
use crate::staging::raw_json::RawJson;
use crate::staging::rejects::Reject;
use crate::staging::schema::{export_properties, export_schema};

/// BSON bytes of one Arrow batch: large enough to compress well, small beside a part.
const BATCH_BYTES: usize = 4 << 20;

/// Room of a batch. What is never written to takes no memory.
const BATCH_ROOM: usize = 33 << 20;

/// Buffers that wait for the next batch: memory that the system has to give anew costs as much as
/// filling it. There are never more than writers and readers at work, so this many are enough.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
const SPARES: usize = 4;

fn spare() -> Vec<u8> {
    let found = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
    found.unwrap_or_else(|| Vec::with_capacity(BATCH_ROOM))
}

fn give_back(mut buffer: Vec<u8>) {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    // A buffer that had to grow for one large document is not kept.
    if spare.len() < SPARES && buffer.capacity() == BATCH_ROOM {
        buffer.clear();
        spare.push(buffer);
    }
}

/// Documents one after another in one buffer.
pub(super) struct Batch {
    buffer: Vec<u8>,
    ends: Vec<usize>,
    /// Where each document begins in its file, for messages; empty for a server's.
    offsets: Vec<u64>,
    /// Records that are no documents, by their place in the batch, and what is said of each.
    broken: BTreeMap<usize, String>,
}

impl Default for Batch {
    fn default() -> Self {
        Self { buffer: spare(), ends: Vec::new(), offsets: Vec::new(), broken: BTreeMap::new() }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.buffer));
    }
}

impl Batch {
    /// Where the next document's bytes are appended.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Reads documents of a file until they have so many bytes; what comes after them.
    pub(super) fn read(
        &mut self,
        reader: &mut DumpReader,
        most: usize,
    ) -> Result<Frame, SourceError> {
        let (ends, offsets) = (&mut self.ends, &mut self.offsets);
        reader.frames(&mut self.buffer, most, |offset, end| {
            ends.push(end);
            offsets.push(offset);
        })
    }

    /// What was appended since the last call is one document.
    pub(super) fn end_document(&mut self) {
        self.ends.push(self.buffer.len());
    }

    /// The same for a document that begins at this byte of its file.
    pub(super) fn end_document_at(&mut self, offset: u64) {
        self.ends.push(self.buffer.len());
        self.offsets.push(offset);
    }

    /// The same for bytes that are no document.
    pub(super) fn end_broken(&mut self, offset: u64, reason: &str) {
        let detail = format!("record at byte {offset} is no BSON document: {reason}");
        self.end_unread(offset, detail);
    }

    /// The same for a record of another format, with all that is said of it.
    pub(super) fn end_unread(&mut self, offset: u64, detail: String) {
        self.broken.insert(self.ends.len(), detail);
        self.end_document_at(offset);
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

/// The `_id` as its column has it.
pub(super) fn text_of(collection: &str, id: Option<&Value<'_>>) -> Result<String, ExportError> {
    match id {
        None => Ok(String::new()),
        Some(id) => id_text(id).map_err(|error| ExportError::Document {
            collection: collection.to_owned(),
            detail: error.to_string(),
        }),
    }
}

/// Path of a range's batch, relative to the run, until its collection is in order.
fn run_path(run: &RunDirectory, collection: &str, range: usize, number: usize) -> String {
    in_folder(run, collection, &format!("run-{range:05}-{number:05}.parquet"))
}

/// Path of the list of a batch's records that are no documents.
pub(super) fn reject_path(
    run: &RunDirectory,
    collection: &str,
    range: usize,
    number: usize,
) -> String {
    in_folder(run, collection, &format!("rejects-{range:05}-{number:05}.jsonl"))
}

/// Path of a list of `_id`s of documents that are no longer there.
fn deleted_path(run: &RunDirectory, collection: &str, number: usize) -> String {
    in_folder(run, collection, &format!("deleted-{number:05}.parquet"))
}

fn in_folder(run: &RunDirectory, collection: &str, name: &str) -> String {
    format!("{}/{name}", run.part_folder(Stage::Export, collection))
}

/// Sorts a batch and writes it as a part under a temporary name, not yet durable. Records that are
/// no documents are written to a list instead, and counted.
pub(super) fn write_run(
    run: &RunDirectory,
    namespace: &str,
    collection: &str,
    (range, number): (usize, usize),
    mut batch: Batch,
    validating: bool,
    marking: Option<Marking<'_>>,
) -> Result<(Option<(SortedRun, WrittenPart)>, u64), ExportError> {
    let mut ids = Vec::with_capacity(batch.len());
    let mut rejects = Vec::new();
    for at in 0..batch.len() {
        let bytes = batch.document(at);
        if let Some(detail) = batch.broken.get(&at) {
            rejects.push(malformed(collection, &batch, at, detail.clone()));
            continue;
        }
        let checked = if validating { validate(bytes) } else { Ok(()) };
        let id = checked
            .and_then(|()| Doc::new(bytes).and_then(|document| document.get("_id")))
            .map_err(|error| error.to_string());
        match id {
            Ok(id) => ids.push((at, id)),
            Err(reason) => {
                let place = match batch.offsets.get(at) {
                    Some(offset) => format!("record at byte {offset}"),
                    None => "record".to_owned(),
                };
                let detail = format!("{place} is no BSON document: {reason}");
                rejects.push(malformed(collection, &batch, at, detail));
            }
        }
    }
    let rejected = rejects.len() as u64;
    let path = run.resolve(&reject_path(run, collection, range, number));
    if rejects.is_empty() {
        // An earlier attempt may have left one.
        let _ = std::fs::remove_file(&path);
    } else {
        replace(&path, rejects.concat().as_bytes())?;
    }
    let (Some(_), Some(_)) = (ids.first(), ids.last()) else { return Ok((None, rejected)) };
    let in_order =
        ids.is_sorted_by(|left, right| compare_ids(left.1.as_ref(), right.1.as_ref()).is_le());
    if !in_order {
        ids.sort_by(|left, right| compare_ids(left.1.as_ref(), right.1.as_ref()));
    }
    let path = run_path(run, collection, range, number);
    let mut writer = RunWriter::create(run, namespace, &path, marking)?;
    let document = |id: Option<&(usize, Option<Value<'_>>)>| {
        id.map(|(at, _)| batch.document(*at).to_vec()).unwrap_or_default()
    };
    let (first, last) = (document(ids.first()), document(ids.last()));
    if in_order && rejected == 0 {
        // The documents stand in the buffer as a part has them: they are written from there.
        let mut texts = StringBuilder::with_capacity(ids.len(), ids.len() * 24);
        for (_, id) in &ids {
            match id {
                Some(Value::ObjectId(id)) => texts.append_value(object_id_hex(id)),
                id => texts.append_value(text_of(collection, id.as_ref())?),
            }
        }
        let texts = texts.finish();
        drop(ids);
        let ends = std::mem::take(&mut batch.ends);
        let buffer = Buffer::from_vec(std::mem::take(&mut batch.buffer));
        writer.write_whole(collection, &texts, &buffer, &ends)?;
        if let Ok(buffer) = buffer.into_vec() {
            batch.buffer = buffer;
        }
    } else {
        for (at, id) in &ids {
            writer.push(collection, batch.document(*at), id.as_ref())?;
        }
    }
    let (part, written) = writer.close(collection)?;
    Ok((Some((SortedRun { part, first, last }, written)), rejected))
}

/// The line of a record that is no document, newline included.
fn malformed(collection: &str, batch: &Batch, at: usize, detail: String) -> String {
    let reject = Reject {
        collection: collection.to_owned(),
        id: String::new(),
        table: None,
        column: None,
        field: None,
        rule: "malformed".to_owned(),
        value: batch
            .offsets
            .get(at)
            .map_or(RawJson::ABSENT, |offset| json!({"offset": offset}).into()),
        detail,
        element: None,
        element_value: RawJson::ABSENT,
        document: RawJson::base64(batch.document(at)),
    };
    // A line of strings and numbers is always JSON.
    let mut line = serde_json::to_string(&reject).unwrap_or_default();
    line.push('\n');
    line
}

/// A part of an earlier attempt, after its hash agreed.
pub(super) fn sorted_run(
    run: &RunDirectory,
    part: &ExportPart,
) -> Result<SortedRun, crate::staging::StagingError> {
    let (mut first, mut last) = (None, Vec::new());
    for batch in documents(run, &part.file)? {
        let batch = batch?;
        if batch.is_empty() {
            continue;
        }
        first.get_or_insert_with(|| batch.bytes(0).to_vec());
        last = batch.bytes(batch.len() - 1).to_vec();
    }
    Ok(SortedRun { part: part.clone(), first: first.unwrap_or_default(), last })
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
    high_water: Option<HighWater>,
}

impl RunWriter {
    pub(super) fn create(
        run: &RunDirectory,
        namespace: &str,
        path: &str,
        marking: Option<Marking<'_>>,
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
            high_water: marking.map(HighWater::of),
        })
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
        if let Some(mark) = &mut self.high_water {
            mark.see(document);
        }
        self.bytes += document.len() as u64;
        self.pending += document.len();
        if self.first_id.is_none() {
            self.first_id = Some(text.clone());
        }
        self.last_id = text;
        if self.pending >= BATCH_BYTES { self.flush(collection) } else { Ok(()) }
    }

    /// Writes documents that stand one after another in a buffer, in the same batches as if they
    /// were pushed one by one.
    fn write_whole(
        &mut self,
        collection: &str,
        texts: &StringArray,
        buffer: &Buffer,
        ends: &[usize],
    ) -> Result<(), ExportError> {
        let failed = |source| ExportError::Batch { collection: collection.to_owned(), source };
        // Arrow's offsets have 31 bits; a batch is far below that.
        let offset = |end: &usize| i32::try_from(*end).unwrap_or(i32::MAX);
        let offsets: Vec<i32> = std::iter::once(0).chain(ends.iter().map(offset)).collect();
        let offsets = OffsetBuffer::new(offsets.into());
        let documents = BinaryArray::try_new(offsets, buffer.clone(), None).map_err(failed)?;
        if let Some(mark) = &mut self.high_water {
            let mut start = 0;
            for end in ends {
                mark.see(&buffer[start..*end]);
                start = *end;
            }
        }
        let (mut from, mut start) = (0, 0);
        for (at, end) in ends.iter().enumerate() {
            if end - start >= BATCH_BYTES || at + 1 == ends.len() {
                let length = at + 1 - from;
                let columns: Vec<ArrayRef> = vec![
                    Arc::new(texts.slice(from, length)),
                    Arc::new(documents.slice(from, length)),
                ];
                let batch =
                    RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(failed)?;
                self.writer.write(&batch)?;
                (from, start) = (at + 1, *end);
            }
        }
        self.bytes = ends.last().copied().unwrap_or(0) as u64;
        if !texts.is_empty() {
            self.first_id = Some(texts.value(0).to_owned());
            texts.value(texts.len() - 1).clone_into(&mut self.last_id);
        }
        Ok(())
    }

    fn flush(&mut self, collection: &str) -> Result<(), ExportError> {
        if self.pending == 0 {
            return Ok(());
        }
        self.pending = 0;
        let columns: Vec<ArrayRef> =
            vec![Arc::new(self.ids.finish()), Arc::new(self.documents.finish())];
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|source| ExportError::Batch { collection: collection.to_owned(), source })?;
        Ok(self.writer.write(&batch)?)
    }

    pub(super) fn finish(self, collection: &str) -> Result<ExportPart, ExportError> {
        let (part, written) = self.close(collection)?;
        written.settle()?;
        Ok(part)
    }

    fn close(mut self, collection: &str) -> Result<(ExportPart, WrittenPart), ExportError> {
        self.flush(collection)?;
        let (file, written) = self.writer.close()?;
        let part = ExportPart {
            file,
            document_bytes: self.bytes,
            first_id: self.first_id.unwrap_or_default(),
            last_id: self.last_id,
            high_water: self.high_water.and_then(HighWater::into_json),
        };
        Ok((part, written))
    }
}

/// Writes documents that come in order as parts of about one size.
pub(super) struct PartsWriter<'w> {
    run: &'w RunDirectory,
    namespace: &'w str,
    collection: &'w str,
    part_bytes: usize,
    marking: Option<Marking<'w>>,
    /// Path of a part by its number.
    path: fn(&RunDirectory, &str, usize) -> String,
    parts: Vec<ExportPart>,
    current: Option<RunWriter>,
}

impl<'w> PartsWriter<'w> {
    /// For the documents of a collection.
    pub(super) fn new(
        run: &'w RunDirectory,
        (namespace, collection): (&'w str, &'w str),
        part_bytes: usize,
        marking: Option<Marking<'w>>,
    ) -> Self {
        let path = |run: &RunDirectory, collection: &str, number| {
            run.part_path(Stage::Export, collection, number)
        };
        let (parts, current) = (Vec::new(), None);
        Self { run, namespace, collection, part_bytes, marking, path, parts, current }
    }

    /// For `_id`s of documents that are no longer there.
    pub(super) fn of_deleted(self) -> Self {
        Self { path: deleted_path, ..self }
    }

    pub(super) fn push(
        &mut self,
        document: &[u8],
        id: Option<&Value<'_>>,
    ) -> Result<(), ExportError> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => {
                let path = (self.path)(self.run, self.collection, self.parts.len());
                RunWriter::create(self.run, self.namespace, &path, self.marking)?
            }
        };
        current.push(self.collection, document, id)?;
        if current.bytes >= self.part_bytes as u64 {
            self.parts.push(current.finish(self.collection)?);
        } else {
            self.current = Some(current);
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<ExportPart>, ExportError> {
        if let Some(current) = self.current.take() {
            self.parts.push(current.finish(self.collection)?);
        }
        Ok(self.parts)
    }
}
