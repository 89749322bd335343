//! The command line without what others must not read in the list of processes.

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::redact::masked;

/// Carries the arguments as they were given into the process that replaces this one. Unlike the
/// list of arguments, the environment of a process is readable by its owner alone.
pub const VARIABLE: &str = "DOCFERRY_ARGUMENTS";

/// The arguments as they were given.
///
/// Where one of them holds a password, the process is replaced by one whose visible arguments do
/// not. It keeps its number.
pub fn take() -> Vec<OsString> {
    let given: Vec<OsString> = env::args_os().collect();
    if let Some(kept) = kept(&given) {
        return kept;
    }
    let masked: Vec<OsString> = given.iter().map(mask).collect();
    if masked != given
        && let Ok(program) = env::current_exe()
    {
        let mut command = Command::new(program);
        if let Some(name) = masked.first() {
            command.arg0(name);
        }
        // It comes back only if it failed; then the work is done as it is.
        let _ = command.args(&masked[1..]).env(VARIABLE, to_text(&given)).exec();
    }
    given
}

/// What the process before this one was given, if this one's arguments are made of it.
fn kept(visible: &[OsString]) -> Option<Vec<OsString>> {
    let kept = from_text(&env::var(VARIABLE).ok()?);
    let same = kept.len() == visible.len()
        && kept.iter().zip(visible).skip(1).all(|(kept, visible)| mask(kept) == *visible);
    same.then_some(kept)
}

/// Arguments in one text. They need not be UTF-8.
fn to_text(arguments: &[OsString]) -> String {
    let encoded = arguments
        .iter()
        .map(|argument| percent_encode(argument.as_bytes(), NON_ALPHANUMERIC).to_string());
    encoded.collect::<Vec<_>>().join(" ")
}

fn from_text(text: &str) -> Vec<OsString> {
    text.split(' ').map(|one| OsString::from_vec(percent_decode_str(one).collect())).collect()
}

/// An argument without user, password and options of an address in it.
fn mask(argument: &OsString) -> OsString {
    masked(&argument.to_string_lossy()).map_or_else(|| argument.clone(), OsString::from)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn arguments_are_carried_over_whatever_their_bytes_are() {
        let given: Vec<OsString> =
            [&b"docferry"[..], b"", b"a b%", b"\xff\n"].map(|b| OsStr::from_bytes(b).into()).into();
        assert_eq!(from_text(&to_text(&given)), given);
        let secret = OsStr::from_bytes(b"postgres://u:secret@h/\xff").into();
        assert_eq!(mask(&secret), OsString::from("postgres://h/\u{fffd}"));
    }
}
