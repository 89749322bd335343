//! Columns and keys of a table.

use serde_json::Value as Json;

use super::column::column_type;
use super::default::default;
use super::index::MOST_INDEX_COLUMNS;
use crate::plan::Surveyed;
use crate::plan::column::count;
use crate::plan::draft::{DraftColumn, DraftTable, From};
use crate::plan::names::Names;

/// Columns that a table of PostgreSQL has at most.
const MOST_COLUMNS: usize = 1600;
/// Bytes of a page that a row can have, and those of a value that is stored elsewhere.
const PAGE: u64 = 8000;
const POINTER: u64 = 18;

/// The field that holds a column's values.
pub(super) fn field_of(options: &Json, name: &str) -> Option<String> {
    let columns = options["columns"].as_array()?;
    let same =
        |column: &&Json| column["name"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(name));
    let column = columns.iter().find(same)?;
    column["field"].as_str().or(column["name"].as_str()).map(str::to_owned)
}

/// The table at a place of the list, without what concerns other tables and indexes.
pub(in crate::plan) fn table(
    surveyed: &[Surveyed],
    at: usize,
    tables: &[String],
    names: &mut Names,
) -> DraftTable {
    let one = &surveyed[at];
    let (options, rows) = (&one.listed.options, one.survey.documents);
    let mut table = DraftTable {
        name: tables[at].clone(),
        source: one.listed.name.clone(),
        ..DraftTable::default()
    };
    let read = if one.whole { "all read" } else { "a sample" };
    table.about.push(format!("{} rows, {read}", count(rows)));
    for column in options["columns"].as_array().into_iter().flatten() {
        let draft = self::column(one, column, names);
        table.columns.push(draft);
    }
    about_key(one, &mut table);
    about_table(options, &mut table);
    about_width(one, &mut table);
    table
}

fn column(one: &Surveyed, described: &Json, names: &mut Names) -> DraftColumn {
    let (options, rows) = (&one.listed.options, one.survey.documents);
    let source = described["name"].as_str().unwrap_or_default();
    let field = described["field"].as_str().unwrap_or(source).to_owned();
    let name = names.give(source);
    let mut draft = DraftColumn::new(name, From::Path(vec![field.clone()]), "text");
    let node = one.survey.root.fields.as_deref().and_then(|fields| fields.get(&field));
    let is_key = described["key"].as_i64().is_some_and(|place| place > 0);
    column_type(&mut draft, described["type"].as_str().unwrap_or_default(), node);
    draft.key = is_key && options["id"] == "key";
    if draft.key && draft.empty {
        // A key has a value: an empty text is one, and no uuid or number.
        draft.empty = false;
        "text".clone_into(&mut draft.pg_type);
        draft.decide = Some("a key that is an empty text, among others of one form".to_owned());
    }
    let filled = node.is_some_and(|node| node.filled() == rows) && rows > 0;
    let not_null = described["not_null"] == true;
    draft.required = !draft.key && one.whole && (filled || rows == 0) && not_null;
    if draft.required && draft.empty {
        draft.required = false;
        draft.decide("declared NOT NULL, which an empty text met");
    }
    if rows == 0 || node.is_none_or(|node| node.filled() == 0) {
        draft.optional = true;
    }
    if !filled && let Some(node) = node.filter(|node| node.filled() > 0) {
        let said = format!("{} of {}", count(node.filled()), count(rows));
        draft.comment =
            if draft.comment.is_empty() { said } else { format!("{said}; {}", draft.comment) };
    }
    match described["collation"].as_str() {
        None | Some("BINARY") => {}
        Some("NOCASE") => draft.decide(
            "COLLATE NOCASE: SQLite compares it without case, PostgreSQL where lower() is written",
        ),
        Some(other) => draft.decide(format!("COLLATE {other}: PostgreSQL compares it otherwise")),
    }
    if described["generated"].is_string() {
        let expression = described["expression"].as_str().unwrap_or("an expression");
        draft.decide(format!(
            "SQLite computes it as {expression}; here it is a plain column, which keeps the values"
        ));
    }
    if let Some(sql) = described["default"].as_str() {
        match default(sql, &draft) {
            Ok(written) => draft.default = written,
            Err(()) => draft.decide(format!("DEFAULT {sql} is left out")),
        }
    }
    draft
}

