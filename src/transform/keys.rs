//! Sets of accepted keys: 16 bytes a key, nothing else.

use sha2::{Digest, Sha256};

/// A set of 128-bit key identities.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySet {
    sorted: Vec<u128>,
}

impl KeySet {
    /// Makes a set. Keys that come from `_id`s in order are sorted already, which costs nothing.
    pub(super) fn new(mut keys: Vec<u128>) -> Self {
        if !keys.is_sorted() {
            keys.sort_unstable();
        }
        keys.dedup();
        keys.shrink_to_fit();
        Self { sorted: keys }
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
