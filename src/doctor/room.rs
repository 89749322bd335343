//! The disk that runs are staged on.

use std::path::{Path, PathBuf};

use super::{Check, State, size};

const ABOUT: &str = "staging directory";
/// Less than this is no room for any run.
const LEAST: u64 = 64 << 20;
/// Exported and transformed parts were never smaller than a twentieth of their documents.
const DENSEST: u64 = 20;

/// Whether there is room for a run of documents of so many bytes. What it takes is known afterwards
/// only: parts are compressed.
pub fn room(staging: &Path, documents: Option<u64>) -> Check {
    let folder = existing(staging);
    let shown = folder.display();
    if let Err(error) = tempfile::tempfile_in(&folder) {
        return Check::new(State::Failure, ABOUT, format!("{shown} cannot be written to: {error}"))
            .cured("Choose another with --staging, or give docferry's account the right to write there.");
    }
    let free = match rustix::fs::statvfs(&folder) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => {
            let detail = format!("the room in {shown} is not known: {error}");
            return Check::new(State::Note, ABOUT, detail);
        }
    };
    #[expect(clippy::cast_precision_loss, reason = "a gauge of Prometheus is a double")]
    let check = |state, detail| {
        Check::new(state, ABOUT, detail).measured("staging_free_bytes", free as f64)
    };
    let cure = "Remove old runs (`docferry prune`), or choose another disk with --staging.";
    match documents {
        _ if free < LEAST => {
            check(State::Failure, format!("{} are free in {shown}", size(free))).cured(cure)
        }
        Some(bytes) if free < bytes / DENSEST => {
            let detail = format!(
                "{} are free in {shown}, too little for {} of documents",
                size(free),
                size(bytes)
            );
            check(State::Failure, detail).cured(cure)
        }
        Some(bytes) if free < bytes => {
            let detail = format!(
                "{} are free in {shown}; {} of documents may need more, since a run holds them twice, \
                 compressed",
                size(free),
                size(bytes)
            );
            check(State::Warning, detail).cured(cure)
        }
        Some(bytes) => {
            let detail =
                format!("{} are free in {shown} for {} of documents", size(free), size(bytes));
            check(State::Fine, detail)
        }
        None => check(State::Fine, format!("{} are free in {shown}", size(free))),
    }
}

/// The folder itself, or the nearest above it that is there.
fn existing(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/")).to_owned()
}
