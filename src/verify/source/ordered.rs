//! All documents, both sides in the order of the `_id` index.

use std::cmp::Ordering;

use super::collection::Of;
use super::ids::{id_of, order};
use super::report::CollectionProof;
use super::side::{Done, Side, Step};
use super::{LACKS_EXPORT, LACKS_SOURCE};
use crate::staging::exported::Cursor;
use crate::verify::VerifyError;

/// Goes through both sides. False where the source has another order than `_id` indexes have: then
/// nothing is found.
pub(super) fn compare(
    side: &Side<'_>,
    of: &Of<'_>,
    proof: &mut CollectionProof,
) -> Result<bool, VerifyError> {
    let mut exported = Cursor::new(of.batches()?);
    let mut source = side.all(true);
    let mut done = Done::new(side, of);
    let mut last: Option<Vec<u8>> = None;
    loop {
        let found = match source.next()? {
            Step::Document(found) => found,
            // What is read in order goes on where it was.
            Step::Restart => continue,
            Step::End => break,
        };
        let id = id_of(&found).map_err(|error| of.malformed(&error))?;
        if let Some(last) = &last
            && order(id_of(last).ok().flatten().as_ref(), id.as_ref()).is_gt()
        {
            return Ok(false);
        }
        proof.sampled += 1;
        let mut known = false;
        while exported.fill()?
            && let Some((_, document)) = exported.current()
        {
            let own = id_of(document).map_err(|error| of.malformed(&error))?;
            match order(own.as_ref(), id.as_ref()) {
                Ordering::Less => of.lacks(LACKS_SOURCE, document, proof),
                Ordering::Equal => {
                    of.pair(&found, document, proof);
                    known = true;
                }
                Ordering::Greater => break,
            }
            proof.asked += 1;
            exported.pass();
            if known {
                break;
            }
        }
        if !known {
            of.lacks(LACKS_EXPORT, &found, proof);
        }
        done.advance();
        last = Some(found);
    }
    while exported.fill()?
        && let Some((_, document)) = exported.current()
    {
        of.lacks(LACKS_SOURCE, document, proof);
        proof.asked += 1;
        exported.pass();
    }
    Ok(true)
}
