//! Sorted parts into one order: by renaming where they do not overlap, else by merging.

use std::cmp::Ordering;
use std::fs;

use super::ExportError;
use super::journal::Ordered;
use super::marks::Marking;
use super::part::{PartsWriter, SortedRun, id_of};
use crate::document::order::compare_ids;
use crate::progress::Stage;
use crate::staging::StagingError;
use crate::staging::exported::{Cursor, documents};
use crate::staging::layout::{RunDirectory, create_folder};

/// Works out the final order and names of a collection's parts. Nothing is renamed or removed yet.
pub(super) fn in_order(
    run: &RunDirectory,
    namespace: &str,
    collection: &str,
    mut runs: Vec<SortedRun>,
    part_bytes: usize,
    marking: Option<Marking<'_>>,
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
        return merge(run, namespace, collection, runs, part_bytes, marking);
    }
    let mut ordered = Ordered { parts: Vec::new(), renames: Vec::new(), removes: Vec::new() };
    for (index, sorted) in runs.into_iter().enumerate() {
        let mut part = sorted.part;
        let path = run.part_path(Stage::Export, collection, index);
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
            create_folder(to.parent().unwrap_or(run.path()))?;
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

/// The document at a cursor that has one.
fn document(cursor: &Cursor) -> &[u8] {
    cursor.current().map_or(&[], |(_, bytes)| bytes)
}

fn merge(
    run: &RunDirectory,
    namespace: &str,
    collection: &str,
    runs: Vec<SortedRun>,
    part_bytes: usize,
    marking: Option<Marking<'_>>,
) -> Result<Ordered, ExportError> {
    let mut cursors = Vec::new();
    for sorted in &runs {
        let mut cursor = Cursor::new(Box::new(documents(run, &sorted.part.file)?));
        if cursor.fill()? {
            cursors.push(cursor);
        }
    }
    let mut writer = PartsWriter::new(run, (namespace, collection), part_bytes, marking);
    while !cursors.is_empty() {
        let mut least = 0;
        for at in 1..cursors.len() {
            let candidate = id_of(collection, document(&cursors[at]))?;
            let best = id_of(collection, document(&cursors[least]))?;
            if compare_ids(candidate.as_ref(), best.as_ref()).is_lt() {
                least = at;
            }
        }
        let bytes = document(&cursors[least]);
        writer.push(bytes, id_of(collection, bytes)?.as_ref())?;
        cursors[least].pass();
        if !cursors[least].fill()? {
            // The order of the others stays, so that equal ids come out as they went in.
            cursors.remove(least);
        }
    }
    let removes = runs.into_iter().map(|sorted| sorted.part.file.path).collect();
    Ok(Ordered { parts: writer.finish()?, renames: Vec::new(), removes })
}
