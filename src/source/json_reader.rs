//! Records out of a stream of JSON: one document after another, or all in one array.
//!
//! A record that cannot be read costs that record alone. One that can be followed to its end is
//! passed over whole; after one that cannot, reading starts again at the next line that begins as
//! the record's own line did. Memory is bounded by the largest record.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use memchr::memchr;

use super::SourceError;
use crate::document::json::{JsonError, Parser};

/// Greatest length of a record's text.
const MAX_RECORD_BYTES: usize = 48 << 20;

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;

/// Bytes of a record's text that are kept where its end is not known.
const KEPT_BYTES: usize = 1 << 20;

/// Indentation of a record that is kept in mind.
const MAX_INDENT: usize = 256;

/// A record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A document; its BSON was appended.
    Document,
    /// Text that is no document, and why.
    Broken {
        /// The text, or the beginning of a long one.
        text: Vec<u8>,
        /// What is wrong.
        reason: String,
    },
}

/// Whether the documents of a file have no `_id`, so that each gets its number.
pub fn are_numbered(path: &Path) -> Result<bool, SourceError> {
    let mut reader = JsonReader::open(path)?;
    let mut document = Vec::new();
    while reader.numbered.is_none() {
        document.clear();
        if reader.record(&mut document)?.is_none() {
            break;
        }
    }
    Ok(reader.numbered())
}

/// What stands around the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Nothing was read yet.
    Unknown,
    /// One document after another.
    Stream,
    /// An array that is not closed yet.
    Array,
    /// An array that was closed.
    Closed,
    /// The end was said.
    Ended,
}

/// Reads the records of a file.
pub struct JsonReader {
    path: PathBuf,
    input: Box<dyn BufRead + Send>,
    parser: Parser,
    buffer: Vec<u8>,
    /// Where in the buffer what is not taken yet begins.
    start: usize,
    /// The same in the uncompressed stream.
    offset: u64,
    input_ended: bool,
    layout: Layout,
    /// White space before the last record that began its line.
    indent: Vec<u8>,
    /// White space at the beginning of the line, as long as no record was on it.
    margin: Option<Vec<u8>>,
    /// The line holds nothing else so far.
    blank: bool,
    /// Records so far.
    records: u64,
    numbered: Option<bool>,
    /// Only what the documents have for `_id` is looked at.
    probing: bool,
}

