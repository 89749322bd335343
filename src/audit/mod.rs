//! What is staged, checked in levels: the manifests and the files, every hash, every document and
//! every column, the last for who must read a run before it is loaded.

mod column;
mod error;
mod show;

use std::collections::BTreeMap;
use std::str::FromStr;

pub use column::{ColumnAudit, Share};
pub use error::AuditError;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
pub use show::{Condition, Rows, find_document, first_documents, rows};

use self::column::ColumnReader;
use crate::document::sound::validate;
use crate::progress::{Progress, Stage, Total};
use crate::staging::StagingError;
use crate::staging::chain::Chain;
use crate::staging::checksum::{SUMS, sha256_file, sums_text};
use crate::staging::exported::documents;
use crate::staging::inventory;
use crate::staging::json_file::write_json;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{
    CollectionManifest, ExportManifest, TableManifest, TransformManifest,
};
use crate::staging::own_files;
use crate::staging::part::{self, PartFile};
use crate::staging::rejects::{List, Reject, lines};
use crate::staging::run::RunRecord;
use crate::staging::seal;

/// Rejects of one rule that are named.
const EXAMPLES: usize = 3;

/// File of an audit in its run.
pub const FILE: &str = "audit.json";

/// How deep an audit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The manifests and lists with their hashes; every other file must be there with its size.
    Files,
    /// The hash of every file.
    Hashes,
    /// The hash of every file, and what is in a part of them.
    Subset(Subset),
    /// Everything: every document is decoded, every column looked at.
    Data,
}

/// One of several parts of the data, each about as large as the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subset {
    /// Which one, from 1.
    number: u32,
    /// Of how many.
    of: u32,
}

impl FromStr for Subset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write N/M, with N from 1 to M";
        let (number, of) = text.split_once('/').ok_or(wrong)?;
        let number: u32 = number.trim().parse().map_err(|_| wrong)?;
        let of: u32 = of.trim().parse().map_err(|_| wrong)?;
        if (1..=of).contains(&number) { Ok(Self { number, of }) } else { Err(wrong) }
    }
}

