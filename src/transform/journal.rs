//! What a transform that was stopped had done: finished parts are not written again.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use super::TransformError;
use super::work::WorkFile;
use super::write::PartResult;
use crate::pipeline::model::Pipeline;
use crate::progress::Stage;
use crate::staging::StagingError;
use crate::staging::checksum::sha256_hex;
use crate::staging::journal::Journal;
use crate::staging::layout::{RunDirectory, create_folder};
use crate::staging::manifest::TableManifest;
use crate::staging::part::{self, WrittenPart};

/// An event of a transform.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    /// It began with this input.
    Begin { input: String },
    /// A part of a table is finished.
    Part { table: usize, index: usize, result: Box<PartResult> },
    /// A junction is finished.
    Junction { junction: usize, result: Box<MergedJunction> },
}

/// A finished junction table and the list of its links that a person should look at.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct MergedJunction {
    pub(super) manifest: TableManifest,
    pub(super) finding_lines: Option<WorkFile>,
}

/// The journal, and what it held when the transform began.
pub(super) struct TransformJournal {
    /// Who waits for the disk while the threads go on.
    settler: Settler,
    run: RunDirectory,
    work: PathBuf,
    parts: HashMap<(usize, usize), PartResult>,
    junctions: HashMap<usize, MergedJunction>,
}

/// Stands for everything that the outcome depends on.
pub(super) fn fingerprint(pipeline: &Pipeline, pipeline_text: &str, export_sha256: &str) -> String {
    let mut input = format!("{} {export_sha256}\n{pipeline_text}", env!("CARGO_PKG_VERSION"));
    for hook in pipeline.before_load.iter().chain(&pipeline.after_load) {
        input.push_str(&hook.path);
        input.push_str(&hook.sql);
    }
    sha256_hex(input.as_bytes())
}

impl TransformJournal {
    /// Goes on with an attempt that had the same input, or clears the folder and begins anew.
    /// `run` is the run as it is prepared.
    pub(super) fn open(run: &RunDirectory, input: &str) -> Result<Self, TransformError> {
        let mut found = Journal::open::<Entry>(run, Stage::Transform);
        // What cannot be read, or belongs to another input, is of no use.
        let same = matches!(&found, Ok((_, entries))
            if matches!(entries.first(), Some(Entry::Begin { input: begun }) if begun == input));
        let folder = run.stage_directory(Stage::Transform);
        if !same {
            remove(&folder)?;
            found = Journal::open(run, Stage::Transform);
        }
        let (journal, entries) = found?;
        if !same {
            journal.append(&Entry::Begin { input: input.to_owned() })?;
        }
        let work = folder.join(".work");
        create_folder(&work)?;
        let (mut parts, mut junctions) = (HashMap::new(), HashMap::new());
        for entry in entries {
            match entry {
                Entry::Begin { .. } => {}
                Entry::Part { table, index, result } => {
                    parts.insert((table, index), *result);
                }
                Entry::Junction { junction, result } => {
                    junctions.insert(junction, *result);
                }
            }
        }
        let settler = Settler::begin(journal);
        Ok(Self { settler, run: run.clone(), work, parts, junctions })
    }

    /// The folder of working files.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// What an earlier attempt made of a part, if all its files are as they were written.
    pub(super) fn part(&self, table: usize, index: usize) -> Option<PartResult> {
        let mut result = self.parts.get(&(table, index))?.clone();
        for file in result.file.iter().chain(&result.ids) {
            part::check(&self.run, file).ok()?;
        }
        let lists = result.reject_lines.iter().chain(&result.finding_lines);
        let mut files = lists.chain(result.runs.iter().map(|(_, file)| file));
        if !files.all(|file| file.is_whole(&self.work)) {
            return None;
        }
        result.read_feeds(&self.work)?;
        Some(result)
    }

