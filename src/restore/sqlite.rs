//! A new SQLite file: the tables as they were made, their rows, indexes, views and triggers.

use std::borrow::Cow;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, params, params_from_iter};
use sha2::{Digest, Sha256};

use super::{RestoreError, RestoreReport, RestoredTable, new_file};
use crate::document::raw::{Doc, Value};
use crate::pgcopy::digest::ContentDigest;
use crate::postgres::quote_identifier;
use crate::progress::{Progress, Stage, Total};
use crate::source::sqlite::NOT_UTF8;
use crate::source::sqlite::declaration::{module_of, option_of};
use crate::staging::exported::documents;
use crate::staging::layout::RunDirectory;
use crate::staging::layout::create_file;
use crate::staging::manifest::{CollectionManifest, ExportManifest};

/// A value on its way into a row.
struct Stored<'v>(Cow<'v, [u8]>, Kind);

#[derive(Clone, Copy)]
enum Kind {
    Null,
    Integer(i64),
    Real(f64),
    Text,
    Blob,
}

impl<'v> Stored<'v> {
    fn of(value: Option<Value<'v>>) -> Option<Self> {
        let plain = |kind| Some(Self(Cow::Borrowed(&[]), kind));
        match value {
            None | Some(Value::Null | Value::Undefined) => plain(Kind::Null),
            Some(Value::Boolean(flag)) => plain(Kind::Integer(i64::from(flag))),
            Some(Value::Int32(number)) => plain(Kind::Integer(number.into())),
            Some(Value::Int64(number)) => plain(Kind::Integer(number)),
            // SQLite would make NULL of it.
            Some(Value::Double(number)) if number.is_nan() => {
                Some(Self(Cow::Borrowed(b"NaN"), Kind::Text))
            }
            Some(Value::Double(number)) => plain(Kind::Real(number)),
            Some(Value::String(text)) => Some(Self(Cow::Borrowed(text.as_bytes()), Kind::Text)),
            Some(Value::Binary { subtype: NOT_UTF8, bytes }) => {
                Some(Self(Cow::Borrowed(bytes), Kind::Text))
            }
            Some(Value::Binary { bytes, .. }) => Some(Self(Cow::Borrowed(bytes), Kind::Blob)),
            Some(_) => None,
        }
    }

    fn value(&self) -> ValueRef<'_> {
        match self.1 {
            Kind::Null => ValueRef::Null,
            Kind::Integer(number) => ValueRef::Integer(number),
            Kind::Real(number) => ValueRef::Real(number),
            Kind::Text => ValueRef::Text(&self.0),
            Kind::Blob => ValueRef::Blob(&self.0),
        }
    }
}

impl ToSql for Stored<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.value()))
    }
}

/// The hash of a row's values; whole numbers count as what they are in a column of either kind.
#[derive(Default)]
struct RowHash(Sha256);

impl RowHash {
    fn add(&mut self, value: ValueRef<'_>) {
        let (tag, bytes): (u8, Cow<'_, [u8]>) = match value {
            ValueRef::Null => (0, Cow::Borrowed(&[])),
            ValueRef::Integer(number) => (1, Cow::Owned(number.to_be_bytes().to_vec())),
            ValueRef::Real(number) => (2, Cow::Owned(number.to_be_bytes().to_vec())),
            ValueRef::Text(text) => (3, Cow::Borrowed(text)),
            ValueRef::Blob(bytes) => (4, Cow::Borrowed(bytes)),
        };
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(&bytes);
    }

    fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// A file that is being written.
struct Writer<'w> {
    run: &'w RunDirectory,
    progress: &'w dyn Progress,
    path: PathBuf,
    connection: Connection,
    report: RestoreReport,
}

/// Writes a new file under a temporary name, reads it back, and gives it its name.
pub(super) fn restore(
    run: &RunDirectory,
    manifest: &ExportManifest,
    path: &Path,
    progress: &dyn Progress,
) -> Result<RestoreReport, RestoreError> {
    new_file(path, |temporary| {
        let report = write(run, manifest, temporary, progress)?;
        File::open(temporary)
            .and_then(|file| file.sync_all())
            .map_err(|source| RestoreError::Io { path: path.to_owned(), source })?;
        Ok(report)
    })
}

