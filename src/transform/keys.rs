//! Sets of accepted keys: 16 bytes a key, nothing else.

use sha2::{Digest, Sha256};

/// A set of 128-bit key identities.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySet {
    sorted: Vec<u128>,
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
        Self { sorted: keys, numbers: Vec::new() }
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
        Self {
            sorted: pairs.iter().map(|[key, _]| *key).collect(),
            numbers: pairs.iter().map(|[_, key]| number(*key)).collect(),
        }
    }

    /// The serial key that stands for a key.
    pub(super) fn number(&self, key: u128) -> Option<i64> {
        let at = self.sorted.binary_search(&key).ok()?;
        i64::try_from(*self.numbers.get(at)?).ok()
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
        self.sorted.binary_search(&key).is_ok()
    }
}

/// The identity of a value that is not a UUID or a whole number.
pub(super) fn digest_identity(bytes: &[u8]) -> u128 {
    let digest = Sha256::digest(bytes);
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(half)
}
