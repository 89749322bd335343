//! `docferry verify`.

use std::sync::Arc;

use serde_json::json;

use super::{CommandError, address, load_pipeline, told};
use crate::cli::VerifyArguments;
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Stage};
use crate::report::{Finished, RunReport, proof};
use crate::staging::checksum::sha256_hex;
use crate::staging::latest::{self, Need};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{ExportManifest, TransformManifest};
use crate::staging::run::RunRecord;
use crate::staging::seal;
use crate::verify::{VerifyOptions, verify};

pub(super) fn run(
    arguments: &VerifyArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let (directory, report) = stage(arguments, progress)?;
    Ok(Finished {
        exit: exit(&report),
        text: proof::verify(&directory, &report),
        value: json!({"run": directory.run(), "proved": report.proved, "verify": report}),
    })
}

/// Differences weigh more than rejects, those of the export and of the transform alike.
pub(super) fn exit(report: &RunReport) -> Exit {
    match (report.proved, report.account.has_rejects()) {
        (false, _) => Exit::Differences,
        (true, true) => Exit::Rejects,
        (true, false) => Exit::Done,
    }
}

/// Does the work of the stage, and writes the run's report.
pub(super) fn stage(
    arguments: &VerifyArguments,
    progress: &Arc<dyn Progress>,
) -> Result<(RunDirectory, RunReport), Failure> {
    let VerifyArguments { target: arguments, documents } = arguments;
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let target = address::target(&arguments.address)?;
    let staging = &arguments.staging.staging;
    let found = latest::open(staging, &pipeline.name, &arguments.run, Need::Rows)?;
    let directory = told(found, Stage::Verify, progress).whole_if_any();
    let manifest = TransformManifest::read(&directory)?;
    if *documents {
        let text = std::fs::read(&arguments.pipeline.pipeline).unwrap_or_default();
        if sha256_hex(&text) != manifest.pipeline_sha256 {
            let note = "the pipeline file was changed since the transform: documents are compared \
                        by the file as it is now";
            progress.note(Stage::Verify, note);
        }
    }
    let mut record = RunRecord::read(&directory)?;
    progress.run(directory.run());
    record.start(&directory, Stage::Verify)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let options = VerifyOptions { connections: arguments.connections, documents: *documents };
    let result =
        runtime.block_on(verify(&directory, &pipeline, &manifest, &target, &options, progress));
    record.end_with(&directory, Stage::Verify, result.is_ok())?;
    let export = ExportManifest::read(&directory).ok();
    let report = RunReport::new(&record, &manifest, export.as_ref(), &result?, &target.display());
    seal::close(&directory, Stage::Verify, || report.write(&directory))?;
    Ok((directory, report))
}
