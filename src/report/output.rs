//! Results on standard output, everything else on standard error. Nothing is printed elsewhere.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};

use serde_json::{Value, json};

use crate::failure::{Exit, Failure};

/// What a command ends with.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub exit: Exit,
    /// The result for a person.
    pub text: String,
    /// The result for a program.
    pub value: Value,
}

impl Finished {
    /// A command that did all it was asked to.
    pub fn done(text: impl Into<String>, value: Value) -> Self {
        Self { exit: Exit::Done, text: text.into(), value }
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
    /// Prints a result. A reader that has gone away is no error.
    pub fn result(&self, text: &str, value: &Value) {
        let mut stdout = io::stdout().lock();
        let _ = if self.json { writeln!(stdout, "{value}") } else { writeln!(stdout, "{text}") };
    }

    /// Where events are JSON, the last one of a command that did its work.
    pub fn finished(&self, finished: &Finished, seconds: f64) {
        if self.events {
            let event = json!({"at": now(), "run": finished.value["run"], "event": "finished",
                "exit": finished.exit.code(), "seconds": seconds});
            let _ = writeln!(io::stderr().lock(), "{event}");
        }
    }

    /// Prints a failure: text on standard error, and with `--json` the document on standard output.
    pub fn failure(&self, failure: &Failure) {
        let causes: Vec<String> = causes(failure).collect();
        let mut said = json!({"error": failure.to_string(), "causes": causes, "hint": failure.hint,
            "exit": failure.exit.code()});
        if self.json {
            self.result("", &said);
        }
        let mut stderr = io::stderr().lock();
        let _ = if self.events {
            said["event"] = "failed".into();
            said["at"] = now().into();
            writeln!(stderr, "{said}")
        } else {
            writeln!(stderr, "{}", render(failure))
        };
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
}

/// A failure as a person reads it.
pub(super) fn render(failure: &Failure) -> String {
    let mut text = format!("error: {failure}");
    for cause in causes(failure) {
        let _ = write!(text, "\n  detail: {cause}");
    }
    if let Some(hint) = &failure.hint {
        let _ = write!(text, "\n  hint: {hint}");
    }
    text
}
