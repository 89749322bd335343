//! Proof that PostgreSQL holds what was staged: every row and column by digest, every reference by
//! a search for orphans, the catalogue against the staged definitions, every junction against the
//! arrays of the source, and every record accounted for. All read one snapshot of the target. Where
//! the export begins to be trusted, the source is read again: [`source`].

mod account;
mod balance;
mod catalogue;
mod error;
mod expectations;
mod links;
mod references;
mod rows;
mod snapshot;
pub mod source;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

pub use account::{Account, CollectionSums, Sums};
pub use catalogue::{CatalogueDifference, CatalogueVerdict};
pub use error::VerifyError;
use serde::Serialize;
pub use snapshot::WrittenSince;
use tokio_postgres::Client;

use self::catalogue::LoadedAs;
use self::expectations::check_expectations;
use self::references::check_references;
use self::rows::{found_rows, key_positions, name_rows, staged_rows};
use self::snapshot::{Snapshot, guarded};
use self::source::SourceProof;
use crate::pgcopy::digest::{TableDigest, key_bytes, row_hash};
use crate::pipeline::model::{Key, Pipeline};
use crate::postgres::{Target, enum_oids};
use crate::progress::{Progress, Stage, Total};
use crate::proof::{DocumentProof, Gathered, Proof, Wanted};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{ExportManifest, TableManifest, TransformManifest};

/// Differing rows that are named per table.
const NAMED_ROWS: usize = 20;

/// How a verification is done.
#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions {
    /// Connections that read at the same time.
    pub connections: usize,
    /// Read the exported documents again and compare them leaf by leaf.
    pub documents: bool,
}

/// What was proved.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// Tables, in the order of the manifest.
    pub tables: Vec<TableVerdict>,
    /// Where the records of the source went.
    pub account: Account,
    /// The target's catalogue against the staged definitions.
    pub catalogue: CatalogueVerdict,
    /// The exported documents against the rows; none where they were not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub documents: Option<DocumentProof>,
    /// The export against the source; none where it was not read again.
    #[serde(rename = "source_again", skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceProof>,
    /// What the counts of the run contradict, a sentence each.
    pub balance: Vec<String>,
    /// Why a part of the proof was left out, a sentence each.
    pub left_out: Vec<String>,
    /// Rows that were written while the tables were read: the proof is of the moment before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub written_since: Vec<WrittenSince>,
}

/// What was proved of a table.
#[derive(Clone, Debug, Serialize)]
pub struct TableVerdict {
    /// Table name.
    pub table: String,
    /// Rows staged.
    pub staged_rows: u64,
    /// Rows in PostgreSQL.
    pub found_rows: u64,
    /// Content digest of the staged rows.
    pub staged_digest: String,
    /// Content digest of the rows in PostgreSQL.
    pub found_digest: String,
    /// Foreign keys that were checked.
    pub references: usize,
    /// For a junction: elements of the source's arrays that were compared with its rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elements: Option<u64>,
    /// What differs, a sentence each.
    pub differences: Vec<String>,
    /// Conditions of the pipeline file that rows should meet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expectations: Vec<Expectation>,
}

/// A condition that rows should meet, and those that do not. It takes nothing from the proof.
#[derive(Clone, Debug, Serialize)]
pub struct Expectation {
    /// Its name.
    pub name: String,
    /// Rows that do not meet it.
    pub rows: u64,
    /// Keys of some of them.
    pub examples: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing differs.
    pub fn is_proved(&self) -> bool {
        self.balance.is_empty()
            && self.catalogue.differences.is_empty()
            && self.documents.as_ref().is_none_or(DocumentProof::is_proved)
            && self.source.as_ref().is_none_or(SourceProof::is_proved)
            && self.tables.iter().all(|table| table.differences.is_empty())
    }
}

