//! The lock that keeps two runs of one pipeline apart.
//!
//! It is an advisory lock of the operating system on a file, so a process that dies gives it back.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::StagingError;
use super::layout::{create_folder, folder_name, io};

/// A held lock; dropping it gives it back.
#[derive(Debug)]
pub struct PipelineLock {
    _file: File,
}

impl PipelineLock {
    /// Takes the lock of a pipeline in a staging directory, or says who holds it.
    pub fn take(staging: &Path, pipeline: &str) -> Result<Self, StagingError> {
        let directory = staging.join(folder_name(pipeline));
        create_folder(&directory)?;
        let path: PathBuf = directory.join(".lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = file.read_to_string(&mut owner);
                return Err(StagingError::Locked { path, owner: owner.trim().to_owned() });
            }
            Err(TryLockError::Error(source)) => {
                return Err(StagingError::Io { action: "lock", path, source });
            }
        }
        // Only for the message another process shows; the lock itself is the operating system's.
        let note = format!("process {}", std::process::id());
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(note.as_bytes()));
        Ok(Self { _file: file })
    }
}
