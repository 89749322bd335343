//! Documents at random: of the source, looked for in the export, and of the export, asked for at
//! the source by `_id`. Of the export no more is held than what was drawn.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher;

use mongodb::bson::{Bson, RawDocumentBuf, doc};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

use super::collection::Of;
use super::ids::{key, shown, to_bson};
use super::report::CollectionProof;
use super::side::Side;
use super::{LACKS_EXPORT, LACKS_SOURCE};
use crate::progress::Stage;
use crate::verify::VerifyError;

/// Documents that are asked for at once.
const MOST_ASKED: usize = 500;
/// Their bytes: a query is no larger than a document.
const MOST_BYTES: usize = 4 << 20;

pub(super) fn compare(
    side: &Side<'_>,
    of: &Of<'_>,
    sample: u64,
    proof: &mut CollectionProof,
) -> Result<(), VerifyError> {
    let drawn = side.draw(sample, Some(of.evidence.fields()))?;
    let mut unmet: HashMap<String, RawDocumentBuf> = drawn
        .into_iter()
        .map(|drawn| (key(&shown(drawn.as_bytes())).into_owned(), drawn))
        .collect();
    proof.sampled = unmet.len() as u64;
    let places = places(sample, of.exported.documents);
    let mut places = places.into_iter().peekable();
    let (mut asked, mut bytes, mut place) = (HashMap::new(), 0, 0);
    for batch in of.batches()? {
        let batch = batch?;
        side.check()?;
        for at in 0..batch.len() {
            let id = key(batch.id(at));
            let chosen = places.next_if_eq(&place).is_some();
            place += 1;
            proof.asked += u64::from(chosen);
            if unmet.remove(id.as_ref()).is_some() || chosen {
                let document = batch.bytes(at).to_vec();
                bytes += document.len();
                asked.insert(id.into_owned(), document);
            }
            if asked.len() >= MOST_ASKED || bytes >= MOST_BYTES {
                ask(side, of, &std::mem::take(&mut asked), proof)?;
                bytes = 0;
            }
        }
        side.progress.advance(Stage::Verify, &of.title, batch.len() as u64, batch.total_bytes());
    }
    ask(side, of, &asked, proof)?;
    let mut unmet: Vec<RawDocumentBuf> = unmet.into_values().collect();
    unmet.sort_by_cached_key(|document| shown(document.as_bytes()));
    for document in unmet {
        of.lacks(LACKS_EXPORT, document.as_bytes(), proof);
    }
    Ok(())
}

/// Asks the source for documents of the export.
fn ask(
    side: &Side<'_>,
    of: &Of<'_>,
    asked: &HashMap<String, Vec<u8>>,
    proof: &mut CollectionProof,
) -> Result<(), VerifyError> {
    if asked.is_empty() {
        return Ok(());
    }
    // In one order, so that the same differences are named in the same way.
    let mut documents: Vec<(&String, &Vec<u8>)> = asked.iter().collect();
    documents.sort();
    let mut ids: Vec<Bson> = Vec::new();
    for (id, document) in &documents {
        let unknown = || VerifyError::Document {
            collection: of.exported.name.clone(),
            detail: format!("the driver cannot ask for the `_id` {id}"),
        };
        ids.push(to_bson(document).ok_or_else(unknown)?);
    }
    let found = side.find(true, &doc! {"_id": {"$in": ids}})?;
    let found: HashMap<String, Vec<u8>> =
        found.into_iter().map(|document| (key(&shown(&document)).into_owned(), document)).collect();
    for (id, document) in documents {
        match found.get(id) {
            Some(found) => of.pair(found, document, proof),
            None => of.lacks(LACKS_SOURCE, document, proof),
        }
    }
    Ok(())
}

/// So many different places of a collection of so many documents, in order.
pub(super) fn places(count: u64, of: u64) -> BTreeSet<u64> {
    let mut numbers = ChaCha8Rng::seed_from_u64(RandomState::new().hash_one(of));
    let mut places = BTreeSet::new();
    // Each of the last places is taken, or one before it: so every choice is as likely (R. Floyd).
    for last in of.saturating_sub(count)..of {
        let place = numbers.next_u64() % (last + 1);
        if !places.insert(place) {
            places.insert(last);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_places_as_asked_for_are_drawn() {
        for (count, of, drawn) in [(0, 9, 0), (9, 0, 0), (3, 9, 3), (9, 9, 9), (10, 9, 9)] {
            let places = places(count, of);
            assert_eq!(places.len(), drawn);
            assert!(places.iter().all(|place| *place < of));
        }
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            seen.extend(places(1, 4));
        }
        assert_eq!(seen, (0..4).collect());
    }
}
