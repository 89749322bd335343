//! Commands that nobody watches: events, metrics, notices, and secrets that stay secret.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use mongodb::Client;
use mongodb::bson::{Document, doc};
use tokio::runtime::Runtime;

use crate::support::{docferry, fresh_database, project, server, shown, with_database, write_dump};

const PIPELINE: &str = r#"
version = 1
name = "quiet"
[tables.orders.columns]
id = { from = "_id", type = "integer", key = true }
state = { type = "text" }
"#;

struct Job {
    folder: tempfile::TempDir,
}

impl Job {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("quiet.toml"), PIPELINE).unwrap();
        let documents: Vec<Document> = (0..100).map(|n| doc! {"_id": n, "state": "new"}).collect();
        write_dump(&folder.path().join("dump/shop"), "orders", &documents);
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn backup(&self, more: &[&str]) -> Output {
        docferry()
            .arg("backup")
            .arg(self.path("quiet.toml"))
            .arg("--source")
            .arg(self.path("dump/shop"))
            .arg("--staging")
            .arg(self.path("staging"))
            .args(more)
            .output()
            .unwrap()
    }
}

fn events(output: &Output) -> Vec<serde_json::Value> {
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

#[test]
fn events_are_one_json_document_a_line() {
    let job = Job::new();
    let output = job.backup(&["--log-format", "json"]);
    assert!(output.status.success(), "{}", shown(&output));
    let events = events(&output);
    let done = events.iter().find(|event| event["event"] == "done").unwrap();
    assert_eq!((&done["stage"], &done["collection"]), (&"export".into(), &"orders".into()));
    assert_eq!(done["records"], 100);
    assert!(done["run"].is_string() && done["seconds"].is_number() && done["at"].is_string());
    let last = events.last().unwrap();
    assert_eq!((&last["event"], &last["exit"]), (&"finished".into(), &0.into()));

    fs::remove_dir_all(job.path("dump")).unwrap();
    fs::create_dir_all(job.path("dump/shop")).unwrap();
    let output = job.backup(&["--log-format", "json"]);
    let last = self::events(&output).pop().unwrap();
    assert_eq!((&last["event"], &last["exit"]), (&"failed".into(), &2.into()));
    assert!(last["error"].as_str().unwrap().contains("no .bson files"), "{last}");

    let output = job.backup(&["--quiet"]);
    assert!(shown(&output).contains("no .bson files"), "errors are said all the same");
}

/// The value of a metric.
fn metric(file: &Path, name: &str) -> i64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap();
    assert!(line.contains(r#"{command="backup",pipeline="quiet"}"#), "{line}");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn metrics_tell_the_last_success_after_a_failure_too() {
    let job = Job::new();
    let file = job.path("docferry.prom");
    let told = job.path("told.json");
    let notify = format!("cat > {}; test $DOCFERRY_EXIT = 0", told.display());
    let arguments = ["--metrics", file.to_str().unwrap(), "--notify", &notify];
    let output = job.backup(&arguments);
    assert!(output.status.success() && !shown(&output).contains("warning"), "{}", shown(&output));
    assert_eq!(metric(&file, "docferry_documents"), 100);
    assert_eq!(metric(&file, "docferry_rejects"), 0);
    assert!(metric(&file, "docferry_bytes") > 1000);
    assert!(metric(&file, "docferry_snapshot_age_seconds") < 3600);
    let success = metric(&file, "docferry_last_success_timestamp_seconds");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
    assert_eq!((&report["command"], &report["exit"]), (&"backup".into(), &0.into()));
    assert_eq!(report["result"]["export"]["collections"][0]["documents"], 100);

    fs::remove_dir_all(job.path("dump/shop")).unwrap();
    let output = job.backup(&arguments);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("--notify ended with"), "{}", shown(&output));
    assert_eq!(metric(&file, "docferry_last_run_exit_status"), 2);
    assert_eq!(metric(&file, "docferry_last_success_timestamp_seconds"), success);
    assert_eq!(metric(&file, "docferry_documents"), 100);
    let report: serde_json::Value = serde_json::from_slice(&fs::read(&told).unwrap()).unwrap();
    assert!(report["error"].as_str().unwrap().contains("no source"), "{report}");
}

/// All that there is in a folder, as text.
fn content(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &content(&path);
        } else {
            text += &String::from_utf8_lossy(&fs::read(path).unwrap());
        }
    }
    text
}

