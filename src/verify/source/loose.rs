//! Documents without an `_id` index that says their order, or that tells them apart: they are told
//! by digests of their content, sixteen bytes each.

use std::collections::{HashMap, HashSet};

use mongodb::bson::{Bson, Document, RawDocument, RawDocumentBuf, doc};
use sha2::{Digest, Sha256};

use super::collection::Of;
use super::ids::{key, shown, to_bson};
use super::report::CollectionProof;
use super::sampled::places;
use super::side::{Done, Side, Step};
use super::{DIFFERS, LACKS_EXPORT, LACKS_SOURCE};
use crate::document::extended_json::canonical;
use crate::document::raw::Doc;
use crate::progress::Stage;
use crate::verify::VerifyError;

/// Measurements that are asked for at once.
const MOST_ASKED: usize = 200;
/// Documents that are held to be named.
const HELD: usize = 1000;

type Half = [u8; 16];

fn half(bytes: impl AsRef<[u8]>) -> Half {
    let mut half = [0; 16];
    half.copy_from_slice(&Sha256::digest(bytes)[..16]);
    half
}

/// What a document is told by. The fields of a measurement have the order of their bucket, which
/// is none of their own.
fn content(of: &Of<'_>, document: &[u8]) -> Half {
    if !of.is_series() {
        return half(document);
    }
    let fields = Doc::new(document).and_then(|document| {
        let fields = document.elements().map(|element| {
            let (name, value) = element?;
            Ok((name, canonical(&value)?))
        });
        fields.collect::<Result<Vec<_>, _>>()
    });
    let Ok(mut fields) = fields else { return half(document) };
    fields.sort_unstable();
    half(format!("{fields:?}"))
}

/// Documents of both sides at random.
pub(super) fn sampled(
    side: &Side<'_>,
    of: &Of<'_>,
    sample: u64,
    proof: &mut CollectionProof,
) -> Result<(), VerifyError> {
    let drawn = side.draw(sample, None)?;
    proof.sampled = drawn.len() as u64;
    let mut unmet: HashMap<Half, Vec<RawDocumentBuf>> = HashMap::new();
    for drawn in drawn {
        unmet.entry(content(of, drawn.as_bytes())).or_default().push(drawn);
    }
    // Only the time of a measurement is sought in less than all of a collection.
    let places = places(if of.time_field().is_some() { sample } else { 0 }, of.exported.documents);
    let mut places = places.into_iter().peekable();
    let (mut asked, mut place) = (Vec::new(), 0);
    for batch in of.batches()? {
        let batch = batch?;
        side.check()?;
        for at in 0..batch.len() {
            let document = batch.bytes(at);
            if let Some(met) = unmet.remove(&content(of, document)) {
                proof.equal += met.len() as u64;
            }
            if places.next_if_eq(&place).is_some() {
                asked.push(document.to_vec());
            }
            place += 1;
            if asked.len() >= MOST_ASKED {
                ask(side, of, &std::mem::take(&mut asked), proof)?;
            }
        }
        side.progress.advance(Stage::Verify, &of.title, batch.len() as u64, batch.total_bytes());
    }
    ask(side, of, &asked, proof)?;
    let mut unmet: Vec<RawDocumentBuf> = unmet.into_values().flatten().collect();
    unmet.sort_by_cached_key(|document| shown(document.as_bytes()));
    for document in unmet {
        of.lacks(LACKS_EXPORT, document.as_bytes(), proof);
    }
    Ok(())
}

/// Asks the source for measurements of the export, by their times.
fn ask(
    side: &Side<'_>,
    of: &Of<'_>,
    asked: &[Vec<u8>],
    proof: &mut CollectionProof,
) -> Result<(), VerifyError> {
    let Some(field) = of.time_field().filter(|_| !asked.is_empty()) else { return Ok(()) };
    let time = |document: &Vec<u8>| -> Option<Bson> {
        let time = RawDocument::from_bytes(document).ok()?.get(field).ok()??;
        Bson::try_from(time).ok()
    };
    let times: Vec<Bson> = asked.iter().filter_map(time).collect();
    let mut filter: Document = doc! {field: {"$in": times}};
    let ids: Vec<Bson> = asked.iter().filter_map(|document| to_bson(document)).collect();
    if ids.len() == asked.len() {
        filter.insert("_id", doc! {"$in": ids});
    }
    let found = side.find(false, &filter)?;
    let found: HashSet<Half> = found.iter().map(|document| content(of, document)).collect();
    for document in asked {
        proof.asked += 1;
        if found.contains(&content(of, document)) {
            proof.equal += 1;
        } else {
            of.lacks(LACKS_SOURCE, document, proof);
        }
    }
    Ok(())
}

