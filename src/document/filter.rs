//! Which documents are meant: the part of MongoDB's query language that names documents by their
//! values. What it has in common with the server's, it means the same.

use std::cmp::Ordering;

use super::decimal::decimal128_text;
use super::order::{kinds, same_value};
use super::raw::{Doc, Malformed, Value};

/// Operators of a field.
const OPERATORS: [&str; 11] =
    ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not", "$all"];
/// Operators between conditions.
const LOGICAL: [&str; 3] = ["$and", "$or", "$nor"];

/// A query, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Vec<u8>);

/// A query that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The text is no Extended JSON object.
    #[error("the filter is no JSON object: {0}")]
    Json(String),
    /// An operator that is not known.
    #[error("the filter has the operator {0}; known are {known}", known = known())]
    Operator(String),
    /// An operator with a value of the wrong kind.
    #[error("{0} of the filter needs {1}")]
    Operand(String, &'static str),
}

fn known() -> String {
    OPERATORS.iter().chain(&LOGICAL).copied().collect::<Vec<_>>().join(", ")
}

impl From<Malformed> for FilterError {
    fn from(error: Malformed) -> Self {
        Self::Json(error.to_string())
    }
}

impl Filter {
    /// Reads a query in Extended JSON, relaxed or canonical.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let bytes =
            super::json::to_bson(text).map_err(|error| FilterError::Json(error.to_string()))?;
        check_query(Doc::new(&bytes)?)?;
        Ok(Self(bytes))
    }

    /// Whether a document is meant.
    pub fn takes(&self, document: Doc<'_>) -> Result<bool, Malformed> {
        query(Doc::new(&self.0)?, document)
    }
}

fn is_operators(value: Doc<'_>) -> bool {
    matches!(value.elements().next(), Some(Ok((name, _))) if name.starts_with('$'))
}

fn check_query(query: Doc<'_>) -> Result<(), FilterError> {
    for element in query.elements() {
        let (name, value) = element?;
        if LOGICAL.contains(&name) {
            let wrong = || FilterError::Operand(name.to_owned(), "an array of queries");
            let Value::Array(queries) = value else { return Err(wrong()) };
            for inner in queries.elements() {
                let Value::Document(inner) = inner?.1 else { return Err(wrong()) };
                check_query(inner)?;
            }
        } else if name.starts_with('$') {
            return Err(FilterError::Operator(name.to_owned()));
        } else if let Value::Document(inner) = value
            && is_operators(inner)
        {
            check_operators(inner)?;
        }
    }
    Ok(())
}

fn check_operators(operators: Doc<'_>) -> Result<(), FilterError> {
    for element in operators.elements() {
        let (name, value) = element?;
        match (name, value) {
            ("$in" | "$nin" | "$all", Value::Array(_)) | ("$exists", Value::Boolean(_)) => {}
            ("$in" | "$nin" | "$all", _) => {
                return Err(FilterError::Operand(name.to_owned(), "an array"));
            }
            ("$exists", _) => return Err(FilterError::Operand(name.to_owned(), "true or false")),
            ("$not", Value::Document(inner)) if is_operators(inner) => check_operators(inner)?,
            ("$not", _) => return Err(FilterError::Operand(name.to_owned(), "operators")),
            (name, _) if OPERATORS.contains(&name) => {}
            (name, _) => return Err(FilterError::Operator(name.to_owned())),
        }
    }
    Ok(())
}

fn query(query: Doc<'_>, document: Doc<'_>) -> Result<bool, Malformed> {
    for element in query.elements() {
        let (name, wanted) = element?;
        let holds = match wanted {
            Value::Array(queries) if LOGICAL.contains(&name) => {
                let mut any = false;
                let mut all = true;
                for inner in queries.elements() {
                    if let Value::Document(inner) = inner?.1 {
                        let holds = self::query(inner, document)?;
                        any |= holds;
                        all &= holds;
                    }
                }
                match name {
                    "$and" => all,
                    "$or" => any,
                    _ => !any,
                }
            }
            wanted => {
                let mut found = Vec::new();
                values(Value::Document(document), name, &mut found)?;
                field(&found, &wanted)?
            }
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What stands at a path.
#[derive(Clone, Copy)]
struct Found<'d> {
    /// Nothing where a document has no such field.
    value: Option<Value<'d>>,
    /// Whether the elements of an array count as well: not of one that was named by its index.
    elements: bool,
}

/// What stands at a dotted path; through arrays, in each element that is a document and in the one
/// at an index.
fn values<'d>(from: Value<'d>, path: &str, found: &mut Vec<Found<'d>>) -> Result<(), Malformed> {
    let (first, rest) =
        path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let mut step = |value: Option<Value<'d>>, elements: bool| match (value, rest) {
        (Some(value), Some(rest)) => values(value, rest, found),
        (value, _) => {
            found.push(Found { value, elements });
            Ok(())
        }
    };
    match from {
        Value::Document(document) => step(document.get(first)?, true),
        Value::Array(items) => {
            if let Some(item) = items.get(first)? {
                step(Some(item), false)?;
            }
            for item in items.elements() {
                if let (_, Value::Document(inner)) = item? {
                    step(inner.get(first)?, true)?;
                }
            }
            Ok(())
        }
        _ => step(None, true),
    }
}