impl JsonReader {
    /// Opens a file, gzipped or not.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Ok(Self::new(path, super::file::open(path)?))
    }

    /// Reads an open stream; `path` is for messages.
    pub fn new(path: &Path, input: Box<dyn BufRead + Send>) -> Self {
        Self {
            path: path.to_owned(),
            input,
            parser: Parser::default(),
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            input_ended: false,
            layout: Layout::Unknown,
            indent: Vec::new(),
            margin: Some(Vec::new()),
            blank: true,
            records: 0,
            numbered: None,
            probing: false,
        }
    }

    /// Whether the documents have no `_id`, and each gets its number in the file instead; known
    /// once there was a document. Those in the first 256 KiB of the file decide for all, or the
    /// first one where it is longer.
    pub fn numbered(&self) -> bool {
        self.numbered == Some(true)
    }

    /// The next record with its offset in bytes; none at the end. A document's BSON is appended.
    pub fn record(&mut self, out: &mut Vec<u8>) -> Result<Option<(u64, Record)>, SourceError> {
        if self.layout == Layout::Unknown {
            self.begin()?;
        }
        let Some(first) = self.separators()? else { return Ok(self.end()) };
        let offset = self.offset;
        if self.layout == Layout::Closed {
            let reason = "text follows the end of the array";
            if self.blank {
                let record = self.discard(reason, |_| None)?;
                self.layout = Layout::Ended;
                return Ok(Some((offset, record)));
            }
            // A bracket inside a broken line closes nothing.
            self.layout = Layout::Array;
            let indent = self.indent.clone();
            let record = self.discard(reason, |line| begins_record(line, &indent, true))?;
            return Ok(Some((offset, record)));
        }
        if let Some(margin) = self.margin.take() {
            self.indent = margin;
        }
        self.records += 1;
        let nested = first == b'[' && self.layout == Layout::Array;
        let record = if first == b'{' || nested { self.document(out)? } else { self.junk(first)? };
        Ok(Some((offset, record)))
    }

    /// Looks at the first bytes, which tell the encoding.
    fn begin(&mut self) -> Result<(), SourceError> {
        self.fill(PIECE)?;
        let head = &self.buffer[..self.buffer.len().min(4)];
        let encoding = match head {
            [0xff, 0xfe, 0, 0] | [0, 0, 0xfe, 0xff] => Some("UTF-32"),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
            [0, 0, 0, _] | [_, 0, 0, 0] => Some("UTF-32 without a byte order mark, or no text"),
            _ if head.contains(&0) => Some("UTF-16 without a byte order mark, or no text"),
            _ => None,
        };
        if let Some(encoding) = encoding {
            return Err(SourceError::Encoding { path: self.path.clone(), encoding });
        }
        if head.starts_with(b"\xef\xbb\xbf") {
            self.take(3);
        }
        if !self.probing {
            let head = self.rest()[..self.rest().len().min(PIECE)].to_vec();
            self.numbered = Self::probe(&self.path, head)?;
        }
        Ok(())
    }

    /// Whether no document at the beginning of a file has an `_id`; nothing where there is none.
    fn probe(path: &Path, head: Vec<u8>) -> Result<Option<bool>, SourceError> {
        let mut reader = Self::new(path, Box::new(io::Cursor::new(head)));
        reader.probing = true;
        let mut document = Vec::new();
        while reader.record(&mut document)?.is_some() {
            document.clear();
        }
        Ok(reader.numbered)
    }

    /// Bytes that are not taken yet.
    fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn take(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
    }

    /// Reads until so many bytes are not taken yet, or the stream ends.
    fn fill(&mut self, length: usize) -> Result<(), SourceError> {
        if self.start > 0 && self.rest().len() < length {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        while self.rest().len() < length && !self.input_ended {
            let piece = match self.input.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(SourceError::Io { path: self.path.clone(), source }),
                Ok(piece) => piece,
            };
            self.input_ended = piece.is_empty();
            let taken = piece.len();
            self.buffer.extend_from_slice(piece);
            self.input.consume(taken);
        }
        Ok(())
    }

    /// Passes over what separates records. The first byte of the next one; none at the end.
    fn separators(&mut self) -> Result<Option<u8>, SourceError> {
        loop {
            if self.rest().is_empty() {
                self.fill(PIECE)?;
            }
            let Some(byte) = self.rest().first().copied() else { return Ok(None) };
            match byte {
                b'\n' => (self.margin, self.blank) = (Some(Vec::new()), true),
                b' ' | b'\t' | b'\r' => {
                    if let Some(margin) = self.margin.as_mut()
                        && self.blank
                        && margin.len() < MAX_INDENT
                    {
                        margin.push(byte);
                    }
                }
                b',' if matches!(self.layout, Layout::Stream | Layout::Array) => {}
                b'[' if matches!(self.layout, Layout::Unknown | Layout::Stream) => {
                    self.layout = Layout::Array;
                }
                b']' if self.layout == Layout::Array => self.layout = Layout::Closed,
                _ => {
                    if self.layout == Layout::Unknown {
                        self.layout = Layout::Stream;
                    }
                    return Ok(Some(byte));
                }
            }
            self.blank &= byte.is_ascii_whitespace();
            self.take(1);
        }
    }

    /// What there is to say once at the end.
    fn end(&mut self) -> Option<(u64, Record)> {
        let open = self.layout == Layout::Array;
        self.layout = Layout::Ended;
        open.then(|| {
            let reason = "the file ends inside its array: the closing bracket is missing, so there may have been more documents";
            (self.offset, Record::Broken { text: Vec::new(), reason: reason.to_owned() })
        })
    }

    /// Reads a document.
    fn document(&mut self, out: &mut Vec<u8>) -> Result<Record, SourceError> {
        let start = out.len();
        let mut wanted = PIECE;
        loop {
            let from = self.offset;
            let (at, reason) = match self.parser.document(&self.buffer[self.start..], out) {
                Ok(parsed) => {
                    let text = self.start..self.start + parsed.length;
                    self.take(parsed.length);
                    return Ok(match self.identify(parsed.has_id, out, start) {
                        Ok(()) => Record::Document,
                        Err(reason) => {
                            out.truncate(start);
                            Record::Broken { text: self.buffer[text].to_vec(), reason }
                        }
                    });
                }
                Err(JsonError::Refused { offset, end, reason }) => {
                    let text = self.rest()[..end].to_vec();
                    self.take(end);
                    let reason = format!("{reason} (byte {})", from + offset as u64);
                    return Ok(Record::Broken { text, reason });
                }
                Err(JsonError::Syntax { offset, reason }) => (from + offset as u64, reason),
                Err(JsonError::Incomplete) if self.input_ended => {
                    let at = from + self.rest().len() as u64;
                    (at, "the file ends inside the record".to_owned())
                }
                Err(JsonError::Incomplete) if self.rest().len() >= MAX_RECORD_BYTES => {
                    let most = MAX_RECORD_BYTES >> 20;
                    (from, format!("the record has no end within {most} MiB"))
                }
                Err(JsonError::Incomplete) => {
                    // Twice as much each time, so that a long record is not read again and again.
                    wanted = (wanted * 2).max(self.rest().len() * 2).min(MAX_RECORD_BYTES);
                    self.fill(wanted)?;
                    continue;
                }
            };
            let (indent, in_array) = (self.indent.clone(), self.layout == Layout::Array);
            return self.discard(&format!("{reason} (byte {at})"), |line| {
                begins_record(line, &indent, in_array)
            });
        }
    }

    /// Sees to the `_id` of a document: all have one, or none has.
    fn identify(&mut self, has_id: bool, out: &mut Vec<u8>, start: usize) -> Result<(), String> {
        let numbered = self.numbered.get_or_insert(!has_id);
        if self.probing {
            *numbered &= !has_id;
            return Ok(());
        }
        let numbered = *numbered;
        match (numbered, has_id) {
            (false, true) => Ok(()),
            (true, false) => {
                let number = i64::try_from(self.records)
                    .map_err(|_| "the file has too many records".to_owned())?;
                number_document(out, start, number);
                Ok(())
            }
            (false, false) => {
                Err("the document has no _id, though those before it in the file have one".to_owned())
            }
            (true, true) => Err(
                "the document has an _id, though those at the beginning of the file have none: the \
                 number of a record is its _id there"
                    .to_owned(),
            ),
        }
    }

    /// Reads text that is no object. A value of an array ends before the `,` or `]` that follows
    /// it; all other text takes its line, and in an array all lines up to the next record.
    fn junk(&mut self, first: u8) -> Result<Record, SourceError> {
        let mut reason = "a document is expected: the text begins with no `{`";
        if first == b']' {
            reason = "a bracket closes an array that was not opened";
        }
        if self.layout != Layout::Array {
            return self.discard(reason, |_| Some(0));
        }
        if let Some(length) = self.scalar(first)? {
            let text = bounded(&self.rest()[..length]);
            let reason = format!("{reason}{}", left_out(length, text.len()));
            self.take(length);
            return Ok(Record::Broken { text, reason });
        }
        // Brackets and commas mean nothing where a quote may be missing or one too many.
        let indent = self.indent.clone();
        self.discard(reason, |line| begins_record(line, &indent, true))
    }

    /// Length of a string, number or word before the `,` or `]` of its array or the end of its
    /// line; nothing where something else follows.
    fn scalar(&mut self, first: u8) -> Result<Option<usize>, SourceError> {
        let mut length = 1;
        let (mut in_string, mut escaped) = (first == b'"', false);
        let mut ended = false;
        loop {
            let Some(byte) = self.rest().get(length).copied() else {
                if self.input_ended || length >= MAX_RECORD_BYTES {
                    return Ok(None);
                }
                self.fill(length + PIECE)?;
                continue;
            };
            match byte {
                b'\n' if in_string => return Ok(None),
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' if in_string => (in_string, ended) = (false, true),
                _ if in_string => {}
                b',' | b']' | b'\n' => {
                    return Ok(Some(self.rest()[..length].trim_ascii_end().len()));
                }
                b' ' | b'\t' | b'\r' => ended = true,
                b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.' if !ended => {}
                _ => return Ok(None),
            }
            length += 1;
        }
    }

    /// Takes text up to the next line of which `begins` tells where a record begins in it, or up
    /// to the end of the file. A long text is not kept whole.
    fn discard(
        &mut self,
        reason: &str,
        begins: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Record, SourceError> {
        /// Bytes of a line in which its record begins.
        const HEAD: usize = MAX_INDENT + 64;
        let mut text = Vec::new();
        let mut length = 0;
        let mut searched = 0;
        loop {
            let newline = memchr(b'\n', &self.rest()[searched..]).map(|index| searched + index + 1);
            let (taken, found) = match newline {
                Some(line) => {
                    self.fill(line + HEAD)?;
                    let rest = self.rest();
                    let head = &rest[line..rest.len().min(line + HEAD)];
                    match begins(head) {
                        Some(skipped) => (line + skipped, true),
                        None if line < PIECE => {
                            searched = line;
                            continue;
                        }
                        None => (line, false),
                    }
                }
                None => (self.rest().len(), self.input_ended),
            };
            let kept = KEPT_BYTES.saturating_sub(text.len()).min(taken);
            text.extend_from_slice(&self.buffer[self.start..self.start + kept]);
            length += taken;
            self.take(taken);
            searched = 0;
            if found {
                break;
            }
            self.fill(PIECE)?;
        }
        // What comes next begins its line, but for what closes the record before.
        self.margin = None;
        if self.rest().is_empty() && self.input_ended {
            // The end of the file is part of what is said of this record.
            self.layout = Layout::Ended;
        }
        let kept = text.trim_ascii_end().len();
        let cut = if length > text.len() { left_out(length, text.len()) } else { String::new() };
        text.truncate(if cut.is_empty() { kept } else { text.len() });
        Ok(Record::Broken { text, reason: format!("{reason}{cut}") })
    }
}

