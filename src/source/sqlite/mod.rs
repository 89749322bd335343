//! A SQLite database: each row becomes a document.
//!
//! The document has `_id`, made from the primary key (its value; a subdocument of its columns where
//! there are several), and then every column under its own name. A table without a primary key, or
//! with NULL in it, has its rowid as `_id`, or the row's number where columns took all names of the
//! rowid. A column that is called `_id` and is not the key has the field `_id_`.
//!
//! A value keeps the type it is stored with, whatever its column declares: INTEGER as int64, REAL as
//! double, TEXT as string, BLOB as binary, NULL as null. TEXT that is not UTF-8 is binary of
//! subtype 128.
//!
//! `catalogue` lists what a file holds, `declaration` reads what only the SQL of a table says,
//! `database` opens it and reads rows.

mod catalogue;
mod database;
pub mod declaration;
pub mod token;

pub use catalogue::{Left, RowId, SqliteColumn, SqliteTable};
pub use database::{NOT_UTF8, Sqlite};
