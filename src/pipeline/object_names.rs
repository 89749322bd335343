//! Names of the keys, constraints and indexes of a pipeline's tables, decided for all tables at
//! once.
//!
//! PostgreSQL keeps tables, indexes and the indexes behind primary and unique keys in one namespace
//! per schema (`pg_class`), and constraints in one per table (`pg_constraint`). Names that the
//! pipeline file gives stay; a derived one that is taken gets the next free number, as PostgreSQL
//! does it where it chooses a name.

use std::collections::HashSet;

use crate::staging::checksum::sha256_hex;
use crate::staging::table::{TableDefinition, default_primary_key_name};

/// Bytes of an identifier that PostgreSQL keeps.
const IDENTIFIER_BYTES: usize = 63;

/// A name of at most 63 bytes; a longer one is cut and ends in a digest of the whole.
fn identifier(parts: &[&str]) -> String {
    let name = parts.join("_");
    if name.len() <= IDENTIFIER_BYTES {
        return name;
    }
    let digest = sha256_hex(name.as_bytes());
    let suffix = parts.last().copied().unwrap_or_default();
    let room = IDENTIFIER_BYTES - suffix.len() - 10;
    format!("{}_{}_{suffix}", &name[..name.floor_char_boundary(room)], &digest[..8])
}

/// The name, or the first of `name1`, `name2`, … that no set holds.
fn free(name: String, taken: &[&HashSet<String>]) -> String {
    let is_free = |name: &String| taken.iter().all(|names| !names.contains(name));
    if is_free(&name) {
        return name;
    }
    let numbered = |number: u64| {
        let number = number.to_string();
        let room = IDENTIFIER_BYTES - number.len();
        format!("{}{number}", &name[..name.floor_char_boundary(room.min(name.len()))])
    };
    // One of more numbers than names are taken is free.
    let names: u64 = taken.iter().map(|names| names.len() as u64).sum();
    (1..=names + 1).map(numbered).find(is_free).unwrap_or(name)
}

/// Fills in every name that is empty, and the primary key's where its usual one is taken.
pub(super) fn name_objects(tables: &mut [TableDefinition]) {
    let mut relations: HashSet<String> = HashSet::new();
    for table in &*tables {
        relations.insert(table.name.clone());
        // The sequence of an identity column, as PostgreSQL names it.
        let identity = table.columns.iter().filter(|column| column.identity);
        relations.extend(identity.map(|column| format!("{}_{}_seq", table.name, column.name)));
        let given = table.indexes.iter().map(|index| &index.name);
        relations.extend(given.filter(|name| !name.is_empty()).cloned());
    }
    for table in tables {
        name_objects_of(table, &mut relations);
    }
}

/// The same for one table; `relations` are the names that are taken in the schema.
fn name_objects_of(table: &mut TableDefinition, relations: &mut HashSet<String>) {
    let mut constraints: HashSet<String> =
        table.checks.iter().map(|check| check.name.clone()).collect();
    if !table.primary_key.is_empty() {
        let usual = default_primary_key_name(&table.name);
        let name = free(usual.clone(), &[relations, &constraints]);
        table.primary_key_name = (name != usual).then(|| name.clone());
        relations.insert(name.clone());
        constraints.insert(name);
    }
    for unique in table.unique.iter_mut().filter(|unique| unique.name.is_empty()) {
        let name = identifier(&[&table.name, &unique.columns.join("_"), "key"]);
        unique.name = free(name, &[relations, &constraints]);
        relations.insert(unique.name.clone());
        constraints.insert(unique.name.clone());
    }
    for index in table.indexes.iter_mut().filter(|index| index.name.is_empty()) {
        let kind = if index.unique { "key" } else { "idx" };
        let words: Vec<&str> = index
            .columns
            .iter()
            .flat_map(|column| {
                let lower = index.lower.contains(column).then_some("lower");
                std::iter::once(column.as_str()).chain(lower)
            })
            .collect();
        let name = identifier(&[&table.name, &words.join("_"), kind]);
        index.name = free(name, &[relations]);
        relations.insert(index.name.clone());
    }
    for search in table.search.iter_mut().filter(|search| search.index.is_empty()) {
        search.index = free(identifier(&[&table.name, &search.column, "idx"]), &[relations]);
        relations.insert(search.index.clone());
    }
    for key in table.foreign_keys.iter_mut().filter(|key| key.name.is_empty()) {
        let name = identifier(&[&table.name, &key.columns.join("_"), "fkey"]);
        key.name = free(name, &[&constraints]);
        constraints.insert(key.name.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_the_next_free_number_within_63_bytes() {
        let long = "ä".repeat(31);
        let taken = HashSet::from(["a".to_owned(), "a1".to_owned(), long.clone()]);
        assert_eq!(free("a".to_owned(), &[&taken]), "a2");
        assert_eq!(free("b".to_owned(), &[&taken]), "b");
        assert_eq!(free(long.clone(), &[&taken]), format!("{long}1"));
        let longest = format!("{long}b");
        let taken = HashSet::from([longest.clone()]);
        assert_eq!(free(longest, &[&taken]), format!("{long}1"));
    }
}
