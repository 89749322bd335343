//! One file a command: arguments to stage to report.

mod address;
pub mod arguments;
mod audit;
mod backup;
mod check;
mod doctor;
mod ending;
mod error;
mod export;
mod generate;
mod id;
mod load;
mod plan;
mod rejects;
mod restore;
mod restore_check;
mod run;
mod show;
mod trace;
mod transform;
mod verify;

use std::path::Path;
use std::sync::Arc;

pub use ending::{Ending, tell};
pub use error::CommandError;

use crate::cli::{Cli, Command};
use crate::failure::{Exit, Failure};
use crate::interrupt;
use crate::pipeline::{self, model::Pipeline};
use crate::progress::{Progress, Stage};
use crate::report::{Console, Finished};
use crate::staging::latest::Found;
use crate::staging::layout::RunDirectory;
use crate::staging::own_files;

/// Carries out what the command line asks for.
pub fn run(cli: &Cli) -> Result<Finished, Failure> {
    let interrupted = interrupt::listen().map_err(CommandError::Signals)?;
    if cli.trust_staging {
        own_files::trust();
    }
    let progress: Arc<dyn Progress> =
        Arc::new(Console::new(cli.log_format, cli.quiet, interrupted));
    match &cli.command {
        Command::Run(arguments) => run::run(arguments, &progress),
        Command::Export(arguments) => export::run(arguments, &progress),
        Command::Backup(arguments) => backup::run(arguments, &progress),
        Command::Prune(arguments) => backup::prune(arguments),
        Command::Runs(arguments) => backup::runs(arguments),
        Command::Transform(arguments) => transform::run(arguments, &progress),
        Command::Load(arguments) => load::run(arguments, &progress),
        Command::Rejects(arguments) => rejects::run(arguments, &progress),
        Command::Audit(arguments) => audit::run(arguments, &progress),
        Command::Show(arguments) => show::run(arguments),
        Command::Plan(arguments) => plan::run(arguments, &progress),
        Command::Restore(arguments) => restore::run(arguments, &progress),
        Command::RestoreCheck(arguments) => restore_check::run(arguments, &progress),
        Command::Dump(arguments) => restore_check::dump(arguments, &progress),
        Command::Rollback(arguments) => load::rollback(arguments, &progress),
        Command::Trace(arguments) => trace::run(arguments, &progress),
        Command::Verify(arguments) => verify::run(arguments, &progress),
        Command::Doctor(arguments) => doctor::run(arguments, &progress),
        Command::Ddl(arguments) => load::ddl(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Schema => Ok(check::schema()),
        Command::Generate(arguments) => generate::run(arguments, &progress),
        Command::Id(arguments) => id::run(arguments),
    }
}

/// Says which run `latest` means where a newer one lacks what a command needs.
fn told(found: Found, stage: Stage, progress: &Arc<dyn Progress>) -> RunDirectory {
    let Found { run, newer } = found;
    if let Some(newer) = newer {
        let lacks =
            if stage == Stage::Dump { "was not loaded" } else { "has no finished transform" };
        let note = format!("latest is run {} here: the newer run {newer} {lacks}", run.run());
        progress.note(stage, &note);
    }
    run
}

/// Names the run in the hint of a stage that was interrupted: `latest` may be another one by then.
fn go_on(failure: Failure, run: &RunDirectory) -> Failure {
    if failure.exit != Exit::Interrupted {
        return failure;
    }
    let hint = format!(
        "Finished parts are kept: the same command goes on from there, also after a newer run with \
         `--run {}`.",
        run.run()
    );
    Failure { hint: Some(hint), ..failure }
}

fn load_pipeline(path: &Path) -> Result<Pipeline, Failure> {
    Ok(pipeline::load(path)?)
}

fn threads(wanted: Option<usize>) -> usize {
    wanted.unwrap_or_else(|| std::thread::available_parallelism().map_or(2, usize::from)).max(1)
}
