//! A draft of a pipeline file, made from what a database holds.
//!
//! `survey` looks at documents, `evidence` tells what refers to what, `decide` (with `column`,
//! `index` and `junction`) and `relational` lay out tables, `draft` writes them down.

mod column;
mod decide;
mod draft;
mod drift;
mod evidence;
mod index;
mod junction;
mod names;
mod prisma;
mod relational;
mod survey;
mod text;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

pub use drift::{Change, Drift};
pub use names::NameStyle;
pub use prisma::from_prisma;

use self::decide::Planner;
use self::survey::Survey;
use crate::failure::{Exit, Explain};
use crate::pipeline::model::Pipeline;
use crate::progress::{Progress, Stage, Total};
use crate::source::sqlite::Left;
use crate::source::whole::{Documents, Limit, Listed, Seen, Take, Whole};
use crate::source::{SourceAddress, SourceError};
use crate::staging::inventory::SourceObject;
use crate::transform::TransformError;
use crate::transform::trial::{Attempt, Trial};

/// Documents of a collection that are read before a sample must do: half of them are all read.
const MOST_DOCUMENTS: u64 = 10_000_000;

/// How a plan is made.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions {
    /// Threads that read, and that look.
    pub threads: usize,
    /// Documents of each collection to look at; all up to a limit where none is given.
    pub sample: Option<u64>,
    /// How names are made.
    pub names: NameStyle,
}

/// A drafted pipeline file.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its text.
    pub toml: String,
    /// Points that are marked `decide:` in it.
    pub decisions: usize,
    /// Collections looked at, with the documents of each and whether these were all.
    pub collections: Vec<(String, u64, bool)>,
    /// Every object of the source, taken or left out.
    pub objects: Vec<SourceObject>,
    /// Of collections with records that are no documents: how many, and why the first is none.
    pub rejected: Vec<(String, u64, String)>,
}

/// A collection with what was found in it.
struct Surveyed {
    listed: Listed,
    survey: Survey,
    /// All of its documents were looked at.
    whole: bool,
    /// Records that are no documents, and why the first is none.
    rejected: (u64, String),
    /// Its `_id`s are the numbers of its records.
    numbered: bool,
}

fn relational(listed: &Listed) -> bool {
    listed.kind == "table"
}

