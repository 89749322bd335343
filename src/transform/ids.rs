//! The map of old and new keys of a table with serial ones: `transform/<table>.ids/`.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryBuilder, Int64Builder, StringBuilder};
use arrow::record_batch::RecordBatch;

use super::TransformError;
use crate::staging::layout::RunDirectory;
use crate::staging::part::{PartFile, PartWriter};
use crate::staging::schema::{id_map_properties, id_map_schema};

/// Rows of a batch.
const BATCH_ROWS: usize = 16_384;

/// Writes one part of the map.
pub(super) struct IdMap<'r> {
    run: &'r RunDirectory,
    table: String,
    path: String,
    ids: StringBuilder,
    uuids: FixedSizeBinaryBuilder,
    keys: Int64Builder,
    rows: usize,
    writer: Option<PartWriter>,
}

impl<'r> IdMap<'r> {
    pub(super) fn new(run: &'r RunDirectory, table: &str, index: usize) -> Self {
        Self {
            run,
            table: table.to_owned(),
            path: run.ids_path(table, index),
            ids: StringBuilder::new(),
            uuids: FixedSizeBinaryBuilder::new(16),
            keys: Int64Builder::new(),
            rows: 0,
            writer: None,
        }
    }

    pub(super) fn push(&mut self, id: &str, uuid: u128, key: i64) -> Result<(), TransformError> {
        self.ids.append_value(id);
        let table = &self.table;
        self.uuids
            .append_value(uuid.to_be_bytes())
            .map_err(|source| TransformError::Batch { table: table.clone(), source })?;
        self.keys.append_value(key);
        self.rows += 1;
        if self.rows == BATCH_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), TransformError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.ids.finish()),
            Arc::new(self.uuids.finish()),
            Arc::new(self.keys.finish()),
        ];
        let schema = id_map_schema(&self.table);
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns)
            .map_err(|source| TransformError::Batch { table: self.table.clone(), source })?;
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => PartWriter::create(self.run, &self.path, schema, id_map_properties())?,
        };
        writer.write(&batch)?;
        self.writer = Some(writer);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Option<PartFile>, TransformError> {
        self.flush()?;
        Ok(self.writer.map(PartWriter::finish).transpose()?)
    }
}
