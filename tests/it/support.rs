//! What the tests share: the program, folders, servers.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Mutex, MutexGuard, PoisonError};

use assert_cmd::Command;
use mongodb::bson::{Document, RawDocumentBuf};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

/// The program.
pub(crate) fn docferry() -> Command {
    let mut command = Command::cargo_bin("docferry").unwrap();
    command.env_remove("MONGODB_URI").env_remove("DATABASE_URL");
    command
}

/// The address of a server, or a visible skip; a failure where servers are required.
pub(crate) fn server(variable: &str) -> Option<String> {
    let address = std::env::var(variable).ok();
    if address.is_none() {
        assert!(std::env::var_os("DOCFERRY_TEST_REQUIRE").is_none(), "{variable} is not set");
        eprintln!("skipped: {variable} is not set");
    }
    address
}

/// The scripts may start one more server: only where servers are required. A visible skip otherwise.
pub(crate) fn may_start() -> bool {
    let may = std::env::var_os("DOCFERRY_TEST_REQUIRE").is_some();
    if !may {
        eprintln!("skipped: it starts a server of its own");
    }
    may
}

/// A server has one `failCommand`: tests that use it take turns.
pub(crate) fn failpoint() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same server with a database in the URI.
pub(crate) fn with_database(uri: &str, database: &str) -> String {
    uri.replacen("/?", &format!("/{database}?"), 1)
}

/// Writes a collection as mongodump would.
pub(crate) fn write_dump(folder: &Path, collection: &str, documents: &[Document]) {
    std::fs::create_dir_all(folder).unwrap();
    let bytes: Vec<u8> = documents
        .iter()
        .flat_map(|document| RawDocumentBuf::try_from(document).unwrap().into_bytes())
        .collect();
    std::fs::write(folder.join(format!("{collection}.bson")), bytes).unwrap();
}

/// A file of the project.
pub(crate) fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Connects to a new database of this name.
pub(crate) async fn fresh_database(server: &str, name: &str) -> (Client, String) {
    let connect = |address: String| async move {
        let (client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    };
    let admin = connect(server.to_owned()).await;
    admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let address = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    (connect(address.clone()).await, address)
}

/// The folder of real files, or a visible skip.
pub(crate) fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("DOCFERRY_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: DOCFERRY_TEST_DATA is not set");
    }
    folder
}

/// All that a command printed.
pub(crate) fn shown(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// All that others see of a database: definitions, rows, sequences.
pub(crate) fn state(address: &str) -> Vec<String> {
    let dump = std::process::Command::new("pg_dump")
        .args(["--inserts", "--exclude-schema=docferry", "--dbname", address])
        .output()
        .unwrap();
    assert!(dump.status.success(), "{}", shown(&dump));
    let text = String::from_utf8(dump.stdout).unwrap();
    // Rows have no order of their own; the key of a dump changes each time.
    let (mut rows, mut rest): (Vec<String>, Vec<String>) = text
        .lines()
        .filter(|line| !line.is_empty() && !line.contains("restrict"))
        .map(str::to_owned)
        .partition(|line| line.starts_with("INSERT"));
    rows.sort();
    rest.extend(rows);
    rest
}

#[track_caller]
pub(crate) fn assert_same(left: &[String], right: &[String]) {
    let missing = |left: &[String], right: &[String]| {
        left.iter().filter(|line| !right.contains(line)).cloned().collect::<Vec<_>>().join("\n")
    };
    let (gone, new) = (missing(left, right), missing(right, left));
    assert!(left == right, "only before:\n{gone}\nonly after:\n{new}");
}

/// Makes up a database that fits a pipeline file of the project, a SQLite file or a dump in this
/// folder; its address and the pipeline file.
pub(crate) fn generated(name: &str, folder: &Path, more: &[&str]) -> (String, PathBuf) {
    let pipeline = project(&format!("pipelines/{name}.toml"));
    let relational = ["assessment-bot", "neo-alexandria"].contains(&name);
    let place = folder.join(if relational { "file.db" } else { "dump/generated" });
    let to = format!("{}{}", if relational { "sqlite:" } else { "" }, place.display());
    let output = docferry()
        .args(["generate", pipeline.to_str().unwrap(), "--to", &to, "--documents", "1500"])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    (to, pipeline)
}

/// A pipeline that was run into a database of its own.
pub(crate) struct Migrated {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) runtime: Runtime,
    pub(crate) client: Client,
    pub(crate) address: String,
    pub(crate) output: Output,
}

/// Runs a pipeline on a source, into a new database.
pub(crate) fn migrate(pipeline: &Path, source: &str, database: &str) -> Option<Migrated> {
    migrate_with(pipeline, source, database, "", &[])
}

/// The same with more options, into a database where this SQL was run before.
pub(crate) fn migrate_with(
    pipeline: &Path,
    source: &str,
    database: &str,
    before: &str,
    options: &[&str],
) -> Option<Migrated> {
    let server = server("DOCFERRY_TEST_POSTGRES")?;
    Some(migrate_to(&server, pipeline, source, database, before, options))
}

