//! Ranges of an `_id` index.

use mongodb::bson::{Bson, RawBsonRef, doc};

use super::collection::ListedCollection;
use super::server::Server;
use crate::source::SourceError;

/// Collections of at least this many BSON bytes are read in several ranges.
const SPLIT_BYTES: u64 = 64 << 20;

/// Into how many ranges a collection of so many BSON bytes is split for so many readers.
pub fn range_count(bytes: u64, readers: usize) -> usize {
    if bytes < SPLIT_BYTES || readers < 2 {
        return 1;
    }
    usize::try_from(bytes / SPLIT_BYTES).unwrap_or(usize::MAX).clamp(2, readers * 4)
}

/// A range of an `_id` index: from `min`, included, to `max`, excluded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IdRange {
    /// First `_id`.
    pub min: Option<Bson>,
    /// First `_id` after the range.
    pub max: Option<Bson>,
}

impl Server {
    /// Splits a collection into about `count` ranges of similar size by a sample of its `_id`s.
    pub async fn split(
        &self,
        listed: &ListedCollection,
        count: usize,
    ) -> Result<Vec<IdRange>, SourceError> {
        let size = i64::try_from(count * 20).unwrap_or(i64::MAX);
        let pipeline = vec![
            doc! {"$sample": {"size": size}},
            doc! {"$project": {"_id": 1}},
            doc! {"$sort": {"_id": 1}},
        ];
        let action = format!("sample {}", listed.name);
        let mut sample = self.aggregate(&action, listed, pipeline, doc! {}).await?;
        // A document can be drawn twice. Its bytes are the same then; values that are not equal to
        // themselves, NaN, would not be.
        sample.dedup_by(|left, right| left.as_bytes() == right.as_bytes());
        let bounds: Vec<Bson> = sample
            .iter()
            .filter_map(|document| document.get("_id").ok().flatten())
            // Nothing comes before the one, or after the other: no range could begin there.
            .filter(|id| !matches!(id, RawBsonRef::MinKey | RawBsonRef::MaxKey))
            // A value that the driver cannot hold is no bound; others are left.
            .filter_map(|id| Bson::try_from(id).ok())
            .collect();
        let mut ranges = Vec::new();
        let (mut min, mut before) = (None, None);
        for number in 1..count {
            let index = number * bounds.len() / count;
            if let Some(max) = bounds.get(index)
                && before != Some(index)
            {
                ranges.push(IdRange { min, max: Some(max.clone()) });
                (min, before) = (Some(max.clone()), Some(index));
            }
        }
        ranges.push(IdRange { min, max: None });
        Ok(ranges)
    }
}
