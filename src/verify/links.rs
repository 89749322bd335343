//! Junctions both ways: every element of the source's arrays whose two ends exist has its row, and
//! every row is held by an array. An element counts as dangling only where its target is not there.
//!
//! Links are worked out again from the exported documents, apart from the transform, and compared
//! with the rows that PostgreSQL returns. A row takes 16 bytes and a bit while it is compared.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use super::rows::{found_rows, key_positions, staged_rows};
use super::snapshot::guarded;
use super::{NAMED_ROWS, VerifyError};
use crate::document::id::{key_uuid, parse_object_id_hex, uuid_from_object_id, uuid_from_value};
use crate::document::identity;
use crate::document::raw::{Doc, Value};
use crate::pgcopy::PgType;
use crate::pgcopy::reader::fields;
use crate::pipeline::model::{FieldPath, Junction, Origin, Pipeline};
use crate::progress::{Progress, Stage, Total};
use crate::staging::exported::documents;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{ExportManifest, TableManifest, TransformManifest};
use crate::staging::part::PartFile;

/// Rows of junctions compared in one pass over the documents: 128 MB.
const PASS_ROWS: u64 = 8_000_000;

/// What was found of a junction.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) elements: u64,
    pub(super) differences: Vec<String>,
    /// Rows that no array of the source holds.
    pub(super) strangers: usize,
}

/// The rows of a junction, by a digest of their two keys, and whether an array holds each.
struct Rows {
    sorted: Vec<u128>,
    held: Vec<AtomicBool>,
    types: [PgType; 2],
    names: [String; 2],
    /// Keys of the rows that the two columns point to.
    targets: [Arc<Keys>; 2],
    /// Rows have the position of their link in its array, and repeats are rows of their own.
    ordered: bool,
}

/// The run whose links are compared, and how its keys are read.
pub(super) struct Linked<'l> {
    pub(super) run: &'l RunDirectory,
    pub(super) manifest: &'l TransformManifest,
    pub(super) export: &'l ExportManifest,
    pub(super) oids: &'l Arc<HashMap<String, u32>>,
    /// Rows of other runs may stand in its tables: its own keys are read from the staged files.
    pub(super) beside_others: bool,
}

/// What the arrays of some documents hold of a junction.
#[derive(Clone, Default)]
struct Tally {
    elements: u64,
    /// Elements of accepted documents that are no row because their target is not there.
    dangling: u64,
    /// Elements that are no row although their target is there.
    lost: u64,
    named: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.elements += other.elements;
        self.dangling += other.dangling;
        self.lost += other.lost;
        let room = NAMED_ROWS.saturating_sub(self.named.len());
        self.named.extend(other.named.into_iter().take(room));
    }
}

/// Keys of accepted rows of a table, sorted.
type Keys = Vec<u128>;

