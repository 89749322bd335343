//! One column: nulls, least and greatest value, how many are distinct, and how they are spread.
//!
//! Values are compared as Arrow's row format, whose bytes have the order of the values. The spread
//! is that of a sample of rows, chosen by a hash of their place, so that it is the same each time.

use std::collections::BTreeMap;
use std::hash::Hasher;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use rustc_hash::FxHasher;
use serde::{Deserialize, Serialize};

use crate::document::datetime::iso8601_millis;
use crate::document::sketch::{Sketch, mixed};
use crate::pgcopy::PgType;
use crate::staging::table::ColumnDefinition;

/// Rows whose values show how a column is spread.
const SAMPLE: usize = 4096;
/// Distinct values up to which they are counted exactly.
const DISTINCT: usize = 4096;
/// Bars of a picture.
const BARS: usize = 24;
/// Values that are named with their shares.
const NAMED: usize = 6;
/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnAudit {
    /// Name.
    pub name: String,
    /// PostgreSQL type.
    #[serde(rename = "type")]
    pub pg_type: String,
    /// Rows without a value.
    pub nulls: u64,
    /// Distinct values.
    pub distinct: u64,
    /// Whether that number is exact; otherwise it is within a few percent.
    pub distinct_exact: bool,
    /// Least value, where order means something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<String>,
    /// Greatest value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greatest: Option<String>,
    /// Heights of the bars between least and greatest, 0 to 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bars: Vec<u8>,
    /// The most frequent values, where values repeat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frequent: Vec<Share>,
}

/// A value and how often it occurs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// The value.
    pub value: String,
    /// Its share of the rows with a value, 0 to 1; of a sample where there are many rows.
    pub share: f64,
}

/// Gathers a column from its batches.
pub(super) struct ColumnReader {
    name: String,
    pg_type: PgType,
    converter: Option<RowConverter>,
    rows: u64,
    nulls: u64,
    distinct: Sketch,
    bounds: Option<(OwnedRow, OwnedRow)>,
    /// Rows by the hash of their place; those with the smallest stay.
    sample: BTreeMap<u64, OwnedRow>,
}

impl ColumnReader {
    pub(super) fn new(definition: &ColumnDefinition) -> Self {
        Self {
            name: definition.name.clone(),
            pg_type: definition.pg_type.clone(),
            converter: None,
            rows: 0,
            nulls: 0,
            distinct: Sketch::with_room(DISTINCT),
            bounds: None,
            sample: BTreeMap::new(),
        }
    }

