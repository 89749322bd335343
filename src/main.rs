//! Parses the command line, carries it out, shows the error, sets the exit status.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use docferry::cli::{Cli, LogFormat};
use docferry::commands::{Ending, arguments, tell};
use docferry::failure::Failure;
use docferry::redact::{remember, shown};
use docferry::report::{Output, usage};

fn main() -> ExitCode {
    let given = arguments::take();
    remember(&given);
    let cli = match Cli::try_parse_from(&given) {
        Ok(cli) => cli,
        Err(said) => {
            // The parser quotes arguments, between line breaks of its own.
            let said = Cli::try_parse_from(shown(&given)).err().unwrap_or(said);
            return ExitCode::from(usage(&said).code());
        }
    };
    let output = Output { json: cli.json, events: cli.log_format == LogFormat::Json };
    let started = Instant::now();
    let outcome = docferry::commands::run(&cli).and_then(|finished| {
        // A result that nobody has got is none.
        output.result(&finished).map_err(Failure::from)?;
        Ok(finished)
    });
    let ending = Ending { outcome: outcome.as_ref(), seconds: started.elapsed().as_secs_f64() };
    let exit = match &outcome {
        Ok(finished) => {
            output.finished(finished, ending.seconds);
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
