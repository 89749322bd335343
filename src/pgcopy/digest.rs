//! A digest of a table's content that does not depend on the order of its rows.
//!
//! It is the sum, modulo 2^256, of the SHA-256 of every row's COPY bytes. A changed value, a
//! missing or repeated row, or values swapped between rows change it. Sums are kept apart in
//! buckets by the rows' keys, so that a difference leads to the few rows to look at.

use std::hash::Hasher;

use rustc_hash::FxHasher;
use sha2::{Digest, Sha256};

use super::reader::fields;
use crate::document::sketch::mixed;
use crate::staging::checksum::to_hex;

/// Buckets of a table: 128 KiB, and a difference in one row concerns one row in 4096.
pub const BUCKETS: usize = 4096;

/// Digest of some rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentDigest {
    sum: [u64; 4],
}

impl ContentDigest {
    /// Adds a row's hash.
    pub fn add(&mut self, hash: [u8; 32]) {
        let mut carry = 0_u128;
        for (lane, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let word = bytes.try_into().map_or(0, u64::from_le_bytes);
            carry += u128::from(*lane) + u128::from(word);
            *lane = u64::try_from(carry & u128::from(u64::MAX)).unwrap_or(0);
            carry >>= 64;
        }
    }

    /// Adds the rows of another digest.
    pub fn merge(&mut self, other: &Self) {
        let mut bytes = [0; 32];
        for (chunk, lane) in bytes.chunks_exact_mut(8).zip(other.sum) {
            chunk.copy_from_slice(&lane.to_le_bytes());
        }
        self.add(bytes);
    }

    /// In hexadecimal.
    pub fn to_hex(&self) -> String {
        let bytes: Vec<u8> = self.sum.iter().rev().flat_map(|lane| lane.to_be_bytes()).collect();
        to_hex(&bytes)
    }
}

/// Digests of a table by bucket.
#[derive(Clone, Debug)]
pub struct TableDigest {
    /// Rows.
    pub rows: u64,
    buckets: Vec<ContentDigest>,
}

impl Default for TableDigest {
    fn default() -> Self {
        Self { rows: 0, buckets: vec![ContentDigest::default(); BUCKETS] }
    }
}

impl TableDigest {
    /// Adds a tuple whose key is in these fields.
    pub fn add(&mut self, tuple: &[u8], key: &[usize]) {
        self.rows += 1;
        self.buckets[bucket(tuple, key)].add(row_hash(tuple));
    }

    /// The digest of all rows.
    pub fn total(&self) -> ContentDigest {
        let mut total = ContentDigest::default();
        for bucket in &self.buckets {
            total.merge(bucket);
        }
        total
    }

    /// Adds the rows of another digest.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
            own.merge(other);
        }
    }

    /// The same in as much room as its rows need.
    pub fn compact(&self) -> Compact {
        let filled = self.buckets.iter().enumerate().filter(|(_, bucket)| bucket.sum != [0; 4]);
        let place = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        let buckets = filled.map(|(at, bucket)| (place(at), *bucket)).collect();
        Compact { rows: self.rows, buckets }
    }

    /// Buckets that differ.
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        (0..BUCKETS).filter(|at| self.buckets[*at] != other.buckets[*at]).collect()
    }
}

/// Digests of a table by bucket, without the empty ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compact {
    /// Rows.
    pub rows: u64,
    buckets: Vec<(u16, ContentDigest)>,
}

impl Compact {
    /// Buckets that differ from those of another digest.
    pub fn differing(&self, other: &Self) -> Vec<usize> {
        let (mut all, mut differing) = (vec![ContentDigest::default(); BUCKETS], Vec::new());
        for (at, bucket) in &self.buckets {
            if let Some(place) = all.get_mut(usize::from(*at)) {
                *place = *bucket;
            }
        }
        let mut others = other.buckets.iter().peekable();
        for (at, own) in all.iter().enumerate() {
            let theirs = others.next_if(|(place, _)| usize::from(*place) == at);
            if theirs.map_or_else(ContentDigest::default, |(_, bucket)| *bucket) != *own {
                differing.push(at);
            }
        }
        differing
    }
}

/// SHA-256 of a tuple.
pub fn row_hash(tuple: &[u8]) -> [u8; 32] {
    Sha256::digest(tuple).into()
}

/// The key fields of a tuple, as one text of bytes; the whole tuple where there is no key.
pub fn key_bytes(tuple: &[u8], key: &[usize]) -> Vec<u8> {
    if key.is_empty() {
        return tuple.to_vec();
    }
    let all: Vec<Option<&[u8]>> = fields(tuple).collect();
    let mut bytes = Vec::new();
    for at in key {
        let field = all.get(*at).copied().flatten().unwrap_or_default();
        bytes.extend(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

/// The bucket of a tuple, by the fields of its key; by all of it where there is no key. It only
/// tells where to look, so it need not withstand anyone.
pub fn bucket(tuple: &[u8], key: &[usize]) -> usize {
    let mut hasher = FxHasher::default();
    match key.iter().max() {
        None => hasher.write(tuple),
        Some(last) => {
            for (at, field) in fields(tuple).take(last + 1).enumerate() {
                if key.contains(&at) {
                    let field = field.unwrap_or_default();
                    hasher.write_usize(field.len());
                    hasher.write(field);
                }
            }
        }
    }
    usize::try_from(mixed(hasher.finish()) % BUCKETS as u64).unwrap_or(0)
}
