//! A running MongoDB: collections with their options, documents as they were in every byte,
//! indexes, views.
//!
//! What is done is noted in a collection of the target, `docferry.restore`, until the end: a
//! restore that was stopped goes on from there when it is started again.

mod definitions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::{
    Bson, Document, RawArrayBuf, RawBson, RawDocument, RawDocumentBuf, doc, rawdoc,
};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;

use super::definitions::{Index, create};
use super::{
    Existing, NAMED_CONFLICTS, Refused, RestoreError, RestoreOptions, RestoreReport, RestoredTable,
    notes, views,
};
use crate::document::id::id_text;
use crate::document::raw::{Doc, Value};
use crate::progress::{Progress, Stage, Total};
use crate::source::mongodb::Server;
use crate::source::{SourceError, describe, may_pass};
use crate::staging::chain::{Chain, Piece};
use crate::staging::checksum::sha256_hex;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, ExportManifest};

/// Where the work is noted.
const NOTES: &str = "docferry.restore";
/// BSON bytes of one insert. A command may have 16 MiB and 16 KiB.
const INSERT_BYTES: usize = 8 << 20;
/// Documents of one insert; a server takes 100,000.
const INSERT_DOCUMENTS: usize = 10_000;
/// Error code of a document whose `_id`, or another unique key, is there already.
const DUPLICATE_KEY: i32 = 11_000;
/// Error code of a command about something that is not there.
const NAMESPACE_NOT_FOUND: i32 = 26;
/// Pauses before a command is tried again, in milliseconds. An election takes about 12 seconds.
const PAUSES: [u64; 7] = [250, 500, 1000, 2000, 4000, 8000, 16_000];

/// What all workers share.
struct Target {
    server: Server,
    options: RestoreOptions,
    progress: Arc<dyn Progress>,
    /// This very restore: a run, and what of it.
    identity: String,
    /// Changes of the report come from all workers.
    conflicts: Mutex<Vec<(String, String)>>,
    /// Indexes and views that the server refused.
    refused: Mutex<Vec<Refused>>,
    /// What was left out of definitions, a sentence each.
    changes: Mutex<Vec<String>>,
}

/// Documents of one insert.
#[derive(Default)]
struct Batch {
    documents: Vec<RawDocumentBuf>,
    bytes: usize,
}

/// What became of documents.
#[derive(Clone, Copy, Default)]
struct Counts {
    written: u64,
    present: u64,
    conflicts: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.written += other.written;
        self.present += other.present;
        self.conflicts += other.conflicts;
    }
}

/// What an earlier attempt noted of a collection.
#[derive(Default)]
struct Before {
    /// Pieces that are done, with their documents.
    pieces: BTreeMap<String, u64>,
}

impl Before {
    /// Reads a note: the collection, and what was done of it; nothing where it has another form.
    fn of(note: &Document) -> Option<(String, Self)> {
        let mut pieces = BTreeMap::new();
        if note.contains_key("pieces") {
            for (piece, documents) in note.get_document("pieces").ok()? {
                pieces.insert(piece.clone(), u64::try_from(documents.as_i64()?).ok()?);
            }
        }
        Some((note.get_str("_id").ok()?.to_owned(), Self { pieces }))
    }
}

