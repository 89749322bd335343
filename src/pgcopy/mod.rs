//! Arrow to PostgreSQL's binary COPY format: pure bytes, no input or output.
//!
//! The format is that of PostgreSQL's documentation of COPY, section "Binary Format"; a field's
//! bytes are what the type's receive function reads. Numbers are big-endian throughout.

pub mod arrow_type;
pub mod digest;
mod encoder;
mod numeric;
mod pg_type;
pub mod reader;
pub mod show;

pub use encoder::{CopyEncoder, CopyError};
pub use pg_type::{ParsePgTypeError, PgType};
