//! A generated database as a SQLite file, the way applications keep such values there: dates and
//! ids as text, booleans as 0 and 1, subdocuments and arrays as JSON text.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use mongodb::bson::{Bson, RawBsonRef, RawDocumentBuf};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::flaw::UNMAPPED_FIELD;
use super::sink::Written;
use super::{GenerateError, Generator};
use crate::postgres::quote_identifier;
use crate::staging::own_files::create_own;

/// Documents of one transaction's step.
const CHUNK: u64 = 1000;

/// Writes a new file; each collection becomes a table without its `_id`.
pub fn write_sqlite(
    generator: &Generator,
    path: &Path,
    written: Written<'_>,
) -> Result<(), GenerateError> {
    let failed = |cause: rusqlite::Error| GenerateError::Sqlite { path: path.to_owned(), cause };
    if path.exists() {
        return Err(GenerateError::Exists { path: path.to_owned() });
    }
    // SQLite makes a file that everyone may read.
    create_own(path).map_err(|source| GenerateError::File { path: path.to_owned(), source })?;
    let mut connection = Connection::open(path).map_err(failed)?;
    let transaction = connection.transaction().map_err(failed)?;
    for (at, name) in generator.names().enumerate() {
        let table = quote_identifier(name);
        let mut columns: HashMap<String, usize> = HashMap::new();
        let sound = generator.sound(at);
        for from in (0..sound).step_by(usize::try_from(CHUNK).unwrap_or(1)) {
            let documents = generator.documents(at, from..(from + CHUNK).min(sound))?;
            for document in &documents {
                let row = row(document);
                for (field, _) in &row {
                    if columns.contains_key(field) {
                        continue;
                    }
                    let column = quote_identifier(field);
                    let sql = if columns.is_empty() {
                        format!("CREATE TABLE {table} ({column})")
                    } else {
                        format!("ALTER TABLE {table} ADD COLUMN {column}")
                    };
                    transaction.execute_batch(&sql).map_err(failed)?;
                    columns.insert(field.clone(), columns.len());
                }
                let names: Vec<String> =
                    row.iter().map(|(field, _)| quote_identifier(field)).collect();
                let places = vec!["?"; row.len()].join(", ");
                let sql = format!("INSERT INTO {table} ({}) VALUES ({places})", names.join(", "));
                let values = params_from_iter(row.into_iter().map(|(_, value)| value));
                let mut insert = transaction.prepare(&sql).map_err(failed)?;
                insert.execute(values).map_err(failed)?;
            }
            written(name, documents.len() as u64);
        }
    }
    transaction.commit().map_err(failed)
}

/// The fields of a document, the last of equal names (SQLite does not tell `a` from `A`). A field
/// of one document would be a column of all rows, so the unmapped one is left out.
fn row(document: &RawDocumentBuf) -> Vec<(String, Value)> {
    let mut row: Vec<(String, Value)> = Vec::new();
    let left_out = |name: &str| name == "_id" || name == UNMAPPED_FIELD;
    for (name, value) in document.iter().flatten().filter(|(name, _)| !left_out(name.as_str())) {
        row.retain(|(known, _)| !known.eq_ignore_ascii_case(name.as_str()));
        row.push((name.as_str().to_owned(), stored(value)));
    }
    row
}

fn stored(value: RawBsonRef<'_>) -> Value {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => Value::Null,
        RawBsonRef::Boolean(flag) => Value::Integer(i64::from(flag)),
        RawBsonRef::Int32(number) => Value::Integer(i64::from(number)),
        RawBsonRef::Int64(number) => Value::Integer(number),
        RawBsonRef::Double(number) => Value::Real(number),
        RawBsonRef::String(text) => Value::Text(text.to_owned()),
        RawBsonRef::ObjectId(id) => Value::Text(id.to_hex()),
        RawBsonRef::DateTime(date) => {
            let millis = date.timestamp_millis();
            match Timestamp::from_millisecond(millis) {
                Ok(time) => Value::Text(time.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string()),
                // Beyond the calendar: as a number, which a date column refuses.
                Err(_) => Value::Integer(millis),
            }
        }
        RawBsonRef::Binary(binary) => Value::Blob(binary.bytes.to_vec()),
        other => match Bson::try_from(other) {
            Ok(bson) => Value::Text(bson.into_relaxed_extjson().to_string()),
            Err(_) => Value::Null,
        },
    }
}
