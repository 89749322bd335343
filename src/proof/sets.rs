//! The rows that references can point to.

use std::collections::HashMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;

use super::ProofError;
use super::value::Held;
use super::wire::{EnumOids, content, digest, identity};
use crate::pgcopy::PgType;
use crate::pgcopy::reader::fields;
use crate::staging::StagingError;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::TableManifest;
use crate::staging::part;
use crate::staging::tuples::staged_tuples;

/// A table and a column of it, by their places in the pipeline file.
pub(super) type Place = (usize, usize);

/// A key of a column.
pub(super) type Key = (Place, u128);

/// Keys that PostgreSQL holds, 16 bytes each, and the numbers that stand for `_id`s.
#[derive(Default)]
pub(super) struct Sets {
    /// Sorted identities of the values of a column.
    pub(super) keys: HashMap<Place, Vec<u128>>,
    /// By table with a serial key: the key of each `_id` and its number, sorted.
    pub(super) numbers: HashMap<usize, Vec<(u128, i64)>>,
    /// How often rejects were taken once more.
    pub(super) retries: usize,
    /// Keys of rows that came then, with the number of the retry, from 1.
    pub(super) late: HashMap<Key, usize>,
    /// Digests of these rows, likewise.
    pub(super) late_rows: HashMap<u128, usize>,
    pub(super) oids: EnumOids,
}

impl Sets {
    /// The key that a value is in a column; none for NULL.
    pub(super) fn key(&self, place: Place, held: &Held, pg_type: &PgType) -> Option<Key> {
        let bytes = content(held, pg_type, &self.oids)?;
        Some((place, identity(&bytes, pg_type)))
    }

    /// Whether a row of the column's table, of those that were there after so many retries, has this
    /// value in it.
    pub(super) fn holds(
        &self,
        place: Place,
        held: &Held,
        pg_type: &PgType,
        retries: usize,
    ) -> bool {
        let Some(key) = self.key(place, held, pg_type) else { return false };
        let keys = self.keys.get(&place).map_or(&[][..], Vec::as_slice);
        keys.binary_search(&key.1).is_ok()
            && (self.late.is_empty() || self.late.get(&key).is_none_or(|came| *came <= retries))
    }

    /// The number that stands for an `_id`.
    pub(super) fn number(&self, table: usize, key: [u8; 16]) -> Option<i64> {
        let numbers = self.numbers.get(&table)?;
        let key = u128::from_be_bytes(key);
        let at = numbers.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        numbers.get(at).map(|(_, number)| *number)
    }
}

/// Reads the staged map of old and new keys of a table.
pub(super) fn read_numbers(
    run: &RunDirectory,
    table: &TableManifest,
) -> Result<Vec<(u128, i64)>, ProofError> {
    let mut numbers = Vec::new();
    for file in &table.ids {
        let foreign =
            |detail: String| StagingError::Foreign { path: file.path.clone().into(), detail };
        for batch in part::open(run, file)? {
            let batch = batch
                .map_err(|source| StagingError::Arrow { path: file.path.clone().into(), source })?;
            let uuids = batch.column_by_name("uuid");
            let uuids = uuids.and_then(|column| column.as_fixed_size_binary_opt());
            let keys = batch.column_by_name("key");
            let keys = keys.and_then(|column| column.as_primitive_opt::<Int64Type>());
            let (Some(uuids), Some(keys)) = (uuids, keys) else {
                return Err(foreign("it is no map of old and new keys".to_owned()).into());
            };
            for at in 0..batch.num_rows() {
                if let Ok(uuid) = uuids.value(at).try_into()
                    && !keys.is_null(at)
                {
                    numbers.push((u128::from_be_bytes(uuid), keys.value(at)));
                }
            }
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Keeps the rows of a table that retries added: their digests, and the values of these columns.
pub(super) fn read_late(
    run: &RunDirectory,
    table: &TableManifest,
    (at, columns): (usize, &[usize]),
    sets: &mut Sets,
) -> Result<(), ProofError> {
    let Some(first) = table.retried.first() else { return Ok(()) };
    let types: Vec<PgType> =
        table.definition.columns.iter().map(|column| column.pg_type.clone()).collect();
    sets.retries = sets.retries.max(table.retried.len());
    let (oids, mut found) = (sets.oids.clone(), Vec::new());
    for (place, file) in table.parts.iter().enumerate().skip(*first) {
        let came = table.retried.iter().filter(|start| **start <= place).count();
        let of_part = TableManifest { parts: vec![file.clone()], ..table.clone() };
        staged_tuples(run, &of_part, &oids, |_, _, tuple| {
            let values: Vec<Option<&[u8]>> = fields(tuple).collect();
            let keys = columns.iter().filter_map(|column| {
                let bytes = values.get(*column).copied().flatten()?;
                Some(((at, *column), identity(bytes, types.get(*column)?)))
            });
            found.push((digest(tuple), keys.collect::<Vec<Key>>(), came));
        })?;
    }
    for (row, keys, came) in found {
        sets.late_rows.insert(row, came);
        sets.late.extend(keys.into_iter().map(|key| (key, came)));
    }
    Ok(())
}
