//! Errors of unpacking a bucket.

/// A bucket that is not as MongoDB writes buckets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketError {
    /// It lacks a field that each bucket has.
    #[error("the bucket has no field {0}")]
    Missing(&'static str),
    /// A field of the measurements cannot be read.
    #[error("column {field} of the bucket: {reason}")]
    Column {
        /// Name of the field.
        field: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The bytes are no document.
    #[error("the bucket is damaged: {0}")]
    Damaged(&'static str),
    /// Columns hold more or fewer values than the bucket says.
    #[error("the bucket says that it holds {stated} measurements, and holds {found}")]
    Count {
        /// `control.count`.
        stated: u64,
        /// Values of the time field.
        found: u64,
    },
    /// The measurements would not fit into memory.
    #[error("the bucket unpacks to more than {0} MiB")]
    TooLarge(usize),
}
