//! The document that is asked for, and the staged rows that it led to.

use std::collections::HashMap;

use super::{Place, TraceError, is};
use crate::document::id::is_named;
use crate::pipeline::model::Pipeline;
use crate::pipeline::nearest_name;
use crate::proof::{Proof, Trace, TracedRow};
use crate::staging::checksum::sha256_hex;
use crate::staging::exported::documents;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, ExportManifest, TransformManifest};
use crate::staging::tuples::staged_tuples;

/// An exported document and where it is.
pub(super) struct Found {
    pub(super) collection: String,
    pub(super) id: String,
    pub(super) part: String,
    pub(super) part_sha256: String,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// The first document of a collection for which `meets` has something to say.
fn first<R>(
    run: &RunDirectory,
    collection: &CollectionManifest,
    mut meets: impl FnMut(Option<&str>, &str, &[u8]) -> Option<R>,
) -> Result<Option<(Found, R)>, TraceError> {
    let mut previous: Option<String> = None;
    for part in &collection.parts {
        let mut number = 0;
        for batch in documents(run, &part.file)? {
            let batch = batch?;
            for at in 0..batch.len() {
                let (id, bytes) = (batch.id(at), batch.bytes(at));
                if let Some(met) = meets(previous.as_deref(), id, bytes) {
                    let found = Found {
                        collection: collection.name.clone(),
                        id: id.to_owned(),
                        part: part.file.path.clone(),
                        part_sha256: part.file.sha256.clone(),
                        number,
                        bytes: bytes.len() as u64,
                        sha256: sha256_hex(bytes),
                    };
                    return Ok(Some((found, met)));
                }
                if previous.as_deref() != Some(id) {
                    previous = Some(id.to_owned());
                }
                number += 1;
            }
        }
    }
    Ok(None)
}

/// The document with this `_id`.
pub(super) fn document_with_id(
    run: &RunDirectory,
    export: &ExportManifest,
    proof: &Proof<'_>,
    name: &str,
    id: &str,
) -> Result<(Found, Trace), TraceError> {
    let collection = export.collections.iter().find(|collection| collection.name == name);
    let Some(collection) = collection else {
        let names = export.collections.iter().map(|collection| collection.name.as_str());
        let near = nearest_name(name, names).map(str::to_owned);
        return Err(TraceError::NoSuch { name: name.to_owned(), near });
    };
    let found = first(run, collection, |previous, staged, bytes| {
        is_named(staged, id).then(|| proof.trace(collection, previous, staged, bytes))
    })?;
    found.ok_or_else(|| TraceError::NoDocument { collection: name.to_owned(), id: id.to_owned() })
}

/// The document that a row with this key is made of. Every document of the collection is worked out
/// until one leads to the row.
pub(super) fn document_of_row(
    run: &RunDirectory,
    export: &ExportManifest,
    proof: &Proof<'_>,
    pipeline: &Pipeline,
    table: &str,
    key: &str,
) -> Result<(Found, Trace), TraceError> {
    let own = pipeline.tables.iter().find(|own| own.name == table);
    let junction = pipeline.junctions.iter().find(|junction| junction.name == table);
    let holders = junction.iter().flat_map(|junction| &junction.from);
    let holders =
        holders.filter_map(|from| pipeline.tables.iter().find(|holder| holder.name == from.table));
    for source in own.into_iter().chain(holders).map(|table| &table.source) {
        let collection = export.collections.iter().find(|found| found.name == *source);
        let Some(collection) = collection else { continue };
        let found = first(run, collection, |previous, id, bytes| {
            let trace = proof.trace(collection, previous, id, bytes);
            trace.rows.iter().any(|row| is(row, table, key)).then_some(trace)
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
    }
    Err(TraceError::NoRow { table: table.to_owned(), key: key.to_owned() })
}

/// Where the rows of a trace are staged, in their order.
pub(super) fn staged_rows_of(
    run: &RunDirectory,
    manifest: &TransformManifest,
    oids: &HashMap<String, u32>,
    rows: &[TracedRow],
) -> Result<Vec<Place>, TraceError> {
    let mut places = vec![Place::default(); rows.len()];
    for entry in &manifest.tables {
        let name = &entry.definition.name;
        let wanted: HashMap<&[u8], usize> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.table == *name)
            .map(|(at, row)| (row.tuple.as_slice(), at))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        staged_tuples(run, entry, oids, |part, number, tuple| {
            let place = wanted.get(tuple).and_then(|at| places.get_mut(*at));
            if let Some(place) = place.filter(|place| place.part.is_none()) {
                *place =
                    Place { part: Some(part.path.clone()), number: Some(number), target: None };
            }
        })?;
    }
    Ok(places)
}
