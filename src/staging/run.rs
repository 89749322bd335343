//! `run.json`: what a run is and how far it came.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::json_file::{read_json, write_json};
use super::layout::RunDirectory;
use super::{FORMAT_VERSION, StagingError, seal};
use crate::progress::Stage;

/// State of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageState {
    /// Started, not ended.
    Running,
    /// Ended well.
    Done,
    /// Ended with an error.
    Failed,
}

/// When a stage ran and how it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRecord {
    /// State.
    pub state: StageState,
    /// Start of the last attempt, UTC, RFC 3339.
    pub started_at: String,
    /// Of a load: how its rows met those that were there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}

impl StageRecord {
    /// How long the last attempt took, in seconds; none while it runs.
    pub fn seconds(&self) -> Option<f64> {
        let time = |text: &str| text.parse::<Timestamp>().ok();
        let (start, end) = (time(&self.started_at)?, time(self.finished_at.as_deref()?)?);
        Some(end.duration_since(start).as_secs_f64())
    }
}

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Format version.
    pub format_version: u32,
    /// Version of docferry that began the run.
    pub tool_version: String,
    /// Pipeline name.
    pub pipeline: String,
    /// Run id.
    pub run: String,
    /// Source, without credentials.
    pub source: String,
    /// The run that its export adds to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Stages that were started.
    pub stages: BTreeMap<Stage, StageRecord>,
}

/// A run id: so many seconds from now, in UTC, as `20261121T081504Z`.
pub fn run_id(later: u64) -> String {
    let start = clock() + std::time::Duration::from_secs(later);
    start.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The time; that of `DOCFERRY_CLOCK` (RFC 3339) where it is set, to rehearse a schedule.
fn clock() -> Timestamp {
    let set = std::env::var("DOCFERRY_CLOCK").ok().and_then(|text| text.parse().ok());
    set.unwrap_or_else(Timestamp::now)
}

fn now() -> String {
    clock().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

impl RunRecord {
    const PATH: &'static str = "run.json";

    /// The record of a new run.
    pub fn new(run: &RunDirectory, source: &str) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: run.pipeline().to_owned(),
            run: run.run().to_owned(),
            source: source.to_owned(),
            base: None,
            stages: BTreeMap::new(),
        }
    }

    /// Writes it.
    pub fn write(&self, run: &RunDirectory) -> Result<(), StagingError> {
        write_json(&run.resolve(Self::PATH), "run record", self)?;
        Ok(())
    }

    /// Reads it.
    pub fn read(run: &RunDirectory) -> Result<Self, StagingError> {
        read_json(&run.resolve(Self::PATH), "run record")
    }

    /// Whether a stage was started and is not ended.
    pub fn is_working(&self) -> bool {
        self.stages.values().any(|record| record.state == StageState::Running)
    }

    /// Records the start of a stage.
    pub fn start(&mut self, run: &RunDirectory, stage: Stage) -> Result<(), StagingError> {
        let record = StageRecord {
            state: StageState::Running,
            started_at: now(),
            mode: None,
            finished_at: None,
        };
        self.stages.insert(stage, record);
        seal::open(run, stage)?;
        self.write(run)
    }

    /// Records how the rows of a load meet those that are there.
    pub fn load_with(&mut self, run: &RunDirectory, mode: &str) -> Result<(), StagingError> {
        if let Some(record) = self.stages.get_mut(&Stage::Load) {
            record.mode = Some(mode.to_owned());
        }
        self.write(run)
    }

    /// Records that a stage ended, well or not.
    pub fn end_with(
        &mut self,
        run: &RunDirectory,
        stage: Stage,
        well: bool,
    ) -> Result<(), StagingError> {
        self.end(run, stage, if well { StageState::Done } else { StageState::Failed })
    }

    /// Records the end of a stage.
    fn end(
        &mut self,
        run: &RunDirectory,
        stage: Stage,
        state: StageState,
    ) -> Result<(), StagingError> {
        if let Some(record) = self.stages.get_mut(&stage) {
            record.state = state;
            record.finished_at = Some(now());
        }
        self.write(run)?;
        seal::close(run, stage)
    }
}
