//! What the proof keeps of the rows that PostgreSQL returns.

use super::wire::identity;
use crate::pgcopy::PgType;
use crate::pgcopy::digest::{Compact, TableDigest};
use crate::pgcopy::reader::fields;

/// What is kept of a table's rows besides their digest.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Column types, in order.
    pub(super) types: Vec<PgType>,
    /// Columns whose values others refer to.
    pub(super) keys: Vec<usize>,
    /// Unique values by which rejects are checked: columns, and those compared in lower case.
    pub(super) unique: Vec<(Vec<usize>, Vec<usize>)>,
    /// Each row by itself: links are compared one by one.
    pub(super) rows: bool,
}

/// The rows of a table in PostgreSQL, 16 bytes for each value that is wanted of them.
#[derive(Debug, Default)]
pub struct Gathered {
    wanted: Wanted,
    pub(super) keys: Vec<Vec<u128>>,
    pub(super) unique: Vec<Vec<u128>>,
    pub(super) rows: Vec<u128>,
    pub(super) digest: Compact,
}

impl Gathered {
    /// Nothing yet.
    pub fn new(wanted: Wanted) -> Self {
        Self {
            keys: vec![Vec::new(); wanted.keys.len()],
            unique: vec![Vec::new(); wanted.unique.len()],
            wanted,
            ..Self::default()
        }
    }

    /// Whether anything of the rows is kept besides their digest.
    pub fn is_needed(&self) -> bool {
        let Wanted { keys, unique, rows, .. } = &self.wanted;
        *rows || !keys.is_empty() || !unique.is_empty()
    }

    /// Adds a row, as the tuple of a binary COPY.
    pub fn add(&mut self, tuple: &[u8]) {
        let Wanted { types, keys, unique, rows } = &self.wanted;
        if *rows {
            self.rows.push(super::wire::digest(tuple));
        }
        if keys.is_empty() && unique.is_empty() {
            return;
        }
        let values: Vec<Option<&[u8]>> = fields(tuple).collect();
        for (column, known) in keys.iter().zip(&mut self.keys) {
            if let (Some(Some(bytes)), Some(pg_type)) = (values.get(*column), types.get(*column)) {
                known.push(identity(bytes, pg_type));
            }
        }
        for ((columns, lower), known) in unique.iter().zip(&mut self.unique) {
            known.extend(together(&values, types, columns, lower));
        }
    }

    /// Columns of which the values are kept.
    pub(super) fn key_columns(&self) -> impl Iterator<Item = usize> + use<> {
        self.wanted.keys.clone().into_iter()
    }

    /// All rows were added: they have this digest.
    pub fn finish(&mut self, digest: &TableDigest) {
        for known in self.keys.iter_mut().chain(&mut self.unique).chain([&mut self.rows]) {
            known.sort_unstable();
            known.shrink_to_fit();
        }
        self.digest = digest.compact();
    }
}

/// The identity of several values together; none where one of them is NULL.
pub(super) fn together(
    values: &[Option<&[u8]>],
    types: &[PgType],
    columns: &[usize],
    lower: &[usize],
) -> Option<u128> {
    let mut all = Vec::with_capacity(columns.len() * 16);
    for column in columns {
        let bytes = values.get(*column).copied().flatten()?;
        let pg_type = types.get(*column)?;
        let own = match str::from_utf8(bytes) {
            Ok(text) if lower.contains(column) => identity(lowered(text).as_bytes(), pg_type),
            _ => identity(bytes, pg_type),
        };
        all.extend(own.to_be_bytes());
    }
    Some(super::wire::digest(&all))
}

/// A text in lower case. Which of the two small sigmas ends a word depends on the server's library:
/// they count as one.
fn lowered(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).map(|it| if it == 'ς' { 'σ' } else { it }).collect()
}