/// Whether what was found at a path is what is wanted there.
fn field(found: &[Found<'_>], wanted: &Value<'_>) -> Result<bool, Malformed> {
    let Value::Document(operators) = wanted else { return any(found, wanted, Ordering::is_eq) };
    if !is_operators(*operators) {
        return any(found, wanted, Ordering::is_eq);
    }
    for element in operators.elements() {
        let (name, operand) = element?;
        let holds = match (name, &operand) {
            ("$eq", _) => any(found, &operand, Ordering::is_eq)?,
            ("$ne", _) => !any(found, &operand, Ordering::is_eq)?,
            ("$gt", _) => any(found, &operand, Ordering::is_gt)?,
            ("$gte", _) => any(found, &operand, Ordering::is_ge)?,
            ("$lt", _) => any(found, &operand, Ordering::is_lt)?,
            ("$lte", _) => any(found, &operand, Ordering::is_le)?,
            ("$in", Value::Array(items)) => one_of(found, *items)?,
            ("$nin", Value::Array(items)) => !one_of(found, *items)?,
            ("$all", Value::Array(items)) => {
                let mut all = true;
                for item in items.elements() {
                    all &= any(found, &item?.1, Ordering::is_eq)?;
                }
                all
            }
            ("$exists", Value::Boolean(wanted)) => {
                *wanted == found.iter().any(|found| found.value.is_some())
            }
            ("$not", _) => !field(found, &operand)?,
            _ => false,
        };
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn one_of(found: &[Found<'_>], items: Doc<'_>) -> Result<bool, Malformed> {
    for item in items.elements() {
        if any(found, &item?.1, Ordering::is_eq)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a value, or an element of one that is an array, stands so to another of its kind. A
/// field that is not there counts as null.
fn any(
    found: &[Found<'_>],
    wanted: &Value<'_>,
    holds: fn(Ordering) -> bool,
) -> Result<bool, Malformed> {
    let stands = |value: &Value<'_>| match wanted {
        // They are compared with values of every kind.
        Value::MinKey | Value::MaxKey => holds(kinds(value, wanted)),
        _ if is_nan(value) || is_nan(wanted) => {
            is_nan(value) && is_nan(wanted) && holds(Ordering::Equal)
        }
        _ => kinds(value, wanted).is_eq() && holds(same_value(value, wanted)),
    };
    for Found { value, elements } in found {
        let value = value.unwrap_or(Value::Null);
        if stands(&value) {
            return Ok(true);
        }
        if let Value::Array(items) = value
            && *elements
        {
            for item in items.elements() {
                if stands(&item?.1) {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// No number is less or greater than it.
fn is_nan(value: &Value<'_>) -> bool {
    match value {
        Value::Double(number) => number.is_nan(),
        Value::Decimal128(bytes) => decimal128_text(*bytes).ends_with("NaN"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{RawDocumentBuf, doc};

    #[test]
    fn documents_are_named_as_the_server_names_them() {
        let document = doc! {
            "_id": 7, "state": "open", "total": 12.5, "tags": ["a", "b"], "none": null,
            "lines": [{"sku": "x", "count": 1}, {"sku": "y", "count": 5_i64}],
            "address": {"city": "Brno"},
        };
        let bytes = RawDocumentBuf::try_from(&document).unwrap();
        for (filter, expected) in [
            (r"{}", true),
            (r#"{"state": "open"}"#, true),
            (r#"{"state": "done"}"#, false),
            (r#"{"_id": {"$numberLong": "7"}}"#, true),
            (r#"{"total": {"$gte": 12, "$lt": 13}}"#, true),
            (r#"{"total": {"$gt": "12"}}"#, false),
            (r#"{"tags": "b"}"#, true),
            (r#"{"tags": ["a", "b"]}"#, true),
            (r#"{"tags": {"$all": ["b", "c"]}}"#, false),
            (r#"{"lines.count": {"$gt": 4}}"#, true),
            (r#"{"lines.1.sku": "y"}"#, true),
            (r#"{"address.city": {"$in": ["Praha", "Brno"]}}"#, true),
            (r#"{"none": null, "missing": null}"#, true),
            (r#"{"missing": {"$exists": false}, "none": {"$exists": true}}"#, true),
            (r#"{"state": {"$not": {"$eq": "open"}}}"#, false),
            (r#"{"missing": {"$ne": 1}}"#, true),
            (r#"{"$or": [{"state": "done"}, {"_id": 7}]}"#, true),
            (r#"{"$nor": [{"state": "done"}, {"_id": 7}]}"#, false),
            (r#"{"$and": [{"state": "open"}, {"_id": 8}]}"#, false),
        ] {
            let takes = Filter::parse(filter).unwrap().takes(Doc::new(bytes.as_bytes()).unwrap());
            assert_eq!(takes.unwrap(), expected, "{filter}");
        }
        for wrong in ["[]", "{", r#"{"a": {"$regex": "x"}}"#, r#"{"$where": "1"}"#, r#"{"$or": 1}"#]
        {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
    }
}
