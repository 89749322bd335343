//! What can be wrong with a staging directory.

use std::path::PathBuf;

use crate::failure::{Exit, Explain};

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
    /// A stage's manifest is missing: the stage has not finished.
    #[error("run {run} has no finished {stage}")]
    NotFinished {
        /// Run id.
        run: String,
        /// Stage name.
        stage: &'static str,
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
            | Self::Version { .. }
            | Self::Foreign { .. }
            | Self::Json { .. } => Exit::Damaged,
            Self::NoSuchRun { .. } | Self::NotFinished { .. } => Exit::NoSuchRun,
            Self::Locked { .. } => Exit::Locked,
            Self::NoSuchReject { .. } => Exit::Usage,
            Self::Io { .. } | Self::Parquet { .. } | Self::Arrow { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("Free space on that file system, or name another with --staging, and start again.".into())
            }
            Self::Checksum { .. } | Self::Json { .. } | Self::Foreign { .. } => Some(
                "The file changed after it was written. Restore it from a copy, or repeat the stage that wrote it."
                    .into(),
            ),
            Self::Version { .. } => Some("Use the docferry version that wrote the run, named in its run.json.".into()),
            Self::NoSuchRun { .. } => Some("List the runs with `docferry runs`.".into()),
            Self::NotFinished { stage, .. } => {
                Some(format!("Run `docferry {stage}` for this pipeline first."))
            }
            Self::NoSuchReject { .. } => {
                Some("List them with `docferry rejects PIPELINE --list`.".into())
            }
            Self::Locked { .. } => Some("Wait for it to end, or stop it.".into()),
            _ => None,
        }
    }
}
