//! `docferry restore`.

use std::sync::Arc;

use serde_json::json;

use crate::cli::RestoreArguments;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::report::{Finished, summary};
use crate::restore::{Destination, restore};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::ExportManifest;

pub(super) fn run(
    arguments: &RestoreArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let destination = Destination::parse(&arguments.to)?;
    let run = RunDirectory::find(&arguments.run.staging, &arguments.run.run)?;
    let manifest = ExportManifest::read(&run)?;
    let report = restore(&run, &manifest, &destination, progress)?;
    let text = summary::restore(&report, &arguments.to);
    Ok(Finished::done(text, json!({"run": run.run(), "restore": report})))
}
