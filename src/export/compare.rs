//! A server's collection and the base of an incremental export side by side, in `_id` order.

use std::cmp::Ordering;

use mongodb::bson::RawDocumentBuf;
use mongodb::bson::raw::cstr;
use tokio::sync::mpsc;

use super::ExportError;
use super::part::{PartsWriter, id_of};
use super::stream::{Query, Reply, Step, Stream};
use super::writer::Context;
use crate::document::order::compare_ids;
use crate::source::mongodb::{ListedCollection, Server};
use crate::staging::chain::Chain;
use crate::staging::exported::Cursor;
use crate::staging::manifest::ExportPart;

/// Replies that wait to be compared.
const MOST_REPLIES: usize = 2;

/// What a thread that compares is fed with.
enum Fed {
    Reply(Reply),
    /// That was all: a feeder that failed sends no such thing.
    End,
}

/// A document of the server, with the one of the same `_id` in the base.
#[derive(Clone, Copy)]
pub(super) struct Pair<'p> {
    pub(super) found: &'p [u8],
    pub(super) known: Option<&'p [u8]>,
}

/// What is compared with what.
#[derive(Clone)]
pub(super) struct Sides {
    pub(super) context: Context,
    pub(super) server: Server,
    pub(super) chain: Chain,
    pub(super) listed: ListedCollection,
}

impl Sides {
    /// Goes through both sides in a thread of its own, and calls `take` for each document of the
    /// server. Gives back `take`'s state, and the `_id`s that only the base has, as parts.
    pub(super) async fn walk<T: Send + 'static>(
        self,
        query: Query<'_>,
        mut state: T,
        take: impl Fn(&mut T, Pair<'_>) -> Result<(), ExportError> + Send + 'static,
    ) -> Result<(T, Vec<ExportPart>), ExportError> {
        let (sender, receiver) = mpsc::channel::<Fed>(MOST_REPLIES);
        let (context, server) = (self.context.clone(), self.server.clone());
        let comparing = tokio::task::spawn_blocking(move || {
            let deleted = self.compare(receiver, |pair| take(&mut state, pair))?;
            Ok::<_, ExportError>((state, deleted))
        });
        let fed = feed(Stream::new(&context, &server, query, None), sender).await;
        let compared = comparing.await.map_err(ExportError::Worker)?;
        // An error of the comparison ends the feeding too, and says more.
        let compared = compared?;
        fed?;
        Ok(compared)
    }

    fn compare(
        &self,
        mut receiver: mpsc::Receiver<Fed>,
        mut take: impl FnMut(Pair<'_>) -> Result<(), ExportError>,
    ) -> Result<Vec<ExportPart>, ExportError> {
        let name = self.listed.name.as_str();
        let namespace = format!("{}.{name}", self.server.database());
        let pieces = self.chain.pieces(name)?.into_iter();
        let mut base = Cursor::new(Box::new(pieces.flat_map(|piece| piece.read())));
        let (run, bytes) = (&self.context.run, self.context.part_bytes);
        let parts = PartsWriter::new(run, (&namespace, name), bytes, None).of_deleted();
        let mut gone = Gone { collection: name, parts };
        let mut last: Option<Vec<u8>> = None;
        loop {
            let reply = match receiver.blocking_recv() {
                Some(Fed::Reply(reply)) => reply,
                Some(Fed::End) => break,
                // The feeder says why.
                None => return Ok(Vec::new()),
            };
            let documents = reply.documents(&self.server, &self.listed)?;
            for found in &documents {
                let id = id_of(name, found)?;
                let mut known = false;
                while base.fill()?
                    && let Some((_, document)) = base.current()
                {
                    match compare_ids(id_of(name, document)?.as_ref(), id.as_ref()) {
                        Ordering::Less => gone.push(document)?,
                        Ordering::Equal => {
                            known = true;
                            break;
                        }
                        Ordering::Greater => break,
                    }
                    base.pass();
                }
                let document = base.current().map(|(_, document)| document).filter(|_| known);
                take(Pair { found, known: document })?;
                if known {
                    base.pass();
                }
            }
            // Both sides must have one order, or documents would pass for deleted ones.
            let mut before = last.as_deref();
            for found in &documents {
                if let Some(before) = before
                    && !compare_ids(id_of(name, before)?.as_ref(), id_of(name, found)?.as_ref())
                        .is_lt()
                {
                    return Err(ExportError::Order { collection: name.to_owned() });
                }
                before = Some(found);
            }
            last = before.map(<[u8]>::to_vec);
        }
        while base.fill()?
            && let Some((_, document)) = base.current()
        {
            gone.push(document)?;
            base.pass();
        }
        gone.parts.finish()
    }
}

async fn feed(mut stream: Stream<'_>, sender: mpsc::Sender<Fed>) -> Result<(), ExportError> {
    loop {
        let fed = match stream.next().await? {
            Step::Reply(reply) => Fed::Reply(reply),
            // What is compared is read in order.
            Step::Restart => continue,
            Step::End => Fed::End,
        };
        let end = matches!(fed, Fed::End);
        if sender.send(fed).await.is_err() || end {
            return Ok(());
        }
    }
}

/// Writes the `_id`s of what is no longer there.
struct Gone<'g> {
    collection: &'g str,
    parts: PartsWriter<'g>,
}

impl Gone<'_> {
    fn push(&mut self, document: &[u8]) -> Result<(), ExportError> {
        let fail = |detail: String| ExportError::Document {
            collection: self.collection.to_owned(),
            detail,
        };
        let id = id_of(self.collection, document)?;
        let mut alone = RawDocumentBuf::new();
        let raw = mongodb::bson::RawDocument::from_bytes(document)
            .map_err(|error| fail(error.to_string()))?;
        if let Some(value) = raw.get("_id").map_err(|error| fail(error.to_string()))? {
            alone.append(cstr!("_id"), value);
        }
        self.parts.push(alone.as_bytes(), id.as_ref())
    }
}
