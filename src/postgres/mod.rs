//! Connections to PostgreSQL, and the SQL that makes tables.

mod catalogue;
pub mod ddl;
mod error;
mod identifier;
mod target;

pub use catalogue::enum_oids;
pub use error::{PostgresError, describe};
pub use identifier::{qualified, quote_identifier, quote_literal};
pub use target::Target;
