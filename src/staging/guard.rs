//! The guard of backups: a source that holds nothing, or much less than at the last good run, may
//! be the wrong one or a damaged one. Its run is kept, but held until a person accepts it.

use std::fmt;

use super::manifest::{CollectionManifest, ExportManifest};

/// Documents of a collection from which on losing more than half of them holds the run.
const SOME_SIZE: u64 = 100;
/// The option that accepts an empty source.
pub const ALLOW_EMPTY: &str = "--allow-empty";
/// The option of a backup that accepts a shrunken one.
pub const ALLOW_SHRINK: &str = "--allow-shrink";
/// In a list of collections that may shrink: all of them.
pub const ALL: &str = "*";

/// What a person accepts beforehand.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// A source without collections or documents.
    pub empty: bool,
    /// Collections that may shrink or be gone, or `*`.
    pub shrink: Vec<String>,
}

impl Allowed {
    fn shrinks(&self, collection: &str) -> bool {
        self.shrink.iter().any(|name| name == ALL || name == collection)
    }
}

/// One reason to hold a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The source has no collections.
    NoCollections,
    /// The source has collections, but not one document.
    NoDocuments {
        /// Number of collections.
        collections: usize,
    },
    /// A collection of the last good run is not there.
    Gone {
        /// Its name.
        collection: String,
        /// Its documents in the last good run, where they are known.
        documents: Option<u64>,
    },
    /// A collection, or all of them together, lost more than half of its documents, or all.
    Fewer {
        /// Its name; none for all collections together.
        collection: Option<String>,
        /// Its documents in the last good run, where they are known.
        before: Option<u64>,
        /// Its documents now.
        now: u64,
    },
}

impl Loss {
    /// Whether the source holds nothing at all.
    pub fn is_empty_source(&self) -> bool {
        matches!(self, Self::NoCollections | Self::NoDocuments { .. })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCollections => write!(formatter, "the source has no collections"),
            Self::NoDocuments { collections } => {
                write!(formatter, "the source has {collections} collections and no documents")
            }
            Self::Gone { collection, documents } => {
                write!(formatter, "collection {collection}")?;
                if let Some(documents) = documents {
                    write!(formatter, " with its {documents} documents")?;
                }
                write!(formatter, " is gone")
            }
            Self::Fewer { collection, before, now } => {
                match collection {
                    Some(collection) => write!(formatter, "collection {collection} has ")?,
                    None => write!(formatter, "all collections together have ")?,
                }
                match (now, before) {
                    (0, Some(before)) => write!(formatter, "none of {before} documents left"),
                    (0, None) => write!(formatter, "no documents left"),
                    (now, Some(before)) => write!(formatter, "{now} of {before} documents left"),
                    (now, None) => write!(formatter, "{now} documents left"),
                }
            }
        }
    }
}

/// Documents that a collection had in the source; none where an incremental export did not count
/// them.
fn documents(collection: &CollectionManifest) -> Option<u64> {
    match collection.changes {
        None => Some(collection.documents),
        Some(_) => collection.source_documents,
    }
}

/// The sum over collections; none where one of them is not known.
fn total<'c>(collections: impl Iterator<Item = &'c CollectionManifest>) -> Option<u64> {
    collections.map(documents).sum()
}

/// A source without collections.
pub fn without_collections(now: &ExportManifest, allowed: &Allowed) -> Vec<Loss> {
    let held = now.collections.is_empty() && !allowed.empty;
    if held { vec![Loss::NoCollections] } else { Vec::new() }
}

/// All that an export lacks, compared with that of the last good run.
pub fn losses(
    now: &ExportManifest,
    before: Option<&ExportManifest>,
    allowed: &Allowed,
) -> Vec<Loss> {
    let empty = total(now.collections.iter()) == Some(0);
    if empty && allowed.empty {
        return Vec::new();
    }
    if now.collections.is_empty() {
        return vec![Loss::NoCollections];
    }
    let Some(before) = before else {
        let collections = now.collections.len();
        return if empty { vec![Loss::NoDocuments { collections }] } else { Vec::new() };
    };
    let mut losses = Vec::new();
    let counts = |collection: &&CollectionManifest| !allowed.shrinks(&collection.name);
    for earlier in before.collections.iter().filter(counts) {
        let had = documents(earlier);
        if had == Some(0) {
            continue;
        }
        let name = &earlier.name;
        let Some(found) = now.collections.iter().find(|found| found.name == *name) else {
            losses.push(Loss::Gone { collection: name.clone(), documents: had });
            continue;
        };
        let Some(has) = documents(found) else { continue };
        let fewer = had.is_some_and(|had| had >= SOME_SIZE && has < had.div_ceil(2));
        if has == 0 || fewer {
            losses.push(Loss::Fewer { collection: Some(name.clone()), before: had, now: has });
        }
    }
    let [had, has] = [before, now].map(|export| total(export.collections.iter().filter(counts)));
    if let (Some(had), Some(has)) = (had, has)
        && has < had.div_ceil(2)
    {
        losses.push(Loss::Fewer { collection: None, before: Some(had), now: has });
    }
    losses
}
