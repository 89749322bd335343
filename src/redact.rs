//! Addresses without what is secret in them: users, passwords, options, tokens.
//!
//! What is shown is built from parts that are known to be harmless; where an address does not have
//! the form that tells them apart, nothing of it is shown.

use std::collections::BTreeSet;
use std::error::Error;
use std::ffi::OsString;
use std::sync::OnceLock;

use percent_encoding::percent_decode_str;

use crate::conninfo::{PARAMETERS, pairs};
use crate::escape::line;

/// Stands for what is not shown.
const HIDDEN: &str = "…";

/// Those whose values are shown.
const SHOWN: [&str; 6] = ["host", "hostaddr", "port", "dbname", "sslmode", "application_name"];
/// Other words that a driver's message about an address may hold.
const HARMLESS: [&str; 22] = [
    "schema",
    "pgbouncer",
    "connection_limit",
    "pool_timeout",
    "sslaccept",
    "sslidentity",
    "statement_cache_size",
    "socket_timeout",
    "authSource",
    "authMechanism",
    "replicaSet",
    "directConnection",
    "tls",
    "ssl",
    "retryWrites",
    "retryReads",
    "appName",
    "readPreference",
    "maxPoolSize",
    "minPoolSize",
    "connectTimeoutMS",
    "serverSelectionTimeoutMS",
];

/// Why an address cannot be read. It shows no piece of a user, a password or an option.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Its parts cannot be told apart.
    #[error(
        "its host cannot be told from user and password: they hold a character that is not percent-encoded, or the port is no number"
    )]
    Unencoded,
    /// A driver refuses it.
    #[error("{0}")]
    Malformed(String),
}

impl AddressFault {
    /// A driver's message, unless it quotes what may be secret.
    pub fn of(error: &(dyn Error + 'static), address: &str) -> Self {
        let chain = std::iter::successors(Some(error), |error: &&dyn Error| (*error).source());
        let text = chain.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        if quotes(&text, address) {
            return Self::Malformed("it is malformed, or has an option that is not known".into());
        }
        Self::Malformed(text)
    }

    /// The way out.
    pub fn hint(&self) -> Option<String> {
        matches!(self, Self::Unencoded).then(|| {
            "Percent-encode user and password: `@` is %40, `:` %3A, `/` %2F, `?` %3F, `#` %23, `%` \
             %25, a space %20."
                .to_owned()
        })
    }
}

/// Arguments with a secret, and as they are shown.
static ARGUMENTS: OnceLock<Vec<(String, String)>> = OnceLock::new();

/// Remembers the arguments of the process that hold a secret. An address may be given in the place
/// of a path or a run, and errors quote those.
pub fn remember(arguments: &[OsString]) {
    let secret = arguments.iter().filter_map(|argument| {
        let text = argument.to_string_lossy().into_owned();
        let shown = masked(&text)?;
        // `--option=` is no part of what an error quotes.
        let value = if text.starts_with("--") { text.split_once('=')?.1 } else { &text };
        let shown = if text.starts_with("--") { shown.split_once('=')?.1 } else { &shown };
        Some((value.to_owned(), shown.to_owned()))
    });
    let _ = ARGUMENTS.set(secret.collect());
}

/// The arguments without secrets, each on one line.
pub fn shown(arguments: &[OsString]) -> impl Iterator<Item = String> {
    arguments.iter().map(|argument| {
        let text = argument.to_string_lossy();
        line(&masked(&text).unwrap_or_else(|| text.into_owned())).into_owned()
    })
}

/// A text that does not quote an argument with a secret.
pub fn hide(text: &str) -> String {
    let mut text = text.to_owned();
    for (argument, shown) in ARGUMENTS.get().into_iter().flatten() {
        if text.contains(argument.as_str()) {
            text = text.replace(argument.as_str(), shown);
        }
    }
    text
}

/// The parts of a URL, where they can be told apart.
struct Url<'u> {
    scheme: &'u str,
    user: &'u str,
    hosts: &'u str,
    path: &'u str,
    query: &'u str,
}

