//! SHA-256 of files, and the `SHA256SUMS` file that `sha256sum -c` reads.

use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::json_file::replace;
use super::layout::io;
use super::manifest::MANIFEST;
use super::part::PartFile;
use super::{StagingError, own_files};

/// Lower-case hexadecimal digits of a digest.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// The bytes behind hexadecimal digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

/// SHA-256 of some bytes, in hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

/// SHA-256 of a file, in hexadecimal, read in small pieces.
pub fn sha256_file(path: &Path) -> Result<String, StagingError> {
    let mut reader =
        BufReader::with_capacity(1 << 18, own_files::open(path).map_err(io("open", path))?);
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = reader.read(&mut buffer).map_err(io("read", path))?;
        if read == 0 {
            return Ok(to_hex(&digest.finalize()));
        }
        digest.update(&buffer[..read]);
    }
}

/// Passes bytes on and hashes and counts them on the way.
pub struct HashingWriter<W> {
    inner: W,
    digest: Sha256,
    bytes: u64,
}

impl<W: Write> HashingWriter<W> {
    /// Wraps a writer.
    pub fn new(inner: W) -> Self {
        Self { inner, digest: Sha256::new(), bytes: 0 }
    }

    /// The writer, the digest in hexadecimal and the number of bytes.
    pub fn finish(self) -> (W, String, u64) {
        (self.inner, to_hex(&self.digest.finalize()), self.bytes)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(buffer)?;
        self.digest.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Name of the list of hashes of a stage.
pub const SUMS: &str = "SHA256SUMS";

/// A line of a list of hashes, newline included.
pub(super) fn sum_line(sha256: &str, name: &str) -> String {
    // A backslash before the digest tells sha256sum that the name is escaped.
    if name.contains(['\\', '\n']) {
        let escaped = name.replace('\\', "\\\\").replace('\n', "\\n");
        format!("\\{sha256}  {escaped}\n")
    } else {
        format!("{sha256}  {name}\n")
    }
}

/// Hash and name of a line, its newline taken off.
pub(super) fn listed_name(line: &str) -> Option<(String, String)> {
    let (sha256, name) = line.split_once("  ")?;
    let (sha256, name) = match sha256.strip_prefix('\\') {
        Some(sha256) => {
            let mut plain = String::new();
            let mut letters = name.chars();
            while let Some(letter) = letters.next() {
                plain.push(match letter {
                    '\\' => match letters.next()? {
                        'n' => '\n',
                        other => other,
                    },
                    other => other,
                });
            }
            (sha256, plain)
        }
        None => (sha256, name.to_owned()),
    };
    let digits = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    (digits && !name.is_empty()).then(|| (sha256.to_owned(), name))
}

/// The list of hashes of a stage.
pub fn sums_text<'a>(
    stage: &str,
    parts: impl Iterator<Item = &'a PartFile>,
    manifest_sha256: Option<&str>,
) -> String {
    let mut text = String::new();
    if let Some(sha256) = manifest_sha256 {
        text.push_str(&sum_line(sha256, MANIFEST));
    }
    for part in parts {
        let relative = part.path.strip_prefix(&format!("{stage}/")).unwrap_or(&part.path);
        text.push_str(&sum_line(&part.sha256, relative));
    }
    text
}

/// Writes `SHA256SUMS` into a stage's directory. Paths in it are relative to that directory, so
/// that `sha256sum -c SHA256SUMS` works there.
pub fn write_sums<'a>(
    directory: &Path,
    stage: &str,
    parts: impl Iterator<Item = &'a PartFile>,
    manifest_sha256: Option<&str>,
) -> Result<(), StagingError> {
    replace(&directory.join(SUMS), sums_text(stage, parts, manifest_sha256).as_bytes())
}

/// The hash that a stage's list has for a file; none when it has none, or there is no list.
pub fn listed_sum(directory: &Path, name: &str) -> Option<String> {
    let text = own_files::read_text(&directory.join(SUMS)).ok()?;
    text.lines().find_map(|line| {
        let (sha256, listed) = line.split_once("  ")?;
        (listed == name).then(|| sha256.to_owned())
    })
}
