//! No spelling of an address shows its password, wherever it is said.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use mongodb::bson::doc;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::support::write_dump;

/// Letters of passwords: pieces of four occur nowhere else.
const PASSWORD: &str = "[QXZ]{2}[QXZ@:/?# '\"%\\\\é&=]{2,10}[QXZ]{2}";

/// Shortest piece of a password that may not be seen.
const PIECE: usize = 4;

/// Each byte as a URL writes it.
fn encoded(text: &str) -> String {
    let bytes: Vec<String> = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    bytes.concat()
}

/// Addresses of a place where nothing listens, with a password in each position.
fn addresses(password: &str) -> Vec<String> {
    let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
    let encoded = encoded(password);
    let at = "127.0.0.1:1";
    let options = "serverSelectionTimeoutMS=10&directConnection=true";
    vec![
        format!("postgres://me:{password}@{at}/base"),
        format!("postgresql://me:{password}@{at}/base?sslmode=disable"),
        format!("postgres://{password}@{at}/base"),
        format!("postgres://{at}/base?user=me&password={password}"),
        format!("postgres://{at}/base?sslpassword={password}"),
        format!("postgres://{at}/base?nonsense={password}&port={password}"),
        format!("postgres:/me:{password}@{at}/base"),
        format!("postgress://me:{password}@{at}/base"),
        format!("postgres://me:{password}/base"),
        format!("host=127.0.0.1 port=1 user=me password='{quoted}' dbname=base"),
        format!("host=127.0.0.1 port=1 user=me password='{password}' dbname=base"),
        format!("host=127.0.0.1 port=1 password={password} user=me"),
        format!("password = {password} host=127.0.0.1 port=1"),
        format!("hots=127.0.0.1 password='{password}'"),
        format!("host=127.0.0.1 sslpassword='{quoted}'"),
        format!("mongodb://me:{password}@{at}/base?{options}"),
        format!("mongodb://me:{encoded}@{at}/base?{options}"),
        format!("mongodb://{password}@{at}/base?{options}"),
        format!(
            "mongodb://{at}/base?{options}&authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:{password}"
        ),
        format!(
            "mongodb://{at}/base?{options}&tlsCertificateKeyFilePassword={password}&password={password}"
        ),
        format!("mongodb+srv://me:{password}@{at}/base"),
        format!("mongodb:/me:{password}@{at}/base"),
        format!("mysql://me:{password}@{at}/base"),
        format!("me:{password}@{at}/base"),
        format!("sqlite:me:{password}@x.db"),
        format!("dump#me:{password}@x"),
        format!("PGPASSWORD={password}"),
    ]
}

/// The pieces of a password, and of what a URL makes of it. Those of separators alone occur in any
/// address.
fn pieces(password: &str) -> Vec<String> {
    let encoded = encoded(password);
    let windows = |text: &str| -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        characters.windows(PIECE).map(|window| window.iter().collect()).collect()
    };
    let mut pieces = windows(password);
    pieces.retain(|piece| piece.contains(['Q', 'X', 'Z']));
    // Six encoded bytes.
    pieces.extend(encoded.as_bytes().chunks(18).map(|c| String::from_utf8_lossy(c).into_owned()));
    pieces.retain(|piece| piece.chars().count() >= PIECE);
    pieces
}

struct Job {
    folder: tempfile::TempDir,
}

impl Job {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pipeline = "version = 1\nname = \"p\"\n[tables.people.columns]\n\
                        id = { from = \"_id\", type = \"integer\", key = true }\n";
        fs::write(folder.path().join("p.toml"), pipeline).unwrap();
        write_dump(&folder.path().join("dump"), "people", &[doc! {"_id": 1}]);
        let job = Self { folder };
        for arguments in [vec!["export", "--source", &job.path("dump")], vec!["transform"]] {
            assert!(job.command(&arguments, &[]).status().unwrap().success());
        }
        job
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, arguments: &[&str], more: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("docferry"));
        command.arg(arguments[0]);
        let run = ["restore", "restore-check", "audit", "dump", "rollback"];
        if run.contains(&arguments[0]) {
            command.arg("latest");
        } else {
            command.arg(self.path("p.toml"));
        }
        command.args(&arguments[1..]).args(more);
        if !["generate", "rollback"].contains(&arguments[0]) {
            command.args(["--staging", &self.path("staging")]);
        }
        command.current_dir(self.folder.path());
        command.env_remove("MONGODB_URI").env_remove("DATABASE_URL").stdin(Stdio::null());
        command
    }

    /// All that is said and written when a command gets an address.
    fn said(&self, arguments: &[&str], file: Option<&str>, events: bool) -> String {
        let (metrics, told) = (self.path("m.prom"), self.path("told.json"));
        let notify = format!("cat >> {told}");
        let more = ["--log-format", "json", "--json", "--metrics", &metrics, "--notify", &notify];
        if let Some(address) = file {
            let path = self.path("address");
            fs::write(&path, address).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&path, mode).unwrap();
        }
        let mut said = String::new();
        {
            let more = if events { &more[..] } else { &[] };
            let output = self.command(arguments, more).output().unwrap();
            let failed = output.status.code().is_some_and(|code| !matches!(code, 0 | 101));
            assert!(failed, "{arguments:?}: {output:?}");
            said += &String::from_utf8_lossy(&output.stdout);
            said += &String::from_utf8_lossy(&output.stderr);
        }
        for file in [metrics, told] {
            said += &fs::read_to_string(&file).unwrap_or_default();
            let _ = fs::remove_file(&file);
        }
        said
    }
}

