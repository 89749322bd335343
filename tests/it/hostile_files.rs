//! Staging directories that somebody else prepared: no command follows a link, waits for a pipe,
//! leaves a run or believes a folder that others can write to. And the modes of what docferry makes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use clap::CommandFactory;
use docferry::cli::Cli;
use mongodb::bson::doc;

use crate::homes::{Place, book, two_authors};
use crate::support::{shown, write_dump};

const PIPELINE: &str = "version = 1\nname = \"notes\"\n[tables.notes.columns]\n\
                        id = { from = \"_id\", type = \"integer\", key = true }\ntext = { type = \"text\" }\n";
/// Nothing listens there: whatever is refused is refused before.
const TARGET: &str = "postgres://me@127.0.0.1:1/d?connect_timeout=1";

struct Trial(tempfile::TempDir);

impl Trial {
    /// A run with an export and a transform, beside a file of somebody else.
    fn new() -> Self {
        let trial = Self(tempfile::tempdir().unwrap());
        fs::write(trial.path("notes.toml"), PIPELINE).unwrap();
        fs::write(trial.path("victim"), "mine").unwrap();
        write_dump(&trial.path("dump/notes"), "notes", &[doc! {"_id": 1, "text": "a"}]);
        for step in [trial.export(&[]), trial.run(&["transform", "PIPELINE"])] {
            assert!(step.status.success(), "{}", shown(&step));
        }
        trial
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn staged(&self, name: &str) -> PathBuf {
        {
            let run = fs::canonicalize(self.path("staging/notes/latest")).unwrap();
            if name.is_empty() { run } else { run.join(name) }
        }
    }

    fn export(&self, more: &[&str]) -> Output {
        let source = self.path("dump/notes");
        let command = ["export", "PIPELINE", "--source", source.to_str().unwrap()];
        self.run(&[&command, more].concat())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let pipeline = self.path("notes.toml");
        let arguments = arguments
            .iter()
            .map(|text| if *text == "PIPELINE" { pipeline.to_str().unwrap() } else { text });
        Command::new(env!("CARGO_BIN_EXE_docferry"))
            .args(arguments)
            .arg("--staging")
            .arg(self.path("staging"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Every command that uses a run, as it is called here.
    fn commands(&self) -> Vec<Vec<String>> {
        let to = self.path("back").to_str().unwrap().to_owned();
        let source = self.path("dump/notes").to_str().unwrap().to_owned();
        let commands: Vec<Vec<String>> = [
            "transform PIPELINE",
            "load PIPELINE --target TARGET",
            "load PIPELINE --target TARGET --dry-run",
            "verify PIPELINE --target TARGET",
            "trace PIPELINE notes 1",
            "rejects PIPELINE",
            "audit latest",
            "audit latest --hashes",
            "audit latest --read-data",
            "show latest notes",
            "restore latest --to BACK",
            "restore-check latest --scratch mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=10",
            "dump latest --target TARGET",
            "export PIPELINE --source SOURCE --resume",
            "backup PIPELINE --source SOURCE --resume",
            "run PIPELINE --source SOURCE --target TARGET --resume",
            "prune PIPELINE --keep-last 1",
            "runs PIPELINE",
        ]
        .iter()
        .map(|line| {
            let words = line.split(' ').map(|word| match word {
                "TARGET" => TARGET.to_owned(),
                "BACK" => to.clone(),
                "SOURCE" => source.clone(),
                word => word.to_owned(),
            });
            words.collect()
        })
        .collect();
        let tried: BTreeSet<&str> = commands.iter().map(|words| words[0].as_str()).collect();
        let cli = Cli::command();
        // `doctor` looks for room in the folder, and at no run.
        let staging = |command: &&clap::Command| {
            command.get_name() != "doctor"
                && command.get_arguments().any(|argument| argument.get_long() == Some("staging"))
        };
        for command in cli.get_subcommands().filter(staging) {
            assert!(tried.contains(command.get_name()), "{} is not tried", command.get_name());
        }
        commands
    }

    /// Every command that uses what is wrong refuses it by name, and nothing of others is touched.
    #[track_caller]
    fn assert_refused(&self, code: i32, parts: &[&str], but: &[&str]) {
        for words in self.commands() {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let output = self.run(&words);
            let text = shown(&output);
            // `run --resume` asks the target first; its stages are tried one by one.
            if words[0] != "run" && !but.contains(&words[0]) {
                assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
                for part in parts {
                    assert!(text.contains(part), "{words:?}: {part}: {text}");
                }
            }
            assert_eq!(fs::read_to_string(self.path("victim")).unwrap(), "mine", "{words:?}");
        }
    }
}

/// Those that list runs say what they find of each.
const LISTS: [&str; 2] = ["runs", "prune"];

#[test]
fn nothing_is_reached_through_a_link_in_a_run() {
    let trial = Trial::new();
    for name in
        ["export/notes/part-00000.parquet", "transform/manifest.json", "run.json", "SHA256SUMS"]
    {
        let path = trial.staged(name);
        let aside = trial.path("aside");
        fs::rename(&path, &aside).unwrap();
        symlink(&aside, &path).unwrap();
        trial.assert_refused(
            12,
            &["is a symbolic link", path.file_name().unwrap().to_str().unwrap()],
            &LISTS,
        );
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    // A folder on the way, with sound files behind it.
    let folder = trial.staged("export");
    fs::rename(&folder, trial.path("aside")).unwrap();
    symlink(trial.path("aside"), &folder).unwrap();
    trial.assert_refused(12, &["export is a symbolic link"], &LISTS);
    fs::remove_file(&folder).unwrap();
    fs::rename(trial.path("aside"), &folder).unwrap();
    // The link to the newest run leads to a neighbour only.
    let run = trial.staged("");
    fs::rename(&run, trial.path("aside")).unwrap();
    let latest = trial.path("staging/notes/latest");
    fs::remove_file(&latest).unwrap();
    symlink(trial.path("aside"), &latest).unwrap();
    trial.assert_refused(12, &["is a symbolic link"], &["runs", "prune", "export", "backup"]);
}

#[test]
fn a_lock_that_is_a_link_empties_no_file() {
    let trial = Trial::new();
    for name in [".lock", ".seal"] {
        let path = trial.path("staging/notes").join(name);
        let _ = fs::remove_file(&path);
        symlink(trial.path("victim"), &path).unwrap();
        for words in trial.commands() {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let output = trial.run(&words);
            assert_eq!(fs::read_to_string(trial.path("victim")).unwrap(), "mine", "{words:?}");
            if name == ".lock"
                && ["transform", "load", "export"].contains(&words[0])
                && !words.contains(&"--dry-run")
            {
                assert_eq!(output.status.code(), Some(12), "{words:?}: {}", shown(&output));
            }
        }
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn pipes_and_devices_are_named_and_not_waited_for() {
    let trial = Trial::new();
    for name in [
        "export/notes/part-00000.parquet",
        "transform/notes/part-00000.parquet",
        "export/manifest.json",
    ] {
        let path = trial.staged(name);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        trial.assert_refused(12, &["is a named pipe"], &LISTS);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn paths_of_manifests_and_journals_stay_in_their_run() {
    for path in ["/dev/zero", "../../../../victim", "export/../../../../victim"] {
        let trial = Trial::new();
        let manifest = trial.staged("export/manifest.json");
        let sums = trial.staged("export/SHA256SUMS");
        let before = fs::read_to_string(&manifest).unwrap();
        let list = fs::read_to_string(&sums).unwrap();
        let own = "export/notes/part-00000.parquet";
        let text = before.replace(own, path);
        assert_ne!(text, before);
        fs::write(&manifest, &text).unwrap();
        // The hashes are as consistent as somebody who knows the format makes them.
        let sha256 = |bytes: &[u8]| docferry::staging::checksum::sha256_hex(bytes);
        let hashes = list.replace(&sha256(before.as_bytes()), &sha256(text.as_bytes()));
        fs::write(&sums, hashes).unwrap();
        trial.assert_refused(
            12,
            &["leads out of the run"],
            &[
                "runs",
                "prune",
                "rejects",
                "show",
                "load",
                "verify",
                "dump",
                "restore-check",
                "export",
                "backup",
            ],
        );
    }
    // An export that was stopped, with a journal of somebody else.
    let trial = Trial::new();
    let run = trial.staged("");
    fs::remove_file(run.join("export/manifest.json")).unwrap();
    let victim = trial.path("victim");
    let outside = trial.path("moved");
    for (renames, removes) in [
        (format!("[[{victim:?}, {outside:?}]]"), "[]".to_owned()),
        ("[[\"../../../victim\", \"export/x\"]]".to_owned(), "[]".to_owned()),
        ("[]".to_owned(), format!("[{victim:?}]")),
        ("[]".to_owned(), "[\"../../../victim\"]".to_owned()),
    ] {
        let entry = format!(
            "{{\"event\": \"ordered\", \"collection\": \"notes\", \"parts\": [], \
             \"renames\": {renames}, \"removes\": {removes}}}\n"
        );
        fs::write(run.join("export/journal.jsonl"), entry).unwrap();
        let output = trial.export(&["--resume"]);
        assert_eq!(output.status.code(), Some(12), "{}", shown(&output));
        assert!(shown(&output).contains("leads out of the run"), "{}", shown(&output));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
        assert!(!outside.exists());
    }
}

#[test]
fn folders_that_others_can_write_to_are_refused_unless_they_are_trusted() {
    let trial = Trial::new();
    let root = fs::metadata(trial.0.path()).unwrap().uid() == 0;
    let change = |path: &Path, owner: Option<u32>, mode: u32| {
        if let Some(owner) = owner {
            std::os::unix::fs::chown(path, Some(owner), None).unwrap();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let run = trial.staged("");
    for path in
        [trial.path("staging"), trial.path("staging/notes"), run.clone(), run.join("export")]
    {
        let mut ways = vec![(None, 0o777, "mode 0777")];
        if root {
            ways.push((Some(65_534), 0o700, "belongs to user 65534"));
        }
        for (owner, mode, said) in ways {
            change(&path, owner, mode);
            trial.assert_refused(1, &[said, path.to_str().unwrap(), "--trust-staging"], &LISTS);
            let output = trial.run(&["audit", "latest", "--read-data", "--trust-staging"]);
            assert!(output.status.success(), "{}", shown(&output));
            change(&path, root.then_some(0), 0o700);
        }
    }
    // A directory as /tmp is one, and one that only a group of one's own shares.
    for mode in [0o1777, 0o770] {
        change(&trial.path("staging"), None, mode);
        let output = trial.run(&["audit", "latest"]);
        assert!(output.status.success(), "{mode:o}: {}", shown(&output));
    }
}

/// Every file below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        if meta.is_dir() {
            files(&path, found);
        } else if meta.is_file() {
            found.push(path);
        }
    }
}

#[test]
fn every_file_that_a_command_makes_is_for_its_owner_alone() {
    let Some(place) = Place::new("docferry_modes_of_files") else { return };
    let mut given = Vec::new();
    place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    fs::remove_dir_all(place.path("staging")).unwrap();
    files(place.folder.path(), &mut given);
    let database = rusqlite::Connection::open(place.path("given.db")).unwrap();
    database
        .execute_batch(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, 'x')",
        )
        .unwrap();
    given.push(place.path("given.db"));
    for umask in ["000", "022"] {
        let script = format!(
            "set -e; umask {umask}; rm -rf staging out; mkdir -m 700 out; \
             $D backup books.toml --source dump/books --metrics out/metrics.prom; \
             $D run books.toml --source dump/books --target \"$T\"; $D audit latest --read-data; \
             $D dump latest --target \"$T\"; $D rollback latest --target \"$T\"; \
             $D restore latest --to out/dump; $D restore latest --to out/x.archive; \
             $D plan dump/books -o out/drafted.toml; $D plan given.db -o out/t.toml; \
             sed -i 's/^name = .*/name = \"t\"/' out/t.toml; chmod 600 out/t.toml; \
             $D export out/t.toml --source given.db; $D restore t/latest --to sqlite:out/back.db; \
             $D generate books.toml --documents 3 --to out/made --planted out/planted.json; \
             $D generate out/t.toml --documents 3 --to sqlite:out/made.db"
        );
        let output = Command::new("bash")
            .arg("-c")
            .arg(script)
            .current_dir(place.folder.path())
            .env("D", env!("CARGO_BIN_EXE_docferry"))
            .env("T", &place.address)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", shown(&output));
        let mut found = Vec::new();
        files(place.folder.path(), &mut found);
        assert!(found.len() > given.len() + 30, "{found:?}");
        for path in found.iter().filter(|path| !given.contains(path)) {
            let mode = fs::metadata(path).unwrap().mode() & 0o777;
            // Numbers for a collector that runs as another user.
            let expected = if path.ends_with("metrics.prom") { 0o644 } else { 0o600 };
            assert_eq!(mode, expected, "{umask} {}", path.display());
        }
    }
}

/// Whoever reads the dump folder of somebody else does not wait for what he put there.
#[test]
fn a_pipe_in_a_dump_is_named_and_not_waited_for() {
    let trial = Trial::new();
    for name in ["other.bson", "other.metadata.json", "prelude.json"] {
        let path = trial.path("dump/notes").join(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut export = Command::new(env!("CARGO_BIN_EXE_docferry"));
        export
            .arg("export")
            .arg(trial.path("notes.toml"))
            .arg("--source")
            .arg(trial.path("dump/notes"));
        export.arg("--staging").arg(trial.path("other")).process_group(0);
        let output = export.output().unwrap();
        let text = shown(&output);
        assert!(text.contains(&format!("{name} (no regular file)")), "{name}: {text}");
        fs::remove_file(&path).unwrap();
    }
}
