//! `docferry trace`.

use std::sync::Arc;

use serde_json::json;

use super::{CommandError, address, load_pipeline, told};
use crate::cli::TraceArguments;
use crate::failure::{Exit, Failure};
use crate::progress::{Progress, Stage};
use crate::report::{Finished, trace as report};
use crate::staging::latest::{self, Need};
use crate::trace::{Held, TraceError, Wanted, trace};

pub(super) fn run(
    arguments: &TraceArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let address = &arguments.address;
    let target = match (&address.target, &address.target_file) {
        (None, None) => None,
        _ => Some(address::target_of(&pipeline, address, progress)?),
    };
    let found = latest::open(&arguments.staging, &pipeline.name, &arguments.run, Need::Rows)?;
    let directory = told(found, Stage::Verify, progress).whole_if_any();
    let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
    let (name, id) = (&arguments.name, &arguments.id);
    let ask = |wanted: Wanted<'_>| {
        runtime.block_on(trace(&directory, &pipeline, wanted, target.as_ref()))
    };
    let is_table = pipeline.tables.iter().any(|table| table.name == *name)
        || pipeline.junctions.iter().any(|junction| junction.name == *name);
    // One name may be that of a collection and of its table: a document is looked for first.
    let traced = match ask(Wanted::Document(name, id)) {
        Err(TraceError::NoSuch { .. } | TraceError::NoDocument { .. }) if is_table => {
            ask(Wanted::Row(name, id))?
        }
        other => other?,
    };
    let differs = traced.trace.leaves.iter().any(|leaf| leaf.end == "different")
        || traced
            .places
            .iter()
            .any(|place| place.target.as_ref().is_some_and(|held| *held != Held::Equal));
    Ok(Finished {
        exit: if differs { Exit::Differences } else { Exit::Done },
        text: report::document(&traced),
        value: json!({"run": directory.run(), "trace": traced}),
    })
}
