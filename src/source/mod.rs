//! Where documents come from: one file per kind of source.

mod address;
pub mod archive;
pub mod buckets;
pub mod dump;
pub(crate) mod error;
mod file;
mod folder;
pub mod json;
mod json_reader;
pub mod mongodb;
pub mod names;
pub mod postgres;
pub mod sqlite;
pub mod whole;

pub use address::{SourceAddress, is_mongodb};
pub use error::{SourceError, describe, may_pass};
pub use file::plain_size;