const SECRETS: [&str; 3] = ["URIsecret", "FILEsecret", "ENVsecret"];

#[track_caller]
fn assert_secret(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

/// Command lines of a process and of those it started.
fn command_lines(process: u32) -> String {
    let mut text = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<u32>().ok()
        };
        if of("Pid:") == Some(process) || of("PPid:") == Some(process) {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            text += &String::from_utf8_lossy(&line);
        }
    }
    text
}

#[test]
fn passwords_stay_where_they_were_given() {
    let (Some(mongodb), Some(postgres)) =
        (server("DOCFERRY_TEST_MONGODB"), server("DOCFERRY_TEST_POSTGRES"))
    else {
        return;
    };
    let job = Job::new();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let database = Client::with_uri_str(&mongodb).await.unwrap().database("docferry_secret");
        database.drop().await.unwrap();
        let _ = database.run_command(doc! {"dropUser": "ferry"}).await;
        database
            .run_command(doc! {"createUser": "ferry", "pwd": "URIsecret", "roles": ["readWrite"]})
            .await
            .unwrap();
        let documents = (0..30_000).map(|n| doc! {"_id": n, "state": "new"});
        database.collection("orders").insert_many(documents).await.unwrap();
    });
    let (_, target) = runtime.block_on(fresh_database(&postgres, "docferry_secret"));
    let source = with_database(&mongodb, "docferry_secret")
        .replace("mongodb://", "mongodb://ferry:URIsecret@");
    // Nobody is asked for a password there, so that any will do.
    let file = job.path("target.uri");
    fs::write(&file, target.replace("postgres@", "postgres:FILEsecret@")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let metrics = job.path("docferry.prom");
    let told = job.path("told.json");
    let notify = format!("(env; cat) > {}", told.display());
    let command = || {
        let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin!("docferry"));
        command
            .arg("run")
            .arg(job.path("quiet.toml"))
            .args(["--source", &source, "--target-file", file.to_str().unwrap()])
            .args(["--log-format", "json", "--notify", &notify, "--metrics"])
            .arg(&metrics)
            .arg("--staging")
            .arg(job.path("staging"))
            .env("PGPASSWORD", "ENVsecret");
        command
    };
    let output = command().output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("chmod 600"), "{}", shown(&output));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!job.path("staging").exists(), "no run begins without its target");

    let mut child = command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut text = String::new();
    said.read_line(&mut text).unwrap();
    let seen = command_lines(child.id());
    assert!(seen.contains("docferry"), "{seen}");
    assert_secret(&seen);
    said.read_to_string(&mut text).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_secret(&text);
    assert_secret(&shown(&output));
    assert_secret(&content(&job.path("staging")));
    assert_secret(&fs::read_to_string(&metrics).unwrap());
    assert_secret(&fs::read_to_string(&told).unwrap());
}

#[test]
fn errors_hold_no_password() {
    let job = Job::new();
    let pipeline = job.path("quiet.toml");
    let run = |arguments: &[&str]| {
        let output = docferry()
            .args([arguments[0], pipeline.to_str().unwrap()])
            .args(&arguments[1..])
            .arg("--staging")
            .arg(job.path("staging"))
            .env("PGPASSWORD", "ENVsecret")
            .output()
            .unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        let text = shown(&output);
        assert!(text.contains("error:"), "{text}");
        assert_secret(&text);
    };
    for source in [
        "mongodb://u:URIsecret@127.0.0.1:1/db?serverSelectionTimeoutMS=10",
        "mongodb://u:URIsecret@",
        "mongodb://u:URI/URIsecret@h:1:2/db",
        "mongodb://u:URIsecret@h/db?nonsense=URIsecret&tls=perhaps",
        "mongodb://u:%zzURIsecret@h/db",
        "mongodb+srv://u:URIsecret@h:27017/db",
        "mysql://u:URIsecret@h/db",
        "mongodb:/u:URIsecret@h/db",
        "postgres://u:URIsecret@127.0.0.1:1/db",
        "mongodb://h/db?authMechanism=MONGODB-X509&tlsCertificateKeyFilePassword=URIsecret&tlsCAFile=/none",
    ] {
        run(&["export", "--source", source]);
    }
    let dump = job.path("dump/shop");
    for target in [
        "postgres://u:URIsecret@127.0.0.1:1/db",
        "postgres://u:URIsecret@h:port/db",
        "postgres://u:URIsecret@h/db?nonsense=URIsecret",
        "host=127.0.0.1 port=1 user=u password=URIsecret",
        "host=h password=URIsecret nonsense",
        "postgres://u:URIsecret@h/db?sslrootcert=/none&sslmode=require&connect_timeout=x",
    ] {
        run(&["run", "--source", dump.to_str().unwrap(), "--target", target]);
        run(&["load", "--target", target]);
    }
    run(&["restore", "--to", "mongodb://u:URIsecret@127.0.0.1:1/db?serverSelectionTimeoutMS=10"]);
}

