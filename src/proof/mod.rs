//! A second, independent reading of the exported documents: what each table should hold by the
//! pipeline file's documentation, against what PostgreSQL returns.
//!
//! Nothing in here comes from the transform or from what it converts values with: a fault there
//! would stand on both sides. It reads BSON with the `bson` crate into plain values, works every
//! document out by itself, and encodes the rows that it expects by its own code.

mod report;

pub use report::{Difference, DocumentProof, LeafSums, NAMED};