/// Compares the junctions of a run with the arrays they were filled from.
pub(super) async fn check(
    linked: &Linked<'_>,
    pipeline: &Pipeline,
    client: &Client,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<(String, Checked)>, VerifyError> {
    let manifest = linked.manifest;
    let rows_of = |junction: &Junction| {
        let entry = manifest.tables.iter().find(|entry| entry.definition.name == junction.name);
        entry.map_or(0, |entry| entry.rows)
    };
    let mut results = Vec::new();
    let mut rest: &[Junction] = &pipeline.junctions;
    while !rest.is_empty() {
        let mut rows = 0;
        let count = rest
            .iter()
            .take_while(|junction| {
                rows += rows_of(junction);
                rows <= PASS_ROWS
            })
            .count()
            .max(1);
        let (now, later) = rest.split_at(count);
        results.extend(pass(linked, pipeline, client, now, progress).await?);
        rest = later;
    }
    Ok(results)
}

async fn pass(
    linked: &Linked<'_>,
    pipeline: &Pipeline,
    client: &Client,
    junctions: &[Junction],
    progress: &Arc<dyn Progress>,
) -> Result<Vec<(String, Checked)>, VerifyError> {
    let Linked { run, manifest, export, .. } = *linked;
    let mut known: HashMap<&str, Arc<Keys>> = HashMap::new();
    let targets = junctions.iter().flat_map(|junction| &junction.columns);
    let holders = junctions.iter().flat_map(|junction| &junction.from);
    let named = targets.map(|column| &column.table).chain(holders.map(|from| &from.table));
    for name in named {
        let entry = manifest.tables.iter().find(|entry| entry.definition.name == *name);
        if let Some(entry) = entry.filter(|_| !known.contains_key(name.as_str())) {
            known.insert(name, Arc::new(keys(linked, client, entry).await?));
        }
    }
    let keys_of = |name: &str| known.get(name).cloned().unwrap_or_default();
    let definition = |name: &str| {
        manifest
            .tables
            .iter()
            .map(|entry| &entry.definition)
            .find(|definition| definition.name == name)
    };
    let mut all: Vec<Rows> = Vec::new();
    for junction in junctions {
        let mut rows = Rows {
            sorted: Vec::new(),
            held: Vec::new(),
            types: [PgType::Uuid, PgType::Uuid],
            names: junction.columns.each_ref().map(|column| column.table.clone()),
            targets: junction.columns.each_ref().map(|column| keys_of(&column.table)),
            ordered: junction.position.is_some(),
        };
        if let Some(definition) = definition(&junction.name) {
            for (at, column) in definition.columns.iter().take(2).enumerate() {
                rows.types[at] = column.pg_type.clone();
            }
            let read = found_rows(client, definition, |tuple| {
                let mut keys = fields(tuple).flatten();
                if let (Some(first), Some(second)) = (keys.next(), keys.next()) {
                    rows.sorted.push(link(first, second, keys.next()));
                }
            });
            // A table that cannot be read is reported with the table.
            if guarded(client, read).await?.is_err() {
                rows.sorted.clear();
            }
        }
        rows.sorted.sort_unstable();
        rows.held = rows.sorted.iter().map(|_| AtomicBool::new(false)).collect();
        all.push(rows);
    }
    let all = Arc::new(all);
    let mut tallies: Vec<Tally> = vec![Tally::default(); all.len()];
    let mut tables: Vec<&str> = junctions
        .iter()
        .flat_map(|junction| junction.from.iter().map(|from| from.table.as_str()))
        .collect();
    tables.sort_unstable();
    tables.dedup();
    for name in tables {
        let Some(table) = pipeline.tables.iter().find(|table| table.name == name) else { continue };
        if definition(name).is_none() {
            continue;
        }
        let key = table.columns.iter().find(|column| column.key.is_some());
        let Some((Origin::Paths(paths), key_type)) =
            key.map(|column| (&column.origin, column.pg_type.clone()))
        else {
            continue;
        };
        let Some(path) = paths.first().cloned() else { continue };
        let arrays: Vec<(usize, usize, FieldPath)> = junctions
            .iter()
            .enumerate()
            .flat_map(|(at, junction)| {
                let from = junction.from.iter().filter(|from| from.table == name);
                from.map(move |from| (at, from.side, from.path.clone()))
            })
            .collect();
        let accepted = keys_of(name);
        let files: Vec<_> = export
            .collections
            .iter()
            .filter(|collection| collection.name == table.source)
            .flat_map(|collection| collection.parts.iter().map(|part| part.file.clone()))
            .collect();
        let item = format!("links of {name}");
        progress.start(
            Stage::Verify,
            &item,
            Total::Records(files.iter().map(|file| file.rows).sum()),
        );
        let (run, progress, all) = (run.clone(), Arc::clone(progress), Arc::clone(&all));
        let task = tokio::task::spawn_blocking(move || {
            let compare_file = |file: &PartFile| {
                let mut tallies = vec![Tally::default(); all.len()];
                for batch in documents(&run, file)? {
                    let batch = batch?;
                    for at in 0..batch.len() {
                        let Ok(document) = Doc::new(batch.bytes(at)) else { continue };
                        let own =
                            Own { document, id: batch.id(at), path: &path, key_type: &key_type };
                        compare(&own, &accepted, &arrays, &all, &mut tallies);
                    }
                    progress.advance(Stage::Verify, &item, batch.len() as u64, 0);
                }
                Ok(tallies)
            };
            let found: Result<Vec<_>, VerifyError> = files.par_iter().map(compare_file).collect();
            progress.finish(Stage::Verify, &item);
            found
        });
        // In the order of the files, so that the same elements are named each time.
        for file in task.await.map_err(VerifyError::Worker)?? {
            for (tally, more) in tallies.iter_mut().zip(file) {
                tally.add(more);
            }
        }
    }
    let mut results = Vec::new();
    for ((junction, rows), tally) in junctions.iter().zip(all.iter()).zip(tallies) {
        let counts = manifest
            .tables
            .iter()
            .find(|entry| entry.definition.name == junction.name)
            .and_then(|entry| entry.junction.clone())
            .unwrap_or_default();
        results.push((junction.name.clone(), rows.conclude(tally, counts.dangling)));
    }
    Ok(results)
}

impl Rows {
    fn conclude(&self, tally: Tally, dangling: u64) -> Checked {
        let mut differences = Vec::new();
        if tally.lost > 0 {
            differences.push(format!(
                "{} elements of the source's arrays have no row although their target is there",
                tally.lost
            ));
        }
        // Elements without a target have no row, and the manifest counts them.
        if tally.dangling != dangling {
            differences.push(format!(
                "{} elements of the source's arrays have no target, the manifest knows of {dangling} that dangle",
                tally.dangling
            ));
        }
        if !differences.is_empty() {
            differences.extend(tally.named);
        }
        let strangers = self.held.iter().filter(|held| !held.load(Ordering::Relaxed)).count();
        Checked { elements: tally.elements, differences, strangers }
    }
}

/// A document that holds arrays, and where its key is.
struct Own<'d> {
    document: Doc<'d>,
    id: &'d str,
    path: &'d FieldPath,
    key_type: &'d PgType,
}

