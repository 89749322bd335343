//! One collection: its counts, then its documents.

use mongodb::bson::Document;

use super::compare::first_difference;
use super::evidence::Evidence;
use super::ids::shown;
use super::report::CollectionProof;
use super::side::Side;
use super::{DIFFERS, LACKS_EXPORT, Sample, loose, ordered, sampled};
use crate::document::raw::Malformed;
use crate::source::SourceError;
use crate::staging::chain::Chain;
use crate::staging::exported::Batches;
use crate::staging::manifest::CollectionManifest;
use crate::verify::VerifyError;

/// The export's side of a collection.
pub(super) struct Of<'o> {
    pub(super) chain: &'o Chain,
    pub(super) exported: &'o CollectionManifest,
    pub(super) evidence: &'o Evidence,
    /// How it is called in what is said of the progress.
    pub(super) title: String,
}

impl Of<'_> {
    /// Its documents, one part after another.
    pub(super) fn batches(&self) -> Result<Batches, VerifyError> {
        let pieces = self.chain.pieces(&self.exported.name)?.into_iter();
        Ok(Box::new(pieces.flat_map(|piece| piece.read())))
    }

    pub(super) fn is_series(&self) -> bool {
        self.exported.kind == "timeseries"
    }

    /// The field of a time series that holds the time.
    pub(super) fn time_field(&self) -> Option<&str> {
        self.exported.options.get("timeseries")?.get("timeField")?.as_str()
    }

    /// Bytes that are no BSON, although they were staged or sent as such.
    pub(super) fn malformed(&self, error: &Malformed) -> VerifyError {
        let detail = format!("a document is no BSON: {error}");
        VerifyError::Document { collection: self.exported.name.clone(), detail }
    }

    /// A document that one side lacks.
    pub(super) fn lacks(&self, what: &str, document: &[u8], proof: &mut CollectionProof) {
        if what == LACKS_EXPORT && !proof.at_export && self.evidence.is_new(document) {
            proof.changed_since += 1;
        } else {
            proof.document(shown(document), what, None);
        }
    }

    /// A document of the source and the exported one with its `_id`.
    pub(super) fn pair(&self, source: &[u8], export: &[u8], proof: &mut CollectionProof) {
        if source == export {
            proof.equal += 1;
        } else if !proof.at_export && self.evidence.is_changed(source) {
            proof.changed_since += 1;
        } else {
            let place = first_difference(source, export);
            proof.document(shown(export), DIFFERS, place);
        }
    }
}

/// How the documents of a collection can be told apart.
#[derive(Clone, Copy)]
pub(super) struct Told {
    /// It has an `_id` index.
    pub(super) by_id: bool,
    /// That index gives the order that the export has.
    pub(super) in_order: bool,
}

impl Told {
    pub(super) fn new(side: &Side<'_>, indexes: &[Document]) -> Self {
        let by_id = indexes.iter().any(|index| index.get_str("name").is_ok_and(|id| id == "_id_"));
        let by_id = by_id && side.listed.kind == "collection";
        Self { by_id, in_order: side.listed.reads_by_index(indexes) }
    }
}

/// Compares a collection with its export.
pub(super) fn compare(
    side: &Side<'_>,
    of: &Of<'_>,
    told: Told,
    sample: Sample,
    at_export: bool,
) -> Result<CollectionProof, VerifyError> {
    let exported = of.exported;
    let mut proof = CollectionProof {
        collection: exported.name.clone(),
        exported: Some(exported.records()),
        at_export,
        ..CollectionProof::default()
    };
    let counted = side.count(told.in_order, None)?;
    proof.counted = Some(counted);
    match sample {
        Sample::All => {
            if !told.in_order || !ordered::compare(side, of, &mut proof)? {
                let CollectionProof { collection, exported, counted, .. } = proof;
                let same = CollectionProof {
                    collection,
                    exported,
                    counted,
                    at_export,
                    ..CollectionProof::default()
                };
                proof = same;
                loose::all(side, of, &mut proof)?;
            }
            // What is read without a snapshot may have changed since it was counted.
            if at_export && proof.sampled != counted {
                let read = proof.sampled;
                proof.differs(&format!("the source counts {counted} documents and gives {read}"));
            }
        }
        Sample::Some(sample) if told.by_id => sampled::compare(side, of, sample, &mut proof)?,
        Sample::Some(sample) => loose::sampled(side, of, sample, &mut proof)?,
    }
    count(side, of, told, sample, counted, &mut proof)?;
    Ok(proof)
}

/// Compares the counts. Where all documents were compared as they are now, these say more.
fn count(
    side: &Side<'_>,
    of: &Of<'_>,
    told: Told,
    sample: Sample,
    counted: u64,
    proof: &mut CollectionProof,
) -> Result<(), SourceError> {
    let exported = of.exported.records();
    if counted == exported || (!proof.at_export && sample == Sample::All) {
        return Ok(());
    }
    let mut what = format!("the source counts {counted} documents, the export has {exported}");
    if !proof.at_export
        && let Some(newer) = of.evidence.newer()
    {
        let newer = side.count(told.in_order, Some(&newer))?;
        if counted.checked_sub(newer) == Some(exported) {
            proof.written_since = newer;
            return Ok(());
        }
        if newer > 0 {
            what = format!("{what}, and {newer} have ObjectIds that are newer than the export");
        }
    }
    proof.differs(&what);
    Ok(())
}
