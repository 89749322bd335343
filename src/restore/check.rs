//! A restored export, read again and compared with the staged documents, definitions included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::Value as Json;

use super::scratch::MARK_COLLECTION;
use super::{RestoreError, differ, remade, sqlite};
use crate::document::raw::value_length;
use crate::pgcopy::digest::{ContentDigest, row_hash};
use crate::progress::{Progress, Stage, Total};
use crate::source::dump::Dump;
use crate::source::mongodb::{Server, extended};
use crate::source::sqlite::Sqlite;
use crate::source::whole::{Limit, Whole};
use crate::source::{SourceAddress, SourceError};
use crate::staging::chain::Chain;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, ExportManifest};

/// What a restore gave back, compared with the export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The collections of the export.
    pub collections: Vec<CheckedCollection>,
    /// What differs in views, triggers, and what the export does not have, a sentence each.
    pub differences: Vec<String>,
}

impl Checked {
    /// All that differs, a sentence each.
    pub fn differences(&self) -> Vec<String> {
        let of_collections = self.collections.iter().flat_map(|one| {
            one.differences.iter().map(|difference| format!("{}: {difference}", one.name))
        });
        of_collections.chain(self.differences.iter().cloned()).collect()
    }
}

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

/// Documents and their digest: a multiset, so that repeats count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    documents: u64,
    digest: ContentDigest,
}

/// How a document is hashed.
#[derive(Clone, Copy)]
enum Hashed {
    /// All of its bytes.
    Bytes,
    /// Its fields in the order of their names: a server keeps those of a measurement in the order of
    /// the bucket in which it puts it.
    Measurement,
    /// Its values as SQLite keeps them.
    Row,
}

impl Hashed {
    /// As it is, or as a measurement where the collection is a time series.
    fn of(self, kind: &str) -> Self {
        if kind == "timeseries" { Self::Measurement } else { self }
    }
}

impl Sum {
    fn add(&mut self, document: &[u8], hashed: Hashed) {
        self.documents += 1;
        self.digest.add(match hashed {
            Hashed::Bytes => row_hash(document),
            Hashed::Measurement => row_hash(by_name(document).as_deref().unwrap_or(document)),
            Hashed::Row => sqlite::fingerprint(document),
        });
    }
}

/// The fields of a document in the order of their names; none where the bytes are no document.
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

/// A restored collection.
struct Found {
    index: usize,
    options: Json,
    indexes: Vec<Json>,
}