    /// Adds a batch, whose first row has this place in the table.
    pub(super) fn add(&mut self, array: &ArrayRef, place: u64) -> Result<(), ArrowError> {
        // Numbers without a precision are staged as text: their order is that of numbers.
        let array = match (&self.pg_type, array.data_type()) {
            (PgType::Numeric(_), DataType::Utf8) => &cast(array, &DataType::Float64)?,
            _ => array,
        };
        if self.converter.is_none() {
            let field = SortField::new(array.data_type().clone());
            self.converter = Some(RowConverter::new(vec![field])?);
        }
        let Some(converter) = &self.converter else { return Ok(()) };
        let rows = converter.convert_columns(std::slice::from_ref(array))?;
        self.rows += array.len() as u64;
        self.nulls += array.null_count() as u64;
        for at in (0..array.len()).filter(|at| array.is_valid(*at)) {
            let row = rows.row(at);
            let mut hasher = FxHasher::default();
            hasher.write(row.as_ref());
            self.distinct.add(mixed(hasher.finish()));
            match &mut self.bounds {
                None => self.bounds = Some((row.owned(), row.owned())),
                Some((least, greatest)) => {
                    if row < least.row() {
                        *least = row.owned();
                    } else if row > greatest.row() {
                        *greatest = row.owned();
                    }
                }
            }
            let chance = mixed(place + at as u64 + 1);
            let wanted = self.sample.len() < SAMPLE
                || self.sample.last_key_value().is_some_and(|(last, _)| chance < *last);
            if wanted {
                self.sample.insert(chance, row.owned());
                if self.sample.len() > SAMPLE {
                    self.sample.pop_last();
                }
            }
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> ColumnAudit {
        self.distinct.finish();
        let mut audit = ColumnAudit {
            name: self.name.clone(),
            pg_type: self.pg_type.to_string(),
            nulls: self.nulls,
            distinct: self.distinct.distinct(),
            distinct_exact: self.distinct.is_exact(),
            least: None,
            greatest: None,
            bars: Vec::new(),
            frequent: Vec::new(),
        };
        let ordered = !matches!(
            self.pg_type,
            PgType::Uuid | PgType::Jsonb | PgType::Bytea | PgType::Array(_)
        );
        if ordered && let Some((least, greatest)) = &self.bounds {
            let both = self.values(&[least, greatest]);
            audit.least = both.as_ref().and_then(|both| self.shown(both, 0));
            audit.greatest = both.as_ref().and_then(|both| self.shown(both, 1));
        }
        let rows: Vec<&OwnedRow> = self.sample.values().collect();
        if let Some(sample) = self.values(&rows) {
            if ordered {
                audit.bars = bars(&sample);
            }
            // Names of values say something where few of them repeat.
            let repeats = audit.distinct * 4 <= self.rows - self.nulls;
            if repeats && !matches!(self.pg_type, PgType::Uuid) {
                audit.frequent = self.frequent(&sample);
            }
        }
        audit
    }

    /// Rows as an array again.
    fn values(&self, rows: &[&OwnedRow]) -> Option<ArrayRef> {
        let converter = self.converter.as_ref()?;
        converter.convert_rows(rows.iter().map(|row| row.row())).ok()?.pop()
    }

    fn shown(&self, array: &ArrayRef, at: usize) -> Option<String> {
        let text = value_text(array, at, &self.pg_type)?;
        if text.is_empty() {
            return Some("(empty)".to_owned());
        }
        Some(match text.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text,
        })
    }

    fn frequent(&self, sample: &ArrayRef) -> Vec<Share> {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for at in 0..sample.len() {
            if let Some(text) = self.shown(sample, at) {
                *counts.entry(text).or_default() += 1;
            }
        }
        let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
        counts.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        counts.truncate(NAMED);
        let all = sample.len() as f64;
        counts
            .into_iter()
            .map(|(value, count)| Share { value, share: count as f64 / all })
            .collect()
    }
}

/// A value as people read it.
pub(crate) fn value_text(array: &ArrayRef, at: usize, pg_type: &PgType) -> Option<String> {
    if array.is_null(at) {
        return None;
    }
    if let (PgType::Uuid, Some(bytes)) = (pg_type, array.as_fixed_size_binary_opt()) {
        return Some(uuid::Uuid::from_slice(bytes.value(at)).ok()?.to_string());
    }
    if let DataType::Timestamp(_, zone) = array.data_type() {
        let micros = array.as_primitive_opt::<TimestampMicrosecondType>()?.value(at);
        let text = iso8601_millis(micros.div_euclid(1000));
        let finer = match micros.rem_euclid(1000) {
            0 => String::new(),
            finer => format!("{finer:03}"),
        };
        let zone = if zone.is_some() { "Z" } else { "" };
        return Some(format!("{}{finer}{zone}", text.trim_end_matches('Z')));
    }
    let options = FormatOptions::default();
    Some(ArrayFormatter::try_new(array.as_ref(), &options).ok()?.value(at).to_string())
}

/// Heights of bars from the least to the greatest value of a sample of numbers or times.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small and positive")]
fn bars(sample: &ArrayRef) -> Vec<u8> {
    let numbers = match sample.data_type() {
        DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => cast(sample, &DataType::Float64).ok(),
        DataType::Date32 => {
            cast(sample, &DataType::Int32).and_then(|days| cast(&days, &DataType::Float64)).ok()
        }
        DataType::Timestamp(..) | DataType::Time64(_) => {
            cast(sample, &DataType::Int64).and_then(|ticks| cast(&ticks, &DataType::Float64)).ok()
        }
        _ => None,
    };
    let Some(numbers) = numbers else { return Vec::new() };
    let mut numbers: Vec<f64> = numbers
        .as_primitive::<Float64Type>()
        .iter()
        .flatten()
        .filter(|number| number.is_finite())
        .collect();
    numbers.sort_by(f64::total_cmp);
    let at = |share: f64| numbers.get(((numbers.len() as f64 - 1.0) * share) as usize).copied();
    let (Some(first), Some(last)) = (at(0.0), at(1.0)) else { return Vec::new() };
    let (Some(low), Some(high)) = (at(0.01), at(0.99)) else { return Vec::new() };
    // A few values far away would leave one bar of all others: they go into the outermost ones.
    let far = last / 10.0 - first / 10.0 > high - low && high > low;
    let (least, greatest) = if far { (low, high) } else { (first, last) };
    if greatest <= least {
        return Vec::new();
    }
    let mut counts = [0_usize; BARS];
    for number in numbers {
        let place = (number / 2.0 - least / 2.0) / (greatest / 2.0 - least / 2.0);
        let place = place.clamp(0.0, 1.0);
        counts[((place * BARS as f64) as usize).min(BARS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    // What is there at all is to be seen.
    counts.iter().map(|count| (count * 100).div_ceil(most) as u8).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};

    use super::*;

    fn read(pg_type: PgType, arrays: &[ArrayRef]) -> ColumnAudit {
        let definition = ColumnDefinition {
            name: "a".into(),
            pg_type,
            nullable: true,
            identity: false,
            default: None,
            sequence: None,
        };
        let mut reader = ColumnReader::new(&definition);
        let mut place = 0;
        for array in arrays {
            reader.add(array, place).unwrap();
            place += array.len() as u64;
        }
        reader.finish()
    }

    #[test]
    fn numbers_are_counted_bounded_and_drawn() {
        let array: ArrayRef =
            Arc::new((0..1000).map(|n| (n % 10 > 0).then_some(n)).collect::<Int64Array>());
        let audit = read(PgType::BigInt, &[array]);
        assert_eq!((audit.nulls, audit.distinct, audit.distinct_exact), (100, 900, true));
        assert_eq!((audit.least.as_deref(), audit.greatest.as_deref()), (Some("1"), Some("999")));
        assert!(audit.bars.len() == BARS && audit.bars.iter().all(|height| *height > 70));
    }

    #[test]
    fn numeric_texts_have_the_order_of_numbers() {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["9", "10", "-1.5", "NaN"]));
        let audit = read(PgType::Numeric(None), &[array]);
        assert_eq!(audit.least.as_deref(), Some("-1.5"));
    }

    #[test]
    fn frequent_values_are_named() {
        let words = (0..100).map(|n| Some(if n % 4 == 0 { "b" } else { "a" }));
        let array: ArrayRef = Arc::new(words.collect::<StringArray>());
        let audit = read(PgType::Text, &[array]);
        assert_eq!(audit.frequent.len(), 2);
        assert_eq!((audit.frequent[0].value.as_str(), audit.frequent[0].share), ("a", 0.75));
    }
}