fn write(
    run: &RunDirectory,
    manifest: &ExportManifest,
    path: &Path,
    progress: &dyn Progress,
) -> Result<RestoreReport, RestoreError> {
    let not_rows = manifest.collections.iter().find(|collection| collection.kind != "table");
    if let Some(collection) = not_rows {
        return Err(RestoreError::NotRows {
            collection: collection.name.clone(),
            kind: manifest.source.kind.clone(),
        });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // SQLite makes a file that everyone may read, and gives its journal the mode of the file.
    drop(create_file(path)?);
    let connection = Connection::open_with_flags(path, flags).map_err(|source| {
        RestoreError::Sqlite { action: "create the file".into(), path: path.to_owned(), source }
    })?;
    let report = RestoreReport::default();
    let mut writer = Writer { run, progress, path: path.to_owned(), connection, report };
    // The file has another name until it is whole, so nothing needs a journal.
    writer.execute(
        "prepare the file",
        "PRAGMA foreign_keys = OFF; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN",
    )?;
    for collection in &manifest.collections {
        let name = &collection.name;
        let sql = collection.options["sql"].as_str().unwrap_or_default();
        writer.execute(&format!("make table {name}"), sql)?;
    }
    let expected: Vec<_> = manifest
        .collections
        .iter()
        .map(|collection| (collection.name.clone(), Total::Records(collection.documents)))
        .collect();
    progress.expect(Stage::Restore, &expected);
    for collection in &manifest.collections {
        let rows = writer.table(collection)?;
        writer.sequence(collection)?;
        let name = collection.name.clone();
        writer.report.tables.push(RestoredTable { name, rows, ..RestoredTable::default() });
    }
    for collection in &manifest.collections {
        for index in &collection.indexes {
            if let Some(sql) = index["sql"].as_str() {
                writer.execute(&format!("make an index of {}", collection.name), sql)?;
            }
        }
    }
    writer.others(manifest)?;
    for name in ["user_version", "application_id"] {
        if let Some(number) = manifest.source.settings[name].as_i64() {
            writer.execute(&format!("set {name}"), &format!("PRAGMA {name} = {number}"))?;
        }
    }
    writer.execute("end the transaction", "COMMIT")?;
    writer.check_references()?;
    Ok(writer.report)
}

/// The fields that hold the values of a table's columns.
fn fields_of(collection: &CollectionManifest, columns: &[String]) -> Vec<String> {
    let field = |column: &String| {
        let described = collection.options["columns"].as_array().into_iter().flatten();
        let mut own = described.filter(|own| own["name"] == column.as_str());
        own.find_map(|own| own["field"].as_str()).unwrap_or(column).to_owned()
    };
    columns.iter().map(field).collect()
}

/// Whether the documents' `_id` is the number that SQLite gave the row.
fn has_rowids(collection: &CollectionManifest, keyed: bool) -> bool {
    // The first column of an R-tree is its rowid.
    let module = collection.options["module"].as_str().unwrap_or_default();
    match collection.options["id"].as_str() {
        Some(id) => id == "rowid" && !module.starts_with("rtree"),
        // Exports of earlier versions do not say.
        None => {
            let first = collection.parts.first();
            !keyed && first.is_some_and(|part| part.first_id.contains("$numberLong"))
        }
    }
}

fn begins(sql: &str, words: &str) -> bool {
    let mut own = sql.split_ascii_whitespace();
    words.split(' ').all(|word| own.next().is_some_and(|own| own.eq_ignore_ascii_case(word)))
}

/// The table that a full-text table is over, if it is one.
fn content_of_fts(sql: &str) -> Option<String> {
    module_of(sql)
        .filter(|(module, _)| begins(sql, "CREATE VIRTUAL") && module.starts_with("fts"))
        .and_then(|(_, arguments)| option_of(&arguments, "content"))
        .filter(|content| !content.is_empty())
}

/// Views, triggers and full-text tables over another table are made again.
pub(super) fn is_remade(sql: &str) -> bool {
    begins(sql, "CREATE VIEW") || begins(sql, "CREATE TRIGGER") || content_of_fts(sql).is_some()
}

/// The hash of a row that was made of a document: its values as SQLite keeps them, without NULLs,
/// whatever the order of the columns.
pub(super) fn fingerprint(document: &[u8]) -> [u8; 32] {
    let mut hash = RowHash::default();
    let Ok(document) = Doc::new(document) else { return hash.end() };
    let mut fields: Vec<_> = document.elements().flatten().collect();
    fields.sort_by(|left, right| left.0.cmp(right.0));
    for (name, value) in fields.into_iter().filter(|(name, _)| *name != "_id") {
        let Some(value) = Stored::of(Some(value)) else { continue };
        if !matches!(value.1, Kind::Null) {
            hash.add(ValueRef::Text(name.as_bytes()));
            hash.add(value.value());
        }
    }
    hash.end()
}

impl Writer<'_> {
    fn failed(&self, action: &str) -> impl Fn(rusqlite::Error) -> RestoreError + use<> {
        let (action, path) = (action.to_owned(), self.path.clone());
        move |source| RestoreError::Sqlite { action: action.clone(), path: path.clone(), source }
    }

    fn execute(&self, action: &str, sql: &str) -> Result<(), RestoreError> {
        self.connection.execute_batch(sql).map_err(self.failed(action))
    }

    /// Makes what holds no rows of its own: views, triggers, full-text indexes over tables.
    fn others(&mut self, manifest: &ExportManifest) -> Result<(), RestoreError> {
        let made = manifest.collections.iter().map(|collection| &collection.options["sql"]);
        let left = manifest.skipped.iter().map(|skipped| &skipped.options);
        let names: Vec<&String> = manifest.collections.iter().map(|one| &one.name).collect();
        let names = names.into_iter().chain(manifest.skipped.iter().map(|one| &one.name));
        let owners: Vec<String> = made
            .chain(left)
            .zip(names)
            .filter(|(sql, _)| sql.as_str().is_some_and(|sql| begins(sql, "CREATE VIRTUAL")))
            .map(|(_, name)| format!("{name}_"))
            .collect();
        for skipped in &manifest.skipped {
            let (name, sql) = (&skipped.name, skipped.options.as_str().unwrap_or_default());
            let action = format!("make {name}");
            let over = content_of_fts(sql);
            if begins(sql, "CREATE VIEW") || begins(sql, "CREATE TRIGGER") {
                self.execute(&action, sql)?;
            } else if over.is_some() {
                self.execute(&action, sql)?;
                let quoted = quote_identifier(name);
                let fill = format!("INSERT INTO {quoted}({quoted}) VALUES('rebuild')");
                self.execute(&format!("fill {name}"), &fill)?;
            } else if !name.starts_with("sqlite_")
                && !owners.iter().any(|owner| name.starts_with(owner.as_str()))
            {
                let note = format!("{name} is left out: {}", skipped.reason);
                self.report.notes.push(note);
            }
        }
        Ok(())
    }

    /// Numbers of rows that are gone stay given out.
    fn sequence(&self, collection: &CollectionManifest) -> Result<(), RestoreError> {
        let Some(given) = collection.options["sequence"].as_i64() else { return Ok(()) };
        let failed = self.failed(&format!("set the next number of {}", collection.name));
        self.connection
            .execute("DELETE FROM sqlite_sequence WHERE name = ?", [&collection.name])
            .and_then(|_| {
                self.connection.execute(
                    "INSERT INTO sqlite_sequence(name, seq) VALUES (?, ?)",
                    params![&collection.name, given],
                )
            })
            .map_err(failed)?;
        Ok(())
    }

    /// Names of a table's columns, without those that SQLite computes, and whether one of them is
    /// its key.
    fn columns(&self, table: &str) -> Result<(Vec<String>, bool), RestoreError> {
        let failed = self.failed(&format!("look at table {table}"));
        let mut statement = self
            .connection
            .prepare("SELECT name, pk FROM pragma_table_xinfo(?) WHERE hidden = 0")
            .map_err(&failed)?;
        let columns = statement
            .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(&failed)?
            .collect::<Result<Vec<(String, i64)>, _>>()
            .map_err(&failed)?;
        let keyed = columns.iter().any(|(_, key)| *key > 0);
        Ok((columns.into_iter().map(|(name, _)| name).collect(), keyed))
    }

    /// Fills a table and reads it back.
    fn table(&mut self, collection: &CollectionManifest) -> Result<u64, RestoreError> {
        let name = &collection.name;
        self.progress.start(Stage::Restore, name, Total::Records(collection.documents));
        let failed = self.failed(&format!("write table {name}"));
        let (columns, keyed) = self.columns(name)?;
        let mut targets: Vec<String> =
            columns.iter().map(|column| quote_identifier(column)).collect();
        let taken = |name: &&str| columns.iter().any(|column| column.eq_ignore_ascii_case(name));
        let rowid = ["rowid", "_rowid_", "oid"].into_iter().find(|name| !taken(name));
        let mut fields = fields_of(collection, &columns);
        let numbered = has_rowids(collection, keyed);
        if let Some(rowid) = rowid.filter(|_| numbered) {
            targets.push(rowid.to_owned());
            fields.push("_id".to_owned());
        }
        let places = vec!["?"; targets.len()].join(", ");
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({places})",
            quote_identifier(name),
            targets.join(", ")
        );
        let mut insert = self.connection.prepare(&sql).map_err(&failed)?;
        let (mut written, mut rows, mut not_numbers) = (ContentDigest::default(), 0, 0_u64);
        for part in &collection.parts {
            for batch in documents(self.run, &part.file)? {
                if self.progress.interrupted() {
                    return Err(RestoreError::Interrupted);
                }
                let batch = batch?;
                for at in 0..batch.len() {
                    let bad = |field: &str| RestoreError::Value {
                        collection: name.clone(),
                        id: batch.id(at).to_owned(),
                        field: field.to_owned(),
                    };
                    let document = Doc::new(batch.bytes(at)).map_err(|_| bad("_id"))?;
                    let mut values = Vec::with_capacity(fields.len());
                    let mut hash = RowHash::default();
                    for field in &fields {
                        let value = document.get(field).map_err(|_| bad(field))?;
                        not_numbers += u64::from(
                            matches!(value, Some(Value::Double(number)) if number.is_nan()),
                        );
                        let value = Stored::of(value).ok_or_else(|| bad(field))?;
                        hash.add(value.value());
                        values.push(value);
                    }
                    insert.execute(params_from_iter(&values)).map_err(|source| {
                        RestoreError::Sqlite {
                            action: format!("write the row with _id {} of {name}", batch.id(at)),
                            path: self.path.clone(),
                            source,
                        }
                    })?;
                    written.add(hash.end());
                    rows += 1;
                }
                let bytes = (0..batch.len()).map(|at| batch.bytes(at).len() as u64).sum();
                self.progress.advance(Stage::Restore, name, batch.len() as u64, bytes);
            }
        }
        drop(insert);
        if self.read_back(name, &targets)? != (rows, written) {
            return Err(RestoreError::Differs { table: name.clone() });
        }
        if not_numbers > 0 {
            let note = format!("{name}: {not_numbers} NaN are kept as text, SQLite has none");
            self.report.notes.push(note);
        }
        self.progress.finish(Stage::Restore, name);
        Ok(rows)
    }

    fn read_back(
        &self,
        table: &str,
        columns: &[String],
    ) -> Result<(u64, ContentDigest), RestoreError> {
        let failed = self.failed(&format!("read table {table}"));
        let sql = format!("SELECT {} FROM {}", columns.join(", "), quote_identifier(table));
        let mut statement = self.connection.prepare(&sql).map_err(&failed)?;
        let mut found = statement.query([]).map_err(&failed)?;
        let (mut rows, mut digest) = (0, ContentDigest::default());
        while let Some(row) = found.next().map_err(&failed)? {
            let mut hash = RowHash::default();
            for at in 0..columns.len() {
                hash.add(row.get_ref(at).map_err(&failed)?);
            }
            digest.add(hash.end());
            rows += 1;
        }
        Ok((rows, digest))
    }

    /// References that lead nowhere are the source's own; they are said.
    fn check_references(&mut self) -> Result<(), RestoreError> {
        let failed = self.failed("check the references");
        let mut statement = self
            .connection
            .prepare(
                "SELECT \"table\", count(*) FROM pragma_foreign_key_check GROUP BY 1 ORDER BY 1",
            )
            .map_err(&failed)?;
        let broken = statement
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(&failed)?
            .collect::<Result<Vec<(String, i64)>, _>>()
            .map_err(&failed)?;
        for (table, count) in broken {
            let note = format!("{table}: {count} references lead to no row, as in the source");
            self.report.notes.push(note);
        }
        Ok(())
    }
}
