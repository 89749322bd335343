//! Rows that are larger than a page. PostgreSQL moves long values out of a row, but each leaves 18
//! bytes behind, so that a row of many columns may not fit however short they are (PostgreSQL
//! manual, "TOAST"; `MaxHeapTupleSize`). Only tables of hundreds of columns can get there.

use super::cell::Cell;
use super::plan::ColumnPlan;
use crate::pgcopy::PgType;

/// Bytes of a row at most, its header included.
pub(super) const PAGE: usize = 8160;
/// Header of a row without its list of NULLs.
const HEADER: usize = 23;
/// What a value that was moved out leaves behind, and the greatest that is not moved out.
const POINTER: usize = 18;
const STAYS: usize = 24;

/// Text of jsonb that may be so small that it stays: six letters of an escape are one byte of it.
const SMALL_JSON: usize = 6 * STAYS;

/// Whether some row of these columns can be too large.
pub(super) fn can_overflow(columns: &[ColumnPlan]) -> bool {
    columns.len() * STAYS + header(columns.len()) > PAGE
}

/// Bytes that a row takes, or a few more: the size of a small jsonb is not known from its text.
pub(super) fn bytes(columns: &[ColumnPlan], cells: &[Cell<'_>]) -> usize {
    let mut offset = 0;
    for (column, cell) in columns.iter().zip(cells) {
        let Some((size, align)) = stored(&column.pg_type, cell) else { continue };
        offset = aligned(offset, align) + size;
    }
    aligned(header(columns.len()) + offset, 8)
}

fn header(columns: usize) -> usize {
    aligned(HEADER + columns.div_ceil(8), 8)
}

fn aligned(offset: usize, align: usize) -> usize {
    offset.next_multiple_of(align)
}

/// Size and alignment of a value in its row; none for NULL.
fn stored(pg_type: &PgType, cell: &Cell<'_>) -> Option<(usize, usize)> {
    Some(match (pg_type, cell) {
        (_, Cell::Null) => return None,
        (PgType::Boolean, _) => (1, 1),
        (PgType::SmallInt, _) => (2, 2),
        (PgType::Integer | PgType::Real | PgType::Date | PgType::Enum(_), _) => (4, 4),
        (
            PgType::BigInt
            | PgType::Double
            | PgType::Time(_)
            | PgType::Timestamp(_)
            | PgType::Timestamptz(_),
            _,
        ) => (8, 8),
        (PgType::Uuid, _) => (16, 1),
        (PgType::Jsonb, Cell::Text(text)) if text == "{}" || text == "[]" => (5, 1),
        (PgType::Jsonb, Cell::Text(text)) if text.len() <= SMALL_JSON => (STAYS, 1),
        (PgType::Jsonb, _) => (POINTER, 1),
        (_, Cell::Text(text)) => (moved(text.len() + 1), 1),
        (_, Cell::Bytes(bytes)) => (moved(bytes.len() + 1), 1),
        // Four digits to a group of two bytes, and two bytes before the groups.
        (_, Cell::Numeric(text)) => (moved(3 + 2 * text.len().div_ceil(4)), 1),
        (_, Cell::List(items)) if items.is_empty() => (13, 1),
        // Twenty bytes stand before the elements, of which these are the shortest.
        (PgType::Array(element), Cell::List(items))
            if items.len() <= 3 && matches!(**element, PgType::Boolean | PgType::SmallInt) =>
        {
            (STAYS, 1)
        }
        _ => (POINTER, 1),
    })
}

fn moved(size: usize) -> usize {
    if size > STAYS { POINTER } else { size }
}