pub(super) async fn restore(
    run: &RunDirectory,
    chain: Chain,
    uri: &str,
    options: &RestoreOptions,
    progress: &Arc<dyn Progress>,
) -> Result<RestoreReport, RestoreError> {
    let manifest = chain.newest();
    let server = Server::connect_to(uri, Some(&manifest.source.database)).await?;
    let target = Arc::new(Target {
        server,
        options: options.clone(),
        progress: Arc::clone(progress),
        identity: identity(run, manifest, options)?,
        conflicts: Mutex::default(),
        refused: Mutex::default(),
        changes: Mutex::default(),
    });
    let selected = options.selected(manifest, progress.as_ref());
    // What cannot be understood is said before anything is written.
    let mut made = Vec::new();
    for collection in &selected {
        let create = create(&collection.name, &collection.options)?;
        let indexes: Result<Vec<Index>, _> = options
            .indexes(collection)
            .iter()
            .map(|index| Index::parse(&collection.name, index))
            .collect();
        let indexes: Vec<Index> =
            indexes?.into_iter().filter(|index| !index.comes_by_itself()).collect();
        made.push((*collection, create, indexes));
    }
    let mut made_views = Vec::new();
    for view in views(manifest).filter(|view| options.selection.has(&view.name)) {
        made_views.push((view.name.clone(), create(&view.name, &view.options)?));
    }
    let before = target.begin(&selected, made_views.iter().map(|(name, _)| name.as_str())).await?;

    let mut report = RestoreReport::default();
    let places = Arc::new(Semaphore::new(options.threads.max(1)));
    let mut work = Vec::new();
    for (collection, create, indexes) in made {
        let name = &collection.name;
        progress.start(Stage::Restore, name, Total::Records(collection.documents));
        let earlier = before.get(name);
        target.create(name, create).await?;
        let mut tasks = JoinSet::new();
        for (at, piece) in (0..).zip(chain.pieces(name)?) {
            let done = earlier.and_then(|earlier| earlier.pieces.get(&piece_name(at)));
            if let Some(present) = done.copied() {
                progress.advance(Stage::Restore, name, present, 0);
                let present = Counts { present, ..Counts::default() };
                tasks.spawn(async move { Ok(present) });
                continue;
            }
            let (target, places, name) = (Arc::clone(&target), Arc::clone(&places), name.clone());
            tasks.spawn(async move {
                let _place = places.acquire_owned().await;
                target.piece(&name, at, piece).await
            });
        }
        work.push((collection, indexes, tasks));
    }
    // All are waited for, so that what is in hand is noted when one of them fails.
    let mut failure = None;
    for (collection, indexes, mut tasks) in work {
        let mut counts = Counts::default();
        while let Some(done) = tasks.join_next().await {
            match done.map_err(RestoreError::Worker)? {
                Ok(more) => counts.add(more),
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
        }
        if failure.is_none() {
            let ended = target.end(collection, &indexes, counts).await;
            match ended {
                Ok(table) => report.tables.push(table),
                Err(error) => failure = Some(error),
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    for (name, create) in made_views {
        if target.make_view(&name, &create).await? {
            report.views.push(name);
        }
    }
    target.drop_collection(NOTES).await?;
    report.conflicts = std::mem::take(&mut *target.conflicts.lock().await);
    report.conflicts.sort();
    report.refused = std::mem::take(&mut *target.refused.lock().await);
    report.refused.sort();
    report.notes = selected.iter().flat_map(|collection| notes(collection, false)).collect();
    report.notes.append(&mut *target.changes.lock().await);
    Ok(report)
}

/// The same run, restored in the same way.
fn identity(
    run: &RunDirectory,
    manifest: &ExportManifest,
    options: &RestoreOptions,
) -> Result<String, RestoreError> {
    let manifest =
        serde_json::to_string(manifest).map_err(|source| crate::staging::StagingError::Json {
            what: "export manifest",
            path: run.resolve(ExportManifest::PATH),
            source,
        })?;
    Ok(sha256_hex(format!("{:?} {:?} {manifest}", options.selection, options.existing).as_bytes()))
}

/// Under which name a piece is noted.
fn piece_name(number: usize) -> String {
    format!("n{number}")
}

impl Target {
    fn failed(&self, action: &str) -> impl Fn(mongodb::error::Error) -> RestoreError + use<> {
        let (action, address) = (action.to_owned(), self.server.address().to_owned());
        move |cause| {
            let (action, address) = (action.clone(), address.clone());
            SourceError::Server { action, address, tries: 1, cause }.into()
        }
    }

    /// Runs a command; again after a pause where the error may pass.
    async fn raw(
        &self,
        action: &str,
        command: &RawDocumentBuf,
    ) -> Result<Document, mongodb::error::Error> {
        let mut pauses = PAUSES.into_iter();
        loop {
            let answer = self.server.handle().run_raw_command(command.clone()).await;
            match (answer, pauses.next()) {
                (Err(error), Some(pause)) if may_pass(&error) => {
                    let note = format!("could not {action}, trying again: {}", describe(&error));
                    self.progress.note(Stage::Restore, &note);
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                (answer, _) => return answer,
            }
        }
    }

    /// Runs a command that writes. What the members of a replica set did not confirm may be lost.
    async fn confirmed(
        &self,
        action: &str,
        command: &RawDocumentBuf,
    ) -> Result<Document, RestoreError> {
        let answer = self.raw(action, command).await.map_err(self.failed(action))?;
        match answer.get_document("writeConcernError") {
            Err(_) => Ok(answer),
            Ok(error) => Err(RestoreError::Unconfirmed {
                action: action.to_owned(),
                detail: error.get_str("errmsg").unwrap_or_default().to_owned(),
            }),
        }
    }

    async fn command(&self, action: &str, command: Document) -> Result<Document, RestoreError> {
        let raw = RawDocumentBuf::try_from(&command).map_err(|error| RestoreError::Definition {
            what: "a command",
            collection: action.to_owned(),
            detail: error.to_string(),
        })?;
        self.raw(action, &raw).await.map_err(self.failed(action))
    }

    async fn drop_collection(&self, name: &str) -> Result<(), RestoreError> {
        let action = format!("drop {name}");
        let command = rawdoc! {"drop": name};
        match self.raw(&action, &command).await {
            Err(error) if code(&error) == Some(NAMESPACE_NOT_FOUND) => Ok(()),
            answer => answer.map(drop).map_err(self.failed(&action)),
        }
    }

    /// Sees what is there, and refuses before anything is written.
    async fn begin(
        &self,
        selected: &[&CollectionManifest],
        views: impl Iterator<Item = &str>,
    ) -> Result<BTreeMap<String, Before>, RestoreError> {
        let there: BTreeMap<String, String> = self
            .server
            .collections()
            .await?
            .into_iter()
            .map(|listed| (listed.name, listed.kind))
            .collect();
        let (mut before, foreign) = self.noted().await?;
        if foreign {
            return Err(RestoreError::OtherRestore { address: self.server.address().to_owned() });
        }
        let resumed = !before.is_empty();
        let (mut full, mut dropped) = (Vec::new(), Vec::new());
        for collection in selected {
            let name = &collection.name;
            if before.contains_key(name) || !there.contains_key(name) {
                continue;
            }
            let holds = self.holds_documents(name).await?;
            match self.options.existing {
                Existing::Drop => dropped.push(name.as_str()),
                Existing::Refuse if holds => full.push(name.clone()),
                // It may have been made with other options.
                Existing::Refuse => dropped.push(name.as_str()),
                Existing::Add | Existing::Replace => {}
            }
        }
        for view in views {
            match there.get(view).map(String::as_str) {
                None => {}
                // They hold nothing that could be lost.
                Some("view") if resumed || self.options.existing != Existing::Refuse => {
                    dropped.push(view);
                }
                Some(_) => full.push(view.to_owned()),
            }
        }
        if !full.is_empty() {
            let address = self.server.address().to_owned();
            return Err(RestoreError::NotEmpty { address, collections: full });
        }
        for name in dropped {
            self.drop_collection(name).await?;
        }
        for collection in selected {
            if !before.contains_key(&collection.name) {
                self.note(&collection.name, doc! {"$set": {"restore": &self.identity}}).await?;
                before.insert(collection.name.clone(), Before::default());
            }
        }
        Ok(before)
    }

    /// What an earlier attempt noted, and whether it was one of something else.
    async fn noted(&self) -> Result<(BTreeMap<String, Before>, bool), RestoreError> {
        let action = "see whether a restore was begun";
        let mut cursor = self
            .server
            .handle()
            .run_cursor_command(doc! {"find": NOTES})
            .await
            .map_err(self.failed(action))?;
        let (mut before, mut foreign) = (BTreeMap::new(), false);
        while cursor.advance().await.map_err(self.failed(action))? {
            let note: Document = cursor.deserialize_current().map_err(self.failed(action))?;
            // What is no note of ours says nothing of what this restore wrote.
            match Before::of(&note) {
                Some((name, noted))
                    if note.get_str("restore").is_ok_and(|of| of == self.identity) =>
                {
                    before.insert(name, noted);
                }
                _ => foreign = true,
            }
        }
        Ok((before, foreign))
    }

    async fn note(&self, collection: &str, change: Document) -> Result<(), RestoreError> {
        let command = doc! {
            "update": NOTES, "updates": [{"q": {"_id": collection}, "u": change, "upsert": true}],
        };
        let action = "note how far the restore came";
        let answer = self.command(action, command).await?;
        match refusals(&answer).next() {
            None => Ok(()),
            Some((_, _, detail)) => Err(RestoreError::Definition {
                what: action,
                collection: collection.to_owned(),
                detail: detail.to_owned(),
            }),
        }
    }

    async fn holds_documents(&self, name: &str) -> Result<bool, RestoreError> {
        let action = format!("look into {name}");
        let found = self.command(&action, doc! {"find": name, "limit": 1, "singleBatch": true});
        let found = found.await?;
        let batch = found.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
        Ok(batch.is_ok_and(|batch| !batch.is_empty()))
    }

    /// Writes the documents of a piece, and notes it.
    async fn piece(
        self: &Arc<Self>,
        name: &str,
        number: usize,
        piece: Piece,
    ) -> Result<Counts, RestoreError> {
        let (sender, mut receiver) = mpsc::channel::<Batch>(1);
        let (target, collection) = (Arc::clone(self), name.to_owned());
        let reader = tokio::task::spawn_blocking(move || target.read(&collection, &piece, &sender));
        let mut counts = Counts::default();
        let mut failure = None;
        while let Some(batch) = receiver.recv().await {
            let (documents, bytes) = (batch.documents.len() as u64, batch.bytes as u64);
            match self.write(name, batch).await {
                Ok(more) => counts.add(more),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
            self.progress.advance(Stage::Restore, name, documents, bytes);
        }
        drop(receiver);
        let read = reader.await.map_err(RestoreError::Worker)?;
        if let Some(error) = failure {
            return Err(error);
        }
        read?;
        let documents = counts.written + counts.present;
        let documents = i64::try_from(documents).unwrap_or(i64::MAX);
        let noted = doc! {format!("pieces.{}", piece_name(number)): documents};
        self.note(name, doc! {"$set": noted}).await?;
        Ok(counts)
    }

    fn read(
        &self,
        name: &str,
        piece: &Piece,
        sender: &mpsc::Sender<Batch>,
    ) -> Result<(), RestoreError> {
        let mut batch = Batch::default();
        for documents in piece.read() {
            let documents = documents?;
            for at in 0..documents.len() {
                if !self.options.selection.takes(&documents, at)? {
                    continue;
                }
                let bytes = documents.bytes(at);
                let full = batch.bytes + bytes.len() > INSERT_BYTES
                    || batch.documents.len() == INSERT_DOCUMENTS;
                if full && !batch.documents.is_empty() {
                    if self.progress.interrupted() {
                        return Err(RestoreError::Interrupted);
                    }
                    // The other end is gone only after an error, which says more.
                    if sender.blocking_send(std::mem::take(&mut batch)).is_err() {
                        return Ok(());
                    }
                }
                let document = RawDocumentBuf::from_bytes(bytes.to_vec()).map_err(|error| {
                    RestoreError::Refused {
                        collection: name.to_owned(),
                        id: documents.id(at).to_owned(),
                        detail: error.to_string(),
                    }
                })?;
                batch.bytes += bytes.len();
                batch.documents.push(document);
            }
        }
        if !batch.documents.is_empty() {
            let _ = sender.blocking_send(batch);
        }
        Ok(())
    }

    async fn write(&self, name: &str, batch: Batch) -> Result<Counts, RestoreError> {
        let mut counts = Counts::default();
        // A server puts its own time in the place of an empty timestamp, except in what it
        // replicates.
        let (as_they_are, insert): (Vec<_>, Vec<_>) =
            batch.documents.into_iter().partition(|document| has_empty_timestamp(document));
        for document in &as_they_are {
            counts.add(self.apply(name, document).await?);
        }
        if insert.is_empty() {
            return Ok(counts);
        }
        let mut documents = RawArrayBuf::new();
        for document in &insert {
            documents.push(document.clone());
        }
        let command = rawdoc! {
            "insert": name, "ordered": false, "bypassDocumentValidation": true,
            "documents": documents,
        };
        let action = format!("insert into {name}");
        let answer = self.confirmed(&action, &command).await?;
        drop(command);
        counts.written += insert.len() as u64;
        for (index, number, detail) in refusals(&answer) {
            let Some(document) = insert.get(index) else { continue };
            if number != DUPLICATE_KEY {
                return Err(refused(name, document, detail));
            }
            counts.written -= 1;
            counts.add(self.settle(name, document, detail).await?);
        }
        Ok(counts)
    }

    /// Inserts a document as replication does.
    async fn apply(&self, name: &str, document: &RawDocument) -> Result<Counts, RestoreError> {
        let action = format!("insert into {name}");
        let namespace = format!("{}.{name}", self.server.database());
        if let Some(found) = self.found(name, document).await? {
            return self.settle_with(name, document, &found, "its _id is there").await;
        }
        let command = rawdoc! {
            "applyOps": [{"op": "i", "ns": namespace.as_str(), "o": document.to_owned()}],
        };
        let answer = self.server.handle().run_raw_command(command).await;
        let answer = answer.map_err(self.failed(&action))?;
        if answer.get_i32("applied").ok() != Some(1) {
            return Err(refused(name, document, "applyOps left it out"));
        }
        Ok(Counts { written: 1, ..Counts::default() })
    }

    /// What is there under the `_id` of a document.
    async fn found(
        &self,
        name: &str,
        document: &RawDocument,
    ) -> Result<Option<RawDocumentBuf>, RestoreError> {
        let Ok(Some(id)) = document.get("_id") else { return Ok(None) };
        let action = format!("look into {name}");
        let id = Bson::try_from(id).map_err(|error| refused(name, document, &error.to_string()))?;
        let found = self.server.handle().collection::<RawDocumentBuf>(name);
        found.find_one(doc! {"_id": {"$eq": id}}).await.map_err(self.failed(&action))
    }

    /// A document whose key is there already.
    async fn settle(
        &self,
        name: &str,
        document: &RawDocument,
        detail: &str,
    ) -> Result<Counts, RestoreError> {
        match self.found(name, document).await? {
            Some(found) => self.settle_with(name, document, &found, detail).await,
            // Another document has a value that must be unique.
            None => self.conflict(name, document, detail).await,
        }
    }

    async fn settle_with(
        &self,
        name: &str,
        document: &RawDocument,
        found: &RawDocument,
        detail: &str,
    ) -> Result<Counts, RestoreError> {
        if found.as_bytes() == document.as_bytes() {
            return Ok(Counts { present: 1, ..Counts::default() });
        }
        if self.options.existing != Existing::Replace {
            return self.conflict(name, document, detail).await;
        }
        let id = document.get("_id").ok().flatten().map(RawBson::from);
        let Some(id) = id else { return self.conflict(name, document, detail).await };
        let action = format!("replace a document of {name}");
        let command = rawdoc! {
            "update": name, "bypassDocumentValidation": true,
            "updates": [{"q": {"_id": {"$eq": id}}, "u": document.to_owned()}],
        };
        let answer = self.confirmed(&action, &command).await?;
        match refusals(&answer).next() {
            None => Ok(Counts { written: 1, ..Counts::default() }),
            Some((_, _, detail)) => self.conflict(name, document, detail).await,
        }
    }

    async fn conflict(
        &self,
        name: &str,
        document: &RawDocument,
        detail: &str,
    ) -> Result<Counts, RestoreError> {
        // Where nothing was there before, the export itself holds two of one key.
        if matches!(self.options.existing, Existing::Refuse | Existing::Drop) {
            return Err(refused(name, document, detail));
        }
        let mut conflicts = self.conflicts.lock().await;
        if conflicts.len() < NAMED_CONFLICTS {
            conflicts.push((name.to_owned(), text_of(document)));
        }
        Ok(Counts { conflicts: 1, ..Counts::default() })
    }

    /// Makes the indexes of a collection and counts its documents.
    async fn end(
        &self,
        collection: &CollectionManifest,
        indexes: &[Index],
        counts: Counts,
    ) -> Result<RestoredTable, RestoreError> {
        let name = &collection.name;
        let made = self.make_indexes(name, indexes).await?;
        if matches!(self.options.existing, Existing::Refuse | Existing::Drop) {
            let found = self.server.handle().collection::<Document>(name);
            let found = found.count_documents(doc! {}).await;
            let found = found.map_err(self.failed(&format!("count {name}")))?;
            let expected = counts.written + counts.present;
            if found != expected {
                let collection = name.clone();
                return Err(RestoreError::Count { collection, expected, found });
            }
        }
        self.progress.finish(Stage::Restore, name);
        Ok(RestoredTable {
            name: name.clone(),
            rows: counts.written,
            present: counts.present,
            conflicts: counts.conflicts,
            indexes: made,
        })
    }
}

fn refused(name: &str, document: &RawDocument, detail: &str) -> RestoreError {
    RestoreError::Refused {
        collection: name.to_owned(),
        id: text_of(document),
        detail: detail.to_owned(),
    }
}

fn code(error: &mongodb::error::Error) -> Option<i32> {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(answer) => Some(answer.code),
        _ => None,
    }
}

/// What a server says of single documents: their place, the error's code and its text.
fn refusals(answer: &Document) -> impl Iterator<Item = (usize, i32, &str)> {
    let errors = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
    errors.iter().filter_map(Bson::as_document).map(|error| {
        let index = error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok());
        (
            index.unwrap_or(usize::MAX),
            error.get_i32("code").unwrap_or_default(),
            error.get_str("errmsg").unwrap_or_default(),
        )
    })
}

fn has_empty_timestamp(document: &RawDocument) -> bool {
    let Ok(document) = Doc::new(document.as_bytes()) else { return false };
    document.elements().flatten().any(|(name, value)| {
        name != "_id" && matches!(value, Value::Timestamp { time: 0, increment: 0 })
    })
}

fn text_of(document: &RawDocument) -> String {
    let id = Doc::new(document.as_bytes()).and_then(|document| document.get("_id"));
    id.ok().flatten().and_then(|id| id_text(&id).ok()).unwrap_or_default()
}
