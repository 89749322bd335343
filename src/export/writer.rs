//! Batches of a range on their way to parts: sorted, compressed and hashed by threads that all
//! ranges share, and journaled when they are safe.

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::ExportError;
use super::journal::{Before, Entry, WrittenBatch};
use super::marks::Marking;
use super::part::{Batch, SortedRun, reject_path, sorted_run, write_run};
use crate::pipeline::model::ChangedBy;
use crate::progress::{Progress, Stage};
use crate::staging::journal::Journal;
use crate::staging::layout::RunDirectory;

/// What all ranges of an export share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) run: RunDirectory,
    pub(super) progress: Arc<dyn Progress>,
    pub(super) journal: Arc<Journal>,
    /// Threads that write.
    pub(super) writers: Arc<Semaphore>,
    pub(super) part_bytes: usize,
    /// The fields by which later exports find what changed.
    pub(super) changed: Arc<ChangedBy>,
    /// The source's clock when the export began, in milliseconds since 1970.
    pub(super) now: i64,
    /// Whether every document is looked through: what a server sends or docferry makes of rows is
    /// sound, what stands in a file may not be.
    pub(super) validate: bool,
}

impl Context {
    /// The field by which later exports find what changed of a collection.
    pub(super) fn marking(&self, collection: &str) -> Option<Marking<'_>> {
        self.changed.of(collection).map(|field| Marking { field, now: self.now })
    }

    /// An error once the export was asked to stop.
    pub(super) fn check(&self) -> Result<(), ExportError> {
        if self.progress.interrupted() { Err(ExportError::Interrupted) } else { Ok(()) }
    }
}

/// Batches of a range that are written or wait for the disk.
const MOST_TASKS: usize = 16;

/// Writes the batches of one range.
pub(super) struct RangeWriter {
    context: Context,
    namespace: Arc<str>,
    collection: Arc<str>,
    range: usize,
    next: usize,
    /// Records that an earlier attempt took from the source.
    taken: u64,
    rejects: u64,
    done: Vec<SortedRun>,
    tasks: VecDeque<JoinHandle<Result<Written, ExportError>>>,
}

/// What became of a range.
pub(super) struct Range {
    pub(super) runs: Vec<SortedRun>,
    pub(super) rejects: u64,
}

struct Written {
    run: Option<SortedRun>,
    rejects: u64,
}

impl RangeWriter {
    /// The writer of a collection that is read in one range.
    pub(super) fn only(
        context: &Context,
        database: &str,
        collection: &str,
        before: &Before,
    ) -> Result<Self, ExportError> {
        let batches = before.batches.get(&0).map(Vec::as_slice).unwrap_or_default();
        Self::new(context, database, collection, 0, batches)
    }

    /// Goes on after the batches of an earlier attempt, whose hashes are checked. From the first
    /// that does not agree, all are written again.
    pub(super) fn new(
        context: &Context,
        database: &str,
        collection: &str,
        range: usize,
        before: &[WrittenBatch],
    ) -> Result<Self, ExportError> {
        let mut writer = Self {
            context: context.clone(),
            namespace: format!("{database}.{collection}").into(),
            collection: collection.into(),
            range,
            next: 0,
            taken: 0,
            rejects: 0,
            done: Vec::new(),
            tasks: VecDeque::new(),
        };
        for batch in before {
            if let Some(part) = &batch.part {
                match sorted_run(&context.run, part) {
                    Ok(run) => {
                        let records = part.file.rows;
                        let bytes = part.document_bytes;
                        context.progress.advance(Stage::Export, collection, records, bytes);
                        writer.done.push(run);
                    }
                    Err(error) => {
                        let note = format!("{} is exported again: {error}", part.file.path);
                        context.progress.note(Stage::Export, &note);
                        break;
                    }
                }
            }
            writer.taken += batch.records;
            writer.rejects += batch.rejects;
            writer.next = batch.number + 1;
        }
        if !before.is_empty() {
            writer.again()?;
        }
        Ok(writer)
    }