impl<'u> Url<'u> {
    /// Splits a text at `://` and what follows; an error where a `@` is not the end of the user, so
    /// that a part of the password would pass for a host.
    fn split(text: &'u str) -> Option<Result<Self, AddressFault>> {
        let (scheme, rest) = text.split_once("://")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        // A path of SQLite may hold any character.
        if scheme.is_empty() || scheme == "sqlite" || !scheme.chars().all(plain) {
            return None;
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(end);
        let (user, hosts) = authority.split_once('@').unwrap_or(("", authority));
        let odd = |c: char| c.is_whitespace() || c.is_control() || "'\"\\<>^`{|}".contains(c);
        if hosts.contains('@') || after.contains('@') || hosts.contains(odd) {
            return Some(Err(AddressFault::Unencoded));
        }
        // Colons separate ports, and stand in addresses of IPv6.
        if user.is_empty() && !hosts.contains('[') {
            let named = |host: &str| {
                host.rsplit_once(':')
                    .is_some_and(|(_, port)| !port.is_empty() && port.parse::<u16>().is_err())
            };
            // `user:pass/word` without its host.
            if hosts.split(',').any(named) {
                return Some(Err(AddressFault::Unencoded));
            }
        }
        let (path, query) = after.split_once(['?', '#']).unwrap_or((after, ""));
        Some(Ok(Self { scheme, user, hosts, path, query }))
    }
}

/// Refuses a URL whose user and password cannot be told from its host.
pub fn check(address: &str) -> Result<(), AddressFault> {
    match Url::split(address.trim_start()) {
        Some(Err(fault)) => Err(fault),
        _ => Ok(()),
    }
}

/// An address without user, password and options: each can hold a secret. So can what was meant to
/// be one.
pub fn without_credentials(address: &str) -> String {
    if let Some(path) = address.strip_prefix("sqlite:") {
        return match path.split_once('@') {
            Some((before, _)) if before.contains(':') => format!("sqlite:{HIDDEN}"),
            _ => address.to_owned(),
        };
    }
    match Url::split(address) {
        Some(Ok(url)) => return format!("{}://{}{}", url.scheme, url.hosts, url.path),
        Some(Err(_)) => {
            let scheme = address.split_once("://").map_or("", |(scheme, _)| scheme);
            return format!("{scheme}://{HIDDEN}");
        }
        None => {}
    }
    if let Some(pairs) = pairs_of(address) {
        return pairs;
    }
    if names_secret(address) || address.contains("://") {
        return HIDDEN.to_owned();
    }
    match address.rsplit_once('@') {
        Some((before, after)) if before.contains(':') => {
            if before.contains('?') || after.contains(['/', '=']) && before.contains('@') {
                HIDDEN.to_owned()
            } else {
                format!("{HIDDEN}@{after}")
            }
        }
        _ => address.to_owned(),
    }
}

/// Whether a text says that a password follows.
fn names_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    ["password", "passwd", "pwd", "token", "secret"].iter().any(|word| {
        lower
            .match_indices(word)
            .any(|(start, word)| lower[start + word.len()..].trim_start().starts_with(['=', ':']))
    })
}

/// Harmless pairs of a `key=value` text; none where it is no such text.
fn pairs_of(text: &str) -> Option<String> {
    let (first, _) = text.split_once('=')?;
    if !PARAMETERS.contains(&first.trim()) {
        return None;
    }
    let Some(pairs) = pairs(text) else { return Some(HIDDEN.to_owned()) };
    let mut seen = BTreeSet::new();
    let known = pairs.iter().all(|(key, value)| {
        PARAMETERS.contains(&key.as_str()) && seen.insert(key.as_str()) && !value.contains("://")
    });
    if !known {
        return Some(HIDDEN.to_owned());
    }
    let shown = pairs.iter().filter(|(key, _)| SHOWN.contains(&key.as_str()));
    let shown: Vec<String> = shown.map(|(key, value)| format!("{key}={value}")).collect();
    Some(if shown.is_empty() { HIDDEN.to_owned() } else { shown.join(" ") })
}

/// An argument as others may see it in the list of processes; none where it holds no secret.
pub fn masked(argument: &str) -> Option<String> {
    // `--option=` is no part of the address.
    let option = argument.starts_with("--").then(|| argument.find('=')).flatten();
    let (option, text) = argument.split_at(option.map_or(0, |end| end + 1));
    let shown = match Url::split(text) {
        Some(Ok(url)) if url.user.is_empty() && url.query.is_empty() => return None,
        Some(_) => without_credentials(text),
        // A file that holds an address, or a command that has one.
        None if text.contains("://") && text.contains(['@', '?', '=']) => match pairs_of(text) {
            Some(pairs) => pairs,
            None => HIDDEN.to_owned(),
        },
        None => without_credentials(text),
    };
    (shown != text).then(|| format!("{option}{shown}"))
}

