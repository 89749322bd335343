//! Sources whose records are read one after another and made into documents: SQLite tables, files
//! of JSON.

use std::path::Path;

use serde_json::{Value as Json, json};
use tokio::runtime::Handle;

use super::journal::State;
use super::part::Batch;
use super::writer::{Context, RangeWriter};
use super::{About, ExportError, Exported, rejects_before, size_of};
use crate::pipeline::inverse::WayBack;
use crate::progress::{Stage, Total};
use crate::source::SourceAddress;
use crate::source::json::{JsonFiles, JsonReader, Record, are_numbered};
use crate::source::postgres::PostgresSource;
use crate::source::sqlite::Sqlite;
use crate::staging::manifest::{Skipped, Snapshot, SourceDescription};

/// Gathers the documents of one collection into batches.
pub(super) struct Feeder<'f> {
    context: &'f Context,
    handle: &'f Handle,
    writer: &'f mut RangeWriter,
    batch: Batch,
    /// Records that an earlier attempt took.
    to_skip: u64,
}

impl<'f> Feeder<'f> {
    pub(super) fn new(
        context: &'f Context,
        handle: &'f Handle,
        writer: &'f mut RangeWriter,
    ) -> Self {
        let to_skip = writer.taken();
        Self { context, handle, writer, batch: Batch::default(), to_skip }
    }

    pub(super) fn push(&mut self, bytes: &[u8], offset: Option<u64>) -> Result<(), ExportError> {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return Ok(());
        }
        self.batch.buffer().extend_from_slice(bytes);
        match offset {
            Some(offset) => self.batch.end_document_at(offset),
            None => self.batch.end_document(),
        }
        self.full()
    }

    /// Where the next record's document is to be appended.
    fn buffer(&mut self) -> &mut Vec<u8> {
        self.batch.buffer()
    }

    /// What was appended to the buffer is a record's document.
    fn end_document(&mut self, length: usize, offset: u64) -> Result<(), ExportError> {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            self.batch.buffer().truncate(length);
            return Ok(());
        }
        self.batch.end_document_at(offset);
        self.full()
    }

    /// A record that is no document.
    pub(super) fn push_broken(
        &mut self,
        text: &[u8],
        offset: u64,
        reason: &str,
    ) -> Result<(), ExportError> {
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return Ok(());
        }
        self.batch.buffer().extend_from_slice(text);
        self.batch.end_unread(offset, format!("record at byte {offset}: {reason}"));
        self.full()
    }

    fn full(&mut self) -> Result<(), ExportError> {
        if self.batch.bytes() >= self.context.part_bytes { self.submit() } else { Ok(()) }
    }

    pub(super) fn submit(&mut self) -> Result<(), ExportError> {
        if self.batch.len() > 0 {
            self.handle.block_on(self.writer.submit(std::mem::take(&mut self.batch)))?;
        }
        self.context.check()
    }
}

fn described(kind: &str, source: &SourceAddress, path: &Path, snapshot: Snapshot) -> Exported {
    let database = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    Exported::of_files(kind, source, database, snapshot)
}

/// A table is read from its beginning after a stop, so only those finished before it are older.
fn one_transaction(state: &State) -> Snapshot {
    if state.is_empty() {
        return Snapshot::Transaction;
    }
    let reason = "the export was stopped and went on in a second transaction".to_owned();
    Snapshot::None { reason }
}

/// Exports a SQLite database, in one read transaction.
pub(super) async fn sqlite(
    context: &Context,
    mut state: State,
    source: &SourceAddress,
    path: &Path,
) -> Result<Exported, ExportError> {
    let mut exported = described("sqlite", source, path, one_transaction(&state));
    let (context, handle) = (context.clone(), Handle::current());
    let (path, database) = (path.to_owned(), exported.source.database.clone());
    let shared = context.clone();
    // One connection has the transaction, so tables are read one after another; parts are written
    // by all threads.
    let reader = tokio::task::spawn_blocking(move || {
        let database_file = Sqlite::open(&path)?;
        let (tables, left) = database_file.tables()?;
        let mut expected = Vec::new();
        for table in &tables {
            expected.push((table.name.clone(), Total::Records(database_file.count(table)?)));
        }
        shared.progress.expect(Stage::Export, &expected);
        shared.run.name_folders(expected.iter().map(|(name, _)| name.clone()));
        let mut read = Vec::new();
        for (table, (name, total)) in tables.into_iter().zip(expected) {
            let before = state.take(&name);
            if let Some(finished) = shared.finished(&before) {
                read.push(Err(finished));
                continue;
            }
            shared.progress.start(Stage::Export, &name, total);
            let (options, indexes) = (table.options.clone(), table.indexes.clone());
            let about = About::whole(name.clone(), "table", options, indexes);
            let range = if before.ordered.is_some() {
                rejects_before(&before)
            } else {
                let mut writer = RangeWriter::only(&shared, &database, &name, &before)?;
                // The rows that an earlier attempt took may be others by now.
                handle.block_on(writer.restart())?;
                let mut feeder = Feeder::new(&shared, &handle, &mut writer);
                let done = database_file
                    .rows::<ExportError>(&table, |document| feeder.push(document, None))
                    .and_then(|()| feeder.submit());
                // What is in hand is kept, whatever ended the reading.
                let range = handle.block_on(writer.finish())?;
                done?;
                range
            };
            read.push(Ok((about, range, before.ordered)));
        }
        let left = left.into_iter().map(|left| Skipped {
            name: left.name,
            reason: left.reason,
            options: Json::String(left.sql),
        });
        let settings = database_file.settings()?;
        Ok::<_, ExportError>((read, left.collect::<Vec<_>>(), settings))
    });
    let (read, skipped, settings) = reader.await.map_err(ExportError::Worker)??;
    for table in read {
        exported.collections.push(match table {
            Err(finished) => finished,
            Ok((about, range, ordered)) => {
                context.conclude(&exported.source.database, about, vec![range], ordered).await?
            }
        });
    }
    exported.skipped = skipped;
    exported.source.settings = settings;
    Ok(exported)
}

