//! `report.json` and `report.html`: what happened in a run and what was proved of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::page;
use super::verdict::{Against, verdict};
use crate::progress::Stage;
use crate::proof::DocumentProof;
use crate::staging::json_file::write_json;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{
    CollectionManifest, ExportManifest, JunctionCounts, Snapshot, TransformManifest,
};
use crate::staging::run::{RunRecord, StageState};
use crate::staging::{FORMAT_VERSION, StagingError};
use crate::verify::source::SourceProof;
use crate::verify::{Account, CatalogueVerdict, Sums, TableVerdict, VerifyReport, WrittenSince};

/// A report of a whole run.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// Version of the staging format.
    pub format_version: u32,
    /// Version of docferry that wrote it.
    pub tool_version: String,
    /// Pipeline name.
    pub pipeline: String,
    /// Run id.
    pub run: String,
    /// Source, without credentials.
    pub source: String,
    /// Target, without credentials.
    pub target: String,
    /// Whether the export is of one moment; none when the export is not here.
    pub snapshot: Option<Snapshot>,
    /// Whether nothing differs between PostgreSQL, the staged files and, where it was read again,
    /// the source, and all counts agree.
    pub proved: bool,
    /// How many records arrived, and what is proved of them, in a sentence.
    pub verdict: String,
    /// Where the records of the source went.
    #[serde(flatten)]
    pub account: Account,
    /// What became of the records of each collection, by independent counts side by side.
    pub flow: Vec<FlowLine>,
    /// The stages, in order.
    pub stages: Vec<StageLine>,
    /// The tables, in the order of the pipeline file.
    pub tables: Vec<TableLine>,
    /// Collections left out on purpose, with their documents.
    pub ignored: BTreeMap<String, u64>,
    /// The target's catalogue against the staged definitions.
    pub catalogue: CatalogueVerdict,
    /// The exported documents against the rows in PostgreSQL; none where they were not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<DocumentProof>,
    /// The export against the source; none where it was not read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_again: Option<SourceProof>,
    /// What the counts of the run contradict.
    pub balance: Vec<String>,
    /// Parts of the proof that were left out.
    pub left_out: Vec<String>,
    /// Rows that were written while the tables were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub written_since: Vec<WrittenSince>,
}

/// The records of a collection on their way, each number by a count of its own.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FlowLine {
    /// Collection.
    pub collection: String,
    /// Records that the source counts; none where it was not read again.
    pub source: Option<u64>,
    /// Records of the export; none where it is not here.
    pub exported: Option<u64>,
    /// Records rejected, by the export or by the transform.
    pub rejected: u64,
    /// Records left out under a rule.
    pub dropped: u64,
    /// Rows staged.
    pub staged: u64,
    /// Rows in PostgreSQL.
    pub found: u64,
    /// Leaves of its documents that are not in PostgreSQL as they should be; none where the
    /// documents were not read again.
    pub different: Option<u64>,
}

fn flow(verified: &VerifyReport, export: Option<&ExportManifest>) -> Vec<FlowLine> {
    let collections = verified.account.collections.iter();
    let line = collections.map(|collection| {
        let name = &collection.name;
        let again = verified.source.iter().flat_map(|source| &source.collections);
        let exported = export.iter().flat_map(|export| &export.collections);
        let proved = verified.documents.iter().flat_map(|documents| &documents.collections);
        FlowLine {
            collection: name.clone(),
            source: again.filter(|of| of.collection == *name).find_map(|of| of.counted),
            exported: exported
                .filter(|of| of.name == *name)
                .map(CollectionManifest::records)
                .next(),
            rejected: collection.sums.rejected,
            dropped: collection.sums.dropped,
            staged: collection.staged,
            found: collection.found,
            different: proved.filter(|of| of.collection == *name).map(|of| of.different).next(),
        }
    });
    line.collect()
}

/// A stage of the run.
#[derive(Clone, Debug, Serialize)]
pub struct StageLine {
    /// Which.
    pub stage: Stage,
    /// How it ended.
    pub state: StageState,
    /// When its last attempt began, UTC.
    pub started_at: String,
    /// How long that took, in seconds; none while it runs.
    pub seconds: Option<f64>,
}

/// A table of the run.
#[derive(Clone, Debug, Serialize)]
pub struct TableLine {
    /// Source collection; none for junctions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Records read for it.
    pub records: u64,
    /// Records refused.
    pub rejects: u64,
    /// Links that another element holds too: together they are one row.
    pub merged: u64,
    /// Records left out under a rule.
    pub dropped: u64,
    /// Refused records by rule.
    pub rejects_by_rule: BTreeMap<String, u64>,
    /// Findings by rule.
    pub findings: BTreeMap<String, u64>,
    /// Counts of a junction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub junction: Option<JunctionCounts>,
    /// What was proved of it.
    #[serde(flatten)]
    pub verdict: TableVerdict,
}

impl TableLine {
    /// Where its records went.
    pub fn sums(&self) -> Sums {
        Sums {
            read: self.records,
            arrived: self.verdict.found_rows.min(self.verdict.staged_rows),
            rejected: self.rejects,
            merged: self.merged,
            dropped: self.dropped,
        }
    }
}

fn against(verified: &VerifyReport) -> Against {
    match (&verified.documents, &verified.source) {
        (None, _) => Against::StagedRows,
        (Some(_), None) => Against::Documents,
        (Some(_), Some(source)) if source.is_whole() => Against::Source,
        (Some(_), Some(_)) => Against::Sample,
    }
}

impl RunReport {
    /// Puts a report together.
    pub fn new(
        record: &RunRecord,
        manifest: &TransformManifest,
        export: Option<&ExportManifest>,
        verified: &VerifyReport,
        target: &str,
    ) -> Self {
        let verdicts = manifest.tables.iter().filter_map(|table| {
            let verdict = verified
                .tables
                .iter()
                .find(|verdict| verdict.table == table.definition.name)?
                .clone();
            Some(TableLine {
                source: table.definition.source.clone(),
                records: table.records,
                rejects: table.rejects,
                merged: table.merged(),
                dropped: table.left_out(),
                rejects_by_rule: table.rejects_by_rule.clone(),
                findings: table.findings.clone(),
                junction: table.junction.clone(),
                verdict,
            })
        });
        let stages = record.stages.iter().map(|(stage, entry)| StageLine {
            stage: *stage,
            state: entry.state,
            started_at: entry.started_at.clone(),
            seconds: entry.seconds(),
        });
        Self {
            format_version: FORMAT_VERSION,
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            pipeline: record.pipeline.clone(),
            run: record.run.clone(),
            source: record.source.clone(),
            target: target.to_owned(),
            snapshot: export.map(|export| export.snapshot.clone()),
            proved: verified.is_proved(),
            verdict: verdict(&verified.account, verified.is_proved(), against(verified)),
            account: verified.account.clone(),
            flow: flow(verified, export),
            stages: stages.collect(),
            tables: verdicts.collect(),
            ignored: manifest.ignored.clone(),
            catalogue: verified.catalogue.clone(),
            documents: verified.documents.clone(),
            source_again: verified.source.clone(),
            balance: verified.balance.clone(),
            left_out: verified.left_out.clone(),
            written_since: verified.written_since.clone(),
        }
    }

    /// Writes `report.json` and `report.html` into the run.
    pub fn write(&self, run: &RunDirectory) -> Result<(), StagingError> {
        write_json(&run.resolve("report.json"), "report", self)?;
        page::write(run)
    }
}