/// Texts that are secret in an address, or pieces of them: each run of letters between the
/// characters that part an address.
fn secrets(address: &str) -> Vec<String> {
    let mut texts = Vec::new();
    match Url::split(address) {
        Some(Ok(url)) => {
            texts.push(url.user.to_owned());
            for pair in url.query.split('&') {
                let (key, value) = pair.split_once('=').unwrap_or(("", pair));
                let known = |words: &[&str]| words.contains(&key);
                if !known(&PARAMETERS) && !known(&HARMLESS) {
                    texts.push(key.to_owned());
                }
                texts.push(value.to_owned());
            }
        }
        Some(Err(_)) => texts.push(address.to_owned()),
        None => {
            for word in address.split(|c: char| c.is_whitespace() || matches!(c, '=' | '\'')) {
                if !PARAMETERS.contains(&word) && !HARMLESS.contains(&word) {
                    texts.push(word.to_owned());
                }
            }
        }
    }
    let decoded: Vec<String> = texts
        .iter()
        .map(|text| percent_decode_str(text).decode_utf8_lossy().into_owned())
        .collect();
    texts.extend(decoded);
    texts
}

/// Whether a message holds a piece of what is secret in an address. Pieces of fewer than three
/// characters tell nothing, unless they are quoted.
fn quotes(message: &str, address: &str) -> bool {
    const TELLING: usize = 3;
    secrets(address).iter().any(|secret| {
        let characters: Vec<char> = secret.chars().collect();
        characters
            .windows(TELLING)
            .any(|window| message.contains(window.iter().collect::<String>().as_str()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_are_shown_without_what_is_secret() {
        for (address, shown) in [
            ("mongodb://user:secret@host:1/db?authSource=admin", "mongodb://host:1/db"),
            ("mongodb+srv://u:s@h/d?tlsCertificateKeyFilePassword=secret", "mongodb+srv://h/d"),
            ("postgres://[::1]:5/d", "postgres://[::1]:5/d"),
            ("mongodb://a:1,b:2/d", "mongodb://a:1,b:2/d"),
            ("mongodb://user:se/cr@et@host:1/db", "mongodb://…"),
            ("postgres://u:s3@cr3t@h/d", "postgres://…"),
            ("postgres://u:s3?cr3t@h/d", "postgres://…"),
            ("postgres://u:s3/cr3t", "postgres://…"),
            ("mongodb:/user:secret@host/db", "…@host/db"),
            ("host=h password='long secret' user=u", "host=h"),
            ("host=h password=long secret user=u", "…"),
            ("password = 'x' port = 5", "port=5"),
            ("hots=h password=x", "…"),
            ("dump/a@b.bson", "dump/a@b.bson"),
            ("dump/shop", "dump/shop"),
        ] {
            assert_eq!(without_credentials(address), shown, "{address}");
        }
    }

    #[test]
    fn arguments_are_masked_where_they_hold_a_secret() {
        for (argument, shown) in [
            ("mongodb://u:secret@h:1/d?x=secret", Some("mongodb://h:1/d")),
            ("--source=mongodb+srv://u:se/cret@h/d", Some("--source=mongodb+srv://…")),
            ("host=h password=secret user=u", Some("host=h")),
            ("--target=host=h password='long secret'", Some("--target=host=h")),
            ("host=h password='a://b' user=u", Some("…")),
            ("curl https://me:pw@h/x -d @-", Some("…")),
            ("PGPASSWORD=x psql", Some("…")),
            ("postgres://h/d", None),
            ("pipelines/a.toml", None),
            ("--where", None),
            ("--limit=5", None),
        ] {
            assert_eq!(masked(argument).as_deref(), shown, "{argument}");
        }
    }

    proptest! {
        /// The password is wide enough that none of its pieces occurs elsewhere.
        #[test]
        fn no_piece_of_a_password_is_shown(
            password in "[QXZ@:/?# '\"%\\\\é=&]{6,14}",
            place in 0_usize..7,
        ) {
            let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
            let address = match place {
                0 => format!("postgres://me:{password}@host:1/base"),
                1 => format!("mongodb://me:{password}@host:1/base?appName=x"),
                2 => format!("postgres://host:1/base?password={password}"),
                3 => format!("mongodb://host/base?authMechanismProperties=AWS_SESSION_TOKEN:{password}"),
                4 => format!("host=host password='{quoted}' user=me"),
                5 => format!("host=host password={password} user=me"),
                _ => format!("mongodb:/me:{password}@host/base"),
            };
            let shown = [without_credentials(&address), masked(&address).unwrap_or(address)];
            let characters: Vec<char> = password.chars().collect();
            // Two characters of an address, such as `:/`, may be a piece by chance.
            for piece in characters.windows(4) {
                let piece: String = piece.iter().collect();
                if piece.contains(['Q', 'X', 'Z']) {
                    prop_assert!(shown.iter().all(|text| !text.contains(&piece)), "{:?}", shown);
                }
            }
        }
    }
}
