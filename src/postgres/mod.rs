//! Connections to PostgreSQL, and the SQL that makes tables.

mod catalogue;
pub mod content;
pub mod ddl;
mod environment;
mod error;
mod identifier;
mod target;

pub use catalogue::{
    Aside, ColumnShape, TableShape, TriggerShape, enum_labels, enum_oids, foreign_keys, names,
    plain_indexes, table_shape,
};
pub use error::{PostgresError, describe};
pub use identifier::{qualified, quote_identifier, quote_literal};
pub use target::Target;
