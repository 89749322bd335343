//! All documents through the mapping: every row that they should be against the rows that are there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rayon::prelude::*;

use super::ProofError;
use super::circle::circles;
use super::document::{Judge, Sum};
use super::gather::{Gathered, Wanted};
use super::mapping::{Mapping, TableMap};
use super::rejects::Rejects;
use super::report::{Difference, DocumentProof, NAMED};
use super::sets::{Sets, read_late, read_numbers};
use super::suspects::Suspects;
use crate::pipeline::model::{Key, Pipeline};
use crate::progress::{Progress, Stage, Total};
use crate::staging::exported::documents;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, ExportManifest, TransformManifest};
use crate::staging::table::TableDefinition;

/// The proof of one run.
pub struct Proof<'p> {
    run: &'p RunDirectory,
    manifest: &'p TransformManifest,
    export: &'p ExportManifest,
    pub(super) mapping: Mapping<'p>,
    pub(super) rejects: Rejects,
    pub(super) sets: Sets,
    /// Rows in PostgreSQL, by table as the mapping has them.
    pub(super) found: Vec<Gathered>,
    /// Links in PostgreSQL, by junction, and whether an array holds each.
    pub(super) links: Vec<(Vec<u128>, Vec<AtomicBool>)>,
    /// Elements of the arrays of each junction.
    pub(super) elements: Vec<AtomicU64>,
}

impl<'p> Proof<'p> {
    /// Prepares the proof of a run. The sources of `pipeline` have the names of the export.
    ///
    /// # Errors
    ///
    /// When the staged files cannot be read, or the pipeline file is not that of the run.
    pub fn new(
        run: &'p RunDirectory,
        pipeline: &'p Pipeline,
        manifest: &'p TransformManifest,
        export: &'p ExportManifest,
    ) -> Result<Self, ProofError> {
        let mapping = Mapping::new(pipeline, manifest, export).map_err(ProofError::Pipeline)?;
        let mut sets = Sets::default();
        for (at, table) in mapping.tables.iter().enumerate().filter(|(_, table)| table.serial) {
            let mut entries = manifest.tables.iter();
            if let Some(entry) =
                entries.find(|entry| entry.definition.name == table.definition.name)
            {
                sets.numbers.insert(at, read_numbers(run, entry)?);
            }
        }
        let rejects = Rejects::read(run)?;
        Ok(Self {
            run,
            manifest,
            export,
            elements: mapping.junctions.iter().map(|_| AtomicU64::new(0)).collect(),
            mapping,
            rejects,
            sets,
            found: Vec::new(),
            links: Vec::new(),
        })
    }

    /// What is to be kept of the rows of each table, by its name.
    pub fn wanted(&self) -> HashMap<String, Wanted> {
        let mut wanted = HashMap::new();
        for table in &self.mapping.tables {
            let mut of_table = Wanted { types: table.types.clone(), ..Wanted::default() };
            if self.rejects.with_unique.contains(&table.table.name) {
                of_table.unique = claims(table);
            }
            wanted.insert(table.table.name.clone(), of_table);
        }
        let references = self.mapping.tables.iter().flat_map(|table| &table.columns);
        let references = references.filter_map(|column| column.reference.as_ref());
        let referred = references.map(|reference| (reference.table, reference.column));
        let linked = self.mapping.junctions.iter().flat_map(|junction| junction.sides);
        for (table, column) in referred.chain(linked) {
            let Some(table) = self.mapping.tables.get(table) else { continue };
            if let Some(of_table) = wanted.get_mut(&table.table.name)
                && !of_table.keys.contains(&column)
            {
                of_table.keys.push(column);
            }
        }
        for junction in &self.mapping.junctions {
            let of_table =
                Wanted { types: junction.types.clone(), rows: true, ..Wanted::default() };
            wanted.insert(junction.junction.name.clone(), of_table);
        }
        wanted
    }

    /// Takes what was kept of the rows in PostgreSQL.
    ///
    /// # Errors
    ///
    /// When staged rows that a retry added cannot be read.
    pub fn take(
        &mut self,
        mut gathered: HashMap<String, Gathered>,
        oids: &HashMap<String, u32>,
    ) -> Result<(), ProofError> {
        self.sets.oids.clone_from(oids);
        for (at, table) in self.mapping.tables.iter().enumerate() {
            let mut of_table = gathered.remove(&table.table.name).unwrap_or_default();
            let keys = std::mem::take(&mut of_table.keys);
            for (column, keys) in of_table.key_columns().zip(keys) {
                self.sets.keys.insert((at, column), keys);
            }
            self.found.push(of_table);
        }
        for junction in &self.mapping.junctions {
            let of_table = gathered.remove(&junction.junction.name).unwrap_or_default();
            let held = of_table.rows.iter().map(|_| AtomicBool::new(false)).collect();
            self.links.push((of_table.rows, held));
        }
        for (at, table) in self.mapping.tables.iter().enumerate() {
            let mut entries = self.manifest.tables.iter();
            let entry = entries.find(|entry| entry.definition.name == table.table.name);
            if let Some(entry) = entry {
                let columns: Vec<usize> = self.mapping.referred(at).collect();
                read_late(self.run, entry, (at, &columns), &mut self.sets)?;
            }
        }
        Ok(())
    }

