//! Addresses of PostgreSQL: what libpq's options mean, against servers that insist on them.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use docferry::conninfo;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::homes::{Place, book, two_authors};
use crate::support::{docferry, may_start, project, server, shown};

/// A PostgreSQL with a certificate of its own, as packages set one up.
struct Stock {
    folder: tempfile::TempDir,
    port: String,
}

impl Stock {
    fn new() -> Option<Self> {
        server("DOCFERRY_TEST_POSTGRES")?;
        if !may_start() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut start = Command::new(project("scripts/servers"));
        let output = start.arg("stock-postgres").arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        let port = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        Some(Self { folder, port })
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join("files").join(name).display().to_string()
    }

    /// Looks at the server by `doctor`, as an address says.
    fn look(&self, user: &str, rest: &str) -> Output {
        let at = format!("postgres://{user}@127.0.0.1:{}/postgres{rest}", self.port);
        self.look_at(&at)
    }

    fn look_at(&self, address: &str) -> Output {
        docferry()
            .args(["doctor", "--target", address])
            .env("HOME", self.folder.path())
            .output()
            .unwrap()
    }
}

impl Drop for Stock {
    fn drop(&mut self) {
        let mut stop = Command::new(project("scripts/servers"));
        let _ = stop.arg("stop-postgres").arg(self.folder.path().join("postgres")).status();
    }
}

#[test]
fn sslmode_means_what_it_means_to_libpq() {
    let Some(stock) = Stock::new() else { return };
    let roles = "CREATE ROLE only_tls LOGIN; CREATE ROLE only_plain LOGIN; CREATE ROLE by_cert LOGIN; \
                 CREATE ROLE by_password LOGIN PASSWORD 'pass word'";
    let place = Place::at(&format!("postgres://postgres@127.0.0.1:{}/postgres", stock.port));
    place.sql(roles);
    let own = stock.file("localhost.crt");
    let other = stock.file("by_cert.crt");
    let key = stock.file("by_cert.key");
    let by_cert = format!("&sslcert={other}&sslkey={key}");
    // None is a connection; a text is what the error says.
    let cases: Vec<(&str, String, Option<&str>)> = vec![
        // A server with a certificate that nobody knows is reached without further ado.
        ("only_tls", String::new(), None),
        ("only_tls", "?sslmode=prefer".into(), None),
        ("only_tls", "?sslmode=allow".into(), None),
        ("only_tls", "?sslmode=require".into(), None),
        ("only_tls", "?ssl=true".into(), None),
        ("only_tls", "?sslmode=require&sslsni=0&ssl_min_protocol_version=TLSv1.3".into(), None),
        ("only_tls", "?sslmode=require&ssl_max_protocol_version=TLSv1.2".into(), None),
        ("only_tls", "?sslmode=disable".into(), Some("pg_hba.conf")),
        ("only_plain", String::new(), None),
        ("only_plain", "?sslmode=allow".into(), None),
        ("only_plain", "?sslmode=disable".into(), None),
        ("only_plain", "?sslmode=require".into(), Some("pg_hba.conf")),
        // The file of an authority makes `require` look.
        ("only_tls", format!("?sslmode=require&sslrootcert={own}"), None),
        ("only_tls", format!("?sslmode=require&sslrootcert={other}"), Some("not trusted")),
        ("only_tls", format!("?sslmode=verify-ca&sslrootcert={own}"), None),
        ("only_tls", "?sslmode=verify-ca".into(), Some("sslrootcert=FILE")),
        ("only_tls", "?sslmode=verify-full".into(), Some("not trusted")),
        ("only_tls", "?sslaccept=strict".into(), Some("not trusted")),
        // Its name is another one.
        ("only_tls", format!("?sslmode=verify-full&sslrootcert={own}"), Some("not trusted")),
        (
            "only_tls",
            format!("?sslmode=verify-full&sslrootcert={own}&host=localhost&hostaddr=127.0.0.1"),
            None,
        ),
        ("by_cert", format!("?sslmode=require{by_cert}"), None),
        ("by_cert", "?sslmode=require".into(), Some("certificate")),
        ("by_cert", format!("?sslmode=require&sslcert={other}"), Some("needs sslkey=FILE")),
        ("by_password:pass%20word", "?sslmode=require&channel_binding=require".into(), None),
        (
            "by_password:pass%20word",
            "?sslmode=disable&channel_binding=require".into(),
            Some("channel binding"),
        ),
        ("by_password:wrong", String::new(), Some("Check user and password")),
    ];
    for (user, rest, error) in cases {
        let output = stock.look(user, &rest);
        let text = shown(&output);
        match error {
            None => assert!(matches!(output.status.code(), Some(0 | 4)), "{user} {rest}: {text}"),
            Some(error) => {
                assert_eq!(output.status.code(), Some(1), "{user} {rest}: {text}");
                assert!(text.contains(error), "{user} {rest}: {text}");
            }
        }
        assert!(!text.contains("pass word"), "{text}");
    }
    // What is not said is found in libpq's own folder.
    let folder = stock.folder.path().join(".postgresql");
    fs::create_dir(&folder).unwrap();
    fs::copy(&other, folder.join("root.crt")).unwrap();
    let text = shown(&stock.look("only_tls", "?sslmode=require"));
    assert!(text.contains("not trusted"), "{text}");
}

