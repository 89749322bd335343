//! Arrow schemas of the two kinds of part, and the Parquet settings they are written with.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::table::TableDefinition;
use super::{FORMAT_VERSION, StagingError};
use crate::pgcopy::PgType;
use crate::pgcopy::arrow_type::arrow_field;

/// Schema metadata: version of the staging format.
pub const FORMAT_METADATA: &str = "docferry.format_version";
/// Schema metadata of an exported part: `database.collection`.
pub const NAMESPACE_METADATA: &str = "docferry.namespace";
/// Schema metadata of a transformed part: the table's definition as JSON.
pub const TABLE_METADATA: &str = "docferry.table";

/// Column of an exported part that holds the `_id` as text.
pub const ID_COLUMN: &str = "_id";
/// Column of an exported part that holds the BSON bytes.
pub const DOCUMENT_COLUMN: &str = "document";

/// Compression level of all parts. Level 3 costs half as much again and saves 3 percent.
const ZSTD_LEVEL: i32 = 1;

/// Schema of an exported part.
pub fn export_schema(namespace: &str) -> SchemaRef {
    let fields = vec![
        Field::new(ID_COLUMN, DataType::Utf8, false),
        Field::new(DOCUMENT_COLUMN, DataType::Binary, false),
    ];
    let metadata = HashMap::from([
        (FORMAT_METADATA.to_owned(), FORMAT_VERSION.to_string()),
        (NAMESPACE_METADATA.to_owned(), namespace.to_owned()),
    ]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Schema of the map of old and new keys of a table: the `_id` as in the exported part, the UUID
/// made of it, the number that stands for it.
pub fn id_map_schema(table: &str) -> SchemaRef {
    let fields = vec![
        Field::new(ID_COLUMN, DataType::Utf8, false),
        arrow_field("uuid", &PgType::Uuid, false),
        Field::new("key", DataType::Int64, false),
    ];
    let metadata = HashMap::from([
        (FORMAT_METADATA.to_owned(), FORMAT_VERSION.to_string()),
        ("docferry.ids_of".to_owned(), table.to_owned()),
    ]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// Parquet settings of that map.
pub fn id_map_properties() -> WriterProperties {
    common()
        .set_column_encoding(ColumnPath::from(ID_COLUMN), Encoding::DELTA_BYTE_ARRAY)
        .set_column_encoding(ColumnPath::from("key"), Encoding::DELTA_BINARY_PACKED)
        .build()
}

/// Schema of a transformed part.
pub fn table_schema(definition: &TableDefinition) -> SchemaRef {
    let fields = definition
        .columns
        .iter()
        .map(|column| arrow_field(&column.name, &column.pg_type, column.nullable))
        .collect::<Vec<_>>();
    let json = serde_json::to_string(definition)
        .expect("invariant: a table definition has string keys only");
    let metadata = HashMap::from([
        (FORMAT_METADATA.to_owned(), FORMAT_VERSION.to_string()),
        (TABLE_METADATA.to_owned(), json),
    ]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// The definition that a transformed part carries.
pub fn table_definition(path: &Path, schema: &Schema) -> Result<TableDefinition, StagingError> {
    let foreign =
        |detail: &str| StagingError::Foreign { path: path.to_owned(), detail: detail.to_owned() };
    let version =
        schema.metadata().get(FORMAT_METADATA).ok_or_else(|| foreign("no format version"))?;
    match version.parse::<u32>() {
        Ok(FORMAT_VERSION) => {}
        Ok(found) => {
            return Err(StagingError::Version {
                path: path.to_owned(),
                found,
                expected: FORMAT_VERSION,
            });
        }
        Err(_) => return Err(foreign("no readable format version")),
    }
    let json =
        schema.metadata().get(TABLE_METADATA).ok_or_else(|| foreign("no table definition"))?;
    serde_json::from_str(json).map_err(|source| StagingError::Json {
        what: "table definition",
        path: path.to_owned(),
        source,
    })
}

fn common() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(
            ZstdLevel::try_new(ZSTD_LEVEL).expect("invariant: the level is in zstd's range"),
        ))
        .set_created_by(format!("docferry {}", env!("CARGO_PKG_VERSION")))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
}

/// Parquet settings of an exported part. Documents get no statistics: they would hold whole
/// documents.
pub fn export_properties() -> WriterProperties {
    common()
        .set_column_statistics_enabled(ColumnPath::from(DOCUMENT_COLUMN), EnabledStatistics::None)
        .set_column_encoding(ColumnPath::from(ID_COLUMN), Encoding::DELTA_BYTE_ARRAY)
        .build()
}

/// Parquet settings of a transformed part: dictionaries only for columns with few values, deltas
/// for times and whole numbers.
pub fn table_properties(definition: &TableDefinition) -> WriterProperties {
    let mut properties = common();
    for column in &definition.columns {
        let path = match column.pg_type {
            PgType::Array(_) => {
                ColumnPath::new(vec![column.name.clone(), "list".to_owned(), "item".to_owned()])
            }
            _ => ColumnPath::new(vec![column.name.clone()]),
        };
        properties = match column.pg_type.element() {
            PgType::Enum(_) | PgType::Text | PgType::Varchar(_) => {
                properties.set_column_dictionary_enabled(path, true)
            }
            PgType::Date
            | PgType::Timestamp(_)
            | PgType::Timestamptz(_)
            | PgType::Time(_)
            | PgType::SmallInt
            | PgType::Integer
            | PgType::BigInt => properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            PgType::Jsonb | PgType::Bytea => {
                properties.set_column_statistics_enabled(path, EnabledStatistics::None)
            }
            _ => properties,
        };
    }
    properties.build()
}
