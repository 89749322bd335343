//! What mongoexport writes: canonical or relaxed Extended JSON, or plain JSON, one document after
//! another or all in one array.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::SourceError;
use super::folder::{Entry, EntryKind, Folder, kind_of, reason_of, twice};
use crate::document::extended_json::to_bson;
use crate::staging::inventory::SourceObject;

/// A file of documents.
#[derive(Clone, Debug)]
pub struct JsonCollection {
    /// Collection name: the file's name without its endings.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// Files of mongoexport.
#[derive(Clone, Debug)]
pub struct JsonFiles {
    /// Collections, by name.
    pub collections: Vec<JsonCollection>,
    /// Every file below the folder that was named.
    pub objects: Vec<SourceObject>,
}

/// The collections of a path: a folder of files, or one file.
pub fn open(path: &Path) -> Result<JsonFiles, SourceError> {
    let (files, mut objects) = if path.is_dir() {
        let folder = Folder::list(path)?;
        let reason = "it is in a folder inside, which is read only when it is named";
        let inner = folder.inner_left_out(None, reason);
        (folder.files, inner)
    } else {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match kind_of(&name) {
            Ok(Some(kind)) => (vec![Folder::file(path, kind)?], Vec::new()),
            _ => (Vec::new(), Vec::new()),
        }
    };
    let mut found: BTreeMap<&str, &Entry> = BTreeMap::new();
    for entry in &files {
        let EntryKind::Json { stem } = &entry.kind else {
            objects.push(entry.left_out(reason_of(entry)));
            continue;
        };
        if let Some(first) = found.insert(stem, entry) {
            return Err(twice(first, entry, &format!("of collection {stem}")));
        }
        objects.push(entry.taken("json", stem));
    }
    let collections = found
        .into_iter()
        .map(|(name, entry)| JsonCollection { name: name.to_owned(), path: entry.path.clone() });
    Ok(JsonFiles { collections: collections.collect(), objects })
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
        Ok(Self::new(path, super::file::open(path)?))
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
