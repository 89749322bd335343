//! What of an export is restored.

use super::{RestoreError, RestoreReport};
use crate::document::filter::Filter;
use crate::document::id::is_named;
use crate::document::raw::Doc;
use crate::pipeline::nearest_name;
use crate::staging::exported::Documents;
use crate::staging::manifest::ExportManifest;

/// Collections and documents.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Names of collections and views; all when empty.
    pub collections: Vec<String>,
    /// `_id`s, as the `_id` column has them; all when empty.
    pub ids: Vec<String>,
    /// A query that documents must fit.
    pub filter: Option<Filter>,
}

impl Selection {
    /// Whether nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.collections.is_empty() && self.every_document()
    }

    pub(super) fn every_document(&self) -> bool {
        self.ids.is_empty() && self.filter.is_none()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.collections.is_empty() || self.collections.iter().any(|wanted| wanted == name)
    }

    /// Every name must be one of the export's.
    pub(super) fn check(&self, manifest: &ExportManifest) -> Result<(), RestoreError> {
        let names = || {
            let collections = manifest.collections.iter().map(|found| found.name.as_str());
            collections.chain(super::views(manifest).map(|view| view.name.as_str()))
        };
        for wanted in &self.collections {
            if names().all(|name| name != wanted) {
                return Err(RestoreError::NoSuchCollection {
                    name: wanted.clone(),
                    near: nearest_name(wanted, names()).map(str::to_owned),
                });
            }
        }
        Ok(())
    }

    /// Every document that was named must have been there.
    pub(super) fn check_found(&self, report: RestoreReport) -> Result<RestoreReport, RestoreError> {
        let found: u64 =
            report.tables.iter().map(|table| table.rows + table.present + table.conflicts).sum();
        if found == 0 && !self.ids.is_empty() {
            return Err(RestoreError::NoDocument { ids: self.ids.clone() });
        }
        Ok(report)
    }

    /// Whether a document of a batch is meant.
    pub(super) fn takes(&self, batch: &Documents, at: usize) -> Result<bool, RestoreError> {
        if !self.ids.is_empty() && !self.ids.iter().any(|id| is_named(batch.id(at), id)) {
            return Ok(false);
        }
        let Some(filter) = &self.filter else { return Ok(true) };
        let takes = Doc::new(batch.bytes(at)).and_then(|document| filter.takes(document));
        takes.map_err(|error| RestoreError::Document {
            id: batch.id(at).to_owned(),
            detail: error.to_string(),
        })
    }
}
