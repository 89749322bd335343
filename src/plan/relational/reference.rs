//! What concerns all tables together: indexes, conditions, and declared references of one column.

use serde_json::Value as Json;

use super::expression::condition;
use super::index::{column_of, indexes, known, without_repeats};
use super::table::field_of;
use crate::plan::Surveyed;
use crate::plan::column::count;
use crate::plan::draft::{DraftColumn, DraftTable, From};
use crate::plan::survey::Node;

/// Gives the tables of a relational source their indexes, conditions and references. The drafted
/// tables stand in the order of the list.
pub(in crate::plan) fn relate(surveyed: &[Surveyed], tables: &mut [DraftTable]) {
    let relational = |at: &usize| super::super::relational(&surveyed[*at].listed);
    let all: Vec<usize> = (0..surveyed.len().min(tables.len())).filter(relational).collect();
    for at in &all {
        indexes(&surveyed[*at], &mut tables[*at]);
    }
    for at in &all {
        references(surveyed, *at, tables);
    }
    align(tables);
    for at in &all {
        checks(&surveyed[*at], &mut tables[*at]);
        without_repeats(&mut tables[*at]);
    }
}

fn checks(one: &Surveyed, table: &mut DraftTable) {
    let options = &one.listed.options;
    for check in options["checks"].as_array().into_iter().flatten() {
        let sql = check["sql"].as_str().unwrap_or_default();
        let written = condition(sql, &known(table, options));
        let named = check["name"].as_str().filter(|name| !name.is_empty() && name.len() <= 63);
        let broken = check["broken"].as_u64().unwrap_or(0);
        match written {
            _ if broken > 0 => table.about.push(format!(
                "decide: CHECK ({sql}) is left out: {} rows break it",
                count(broken)
            )),
            Some(written) if written == "true" => {
                table.about.push(format!("check {sql}: every value of the column meets it"));
            }
            Some(written) => {
                let behind = check["column"].as_str();
                let behind = behind.and_then(|name| column_of(table, options, name));
                let of = behind.map_or(table.name.as_str(), |column| &column.name);
                let base = match named {
                    Some(name) => name.to_owned(),
                    None => format!("{}_check", of.get(..50).unwrap_or(of)),
                };
                let base = if base.len() > 60 { "row_check".to_owned() } else { base };
                let taken = |name: &String| table.checks.iter().any(|(other, _)| other == name);
                let mut name = base.clone();
                let mut number = 2;
                while taken(&name) {
                    name = format!("{base}{number}");
                    number += 1;
                }
                table.checks.push((name, written));
            }
            None => table.about.push(format!("decide: CHECK ({sql}) is left out")),
        }
    }
}

/// The action of a reference as the pipeline file writes it.
fn action(declared: &Json) -> Option<String> {
    let action = declared.as_str()?.to_lowercase();
    ["cascade", "set null", "set default", "restrict"].contains(&action.as_str()).then_some(action)
}

fn key_of(options: &Json) -> Vec<&str> {
    let columns = options["columns"].as_array().into_iter().flatten();
    columns
        .filter(|column| column["key"].as_i64().is_some_and(|place| place > 0))
        .filter_map(|column| column["name"].as_str())
        .collect()
}

fn references(surveyed: &[Surveyed], at: usize, tables: &mut [DraftTable]) {
    let declared = &surveyed[at].listed.options["foreign_keys"];
    let declared = declared.as_array().cloned().unwrap_or_default();
    let mut said: Vec<&Json> = Vec::new();
    for foreign in &declared {
        let parts: Vec<&Json> =
            declared.iter().filter(|other| other["id"] == foreign["id"]).collect();
        if parts.len() > 1 {
            if !said.contains(&&foreign["id"]) {
                said.push(&foreign["id"]);
                let columns: Vec<&str> =
                    parts.iter().filter_map(|part| part["from"].as_str()).collect();
                tables[at].about.push(format!(
                    "decide: ({}) refers to {} by several columns: write the foreign key into an \
                     after_load file",
                    columns.join(", "),
                    foreign["table"].as_str().unwrap_or_default()
                ));
            }
            continue;
        }
        if let Err(why) = reference(surveyed, at, tables, foreign) {
            let from = foreign["from"].as_str().unwrap_or_default();
            tables[at].about.push(format!("decide: {from} refers to {why}"));
        }
    }
}

