//! BSON values as PostgreSQL sees them: reading, identity, JSON, decimals, dates.

pub mod datetime;
pub mod decimal;
pub mod extended_json;
pub mod filter;
pub mod id;
pub mod identity;
pub mod json;
pub mod jsonb;
pub mod order;
pub mod raw;
pub mod sketch;
pub mod sound;
pub mod write;
