//! Cells into Arrow columns.

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder,
    Decimal256Builder, FixedSizeBinaryArray, Float32Builder, Float64Builder, Int16Builder,
    Int32Builder, Int64Builder, ListArray, StringBuilder, Time64MicrosecondBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef, i256};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::cell::Cell;
use crate::pgcopy::PgType;
use crate::pgcopy::arrow_type::{arrow_type, element_field};

/// Bytes of a UUID.
const UUID: usize = 16;

/// Gathers the rows of a batch.
pub(super) struct BatchBuilder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    types: Vec<PgType>,
    rows: usize,
}

enum ColumnBuilder {
    Boolean(BooleanBuilder),
    SmallInt(Int16Builder),
    Integer(Int32Builder),
    BigInt(Int64Builder),
    Real(Float32Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder),
    WideDecimal(Decimal256Builder),
    Text(StringBuilder),
    Bytes(BinaryBuilder),
    Uuid {
        values: Vec<u8>,
        nulls: NullBufferBuilder,
    },
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    List {
        element: PgType,
        values: Box<ColumnBuilder>,
        ends: Vec<i32>,
        nulls: NullBufferBuilder,
        length: i32,
    },
}

impl BatchBuilder {
    pub(super) fn new(schema: SchemaRef, types: impl Iterator<Item = PgType>) -> Self {
        let types: Vec<PgType> = types.collect();
        let columns = types.iter().map(|pg_type| ColumnBuilder::new(pg_type, 0, 0)).collect();
        Self { schema, columns, types, rows: 0 }
    }

    /// Adds a row; `cells` are in the order of the schema and of its types.
    pub(super) fn append(&mut self, cells: &[Cell<'_>]) -> Result<(), ArrowError> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.append(cell).ok_or_else(|| {
                ArrowError::InvalidArgumentError("a cell does not fit its column".to_owned())
            })?;
        }
        self.rows += 1;
        Ok(())
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// The rows so far, and an empty builder again.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let mut arrays = Vec::with_capacity(self.columns.len());
        for (column, pg_type) in self.columns.iter_mut().zip(&self.types) {
            let array = column.finish();
            // The next batch will most likely be of the same size: growing step by step copies.
            *column = ColumnBuilder::new(pg_type, array.len(), bytes_of(&array));
            arrays.push(array);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }
}

/// Bytes of text or binaries in an array.
fn bytes_of(array: &ArrayRef) -> usize {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_data().len(),
        DataType::Binary => array.as_binary::<i32>().value_data().len(),
        _ => 0,
    }
}

