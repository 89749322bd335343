//! Staging directories that were damaged, and those that cannot be used: each case has a message
//! of its own, and the run can go on once the cause is gone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use mongodb::bson::doc;

use crate::support::{docferry, shown, write_dump};

const PIPELINE: &str = "version = 1\nname = \"notes\"\n[tables.notes.columns]\n\
                        id = { from = \"_id\", type = \"integer\", key = true }\ntext = { type = \"text\" }\n";

struct Place(tempfile::TempDir);

impl Place {
    /// A run with an export and a transform.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::write(place.path("notes.toml"), PIPELINE).unwrap();
        place.export("first");
        let output = place.run("transform", &[]);
        assert!(output.status.success(), "{}", shown(&output));
        place
    }

    fn export(&self, text: &str) -> PathBuf {
        let dump = self.path("dump/notes");
        write_dump(
            &dump,
            "notes",
            &[doc! {"_id": 1, "text": text}, doc! {"_id": 2, "text": "same"}],
        );
        let output = self.run("export", &["--source", dump.to_str().unwrap()]);
        assert!(output.status.success(), "{}", shown(&output));
        fs::canonicalize(self.path("staging/notes/latest")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn latest(&self, name: &str) -> PathBuf {
        self.path("staging/notes/latest").join(name)
    }

    fn run(&self, command: &str, more: &[&str]) -> Output {
        let mut docferry = docferry();
        docferry.arg(command).arg(self.path("notes.toml"));
        docferry.arg("--staging").arg(self.path("staging")).args(more).output().unwrap()
    }

    /// A transform of everything anew.
    fn transform_again(&self) -> Output {
        static TIMES: AtomicU32 = AtomicU32::new(0);
        let times = TIMES.fetch_add(1, Ordering::Relaxed);
        fs::write(self.path("notes.toml"), format!("{PIPELINE}# {times}\n")).unwrap();
        self.run("transform", &[])
    }
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) -> Vec<u8> {
    let before = fs::read(path).unwrap();
    let text = change(String::from_utf8(before.clone()).unwrap());
    fs::write(path, text).unwrap();
    before
}

#[track_caller]
fn assert_refused(output: &Output, code: i32, part: &str) {
    assert_eq!(output.status.code(), Some(code), "{}", shown(output));
    assert!(shown(output).contains(part), "{part}: {}", shown(output));
}

#[test]
fn a_manifest_that_is_cut_off_edited_or_of_another_version_is_named() {
    let place = Place::new();
    let manifest = place.latest("export/manifest.json");
    let before = edit(&manifest, |text| text[..text.len() / 2].to_owned());
    assert_refused(&place.transform_again(), 12, "is not a readable export manifest");
    fs::write(&manifest, &before).unwrap();
    edit(&manifest, |text| text.replace("\"documents\": 2", "\"documents\": 3"));
    assert_refused(&place.transform_again(), 12, "is not as it was written");
    fs::write(&manifest, &before).unwrap();
    edit(&manifest, |text| text.replace("\"format_version\": 1", "\"format_version\": 99"));
    assert_refused(
        &place.transform_again(),
        12,
        "has format version 99, this docferry reads version 1",
    );
    fs::write(&manifest, &before).unwrap();
    assert!(place.transform_again().status.success());
    fs::remove_file(&manifest).unwrap();
    assert_refused(&place.transform_again(), 10, "has no finished export");
}

#[test]
fn a_part_that_is_cut_off_missing_or_of_another_run_is_named() {
    let place = Place::new();
    let part = place.latest("export/notes/part-00000.parquet");
    let before = fs::read(&part).unwrap();
    fs::write(&part, &before[..before.len() - 7]).unwrap();
    assert_refused(&place.transform_again(), 12, "bytes instead of");
    fs::remove_file(&part).unwrap();
    assert_refused(&place.transform_again(), 1, "could not read");
    let other = place.export("second");
    fs::write(other.join("export/notes/part-00000.parquet"), &before).unwrap();
    fs::write(&part, &before).unwrap();
    let first = fs::read_dir(place.path("staging/notes"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_dir() && !path.is_symlink() && *path != other)
        .unwrap();
    fs::write(first.join("export/notes/part-00000.parquet"), &before).unwrap();
    let run = first.file_name().unwrap().to_str().unwrap().to_owned();
    let expected = format!("belongs to run {run}: there it is export/notes/part-00000.parquet");
    assert_refused(&place.transform_again(), 12, &expected);
}

#[test]
fn a_staging_directory_of_somebody_else_is_named_with_its_owner() {
    let place = Place::new();
    let staging = place.path("staging");
    let root = fs::metadata(&staging).unwrap().uid() == 0;
    let lock = place.path("staging/notes");
    if !root {
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o500)).unwrap();
        fs::remove_file(lock.join(".lock")).ok();
    }
    fs::set_permissions(place.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut docferry = std::process::Command::new(assert_cmd::cargo::cargo_bin!("docferry"));
    docferry
        .arg("export")
        .arg(place.path("notes.toml"))
        .arg("--source")
        .arg(place.path("dump/notes"));
    docferry.arg("--staging").arg(&staging);
    if root {
        docferry.uid(65_534).gid(65_534);
    }
    let Ok(output) = docferry.output() else {
        eprintln!("skipped: another user may not run the program here");
        return;
    };
    assert_refused(&output, 1, "It belongs to user");
    if !root {
        fs::set_permissions(&lock, fs::Permissions::from_mode(0o700)).unwrap();
    }
    assert!(place.transform_again().status.success(), "its owner goes on");
}

#[test]
fn two_commands_on_one_pipeline_exclude_each_other_and_a_dead_one_does_not() {
    let place = Place::new();
    let path = place.path("staging/notes/.lock");
    // What a process that died has left says nothing: the lock was the operating system's.
    fs::write(&path, "process 1").unwrap();
    assert!(place.transform_again().status.success());
    let held = fs::File::open(&path).unwrap();
    held.lock().unwrap();
    assert_refused(&place.transform_again(), 11, "is held by another docferry process");
    drop(held);
    assert!(place.transform_again().status.success());
}
