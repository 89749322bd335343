//! `run.json`: what a run is and how far it came.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::json_file::{read_json, write_json};
use super::layout::RunDirectory;
use super::run_id::{clock, time_of};
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

/// Why a run is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The good run that its export was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_with: Option<String>,
    /// What the source lacks, in sentences.
    pub reasons: Vec<String>,
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
    /// When the run began, as the clock said it, UTC, RFC 3339. Its id can be later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<String>,
    /// Why a person must decide over the run before it counts as a good one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// What the source lacked and a person accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<String>,
    /// The run that its export adds to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Stages that were started.
    pub stages: BTreeMap<Stage, StageRecord>,
}

fn now() -> Result<String, StagingError> {
    Ok(clock()?.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

impl RunRecord {
    const PATH: &'static str = "run.json";

    /// The record of a new run.
    pub fn new(run: &RunDirectory, source: &str) -> Result<Self, StagingError> {
        Ok(Self {
            format_version: FORMAT_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: run.pipeline().to_owned(),
            run: run.run().to_owned(),
            source: source.to_owned(),
            began_at: Some(now()?),
            held: None,
            accepted: Vec::new(),
            base: None,
            stages: BTreeMap::new(),
        })
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

    /// When the run began by the clock, in UTC; by its id where the record does not say.
    pub fn time(&self) -> Option<DateTime> {
        let began = self.began_at.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        began.map(|began| began.to_zoned(TimeZone::UTC).datetime()).or_else(|| time_of(&self.run))
    }

    /// Whether a stage ended well.
    pub fn is_done(&self, stage: Stage) -> bool {
        self.stages.get(&stage).is_some_and(|record| record.state == StageState::Done)
    }

    /// Whether a stage was started and is not ended.
    pub fn is_working(&self) -> bool {
        self.stages.values().any(|record| record.state == StageState::Running)
    }

    /// Records the start of a stage.
    pub fn start(&mut self, run: &RunDirectory, stage: Stage) -> Result<(), StagingError> {
        let record = StageRecord {
            state: StageState::Running,
            started_at: now()?,
            mode: None,
            finished_at: None,
        };
        self.stages.insert(stage, record);
        seal::open(run, stage, || self.write_beside(run, stage))
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
            record.finished_at = Some(now()?);
        }
        seal::close(run, stage, || self.write_beside(run, stage))
    }

    /// Writes it with what other stages, which may work at the same time, wrote of themselves.
    fn write_beside(&mut self, run: &RunDirectory, stage: Stage) -> Result<(), StagingError> {
        if let Ok(there) = Self::read(run) {
            self.stages.extend(there.stages.into_iter().filter(|(other, _)| *other != stage));
        }
        self.write(run)
    }
}