impl ColumnBuilder {
    /// A builder with room for so many rows, and bytes of text or binaries.
    fn new(pg_type: &PgType, rows: usize, bytes: usize) -> Self {
        let arrow = arrow_type(pg_type);
        // Batches are not quite alike.
        let bytes = bytes + bytes / 8;
        match (pg_type, &arrow) {
            (PgType::Boolean, _) => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            (PgType::SmallInt, _) => Self::SmallInt(Int16Builder::with_capacity(rows)),
            (PgType::Integer, _) => Self::Integer(Int32Builder::with_capacity(rows)),
            (PgType::BigInt, _) => Self::BigInt(Int64Builder::with_capacity(rows)),
            (PgType::Real, _) => Self::Real(Float32Builder::with_capacity(rows)),
            (PgType::Double, _) => Self::Double(Float64Builder::with_capacity(rows)),
            (PgType::Bytea, _) => Self::Bytes(BinaryBuilder::with_capacity(rows, bytes)),
            (PgType::Uuid, _) => Self::Uuid {
                values: Vec::with_capacity(rows * UUID),
                nulls: NullBufferBuilder::new(rows),
            },
            (PgType::Date, _) => Self::Date(Date32Builder::with_capacity(rows)),
            (PgType::Time(_), _) => Self::Time(Time64MicrosecondBuilder::with_capacity(rows)),
            (PgType::Timestamp(_) | PgType::Timestamptz(_), _) => Self::Timestamp(
                TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(arrow),
            ),
            (_, DataType::Decimal128(..)) => {
                Self::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(arrow))
            }
            (_, DataType::Decimal256(..)) => {
                Self::WideDecimal(Decimal256Builder::with_capacity(rows).with_data_type(arrow))
            }
            (PgType::Array(element), _) => Self::List {
                element: (**element).clone(),
                values: Box::new(Self::new(element, 0, 0)),
                ends: Vec::with_capacity(rows),
                nulls: NullBufferBuilder::new(rows),
                length: 0,
            },
            _ => Self::Text(StringBuilder::with_capacity(rows, bytes)),
        }
    }

    /// Adds a value; nothing when it does not fit.
    #[inline]
    fn append(&mut self, cell: &Cell<'_>) -> Option<()> {
        match (self, cell) {
            (Self::Boolean(builder), Cell::Boolean(value)) => builder.append_value(*value),
            (Self::SmallInt(builder), Cell::Integer(value)) => {
                builder.append_value(i16::try_from(*value).ok()?);
            }
            (Self::Integer(builder), Cell::Integer(value)) => {
                builder.append_value(i32::try_from(*value).ok()?);
            }
            (Self::BigInt(builder), Cell::Integer(value)) => builder.append_value(*value),
            (Self::Real(builder), Cell::Real(value)) => builder.append_value(*value),
            (Self::Double(builder), Cell::Double(value)) => builder.append_value(*value),
            (Self::Decimal(builder), Cell::Numeric(text)) => {
                builder.append_value(text.replace('.', "").parse().ok()?);
            }
            (Self::WideDecimal(builder), Cell::Numeric(text)) => {
                builder.append_value(i256::from_string(&text.replace('.', ""))?);
            }
            (Self::Text(builder), Cell::Text(text) | Cell::Numeric(text)) => {
                builder.append_value(text);
            }
            (Self::Bytes(builder), Cell::Bytes(bytes)) => builder.append_value(bytes),
            (Self::Uuid { values, nulls }, Cell::Uuid(bytes)) => {
                values.extend_from_slice(bytes);
                nulls.append_non_null();
            }
            (Self::Date(builder), Cell::Date(days)) => builder.append_value(*days),
            (Self::Time(builder), Cell::Micros(micros)) => builder.append_value(*micros),
            (Self::Timestamp(builder), Cell::Micros(micros)) => builder.append_value(*micros),
            (Self::List { values, ends, nulls, length, .. }, Cell::List(cells)) => {
                for cell in cells {
                    values.append(cell)?;
                }
                *length =
                    i32::try_from(cells.len()).ok().and_then(|added| length.checked_add(added))?;
                ends.push(*length);
                nulls.append_non_null();
            }
            (builder, Cell::Null) => builder.append_null(),
            _ => return None,
        }
        Some(())
    }

    fn append_null(&mut self) {
        match self {
            Self::Boolean(builder) => builder.append_null(),
            Self::SmallInt(builder) => builder.append_null(),
            Self::Integer(builder) => builder.append_null(),
            Self::BigInt(builder) => builder.append_null(),
            Self::Real(builder) => builder.append_null(),
            Self::Double(builder) => builder.append_null(),
            Self::Decimal(builder) => builder.append_null(),
            Self::WideDecimal(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Bytes(builder) => builder.append_null(),
            Self::Uuid { values, nulls } => {
                values.extend_from_slice(&[0; UUID]);
                nulls.append_null();
            }
            Self::Date(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
            Self::List { ends, nulls, length, .. } => {
                ends.push(*length);
                nulls.append_null();
            }
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::SmallInt(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::BigInt(builder) => Arc::new(builder.finish()),
            Self::Real(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
            Self::WideDecimal(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Bytes(builder) => Arc::new(builder.finish()),
            Self::Uuid { values, nulls } => Arc::new(FixedSizeBinaryArray::new(
                16,
                Buffer::from_vec(std::mem::take(values)),
                nulls.finish(),
            )),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
            Self::List { element, values, ends, nulls, length } => {
                let mut offsets = Vec::with_capacity(ends.len() + 1);
                offsets.push(0);
                offsets.append(ends);
                *length = 0;
                Arc::new(ListArray::new(
                    element_field(element),
                    OffsetBuffer::new(ScalarBuffer::from(offsets)),
                    values.finish(),
                    nulls.finish(),
                ))
            }
        }
    }
}
