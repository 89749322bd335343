//! `docferry generate`.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::{CommandError, address, load_pipeline};
use crate::cli::GenerateArguments;
use crate::failure::Failure;
use crate::generate::{GenerateOptions, Generator, write_dump, write_server, write_sqlite};
use crate::progress::{Progress, Stage, Total};
use crate::redact::without_credentials;
use crate::report::Finished;
use crate::source::is_mongodb;
use crate::staging::own_files::write_own;

pub(super) fn run(
    arguments: &GenerateArguments,
    progress: &Arc<dyn Progress>,
) -> Result<Finished, Failure> {
    let pipeline = load_pipeline(&arguments.pipeline.pipeline)?;
    let options = GenerateOptions {
        seed: arguments.seed,
        documents: arguments.documents,
        flaws: !arguments.sound,
    };
    let generator = Generator::new(&pipeline, &options)?;
    let total: u64 = (0..generator.names().count()).map(|at| generator.count(at)).sum();
    progress.start(Stage::Generate, &pipeline.name, Total::Records(total));
    let written =
        |_: &str, documents: u64| progress.advance(Stage::Generate, &pipeline.name, documents, 0);
    if is_mongodb(&arguments.to) {
        let runtime = tokio::runtime::Runtime::new().map_err(CommandError::Runtime)?;
        runtime.block_on(write_server(&generator, &arguments.to, &written))?;
    } else if let Some(path) = arguments.to.strip_prefix("sqlite:") {
        write_sqlite(&generator, Path::new(path), &written)?;
    } else {
        address::check_folder(&arguments.to)?;
        write_dump(&generator, Path::new(&arguments.to), &written)?;
    }
    progress.finish(Stage::Generate, &pipeline.name);
    let planted = generator.planted();
    if let Some(path) = &arguments.planted {
        let text = serde_json::to_string_pretty(planted)
            .map_err(|error| CommandError::File { path: path.clone(), source: error.into() })?;
        write_own(path, text.as_bytes())
            .map_err(|source| CommandError::File { path: path.clone(), source })?;
    }
    let (flaws, to) = (planted.flaws.len(), without_credentials(&arguments.to));
    Ok(Finished::line(
        format!(
            "{to}: {total} documents in {} collections, {flaws} of them with a planted flaw",
            generator.names().count()
        ),
        json!({"to": to, "documents": total, "flaws": flaws}),
    ))
}
