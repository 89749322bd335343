//! A collection of a server at one moment. What fails for a time is asked for again.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf};
use tokio::runtime::Handle;

use super::collection::Of;
use super::ids::{id_of, same_key};
use crate::interrupt::unless_interrupted;
use crate::progress::{Progress, Stage};
use crate::source::error::PAUSES;
use crate::source::mongodb::{IdRange, ListedCollection, Reader, Server, Wanted};
use crate::source::{SourceError, describe, may_pass};

/// A collection that is read again. Its server says at which moment.
pub(super) struct Side<'s> {
    pub(super) server: &'s Server,
    pub(super) listed: &'s ListedCollection,
    pub(super) handle: &'s Handle,
    pub(super) progress: &'s Arc<dyn Progress>,
}

impl Side<'_> {
    /// An error where the command was asked to end.
    pub(super) fn check(&self) -> Result<(), SourceError> {
        if self.progress.interrupted() { Err(SourceError::Interrupted) } else { Ok(()) }
    }

    /// Waits for the server, or for the signal to end.
    pub(super) fn wait<T>(
        &self,
        work: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        self.check()?;
        let done = self.handle.block_on(unless_interrupted(work));
        done.unwrap_or(Err(SourceError::Interrupted))
    }

    /// Its documents, or those that fit a query, counted by its `_id` index where it has one.
    pub(super) fn count(&self, by_id: bool, filter: Option<&Document>) -> Result<u64, SourceError> {
        self.wait(self.server.count_of(self.listed, by_id, filter))
    }

    /// Documents at random, each once, or of each only some fields.
    pub(super) fn draw(
        &self,
        count: u64,
        fields: Option<Document>,
    ) -> Result<Vec<RawDocumentBuf>, SourceError> {
        self.wait(self.server.draw(self.listed, count, fields))
    }

    /// All documents that fit a query.
    pub(super) fn find(&self, by_id: bool, filter: &Document) -> Result<Vec<Vec<u8>>, SourceError> {
        let range = IdRange::default();
        let mut tries = Tries::default();
        loop {
            let wanted =
                Wanted { range: &range, by_index: by_id, filter: Some(filter), fields: None };
            let reading = async {
                let mut reader = self.server.read(self.listed, wanted).await?;
                let mut found = Vec::new();
                while let Some(reply) = reader.next().await? {
                    let documents = self.server.documents(self.listed, &reply)?;
                    found.extend(documents.into_iter().map(<[u8]>::to_vec));
                }
                Ok(found)
            };
            match self.wait(reading) {
                Ok(found) => return Ok(found),
                Err(error) => tries.after(self, error)?,
            }
        }
    }

    /// All documents, in the order of the `_id` index, or in whatever order there is.
    pub(super) fn all(&self, by_index: bool) -> All<'_> {
        All {
            side: self,
            by_index,
            reader: None,
            documents: Vec::new().into_iter(),
            last: None,
            overlaps: false,
            tries: Tries::default(),
        }
    }
}

/// Documents that are told together.
const TOLD: u64 = 1000;

/// Tells how far a reading has come.
pub(super) struct Done<'d> {
    side: &'d Side<'d>,
    title: &'d str,
    documents: u64,
}

impl<'d> Done<'d> {
    pub(super) fn new(side: &'d Side<'d>, of: &'d Of<'_>) -> Self {
        Self { side, title: &of.title, documents: 0 }
    }

    /// One more document was read.
    pub(super) fn advance(&mut self) {
        self.documents += 1;
        if self.documents == TOLD {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.side.progress.advance(Stage::Verify, self.title, self.documents, 0);
        self.documents = 0;
    }
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.tell();
    }
}

/// How often a reading failed.
#[derive(Default)]
struct Tries(usize);

impl Tries {
    /// Waits where what failed is worth to be tried again; else the error.
    fn after(&mut self, side: &Side<'_>, error: SourceError) -> Result<(), SourceError> {
        let SourceError::Server { action, address, cause, .. } = error else { return Err(error) };
        let pause = PAUSES.get(self.0).copied().filter(|_| may_pass(&cause));
        self.0 += 1;
        let Some(pause) = pause else {
            let tries = u32::try_from(self.0).unwrap_or(u32::MAX);
            return Err(SourceError::Server { action, address, tries, cause });
        };
        let (name, cause) = (&side.listed.name, describe(&cause));
        let note = format!("{name}: could not {action}, trying again: {cause}");
        side.progress.note(Stage::Verify, &note);
        side.wait(async {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            Ok(())
        })
    }
}

/// A step of a reading.
pub(super) enum Step {
    /// The next document.
    Document(Vec<u8>),
    /// All that came so far comes again: without an order there is no place to go on from.
    Restart,
    /// There are no more.
    End,
}

/// All documents of a collection, one after another.
pub(super) struct All<'s> {
    side: &'s Side<'s>,
    by_index: bool,
    reader: Option<Reader>,
    documents: std::vec::IntoIter<Vec<u8>>,
    /// The last document of the last reply.
    last: Option<Vec<u8>>,
    /// The reader may begin with that document.
    overlaps: bool,
    tries: Tries,
}

impl All<'_> {
    pub(super) fn next(&mut self) -> Result<Step, SourceError> {
        loop {
            if let Some(document) = self.documents.next() {
                return Ok(Step::Document(document));
            }
            match self.reply() {
                Ok(Some(documents)) => {
                    self.tries = Tries::default();
                    self.take(documents);
                }
                Ok(None) => return Ok(Step::End),
                Err(error) => {
                    self.reader = None;
                    self.tries.after(self.side, error)?;
                    if !self.by_index {
                        return Ok(Step::Restart);
                    }
                }
            }
        }
    }

    /// The documents of the next reply.
    fn reply(&mut self) -> Result<Option<Vec<Vec<u8>>>, SourceError> {
        let Side { server, listed, .. } = self.side;
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let min = match &self.last {
                    Some(last) if self.by_index => Some(bound(self.side, last)?),
                    _ => None,
                };
                self.overlaps = min.is_some();
                let range = IdRange { min, max: None };
                let by_index = self.by_index;
                let wanted = Wanted { range: &range, by_index, filter: None, fields: None };
                self.side.wait(server.read(listed, wanted))?
            }
        };
        let Some(reply) = self.side.wait(reader.next())? else { return Ok(None) };
        let documents = server.documents(listed, &reply)?;
        let documents = documents.into_iter().map(<[u8]>::to_vec).collect();
        self.reader = Some(reader);
        Ok(Some(documents))
    }

    fn take(&mut self, mut documents: Vec<Vec<u8>>) {
        // The bound of a range is part of it.
        if let Some(first) = documents.first()
            && std::mem::take(&mut self.overlaps)
            && let Some(last) = &self.last
            && same_key(id_of(first).ok().flatten().as_ref(), id_of(last).ok().flatten().as_ref())
        {
            documents.remove(0);
        }
        if let Some(last) = documents.last() {
            self.last = Some(last.clone());
        }
        self.documents = documents.into_iter();
    }
}

/// The `_id` of a document as a bound.
fn bound(side: &Side<'_>, document: &[u8]) -> Result<Bson, SourceError> {
    let id = RawDocument::from_bytes(document).ok().and_then(|document| document.get("_id").ok());
    let id = id.flatten().and_then(|id| Bson::try_from(id).ok());
    id.ok_or_else(|| SourceError::Answer {
        action: format!("read {}", side.listed.name),
        address: side.server.address().to_owned(),
        lacks: "`_id` to go on from",
    })
}
