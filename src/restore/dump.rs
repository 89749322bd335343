//! A mongodump directory: `<database>/<collection>.bson` and `.metadata.json`, plain or gzipped,
//! as MongoDB's mongorestore reads it.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use rayon::prelude::*;

use super::{RestoreError, RestoreOptions, RestoreReport, RestoredTable, metadata, notes, views};
use crate::progress::{Progress, Stage, Total};
use crate::source::names::{database_folder, file_stem};
use crate::staging::StagingError;
use crate::staging::chain::Chain;
use crate::staging::layout::create_folder;
use crate::staging::manifest::CollectionManifest;

/// Writes the directory under a temporary name, and gives it its own when it is whole.
pub(super) fn restore(
    chain: &Chain,
    folder: &Path,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreReport, RestoreError> {
    let manifest = chain.newest();
    let name = database_folder(&manifest.source.database);
    let database = folder.join(&name);
    if database.exists() {
        return Err(RestoreError::Exists { path: database });
    }
    let temporary = folder.join(format!(".{name}.writing"));
    if temporary.exists() {
        fs::remove_dir_all(&temporary).map_err(io(&temporary))?;
    }
    create_folder(&temporary)?;
    let written = write(chain, &temporary, options, progress)
        .and_then(|report| options.selection.check_found(report));
    let report = match written {
        Ok(report) => report,
        Err(error) => {
            let _ = fs::remove_dir_all(&temporary);
            return Err(error);
        }
    };
    sync(&temporary)?;
    fs::rename(&temporary, &database).map_err(io(&database))?;
    sync(folder)?;
    Ok(report)
}

fn write(
    chain: &Chain,
    folder: &Path,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreReport, RestoreError> {
    let manifest = chain.newest();
    let mut report = RestoreReport::default();
    let selected = options.selected(manifest, progress);
    let tables: Result<Vec<RestoredTable>, RestoreError> = selected
        .par_iter()
        .map(|collection| write_collection(chain, collection, folder, options, progress))
        .collect();
    report.tables = tables?;
    report.notes = selected.iter().flat_map(|collection| notes(collection, true)).collect();
    for view in views(manifest).filter(|view| options.selection.has(&view.name)) {
        let text = metadata(&view.name, "view", &view.options, &[], None);
        file(folder, &view.name, "metadata.json", options.gzip, |output| {
            output.write_all(text.as_bytes())?;
            Ok(())
        })?;
        report.views.push(view.name.clone());
    }
    Ok(report)
}

fn write_collection(
    chain: &Chain,
    collection: &CollectionManifest,
    folder: &Path,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoredTable, RestoreError> {
    let name = &collection.name;
    let text = options.metadata(collection);
    file(folder, name, "metadata.json", options.gzip, |output| {
        output.write_all(text.as_bytes())?;
        Ok(())
    })?;
    let mut rows = 0;
    file(folder, name, "bson", options.gzip, |output| {
        rows = each_document(chain, collection, options, progress, |document| {
            Ok(output.write_all(document)?)
        })?;
        Ok(())
    })?;
    Ok(options.restored(collection, rows))
}

/// Goes through the selected documents of a collection; how many there are.
pub(super) fn each_document(
    chain: &Chain,
    collection: &CollectionManifest,
    options: &RestoreOptions,
    progress: &dyn Progress,
    mut write: impl FnMut(&[u8]) -> Result<(), WriteError>,
) -> Result<u64, WriteError> {
    let name = &collection.name;
    progress.start(Stage::Restore, name, Total::Records(collection.documents));
    let mut written = 0;
    for piece in chain.pieces(name)? {
        for batch in piece.read() {
            let batch = batch?;
            if progress.interrupted() {
                return Err(RestoreError::Interrupted.into());
            }
            for at in 0..batch.len() {
                if options.selection.takes(&batch, at)? {
                    write(batch.bytes(at))?;
                    written += 1;
                }
            }
            progress.advance(Stage::Restore, name, batch.len() as u64, batch.total_bytes());
        }
    }
    progress.finish(Stage::Restore, name);
    Ok(written)
}

/// What can happen while a file is filled: its own error, or another one.
pub(super) enum WriteError {
    Io(std::io::Error),
    Restore(RestoreError),
}

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<RestoreError> for WriteError {
    fn from(error: RestoreError) -> Self {
        Self::Restore(error)
    }
}

impl From<StagingError> for WriteError {
    fn from(error: StagingError) -> Self {
        Self::Restore(error.into())
    }
}

impl WriteError {
    pub(super) fn of(self, path: &Path) -> RestoreError {
        match self {
            Self::Io(source) => RestoreError::Io { path: path.to_owned(), source },
            Self::Restore(error) => error,
        }
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RestoreError + use<> {
    let path = path.to_owned();
    move |source| RestoreError::Io { path, source }
}

fn sync(folder: &Path) -> Result<(), RestoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io(folder))
}

/// Path of a collection's file.
fn path_of(folder: &Path, name: &str, ending: &str, gzip: bool) -> PathBuf {
    let suffix = if gzip { ".gz" } else { "" };
    folder.join(format!("{}.{ending}{suffix}", file_stem(name)))
}

/// Writes one file and makes it durable.
fn file(
    folder: &Path,
    name: &str,
    ending: &str,
    gzip: bool,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
) -> Result<(), RestoreError> {
    let path = path_of(folder, name, ending, gzip);
    write_file(&path, gzip, fill).map_err(|error| error.of(&path))
}

/// Fills a new file, gzipped or not, and makes it durable.
pub(super) fn write_file(
    path: &Path,
    gzip: bool,
    fill: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    // It holds all that the database holds.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut output = BufWriter::with_capacity(1 << 20, file);
    if gzip {
        let mut encoder = GzEncoder::new(&mut output, Compression::default());
        fill(&mut encoder)?;
        encoder.finish()?;
    } else {
        fill(&mut output)?;
    }
    output.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
    Ok(())
}
