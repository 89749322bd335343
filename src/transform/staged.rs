//! Values of staged rows, as the identities by which keys are compared.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    Date32Type, Decimal128Type, Decimal256Type, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
};
use std::borrow::Cow;

use super::TransformError;
use super::cell::Cell;
use super::keys::KeySet;
use super::plan::{TablePlan, UniquePlan};
use crate::pgcopy::PgType;
use crate::staging::StagingError;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::TableManifest;
use crate::staging::part;

/// One value of a staged column.
fn cell<'a>(pg_type: &PgType, array: &'a ArrayRef, at: usize) -> Cell<'a> {
    if array.is_null(at) {
        return Cell::Null;
    }
    match pg_type {
        PgType::Boolean => Cell::Boolean(array.as_boolean().value(at)),
        PgType::SmallInt => Cell::Integer(i64::from(array.as_primitive::<Int16Type>().value(at))),
        PgType::Integer => Cell::Integer(i64::from(array.as_primitive::<Int32Type>().value(at))),
        PgType::BigInt => Cell::Integer(array.as_primitive::<Int64Type>().value(at)),
        PgType::Real => Cell::Real(array.as_primitive::<Float32Type>().value(at)),
        PgType::Double => Cell::Double(array.as_primitive::<Float64Type>().value(at)),
        PgType::Numeric(_) => {
            if let Some(decimals) = array.as_primitive_opt::<Decimal128Type>() {
                Cell::Numeric(Cow::Owned(decimals.value_as_string(at)))
            } else if let Some(decimals) = array.as_primitive_opt::<Decimal256Type>() {
                Cell::Numeric(Cow::Owned(decimals.value_as_string(at)))
            } else {
                Cell::Numeric(Cow::Borrowed(array.as_string::<i32>().value(at)))
            }
        }
        PgType::Text | PgType::Varchar(_) | PgType::Jsonb | PgType::Enum(_) => {
            Cell::Text(Cow::Borrowed(array.as_string::<i32>().value(at)))
        }
        PgType::Bytea => Cell::Bytes(array.as_binary::<i32>().value(at)),
        PgType::Uuid => {
            let bytes = array.as_fixed_size_binary().value(at);
            Cell::Uuid(bytes.try_into().unwrap_or_default())
        }
        PgType::Date => Cell::Date(array.as_primitive::<Date32Type>().value(at)),
        PgType::Time(_) => Cell::Micros(array.as_primitive::<Time64MicrosecondType>().value(at)),
        PgType::Timestamp(_) | PgType::Timestamptz(_) => {
            Cell::Micros(array.as_primitive::<TimestampMicrosecondType>().value(at))
        }
        // Lists are neither keys nor referred to.
        PgType::Array(_) => Cell::Null,
    }
}

/// The values of these groups of columns in all staged rows of a table; a group with a NULL in it
/// equals nothing and is left out.
pub(super) fn identities(
    run: &RunDirectory,
    table: &TablePlan,
    manifest: &TableManifest,
    groups: &[UniquePlan],
) -> Result<Vec<KeySet>, TransformError> {
    let mut keys: Vec<Vec<u128>> = groups.iter().map(|_| Vec::new()).collect();
    for file in &manifest.parts {
        for batch in part::open(run, file)? {
            let batch = batch
                .map_err(|source| StagingError::Arrow { path: file.path.clone().into(), source })?;
            for row in 0..batch.num_rows() {
                for (group, keys) in groups.iter().zip(&mut keys) {
                    let cells: Vec<Cell<'_>> = group
                        .columns
                        .iter()
                        .map(|at| cell(&table.columns[*at].pg_type, batch.column(*at), row))
                        .collect();
                    let own = UniquePlan {
                        columns: (0..cells.len()).collect(),
                        lower: group.lower.clone(),
                    };
                    keys.extend(own.identity(&cells));
                }
            }
        }
    }
    Ok(keys.into_iter().map(KeySet::new).collect())
}
