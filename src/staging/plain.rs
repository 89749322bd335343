//! Column chunks of values that are stored as they are: BSON documents, jsonb, UUIDs, and text that
//! seldom repeats.
//!
//! These are most of the bytes of a part. Their pages are put together here, in buffers that are
//! used for part after part, instead of value by value in memory that is new for every page. The
//! format is that of Apache Parquet's `Encodings.md`: "Plain", and for definition levels "Run
//! Length Encoding / Bit-Packing Hybrid".

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, AsArray, FixedSizeBinaryArray, StringArray};
use arrow::datatypes::DataType;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageReader, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use rustc_hash::FxHashSet;

/// Bytes of values after which a page ends.
const PAGE_BYTES: usize = 1 << 20;
/// Rows after which it ends.
const PAGE_ROWS: usize = 20_000;
/// Bytes of a UUID.
const UUID: usize = 16;

/// Compressors with their buffers, which wait for the next page.
static COMPRESSORS: Mutex<Vec<PageCompressor>> = Mutex::new(Vec::new());
/// Buffers that wait for the next column.
static BUFFERS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// There are as many compressors at work as threads, and some columns for each.
const COMPRESSORS_KEPT: usize = 8;
const BUFFERS_KEPT: usize = 32;
/// What had to grow beyond this for a large document is not kept.
const BYTES_KEPT: usize = 6 << 20;

fn buffer() -> Vec<u8> {
    BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
}

fn give_back(mut buffer: Vec<u8>) {
    buffer.clear();
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    if buffers.len() < BUFFERS_KEPT && buffer.capacity() <= BYTES_KEPT {
        buffers.push(buffer);
    }
}

struct PageCompressor {
    level: i32,
    zstd: zstd::bulk::Compressor<'static>,
    /// A page with its levels before its values, where it has any.
    page: Vec<u8>,
    compressed: Vec<u8>,
}

impl PageCompressor {
    fn take(level: i32) -> Result<Self> {
        let mut waiting = COMPRESSORS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = waiting.iter().position(|one| one.level == level) {
            return Ok(waiting.swap_remove(at));
        }
        drop(waiting);
        let zstd = zstd::bulk::Compressor::new(level)?;
        Ok(Self { level, zstd, page: Vec::new(), compressed: Vec::new() })
    }

    fn give_back(self) {
        let mut waiting = COMPRESSORS.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = self.page.capacity().max(self.compressed.capacity());
        if waiting.len() < COMPRESSORS_KEPT && bytes <= BYTES_KEPT {
            waiting.push(self);
        }
    }

    /// The page of these values, compressed, and its size before.
    fn compress(&mut self, levels: Option<&mut Levels>, values: &[u8]) -> Result<(Bytes, usize)> {
        let Self { zstd, page, compressed, .. } = self;
        let content = match levels {
            Some(levels) => {
                page.clear();
                levels.write(page);
                page.extend_from_slice(values);
                page
            }
            None => values,
        };
        compressed.clear();
        compressed.reserve(zstd::zstd_safe::compress_bound(content.len()));
        zstd.compress_to_buffer(content, compressed)?;
        Ok((Bytes::copy_from_slice(compressed), content.len()))
    }
}

/// Which rows of a page have a value: one bit each, the first row in the lowest.
#[derive(Default)]
struct Levels {
    bits: Vec<u8>,
    rows: usize,
    present: usize,
}

impl Levels {
    fn push(&mut self, present: bool) {
        if self.rows.is_multiple_of(8) {
            self.bits.push(0);
        }
        if let Some(last) = self.bits.last_mut() {
            *last |= u8::from(present) << (self.rows % 8);
        }
        self.rows += 1;
        self.present += usize::from(present);
    }

    fn push_present(&mut self, rows: usize) {
        for _ in 0..rows {
            self.push(true);
        }
    }

    /// The levels as a page has them, their length before them.
    fn write(&mut self, page: &mut Vec<u8>) {
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
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            return output.push(low);
        }
        output.push(low | 0x80);
    }
}

