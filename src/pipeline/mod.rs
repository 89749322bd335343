//! The pipeline file: which collections become which tables, and by what rules.

pub mod definitions;
mod error;
mod fields;
pub mod inverse;
pub mod model;
mod object_names;
mod parse;
mod schema;

pub use error::{Mistake, PipelineError};
pub(crate) use fields::nearest_name;
pub use parse::{field_path, load, parse};
pub use schema::json_schema;
