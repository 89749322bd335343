//! Columns of compressed buckets: binary subtype 7, "BSONColumn".
//!
//! A column is a sequence of control bytes, each with what belongs to it:
//!
//! | control byte | meaning |
//! | --- | --- |
//! | 0x00 | the end |
//! | a BSON type | a value as it is, after an empty field name |
//! | 0x80 to 0xDF | (low 4 bits + 1) words of simple-8b: differences to the value before; the high 4 bits give the decimal scale of doubles |
//! | 0xF1, 0xF2 | a reference document or array, then the columns of all its scalars, their words in the order in which they are needed, and 0x00 |
//! | 0xF0 | the same as 0xF1, of servers that kept arrays as scalars |
//!
//! Differences are zigzag-encoded. ObjectIds, dates and timestamps are kept as differences of
//! differences. Strings, code, binaries of at most 16 bytes and decimals count as integers of 128
//! bits.

use super::simple8b::{Next, Words};
use crate::document::raw::value_length;

/// Factors by which doubles become whole numbers, by scale.
const SCALES: [f64; 5] = [1.0, 10.0, 100.0, 10_000.0, 100_000_000.0];
/// Doubles above this are not whole numbers for certain: 2^53.
const LARGEST_EXACT: f64 = 9_007_199_254_740_992.0;
/// Nesting of a reference document: far above what a server stores.
const MAX_DEPTH: usize = 250;

/// A value with its BSON type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    /// BSON type.
    pub(super) kind: u8,
    /// Bytes of the value.
    pub(super) value: Vec<u8>,
}

/// Gives the values of a column one by one.
pub(super) struct Column<'c> {
    bytes: &'c [u8],
    position: usize,
    /// Decodes what stands outside of interleaved runs.
    plain: Decoder<'c>,
    interleaved: Option<Interleaved<'c>>,
}

/// A run of documents (or arrays), whose scalars are columns of their own.
struct Interleaved<'c> {
    /// BSON type of the values.
    kind: u8,
    steps: Vec<Step<'c>>,
    decoders: Vec<Decoder<'c>>,
}

