//! `docferry verify`.

use std::sync::Arc;

use serde_json::json;

use super::{CommandError, address, load_pipeline, threads, told};
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
use crate::verify::source::{SourceOptions, SourceProof, read_again};
use crate::verify::{VerifyOptions, VerifyReport, verify};

pub(super) fn run(
    arguments: &VerifyArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let (directory, report) = stage(arguments, None, progress)?;
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

/// What a second reading of the source found, or a sentence on why there was none.
pub(super) type Again = Result<SourceProof, String>;

/// Reads the source of a run again where it is named, and compares it with the export.
pub(super) fn source_again(
    arguments: &VerifyArguments,
    run: &RunDirectory,
    progress: &Arc<dyn Progress>,
) -> Result<Again, Failure> {
    let VerifyArguments { target, source, again, .. } = arguments;
    let not = |why: &str| Ok(Err(format!("the source was not read again{why}")));
    if again.no_source {
        return not("");
    }
    let named = address::source_if_any(source)?;
    let Some(source) = named else { return not("") };
    if ExportManifest::read(run).is_err() {
        return not(": the run's export is not here");
    }
    let pipeline = load_pipeline(&target.pipeline.pipeline)?;
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let threads = threads(target.staging.threads);
    let options = SourceOptions { sample: again.sample, threads };
    Ok(runtime.block_on(read_again(run, &pipeline.changed, &source, &options, progress))?)
}

/// Does the work of the stage, and writes the run's report. The source is read again unless that
/// was done.
pub(super) fn stage(
    arguments: &VerifyArguments,
    again: Option<Again>,
    progress: &Arc<dyn Progress>,
) -> Result<(RunDirectory, RunReport), Failure> {
    let VerifyArguments { target: shared, documents, .. } = arguments;
    let pipeline = load_pipeline(&shared.pipeline.pipeline)?;
    let target = address::target_of(&pipeline, &shared.address, progress)?;
    let staging = &shared.staging.staging;
    let found = latest::open(staging, &pipeline.name, &shared.run, Need::Rows)?;
    let directory = told(found, Stage::Verify, progress).whole_if_any();
    let manifest = TransformManifest::read(&directory)?;
    if *documents {
        let text = std::fs::read(&shared.pipeline.pipeline).unwrap_or_default();
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
    let options = VerifyOptions { connections: shared.connections, documents: *documents };
    let work = || -> Result<VerifyReport, Failure> {
        // First, while the server has the history of the export.
        let again = match again {
            Some(again) => again,
            None => source_again(arguments, &directory, progress)?,
        };
        let verified = verify(&directory, &pipeline, &manifest, &target, &options, progress);
        let mut verified = runtime.block_on(verified)?;
        match again {
            Ok(proof) => verified.source = Some(proof),
            Err(why) => verified.left_out.push(why),
        }
        Ok(verified)
    };
    let result = work();
    record.end_with(&directory, Stage::Verify, result.is_ok())?;
    let export = ExportManifest::read(&directory).ok();
    let report = RunReport::new(&record, &manifest, export.as_ref(), &result?, &target.display());
    seal::close(&directory, Stage::Verify, || report.write(&directory))?;
    Ok((directory, report))
}