    /// Works out every document. `strangers` may be in the tables: links that no array holds are none of
    /// the run's then.
    ///
    /// # Errors
    ///
    /// When a part cannot be read, or on a signal.
    pub fn judge(
        &self,
        strangers: bool,
        progress: &dyn Progress,
    ) -> Result<(DocumentProof, Suspects), ProofError> {
        let (mut proof, mut suspects) = self.pass(None, progress)?;
        if !strangers {
            for (at, (links, held)) in self.links.iter().enumerate() {
                let alone =
                    links.iter().zip(held).filter(|(_, held)| !held.load(Ordering::Relaxed));
                suspects.links(at, alone.map(|(link, _)| *link));
            }
        }
        proof.add_named(self.rejects_not_met());
        Ok((proof, suspects))
    }

    /// Works out every document once more, with the rows in hand that differ, and names them.
    ///
    /// # Errors
    ///
    /// As [`Proof::judge`].
    pub fn name(
        &self,
        suspects: &Suspects,
        progress: &dyn Progress,
    ) -> Result<DocumentProof, ProofError> {
        let (mut proof, _) = self.pass(Some(suspects), progress)?;
        proof.add_named(self.rejects_not_met());
        for (difference, more) in suspects.left_over(&self.mapping) {
            proof.add_named(difference);
            proof.not_named += more;
        }
        Ok(proof)
    }

    fn rejects_not_met(&self) -> Option<Difference> {
        let lines = self.rejects.not_met();
        (lines > 0).then(|| Difference {
            table: "(rejects)".to_owned(),
            what: format!("{lines} listed rejects belong to no record of the export"),
            ..Difference::default()
        })
    }

    fn pass(
        &self,
        suspects: Option<&Suspects>,
        progress: &dyn Progress,
    ) -> Result<(DocumentProof, Suspects), ProofError> {
        let of_export: Vec<(&CollectionManifest, Vec<usize>)> = self
            .export
            .collections
            .iter()
            .map(|collection| (collection, self.tables_of(&collection.name)))
            .filter(|(_, tables)| !tables.is_empty())
            .collect();
        let expected = of_export
            .iter()
            .map(|(collection, _)| (shown(collection), Total::Records(collection.documents)));
        progress.expect(Stage::Verify, &expected.collect::<Vec<_>>());
        let results: Result<Vec<_>, ProofError> = of_export
            .par_iter()
            .map(|(collection, tables)| self.collection(collection, tables, suspects, progress))
            .collect();
        let mut proof = DocumentProof::default();
        let (mut found, mut waiting) = (Suspects::default(), Vec::new());
        for (sum, suspects) in results? {
            proof.collections.push(sum.leaves);
            proof.differences.extend(sum.differences);
            proof.not_named += sum.not_named;
            waiting.extend(sum.waiting);
            found.merge(suspects);
        }
        for record in circles(waiting) {
            let table = self.mapping.tables.get(record.table);
            proof.add_named(Some(Difference {
                collection: table.map(|table| table.table.source.clone()),
                id: Some(record.id),
                table: table.map_or_else(String::new, |table| table.table.name.clone()),
                what: "the record is listed as a reject for a row that is one only for this record"
                    .to_owned(),
                ..Difference::default()
            }));
        }
        // Nothing is expected in tables of collections that are not there.
        for (at, table) in self.mapping.tables.iter().enumerate() {
            if !self.export.has(&table.table.source) {
                found.table(at, self.compare(at, &super::document::Expected::default()));
            }
        }
        Ok((proof, found))
    }

    pub(super) fn tables_of(&self, collection: &str) -> Vec<usize> {
        let tables = self.mapping.tables.iter().enumerate();
        tables.filter(|(_, table)| table.table.source == collection).map(|(at, _)| at).collect()
    }

