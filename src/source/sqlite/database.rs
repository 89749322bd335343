//! A file that is open, in one read transaction, and its rows.

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::{RowId, SqliteTable};
use crate::document::write::{self, Scalar};
use crate::postgres::quote_identifier;
use crate::source::SourceError;

/// Binary subtype of text that is not UTF-8: the first of those that users may define.
pub const NOT_UTF8: u8 = 0x80;

/// An open database, in one read transaction.
pub struct Sqlite {
    path: PathBuf,
    pub(super) connection: Connection,
}

impl Sqlite {
    /// Opens a file for reading only and begins a transaction: all tables are read as of one moment.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed = |cause| SourceError::Sqlite {
            path: path.to_owned(),
            action: "open the database".to_owned(),
            cause,
        };
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.execute_batch("BEGIN").map_err(failed)?;
        // The transaction begins with the first read.
        connection
            .query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
            .map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    pub(super) fn failed(
        &self,
        action: String,
    ) -> impl FnOnce(rusqlite::Error) -> SourceError + use<> {
        let path = self.path.clone();
        move |cause| SourceError::Sqlite { path, action, cause }
    }

    fn number(&self, action: String, sql: &str) -> Result<u64, SourceError> {
        let count: i64 =
            self.connection.query_row(sql, [], |row| row.get(0)).map_err(self.failed(action))?;
        Ok(u64::try_from(count).expect("invariant: a count is not negative"))
    }

    /// Rows of a table, counted in the table itself and in no index of it.
    pub fn count(&self, table: &SqliteTable) -> Result<u64, SourceError> {
        let from = from(table);
        let action = format!("count the rows of {}", table.name);
        self.number(action, &format!("SELECT count(*) FROM {from}"))
    }

    /// Compares the rows of a table with those that its indexes hold. A damaged index hides rows
    /// from the application that reads by it: somebody should look before they are moved.
    fn check_indexes(&self, table: &SqliteTable) -> Result<u64, SourceError> {
        let rows = self.count(table)?;
        for index in &table.full_indexes {
            // SQLite answers `count(*)` by an index of its own choice.
            let sql = format!(
                "SELECT count(1) FROM {} INDEXED BY {}",
                quote_identifier(&table.name),
                quote_identifier(index)
            );
            let held = self.number(format!("count the rows of index {index}"), &sql)?;
            if held != rows {
                return Err(SourceError::SqliteDamaged {
                    path: self.path.clone(),
                    detail: format!(
                        "table {} has {rows} rows, its index {index} holds {held}",
                        table.name
                    ),
                });
            }
        }
        Ok(rows)
    }

    /// Gives every row as BSON, in the order of the key, until `row` has enough.
    ///
    /// # Errors
    /// Fails where the table's indexes, or the rows that were read, are not as many as its rows.
    pub fn rows<E: From<SourceError>>(
        &self,
        table: &SqliteTable,
        mut row: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = || self.failed(format!("read table {}", table.name));
        let expected = self.check_indexes(table)?;
        let mut statement = self.connection.prepare(&select(table)).map_err(failed())?;
        let mut rows = statement.query([]).map_err(failed())?;
        let (mut document, mut read) = (Vec::new(), 0_u64);
        let key: Vec<usize> = table
            .key
            .iter()
            .filter_map(|name| table.columns.iter().position(|column| column.name == *name))
            .collect();
        while let Some(found) = rows.next().map_err(failed())? {
            let value = |at: usize| found.get_ref(at).map_err(failed());
            read += 1;
            document.clear();
            let start = write::begin(&mut document);
            match (table.id, key.as_slice()) {
                (RowId::Number, _) => {
                    let number = i64::try_from(read).expect("invariant: rows are fewer than 2^63");
                    element(&mut document, "_id", ValueRef::Integer(number));
                }
                (RowId::Rowid(_), _) => element(&mut document, "_id", value(table.columns.len())?),
                (RowId::Key, [only]) => element(&mut document, "_id", value(*only)?),
                (RowId::Key, several) => {
                    let inner = write::begin_field(&mut document, "_id");
                    for (at, name) in several.iter().zip(&table.key) {
                        element(&mut document, name, value(*at)?);
                    }
                    write::end(&mut document, inner);
                }
            }
            for (at, column) in table.columns.iter().enumerate() {
                if column.field != "_id" {
                    element(&mut document, &column.field, value(at)?);
                }
            }
            write::end(&mut document, start);
            row(&document)?;
        }
        if read != expected {
            let detail = format!("table {} has {expected} rows, {read} were read", table.name);
            return Err(SourceError::SqliteDamaged { path: self.path.clone(), detail }.into());
        }
        Ok(())
    }
}

/// The table as a statement names it, so that no index of it is read.
fn from(table: &SqliteTable) -> String {
    let hint = if table.is_virtual { "" } else { " NOT INDEXED" };
    format!("{}{hint}", quote_identifier(&table.name))
}

fn select(table: &SqliteTable) -> String {
    let mut columns: Vec<String> =
        table.columns.iter().map(|column| quote_identifier(&column.name)).collect();
    let order: Vec<String> = match table.id {
        RowId::Key => {
            let binary = |name: &String| format!("{} COLLATE BINARY", quote_identifier(name));
            table.key.iter().map(binary).collect()
        }
        RowId::Rowid(name) => {
            columns.push(name.to_owned());
            vec![name.to_owned()]
        }
        // Rows come in the order in which they are stored.
        RowId::Number => Vec::new(),
    };
    let order =
        if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
    format!("SELECT {} FROM {}{order}", columns.join(", "), from(table))
}

fn element(document: &mut Vec<u8>, name: &str, value: ValueRef<'_>) {
    let value = match value {
        ValueRef::Null => Scalar::Null,
        ValueRef::Integer(number) => Scalar::Int64(number),
        ValueRef::Real(number) => Scalar::Double(number),
        ValueRef::Text(bytes) => match str::from_utf8(bytes) {
            Ok(text) => Scalar::String(text),
            Err(_) => Scalar::Binary { subtype: NOT_UTF8, bytes },
        },
        ValueRef::Blob(bytes) => Scalar::Binary { subtype: 0, bytes },
    };
    write::field(document, name, value);
}