impl Subset {
    fn has(self, at: usize) -> bool {
        at % (self.of as usize) == (self.number - 1) as usize
    }
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditReport {
    /// How deep it went.
    pub level: Level,
    /// The input of the transform that was looked at; another transform makes the audit void.
    pub input_sha256: Option<String>,
    /// Exported collections.
    pub collections: Vec<CollectionAudit>,
    /// Staged tables; empty before a transform.
    pub tables: Vec<TableAudit>,
    /// What does not agree with the manifests.
    pub problems: Vec<String>,
    /// What is as it was written, but worth knowing.
    #[serde(default)]
    pub remarks: Vec<String>,
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

impl CollectionAudit {
    /// What the manifest says of a collection.
    fn stated(manifest: &CollectionManifest) -> Self {
        Self {
            name: manifest.name.clone(),
            documents: manifest.documents,
            rejects: manifest.rejects,
            bytes: manifest.document_bytes,
            staged_bytes: manifest.files().map(|file| file.bytes).sum(),
        }
    }
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
    /// Links that another element holds too: together they are one row.
    #[serde(default)]
    pub merged: u64,
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

impl TableAudit {
    /// What the manifest says of a table.
    fn stated(manifest: &TableManifest) -> Self {
        Self {
            name: manifest.definition.name.clone(),
            rows: manifest.rows,
            records: manifest.records,
            rejects: manifest.rejects,
            merged: manifest.merged(),
            dropped: manifest.left_out(),
            staged_bytes: manifest.parts.iter().map(|part| part.bytes).sum(),
            columns: Vec::new(),
            references: Vec::new(),
            refused: Vec::new(),
        }
    }
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

/// Looks at a run: its export and the ones it adds to, and its transform where there is one.
pub fn audit(
    run: &RunDirectory,
    level: Level,
    progress: &dyn Progress,
) -> Result<AuditReport, AuditError> {
    let mut problems = Vec::new();
    if let Err(error) = RunRecord::read(run) {
        problem(error, &mut problems)?;
    }
    match seal::check(run, level != Level::Files) {
        Ok(found) => problems.extend(found),
        Err(error) => problem(error, &mut problems)?,
    }
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
    if let Some(manifest) = &export {
        if level != Level::Files {
            match manifest.rejects_not_listed(run) {
                Ok(found) => problems.extend(found),
                Err(error) => problem(error, &mut problems)?,
            }
        }
        listed(run, Stage::Export, ExportManifest::PATH, manifest.files(), &mut problems)?;
        problems.extend(inventory::problems(manifest));
    }
    if let Some(manifest) = &transform {
        listed(run, Stage::Transform, TransformManifest::PATH, manifest.files(), &mut problems)?;
    }
    if export.as_ref().is_some_and(|manifest| manifest.base.is_some()) {
        bases(run, level, &mut problems, progress)?;
    }
    if level != Level::Data {
        let (export, transform) = (export.as_ref(), transform.as_ref());
        return outside(run, level, export, transform, problems, progress);
    }
    let collections = export.iter().flat_map(|manifest| &manifest.collections);
    let tables = transform.iter().flat_map(|manifest| &manifest.tables);
    let expected: Vec<(String, Total)> = collections
        .clone()
        .map(|one| (format!("collection {}", one.name), Total::Records(one.documents)))
        .chain(tables.clone().map(|one| (one.definition.name.clone(), Total::Records(one.rows))))
        .collect();
    progress.expect(Stage::Audit, &expected);
    let mut report = AuditReport {
        level,
        input_sha256: transform.as_ref().map(|manifest| manifest.input_sha256.clone()),
        collections: Vec::new(),
        tables: Vec::new(),
        problems,
        remarks: Vec::new(),
    };
    let collections: Vec<&CollectionManifest> = collections.collect();
    let looked: Result<Vec<_>, AuditError> =
        collections.par_iter().map(|one| collection(run, one, progress)).collect();
    for (audited, problems, remarks) in looked? {
        report.collections.push(audited);
        report.problems.extend(problems);
        report.remarks.extend(remarks);
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

/// Whether the list of a stage's hashes is the one that its manifest makes.
fn listed<'m>(
    run: &RunDirectory,
    stage: Stage,
    manifest: &str,
    files: impl Iterator<Item = &'m PartFile>,
    problems: &mut Vec<String>,
) -> Result<(), AuditError> {
    let sha256 = sha256_file(&run.resolve(manifest))?;
    let expected = sums_text(&stage.to_string(), files, Some(&sha256));
    let path = run.stage_directory(stage).join(SUMS);
    match own_files::read(&path) {
        Ok(found) if found == expected.as_bytes() => {}
        Ok(_) => problems.push(format!("{} does not agree with the manifest", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            problems.push(format!("{} is missing", path.display()));
        }
        Err(source) => return Err(StagingError::Io { action: "read", path, source }.into()),
    }
    Ok(())
}

/// The exports that a run adds to.
fn bases(
    run: &RunDirectory,
    level: Level,
    problems: &mut Vec<String>,
    progress: &dyn Progress,
) -> Result<(), AuditError> {
    let chain = match Chain::open(run) {
        Ok(chain) => chain,
        Err(error) => return problem(error, problems),
    };
    for base in chain.bases() {
        // Whatever else was made of a base is not needed here.
        let manifest = ExportManifest::read(base)?;
        listed(base, Stage::Export, ExportManifest::PATH, manifest.files(), problems)?;
        problems.extend(inventory::problems(&manifest));
        let found = outside(base, level, Some(&manifest), None, Vec::new(), progress)?;
        problems.extend(found.problems);
    }
    Ok(())
}

/// The levels that make no report of what is in the files.
fn outside(
    run: &RunDirectory,
    level: Level,
    export: Option<&ExportManifest>,
    transform: Option<&TransformManifest>,
    mut problems: Vec<String>,
    progress: &dyn Progress,
) -> Result<AuditReport, AuditError> {
    let exported: Vec<&PartFile> = export.iter().flat_map(|manifest| manifest.files()).collect();
    let staged: Vec<&PartFile> = transform.iter().flat_map(|manifest| manifest.files()).collect();
    let parts: Vec<(usize, &PartFile)> =
        exported.iter().chain(&staged).copied().enumerate().collect();
    let item = format!("run {}", run.run());
    let bytes = parts.iter().map(|(_, file)| file.bytes).sum();
    progress.start(Stage::Audit, &item, Total::Bytes(bytes));
    let found: Result<Vec<_>, AuditError> = parts
        .par_iter()
        .map(|(at, file)| {
            interrupted(progress)?;
            let mut problems = Vec::new();
            let checked = match level {
                Level::Files => part::check_size(run, file),
                Level::Hashes => part::check(run, file),
                Level::Subset(subset) if !subset.has(*at) => part::check_size(run, file),
                Level::Subset(_) | Level::Data if *at < exported.len() => {
                    decode(run, file, &mut problems, &mut Vec::new()).map(drop)
                }
                Level::Subset(_) | Level::Data => read_rows(run, file, &mut problems),
            };
            if let Err(error) = checked {
                problem(error, &mut problems)?;
            }
            progress.advance(Stage::Audit, &item, file.rows, file.bytes);
            Ok(problems)
        })
        .collect();
    problems.extend(found?.into_iter().flatten());
    progress.finish(Stage::Audit, &item);
    let collections = export.iter().flat_map(|manifest| &manifest.collections);
    let tables = transform.iter().flat_map(|manifest| &manifest.tables);
    Ok(AuditReport {
        level,
        input_sha256: transform.map(|manifest| manifest.input_sha256.clone()),
        collections: collections.map(CollectionAudit::stated).collect(),
        tables: tables.map(TableAudit::stated).collect(),
        problems,
        remarks: Vec::new(),
    })
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
) -> Result<(CollectionAudit, Vec<String>, Vec<String>), AuditError> {
    let item = format!("collection {}", manifest.name);
    progress.start(Stage::Audit, &item, Total::Records(manifest.documents));
    let (mut problems, mut remarks) = (Vec::new(), Vec::new());
    let (mut found, mut bytes) = (0, 0);
    let deleted = manifest.changes.iter().flat_map(|changes| &changes.deleted);
    for (part, counts) in
        manifest.parts.iter().map(|part| (part, true)).chain(deleted.map(|part| (part, false)))
    {
        interrupted(progress)?;
        match decode(run, &part.file, &mut problems, &mut remarks) {
            Ok((documents, size)) if counts => {
                found += documents;
                bytes += size;
                progress.advance(Stage::Audit, &item, documents, size);
            }
            Ok(_) => {}
            Err(error) => problem(error, &mut problems)?,
        }
    }
    if problems.is_empty() && found != manifest.documents {
        let name = &manifest.name;
        problems
            .push(format!("collection {name} has {found} documents, not {}", manifest.documents));
    }
    progress.finish(Stage::Audit, &item);
    let audited = CollectionAudit { documents: found, bytes, ..CollectionAudit::stated(manifest) };
    Ok((audited, problems, remarks))
}

/// Reads an exported part and decodes every document; how many there are, and their bytes.
///
/// What is no sound BSON in bytes that are as they were written came so from the source: that is
/// worth knowing, but no damage.
fn decode(
    run: &RunDirectory,
    file: &PartFile,
    problems: &mut Vec<String>,
    remarks: &mut Vec<String>,
) -> Result<(u64, u64), StagingError> {
    let (mut found, mut bytes) = (0, 0);
    for batch in documents(run, file)? {
        let batch = batch?;
        for at in 0..batch.len() {
            if let Err(error) = validate(batch.bytes(at)) {
                let id = batch.id(at);
                remarks.push(format!("{}: document {id} came as unsound BSON: {error}", file.path));
            }
        }
        found += batch.len() as u64;
        bytes += batch.total_bytes();
    }
    if found != file.rows {
        problems.push(format!("{} holds {found} documents, not {}", file.path, file.rows));
    }
    Ok((found, bytes))
}

/// Reads a staged part; its rows must be as many as stated.
fn read_rows(
    run: &RunDirectory,
    file: &PartFile,
    problems: &mut Vec<String>,
) -> Result<(), StagingError> {
    let mut rows = 0;
    for batch in part::open(run, file)? {
        let path = || file.path.clone().into();
        rows += batch.map_err(|source| StagingError::Arrow { path: path(), source })?.num_rows();
    }
    if rows as u64 != file.rows {
        problems.push(format!("{} holds {rows} rows, not {}", file.path, file.rows));
    }
    Ok(())
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
        rows,
        columns,
        references,
        refused: lists.refused.get(name).cloned().unwrap_or_default(),
        ..TableAudit::stated(manifest)
    };
    Ok((audited, problems))
}
