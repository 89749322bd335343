//! What can be wrong with a staging directory.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::failure::{Exit, Explain};
use crate::progress::Stage;

/// A staging directory that cannot be written, read or trusted.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// The operating system refused.
    #[error("could not {action} {path}")]
    Io {
        /// What was attempted, such as `create`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The Parquet library refused.
    #[error("could not {action} Parquet file {path}")]
    Parquet {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A batch could not be read or written.
    #[error("could not read rows of {path}")]
    Arrow {
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// A JSON file is not what it should be.
    #[error("{path} is not a readable {what}")]
    Json {
        /// Kind of file, such as `export manifest`.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A file does not have the bytes that its manifest names.
    #[error("{path} does not agree with its manifest: {detail}")]
    Checksum {
        /// Which file.
        path: PathBuf,
        /// What differs.
        detail: String,
    },
    /// A manifest was changed by hand.
    #[error("{path} is not as it was written: its SHA-256 is not the one in SHA256SUMS")]
    Edited {
        /// Which file.
        path: PathBuf,
    },
    /// A part lies in the place of another.
    #[error("{path} belongs to run {run}: there it is {part}")]
    OtherRun {
        /// Which file.
        path: PathBuf,
        /// The run it belongs to.
        run: String,
        /// Its path there.
        part: String,
    },
    /// A file was written by another version of the format.
    #[error("{path} has format version {found}, this docferry reads version {expected}")]
    Version {
        /// Which file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Version this program reads.
        expected: u32,
    },
    /// There is no such run.
    #[error("there is no run {run} of pipeline {pipeline} in {staging}")]
    NoSuchRun {
        /// Staging directory.
        staging: PathBuf,
        /// Pipeline name.
        pipeline: String,
        /// Run id.
        run: String,
    },
    /// `DOCFERRY_CLOCK` holds no time.
    #[error("DOCFERRY_CLOCK is `{set}`, which is no RFC 3339 time")]
    Clock {
        /// The text.
        set: String,
    },
    /// The greatest run id that there can be is in use.
    #[error("no run can come after run {run}")]
    NoNextRun {
        /// Run id.
        run: String,
    },
    /// Several pipelines have such a run.
    #[error("run {run} is there of several pipelines: {}", .pipelines.join(", "))]
    SeveralRuns {
        /// As it was named.
        run: String,
        /// Names of the pipelines.
        pipelines: Vec<String>,
    },
    /// A stage's manifest is missing: the stage has not finished.
    #[error("run {run} has no finished {stage}")]
    NotFinished {
        /// Run id.
        run: String,
        /// The stage.
        stage: Stage,
    },
    /// An incremental export without what it adds to.
    #[error("run {run} holds only what changed since run {base}, which is not there")]
    NoBase {
        /// Run id.
        run: String,
        /// Run id of the base.
        base: String,
    },
    /// The base is not the one that was built on.
    #[error(
        "run {base} is not the export that run {run} was made on: its manifest has another SHA-256"
    )]
    OtherBase {
        /// Run id.
        run: String,
        /// Run id of the base.
        base: String,
    },
    /// No refused record has this id.
    #[error("run {run} has no refused record with the _id {id}")]
    NoSuchReject {
        /// Run id.
        run: String,
        /// As it was named.
        id: String,
    },
    /// A staged file contradicts the format.
    #[error("{path} is not a docferry file: {detail}")]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// Something stands where docferry makes files and folders only.
    #[error("{path} is {kind}: docferry makes none, and does not use it")]
    NoFile {
        /// Which one.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A folder that others could have prepared.
    #[error(
        "{path} belongs to user {owner} and group {group} with mode {mode:04o}: others could have written what it holds"
    )]
    OfOthers {
        /// Which one.
        path: PathBuf,
        /// Number of its owner.
        owner: u32,
        /// Number of its group.
        group: u32,
        /// Permissions.
        mode: u32,
    },
    /// Another process works on the same pipeline.
    #[error("{path} is held by another docferry process ({owner})")]
    Locked {
        /// Lock file.
        path: PathBuf,
        /// Who holds it.
        owner: String,
    },
}

impl Explain for StagingError {
    fn exit(&self) -> Exit {
        match self {
            Self::Checksum { .. }
            | Self::Edited { .. }
            | Self::OtherRun { .. }
            | Self::Version { .. }
            | Self::NoBase { .. }
            | Self::OtherBase { .. }
            | Self::Foreign { .. }
            | Self::NoFile { .. }
            | Self::Json { .. } => Exit::Damaged,
            Self::NoSuchRun { .. } | Self::NotFinished { .. } => Exit::NoSuchRun,
            Self::Locked { .. } => Exit::Locked,
            Self::NoSuchReject { .. } | Self::SeveralRuns { .. } | Self::Clock { .. } => {
                Exit::Usage
            }
            Self::OfOthers { .. }
            | Self::Io { .. }
            | Self::Parquet { .. }
            | Self::Arrow { .. }
            | Self::NoNextRun { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("Free space on that file system, or name another with --staging, and start again.".into())
            }
            Self::Io { path, source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                let owner = path.ancestors().find_map(|path| path.metadata().ok());
                let owner = owner.map(|found| format!(" It belongs to user {}.", found.uid()));
                Some(format!(
                    "Run as the user that wrote the staging directory, or name another with --staging.{}",
                    owner.unwrap_or_default()
                ))
            }
            Self::NoFile { .. } => Some("Look at how it came there, and remove it.".into()),
            Self::OfOthers { .. } => Some(
                "Make it yours (`chown -R`, `chmod -R go-w`) once you know where it comes from; or, if \
                 you trust whoever can write to it, use --trust-staging."
                    .into(),
            ),
            Self::OtherRun { .. } => {
                Some("Copy the part of this run there, or repeat the stage that wrote it.".into())
            }
            Self::Checksum { .. }
            | Self::Edited { .. }
            | Self::Json { .. }
            | Self::Foreign { .. } => Some(
                "The file changed after it was written. Restore it from a copy, or repeat the stage that wrote it."
                    .into(),
            ),
            Self::NoBase { .. } | Self::OtherBase { .. } => {
                Some("Put that run back beside it from a copy, or make a full export.".into())
            }
            Self::Version { .. } => Some("Use the docferry version that wrote the run, named in its run.json.".into()),
            Self::NoSuchRun { .. } => Some("Runs are the folders in the staging directory; `latest` is the newest.".into()),
            Self::SeveralRuns { run, pipelines } => {
                Some(format!("Name it as {}/{run}.", pipelines.first()?))
            }
            Self::NotFinished { stage, .. } => {
                Some(format!("Run `docferry {stage}` for this pipeline first."))
            }
            Self::NoSuchReject { .. } => {
                Some("List them with `docferry rejects PIPELINE --list`.".into())
            }
            Self::Clock { .. } => {
                Some("Write it like 2026-01-31T03:00:00Z, or unset it: then the time is now.".into())
            }
            Self::NoNextRun { .. } => Some(
                "Ids of runs only grow. Give the folder of that run, which the clock dated wrong, an earlier id, and remove `.last-run` beside it."
                    .into(),
            ),
            Self::Locked { .. } => Some("Wait for it to end, or stop it.".into()),
            _ => None,
        }
    }
}