/// The same on this server.
pub(crate) fn migrate_to(
    server: &str,
    pipeline: &Path,
    source: &str,
    database: &str,
    before: &str,
    options: &[&str],
) -> Migrated {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(server, database));
    runtime.block_on(client.batch_execute(before)).unwrap();
    let output = docferry()
        .args(["run", pipeline.to_str().unwrap(), "--source", source, "--target", &address])
        .args(options)
        .arg("--staging")
        .arg(folder.path().join("staging"))
        .output()
        .unwrap();
    Migrated { folder, runtime, client, address, output }
}

impl Migrated {
    pub(crate) fn shown(&self) -> String {
        shown(&self.output)
    }

    /// The first column of each row, as text.
    pub(crate) fn rows(&self, sql: &str) -> Vec<String> {
        let rows = self.runtime.block_on(self.client.query(sql, &[])).unwrap();
        rows.iter().map(|row| row.get::<_, Option<String>>(0).unwrap_or("NULL".into())).collect()
    }

    /// The folder of the newest run.
    pub(crate) fn run(&self) -> PathBuf {
        let staging = std::fs::read_dir(self.folder.path().join("staging")).unwrap();
        staging.map(|entry| entry.unwrap().path()).next().unwrap().join("latest")
    }

    /// The run's report.
    pub(crate) fn report(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.run().join("report.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Nothing differs, every record is accounted for, and the last line says how many arrived:
    /// "every row is proved" only where all of them did.
    #[track_caller]
    pub(crate) fn assert_proved(&self) {
        let report = self.report();
        assert_eq!(report["proved"], true, "{}", self.shown());
        let number = |sums: &serde_json::Value, name: &str| sums[name].as_u64().unwrap();
        let mut lost = 0;
        let collections = report["collections"].as_array().unwrap();
        for sums in [&report["records"], &report["elements"]].into_iter().chain(collections) {
            let [arrived, rejected, merged, dropped] =
                ["arrived", "rejected", "merged", "dropped"].map(|name| number(sums, name));
            assert_eq!(number(sums, "read"), arrived + rejected + merged + dropped, "{sums}");
            lost += rejected + dropped;
        }
        let arrived = number(&report["records"], "arrived");
        let last = self.shown();
        let last = last.lines().find(|line| line.starts_with("run ")).unwrap();
        let verdict = report["verdict"].as_str().unwrap();
        assert!(last.ends_with(verdict), "{}", self.shown());
        let end = match (lost, arrived) {
            (_, 0) => "nothing is proved",
            (0, _) => "every row is proved",
            _ => "what arrived is proved",
        };
        // What was left out of the proof is in the same line.
        assert!(verdict.contains(end), "{verdict}");
        assert!(!verdict.contains("the documents were not read again"), "{verdict}");
        for of in report["documents"]["collections"].as_array().unwrap() {
            let ended = ["equal", "ruled", "rejected"].map(|name| number(of, name));
            assert_eq!(number(of, "leaves"), ended.iter().sum::<u64>(), "{of}");
            assert_eq!(number(of, "different"), 0, "{of}");
        }
    }

    /// So many records and elements of arrays were read, so many of them are rejects, the others
    /// are proved.
    #[track_caller]
    pub(crate) fn assert_whole(&self, records: u64, rejects: u64) {
        assert_eq!(
            self.output.status.code(),
            Some(if rejects == 0 { 0 } else { 3 }),
            "{}",
            self.shown()
        );
        self.assert_proved();
        let report = self.report();
        let (mut read, mut rejected) = (0, 0);
        for table in report["tables"].as_array().unwrap() {
            if table["junction"].is_null() {
                read += table["records"].as_u64().unwrap();
                rejected += table["rejects"].as_u64().unwrap();
            }
        }
        assert_eq!((read, rejected), (records, rejects), "{}", self.shown());
    }

    /// After a rollback there are no tables.
    #[track_caller]
    pub(crate) fn assert_rollback(&self) {
        let output =
            docferry().args(["rollback", "latest", "--target", &self.address]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(self.rows("SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"), Vec::<String>::new());
    }
}

/// A PostgreSQL of the test's own.
pub(crate) struct Spare(PathBuf);

impl Spare {
    pub(crate) fn new(folder: &Path) -> (Self, String) {
        Self::made(folder, "postgres", &[])
    }

    /// One that has this extension.
    pub(crate) fn extended(folder: &Path, extension: &str) -> (Self, String) {
        Self::made(folder, "extended-postgres", &[extension])
    }

    fn made(folder: &Path, command: &str, more: &[&str]) -> (Self, String) {
        use std::os::unix::fs::PermissionsExt;
        // Its own user must come to it.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.join("postgres");
        let output = std::process::Command::new(project("scripts/servers"))
            .arg(command)
            .arg(&path)
            .args(more)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        let address = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        (Self(path), address)
    }

    pub(crate) fn command(&self, command: &str) {
        let status = std::process::Command::new(project("scripts/servers"))
            .arg(command)
            .arg(&self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let _ = std::process::Command::new(project("scripts/servers"))
            .arg("stop-postgres")
            .arg(&self.0)
            .status();
    }
}
