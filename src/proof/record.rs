//! The records that a document holds for a table: the document itself, or elements of its arrays.

use std::ops::Range;

use bson::RawBsonRef;

use super::fate::{Fate, Fates, Rule};
use super::identity::standing;
use super::mapping::TableMap;
use super::node::Node;
use super::number::Number;
use super::value::Reason;
use crate::pipeline::model::{FieldPath, Literal, Otherwise};

/// What becomes one row.
#[derive(Clone, Copy)]
pub(super) struct Record<'d, 'a> {
    /// The whole document.
    pub(super) root: &'d Node<'a>,
    /// The same, or the element.
    pub(super) own: &'d Node<'a>,
    /// Name of the field that holds the element, where names are data.
    pub(super) member: Option<&'a str>,
    pub(super) ordinal: i64,
}

/// What a document is to a table, once or several times.
pub(super) enum Item<'d, 'a> {
    Record(Record<'d, 'a>),
    /// No row can be made of these leaves.
    Refused(Range<usize>, Reason),
    /// Left out with `otherwise = "drop"`.
    Dropped(Range<usize>),
}

/// Whether a document belongs to a table.
pub(super) fn belongs(root: &Node<'_>, filter: &[(FieldPath, Literal)]) -> bool {
    filter.iter().all(|(path, literal)| {
        let Some(node) = root.at(&path.0) else { return false };
        let number = Number::of(node.value).map(|number| number.reduced());
        match (literal, standing(node.value)) {
            (Literal::String(text), RawBsonRef::String(value)) => text == value,
            (Literal::Boolean(flag), RawBsonRef::Boolean(value)) => *flag == value,
            (Literal::Integer(wanted), _) => number.is_some_and(|it| it == wanted.to_string()),
            (Literal::Float(wanted), _) => {
                number == Number::of(RawBsonRef::Double(*wanted)).map(|number| number.reduced())
            }
            _ => false,
        }
    })
}

/// The items of a document for a table, in order. `routed` says whether a table of the collection
/// takes the document, `repeats` that the document before it has the same `_id`.
pub(super) fn items<'d, 'a>(
    table: &TableMap<'_>,
    root: &'d Node<'a>,
    routed: bool,
    repeats: bool,
    fates: &mut Fates,
) -> Vec<Item<'d, 'a>> {
    let all = root.leaves.clone();
    if !belongs(root, table.filter()) {
        if let Some(path) = &table.table.each
            && let Some(left_out) = root.at(path.before_members())
        {
            fates.mark(left_out.leaves.clone(), Fate::Ruled(Rule::Where));
        }
        return match (table.answers && !routed, table.table.otherwise) {
            (false, _) => Vec::new(),
            (true, Otherwise::Drop) => vec![Item::Dropped(all)],
            (true, Otherwise::Reject) => {
                let reason = Reason::new("unrouted", "no table of the collection takes it");
                vec![Item::Refused(all, reason)]
            }
        };
    }
    let mut found = Vec::new();
    match &table.table.each {
        None => {
            found.push(Item::Record(Record { root, own: root, member: None, ordinal: 0 }));
        }
        Some(path) => {
            let mut way = Way { root, any: table.takes_element, found: &mut found, fates };
            way.inside(root, &path.0, (None, 0));
        }
    }
    if repeats {
        for item in &mut found {
            let leaves = match item {
                Item::Record(record) => record.own.leaves.clone(),
                Item::Refused(leaves, _) | Item::Dropped(leaves) => leaves.clone(),
            };
            let reason = Reason::new("key", "the document before it has the same _id");
            *item = Item::Refused(leaves, reason);
        }
    }
    found
}

/// A way through documents, arrays and members to the elements at its end.
struct Way<'d, 'a, 'f> {
    root: &'d Node<'a>,
    /// Elements need not be documents.
    any: bool,
    found: &'f mut Vec<Item<'d, 'a>>,
    fates: &'f mut Fates,
}

/// The name and the position of an element.
type Spot<'a> = (Option<&'a str>, i64);

impl<'d, 'a> Way<'d, 'a, '_> {
    fn inside(&mut self, node: &'d Node<'a>, path: &[String], spot: Spot<'a>) {
        let Some((name, rest)) = path.split_first() else { return };
        if name == FieldPath::MEMBERS {
            return self.elements(node, rest, Some);
        }
        let Some(field) = node.get(name) else { return };
        match field.value {
            RawBsonRef::Null => self.empty(field, Rule::Empty),
            RawBsonRef::Undefined => self.empty(field, Rule::Undefined),
            RawBsonRef::Document(_) if !rest.is_empty() => {
                if field.children.is_empty() {
                    self.empty(field, Rule::Empty);
                }
                self.inside(field, rest, spot);
            }
            RawBsonRef::Array(_) => self.elements(field, rest, |_| spot.0),
            _ => self.refuse(field, "an array of subdocuments is expected"),
        }
    }

    /// Takes each field of a document, or element of an array, or goes on through it.
    fn elements(
        &mut self,
        node: &'d Node<'a>,
        rest: &[String],
        member: impl Fn(&'a str) -> Option<&'a str>,
    ) {
        if node.children.is_empty() {
            self.empty(node, Rule::Empty);
        }
        for (ordinal, element) in (0..).zip(&node.children) {
            let spot = (member(element.name), ordinal);
            match (rest.is_empty(), element.is_document()) {
                (false, true) => {
                    if element.children.is_empty() {
                        self.empty(element, Rule::Empty);
                    }
                    self.inside(element, rest, spot);
                }
                (true, is_document) if is_document || self.any => {
                    let (member, ordinal) = spot;
                    let record = Record { root: self.root, own: element, member, ordinal };
                    self.found.push(Item::Record(record));
                }
                _ => self.refuse(element, "a subdocument is expected"),
            }
        }
    }

    /// Nothing is in it of which a row could be made.
    fn empty(&mut self, node: &Node<'_>, rule: Rule) {
        self.fates.mark(node.leaves.clone(), Fate::Ruled(rule));
    }

    fn refuse(&mut self, node: &Node<'_>, detail: &str) {
        self.found.push(Item::Refused(node.leaves.clone(), Reason::new("type", detail)));
    }
}
