//! The command line without what others must not read in the list of processes.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::source::without_credentials;

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
        && let (Ok(program), Some(text)) = (env::current_exe(), to_text(&given))
    {
        let mut command = Command::new(program);
        if let Some(name) = masked.first() {
            command.arg0(name);
        }
        // It comes back only if it failed; then the work is done as it is.
        let _ = command.args(&masked[1..]).env(VARIABLE, text).exec();
    }
    given
}

/// What the process before this one was given, if this one's arguments are made of it.
fn kept(visible: &[OsString]) -> Option<Vec<OsString>> {
    let kept: Vec<String> = serde_json::from_str(&env::var(VARIABLE).ok()?).ok()?;
    let kept: Vec<OsString> = kept.into_iter().map(OsString::from).collect();
    let same = kept.len() == visible.len()
        && kept.iter().zip(visible).skip(1).all(|(kept, visible)| mask(kept) == *visible);
    same.then_some(kept)
}

fn to_text(arguments: &[OsString]) -> Option<String> {
    let arguments: Option<Vec<&str>> = arguments.iter().map(|argument| argument.to_str()).collect();
    serde_json::to_string(&arguments?).ok()
}

/// An argument without user, password and options of an address in it.
fn mask(argument: &OsString) -> OsString {
    let Some(text) = argument.to_str() else { return argument.clone() };
    if let Some(at) = text.find("://") {
        let scheme = text[..at].rfind(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
        let start = scheme.map_or(0, |before| before + 1);
        // Options that are not shown may be needed to understand a process, but not without care.
        let has_secret = text[at..].contains('@') || text[at..].contains('?');
        if has_secret {
            return format!("{}{}", &text[..start], without_credentials(&text[start..])).into();
        }
    } else if without_credentials(text) != text {
        return without_credentials(text).into();
    } else if let Some((before, after)) = text.split_once("password=") {
        let rest = after.split_once(' ').map_or("", |(_, rest)| rest);
        return format!("{before}{rest}").into();
    }
    argument.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_out_of_arguments() {
        for (given, shown) in [
            ("mongodb://u:secret@h:1/d?x=secret", "mongodb://h:1/d"),
            ("--source=mongodb+srv://u:se/cret@h/d", "--source=mongodb+srv://h/d"),
            ("host=h password=secret user=u", "host=h user=u"),
            ("postgres://h/d", "postgres://h/d"),
            ("pipelines/a.toml", "pipelines/a.toml"),
        ] {
            assert_eq!(mask(&given.into()), OsString::from(shown));
        }
    }
}
