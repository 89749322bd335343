//! `docferry restore`.

use std::sync::Arc;

use serde_json::json;

use super::{CommandError, threads};
use crate::cli::RestoreArguments;
use crate::document::filter::Filter;
use crate::failure::{Exit, Failure};
use crate::progress::Progress;
use crate::redact::without_credentials;
use crate::report::{Finished, summary};
use crate::restore::{Destination, RestoreError, RestoreOptions, Selection, restore};
use crate::staging::layout::RunDirectory;
use crate::staging::lock::RunLock;

pub(super) fn run(
    arguments: &RestoreArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let destination = Destination::parse(&arguments.to)?;
    let filter = arguments.filter.as_deref().map(Filter::parse).transpose();
    let options = RestoreOptions {
        selection: Selection {
            collections: arguments.collections.clone(),
            ids: arguments.ids.clone(),
            filter: filter.map_err(RestoreError::from)?,
        },
        existing: arguments.existing,
        no_indexes: arguments.no_indexes,
        gzip: arguments.gzip,
        threads: threads(arguments.threads),
    };
    let run = RunDirectory::find(&arguments.run.staging, &arguments.run.run)?;
    let _reading = RunLock::share(&run)?;
    progress.run(run.run());
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let report = runtime.block_on(restore(&run, &destination, &options, progress))?;
    let all = report.conflicts.is_empty() && report.refused.is_empty();
    let exit = if all { Exit::Done } else { Exit::Rejects };
    let text = summary::restore(&report, &destination, &without_credentials(&arguments.to));
    Ok(Finished { exit, text, value: json!({"run": run.run(), "restore": report}) })
}
