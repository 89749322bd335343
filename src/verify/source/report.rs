//! What a second reading of the source says: counts, documents that were compared, and what differs.

use std::fmt;

use serde::Serialize;

use super::compare::Place;

/// Differences that are named per collection.
const NAMED: usize = 20;

/// The export against the source, which was read again.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceProof {
    /// The source, without credentials.
    pub address: String,
    /// Documents that were drawn of each collection, at the source and from the export; none where
    /// all were compared.
    pub sample: Option<u64>,
    /// The moments at which the source was read, a sentence each.
    pub moments: Vec<String>,
    /// The collections of both sides, sorted by name.
    pub collections: Vec<CollectionProof>,
}

/// What was found of a collection.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CollectionProof {
    /// Its name.
    pub collection: String,
    /// Records of the export; none where it has no such collection.
    pub exported: Option<u64>,
    /// Documents that the source counts; none where it has no such collection.
    pub counted: Option<u64>,
    /// Read at the moment of the export; else as it is now.
    pub at_export: bool,
    /// Documents of the source that were looked for in the export.
    pub sampled: u64,
    /// Documents of the export that were looked for at the source.
    pub asked: u64,
    /// Documents that are the same on both sides, byte for byte.
    pub equal: u64,
    /// Documents that were looked at and say themselves that they were written after the export.
    pub changed_since: u64,
    /// Documents that the source counts more, all with ObjectIds that are newer than the export.
    pub written_since: u64,
    /// Documents that differ, or that one side lacks.
    pub different: u64,
    /// What differs; of documents at most 20.
    pub differences: Vec<SourceDifference>,
    /// Documents that differ and are not named.
    pub not_named: u64,
}

/// One difference between the source and the export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SourceDifference {
    /// Collection.
    pub collection: String,
    /// The document's `_id`, as in the `_id` column of an exported part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Path of the first field that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What the source holds there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What the export holds there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl SourceProof {
    /// Whether nothing differs.
    pub fn is_proved(&self) -> bool {
        self.collections.iter().all(CollectionProof::is_proved)
    }
}

impl SourceProof {
    /// Whether every document was compared: all were asked for, or the sample was as large.
    pub fn is_whole(&self) -> bool {
        let whole = |of: &CollectionProof| {
            of.counted.is_none_or(|counted| of.sampled >= counted)
                && of.exported.is_none_or(|exported| of.asked >= exported)
        };
        self.sample.is_none() || self.collections.iter().all(whole)
    }
}

impl CollectionProof {
    /// Whether nothing differs.
    pub fn is_proved(&self) -> bool {
        self.different == 0 && self.differences.is_empty()
    }

    /// What is said of a difference that may have come about after the export.
    fn told(&self, what: &str) -> String {
        if self.at_export {
            return what.to_owned();
        }
        format!("{what}: changed since the export, or lost: cannot be told apart")
    }

    /// A difference of the collection itself.
    pub(super) fn differs(&mut self, what: &str) {
        let (collection, what) = (self.collection.clone(), self.told(what));
        self.differences.push(SourceDifference { collection, what, ..SourceDifference::default() });
    }

    /// A document that is not the same, or not there, on both sides.
    pub(super) fn document(&mut self, id: String, what: &str, place: Option<Place>) {
        self.different += 1;
        if self.differences.len() >= NAMED {
            self.not_named += 1;
            return;
        }
        let (path, source, export) = match place {
            Some(Place { path, source, export }) => (Some(path), source, export),
            None => (None, None, None),
        };
        self.differences.push(SourceDifference {
            collection: self.collection.clone(),
            id: Some(id),
            path,
            source,
            export,
            what: self.told(what),
        });
    }
}

impl fmt::Display for SourceDifference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "collection {}", self.collection)?;
        if let Some(id) = &self.id {
            write!(formatter, ", _id {id}")?;
        }
        if let Some(path) = &self.path {
            write!(formatter, ", field {path}")?;
        }
        write!(formatter, ": {}", self.what)?;
        if self.path.is_some() {
            let shown = |value: &Option<String>| value.clone().unwrap_or("nothing".to_owned());
            let (source, export) = (shown(&self.source), shown(&self.export));
            write!(formatter, " ({source} at the source, {export} in the export)")?;
        }
        Ok(())
    }
}
