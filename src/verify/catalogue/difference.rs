//! What differs in the catalogue.

use std::fmt;

use serde::Serialize;

/// What was proved of the target's catalogue.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CatalogueVerdict {
    /// Columns, keys, indexes, constraints, policies, sequences and types that were compared.
    pub compared: usize,
    /// What differs.
    pub differences: Vec<CatalogueDifference>,
}

/// An object that is not in the database as the staged definitions want it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CatalogueDifference {
    /// Table that it concerns; none for types and for the load itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Kind and name.
    pub object: String,
    /// What is expected.
    pub expected: String,
    /// What the database has; none where it has no such object.
    pub found: Option<String>,
}

impl fmt::Display for CatalogueDifference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(table) = &self.table {
            write!(formatter, "{table}: ")?;
        }
        let Self { object, expected, found, .. } = self;
        match found {
            None => write!(formatter, "{object} is missing, expected: {expected}"),
            Some(found) => write!(formatter, "{object} is {found}, expected: {expected}"),
        }
    }
}

/// Collects differences and counts what is compared.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) verdict: CatalogueVerdict,
    /// What could not be compared, a sentence each.
    pub(super) left_out: Vec<String>,
}

impl Findings {
    /// Counts one object that is compared.
    pub(super) fn count(&mut self) {
        self.verdict.compared += 1;
    }

    /// Records an object of a table that is otherwise.
    pub(super) fn differs(
        &mut self,
        table: &str,
        object: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<Option<String>>,
    ) {
        self.add(Some(table.to_owned()), object.into(), expected.into(), found.into());
    }

    /// Records an object that belongs to no table and is otherwise.
    pub(super) fn differs_apart(
        &mut self,
        object: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<Option<String>>,
    ) {
        self.add(None, object.into(), expected.into(), found.into());
    }

    fn add(
        &mut self,
        table: Option<String>,
        object: String,
        expected: String,
        found: Option<String>,
    ) {
        self.verdict.differences.push(CatalogueDifference { table, object, expected, found });
    }
}
