//! Arrow to PostgreSQL's binary COPY format and back: pure bytes, no input or output.

pub mod arrow_type;
mod pg_type;

pub use pg_type::{ParsePgTypeError, PgType};
