//! The mapping as the stages see it: resolved, checked, without TOML.
//!
//! Every name in here is valid: references name tables that exist, enum types are declared, each
//! table has at most one key. `parse` and `check` see to it.

use std::fmt;

use crate::pgcopy::PgType;
use crate::staging::manifest::Hook;

/// A whole pipeline file.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Name: the folder of its runs in the staging directory.
    pub name: String,
    /// Target schema.
    pub schema: String,
    /// Enum types, in the order of the file.
    pub enums: Vec<EnumType>,
    /// Tables, in the order of the file.
    pub tables: Vec<Table>,
    /// Junction tables, in the order of the file.
    pub junctions: Vec<Junction>,
    /// SQL files run before the tables are made.
    pub before_load: Vec<Hook>,
    /// SQL files run after the last constraint is made.
    pub after_load: Vec<Hook>,
    /// Collections of the source that are left out on purpose.
    pub ignore: Vec<String>,
    /// The fields by which incremental exports find what changed.
    pub changed: ChangedBy,
    /// What the application asks for most, and how long it may take.
    pub queries: Vec<Query>,
}

/// A query of the application, by which the target is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Its name.
    pub name: String,
    /// One statement that reads.
    pub sql: String,
    /// The most milliseconds that it may take.
    pub max_ms: u64,
}

/// Fields that an application sets to the time, or to a higher number, whenever it changes a
/// document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedBy {
    /// Of every collection that has none of its own.
    pub field: Option<FieldPath>,
    /// Of single collections.
    pub collections: Vec<(String, FieldPath)>,
}

impl ChangedBy {
    /// The field of a collection.
    pub fn of(&self, collection: &str) -> Option<&FieldPath> {
        let own = self.collections.iter().find(|(name, _)| name == collection);
        own.map(|(_, field)| field).or(self.field.as_ref())
    }
}

impl Pipeline {
    /// The same with each table's source under the name by which it is there.
    #[must_use]
    pub fn resolved(&self, exists: impl Fn(&str) -> bool) -> Self {
        let mut pipeline = self.clone();
        for table in &mut pipeline.tables {
            if !exists(&table.source)
                && let Some(alias) = table.aliases.iter().find(|alias| exists(alias))
            {
                table.source.clone_from(alias);
            }
        }
        pipeline
    }

    /// Whether some table is made of a collection.
    pub fn takes(&self, collection: &str) -> bool {
        self.tables.iter().any(|table| table.source == collection)
    }

    /// Collections that tables need and that are not there, in the order of the tables.
    pub fn missing(&self, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for table in self.tables.iter().filter(|table| !table.optional) {
            if !is_there(&table.source) && !names.contains(&table.source) {
                names.push(table.source.clone());
            }
        }
        names
    }

    /// Those of these collections that neither a table nor `ignore` names.
    pub fn unplaced<'c>(&self, there: impl Iterator<Item = &'c str>) -> Vec<String> {
        let has_place =
            |name: &&str| self.takes(name) || self.ignore.iter().any(|ignored| ignored == name);
        there.filter(|name| !has_place(name)).map(str::to_owned).collect()
    }
}

/// The way out where a collection is missing, and where one has no place.
pub const CURE_OF_MISSING: &str =
    "Correct `source`, or write `optional = true` on the table if the collection may be absent.";
/// See [`CURE_OF_MISSING`].
pub const CURE_OF_UNPLACED: &str =
    "Map it to a table, or name it in the pipeline file's top-level `ignore` list.";

/// An enum type of the target schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumType {
    /// Type name.
    pub name: String,
    /// Labels, in order.
    pub labels: Vec<String>,
}

/// One target table filled from one collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Table name.
    pub name: String,
    /// Source collection.
    pub source: String,
    /// Other names under which the collection may be found.
    pub aliases: Vec<String>,
    /// The collection, or the `each` path, may be absent.
    pub optional: bool,
    /// For a row per array element, or per member of a document whose field names are data: the
    /// path, relative to the document of `source`. Nested arrays are further segments;
    /// [`FieldPath::MEMBERS`] stands for the members.
    pub each: Option<FieldPath>,
    /// Only documents whose fields equal these values belong here.
    pub filter: Vec<(FieldPath, Literal)>,
    /// What happens to documents that no table of the collection takes.
    pub otherwise: Otherwise,
    /// What happens to a field that no column takes.
    pub unmapped: Unmapped,
    /// Fields left out on purpose.
    pub ignore: Vec<FieldPath>,
    /// Columns, in the order of the file.
    pub columns: Vec<Column>,
    /// Secondary indexes.
    pub indexes: Vec<Index>,
    /// Full-text columns.
    pub search: Vec<Search>,
    /// Unique keys of one or more columns, a column's own `unique` included.
    pub unique: Vec<Vec<String>>,
    /// Columns by which an upsert finds rows that are there already; empty for the key.
    pub upsert_by: Vec<String>,
    /// Column that holds the row's tenant: row-level security lets each session see its own only.
    pub tenant: Option<String>,
    /// Check constraints.
    pub checks: Vec<Check>,
    /// Conditions that rows should meet; verify counts those that do not.
    pub expectations: Vec<Check>,
}

