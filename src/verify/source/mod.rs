//! The source read again: its own counts against those of the export, and documents at random, or
//! all of them, against the exported bytes. What was read wrongly, or not at all, is in no other
//! part of a proof: these begin with the export.
//!
//! A replica set is read at the export's cluster time while it has that history: then every
//! difference is one. Otherwise it is read as it is now, and what the documents themselves say of
//! their time tells what was written since.

mod collection;
mod compare;
mod evidence;
mod ids;
mod loose;
mod moment;
mod ordered;
mod report;
mod sampled;
mod side;

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mongodb::bson::Document;
pub use report::{CollectionProof, SourceDifference, SourceProof};
use tokio::runtime::Handle;

use self::collection::{Of, Told};
use self::evidence::{Evidence, began};
use self::moment::Moments;
use self::side::Side;
use super::VerifyError;
use crate::document::extended_json::to_document;
use crate::pipeline::model::ChangedBy;
use crate::progress::{Progress, Stage, Total};
use crate::source::error::code;
use crate::source::mongodb::{ListedCollection, Server};
use crate::source::{SourceAddress, SourceError};
use crate::staging::chain::Chain;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, ExportManifest};
use crate::staging::run::RunRecord;

/// What is said of a document that the export lacks.
const LACKS_EXPORT: &str = "the source holds a document that the export has not";
/// What is said of a document that the source lacks.
const LACKS_SOURCE: &str = "the export holds a document that the source has not";
/// What is said of a document that both have.
const DIFFERS: &str = "the document differs";

/// How many documents of each collection are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// So many of the source, and so many of the export.
    Some(u64),
    /// All of them.
    All,
}

impl Default for Sample {
    fn default() -> Self {
        Self::Some(1000)
    }
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "all" {
            return Ok(Self::All);
        }
        match text.parse() {
            Ok(0) | Err(_) => Err("a number from 1 on, or `all`".to_owned()),
            Ok(number) => Ok(Self::Some(number)),
        }
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Some(number) => number.fmt(formatter),
            Self::All => formatter.write_str("all"),
        }
    }
}

/// How the source is read again.
#[derive(Clone, Copy, Debug)]
pub struct SourceOptions {
    /// How many documents of each collection are compared.
    pub sample: Sample,
    /// Collections that are read at the same time.
    pub threads: usize,
}

