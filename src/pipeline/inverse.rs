//! The way back: the rows of the target tables as the records of the source.
//!
//! It exists for tables whose columns each come from one field of their own, as those of a
//! relational source do. What a pipeline makes out of several fields, or of arrays, is left out
//! and named.

use std::fmt::Write as _;

use super::definitions::table_definitions;
use super::model::{Column, Key, Origin, Pipeline, Table};
use crate::pgcopy::PgType;
use crate::postgres::quote_identifier;
use crate::staging::table::TableDefinition;

/// What of the target can go back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WayBack {
    /// Tables.
    pub tables: Vec<BackTable>,
    /// Names of tables and indexes that cannot, and why.
    pub left: Vec<(String, String)>,
}

/// A target table as a collection of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackTable {
    /// Name in the source.
    pub name: String,
    /// Schema of the target table.
    pub schema: String,
    /// Target table.
    pub table: String,
    /// Columns, in order.
    pub fields: Vec<BackField>,
    /// Fields of the primary key, as places in `fields`.
    pub key: Vec<usize>,
    /// SQL that makes the table in SQLite.
    pub create: String,
    /// Indexes in SQLite: name, whether unique, SQL.
    pub indexes: Vec<(String, bool, String)>,
}

/// A column as a field of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackField {
    /// Field.
    pub name: String,
    /// Column.
    pub column: String,
    /// Form that the source has it in.
    pub form: Form,
}

/// The form of a value in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Boolean.
    Boolean,
    /// Whole number.
    Integer,
    /// Number with a fraction.
    Double,
    /// Text; all that has no form of its own.
    Text,
    /// Bytes.
    Bytes,
    /// Seconds since the Unix epoch; whole where they are.
    EpochSeconds,
    /// Milliseconds since the Unix epoch; whole where they are.
    EpochMillis,
}

/// The field of a column, or why there is none of its own.
fn back_field(column: &Column) -> Result<BackField, String> {
    let of_several = || format!("column {} is not made of one field", column.name);
    let Origin::Paths(paths) = &column.origin else { return Err(of_several()) };
    let [path] = paths.as_slice() else { return Err(of_several()) };
    let [name] = path.0.as_slice() else {
        return Err(format!("column {} comes from inside a document", column.name));
    };
    if column.key == Some(Key::Serial) {
        return Err(format!("the numbers of {} are not in the source", column.name));
    }
    let form = match (&column.pg_type, column.format.as_deref()) {
        (PgType::Timestamp(_) | PgType::Timestamptz(_), Some("epoch")) => Form::EpochSeconds,
        (PgType::Timestamp(_) | PgType::Timestamptz(_), Some("epoch_ms")) => Form::EpochMillis,
        (_, Some(format)) => {
            return Err(format!("column {} has the format {format}", column.name));
        }
        (PgType::Boolean, _) => Form::Boolean,
        (PgType::SmallInt | PgType::Integer | PgType::BigInt, _) => Form::Integer,
        (PgType::Real | PgType::Double, _) => Form::Double,
        (PgType::Bytea, _) => Form::Bytes,
        (PgType::Jsonb, _) if !column.parse_json => {
            return Err(format!("column {} is no text that holds JSON (json = true)", column.name));
        }
        (PgType::Array(_), _) => return Err(format!("column {} is an array", column.name)),
        _ => Form::Text,
    };
    Ok(BackField { name: name.clone(), column: column.name.clone(), form })
}

/// The type that SQLite is told. It decides how SQLite stores a value: text that must stay as it
/// is needs a type of text affinity (SQLite, "Datatypes In SQLite", section 3.1).
fn sqlite_type(pg_type: &PgType, form: Form) -> String {
    match (form, pg_type) {
        (Form::Boolean, _) => "BOOLEAN".to_owned(),
        (Form::Integer, _) => "INTEGER".to_owned(),
        (Form::Double, _) => "REAL".to_owned(),
        (Form::Bytes, _) => "BLOB".to_owned(),
        (Form::EpochSeconds | Form::EpochMillis, _) => "NUMERIC".to_owned(),
        (Form::Text, PgType::Varchar(length)) => format!("VARCHAR({length})"),
        (Form::Text, PgType::Uuid) => "CHAR(36)".to_owned(),
        (Form::Text, PgType::Date) => "DATE".to_owned(),
        (Form::Text, PgType::Timestamp(_) | PgType::Timestamptz(_)) => "DATETIME".to_owned(),
        (Form::Text, _) => "TEXT".to_owned(),
    }
}

