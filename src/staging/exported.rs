//! Exported parts, read back as the documents they hold.

use arrow::array::{Array, BinaryArray, RecordBatch, StringArray};

use super::StagingError;
use super::layout::RunDirectory;
use super::part::{self, PartFile};
use super::schema::{DOCUMENT_COLUMN, ID_COLUMN};

/// Documents of an exported part, a batch of them.
pub struct Documents {
    ids: StringArray,
    documents: BinaryArray,
}

impl Documents {
    /// Documents with their `_id`s, as many of each.
    pub(super) fn new(ids: StringArray, documents: BinaryArray) -> Self {
        Self { ids, documents }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The `_id` of a document, as the `_id` column has it.
    pub fn id(&self, at: usize) -> &str {
        self.ids.value(at)
    }

    /// The BSON bytes of a document.
    pub fn bytes(&self, at: usize) -> &[u8] {
        self.documents.value(at)
    }

    /// Bytes of all documents together.
    pub fn total_bytes(&self) -> u64 {
        let offsets = self.documents.value_offsets();
        let (first, last) = (offsets.first().copied(), offsets.last().copied());
        u64::try_from(last.unwrap_or(0) - first.unwrap_or(0)).unwrap_or(0)
    }

    fn from_batch(path: &str, batch: &RecordBatch) -> Result<Self, StagingError> {
        let foreign =
            |detail: &str| StagingError::Foreign { path: path.into(), detail: detail.to_owned() };
        let column = |name: &str| {
            batch.column_by_name(name).ok_or_else(|| foreign(&format!("it has no column {name}")))
        };
        let ids = column(ID_COLUMN)?.as_any().downcast_ref::<StringArray>();
        let documents = column(DOCUMENT_COLUMN)?.as_any().downcast_ref::<BinaryArray>();
        match (ids, documents) {
            (Some(ids), Some(documents)) => {
                Ok(Self { ids: ids.clone(), documents: documents.clone() })
            }
            _ => Err(foreign("its columns have other types")),
        }
    }
}

/// Opens an exported part, checks its hash, and yields its documents.
pub fn documents(
    run: &RunDirectory,
    file: &PartFile,
) -> Result<impl Iterator<Item = Result<Documents, StagingError>> + use<>, StagingError> {
    let path = file.path.clone();
    let reader = part::open(run, file)?;
    Ok(reader.map(move |batch| match batch {
        Ok(batch) => Documents::from_batch(&path, &batch),
        Err(source) => Err(StagingError::Arrow { path: path.clone().into(), source }),
    }))
}

/// Batches of documents.
pub type Batches = Box<dyn Iterator<Item = Result<Documents, StagingError>> + Send>;

/// A place among documents that are read batch by batch.
pub struct Cursor {
    batches: Batches,
    documents: Option<Documents>,
    at: usize,
}

impl Cursor {
    /// Before the first document; nothing is read yet.
    pub fn new(batches: Batches) -> Self {
        Self { batches, documents: None, at: 0 }
    }

    /// Reads on where that is needed; whether there is a document then.
    pub fn fill(&mut self) -> Result<bool, StagingError> {
        while self.documents.as_ref().is_none_or(|batch| self.at >= batch.len()) {
            self.at = 0;
            self.documents = self.batches.next().transpose()?;
            if self.documents.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The document here and its `_id` as the `_id` column has it; none at the end.
    pub fn current(&self) -> Option<(&str, &[u8])> {
        let batch = self.documents.as_ref().filter(|batch| self.at < batch.len())?;
        Some((batch.id(self.at), batch.bytes(self.at)))
    }

    /// Leaves the document behind.
    pub fn pass(&mut self) {
        self.at += 1;
    }
}
