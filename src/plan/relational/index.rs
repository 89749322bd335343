//! Indexes and unique keys that a table has.

use serde_json::Value as Json;

use super::expression::{Known, condition};
use super::table::field_of;
use crate::plan::Surveyed;
use crate::plan::draft::{DraftColumn, DraftIndex, DraftTable, From};
use crate::plan::index::{INDEX_BYTES, INDEX_ROW_BYTES, row_bytes};
use crate::source::sqlite::token::{Token, tokens};

/// Columns that an index of PostgreSQL has at most.
pub(super) const MOST_INDEX_COLUMNS: usize = 32;

/// The column of a table that a column of the source became.
pub(super) fn column_of<'t>(
    table: &'t DraftTable,
    options: &Json,
    name: &str,
) -> Option<&'t DraftColumn> {
    let from = From::Path(vec![field_of(options, name)?]);
    table.columns.iter().find(|column| column.from == from)
}

/// The columns that conditions of a table may name.
pub(super) fn known<'t>(table: &'t DraftTable, options: &'t Json) -> Vec<Known<'t>> {
    let columns = options["columns"].as_array().into_iter().flatten();
    let known = columns.filter_map(|described| {
        let source = described["name"].as_str()?;
        let column = column_of(table, options, source)?;
        Some(Known { source, column, nocase: described["collation"] == "NOCASE" })
    });
    known.collect()
}

/// An index as it is drafted, or what is said of one that is not.
enum Outcome {
    Key,
    Unique(Vec<String>),
    Index(DraftIndex),
    Said(String),
}

/// Drafts the indexes of a table.
pub(super) fn indexes(one: &Surveyed, table: &mut DraftTable) {
    for index in &one.listed.indexes {
        let name = index["name"].as_str().unwrap_or_default();
        let label = if name.starts_with("sqlite_autoindex_") {
            let columns = index["columns"].as_array().into_iter().flatten();
            let columns: Vec<&str> = columns.filter_map(Json::as_str).collect();
            format!("unique key ({})", columns.join(", "))
        } else {
            format!("index {name}")
        };
        match outcome(one, table, index) {
            Outcome::Key => {}
            Outcome::Unique(columns) => {
                if !table.unique.contains(&columns) {
                    table.unique.push(columns);
                }
            }
            Outcome::Index(draft) => {
                if index["unique"] == true && !draft.unique {
                    table.about.push(format!(
                        "{label}: decide: unique in the source; only a sample was read, so an \
                         index is drafted"
                    ));
                }
                if !draft.lower.is_empty() {
                    table.about.push(format!(
                        "{label}: over lower({}); SQLite folds the letters A to Z only, lower() \
                         those of all languages",
                        draft.lower.join("), lower(")
                    ));
                }
                if !table.indexes.contains(&draft) {
                    table.indexes.push(draft);
                }
            }
            Outcome::Said(what) => table.about.push(format!("{label}: decide: {what}, left out")),
        }
    }
}

