//! The two texts by which libpq's programs name a database, read as libpq reads them: `key=value`
//! pairs and URIs (PostgreSQL manual, "Connection Strings"). What a parameter means is not known
//! here.

use percent_encoding::percent_decode_str;

/// Parameters of libpq (PostgreSQL 18 manual, "Parameter Key Words").
pub const PARAMETERS: [&str; 54] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "require_auth",
    "channel_binding",
    "connect_timeout",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "keepalives_retries",
    "tcp_user_timeout",
    "replication",
    "gssencmode",
    "sslmode",
    "requiressl",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslcertmode",
    "sslkeylogfile",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requirepeer",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "min_protocol_version",
    "max_protocol_version",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "target_session_attrs",
    "load_balance_hosts",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
    "authtype",
];

/// Parameters in the order of the text; a later one of a name replaces an earlier one.
pub type Pairs = Vec<(String, String)>;

/// Whether a text is a URI of PostgreSQL. SQLAlchemy names its driver in the scheme.
pub fn is_uri(text: &str) -> bool {
    after_scheme(text).is_some()
}

fn after_scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let (name, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
    let known = matches!(name, "postgres" | "postgresql");
    (known && driver.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(rest)
}

/// Reads `key=value` text (`conninfo_parse` of libpq); none where it is malformed.
pub fn pairs(text: &str) -> Option<Pairs> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return None;
        }
        let after = after.trim_start();
        let (value, after) = value(after)?;
        found.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    Some(found)
}

/// A value and what follows it.
fn value(text: &str) -> Option<(String, &str)> {
    let quoted = text.strip_prefix('\'');
    let inner = quoted.unwrap_or(text);
    let (mut value, mut characters) = (String::new(), inner.char_indices());
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if quoted.is_some() => {
                let after = &inner[index + 1..];
                let ended = after.is_empty() || after.starts_with(char::is_whitespace);
                return ended.then_some((value, after));
            }
            space if quoted.is_none() && space.is_whitespace() => {
                return Some((value, &inner[index..]));
            }
            other => value.push(other),
        }
    }
    quoted.is_none().then_some((value, ""))
}

/// Reads a URI (`conninfo_uri_parse_options` of libpq); what is wrong with it otherwise. An `=` in
/// a value stays, though libpq wants it encoded.
pub fn uri(text: &str) -> Result<Pairs, &'static str> {
    let rest = after_scheme(text).ok_or("it does not begin with postgres://")?;
    let (before, query) = rest.split_once('?').map_or((rest, None), |(b, q)| (b, Some(q)));
    let (authority, path) =
        before.split_once('/').map_or((before, None), |(authority, path)| (authority, Some(path)));
    let (user, hosts) =
        authority.split_once('@').map_or((None, authority), |(user, hosts)| (Some(user), hosts));
    let mut found = Vec::new();
    let mut add = |key: &str, value: &str| -> Result<(), &'static str> {
        found.push((key.to_owned(), decoded(value)?));
        Ok(())
    };
    if let Some(user) = user {
        let (name, password) = user.split_once(':').map_or((user, ""), |(n, p)| (n, p));
        for (key, value) in [("user", name), ("password", password)] {
            if !value.is_empty() {
                add(key, value)?;
            }
        }
    }
    let (names, ports) = hosts_and_ports(hosts)?;
    let several = names.len() > 1;
    for (key, values) in [("host", names), ("port", ports)] {
        // Several without a name are several default hosts.
        if values.iter().any(|value| !value.is_empty()) || several && key == "host" {
            add(key, &values.join(","))?;
        }
    }
    if let Some(database) = path.filter(|path| !path.is_empty()) {
        add("dbname", database)?;
    }
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        if pair.is_empty() {
            continue;
        }
        let (key, value) = pair.split_once('=').ok_or("an option of it has no `=`")?;
        add(&decoded(key)?, value)?;
    }
    Ok(found)
}

/// Hosts and ports, still encoded; addresses of IPv6 without their brackets.
fn hosts_and_ports(text: &str) -> Result<(Vec<&str>, Vec<&str>), &'static str> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for item in text.split(',') {
        let (host, port) = match item.strip_prefix('[') {
            Some(inner) => {
                let (host, after) =
                    inner.split_once(']').ok_or("an address of IPv6 in it has no `]`")?;
                if host.is_empty() {
                    return Err("an address of IPv6 in it is empty");
                }
                match after.strip_prefix(':') {
                    Some(port) => (host, port),
                    None if after.is_empty() => (host, ""),
                    None => return Err("a letter follows the `]` of an address of IPv6"),
                }
            }
            None => item.split_once(':').unwrap_or((item, "")),
        };
        hosts.push(host);
        ports.push(port);
    }
    Ok((hosts, ports))
}

