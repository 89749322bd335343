//! Batches to tuples.

use std::collections::HashMap;

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array,
    FixedSizeBinaryArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    ListArray, StringArray, Time64MicrosecondArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;

use super::PgType;
use super::numeric::encode_text;

/// What begins every binary COPY: signature, flags, and the length of no extension.
const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// Days and microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's dates count from.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = 946_684_800_000_000;
/// Version byte of `jsonb_recv`.
const JSONB_VERSION: u8 = 1;

/// Why a batch cannot be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// The batch has other columns than the table.
    #[error("column {column} is not staged as {pg_type}")]
    Column {
        /// Column name.
        column: String,
        /// Its PostgreSQL type.
        pg_type: String,
    },
    /// The server's identifier of an enum type is needed and not known.
    #[error("the enum type {0} is not known to the server")]
    UnknownEnum(String),
    /// A value that the format cannot hold.
    #[error("a value of column {column}, row {row} of the batch, cannot be sent as {pg_type}")]
    Value {
        /// Column name.
        column: String,
        /// Row of the batch, from 0.
        row: usize,
        /// PostgreSQL type.
        pg_type: String,
    },
}

/// Encodes the batches of one table.
pub struct CopyEncoder {
    columns: Vec<(String, PgType, u32)>,
}