#[test]
fn no_piece_of_a_password_is_said() {
    let job = Job::new();
    let mut runner = TestRunner::new(Config { cases: 4, ..Config::default() });
    let spellings = addresses("").len();
    let ways: [(&[&str], bool); 12] = [
        (&["export", "--source"], false),
        (&["export", "--source-file", "address"], true),
        (&["load", "--target"], false),
        (&["verify", "--target-file", "address"], true),
        (&["restore", "--to"], false),
        (&["restore-check", "--scratch"], false),
        (&["restore-check", "--scratch", "@address"], true),
        (&["dump", "--target"], false),
        (&["rollback", "--target"], false),
        // A mistake: an address where another thing belongs.
        (&["audit"], false),
        (&["load", "--run"], false),
        (&["export", "--threads"], false),
    ];
    // Each case tries every spelling, each in one of the ways.
    runner
        .run(&(PASSWORD, 0..ways.len()), |(password, first)| {
            for (at, address) in addresses(&password).iter().enumerate() {
                let (arguments, by_file) = ways[(first + at) % ways.len()];
                let mut arguments = arguments.to_vec();
                if !by_file {
                    arguments.push(address);
                }
                let said = job.said(&arguments, by_file.then_some(address), at % 3 > 0);
                for piece in pieces(&password) {
                    prop_assert!(
                        !said.contains(&piece),
                        "{piece} of {address}\n{arguments:?}\n{said}"
                    );
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(spellings > 20);
    // A mistyped address makes no folder of its name.
    let mut names: Vec<_> = fs::read_dir(job.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["address", "dump", "p.toml", "staging"]);
}

#[test]
fn no_piece_of_a_password_is_in_the_list_of_processes() {
    let job = Job::new();
    // A server that takes the connection and says nothing, so that the process is there to be seen.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("127.0.0.1:{}", listener.local_addr().unwrap().port());
    let port = listener.local_addr().unwrap().port().to_string();
    let password = "QXZQ /x' \"ZXé\\%QQXX";
    let quoted = password.replace('\\', "\\\\").replace('\'', "\\'");
    let encoded = encoded(password);
    let mut given: Vec<(&str, &str, String)> = Vec::new();
    for (command, option) in [("load", "--target"), ("export", "--source")] {
        given.push((
            command,
            option,
            format!("postgres://me:{encoded}@{place}/base?sslmode=disable"),
        ));
    }
    given.push(("export", "--source", format!("mongodb://me:{encoded}@{place}/base")));
    given.push((
        "load",
        "--target",
        format!("postgres://{place}/base?user=me&sslmode=disable&password={encoded}"),
    ));
    given.push((
        "load",
        "--target",
        format!("host=127.0.0.1 port={port} sslmode=disable password='{quoted}' user=me dbname=b"),
    ));
    for (command, option, address) in given {
        for joined in [false, true] {
            let argument = format!("{option}={address}");
            let arguments =
                if joined { vec![command, &argument] } else { vec![command, option, &address] };
            let mut process = job.command(&arguments, &["--notify", "true password=QXZQZX"]);
            let child = process.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            // It has connected: the list of processes is as it stays.
            let (sender, accepted) = channel();
            let server = listener.try_clone().unwrap();
            std::thread::spawn(move || sender.send(server.accept()));
            let connection = accepted.recv().unwrap().unwrap();
            let line = fs::read(format!("/proc/{}/cmdline", child.id())).unwrap();
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut child = child;
            child.kill().unwrap();
            child.wait().unwrap();
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            drop(connection);
            assert!(line.contains("docferry") && line.contains(command), "{line}");
            for piece in pieces(password).iter().chain(&["QXZQ".to_owned()]) {
                assert!(!line.contains(piece.as_str()), "{piece} in {line:?}");
                assert!(!said.contains(piece.as_str()), "{piece} in {said:?}");
            }
        }
    }
}

#[test]
fn an_address_that_is_not_percent_encoded_is_refused_with_the_way_out() {
    let job = Job::new();
    for (arguments, address) in [
        (["load", "--target"], "postgres://plain:s3@cr3t@127.0.0.1/envt"),
        (["load", "--target"], "postgres://plain:s3/cr3t@127.0.0.1/envt"),
        (["load", "--target"], "postgres://plain:s3?cr3t@127.0.0.1/envt"),
        (["export", "--source"], "mongodb://plain:s3#cr3t@127.0.0.1/envt"),
        (["export", "--source"], "mongodb://plain:s3@cr3t@127.0.0.1/envt"),
        (["restore", "--to"], "mongodb://plain:s3@cr3t@127.0.0.1/envt"),
    ] {
        let output = job.command(&[arguments[0], arguments[1], address], &[]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("ercent-encode") && !said.contains("cr3t"), "{said}");
    }
}