fn back_table(
    pipeline: &Pipeline,
    table: &Table,
    definition: &TableDefinition,
) -> Result<BackTable, String> {
    if table.each.is_some() {
        return Err("its rows are elements of arrays".to_owned());
    }
    if !table.filter.is_empty() {
        return Err("it holds a part of its collection".to_owned());
    }
    let fields = table.columns.iter().map(back_field).collect::<Result<Vec<_>, _>>()?;
    for (at, field) in fields.iter().enumerate() {
        if fields[..at].iter().any(|other| other.name.eq_ignore_ascii_case(&field.name)) {
            return Err(format!("two columns come from field {}", field.name));
        }
    }
    let is_key = |column: &Column| column.key.is_some();
    let key: Vec<usize> = (0..fields.len()).filter(|at| is_key(&table.columns[*at])).collect();
    if fields.iter().enumerate().any(|(at, field)| field.name == "_id" && key != [at]) {
        return Err("_id is not its key".to_owned());
    }
    let field_of = |columns: &[String]| -> Option<Vec<String>> {
        let of = |name: &String| fields.iter().find(|field| field.column == *name);
        columns.iter().map(|name| Some(quote_identifier(&of(name)?.name))).collect()
    };
    let mut create = format!("CREATE TABLE {} (", quote_identifier(&table.source));
    for (at, (field, column)) in fields.iter().zip(&table.columns).enumerate() {
        let separator = if at > 0 { "," } else { "" };
        let kind = sqlite_type(&column.pg_type, field.form);
        let _ = write!(create, "{separator}\n    {} {kind}", quote_identifier(&field.name));
        if !definition.columns[at].nullable {
            create.push_str(" NOT NULL");
        }
        // SQLite knows a key that is the row's own number by this spelling only.
        if key == [at] {
            create.push_str(" PRIMARY KEY");
        }
    }
    if key.len() > 1 {
        let names: Vec<String> = key.iter().map(|at| quote_identifier(&fields[*at].name)).collect();
        let _ = write!(create, ",\n    PRIMARY KEY ({})", names.join(", "));
    }
    for unique in &definition.unique {
        if let Some(names) = field_of(&unique.columns) {
            let _ = write!(create, ",\n    UNIQUE ({})", names.join(", "));
        }
    }
    for foreign in &definition.foreign_keys {
        let target = pipeline.tables.iter().find(|other| other.name == foreign.references_table);
        let target_field = target.and_then(|target| {
            let named = |column: &&Column| foreign.references_columns == [column.name.as_str()];
            back_field(target.columns.iter().find(named)?).ok()
        });
        let (Some(target), Some(field), Some(own)) =
            (target, target_field, field_of(&foreign.columns))
        else {
            continue;
        };
        let _ = write!(
            create,
            ",\n    FOREIGN KEY ({}) REFERENCES {} ({})",
            own.join(", "),
            quote_identifier(&target.source),
            quote_identifier(&field.name)
        );
        if let Some(action) = &foreign.on_delete {
            let _ = write!(create, " ON DELETE {action}");
        }
        if let Some(action) = &foreign.on_update {
            let _ = write!(create, " ON UPDATE {action}");
        }
        if let Some(checked) = &foreign.deferrable {
            let _ = write!(create, " DEFERRABLE {checked}");
        }
    }
    create.push_str("\n)");
    let indexes = definition.indexes.iter().filter_map(|index| {
        let plain = index.method == "btree" && index.predicate.is_none();
        let mut columns = field_of(&index.columns).filter(|_| plain)?;
        for (column, name) in columns.iter_mut().zip(&index.columns) {
            if index.lower.contains(name) {
                *column = format!("lower({column})");
            }
            if index.descending.contains(name) {
                column.push_str(" DESC");
            }
        }
        let sql = format!(
            "CREATE {}INDEX {} ON {} ({})",
            if index.unique { "UNIQUE " } else { "" },
            quote_identifier(&index.name),
            quote_identifier(&table.source),
            columns.join(", ")
        );
        Some((index.name.clone(), index.unique, sql))
    });
    Ok(BackTable {
        name: table.source.clone(),
        schema: pipeline.schema.clone(),
        table: table.name.clone(),
        key,
        create,
        indexes: indexes.collect(),
        fields,
    })
}

/// The way back of a pipeline.
pub fn way_back(pipeline: &Pipeline) -> WayBack {
    let mut way = WayBack::default();
    let definitions = table_definitions(pipeline);
    for (table, definition) in pipeline.tables.iter().zip(&definitions) {
        let shared = pipeline.tables.iter().filter(|other| other.source == table.source).count();
        let back = match shared {
            1 => back_table(pipeline, table, definition),
            _ => Err("several tables share its collection".to_owned()),
        };
        match back {
            Ok(back) => {
                for index in &definition.indexes {
                    if !back.indexes.iter().any(|(name, ..)| *name == index.name) {
                        let reason = format!("a {} index SQLite does not have", index.method);
                        way.left.push((index.name.clone(), reason));
                    }
                }
                for search in &definition.search {
                    let name = format!("{}.{}", table.name, search.column);
                    way.left.push((name, "made by PostgreSQL from other columns".to_owned()));
                }
                way.tables.push(back);
            }
            Err(reason) => way.left.push((table.name.clone(), reason)),
        }
    }
    let junctions = pipeline.junctions.iter();
    way.left.extend(
        junctions.map(|junction| (junction.name.clone(), "its rows are of arrays".to_owned())),
    );
    way
}