    /// What an earlier attempt made of a junction, if all its files are as they were written.
    pub(super) fn junction(&self, at: usize) -> Option<MergedJunction> {
        let result = self.junctions.get(&at)?;
        let mut parts = result.manifest.parts.iter();
        let whole = parts.all(|file| part::check(&self.run, file).is_ok())
            && result.finding_lines.as_ref().is_none_or(|file| file.is_whole(&self.work));
        whole.then(|| result.clone())
    }

    /// The lists of refused records of all parts that are in the folder.
    pub(super) fn reject_lines(&self) -> Vec<WorkFile> {
        let entries = fs::read_dir(&self.work).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.ends_with(".rejects"))
            .collect();
        names.sort();
        names.into_iter().map(|name| WorkFile { name, sha256: String::new() }).collect()
    }

    /// Notes a part as soon as what was written for it is durable.
    pub(super) fn finish_part(
        &self,
        table: usize,
        index: usize,
        result: &PartResult,
        written: Option<WrittenPart>,
    ) -> Result<(), TransformError> {
        let result = Box::new(result.clone());
        let written = written.into_iter().collect();
        self.settler.take(written, Entry::Part { table, index, result })
    }

    pub(super) fn finish_junction(
        &self,
        junction: usize,
        result: &MergedJunction,
        written: Vec<WrittenPart>,
    ) -> Result<(), TransformError> {
        let result = Box::new(result.clone());
        self.settler.take(written, Entry::Junction { junction, result })
    }

    /// Waits until everything that was finished is durable and under its name.
    pub(super) fn settle(&self) -> Result<(), TransformError> {
        self.settler.settle()
    }
}

/// Finished work that may wait for the disk.
const WAITING: usize = 16;

enum Message {
    Finished(Vec<WrittenPart>, Box<Entry>),
    /// Is answered when all before it is done.
    Settle(mpsc::Sender<()>),
}

/// Makes files durable, gives them their names and notes them, on a thread of its own.
struct Settler {
    messages: Option<SyncSender<Message>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<Mutex<Option<StagingError>>>,
}

impl Settler {
    fn begin(journal: Journal) -> Self {
        let (messages, work) = mpsc::sync_channel(WAITING);
        let failure = Arc::new(Mutex::new(None));
        let noted = Arc::clone(&failure);
        let thread = std::thread::spawn(move || {
            for message in work {
                match message {
                    Message::Finished(written, entry) => {
                        let settled = written.into_iter().try_for_each(WrittenPart::settle);
                        if let Err(error) = settled.and_then(|()| journal.append(&entry)) {
                            noted
                                .lock()
                                .unwrap_or_else(PoisonError::into_inner)
                                .get_or_insert(error);
                        }
                    }
                    Message::Settle(answer) => drop(answer),
                }
            }
        });
        Self { messages: Some(messages), thread: Some(thread), failure }
    }

    fn take(&self, written: Vec<WrittenPart>, entry: Entry) -> Result<(), TransformError> {
        self.send(Message::Finished(written, Box::new(entry)))
    }

    fn settle(&self) -> Result<(), TransformError> {
        let (answer, done) = mpsc::channel();
        self.send(Message::Settle(answer))?;
        // The answer is the end of the channel.
        let _ = done.recv();
        self.check()
    }

    fn send(&self, message: Message) -> Result<(), TransformError> {
        self.check()?;
        if let Some(messages) = &self.messages {
            // The thread lives as long as the channel.
            let _ = messages.send(message);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TransformError> {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }
}

impl Drop for Settler {
    /// What is finished is kept, whatever became of the rest.
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Removes what only an unfinished transform needs; `run` is the run as others see it.
pub(super) fn clear(run: &RunDirectory) -> Result<(), TransformError> {
    let folder = run.stage_directory(Stage::Transform);
    remove(&folder.join(".work"))?;
    Ok(Journal::discard(run, Stage::Transform)?)
}

fn remove(path: &Path) -> Result<(), StagingError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StagingError::Io { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