/// Compares a run's staged rows with what the target holds, and its junctions with the arrays of
/// the exported documents.
pub async fn verify(
    run: &RunDirectory,
    pipeline: &Pipeline,
    manifest: &TransformManifest,
    target: &Target,
    options: &VerifyOptions,
    progress: &Arc<dyn Progress>,
) -> Result<VerifyReport, VerifyError> {
    let (client, snapshot) = Snapshot::take(target).await?;
    let oids = Arc::new(enum_oids(&client, &manifest.schema).await?);
    let name = format!("{}/{}", run.pipeline(), run.run());
    let loaded = Arc::new(LoadedAs::read(&client, &name, &manifest.schema).await?);
    let (catalogue, mut left_out) =
        catalogue::check(&client, target, &name, manifest, &loaded).await?;
    let export = ExportManifest::read(run).ok();
    if export.is_none() {
        left_out.push(
            "the run's export is not here: junctions are not compared with the source's arrays, \
             and the records of the source are counted as the transform noted them"
                .to_owned(),
        );
    }
    let pipeline = &match &export {
        Some(export) => pipeline.resolved(|name| export.has(name)),
        None => pipeline.clone(),
    };
    let mut proof = match &export {
        Some(export) if options.documents => Some(Proof::new(run, pipeline, manifest, export)?),
        _ => None,
    };
    let whole = pipeline;
    // The proof of the documents compares the links as well, those between serial keys included.
    let pipeline = &match proof {
        Some(_) => whole.clone(),
        None => without_serial_junctions(whole, &mut left_out),
    };
    let mut balance = balance::check(run, pipeline, manifest, export.as_ref())?;
    let sessions = Sessions { target, snapshot: &snapshot, connections: options.connections };
    let wanted = Arc::new(proof.as_ref().map(Proof::wanted).unwrap_or_default());
    let (mut tables, gathered) =
        verify_tables(run, manifest, &sessions, &oids, &loaded, &wanted, progress).await?;
    let mut documents = None;
    if let Some(proof) = &mut proof {
        proof.take(gathered, &oids)?;
        let proved =
            prove_documents(run, manifest, proof, &client, &oids, &loaded, progress).await?;
        documents = Some(proved);
        for (name, elements) in proof.elements() {
            if let Some(verdict) = tables.iter_mut().find(|verdict| verdict.table == name) {
                verdict.elements = Some(elements);
            }
        }
    } else if let Some(export) = &export {
        let beside_others = loaded.beside_others;
        let linked = links::Linked { run, manifest, export, oids: &oids, beside_others };
        for (name, checked) in links::check(&linked, pipeline, &client, progress).await? {
            if let Some(verdict) = tables.iter_mut().find(|verdict| verdict.table == name) {
                verdict.elements = Some(checked.elements);
                verdict.differences.extend(checked.differences);
                if checked.strangers > 0 && !loaded.beside_others {
                    verdict.differences.push(format!(
                        "{} rows are held by no array of the source",
                        checked.strangers
                    ));
                }
            }
        }
    }
    let account = Account::new(pipeline, manifest, export.as_ref(), &tables);
    if balance.is_empty() && tables.iter().all(|table| table.found_rows >= table.staged_rows) {
        balance.extend(balance::unaccounted(&account));
    }
    let names: Vec<&str> = tables.iter().map(|table| table.table.as_str()).collect();
    let written_since = snapshot.written_since(&client, target, &manifest.schema, &names).await?;
    Ok(VerifyReport {
        tables,
        account,
        catalogue,
        documents,
        source: None,
        balance,
        left_out,
        written_since,
    })
}

