//! The order in which the catalogue is compared.

use std::collections::HashSet;

use tokio_postgres::Client;

use super::difference::{CatalogueVerdict, Findings};
use super::ledger::LoadedAs;
use super::scratch::Scratch;
use super::{columns, enums, ledger, objects, policies, sequences, tables};
use crate::postgres::{PostgresError, Target};
use crate::staging::manifest::TransformManifest;
use crate::staging::table::TableDefinition;
use crate::verify::VerifyError;

/// The tables of a run, as far as they are in the database.
pub(super) struct Tables<'m> {
    pub(super) schema: &'m str,
    /// Tables that docferry made: all that their definitions say is promised.
    pub(super) own: Vec<&'m TableDefinition>,
    /// Tables that an application made: docferry promised to fit in and to leave them whole.
    pub(super) existing: Vec<&'m TableDefinition>,
    /// Tables that SQL files of the pipeline, or people, made partitioned ones of.
    pub(super) partitioned: HashSet<String>,
}

impl<'m> Tables<'m> {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &'m TableDefinition> + '_ {
        self.own.iter().chain(&self.existing).copied()
    }
}

/// Compares the catalogue, as the transaction in hand sees it, with the definitions of a run. The
/// second result says what could not be compared.
pub(in crate::verify) async fn check(
    client: &Client,
    target: &Target,
    run: &str,
    manifest: &TransformManifest,
    loaded: &LoadedAs,
) -> Result<(CatalogueVerdict, Vec<String>), VerifyError> {
    let mut findings = Findings::default();
    ledger::check(client, run, manifest, loaded, &mut findings).await?;
    let definitions = manifest.tables.iter().map(|table| &table.definition);
    let (own, existing) = definitions.partition(|definition| loaded.made(&definition.name));
    let partitioned = HashSet::new();
    let mut wanted = Tables { schema: &manifest.schema, own, existing, partitioned };
    execute(client, "SAVEPOINT docferry_catalogue; SET LOCAL search_path TO pg_catalog, pg_temp")
        .await?;
    tables::check(client, &mut wanted, &mut findings).await?;
    let scratch = Scratch::read(target, &wanted.own, &mut findings).await?;
    columns::check(client, &wanted, &scratch, &mut findings).await?;
    objects::check(client, &wanted, &scratch, &mut findings).await?;
    policies::check(client, &wanted, &scratch, &mut findings).await?;
    enums::check(client, &wanted, loaded, &mut findings).await?;
    sequences::check(client, &wanted, &mut findings).await?;
    execute(client, "ROLLBACK TO SAVEPOINT docferry_catalogue").await?;
    let position = |table: Option<&String>| {
        manifest.tables.iter().position(|entry| Some(&entry.definition.name) == table)
    };
    findings.verdict.differences.sort_by_key(|difference| position(difference.table.as_ref()));
    Ok((findings.verdict, findings.left_out))
}

async fn execute(client: &Client, sql: &str) -> Result<(), PostgresError> {
    client.batch_execute(sql).await.map_err(|source| PostgresError::Statement {
        action: "read the catalogue".to_owned(),
        source,
    })
}

/// An error of a query of the catalogue.
pub(super) fn failed(what: &'static str) -> impl Fn(tokio_postgres::Error) -> PostgresError {
    move |source| PostgresError::Statement { action: format!("read the {what}"), source }
}
