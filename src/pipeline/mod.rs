//! The pipeline file: which collections become which tables, and by what rules.

pub mod model;