/// A path into a document: field names, outermost first. An array element's fields are reached
/// through the array's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldPath(pub Vec<String>);

impl FieldPath {
    /// The step of an `each` path through all fields of a document whose names are data. No field
    /// of BSON has this name.
    pub const MEMBERS: &'static str = "\0*";

    /// The path up to the first step through members.
    pub fn before_members(&self) -> &[String] {
        let end = self.0.iter().position(|name| name == Self::MEMBERS).unwrap_or(self.0.len());
        &self.0[..end]
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join(".").replace('\0', ""))
    }
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A field. With several paths the first that holds a value is taken; for a reference, the
    /// first whose target row exists.
    Paths(Vec<FieldPath>),
    /// All fields that no other column takes, as one JSON object (`from = "*"`).
    Rest,
    /// The key of the document that holds the array element (`parent = true`).
    Parent,
    /// The element's position in its array, from 0 (`ordinal = true`).
    Ordinal,
    /// The name of the field that holds the element (`member = true`), where `each` goes through
    /// members.
    Member,
    /// The element itself (`element = true`).
    Element,
    /// What a field is, not what it holds (`presence = true`): `missing`, `null`, `undefined`,
    /// `empty` (an array or document without elements) or `filled`. It takes nothing of the field.
    Presence(FieldPath),
}

/// How a key column's value is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// From the value itself: a UUID from an ObjectId or any other `_id`, or text and numbers as
    /// they are.
    Value,
    /// Numbered from 1 in `_id` order.
    Serial,
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Column name.
    pub name: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// PostgreSQL type.
    pub pg_type: PgType,
    /// Set when the column is part of the primary key.
    pub key: Option<Key>,
    /// Later rows get the next number (`GENERATED BY DEFAULT AS IDENTITY`).
    pub identity: bool,
    /// NULL, null and missing are refused.
    pub required: bool,
    /// The field may occur in no document at all although the column is required.
    pub optional: bool,
    /// Default for rows inserted later. Never fills a migrated row.
    pub default: Option<DefaultValue>,
    /// What the column holds for documents whose field is null or missing; it is never NULL then.
    pub fill: Option<Fill>,
    /// Nulls among the elements of an array.
    pub null_elements: NullElements,
    /// The table, and column, whose rows this column points to.
    pub references: Option<Reference>,
    /// What happens when the target row does not exist.
    pub dangling: Dangling,
    /// Source value to stored value, applied before any other rule.
    pub values: Vec<(String, String)>,
    /// Regular expression the text must match.
    pub pattern: Option<String>,
    /// Least number, length excluded.
    pub min: Option<f64>,
    /// Greatest number.
    pub max: Option<f64>,
    /// Greatest number of characters (text) or elements (array).
    pub length: Option<u32>,
    /// Text must have the form of an e-mail address.
    pub email: bool,
    /// What happens when a rule is broken.
    pub on_fail: OnFail,
    /// What happens to U+0000, which PostgreSQL cannot store.
    pub nul: Nul,
    /// Accept 0/1 and "true"/"false" as booleans and numbers inside strings.
    pub coerce: bool,
    /// `strftime`-like format of dates inside strings; ISO 8601 when absent.
    pub format: Option<String>,
    /// Text holds JSON, which goes into a jsonb column as what it says.
    pub parse_json: bool,
    /// The empty text is stored as NULL and counted (`empty = "null"`).
    pub empty_is_null: bool,
    /// Byte order of legacy UUIDs (binary subtype 3); without it they are refused as `uuid`.
    pub uuid_order: Option<UuidOrder>,
}

/// What stands for a field that is null or missing (`fill = …`).
#[derive(Clone, Debug, PartialEq)]
pub enum Fill {
    /// A value.
    Literal(Literal),
    /// `[]`.
    EmptyArray,
}

/// What happens to nulls among the elements of an array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NullElements {
    /// They are NULL.
    #[default]
    Keep,
    /// They are taken out and counted.
    Drop,
    /// Their document is a reject.
    Reject,
}

impl Column {
    /// Whether a row can hold NULL in it.
    pub fn is_nullable(&self) -> bool {
        !self.required && self.key.is_none() && self.fill.is_none()
    }
}

/// The default of a column, for rows inserted later.
#[derive(Clone, Debug, PartialEq)]
pub enum DefaultValue {
    /// The time of insertion (`default = "now"` on a date or time).
    Now,
    /// A random UUID (`default = "uuid"` on a uuid).
    Uuid,
    /// A fixed value.
    Literal(Literal),
    /// An SQL expression (`default = { sql = "…" }`).
    Sql(String),
}

