//! `docferry run`: the four stages one after another.

use std::sync::Arc;

use serde_json::json;

use super::{export, load, transform, verify};
use crate::cli::RunArguments;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::{Finished, proof, summary};

pub(super) fn run(
    arguments: &RunArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let (directory, exported) = export::stage(&arguments.export, None, None, progress)?;
    // The run just made, whatever `latest` names by then.
    transform::stage(&arguments.transform(directory.run()), progress)?;
    load::stage(&arguments.load(directory.run()), progress)?;
    let (_, report) = verify::stage(&arguments.target(directory.run()), progress)?;
    let source = summary::inventory(&exported.source_objects);
    Ok(Finished {
        exit: verify::exit(&report),
        text: format!("{source}\n{}", proof::run(&directory, &report)).trim_start().to_owned(),
        value: json!({"run": directory.run(), "proved": report.proved, "report": report}),
    })
}
