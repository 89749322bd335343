//! Files of a source, gzipped or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::SourceError;

/// The first two bytes of gzip.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Bytes of metadata that are read into memory at most, once unpacked. A server's metadata of a
/// collection is bounded by the size of a document.
pub(super) const SMALL: u64 = 16 << 20;

pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> SourceError + '_ {
    |source| SourceError::Io { path: path.to_owned(), source }
}

/// The size of a file as it is read; a compressed one does not tell it.
pub fn plain_size(path: &Path) -> Option<u64> {
    path.metadata().ok().filter(|_| !named_gzip(path)).map(|found| found.len())
}

fn named_gzip(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// Opens a file; one that begins as gzip does is unpacked on the way, whatever its name.
///
/// # Errors
///
/// A file with the name of a gzip file must be one: even gzip of nothing has a header and a
/// trailer.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, SourceError> {
    let damaged =
        |detail: &str| SourceError::Damaged { path: path.to_owned(), detail: detail.to_owned() };
    // Before it is opened: a named pipe would be waited for.
    let found = path.metadata().map_err(io_error(path))?;
    let file = if found.is_file() {
        File::open(path).map_err(io_error(path))?
    } else {
        return Err(damaged("it is no regular file"));
    };
    // Small, so that what is read in large pieces is not copied through it.
    let mut reader = BufReader::with_capacity(1 << 16, file);
    if reader.fill_buf().map_err(io_error(path))?.starts_with(&GZIP) {
        return Ok(Box::new(BufReader::with_capacity(1 << 18, MultiGzDecoder::new(reader))));
    }
    match (named_gzip(path), found.len()) {
        (true, 0) => Err(damaged("it has the name of a gzip file and is empty")),
        (true, _) => Err(damaged("it has the name of a gzip file and does not begin as one")),
        (false, _) => Ok(Box::new(reader)),
    }
}

/// Reads a file of at most so many bytes, once unpacked.
pub(super) fn read_small(path: &Path, most: u64) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    let mut input = open(path)?.take(most + 1);
    input.read_to_end(&mut bytes).map_err(io_error(path))?;
    if bytes.len() as u64 > most {
        let detail = format!("it has more than {most} bytes, which no metadata has");
        return Err(SourceError::Damaged { path: path.to_owned(), detail });
    }
    Ok(bytes)
}