/// Drafts a reference of one column, or says why not.
fn reference(
    surveyed: &[Surveyed],
    at: usize,
    tables: &mut [DraftTable],
    foreign: &Json,
) -> Result<(), String> {
    let text = |name: &str| foreign[name].as_str().unwrap_or_default().to_owned();
    let (target, from, to) = (text("table"), text("from"), text("to"));
    let found = surveyed
        .iter()
        .position(|other| other.listed.name.eq_ignore_ascii_case(&target))
        .filter(|found| *found < tables.len())
        .ok_or_else(|| format!("{target}, which is not there"))?;
    let there = &surveyed[found].listed.options;
    let key = key_of(there);
    let to = match (to.as_str(), key.as_slice()) {
        ("", [only]) => (*only).to_owned(),
        ("", _) => return Err(format!("{target}, which has no key of one column")),
        _ => to,
    };
    let field = field_of(there, &to).ok_or_else(|| format!("{target}.{to}, which is not there"))?;
    let goal = column_of(&tables[found], there, &to)
        .ok_or_else(|| format!("{target}.{to}, which is no column"))?
        .clone();
    let is_key = goal.key && tables[found].columns.iter().filter(|column| column.key).count() == 1;
    let is_unique = tables[found].unique.contains(&vec![goal.name.clone()]);
    if !is_key && !is_unique {
        return Err(format!("{target}.{to}, which is no key there"));
    }
    let fields = |at: usize| surveyed[at].survey.root.fields.as_deref();
    let node = fields(found).and_then(|fields| fields.get(&field));
    let own_field = field_of(&surveyed[at].listed.options, &from).unwrap_or_default();
    let own = fields(at).and_then(|fields| fields.get(&own_field));
    let wanted = From::Path(vec![own_field]);
    let Some(column) = tables[at].columns.iter_mut().find(|column| column.from == wanted) else {
        return Ok(());
    };
    let texts = |pg_type: &str| pg_type == "text" || pg_type.starts_with("varchar");
    let both_are_texts = texts(&column.pg_type) && texts(&goal.pg_type);
    let filled = |node: Option<&Node>| node.is_some_and(|node| node.filled() > 0);
    if column.pg_type != goal.pg_type && !both_are_texts && filled(own) && filled(node) {
        column
            .decide(format!("declared as a reference to {target}, whose key is {}", goal.pg_type));
        return Ok(());
    }
    let nocase = |options: &Json, name: &str| {
        let columns = options["columns"].as_array().into_iter().flatten();
        let mut own = columns.filter(|column| {
            column["name"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(name))
        });
        own.any(|column| column["collation"] == "NOCASE")
    };
    if column.pg_type != goal.pg_type && column.default.take().is_some() {
        column.decide(format!("its DEFAULT is left out: what it refers to is {}", goal.pg_type));
    }
    column.pg_type.clone_from(&goal.pg_type);
    column.coerce = false;
    column.json = false;
    column.index = !column.key;
    column.on_delete = action(&foreign["on_delete"]);
    column.on_update = action(&foreign["on_update"]);
    column.deferrable = match foreign["deferrable"].as_str() {
        Some("INITIALLY DEFERRED") => Some("deferred"),
        Some(_) => Some("immediate"),
        None => None,
    };
    if both_are_texts && nocase(there, &to) {
        column.decide(format!(
            "{target}.{to} is compared without case: values that differ from it in case lead to \
             no row here"
        ));
    }
    if let (Some(own), Some(node)) = (own, node) {
        dangling(column, own, node);
    }
    let name = tables[found].name.clone();
    let goal = goal.name;
    if let Some(column) = tables[at].columns.iter_mut().find(|column| column.from == wanted) {
        column.references = Some(if is_key { name } else { format!("{name}.{goal}") });
    }
    Ok(())
}

fn dangling(column: &mut DraftColumn, own: &Node, node: &Node) {
    let (looked, there) = own.distinct.found_in(&node.distinct);
    if looked <= there || !node.distinct.is_exact() {
        return;
    }
    // The empty text stands for no reference where the target has none either.
    let nothing = own.forms.empty > 0 && node.forms.empty == 0;
    let missing = looked - there - usize::from(nothing && own.distinct.is_exact());
    if nothing && !column.empty && !column.key {
        column.empty = true;
        column.decide(format!("{} empty texts become NULL", count(own.forms.empty)));
        if column.required {
            column.required = false;
            column.decide("declared NOT NULL, which an empty text met");
        }
    }
    if missing > 0 {
        column.dangling = Some("keep");
        column.decide(format!(
            "{missing} of {looked} values lead to no row; \"null\" or \"reject\" makes a foreign key"
        ));
    }
}

/// A column that refers to another has its type, and through it that of what the other refers to.
fn align(tables: &mut [DraftTable]) {
    for _ in 0..tables.len() {
        let mut changed = false;
        let types: Vec<(String, String, bool, String)> = tables
            .iter()
            .flat_map(|table| {
                let keys = table.columns.iter().filter(|column| column.key).count();
                table.columns.iter().map(move |column| {
                    let only_key = column.key && keys == 1;
                    (table.name.clone(), column.name.clone(), only_key, column.pg_type.clone())
                })
            })
            .collect();
        for column in tables.iter_mut().flat_map(|table| &mut table.columns) {
            let Some(reference) = &column.references else { continue };
            let goal = types.iter().find(|(table, name, only_key, _)| {
                *only_key && table == reference || *reference == format!("{table}.{name}")
            });
            if let Some((_, _, _, pg_type)) = goal.filter(|goal| goal.3 != column.pg_type) {
                column.pg_type.clone_from(pg_type);
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
}
