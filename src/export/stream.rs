//! The documents of a range to its end, read on over all errors that may pass: each `_id` once, in
//! the order of the index.

use std::cmp::Ordering;
use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocument};
use mongodb::raw_batch_cursor::RawBatch;

use super::ExportError;
use super::part::{Batch, id_of};
use super::writer::{Context, Range, RangeWriter};
use crate::document::order::{kinds, same_value};
use crate::progress::Stage;
use crate::source::error::PAUSES;
use crate::source::mongodb::{IdRange, ListedCollection, Reader, Server, Wanted};
use crate::source::{SourceError, describe, may_pass};

/// What is read of a collection.
#[derive(Clone, Copy)]
pub(super) struct Query<'q> {
    pub(super) listed: &'q ListedCollection,
    pub(super) range: &'q IdRange,
    /// In the order of the `_id` index, else in whatever order there is.
    pub(super) by_index: bool,
    /// Only what fits.
    pub(super) filter: Option<&'q Document>,
    /// Only these fields.
    pub(super) fields: Option<&'q Document>,
}

/// A step of the reading.
pub(super) enum Step {
    /// More documents.
    Reply(Reply),
    /// All that came so far comes again: without an order there is no place to go on from.
    Restart,
    /// There are no more.
    End,
}

/// A reply of the server.
pub(super) struct Reply {
    batch: RawBatch,
    /// Its first document came before.
    skip_first: bool,
}

impl Reply {
    /// Its documents that are new.
    pub(super) fn documents(
        &self,
        server: &Server,
        listed: &ListedCollection,
    ) -> Result<Vec<&[u8]>, SourceError> {
        let mut documents = server.documents(listed, &self.batch)?;
        if self.skip_first && !documents.is_empty() {
            documents.remove(0);
        }
        Ok(documents)
    }
}

/// Reads a range, over again after errors that may pass.
pub(super) struct Stream<'q> {
    context: &'q Context,
    server: &'q Server,
    query: Query<'q>,
    reader: Option<Reader>,
    /// The last document that came.
    last: Option<Vec<u8>>,
    /// The reader may begin with that document.
    overlaps: bool,
    /// Tries that failed since a document came.
    tries: usize,
}

impl<'q> Stream<'q> {
    /// From the beginning of a range, or after a document of it.
    pub(super) fn new(
        context: &'q Context,
        server: &'q Server,
        query: Query<'q>,
        last: Option<&[u8]>,
    ) -> Self {
        let last = last.map(<[u8]>::to_vec).filter(|_| query.by_index);
        Self { context, server, query, reader: None, last, overlaps: false, tries: 0 }
    }

    /// Reads on.
    pub(super) async fn next(&mut self) -> Result<Step, ExportError> {
        loop {
            self.context.check()?;
            match self.attempt().await {
                Ok(Some(batch)) => {
                    self.tries = 0;
                    return Ok(Step::Reply(self.taken(batch)?));
                }
                Ok(None) => return Ok(Step::End),
                Err(ExportError::Source(SourceError::Server {
                    action, address, cause, ..
                })) if may_pass(&cause) => {
                    let Some(pause) = PAUSES.get(self.tries).copied() else {
                        let tries = u32::try_from(self.tries + 1).unwrap_or(u32::MAX);
                        return Err(SourceError::Server { action, address, tries, cause }.into());
                    };
                    self.tries += 1;
                    self.reader = None;
                    let (name, cause) = (&self.query.listed.name, describe(&cause));
                    let note = format!("{name}: could not {action}, trying again: {cause}");
                    self.context.progress.note(Stage::Export, &note);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                    if !self.query.by_index {
                        return Ok(Step::Restart);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn attempt(&mut self) -> Result<Option<RawBatch>, ExportError> {
        let Query { listed, range, by_index, filter, fields } = self.query;
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let from = match &self.last {
                    Some(last) => {
                        let min = Some(bound(&listed.name, last)?);
                        IdRange { min, max: range.max.clone() }
                    }
                    None => range.clone(),
                };
                self.overlaps = self.last.is_some();
                let wanted = Wanted { range: &from, by_index, filter, fields };
                self.server.read(listed, wanted).await?
            }
        };
        let batch = reader.next().await?;
        self.reader = Some(reader);
        Ok(batch)
    }

    /// Notes how far a reply reaches.
    fn taken(&mut self, batch: RawBatch) -> Result<Reply, ExportError> {
        let name = &self.query.listed.name;
        if !self.query.by_index {
            return Ok(Reply { batch, skip_first: false });
        }
        let documents = self.server.documents(self.query.listed, &batch)?;
        let mut skip_first = false;
        // The bound of a range is part of it: the last document comes once more, if it is still
        // there.
        if let Some(first) = documents.first()
            && std::mem::take(&mut self.overlaps)
            && let Some(last) = &self.last
        {
            skip_first = same_key(name, first, last)?;
        }
        if let Some(last) = documents.last() {
            let kept = self.last.get_or_insert_default();
            kept.clear();
            kept.extend_from_slice(last);
        }
        Ok(Reply { batch, skip_first })
    }
}

/// Whether two documents have one place in the `_id` index.
fn same_key(collection: &str, left: &[u8], right: &[u8]) -> Result<bool, ExportError> {
    let (left, right) = (id_of(collection, left)?, id_of(collection, right)?);
    Ok(match (&left, &right) {
        (Some(left), Some(right)) => {
            kinds(left, right).is_eq() && same_value(left, right) == Ordering::Equal
        }
        (left, right) => left.is_none() && right.is_none(),
    })
}

/// The `_id` of a document as a bound.
fn bound(collection: &str, document: &[u8]) -> Result<Bson, ExportError> {
    let fail = |detail: String| ExportError::Document { collection: collection.to_owned(), detail };
    let raw = RawDocument::from_bytes(document).map_err(|error| fail(error.to_string()))?;
    let id = raw.get("_id").map_err(|error| fail(error.to_string()))?;
    let id = id.ok_or_else(|| fail("it has no `_id` to go on from".to_owned()))?;
    Bson::try_from(id).map_err(|error| fail(error.to_string()))
}

/// Reads a range, or without an order what fits a query, to its end.
pub(super) async fn read_range(
    context: &Context,
    server: &Server,
    query: &Query<'_>,
    mut writer: RangeWriter,
) -> Result<Range, ExportError> {
    if !query.by_index {
        writer.restart().await?;
    }
    let last = writer.last_document().map(<[u8]>::to_vec);
    let mut stream = Stream::new(context, server, *query, last.as_deref());
    let filled = fill(&mut stream, &mut writer).await;
    // What is in hand is kept.
    let range = writer.finish().await?;
    filled.map(|()| range)
}

async fn fill(stream: &mut Stream<'_>, writer: &mut RangeWriter) -> Result<(), ExportError> {
    let (context, server, listed) = (stream.context, stream.server, stream.query.listed);
    let mut batch = Batch::default();
    loop {
        match stream.next().await? {
            Step::Reply(reply) => {
                for document in reply.documents(server, listed)? {
                    batch.buffer().extend_from_slice(document);
                    batch.end_document();
                    if batch.bytes() >= context.part_bytes {
                        writer.submit(std::mem::take(&mut batch)).await?;
                        context.check()?;
                    }
                }
            }
            Step::Restart => {
                batch = Batch::default();
                writer.restart().await?;
            }
            Step::End => break,
        }
    }
    if batch.len() > 0 {
        writer.submit(batch).await?;
        context.check()?;
    }
    Ok(())
}