/// Compares the exported documents with the rows that were read. What differs is read once more,
/// to be named.
async fn prove_documents(
    run: &RunDirectory,
    manifest: &TransformManifest,
    proof: &Proof<'_>,
    client: &Client,
    oids: &Arc<HashMap<String, u32>>,
    loaded: &LoadedAs,
    progress: &Arc<dyn Progress>,
) -> Result<DocumentProof, VerifyError> {
    let (proved, mut suspects) =
        tokio::task::block_in_place(|| proof.judge(loaded.beside_others, progress.as_ref()))?;
    if suspects.is_empty() {
        return Ok(proved);
    }
    for definition in proof.again(&suspects) {
        let key = key_positions(definition);
        let of_table = manifest.tables.iter().find(|table| table.definition == *definition);
        let own = match of_table {
            Some(table) if loaded.beside_others => {
                Some(own_keys(run.clone(), table.clone(), Arc::clone(oids), key.clone()).await?)
            }
            _ => None,
        };
        let reading = found_rows(client, definition, |tuple| {
            if own.as_ref().is_none_or(|own| own.binary_search(&key_hash(tuple, &key)).is_ok()) {
                proof.look_again(&mut suspects, &definition.name, tuple);
            }
        });
        // A table that cannot be read is reported with the table.
        let _ = guarded(client, reading).await?;
    }
    Ok(tokio::task::block_in_place(|| proof.name(&suspects, progress.as_ref()))?)
}

/// Sessions on one moment of the target.
struct Sessions<'s> {
    target: &'s Target,
    snapshot: &'s Snapshot,
    connections: usize,
}

/// Verifies the tables over several connections; verdicts come in the order of the manifest.
async fn verify_tables(
    run: &RunDirectory,
    manifest: &TransformManifest,
    sessions: &Sessions<'_>,
    oids: &Arc<HashMap<String, u32>>,
    loaded: &Arc<LoadedAs>,
    wanted: &Arc<HashMap<String, Wanted>>,
    progress: &Arc<dyn Progress>,
) -> Result<(Vec<TableVerdict>, HashMap<String, Gathered>), VerifyError> {
    let mut order: Vec<usize> = (0..manifest.tables.len()).collect();
    // The largest first, so that no connection is left with it at the end.
    order.sort_by_key(|at| {
        std::cmp::Reverse(manifest.tables[*at].parts.iter().map(|part| part.bytes).sum::<u64>())
    });
    let expected = order.iter().map(|at| {
        let table = &manifest.tables[*at];
        (table.definition.name.clone(), Total::Records(table.rows))
    });
    progress.expect(Stage::Verify, &expected.collect::<Vec<_>>());
    let queue = Arc::new(Mutex::new(VecDeque::from(order)));
    let tables = Arc::new(manifest.tables.clone());
    let mut workers = Vec::new();
    for _ in 0..sessions.connections.max(1) {
        let client = sessions.snapshot.join(sessions.target).await?;
        let (loaded, wanted) = (Arc::clone(loaded), Arc::clone(wanted));
        let (run, queue, tables) = (run.clone(), Arc::clone(&queue), Arc::clone(&tables));
        let (oids, progress) = (Arc::clone(oids), Arc::clone(progress));
        workers.push(tokio::spawn(async move {
            let mut verdicts = Vec::new();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(at) = next else { return Ok::<_, VerifyError>(verdicts) };
                let table = &tables[at];
                let name = &table.definition.name;
                progress.start(Stage::Verify, name, Total::Records(table.rows));
                let mut kept = wanted.get(name).cloned().map(Gathered::new);
                let verdict = verify_table(&run, table, &client, &oids, &loaded, &mut kept).await?;
                verdicts.push((at, verdict, kept));
                progress.advance(Stage::Verify, name, table.rows, 0);
                progress.finish(Stage::Verify, name);
            }
        }));
    }
    let mut verdicts = Vec::new();
    for worker in workers {
        verdicts.extend(worker.await.map_err(VerifyError::Worker)??);
    }
    verdicts.sort_by_key(|(at, _, _)| *at);
    let (mut tables, mut gathered) = (Vec::new(), HashMap::new());
    for (_, verdict, kept) in verdicts {
        gathered.extend(kept.map(|kept| (verdict.table.clone(), kept)));
        tables.push(verdict);
    }
    Ok((tables, gathered))
}

