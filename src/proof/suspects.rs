//! Rows that differ, held by their keys while the documents are worked out once more.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use rustc_hash::FxHashSet;

use super::mapping::Mapping;
use super::report::{Difference, NAMED};
use super::wire::digest;
use crate::pgcopy::digest::{bucket, key_bytes};
use crate::pgcopy::reader::fields;
use crate::pgcopy::show;
use crate::staging::table::TableDefinition;

/// Buckets of a table whose rows are held: one in 4096 of its rows each.
const HELD_BUCKETS: usize = 20;

/// What is there for an expected row.
pub(super) enum Verdict {
    Equal,
    Missing,
    /// This is there instead; these columns differ.
    Differs(Vec<u8>, Vec<usize>),
    /// Some row of its bucket differs; which is not known.
    Unknown,
}

/// Tables whose rows are not those that the documents lead to.
#[derive(Default)]
pub struct Suspects {
    tables: HashMap<usize, Suspect>,
    /// Links that no array holds, by junction, and how many there are.
    links: HashMap<usize, (FxHashSet<u128>, u64)>,
    /// The same as their tuples.
    strangers: Vec<(usize, Vec<u8>)>,
}

#[derive(Default)]
struct Suspect {
    /// Buckets that differ, in order.
    differing: Vec<usize>,
    /// Rows in PostgreSQL of the first of them, by key; those that an expected row was found for
    /// are taken out.
    rows: Mutex<BTreeMap<Vec<u8>, Vec<Vec<u8>>>>,
}

impl Suspect {
    fn holds(&self, bucket: usize) -> bool {
        let held = self.differing.get(..HELD_BUCKETS).unwrap_or(&self.differing);
        held.binary_search(&bucket).is_ok()
    }
}

impl Suspects {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.links.is_empty()
    }

    pub(super) fn table(&mut self, at: usize, differing: Vec<usize>) {
        if !differing.is_empty() {
            self.tables.insert(at, Suspect { differing, ..Suspect::default() });
        }
    }

    pub(super) fn links(&mut self, at: usize, alone: impl Iterator<Item = u128>) {
        let (mut named, mut count) = (FxHashSet::default(), 0);
        for link in alone {
            count += 1;
            if named.len() < NAMED {
                named.insert(link);
            }
        }
        if count > 0 {
            self.links.insert(at, (named, count));
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.tables.extend(other.tables);
    }

    pub(super) fn tables<'p>(&self, mapping: &Mapping<'p>) -> Vec<&'p TableDefinition> {
        let tables = self.tables.keys().filter_map(|at| mapping.tables.get(*at));
        let links = self.links.keys().filter_map(|at| mapping.junctions.get(*at));
        tables.map(|it| it.definition).chain(links.map(|it| it.definition)).collect()
    }

    /// Holds a row that PostgreSQL returned, where it is of those that differ.
    pub(super) fn row(&mut self, mapping: &Mapping<'_>, table: &str, tuple: &[u8]) {
        for (at, suspect) in &self.tables {
            let Some(own) = mapping.tables.get(*at).filter(|own| own.table.name == table) else {
                continue;
            };
            if suspect.holds(bucket(tuple, &own.key)) {
                let mut rows = suspect.rows.lock().unwrap_or_else(PoisonError::into_inner);
                rows.entry(key_bytes(tuple, &own.key)).or_default().push(tuple.to_vec());
            }
        }
        for (at, (alone, _)) in &self.links {
            let own = mapping.junctions.get(*at).filter(|own| own.junction.name == table);
            if own.is_some() && alone.contains(&digest(tuple)) {
                self.strangers.push((*at, tuple.to_vec()));
            }
        }
    }

    /// What is there for a row that a document leads to.
    pub(super) fn verdict(&self, at: usize, tuple: &[u8], key: &[usize]) -> Verdict {
        let Some(suspect) = self.tables.get(&at) else { return Verdict::Equal };
        let bucket = bucket(tuple, key);
        if suspect.differing.binary_search(&bucket).is_err() {
            return Verdict::Equal;
        }
        if !suspect.holds(bucket) {
            return Verdict::Unknown;
        }
        let mut rows = suspect.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = rows.get_mut(&key_bytes(tuple, key)) else { return Verdict::Missing };
        if let Some(same) = own.iter().position(|row| row == tuple) {
            own.swap_remove(same);
            return Verdict::Equal;
        }
        let Some(other) = own.pop() else { return Verdict::Missing };
        let pairs = fields(tuple).zip(fields(&other)).enumerate();
        let columns = pairs.filter(|(_, (left, right))| left != right).map(|(at, _)| at);
        let columns = columns.collect();
        Verdict::Differs(other, columns)
    }

    /// Rows that no document accounts for, each with how many more there are.
    pub(super) fn left_over(&self, mapping: &Mapping<'_>) -> Vec<(Option<Difference>, u64)> {
        let mut all = Vec::new();
        for (at, suspect) in &self.tables {
            let Some(table) = mapping.tables.get(*at) else { continue };
            let rows = suspect.rows.lock().unwrap_or_else(PoisonError::into_inner);
            let types = &table.types;
            for tuple in rows.values().flatten() {
                all.push((
                    Some(Difference {
                        table: table.table.name.clone(),
                        key: Some(show::row(tuple, types, &table.key)),
                        what: "no document accounts for the row".to_owned(),
                        ..Difference::default()
                    }),
                    0,
                ));
            }
        }
        for (at, (named, count)) in &self.links {
            let Some(junction) = mapping.junctions.get(*at) else { continue };
            let types = &junction.types;
            for (_, tuple) in self.strangers.iter().filter(|(of, _)| of == at) {
                all.push((
                    Some(Difference {
                        table: junction.junction.name.clone(),
                        key: Some(show::row(tuple, types, &[0, 1])),
                        what: "no array of the source holds the link".to_owned(),
                        ..Difference::default()
                    }),
                    0,
                ));
            }
            all.push((None, count.saturating_sub(named.len() as u64)));
        }
        all
    }
}
