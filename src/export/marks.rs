//! Marks: values of a field that tell how far the changes of a collection were seen.
//!
//! The greatest value of a field says something of the other documents only where it is the time of
//! a change. A number, a version or a text of one document says nothing of another one, and neither
//! does a time that has not come yet.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Document, Timestamp, doc};
use serde_json::Value as Json;

use crate::document::extended_json::{to_bson, to_document, to_json};
use crate::document::order::compare;
use crate::document::raw::{Doc, Value};
use crate::pipeline::model::FieldPath;

/// Every type name that `$type` knows, with the kind of mark it is.
const TYPES: [(&str, Option<Kind>); 20] = [
    ("date", Some(Kind::Date)),
    ("timestamp", Some(Kind::Timestamp)),
    ("objectId", Some(Kind::ObjectId)),
    ("string", None),
    ("int", None),
    ("long", None),
    ("double", None),
    ("decimal", None),
    ("symbol", None),
    ("object", None),
    ("array", None),
    ("binData", None),
    ("undefined", None),
    ("bool", None),
    ("null", None),
    ("regex", None),
    ("dbPointer", None),
    ("javascript", None),
    ("minKey", None),
    ("maxKey", None),
];
/// A type that servers may no longer know, apart from the others.
const SCOPED_CODE: &str = "javascriptWithScope";

/// Kinds of values that can be marks, the best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    ObjectId,
    Timestamp,
    Date,
}

/// The kind of a mark, and its time in milliseconds since 1970.
fn time_of(value: &Value<'_>) -> Option<(Kind, i64)> {
    match value {
        Value::DateTime(millis) => Some((Kind::Date, *millis)),
        Value::Timestamp { time, .. } => Some((Kind::Timestamp, i64::from(*time) * 1000)),
        Value::ObjectId([first, second, third, fourth, ..]) => {
            let seconds = u32::from_be_bytes([*first, *second, *third, *fourth]);
            Some((Kind::ObjectId, i64::from(seconds) * 1000))
        }
        _ => None,
    }
}

/// The field that is looked at, and until when its times are marks.
#[derive(Clone, Copy)]
pub(super) struct Marking<'m> {
    pub(super) field: &'m FieldPath,
    /// The source's clock, in milliseconds since 1970. Later times are no marks: nothing would
    /// ever come after them.
    pub(super) now: i64,
}

/// The greatest value of a field so far.
pub(super) struct HighWater {
    path: Vec<String>,
    now: i64,
    /// `{"": value}`.
    greatest: Option<Vec<u8>>,
}

impl HighWater {
    pub(super) fn of(marking: Marking<'_>) -> Self {
        Self { path: marking.field.0.clone(), now: marking.now, greatest: None }
    }

    /// Looks at a document.
    pub(super) fn see(&mut self, document: &[u8]) {
        let found = Doc::new(document).and_then(|document| document.at(&self.path));
        // What cannot be read is no mark, and comes along every time.
        let Ok(Some(value)) = found else { return };
        let Some((kind, time)) = time_of(&value) else { return };
        if time > self.now {
            return;
        }
        let greatest = self.greatest.as_deref().and_then(|bytes| Doc::new(bytes).ok());
        let greatest = greatest.and_then(|greatest| greatest.get("").ok().flatten());
        let greater = greatest.is_none_or(|greatest| {
            let order = Some(kind).cmp(&time_of(&greatest).map(|(kind, _)| kind));
            order.then_with(|| compare(&value, &greatest)).is_gt()
        });
        if greater {
            self.greatest = to_json(&value).ok().and_then(|json| wrapped(&json));
        }
    }

    pub(super) fn into_json(self) -> Option<Json> {
        let bytes = self.greatest?;
        let value = Doc::new(&bytes).and_then(|document| document.get("")).ok()??;
        to_json(&value).ok()
    }
}

/// `{"": value}` as BSON.
fn wrapped(value: &Json) -> Option<Vec<u8>> {
    to_bson(&serde_json::json!({"": value})).ok()
}

/// The greatest of several marks.
pub(super) fn greatest<'m>(marks: impl Iterator<Item = &'m Json>) -> Option<Json> {
    let mut best = HighWater { path: vec![String::new()], now: i64::MAX, greatest: None };
    for mark in marks {
        if let Some(bytes) = wrapped(mark) {
            best.see(&bytes);
        }
    }
    best.into_json()
}

/// The query for documents that a mark does not tell to be unchanged.
pub(super) struct Changed {
    pub(super) filter: Document,
    /// The value from which on they are taken.
    pub(super) since: Json,
    pub(super) mark: Json,
}

impl Changed {
    /// None where the mark tells nothing: it is no time, or one ahead of the source's clock.
    pub(super) fn since(mark: &Json, field: &FieldPath, overlap: u32, now: i64) -> Option<Self> {
        let bytes = wrapped(mark)?;
        let (kind, time) = time_of(&Doc::new(&bytes).ok()?.get("").ok()??)?;
        if time > now {
            return None;
        }
        let value = to_document(&serde_json::json!({"": mark})).ok()?.remove("")?;
        let from = lowered(&value, overlap)?;
        let name = field.0.join(".");
        let mut others: Vec<&str> =
            TYPES.iter().filter(|(_, of)| *of != Some(kind)).map(|(name, _)| *name).collect();
        others.push(SCOPED_CODE);
        let mut any = vec![
            doc! {&name: {"$gte": from.clone()}},
            doc! {&name: {"$exists": false}},
            doc! {&name: {"$type": others}},
        ];
        // Of several values in an array on the way any one would count as the document's.
        any.extend(
            (1..field.0.len()).map(|length| doc! {field.0[..length].join("."): {"$type": "array"}}),
        );
        let bytes = mongodb::bson::RawDocumentBuf::try_from(&doc! {"": from}).ok()?;
        let since = Doc::new(bytes.as_bytes()).and_then(|document| document.get("")).ok()??;
        let since = to_json(&since).ok()?;
        Some(Self { filter: doc! {"$or": any}, since, mark: mark.clone() })
    }
}

/// The mark, moved back by so many seconds.
fn lowered(mark: &Bson, seconds: u32) -> Option<Bson> {
    Some(match *mark {
        Bson::DateTime(time) => {
            let millis = time.timestamp_millis().saturating_sub(i64::from(seconds) * 1000);
            Bson::DateTime(DateTime::from_millis(millis))
        }
        Bson::Timestamp(Timestamp { time, .. }) => {
            Bson::Timestamp(Timestamp { time: time.saturating_sub(seconds), increment: 0 })
        }
        Bson::ObjectId(id) => {
            let [first, second, third, fourth, ..] = id.bytes();
            let time = u32::from_be_bytes([first, second, third, fourth]).saturating_sub(seconds);
            let mut bytes = [0; 12];
            bytes[..4].copy_from_slice(&time.to_be_bytes());
            Bson::ObjectId(ObjectId::from_bytes(bytes))
        }
        _ => return None,
    })
}
