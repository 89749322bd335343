//! Parts: Parquet files that are written once, hashed on the way, and read only after their hash
//! agreed.

use std::fs::{self, File};
use std::io::BufWriter;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{AsArray, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, ProjectionMask, add_encoded_arrow_schema_to_metadata};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use serde::{Deserialize, Serialize};

use super::StagingError;
use super::checksum::{HashingWriter, SUMS, sha256_file, sha256_hex};
use super::column::{ColumnChunk, PlainPages};
use super::json_file::sync_directory;
use super::layout::{RunDirectory, create_file, create_folder, io};
use super::own_files;
use super::schema::{DOCUMENT_COLUMN, ID_COLUMN};
use crate::progress::Stage;

/// Rows of a batch when a part is read. Bounded by the part itself, which is bounded in bytes.
pub const READ_BATCH_ROWS: usize = 8192;

/// A part as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFile {
    /// Path relative to the run's directory.
    #[serde(deserialize_with = "own_files::inside")]
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
}

/// Writes one part, as one row group.
pub struct PartWriter {
    relative: String,
    path: PathBuf,
    temporary: PathBuf,
    rows: u64,
    schema: SchemaRef,
    writer: SerializedFileWriter<Output>,
    /// None before the first rows, on which their encodings depend.
    columns: Vec<Column>,
}

type Output = HashingWriter<BufWriter<File>>;

/// A column chunk in the making.
enum Column {
    Own(Box<ColumnChunk>),
    Arrow(Box<ArrowColumnWriter>),
}

impl PartWriter {
    /// Begins a part under a temporary name.
    pub fn create(
        run: &RunDirectory,
        relative: &str,
        schema: SchemaRef,
        properties: WriterProperties,
    ) -> Result<Self, StagingError> {
        let path = run.resolve(relative);
        let directory = path.parent().unwrap_or(run.path());
        create_folder(directory)?;
        let temporary = path.with_extension("parquet.writing");
        let file = create_file(&temporary)?;
        let output = HashingWriter::new(BufWriter::with_capacity(1 << 20, file));
        let writer = begin(output, &schema, properties)
            .map_err(|source| parquet_error("begin", &path, source))?;
        let (relative, columns) = (relative.to_owned(), Vec::new());
        Ok(Self { relative, path, temporary, rows: 0, schema, writer, columns })
    }

    /// Adds rows; the batch has the part's schema.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), StagingError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.rows += batch.num_rows() as u64;
        self.encode(batch).map_err(|source| parquet_error("write", &self.path, source))
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        if self.columns.is_empty() {
            self.columns = begin_columns(&self.schema, &self.writer, batch)?;
        }
        write(&self.schema, &mut self.columns, batch)
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the footer, makes the file durable and gives it its name.
    pub fn finish(self) -> Result<PartFile, StagingError> {
        let (file, written) = self.close()?;
        written.settle()?;
        Ok(file)
    }

    /// Writes the footer. What remains is waiting for the disk, which needs no processor.
    pub fn close(self) -> Result<(PartFile, WrittenPart), StagingError> {
        let Self { relative, path, temporary, rows, writer, columns, .. } = self;
        let output =
            finish(writer, columns).map_err(|source| parquet_error("finish", &path, source))?;
        let (buffered, sha256, bytes) = output.finish();
        let file = buffered.into_inner().map_err(|error| StagingError::Io {
            action: "write",
            path: path.clone(),
            source: error.into_error(),
        })?;
        let part = PartFile { path: relative, rows, bytes, sha256 };
        Ok((part, WrittenPart { file, path, temporary }))
    }
}

/// A part that is written, but neither durable nor under its name.
#[must_use = "the part has no name yet"]
pub struct WrittenPart {
    file: File,
    path: PathBuf,
    temporary: PathBuf,
}

impl WrittenPart {
    /// Makes the file durable and gives it its name.
    pub fn settle(self) -> Result<(), StagingError> {
        let Self { file, path, temporary } = self;
        file.sync_all().map_err(io("sync", &path))?;
        fs::rename(&temporary, &path).map_err(io("rename to", &path))?;
        sync_directory(path.parent().unwrap_or(&path))
    }

