//! PostgreSQL's own programs, run without a password in their arguments.

use std::collections::BTreeMap;
use std::env;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use super::DumpError;
use crate::postgres::Target;
use crate::progress::Progress;

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A program that was found.
pub(super) struct Program {
    path: PathBuf,
    name: &'static str,
    /// What it says of itself.
    pub(super) version: String,
    /// Its major version.
    pub(super) major: u32,
}

impl Program {
    /// Looks along PATH, then where Debian keeps the versions, the newest first.
    pub(super) fn find(name: &'static str) -> Result<Self, DumpError> {
        let mut folders: Vec<PathBuf> =
            env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
        let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let versions: BTreeMap<u32, PathBuf> = installed
            .filter_map(|entry| {
                let version = entry.file_name().to_str()?.parse().ok()?;
                Some((version, entry.path().join("bin")))
            })
            .collect();
        folders.extend(versions.into_values().rev());
        let path = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
        let path = path.ok_or(DumpError::NoProgram { name })?;
        let output = Command::new(&path).arg("--version").output();
        let output = output.map_err(|source| DumpError::Start { name, source })?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        let number = version.split_whitespace().find(|word| word.starts_with(char::is_numeric));
        let digits: String =
            number.unwrap_or_default().chars().take_while(char::is_ascii_digit).collect();
        Ok(Self { path, name, major: digits.parse().unwrap_or(0), version })
    }

    /// Runs it against a database. It is ended when the command is asked to stop.
    pub(super) async fn run(
        &self,
        target: &Target,
        arguments: &[String],
        progress: &Arc<dyn Progress>,
    ) -> Result<(), DumpError> {
        let mut command = Command::new(&self.path);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // What else there is may hold secrets of other servers.
        let kept = ["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL"];
        let kept = kept.iter().filter_map(|name| Some((name, env::var_os(name)?)));
        command.env_clear().envs(kept).envs(target.environment());
        let (name, progress) = (self.name, Arc::clone(progress));
        let ran = tokio::task::spawn_blocking(move || wait(command, name, progress.as_ref()));
        ran.await.map_err(DumpError::Worker)?
    }
}

fn wait(
    mut command: Command,
    name: &'static str,
    progress: &dyn Progress,
) -> Result<(), DumpError> {
    let failed = |source| DumpError::Start { name, source };
    let mut child = command.spawn().map_err(failed)?;
    let mut errors = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(errors) = &mut errors {
            let _ = errors.read_to_string(&mut text);
        }
        text
    });
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if progress.interrupted() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(DumpError::Interrupted);
        }
        std::thread::sleep(LOOK);
    };
    let said = reader.join().unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    // The last lines say what went wrong.
    let lines: Vec<&str> = said.lines().collect();
    let detail = lines[lines.len().saturating_sub(3)..].join("; ");
    Err(DumpError::Program { name, detail })
}