/// A text with its percent-encoded bytes as what they stand for. Unlike in forms, `+` is itself.
fn decoded(text: &str) -> Result<String, &'static str> {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next(), bytes.next()];
            if digits.iter().any(|digit| !digit.is_some_and(|digit| digit.is_ascii_hexdigit())) {
                return Err("a `%` in it is not followed by two hexadecimal digits");
            }
            if digits == [Some(b'0'), Some(b'0')] {
                return Err("%00 in it stands for no character");
            }
        }
    }
    let text = percent_decode_str(text).decode_utf8();
    text.map(std::borrow::Cow::into_owned).map_err(|_| "its encoded bytes are not UTF-8")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pairs in one line, to be compared.
    fn line(pairs: &[(String, String)]) -> String {
        pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" | ")
    }

    /// URIs of libpq's own tests and manual, written anew, with what `PQconninfoParse` makes of them.
    #[test]
    fn uris_are_read_as_libpq_reads_them() {
        for (text, expected) in [
            ("postgresql://", ""),
            ("postgresql:///", ""),
            ("postgresql://localhost", "host=localhost"),
            ("postgresql://localhost:5433", "host=localhost | port=5433"),
            ("postgresql://localhost/shop", "host=localhost | dbname=shop"),
            ("postgres://ann@localhost", "user=ann | host=localhost"),
            ("postgres://ann:pw@localhost/", "user=ann | password=pw | host=localhost"),
            ("postgres://ann:@h", "user=ann | host=h"),
            ("postgres://:pw@h", "password=pw | host=h"),
            ("postgres://ann@", "user=ann"),
            ("postgres://ann:a%40b%3A%2F@h/d", "user=ann | password=a@b:/ | host=h | dbname=d"),
            ("postgres://ann:pa:ss@h", "user=ann | password=pa:ss | host=h"),
            ("postgres://a:1,b:2/d?x=y", "host=a,b | port=1,2 | dbname=d | x=y"),
            ("postgres://a,b:2/d", "host=a,b | port=,2 | dbname=d"),
            ("postgres://:1,:2/d", "host=, | port=1,2 | dbname=d"),
            ("postgres://[::1]:5/d", "host=::1 | port=5 | dbname=d"),
            ("postgres://[2001:db8::1234],c/", "host=2001:db8::1234,c"),
            ("postgres://%2Fvar%2Frun/d", "host=/var/run | dbname=d"),
            ("postgres:///d?host=/var/run&port=1", "dbname=d | host=/var/run | port=1"),
            ("postgres://?user=a&hostaddr=127.0.0.1", "user=a | hostaddr=127.0.0.1"),
            ("postgres://h?sslmode=disable", "host=h | sslmode=disable"),
            (
                "postgres://h/d?options=-c%20x%3D1%20endpoint=e",
                "host=h | dbname=d | options=-c x=1 endpoint=e",
            ),
            ("postgres://h/d?a+b=c+d", "host=h | dbname=d | a+b=c+d"),
            ("postgres://h/a%2Fb/c", "host=h | dbname=a/b/c"),
            ("postgresql+asyncpg://u@h/d", "user=u | host=h | dbname=d"),
        ] {
            assert_eq!(line(&uri(text).unwrap()), expected, "{text}");
        }
        for text in [
            "postgre://h",
            "postgres:/h",
            "postgres://[::1",
            "postgres://[]/",
            "postgres://[::1]x/",
            "postgres://h?x",
            "postgres://h/%",
            "postgres://h/%zz",
            "postgres://h/%00",
            "postgres://h/%ff",
        ] {
            assert!(uri(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pairs_are_read_as_libpq_reads_them() {
        for (text, expected) in [
            ("", ""),
            ("  ", ""),
            ("host=h dbname=d", "host=h | dbname=d"),
            ("host = h\tport =5 ", "host=h | port=5"),
            ("password='a?b c=d&e://f' user=u", "password=a?b c=d&e://f | user=u"),
            ("password='it\\'s \\\\' x=", "password=it's \\ | x="),
            ("password=a\\ b'c host=''", "password=a b'c | host="),
        ] {
            assert_eq!(line(&pairs(text).unwrap()), expected, "{text}");
        }
        for text in ["host", "host=h d", "=h", "a b=c", "password='x", "password='x'y", "x=a\\"] {
            assert_eq!(pairs(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_value_can_be_written_in_both(value in "\\PC{0,20}", other in "\\PC{0,20}") {
            let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
            let text = format!("password='{}' user='{}'", quoted(&value), quoted(&other));
            let expected = vec![
                ("password".to_owned(), value.clone()),
                ("user".to_owned(), other.clone()),
            ];
            prop_assert_eq!(pairs(&text), Some(expected.clone()));
            let encode = |text: &str| {
                percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
                    .to_string()
            };
            let text = format!("postgres://h/?password={}&user={}", encode(&value), encode(&other));
            prop_assert_eq!(&uri(&text).unwrap()[1..], &expected[..]);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(postgres://)?[a-z%0-9@:/?=&',\\\\\\[\\] é]{0,40}") {
            let _ = (uri(&text), pairs(&text));
        }
    }
}