fn bounded(text: &[u8]) -> Vec<u8> {
    text[..text.len().min(KEPT_BYTES)].to_vec()
}

/// Says how much of a text is not in the list of rejects.
fn left_out(length: usize, kept: usize) -> String {
    if kept < KEPT_BYTES {
        return String::new();
    }
    format!("; {} more bytes are left out of this list", length - kept)
}

/// Where a record begins in a line that stands where one is looked for: the line begins as that of
/// the broken record did, with `{`, `,{`, `[{` or `},{`, or closes the array.
fn begins_record(line: &[u8], indent: &[u8], in_array: bool) -> Option<usize> {
    let blanks =
        |bytes: &[u8]| bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let closes = |rest: &[u8]| {
        let rest = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        in_array && rest.first() == Some(&b']') && rest.trim_ascii_end().len() == 1
    };
    let margin = blanks(line);
    // Brackets inside records stand further in.
    let outside = if indent.is_empty() { margin == 0 } else { margin < indent.len() };
    if outside && closes(&line[margin..]) {
        return Some(margin);
    }
    let mut rest = line.strip_prefix(indent)?;
    if let Some(after) = rest.strip_prefix(b"}") {
        rest = &after[blanks(after)..];
        // One that closes a record is followed by the next on its line.
        rest = rest.strip_prefix(b",")?;
        rest = &rest[blanks(rest)..];
    } else if let Some(after) = rest.strip_prefix(b",").or_else(|| rest.strip_prefix(b"[")) {
        rest = &after[blanks(after)..];
    }
    (rest.first() == Some(&b'{')).then(|| line.len() - rest.len())
}

