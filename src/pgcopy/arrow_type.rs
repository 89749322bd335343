//! Which Arrow type carries which PostgreSQL type, so that DuckDB, pandas, Polars and Spark read
//! a staged column as what it is.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::PgType;

/// Field metadata that names the PostgreSQL type.
pub const PG_TYPE_METADATA: &str = "docferry.pg_type";

/// Field metadata by which Arrow implementations, Parquet's writer among them, know uuid and JSON.
const EXTENSION_NAME: &str = "ARROW:extension:name";

/// The Arrow type of a column.
///
/// `numeric` without a precision has no Arrow type that is exact for every value: it is carried as
/// its decimal text, as PostgreSQL prints it.
pub fn arrow_type(pg_type: &PgType) -> DataType {
    match pg_type {
        PgType::Boolean => DataType::Boolean,
        PgType::SmallInt => DataType::Int16,
        PgType::Integer => DataType::Int32,
        PgType::BigInt => DataType::Int64,
        PgType::Real => DataType::Float32,
        PgType::Double => DataType::Float64,
        PgType::Numeric(Some((precision, scale))) => {
            match (u8::try_from(*precision), i8::try_from(*scale)) {
                (Ok(precision @ 1..=38), Ok(scale))
                    if (0..=precision.cast_signed()).contains(&scale) =>
                {
                    DataType::Decimal128(precision, scale)
                }
                (Ok(precision @ 39..=76), Ok(scale))
                    if (0..=precision.cast_signed()).contains(&scale) =>
                {
                    DataType::Decimal256(precision, scale)
                }
                _ => DataType::Utf8,
            }
        }
        PgType::Numeric(None)
        | PgType::Text
        | PgType::Varchar(_)
        | PgType::Jsonb
        | PgType::Enum(_) => DataType::Utf8,
        PgType::Bytea => DataType::Binary,
        PgType::Uuid => DataType::FixedSizeBinary(16),
        PgType::Date => DataType::Date32,
        PgType::Time(_) => DataType::Time64(TimeUnit::Microsecond),
        PgType::Timestamp(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
        PgType::Timestamptz(_) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        PgType::Array(element) => DataType::List(element_field(element)),
    }
}

/// The field of an array's elements; elements may be NULL.
pub fn element_field(element: &PgType) -> Arc<Field> {
    Arc::new(arrow_field("item", element, true))
}

/// A column as an Arrow field, with its PostgreSQL type in the metadata.
pub fn arrow_field(name: &str, pg_type: &PgType, nullable: bool) -> Field {
    let mut metadata = HashMap::from([(PG_TYPE_METADATA.to_owned(), pg_type.to_string())]);
    let extension = match pg_type {
        PgType::Uuid => Some("arrow.uuid"),
        PgType::Jsonb => Some("arrow.json"),
        _ => None,
    };
    if let Some(extension) = extension {
        metadata.insert(EXTENSION_NAME.to_owned(), extension.to_owned());
    }
    Field::new(name, arrow_type(pg_type), nullable).with_metadata(metadata)
}
