//! Everything a person sees: progress, tables, results, errors.

mod output;
mod progress;
pub mod summary;

pub use output::Output;
pub use progress::Console;