/// A step on the way through the reference document.
enum Step<'c> {
    Open { kind: u8, name: &'c [u8], empty: bool },
    Scalar { name: &'c [u8] },
    Close,
}

impl<'c> Column<'c> {
    pub(super) fn new(bytes: &'c [u8]) -> Self {
        Self { bytes, position: 0, plain: Decoder::default(), interleaved: None }
    }

    /// The value of the next measurement.
    pub(super) fn next(&mut self) -> Result<Next<Element>, &'static str> {
        loop {
            if let Some(mut run) = self.interleaved.take() {
                let value = self.row(&mut run)?;
                if value != Next::End {
                    self.interleaved = Some(run);
                    // A repeat after the run repeats its last value.
                    let last =
                        if let Next::Value(value) = &value { Some(value.clone()) } else { None };
                    self.plain = Decoder { last, ..Decoder::default() };
                    return Ok(value);
                }
            }
            let delta = self.plain.words.next()?;
            if delta != Next::End {
                return self.plain.apply(&delta);
            }
            match self.control()? {
                0 if self.position + 1 == self.bytes.len() => return Ok(Next::End),
                0 => return Err("bytes follow its end"),
                0xf0..=0xf2 => self.interleaved = Some(self.start_run()?),
                _ => {
                    let mut plain = std::mem::take(&mut self.plain);
                    let value = self.decode(&mut plain);
                    self.plain = plain;
                    return value;
                }
            }
        }
    }

    fn control(&self) -> Result<u8, &'static str> {
        self.bytes.get(self.position).copied().ok_or("it has no end")
    }

    /// Reads what the control byte announces, and gives its first value.
    fn decode(&mut self, decoder: &mut Decoder<'c>) -> Result<Next<Element>, &'static str> {
        let control = self.control()?;
        if control & 0xe0 == 0 || matches!(control, 0x7f | 0xff) {
            // The byte after the type ends an empty name.
            let rest = self.bytes.get(self.position + 2..).ok_or("it ends inside a value")?;
            let length = value_length(control, rest).ok_or("a value has no such type")?;
            let value = rest.get(..length).ok_or("it ends inside a value")?;
            self.position += 2 + length;
            let element = Element { kind: control, value: value.to_vec() };
            decoder.set(element.clone());
            return Ok(Next::Value(element));
        }
        let length = (usize::from(control & 0x0f) + 1) * 8;
        let start = self.position + 1;
        let words = self.bytes.get(start..start + length).ok_or("it ends inside a block")?;
        self.position = start + length;
        decoder.scale(match control >> 4 {
            8 => None,
            high @ 9..=13 => Some(SCALES[usize::from(high - 9)]),
            _ => return Err("it has a control byte that does not exist"),
        })?;
        decoder.words.load(words);
        let delta = decoder.words.next()?;
        decoder.apply(&delta)
    }

    /// Reads the reference document of an interleaved run.
    fn start_run(&mut self) -> Result<Interleaved<'c>, &'static str> {
        let control = self.control()?;
        let rest = &self.bytes[self.position + 1..];
        let length = value_length(0x03, rest).ok_or("a reference document has no length")?;
        let document = rest.get(..length).ok_or("it ends inside a reference document")?;
        self.position += 1 + length;
        let kind = if control == 0xf2 { 0x04 } else { 0x03 };
        let mut run = Interleaved { kind, steps: Vec::new(), decoders: Vec::new() };
        let mut open = vec![Fields::new(document)?];
        while let Some(fields) = open.last_mut() {
            let Some((kind, name, value)) = fields.next()? else {
                open.pop();
                if !open.is_empty() {
                    run.steps.push(Step::Close);
                }
                continue;
            };
            if kind == 0x03 || (kind == 0x04 && control != 0xf0) {
                run.steps.push(Step::Open { kind, name, empty: value.len() == 5 });
                if open.len() == MAX_DEPTH {
                    return Err("a reference document is nested too deep");
                }
                open.push(Fields::new(value)?);
            } else {
                run.steps.push(Step::Scalar { name });
                let mut decoder = Decoder::default();
                decoder.set(Element { kind, value: value.to_vec() });
                run.decoders.push(decoder);
            }
        }
        if run.decoders.is_empty() {
            return Err("a reference document holds no values");
        }
        Ok(run)
    }

    /// The next document of an interleaved run.
    fn row(&mut self, run: &mut Interleaved<'c>) -> Result<Next<Element>, &'static str> {
        let mut buffer = vec![0; 4];
        // Where each open document's head and its length begin.
        let mut open: Vec<(usize, usize, bool)> = Vec::new();
        let mut decoders = run.decoders.iter_mut();
        let mut first = true;
        for step in &run.steps {
            match step {
                Step::Open { kind, name, empty } => {
                    let head = buffer.len();
                    head_of(&mut buffer, *kind, name);
                    open.push((head, buffer.len(), *empty));
                    buffer.extend_from_slice(&[0; 4]);
                }
                Step::Close => {
                    let (head, start, empty) =
                        open.pop().ok_or("a reference document ends twice")?;
                    if buffer.len() == start + 4 && !empty {
                        buffer.truncate(head);
                    } else {
                        close(&mut buffer, start);
                    }
                }
                Step::Scalar { name } => {
                    let decoder = decoders.next().ok_or("a run has more values than columns")?;
                    let value = match decoder.words.next()? {
                        Next::End if self.control()? == 0 && first => {
                            self.position += 1;
                            return Ok(Next::End);
                        }
                        Next::End if self.control()? == 0 => {
                            return Err("a run ends inside a document");
                        }
                        Next::End => self.decode(decoder)?,
                        delta => decoder.apply(&delta)?,
                    };
                    first = false;
                    if let Next::Value(Element { kind, value }) = value {
                        head_of(&mut buffer, kind, name);
                        buffer.extend_from_slice(&value);
                    }
                }
            }
        }
        if buffer.len() == 4 {
            return Ok(Next::Missing);
        }
        close(&mut buffer, 0);
        Ok(Next::Value(Element { kind: run.kind, value: buffer }))
    }
}

/// Type and name of a field.
pub(super) fn head_of(buffer: &mut Vec<u8>, kind: u8, name: &[u8]) {
    buffer.push(kind);
    buffer.extend_from_slice(name);
    buffer.push(0);
}

/// Ends the document whose length stands at `start`.
pub(super) fn close(buffer: &mut Vec<u8>, start: usize) {
    buffer.push(0);
    let length = i32::try_from(buffer.len() - start).unwrap_or(i32::MAX);
    buffer[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// The fields of a document as bytes: nothing in their values is checked.
pub(super) struct Fields<'d> {
    rest: &'d [u8],
}

impl<'d> Fields<'d> {
    pub(super) fn new(document: &'d [u8]) -> Result<Self, &'static str> {
        match document {
            [_, _, _, _, rest @ .., 0] if value_length(0x03, document) == Some(document.len()) => {
                Ok(Self { rest })
            }
            _ => Err("a document's length is not that of its bytes"),
        }
    }

    /// Type, name and value of the next field.
    #[expect(clippy::type_complexity, reason = "three parts of one field")]
    pub(super) fn next(&mut self) -> Result<Option<(u8, &'d [u8], &'d [u8])>, &'static str> {
        let Some((kind, rest)) = self.rest.split_first() else { return Ok(None) };
        let end = rest.iter().position(|byte| *byte == 0).ok_or("a name has no end")?;
        let (name, rest) = (&rest[..end], &rest[end + 1..]);
        let length = value_length(*kind, rest).ok_or("a value has no such type or length")?;
        let value = rest.get(..length).ok_or("a value is cut off")?;
        self.rest = &rest[length..];
        Ok(Some((*kind, name, value)))
    }
}

/// Turns differences back into values of one scalar.
struct Decoder<'c> {
    words: Words<'c>,
    last: Option<Element>,
    number: Number,
}

impl Default for Decoder<'_> {
    fn default() -> Self {
        Self { words: Words::none(), last: None, number: Number::Plain(0) }
    }
}

