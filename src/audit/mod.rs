//! What is staged: every hash and count checked, every column looked at, for who must read a run
//! before it is loaded.

mod column;
mod error;
mod show;

use std::collections::BTreeMap;

pub use column::{ColumnAudit, Share};
pub use error::AuditError;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
pub use show::{Condition, Rows, find_document, first_documents, rows};

use self::column::ColumnReader;
use crate::progress::{Progress, Stage, Total};
use crate::staging::StagingError;
use crate::staging::exported::documents;
use crate::staging::json_file::write_json;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{
    CollectionManifest, ExportManifest, TableManifest, TransformManifest,
};
use crate::staging::part;
use crate::staging::rejects::{List, Reject, lines};

/// Rejects of one rule that are named.
const EXAMPLES: usize = 3;

/// File of an audit in its run.
pub const FILE: &str = "audit.json";

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditReport {
    /// The input of the transform that was looked at; another transform makes the audit void.
    pub input_sha256: Option<String>,
    /// Exported collections.
    pub collections: Vec<CollectionAudit>,
    /// Staged tables; empty before a transform.
    pub tables: Vec<TableAudit>,
    /// What does not agree with the manifests.
    pub problems: Vec<String>,
}

/// An exported collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionAudit {
    /// Name.
    pub name: String,
    /// Documents, counted.
    pub documents: u64,
    /// Records that are no documents.
    pub rejects: u64,
    /// BSON bytes.
    pub bytes: u64,
    /// Bytes of the parts.
    pub staged_bytes: u64,
}

/// A staged table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableAudit {
    /// Name.
    pub name: String,
    /// Rows, counted.
    pub rows: u64,
    /// Records read for it.
    pub records: u64,
    /// Records refused.
    pub rejects: u64,
    /// Records left out under a rule.
    pub dropped: u64,
    /// Bytes of the parts.
    pub staged_bytes: u64,
    /// Its columns.
    pub columns: Vec<ColumnAudit>,
    /// Its references.
    pub references: Vec<ReferenceAudit>,
    /// Why records were refused.
    pub refused: Vec<RefusedAudit>,
}

/// A reference of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceAudit {
    /// Columns.
    pub columns: String,
    /// Table that they lead to.
    pub target: String,
    /// Rows whose reference leads to a row.
    pub matched: u64,
    /// Values that led nowhere: they are NULL now, or their document was refused.
    pub dangling: u64,
}

/// Records of one rule that were refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAudit {
    /// Rule.
    pub rule: String,
    /// Column, where the rule is one of a column.
    pub column: Option<String>,
    /// How many.
    pub count: u64,
    /// Why, of the first.
    pub detail: String,
    /// `_id`s of some.
    pub examples: Vec<String>,
}

impl AuditReport {
    /// Writes it into the run.
    pub fn write(&self, run: &RunDirectory) -> Result<(), StagingError> {
        write_json(&run.resolve(FILE), "audit", self).map(drop)
    }
}

