//! Tables of a relational source: their declared columns, keys and references lead, as far as the
//! values agree.

use serde_json::Value as Json;

use super::Surveyed;
use super::column::count;
use super::draft::{DraftColumn, DraftIndex, DraftTable, From};
use super::names::Names;
use super::survey::{Kind, Node};

/// `NVARCHAR(160)` as `NVARCHAR` and 160.
fn declared(text: &str) -> (String, Option<u64>) {
    let upper = text.to_uppercase();
    let (name, rest) = upper.split_once('(').unwrap_or((&upper, ""));
    let length = rest.split([',', ')']).next().and_then(|number| number.trim().parse().ok());
    (name.trim().to_owned(), length)
}

/// The type of a column.
fn column_type(column: &mut DraftColumn, declaration: &str, node: Option<&Node>) {
    use Kind::{Binary, Double, Int64, String};
    let (name, length) = declared(declaration);
    let date = name.contains("DATE") || name.contains("TIME");
    let Some(node) = node.filter(|node| node.filled() > 0) else {
        // Nothing but the declaration is known.
        let pg_type = match name.as_str() {
            _ if name.contains("BOOL") => "boolean",
            _ if name.contains("INT") => "bigint",
            _ if name == "DATE" => "date",
            _ if date => "timestamp",
            _ if name.contains("BLOB") => "bytea",
            _ if name.contains("REAL") || name.contains("FLOA") || name.contains("DOUB") => {
                "double precision"
            }
            _ if name.contains("NUM") || name.contains("DEC") => "numeric",
            _ => "text",
        };
        pg_type.clone_into(&mut column.pg_type);
        column.coerce = column.pg_type == "boolean";
        column.comment.push_str("no row holds a value");
        return;
    };
    let forms = &node.forms;
    let bits = node.numbers.least >= 0 && node.numbers.greatest <= 1;
    let (pg_type, decide): (&str, Option<&str>) = if node.only(&[Int64]) {
        if name.contains("BOOL") && bits {
            column.coerce = true;
            ("boolean", None)
        } else if date {
            (
                "bigint",
                Some(
                    "dates as numbers: type = \"timestamp\" with format = \"epoch\" or \"epoch_ms\"?",
                ),
            )
        } else if name.contains("DEC") || name.contains("NUM") {
            ("numeric", None)
        } else if name.contains("REAL") || name.contains("FLOA") || name.contains("DOUB") {
            ("double precision", None)
        } else {
            ("bigint", None)
        }
    } else if node.only(&[Double, Int64]) {
        let exact = name.contains("DEC") || name.contains("NUM") || node.count(Int64) > 0;
        (if exact { "numeric" } else { "double precision" }, None)
    } else if node.only(&[String]) {
        let json = name.contains("JSON") && forms.all(forms.any_json);
        if json {
            column.json = true;
            ("jsonb", None)
        } else if forms.all(forms.uuids) {
            ("uuid", None)
        } else if name == "DATE" && forms.all(forms.dates) {
            ("date", None)
        } else if date && forms.all(forms.dates + forms.timestamps) {
            ("timestamp", None)
        } else if forms.nuls > 0 {
            ("text", Some("some texts hold U+0000, which PostgreSQL cannot store, and are rejects"))
        } else if forms.all(forms.json) {
            ("text", Some("every text is JSON: type = \"jsonb\" with json = true?"))
        } else {
            match length {
                Some(length)
                    if name.contains("CHAR")
                        && forms.characters <= length
                        && length <= 10_485_760 =>
                {
                    column.pg_type = format!("varchar({length})");
                    return;
                }
                Some(_) if name.contains("CHAR") => {
                    ("text", Some("some texts are longer than declared"))
                }
                _ => ("text", None),
            }
        }
    } else if node.only(&[Binary]) && node.subtypes == [0] {
        ("bytea", None)
    } else {
        ("jsonb", Some("values of several types"))
    };
    pg_type.clone_into(&mut column.pg_type);
    column.decide = decide.map(str::to_owned);
    let kinds = node.kinds();
    if kinds.len() > 1 {
        let shares: Vec<_> = kinds
            .iter()
            .map(|kind| format!("{} {}", kind.name(), count(node.count(*kind))))
            .collect();
        column.comment = shares.join(", ");
    }
}

/// The table at a place of the list. `tables` are the names of all tables.
pub(super) fn table(
    surveyed: &[Surveyed],
    at: usize,
    tables: &[String],
    names: &mut Names,
) -> DraftTable {
    let one = &surveyed[at];
    let (options, survey) = (&one.listed.options, &one.survey);
    let mut table = DraftTable {
        name: tables[at].clone(),
        source: one.listed.name.clone(),
        ..DraftTable::default()
    };
    let rows = survey.documents;
    let read = if one.whole { "all read" } else { "a sample" };
    table.about.push(format!("{} rows, {read}", count(rows)));
    let list = |name: &str| options[name].as_array().cloned().unwrap_or_default();
    let fields = survey.root.fields.as_deref();
    for column in list("columns") {
        let field = column["name"].as_str().unwrap_or_default().to_owned();
        let name = names.give(&field);
        let mut draft = DraftColumn::new(name, From::Path(vec![field.clone()]), "text");
        let node = fields.and_then(|fields| fields.get(&field));
        column_type(&mut draft, column["type"].as_str().unwrap_or_default(), node);
        draft.key = column["key"].as_i64().is_some_and(|place| place > 0);
        let filled = node.is_some_and(|node| node.filled() == rows) && rows > 0;
        draft.required =
            !draft.key && one.whole && (filled || rows == 0) && column["not_null"] == true;
        if rows == 0 || node.is_none_or(|node| node.filled() == 0) {
            draft.optional = true;
        }
        if !filled && let Some(node) = node.filter(|node| node.filled() > 0) {
            let said = format!("{} of {}", count(node.filled()), count(rows));
            draft.comment =
                if draft.comment.is_empty() { said } else { format!("{said}; {}", draft.comment) };
        }
        table.columns.push(draft);
    }
    let keys = table.columns.iter().filter(|column| column.key).count();
    let has_generated_key =
        keys == 1 && table.columns.iter().any(|column| column.key && column.pg_type == "bigint");
    if has_generated_key && let Some(key) = table.columns.iter_mut().find(|column| column.key) {
        key.identity = true;
    }
    references(surveyed, at, tables, &list("foreign_keys"), &mut table);
    indexes(one, &mut table);
    table
}

