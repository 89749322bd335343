//! What a document itself tells of when it was written.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use serde_json::json;

use crate::document::extended_json::to_bson;
use crate::document::order::{kinds, same_value};
use crate::document::raw::{Doc, Value};
use crate::pipeline::model::{ChangedBy, FieldPath};
use crate::staging::manifest::{CollectionManifest, ExportManifest, Snapshot};
use crate::staging::run::RunRecord;

/// When the export began, and the field that tells when a document of a collection was changed.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    /// Milliseconds since 1970: the last that may belong to the export.
    began: i64,
    field: Option<FieldPath>,
    /// The greatest value of that field in the export: `{"": value}`.
    high_water: Option<Vec<u8>>,
}

/// The last millisecond that may belong to an export: that of its snapshot by the server's clock,
/// else the one in which its run began. The end of time where nobody can tell.
pub(super) fn began(manifest: &ExportManifest, record: &RunRecord) -> i64 {
    if let Snapshot::ClusterTime { seconds, .. } = manifest.snapshot {
        return i64::from(seconds) * 1000 + 999;
    }
    let began = record.time().and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok());
    began.map_or(i64::MAX, |began| began.timestamp().as_millisecond())
}

impl Evidence {
    pub(super) fn new(began: i64, changed: &ChangedBy, collection: &str) -> Self {
        Self { began, field: changed.of(collection).cloned(), high_water: None }
    }

    pub(super) fn of(began: i64, changed: &ChangedBy, exported: &CollectionManifest) -> Self {
        let high_water = exported.high_water.as_ref();
        let high_water = high_water.and_then(|mark| to_bson(&json!({"": mark})).ok());
        Self { high_water, ..Self::new(began, changed, &exported.name) }
    }

    /// The fields of a document that are looked at.
    pub(super) fn fields(&self) -> Document {
        let mut fields = doc! {"_id": 1};
        if let Some(field) =
            self.field.as_ref().filter(|field| field.0.first().is_some_and(|first| first != "_id"))
        {
            fields.insert(field.0.join("."), 1);
        }
        fields
    }

    /// The query for documents whose ObjectId was made after the export began; none where no such
    /// id can be.
    pub(super) fn newer(&self) -> Option<Document> {
        let second = u32::try_from(self.began.checked_div(1000)?.checked_add(1)?).ok()?;
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&second.to_be_bytes());
        Some(doc! {"_id": {"$gte": ObjectId::from_bytes(bytes)}})
    }

    /// Whether a document that the export has not was made after it began, or changed.
    pub(super) fn is_new(&self, document: &[u8]) -> bool {
        let id = Doc::new(document).and_then(|document| document.get("_id"));
        let made = match id {
            Ok(Some(id @ Value::ObjectId(_))) => time_of(&id),
            _ => None,
        };
        made.is_some_and(|made| made > self.began) || self.is_changed(document)
    }

    /// Whether a document says that it was changed after the export began.
    pub(super) fn is_changed(&self, document: &[u8]) -> bool {
        let Some(field) = &self.field else { return false };
        let found = Doc::new(document).and_then(|document| document.at(&field.0));
        let Ok(Some(found)) = found else { return false };
        if time_of(&found).is_none_or(|time| time <= self.began) {
            return false;
        }
        let known = self.high_water.as_deref().and_then(|bytes| Doc::new(bytes).ok());
        let known = known.and_then(|known| known.get("").ok().flatten());
        known
            .is_none_or(|known| kinds(&found, &known).is_ne() || same_value(&found, &known).is_gt())
    }
}

/// The time that a value is, in milliseconds since 1970.
fn time_of(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::DateTime(millis) => Some(*millis),
        Value::Timestamp { time, .. } => Some(i64::from(*time) * 1000),
        Value::ObjectId([first, second, third, fourth, ..]) => {
            let seconds = u32::from_be_bytes([*first, *second, *third, *fourth]);
            Some(i64::from(seconds) * 1000)
        }
        _ => None,
    }
}