/// All documents of both sides. What only one side has is a document that differs where the other
/// side has its `_id`.
pub(super) fn all(
    side: &Side<'_>,
    of: &Of<'_>,
    proof: &mut CollectionProof,
) -> Result<(), VerifyError> {
    let (mut left, others) = loop {
        if let Some(read) = read(side, of, proof)? {
            break read;
        }
    };
    proof.equal = proof.sampled - others.count;
    let mut others = others;
    if !left.is_empty() {
        for batch in of.batches()? {
            let batch = batch?;
            side.check()?;
            for at in 0..batch.len() {
                let document = batch.bytes(at);
                match left.get_mut(&content(of, document)).filter(|left| **left > 0) {
                    Some(left) => *left -= 1,
                    None => continue,
                }
                match others.take(batch.id(at)) {
                    Other::Held(found) => of.pair(&found, document, proof),
                    Other::Known => proof.document(shown(document), DIFFERS, None),
                    Other::None => of.lacks(LACKS_SOURCE, document, proof),
                }
            }
        }
    }
    for found in others.held.into_values().flatten() {
        of.lacks(LACKS_EXPORT, &found, proof);
    }
    let unnamed: u64 = others.ids.values().sum();
    proof.different += unnamed;
    proof.not_named += unnamed;
    Ok(())
}

/// How often the export has each document, those of the source taken away, and what the source has
/// besides; none where the reading must begin anew.
#[expect(clippy::type_complexity, reason = "both are taken apart at once")]
fn read(
    side: &Side<'_>,
    of: &Of<'_>,
    proof: &mut CollectionProof,
) -> Result<Option<(HashMap<Half, u64>, Others)>, VerifyError> {
    (proof.sampled, proof.asked) = (0, 0);
    let mut left: HashMap<Half, u64> = HashMap::new();
    for batch in of.batches()? {
        let batch = batch?;
        side.check()?;
        for at in 0..batch.len() {
            *left.entry(content(of, batch.bytes(at))).or_default() += 1;
        }
        proof.asked += batch.len() as u64;
    }
    let mut others = Others::default();
    let mut source = side.all(false);
    let mut done = Done::new(side, of);
    loop {
        match source.next()? {
            Step::Document(found) => {
                proof.sampled += 1;
                match left.get_mut(&content(of, &found)).filter(|left| **left > 0) {
                    Some(left) => *left -= 1,
                    None => others.push(found),
                }
                done.advance();
            }
            Step::Restart => return Ok(None),
            Step::End => break,
        }
    }
    left.retain(|_, left| *left > 0);
    Ok(Some((left, others)))
}

/// A document that the export has otherwise or not at all.
enum Other {
    Held(Vec<u8>),
    /// Its `_id` is known, and nothing else.
    Known,
    None,
}

/// Documents that only the source has: some are held, of others the `_id` is.
#[derive(Default)]
struct Others {
    held: HashMap<Half, Vec<Vec<u8>>>,
    count: u64,
    /// Those that are not held.
    ids: HashMap<Half, u64>,
}

impl Others {
    fn push(&mut self, document: Vec<u8>) {
        let id = half(key(&shown(&document)).as_bytes());
        if self.count < HELD as u64 {
            self.held.entry(id).or_default().push(document);
        } else {
            *self.ids.entry(id).or_default() += 1;
        }
        self.count += 1;
    }

    /// Takes one with this `_id`.
    fn take(&mut self, id: &str) -> Other {
        let id = half(key(id).as_bytes());
        if let Some(held) = self.held.get_mut(&id).and_then(Vec::pop) {
            return Other::Held(held);
        }
        match self.ids.get_mut(&id).filter(|left| **left > 0) {
            Some(left) => {
                *left -= 1;
                Other::Known
            }
            None => Other::None,
        }
    }
}
