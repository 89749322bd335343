//! Exported parts, read back as the documents they hold.

use arrow::array::{Array, BinaryArray, StringArray};
use arrow::buffer::Buffer;

use super::StagingError;
use super::column::places;
use super::layout::RunDirectory;
use super::part::{self, PartFile};

/// Documents of an exported part, a batch of them.
pub struct Documents {
    ids: StringArray,
    values: Buffer,
    /// Where each document begins and ends.
    places: Vec<(usize, usize)>,
}

impl Documents {
    /// Documents with their `_id`s, as many of each.
    pub(super) fn new(ids: StringArray, documents: &BinaryArray) -> Self {
        // Offsets of Arrow are never negative.
        let offset = |offset: i32| usize::try_from(offset).unwrap_or(0);
        let places = documents.value_offsets().windows(2);
        let places = places.map(|ends| (offset(ends[0]), offset(ends[1]))).collect();
        Self { ids, values: documents.values().clone(), places }
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
        let (from, to) = self.places[at];
        &self.values[from..to]
    }

    /// Bytes of all documents together.
    pub fn total_bytes(&self) -> u64 {
        self.places.iter().map(|(from, to)| (to - from) as u64).sum()
    }
}

/// Opens an exported part, checks its hash, and yields its documents, a page at a time.
pub fn documents(
    run: &RunDirectory,
    file: &PartFile,
) -> Result<impl Iterator<Item = Result<Documents, StagingError>> + use<>, StagingError> {
    let path = file.path.clone();
    let (ids, pages) = part::open_documents(run, file)?;
    let mut at = 0;
    Ok(pages.map(move |page| {
        let foreign = |detail: &str| StagingError::Foreign {
            path: path.clone().into(),
            detail: detail.to_owned(),
        };
        let (page, count) = page.map_err(|source| StagingError::Parquet {
            action: "read",
            path: path.clone().into(),
            source,
        })?;
        let places = places(&page, count).ok_or_else(|| foreign("a page of it is cut off"))?;
        if ids.len() - at < count {
            return Err(foreign("it has more documents than `_id`s"));
        }
        let ids = ids.slice(at, count);
        at += count;
        Ok(Documents { ids, values: Buffer::from(page), places })
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
