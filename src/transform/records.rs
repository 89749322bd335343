//! From exported parts to records: which documents belong to a table, and which array elements.

use super::plan::TablePlan;
use super::shape::{Broken, Record};
use crate::document::raw::{Doc, Value};
use crate::pipeline::model::{FieldPath, Literal, Otherwise};

/// What one document is to a table.
pub(super) enum Item<'a> {
    /// A record to shape.
    Record(Record<'a>),
    /// A record that is refused as it stands.
    Broken(Broken<'a>),
    /// A document that is left out under `otherwise = "drop"`.
    Dropped,
}

/// How the documents of a collection are shared out among its tables.
pub(super) struct Router<'p> {
    table: &'p TablePlan,
    siblings: Vec<&'p TablePlan>,
    answers_for_unrouted: bool,
}

impl<'p> Router<'p> {
    pub(super) fn new(table: &'p TablePlan, tables: &'p [TablePlan]) -> Self {
        let siblings: Vec<_> = tables
            .iter()
            .filter(|other| other.source == table.source && other.each.is_none())
            .collect();
        let answers_for_unrouted =
            siblings.first().is_some_and(|first| std::ptr::eq(*first, table))
                && !table.filter.is_empty();
        Self { table, siblings, answers_for_unrouted }
    }

    /// Adds the records that a document holds for the table. Says whether the `each` path was there.
    pub(super) fn expand<'a>(
        &self,
        bytes: &'a [u8],
        repeats_id: bool,
        items: &mut Vec<Item<'a>>,
    ) -> bool {
        let root = match Doc::new(bytes) {
            Ok(root) => root,
            Err(error) => {
                items.push(Item::Broken(malformed(error.to_string())));
                return false;
            }
        };
        if !matches(root, &self.table.filter) {
            let routed = self.siblings.iter().any(|sibling| matches(root, &sibling.filter));
            if self.answers_for_unrouted && !routed {
                items.push(match self.table.otherwise {
                    Otherwise::Drop => Item::Dropped,
                    Otherwise::Reject => Item::Broken(Broken {
                        rule: "unrouted",
                        column: None,
                        field: None,
                        value: None,
                        detail: "no table of the collection takes the document".to_owned(),
                    }),
                });
            }
            return false;
        }
        let first = items.len();
        let mut present = true;
        match &self.table.each {
            None => {
                items.push(Item::Record(Record { document: root, root, ordinal: 0, number: 0 }));
            }
            Some(path) => present = elements(root, root, &path.0, items),
        }
        if repeats_id {
            for item in &mut items[first..] {
                *item = Item::Broken(Broken {
                    rule: "key",
                    column: None,
                    field: Some("_id".to_owned()),
                    value: None,
                    detail: "the document before it has the same _id".to_owned(),
                });
            }
        }
        present
    }
}

fn malformed<'a>(detail: String) -> Broken<'a> {
    Broken { rule: "malformed", column: None, field: None, value: None, detail }
}

/// The elements at the end of a path through documents and arrays.
fn elements<'a>(root: Doc<'a>, at: Doc<'a>, path: &[String], items: &mut Vec<Item<'a>>) -> bool {
    let Some((name, rest)) = path.split_first() else { return false };
    let value = match at.get(name) {
        Ok(Some(value)) => value,
        Ok(None) => return false,
        Err(error) => {
            items.push(Item::Broken(malformed(error.to_string())));
            return true;
        }
    };
    let unfit = |value: Value<'a>| {
        Item::Broken(Broken {
            rule: "type",
            column: None,
            field: Some(name.clone()),
            value: Some(value),
            detail: format!(
                "an array of subdocuments is expected, BSON type {} is there",
                value.type_name()
            ),
        })
    };
    match value {
        Value::Null | Value::Undefined => true,
        Value::Document(inner) if !rest.is_empty() => elements(root, inner, rest, items),
        Value::Array(array) => {
            let mut present = rest.is_empty();
            for (ordinal, element) in array.elements().enumerate() {
                match element {
                    Err(error) => {
                        items.push(Item::Broken(malformed(error.to_string())));
                        break;
                    }
                    Ok((_, Value::Document(document))) if rest.is_empty() => {
                        let ordinal = i64::try_from(ordinal).unwrap_or(i64::MAX);
                        items.push(Item::Record(Record { document, root, ordinal, number: 0 }));
                    }
                    Ok((_, Value::Document(document))) => {
                        present |= elements(root, document, rest, items);
                    }
                    Ok((_, value)) => items.push(unfit(value)),
                }
            }
            present
        }
        value => {
            items.push(unfit(value));
            true
        }
    }
}

fn matches(document: Doc<'_>, filter: &[(FieldPath, Literal)]) -> bool {
    filter.iter().all(|(path, literal)| {
        let value = document.at(&path.0).ok().flatten();
        match (literal, value) {
            (Literal::String(text), Some(Value::String(value))) => text == value,
            (Literal::Boolean(flag), Some(Value::Boolean(value))) => *flag == value,
            (Literal::Integer(number), Some(Value::Int32(value))) => *number == i64::from(value),
            (Literal::Integer(number), Some(Value::Int64(value))) => *number == value,
            #[expect(clippy::float_cmp, reason = "a discriminator is compared for equality")]
            (Literal::Integer(number), Some(Value::Double(value))) => *number as f64 == value,
            #[expect(clippy::float_cmp, reason = "a discriminator is compared for equality")]
            (Literal::Float(number), Some(Value::Double(value))) => *number == value,
            _ => false,
        }
    })
}
