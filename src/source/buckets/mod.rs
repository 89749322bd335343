//! Buckets of a time series, unpacked into its measurements.
//!
//! MongoDB stores a time series `X` as a collection `system.buckets.X`: a document holds many
//! measurements, field by field. A dump holds these buckets. Version 1 keeps a field as a
//! subdocument whose keys count the measurements; versions 2 and 3 keep it as a compressed column
//! (binary subtype 7). The layout is that of MongoDB 5.0 to 8.0, as its source states it in
//! `src/mongo/db/timeseries` and `src/mongo/bson/column`.

mod bucket;
mod column;
mod error;
mod simple8b;

pub use bucket::{Measurements, Series};
pub use error::BucketError;
