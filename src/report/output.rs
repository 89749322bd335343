//! Results on standard output, everything else on standard error. Nothing is printed elsewhere, and
//! nothing that a terminal would obey.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};

use serde_json::{Value, json};

use super::Lines;
use crate::escape;
use crate::failure::{Exit, Explain, Failure};
use crate::redact::hide;

/// What a command ends with.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub exit: Exit,
    /// The result for a person.
    pub text: Lines,
    /// The result for a program.
    pub value: Value,
}

impl Finished {
    /// A command that did all it was asked to, and says so in a line.
    pub fn line(text: impl fmt::Display, value: Value) -> Self {
        Self::done(Lines::of(text), value)
    }

    /// A command that did all it was asked to.
    pub fn done(text: Lines, value: Value) -> Self {
        Self { exit: Exit::Done, text, value }
    }
}

/// A result that could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("the result could not be written to standard output")]
pub struct OutputError {
    /// How the work itself ended.
    ended: Exit,
    #[source]
    source: io::Error,
}

impl Explain for OutputError {
    fn exit(&self) -> Exit {
        match self.ended {
            Exit::Done | Exit::Rejects => Exit::Unprinted,
            other => other,
        }
    }

    fn hint(&self) -> Option<String> {
        Some("The work itself was done; what standard output has got is not complete.".into())
    }
}

/// Where results go, and in which form.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    /// One JSON document instead of text.
    pub json: bool,
    /// What is said on standard error is JSON too.
    pub events: bool,
}

impl Output {
    /// Prints a result. A reader that has gone away is no error: it had what it wanted.
    pub fn result(&self, finished: &Finished) -> Result<(), OutputError> {
        let text = if self.json { document(&finished.value) } else { finished.text.to_string() };
        print(&text).map_err(|source| OutputError { ended: finished.exit, source })
    }

    /// Where events are JSON, the last one of a command that did its work.
    pub fn finished(&self, finished: &Finished, seconds: f64) {
        if self.events {
            let event = json!({"at": now(), "run": finished.value["run"], "event": "finished",
                "exit": finished.exit.code(), "seconds": seconds});
            say(&document(&event));
        }
    }

    /// Prints a failure: text on standard error, and with `--json` the document on standard output.
    pub fn failure(&self, failure: &Failure) {
        let causes: Vec<String> = causes(failure).collect();
        let hint = failure.hint.as_deref().map(hide);
        let mut said = json!({"error": hide(&failure.to_string()), "causes": causes, "hint": hint,
            "exit": failure.exit.code()});
        if self.json {
            // Standard error says the same.
            let _ = print(&document(&said));
        }
        if self.events {
            said["event"] = "failed".into();
            said["at"] = now().into();
            say(&document(&said));
        } else {
            say(&render(failure).to_string());
        }
    }
}

/// A JSON document on one line, as it is printed.
fn document(value: &Value) -> String {
    escape::json(&value.to_string()).into_owned()
}

/// Prints on standard output, to its last byte.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Prints on standard error; who does not hear it cannot be told.
fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says an event as JSON.
pub(super) fn event(value: &Value) {
    say(&document(value));
}

/// Says a line.
pub(super) fn note(text: impl fmt::Display) {
    say(&Lines::of(text).to_string());
}

/// Says that something beside the work went wrong.
pub fn warn(text: impl fmt::Display) {
    note(format_args!("warning: {text}"));
}

/// Prints what the parser of the command line says: help on standard output, mistakes on standard
/// error. Returns the exit status.
pub fn usage(said: &clap::Error) -> Exit {
    let text = said.render().to_string();
    let mut lines = Lines::default();
    lines.file(&hide(&text));
    if said.use_stderr() {
        say(&lines.to_string());
        return Exit::Usage;
    }
    match print(&lines.to_string()) {
        Ok(()) => Exit::Done,
        Err(source) => {
            let failure = Failure::from(OutputError { ended: Exit::Done, source });
            say(&render(&failure).to_string());
            failure.exit
        }
    }
}

/// The time of an event, UTC, RFC 3339.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The causes of a failure, each once: what was said already is passed over, and so is the "db
/// error" of the PostgreSQL driver, which says nothing.
pub fn causes(failure: &Failure) -> impl Iterator<Item = String> {
    let mut said = failure.to_string();
    let first: Option<&dyn Error> = failure.error.source();
    std::iter::successors(first, |error: &&dyn Error| (*error).source())
        .map(ToString::to_string)
        .filter(move |text| {
            let repeated = said.contains(text.trim_start_matches("ERROR: ")) || text == "db error";
            said.push_str(text);
            !repeated
        })
        .map(|text| hide(&text))
}

/// A failure as a person reads it.
pub(super) fn render(failure: &Failure) -> Lines {
    let mut lines = Lines::default();
    let mut add = |first: &str, text: &str| {
        let text = hide(text);
        if failure.layout {
            lines.laid_out(first, &text);
        } else {
            lines.push(format_args!("{first}{text}"));
        }
    };
    add("error: ", &failure.to_string());
    for cause in causes(failure) {
        add("  detail: ", &cause);
    }
    if let Some(hint) = &failure.hint {
        add("  hint: ", hint);
    }
    lines
}
