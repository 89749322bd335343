//! From exported parts to records: which documents belong to a table, and which array elements.

use super::plan::{Input, TablePlan};
use super::shape::{Broken, Record};
use super::{PartTask, TransformError};
use crate::document::raw::{Doc, Value};
use crate::document::{identity, order};
use crate::pipeline::model::{FieldPath, Literal, Otherwise};
use crate::staging::exported::Documents;

/// What one document is to a table.
pub(super) enum Item<'a> {
    /// A record to shape.
    Record(Record<'a>),
    /// A record that is refused as it stands.
    Broken(Broken<'a>),
    /// A document that is left out under `otherwise = "drop"`.
    Dropped,
}

/// Where a record stands.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The `_id` of its document, as text.
    pub(super) id: &'a str,
    /// Its document.
    pub(super) bytes: &'a [u8],
    /// Counted in the part, from 0.
    pub(super) number: u32,
    /// Counted in its document, from 0.
    pub(super) element: u64,
}

/// Goes through the records that a part holds for a table, batch after batch.
pub(super) struct Walk<'p> {
    router: Router<'p>,
    task: &'p PartTask<'p>,
    /// The `_id` of the document before the next batch.
    previous: Option<String>,
    number: u32,
    /// Some document had the path of `each`.
    pub(super) each_seen: bool,
}

impl<'p> Walk<'p> {
    pub(super) fn new(
        table: &'p TablePlan,
        tables: &'p [TablePlan],
        task: &'p PartTask<'p>,
    ) -> Self {
        Self {
            router: Router::new(table, tables),
            task,
            previous: task.previous_id.map(str::to_owned),
            number: 0,
            each_seen: false,
        }
    }

    /// Hands over the records of the next batch that are to be taken.
    pub(super) fn each<'a>(
        &mut self,
        batch: &'a Documents,
        mut take: impl FnMut(Place<'a>, Item<'a>) -> Result<(), TransformError>,
    ) -> Result<(), TransformError> {
        let mut items = Vec::new();
        for at in 0..batch.len() {
            let (id, bytes) = (batch.id(at), batch.bytes(at));
            let repeats = !self.router.table.ids_repeat
                && match at.checked_sub(1) {
                    None => self.previous.as_deref() == Some(id),
                    Some(before) => batch.id(before) == id,
                };
            self.each_seen |= self.router.expand(bytes, repeats, &mut items);
            for (element, mut item) in items.drain(..).enumerate() {
                let number = self.number;
                self.number += 1;
                if !self.task.takes(id, element) {
                    continue;
                }
                if let Item::Record(record) = &mut item {
                    record.number = self.task.first_number + u64::from(number);
                }
                take(Place { id, bytes, number, element: element as u64 }, item)?;
            }
        }
        if let Some(last) = batch.len().checked_sub(1) {
            self.previous = Some(batch.id(last).to_owned());
        }
        Ok(())
    }
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
                items.push(Item::Record(Record {
                    document: root,
                    root,
                    element: None,
                    member: None,
                    ordinal: 0,
                    number: 0,
                }));
            }
            Some(path) => {
                let columns = &self.table.columns;
                let any = columns.iter().any(|column| matches!(column.input, Input::Element));
                present = Way { root, any, items }.inside(root, &path.0, Spot::default());
            }
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

/// A document without fields, for elements that are none.
const EMPTY: &[u8] = &[5, 0, 0, 0, 0];

/// On the way to the elements at the end of a path through documents, arrays and members.
struct Way<'a, 'i> {
    root: Doc<'a>,
    /// Elements need not be documents.
    any: bool,
    items: &'i mut Vec<Item<'a>>,
}

/// Where an element is.
#[derive(Clone, Copy, Default)]
struct Spot<'a> {
    member: Option<&'a str>,
    ordinal: usize,
}

impl<'a> Way<'a, '_> {
    /// Follows a path inside a document. Says whether its end was there.
    fn inside(&mut self, document: Doc<'a>, path: &[String], place: Spot<'a>) -> bool {
        let Some((name, rest)) = path.split_first() else { return false };
        if name == FieldPath::MEMBERS {
            let members = |field| Spot { member: Some(field), ..Spot::default() };
            return self.each(document, "*", rest, members);
        }
        match document.get(name) {
            Ok(None) => false,
            Ok(Some(Value::Null | Value::Undefined)) => true,
            Ok(Some(Value::Document(inner))) if !rest.is_empty() => self.inside(inner, rest, place),
            Ok(Some(Value::Array(array))) => self.each(array, name, rest, |_| place),
            Ok(Some(value)) => self.unfit(name, value, "an array of subdocuments"),
            Err(error) => {
                self.items.push(Item::Broken(malformed(error.to_string())));
                true
            }
        }
    }

    /// Takes, or goes on through, each field of a document or element of an array.
    fn each(
        &mut self,
        values: Doc<'a>,
        name: &str,
        rest: &[String],
        place: impl Fn(&'a str) -> Spot<'a>,
    ) -> bool {
        let mut present = rest.is_empty();
        for (ordinal, element) in values.elements().enumerate() {
            let (field, value) = match element {
                Ok(element) => element,
                Err(error) => {
                    self.items.push(Item::Broken(malformed(error.to_string())));
                    break;
                }
            };
            let place = Spot { ordinal, ..place(field) };
            match value {
                Value::Document(inner) if !rest.is_empty() => {
                    present |= self.inside(inner, rest, place);
                }
                Value::Document(_) => self.take(value, place),
                _ if rest.is_empty() && self.any => self.take(value, place),
                _ => {
                    self.unfit(name, value, "a subdocument");
                }
            }
        }
        present
    }

    fn take(&mut self, value: Value<'a>, place: Spot<'a>) {
        let document = match value {
            Value::Document(document) => Some(document),
            _ => Doc::new(EMPTY).ok(),
        };
        if let Some(document) = document {
            self.items.push(Item::Record(Record {
                document,
                root: self.root,
                element: Some(value),
                member: place.member,
                ordinal: i64::try_from(place.ordinal).unwrap_or(i64::MAX),
                number: 0,
            }));
        }
    }

    fn unfit(&mut self, name: &str, value: Value<'a>, expected: &str) -> bool {
        self.items.push(Item::Broken(Broken {
            rule: "type",
            column: None,
            field: Some(name.to_owned()),
            value: Some(value),
            detail: format!("{expected} is expected, BSON type {} is there", value.type_name()),
        }));
        true
    }
}

fn matches(document: Doc<'_>, filter: &[(FieldPath, Literal)]) -> bool {
    filter.iter().all(|(path, literal)| {
        let Some(value) = document.at(&path.0).ok().flatten() else { return false };
        match (literal, identity::scalar(&value)) {
            (Literal::String(text), Value::String(value)) => text == value,
            (Literal::Boolean(flag), Value::Boolean(value)) => *flag == value,
            (Literal::Integer(number), value) => order::same_number(&Value::Int64(*number), &value),
            (Literal::Float(number), value) => order::same_number(&Value::Double(*number), &value),
            _ => false,
        }
    })
}
