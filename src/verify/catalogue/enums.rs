//! Enum types and their labels, in order: rows compare as the labels stand.

use std::collections::HashSet;

use tokio_postgres::Client;

use super::check::Tables;
use super::difference::Findings;
use super::ledger::LoadedAs;
use crate::postgres::enum_labels;
use crate::verify::VerifyError;

/// Compares the enum types of all tables. One that the load found there may have more labels.
pub(super) async fn check(
    client: &Client,
    tables: &Tables<'_>,
    loaded: &LoadedAs,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let found = enum_labels(client, tables.schema).await?;
    let mut known = HashSet::new();
    for declared in tables.all().flat_map(|definition| &definition.enums) {
        if !known.insert(&declared.name) {
            continue;
        }
        findings.count();
        let object = format!("enum type {}", declared.name);
        let expected = declared.labels.join(", ");
        let Some(labels) = found.get(&declared.name) else {
            findings.differs_apart(object, expected, None);
            continue;
        };
        let same = if loaded.made_enum(&declared.name) {
            *labels == declared.labels
        } else {
            declared.labels.iter().all(|label| labels.contains(label))
        };
        if !same {
            findings.differs_apart(object, expected, labels.join(", "));
        }
    }
    Ok(())
}