/// The last value as the number to which differences are added.
enum Number {
    Plain(i64),
    /// The value, and the difference that led to it.
    Twice(i64, i64),
    Wide(i128),
    /// A double times its scale; none where its bits count.
    Scaled(i64, Option<f64>),
}

impl Decoder<'_> {
    /// Takes a value that stands as it is.
    fn set(&mut self, element: Element) {
        let value = element.value.as_slice();
        let narrow = || number(value, 0);
        self.number = match element.kind {
            0x01 => Number::Scaled(0, None),
            0x02 | 0x0d => Number::Wide(text_number(value)),
            0x05 => Number::Wide(wide(value.get(5..).unwrap_or_default())),
            0x13 => Number::Wide(wide(value)),
            0x07 => Number::Twice(id_number(value), 0),
            0x09 | 0x11 => Number::Twice(narrow(), 0),
            0x08 => Number::Plain(i64::from(value.first().copied().unwrap_or(0))),
            0x10 => {
                let bytes = value.first_chunk::<4>().copied().unwrap_or_default();
                Number::Plain(i64::from(i32::from_le_bytes(bytes)))
            }
            0x12 => Number::Plain(narrow()),
            _ => Number::Plain(0),
        };
        self.last = Some(element);
        self.words = Words::none();
    }

    /// Takes the scale of the words to come; it matters to doubles alone.
    fn scale(&mut self, scale: Option<f64>) -> Result<(), &'static str> {
        if let (Some(Element { kind: 0x01, value }), Number::Scaled(..)) =
            (&self.last, &self.number)
        {
            let bits = number(value, 0);
            let encoded = match scale {
                None => bits,
                Some(scale) => {
                    let scaled = f64::from_bits(bits.cast_unsigned()) * scale;
                    if !(-LARGEST_EXACT..=LARGEST_EXACT).contains(&scaled) {
                        return Err("a double does not fit its scale");
                    }
                    #[expect(clippy::cast_possible_truncation, reason = "within 2^53")]
                    let whole = scaled.round() as i64;
                    whole
                }
            };
            self.number = Number::Scaled(encoded, scale);
        }
        Ok(())
    }

    /// The value that a difference leads to.
    fn apply(&mut self, delta: &Next<u128>) -> Result<Next<Element>, &'static str> {
        let delta = match delta {
            Next::Value(delta) => *delta,
            Next::Missing => return Ok(Next::Missing),
            Next::End => return Err("a block holds nothing"),
        };
        let Some(last) = &mut self.last else {
            // A column may begin with repeats of nothing.
            let nothing = delta == 0;
            return nothing.then_some(Next::Missing).ok_or("a difference has no value before it");
        };
        if delta == 0 && !matches!(self.number, Number::Twice(..)) {
            return Ok(Next::Value(last.clone()));
        }
        #[expect(clippy::cast_possible_truncation, reason = "the format counts in 64 bits here")]
        let narrow = delta as u64;
        let step = (narrow >> 1).cast_signed() ^ -(narrow & 1).cast_signed();
        let impossible = Err("a difference to a value that has none");
        match &mut self.number {
            Number::Wide(encoded) => {
                let step = (delta >> 1).cast_signed() ^ -(delta & 1).cast_signed();
                *encoded = encoded.wrapping_add(step);
                set_wide(last, *encoded)?;
            }
            Number::Twice(value, difference) => {
                *difference = difference.wrapping_add(step);
                *value = value.wrapping_add(*difference);
                match last.kind {
                    0x07 => set_id(&mut last.value, *value),
                    _ => last.value = value.to_le_bytes().to_vec(),
                }
            }
            Number::Scaled(encoded, scale) => {
                *encoded = encoded.wrapping_add(step);
                let bytes = match scale {
                    None => encoded.to_le_bytes(),
                    Some(scale) => (*encoded as f64 / *scale).to_le_bytes(),
                };
                last.value = bytes.to_vec();
            }
            Number::Plain(encoded) => {
                *encoded = encoded.wrapping_add(step);
                let bytes = encoded.to_le_bytes();
                last.value = match last.kind {
                    0x08 => bytes[..1].to_vec(),
                    0x10 => bytes[..4].to_vec(),
                    0x12 => bytes.to_vec(),
                    _ => return impossible,
                };
            }
        }
        Ok(Next::Value(last.clone()))
    }
}

