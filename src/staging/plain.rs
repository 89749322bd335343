//! Column chunks of values that are stored as they are: BSON documents, jsonb, UUIDs.
//!
//! These are most of the bytes of a part. Their pages are put together here, in buffers that are
//! used for part after part, instead of value by value in memory that is new for every page. The
//! format is that of Apache Parquet's `Encodings.md`: "Plain", and for definition levels "Run
//! Length Encoding / Bit-Packing Hybrid".

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use arrow::array::{Array, AsArray, FixedSizeBinaryArray};
use arrow::datatypes::DataType;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::FixedLenByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

/// Bytes of values after which a page ends.
const PAGE_BYTES: usize = 1 << 20;
/// Rows after which it ends.
const PAGE_ROWS: usize = 20_000;
/// Bytes of a UUID.
const UUID: usize = 16;

/// Compressors with their buffers, which wait for the next column.
static SPARE: Mutex<Vec<Scratch>> = Mutex::new(Vec::new());
/// Some for each of the threads.
const SPARES: usize = 16;
/// What had to grow beyond this for a large document is not kept.
const SPARE_BYTES: usize = 8 << 20;

/// What is used again for column after column.
struct Scratch {
    level: i32,
    compressor: zstd::bulk::Compressor<'static>,
    /// Values of the page in hand.
    values: Vec<u8>,
    /// A page with its levels before its values, where it has any.
    page: Vec<u8>,
    compressed: Vec<u8>,
    /// Pages that are done.
    chunk: Vec<u8>,
}

impl Scratch {
    fn take(level: i32) -> Result<Self> {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = spare.iter().position(|one| one.level == level) {
            return Ok(spare.swap_remove(at));
        }
        drop(spare);
        let compressor = zstd::bulk::Compressor::new(level)?;
        let [values, page, compressed, chunk] = [const { Vec::new() }; 4];
        Ok(Self { level, compressor, values, page, compressed, chunk })
    }

    fn give_back(mut self) {
        self.values.clear();
        self.chunk.clear();
        let buffers = [&self.values, &self.page, &self.compressed, &self.chunk];
        let bytes: usize = buffers.iter().map(|buffer| buffer.capacity()).sum();
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARES && bytes <= SPARE_BYTES {
            spare.push(self);
        }
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
    scratch: Scratch,
    levels: Levels,
    /// Rows of the page in hand.
    page_rows: usize,
    chunk: TrackedWrite<Vec<u8>>,
    pages: i32,
    rows: usize,
    nulls: usize,
    uncompressed: usize,
    offsets: OffsetIndexBuilder,
    /// UUIDs, of which the least and the greatest are kept.
    counted: bool,
    bounds: Option<[[u8; UUID]; 2]>,
}

impl PlainColumn {
    /// A chunk for a column that is stored plain; nothing for another.
    pub(super) fn new(
        data_type: &DataType,
        column: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Result<Option<Self>> {
        let path = column.path();
        let statistics = properties.statistics_enabled(path);
        let plain = match data_type {
            DataType::Binary | DataType::Utf8 => statistics == EnabledStatistics::None,
            DataType::FixedSizeBinary(16) => statistics == EnabledStatistics::Chunk,
            _ => false,
        };
        let compression = properties.compression(path);
        let Compression::ZSTD(level) = compression else { return Ok(None) };
        if !plain
            || properties.dictionary_enabled(path)
            || properties.encoding(path).is_some_and(|encoding| encoding != Encoding::PLAIN)
        {
            return Ok(None);
        }
        let mut scratch = Scratch::take(level.compression_level())?;
        Ok(Some(Self {
            column: column.clone(),
            compression,
            chunk: TrackedWrite::new(std::mem::take(&mut scratch.chunk)),
            scratch,
            levels: Levels::default(),
            page_rows: 0,
            pages: 0,
            rows: 0,
            nulls: 0,
            uncompressed: 0,
            offsets: OffsetIndexBuilder::new(),
            counted: matches!(data_type, DataType::FixedSizeBinary(_)),
            bounds: None,
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
            self.scratch.values.extend_from_slice(&length.to_le_bytes());
            self.scratch.values.extend_from_slice(value);
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
                self.scratch.values.extend_from_slice(values);
                for value in values.as_chunks::<UUID>().0 {
                    self.bound(*value);
                }
                if self.nullable() {
                    self.levels.push_present(rows);
                }
            } else {
                for value in &piece {
                    if let Some(value) = value.and_then(<[u8]>::first_chunk::<UUID>) {
                        self.scratch.values.extend_from_slice(value);
                        self.bound(*value);
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

    /// UUIDs are in the order of their bytes.
    fn bound(&mut self, value: [u8; UUID]) {
        let [least, greatest] = self.bounds.get_or_insert([value, value]);
        let number = u128::from_be_bytes(value);
        if number < u128::from_be_bytes(*least) {
            *least = value;
        }
        if number > u128::from_be_bytes(*greatest) {
            *greatest = value;
        }
    }

    fn end_full_page(&mut self) -> Result<()> {
        let full = self.scratch.values.len() >= PAGE_BYTES || self.page_rows >= PAGE_ROWS;
        if full { self.end_page() } else { Ok(()) }
    }

    fn end_page(&mut self) -> Result<()> {
        let nullable = self.nullable();
        let Scratch { compressor, values, page, compressed, .. } = &mut self.scratch;
        let present = if nullable { self.levels.present } else { self.page_rows };
        self.nulls += self.page_rows - present;
        let content: &[u8] = if nullable {
            page.clear();
            self.levels.write(page);
            page.extend_from_slice(values);
            page
        } else {
            values
        };
        compressed.clear();
        compressed.reserve(zstd::zstd_safe::compress_bound(content.len()));
        compressor.compress_to_buffer(content, compressed)?;
        let data = Page::DataPage {
            buf: Bytes::copy_from_slice(compressed),
            num_values: u32::try_from(self.page_rows).unwrap_or(u32::MAX),
            encoding: Encoding::PLAIN,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = SerializedPageWriter::new(&mut self.chunk)
            .write_page(CompressedPage::new(data, content.len()))?;
        self.uncompressed += written.uncompressed_size;
        let size = i32::try_from(written.compressed_size)
            .map_err(|_| ParquetError::General("a page of 2 GiB or more".to_owned()))?;
        self.offsets.append_row_count(whole(self.page_rows));
        self.offsets.append_offset_and_size(written.offset.cast_signed(), size);
        let prefixes = present * size_of::<u32>();
        let bytes = (!self.counted).then(|| whole(values.len() - prefixes));
        self.offsets.append_unencoded_byte_array_data_bytes(bytes);
        self.pages += 1;
        self.rows += self.page_rows;
        self.page_rows = 0;
        values.clear();
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
        if self.counted {
            let [least, greatest] = match self.bounds {
                Some(bounds) => bounds.map(|one| Some(FixedLenByteArray::from(one.to_vec()))),
                None => [None, None],
            };
            let nulls = u64::try_from(self.nulls).ok();
            let statistics = ValueStatistics::new(least, greatest, None, nulls, false);
            metadata = metadata.set_statistics(Statistics::FixedLenByteArray(statistics));
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
            self.scratch.chunk = chunk.into();
        }
        self.scratch.give_back();
        Ok(())
    }
}

/// Sizes and counts in memory are far below 2^63.
fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