impl CopyEncoder {
    /// An encoder of these columns. `enum_oids` gives the identifiers of enum types, which arrays
    /// of them carry.
    pub fn new(
        columns: &[(String, PgType)],
        enum_oids: &HashMap<String, u32>,
    ) -> Result<Self, CopyError> {
        let columns = columns
            .iter()
            .map(|(name, pg_type)| {
                let oid = match pg_type {
                    PgType::Array(element) => element_oid(element, enum_oids)?,
                    _ => 0,
                };
                Ok((name.clone(), pg_type.clone(), oid))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { columns })
    }

    /// Appends what begins a COPY.
    pub fn header(&self, out: &mut Vec<u8>) {
        out.extend(HEADER);
    }

    /// Appends what ends a COPY.
    pub fn trailer(&self, out: &mut Vec<u8>) {
        out.extend((-1_i16).to_be_bytes());
    }

    /// Appends the tuples of a batch. Its columns are found by name: it may have others, and in
    /// any order. With `ends`, the end of each tuple in `out` is noted there.
    pub fn encode(
        &self,
        batch: &RecordBatch,
        out: &mut Vec<u8>,
        mut ends: Option<&mut Vec<usize>>,
    ) -> Result<(), CopyError> {
        let columns = self
            .columns
            .iter()
            .map(|(name, pg_type, oid)| {
                let array = batch.column_by_name(name);
                array.and_then(|array| Column::new(array, pg_type, *oid)).ok_or_else(|| {
                    CopyError::Column { column: name.clone(), pg_type: pg_type.to_string() }
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let count = i16::try_from(columns.len()).unwrap_or(i16::MAX);
        for row in 0..batch.num_rows() {
            out.extend(count.to_be_bytes());
            for (column, (name, pg_type, _)) in columns.iter().zip(&self.columns) {
                if !column.field(row, out) {
                    return Err(CopyError::Value {
                        column: name.clone(),
                        row,
                        pg_type: pg_type.to_string(),
                    });
                }
            }
            if let Some(ends) = ends.as_deref_mut() {
                ends.push(out.len());
            }
        }
        Ok(())
    }
}

/// The server's fixed identifiers of array elements (`pg_type.dat`).
fn element_oid(element: &PgType, enum_oids: &HashMap<String, u32>) -> Result<u32, CopyError> {
    Ok(match element {
        PgType::Boolean => 16,
        PgType::Bytea => 17,
        PgType::BigInt => 20,
        PgType::SmallInt => 21,
        PgType::Integer => 23,
        PgType::Text | PgType::Array(_) => 25,
        PgType::Real => 700,
        PgType::Double => 701,
        PgType::Varchar(_) => 1043,
        PgType::Date => 1082,
        PgType::Time(_) => 1083,
        PgType::Timestamp(_) => 1114,
        PgType::Timestamptz(_) => 1184,
        PgType::Numeric(_) => 1700,
        PgType::Uuid => 2950,
        PgType::Jsonb => 3802,
        PgType::Enum(name) => {
            *enum_oids.get(name).ok_or_else(|| CopyError::UnknownEnum(name.clone()))?
        }
    })
}

/// A column with its type known, so that the loop over rows decides nothing twice.
enum Column<'a> {
    Boolean(&'a BooleanArray),
    SmallInt(&'a Int16Array),
    Integer(&'a Int32Array),
    BigInt(&'a Int64Array),
    Real(&'a Float32Array),
    Double(&'a Float64Array),
    Decimal(&'a Decimal128Array),
    WideDecimal(&'a Decimal256Array),
    Numeric(&'a StringArray),
    Text(&'a StringArray),
    Jsonb(&'a StringArray),
    Bytes(&'a BinaryArray),
    Uuid(&'a FixedSizeBinaryArray),
    Date(&'a Date32Array),
    Time(&'a Time64MicrosecondArray),
    Timestamp(&'a TimestampMicrosecondArray),
    List { array: &'a ListArray, elements: Box<Column<'a>>, oid: u32 },
}

impl<'a> Column<'a> {
    fn new(array: &'a dyn Array, pg_type: &PgType, oid: u32) -> Option<Self> {
        Some(match pg_type {
            PgType::Boolean => Self::Boolean(array.as_boolean_opt()?),
            PgType::SmallInt => Self::SmallInt(array.as_primitive_opt::<Int16Type>()?),
            PgType::Integer => Self::Integer(array.as_primitive_opt::<Int32Type>()?),
            PgType::BigInt => Self::BigInt(array.as_primitive_opt::<Int64Type>()?),
            PgType::Real => Self::Real(array.as_primitive_opt::<Float32Type>()?),
            PgType::Double => Self::Double(array.as_primitive_opt::<Float64Type>()?),
            PgType::Numeric(_) => {
                if let Some(array) = array.as_primitive_opt::<Decimal128Type>() {
                    Self::Decimal(array)
                } else if let Some(array) = array.as_primitive_opt::<Decimal256Type>() {
                    Self::WideDecimal(array)
                } else {
                    Self::Numeric(array.as_string_opt()?)
                }
            }
            PgType::Text | PgType::Varchar(_) | PgType::Enum(_) => {
                Self::Text(array.as_string_opt()?)
            }
            PgType::Jsonb => Self::Jsonb(array.as_string_opt()?),
            PgType::Bytea => Self::Bytes(array.as_binary_opt()?),
            PgType::Uuid => Self::Uuid(array.as_fixed_size_binary_opt()?),
            PgType::Date => Self::Date(array.as_primitive_opt::<Date32Type>()?),
            PgType::Time(_) => Self::Time(array.as_primitive_opt::<Time64MicrosecondType>()?),
            PgType::Timestamp(_) | PgType::Timestamptz(_) => {
                Self::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>()?)
            }
            PgType::Array(element) => {
                let list: &ListArray = array.as_list_opt()?;
                let elements = Box::new(Self::new(list.values().as_ref(), element, 0)?);
                Self::List { array: list, elements, oid }
            }
        })
    }

    fn array(&self) -> &dyn Array {
        match self {
            Self::Boolean(array) => *array,
            Self::SmallInt(array) => *array,
            Self::Integer(array) => *array,
            Self::BigInt(array) => *array,
            Self::Real(array) => *array,
            Self::Double(array) => *array,
            Self::Decimal(array) => *array,
            Self::WideDecimal(array) => *array,
            Self::Numeric(array) | Self::Text(array) | Self::Jsonb(array) => *array,
            Self::Bytes(array) => *array,
            Self::Uuid(array) => *array,
            Self::Date(array) => *array,
            Self::Time(array) => *array,
            Self::Timestamp(array) => *array,
            Self::List { array, .. } => *array,
        }
    }

    /// Appends a field: its length and bytes, or the length -1 of NULL.
    fn field(&self, row: usize, out: &mut Vec<u8>) -> bool {
        if self.array().is_null(row) {
            out.extend((-1_i32).to_be_bytes());
            return true;
        }
        match self {
            Self::Boolean(array) => fixed(out, [u8::from(array.value(row))]),
            Self::SmallInt(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Integer(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::BigInt(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Real(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Double(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Decimal(array) => encode_text(&array.value_as_string(row), out),
            Self::WideDecimal(array) => encode_text(&array.value_as_string(row), out),
            Self::Numeric(array) => encode_text(array.value(row), out),
            Self::Text(array) => variable(out, &[], array.value(row).as_bytes()),
            Self::Jsonb(array) => variable(out, &[JSONB_VERSION], array.value(row).as_bytes()),
            Self::Bytes(array) => variable(out, &[], array.value(row)),
            Self::Uuid(array) => variable(out, &[], array.value(row)),
            Self::Date(array) => match array.value(row).checked_sub(EPOCH_DAYS) {
                Some(days) => fixed(out, days.to_be_bytes()),
                None => false,
            },
            Self::Time(array) => fixed(out, array.value(row).to_be_bytes()),
            Self::Timestamp(array) => match array.value(row).checked_sub(EPOCH_MICROS) {
                Some(micros) => fixed(out, micros.to_be_bytes()),
                None => false,
            },
            Self::List { array, elements, oid } => list(array, elements, *oid, row, out),
        }
    }
}

fn fixed<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N]) -> bool {
    variable(out, &[], &bytes)
}

fn variable(out: &mut Vec<u8>, prefix: &[u8], bytes: &[u8]) -> bool {
    let Ok(length) = i32::try_from(prefix.len() + bytes.len()) else { return false };
    out.extend(length.to_be_bytes());
    out.extend_from_slice(prefix);
    out.extend_from_slice(bytes);
    true
}

/// One dimension with lower bound 1; none at all when the array is empty.
fn list(array: &ListArray, elements: &Column<'_>, oid: u32, row: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let offsets = array.value_offsets();
    let (Ok(from), Ok(to)) = (usize::try_from(offsets[row]), usize::try_from(offsets[row + 1]))
    else {
        return false;
    };
    let dimensions = i32::from(from < to);
    let has_null = i32::from((from..to).any(|at| elements.array().is_null(at)));
    out.extend([0; 4]);
    out.extend(dimensions.to_be_bytes());
    out.extend(has_null.to_be_bytes());
    out.extend(oid.to_be_bytes());
    if from < to {
        out.extend((offsets[row + 1] - offsets[row]).to_be_bytes());
        out.extend(1_i32.to_be_bytes());
        for at in from..to {
            if !elements.field(at, out) {
                return false;
            }
        }
    }
    let Ok(length) = i32::try_from(out.len() - start - 4) else { return false };
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array};

    use super::*;

    #[test]
    fn columns_are_found_by_name_in_any_order_and_among_others() {
        let one = |value: i32| Arc::new(Int32Array::from(vec![value])) as ArrayRef;
        let batch =
            RecordBatch::try_from_iter([("b", one(2)), ("c", one(3)), ("a", one(1))]).unwrap();
        let column = |name: &str| (name.to_owned(), PgType::Integer);
        let encoder = CopyEncoder::new(&[column("a"), column("b")], &HashMap::new()).unwrap();
        let mut tuple = Vec::new();
        encoder.encode(&batch, &mut tuple, None).unwrap();
        assert_eq!(tuple, [0, 2, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 2]);
        let encoder = CopyEncoder::new(&[column("d")], &HashMap::new()).unwrap();
        assert!(matches!(encoder.encode(&batch, &mut tuple, None), Err(CopyError::Column { .. })));
    }
}
