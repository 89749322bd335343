//! Everything a person sees: progress, tables, results, errors.

mod output;
pub mod page;
mod progress;
mod run_report;
pub mod summary;

pub use output::{Finished, Output};
pub use progress::Console;
pub use run_report::{RunReport, StageLine, TableLine};