#[test]
fn other_ways_to_name_a_database_lead_to_it() {
    let Some(stock) = Stock::new() else { return };
    let place = Place::at(&format!("postgres://postgres@127.0.0.1:{}/postgres", stock.port));
    place.sql("CREATE ROLE by_password LOGIN PASSWORD 'p?w &d''\\'");
    let port = &stock.port;
    let reached = |output: &Output| {
        assert!(matches!(output.status.code(), Some(0 | 4)), "{}", shown(output));
    };
    // A value of key=value text holds any character.
    reached(&stock.look_at(&format!(
        "host=127.0.0.1 port={port} user=by_password password='p?w &d\\'\\\\' dbname=postgres sslmode=require"
    )));
    // As a file of variables for containers has it.
    reached(
        &stock
            .look_at(&format!("\"postgresql://postgres@127.0.0.1:{port}/postgres?schema=public\"")),
    );
    // The first host does not answer, the second refuses, the third is it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = silent.local_addr().unwrap().port();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let hosts = format!("127.0.0.1:{mute},127.0.0.1:{gone},127.0.0.1:{port}");
    reached(&stock.look_at(&format!("postgres://postgres@{hosts}/postgres?connect_timeout=1")));
    let at = format!("postgres://postgres@127.0.0.1:{port}/postgres?target_session_attrs=");
    for (wanted, found) in [
        ("primary", true),
        ("read-write", true),
        ("any", true),
        ("prefer-standby", true),
        ("standby", false),
        ("read-only", false),
    ] {
        let output = stock.look_at(&format!("{at}{wanted}"));
        if found {
            reached(&output);
        } else {
            assert!(shown(&output).contains("target_session_attrs"), "{}", shown(&output));
        }
    }
    // A service, with its password in the password file.
    let home = stock.folder.path();
    let service =
        format!("[shop]\nhost=127.0.0.1\nport={port}\nuser=by_password\ndbname=postgres\n");
    fs::write(home.join(".pg_service.conf"), service).unwrap();
    let passwords = home.join(".pgpass");
    fs::write(&passwords, format!("127.0.0.1:{port}:*:by_password:p?w &d'\\\\\n")).unwrap();
    fs::set_permissions(&passwords, fs::Permissions::from_mode(0o600)).unwrap();
    reached(&stock.look_at("service=shop"));
    reached(&stock.look_at("postgres:///?service=shop"));
    let output =
        docferry().arg("doctor").env("HOME", home).env("PGSERVICE", "shop").output().unwrap();
    reached(&output);
    // The options of an address hold, beside those of docferry.
    let option = "?options=-c%20search_path%3Dpublic%20-c%20role%3Dnobody";
    let output = stock.look("postgres", option);
    assert!(shown(&output).contains("nobody"), "{}", shown(&output));
}

