//! The target's catalogue against the staged definitions: every column, key, index, check, foreign
//! key, policy, sequence and enum type that a load makes is there as it was made, and works.
//!
//! What an application adds is no difference. Definitions are compared as structures; expressions
//! (defaults, checks, predicates, generated columns, policies) as the text that the same server
//! makes of the expected one in a temporary table that is rolled back, because versions of
//! PostgreSQL print them differently.

mod check;
mod columns;
mod difference;
mod enums;
mod ledger;
mod objects;
mod policies;
mod scratch;
mod sequences;
mod tables;

pub(super) use check::check;
pub use difference::{CatalogueDifference, CatalogueVerdict};
pub(super) use ledger::LoadedAs;
