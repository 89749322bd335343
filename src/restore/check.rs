//! A restored export, read again and compared with the staged documents.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value as Json;

use super::RestoreError;
use crate::document::raw::value_length;
use crate::pgcopy::digest::{ContentDigest, row_hash};
use crate::progress::{Progress, Stage, Total};
use crate::source::SourceAddress;
use crate::source::whole::{Limit, Whole};
use crate::staging::chain::Chain;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::CollectionManifest;

/// A collection on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckedCollection {
    /// Name.
    pub name: String,
    /// Documents that were staged.
    pub documents: u64,
    /// Digest of their bytes, whatever their order.
    pub digest: String,
    /// What differs, a sentence each.
    pub differences: Vec<String>,
}

/// Documents and their digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    documents: u64,
    digest: ContentDigest,
}

impl Sum {
    fn add(&mut self, document: &[u8], measurement: bool) {
        self.documents += 1;
        let ordered = if measurement { by_name(document) } else { None };
        self.digest.add(row_hash(ordered.as_deref().unwrap_or(document)));
    }
}

/// The fields of a measurement in the order of their names: a server keeps them in the order of
/// the bucket in which it puts the measurement. None where the bytes are no document.
fn by_name(document: &[u8]) -> Option<Vec<u8>> {
    let mut fields: Vec<&[u8]> = Vec::new();
    let mut rest = document.get(4..document.len().checked_sub(1)?)?;
    while let Some((kind, after)) = rest.split_first() {
        let name = after.iter().position(|byte| *byte == 0)?;
        let length = 2 + name + value_length(*kind, after.get(name + 1..)?)?;
        fields.push(rest.get(..length)?);
        rest = &rest[length..];
    }
    fields.sort_unstable_by(|left, right| left[1..].cmp(&right[1..]));
    Some(fields.concat())
}

/// Compares an export with what was restored of it.
pub async fn check(
    run: &RunDirectory,
    restored: &SourceAddress,
    threads: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<CheckedCollection>, RestoreError> {
    let chain = Arc::new(Chain::open(run)?);
    let whole = Whole::open(restored).await?;
    let listed: BTreeMap<String, (usize, Vec<Json>)> = whole
        .collections
        .iter()
        .enumerate()
        .map(|(at, listed)| (listed.name.clone(), (at, listed.indexes.clone())))
        .collect();
    let sums = Arc::new(Mutex::new(vec![Sum::default(); whole.collections.len()]));
    let series: Vec<bool> =
        whole.collections.iter().map(|listed| listed.kind == "timeseries").collect();
    let item = "what was restored";
    progress.start(Stage::Verify, item, Total::Unknown);
    let (shared, told) = (Arc::clone(&sums), Arc::clone(progress));
    let take = Box::new(move |at: usize, documents: crate::source::whole::Documents| {
        let mut sum = Sum::default();
        for document in documents.iter() {
            sum.add(document, series[at]);
        }
        let mut sums = shared.lock().unwrap_or_else(PoisonError::into_inner);
        sums[at].documents += sum.documents;
        sums[at].digest.merge(&sum.digest);
        told.advance(Stage::Verify, item, sum.documents, documents.bytes() as u64);
        !told.interrupted()
    });
    whole.read(threads, Limit(None), take).await?;
    progress.finish(Stage::Verify, item);
    if progress.interrupted() {
        return Err(RestoreError::Interrupted);
    }
    let found = sums.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let progress = Arc::clone(progress);
    super::blocking(move || {
        let collections = chain.newest().collections.iter();
        collections
            .map(|collection| {
                let there = listed.get(&collection.name);
                let there = there.map(|(at, indexes)| (found[*at], indexes.as_slice()));
                compare(&chain, collection, there, progress.as_ref())
            })
            .collect()
    })
    .await
}

fn compare(
    chain: &Chain,
    collection: &CollectionManifest,
    found: Option<(Sum, &[Json])>,
    progress: &dyn Progress,
) -> Result<CheckedCollection, RestoreError> {
    let name = &collection.name;
    progress.start(Stage::Verify, name, Total::Records(collection.documents));
    let mut staged = Sum::default();
    for piece in chain.pieces(name)? {
        for batch in piece.read() {
            let batch = batch?;
            for at in 0..batch.len() {
                staged.add(batch.bytes(at), collection.kind == "timeseries");
            }
            progress.advance(Stage::Verify, name, batch.len() as u64, batch.total_bytes());
        }
    }
    progress.finish(Stage::Verify, name);
    let mut differences = Vec::new();
    match found {
        None => differences.push("it is missing".to_owned()),
        Some((found, indexes)) => {
            if found.documents != staged.documents {
                differences.push(format!(
                    "it has {} documents, not {}",
                    found.documents, staged.documents
                ));
            } else if found.digest != staged.digest {
                differences.push("its documents have other bytes".to_owned());
            }
            let names = |indexes: &[Json]| -> BTreeMap<String, Json> {
                let known = indexes.iter().map(|index| {
                    let mut index = index.clone();
                    // Where it belongs, and how it was built, is no part of it.
                    for key in ["ns", "background"] {
                        index.as_object_mut().and_then(|index| index.remove(key));
                    }
                    (index["name"].as_str().unwrap_or_default().to_owned(), index)
                });
                known.collect()
            };
            let (before, after) = (names(&collection.indexes), names(indexes));
            for (index, definition) in &before {
                match after.get(index) {
                    None => differences.push(format!("its index {index} is missing")),
                    Some(found) if !same(found, definition) => {
                        differences.push(format!("its index {index} is another one"));
                    }
                    Some(_) => {}
                }
            }
        }
    }
    Ok(CheckedCollection {
        name: name.clone(),
        documents: staged.documents,
        digest: staged.digest.to_hex(),
        differences,
    })
}

/// Whether two definitions say the same: old dumps write numbers without their types, and a server
/// keeps some of a newer one's settings in another order.
fn same(left: &Json, right: &Json) -> bool {
    fn plain(json: &Json) -> Json {
        match json {
            Json::Object(fields) => {
                let number = ["$numberInt", "$numberLong", "$numberDouble"]
                    .iter()
                    .find_map(|kind| fields.get(*kind)?.as_str()?.parse::<f64>().ok());
                match number {
                    Some(number) => Json::from(number),
                    None => {
                        let fields = fields.iter();
                        Json::Object(
                            fields.map(|(key, value)| (key.clone(), plain(value))).collect(),
                        )
                    }
                }
            }
            Json::Array(items) => Json::Array(items.iter().map(plain).collect()),
            Json::Number(number) => number.as_f64().map_or(Json::Null, Json::from),
            other => other.clone(),
        }
    }
    plain(left) == plain(right)
}