/// A value written in the pipeline file.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// Text.
    String(String),
    /// Whole number.
    Integer(i64),
    /// Number with a fraction.
    Float(f64),
    /// Boolean.
    Boolean(bool),
}

/// The target of a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Target table.
    pub table: String,
    /// Target column: its key unless another unique column is named.
    pub column: String,
    /// What happens to the row when its target is deleted later.
    pub on_delete: Option<OnDelete>,
    /// What happens to the row when its target's key is changed later.
    pub on_update: Option<OnDelete>,
    /// The check may wait for the end of a transaction.
    pub deferrable: Option<Deferrable>,
}

/// When a foreign key that can be deferred is checked, unless a session says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferrable {
    /// After each statement.
    Immediate,
    /// At the end of the transaction.
    Deferred,
}

/// Referential action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// Delete the row as well.
    Cascade,
    /// Clear the column.
    SetNull,
    /// Set the column to its default.
    SetDefault,
    /// Refuse the deletion.
    Restrict,
}

impl OnDelete {
    /// The action as SQL writes it.
    pub fn sql(self) -> &'static str {
        match self {
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
            Self::Restrict => "RESTRICT",
        }
    }
}

/// What happens to a reference whose target does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dangling {
    /// NULL is stored and the value is listed; a reject where NULL is not allowed.
    Null,
    /// The document is a reject.
    Reject,
    /// The value is kept; there is no foreign key.
    Keep,
}

/// What happens to a field that no column takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmapped {
    /// The document is a reject.
    Reject,
    /// The field is dropped and counted.
    Drop,
    /// It goes to this jsonb column, whose origin is `Rest`.
    Column(String),
}

/// What happens to a document that no table's filter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It is a reject.
    Reject,
    /// It is dropped and counted.
    Drop,
}

/// What happens when a value breaks a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    /// The document is a reject.
    Reject,
    /// NULL is stored and the value is listed.
    Null,
    /// The value is stored and listed. Only for rules the column's type does not impose.
    Report,
}

/// What happens to U+0000 in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nul {
    /// The document is a reject.
    Reject,
    /// The character is taken out and counted.
    Strip,
}

/// Byte order of a legacy UUID (BSON binary subtype 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuidOrder {
    /// The bytes as they are: Python's driver, and the standard order.
    Standard,
    /// .NET: the first three fields are little-endian.
    CSharp,
    /// Java: each half is reversed.
    Java,
}

/// A secondary index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Index {
    /// Index name; made from table and columns when absent.
    pub name: Option<String>,
    /// Column names.
    pub columns: Vec<String>,
    /// Those of them that are indexed in lower case: `lower(column)`.
    pub lower: Vec<String>,
    /// Those of them that are indexed from the greatest value to the least.
    pub descending: Vec<String>,
    /// Refuses repeated values.
    pub unique: bool,
    /// Access method.
    pub method: String,
    /// Predicate of a partial index, as SQL.
    pub predicate: Option<String>,
}

impl Index {
    /// No two rows have the same values, which transform sees to. The condition of a partial index
    /// is SQL that only PostgreSQL knows to apply.
    pub fn checked(&self) -> bool {
        self.unique && self.predicate.is_none()
    }
}

/// A full-text column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Name of the generated column; `search` when absent.
    pub column: String,
    /// Columns it is made of.
    pub columns: Vec<String>,
    /// Text search configuration.
    pub language: String,
}

/// A check constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Constraint name.
    pub name: String,
    /// SQL condition.
    pub expression: String,
}

/// A many-to-many table made out of arrays of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Junction {
    /// Table name.
    pub name: String,
    /// The two columns and the tables they point to.
    pub columns: [JunctionColumn; 2],
    /// The arrays it is filled from.
    pub from: Vec<JunctionSource>,
    /// Column of a link's position in its array, from 0. The key is the holder's column and this one
    /// then, and repeats of an id are rows of their own. There is one array only.
    pub position: Option<String>,
}

impl Junction {
    /// The side whose documents hold the array, and the column of the position in it.
    pub fn ordered(&self) -> Option<(usize, &str)> {
        Some((self.from.first()?.side, self.position.as_deref()?))
    }

    /// The columns of the primary key.
    pub fn key(&self) -> Vec<String> {
        match self.ordered() {
            Some((side, position)) => vec![self.columns[side].name.clone(), position.to_owned()],
            None => self.columns.iter().map(|column| column.name.clone()).collect(),
        }
    }
}

/// One side of a junction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JunctionColumn {
    /// Column name.
    pub name: String,
    /// Target table.
    pub table: String,
}

/// An array of ids that fills a junction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JunctionSource {
    /// Index into `Junction::columns` of the side whose documents hold the array.
    pub side: usize,
    /// Table whose source documents hold the array.
    pub table: String,
    /// Path of the array.
    pub path: FieldPath,
    /// The array may occur in no document.
    pub optional: bool,
}
