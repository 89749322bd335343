//! Statistics of a column.

use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

/// Least and greatest value of a column.
pub(super) enum Bounds {
    /// They are not kept.
    None,
    /// Of UUIDs, which are in the order of their bytes.
    Uuids(Option<[u128; 2]>),
    /// Of values of any length.
    Bytes(Option<[Bound; 2]>),
}

/// Values longer than this make no statistics.
const BOUND_BYTES: usize = 64;

/// A value that is compared with all others.
pub(super) struct Bound {
    /// The first bytes, by which nearly all values are told apart from it.
    start: u64,
    value: Vec<u8>,
}

impl Bound {
    fn of(value: &[u8]) -> Self {
        Self { start: start(value), value: value.to_vec() }
    }

    fn against(&self, start: u64, value: &[u8]) -> std::cmp::Ordering {
        start.cmp(&self.start).then_with(|| value.cmp(&self.value))
    }
}

/// The first eight bytes as a number of the same order.
#[inline]
fn start(value: &[u8]) -> u64 {
    value.first_chunk().map_or_else(
        || value.iter().rev().fold(0, |start, byte| start >> 8 | u64::from(*byte) << 56),
        |first| u64::from_be_bytes(*first),
    )
}

impl Bounds {
    #[inline]
    pub(super) fn take_uuid(&mut self, value: [u8; 16]) {
        let Self::Uuids(bounds) = self else { return };
        let value = u128::from_be_bytes(value);
        let [least, greatest] = bounds.get_or_insert([value, value]);
        *least = (*least).min(value);
        *greatest = (*greatest).max(value);
    }

    #[inline]
    pub(super) fn take_bytes(&mut self, value: &[u8]) {
        let Self::Bytes(bounds) = self else { return };
        let [least, greatest] = bounds.get_or_insert_with(|| [Bound::of(value), Bound::of(value)]);
        let start = start(value);
        if least.against(start, value).is_lt() {
            *least = Bound::of(value);
        }
        if greatest.against(start, value).is_gt() {
            *greatest = Bound::of(value);
        }
    }

    /// As the column's metadata has them.
    pub(super) fn statistics(self, nulls: usize) -> Option<Statistics> {
        let nulls = u64::try_from(nulls).ok();
        match self {
            Self::None => None,
            Self::Uuids(bounds) => {
                let value = |bound: u128| FixedLenByteArray::from(bound.to_be_bytes().to_vec());
                let [least, greatest] = both(bounds.map(|bounds| bounds.map(value)));
                let statistics = ValueStatistics::new(least, greatest, None, nulls, false);
                Some(Statistics::FixedLenByteArray(statistics))
            }
            Self::Bytes(bounds) => {
                let short = |bound: &ByteArray| bound.len() <= BOUND_BYTES;
                let bounds = bounds.map(|bounds| bounds.map(|bound| bound.value.into()));
                let [least, greatest] = both(bounds).map(|bound| bound.filter(short));
                let statistics = ValueStatistics::new(least, greatest, None, nulls, false);
                Some(Statistics::ByteArray(statistics))
            }
        }
    }
}

fn both<T>(bounds: Option<[T; 2]>) -> [Option<T>; 2] {
    match bounds {
        Some(bounds) => bounds.map(Some),
        None => [None, None],
    }
}