fn outcome(one: &Surveyed, table: &DraftTable, index: &Json) -> Outcome {
    let options = &one.listed.options;
    let mut draft =
        DraftIndex { unique: index["unique"] == true && one.whole, ..Default::default() };
    let parts = index["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut texts = Vec::new();
    for part in parts {
        let lowered = part["expression"].as_str().and_then(lower_of);
        let Some(source) = part["name"].as_str().or(lowered.as_deref()) else {
            let expression = part["expression"].as_str().unwrap_or_default();
            return Outcome::Said(format!("over an expression: {expression}"));
        };
        let Some(column) = column_of(table, options, source) else {
            return Outcome::Said(format!("over {source}, which is no column"));
        };
        let text = column.pg_type == "text" || column.pg_type.starts_with("varchar");
        if column.pg_type == "jsonb" {
            return Outcome::Said(format!("{} is jsonb", column.name));
        }
        let fields = one.survey.root.fields.as_deref();
        let node = field_of(options, source)
            .and_then(|field| fields.and_then(|fields| fields.get(&field)));
        let bytes = node.map(|node| node.forms.bytes).filter(|_| text);
        if bytes.is_some_and(|bytes| bytes > INDEX_BYTES) {
            return Outcome::Said(format!("texts of {} are too long for a B-tree", column.name));
        }
        texts.push(bytes);
        let collation = part["collation"].as_str().unwrap_or("BINARY").to_uppercase();
        match collation.as_str() {
            "BINARY" => {}
            "NOCASE" if text => draft.lower.push(column.name.clone()),
            _ if !text => {}
            other => return Outcome::Said(format!("{} is compared by {other}", column.name)),
        }
        if lowered.is_some() {
            if !text {
                return Outcome::Said(format!("over lower({}), which is no text", column.name));
            }
            if !draft.lower.contains(&column.name) {
                draft.lower.push(column.name.clone());
            }
        }
        if part["descending"] == true {
            draft.descending.push(column.name.clone());
        }
        draft.columns.push(column.name.clone());
    }
    if row_bytes(texts.into_iter()) > INDEX_ROW_BYTES {
        return Outcome::Said("its texts, taken together, are too long for a B-tree".to_owned());
    }
    let mut distinct = draft.columns.clone();
    distinct.sort();
    distinct.dedup();
    if draft.columns.len() > MOST_INDEX_COLUMNS {
        return Outcome::Said(format!("it has more than {MOST_INDEX_COLUMNS} columns"));
    }
    if draft.columns.is_empty() || distinct.len() < draft.columns.len() {
        return Outcome::Said("it names a column twice".to_owned());
    }
    if index["partial"] == true {
        let sql = index["where"].as_str().unwrap_or_default();
        match condition(sql, &known(table, options)) {
            Some(condition) => draft.predicate = Some(condition),
            None => return Outcome::Said(format!("partial: WHERE {sql}")),
        }
    }
    let key: Vec<&String> =
        table.columns.iter().filter(|column| column.key).map(|column| &column.name).collect();
    let plain = draft.lower.is_empty() && draft.predicate.is_none();
    if plain && !key.is_empty() && key.len() == draft.columns.len() {
        let all = draft.columns.iter().all(|column| key.contains(&column));
        if all && (index["origin"] == "pk" || draft.unique || draft.descending.is_empty()) {
            return Outcome::Key;
        }
    }
    if draft.unique && plain {
        return Outcome::Unique(draft.columns);
    }
    Outcome::Index(draft)
}

/// The column of `lower(column)`.
fn lower_of(expression: &str) -> Option<String> {
    let all: Vec<Token> = tokens(expression).into_iter().map(|placed| placed.token).collect();
    match all.as_slice() {
        [lower, open, name, close]
            if lower.is("lower") && open.is_symbol("(") && close.is_symbol(")") =>
        {
            name.name().map(str::to_owned)
        }
        _ => None,
    }
}

/// Leaves out plain indexes of which a key, or another index, begins with the same columns.
pub(super) fn without_repeats(table: &mut DraftTable) {
    let key: Vec<String> = table
        .columns
        .iter()
        .filter(|column| column.key)
        .map(|column| column.name.clone())
        .collect();
    let single: Vec<Vec<String>> = table
        .columns
        .iter()
        .filter(|column| column.index && !column.key)
        .map(|column| vec![column.name.clone()])
        .collect();
    let plain = |index: &DraftIndex| {
        index.lower.is_empty()
            && index.descending.is_empty()
            && index.predicate.is_none()
            && index.method.is_none()
            && !index.unique
    };
    let mut kept: Vec<DraftIndex> = Vec::new();
    let all = table.indexes.clone();
    for (place, index) in all.iter().enumerate() {
        let serves = |columns: &Vec<String>| columns.starts_with(&index.columns);
        let other = |(at, other): (usize, &DraftIndex)| {
            at != place && plain(other) && serves(&other.columns) && other.columns != index.columns
        };
        let by = if !plain(index) {
            None
        } else if serves(&key) {
            Some("the key")
        } else if table.unique.iter().any(serves) {
            Some("a unique key")
        } else if single.iter().any(serves) {
            Some("the index of the reference")
        } else if all.iter().enumerate().any(other) {
            Some("another index")
        } else {
            None
        };
        match by {
            Some(by) => table.about.push(format!(
                "index ({}): left out, {by} begins with the same columns",
                index.columns.join(", ")
            )),
            None => kept.push(index.clone()),
        }
    }
    table.indexes = kept;
    // A reference whose index a key begins with needs none of its own.
    for column in table.columns.iter_mut().filter(|column| column.index) {
        let first = |columns: &Vec<String>| columns.first() == Some(&column.name);
        if table.unique.iter().any(first) {
            column.index = false;
            column.indexed_by_key = true;
        }
    }
}
