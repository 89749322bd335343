//! Indexes and unique keys that a collection has.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Surveyed;
use super::draft::{DraftColumn, DraftIndex, DraftTable, From, path_text};
use super::survey::{Node, Survey};

/// Bytes that a B-tree takes of a text, with a margin: a third of a page at the most.
pub(super) const INDEX_BYTES: u64 = 2000;

/// Indexes and unique keys that the collection has.
pub(super) fn indexes(one: &Surveyed, paths: &BTreeMap<String, String>, table: &mut DraftTable) {
    for index in &one.listed.indexes {
        let name = index["name"].as_str().unwrap_or_default();
        let Some(keys) = index["key"].as_object().filter(|_| name != "_id_") else { continue };
        let said = |what: &str| format!("index {name}: {what}");
        if index.get("partialFilterExpression").is_some_and(|filter| !filter.is_null()) {
            table.about.push(said("decide: partial, left out: write its condition as `where`"));
            continue;
        }
        if index.get("expireAfterSeconds").is_some_and(|after| !after.is_null()) {
            table
                .about
                .push(said("decide: documents expire by it; PostgreSQL needs a job for that"));
        }
        let special = keys.values().find_map(Json::as_str);
        if special == Some("text") {
            let weights = index["weights"].as_object();
            let fields = weights.map(|weights| weights.keys().cloned().collect::<Vec<_>>());
            let columns: Vec<String> = fields
                .unwrap_or_default()
                .iter()
                .filter_map(|field| paths.get(field).cloned())
                .collect();
            let texts = columns.iter().all(|name| {
                table.columns.iter().any(|column| {
                    column.name == *name && matches!(column.pg_type.as_str(), "text" | "text[]")
                })
            });
            if texts && !columns.is_empty() && table.search.is_empty() {
                table.search.push(columns);
            } else {
                table
                    .about
                    .push(said("decide: full text over fields that are no text columns, left out"));
            }
            continue;
        }
        if let Some(special) = special {
            table.about.push(said(&format!("decide: {special}, left out")));
            continue;
        }
        let columns: Option<Vec<String>> =
            keys.keys().map(|field| paths.get(&path_text(&split(field))).cloned()).collect();
        let Some(columns) = columns else {
            table.about.push(said("left out: a field of it is no column of this table"));
            continue;
        };
        let found: Vec<&DraftColumn> =
            table.columns.iter().filter(|column| columns.contains(&column.name)).collect();
        let long = found.iter().any(|column| match &column.from {
            From::Path(path) => {
                descend(&one.survey, path).is_some_and(|node| node.forms.bytes > INDEX_BYTES)
            }
            _ => false,
        });
        let nested =
            found.iter().any(|column| column.pg_type == "jsonb" || column.pg_type.ends_with("[]"));
        let sparse = index["sparse"] == true;
        if long {
            table.about.push(said("decide: texts are too long for a B-tree, left out"));
        } else if nested {
            if let [only] = columns.as_slice() {
                table.indexes.push(DraftIndex {
                    columns: vec![only.clone()],
                    method: Some("gin"),
                    ..DraftIndex::default()
                });
            } else {
                table.about.push(said("decide: over arrays or documents, left out"));
            }
        } else if index["unique"] == true && one.whole {
            let is_key =
                table.columns.iter().any(|column| column.key && columns == [column.name.clone()]);
            if !is_key && !table.unique.contains(&columns) {
                table.unique.push(columns);
            }
            if sparse {
                table.about.push(said(
                    "sparse and unique: PostgreSQL's unique keys take any number of NULLs",
                ));
            }
        } else {
            let draft = DraftIndex { columns, ..DraftIndex::default() };
            let simple = found.len() == 1 && found[0].index;
            if !simple && !table.indexes.contains(&draft) {
                table.indexes.push(draft);
            }
        }
    }
}

/// An index names a field by its path.
fn split(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

pub(super) fn descend<'s>(survey: &'s Survey, path: &[String]) -> Option<&'s Node> {
    let (last, parents) = path.split_last()?;
    let mut fields = survey.root.fields.as_deref()?;
    for name in parents {
        fields = fields.get(name)?.fields.as_deref()?;
    }
    fields.get(last)
}
