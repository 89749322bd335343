//! Makes databases that fit a pipeline file: for tests, demonstrations and measurements.
//!
//! The same pipeline file, seed and size give the same bytes. A document is a function of the
//! seed, its collection and its number, so that documents are made in any order, on any thread,
//! in constant memory. Beside the sound documents there are flawed ones, each with one flaw and
//! with what must become of it: the planted list.

mod error;
mod flaw;
mod pattern;
mod planted;
mod sample;
mod shape;
mod sink;
mod sqlite;

use mongodb::bson::{Document, RawDocumentBuf};

pub use self::error::GenerateError;
use self::flaw::FlawedDocument;
pub use self::planted::{Expectation, JunctionTotals, Planted, PlantedFlaw, TableTotals};
use self::shape::Collection;
pub use self::sink::{Written, write_dump, write_server};
pub use self::sqlite::write_sqlite;
use crate::pipeline::model::Pipeline;

/// Sound documents of a collection that nothing links to or from.
const LOOKUP_DOCUMENTS: u64 = 12;

/// What is made.
#[derive(Clone, Debug)]
pub struct GenerateOptions {
    /// Every byte follows from it.
    pub seed: u64,
    /// Sound documents, over all collections.
    pub documents: u64,
    /// Whether flawed documents are planted as well.
    pub flaws: bool,
}

/// A database in the making.
pub struct Generator {
    collections: Vec<Collection>,
    flawed: Vec<Vec<FlawedDocument>>,
    planted: Planted,
}

impl Generator {
    /// Plans a database for this pipeline.
    pub fn new(pipeline: &Pipeline, options: &GenerateOptions) -> Result<Self, GenerateError> {
        let collections = shape::collections(pipeline, options)?;
        let (flawed, planted) = flaw::plant(pipeline, options, &collections);
        Ok(Self { collections, flawed, planted })
    }

    /// Names of the collections.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.collections.iter().map(|collection| collection.name.as_str())
    }

    /// What was planted, and what must become of it.
    pub fn planted(&self) -> &Planted {
        &self.planted
    }

    /// Documents of a collection, flawed ones included.
    pub fn count(&self, collection: usize) -> u64 {
        self.collections[collection].documents + self.flawed[collection].len() as u64
    }

    /// The documents that stand from `range.start` to `range.end` among the sound ones of a
    /// collection, with the flawed ones between them, in `_id` order.
    pub fn documents(
        &self,
        collection: usize,
        range: std::ops::Range<u64>,
    ) -> Result<Vec<RawDocumentBuf>, GenerateError> {
        let plan = &self.collections[collection];
        let last = range.end == plan.documents;
        let flawed = &self.flawed[collection];
        let from = flawed.partition_point(|flawed| flawed.after < range.start);
        let mut flawed = flawed[from..].iter().peekable();
        let mut documents = Vec::new();
        for number in range {
            documents.push(raw(&plan.name, &plan.document(&self.collections, number))?);
            while let Some(next) = flawed.next_if(|flawed| flawed.after <= number) {
                documents.push(raw(&plan.name, &next.document)?);
            }
        }
        if last {
            for rest in flawed {
                documents.push(raw(&plan.name, &rest.document)?);
            }
        }
        Ok(documents)
    }

    /// Sound documents of a collection.
    pub fn sound(&self, collection: usize) -> u64 {
        self.collections[collection].documents
    }
}

fn raw(collection: &str, document: &Document) -> Result<RawDocumentBuf, GenerateError> {
    RawDocumentBuf::try_from(document)
        .map_err(|source| GenerateError::Document { collection: collection.to_owned(), source })
}
