//! Everything a person sees: progress, tables, results, errors.

/// Adds a line to [`Lines`].
macro_rules! line {
    ($lines:expr, $($text:tt)+) => { $lines.push(format_args!($($text)+)) };
}

pub mod checks;
mod lines;
pub mod metrics;
mod output;
pub mod page;
mod progress;
pub mod proof;
mod run_report;
pub mod summary;
pub mod trace;
mod verdict;

pub use lines::Lines;
pub use metrics::Measures;
pub use output::{Finished, Output, OutputError, causes, usage, warn};
pub use progress::Console;
pub use run_report::{RunReport, StageLine, TableLine};
