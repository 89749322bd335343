//! Values that repeat are stored once, and named by their place.

use arrow::array::StringArray;
use rustc_hash::{FxHashMap, FxHashSet};

/// Bytes of a dictionary after which values are stored as they are.
const DICTIONARY_BYTES: usize = 1 << 20;

/// The different values of a column, and those of the page in hand by their places.
#[derive(Default)]
pub(super) struct Dictionary {
    places: FxHashMap<Box<[u8]>, u32>,
    /// The values as the dictionary's page has them.
    pub(super) values: Vec<u8>,
    /// Of the page in hand.
    pub(super) indexes: Vec<u32>,
}

impl Dictionary {
    /// Different values so far.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds a value; whether it is new.
    pub(super) fn push(&mut self, value: &[u8]) -> bool {
        if let Some(place) = self.places.get(value) {
            self.indexes.push(*place);
            return false;
        }
        // The dictionary is full long before there are so many.
        let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        self.values.extend_from_slice(&length.to_le_bytes());
        self.values.extend_from_slice(value);
        self.places.insert(value.into(), place);
        self.indexes.push(place);
        true
    }

    /// Whether other values are better stored as they are.
    pub(super) fn is_full(&self) -> bool {
        self.values.len() >= DICTIONARY_BYTES
    }
}

/// Values that are looked at to tell whether a dictionary is worth its while.
const SAMPLE: usize = 1024;

/// Whether half of the values or more have occurred before.
pub(super) fn repeats(values: &StringArray) -> bool {
    let sample = values.iter().flatten().take(SAMPLE);
    let (mut seen, mut count) = (FxHashSet::default(), 0);
    for value in sample {
        seen.insert(value);
        count += 1;
    }
    count > 0 && seen.len() * 2 <= count
}