/// Compares an export with what was restored of it.
pub async fn check(
    run: &RunDirectory,
    restored: &SourceAddress,
    threads: usize,
    progress: &Arc<dyn Progress>,
) -> Result<Checked, RestoreError> {
    let chain = Arc::new(Chain::open(run)?);
    // Rows of PostgreSQL come back in SQLite's types.
    let hashed = match (restored, chain.newest().source.kind.as_str()) {
        (SourceAddress::Sqlite(_), kind) if kind != "sqlite" => Hashed::Row,
        _ => Hashed::Bytes,
    };
    let whole = Whole::open(restored).await?;
    let listed: BTreeMap<String, Found> = whole
        .collections
        .iter()
        .enumerate()
        .map(|(index, listed)| {
            let (options, indexes) = (listed.options.clone(), listed.indexes.clone());
            (listed.name.clone(), Found { index, options, indexes })
        })
        .collect();
    let sums = Arc::new(Mutex::new(vec![Sum::default(); whole.collections.len()]));
    let ways: Vec<Hashed> =
        whole.collections.iter().map(|listed| hashed.of(&listed.kind)).collect();
    let item = "what was restored";
    progress.start(Stage::Verify, item, Total::Unknown);
    let (shared, told) = (Arc::clone(&sums), Arc::clone(progress));
    let take = Box::new(move |at: usize, documents: crate::source::whole::Documents| {
        let mut sum = Sum::default();
        for document in documents.iter() {
            sum.add(document, ways[at]);
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
    let mut differences = compare_others(chain.newest(), &others(restored).await?);
    differences.extend(strangers(chain.newest(), listed.keys()));
    differences.extend(settings(chain.newest(), restored)?);
    let found = sums.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let progress = Arc::clone(progress);
    super::blocking(move || {
        let collections = chain.newest().collections.iter();
        let collections: Result<Vec<_>, RestoreError> = collections
            .map(|collection| {
                let there = listed.get(&collection.name);
                let there = there.map(|there| (found[there.index], there));
                compare(&chain, collection, there, hashed, progress.as_ref())
            })
            .collect();
        Ok(Checked { collections: collections?, differences })
    })
    .await
}

/// Definitions by name; a trigger of SQLite may have the name of a view.
type Others = BTreeMap<String, Vec<Json>>;

/// Views, and what else holds no documents.
async fn others(restored: &SourceAddress) -> Result<Others, SourceError> {
    let mut others: Vec<(String, Json)> = Vec::new();
    match restored {
        SourceAddress::MongoDb(uri) => {
            let listed = Server::connect(uri).await?.collections().await?;
            let views = listed.into_iter().filter(|listed| listed.kind == "view");
            for view in views {
                let options = extended(&view.options)?;
                others.extend([(view.name, options)]);
            }
        }
        SourceAddress::Dump(path) => {
            let dumped = Dump::open(path)?.collections;
            let views =
                dumped.into_iter().filter(|dumped| dumped.options().get("viewOn").is_some());
            others.extend(views.map(|view| (view.name.clone(), view.options())));
        }
        SourceAddress::Sqlite(path) => {
            let (_, left) = Sqlite::open(path)?.tables()?;
            others.extend(left.into_iter().map(|left| (left.name, Json::from(left.sql))));
        }
        _ => {}
    }
    let mut named = Others::new();
    for (name, definition) in others {
        named.entry(name).or_default().push(definition);
    }
    Ok(named)
}

/// Says which settings of a SQLite file are not those of the export.
fn settings(export: &ExportManifest, restored: &SourceAddress) -> Result<Vec<String>, SourceError> {
    let SourceAddress::Sqlite(path) = restored else { return Ok(Vec::new()) };
    let found = Sqlite::open(path)?.settings()?;
    let before = &export.source.settings;
    let differing = ["user_version", "application_id"]
        .into_iter()
        .filter(|name| before.get(name).is_some_and(|value| found.get(name) != Some(value)));
    Ok(differing.map(|name| format!("{name} is {}, not {}", found[name], before[name])).collect())
}

fn compare_others(export: &ExportManifest, found: &Others) -> Vec<String> {
    let mut differences = Vec::new();
    for skipped in remade(export) {
        let name = &skipped.name;
        let Some(found) = found.get(name) else {
            differences.push(format!("{name}: it is missing"));
            continue;
        };
        let compared = found.iter().map(|found| differ::options(&skipped.options, found));
        let nearest = compared.min_by_key(Vec::len).unwrap_or_default();
        differences.extend(nearest.into_iter().map(|line| format!("{name}: {line}")));
    }
    let known: BTreeSet<&str> = export.skipped.iter().map(|skipped| &*skipped.name).collect();
    let strangers = found.keys().filter(|name| !known.contains(name.as_str()));
    let strangers = strangers.filter(|name| !name.starts_with("sqlite_"));
    differences.extend(strangers.map(|name| format!("{name}: the export does not have it")));
    differences
}

/// Collections that the export does not have.
fn strangers<'l>(
    export: &ExportManifest,
    listed: impl Iterator<Item = &'l String>,
) -> impl Iterator<Item = String> {
    listed
        .filter(|name| *name != MARK_COLLECTION && !export.has(name))
        .map(|name| format!("{name}: the export does not have it"))
}

fn compare(
    chain: &Chain,
    collection: &CollectionManifest,
    found: Option<(Sum, &Found)>,
    hashed: Hashed,
    progress: &dyn Progress,
) -> Result<CheckedCollection, RestoreError> {
    let name = &collection.name;
    progress.start(Stage::Verify, name, Total::Records(collection.documents));
    let mut staged = Sum::default();
    for piece in chain.pieces(name)? {
        for batch in piece.read() {
            let batch = batch?;
            for at in 0..batch.len() {
                staged.add(batch.bytes(at), hashed.of(&collection.kind));
            }
            progress.advance(Stage::Verify, name, batch.len() as u64, batch.total_bytes());
        }
    }
    progress.finish(Stage::Verify, name);
    let mut differences = Vec::new();
    match found {
        None => differences.push("it is missing".to_owned()),
        Some((sum, found)) => {
            if sum.documents != staged.documents {
                differences
                    .push(format!("it has {} documents, not {}", sum.documents, staged.documents));
            } else if sum.digest != staged.digest {
                differences.push("its documents have other bytes".to_owned());
            }
            differences.extend(differ::options(&collection.options, &found.options));
            differences.extend(differ::indexes(collection, &found.indexes)?);
        }
    }
    Ok(CheckedCollection {
        name: name.clone(),
        documents: staged.documents,
        digest: staged.digest.to_hex(),
        differences,
    })
}
