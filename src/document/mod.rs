//! BSON values as PostgreSQL sees them.

pub mod raw;
