//! Sorted parts into one order: by renaming where they do not overlap, else by merging.

use std::cmp::Ordering;
use std::fs;

use super::ExportError;
use super::journal::Ordered;
use super::part::{RunWriter, SortedRun, id_of};
use crate::document::order::compare_ids;
use crate::pipeline::model::FieldPath;
use crate::progress::Stage;
use crate::staging::StagingError;
use crate::staging::exported::{Documents, documents};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::ExportPart;

/// Works out the final order and names of a collection's parts. Nothing is renamed or removed yet.
pub(super) fn in_order(
    run: &RunDirectory,
    namespace: &str,
    collection: &str,
    mut runs: Vec<SortedRun>,
    part_bytes: usize,
    changed: Option<&FieldPath>,
) -> Result<Ordered, ExportError> {
    let order = |left: &[u8], right: &[u8]| -> Result<Ordering, ExportError> {
        let (left, right) = (id_of(collection, left)?, id_of(collection, right)?);
        Ok(compare_ids(left.as_ref(), right.as_ref()))
    };
    let mut failure = None;
    runs.sort_by(|left, right| {
        order(&left.first, &right.first).unwrap_or_else(|error| {
            failure = Some(error);
            Ordering::Equal
        })
    });
    if let Some(error) = failure {
        return Err(error);
    }
    let mut overlap = false;
    for pair in runs.windows(2) {
        overlap |= order(&pair[0].last, &pair[1].first)?.is_gt();
    }
    if overlap {
        return merge(run, namespace, collection, runs, part_bytes, changed);
    }
    let mut ordered = Ordered { parts: Vec::new(), renames: Vec::new(), removes: Vec::new() };
    for (index, sorted) in runs.into_iter().enumerate() {
        let mut part = sorted.part;
        let path = RunDirectory::part_path(Stage::Export, collection, index);
        ordered.renames.push((part.file.path, path.clone()));
        part.file.path = path;
        ordered.parts.push(part);
    }
    Ok(ordered)
}

/// Carries out what was decided. May be done again after it was stopped on the way.
pub(super) fn carry_out(run: &RunDirectory, ordered: &Ordered) -> Result<(), ExportError> {
    for (from, to) in &ordered.renames {
        let (from, to) = (run.resolve(from), run.resolve(to));
        if from.exists() {
            fs::rename(&from, &to).map_err(|source| StagingError::Io {
                action: "rename to",
                path: to,
                source,
            })?;
        }
    }
    for path in &ordered.removes {
        let path = run.resolve(path);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StagingError::Io { action: "remove", path, source }.into());
            }
            _ => {}
        }
    }
    Ok(())
}

/// One run being read.
struct Cursor {
    batches: Box<dyn Iterator<Item = Result<Documents, StagingError>>>,
    documents: Documents,
    at: usize,
}

impl Cursor {
    fn open(run: &RunDirectory, sorted: &SortedRun) -> Result<Option<Self>, ExportError> {
        let mut batches = Box::new(documents(run, &sorted.part.file)?);
        let Some(documents) = batches.next().transpose()? else { return Ok(None) };
        Ok(Some(Self { batches, documents, at: 0 }))
    }

    fn document(&self) -> &[u8] {
        self.documents.bytes(self.at)
    }

    fn advance(&mut self) -> Result<bool, ExportError> {
        self.at += 1;
        if self.at < self.documents.len() {
            return Ok(true);
        }
        let Some(documents) = self.batches.next().transpose()? else { return Ok(false) };
        (self.documents, self.at) = (documents, 0);
        Ok(true)
    }
}

fn merge(
    run: &RunDirectory,
    namespace: &str,
    collection: &str,
    runs: Vec<SortedRun>,
    part_bytes: usize,
    changed: Option<&FieldPath>,
) -> Result<Ordered, ExportError> {
    let mut cursors = Vec::new();
    for sorted in &runs {
        cursors.extend(Cursor::open(run, sorted)?);
    }
    let mut parts: Vec<ExportPart> = Vec::new();
    let mut writer: Option<RunWriter> = None;
    while !cursors.is_empty() {
        let mut least = 0;
        for at in 1..cursors.len() {
            let candidate = id_of(collection, cursors[at].document())?;
            let best = id_of(collection, cursors[least].document())?;
            if compare_ids(candidate.as_ref(), best.as_ref()).is_lt() {
                least = at;
            }
        }
        let mut current = if let Some(writer) = writer.take() {
            writer
        } else {
            let path = RunDirectory::part_path(Stage::Export, collection, parts.len());
            RunWriter::create(run, namespace, &path, changed)?
        };
        let document = cursors[least].document();
        current.push(collection, document, id_of(collection, document)?.as_ref())?;
        if current.bytes() >= part_bytes as u64 {
            parts.push(current.finish(collection)?);
        } else {
            writer = Some(current);
        }
        if !cursors[least].advance()? {
            // The order of the others stays, so that equal ids come out as they went in.
            cursors.remove(least);
        }
    }
    if let Some(writer) = writer {
        parts.push(writer.finish(collection)?);
    }
    let removes = runs.into_iter().map(|sorted| sorted.part.file.path).collect();
    Ok(Ordered { parts, renames: Vec::new(), removes })
}
