//! Sets of accepted keys: 16 bytes a key, nothing else.

use sha2::{Digest, Sha256};

/// Keys to a bucket, on average: a look-up then meets two lines of memory or three, where a search
/// through all keys meets one for each time their number doubles.
const BUCKET_KEYS: usize = 4;

/// A set of 128-bit key identities.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySet {
    sorted: Vec<u128>,
    buckets: Buckets,
    /// The serial keys that stand for them, in the same order; empty where keys stand for
    /// themselves.
    numbers: Vec<u64>,
}

impl KeySet {
    /// Makes a set. Keys that come from `_id`s in order are sorted already, which costs nothing.
    pub(super) fn new(mut keys: Vec<u128>) -> Self {
        if !keys.is_sorted() {
            keys.sort_unstable();
        }
        keys.dedup();
        keys.shrink_to_fit();
        Self { buckets: Buckets::new(&keys), sorted: keys, numbers: Vec::new() }
    }

    /// Makes a set out of what rows feed: keys, or each key followed by the number that stands for
    /// it.
    pub(super) fn from_feed(feed: Vec<u128>, numbered: bool) -> Self {
        if !numbered {
            return Self::new(feed);
        }
        let (pairs, _) = feed.as_chunks::<2>();
        let mut pairs = pairs.to_vec();
        pairs.sort_unstable();
        pairs.dedup_by_key(|[key, _]| *key);
        let number = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        let sorted: Vec<u128> = pairs.iter().map(|[key, _]| *key).collect();
        Self {
            buckets: Buckets::new(&sorted),
            sorted,
            numbers: pairs.iter().map(|[_, key]| number(*key)).collect(),
        }
    }

    /// The serial key that stands for a key.
    pub(super) fn number(&self, key: u128) -> Option<i64> {
        if self.numbers.is_empty() {
            return None;
        }
        i64::try_from(*self.numbers.get(self.place(key)?)?).ok()
    }

    /// The keys of both.
    pub(super) fn union(&self, other: &Self) -> Self {
        Self::new(self.sorted.iter().chain(&other.sorted).copied().collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Whether the key is there.
    pub(super) fn contains(&self, key: u128) -> bool {
        self.place(key).is_some()
    }

    #[inline]
    fn place(&self, key: u128) -> Option<usize> {
        let range = self.buckets.range(key)?;
        let found = self.sorted.get(range.clone())?.binary_search(&key).ok()?;
        Some(range.start + found)
    }
}

/// Sorted keys in buckets of equal breadth, told apart by a key's leading bits. However the keys
/// are spread, a look-up is never worse than a search through all of them.
#[derive(Clone, Debug, Default)]
struct Buckets {
    least: u128,
    /// Bits that do not tell buckets apart.
    shift: u32,
    /// Where each bucket begins, and where the last ends.
    starts: Vec<u32>,
}

impl Buckets {
    fn new(sorted: &[u128]) -> Self {
        let (Some(least), Some(greatest)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let breadth = greatest - least;
        let wanted = (sorted.len() / BUCKET_KEYS).max(1) as u128;
        // The fewest bits to leave out so that there are no more buckets than wanted.
        let shift = (0..128).find(|shift| breadth >> shift < wanted).unwrap_or(127);
        let bucket = |key: &u128| usize::try_from((key - least) >> shift).unwrap_or(0);
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let mut starts = Vec::with_capacity(bucket(greatest) + 2);
        for (at, key) in sorted.iter().enumerate() {
            while starts.len() <= bucket(key) {
                starts.push(place(at));
            }
        }
        starts.push(place(sorted.len()));
        Self { least: *least, shift, starts }
    }

    #[inline]
    fn range(&self, key: u128) -> Option<std::ops::Range<usize>> {
        let bucket = usize::try_from(key.checked_sub(self.least)? >> self.shift).ok()?;
        let start = *self.starts.get(bucket)?;
        let end = *self.starts.get(bucket + 1)?;
        Some(start as usize..end as usize)
    }
}

/// The identity of a value that is not a UUID or a whole number.
pub(super) fn digest_identity(bytes: &[u8]) -> u128 {
    let digest = Sha256::digest(bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_holds_its_keys_and_no_others(
            near in prop::collection::vec(0_u128..5000, 0..200),
            far in prop::collection::vec(any::<u128>(), 0..200),
            asked in prop::collection::vec(0_u128..5000, 50),
        ) {
            let keys: Vec<u128> = near.into_iter().chain(far).collect();
            let set = KeySet::new(keys.clone());
            let neighbours = keys.iter().flat_map(|key| [*key, key ^ 1, key.wrapping_add(1)]);
            for key in neighbours.chain(asked) {
                prop_assert_eq!(set.contains(key), keys.contains(&key));
            }
        }
    }
}
