//! What mongoexport writes: canonical or relaxed Extended JSON, or plain JSON, one document after
//! another or all in one array.

use std::fs;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::SourceError;
use crate::document::extended_json::to_bson;

/// A file of documents.
#[derive(Clone, Debug)]
pub struct JsonCollection {
    /// Collection name: the file's name without its endings.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Name of the collection in a file, if its name is that of an export.
pub fn collection_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    if name.ends_with(".metadata.json") {
        return None;
    }
    let name =
        [".json", ".ndjson", ".jsonl"].into_iter().find_map(|ending| name.strip_suffix(ending))?;
    (!name.is_empty() && !name.starts_with('.')).then(|| name.to_owned())
}

/// The collections of a path: a folder of files, or one file.
pub fn open(path: &Path) -> Result<Vec<JsonCollection>, SourceError> {
    match collection_of(path) {
        Some(name) if path.is_file() => Ok(vec![JsonCollection { name, path: path.to_owned() }]),
        _ => collections(path),
    }
}

/// The files of a folder, by collection.
pub fn collections(folder: &Path) -> Result<Vec<JsonCollection>, SourceError> {
    let io = |source| SourceError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if let Some(name) = collection_of(&path).filter(|_| path.is_file()) {
            found.push(JsonCollection { name, path });
        }
    }
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}

/// A record of a file.
pub enum Record {
    /// A document.
    Document(Vec<u8>),
    /// Text that is no document, and why.
    Broken(Vec<u8>, String),
}

/// Reads the records of a file.
pub struct JsonReader {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    offset: u64,
}

impl JsonReader {
    /// Opens a file, gzipped or not.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Ok(Self::new(path, super::dump::open(path)?))
    }

    /// Reads an open stream; `path` is for messages.
    pub fn new(path: &Path, input: Box<dyn BufRead + Send>) -> Self {
        Self { path: path.to_owned(), input, offset: 0 }
    }

    /// The next record with its offset in bytes; none at the end.
    pub fn record(&mut self) -> Result<Option<(u64, Record)>, SourceError> {
        let mut text = Vec::new();
        let start = self.cut(&mut text)?;
        if text.is_empty() {
            return Ok(None);
        }
        let json = serde_json::from_slice(&text).map_err(|error| error.to_string());
        let record = match json.and_then(|json| to_bson(&json)) {
            Ok(document) => Record::Document(document),
            Err(reason) => Record::Broken(text, reason),
        };
        Ok(Some((start, record)))
    }

    /// Cuts the next value out of the stream: brackets are counted, strings are passed over. What
    /// separates values, and the brackets of one array around them all, are left out.
    fn cut(&mut self, text: &mut Vec<u8>) -> Result<u64, SourceError> {
        let (mut depth, mut in_string, mut escaped) = (0_u32, false, false);
        let mut start = self.offset;
        loop {
            let buffer = self
                .input
                .fill_buf()
                .map_err(|source| SourceError::Io { path: self.path.clone(), source })?;
            if buffer.is_empty() {
                return Ok(start);
            }
            let mut used = 0;
            let mut done = false;
            for byte in buffer {
                used += 1;
                if text.is_empty() {
                    let separator = byte.is_ascii_whitespace()
                        || matches!(byte, b',' | b'[' | b']' | 0xef | 0xbb | 0xbf);
                    if separator {
                        continue;
                    }
                    start = self.offset + used as u64 - 1;
                }
                text.push(*byte);
                if in_string {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = true,
                        b'"' => in_string = false,
                        _ => {}
                    }
                    continue;
                }
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    b'\n' => {}
                    _ => continue,
                }
                // A value that is no object ends with its line.
                if depth == 0 && matches!(byte, b'}' | b']' | b'\n') {
                    done = true;
                    break;
                }
            }
            self.input.consume(used);
            self.offset += used as u64;
            if done {
                return Ok(start);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn read(text: &str) -> Vec<(u64, bool)> {
        let mut reader =
            JsonReader::new(Path::new("a.json"), Box::new(Cursor::new(text.to_owned())));
        std::iter::from_fn(|| reader.record().unwrap())
            .map(|(offset, record)| (offset, matches!(record, Record::Document(_))))
            .collect()
    }

    #[test]
    fn documents_come_one_after_another_or_in_an_array() {
        assert_eq!(read("{\"a\": 1}\n{\"a\": \"}\\\"\"}\n"), [(0, true), (9, true)]);
        assert_eq!(read("[\n  {\"a\": {\"b\": [1]}},\n  {}\n]\n"), [(4, true), (25, true)]);
        assert_eq!(read("\u{feff}[]"), []);
        assert_eq!(read("{\"a\": }\nnonsense\n{\"a\": 1}"), [(0, false), (8, false), (17, true)]);
        assert_eq!(read("{\"a\": 1"), [(0, false)]);
    }
}