/// A program that not every machine has.
fn installed(name: &str) -> bool {
    let found = std::process::Command::new(name).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {name} is not installed");
    }
    found
}

#[test]
fn the_examples_for_systemd_and_cron_are_sound() {
    let program = assert_cmd::cargo::cargo_bin!("docferry");
    // Each command of the crontab has arguments that are understood.
    let text = fs::read_to_string(project("scripts/crontab.example")).unwrap();
    let commands: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.split_once("docferry ")?.1))
        .collect();
    assert_eq!(commands.len(), 4);
    for command in commands {
        let line = format!("{} {} --help", program.display(), command.replace(">/dev/null", ""));
        let line = line.replace("\\%", "%");
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        assert!(output.status.success(), "{line}: {}", shown(&output));
    }
    if !installed("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (unit, name) in [
        ("docferry-backup@.service", "docferry-backup@shop.service"),
        ("docferry-backup@.timer", "docferry-backup@shop.timer"),
    ] {
        let text = fs::read_to_string(project("scripts/systemd").join(unit)).unwrap();
        let text = text.replace("/usr/local/bin/docferry", program.to_str().unwrap());
        fs::write(folder.path().join(name), text).unwrap();
    }
    let output = std::process::Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(
            ["docferry-backup@shop.service", "docferry-backup@shop.timer"]
                .map(|name| folder.path().join(name)),
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(!shown(&output).contains("docferry-backup@"), "{}", shown(&output));
}

/// Servers that speak TLS; stopped at the end.
struct TlsServers(tempfile::TempDir, Vec<String>);

impl TlsServers {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Their own user must come to it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let output = std::process::Command::new(project("scripts/servers"))
            .arg("tls")
            .arg(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        Self(folder, lines.lines().map(str::to_owned).collect())
    }
}

impl Drop for TlsServers {
    fn drop(&mut self) {
        let mut stop = std::process::Command::new(project("scripts/servers"));
        let _ = stop.arg("stop-tls").arg(self.0.path()).status();
    }
}

#[test]
fn servers_with_an_own_authority_are_reached_once_it_is_named() {
    // Where servers are required the scripts can start more.
    if server("DOCFERRY_TEST_POSTGRES").is_none() || !installed("openssl") {
        return;
    }
    let servers = TlsServers::new();
    let [mongodb, postgres, authority] = servers.1.as_slice() else { panic!("{:?}", servers.1) };
    let job = Job::new();
    let pipeline = job.path("quiet.toml");
    let trusted = format!("{}&tlsCAFile={authority}", with_database(mongodb, "quiet"));
    let run = |arguments: &[&str]| {
        let mut command = docferry();
        command.arg(arguments[0]).arg(&pipeline).args(&arguments[1..]);
        command.arg("--staging").arg(job.path("staging")).output().unwrap()
    };
    let output = docferry()
        .args(["generate", pipeline.to_str().unwrap(), "--documents", "200", "--to", &trusted])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let unknown = format!("{}&serverSelectionTimeoutMS=500", with_database(mongodb, "quiet"));
    let output = run(&["export", "--source", &unknown]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let strict = format!("{postgres}?sslmode=verify-full");
    let output = run(&["run", "--source", &trusted, "--target", &strict]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let named = format!("{strict}&sslrootcert={authority}");
    let output = run(&["run", "--source", &trusted, "--target", &named]);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}", shown(&output));
    assert!(shown(&output).contains(" is proved"), "{}", shown(&output));
    // pg_dump is told the same.
    let output = docferry()
        .args(["dump", "quiet/latest", "--target", &named, "--staging"])
        .arg(job.path("staging"))
        .output()
        .unwrap();
    // A build of pg_dump without TLS cannot be told.
    let knows = !shown(&output).contains("SSL support is not compiled in");
    assert!(output.status.success() || !knows, "{}", shown(&output));
}