/// Looks at a run: its export, and its transform where there is one.
pub fn audit(run: &RunDirectory, progress: &dyn Progress) -> Result<AuditReport, AuditError> {
    let export = ExportManifest::read(run);
    let transform = match TransformManifest::read(run) {
        Ok(manifest) => Some(manifest),
        // A run may be an export alone, or be carried on without it.
        Err(StagingError::NotFinished { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let export = match (export, &transform) {
        (Ok(manifest), _) => Some(manifest),
        (Err(StagingError::NotFinished { .. }), Some(_)) => None,
        (Err(error), _) => return Err(error.into()),
    };
    let collections = export.iter().flat_map(|manifest| &manifest.collections);
    let tables = transform.iter().flat_map(|manifest| &manifest.tables);
    let expected: Vec<(String, Total)> = collections
        .clone()
        .map(|one| (format!("collection {}", one.name), Total::Records(one.documents)))
        .chain(tables.clone().map(|one| (one.definition.name.clone(), Total::Records(one.rows))))
        .collect();
    progress.expect(Stage::Audit, &expected);
    let mut report = AuditReport {
        input_sha256: transform.as_ref().map(|manifest| manifest.input_sha256.clone()),
        collections: Vec::new(),
        tables: Vec::new(),
        problems: Vec::new(),
    };
    let collections: Vec<&CollectionManifest> = collections.collect();
    let looked: Result<Vec<_>, AuditError> =
        collections.par_iter().map(|one| collection(run, one, progress)).collect();
    for (audited, problems) in looked? {
        report.collections.push(audited);
        report.problems.extend(problems);
    }
    let lists = Lists::read(run)?;
    let tables: Vec<&TableManifest> = tables.collect();
    let looked: Result<Vec<_>, AuditError> =
        tables.par_iter().map(|one| table(run, one, &lists, progress)).collect();
    for (audited, problems) in looked? {
        report.tables.push(audited);
        report.problems.extend(problems);
    }
    Ok(report)
}

fn interrupted(progress: &dyn Progress) -> Result<(), AuditError> {
    if progress.interrupted() { Err(AuditError::Interrupted) } else { Ok(()) }
}

/// A damaged file is a finding, what else goes wrong ends the audit.
fn problem(error: StagingError, problems: &mut Vec<String>) -> Result<(), AuditError> {
    match error {
        StagingError::Io { ref source, .. } if source.kind() != std::io::ErrorKind::NotFound => {
            Err(error.into())
        }
        error => {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            problems.push(text);
            Ok(())
        }
    }
}

fn collection(
    run: &RunDirectory,
    manifest: &CollectionManifest,
    progress: &dyn Progress,
) -> Result<(CollectionAudit, Vec<String>), AuditError> {
    let item = format!("collection {}", manifest.name);
    progress.start(Stage::Audit, &item, Total::Records(manifest.documents));
    let mut problems = Vec::new();
    let (mut found, mut bytes) = (0, 0);
    for part in &manifest.parts {
        interrupted(progress)?;
        let before = found;
        let batches = match documents(run, &part.file) {
            Ok(batches) => batches,
            Err(error) => {
                problem(error, &mut problems)?;
                continue;
            }
        };
        for batch in batches {
            match batch {
                Ok(batch) => {
                    found += batch.len() as u64;
                    let size: u64 = (0..batch.len()).map(|at| batch.bytes(at).len() as u64).sum();
                    bytes += size;
                    progress.advance(Stage::Audit, &item, batch.len() as u64, size);
                }
                Err(error) => problem(error, &mut problems)?,
            }
        }
        if found - before != part.file.rows {
            let path = &part.file.path;
            problems.push(format!(
                "{path} holds {} documents, not {}",
                found - before,
                part.file.rows
            ));
        }
    }
    if problems.is_empty() && found != manifest.documents {
        let name = &manifest.name;
        problems
            .push(format!("collection {name} has {found} documents, not {}", manifest.documents));
    }
    progress.finish(Stage::Audit, &item);
    let audited = CollectionAudit {
        name: manifest.name.clone(),
        documents: found,
        rejects: manifest.rejects,
        bytes,
        staged_bytes: manifest.parts.iter().map(|part| part.file.bytes).sum(),
    };
    Ok((audited, problems))
}

/// Rejects and findings of the transform, counted.
#[derive(Default)]
struct Lists {
    refused: BTreeMap<String, Vec<RefusedAudit>>,
    dangling: BTreeMap<(String, String), u64>,
}

impl Lists {
    fn read(run: &RunDirectory) -> Result<Self, StagingError> {
        let mut lists = Self::default();
        for list in [List::Rejects, List::Findings] {
            for reject in lines::<Reject>(run, list, Stage::Transform)? {
                let reject: Reject = reject?;
                let table = reject.table.unwrap_or(reject.collection);
                if reject.rule == "dangling"
                    && let Some(column) = &reject.column
                {
                    *lists.dangling.entry((table.clone(), column.clone())).or_default() += 1;
                }
                if list == List::Findings {
                    continue;
                }
                let refused = lists.refused.entry(table).or_default();
                let same = |known: &&mut RefusedAudit| {
                    known.rule == reject.rule && known.column == reject.column
                };
                match refused.iter_mut().find(same) {
                    Some(known) => {
                        known.count += 1;
                        if known.examples.len() < EXAMPLES {
                            known.examples.push(reject.id);
                        }
                    }
                    None => refused.push(RefusedAudit {
                        rule: reject.rule,
                        column: reject.column,
                        count: 1,
                        detail: reject.detail,
                        examples: vec![reject.id],
                    }),
                }
            }
        }
        for refused in lists.refused.values_mut() {
            refused.sort_by(|left, right| {
                right.count.cmp(&left.count).then_with(|| left.rule.cmp(&right.rule))
            });
        }
        Ok(lists)
    }
}

fn table(
    run: &RunDirectory,
    manifest: &TableManifest,
    lists: &Lists,
    progress: &dyn Progress,
) -> Result<(TableAudit, Vec<String>), AuditError> {
    let definition = &manifest.definition;
    let name = &definition.name;
    progress.start(Stage::Audit, name, Total::Records(manifest.rows));
    let mut problems = Vec::new();
    let mut columns: Vec<ColumnReader> = definition.columns.iter().map(ColumnReader::new).collect();
    let mut rows = 0;
    for file in &manifest.parts {
        interrupted(progress)?;
        let before = rows;
        let batches = match part::open(run, file) {
            Ok(batches) => batches,
            Err(error) => {
                problem(error, &mut problems)?;
                continue;
            }
        };
        for batch in batches {
            let path = || file.path.clone().into();
            let batch = match batch {
                Ok(batch) => batch,
                Err(source) => {
                    problem(StagingError::Arrow { path: path(), source }, &mut problems)?;
                    continue;
                }
            };
            for (reader, array) in columns.iter_mut().zip(batch.columns()) {
                reader
                    .add(array, rows)
                    .map_err(|source| StagingError::Arrow { path: path(), source })?;
            }
            rows += batch.num_rows() as u64;
            progress.advance(Stage::Audit, name, batch.num_rows() as u64, 0);
        }
        if rows - before != file.rows {
            problems.push(format!("{} holds {} rows, not {}", file.path, rows - before, file.rows));
        }
    }
    if problems.is_empty() && rows != manifest.rows {
        problems.push(format!("table {name} has {rows} rows, not {}", manifest.rows));
    }
    let kept = manifest.rows + manifest.rejects + manifest.dropped;
    if manifest.junction.is_none() && kept != manifest.records {
        problems.push(format!(
            "table {name}: {} records were read, {kept} became rows, rejects or dropped",
            manifest.records
        ));
    }
    let columns: Vec<ColumnAudit> = columns.into_iter().map(ColumnReader::finish).collect();
    let references = definition
        .foreign_keys
        .iter()
        .map(|key| {
            let filled = |name: &String| {
                let found = columns.iter().find(|column| column.name == *name);
                found.map_or(0, |column| rows - column.nulls)
            };
            let dangling = |column: &String| lists.dangling.get(&(name.clone(), column.clone()));
            ReferenceAudit {
                columns: key.columns.join(", "),
                target: key.references_table.clone(),
                matched: key.columns.iter().map(filled).min().unwrap_or(0),
                dangling: key.columns.iter().filter_map(dangling).sum(),
            }
        })
        .collect();
    progress.finish(Stage::Audit, name);
    let audited = TableAudit {
        name: name.clone(),
        rows,
        records: manifest.records,
        rejects: manifest.rejects,
        dropped: manifest.dropped,
        staged_bytes: manifest.parts.iter().map(|part| part.bytes).sum(),
        columns,
        references,
        refused: lists.refused.get(name).cloned().unwrap_or_default(),
    };
    Ok((audited, problems))
}