    /// Makes void what other batches an earlier attempt may have written.
    fn again(&self) -> Result<(), ExportError> {
        let (collection, range) = (self.collection.to_string(), self.range);
        Ok(self.context.journal.append(&Entry::Again { collection, range, from: self.next })?)
    }

    /// Records that need not be read again.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// The last document written by an earlier attempt, where documents came in `_id` order.
    pub(super) fn last_document(&self) -> Option<&[u8]> {
        self.done.last().map(|run| run.last.as_slice())
    }

    /// Forgets what was written: the range is read from its beginning.
    pub(super) async fn restart(&mut self) -> Result<(), ExportError> {
        while !self.tasks.is_empty() {
            self.collect().await?;
        }
        if self.next == 0 {
            return Ok(());
        }
        for run in self.done.drain(..) {
            let path = self.context.run.resolve(&run.part.file.path);
            fs::remove_file(&path).map_err(|source| crate::staging::StagingError::Io {
                action: "remove",
                path,
                source,
            })?;
        }
        (self.taken, self.rejects, self.next) = (0, 0, 0);
        self.again()
    }

    /// Hands a batch over. Waits while all writers are busy.
    pub(super) async fn submit(&mut self, batch: Batch) -> Result<(), ExportError> {
        let place = Arc::clone(&self.context.writers).acquire_owned().await;
        // A writer that failed ends the range here, not when everything was read.
        while self.tasks.front().is_some_and(JoinHandle::is_finished)
            || self.tasks.len() >= MOST_TASKS
        {
            self.collect().await?;
        }
        let (context, number, range) = (self.context.clone(), self.next, self.range);
        let (namespace, collection) = (Arc::clone(&self.namespace), Arc::clone(&self.collection));
        self.next += 1;
        self.tasks.push_back(tokio::task::spawn_blocking(move || {
            write(&context, &namespace, &collection, (range, number), batch, place)
        }));
        Ok(())
    }

    async fn collect(&mut self) -> Result<(), ExportError> {
        if let Some(task) = self.tasks.pop_front() {
            let written = task.await.map_err(ExportError::Worker)??;
            self.rejects += written.rejects;
            self.done.extend(written.run);
        }
        Ok(())
    }

    /// Waits for everything that was handed over.
    pub(super) async fn finish(mut self) -> Result<Range, ExportError> {
        while !self.tasks.is_empty() {
            self.collect().await?;
        }
        Ok(Range { runs: self.done, rejects: self.rejects })
    }
}

fn write(
    context: &Context,
    namespace: &str,
    collection: &str,
    (range, number): (usize, usize),
    batch: Batch,
    place: Result<OwnedSemaphorePermit, AcquireError>,
) -> Result<Written, ExportError> {
    let (documents, bytes) = (batch.len() as u64, batch.bytes() as u64);
    let (written, rejects) = write_run(
        &context.run,
        namespace,
        collection,
        (range, number),
        batch,
        context.validate,
        context.marking(collection),
    )?;
    // Another batch may have the processor while this one waits for the disk.
    drop(place);
    let sorted = match written {
        Some((run, part)) => {
            part.settle()?;
            Some(run)
        }
        None => None,
    };
    context.journal.append(&Entry::Batch(WrittenBatch {
        collection: collection.to_owned(),
        range,
        number,
        records: documents,
        rejects,
        part: sorted.as_ref().map(|run| run.part.clone()),
    }))?;
    context.progress.advance(Stage::Export, collection, documents, bytes);
    Ok(Written { run: sorted, rejects })
}

/// The lists of records that are no documents, of all batches of a collection, in order.
pub(super) fn reject_files(run: &RunDirectory, collection: &str) -> Vec<PathBuf> {
    let folder = run.resolve(&reject_path(run, collection, 0, 0));
    let entries = folder.parent().and_then(|folder| fs::read_dir(folder).ok());
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("rejects-"))
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
}
