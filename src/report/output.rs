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
}

impl Output {
    /// Prints a result. A reader that has gone away is no error.
    pub fn result(&self, text: &str, value: &Value) {
        let mut stdout = io::stdout().lock();
        let _ = if self.json { writeln!(stdout, "{value}") } else { writeln!(stdout, "{text}") };
    }

    /// Prints a failure: text on standard error, and with `--json` the document on standard output.
    pub fn failure(&self, failure: &Failure) {
        let _ = writeln!(io::stderr().lock(), "{}", render(failure));
        if self.json {
            let causes: Vec<String> = causes(failure).collect();
            self.result(
                "",
                &json!({"error": failure.to_string(), "causes": causes, "hint": failure.hint,
                    "exit": failure.exit.code()}),
            );
        }
    }
}

/// The causes of a failure, each once: what was said already is passed over, and so is the "db
/// error" of the PostgreSQL driver, which says nothing.
fn causes(failure: &Failure) -> impl Iterator<Item = String> {
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
