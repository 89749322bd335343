//! Staged rows as the bytes that a COPY would send.

use std::collections::HashMap;

use super::StagingError;
use super::layout::RunDirectory;
use super::manifest::TableManifest;
use super::part::{self, PartFile};
use crate::pgcopy::{CopyEncoder, CopyError, PgType};

/// Rows that are encoded at a time.
const ROWS: usize = 256;

/// Why staged rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TupleError {
    /// A part that cannot be read.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// A part that cannot be encoded.
    #[error(transparent)]
    Copy(#[from] CopyError),
}

/// Hands over every staged row of a table: its part, its place in it from 0, and its tuple.
pub(crate) fn staged_tuples(
    run: &RunDirectory,
    table: &TableManifest,
    oids: &HashMap<String, u32>,
    mut take: impl FnMut(&PartFile, u64, &[u8]),
) -> Result<(), TupleError> {
    let columns: Vec<(String, PgType)> = table
        .definition
        .columns
        .iter()
        .map(|column| (column.name.clone(), column.pg_type.clone()))
        .collect();
    let encoder = CopyEncoder::new(&columns, oids)?;
    let (mut buffer, mut ends) = (Vec::new(), Vec::new());
    for file in &table.parts {
        let mut row = 0;
        for batch in part::open(run, file)? {
            let batch = batch
                .map_err(|source| StagingError::Arrow { path: file.path.clone().into(), source })?;
            for from in (0..batch.num_rows()).step_by(ROWS) {
                buffer.clear();
                ends.clear();
                let slice = batch.slice(from, ROWS.min(batch.num_rows() - from));
                encoder.encode(&slice, &mut buffer, Some(&mut ends))?;
                let mut start = 0;
                for end in &ends {
                    take(file, row, &buffer[start..*end]);
                    start = *end;
                    row += 1;
                }
            }
        }
    }
    Ok(())
}
