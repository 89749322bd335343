//! Definition levels and dictionary indexes: the "Run Length Encoding / Bit-Packing Hybrid" of Apache
//! Parquet's `Encodings.md`.

/// Which rows of a page have a value: one bit each, the first row in the lowest.
#[derive(Default)]
pub(super) struct Levels {
    bits: Vec<u8>,
    rows: usize,
    present: usize,
}

impl Levels {
    pub(super) fn push(&mut self, present: bool) {
        if self.rows.is_multiple_of(8) {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= u8::from(present) << (self.rows % 8);
        }
        self.rows += 1;
        self.present += usize::from(present);
    }

    pub(super) fn push_present(&mut self, rows: usize) {
        for _ in 0..rows {
            self.push(true);
        }
    }

    /// Rows that have a value.
    pub(super) fn present(&self) -> usize {
        self.present
    }

    /// The levels as a page has them, their length before them.
    pub(super) fn write(&mut self, page: &mut Vec<u8>) {
        page.extend_from_slice(&[0; 4]);
        if self.present == self.rows || self.present == 0 {
            // One run of one value.
            varint(page, self.rows << 1);
            page.push(u8::from(self.present > 0));
        } else {
            // Groups of eight, as they stand.
            varint(page, self.bits.len() << 1 | 1);
            page.extend_from_slice(&self.bits);
        }
        let length = u32::try_from(page.len() - 4).unwrap_or(u32::MAX);
        page[..4].copy_from_slice(&length.to_le_bytes());
        self.bits.clear();
        (self.rows, self.present) = (0, 0);
    }
}

/// Unsigned LEB128.
fn varint(output: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return output.push(low & 0x7f);
        }
        output.push(low | 0x80);
    }
}

/// Appends indexes below `count` as a data page has them: their width in bits, then all of them.
pub(super) fn write_indexes(page: &mut Vec<u8>, indexes: &[u32], count: usize) {
    let width = usize::BITS - count.saturating_sub(1).leading_zeros();
    page.push(u8::try_from(width).unwrap_or(u8::MAX));
    if width == 0 {
        // One run of the only value, which takes no bits.
        varint(page, indexes.len() << 1);
        return;
    }
    varint(page, indexes.len().div_ceil(8) << 1 | 1);
    for group in indexes.chunks(8) {
        // Eight indexes of up to 32 bits; those after the last are zero.
        let mut bits = [0_u128; 2];
        for (at, index) in group.iter().enumerate() {
            let place = at * width as usize;
            let index = u128::from(*index);
            if place < 128 {
                bits[0] |= index << place;
            }
            if place + width as usize > 128 {
                bits[1] |=
                    if place < 128 { index >> (128 - place) } else { index << (place - 128) };
            }
        }
        let [low, high] = bits.map(u128::to_le_bytes);
        page.extend(low.iter().chain(&high).take(width as usize));
    }
}