/// Reads the source of a run's export again and compares it. A sentence where it is none that can
/// be read again.
pub async fn read_again(
    run: &RunDirectory,
    changed: &ChangedBy,
    source: &SourceAddress,
    options: &SourceOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Result<SourceProof, String>, VerifyError> {
    let SourceAddress::MongoDb(uri) = source else {
        let why = "the source was not read again: it is no MongoDB server";
        return Ok(Err(why.to_owned()));
    };
    let manifest = ExportManifest::read(run)?;
    let server = Server::connect(uri).await?;
    let listing = server.collections().await?;
    let moments = Moments::choose(&manifest, &server, &listing);
    let sample = match options.sample {
        Sample::Some(number) => Some(number),
        Sample::All => None,
    };
    let (address, moment) = (server.address().to_owned(), moments.told());
    let again = Arc::new(Again {
        chain: Chain::open(run)?,
        began: began(&manifest, &RunRecord::read(run)?),
        changed: changed.clone(),
        handle: Handle::current(),
        progress: Arc::clone(progress),
        sample: options.sample,
        next: AtomicUsize::new(0),
        work: work(&manifest, &listing),
        done: Mutex::default(),
        manifest,
        server,
        listing,
        moments,
    });
    let workers: Vec<_> = (0..options.threads.max(1))
        .map(|_| {
            let again = Arc::clone(&again);
            tokio::task::spawn_blocking(move || again.run())
        })
        .collect();
    // All are waited for: none goes on when the command has ended.
    let mut failure = None;
    for worker in workers {
        if let Err(error) = worker.await.map_err(VerifyError::Worker)? {
            failure.get_or_insert(error);
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    let done = std::mem::take(&mut *again.done.lock().unwrap_or_else(PoisonError::into_inner));
    let Done { mut collections, mut told } = done;
    collections.sort_by(|left, right| left.collection.cmp(&right.collection));
    told.sort();
    let moments = std::iter::once(moment).chain(told).collect();
    Ok(Ok(SourceProof { address, sample, moments, collections }))
}

/// A collection of either side.
enum Work {
    Exported(usize),
    /// One that the export has not, and does not say why.
    Beyond(ListedCollection),
}

/// What there is to compare, the largest first.
fn work(manifest: &ExportManifest, listing: &[ListedCollection]) -> Vec<Work> {
    let mut order: Vec<usize> = (0..manifest.collections.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(manifest.collections[*at].document_bytes));
    let skipped = manifest.skipped.iter().map(|skipped| skipped.name.as_str());
    let exported = manifest.collections.iter().map(|exported| exported.name.as_str());
    let names: BTreeSet<&str> = skipped.chain(exported).collect();
    let exported = manifest.collections.iter().filter_map(|exported| exported.uuid.as_deref());
    let numbers: BTreeSet<&str> = exported.collect();
    let beyond = listing.iter().filter(|listed| {
        listed.left_out().is_none()
            && !names.contains(listed.name.as_str())
            && !listed.uuid.as_deref().is_some_and(|uuid| numbers.contains(uuid))
    });
    let beyond = beyond.map(|listed| Work::Beyond(listed.clone()));
    order.into_iter().map(Work::Exported).chain(beyond).collect()
}

/// What was found so far.
#[derive(Default)]
struct Done {
    collections: Vec<CollectionProof>,
    /// What is to be said of the moments of single collections.
    told: Vec<String>,
}

/// A second reading. Its threads take one collection after another.
struct Again {
    manifest: ExportManifest,
    chain: Chain,
    server: Server,
    /// What the server lists now.
    listing: Vec<ListedCollection>,
    moments: Moments,
    /// The last millisecond that may belong to the export.
    began: i64,
    changed: ChangedBy,
    handle: Handle,
    progress: Arc<dyn Progress>,
    sample: Sample,
    next: AtomicUsize,
    work: Vec<Work>,
    done: Mutex<Done>,
}

impl Again {
    fn run(&self) -> Result<(), VerifyError> {
        while let Some(work) = self.work.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            let compared = match work {
                Work::Exported(at) => self.exported(&self.manifest.collections[*at]),
                Work::Beyond(listed) => self.beyond(listed),
            };
            let proof = match compared {
                Ok(proof) => proof,
                Err(error) => {
                    // The others have no work left.
                    self.next.store(self.work.len(), Ordering::Relaxed);
                    return Err(error);
                }
            };
            let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
            done.collections.extend(proof);
        }
        Ok(())
    }

    fn tell(&self, sentence: String) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.told.push(sentence);
    }

    fn side<'s>(&'s self, server: &'s Server, listed: &'s ListedCollection) -> Side<'s> {
        let (handle, progress) = (&self.handle, &self.progress);
        Side { server, listed, handle, progress }
    }

    /// A collection of the export: at its moment where the server has it, else now.
    fn exported(
        &self,
        exported: &CollectionManifest,
    ) -> Result<Option<CollectionProof>, VerifyError> {
        let title = format!("{} at the source", exported.name);
        self.progress.start(Stage::Verify, &title, Total::Records(exported.documents));
        let evidence = Evidence::of(self.began, &self.changed, exported);
        let of = Of { chain: &self.chain, exported, evidence: &evidence, title };
        let proof = self.compare(&of);
        self.progress.finish(Stage::Verify, &of.title);
        proof.map(Some)
    }

    fn compare(&self, of: &Of<'_>) -> Result<CollectionProof, VerifyError> {
        let exported = of.exported;
        if let Some(server) = self.moments.at_export(&self.server) {
            match self.at_export(of, &server) {
                Ok(proof) => return Ok(proof),
                Err(NotThen::Refused(why)) => {
                    self.tell(format!("{} was read again as it is now: {why}", exported.name));
                }
                Err(NotThen::Failed(error)) => return Err(error),
            }
        }
        let server = moment::now(&self.server);
        let by_number = exported
            .uuid
            .as_ref()
            .and_then(|uuid| self.listing.iter().find(|listed| listed.uuid.as_ref() == Some(uuid)));
        let by_name = || {
            let mut listing = self.listing.iter();
            listing.find(|listed| listed.name == exported.name && listed.left_out().is_none())
        };
        let Some(listed) = by_number.or_else(by_name) else {
            let mut proof = CollectionProof {
                collection: exported.name.clone(),
                exported: Some(exported.records()),
                ..CollectionProof::default()
            };
            proof.differs("the source has no such collection");
            return Ok(proof);
        };
        if listed.name != exported.name {
            self.tell(format!("{} has the name {} now", exported.name, listed.name));
        } else if exported.uuid.is_some() && listed.uuid.is_some() && by_number.is_none() {
            self.tell(format!("{} was made again since the export", exported.name));
        }
        let side = self.side(&server, listed);
        let indexes = side.wait(server.indexes(listed))?;
        let told = Told::new(&side, &indexes);
        collection::compare(&side, of, told, self.sample, false)
    }

    /// A collection of the export as it was then.
    fn at_export(&self, of: &Of<'_>, server: &Server) -> Result<CollectionProof, NotThen> {
        let exported = of.exported;
        let options = to_document(&exported.options).unwrap_or_default();
        let listed = ListedCollection {
            name: exported.name.clone(),
            kind: exported.kind.clone(),
            options,
            uuid: exported.uuid.clone(),
            identity: exported.uuid.clone(),
        };
        moment::check(server, &listed, &self.listing).map_err(NotThen::Refused)?;
        let indexes: Vec<Document> =
            exported.indexes.iter().filter_map(|index| to_document(index).ok()).collect();
        let side = self.side(server, &listed);
        let told = Told::new(&side, &indexes);
        let compared = collection::compare(&side, of, told, self.sample, true);
        compared.map_err(|error| match error {
            VerifyError::Source(error) if is_refusal(&error) => NotThen::Refused(error.to_string()),
            error => NotThen::Failed(error),
        })
    }

    /// A collection that only the source has; none where it was not there yet, or holds nothing.
    fn beyond(&self, listed: &ListedCollection) -> Result<Option<CollectionProof>, VerifyError> {
        const LACKS: &str = "the export has no such collection";
        let mut proof =
            CollectionProof { collection: listed.name.clone(), ..CollectionProof::default() };
        if let Some(server) = self.moments.at_export(&self.server)
            && moment::check(&server, listed, &self.listing).is_ok()
        {
            match self.side(&server, listed).count(false, None) {
                // What it holds, if anything, came after the export.
                Ok(0) => return Ok(None),
                Ok(counted) => {
                    proof.at_export = true;
                    proof.counted = Some(counted);
                    proof.different = counted;
                    proof.not_named = counted;
                    proof.differs(LACKS);
                    return Ok(Some(proof));
                }
                Err(error) if is_refusal(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let server = moment::now(&self.server);
        let side = self.side(&server, listed);
        let counted = side.count(false, None)?;
        proof.counted = Some(counted);
        let evidence = Evidence::new(self.began, &self.changed, &listed.name);
        let newer = match evidence.newer() {
            Some(newer) if counted > 0 => side.count(false, Some(&newer))?,
            _ => 0,
        };
        proof.written_since = newer;
        if newer < counted {
            proof.different = counted - newer;
            proof.not_named = proof.different;
            proof.differs(LACKS);
        }
        Ok(Some(proof))
    }
}

/// Why a collection was not read at the moment of the export.
enum NotThen {
    Refused(String),
    Failed(VerifyError),
}

/// Whether the server refuses to read a collection at a moment, for whatever reason: it may then be
/// read as it is now.
fn is_refusal(error: &SourceError) -> bool {
    error.is_lost() || matches!(error, SourceError::Server { cause, .. } if code(cause).is_some())
}
