//! `<stage>/journal.jsonl`: what an unfinished stage has done, one line an event, so that it can go
//! on where it was stopped. It is removed when the stage's manifest is there.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StagingError;
use super::layout::{RunDirectory, create_folder, io};
use super::own_files;
use crate::progress::Stage;

/// File name of a stage's journal.
pub(super) const JOURNAL: &str = "journal.jsonl";

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

fn path(run: &RunDirectory, stage: Stage) -> PathBuf {
    run.stage_directory(stage).join(JOURNAL)
}

impl Journal {
    /// Opens the journal of a stage, or begins one; gives what it holds already.
    ///
    /// A last line that was cut off, by a kill or a full disk, is no event and is taken away.
    pub fn open<T: DeserializeOwned>(
        run: &RunDirectory,
        stage: Stage,
    ) -> Result<(Self, Vec<T>), StagingError> {
        let path = path(run, stage);
        let folder = run.stage_directory(stage);
        create_folder(&folder)?;
        let text = match own_files::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(io("read", &path)(source)),
        };
        let mut entries = Vec::new();
        let mut whole = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") {
                break;
            }
            entries.push(serde_json::from_slice(line).map_err(|source| StagingError::Json {
                what: "journal",
                path: path.clone(),
                source,
            })?);
            whole += line.len() as u64;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("open", &path))?;
        file.set_len(whole)
            .and_then(|()| file.seek(SeekFrom::End(0)))
            .map_err(io("write", &path))?;
        Ok((Self { path, file: Mutex::new(file) }, entries))
    }

    /// Adds an event and makes it durable.
    pub fn append<T: Serialize>(&self, entry: &T) -> Result<(), StagingError> {
        let mut line = serde_json::to_vec(entry).map_err(|source| StagingError::Json {
            what: "journal",
            path: self.path.clone(),
            source,
        })?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&line).and_then(|()| file.sync_data()).map_err(io("write", &self.path))
    }

    /// Removes the journal of a finished stage, if there is one.
    pub fn discard(run: &RunDirectory, stage: Stage) -> Result<(), StagingError> {
        let path = path(run, stage);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(io("remove", &path)),
        }
    }

    /// Whether a stage has a journal, so was stopped before its end.
    pub fn exists(run: &RunDirectory, stage: Stage) -> bool {
        path(run, stage).exists()
    }
}