    /// Removes the file, which is not wanted after all.
    pub fn discard(self) -> Result<(), StagingError> {
        fs::remove_file(&self.temporary).map_err(io("remove", &self.temporary))
    }
}

fn begin(
    output: Output,
    schema: &SchemaRef,
    mut properties: WriterProperties,
) -> Result<SerializedFileWriter<Output>, ParquetError> {
    let parquet = ArrowSchemaConverter::new().convert(schema)?;
    // Readers find the Arrow types there.
    add_encoded_arrow_schema_to_metadata(schema, &mut properties);
    SerializedFileWriter::new(output, parquet.root_schema_ptr(), Arc::new(properties))
}

fn begin_columns(
    schema: &SchemaRef,
    writer: &SerializedFileWriter<Output>,
    first: &RecordBatch,
) -> Result<Vec<Column>, ParquetError> {
    let encoded = ArrowRowGroupWriterFactory::new(writer, Arc::clone(schema));
    let encoded = encoded.create_column_writers(0)?;
    // Every column has one leaf: a list's is its elements.
    let leaves = writer.schema_descr().columns().iter();
    let columns = first.columns().iter().zip(leaves).zip(encoded);
    let begun = columns.map(|((values, leaf), encoded)| {
        match ColumnChunk::new(values, leaf, writer.properties()) {
            Some(own) => Column::Own(Box::new(own)),
            None => Column::Arrow(Box::new(encoded)),
        }
    });
    Ok(begun.collect())
}

fn write(
    schema: &SchemaRef,
    columns: &mut [Column],
    batch: &RecordBatch,
) -> Result<(), ParquetError> {
    for ((column, array), field) in columns.iter_mut().zip(batch.columns()).zip(schema.fields()) {
        match column {
            Column::Own(column) => column.write(array)?,
            Column::Arrow(column) => {
                for leaf in compute_leaves(field, array)? {
                    column.write(&leaf)?;
                }
            }
        }
    }
    Ok(())
}

fn finish(
    mut writer: SerializedFileWriter<Output>,
    columns: Vec<Column>,
) -> Result<Output, ParquetError> {
    if !columns.is_empty() {
        let mut group = writer.next_row_group()?;
        for column in columns {
            match column {
                Column::Own(column) => column.finish(&mut group)?,
                Column::Arrow(column) => column.close()?.append_to_row_group(&mut group)?,
            }
        }
        group.close()?;
    }
    writer.into_inner()
}

/// Reads a part after its size and hash agreed with the manifest.
///
/// The file is held in memory, compressed, while it is read: its size is bounded by the writer.
pub fn open(run: &RunDirectory, part: &PartFile) -> Result<ParquetRecordBatchReader, StagingError> {
    let path = run.resolve(&part.path);
    let bytes = read_verified(run, &path, part)?;
    ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes))
        .and_then(|builder| builder.with_batch_size(READ_BATCH_ROWS).build())
        .map_err(|source| parquet_error("open", &path, source))
}

/// The `_id`s of an exported part and the pages of its documents, after its size and hash agreed.
pub(super) fn open_documents(
    run: &RunDirectory,
    part: &PartFile,
) -> Result<(StringArray, PlainPages), StagingError> {
    let path = run.resolve(&part.path);
    let file = Bytes::from(read_verified(run, &path, part)?);
    let failed = |source| parquet_error("open", &path, source);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(failed)?;
    let schema = Arc::clone(builder.schema());
    let column = |name: &str, data_type: &DataType| {
        let found = schema.column_with_name(name);
        found
            .filter(|(_, field)| field.data_type() == data_type && !field.is_nullable())
            .ok_or_else(|| StagingError::Foreign {
                path: path.clone(),
                detail: format!("it has no column {name} of {data_type} without NULLs"),
            })
    };
    let (id, field) = column(ID_COLUMN, &DataType::Utf8)?;
    let (document, _) = column(DOCUMENT_COLUMN, &DataType::Binary)?;
    let ids = ProjectionMask::leaves(builder.parquet_schema(), [id]);
    let rows = usize::try_from(part.rows).unwrap_or(usize::MAX).max(1);
    let reader = builder.with_projection(ids).with_batch_size(rows).build().map_err(failed)?;
    let arrow = |source| StagingError::Arrow { path: path.clone(), source };
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>().map_err(arrow)?;
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let ids = concat_batches(&schema, &batches).map_err(arrow)?;
    let pages = PlainPages::new(file, document).map_err(failed)?;
    Ok((ids.column(0).as_string().clone(), pages))
}

