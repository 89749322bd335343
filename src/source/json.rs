//! What mongoexport writes: canonical or relaxed Extended JSON, or plain JSON, one document after
//! another or all in one array.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::SourceError;
use super::folder::{Entry, EntryKind, Folder, kind_of, reason_of, twice};
pub use super::json_reader::{JsonReader, Record, are_numbered};
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
