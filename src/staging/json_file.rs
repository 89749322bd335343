//! Files that are replaced as a whole: written beside, synced, renamed.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::layout::{create_folder, io};
use super::own_files;
use super::{FORMAT_VERSION, StagingError};

/// Replaces a file atomically; its folder is made where it is missing.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), StagingError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    create_folder(directory)?;
    let mut temporary = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(directory)
        .map_err(io("create a file in", directory))?;
    temporary.write_all(bytes).map_err(io("write", path))?;
    temporary.as_file().sync_all().map_err(io("sync", path))?;
    temporary.persist(path).map_err(|error| StagingError::Io {
        action: "rename to",
        path: path.to_owned(),
        source: error.error,
    })?;
    sync_directory(directory)
}

/// Makes a rename in this folder durable.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), StagingError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(io("sync", directory))
}

/// Writes a versioned JSON file; its bytes.
pub(crate) fn write_json<T: Serialize>(
    path: &Path,
    what: &'static str,
    value: &T,
) -> Result<Vec<u8>, StagingError> {
    let json_error = |source| StagingError::Json { what, path: path.to_owned(), source };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(json_error)?;
    bytes.push(b'\n');
    replace(path, &bytes)?;
    Ok(bytes)
}

/// Reads a versioned JSON file; the version is looked at before anything else, so that a file of
/// another version is named as such and not as damaged.
pub(crate) fn read_json<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
) -> Result<T, StagingError> {
    parse_json(path, what, &own_files::read(path).map_err(io("read", path))?)
}

/// The same for the bytes of a file.
pub(crate) fn parse_json<T: DeserializeOwned>(
    path: &Path,
    what: &'static str,
    bytes: &[u8],
) -> Result<T, StagingError> {
    let json_error = |source| StagingError::Json { what, path: path.to_owned(), source };
    let value: Value = serde_json::from_slice(bytes).map_err(json_error)?;
    let version = value.get("format_version").and_then(Value::as_u64);
    if let Some(found) = version.and_then(|version| u32::try_from(version).ok())
        && found != FORMAT_VERSION
    {
        return Err(StagingError::Version {
            path: path.to_owned(),
            found,
            expected: FORMAT_VERSION,
        });
    }
    serde_json::from_value(value).map_err(json_error)
}
