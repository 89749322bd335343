//! The password file (PostgreSQL manual, "The Password File").

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The password for a host, a port, a database and a role. A file that others can read is passed
/// over, as libpq does.
pub(super) fn password(path: &Path, wanted: [&str; 4]) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.mode() & 0o077 != 0 {
        return None;
    }
    fs::read_to_string(path).ok()?.lines().find_map(|line| matching(line, wanted))
}

/// The password of a line of the password file, if its four fields fit.
fn matching(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            // A password may hold colons.
            ':' if fields.len() <= wanted.len() => fields.push(String::new()),
            '\\' => fields.last_mut()?.push(letters.next()?),
            letter => fields.last_mut()?.push(letter),
        }
    }
    let password = fields.pop().filter(|_| fields.len() == wanted.len())?;
    let fits = fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || field == wanted);
    fits.then_some(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_password_file_are_matched_field_by_field() {
        let wanted = ["h", "5432", "d", "u"];
        for (line, password) in [
            ("h:5432:d:u:secret", Some("secret")),
            ("*:*:*:u:a:b\\\\c", Some("a:b\\c")),
            ("h:5432:d:other:secret", None),
            ("#h:5432:d:u:secret", None),
            ("h:5432:d:u", None),
        ] {
            assert_eq!(matching(line, wanted).as_deref(), password, "{line}");
        }
    }
}
