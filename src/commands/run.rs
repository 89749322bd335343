//! `docferry run`: the four stages one after another.

use std::sync::Arc;

use super::{export, load, transform, verify};
use crate::cli::RunArguments;
use crate::failure::{Exit, Failure};
use crate::progress::Progress;
use crate::report::Output;

pub(super) fn run(
    arguments: &RunArguments,
    progress: &Arc<dyn Progress>,
    output: &Output,
) -> Result<Exit, Failure> {
    export::run(&arguments.export, progress, output)?;
    let transformed = transform::run(&arguments.transform(), progress.as_ref(), output)?;
    let target = arguments.load();
    load::run(&target, progress, output)?;
    // Differences weigh more than rejects.
    Ok(match verify::run(&target, progress.as_ref(), output)? {
        Exit::Done => transformed,
        differences => differences,
    })
}
