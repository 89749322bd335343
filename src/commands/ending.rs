//! What follows a command that nobody watches: its metrics, and whoever is to be told.

use std::io::{Write, stderr};
use std::process::{Command as Process, Stdio};

use serde_json::{Value, json};

use super::arguments;
use crate::cli::{Cli, Command, RunArgument};
use crate::failure::{Exit, Failure};
use crate::redact::{hide, masked};
use crate::report::{Finished, Measures, causes, metrics, warn};

/// How a command ended.
pub struct Ending<'e> {
    /// Its result, or its failure.
    pub outcome: Result<&'e Finished, &'e Failure>,
    /// How long it took.
    pub seconds: f64,
}

impl Ending<'_> {
    fn exit(&self) -> Exit {
        match self.outcome {
            Ok(finished) => finished.exit,
            Err(failure) => failure.exit,
        }
    }

    /// One JSON document that says all of it.
    fn report(&self, command: &str, pipeline: &str) -> Value {
        let mut report = json!({
            "command": command, "pipeline": pipeline, "exit": self.exit().code(),
            "seconds": self.seconds,
        });
        match self.outcome {
            Ok(finished) => report["result"] = finished.value.clone(),
            Err(failure) => {
                report["error"] = hide(&failure.to_string()).into();
                report["causes"] = causes(failure).collect::<Vec<_>>().into();
                report["hint"] = failure.hint.as_deref().map(hide).into();
            }
        }
        report
    }
}

/// Writes the metrics and calls the command that was asked for. What goes wrong with either is
/// said, but does not change how the work itself ended.
pub fn tell(cli: &Cli, ending: &Ending<'_>) {
    if cli.metrics.is_none() && cli.notify.is_none() {
        return;
    }
    let (command, pipeline) = job(&cli.command);
    if let Some(path) = &cli.metrics {
        let found = ending.outcome.ok().map(|finished| Measures::of(&finished.value));
        let job = metrics::Job { command, pipeline: &pipeline };
        let gauges =
            ending.outcome.map_or_else(|_| Vec::new(), |done| metrics::gauges(&done.value));
        if let Err(error) =
            metrics::write(path, &job, ending.exit(), ending.seconds, (found, &gauges))
        {
            warn(format_args!("could not write {}: {error}", path.display()));
        }
    }
    if let Some(hook) = &cli.notify {
        let report = ending.report(command, &pipeline).to_string();
        if let Err(detail) = call(hook, ending.exit(), &report) {
            warn(format_args!("the command of --notify {detail}"));
        }
    }
}

/// Name of the command and of the pipeline it is about.
fn job(command: &Command) -> (&'static str, String) {
    // An address that was given in the place of a file or a run.
    let plain = |name: &str, given: &str| match masked(given) {
        Some(_) => String::new(),
        None => name.to_owned(),
    };
    let named = |path: &std::path::Path| match crate::pipeline::load(path) {
        Ok(pipeline) => pipeline.name,
        Err(_) => {
            plain(&path.file_stem().unwrap_or_default().to_string_lossy(), &path.to_string_lossy())
        }
    };
    let run = |run: &RunArgument| {
        let found = crate::staging::layout::RunDirectory::find(&run.staging, &run.run);
        found.map_or_else(|_| plain(&run.run, &run.run), |run| run.pipeline().to_owned())
    };
    match command {
        Command::Run(arguments) => ("run", named(&arguments.export.pipeline.pipeline)),
        Command::Plan(_) => ("plan", String::new()),
        Command::Export(arguments) => ("export", named(&arguments.pipeline.pipeline)),
        Command::Backup(arguments) => ("backup", named(&arguments.export.pipeline.pipeline)),
        Command::Prune(arguments) => ("prune", named(&arguments.of.pipeline.pipeline)),
        Command::Runs(arguments) => ("runs", named(&arguments.pipeline.pipeline)),
        Command::Transform(arguments) => ("transform", named(&arguments.pipeline.pipeline)),
        Command::Rejects(arguments) => ("rejects", named(&arguments.pipeline.pipeline)),
        Command::Load(arguments) => ("load", named(&arguments.target.pipeline.pipeline)),
        Command::Rollback(_) => ("rollback", String::new()),
        Command::Audit(arguments) => ("audit", run(&arguments.run)),
        Command::Show(arguments) => ("show", run(&arguments.run)),
        Command::RestoreCheck(arguments) => ("restore-check", run(&arguments.run)),
        Command::Dump(arguments) => ("dump", run(&arguments.run)),
        Command::Restore(arguments) => ("restore", run(&arguments.run)),
        Command::Trace(arguments) => ("trace", named(&arguments.pipeline.pipeline)),
        Command::Verify(arguments) => ("verify", named(&arguments.target.pipeline.pipeline)),
        Command::Doctor(arguments) => {
            ("doctor", arguments.pipeline.as_deref().map_or_else(String::new, named))
        }
        Command::Ddl(arguments) => ("ddl", named(&arguments.pipeline)),
        Command::Check(arguments) => ("check", named(&arguments.pipeline)),
        Command::Schema => ("schema", String::new()),
        Command::Generate(arguments) => ("generate", named(&arguments.pipeline.pipeline)),
        Command::Id(_) => ("id", String::new()),
    }
}

/// Runs a command of the shell with the report on its standard input, and without our secrets.
fn call(hook: &str, exit: Exit, report: &str) -> Result<(), String> {
    let mut process = Process::new("sh");
    process.args(["-c", hook]).env("DOCFERRY_EXIT", exit.code().to_string());
    for secret in [arguments::VARIABLE, "MONGODB_URI", "DATABASE_URL", "PGPASSWORD"] {
        process.env_remove(secret);
    }
    // What it prints is no result of ours.
    process.stdin(Stdio::piped()).stdout(Stdio::from(stderr()));
    let mut child = process.spawn().map_err(|error| format!("could not be started: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        // It need not read it.
        let _ = input.write_all(report.as_bytes());
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("ended with {status}")) }
}
