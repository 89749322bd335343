//! Connections: servers that do not answer, poolers, options of the address, and signals meanwhile.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use crate::homes::{Place, book, two_authors};
use crate::support::{may_start, project, server, shown};

/// A port at which connections are accepted and nothing is ever said.
fn silent() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Every command that connects to a PostgreSQL.
fn commands(place: &Place, target: &str) -> Vec<Command> {
    let pipeline = place.path("books.toml");
    let pipeline = pipeline.to_str().unwrap();
    let staging = place.path("staging");
    let staging = staging.to_str().unwrap();
    [
        vec!["load", pipeline, "--target", target, "--staging", staging],
        vec!["load", pipeline, "--target", target, "--staging", staging, "--dry-run"],
        vec!["verify", pipeline, "--target", target, "--staging", staging],
        vec!["rollback", "latest", "--target", target],
    ]
    .into_iter()
    .map(|arguments| {
        let mut docferry = Command::new(env!("CARGO_BIN_EXE_docferry"));
        docferry.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        docferry
    })
    .collect()
}

fn stop(child: &Child) {
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_server_that_does_not_answer_is_named_and_keeps_nobody_from_ending() {
    let Some(place) = Place::new("docferry_silent") else { return };
    place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    let (listener, port) = silent();
    let address = format!("postgres://me:topsecret@127.0.0.1:{port}/shop?connect_timeout=");
    for mut command in commands(&place, &format!("{address}1")) {
        let output = command.output().unwrap();
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let expected = format!("127.0.0.1:{port}/shop did not open a session within 1 seconds");
        assert!(text.contains(&expected) && text.contains("pooler"), "{text}");
    }
    // Whoever connects has it written down by then.
    for mut command in commands(&place, &format!("{address}600")) {
        while listener.set_nonblocking(true).is_ok() && listener.accept().is_ok() {}
        let child = command.spawn().unwrap();
        listener.set_nonblocking(false).unwrap();
        let held = listener.accept().unwrap();
        stop(&child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", shown(&output));
        drop(held);
    }
}

#[test]
fn a_signal_ends_an_export_whose_server_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.toml"), "version = 1\nname = \"p\"\n").unwrap();
    let (listener, port) = silent();
    let child = Command::new(env!("CARGO_BIN_EXE_docferry"))
        .arg("export")
        .arg(folder.path().join("p.toml"))
        .args([
            "--source",
            &format!("mongodb://127.0.0.1:{port}/shop?serverSelectionTimeoutMS=600000"),
        ])
        .arg("--staging")
        .arg(folder.path().join("staging"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _held = listener.accept().unwrap();
    stop(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", shown(&output));
}

#[test]
fn options_of_the_address_hold_and_those_of_docferry_too() {
    let Some(place) = Place::new("docferry_options") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    place.sql(
        "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'docferry_hasty') THEN \
         EXECUTE 'DROP OWNED BY docferry_hasty'; EXECUTE 'DROP ROLE docferry_hasty'; END IF; \
         IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'docferry_owner') THEN \
         EXECUTE 'CREATE ROLE docferry_owner'; END IF; END $$; \
         CREATE ROLE docferry_hasty LOGIN SUPERUSER; \
         ALTER ROLE docferry_hasty SET search_path = public; GRANT docferry_owner TO docferry_hasty",
    );
    let database = place.address.rsplit_once('/').unwrap().1;
    place.sql(&format!("GRANT CREATE, TEMPORARY ON DATABASE {database} TO docferry_owner"));
    let target = place.address.replace("postgres@", "docferry_hasty@");
    // One that the address itself states is meant for docferry.
    let stated = format!("{target}?options=-c%20statement_timeout%3D1ms");
    let output = place.run("load", &["--target", &stated, "--run", &run]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("statement timeout"), "{}", shown(&output));
    let options = "?options=-c%20statement_timeout%3D0%20-c%20role%3Ddocferry_owner\
                   %20-c%20TimeZone%3DAsia%2FTokyo%20-c%20search_path%3Dpublic";
    let target = format!("{target}{options}");
    for command in ["load", "verify"] {
        let output = place.run(command, &["--target", &target, "--run", &run]);
        assert!(output.status.success(), "{command}: {}", shown(&output));
    }
    let owners = "SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE schemaname IN ('app', 'docferry')";
    assert_eq!(place.text(owners), "docferry_owner");
    let mut rollback = Command::new(env!("CARGO_BIN_EXE_docferry"));
    let output = rollback.args(["rollback", "latest", "--target", &target]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    place.sql("DROP OWNED BY docferry_owner; DROP OWNED BY docferry_hasty; DROP ROLE docferry_hasty, docferry_owner");
}

/// A PgBouncer of the test's own.
struct Pooler(PathBuf);

impl Pooler {
    fn new(place: &Place, mode: &str) -> (Self, String) {
        use std::os::unix::fs::PermissionsExt;
        let folder = place.path(mode);
        std::fs::create_dir(&folder).unwrap();
        // Its own user must come to it.
        for folder in [place.folder.path(), &folder] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let port = place.address.rsplit_once(':').unwrap().1.split_once('/').unwrap().0;
        let output = Command::new(project("scripts/servers"))
            .arg("pgbouncer")
            .arg(&folder)
            .args([port, mode])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        let database = place.address.rsplit_once('/').unwrap().1;
        let address = format!("{}/{database}", String::from_utf8(output.stdout).unwrap().trim());
        (Self(folder), address)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ =
            Command::new(project("scripts/servers")).arg("stop-pgbouncer").arg(&self.0).status();
    }
}

#[test]
fn a_pooler_that_shares_its_sessions_is_refused_and_keeps_nothing() {
    if server("DOCFERRY_TEST_POSTGRES").is_none() || !may_start() {
        return;
    }
    let Some(place) = Place::new("docferry_pooler") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    let (shared, address) = Pooler::new(&place, "transaction");
    for _ in 0..3 {
        for mut command in commands(&place, &address) {
            let output: Output = command.output().unwrap();
            let text = shown(&output);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains("is a pooler") && text.contains("session mode"), "{text}");
        }
    }
    // Its sessions are as they were: no lock, no setting.
    let settings = place.runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&address, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let sql = "SELECT current_setting('search_path') || ' ' \
                   || coalesce(current_setting('docferry.session', true), '')";
        let messages = client.simple_query(sql).await.unwrap();
        messages.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    });
    assert_eq!(settings.as_deref(), Some("\"$user\", public "));
    assert_eq!(place.text("SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' \
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"), "0");
    drop(shared);
    let (_sessions, address) = Pooler::new(&place, "session");
    for command in ["load", "verify"] {
        let output = place.run(command, &["--target", &address, "--run", &run]);
        assert!(output.status.success(), "{command}: {}", shown(&output));
    }
    let mut rollback = Command::new(env!("CARGO_BIN_EXE_docferry"));
    let output = rollback.args(["rollback", "latest", "--target", &address]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
}
