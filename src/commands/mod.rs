//! One file a command: arguments to stage to report.

mod check;
mod error;
mod export;
mod generate;
mod id;
mod load;
mod run;
mod transform;
mod verify;

use std::path::Path;
use std::sync::Arc;

pub use error::CommandError;

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::pipeline::{self, model::Pipeline};
use crate::progress::{Progress, Silent};
use crate::report::{Console, Finished};

/// Carries out what the command line asks for.
pub fn run(cli: &Cli) -> Result<Finished, Failure> {
    let progress: Arc<dyn Progress> =
        if cli.quiet { Arc::new(Silent) } else { Arc::new(Console::new(cli.log_format)) };
    match &cli.command {
        Command::Run(arguments) => run::run(arguments, &progress),
        Command::Export(arguments) => export::run(arguments, &progress),
        Command::Transform(arguments) => transform::run(arguments, &progress),
        Command::Load(arguments) => load::run(arguments, &progress),
        Command::Verify(arguments) => verify::run(arguments, &progress),
        Command::Ddl(arguments) => load::ddl(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Generate(arguments) => generate::run(arguments, &progress),
        Command::Id(arguments) => id::run(arguments),
    }
}

fn load_pipeline(path: &Path) -> Result<Pipeline, Failure> {
    Ok(pipeline::load(path)?)
}

fn threads(wanted: Option<usize>) -> usize {
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)).max(1)
}