    fn collection(
        &self,
        collection: &CollectionManifest,
        tables: &[usize],
        suspects: Option<&Suspects>,
        progress: &dyn Progress,
    ) -> Result<(Sum, Suspects), ProofError> {
        let name = shown(collection);
        progress.start(Stage::Verify, &name, Total::Records(collection.documents));
        let before = |at: usize| {
            let before = at.checked_sub(1).and_then(|at| collection.parts.get(at));
            before.map(|part| part.last_id.clone())
        };
        let sums: Result<Vec<Sum>, ProofError> = (0..collection.parts.len())
            .into_par_iter()
            .map(|at| {
                let mut judge = Judge::new(self, collection, tables, suspects, (at, before(at)));
                let Some(part) = collection.parts.get(at) else { return Ok(judge.finish()) };
                for batch in documents(self.run, &part.file)? {
                    if progress.interrupted() {
                        return Err(ProofError::Interrupted);
                    }
                    let batch = batch?;
                    for document in 0..batch.len() {
                        judge.document(batch.id(document), batch.bytes(document));
                    }
                    let (records, bytes) = (batch.len() as u64, batch.total_bytes());
                    progress.advance(Stage::Verify, &name, records, bytes);
                }
                Ok(judge.finish())
            })
            .collect();
        let mut all = Sum::new(&collection.name, tables.len());
        for sum in sums? {
            all.add(sum);
        }
        let mut found = Suspects::default();
        for (expected, at) in all.expected.iter().zip(tables) {
            found.table(*at, self.compare(*at, expected));
        }
        for (place, at) in tables.iter().enumerate() {
            let early = all.expected.get_mut(place).map(super::document::Expected::too_early);
            let table = self.mapping.tables.get(*at).map(|table| table.table.name.clone());
            for id in early.unwrap_or_default() {
                all.name(Difference {
                    collection: Some(collection.name.clone()),
                    id: Some(id),
                    table: table.clone().unwrap_or_default(),
                    what: "the record gave way to a row that comes after it".to_owned(),
                    ..Difference::default()
                });
            }
        }
        let out_of_order = all.out_of_order();
        for (place, at) in out_of_order.into_iter().zip(tables) {
            if let (true, Some(table)) = (place, self.mapping.tables.get(*at)) {
                all.name(Difference {
                    collection: Some(collection.name.clone()),
                    table: table.table.name.clone(),
                    column: serial_column(table),
                    what: "the numbers are not in the order of the `_id`s".to_owned(),
                    ..Difference::default()
                });
            }
        }
        progress.finish(Stage::Verify, &name);
        Ok((all, found))
    }

    /// The buckets in which the expected rows of a table are not those that are there.
    fn compare(&self, at: usize, expected: &super::document::Expected) -> Vec<usize> {
        let none = Gathered::default();
        self.found.get(at).unwrap_or(&none).digest.differing(&expected.compact())
    }

    /// Elements of the arrays of each junction that were compared with its rows, by its name.
    pub fn elements(&self) -> HashMap<String, u64> {
        let junctions = self.mapping.junctions.iter().zip(&self.elements);
        let counts =
            junctions.map(|(of, count)| (of.junction.name.clone(), count.load(Ordering::Relaxed)));
        counts.collect()
    }

    /// Takes what of the rows of a table that PostgreSQL returns once more is needed to name
    /// differences.
    pub fn look_again(&self, suspects: &mut Suspects, table: &str, tuple: &[u8]) {
        suspects.row(&self.mapping, table, tuple);
    }

    /// The tables whose rows are needed again.
    pub fn again(&self, suspects: &Suspects) -> Vec<&'p TableDefinition> {
        suspects.tables(&self.mapping)
    }
}

/// As progress shows it.
fn shown(collection: &CollectionManifest) -> String {
    format!("documents of {}", collection.name)
}

/// What no two rows of a table share: unique values and the key, with the columns that are
/// compared in lower case.
pub(super) fn claims(table: &TableMap<'_>) -> Vec<(Vec<usize>, Vec<usize>)> {
    let key = (!table.key.is_empty()).then(|| (table.key.clone(), Vec::new()));
    table.unique.iter().cloned().chain(key).collect()
}

fn serial_column(table: &TableMap<'_>) -> Option<String> {
    let mut columns = table.columns.iter();
    let found = columns.find(|column| column.column.key == Some(Key::Serial))?;
    Some(found.column.name.clone())
}

impl DocumentProof {
    fn add_named(&mut self, difference: impl IntoIterator<Item = Difference>) {
        for difference in difference {
            if self.differences.len() < NAMED * self.collections.len().max(1) * 2 {
                self.differences.push(difference);
            } else {
                self.not_named += 1;
            }
        }
    }
}