/// Looks up every element of a document's arrays among the rows.
fn compare(
    document: &Own<'_>,
    accepted: &Keys,
    arrays: &[(usize, usize, FieldPath)],
    all: &[Rows],
    tallies: &mut [Tally],
) {
    let Own { document, id, path, key_type } = *document;
    let Ok(Some(key)) = document.at(&path.0) else { return };
    let Some(own) = candidates(&key, key_type).into_iter().flatten().next() else { return };
    if accepted.binary_search(&digest(&own)).is_err() {
        return;
    }
    for (at, side, path) in arrays {
        let (rows, tally) = (&all[*at], &mut tallies[*at]);
        let mut met = FxHashSet::default();
        let mut element = |position: i32, value: &Value<'_>| {
            rows.element(tally, (&own, id), *side, (position, value), &mut met);
        };
        match document.at(&path.0) {
            Ok(Some(Value::Array(items))) => {
                let items = (0..).zip(items.elements().flatten());
                items.for_each(|(position, (_, item))| element(position, &item));
            }
            Ok(Some(single)) => element(0, &single),
            _ => {}
        }
    }
}

impl Rows {
    /// One element; `met` are those of the same array before it.
    fn element(
        &self,
        tally: &mut Tally,
        (own, id): (&[u8], &str),
        side: usize,
        (position, value): (i32, &Value<'_>),
        met: &mut FxHashSet<u128>,
    ) {
        if matches!(value, Value::Null | Value::Undefined) {
            return;
        }
        let other = candidates(value, &self.types[1 - side]);
        let Some(first) = other.first().cloned().flatten() else { return };
        tally.elements += 1;
        if !self.ordered && !met.insert(digest(&first)) {
            return;
        }
        for target in other.iter().flatten() {
            let place = position.to_be_bytes();
            let place = self.ordered.then_some(place.as_slice());
            let wanted =
                if side == 0 { link(own, target, place) } else { link(target, own, place) };
            if let Ok(at) = self.sorted.binary_search(&wanted) {
                self.held[at].store(true, Ordering::Relaxed);
                return;
            }
        }
        let exists = |key: &Vec<u8>| self.targets[1 - side].binary_search(&digest(key)).is_ok();
        let lost = other.iter().flatten().any(exists);
        if lost {
            tally.lost += 1;
        } else {
            tally.dangling += 1;
        }
        if tally.named.len() < NAMED_ROWS {
            let shown = uuid::Uuid::from_slice(&first)
                .map_or_else(|_| crate::staging::checksum::to_hex(&first), |uuid| uuid.to_string());
            let state = if lost { "is there" } else { "is not there" };
            tally.named.push(format!(
                "{} {id} names {} {shown}, which {state}, and there is no row for it",
                self.names[side],
                self.names[1 - side]
            ));
        }
    }
}

/// The bytes that a key may have in PostgreSQL, most likely first.
fn candidates(value: &Value<'_>, key_type: &PgType) -> Vec<Option<Vec<u8>>> {
    let value = match value {
        Value::Document(target) => match (target.get("$ref"), target.get("$id")) {
            (Ok(Some(_)), Ok(Some(id))) => id,
            _ => *value,
        },
        other => *other,
    };
    let number = identity::whole(&value);
    match key_type {
        PgType::BigInt => vec![number.map(|number| number.to_be_bytes().to_vec())],
        PgType::Integer => {
            let number = number.and_then(|number| i32::try_from(number).ok());
            vec![number.map(|number| number.to_be_bytes().to_vec())]
        }
        PgType::SmallInt => {
            let number = number.and_then(|number| i16::try_from(number).ok());
            vec![number.map(|number| number.to_be_bytes().to_vec())]
        }
        _ => match value {
            Value::ObjectId(id) | Value::DbPointer { id, .. } => {
                vec![Some(uuid_from_object_id(id).to_vec())]
            }
            Value::String(text) => {
                let as_id = parse_object_id_hex(text).map(|id| uuid_from_object_id(id).to_vec());
                match as_id {
                    Some(id) => {
                        vec![Some(id), uuid_from_value(&value).ok().map(|id| id.to_vec())]
                    }
                    None => vec![key_uuid(&value).ok().map(|id| id.to_vec())],
                }
            }
            Value::Array(_) => vec![None],
            _ => vec![key_uuid(&value).ok().map(|id| id.to_vec())],
        },
    }
}

fn digest(bytes: &[u8]) -> u128 {
    if let Ok(uuid) = <[u8; 16]>::try_from(bytes) {
        return u128::from_be_bytes(uuid);
    }
    let hash: [u8; 32] = Sha256::digest(bytes).into();
    hash.first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}

fn link(first: &[u8], second: &[u8], position: Option<&[u8]>) -> u128 {
    let mut bytes = Vec::with_capacity(33);
    bytes.extend_from_slice(first);
    // Keys of one table have one length, so that nothing else is needed between them.
    bytes.push(0);
    bytes.extend_from_slice(second);
    bytes.extend_from_slice(position.unwrap_or_default());
    digest(&bytes)
}

/// The keys of a table's rows: as PostgreSQL has them, or as they were staged where rows of others
/// stand beside them.
async fn keys(
    linked: &Linked<'_>,
    client: &Client,
    table: &TableManifest,
) -> Result<Keys, VerifyError> {
    let definition = &table.definition;
    let mut keys = Vec::new();
    if linked.beside_others {
        let Some(position) = key_positions(definition).first().copied() else { return Ok(keys) };
        let (run, table, oids) = (linked.run.clone(), table.clone(), Arc::clone(linked.oids));
        let read = tokio::task::spawn_blocking(move || {
            staged_rows(&run, &table, &oids, |tuple| {
                keys.extend(fields(tuple).nth(position).flatten().map(digest));
            })?;
            keys.sort_unstable();
            Ok(keys)
        });
        return read.await.map_err(VerifyError::Worker)?;
    }
    let mut only_key = definition.clone();
    only_key.columns.retain(|column| definition.primary_key.contains(&column.name));
    let read = found_rows(client, &only_key, |tuple| {
        keys.extend(fields(tuple).flatten().next().map(digest));
    });
    // A table that cannot be read is reported with the table.
    if guarded(client, read).await?.is_err() {
        keys.clear();
    }
    keys.sort_unstable();
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_as_digits_may_be_an_id_or_a_text() {
        let found = candidates(&Value::String("507f1f77bcf86cd799439011"), &PgType::Uuid);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            candidates(
                &Value::ObjectId(parse_object_id_hex("507f1f77bcf86cd799439011").unwrap()),
                &PgType::Uuid
            )[0]
        );
    }

    #[test]
    fn an_element_is_dangling_only_where_its_target_is_not_there() {
        let id = |last: u8| [7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let key = |last: u8| uuid_from_object_id(id(last)).to_vec();
        let keys = |last: u8| Arc::new(vec![digest(&key(last))]);
        let rows = Rows {
            sorted: Vec::new(),
            held: Vec::new(),
            types: [PgType::Uuid, PgType::Uuid],
            names: ["a".to_owned(), "b".to_owned()],
            targets: [keys(1), keys(2)],
            ordered: false,
        };
        let mut tally = Tally::default();
        for named in [2, 3] {
            let value = Value::ObjectId(id(named));
            rows.element(&mut tally, (&key(1), "1"), 0, (0, &value), &mut FxHashSet::default());
        }
        assert_eq!((tally.lost, tally.dangling), (1, 1));
        // A manifest that counts the lost link as dangling contradicts the rows all the same.
        assert_eq!(rows.conclude(tally.clone(), 2).differences.len(), 4);
        assert_eq!(rows.conclude(tally, 1).differences.len(), 3);
    }
}
