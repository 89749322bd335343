//! Connections to PostgreSQL, its catalogue, and the SQL that makes tables.
