//! Parses the command line, carries it out, shows the error, sets the exit status.

use std::process::ExitCode;

use clap::Parser;
use docferry::cli::Cli;
use docferry::report::Output;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output { json: cli.json };
    let exit = match docferry::commands::run(&cli) {
        Ok(finished) => {
            output.result(&finished.text, &finished.value);
            finished.exit
        }
        Err(failure) => {
            output.failure(&failure);
            failure.exit
        }
    };
    ExitCode::from(exit.code())
}
