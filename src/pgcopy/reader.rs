//! A COPY TO stream back into tuples, whose bytes are those that were sent.

/// Bytes that are no binary COPY.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer is no binary COPY")]
pub struct NotACopy;

/// Length of the header when it has no extension.
const HEADER_BYTES: usize = 19;

/// Takes a stream in pieces of any size and gives whole tuples.
#[derive(Debug, Default)]
pub struct CopyReader {
    pending: Vec<u8>,
    begun: bool,
    ended: bool,
}

impl CopyReader {
    /// Adds a piece; calls `tuple` with each tuple that is complete.
    pub fn push(&mut self, piece: &[u8], mut tuple: impl FnMut(&[u8])) -> Result<(), NotACopy> {
        self.pending.extend_from_slice(piece);
        let mut at = 0;
        if !self.begun {
            if self.pending.len() < HEADER_BYTES {
                return Ok(());
            }
            if !self.pending.starts_with(b"PGCOPY\n\xff\r\n\0") {
                return Err(NotACopy);
            }
            self.begun = true;
            at = HEADER_BYTES;
        }
        while !self.ended {
            match tuple_end(&self.pending[at..])? {
                Tuple::Partial => break,
                Tuple::Trailer => self.ended = true,
                Tuple::Whole(length) => {
                    tuple(&self.pending[at..at + length]);
                    at += length;
                }
            }
        }
        self.pending.drain(..at);
        Ok(())
    }

    /// Whether the stream came to its end.
    pub fn ended(&self) -> bool {
        self.ended
    }
}

enum Tuple {
    Partial,
    Trailer,
    Whole(usize),
}

fn tuple_end(bytes: &[u8]) -> Result<Tuple, NotACopy> {
    let Some(count) = bytes.first_chunk::<2>() else { return Ok(Tuple::Partial) };
    let count = i16::from_be_bytes(*count);
    if count == -1 {
        return Ok(Tuple::Trailer);
    }
    let mut at = 2;
    for _ in 0..count {
        let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) else {
            return Ok(Tuple::Partial);
        };
        at += 4;
        match i32::from_be_bytes(*length) {
            -1 => {}
            length => at += usize::try_from(length).map_err(|_| NotACopy)?,
        }
        if at > bytes.len() {
            return Ok(Tuple::Partial);
        }
    }
    Ok(Tuple::Whole(at))
}

/// The fields of a whole tuple; none for NULL.
pub fn fields(tuple: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut at = 2;
    std::iter::from_fn(move || {
        let length = i32::from_be_bytes(*tuple.get(at..)?.first_chunk::<4>()?);
        at += 4;
        let Ok(length) = usize::try_from(length) else { return Some(None) };
        let field = tuple.get(at..at + length)?;
        at += length;
        Some(Some(field))
    })
}