/// Exports the tables of a loaded database, in one transaction, as what they were made of.
pub(super) async fn postgres(
    context: &Context,
    mut state: State,
    source: &SourceAddress,
    address: &str,
    way: &WayBack,
) -> Result<Exported, ExportError> {
    let server = PostgresSource::open(address).await?;
    let snapshot = one_transaction(&state);
    let mut exported = Exported::new(
        SourceDescription {
            kind: "postgresql".to_owned(),
            address: source.display(),
            database: server.database.clone(),
            server_version: Some(server.version.clone()),
            settings: Json::Null,
        },
        snapshot,
    );
    let mut expected = Vec::new();
    for table in &way.tables {
        expected.push((table.name.clone(), Total::Records(server.count(table).await?)));
    }
    context.progress.expect(Stage::Export, &expected);
    context.run.name_folders(expected.iter().map(|(name, _)| name.clone()));
    for (table, (name, total)) in way.tables.iter().zip(expected) {
        let before = state.take(&name);
        if let Some(finished) = context.finished(&before) {
            exported.collections.push(finished);
            continue;
        }
        context.progress.start(Stage::Export, &name, total);
        let range = if before.ordered.is_some() {
            rejects_before(&before)
        } else {
            let mut writer = RangeWriter::only(context, &server.database, &name, &before)?;
            writer.restart().await?;
            let mut rows = server.rows(table).await?;
            let mut batch = Batch::default();
            let add = |batch: &mut Batch, document: &[u8]| {
                batch.buffer().extend_from_slice(document);
                batch.end_document();
            };
            while rows.next(|document| add(&mut batch, document)).await? {
                context.check()?;
                if batch.bytes() >= context.part_bytes {
                    writer.submit(std::mem::take(&mut batch)).await?;
                }
            }
            if batch.len() > 0 {
                writer.submit(batch).await?;
            }
            writer.finish().await?
        };
        let index = |(name, unique, sql): &(String, bool, String)| json!({"name": name, "unique": unique, "sql": sql});
        let options = json!({"sql": table.create, "table": table.table});
        let indexes = table.indexes.iter().map(index).collect();
        let about = About::whole(name, "table", options, indexes);
        let concluded =
            context.conclude(&server.database, about, vec![range], before.ordered).await?;
        exported.collections.push(concluded);
    }
    exported.skipped = way
        .left
        .iter()
        .map(|(name, reason)| Skipped {
            name: name.clone(),
            reason: reason.clone(),
            options: Json::Null,
        })
        .collect();
    Ok(exported)
}

/// Exports files of JSON, one after another.
pub(super) async fn json(
    context: &Context,
    mut state: State,
    source: &SourceAddress,
    path: &Path,
    files: JsonFiles,
) -> Result<Exported, ExportError> {
    let reason = "files of JSON do not tell whether they are of one moment".to_owned();
    let mut exported = described("mongoexport", source, path, Snapshot::None { reason });
    exported.objects = files.objects;
    let expected: Vec<_> = files
        .collections
        .iter()
        .map(|collection| (collection.name.clone(), size_of(&collection.path)))
        .collect();
    context.progress.expect(Stage::Export, &expected);
    context.run.name_folders(expected.iter().map(|(name, _)| name.clone()));
    for (collection, (name, total)) in files.collections.into_iter().zip(expected) {
        context.check()?;
        let before = state.take(&name);
        if let Some(finished) = context.finished(&before) {
            exported.collections.push(finished);
            continue;
        }
        context.progress.start(Stage::Export, &name, total);
        let about = About {
            numbered: are_numbered(&collection.path)?,
            ..About::whole(name.clone(), "collection", Json::Null, Vec::new())
        };
        let range = if before.ordered.is_some() {
            rejects_before(&before)
        } else {
            let database = &exported.source.database;
            let mut writer = RangeWriter::only(context, database, &name, &before)?;
            let (shared, handle) = (context.clone(), Handle::current());
            let read = tokio::task::spawn_blocking(move || {
                let done = read_json(&shared, &handle, &collection.path, &mut writer);
                let range = handle.block_on(writer.finish())?;
                done.map(|read| (range, read))
            });
            let (range, read) = read.await.map_err(ExportError::Worker)??;
            exported.read.insert(name, read);
            range
        };
        let concluded =
            context.conclude(&exported.source.database, about, vec![range], before.ordered);
        exported.collections.push(concluded.await?);
    }
    Ok(exported)
}

fn read_json(
    context: &Context,
    handle: &Handle,
    path: &Path,
    writer: &mut RangeWriter,
) -> Result<u64, ExportError> {
    let mut reader = JsonReader::open(path)?;
    let mut feeder = Feeder::new(context, handle, writer);
    let mut read = 0;
    loop {
        let length = feeder.buffer().len();
        let Some((offset, record)) = reader.record(feeder.buffer())? else { break };
        read += 1;
        match record {
            Record::Document => feeder.end_document(length, offset)?,
            Record::Broken { text, reason } => feeder.push_broken(&text, offset, &reason)?,
        }
    }
    feeder.submit()?;
    Ok(read)
}
