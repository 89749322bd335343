//! The definition of a target table as it travels with the staged files, so that load and verify
//! need nothing but them.

use serde::{Deserialize, Serialize};

use crate::pgcopy::PgType;

/// Whether a table holds documents or links between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// One row per document, or per element of an array of subdocuments.
    Table,
    /// One row per pair of linked documents.
    Junction,
}

/// A target table: all that is needed to create, load and verify it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableDefinition {
    /// Target schema.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// Documents or links.
    pub kind: TableKind,
    /// Source collection; junctions have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Staged columns, in order.
    pub columns: Vec<ColumnDefinition>,
    /// Columns of the primary key; empty when there is none.
    pub primary_key: Vec<String>,
    /// Name of the primary key where its usual one, `…_pkey`, is taken in the pipeline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_key_name: Option<String>,
    /// Columns by which an upsert finds rows that are there already; empty for the primary key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upsert_by: Vec<String>,
    /// Unique constraints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<UniqueDefinition>,
    /// Foreign keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign_keys: Vec<ForeignKeyDefinition>,
    /// Secondary indexes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub indexes: Vec<IndexDefinition>,
    /// Full-text columns: generated, so never staged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<SearchDefinition>,
    /// Check constraints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckDefinition>,
    /// Conditions that rows should meet. They are no constraints: verify counts the rows that do
    /// not meet them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<CheckDefinition>,
    /// Column that holds the row's tenant, for row-level security.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The enum types that the columns use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enums: Vec<EnumDefinition>,
}

/// The usual name of a table's primary key.
pub fn default_primary_key_name(table: &str) -> String {
    format!("{}_pkey", &table[..table.floor_char_boundary(58)])
}

impl TableDefinition {
    /// Name of the primary key.
    pub fn primary_key_name(&self) -> String {
        self.primary_key_name.clone().unwrap_or_else(|| default_primary_key_name(&self.name))
    }

    /// Columns by which an upsert finds rows that are there already; empty when there are none.
    pub fn conflict_columns(&self) -> &[String] {
        if self.upsert_by.is_empty() { &self.primary_key } else { &self.upsert_by }
    }
}

/// A staged column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Column name.
    pub name: String,
    /// PostgreSQL type.
    #[serde(rename = "type")]
    pub pg_type: PgType,
    /// Whether NULL is allowed.
    pub nullable: bool,
    /// Later rows get the next number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub identity: bool,
    /// Default for rows the application inserts later, as an SQL expression. Never used to fill
    /// migrated rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// The greatest number that the source has given out for an identity column, where it keeps
    /// count: the next number is greater, whatever rows are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
}

/// A unique constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UniqueDefinition {
    /// Constraint name.
    pub name: String,
    /// Its columns.
    pub columns: Vec<String>,
}

/// A foreign key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKeyDefinition {
    /// Constraint name.
    pub name: String,
    /// Referencing columns.
    pub columns: Vec<String>,
    /// Referenced table, in the same schema.
    pub references_table: String,
    /// Referenced columns.
    pub references_columns: Vec<String>,
    /// What happens when the referenced row is deleted: `CASCADE`, `SET NULL`, `SET DEFAULT`,
    /// `RESTRICT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_delete: Option<String>,
    /// What happens when the referenced key is changed, in the same words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_update: Option<String>,
    /// `INITIALLY IMMEDIATE` or `INITIALLY DEFERRED`, where the check can be deferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deferrable: Option<String>,
}

/// A secondary index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexDefinition {
    /// Index name.
    pub name: String,
    /// Its columns, by name.
    pub columns: Vec<String>,
    /// Those of them that are indexed in lower case: `lower(column)`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lower: Vec<String>,
    /// Those of them that are indexed from the greatest value to the least.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descending: Vec<String>,
    /// Whether it refuses repeated values.
    #[serde(default)]
    pub unique: bool,
    /// Access method: `btree`, `gin`, `gist`, `hash`, `brin`.
    pub method: String,
    /// Predicate of a partial index, as SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
}

/// A generated full-text column with its GIN index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchDefinition {
    /// Name of the generated `tsvector` column.
    pub column: String,
    /// Name of its GIN index.
    pub index: String,
    /// The columns it is made of, `text` or `text[]`.
    pub sources: Vec<String>,
    /// Text search configuration, such as `english`.
    pub language: String,
}

/// A check constraint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDefinition {
    /// Constraint name.
    pub name: String,
    /// Its condition, as SQL.
    pub expression: String,
}

/// An enum type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnumDefinition {
    /// Type name.
    pub name: String,
    /// Labels, in order.
    pub labels: Vec<String>,
}
