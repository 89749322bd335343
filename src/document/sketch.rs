//! What is remembered of many values in little room: a sample of their hashes.
//!
//! The smallest hashes of all distinct values are a random sample of them, whatever the order and
//! however often each occurs. Their greatest tells how many there are (k minimum values: Bar-Yossef
//! and others, "Counting Distinct Elements in a Data Stream", 2002), and whether they occur in
//! another set tells whether a field refers to it.

/// Hashes kept of a field: the number of distinct values is within 5 % then, mostly.
const FIELD: usize = 512;
/// Hashes kept of a key: all of them up to this, 8 bytes each.
pub const KEYS: usize = 4 << 20;

/// The smallest hashes of a set.
#[derive(Clone, Debug)]
pub struct Sketch {
    room: usize,
    /// Everything above was left out, or is left out next time; the hashes are not in order.
    below: u64,
    hashes: Vec<u64>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self::with_room(FIELD)
    }
}

impl Sketch {
    /// A sketch that keeps so many hashes.
    pub fn with_room(room: usize) -> Self {
        Self { room, below: u64::MAX, hashes: Vec::new() }
    }

    /// Adds a value's hash.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        if hash < self.below {
            self.hashes.push(hash);
            if self.hashes.len() >= 2 * self.room {
                self.shrink();
            }
        }
    }

    fn shrink(&mut self) {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        if self.hashes.len() > self.room {
            self.below = self.hashes[self.room];
            self.hashes.truncate(self.room);
        }
    }

    /// Takes the values of another sketch.
    pub fn merge(&mut self, other: Self) {
        self.below = self.below.min(other.below);
        let below = self.below;
        self.hashes.retain(|hash| *hash < below);
        self.hashes.extend(other.hashes.into_iter().filter(|hash| *hash < below));
        self.shrink();
    }

    /// Brings it into order; everything below needs that.
    pub fn finish(&mut self) {
        self.shrink();
        self.hashes.shrink_to_fit();
    }

    /// Whether there were no values.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// How many distinct values there were, about.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
    pub fn distinct(&self) -> u64 {
        if self.below == u64::MAX {
            return self.hashes.len() as u64;
        }
        (self.hashes.len() as f64 / (self.below as f64 / u64::MAX as f64)).round() as u64
    }

    /// Whether the number is exact.
    pub fn is_exact(&self) -> bool {
        self.below == u64::MAX
    }

    /// How many of the sampled values could be looked up in another set, and how many are there.
    pub fn found_in(&self, set: &Self) -> (usize, usize) {
        let comparable = self.hashes.iter().filter(|hash| **hash < set.below);
        comparable.fold((0, 0), |(looked, found), hash| {
            (looked + 1, found + usize::from(set.hashes.binary_search(hash).is_ok()))
        })
    }
}

/// A hash whose every bit depends on every bit of the input (the end of `SplitMix64`).
#[inline]
pub fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(range: std::ops::Range<u64>, room: usize) -> Sketch {
        let mut sketch = Sketch::with_room(room);
        range.clone().chain(range).for_each(|value| sketch.add(mixed(value + 1)));
        sketch.finish();
        sketch
    }

    #[test]
    fn distinct_values_are_counted_and_merged() {
        assert_eq!(of(0..300, 512).distinct(), 300);
        let mut left = of(0..60_000, 512);
        left.merge(of(30_000..100_000, 512));
        left.finish();
        assert!((85_000..115_000).contains(&left.distinct()), "{}", left.distinct());
    }

    #[test]
    fn a_sample_tells_what_share_is_in_another_set() {
        let keys = of(0..50_000, 1 << 20);
        assert_eq!(of(100..200, 512).found_in(&keys), (100, 100));
        assert_eq!(of(60_000..60_100, 512).found_in(&keys), (100, 0));
        let (looked, found) = of(25_000..75_000, 512).found_in(&keys);
        assert!((looked * 4 / 10..looked * 6 / 10).contains(&found), "{found} of {looked}");
        // A set of which only a sample is kept answers for the same part of all values.
        let (looked, found) = of(0..50_000, 512).found_in(&of(0..50_000, 256));
        assert!(looked > 200 && looked == found, "{found} of {looked}");
    }
}
