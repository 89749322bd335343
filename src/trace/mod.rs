//! One document, or one row, from the source to PostgreSQL: for whoever picks one and asks.

mod error;
mod find;
mod target;

use std::collections::HashMap;

pub use error::TraceError;
use serde::Serialize;

use self::find::{Found, document_of_row, document_with_id, staged_rows_of};
use crate::pgcopy::digest::TableDigest;
use crate::pipeline::model::Pipeline;
use crate::postgres::Target;
use crate::progress::Stage;
use crate::proof::{Gathered, Proof, Trace, TracedRow};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{ExportManifest, TransformManifest};
use crate::staging::rejects::{List, Reject, lines};
use crate::staging::tuples::staged_tuples;

/// What is told of a document.
#[derive(Debug, Serialize)]
pub struct Traced {
    /// Collection.
    pub collection: String,
    /// The `_id`, as in the `_id` column of its exported part.
    pub id: String,
    /// The exported part that holds it.
    pub part: String,
    /// SHA-256 of that file.
    pub part_sha256: String,
    /// Its place among the part's documents, from 0.
    pub number: u64,
    /// Bytes of its BSON.
    pub bytes: u64,
    /// SHA-256 of its BSON.
    pub sha256: String,
    /// What it leads to.
    #[serde(flatten)]
    pub trace: Trace,
    /// Where each of its rows is: in the order of `rows`.
    pub places: Vec<Place>,
    /// Its lines in the list of rejects.
    pub rejects: Vec<Reject>,
    /// Its lines in the list of findings.
    pub findings: Vec<Reject>,
}

/// Where a row is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The staged part that holds it; none where no part does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// Its place in that part, from 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// What PostgreSQL holds, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Held>,
}

/// What PostgreSQL holds of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// The row as it should be.
    Equal,
    /// No row with its key.
    Missing,
    /// Another one: columns that differ, with what they hold; none for NULL.
    Differs(Vec<(String, Option<String>)>),
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'w> {
    /// The document of a collection with this `_id`.
    Document(&'w str, &'w str),
    /// The row of a table with this key.
    Row(&'w str, &'w str),
}

/// Traces a document, or the document of a row and this row alone.
///
/// # Errors
///
/// When there is no such document or row, or files or the target cannot be read.
pub async fn trace(
    run: &RunDirectory,
    pipeline: &Pipeline,
    wanted: Wanted<'_>,
    target: Option<&Target>,
) -> Result<Traced, TraceError> {
    let manifest = TransformManifest::read(run)?;
    let export = ExportManifest::read(run)?;
    let pipeline = pipeline.resolved(|name| export.has(name));
    let mut proof = Proof::new(run, &pipeline, &manifest, &export)?;
    let oids: HashMap<String, u32> =
        pipeline.enums.iter().map(|of_type| (of_type.name.clone(), 0)).collect();
    let mut gathered = HashMap::new();
    for (name, kept) in proof.wanted() {
        let mut rows = Gathered::new(kept);
        let entry = manifest.tables.iter().find(|entry| entry.definition.name == name);
        if let Some(entry) = entry.filter(|_| rows.is_needed()) {
            staged_tuples(run, entry, &oids, |_, _, tuple| rows.add(tuple))?;
        }
        rows.finish(&TableDigest::default());
        gathered.insert(name, rows);
    }
    proof.take(gathered, &oids)?;
    let (found, trace) = match wanted {
        Wanted::Document(collection, id) => document_with_id(run, &export, &proof, collection, id)?,
        Wanted::Row(table, key) => {
            let (found, mut trace) = document_of_row(run, &export, &proof, &pipeline, table, key)?;
            trace.rows.retain(|row| row.table == table && row.key == key);
            let columns = trace.rows.iter().flat_map(|row| &row.columns);
            let paths: Vec<String> = columns.filter_map(|column| column.path.clone()).collect();
            let name = format!("{table}.");
            trace.leaves.retain(|leaf| {
                paths.contains(&leaf.path)
                    && (leaf.columns.is_empty()
                        || leaf.columns.iter().any(|column| column.starts_with(&name)))
                    || leaf.columns.iter().any(|column| column == table)
            });
            (found, trace)
        }
    };
    let mut places = staged_rows_of(run, &manifest, &oids, &trace.rows)?;
    if let Some(target) = target {
        let client = target.connect().await?;
        for (row, place) in trace.rows.iter().zip(&mut places) {
            let entry = manifest.tables.iter().find(|entry| entry.definition.name == row.table);
            if let Some(entry) = entry {
                place.target = Some(target::held(&client, &entry.definition, row).await?);
            }
        }
    }
    let of_list = |list: List| -> Result<Vec<Reject>, TraceError> {
        let mut own = Vec::new();
        for line in lines::<Reject>(run, list, Stage::Transform)? {
            let line = line?;
            if line.collection == found.collection && line.id == found.id {
                own.push(line);
            }
        }
        Ok(own)
    };
    let (rejects, findings) = (of_list(List::Rejects)?, of_list(List::Findings)?);
    let Found { collection, id, part, part_sha256, number, bytes, sha256 } = found;
    Ok(Traced {
        collection,
        id,
        part,
        part_sha256,
        number,
        bytes,
        sha256,
        trace,
        places,
        rejects,
        findings,
    })
}

/// Whether a row of the trace is the wanted one.
fn is(row: &TracedRow, table: &str, key: &str) -> bool {
    row.table == table && row.key == key
}
