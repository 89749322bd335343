//! How many rejects are too many.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::TransformError;

/// The greatest share, or number, of refused records that is accepted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxRejects {
    /// So many.
    Count(u64),
    /// So many of a hundred documents of the export.
    Percent(f64),
}

impl MaxRejects {
    /// The number it stands for.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count that is never negative"
    )]
    pub(super) fn of(self, documents: u64) -> u64 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (documents as f64 * percent / 100.0) as u64,
        }
    }
}

/// Reads `100` or `0.5%`.
impl FromStr for MaxRejects {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is neither a number nor a percentage such as 0.5%");
        match text.strip_suffix('%') {
            None => text.parse().map(Self::Count).map_err(|_| wrong()),
            Some(number) => match number.trim().parse::<f64>() {
                Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
        }
    }
}

/// Counts the rejects of all workers and says when there are too many.
pub(super) struct RejectLimit {
    /// The greatest number that is accepted.
    most: Option<u64>,
    found: AtomicU64,
}

impl RejectLimit {
    pub(super) fn new(most: Option<u64>) -> Self {
        Self { most, found: AtomicU64::new(0) }
    }

    /// Counts the rejects of a part; an error once there are too many.
    pub(super) fn add(&self, rejects: u64) -> Result<(), TransformError> {
        let found = self.found.fetch_add(rejects, Ordering::Relaxed) + rejects;
        match self.most {
            Some(most) if found > most => Err(TransformError::TooManyRejects { found, most }),
            _ => Ok(()),
        }
    }
}
