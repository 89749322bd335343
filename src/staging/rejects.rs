//! `rejects/<stage>.jsonl` and `findings/<stage>.jsonl`: one line per refused record, and one per
//! value that a rule of the pipeline file changed or made notable.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::StagingError;
use super::checksum::{HashingWriter, sha256_file};
use super::json_file::sync_directory;
use super::layout::{RunDirectory, create_file, create_folder, io};
use super::manifest::TransformManifest;
use super::own_files;
use super::raw_json::RawJson;
use crate::progress::Stage;

/// A refused record, or a finding (which has no document).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reject {
    /// Source collection.
    pub collection: String,
    /// The document's `_id`, as in the `_id` column of its exported part.
    pub id: String,
    /// Target table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Target column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Field path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The rule that was broken: `type`, `required`, `unmapped`, `dangling`, `unique`, …
    pub rule: String,
    /// The offending value, canonical Extended JSON.
    #[serde(default, skip_serializing_if = "RawJson::is_absent")]
    pub value: RawJson,
    /// What is wrong and what to do, in a sentence.
    pub detail: String,
    /// In a table with one row an element: which element of the document, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<u64>,
    /// That element, canonical Extended JSON.
    #[serde(default, skip_serializing_if = "RawJson::is_absent")]
    pub element_value: RawJson,
    /// The whole document, canonical Extended JSON; of several elements of one document only the
    /// first of a table has it. Where Extended JSON cannot hold it, and for bytes that are not
    /// BSON: their base64.
    #[serde(default, skip_serializing_if = "RawJson::is_absent")]
    pub document: RawJson,
}

/// The two kinds of list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Records that did not become rows.
    Rejects,
    /// Values that were changed or noted under a rule.
    Findings,
}

impl List {
    /// Its file, relative to the run.
    pub fn path(self, stage: Stage) -> String {
        let folder = match self {
            Self::Rejects => "rejects",
            Self::Findings => "findings",
        };
        format!("{folder}/{stage}.jsonl")
    }
}

/// Writes a list; the file appears under its name when it is finished.
pub struct RejectWriter {
    path: PathBuf,
    temporary: PathBuf,
    file: HashingWriter<BufWriter<File>>,
}

const NEXT: &str = "jsonl.next";

impl RejectWriter {
    /// Begins a list anew.
    pub fn create(run: &RunDirectory, list: List, stage: Stage) -> Result<Self, StagingError> {
        let path = run.resolve(&list.path(stage));
        let directory = path.parent().unwrap_or(run.path());
        create_folder(directory)?;
        let temporary = path.with_extension("jsonl.writing");
        let file = create_file(&temporary)?;
        Ok(Self { path, temporary, file: HashingWriter::new(BufWriter::new(file)) })
    }

    /// Begins the list that takes the place of another when its manifest does: see [`recover`].
    pub fn next(run: &RunDirectory, list: List, stage: Stage) -> Result<Self, StagingError> {
        let mut writer = Self::create(run, list, stage)?;
        writer.path = writer.path.with_extension(NEXT);
        Ok(writer)
    }

    /// Adds a line.
    pub fn write(&mut self, reject: &Reject) -> Result<(), StagingError> {
        serde_json::to_writer(&mut self.file, reject)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(io("write", &self.path))
    }

    /// Adds lines that are already written as JSON, newline included.
    pub fn write_lines(&mut self, lines: &[u8]) -> Result<(), StagingError> {
        self.file.write_all(lines).map_err(io("write", &self.path))
    }

    /// Makes the list durable and gives it its name; its SHA-256.
    pub fn finish(mut self) -> Result<String, StagingError> {
        self.file.flush().map_err(io("write", &self.path))?;
        let (file, sha256, _) = self.file.finish();
        file.get_ref().sync_all().map_err(io("sync", &self.path))?;
        fs::rename(&self.temporary, &self.path).map_err(io("rename to", &self.path))?;
        sync_directory(self.path.parent().unwrap_or(&self.path))?;
        Ok(sha256)
    }
}

/// Gives a list that waits beside the old one its name, if the manifest means it.
pub fn recover(run: &RunDirectory, manifest: &TransformManifest) -> Result<(), StagingError> {
    let path = run.resolve(&List::Rejects.path(Stage::Transform));
    let next = path.with_extension(NEXT);
    if !next.exists() {
        return Ok(());
    }
    if manifest.rejects_sha256.as_ref() == Some(&sha256_file(&next)?) {
        return fs::rename(&next, &path).map_err(io("rename to", &path));
    }
    fs::remove_file(&next).map_err(io("remove", &next))
}

/// A list as it is in its file; empty when there is none.
pub fn read_bytes(run: &RunDirectory, list: List, stage: Stage) -> Result<Vec<u8>, StagingError> {
    let path = run.resolve(&list.path(stage));
    match own_files::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(io("read", &path)),
    }
}

/// Counts the lines of a list by table. The lines themselves are not kept.
pub fn count_by_table(
    run: &RunDirectory,
    list: List,
    stage: Stage,
) -> Result<BTreeMap<String, u64>, StagingError> {
    #[derive(Deserialize)]
    struct Line {
        #[serde(default)]
        table: String,
    }
    count_by(run, list, stage, |line: Line| line.table)
}

/// Counts the records that the export rejected by collection.
pub fn count_by_collection(run: &RunDirectory) -> Result<BTreeMap<String, u64>, StagingError> {
    #[derive(Deserialize)]
    struct Line {
        collection: String,
    }
    count_by(run, List::Rejects, Stage::Export, |line: Line| line.collection)
}

fn count_by<T: DeserializeOwned>(
    run: &RunDirectory,
    list: List,
    stage: Stage,
    key: impl Fn(T) -> String,
) -> Result<BTreeMap<String, u64>, StagingError> {
    let mut counts = BTreeMap::new();
    for line in lines::<T>(run, list, stage)? {
        *counts.entry(key(line?)).or_default() += 1;
    }
    Ok(counts)
}

/// Reads a list; empty when there is none.
pub fn read(run: &RunDirectory, list: List, stage: Stage) -> Result<Vec<Reject>, StagingError> {
    lines(run, list, stage)?.collect()
}

/// The lines of a list, one at a time; none when there is no list.
pub fn lines<T: DeserializeOwned>(
    run: &RunDirectory,
    list: List,
    stage: Stage,
) -> Result<impl Iterator<Item = Result<T, StagingError>> + use<T>, StagingError> {
    let path = run.resolve(&list.path(stage));
    let reader = match own_files::open(&path) {
        Ok(file) => Some(BufReader::new(file)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(source) => return Err(io("open", &path)(source)),
    };
    Ok(reader.into_iter().flat_map(BufRead::lines).map(move |line| {
        let line = line.map_err(io("read", &path))?;
        serde_json::from_str(&line).map_err(|source| StagingError::Json {
            what: "list of rejects",
            path: path.clone(),
            source,
        })
    }))
}
