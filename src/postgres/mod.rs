//! Connections to PostgreSQL, and the SQL that makes tables.

mod address;
mod catalogue;
pub mod content;
pub mod ddl;
pub mod dependents;
mod error;
mod identifier;
pub mod ledger;
pub mod objects;
pub mod rights;
mod session;
mod target;
mod tls;

pub use catalogue::{
    Aside, ColumnShape, Domain, TableShape, TriggerShape, VALUE_TYPE, catalogue_type, enum_labels,
    enum_oids, foreign_keys, plain_indexes, staged_type, table_shape,
};
pub use error::{PostgresError, describe};
pub use identifier::{qualified, quote_identifier, quote_literal};
pub use session::{SEARCH_PATH, path_for_own_sql};
pub use target::Target;
