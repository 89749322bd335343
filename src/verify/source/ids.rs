//! `_id`s: told apart as MongoDB does it.

use std::borrow::Cow;
use std::cmp::Ordering;

use mongodb::bson::{Bson, RawDocument};

use crate::document::id::id_text;
use crate::document::identity::of_staged;
use crate::document::order::{kinds, same_value};
use crate::document::raw::{Doc, Malformed, Value};

/// The `_id` of a document; none where it has none.
pub(super) fn id_of(document: &[u8]) -> Result<Option<Value<'_>>, Malformed> {
    Doc::new(document).and_then(|document| document.get("_id"))
}

/// The `_id` of a document as the `_id` column has it, or what is wrong with the document.
pub(super) fn shown(document: &[u8]) -> String {
    match id_of(document).and_then(|id| id.as_ref().map_or(Ok(String::new()), id_text)) {
        Ok(text) => text,
        Err(error) => format!("(no BSON: {error})"),
    }
}

/// One text for all `_id`s that MongoDB holds to be equal.
pub(super) fn key(staged: &str) -> Cow<'_, str> {
    of_staged(staged)
}

/// The `_id` as the driver takes it; none where it cannot.
pub(super) fn to_bson(document: &[u8]) -> Option<Bson> {
    let id = RawDocument::from_bytes(document).ok()?.get("_id").ok()??;
    Bson::try_from(id).ok()
}

/// The order of an `_id` index: numbers of different types can be equal.
pub(super) fn order(left: Option<&Value<'_>>, right: Option<&Value<'_>>) -> Ordering {
    match (left, right) {
        (Some(left), Some(right)) => kinds(left, right).then_with(|| same_value(left, right)),
        (left, right) => left.is_some().cmp(&right.is_some()),
    }
}

/// Whether two documents have one place in the `_id` index.
pub(super) fn same_key(left: Option<&Value<'_>>, right: Option<&Value<'_>>) -> bool {
    order(left, right).is_eq()
}
