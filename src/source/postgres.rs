//! A loaded PostgreSQL database, read as the records that its rows came from.
//!
//! Each row becomes a document of the same form as a row of SQLite: `_id` from the primary key,
//! then a field a column. Numbers, booleans and bytes are what they are; every other type is the
//! text that PostgreSQL writes, in UTC and ISO 8601, with all digits.

use std::pin::Pin;

use futures_util::{Stream, StreamExt};
use tokio_postgres::Client;

use super::SourceError;
use crate::document::write::{self, Scalar};
use crate::pgcopy::reader::{CopyReader, NotACopy, fields};
use crate::pipeline::inverse::{BackField, BackTable, Form};
use crate::postgres::{PostgresError, Target, qualified, quote_identifier};

/// A connection in one read-only transaction: all tables are read as of one moment.
pub struct PostgresSource {
    client: Client,
    /// Database name.
    pub database: String,
    /// Server version.
    pub version: String,
}

impl PostgresSource {
    /// Connects and begins the transaction.
    pub async fn open(address: &str) -> Result<Self, SourceError> {
        let client = Target::parse(address)?.connect().await?;
        let failed = |source| PostgresError::Statement { action: "begin to read".into(), source };
        client
            .batch_execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
                 SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 1",
            )
            .await
            .map_err(failed)?;
        let row = client
            .query_one("SELECT current_database()::text, current_setting('server_version')", &[])
            .await
            .map_err(failed)?;
        Ok(Self { client, database: row.get(0), version: row.get(1) })
    }

    /// Rows of a table.
    pub async fn count(&self, table: &BackTable) -> Result<u64, SourceError> {
        let sql = format!("SELECT count(*) FROM {}", qualified(&table.schema, &table.table));
        let failed = |source| PostgresError::Statement {
            action: format!("count the rows of {}", table.table),
            source,
        };
        let row = self.client.query_one(&sql, &[]).await.map_err(failed)?;
        Ok(row.get::<_, i64>(0).unsigned_abs())
    }

    /// Begins to read a table, in the order of its key.
    pub async fn rows<'t>(&self, table: &'t BackTable) -> Result<Rows<'t>, SourceError> {
        let failed = |source| failed_to_read(table, source);
        let stream = self.client.copy_out(&query(table)).await.map_err(failed)?;
        Ok(Rows {
            table,
            stream: Box::pin(stream),
            reader: CopyReader::default(),
            document: Vec::new(),
        })
    }
}

fn failed_to_read(table: &BackTable, source: tokio_postgres::Error) -> SourceError {
    PostgresError::Statement { action: format!("read table {}", table.table), source }.into()
}

/// Rows of a table on their way.
pub struct Rows<'t> {
    table: &'t BackTable,
    stream: Pin<Box<dyn Stream<Item = Result<bytes::Bytes, tokio_postgres::Error>> + Send>>,
    reader: CopyReader,
    document: Vec<u8>,
}

impl Rows<'_> {
    /// Gives the documents of the next piece; false at the end.
    pub async fn next(&mut self, mut row: impl FnMut(&[u8])) -> Result<bool, SourceError> {
        let Some(piece) = self.stream.next().await else {
            let whole = self.reader.ended();
            return if whole { Ok(false) } else { Err(SourceError::Copy(NotACopy)) };
        };
        let piece = piece.map_err(|source| failed_to_read(self.table, source))?;
        let (table, document) = (self.table, &mut self.document);
        self.reader
            .push(&piece, |tuple| {
                write_document(document, table, tuple);
                row(document);
            })
            .map_err(SourceError::Copy)?;
        Ok(true)
    }
}

fn expression(field: &BackField) -> String {
    let column = quote_identifier(&field.column);
    match field.form {
        Form::Boolean | Form::Bytes => column,
        Form::Integer => format!("{column}::int8"),
        Form::Double => format!("{column}::float8"),
        Form::Text => format!("{column}::text"),
        Form::EpochSeconds | Form::EpochMillis => {
            format!("(extract(epoch FROM {column}) * 1000000)::int8")
        }
    }
}

fn query(table: &BackTable) -> String {
    let columns: Vec<String> = table.fields.iter().map(expression).collect();
    let order: Vec<String> =
        table.key.iter().map(|at| quote_identifier(&table.fields[*at].column)).collect();
    format!(
        "COPY (SELECT {} FROM {}{}) TO STDOUT (FORMAT binary)",
        columns.join(", "),
        qualified(&table.schema, &table.table),
        if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) }
    )
}

fn write_document(buffer: &mut Vec<u8>, table: &BackTable, tuple: &[u8]) {
    let values: Vec<Scalar<'_>> =
        table.fields.iter().zip(fields(tuple)).map(|(field, bytes)| scalar(field, bytes)).collect();
    buffer.clear();
    let start = write::begin(buffer);
    match table.key.as_slice() {
        [] => {}
        [only] => write::field(buffer, "_id", values[*only]),
        several => {
            let inner = write::begin_field(buffer, "_id");
            for at in several {
                write::field(buffer, &table.fields[*at].name, values[*at]);
            }
            write::end(buffer, inner);
        }
    }
    for (field, value) in table.fields.iter().zip(&values).filter(|(field, _)| field.name != "_id")
    {
        write::field(buffer, &field.name, *value);
    }
    write::end(buffer, start);
}

/// A value as its field has it. The query decides the type, so each has the length of it.
fn scalar<'t>(field: &BackField, bytes: Option<&'t [u8]>) -> Scalar<'t> {
    let Some(bytes) = bytes else { return Scalar::Null };
    let whole = || bytes.try_into().map_or(0, i64::from_be_bytes);
    match field.form {
        Form::Boolean => Scalar::Boolean(bytes == [1]),
        Form::Integer => Scalar::Int64(whole()),
        Form::Double => Scalar::Double(bytes.try_into().map_or(f64::NAN, f64::from_be_bytes)),
        Form::Bytes => Scalar::Binary { subtype: 0, bytes },
        Form::EpochSeconds => epoch(whole(), 1_000_000),
        Form::EpochMillis => epoch(whole(), 1000),
        Form::Text => match str::from_utf8(bytes) {
            Ok(text) => Scalar::String(text),
            Err(_) => Scalar::Binary { subtype: 0, bytes },
        },
    }
}

/// Microseconds in a coarser unit. Within some 285 years of 1970 a double tells all of them.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn epoch<'t>(micros: i64, unit: i64) -> Scalar<'t> {
    if micros % unit == 0 {
        Scalar::Int64(micros / unit)
    } else {
        Scalar::Double(micros as f64 / unit as f64)
    }
}
