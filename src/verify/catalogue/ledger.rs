//! The ledger of loads: whether this run is what was loaded, whether its load ended, and what is
//! still set aside.

use std::collections::{BTreeMap, HashSet};

use tokio_postgres::Client;

use super::check::failed;
use super::difference::Findings;
use crate::postgres::dependents::{ForeignKey, foreign_key};
use crate::postgres::ledger::has_ledger;
use crate::staging::manifest::TransformManifest;
use crate::verify::VerifyError;
use crate::verify::snapshot::guarded;

/// Rows without what they refer to that are named per foreign key.
const EXAMPLES: i64 = 5;

/// How a run was loaded, as far as its proof depends on it.
#[derive(Clone, Debug, Default)]
pub(in crate::verify) struct LoadedAs {
    /// The database has a ledger.
    ledger: bool,
    /// The ledger knows this run.
    known: bool,
    /// The load of the run ended.
    finished: bool,
    /// Rows of others may stand in its tables.
    pub(in crate::verify) beside_others: bool,
    /// Others made its tables.
    pub(in crate::verify) existing: bool,
    /// Tables that a load into the schema made.
    tables: HashSet<String>,
    /// Enum types that the load of this run made.
    enums: HashSet<String>,
}

impl LoadedAs {
    /// Reads the ledger; `run` is `pipeline/run`.
    pub(in crate::verify) async fn read(
        client: &Client,
        run: &str,
        schema: &str,
    ) -> Result<Self, VerifyError> {
        let failed = failed("ledger");
        let mut loaded = Self { ledger: has_ledger(client).await?, ..Self::default() };
        if !loaded.ledger {
            return Ok(loaded);
        }
        let row = client
            .query_opt(
                "SELECT mode = 'upsert', home = 'existing', finished_at IS NOT NULL \
                 FROM docferry.runs WHERE run = $1 AND schema_name = $2",
                &[&run, &schema],
            )
            .await
            .map_err(&failed)?;
        if let Some(row) = row {
            loaded.known = true;
            (loaded.beside_others, loaded.existing) = (row.get(0), row.get(1));
            loaded.finished = row.get(2);
        }
        let created = client
            .query(
                "SELECT kind, name, run = $1 FROM docferry.created_objects \
                 WHERE schema_name = $2 AND kind IN ('table', 'enum')",
                &[&run, &schema],
            )
            .await
            .map_err(&failed)?;
        for row in created {
            match (row.get(0), row.get(2)) {
                ("table", _) => loaded.tables.insert(row.get(1)),
                (_, true) => loaded.enums.insert(row.get(1)),
                _ => false,
            };
        }
        Ok(loaded)
    }

    /// Whether docferry made a table; where no ledger says otherwise it did.
    pub(super) fn made(&self, table: &str) -> bool {
        !self.known || self.tables.contains(table)
    }

    /// Whether the load of this run made an enum type.
    pub(super) fn made_enum(&self, name: &str) -> bool {
        !self.known || self.enums.contains(name)
    }
}

/// Compares the ledger with the run.
pub(super) async fn check(
    client: &Client,
    run: &str,
    manifest: &TransformManifest,
    loaded: &LoadedAs,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    if !loaded.ledger {
        findings.left_out.push(
            "the database has no ledger of loads (schema docferry): whether a load of this run \
             ended is not known"
                .to_owned(),
        );
        return Ok(());
    }
    let failed = failed("ledger");
    let schema = &manifest.schema;
    findings.count();
    if !loaded.known {
        let others = client
            .query(
                "SELECT run FROM docferry.runs WHERE schema_name = $1 ORDER BY started_at DESC",
                &[schema],
            )
            .await
            .map_err(&failed)?;
        let others: Vec<String> = others.iter().map(|row| row.get(0)).collect();
        let found = if others.is_empty() { None } else { Some(others.join(", ")) };
        findings.differs_apart(
            format!("the run loaded into schema {schema}"),
            run,
            found.map(|others| format!("not this one (loaded: {others})")),
        );
    } else if !loaded.finished {
        findings.differs_apart(
            format!("the load of run {run}"),
            "finished",
            "not finished: load it again, it goes on from there".to_owned(),
        );
    }
    if loaded.known {
        check_parts(client, run, manifest, findings).await?;
    }
    let away = client
        .query(
            "SELECT table_name, kind, name, make FROM docferry.set_aside \
             WHERE schema_name = $1 ORDER BY position",
            &[schema],
        )
        .await
        .map_err(&failed)?;
    for row in away {
        let (table, kind, name): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let expected: String = row.get(3);
        let key = foreign_key(client, schema, table, name).await?;
        let found = match &key {
            Some(key) => format!("there, but not validated: {}", orphans(client, key).await?),
            None => "still set aside".to_owned(),
        };
        findings.differs(table, format!("{kind} {name}"), expected, found);
    }
    Ok(())
}

/// The rows that refer to no row, as far as this role may see them.
async fn orphans(client: &Client, key: &ForeignKey) -> Result<String, VerifyError> {
    let look = async { Ok(key.orphans(client, &[]).await?) };
    let [_, rows] = match guarded(client, look).await? {
        Ok(rows) => rows,
        Err(refused) => return Ok(refused),
    };
    let examples = key.examples(client, EXAMPLES).await?.join(", ");
    Ok(format!("{rows} rows refer to no row of {}: {examples}", key.target))
}

/// Every part was loaded from the file that the manifest names.
async fn check_parts(
    client: &Client,
    run: &str,
    manifest: &TransformManifest,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let rows = client
        .query(
            "SELECT part, sha256 FROM docferry.loaded_parts WHERE run = $1 AND schema_name = $2",
            &[&run, &manifest.schema],
        )
        .await
        .map_err(failed("ledger"))?;
    let parts: BTreeMap<String, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    for table in &manifest.tables {
        for part in &table.parts {
            let found = match parts.get(&part.path) {
                Some(sha256) if *sha256 == part.sha256 => continue,
                Some(sha256) => Some(format!("loaded from a file with SHA-256 {sha256}")),
                None => None,
            };
            findings.differs(
                &table.definition.name,
                format!("part {} in the ledger", part.path),
                format!("SHA-256 {}", part.sha256),
                found,
            );
        }
    }
    Ok(())
}