/// Looks at a source and drafts a pipeline file of this name.
pub async fn plan(
    source: &SourceAddress,
    name: &str,
    options: &PlanOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Plan, SourceError> {
    let (surveyed, left, objects) =
        survey(Whole::open(source).await?, options, progress, None).await?;
    let mut draft = Planner::new(&surveyed, options.names).draft(name);
    draft.about.push(format!(
        "Drafted by docferry {} from {}.",
        env!("CARGO_PKG_VERSION"),
        source.display()
    ));
    draft.about.push(
        "Each comment says what was found; `decide:` marks what a person should look at."
            .to_owned(),
    );
    if surveyed.is_empty() {
        draft
            .about
            .push("decide: the source holds nothing to move: is it the right one?".to_owned());
    }
    draft.about.extend(left.iter().map(|left| format!("decide: {left}")));
    let decisions = draft.to_toml().matches("decide: ").count();
    let broken = surveyed.iter().filter(|one| one.rejected.0 > 0);
    Ok(Plan {
        toml: draft.to_toml(),
        decisions,
        rejected: broken
            .map(|one| (one.listed.name.clone(), one.rejected.0, one.rejected.1.clone()))
            .collect(),
        collections: surveyed
            .into_iter()
            .map(|one| (one.listed.name, one.survey.documents, one.whole))
            .collect(),
        objects,
    })
}

/// Looks at a source and tells how it differs from what its pipeline file says.
pub async fn diff(
    source: &SourceAddress,
    pipeline: &Pipeline,
    options: &PlanOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<Drift>, PlanError> {
    let whole = Whole::open(source).await?;
    let pipeline =
        pipeline.resolved(|name| whole.collections.iter().any(|listed| listed.name == name));
    let kinds = whole.collections.iter().map(|listed| (listed.name.clone(), listed.kind.clone()));
    let trial = Arc::new(Trial::new(&pipeline, &kinds.collect::<Vec<_>>())?);
    let (surveyed, ..) = survey(whole, options, progress, Some(&trial)).await?;
    let mistakes =
        trial.mistakes(|name| surveyed.iter().any(|one| one.listed.name == name && one.whole));
    Ok(drift::drift(&pipeline, &surveyed, &mistakes))
}

/// A source that could not be compared with its pipeline file.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The pipeline file, by which no transform could be made.
    #[error(transparent)]
    Pipeline(#[from] TransformError),
}

impl Explain for PlanError {
    fn exit(&self) -> Exit {
        match self {
            Self::Source(error) => error.exit(),
            Self::Pipeline(error) => error.exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Source(error) => error.hint(),
            Self::Pipeline(error) => error.hint(),
        }
    }
}

/// Reads a source and surveys each of its collections. Says what else the source holds.
async fn survey(
    mut whole: Whole,
    options: &PlanOptions,
    progress: &Arc<dyn Progress>,
    trial: Option<&Arc<Trial>>,
) -> Result<(Vec<Surveyed>, Vec<String>, Vec<SourceObject>), SourceError> {
    let objects = std::mem::take(&mut whole.objects);
    for object in &objects {
        if let Some(reason) = object.reason() {
            let note = format!("left out: {} {} ({reason})", object.kind, object.name);
            progress.note(Stage::Plan, &note);
        }
    }
    let listed = whole.collections.clone();
    let left = whole.left_out().iter().filter_map(Left::said).collect();
    let total = |listed: &Listed| match (listed.documents, listed.bytes) {
        (Some(documents), _) => Total::Records(documents),
        (None, Some(bytes)) => Total::Bytes(bytes),
        (None, None) => Total::Unknown,
    };
    let expected: Vec<_> = listed.iter().map(|one| (one.name.clone(), total(one))).collect();
    progress.expect(Stage::Plan, &expected);
    for (name, total) in &expected {
        progress.start(Stage::Plan, name, *total);
    }
    let limit = options.sample.unwrap_or(MOST_DOCUMENTS);
    let threads = options.threads.max(1);
    let (sender, receiver) = sync_channel::<(usize, Documents)>(2 * threads);
    let receiver = Arc::new(Mutex::new(receiver));
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (receiver, progress) = (Arc::clone(&receiver), Arc::clone(progress));
            let names: Vec<String> = listed.iter().map(|one| one.name.clone()).collect();
            let trial = trial.cloned();
            tokio::task::spawn_blocking(move || {
                let mut attempt = trial.as_deref().map(Trial::attempt);
                let surveys = look(&receiver, &names, attempt.as_mut(), progress.as_ref());
                attempt.into_iter().for_each(Attempt::finish);
                surveys
            })
        })
        .collect();
    let watched = Arc::clone(progress);
    let take: Take = Box::new(move |at, documents| {
        sender.send((at, documents)).is_ok() && !watched.interrupted()
    });
    let read = whole.read(threads, Limit(Some(limit)), take).await;
    let mut surveys: Vec<Survey> = listed.iter().map(|_| Survey::default()).collect();
    for worker in workers {
        for (at, survey) in worker.await.map_err(SourceError::Worker)? {
            surveys[at].merge(survey);
        }
    }
    let seen = read?;
    if progress.interrupted() {
        return Err(SourceError::Interrupted);
    }
    let mut surveyed = Vec::new();
    for ((listed, mut survey), seen) in listed.into_iter().zip(surveys).zip(seen) {
        survey.finish();
        progress.finish(Stage::Plan, &listed.name);
        let Seen { whole, numbered, rejected, example } = seen;
        let rejected = rejected + survey.malformed;
        let example = example.unwrap_or_else(|| "bytes that are no BSON".to_owned());
        let rejected = (rejected, example);
        surveyed.push(Surveyed { listed, survey, whole, rejected, numbered });
    }
    Ok((surveyed, left, objects))
}

/// What one thread found, by collection.
fn look(
    receiver: &Mutex<Receiver<(usize, Documents)>>,
    names: &[String],
    mut attempt: Option<&mut Attempt<'_>>,
    progress: &dyn Progress,
) -> HashMap<usize, Survey> {
    let mut surveys: HashMap<usize, Survey> = HashMap::new();
    loop {
        let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((at, documents)) = next else { return surveys };
        let survey = surveys.entry(at).or_default();
        for (document, place) in documents.iter().zip(documents.place()..) {
            survey.add(document, place);
            if let Some(attempt) = &mut attempt {
                attempt.document(&names[at], document);
            }
        }
        let (records, bytes) = (documents.len() as u64, documents.bytes() as u64);
        progress.advance(Stage::Plan, &names[at], records, bytes);
    }
}
