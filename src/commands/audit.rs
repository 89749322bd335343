//! `docferry audit`.

use std::sync::Arc;

use serde_json::json;

use crate::audit::{Level, audit};
use crate::cli::AuditArguments;
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Stage};
use crate::report::{Finished, page, summary};
use crate::staging::layout::RunDirectory;
use crate::staging::lock::RunLock;
use crate::staging::seal;

pub(super) fn run(
    arguments: &AuditArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let run = RunDirectory::find(&arguments.run.staging, &arguments.run.run)?;
    let _reading = RunLock::share(&run)?;
    progress.run(run.run());
    let report = audit(&run, arguments.level(), progress.as_ref())?;
    if report.level == Level::Data {
        seal::close(&run, Stage::Audit, || {
            report.write(&run)?;
            page::write(&run)
        })?;
    }
    Ok(Finished {
        exit: if report.problems.is_empty() { Exit::Done } else { Exit::Damaged },
        text: summary::audit(&run, &report),
        value: json!({"run": run.run(), "audit": report}),
    })
}
