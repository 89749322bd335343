//! The on-disk format: one file per file kind. Knows nothing of commands or stages.
//!
//! The format is specified in `docs/staging-format.md`; whatever is written here is said there.

pub mod chain;
pub mod checksum;
mod column;
mod error;
pub mod exported;
mod folders;
pub mod guard;
pub mod inventory;
pub mod journal;
pub(crate) mod json_file;
pub mod latest;
pub mod layout;
pub mod lock;
pub mod manifest;
pub mod own_files;
pub mod part;
pub mod raw_json;
pub mod rejects;
pub mod resume;
pub mod retention;
pub mod run;
pub mod run_id;
pub mod schema;
pub mod seal;
pub mod table;
pub mod tuples;

pub use error::StagingError;

/// Version of the staging format. A reader refuses every other one.
pub const FORMAT_VERSION: u32 = 1;
