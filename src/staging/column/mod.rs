//! Column chunks of the values that make up most of a part: BSON documents, jsonb, text, UUIDs.
//!
//! Their pages are put together here, as what they hold allows, instead of value by value in memory
//! that is new for every page. The format is that of Apache Parquet's `Encodings.md`: "Plain" and
//! "Dictionary Encoding", in data pages of version 1.

mod bounds;
mod compressor;
mod dictionary;
mod levels;
mod read;

use std::io::Write;

use arrow::array::{Array, AsArray, FixedSizeBinaryArray};
use arrow::datatypes::DataType;
use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use self::bounds::Bounds;
use self::compressor::{buffer, compress, give_back};
use self::dictionary::{Dictionary, repeats};
use self::levels::{Levels, write_indexes};
pub(super) use self::read::{PlainPages, places};

/// Bytes of values after which a page ends.
const PAGE_BYTES: usize = 1 << 20;
/// Rows after which it ends.
const PAGE_ROWS: usize = 20_000;
/// Bytes of a UUID.
const UUID: usize = 16;

/// A column chunk in the making.
pub(super) struct ColumnChunk {
    column: ColumnDescPtr,
    compression: Compression,
    level: i32,
    bounds: Bounds,
    /// While values are stored in it.
    dictionary: Option<Dictionary>,
    /// Once it is full.
    full: Option<Dictionary>,
    /// Values of the page in hand as they are, but for those in the dictionary.
    values: Vec<u8>,
    /// Bytes of its values of any length.
    value_bytes: usize,
    levels: Levels,
    page_rows: usize,
    nulls: usize,
    /// Data pages that are done.
    pages: Vec<DataPage>,
    chunk: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
}

struct DataPage {
    encoding: Encoding,
    rows: usize,
    value_bytes: usize,
    offset: u64,
    size: usize,
}

