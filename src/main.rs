//! Parses the command line, carries it out, shows the error, sets the exit status.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use docferry::cli::{Cli, LogFormat};
use docferry::commands::{Ending, arguments, tell};
use docferry::report::Output;

fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments::take());
    let output = Output { json: cli.json, events: cli.log_format == LogFormat::Json };
    let started = Instant::now();
    let outcome = docferry::commands::run(&cli);
    let ending = Ending { outcome: outcome.as_ref(), seconds: started.elapsed().as_secs_f64() };
    let exit = match &outcome {
        Ok(finished) => {
            output.finished(finished, ending.seconds);
            output.result(&finished.text, &finished.value);
            finished.exit
        }
        Err(failure) => {
            output.failure(failure);
            failure.exit
        }
    };
    tell(&cli, &ending);
    ExitCode::from(exit.code())
}
