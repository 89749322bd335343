//! Rows that the load has nothing to do with. Before rows are deleted or changed, everything that
//! this would set in motion elsewhere is looked for, under a lock that lets no new row refer to
//! them; what would change rows of others refuses the load.

use tokio_postgres::Client;

use super::plan::Upsert;
use super::{LoadError, execute};
use crate::postgres::dependents::{Reference, firing_triggers, own_rows, references_to, rules};
use crate::postgres::{PostgresError, qualified};
use crate::staging::manifest::TransformManifest;

/// Keeps all others from writing to these tables, and from referring to their rows anew, until
/// the transaction ends. They can be read all the while.
///
/// A weaker lock (`SHARE ROW EXCLUSIVE`) would keep writers out too, but not the row lock by which
/// a foreign key of another table makes sure of a row.
pub(super) async fn lock(
    client: &Client,
    schema: &str,
    tables: &[String],
) -> Result<(), LoadError> {
    lock_in(client, schema, tables, "EXCLUSIVE").await
}

/// Locks these tables in a mode of `LOCK TABLE`.
pub(super) async fn lock_in(
    client: &Client,
    schema: &str,
    tables: &[String],
    mode: &str,
) -> Result<(), LoadError> {
    if tables.is_empty() {
        return Ok(());
    }
    let mut names: Vec<String> = tables.iter().map(|table| qualified(schema, table)).collect();
    names.sort();
    let sql = format!("LOCK TABLE {} IN {mode} MODE", names.join(", "));
    execute(client, "lock the tables".to_owned(), &sql).await
}

/// Fails where deleting all rows of these tables would delete or change rows of others, or make
/// others' code run.
pub(super) async fn check_replace(
    client: &Client,
    schema: &str,
    tables: &[String],
) -> Result<(), LoadError> {
    let mut found = Vec::new();
    for reference in references_to(client, schema, tables).await? {
        let own = own_rows(client, schema, &reference.target).await?;
        let rows = referring(client, &reference, &own, "true").await?;
        if rows > 0 {
            found.push(sentence(&reference, rows));
        }
    }
    for table in tables {
        for trigger in firing_triggers(client, schema, table).await? {
            if trigger.on_delete {
                found
                    .push(format!("trigger {} of {} fires on DELETE", trigger.name, trigger.table));
            }
        }
        for rule in rules(client, schema, table).await? {
            if rule.event == "DELETE" {
                found.push(format!("rule {} of {table} rewrites DELETE", rule.name));
            }
        }
    }
    if found.is_empty() { Ok(()) } else { Err(LoadError::RowsOfOthers { found, undo: false }) }
}

/// Fails where rules rewrite the statements of an upsert, and notes the foreign keys that refer to
/// columns which it may change.
pub(super) async fn check_upsert(
    client: &Client,
    manifest: &TransformManifest,
    upserts: &mut [Upsert],
) -> Result<(), LoadError> {
    let schema = &manifest.schema;
    let tables: Vec<String> = upserts.iter().map(|upsert| upsert.table.clone()).collect();
    let references = references_to(client, schema, &tables).await?;
    let mut found = Vec::new();
    for upsert in upserts {
        for rule in rules(client, schema, &upsert.table).await? {
            if rule.event != "DELETE" {
                found.push(format!(
                    "rule {} of {} rewrites {}",
                    rule.name, upsert.table, rule.event
                ));
            }
        }
        let refers = |reference: &&Reference| {
            reference.target == upsert.table
                && reference.target_columns.iter().any(|column| !upsert.by.contains(column))
        };
        upsert.references = references.iter().filter(refers).cloned().collect();
    }
    if found.is_empty() { Ok(()) } else { Err(LoadError::RowsOfOthers { found, undo: false }) }
}

/// How many rows refer to those rows `t` of `own` that meet a condition.
pub(super) async fn referring(
    client: &Client,
    reference: &Reference,
    own: &str,
    condition: &str,
) -> Result<i64, LoadError> {
    let sql = format!(
        "SELECT count(*) FROM {} o WHERE EXISTS (SELECT 1 FROM {own} t WHERE {} AND {condition})",
        reference.from(),
        reference.joins("o", "t"),
    );
    let row = client.query_one(&sql, &[]).await.map_err(|source| PostgresError::Statement {
        action: format!("count the rows of {} that refer to {own}", reference.from()),
        source,
    })?;
    Ok(row.get(0))
}

/// Says which rows refer to a table.
pub(super) fn sentence(reference: &Reference, rows: i64) -> String {
    format!(
        "{rows} rows of {} refer to {} (foreign key {}, ON DELETE {})",
        reference.from(),
        reference.target,
        reference.name,
        reference.on_delete
    )
}