/// Declared references of one column, to tables that are there.
fn references(
    surveyed: &[Surveyed],
    at: usize,
    tables: &[String],
    declared: &[Json],
    table: &mut DraftTable,
) {
    let column_of = |field: &str| From::Path(vec![field.to_owned()]);
    for foreign in declared {
        let several = declared.iter().filter(|other| other["id"] == foreign["id"]).count() > 1;
        let text = |name: &str| foreign[name].as_str().unwrap_or_default().to_owned();
        let (target, from, to) = (text("table"), text("from"), text("to"));
        if several {
            let line =
                format!("decide: {from} is part of a reference to {target} over several columns");
            table.about.push(line);
            continue;
        }
        let found =
            surveyed.iter().position(|other| other.listed.name.eq_ignore_ascii_case(&target));
        let Some(found) = found else {
            table.about.push(format!("decide: {from} refers to {target}, which is not there"));
            continue;
        };
        let columns =
            surveyed[found].listed.options["columns"].as_array().cloned().unwrap_or_default();
        let key: Vec<&str> = columns
            .iter()
            .filter(|column| column["key"].as_i64().is_some_and(|place| place > 0))
            .filter_map(|column| column["name"].as_str())
            .collect();
        if !(key.len() == 1 && (to.is_empty() || key[0].eq_ignore_ascii_case(&to))) {
            table
                .about
                .push(format!("decide: {from} refers to {target}.{to}, which is not its key"));
            continue;
        }
        // The target's type is that of its own values.
        let mut target_key = DraftColumn::new(String::new(), From::Rest, "text");
        let declaration = columns.iter().find(|column| column["name"] == key[0]);
        let node =
            surveyed[found].survey.root.fields.as_deref().and_then(|fields| fields.get(key[0]));
        column_type(
            &mut target_key,
            declaration.and_then(|column| column["type"].as_str()).unwrap_or_default(),
            node,
        );
        let own = surveyed[at].survey.root.fields.as_deref().and_then(|fields| fields.get(&from));
        let Some(column) = table.columns.iter_mut().find(|column| column.from == column_of(&from))
        else {
            continue;
        };
        let same = column.pg_type == target_key.pg_type
            || column.pg_type.starts_with("varchar") && target_key.pg_type.starts_with("varchar");
        if !same
            && own.is_some_and(|own| own.filled() > 0)
            && node.is_some_and(|node| node.filled() > 0)
        {
            column.decide = Some(format!(
                "declared as a reference to {target}, whose key is {}",
                target_key.pg_type
            ));
            continue;
        }
        column.pg_type = target_key.pg_type;
        column.coerce = false;
        column.references = Some(tables[found].clone());
        column.index = true;
        let action = text("on_delete").to_lowercase();
        if ["cascade", "set null", "restrict"].contains(&action.as_str()) {
            column.on_delete = Some(action);
        }
        if let (Some(own), Some(node)) = (own, node) {
            let (looked, there) = own.distinct.found_in(&node.distinct);
            if looked > there && node.distinct.is_exact() {
                column.dangling = Some("keep");
                column.decide = Some(format!(
                    "{} of {looked} values lead to no row; \"null\" or \"reject\" makes a foreign key",
                    looked - there
                ));
            }
        }
    }
}

fn indexes(one: &Surveyed, table: &mut DraftTable) {
    for index in &one.listed.indexes {
        let name = index["name"].as_str().unwrap_or_default();
        let fields: Option<Vec<&str>> = index["columns"]
            .as_array()
            .map(|columns| columns.iter().filter_map(Json::as_str).collect());
        let whole = fields
            .as_ref()
            .is_some_and(|fields| Some(fields.len()) == index["columns"].as_array().map(Vec::len));
        let Some(fields) = fields.filter(|_| whole) else {
            table.about.push(format!("index {name}: decide: over an expression, left out"));
            continue;
        };
        if index["partial"] == true {
            table.about.push(format!(
                "index {name}: decide: partial, left out: write its condition as `where`"
            ));
            continue;
        }
        let columns: Vec<&DraftColumn> = fields
            .iter()
            .filter_map(|field| {
                table
                    .columns
                    .iter()
                    .find(|column| column.from == From::Path(vec![(*field).to_owned()]))
            })
            .collect();
        let simple = columns.iter().all(|column| column.pg_type != "jsonb");
        let key = columns.iter().all(|column| column.key)
            && columns.len() == table.columns.iter().filter(|column| column.key).count();
        if columns.len() != fields.len() || key {
            continue;
        }
        if !simple {
            table.about.push(format!("index {name}: left out, its columns are jsonb"));
            continue;
        }
        let indexed = columns.len() == 1 && columns[0].index;
        let columns: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        if index["unique"] == true && one.whole {
            if !table.unique.contains(&columns) {
                table.unique.push(columns);
            }
        } else if !indexed {
            let draft = DraftIndex { columns, ..DraftIndex::default() };
            if !table.indexes.contains(&draft) {
                table.indexes.push(draft);
            }
        }
    }
}
