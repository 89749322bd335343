//! Staged rows and exported documents, to be read by people.

use std::cmp::Ordering;

use super::AuditError;
use super::column::value_text;
use crate::document::extended_json::document_canonical;
use crate::document::id::is_named;
use crate::document::raw::Doc;
use crate::pgcopy::PgType;
use crate::staging::StagingError;
use crate::staging::chain::Chain;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, TableManifest};
use crate::staging::part;
use crate::staging::raw_json::RawJson;
use crate::staging::table::TableDefinition;

/// Rows as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Column names.
    pub columns: Vec<String>,
    /// Values, none for NULL.
    pub rows: Vec<Vec<Option<String>>>,
    /// There are more that meet the conditions.
    pub more: bool,
}

/// A condition on a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    column: usize,
    numeric: bool,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Null(bool),
    Holds(String),
    Compare { wanted: &'static [Ordering], value: String },
}

/// Operators; longer ones first, so that `<=` is not read as `<`.
const OPERATORS: [(&str, &[Ordering]); 6] = [
    ("!=", &[Ordering::Less, Ordering::Greater]),
    ("<=", &[Ordering::Less, Ordering::Equal]),
    (">=", &[Ordering::Greater, Ordering::Equal]),
    ("=", &[Ordering::Equal]),
    ("<", &[Ordering::Less]),
    (">", &[Ordering::Greater]),
];

impl Condition {
    /// Reads a condition: `column = value` and the like.
    pub fn parse(text: &str, table: &TableDefinition) -> Result<Self, AuditError> {
        let column = |name: &str| {
            let name = name.trim().trim_matches('"');
            let found = table.columns.iter().position(|column| column.name == name);
            found.ok_or_else(|| {
                AuditError::no_such(name, table.columns.iter().map(|column| column.name.as_str()))
            })
        };
        let lower = text.to_lowercase();
        for (ending, null) in [(" is not null", false), (" is null", true)] {
            if let Some(length) = lower.strip_suffix(ending).map(str::len)
                && let Some(name) = text.get(..length)
            {
                return Ok(Self { column: column(name)?, numeric: false, test: Test::Null(null) });
            }
        }
        let at = text.find(['=', '<', '>', '!', '~']);
        let Some((name, rest)) = at.map(|at| text.split_at(at)) else {
            return Err(AuditError::Condition(text.to_owned()));
        };
        let column = column(name)?;
        let value = |operator: &str| {
            let value = rest[operator.len()..].trim();
            let quoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
            quoted.unwrap_or(value).to_owned()
        };
        let test = if rest.starts_with('~') {
            Test::Holds(value("~"))
        } else {
            let found = OPERATORS.iter().find(|(operator, _)| rest.starts_with(operator));
            let Some((operator, wanted)) = found else {
                return Err(AuditError::Condition(text.to_owned()));
            };
            Test::Compare { wanted, value: value(operator) }
        };
        let numeric = matches!(
            table.columns[column].pg_type,
            PgType::SmallInt
                | PgType::Integer
                | PgType::BigInt
                | PgType::Real
                | PgType::Double
                | PgType::Numeric(_)
        );
        Ok(Self { column, numeric, test })
    }

    fn holds(&self, row: &[Option<String>]) -> bool {
        match (&self.test, &row[self.column]) {
            (Test::Null(null), value) => value.is_none() == *null,
            (_, None) => false,
            (Test::Holds(part), Some(value)) => value.contains(part.as_str()),
            (Test::Compare { wanted, value: other }, Some(value)) => {
                let order = match (value.parse::<f64>(), other.parse::<f64>()) {
                    // Equal texts are equal numbers, also where a double cannot tell.
                    (Ok(_), Ok(_)) if value == other => Some(Ordering::Equal),
                    (Ok(value), Ok(other)) if self.numeric => value.partial_cmp(&other),
                    _ => Some(value.as_str().cmp(other)),
                };
                order.is_some_and(|order| wanted.contains(&order))
            }
        }
    }
}

/// The first rows of a table that meet all conditions.
pub fn rows(
    run: &RunDirectory,
    table: &TableManifest,
    conditions: &[Condition],
    limit: usize,
) -> Result<Rows, AuditError> {
    let columns = &table.definition.columns;
    let mut found = Rows {
        columns: columns.iter().map(|column| column.name.clone()).collect(),
        rows: Vec::new(),
        more: false,
    };
    for file in &table.parts {
        for batch in part::open(run, file)? {
            let batch = batch
                .map_err(|source| StagingError::Arrow { path: file.path.clone().into(), source })?;
            for at in 0..batch.num_rows() {
                let row: Vec<Option<String>> = batch
                    .columns()
                    .iter()
                    .zip(columns)
                    .map(|(array, column)| value_text(array, at, &column.pg_type))
                    .collect();
                if !conditions.iter().all(|condition| condition.holds(&row)) {
                    continue;
                }
                if found.rows.len() == limit {
                    found.more = true;
                    return Ok(found);
                }
                found.rows.push(row);
            }
        }
    }
    Ok(found)
}

fn extended(
    collection: &CollectionManifest,
    id: &str,
    bytes: &[u8],
) -> Result<RawJson, AuditError> {
    let text = Doc::new(bytes).and_then(document_canonical);
    text.map(RawJson::of_text).map_err(|error| AuditError::Document {
        collection: collection.name.clone(),
        id: id.to_owned(),
        detail: error.to_string(),
    })
}

/// The document with an `_id`, which is written as the `_id` column has it.
pub fn find_document(
    run: &RunDirectory,
    collection: &CollectionManifest,
    id: &str,
) -> Result<Option<RawJson>, AuditError> {
    for piece in Chain::open(run)?.pieces(&collection.name)? {
        for batch in piece.read() {
            let batch = batch?;
            if let Some(at) = (0..batch.len()).find(|at| is_named(batch.id(*at), id)) {
                return Ok(Some(extended(collection, batch.id(at), batch.bytes(at))?));
            }
        }
    }
    Ok(None)
}

/// The first documents of a collection, in `_id` order.
pub fn first_documents(
    run: &RunDirectory,
    collection: &CollectionManifest,
    limit: usize,
) -> Result<Vec<RawJson>, AuditError> {
    let mut found = Vec::new();
    for piece in Chain::open(run)?.pieces(&collection.name)? {
        for batch in piece.read() {
            let batch = batch?;
            for at in 0..batch.len() {
                if found.len() == limit {
                    return Ok(found);
                }
                found.push(extended(collection, batch.id(at), batch.bytes(at))?);
            }
        }
    }
    Ok(found)
}