fn number(bytes: &[u8], at: usize) -> i64 {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
    i64::from_le_bytes(chunk.copied().unwrap_or_default())
}

/// At most 16 bytes as a little-endian number; 0 for more.
fn wide(bytes: &[u8]) -> i128 {
    let mut padded = [0; 16];
    match padded.get_mut(..bytes.len()) {
        Some(room) => room.copy_from_slice(bytes),
        None => return 0,
    }
    i128::from_le_bytes(padded)
}

/// A string's bytes from its end, so that what differs at the end makes small differences.
fn text_number(value: &[u8]) -> i128 {
    let mut text = match value {
        [_, _, _, _, text @ .., 0] if text.first() != Some(&0) => text.to_vec(),
        _ => return 0,
    };
    text.reverse();
    wide(&text)
}

fn set_wide(last: &mut Element, encoded: i128) -> Result<(), &'static str> {
    let bytes = encoded.to_le_bytes();
    match last.kind {
        0x13 => last.value = bytes.to_vec(),
        0x05 => {
            let content = last.value.get_mut(5..).filter(|content| content.len() <= bytes.len());
            let content = content.ok_or("a difference to a binary of over 16 bytes")?;
            let length = content.len();
            content.copy_from_slice(&bytes[..length]);
        }
        _ => {
            let length = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |index| index + 1);
            let stated = i32::try_from(length + 1).unwrap_or(0);
            last.value.clear();
            last.value.extend_from_slice(&stated.to_le_bytes());
            last.value.extend(bytes[..length].iter().rev());
            last.value.push(0);
        }
    }
    Ok(())
}

/// Bytes of an ObjectId that count, from the least significant on: those of its counter and of
/// its time in turn. The others stay as they are.
const ID_BYTES: [usize; 7] = [11, 3, 10, 2, 9, 1, 0];

fn id_number(id: &[u8]) -> i64 {
    let mut bytes = [0; 8];
    for (byte, index) in bytes.iter_mut().zip(ID_BYTES) {
        *byte = id.get(index).copied().unwrap_or(0);
    }
    i64::from_le_bytes(bytes)
}

fn set_id(id: &mut [u8], number: i64) {
    for (byte, index) in number.to_le_bytes().into_iter().zip(ID_BYTES) {
        if let Some(place) = id.get_mut(index) {
            *place = byte;
        }
    }
}