/// A column chunk in the making.
pub(super) struct PlainColumn {
    column: ColumnDescPtr,
    compression: Compression,
    level: i32,
    /// Values of the page in hand.
    values: Vec<u8>,
    levels: Levels,
    /// Rows of the page in hand.
    page_rows: usize,
    chunk: TrackedWrite<Vec<u8>>,
    pages: i32,
    rows: usize,
    nulls: usize,
    uncompressed: usize,
    offsets: OffsetIndexBuilder,
    bounds: Bounds,
}

/// Least and greatest value of a column.
enum Bounds {
    /// They are not kept.
    None,
    Uuids(Option<[u128; 2]>),
    Bytes(Option<[Bound; 2]>),
}

/// Values longer than this make no statistics.
const BOUND_BYTES: usize = 64;

struct Bound {
    /// The first bytes, by which nearly all values are told apart from it.
    start: u64,
    value: Vec<u8>,
}

impl Bound {
    fn of(value: &[u8]) -> Self {
        Self { start: start(value), value: value.to_vec() }
    }

    fn against(&self, start: u64, value: &[u8]) -> std::cmp::Ordering {
        start.cmp(&self.start).then_with(|| value.cmp(&self.value))
    }
}

/// The first eight bytes as a number of the same order.
#[inline]
fn start(value: &[u8]) -> u64 {
    value.first_chunk().map_or_else(
        || value.iter().rev().fold(0, |start, byte| start >> 8 | u64::from(*byte) << 56),
        |first| u64::from_be_bytes(*first),
    )
}

impl Bounds {
    #[inline]
    fn take_uuid(&mut self, value: [u8; UUID]) {
        let Self::Uuids(bounds) = self else { return };
        let value = u128::from_be_bytes(value);
        let [least, greatest] = bounds.get_or_insert([value, value]);
        *least = (*least).min(value);
        *greatest = (*greatest).max(value);
    }

    #[inline]
    fn take_bytes(&mut self, value: &[u8]) {
        let Self::Bytes(bounds) = self else { return };
        let [least, greatest] = bounds.get_or_insert_with(|| [Bound::of(value), Bound::of(value)]);
        let start = start(value);
        if least.against(start, value).is_lt() {
            *least = Bound::of(value);
        }
        if greatest.against(start, value).is_gt() {
            *greatest = Bound::of(value);
        }
    }

    fn statistics(self, nulls: usize) -> Option<Statistics> {
        let nulls = u64::try_from(nulls).ok();
        match self {
            Self::None => None,
            Self::Uuids(bounds) => {
                let value = |bound: u128| FixedLenByteArray::from(bound.to_be_bytes().to_vec());
                let [least, greatest] = both(bounds.map(|bounds| bounds.map(value)));
                let statistics = ValueStatistics::new(least, greatest, None, nulls, false);
                Some(Statistics::FixedLenByteArray(statistics))
            }
            Self::Bytes(bounds) => {
                let short = |bound: &ByteArray| bound.len() <= BOUND_BYTES;
                let bounds = bounds.map(|bounds| bounds.map(|bound| bound.value.into()));
                let [least, greatest] = both(bounds).map(|bound| bound.filter(short));
                let statistics = ValueStatistics::new(least, greatest, None, nulls, false);
                Some(Statistics::ByteArray(statistics))
            }
        }
    }
}

fn both<T>(bounds: Option<[T; 2]>) -> [Option<T>; 2] {
    match bounds {
        Some(bounds) => bounds.map(Some),
        None => [None, None],
    }
}

/// Values that are looked at to tell whether a dictionary is worth its while.
const SAMPLE: usize = 1024;

/// Whether half of the values or more have occurred before.
fn repeats(values: &StringArray) -> bool {
    let sample = values.iter().flatten().take(SAMPLE);
    let (mut seen, mut count) = (FxHashSet::default(), 0);
    for value in sample {
        seen.insert(value);
        count += 1;
    }
    seen.len() * 2 <= count
}