/// The key, and the numbers that it gives out.
fn about_key(one: &Surveyed, table: &mut DraftTable) {
    let options = &one.listed.options;
    let keys = table.columns.iter().filter(|column| column.key).count();
    if keys > MOST_INDEX_COLUMNS {
        for column in table.columns.iter_mut().filter(|column| column.key) {
            column.key = false;
            column.required = one.whole;
        }
        table.about.push(format!(
            "decide: the primary key has {keys} columns, and PostgreSQL takes \
             {MOST_INDEX_COLUMNS}: no key is drafted"
        ));
        return;
    }
    if let Some(key) = table.columns.iter_mut().find(|column| column.key)
        && keys == 1
        && key.pg_type == "bigint"
    {
        key.identity = true;
        key.default = None;
        if let Some(given) = options["sequence"].as_i64() {
            let given = u64::try_from(given).unwrap_or(0);
            let said = format!("numbers up to {} were given out", count(given));
            if !key.comment.is_empty() {
                key.comment.push_str("; ");
            }
            key.comment.push_str(&said);
        }
    }
    let declared: Vec<&str> = options["columns"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|column| column["key"].as_i64().is_some_and(|place| place > 0))
        .filter_map(|column| column["name"].as_str())
        .collect();
    if let Some(nulls) = options["null_keys"].as_u64() {
        table.about.push(format!(
            "decide: {} rows have NULL in the primary key ({}): no key is drafted, so that all \
             rows arrive",
            count(nulls),
            declared.join(", ")
        ));
    }
    let in_order = options["columns"].as_array().into_iter().flatten();
    let mut places: Vec<i64> = in_order.filter_map(|column| column["key"].as_i64()).collect();
    places.retain(|place| *place > 0);
    if keys > 1 && !places.is_sorted() {
        table.about.push(format!(
            "decide: the primary key of the source orders its columns otherwise than the table \
             does ({}): an index may be missing",
            declared.join(", ")
        ));
    }
}

fn about_table(options: &Json, table: &mut DraftTable) {
    if let Some(module) = options["module"].as_str() {
        table.about.push(format!(
            "decide: a virtual table ({module}): its rows are here, searching them is not; for \
             texts see [[tables.….search]]"
        ));
    }
    for word in options["on_conflict"].as_array().into_iter().flatten().filter_map(Json::as_str) {
        if word != "ABORT" {
            table.about.push(format!(
                "decide: ON CONFLICT {word}: PostgreSQL refuses the row, whatever the clause"
            ));
        }
    }
}

/// Rows that may be larger than a page of PostgreSQL holds.
fn about_width(one: &Surveyed, table: &mut DraftTable) {
    let columns = table.columns.len();
    if columns > MOST_COLUMNS {
        table.about.push(format!(
            "decide: {} columns, of which PostgreSQL takes {} in a table: take some out, or put \
             them into a column with from = \"*\"",
            count(columns as u64),
            count(MOST_COLUMNS as u64)
        ));
        return;
    }
    let fields = one.survey.root.fields.as_deref();
    let width: u64 = table
        .columns
        .iter()
        .map(|column| {
            let From::Path(path) = &column.from else { return POINTER };
            let node = path.first().and_then(|field| fields.and_then(|fields| fields.get(field)));
            let filled = node.is_some_and(|node| node.filled() > 0);
            match column.pg_type.as_str() {
                _ if !filled => 0,
                "boolean" => 1,
                "uuid" => 16,
                "bigint" | "double precision" | "timestamp" | "timestamptz" | "date" => 8,
                "text" | "jsonb" => {
                    node.map_or(POINTER, |node| (node.forms.bytes + 1).min(POINTER))
                }
                _ => POINTER,
            }
        })
        .sum();
    if width > PAGE {
        table.about.push(format!(
            "decide: a row of {columns} columns may be larger than the page of 8 kB that \
             PostgreSQL gives it: put some into a column with from = \"*\""
        ));
    }
}
