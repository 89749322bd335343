//! Staged columns against a table that is there already.

use std::collections::HashMap;
use std::fmt;

use regex::Regex;
use serde::Serialize;

use crate::pgcopy::PgType;
use crate::postgres::TableShape;
use crate::staging::manifest::TableManifest;

/// Findings that leave a value where it is.
const KEEPING: [&str; 4] = ["digest_key", "negative_zero", "nul_stripped", "null_element"];

/// Something that is otherwise in the database than in the staged files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Table name.
    pub table: String,
    /// Column name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// What differs.
    pub detail: String,
    /// Whether the rows cannot be loaded so.
    pub blocking: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.table)?;
        if let Some(column) = &self.column {
            write!(formatter, ".{column}")?;
        }
        write!(formatter, ": {}", self.detail)
    }
}

/// Compares a staged table with the one in the database. `conflict` are the columns by which rows
/// that are there already are found.
pub(super) fn compare(
    staged: &TableManifest,
    shape: Option<&TableShape>,
    labels: &HashMap<String, Vec<String>>,
    conflict: Option<&[String]>,
) -> Vec<Difference> {
    let table = &staged.definition.name;
    let mut differences = Vec::new();
    let mut add = |column: Option<&str>, blocking: bool, detail: String| {
        let column = column.map(str::to_owned);
        differences.push(Difference { table: table.clone(), column, detail, blocking });
    };
    let Some(shape) = shape else {
        add(None, true, "the table is not there".to_owned());
        return differences;
    };
    for column in &staged.definition.columns {
        let name = Some(column.name.as_str());
        let Some(found) = shape.columns.iter().find(|found| found.name == column.name) else {
            add(name, true, "the column is not there".to_owned());
            continue;
        };
        if found.generated {
            add(name, true, "the column is generated and cannot be written".to_owned());
        }
        let fits = match &found.pg_type {
            Some(PgType::Jsonb) if found.is_json && column.pg_type == PgType::Jsonb => {
                let upsert = conflict.is_some();
                let effect = if upsert {
                    ": an upsert compares rows, and json has no comparison; use --mode replace"
                } else {
                    ", which gets the text that jsonb prints"
                };
                add(name, upsert, format!("jsonb is staged, json is there{effect}"));
                !upsert
            }
            Some(pg_type) if *pg_type == column.pg_type && !found.is_padded => true,
            Some(PgType::Varchar(length))
                if matches!(column.pg_type, PgType::Text | PgType::Varchar(_)) =>
            {
                let shorter = !matches!(column.pg_type, PgType::Varchar(own) if own <= *length);
                let there = if found.is_padded {
                    format!("char({length}) is there, which keeps no blanks at the end")
                } else {
                    format!("varchar({length}) is there")
                };
                let detail = format!("{} is staged, {there}", column.pg_type);
                add(name, shorter, detail);
                !shorter
            }
            Some(PgType::Text) if matches!(column.pg_type, PgType::Varchar(_)) => {
                add(name, false, format!("{} is staged, text is there", column.pg_type));
                true
            }
            _ => {
                let detail = format!("{} is staged, {} is there", column.pg_type, found.type_text);
                add(name, true, detail);
                false
            }
        };
        if let (Some(domain), true) = (&found.domain, fits) {
            let rules = if domain.checked { ", whose rules the copy keeps" } else { "" };
            let detail = format!(
                "{} is staged, the domain {} is there{rules}",
                column.pg_type, found.type_text
            );
            add(name, false, detail);
        }
        if found.folds_case && fits {
            let by = conflict.is_some_and(|conflict| conflict.contains(&column.name));
            let effect = if by {
                ": rows are found again by it, and its letters may differ in case; use --mode replace"
            } else {
                ", which takes no notice of case"
            };
            add(name, by, format!("{} is staged, citext is there{effect}", column.pg_type));
        }
        if let PgType::Enum(enum_name) = column.pg_type.element() {
            let own = staged.definition.enums.iter().find(|own| own.name == *enum_name);
            let there = labels.get(enum_name).map(Vec::as_slice).unwrap_or_default();
            let own = own.map(|own| own.labels.as_slice()).unwrap_or_default();
            let missing: Vec<&str> =
                own.iter().filter(|label| !there.contains(label)).map(String::as_str).collect();
            let extra: Vec<&str> =
                there.iter().filter(|label| !own.contains(label)).map(String::as_str).collect();
            if !missing.is_empty() {
                add(name, true, format!("enum {enum_name} has no label {}", missing.join(", ")));
            }
            if !extra.is_empty() {
                let detail = format!("enum {enum_name} has more labels: {}", extra.join(", "));
                add(name, false, detail);
            }
        }
        if found.not_null && column.nullable {
            let counts = staged.columns.iter().find(|counts| counts.name == column.name);
            let nulls = counts.is_none_or(|counts| counts.null + counts.missing > 0)
                || staged.findings.keys().any(|rule| !KEEPING.contains(&rule.as_str()));
            let detail = if nulls {
                "NULL is staged, the column is NOT NULL"
            } else {
                "the column is NOT NULL; every staged row has a value"
            };
            add(name, nulls && staged.rows > 0, detail.to_owned());
        }
        if !found.not_null && !column.nullable {
            add(name, false, "the column allows NULL".to_owned());
        }
        if column.default.is_some() != found.default.is_some() && !found.generated {
            let none = || "none".to_owned();
            let staged = column.default.clone().unwrap_or_else(none);
            let there = found.default.clone().unwrap_or_else(none);
            add(name, false, format!("default {staged} is staged, {there} is there"));
        }
    }
    let staged_column =
        |name: &str| staged.definition.columns.iter().any(|column| column.name == name);
    for found in shape.columns.iter().filter(|found| !staged_column(&found.name)) {
        let filled = found.default.is_some() || found.generated || found.identity;
        let name = Some(found.name.as_str());
        if found.not_null && !filled {
            add(
                name,
                true,
                "nothing is staged for it, it is NOT NULL and has no default".to_owned(),
            );
        } else if !found.generated {
            add(name, false, "nothing is staged for it".to_owned());
        }
    }
    for trigger in &shape.triggers {
        for name in written_columns(&trigger.source) {
            if !shape.columns.iter().any(|column| column.name == name) {
                let (trigger, function) = (&trigger.name, &trigger.function);
                let detail = format!(
                    "trigger {trigger} calls {function}, which needs column {name}, which is not there"
                );
                add(None, true, detail);
            }
        }
    }
    for index in &shape.folding {
        add(None, false, format!("rows that differ may be one to a unique index there: {index}"));
    }
    if let Some(conflict) = conflict {
        let mut wanted = conflict.to_vec();
        wanted.sort();
        let covers = |sets: &[Vec<String>]| {
            sets.iter().any(|unique| {
                let mut unique = unique.clone();
                unique.sort();
                unique == wanted
            })
        };
        let known = covers(&shape.unique);
        let deferrable = covers(&shape.deferrable);
        if conflict.is_empty() {
            let detail = "it has no key by which rows can be found again: give it one, or \
                          `upsert_by`, or use --mode replace";
            add(None, true, detail.to_owned());
        } else if !known && deferrable {
            let detail = format!(
                "the key ({}) is deferrable, and ON CONFLICT takes none of these: ALTER TABLE … ALTER \
                 CONSTRAINT … NOT DEFERRABLE, or use --mode replace",
                conflict.join(", ")
            );
            add(None, true, detail);
        } else if !known {
            add(None, true, format!("no unique index covers ({})", conflict.join(", ")));
        }
    }
    differences
}

/// Columns of the row that a trigger function reads or sets: `NEW.name`, `NEW."Name"`.
fn written_columns(source: &str) -> Vec<String> {
    let Ok(pattern) = Regex::new(r#"(?i)\bnew\s*\.\s*(?:"((?:[^"]|"")+)"|([a-z_][a-z0-9_$]*))"#)
    else {
        return Vec::new();
    };
    let mut names: Vec<String> = pattern
        .captures_iter(source)
        .filter_map(|found| match (found.get(1), found.get(2)) {
            (Some(quoted), _) => Some(quoted.as_str().replace("\"\"", "\"")),
            (None, Some(plain)) => Some(plain.as_str().to_lowercase()),
            (None, None) => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_tells_the_columns_it_needs() {
        let source =
            "BEGIN NEW.updated_at = now(); NEW.\"createdAt\" := new . Title; RETURN NEW; END";
        assert_eq!(written_columns(source), ["createdAt", "title", "updated_at"]);
    }
}