#[test]
fn the_address_of_a_prisma_project_is_understood() {
    let Some(place) = Place::new("docferry_prisma_url") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    let options = "connection_limit=1&pgbouncer=true&pool_timeout=0&sslaccept=accept_invalid_certs";
    let address = format!("{}?schema=app&{options}", place.address);
    let output = place.run("load", &["--target", &address, "--run", &run]);
    let text = shown(&output);
    assert!(output.status.success(), "{text}");
    let said = "without effect here: connection_limit, pgbouncer, pool_timeout, sslaccept";
    assert_eq!(text.matches(said).count(), 1, "{text}");
    for command in ["load", "verify"] {
        let address = format!("{}?schema=public", place.address);
        let output = place.run(command, &["--target", &address, "--run", &run]);
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("schema=public") && text.contains("schema `app`"), "{text}");
    }
}

#[test]
fn limits_of_roles_and_databases_do_not_end_a_load() {
    let Some(place) = Place::new("docferry_limits") else { return };
    let hook = place.path("slow.sql");
    // Longer than every limit.
    fs::write(&hook, "SELECT pg_sleep(0.4);\n").unwrap();
    let pipeline = fs::read_to_string(place.path("books.toml")).unwrap();
    let hooks = "\n[hooks]\nafter_load = [\"slow.sql\"]\n";
    fs::write(place.path("books.toml"), format!("{pipeline}{hooks}")).unwrap();
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    let database = place.address.rsplit_once('/').unwrap().1;
    for limit in ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] {
        place.sql(&format!("ALTER DATABASE {database} SET {limit} = '200ms'"));
    }
    let output = place.load(&run, &[]);
    assert!(output.status.success(), "{}", shown(&output));
    place.verify(&run);
    let output = place.run("doctor", &["--target", &place.address]);
    assert!(shown(&output).contains("statement_timeout = 200ms"), "{}", shown(&output));
}

