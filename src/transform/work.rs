//! Working files of a transform: written once, hashed on the way, trusted again only after their
//! hash agreed.

use crate::staging::own_files;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::TransformError;
use crate::staging::checksum::{HashingWriter, sha256_hex};
use crate::staging::layout::create_file;

/// A finished working file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WorkFile {
    /// Name inside the folder of working files.
    pub(super) name: String,
    /// SHA-256, hexadecimal.
    pub(super) sha256: String,
}

/// A working file that is being written.
pub(super) struct WorkWriter {
    name: String,
    output: HashingWriter<BufWriter<File>>,
}

fn failed(folder: &Path, name: &str) -> impl FnOnce(std::io::Error) -> TransformError {
    move |source| TransformError::Work { path: folder.join(name), source }
}

impl WorkWriter {
    pub(super) fn create(folder: &Path, name: &str) -> Result<Self, TransformError> {
        let file = create_file(&folder.join(name))?;
        Ok(Self { name: name.to_owned(), output: HashingWriter::new(BufWriter::new(file)) })
    }

    pub(super) fn write(&mut self, folder: &Path, bytes: &[u8]) -> Result<(), TransformError> {
        self.output.write_all(bytes).map_err(failed(folder, &self.name))
    }

    pub(super) fn finish(mut self, folder: &Path) -> Result<WorkFile, TransformError> {
        self.output.flush().map_err(failed(folder, &self.name))?;
        let (_, sha256, _) = self.output.finish();
        Ok(WorkFile { name: self.name, sha256 })
    }
}

impl WorkFile {
    /// Writes a whole file.
    pub(super) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<Self, TransformError> {
        let mut writer = WorkWriter::create(folder, name)?;
        writer.write(folder, bytes)?;
        writer.finish(folder)
    }

    /// Its bytes, if they are what was written.
    pub(super) fn read(&self, folder: &Path) -> Option<Vec<u8>> {
        let bytes = own_files::read(&folder.join(&self.name)).ok()?;
        (sha256_hex(&bytes) == self.sha256).then_some(bytes)
    }

    /// Whether it is what was written.
    pub(super) fn is_whole(&self, folder: &Path) -> bool {
        let sha256 = crate::staging::checksum::sha256_file(&folder.join(&self.name));
        sha256.is_ok_and(|sha256| sha256 == self.sha256)
    }
}
