//! `SHA256SUMS` of a run as a whole: the hash of every file that no stage's list names, and of
//! those lists. With it nothing in a run can change unnoticed, and `sha256sum -c` sees it too.
//!
//! A stage takes away the lines of its files before it works and adds them when it ended, so that a
//! kill leaves lines out but never a wrong one, and so that what another stage wrote is not sealed
//! again after it was damaged.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::StagingError;
use super::checksum::{SUMS, listed_name, sha256_file, sum_line};
use super::journal::JOURNAL;
use super::json_file::replace;
use super::layout::{RunDirectory, io};
use super::lock::SealLock;
use super::own_files;
use super::run::RunRecord;
use crate::progress::Stage;

/// Hash by name.
type Seal = BTreeMap<String, String>;

/// Whether a stage writes this file.
fn writes(stage: Stage, name: &str) -> bool {
    let own = |folder: &str| name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let listed = |prefix: &str| {
        ["rejects/", "findings/"]
            .iter()
            .any(|list| name.strip_prefix(list).is_some_and(|rest| rest.starts_with(prefix)))
    };
    (name == "run.json" && stage != Stage::Audit)
        || match stage {
            Stage::Export => own("export") || listed("export"),
            Stage::Transform => own("transform") || listed("transform") || name == "pipeline.toml",
            Stage::Verify => name.starts_with("report."),
            Stage::Audit => name == "audit.json" || name == "report.html",
            Stage::Dump => own("dump"),
            _ => false,
        }
}

fn read(run: &RunDirectory) -> Result<Option<Seal>, StagingError> {
    let path = run.path().join(SUMS);
    let text = match own_files::read_text(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        // A flipped bit can make text that is none.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            return Err(StagingError::Foreign { path, detail: error.to_string() });
        }
        read => read.map_err(io("read", &path))?,
    };
    let mut seal = Seal::new();
    for line in text.split_inclusive('\n') {
        let parsed = line.strip_suffix('\n').and_then(listed_name);
        let Some((sha256, name)) = parsed else {
            let detail = format!("it has the line {line:?}");
            return Err(StagingError::Foreign { path, detail });
        };
        if !own_files::is_inside(&name) {
            let detail = format!("it lists {name:?}, which leads out of the run");
            return Err(StagingError::Foreign { path, detail });
        }
        seal.insert(name, sha256);
    }
    Ok(Some(seal))
}

fn write(run: &RunDirectory, seal: &Seal) -> Result<(), StagingError> {
    let text: String = seal.iter().map(|(name, sha256)| sum_line(sha256, name)).collect();
    replace(&run.path().join(SUMS), text.as_bytes())
}

/// Takes away the lines of what a stage is about to write, and lets it write `run.json`.
pub(super) fn open(
    run: &RunDirectory,
    stage: Stage,
    write: impl FnOnce() -> Result<(), StagingError>,
) -> Result<(), StagingError> {
    let _alone = SealLock::take(run);
    take_lines(run, stage)?;
    write()
}

/// Lets a stage write files of its own, and adds their lines. Nobody sees one without the other.
pub fn close<E: From<StagingError>>(
    run: &RunDirectory,
    stage: Stage,
    write: impl FnOnce() -> Result<(), E>,
) -> Result<(), E> {
    let _alone = SealLock::take(run);
    take_lines(run, stage)?;
    write()?;
    Ok(add_lines(run, stage)?)
}

fn take_lines(run: &RunDirectory, stage: Stage) -> Result<(), StagingError> {
    let Ok(Some(mut seal)) = read(run) else { return Ok(()) };
    let before = seal.len();
    seal.retain(|name, _| !writes(stage, name));
    if seal.len() == before { Ok(()) } else { write(run, &seal) }
}

/// Adds the lines of what a stage wrote. A list that cannot be read stays as it is.
fn add_lines(run: &RunDirectory, stage: Stage) -> Result<(), StagingError> {
    let Ok(seal) = read(run) else { return Ok(()) };
    let mut seal = seal.unwrap_or_default();
    seal.retain(|name, _| !writes(stage, name));
    for name in files(run)? {
        if writes(stage, &name) {
            let sha256 = sha256_file(&run.path().join(&name))?;
            seal.insert(name, sha256);
        }
    }
    write(run, &seal)
}

/// Files of a run that no stage's list names, and the lists.
fn files(run: &RunDirectory) -> Result<Vec<String>, StagingError> {
    let mut names = Vec::new();
    list(run.path(), "", &mut names)?;
    names.sort();
    Ok(names)
}

fn list(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), StagingError> {
    for entry in fs::read_dir(folder).map_err(io("read", folder))? {
        let entry = entry.map_err(io("read", folder))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let staged = prefix == "export/" || prefix == "transform/";
        if entry.path().is_dir() {
            // Parts are in the lists of their stages; what is not finished is in none.
            if !staged && !name.contains('.') {
                list(&entry.path(), &format!("{prefix}{name}/"), names)?;
            }
        } else if !(name.starts_with('.')
            || name.ends_with(".writing")
            || name == JOURNAL
            || (prefix.is_empty() && name == SUMS))
        {
            names.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

/// What does not agree with the seal. A run of which a stage was stopped may have no line for what
/// that stage was writing.
///
/// A dump, which can be large, is hashed only where that is wanted.
pub fn check(run: &RunDirectory, with_dumps: bool) -> Result<Vec<String>, StagingError> {
    let _unchanged = SealLock::share(run);
    let stopped = RunRecord::read(run).is_ok_and(|record| record.is_working());
    let path = run.path().join(SUMS);
    let Some(seal) = read(run)? else {
        let missing = format!("{} is missing", path.display());
        return Ok(if stopped { Vec::new() } else { vec![missing] });
    };
    let mut problems = Vec::new();
    for (name, sha256) in &seal {
        let file = run.path().join(name);
        if !with_dumps && file.extension().is_some_and(|ending| ending == "dump") && file.exists() {
            continue;
        }
        match sha256_file(&file) {
            Ok(found) if found == *sha256 => {}
            Ok(found) => problems.push(format!(
                "{} does not agree with SHA256SUMS: SHA-256 {found} instead of {sha256}",
                file.display()
            )),
            Err(StagingError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                problems.push(format!("{} is missing", file.display()));
            }
            Err(error) => return Err(error),
        }
    }
    if !stopped && !seal.contains_key("run.json") {
        problems.push(format!("{} does not list run.json", path.display()));
    }
    Ok(problems)
}
