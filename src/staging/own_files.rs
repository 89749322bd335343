//! Files of a staging directory, which somebody else may have prepared: nothing is read or written
//! through a link, nothing but regular files is opened, no stored path leaves its run, and folders
//! that others could have written to are refused unless that is allowed.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Deserializer};

use super::StagingError;
use super::layout::io;

/// Bytes of a manifest or a journal at most: those of a million parts.
const MOST_TEXT: u64 = 1 << 30;
/// Others may write.
const OTHERS: u32 = 0o002;
/// Others may write, and remove only what is theirs, as in `/tmp`.
const STICKY: u32 = 0o1000;
const GROUP: u32 = 0o020;

/// Set by `--trust-staging`.
static TRUSTED: AtomicBool = AtomicBool::new(false);

/// Takes folders of others for good from now on. Links and paths that lead out of a run are
/// refused all the same.
pub fn trust() {
    TRUSTED.store(true, Ordering::Relaxed);
}

/// Whether a stored path stays inside the folder that it is relative to.
pub(crate) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains('\0')
        && !path.ends_with('/')
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
        && !path.split('/').any(|part| part.is_empty() || part == ".")
}

/// For `deserialize_with`: a path of a manifest or a journal.
pub(crate) fn inside<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    refuse_others([&path]).map(|()| path)
}

/// The same for pairs of paths.
pub(crate) fn pairs_inside<'de, D>(deserializer: D) -> Result<Vec<(String, String)>, D::Error>
where
    D: Deserializer<'de>,
{
    let pairs = Vec::<(String, String)>::deserialize(deserializer)?;
    refuse_others(pairs.iter().flat_map(|(from, to)| [from, to])).map(|()| pairs)
}

/// The same for a list of paths.
pub(crate) fn all_inside<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    let paths = Vec::<String>::deserialize(deserializer)?;
    refuse_others(&paths).map(|()| paths)
}

fn refuse_others<'p, E: serde::de::Error>(
    paths: impl IntoIterator<Item = &'p String>,
) -> Result<(), E> {
    match paths.into_iter().find(|path| !is_inside(path)) {
        Some(path) => Err(E::custom(format!("the path {path:?} leads out of the run"))),
        None => Ok(()),
    }
}

/// Makes a file, or empties it, that only its owner can read, whatever the umask.
pub(crate) fn create_own(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Writes such a file.
pub(crate) fn write_own(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_own(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Opens a regular file to read it. What is no regular file is an error that says what it is, and
/// is not waited for.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let named = fs::symlink_metadata(path)?;
    if let Some(kind) = kind(&named) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {kind}")));
    }
    let file = File::open(path)?;
    let opened = file.metadata()?;
    if (named.dev(), named.ino()) == (opened.dev(), opened.ino()) {
        Ok(file)
    } else {
        Err(io::Error::other("it was replaced while it was opened"))
    }
}

/// Reads a regular file of at most a gigabyte.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let size = file.metadata()?.len();
    if size > MOST_TEXT {
        let detail = format!("it has {size} bytes, more than any file of its kind");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, detail));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(MOST_TEXT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a regular file of text.
pub(crate) fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

/// Looks at a run before anything of it is used, at the folder of its pipeline, and at the staging
/// directory.
pub(super) fn check_run(path: &Path) -> Result<(), StagingError> {
    check_pipeline(path.parent().unwrap_or(path))?;
    check_folder(path)?;
    check_tree(path)
}

/// The same for the folder of a pipeline and the staging directory above it.
pub(super) fn check_pipeline(path: &Path) -> Result<(), StagingError> {
    if let Some(staging) = path.parent().filter(|staging| !staging.as_os_str().is_empty()) {
        check_root(staging)?;
    }
    check_folder(path)
}

/// The staging directory itself may be reached through a link of its user, and lie where all may
/// make files and remove their own, as in `/tmp`.
fn check_root(path: &Path) -> Result<(), StagingError> {
    match fs::metadata(path) {
        Ok(found) if found.mode() & STICKY == 0 => check_owner(path, &found),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io("look at", path)(error)),
    }
}

fn check_folder(path: &Path) -> Result<(), StagingError> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => check_owner(path, &found),
        Ok(found) => {
            let kind = kind(&found).unwrap_or("a file, no folder");
            Err(StagingError::NoFile { path: path.to_owned(), kind })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io("look at", path)(error)),
    }
}

fn check_tree(folder: &Path) -> Result<(), StagingError> {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let entries = match fs::read_dir(folder) {
        Err(error) if missing(&error) => return Ok(()),
        entries => entries.map_err(io("read", folder))?,
    };
    for entry in entries {
        let path = entry.map_err(io("read", folder))?.path();
        let found = match fs::symlink_metadata(&path) {
            // Another process works there.
            Err(error) if missing(&error) => continue,
            found => found.map_err(io("look at", &path))?,
        };
        if found.is_dir() {
            check_owner(&path, &found)?;
            check_tree(&path)?;
        } else if let Some(kind) = kind(&found) {
            return Err(StagingError::NoFile { path, kind });
        }
    }
    Ok(())
}

/// Refuses what belongs to another user than this one or root, and what others may write to.
fn check_owner(path: &Path, found: &Metadata) -> Result<(), StagingError> {
    if TRUSTED.load(Ordering::Relaxed) {
        return Ok(());
    }
    let Some((user, group)) = ourselves() else { return Ok(()) };
    let foreign = found.uid() != user && found.uid() != 0;
    // The group of a user's own files is his own on most systems.
    let writable =
        found.mode() & OTHERS != 0 || (found.mode() & GROUP != 0 && found.gid() != group);
    if !foreign && !writable {
        return Ok(());
    }
    Err(StagingError::OfOthers {
        path: path.to_owned(),
        owner: found.uid(),
        group: found.gid(),
        mode: found.mode() & 0o7777,
    })
}

/// User and group of the files that this process makes.
fn ourselves() -> Option<(u32, u32)> {
    static OURSELVES: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *OURSELVES.get_or_init(|| {
        let found = tempfile::tempfile().ok()?.metadata().ok()?;
        Some((found.uid(), found.gid()))
    })
}

/// What it is if it is no regular file.
fn kind(found: &Metadata) -> Option<&'static str> {
    let kind = found.file_type();
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("a symbolic link")
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() {
        Some("a named pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

/// A path that exists in no run, for one that would leave it.
pub(super) fn nowhere(run: &Path) -> PathBuf {
    run.join(".outside")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_a_run_are_known() {
        for path in ["export/a/part-00000.parquet", "run.json", "a..b/c", "...", "a b/\u{e4}"] {
            assert!(is_inside(path), "{path}");
        }
        for path in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/..",
            "./a",
            "a/./b",
            "a//b",
            "a/",
            "a\0b",
        ] {
            assert!(!is_inside(path), "{path}");
        }
    }

    #[test]
    fn only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "text").unwrap();
        assert_eq!(read_text(&at("file")).unwrap(), "text");
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(pipe.success());
        for (name, kind) in
            [("link", "a symbolic link"), ("pipe", "a named pipe"), (".", "a folder")]
        {
            let error = open(&at(name)).unwrap_err();
            assert!(error.to_string().contains(kind), "{name}: {error}");
        }
        assert!(open(Path::new("/dev/zero")).unwrap_err().to_string().contains("a device"));
    }
}
