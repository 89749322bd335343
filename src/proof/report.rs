//! What a proof says: where every leaf of every document went, and what differs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// Differences that are named per collection.
pub const NAMED: usize = 20;

/// The exported documents against the rows in PostgreSQL.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DocumentProof {
    /// The collections that some table is made of, sorted by name.
    pub collections: Vec<LeafSums>,
    /// What differs; at most [`NAMED`] of each collection.
    pub differences: Vec<Difference>,
    /// Differences that are counted and not named.
    pub not_named: u64,
}

/// The leaves of a collection's documents: values that are no document and no array, and documents
/// and arrays with nothing in them. `leaves = equal + ruled + rejected + different`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeafSums {
    /// Collection.
    pub collection: String,
    /// Its documents.
    pub documents: u64,
    /// Their leaves.
    pub leaves: u64,
    /// Leaves that PostgreSQL holds as the document does.
    pub equal: u64,
    /// Leaves that a rule of the pipeline file changes or leaves out.
    pub ruled: u64,
    /// Leaves of records that are listed as rejects, with a reason that the documents show.
    pub rejected: u64,
    /// All others.
    pub different: u64,
    /// `ruled`, by rule.
    pub rules: BTreeMap<&'static str, u64>,
}

impl LeafSums {
    /// Adds the leaves of other documents of the collection.
    pub(super) fn add(&mut self, more: &Self) {
        self.documents += more.documents;
        self.leaves += more.leaves;
        self.equal += more.equal;
        self.ruled += more.ruled;
        self.rejected += more.rejected;
        self.different += more.different;
        for (rule, count) in &more.rules {
            *self.rules.entry(rule).or_default() += count;
        }
    }
}

/// One difference between a document and what PostgreSQL holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Collection; none for a row that no document accounts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// The document's `_id`, as in the `_id` column of its exported part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Path in the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Target table.
    pub table: String,
    /// Key of the row; all of it where the table has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Target column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What the column should hold by the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What it holds in PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.table)?;
        if let Some(key) = &self.key {
            write!(formatter, " row {key}")?;
        }
        if let Some(column) = &self.column {
            write!(formatter, ", column {column}")?;
        }
        write!(formatter, ": {}", self.what)?;
        if let (Some(source), Some(target)) = (&self.source, &self.target) {
            write!(formatter, ": {source} by the document, {target} in PostgreSQL")?;
        }
        let Some(collection) = &self.collection else { return Ok(()) };
        write!(formatter, " (collection {collection}")?;
        if let Some(id) = &self.id {
            write!(formatter, ", _id {id}")?;
        }
        if let Some(path) = &self.path {
            write!(formatter, ", field {path}")?;
        }
        formatter.write_str(")")
    }
}

impl DocumentProof {
    /// Whether every leaf is where it belongs.
    pub fn is_proved(&self) -> bool {
        let sound = |sums: &LeafSums| {
            sums.different == 0 && sums.leaves == sums.equal + sums.ruled + sums.rejected
        };
        self.differences.is_empty() && self.not_named == 0 && self.collections.iter().all(sound)
    }
}
