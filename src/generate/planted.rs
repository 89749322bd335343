//! The planted list: every flaw, and what must become of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a generated database holds, exactly.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planted {
    /// Pipeline name.
    pub pipeline: String,
    /// Seed.
    pub seed: u64,
    /// Every flaw.
    pub flaws: Vec<PlantedFlaw>,
    /// Totals of the tables that are filled from whole documents.
    pub tables: BTreeMap<String, TableTotals>,
    /// Totals of the junction tables.
    pub junctions: BTreeMap<String, JunctionTotals>,
}

/// One flaw of one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantedFlaw {
    /// Collection.
    pub collection: String,
    /// `_id`, as in the `_id` column of an exported part.
    pub id: String,
    /// Table that it concerns.
    pub table: String,
    /// Column that it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What is wrong.
    pub flaw: String,
    /// What must become of it.
    pub expect: Expectation,
}

/// What must become of a flaw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// The document is a reject under this rule.
    Reject(String),
    /// The column is NULL, and a finding of this rule names the document.
    Finding(String),
    /// The column holds this value, as PostgreSQL prints it.
    Value(Option<String>),
    /// The document becomes a row, and the totals of this junction count what its array holds.
    Junction(String),
}

/// Totals of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableTotals {
    /// Documents.
    pub records: u64,
    /// Those that become rows.
    pub rows: u64,
    /// Those that are rejects, by rule.
    pub rejects: BTreeMap<String, u64>,
    /// Findings, by rule.
    pub findings: BTreeMap<String, u64>,
}

/// Totals of a junction table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JunctionTotals {
    /// Elements of all arrays.
    pub elements: u64,
    /// Links found on both sides.
    pub both_sides: u64,
    /// Links that only the first side holds.
    pub only_first: u64,
    /// Links that only the second side holds.
    pub only_second: u64,
    /// Repeats inside an array.
    pub repeats: u64,
    /// Null elements.
    pub nulls: u64,
    /// Elements without a target.
    pub dangling: u64,
    /// Elements that are no id.
    pub refused: u64,
}
