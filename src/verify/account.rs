//! The sums of a run: every record of the source arrived as a row, was rejected, or was left out
//! under a rule of the pipeline file.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::TableVerdict;
use crate::pipeline::model::Pipeline;
use crate::staging::manifest::{CollectionManifest, ExportManifest, TransformManifest};

/// Counts from the first byte of the source to the rows in PostgreSQL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Records of the source: documents, rows, lines.
    pub records: Sums,
    /// Elements of arrays that are records of their own: rows of child tables, links of junctions.
    pub elements: Sums,
    /// The records of each collection, in order of names.
    pub collections: Vec<CollectionSums>,
}

/// Where records went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Records read.
    pub read: u64,
    /// Records that are a row in PostgreSQL.
    pub arrived: u64,
    /// Records rejected, by the export or by the transform.
    pub rejected: u64,
    /// Links that another element holds too: together they are one row.
    pub merged: u64,
    /// Records left out under a rule of the pipeline file.
    pub dropped: u64,
}

impl Sums {
    /// Every record is a row, or is held by the row of an equal link.
    pub fn is_whole(&self) -> bool {
        self.arrived.saturating_add(self.merged) == self.read
    }

    /// Rejects are at least half of what was read.
    pub fn is_mostly_rejected(&self) -> bool {
        self.rejected > 0 && self.rejected >= self.read - self.rejected.min(self.read)
    }

    fn add(&mut self, more: &Self) {
        for (sum, more) in [
            (&mut self.read, more.read),
            (&mut self.arrived, more.arrived),
            (&mut self.rejected, more.rejected),
            (&mut self.merged, more.merged),
            (&mut self.dropped, more.dropped),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// A collection of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CollectionSums {
    /// Name.
    pub name: String,
    /// Records that the export rejected: they are no documents.
    pub unreadable: u64,
    /// No table takes its documents: the pipeline file leaves it out.
    pub ignored: bool,
    /// Rows that the transform staged of its documents.
    pub staged: u64,
    /// Rows of these tables in PostgreSQL.
    pub found: u64,
    /// Where its records went.
    #[serde(flatten)]
    pub sums: Sums,
}

impl Account {
    /// Adds up what the manifests and the verdicts say. Without an export the transform's own
    /// counts of it are taken.
    pub(super) fn new(
        pipeline: &Pipeline,
        manifest: &TransformManifest,
        export: Option<&ExportManifest>,
        verdicts: &[TableVerdict],
    ) -> Self {
        let mut account = Self::default();
        let found: HashMap<&str, u64> =
            verdicts.iter().map(|verdict| (verdict.table.as_str(), verdict.found_rows)).collect();
        let mut collections: BTreeMap<&str, CollectionSums> = BTreeMap::new();
        for table in &manifest.tables {
            let name = table.definition.name.as_str();
            let sums = Sums {
                read: table.records,
                arrived: found.get(name).copied().unwrap_or(0).min(table.rows),
                rejected: table.rejects,
                merged: table.merged(),
                dropped: table.left_out(),
            };
            let mapped = pipeline.tables.iter().find(|mapped| mapped.name == name);
            match mapped.filter(|mapped| mapped.each.is_none()) {
                Some(mapped) => {
                    let collection = line(&mut collections, &mapped.source);
                    collection.sums.add(&sums);
                    collection.staged += table.rows;
                    collection.found += found.get(name).copied().unwrap_or(0);
                }
                None => account.elements.add(&sums),
            }
        }
        for (name, documents) in &manifest.ignored {
            let collection = line(&mut collections, name);
            collection.ignored = true;
            let sums = Sums { read: *documents, dropped: *documents, ..Sums::default() };
            collection.sums.add(&sums);
        }
        let of_export: Vec<(&str, u64)> = match export {
            Some(export) => export.collections.iter().map(unreadable).collect(),
            None => manifest.unreadable.iter().map(|(name, count)| (&**name, *count)).collect(),
        };
        for (name, count) in of_export {
            let collection = line(&mut collections, name);
            collection.unreadable = count;
            let sums = Sums { read: count, rejected: count, ..Sums::default() };
            collection.sums.add(&sums);
        }
        account.collections = collections.into_values().collect();
        for collection in &account.collections {
            account.records.add(&collection.sums);
        }
        account
    }

    /// Records or elements were rejected.
    pub fn has_rejects(&self) -> bool {
        self.records.rejected > 0 || self.elements.rejected > 0
    }

    /// Every record of the source, and every element, is a row.
    pub fn is_whole(&self) -> bool {
        self.records.is_whole() && self.elements.is_whole()
    }
}

fn unreadable(collection: &CollectionManifest) -> (&str, u64) {
    (&collection.name, collection.rejects)
}

fn line<'c, 'm>(
    collections: &'c mut BTreeMap<&'m str, CollectionSums>,
    name: &'m str,
) -> &'c mut CollectionSums {
    collections.entry(name).or_insert_with(|| CollectionSums {
        name: name.to_owned(),
        unreadable: 0,
        ignored: false,
        staged: 0,
        found: 0,
        sums: Sums::default(),
    })
}