#[test]
fn a_role_that_may_create_in_its_schemas_only_can_load() {
    let Some(place) = Place::new("docferry_least") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    let database = place.address.rsplit_once('/').unwrap().1;
    place.sql(&format!(
        "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'docferry_least_role') THEN \
         CREATE ROLE docferry_least_role LOGIN; END IF; END $$; \
         REVOKE CREATE ON DATABASE {database} FROM docferry_least_role"
    ));
    let target = place.address.replace("postgres@", "docferry_least_role@");
    let load = || place.run("load", &["--target", &target, "--run", &run]);
    let output = load();
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for cure in [
        "CREATE SCHEMA \"docferry\" AUTHORIZATION \"docferry_least_role\"",
        "CREATE SCHEMA \"app\" AUTHORIZATION \"docferry_least_role\"",
    ] {
        assert!(text.contains(cure), "{text}");
        place.sql(cure);
    }
    let output = load();
    assert!(output.status.success(), "{}", shown(&output));
    let output = place.run("verify", &["--target", &target, "--run", &run]);
    assert!(output.status.success(), "{}", shown(&output));
    let mut rollback = docferry();
    let output = rollback.args(["rollback", "latest", "--target", &target]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    // The schema was there before.
    assert_eq!(place.text("SELECT count(*)::text FROM pg_namespace WHERE nspname = 'app'"), "1");
    // In a schema of another it needs two rights only.
    place.sql("DROP SCHEMA app CASCADE; CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO docferry_least_role");
    let text = shown(&load());
    let cure = "GRANT USAGE, CREATE ON SCHEMA \"app\" TO \"docferry_least_role\"";
    assert!(text.contains(cure), "{text}");
    place.sql(cure);
    let output = load();
    assert!(output.status.success(), "{}", shown(&output));
    place.sql("DROP OWNED BY docferry_least_role CASCADE; DROP ROLE docferry_least_role");
}

#[test]
fn a_file_for_certificates_that_is_none_is_named() {
    let Some(place) = Place::new("docferry_no_certs") else { return };
    let empty: PathBuf = place.path("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    let address = format!("{}?sslmode=verify-full&sslrootcert={}", place.address, empty.display());
    let output = docferry().args(["doctor", "--target", &address]).output().unwrap();
    let text = shown(&output);
    assert!(text.contains("empty.pem: the file holds no certificate"), "{text}");
}

/// Lets libpq itself read addresses: a list of texts in, a list of its parameters out.
const LIBPQ: &str = r#"
import ctypes, json, sys
try:
    libpq = ctypes.CDLL("libpq.so.5")
except OSError:
    sys.exit(77)
class Option(ctypes.Structure):
    texts = "keyword", "variable", "compiled", "value", "label", "shown"
    _fields_ = [(name, ctypes.c_char_p) for name in texts] + [("size", ctypes.c_int)]
libpq.PQconninfoParse.restype = ctypes.POINTER(Option)
libpq.PQconninfoFree.argtypes = [ctypes.POINTER(Option)]
def parse(text):
    options = libpq.PQconninfoParse(text.encode(), None)
    if not options:
        return None
    found, at = {}, 0
    while options[at].keyword:
        if options[at].value:
            found[options[at].keyword.decode()] = options[at].value.decode("utf-8", "replace")
        at += 1
    libpq.PQconninfoFree(options)
    return found
json.dump([parse(text) for text in json.load(sys.stdin)], sys.stdout)
"#;

/// An address, well formed for the most part.
fn any_address() -> impl Strategy<Value = String> {
    let user = prop::sample::select(vec!["", "u@", "u%40:p@", ":p%2F@", "u::p@", "u:@"]);
    let name = prop::sample::select(vec!["h", "[::1]", "%2Frun", "", "h.x", "10.0.0.1"]);
    let port = prop::sample::select(vec!["", ":1", ":", ":5432"]);
    let hosts =
        prop::collection::vec((name, port).prop_map(|(name, port)| format!("{name}{port}")), 0..4);
    let path = prop::sample::select(vec!["", "/", "/d", "/d%2Fe", "/d/e"]);
    let key = prop::sample::select(vec!["host", "port", "sslmode", "user", "options", "hostaddr"]);
    let value = prop::sample::select(vec!["x", "", "%2F", "a b", "a+b", "%zz", "é", "1,2"]);
    let query = (key, value).prop_map(|(key, value)| format!("{key}={value}"));
    let query = prop::collection::vec(query, 0..3);
    let uri = (user, hosts, path, query).prop_map(|(user, hosts, path, query)| {
        format!("postgres://{user}{}{path}?{}", hosts.join(","), query.join("&"))
    });
    let key = prop::sample::select(vec!["host", "port", "user", "password", "dbname"]);
    let joint = prop::sample::select(vec!["=", " = ", "= ", "\t="]);
    let value =
        prop::sample::select(vec!["x", "'a b'", "''", "a\\ b", "'it\\'s'", "'x", "x'y", "\\"]);
    let end = prop::sample::select(vec![" ", "\n", "  "]);
    let pair = (key, joint, value, end)
        .prop_map(|(key, joint, value, end)| format!("{key}{joint}{value}{end}"));
    let pairs = prop::collection::vec(pair, 0..4).prop_map(|pairs| pairs.concat());
    prop_oneof![uri, pairs]
}

#[test]
fn no_address_is_taken_for_another_than_libpq_takes_it_for() {
    let mut runner = TestRunner::deterministic();
    let texts: Vec<String> =
        (0..4000).map(|_| any_address().new_tree(&mut runner).unwrap().current()).collect();
    let mut python = Command::new("python3")
        .args(["-c", LIBPQ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = serde_json::to_vec(&texts).unwrap();
    std::io::Write::write_all(&mut python.stdin.take().unwrap(), &input).unwrap_or_default();
    let output = python.wait_with_output().unwrap();
    if output.status.code() == Some(77) {
        eprintln!("libpq is not there: addresses are not compared with it");
        return;
    }
    let theirs: Vec<Option<BTreeMap<String, String>>> =
        serde_json::from_slice(&output.stdout).unwrap();
    let mut read = 0;
    for (text, theirs) in texts.iter().zip(theirs) {
        let own =
            if conninfo::is_uri(text) { conninfo::uri(text).ok() } else { conninfo::pairs(text) };
        // What docferry refuses is no other database.
        let Some(own) = own else { continue };
        let mut own: BTreeMap<String, String> = own.into_iter().collect();
        let mut theirs = theirs.unwrap_or_else(|| panic!("{text:?}: libpq refuses it: {own:?}"));
        for parameters in [&mut own, &mut theirs] {
            // Ports that are all left out are none.
            parameters.retain(|key, value| {
                !value.is_empty() && (key != "port" || value.chars().any(|letter| letter != ','))
            });
        }
        assert_eq!(own, theirs, "{text:?}");
        read += 1;
    }
    assert!(read > 1500, "{read} were read");
}
