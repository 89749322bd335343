//! Simple-8b as MongoDB extends it: integers packed into little-endian words of 64 bits.
//!
//! The low 4 bits of a word select how its other bits are used:
//!
//! | selector | values |
//! | --- | --- |
//! | 1 to 14 | as many of 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30 or 60 bits as there is room for |
//! | 7, 8 | the next 4 bits extend the selector: 0 is the plain one; others append a count of trailing zero bits to each value |
//! | 15 | the value before, repeated 120 times (next 4 bits + 1) |
//!
//! A value of ones alone stands for no value.

/// Bits of a value, by selector.
const PLAIN: [u32; 15] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 30, 60];
/// Bits of a value without its zeros, by extension of selector 7; 4 bits count the zeros.
const SEVEN: [u32; 10] = [0, 2, 3, 4, 5, 7, 10, 14, 24, 52];
/// The same of selector 8; 4 bits count the zeros in fours, 5 bits from extension 8 on.
const EIGHT: [u32; 14] = [0, 4, 5, 7, 10, 14, 24, 52, 4, 6, 9, 13, 23, 51];
/// Extension of selector 8 from which on 5 bits count the zeros.
const EIGHT_LARGE: usize = 8;
/// Repeats of one unit of selector 15.
const REPEATS: u32 = 120;

/// What comes next in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next<T> {
    /// A value.
    Value(T),
    /// A measurement without a value.
    Missing,
    /// The end.
    End,
}

/// The values of a run of words.
#[derive(Clone, Debug)]
pub(super) struct Words<'c> {
    /// Words to come.
    bytes: &'c [u8],
    word: u64,
    layout: Layout,
    /// Values of the word to come.
    left: u32,
    /// The value read last; none stands for no value.
    last: Option<u128>,
}

/// Layout of the values in a word.
#[derive(Clone, Copy, Debug, Default)]
struct Layout {
    /// First bit of the next value.
    shift: u32,
    /// Bits of a value, its count of zeros included.
    width: u32,
    /// Bits that count trailing zeros.
    zero_bits: u32,
    /// Zeros that one unit of the count stands for.
    zeros: u32,
    /// The value before is repeated.
    repeats: bool,
}

impl<'c> Words<'c> {
    /// No values; what is repeated first is zero.
    pub(super) fn none() -> Self {
        Self { bytes: &[], word: 0, layout: Layout::default(), left: 0, last: Some(0) }
    }

    /// Goes on with other words. A repeat at their start repeats the value read last.
    pub(super) fn load(&mut self, bytes: &'c [u8]) {
        self.bytes = bytes;
        self.left = 0;
    }

    /// The next value.
    pub(super) fn next(&mut self) -> Result<Next<u128>, &'static str> {
        if self.left == 0 {
            let Some((word, rest)) = self.bytes.split_first_chunk::<8>() else {
                return Ok(Next::End);
            };
            self.bytes = rest;
            self.word = u64::from_le_bytes(*word);
            (self.layout, self.left) = layout(self.word)?;
        }
        self.left -= 1;
        let Layout { shift, width, zero_bits, zeros, repeats } = self.layout;
        if !repeats {
            let mask = u64::MAX >> (64 - width);
            let value = (self.word >> shift) & mask;
            self.layout.shift += width;
            let count = u32::try_from(value & ((1 << zero_bits) - 1)).unwrap_or(0);
            let shifted = u128::from(value >> zero_bits).checked_shl(count * zeros);
            self.last = match shifted {
                _ if value == mask => None,
                Some(shifted) => Some(shifted),
                None => return Err("a value of a simple-8b block is shifted out of its bits"),
            };
        }
        Ok(self.last.map_or(Next::Missing, Next::Value))
    }
}

/// Layout of a word, and how many values it holds.
fn layout(word: u64) -> Result<(Layout, u32), &'static str> {
    let [selector, extension] =
        [word & 0xf, (word >> 4) & 0xf].map(|bits| usize::try_from(bits).unwrap_or(0));
    let unknown = "a simple-8b block has no such selector";
    let (bits, shift, zero_bits, zeros) = match (selector, extension) {
        (0, _) => return Err(unknown),
        (15, _) => {
            let count = (u32::try_from(extension).unwrap_or(0) + 1) * REPEATS;
            return Ok((Layout { repeats: true, ..Layout::default() }, count));
        }
        (7 | 8, 0) => (PLAIN[selector], 8, 0, 0),
        (7, _) => (*SEVEN.get(extension).ok_or(unknown)?, 8, 4, 1),
        (8, EIGHT_LARGE..) => (*EIGHT.get(extension).ok_or(unknown)?, 8, 5, 4),
        (8, _) => (EIGHT[extension], 8, 4, 4),
        _ => (PLAIN[selector], 4, 0, 0),
    };
    let width = bits + zero_bits;
    let layout = Layout { shift, width, zero_bits, zeros, repeats: false };
    Ok((layout, (64 - shift) / width))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[u64]) -> Result<Vec<Option<u128>>, &'static str> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut values = Words::none();
        values.load(&bytes);
        let mut read = Vec::new();
        loop {
            match values.next()? {
                Next::Value(value) => read.push(Some(value)),
                Next::Missing => read.push(None),
                Next::End => return Ok(read),
            }
        }
    }

    #[test]
    fn a_word_holds_as_many_values_as_its_selector_says() {
        // 30 bits each: 5 and no value.
        let skip = (1 << 30) - 1;
        assert_eq!(read(&[0xd | (5 << 4) | (skip << 34)]), Ok(vec![Some(5), None]));
        for (selector, bits) in PLAIN.iter().enumerate().skip(1) {
            let room = if matches!(selector, 7 | 8) { 56 } else { 60 };
            let count = read(&[selector as u64]).unwrap().len();
            assert_eq!(count, room / *bits as usize, "selector {selector}");
        }
    }

    #[test]
    fn zeros_behind_a_value_are_counted() {
        // Selector 7, extension 9: 52 bits and 4 bits of zeros.
        assert_eq!(read(&[7 | (9 << 4) | (3 << 8) | (1 << 12)]), Ok(vec![Some(8)]));
        // Selector 8, extension 13: 51 bits and 5 bits of zeros in fours, up to 124.
        assert_eq!(read(&[8 | (0xd << 4) | (30 << 8) | (1 << 13)]), Ok(vec![Some(1 << 120)]));
    }

    #[test]
    fn the_value_before_is_repeated() {
        let values = read(&[0xe | (7 << 4), 0xf | (1 << 4)]).unwrap();
        assert_eq!(values, vec![Some(7); 241]);
        assert_eq!(read(&[0xf]).unwrap(), vec![Some(0); 120]);
    }

    #[test]
    fn foreign_selectors_are_errors() {
        for word in [0, 7 | (0xa << 4), 8 | (0xe << 4)] {
            assert!(read(&[word]).is_err(), "{word}");
        }
    }
}