/// Puts `_id: number` before all other fields of the document that begins at `start`.
fn number_document(out: &mut Vec<u8>, start: usize, number: i64) {
    let mut field = *b"\x12_id\0\0\0\0\0\0\0\0\0";
    field[5..].copy_from_slice(&number.to_le_bytes());
    out.splice(start + 4..start + 4, field);
    let length =
        i32::try_from(out.len() - start).expect("invariant: a document is below 2^31 bytes");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::document::extended_json::document_canonical;
    use crate::document::raw::Doc;

    /// Documents as canonical Extended JSON, and rejects as `! text` with their reasons apart.
    fn read(text: &[u8]) -> (Vec<String>, Vec<String>) {
        let mut reader = JsonReader::new(Path::new("a.json"), Box::new(Cursor::new(text.to_vec())));
        let (mut records, mut reasons) = (Vec::new(), Vec::new());
        let mut document = Vec::new();
        while let Some((offset, record)) = reader.record(&mut document).unwrap() {
            match record {
                Record::Document => {
                    records.push(document_canonical(Doc::new(&document).unwrap()).unwrap());
                }
                Record::Broken { text: broken, reason } => {
                    let start = usize::try_from(offset).unwrap();
                    assert!(text[start..].starts_with(&broken), "{reason}");
                    records.push(format!("! {}", String::from_utf8_lossy(&broken)));
                    reasons.push(reason);
                }
            }
            document.clear();
        }
        assert!(reader.record(&mut document).unwrap().is_none());
        (records, reasons)
    }

    fn document(id: u32) -> String {
        format!(r#"{{"_id":{{"$numberInt":"{id}"}}}}"#)
    }

    #[track_caller]
    fn reads(text: &str, expected: &[&str], reasons: &[&str]) {
        for ending in ["\n", "\r\n"] {
            let (records, said) = read(text.replace('\n', ending).as_bytes());
            let plain = |text: &String| text.replace("\r\n", "\n");
            let expected: Vec<String> = expected
                .iter()
                .map(|one| one.parse().map_or_else(|_| (*one).to_owned(), document))
                .collect();
            assert_eq!(records.iter().map(plain).collect::<Vec<_>>(), expected);
            assert_eq!(said.len(), reasons.len(), "{said:?}");
            for (said, reason) in said.iter().zip(reasons) {
                assert!(said.contains(reason), "{said}");
            }
        }
    }

    #[test]
    fn documents_come_one_after_another_or_in_an_array() {
        reads("{\"_id\": 1}\n{\"_id\":2}\n", &["1", "2"], &[]);
        reads("{\"_id\": 1},\n{\"_id\":2},", &["1", "2"], &[]);
        reads("[\n  {\"_id\": 1},\n  {\"_id\":2}\n]\n", &["1", "2"], &[]);
        reads("[{\"_id\": 1},{\"_id\":2}]", &["1", "2"], &[]);
        reads("[{\n\t\"_id\": 1\n},\n{\n\t\"_id\": 2\n}]\n", &["1", "2"], &[]);
        reads("\u{feff}[]", &[], &[]);
        reads("", &[], &[]);
        reads("\n \n", &[], &[]);
    }

    #[test]
    fn a_broken_record_costs_that_record() {
        let unclosed = "{\"_id\":2,\"v\":\"no end}";
        reads(
            &format!("{{\"_id\":1}}\n{unclosed}\n{{\"_id\":3}}\n{{\"_id\":4}}\n"),
            &["1", &format!("! {unclosed}"), "3", "4"],
            &["closing quote is missing (byte "],
        );
        // A bracket, a colon, a comma too few or too many, a line cut anywhere.
        for broken in [
            "{\"_id\":2,\"v\":{\"a\":1}",
            "{\"_id\":2,\"v\":[{\"a\":1}",
            "{\"_id\":2,\"v\":[",
            "{\"_id\":2,\"v\":[1,",
            "{\"_id\":2,\"v\":",
            "{\"_id\":2,",
            "{\"_id\":2,\"v\"",
            "{\"_id\":2",
            "{\"_id\":",
            "{",
            "{\"_id\":2}}",
            "{\"_id\":2 \"v\":1}",
            "{\"_id\":2,,\"v\":1}",
            "{\"_id\":2,\"v\":[1}",
            "{\"_id\":2,\"v\":ObjectId(\"65\")}",
            "{'_id':2}",
            "not JSON at all",
        ] {
            let text = format!("{{\"_id\":1}}\n{broken}\n{{\"_id\":3}}\n{{\"_id\":4}}\n");
            let (records, reasons) = read(text.as_bytes());
            assert_eq!(records[0], document(1), "{broken}: {records:?}");
            let last = records.len() - 2;
            assert_eq!(records[last..], [document(3), document(4)], "{broken}: {records:?}");
            assert_eq!(reasons.len(), 1, "{broken}: {reasons:?}");
        }
        // In an array, one record a line or on several with indentation.
        let pretty = |broken: &str| {
            format!(
                "[\n  {{\n    \"_id\": 1\n  }},\n  {broken},\n  {{\n    \"_id\": 3\n  }},\n  {{\n    \"_id\": 4\n  }}\n]\n"
            )
        };
        reads(
            &pretty(
                "{\n    \"_id\": 2,\n    \"v\": [\n      {\n        \"a\": \"x\n      }\n    ]\n  }",
            ),
            &[
                "1",
                "! {\n    \"_id\": 2,\n    \"v\": [\n      {\n        \"a\": \"x\n      }\n    ]\n  },",
                "3",
                "4",
            ],
            &["closing quote"],
        );
        reads(
            "[{\"_id\":1},\n{\"_id\":2,\"v\":\"x},\n{\"_id\":3}\n]\n",
            &["1", "! {\"_id\":2,\"v\":\"x},", "3"],
            &["closing quote"],
        );
        reads(
            "[{\n\"_id\": 1\n}, {\n\"_id\": 2,\n\"v\": 1 2\n}, {\n\"_id\": 3\n}]",
            &["1", "! {\n\"_id\": 2,\n\"v\": 1 2\n},", "3"],
            &["`,` or `}` is expected"],
        );
        // The last record of an array: its bracket is still seen.
        reads(
            "[\n{\"_id\":1},\n{\"_id\":2,\"v\":\"x}\n]\n",
            &["1", "! {\"_id\":2,\"v\":\"x}"],
            &["closing quote"],
        );
    }

    #[test]
    fn what_can_be_followed_is_passed_over_whole() {
        let twice = "{\"_id\":2,\"a\":1,\"b\":[\n{\"c\":1},\n{\"c\":2}\n],\"a\":2}";
        reads(
            &format!("[{{\"_id\":1}},{twice},{{\"_id\":3}}]"),
            &["1", &format!("! {twice}"), "3"],
            &["key \"a\" occurs twice in one object"],
        );
        reads(
            "[{\"_id\":1},[{\"_id\":2}],5,\"a,]\",{\"_id\":3}]",
            &["1", "! [{\"_id\":2}]", "! 5", "! \"a,]\"", "3"],
            &["an array is there", "a document is expected", "a document is expected"],
        );
    }

    #[test]
    fn the_end_must_be_there() {
        reads(
            "{\"_id\":1}\n{\"_id\":2,\"v\":",
            &["1", "! {\"_id\":2,\"v\":"],
            &["ends inside the record"],
        );
        reads("[{\"_id\":1}", &["1", "! "], &["ends inside its array"]);
        reads("[{\"_id\":1},\n", &["1", "! "], &["ends inside its array"]);
        reads("[{\"_id\":1},\n{\"_id\":", &["1", "! {\"_id\":"], &["ends inside the record"]);
        reads("[", &["! "], &["ends inside its array"]);
        reads("[{\"_id\":1}]\n\n", &["1"], &[]);
        reads(
            "[{\"_id\":1}]\n{\"_id\":2}\n{\"_id\":3}\n",
            &["1", "! {\"_id\":2}\n{\"_id\":3}"],
            &["text follows the end of the array"],
        );
        reads("{\"_id\":1}\n]\n{\"_id\":2}", &["1", "! ]", "2"], &["was not opened"]);
        // A quote too many, or one too few, makes brackets of a string look like those of the array.
        reads(
            "[\n\"{\"_id\":1,\"v\":\"]\"},\n{\"_id\":2}\n]",
            &["! \"{\"_id\":1,\"v\":\"]\"},", "2"],
            &["a document is expected"],
        );
        reads(
            "[\n{\"_id\":1}]\"},\n{\"_id\":2}\n]",
            &["1", "! \"},", "2"],
            &["text follows the end of the array"],
        );
        reads("[{\"_id\":1}] {\"_id\":2}", &["1", "! {\"_id\":2}"], &["text follows"]);
    }

    #[test]
    fn long_texts_are_bounded_and_what_follows_arrives() {
        let long = "x".repeat(3 << 20);
        let text = format!("{{\"_id\":1}}\n{{\"v\":\"{long}\n{{\"_id\":2}}\n");
        let mut reader = JsonReader::new(Path::new("a"), Box::new(Cursor::new(text.into_bytes())));
        let mut out = Vec::new();
        assert_eq!(reader.record(&mut out).unwrap().unwrap().1, Record::Document);
        let Some((_, Record::Broken { text, reason })) = reader.record(&mut out).unwrap() else {
            panic!("it is read");
        };
        assert_eq!(text.len(), KEPT_BYTES);
        assert!(reason.ends_with("; 2097159 more bytes are left out of this list"), "{reason}");
        assert_eq!(reader.record(&mut out).unwrap().unwrap().1, Record::Document);
        assert!(reader.record(&mut out).unwrap().is_none());
        // A document longer than any piece that is read.
        let text = format!("{{\"_id\":1,\"v\":\"{long}\"}}\n{{\"_id\":2}}");
        let (records, reasons) = read(text.as_bytes());
        assert_eq!((records.len(), reasons.len()), (2, 0));
    }

    #[test]
    fn records_without_an_id_are_numbered() {
        let numbered = |number: u32, value: u32| {
            format!(r#"{{"_id":{{"$numberLong":"{number}"}},"v":{{"$numberInt":"{value}"}}}}"#)
        };
        let (records, _) = read(b"{\"v\":5}\n{\"v\":\n{\"v\":7}\n");
        assert_eq!(records, [numbered(1, 5), "! {\"v\":".to_owned(), numbered(3, 7)]);
        // Some have an `_id`: those that have none could take another's place.
        let (records, reasons) = read(b"{\"v\":5}\n{\"_id\":1}\n{\"v\":6}\n{\"_id\":null}\n");
        assert_eq!(records.len(), 4);
        assert_eq!(reasons.len(), 2);
        assert!(reasons[0].contains("the document has no _id"), "{reasons:?}");
        // What decides is the beginning of the file.
        let text = "{\"v\":5}\n".repeat(40_000) + "{\"_id\":1}\n{\"v\":6}\n";
        let (records, reasons) = read(text.as_bytes());
        assert_eq!(records[40_001], numbered(40_002, 6));
        assert_eq!(reasons.len(), 1);
        assert!(reasons[0].contains("at the beginning of the file"), "{reasons:?}");
    }

    /// A line of an export, with what a person or a cut may have done to it.
    fn line(id: u32, shape: u32, text: &str) -> String {
        let text = serde_json::to_string(text).unwrap();
        let value = match shape % 6 {
            0 => text,
            1 => format!(r#"[1,{text},{{"a":[]}}]"#),
            2 => format!(r#"{{"b":{{"c":{text}}},"d":[[{text}],2]}}"#),
            3 => "[]".to_owned(),
            4 => format!(r#"{{"$date":{{"$numberLong":"{shape}"}}}}"#),
            _ => "-1.5e3".to_owned(),
        };
        format!(r#"{{"_id":{id},"v":{value},"w":{value}}}"#)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn whatever_one_line_is_all_others_arrive(
            lines in proptest::collection::vec((any::<u32>(), "[a-z{}\\[\\],:\"\\\\é\u{1f600}]{0,8}"), 2..8),
            broken: prop::sample::Index,
            place: prop::sample::Index,
            change in 0_u8..4,
            in_array: bool,
        ) {
            let mut lines: Vec<String> =
                (0..).zip(&lines).map(|(id, (shape, text))| line(id, *shape, text)).collect();
            let expected: Vec<String> = lines.iter().map(|line| {
                let bytes = crate::document::json::to_bson(line).unwrap();
                document_canonical(Doc::new(&bytes).unwrap()).unwrap()
            }).collect();
            let broken = broken.index(lines.len());
            let characters: Vec<char> = lines[broken].chars().collect();
            let place = place.index(characters.len());
            let (before, after) = characters.split_at(place);
            let join = |pieces: &[&[char]]| pieces.concat().into_iter().collect::<String>();
            lines[broken] = match change {
                0 => join(&[before]),
                1 => join(&[before, &after[1..]]),
                2 => join(&[before, &['"'], after]),
                _ => join(&[before, &['{'], after]),
            };
            let text = if in_array {
                format!("[\n{}\n]\n", lines.join(",\n"))
            } else {
                lines.join("\n")
            };
            let (records, _) = read(text.as_bytes());
            let documents: Vec<&String> =
                records.iter().filter(|record| !record.starts_with("! ")).collect();
            let others: Vec<&String> = expected
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != broken)
                .map(|(_, document)| document)
                .collect();
            // The line itself may still be a document, another one than it was.
            let arrived: Vec<&String> =
                documents.iter().filter(|found| others.contains(found)).copied().collect();
            prop_assert_eq!(&arrived, &others, "{}\n{:?}", text, records);
            prop_assert!(documents.len() <= others.len() + 1, "{}\n{:?}", text, records);
        }
    }

    #[test]
    fn other_encodings_are_named() {
        let error = |bytes: &[u8]| {
            let mut reader = JsonReader::new(Path::new("a"), Box::new(Cursor::new(bytes.to_vec())));
            reader.record(&mut Vec::new()).unwrap_err().to_string()
        };
        let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        assert!(error(&wide("\u{feff}{}")).contains("UTF-16"));
        assert!(error(&wide("{\"a\":1}")).contains("UTF-16"));
        assert!(error(b"\xfe\xff\0{").contains("UTF-16"));
        assert!(error(b"\xff\xfe\0\0{\0\0\0").contains("UTF-32"));
        assert!(error(b"{\0\0\0}\0\0\0").contains("UTF-32"));
    }
}