impl ColumnChunk {
    /// A chunk for a column whose first values are at hand; nothing for one whose values are better
    /// encoded otherwise.
    pub(super) fn new(
        values: &dyn Array,
        column: &ColumnDescPtr,
        properties: &WriterProperties,
    ) -> Option<Self> {
        let path = column.path();
        let bounds = match (values.data_type(), properties.statistics_enabled(path)) {
            (DataType::Binary | DataType::Utf8, EnabledStatistics::None) => Bounds::None,
            (DataType::Utf8, EnabledStatistics::Chunk) => Bounds::Bytes(None),
            (DataType::FixedSizeBinary(16), EnabledStatistics::Chunk) => Bounds::Uuids(None),
            _ => return None,
        };
        let compression = properties.compression(path);
        let Compression::ZSTD(level) = compression else { return None };
        if properties.encoding(path).is_some_and(|encoding| encoding != Encoding::PLAIN) {
            return None;
        }
        let dictionary = properties.dictionary_enabled(path)
            && values.as_string_opt::<i32>().is_some_and(repeats);
        Some(Self {
            column: column.clone(),
            compression,
            level: level.compression_level(),
            bounds,
            dictionary: dictionary.then(Dictionary::default),
            full: None,
            values: buffer(),
            value_bytes: 0,
            levels: Levels::default(),
            page_rows: 0,
            nulls: 0,
            pages: Vec::new(),
            chunk: TrackedWrite::new(buffer()),
            uncompressed: 0,
        })
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

    #[inline]
    fn bytes(&mut self, value: Option<&[u8]>) -> Result<()> {
        if let Some(value) = value {
            self.value_bytes += value.len();
            if let Some(dictionary) = &mut self.dictionary {
                if dictionary.push(value) {
                    self.bounds.take_bytes(value);
                }
            } else {
                let length = u32::try_from(value.len())
                    .map_err(|_| ParquetError::General("a value of 4 GiB or more".to_owned()))?;
                self.values.extend_from_slice(&length.to_le_bytes());
                self.values.extend_from_slice(value);
                self.bounds.take_bytes(value);
            }
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
        let full = self.dictionary.as_ref().is_some_and(Dictionary::is_full);
        if full || self.values.len() >= PAGE_BYTES || self.page_rows >= PAGE_ROWS {
            self.end_page()?;
        }
        if full {
            self.full = self.dictionary.take();
        }
        Ok(())
    }

    fn end_page(&mut self) -> Result<()> {
        let mut encoding = Encoding::PLAIN;
        if let Some(dictionary) = &mut self.dictionary {
            encoding = Encoding::RLE_DICTIONARY;
            write_indexes(&mut self.values, &dictionary.indexes, dictionary.len());
            dictionary.indexes.clear();
        }
        let nullable = self.nullable();
        let levels = nullable.then(|| {
            self.nulls += self.page_rows - self.levels.present();
            &mut self.levels
        });
        let (compressed, uncompressed) = compress(self.level, levels, &self.values)?;
        let page = Page::DataPage {
            buf: compressed,
            num_values: u32::try_from(self.page_rows).unwrap_or(u32::MAX),
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let written = SerializedPageWriter::new(&mut self.chunk)
            .write_page(CompressedPage::new(page, uncompressed))?;
        self.uncompressed += written.uncompressed_size;
        self.pages.push(DataPage {
            encoding,
            rows: self.page_rows,
            value_bytes: self.value_bytes,
            offset: written.offset,
            size: written.compressed_size,
        });
        (self.page_rows, self.value_bytes) = (0, 0);
        self.values.clear();
        Ok(())
    }

    /// The dictionary's page, which comes before all others; nothing where there is none.
    fn dictionary_page(&mut self) -> Result<Vec<u8>> {
        let Some(dictionary) = self.full.take().or(self.dictionary.take()) else {
            return Ok(Vec::new());
        };
        let (compressed, uncompressed) = compress(self.level, None, &dictionary.values)?;
        let page = Page::DictionaryPage {
            buf: compressed,
            num_values: u32::try_from(dictionary.len()).unwrap_or(u32::MAX),
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let mut output = TrackedWrite::new(Vec::new());
        let written = SerializedPageWriter::new(&mut output)
            .write_page(CompressedPage::new(page, uncompressed))?;
        self.uncompressed += written.uncompressed_size;
        output.into_inner()
    }

    /// Ends the chunk and makes it the next of a row group.
    pub(super) fn finish<W: Write + Send>(
        mut self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<()> {
        if self.page_rows > 0 {
            self.end_page()?;
        }
        let mut encodings = vec![Encoding::PLAIN, Encoding::RLE];
        let mut counts = Vec::new();
        let mut output = self.dictionary_page()?;
        let start = output.len();
        if start > 0 {
            encodings.push(Encoding::RLE_DICTIONARY);
            let (page_type, encoding) = (PageType::DICTIONARY_PAGE, Encoding::PLAIN);
            counts.push(PageEncodingStats { page_type, encoding, count: 1 });
        }
        for encoding in [Encoding::RLE_DICTIONARY, Encoding::PLAIN] {
            let count = self.pages.iter().filter(|page| page.encoding == encoding).count();
            let (page_type, count) = (PageType::DATA_PAGE, i32::try_from(count).unwrap_or(0));
            if count > 0 {
                counts.push(PageEncodingStats { page_type, encoding, count });
            }
        }
        let any_length = !matches!(self.bounds, Bounds::Uuids(_));
        let mut offsets = OffsetIndexBuilder::new();
        for page in &self.pages {
            let size = i32::try_from(page.size)
                .map_err(|_| ParquetError::General("a page of 2 GiB or more".to_owned()))?;
            offsets.append_row_count(whole(page.rows));
            offsets.append_offset_and_size(whole(start) + page.offset.cast_signed(), size);
            let bytes = any_length.then(|| whole(page.value_bytes));
            offsets.append_unencoded_byte_array_data_bytes(bytes);
        }
        let rows: usize = self.pages.iter().map(|page| page.rows).sum();
        self.chunk.flush()?;
        let length = start + self.chunk.bytes_written();
        let mut metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(self.compression)
            .set_encodings(encodings)
            .set_page_encoding_stats(counts)
            .set_total_compressed_size(whole(length))
            .set_total_uncompressed_size(whole(self.uncompressed))
            .set_num_values(whole(rows))
            .set_dictionary_page_offset((start > 0).then_some(0))
            .set_data_page_offset(whole(start));
        if let Some(statistics) = self.bounds.statistics(self.nulls) {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: length as u64,
            rows_written: rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index: None,
            offset_index: Some(offsets.build()),
        };
        let pages = self.chunk.into_inner()?;
        let chunk = if start == 0 {
            pages
        } else {
            output.extend_from_slice(&pages);
            give_back(pages);
            output
        };
        let chunk = Bytes::from(chunk);
        group.append_column(&chunk, close)?;
        if let Ok(mut chunk) = chunk.try_into_mut() {
            chunk.clear();
            give_back(chunk.into());
        }
        give_back(self.values);
        Ok(())
    }
}

/// Sizes and counts in memory are far below 2^63.
fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray};
    use arrow::compute::concat_batches;
    use arrow::datatypes::{Field, Schema};
    use parquet::arrow::ArrowSchemaConverter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::writer::SerializedFileWriter;
    use proptest::prelude::*;

    use super::*;

    fn properties() -> WriterProperties {
        WriterProperties::builder()
            .set_compression(Compression::ZSTD(parquet::basic::ZstdLevel::default()))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_column_statistics_enabled("bytes".into(), EnabledStatistics::None)
            .build()
    }

    /// What is read of batches that were written, and whether it has a dictionary, by column.
    fn written(batches: &[RecordBatch]) -> (RecordBatch, Vec<bool>) {
        let schema = batches[0].schema();
        let parquet = ArrowSchemaConverter::new().convert(&schema).unwrap();
        let root = parquet.root_schema_ptr();
        let mut writer =
            SerializedFileWriter::new(Vec::new(), root, Arc::new(properties())).unwrap();
        let mut columns = Vec::new();
        for (first, leaf) in batches[0].columns().iter().zip(parquet.columns()) {
            columns.push(ColumnChunk::new(first, leaf, &properties()).unwrap());
        }
        for batch in batches {
            for (column, array) in columns.iter_mut().zip(batch.columns()) {
                column.write(array).unwrap();
            }
        }
        let mut group = writer.next_row_group().unwrap();
        for column in columns {
            column.finish(&mut group).unwrap();
        }
        group.close().unwrap();
        let file = Bytes::from(writer.into_inner().unwrap());
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let dictionaries = builder.metadata().row_group(0).columns().iter();
        let dictionaries =
            dictionaries.map(|column| column.dictionary_page_offset().is_some()).collect();
        let read: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
        (concat_batches(&read[0].schema(), &read).unwrap(), dictionaries)
    }

    fn batch(columns: Vec<(&str, ArrayRef)>, nullable: bool) -> RecordBatch {
        let field = |(name, array): &(&str, ArrayRef)| {
            Field::new(*name, array.data_type().clone(), nullable)
        };
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::new(schema), arrays).unwrap()
    }

    fn all_types(values: &[Option<u32>], nullable: bool) -> RecordBatch {
        let values: Vec<_> =
            values.iter().map(|value| if nullable { *value } else { value.or(Some(0)) }).collect();
        let text = |value: u32| "text ".repeat(value as usize % 30) + &value.to_string();
        let texts: StringArray = values.iter().map(|value| value.map(text)).collect();
        let bytes: BinaryArray = values.iter().map(|value| value.map(u32::to_le_bytes)).collect();
        let uuids = values.iter().map(|value| value.map(|value| [value.to_le_bytes(); 4].concat()));
        let uuids = FixedSizeBinaryArray::try_from_sparse_iter_with_size(uuids, 16).unwrap();
        let columns: Vec<(&str, ArrayRef)> =
            vec![("text", Arc::new(texts)), ("bytes", Arc::new(bytes)), ("uuid", Arc::new(uuids))];
        batch(columns, nullable)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            few in any::<bool>(),
            nullable in any::<bool>(),
            batches in prop::collection::vec(
                prop::collection::vec(prop::option::weighted(0.8, any::<u32>()), 1..200),
                1..4,
            ),
        ) {
            let value = |value: &Option<u32>| value.map(|value| if few { value % 9 } else { value });
            let batches: Vec<RecordBatch> = batches
                .iter()
                .map(|values| all_types(&values.iter().map(value).collect::<Vec<_>>(), nullable))
                .collect();
            let (read, _) = written(&batches);
            let wanted = concat_batches(&batches[0].schema(), &batches).unwrap();
            prop_assert_eq!(read.columns(), wanted.columns());
        }

        #[test]
        fn indexes_of_any_width_are_read(width in 0_u32..18, values in 1_u32..3000) {
            // As many different values as the width can name, each met once and then again.
            let count = (1_u32 << width).min(50_000);
            let texts: StringArray =
                (0..count).chain(0..count).map(|at| Some(at.to_string())).collect();
            let first: StringArray = (0..2).map(|_| Some("0")).collect();
            let chosen: StringArray =
                (0..values).map(|at| Some((at * 7919 % count).to_string())).collect();
            let batches: Vec<_> = [first, texts, chosen]
                .map(|texts| batch(vec![("text", Arc::new(texts) as ArrayRef)], false))
                .into();
            let (read, dictionary) = written(&batches);
            let wanted = concat_batches(&batches[0].schema(), &batches).unwrap();
            prop_assert_eq!(read.columns(), wanted.columns());
            prop_assert_eq!(dictionary, [true]);
        }
    }

    #[test]
    fn a_dictionary_that_grows_too_large_is_left_for_plain_pages() {
        let texts = |from: u32, to: u32| {
            let texts: StringArray =
                (from..to).map(|at| Some("long ".repeat(50) + &at.to_string())).collect();
            batch(vec![("text", Arc::new(texts) as ArrayRef)], false)
        };
        let first: StringArray = (0..100).map(|_| Some("few")).collect();
        let first = batch(vec![("text", Arc::new(first) as ArrayRef)], false);
        let batches = [first, texts(0, 8000), texts(0, 20)];
        let (read, dictionary) = written(&batches);
        let wanted = concat_batches(&batches[0].schema(), &batches).unwrap();
        assert_eq!(read.columns(), wanted.columns());
        assert_eq!(dictionary, [true]);
    }
}
