//! A second, independent reading of the exported documents: what each table should hold by the
//! pipeline file's documentation, against what PostgreSQL returns.
//!
//! Nothing in here comes from the transform or from what it converts values with: a fault there
//! would stand on both sides. It reads BSON with the `bson` crate into plain values, works every
//! document out by itself, and encodes the rows that it expects by its own code.
//!
//! Documents are read once. Of the rows that they lead to, and of the rows that PostgreSQL returns,
//! order-independent digests are compared. Where they differ, documents and rows are read once
//! more, and what differs is named.

mod circle;
mod date;
mod document;
mod error;
mod fate;
mod gather;
mod identity;
mod json;
mod mapping;
mod node;
mod number;
mod prove;
mod record;
mod rejects;
mod report;
mod row;
mod sets;
mod suspects;
mod trace;
mod value;
mod wire;

pub use error::ProofError;
pub use gather::{Gathered, Wanted};
pub use prove::Proof;
pub use report::{Difference, DocumentProof, LeafSums, NAMED};
pub use suspects::Suspects;
pub use trace::{Trace, TracedColumn, TracedLeaf, TracedRow};
