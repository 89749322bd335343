//! The lock that keeps two runs of one pipeline apart, the one that keeps a run that is read from
//! being removed, and the one under which the files of a run agree with their list.
//!
//! They are advisory locks of the operating system, so a process that dies gives them back.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::layout::{RunDirectory, create_folder, folder_name, io};
use super::manifest::ExportManifest;
use super::{StagingError, own_files};

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
        own_files::check_pipeline(&directory)?;
        let path: PathBuf = directory.join(".lock");
        if let Ok(found) = path.symlink_metadata()
            && !found.is_file()
        {
            return Err(StagingError::NoFile { path, kind: "no regular file" });
        }
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

/// A run that is being read, or removed; dropping it ends that.
#[derive(Debug)]
pub struct RunLock {
    _folders: Vec<File>,
}

impl RunLock {
    /// Says that a run is being read, and what its export adds to. Where that cannot be said, on a
    /// file system without locks, it is read all the same.
    pub fn share(run: &RunDirectory) -> Result<Self, StagingError> {
        let mut folders = Vec::new();
        let mut next = Some(run.clone());
        while let Some(run) = next {
            let folder = File::open(run.path()).map_err(io("open", run.path()))?;
            let _ = folder.lock_shared();
            folders.push(folder);
            let base = ExportManifest::read(&run).ok().and_then(|manifest| manifest.base);
            // A base is older. What else is wrong with it is for the reader to say.
            next = base.and_then(|base| run.beside(&base.run).ok());
            next = next.filter(|base| base.run() < run.run());
        }
        Ok(Self { _folders: folders })
    }

    /// Takes a run that is to be removed; nothing while another process reads it.
    pub(super) fn take(path: &Path) -> Result<Option<Self>, StagingError> {
        let folder = File::open(path).map_err(io("open", path))?;
        match folder.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(None),
            _ => Ok(Some(Self { _folders: vec![folder] })),
        }
    }
}

/// The files that the `SHA256SUMS` of a run lists, locked for a moment: while they are written, or
/// compared with the list. Dropping it gives them back. One lock serves all runs of a pipeline, so
/// that a run holds no file that is not listed.
#[derive(Debug)]
pub struct SealLock {
    _file: Option<File>,
}

impl SealLock {
    /// Waits until no other process writes or compares them.
    pub(super) fn take(run: &RunDirectory) -> Self {
        Self::new(run, File::lock)
    }

    /// Waits until no other process writes them.
    pub(super) fn share(run: &RunDirectory) -> Self {
        Self::new(run, File::lock_shared)
    }

    /// Where there can be no lock, in a folder that nobody can write to or on a file system
    /// without them, the files are read all the same.
    fn new(run: &RunDirectory, lock: fn(&File) -> std::io::Result<()>) -> Self {
        let path = run.path().with_file_name(".seal");
        if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
            return Self { _file: None };
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).ok();
        Self { _file: file.filter(|file| lock(file).is_ok()) }
    }
}