/// Checks that a part is there and has its size.
pub fn check_size(run: &RunDirectory, part: &PartFile) -> Result<(), StagingError> {
    let path = run.resolve(&part.path);
    let bytes = fs::metadata(&path).map_err(io("read", &path))?.len();
    if bytes == part.bytes {
        return Ok(());
    }
    Err(StagingError::Checksum { detail: format!("{bytes} bytes instead of {}", part.bytes), path })
}

/// Checks a part's size and hash, without holding it in memory.
pub fn check(run: &RunDirectory, part: &PartFile) -> Result<(), StagingError> {
    let path = run.resolve(&part.path);
    let bytes = fs::metadata(&path).map_err(io("read", &path))?.len();
    let detail = if bytes == part.bytes {
        let sha256 = sha256_file(&path)?;
        if sha256 == part.sha256 {
            return Ok(());
        }
        if let Some(error) = of_another_run(run, &path, &sha256) {
            return Err(error);
        }
        format!("SHA-256 {sha256} instead of {}", part.sha256)
    } else {
        if let Some(error) = of_another_run(run, &path, &sha256_file(&path)?) {
            return Err(error);
        }
        format!("{bytes} bytes instead of {}", part.bytes)
    };
    Err(StagingError::Checksum { path, detail })
}

/// Whether a file is a part of another run of the pipeline.
fn of_another_run(run: &RunDirectory, path: &Path, sha256: &str) -> Option<StagingError> {
    let runs = fs::read_dir(run.path().parent()?).ok()?;
    for other in runs.flatten().map(|entry| entry.path()) {
        if other == run.path() || other.is_symlink() {
            continue;
        }
        for stage in [Stage::Export, Stage::Transform] {
            let text = own_files::read_text(&other.join(stage.to_string()).join(SUMS));
            let text = text.unwrap_or_default();
            let mut lines = text.lines().filter_map(|line| line.split_once("  "));
            if let Some((_, name)) = lines.find(|(listed, _)| *listed == sha256) {
                return Some(StagingError::OtherRun {
                    path: path.to_owned(),
                    run: other.file_name()?.to_string_lossy().into_owned(),
                    part: format!("{stage}/{name}"),
                });
            }
        }
    }
    None
}

fn read_verified(
    run: &RunDirectory,
    path: &Path,
    part: &PartFile,
) -> Result<Vec<u8>, StagingError> {
    let mut file = own_files::open(path).map_err(io("read", path))?;
    let size = file.metadata().map_err(io("read", path))?.len();
    let mut bytes = Vec::new();
    // A file of another size is not read for more than its name.
    if size == part.bytes {
        Read::take(&mut file, part.bytes).read_to_end(&mut bytes).map_err(io("read", path))?;
    } else {
        let detail = format!("{size} bytes instead of {}", part.bytes);
        let other = of_another_run(run, path, &sha256_file(path)?);
        return Err(other.unwrap_or(StagingError::Checksum { path: path.to_owned(), detail }));
    }
    let differs = |detail: String| {
        of_another_run(run, path, &sha256_hex(&bytes))
            .unwrap_or_else(|| StagingError::Checksum { path: path.to_owned(), detail })
    };
    if bytes.len() as u64 != part.bytes {
        return Err(differs(format!("{} bytes instead of {}", bytes.len(), part.bytes)));
    }
    let sha256 = sha256_hex(&bytes);
    if sha256 != part.sha256 {
        return Err(differs(format!("SHA-256 {sha256} instead of {}", part.sha256)));
    }
    Ok(bytes)
}

fn parquet_error(action: &'static str, path: &Path, source: ParquetError) -> StagingError {
    StagingError::Parquet { action, path: path.to_owned(), source }
}
