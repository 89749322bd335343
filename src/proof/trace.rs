//! One document, told leaf by leaf.

use serde::Serialize;

use super::document::Judge;
use super::fate::{Fate, Take};
use super::json::extended;
use super::mapping::TableMap;
use super::node::Node;
use super::prove::Proof;
use crate::pgcopy::reader::fields;
use crate::pgcopy::{PgType, show};
use crate::staging::manifest::CollectionManifest;

/// What a document leads to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Trace {
    /// Its leaves, in order.
    pub leaves: Vec<TracedLeaf>,
    /// The rows that it should be, those of junctions included.
    pub rows: Vec<TracedRow>,
    /// The rules that its records break, a sentence each.
    pub refused: Vec<String>,
}

/// A value that is no document and no array, or one of these with nothing in it.
#[derive(Clone, Debug, Serialize)]
pub struct TracedLeaf {
    /// Path in the document.
    pub path: String,
    /// Canonical Extended JSON.
    pub value: String,
    /// `equal`, `rejected`, `different`, or the rule that changes it or leaves it out.
    pub end: &'static str,
    /// Columns that hold it, with their tables.
    pub columns: Vec<String>,
}

/// A row.
#[derive(Clone, Debug, Serialize)]
pub struct TracedRow {
    /// Table.
    pub table: String,
    /// Its key as text; all of it where the table has none.
    pub key: String,
    /// Its columns, in order.
    pub columns: Vec<TracedColumn>,
    /// As the tuple of a binary COPY.
    #[serde(skip)]
    pub tuple: Vec<u8>,
}

/// A column of a row.
#[derive(Clone, Debug, Serialize)]
pub struct TracedColumn {
    /// Its name.
    pub column: String,
    /// What it holds; none for NULL.
    pub value: Option<String>,
    /// Where the value stands in the document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The rule by which it is not the value as it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
}

impl Trace {
    /// Notes a row of a table.
    pub(super) fn row(
        &mut self,
        table: &TableMap<'_>,
        root: &Node<'_>,
        types: &[PgType],
        tuple: &[u8],
        takes: &[Take],
    ) {
        let names = table.columns.iter().map(|column| column.column.name.clone());
        let mut row = traced(&table.table.name, names, types, tuple, &table.key);
        for (at, column) in row.columns.iter_mut().enumerate() {
            let take = takes.iter().find(|take| take.column == Some(at));
            column.path = take.map(|take| root.path_of(take.leaves.start));
            column.rule = take.and_then(|take| take.rule).map(super::fate::Rule::name);
        }
        let of_leaf = takes.iter().filter(|take| take.rule.is_none());
        for take in of_leaf {
            let Some(column) = take.column.and_then(|at| table.columns.get(at)) else { continue };
            let name = format!("{}.{}", table.table.name, column.column.name);
            for leaf in self.leaves.get_mut(take.leaves.clone()).unwrap_or_default() {
                if !leaf.columns.contains(&name) {
                    leaf.columns.push(name.clone());
                }
            }
        }
        self.rows.push(row);
    }

    /// Notes a row of a junction.
    pub(super) fn link(
        &mut self,
        junction: &super::mapping::JunctionMap<'_>,
        element: &Node<'_>,
        types: &[PgType],
        tuple: &[u8],
    ) {
        let name = &junction.junction.name;
        let names = junction.definition.columns.iter().map(|column| column.name.clone());
        for leaf in self.leaves.get_mut(element.leaves.clone()).unwrap_or_default() {
            leaf.columns.push(name.clone());
        }
        let row = traced(name, names, types, tuple, &[0, 1]);
        if !self.rows.iter().any(|other| other.table == row.table && other.tuple == row.tuple) {
            self.rows.push(row);
        }
    }

    fn begin(root: &Node<'_>) -> Self {
        let mut leaves = Vec::new();
        list(root, "", &mut leaves);
        Self { leaves, ..Self::default() }
    }
}

fn list(node: &Node<'_>, path: &str, leaves: &mut Vec<TracedLeaf>) {
    if node.children.is_empty() {
        leaves.push(TracedLeaf {
            path: path.to_owned(),
            value: extended(node.value).map(|value| value.to_string()).unwrap_or_default(),
            end: "different",
            columns: Vec::new(),
        });
    }
    for child in &node.children {
        let dot = if path.is_empty() { "" } else { "." };
        list(child, &format!("{path}{dot}{}", child.name), leaves);
    }
}

fn traced(
    table: &str,
    names: impl Iterator<Item = String>,
    types: &[PgType],
    tuple: &[u8],
    key: &[usize],
) -> TracedRow {
    let values = fields(tuple).zip(types);
    let columns = names.zip(values).map(|(column, (value, pg_type))| TracedColumn {
        column,
        value: value.map(|bytes| show::field(bytes, pg_type, false)),
        path: None,
        rule: None,
    });
    TracedRow {
        table: table.to_owned(),
        key: show::row(tuple, types, key),
        columns: columns.collect(),
        tuple: tuple.to_vec(),
    }
}

impl Proof<'_> {
    /// Tells what an exported document leads to; `previous` is the `_id` of the document before it.
    pub fn trace(
        &self,
        collection: &CollectionManifest,
        previous: Option<&str>,
        id: &str,
        bytes: &[u8],
    ) -> Trace {
        let Ok(root) = Node::read(bytes) else { return Trace::default() };
        let tables = self.tables_of(&collection.name);
        let previous = previous.map(str::to_owned);
        let mut judge = Judge::new(self, collection, &tables, None, (0, previous));
        judge.trace = Some(Trace::begin(&root));
        judge.document(id, bytes);
        let fates = judge.fates();
        let ends = fates.iter().map(|fate| match fate {
            Fate::Equal => "equal",
            Fate::Rejected => "rejected",
            Fate::Ruled(rule) => rule.name(),
            Fate::Open | Fate::Different => "different",
        });
        let ends: Vec<_> = ends.collect();
        let mut trace = judge.trace.take().unwrap_or_default();
        for (leaf, end) in trace.leaves.iter_mut().zip(ends) {
            leaf.end = end;
        }
        trace
    }
}
