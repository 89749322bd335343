//! The list of `doctor`.

use super::lines::Lines;
use crate::doctor::{Check, State};

/// A line for each check, and its cure below it.
pub fn checks(checks: &[Check]) -> Lines {
    let mut text = Lines::default();
    for check in checks {
        let sign = match check.state {
            State::Fine => "ok     ",
            State::Note => "note   ",
            State::Warning => "warning",
            State::Failure => "FAILED ",
        };
        text.push(format_args!("{sign}  {}: {}", check.about, check.detail));
        for line in &check.plan {
            text.push(format_args!("         {line}"));
        }
        if let Some(cure) = check.cure.as_deref().filter(|_| check.state != State::Fine) {
            text.push(format_args!("         → {cure}"));
        }
    }
    let number = |state| checks.iter().filter(|check| check.state == state).count();
    let (warnings, failures) = (number(State::Warning), number(State::Failure));
    text.push("");
    text.push(match (failures, warnings) {
        (0, 0) => format!("{} checks, nothing to do", checks.len()),
        _ => format!("{} checks, {failures} failed, {warnings} warnings", checks.len()),
    });
    text
}
