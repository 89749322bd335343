//! A SQLite database: each row becomes a document.
//!
//! The document has `_id`, made from the primary key (its value; a subdocument of its columns where
//! there are several; the rowid where there is none), and then every column under its own name. A
//! value keeps the type it is stored with, whatever its column declares: INTEGER as int64, REAL as
//! double, TEXT as string, BLOB as binary, NULL as null. TEXT that is not UTF-8 is binary of
//! subtype 128.

use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value as Json, json};

use super::SourceError;
use crate::document::write::{self, Scalar};
use crate::postgres::quote_identifier;

/// Binary subtype of text that is not UTF-8: the first of those that users may define.
pub const NOT_UTF8: u8 = 0x80;

/// An open database, in one read transaction.
pub struct Sqlite {
    path: PathBuf,
    connection: Connection,
}

/// A table.
#[derive(Clone, Debug)]
pub struct SqliteTable {
    /// Name.
    pub name: String,
    /// Columns of the primary key, in order; empty when there is none.
    pub key: Vec<String>,
    /// All columns, in order.
    pub columns: Vec<String>,
    /// What SQLite says of it: its SQL, columns, foreign keys.
    pub options: Json,
    /// Its indexes, as SQL where they have any.
    pub indexes: Vec<Json>,
}

/// Something that holds no rows of its own.
#[derive(Clone, Debug)]
pub struct Left {
    /// Name.
    pub name: String,
    /// Why it is left out.
    pub reason: &'static str,
    /// Its SQL.
    pub sql: String,
}

