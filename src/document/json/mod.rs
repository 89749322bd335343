//! JSON text straight onto BSON bytes: no model of JSON lies between, so nothing is rounded,
//! merged or forgotten on the way.
//!
//! Read are plain JSON and Extended JSON: version 2, canonical and relaxed, and version 1 as
//! mongoexport wrote it before MongoDB 4.2 (`{"$date": "2014-06-02T14:28:41.000-0400"}`,
//! `{"$binary": "…", "$type": "00"}`, `{"$regex": "…", "$options": "…"}`, unquoted numbers in
//! `$numberLong`, `NaN` and `Infinity`). What BSON cannot hold as it is written is an error.

mod number;
mod parse;
mod token;
mod types;

pub use parse::{JsonError, Parsed, Parser, to_bson, value_to_bson};