impl PlainColumn {
    /// A chunk for a column that is stored plain, of which some values are at hand; nothing for
    /// another.
    pub(super) fn new(
        values: &dyn Array,
        column: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Result<Option<Self>> {
        let path = column.path();
        let statistics = properties.statistics_enabled(path);
        let bounds = match (values.data_type(), statistics) {
            (DataType::Binary | DataType::Utf8, EnabledStatistics::None) => Bounds::None,
            (DataType::Utf8, EnabledStatistics::Chunk) => Bounds::Bytes(None),
            (DataType::FixedSizeBinary(16), EnabledStatistics::Chunk) => Bounds::Uuids(None),
            _ => return Ok(None),
        };
        let dictionary = properties.dictionary_enabled(path)
            && values.as_string_opt::<i32>().is_none_or(repeats);
        let compression = properties.compression(path);
        let Compression::ZSTD(level) = compression else { return Ok(None) };
        if dictionary
            || properties.encoding(path).is_some_and(|encoding| encoding != Encoding::PLAIN)
        {
            return Ok(None);
        }
        Ok(Some(Self {
            column: column.clone(),
            compression,
            level: level.compression_level(),
            chunk: TrackedWrite::new(buffer()),
            values: buffer(),
            levels: Levels::default(),
            page_rows: 0,
            pages: 0,
            rows: 0,
            nulls: 0,
            uncompressed: 0,
            offsets: OffsetIndexBuilder::new(),
            bounds,
        }))
    }

    /// Adds the values of an array of the column's type.
    pub(super) fn write(&mut self, array: &dyn Array) -> Result<()> {
        if let Some(array) = array.as_binary_opt::<i32>() {
            array.iter().try_for_each(|value| self.bytes(value))
        } else if let Some(array) = array.as_string_opt::<i32>() {
            array.iter().try_for_each(|value| self.bytes(value.map(str::as_bytes)))
        } else if let Some(array) = array.as_fixed_size_binary_opt()
            && array.value_size() == UUID
        {
            self.uuids(array)
        } else {
            let found = array.data_type();
            Err(ParquetError::General(format!("{} takes no {found}", self.column.name())))
        }
    }

    fn nullable(&self) -> bool {
        self.column.max_def_level() > 0
    }

    fn bytes(&mut self, value: Option<&[u8]>) -> Result<()> {
        if let Some(value) = value {
            let length = u32::try_from(value.len())
                .map_err(|_| ParquetError::General("a value of 4 GiB or more".to_owned()))?;
            self.values.extend_from_slice(&length.to_le_bytes());
            self.values.extend_from_slice(value);
            self.bounds.take_bytes(value);
        }
        if self.nullable() {
            self.levels.push(value.is_some());
        }
        self.page_rows += 1;
        self.end_full_page()
    }

    fn uuids(&mut self, array: &FixedSizeBinaryArray) -> Result<()> {
        let mut at = 0;
        while at < array.len() {
            let rows = (array.len() - at).min(PAGE_ROWS - self.page_rows);
            let piece = array.slice(at, rows);
            if piece.null_count() == 0 {
                let values = &piece.value_data()[..rows * UUID];
                self.values.extend_from_slice(values);
                for value in values.as_chunks::<UUID>().0 {
                    self.bounds.take_uuid(*value);
                }
                if self.nullable() {
                    self.levels.push_present(rows);
                }
            } else {
                for value in &piece {
                    if let Some(value) = value.and_then(<[u8]>::first_chunk::<UUID>) {
                        self.values.extend_from_slice(value);
                        self.bounds.take_uuid(*value);
                    }
                    self.levels.push(value.is_some());
                }
            }
            self.page_rows += rows;
            at += rows;
            self.end_full_page()?;
        }
        Ok(())
    }

    fn end_full_page(&mut self) -> Result<()> {
        let full = self.values.len() >= PAGE_BYTES || self.page_rows >= PAGE_ROWS;
        if full { self.end_page() } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<()> {
        let nullable = self.nullable();
        let present = if nullable { self.levels.present } else { self.page_rows };
        self.nulls += self.page_rows - present;
        let mut compressor = PageCompressor::take(self.level)?;
        let levels = nullable.then_some(&mut self.levels);
        let (compressed, uncompressed) = compressor.compress(levels, &self.values)?;
        compressor.give_back();
        let data = Page::DataPage {
            buf: compressed,
            num_values: u32::try_from(self.page_rows).unwrap_or(u32::MAX),
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = SerializedPageWriter::new(&mut self.chunk)
            .write_page(CompressedPage::new(data, uncompressed))?;
        self.uncompressed += written.uncompressed_size;
        let size = i32::try_from(written.compressed_size)
            .map_err(|_| ParquetError::General("a page of 2 GiB or more".to_owned()))?;
        self.offsets.append_row_count(whole(self.page_rows));
        self.offsets.append_offset_and_size(written.offset.cast_signed(), size);
        let prefixes = present * size_of::<u32>();
        let any_length = !matches!(self.bounds, Bounds::Uuids(_));
        let bytes = any_length.then(|| whole(self.values.len() - prefixes));
        self.offsets.append_unencoded_byte_array_data_bytes(bytes);
        self.pages += 1;
        self.rows += self.page_rows;
        self.page_rows = 0;
        self.values.clear();
        Ok(())
    }

    /// Ends the chunk and makes it the next of a row group.
    pub(super) fn finish<W: Write + Send>(
        mut self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        if self.page_rows > 0 {
            self.end_page()?;
        }
        self.chunk.flush()?;
        let length = self.chunk.bytes_written();
        let pages = PageEncodingStats {
            page_type: PageType::DATA_PAGE,
            encoding: Encoding::PLAIN,
            count: self.pages,
        };
        let mut metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(self.compression)
            .set_encodings(vec![Encoding::PLAIN, Encoding::RLE])
            .set_page_encoding_stats(vec![pages])
            .set_total_compressed_size(whole(length))
            .set_total_uncompressed_size(whole(self.uncompressed))
            .set_num_values(whole(self.rows))
            .set_data_page_offset(0);
        if let Some(statistics) = self.bounds.statistics(self.nulls) {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: length as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(self.offsets.build()),
        };
        let chunk = Bytes::from(self.chunk.into_inner()?);
        group.append_column(&chunk, close)?;
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.clear();
            give_back(chunk.into());
        }
        give_back(self.values);
        Ok(())
    }
}

/// The pages of a column that has no NULLs and is stored plain, with the numbers of their values.
pub(super) struct PlainPages {
    file: SerializedFileReader<Bytes>,
    column: usize,
    /// The next row group.
    group: usize,
    pages: Option<Box<dyn PageReader>>,
}

impl PlainPages {
    /// Of the column of this number in a file.
    pub(super) fn new(file: Bytes, column: usize) -> Result<Self> {
        Ok(Self { file: SerializedFileReader::new(file)?, column, group: 0, pages: None })
    }

    fn next_page(&mut self) -> Result<Option<(Bytes, usize)>> {
        loop {
            let page = self.pages.as_mut().map(|pages| pages.get_next_page()).transpose()?;
            match page.flatten() {
                Some(Page::DataPage { buf, num_values, encoding: Encoding::PLAIN, .. }) => {
                    return Ok(Some((buf, num_values as usize)));
                }
                Some(_) => {
                    return Err(ParquetError::General("a page that is not plain".to_owned()));
                }
                None if self.group == self.file.num_row_groups() => return Ok(None),
                None => {
                    let group = self.file.get_row_group(self.group)?;
                    self.pages = Some(group.get_column_page_reader(self.column)?);
                    self.group += 1;
                }
            }
        }
    }
}

impl Iterator for PlainPages {
    type Item = Result<(Bytes, usize)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_page().transpose()
    }
}

/// Where the values of any length of a page begin and end; nothing when it is cut off.
pub(super) fn places(page: &[u8], values: usize) -> Option<Vec<(usize, usize)>> {
    let mut places = Vec::with_capacity(values.min(page.len()));
    let mut at = 0;
    for _ in 0..values {
        let length = page.get(at..)?.first_chunk::<4>()?;
        let from = at + 4;
        at = from + u32::from_le_bytes(*length) as usize;
        if at > page.len() {
            return None;
        }
        places.push((from, at));
    }
    Some(places)
}

/// Sizes and counts in memory are far below 2^63.
fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
