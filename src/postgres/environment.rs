//! What PostgreSQL's own tools take from outside of an address: the variables of libpq and its
//! password file, as the manual has them ("Environment Variables", "The Password File"), and the
//! parameters that the driver does not know.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// Parameters of TLS that are not the driver's.
#[derive(Clone, Debug, Default)]
pub(super) struct Tls {
    /// File with the certificates of authorities to trust, besides the system's.
    pub(super) root: Option<PathBuf>,
}

/// Takes the parameters that the driver does not know out of an address.
pub(super) fn split(text: &str) -> (String, Tls) {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let own = ["sslrootcert", "sslmode"];
    let rest = if let Some((address, query)) = text.split_once('?') {
        let mut left = Vec::new();
        for pair in query.split('&') {
            match pair.split_once('=') {
                Some((key, value)) if own.contains(&key) => {
                    let value = percent_decode_str(value).decode_utf8_lossy().into_owned();
                    found.insert(key.to_owned(), value);
                }
                _ => left.push(pair),
            }
        }
        if left.is_empty() { address.to_owned() } else { format!("{address}?{}", left.join("&")) }
    } else if text.contains("://") {
        text.to_owned()
    } else {
        let keeps = |word: &&str| match word.split_once('=') {
            Some((key, value)) if own.contains(&key) => {
                found.insert(key.to_owned(), value.trim_matches('\'').to_owned());
                false
            }
            _ => true,
        };
        text.split(' ').filter(keeps).collect::<Vec<_>>().join(" ")
    };
    let given =
        |key: &str, variable: &str| found.get(key).cloned().or_else(|| variable_of(variable));
    let tls = Tls {
        root: given("sslrootcert", "PGSSLROOTCERT")
            .filter(|file| file != "system")
            .map(PathBuf::from),
    };
    // Certificates are always looked at, so that `require` is as strict as `verify-full`.
    let mode = given("sslmode", "PGSSLMODE").map(|mode| match mode.as_str() {
        "verify-ca" | "verify-full" => "require".to_owned(),
        "allow" => "prefer".to_owned(),
        _ => mode,
    });
    let rest = match mode {
        Some(mode) if rest.contains("://") => {
            let joint = if rest.contains('?') { '&' } else { '?' };
            format!("{rest}{joint}sslmode={mode}")
        }
        Some(mode) => format!("{rest} sslmode={mode}"),
        None => rest,
    };
    (rest, tls)
}

/// A variable that is set to something.
pub(super) fn variable_of(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The password that the password file has for a connection. A file that others can read is passed
/// over, as libpq does.
pub(super) fn password(host: &str, port: u16, database: &str, user: &str) -> Option<String> {
    let path = variable_of("PGPASSFILE").map(PathBuf::from);
    let path = path.or_else(|| Some(PathBuf::from(variable_of("HOME")?).join(".pgpass")))?;
    let metadata = fs::metadata(&path).ok()?;
    if !metadata.is_file() || metadata.mode() & 0o077 != 0 {
        return None;
    }
    let port = port.to_string();
    let wanted = [host, &port, database, user];
    fs::read_to_string(&path).ok()?.lines().find_map(|line| matching(line, wanted))
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

    #[test]
    fn parameters_that_the_driver_does_not_know_are_taken_out() {
        let (rest, tls) =
            split("postgres://h/d?sslrootcert=%2Fa%20b&application_name=x&sslmode=verify-full");
        assert_eq!(rest, "postgres://h/d?application_name=x&sslmode=require");
        assert_eq!(tls.root.unwrap(), PathBuf::from("/a b"));
        let (rest, tls) = split("host=h sslrootcert=ca.pem dbname=d");
        assert_eq!(rest, "host=h dbname=d");
        assert_eq!(tls.root.unwrap(), PathBuf::from("ca.pem"));
    }
}
