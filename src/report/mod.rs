//! Everything a person sees: progress, tables, results, errors.

pub mod metrics;
mod output;
pub mod page;
mod progress;
pub mod proof;
mod run_report;
pub mod summary;
mod verdict;

pub use metrics::Measures;
pub use output::{Finished, Output, causes};
pub use progress::Console;
pub use run_report::{RunReport, StageLine, TableLine};