/// Links between rows with serial keys name ids that are not in their table: they are proved as
/// rows, not against the arrays.
fn without_serial_junctions(pipeline: &Pipeline, left_out: &mut Vec<String>) -> Pipeline {
    let serial = |name: &str| {
        let table = pipeline.tables.iter().find(|table| table.name == name);
        table
            .is_some_and(|table| table.columns.iter().any(|column| column.key == Some(Key::Serial)))
    };
    let mut pipeline = pipeline.clone();
    pipeline.junctions.retain(|junction| {
        let numbered = junction.columns.iter().any(|column| serial(&column.table));
        if numbered {
            left_out.push(format!(
                "junction {} joins serial keys: it is not compared with the source's arrays",
                junction.name
            ));
        }
        !numbered
    });
    pipeline
}

/// The keys of all staged rows: 16 bytes each.
async fn own_keys(
    run: RunDirectory,
    table: TableManifest,
    oids: Arc<HashMap<String, u32>>,
    key: Vec<usize>,
) -> Result<Vec<u128>, VerifyError> {
    let read = tokio::task::spawn_blocking(move || {
        let mut keys = Vec::new();
        staged_rows(&run, &table, &oids, |tuple| keys.push(key_hash(tuple, &key)))?;
        keys.sort_unstable();
        Ok(keys)
    });
    read.await.map_err(VerifyError::Worker)?
}

fn key_hash(tuple: &[u8], key: &[usize]) -> u128 {
    let hash = row_hash(&key_bytes(tuple, key));
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    u128::from_be_bytes(half)
}

async fn verify_table(
    run: &RunDirectory,
    table: &TableManifest,
    client: &Client,
    oids: &Arc<HashMap<String, u32>>,
    loaded: &LoadedAs,
    kept: &mut Option<Gathered>,
) -> Result<TableVerdict, VerifyError> {
    let definition = &table.definition;
    let key = key_positions(definition);
    let mut differences = Vec::new();
    // Both sides are read at the same time.
    let staging = tokio::task::spawn_blocking({
        let (run, table, oids, key) = (run.clone(), table.clone(), Arc::clone(oids), key.clone());
        move || {
            let mut staged = TableDigest::default();
            let read = staged_rows(&run, &table, &oids, |tuple| staged.add(tuple, &key));
            (staged, read)
        }
    });
    let own = if loaded.beside_others {
        Some(own_keys(run.clone(), table.clone(), Arc::clone(oids), key.clone()).await?)
    } else {
        None
    };
    let is_own = |tuple: &[u8]| {
        own.as_ref().is_none_or(|own| own.binary_search(&key_hash(tuple, &key)).is_ok())
    };
    let mut found = TableDigest::default();
    let reading = found_rows(client, definition, |tuple| {
        if is_own(tuple) {
            found.add(tuple, &key);
            if let Some(kept) = kept {
                kept.add(tuple);
            }
        }
    });
    if let Err(refused) = guarded(client, reading).await? {
        differences.push(refused);
    }
    if let Some(kept) = kept {
        kept.finish(&found);
    }
    let (staged, read) = staging.await.map_err(VerifyError::Worker)?;
    if let Err(error) = read {
        match error {
            VerifyError::Staging(damaged) => differences.push(damaged.to_string()),
            other => return Err(other),
        }
    }
    let differing = staged.differing(&found);
    if differences.is_empty() && !differing.is_empty() {
        differences = name_rows(run, table, client, oids, &key, &differing, &is_own).await?;
        // Different digests are a difference, whether or not a row can be named for it.
        if differences.is_empty() {
            differences.push("the content digests differ".to_owned());
        }
    }
    if staged.rows != found.rows {
        differences.insert(0, format!("{} rows are staged, {} are there", staged.rows, found.rows));
    }
    differences.extend(check_references(client, definition).await?);
    let expectations = match guarded(client, check_expectations(client, definition)).await? {
        Ok(expectations) => expectations,
        Err(refused) => {
            differences.push(refused);
            Vec::new()
        }
    };
    Ok(TableVerdict {
        table: definition.name.clone(),
        staged_rows: staged.rows,
        found_rows: found.rows,
        staged_digest: staged.total().to_hex(),
        found_digest: found.total().to_hex(),
        references: definition.foreign_keys.len(),
        elements: None,
        differences,
        expectations,
    })
}
