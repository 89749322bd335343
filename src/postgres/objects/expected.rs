//! The objects of a table as its definition wants them.

use std::fmt::Write as _;

use super::object::{HOLE, Object, ObjectKind};
use super::read::{IndexShape, deferrable};
use crate::postgres::{qualified, quote_identifier};
use crate::staging::table::{ForeignKeyDefinition, IndexDefinition, TableDefinition};

fn quoted(columns: &[String]) -> Vec<String> {
    columns.iter().map(|column| quote_identifier(column)).collect()
}

/// Every key, index, check and foreign key that a load makes. Which text the server makes of an
/// expression is not known here.
pub fn expected_objects(definition: &TableDefinition) -> Vec<Object> {
    let mut objects = Vec::new();
    let mut key = |kind, name: String, columns: &[String]| {
        let shape = IndexShape {
            kind,
            method: "btree",
            unique: true,
            parts: &quoted(columns),
            included: &[],
            nulls_not_distinct: false,
            partial: false,
        };
        objects.push(object(kind, name, shape.structure(), Some(Vec::new())));
    };
    if !definition.primary_key.is_empty() {
        let name = definition.primary_key_name();
        key(ObjectKind::PrimaryKey, name, &definition.primary_key);
    }
    for unique in &definition.unique {
        key(ObjectKind::Unique, unique.name.clone(), &unique.columns);
    }
    objects.extend(definition.indexes.iter().map(index));
    for search in &definition.search {
        let structure = format!("gin ({})", quote_identifier(&search.column));
        objects.push(object(ObjectKind::Index, search.index.clone(), structure, Some(Vec::new())));
    }
    for check in &definition.checks {
        let structure = "CHECK \u{2026}".to_owned();
        objects.push(object(ObjectKind::Check, check.name.clone(), structure, None));
    }
    objects.extend(definition.foreign_keys.iter().map(|key| foreign_key(definition, key)));
    objects
}

fn object(
    kind: ObjectKind,
    name: String,
    structure: String,
    expressions: Option<Vec<String>>,
) -> Object {
    Object { kind, name, structure, expressions, faults: Vec::new() }
}

fn index(index: &IndexDefinition) -> Object {
    let part = |column: &String| {
        let hole = HOLE.to_string();
        let value = if index.lower.contains(column) { hole } else { quote_identifier(column) };
        if index.descending.contains(column) { format!("{value} DESC") } else { value }
    };
    let parts: Vec<String> = index.columns.iter().map(part).collect();
    let shape = IndexShape {
        kind: ObjectKind::Index,
        method: &index.method,
        unique: index.unique,
        parts: &parts,
        included: &[],
        nulls_not_distinct: false,
        partial: index.predicate.is_some(),
    };
    let plain = index.predicate.is_none() && index.lower.is_empty();
    let expressions = plain.then(Vec::new);
    object(ObjectKind::Index, index.name.clone(), shape.structure(), expressions)
}

fn foreign_key(definition: &TableDefinition, key: &ForeignKeyDefinition) -> Object {
    let mut structure = format!(
        "FOREIGN KEY ({}) REFERENCES {} ({})",
        quoted(&key.columns).join(", "),
        qualified(&definition.schema, &key.references_table),
        quoted(&key.references_columns).join(", ")
    );
    for (event, action) in [("UPDATE", &key.on_update), ("DELETE", &key.on_delete)] {
        if let Some(action) = action {
            let _ = write!(structure, " ON {event} {action}");
        }
    }
    if let Some(checked) = &key.deferrable {
        structure.push_str(deferrable(true, checked.ends_with("DEFERRED")));
    }
    object(ObjectKind::ForeignKey, key.name.clone(), structure, Some(Vec::new()))
}