impl Sqlite {
    /// Opens a file for reading only and begins a transaction: all tables are read as of one moment.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let failed =
            |cause| SourceError::Sqlite { path: path.to_owned(), action: "open".to_owned(), cause };
        let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
        connection.execute_batch("BEGIN").map_err(failed)?;
        // The transaction begins with the first read.
        connection
            .query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
            .map_err(failed)?;
        Ok(Self { path: path.to_owned(), connection })
    }

    fn failed(&self, action: String) -> impl FnOnce(rusqlite::Error) -> SourceError + use<> {
        let path = self.path.clone();
        move |cause| SourceError::Sqlite { path, action, cause }
    }

    /// The tables, by name, and what is left out.
    pub fn tables(&self) -> Result<(Vec<SqliteTable>, Vec<Left>), SourceError> {
        let failed = || self.failed("list the tables".to_owned());
        let mut statement = self
            .connection
            .prepare("SELECT type, name, coalesce(sql, '') FROM sqlite_master WHERE type IN ('table', 'view', 'trigger') ORDER BY name")
            .map_err(failed())?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .map_err(failed())?
            .collect::<Result<Vec<(String, String, String)>, _>>()
            .map_err(failed())?;
        let (mut tables, mut left) = (Vec::new(), Vec::new());
        for (kind, name, sql) in rows {
            let reason = match kind.as_str() {
                "view" => Some("a view holds no rows of its own"),
                "trigger" => Some("a trigger holds no rows"),
                _ if name.starts_with("sqlite_") => Some("SQLite's own table"),
                _ if sql.to_uppercase().starts_with("CREATE VIRTUAL") => Some("a virtual table"),
                _ => None,
            };
            match reason {
                Some(reason) => left.push(Left { name, reason, sql }),
                None => tables.push(self.table(name, &sql)?),
            }
        }
        Ok((tables, left))
    }

    fn table(&self, name: String, sql: &str) -> Result<SqliteTable, SourceError> {
        let failed = || self.failed(format!("look at table {name}"));
        let query = |sql: &str| -> Result<Vec<Vec<Json>>, rusqlite::Error> {
            let mut statement = self.connection.prepare(sql)?;
            let width = statement.column_count();
            let rows = statement.query_map([&name], |row| {
                (0..width).map(|at| Ok(json_of(row.get_ref(at)?))).collect()
            })?;
            rows.collect()
        };
        let columns =
            query("SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info(?)")
                .map_err(failed())?;
        let foreign_keys = query(
            "SELECT id, seq, \"table\", \"from\", \"to\", on_delete FROM pragma_foreign_key_list(?)",
        )
        .map_err(failed())?;
        let indexes = query(
            "SELECT i.name, i.\"unique\", m.sql, i.partial, \
                    (SELECT json_group_array(c.name) FROM pragma_index_info(i.name) c) \
             FROM pragma_index_list(?) i \
             LEFT JOIN sqlite_master m ON m.type = 'index' AND m.name = i.name ORDER BY i.name",
        )
        .map_err(failed())?;
        let text = |json: &Json| json.as_str().unwrap_or_default().to_owned();
        let mut key: Vec<(i64, String)> = columns
            .iter()
            .filter_map(|column| Some((column[4].as_i64().filter(|at| *at > 0)?, text(&column[0]))))
            .collect();
        key.sort();
        let key: Vec<String> = key.into_iter().map(|(_, name)| name).collect();
        let names: Vec<String> = columns.iter().map(|column| text(&column[0])).collect();
        if names.iter().any(|column| column == "_id") && key != ["_id"] {
            return Err(SourceError::Damaged {
                path: self.path.clone(),
                detail: format!("table {name} has a column _id that is not its key"),
            });
        }
        let columns: Vec<Json> = columns
            .into_iter()
            .map(|column| {
                json!({"name": column[0], "type": column[1], "not_null": column[2] == 1,
                    "default": column[3], "key": column[4]})
            })
            .collect();
        let foreign_keys: Vec<Json> = foreign_keys
            .into_iter()
            .map(|key| {
                json!({"id": key[0], "position": key[1], "table": key[2], "from": key[3],
                    "to": key[4], "on_delete": key[5]})
            })
            .collect();
        let indexes = indexes
            .into_iter()
            .map(|index| {
                let columns = serde_json::from_str(index[4].as_str().unwrap_or_default());
                json!({"name": index[0], "unique": index[1] == 1, "sql": index[2],
                    "partial": index[3] == 1, "columns": columns.unwrap_or(Json::Null)})
            })
            .collect();
        let options = json!({"sql": sql, "columns": columns, "foreign_keys": foreign_keys});
        Ok(SqliteTable { name, key, columns: names, options, indexes })
    }

    /// Rows of a table.
    pub fn count(&self, table: &SqliteTable) -> Result<u64, SourceError> {
        let sql = format!("SELECT count(*) FROM {}", quote_identifier(&table.name));
        let count: i64 = self
            .connection
            .query_row(&sql, [], |row| row.get(0))
            .map_err(self.failed(format!("count the rows of {}", table.name)))?;
        Ok(u64::try_from(count).unwrap_or_default())
    }

    /// Gives every row as BSON, in the order of the key, until `row` has enough.
    pub fn rows<E: From<SourceError>>(
        &self,
        table: &SqliteTable,
        mut row: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = || self.failed(format!("read table {}", table.name));
        let taken =
            |name: &&str| table.columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        let rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !taken(name));
        let mut columns: Vec<String> =
            table.columns.iter().map(|name| quote_identifier(name)).collect();
        let mut order: Vec<String> = table
            .key
            .iter()
            .map(|name| format!("{} COLLATE BINARY", quote_identifier(name)))
            .collect();
        if table.key.is_empty()
            && let Some(rowid) = rowid
        {
            columns.push(rowid.to_owned());
            order.push(rowid.to_owned());
        }
        let sql = format!(
            "SELECT {} FROM {}{}",
            columns.join(", "),
            quote_identifier(&table.name),
            if order.is_empty() {
                String::new()
            } else {
                format!(" ORDER BY {}", order.join(", "))
            }
        );
        let mut statement = self.connection.prepare(&sql).map_err(failed())?;
        let mut rows = statement.query([]).map_err(failed())?;
        let mut document = Vec::new();
        while let Some(found) = rows.next().map_err(failed())? {
            let value = |at: usize| found.get_ref(at).unwrap_or(ValueRef::Null);
            let position = |name: &String| table.columns.iter().position(|column| column == name);
            document.clear();
            let start = write::begin(&mut document);
            match table.key.as_slice() {
                [] => element(&mut document, "_id", value(table.columns.len())),
                [name] => {
                    element(&mut document, "_id", position(name).map_or(ValueRef::Null, value));
                }
                several => {
                    let inner = write::begin_field(&mut document, "_id");
                    for name in several {
                        let value = position(name).map_or(ValueRef::Null, value);
                        element(&mut document, name, value);
                    }
                    write::end(&mut document, inner);
                }
            }
            for (at, name) in table.columns.iter().enumerate().filter(|(_, name)| *name != "_id") {
                element(&mut document, name, value(at));
            }
            write::end(&mut document, start);
            row(&document)?;
        }
        Ok(())
    }
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

fn json_of(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null | ValueRef::Blob(_) => Json::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
    }
}
