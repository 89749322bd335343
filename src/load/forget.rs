//! Lets go of the rows that a load kept so that it can be undone.

use serde::Serialize;

use super::ledger::{self, Saved};
use super::rollback::meant;
use super::{LoadError, execute};
use crate::postgres::{PostgresError, Target, qualified, quote_literal};

/// In the ledger in the place of the table that held earlier rows.
const NOWHERE: &str = "";

/// What a load no longer keeps.
#[derive(Clone, Debug, Serialize)]
pub struct ForgetReport {
    /// `pipeline/run`.
    pub run: String,
    /// Target schema.
    pub schema: String,
    /// Whether nothing was dropped.
    pub dry_run: bool,
    /// Tables whose earlier rows were kept.
    pub tables: Vec<ForgottenTable>,
}

/// A table whose earlier rows were kept.
#[derive(Clone, Debug, Serialize)]
pub struct ForgottenTable {
    /// Table name.
    pub table: String,
    /// Earlier rows.
    pub rows: u64,
    /// What they took.
    pub bytes: u64,
}

/// Whether earlier rows of a run were let go, so that it can be neither undone nor gone on with.
pub(super) fn is_forgotten(saved: &Saved) -> bool {
    saved.place == NOWHERE
}

/// Drops the rows that the load of a run kept. The load stays, and cannot be undone any more.
pub async fn forget(target: &Target, run: &str, dry_run: bool) -> Result<ForgetReport, LoadError> {
    let client = target.connect().await?;
    let ledger = meant(&ledger::find(&client, run).await?, run)?;
    ledger::lock(&client, &ledger.schema).await?;
    let failed = |action: &str| {
        let action = action.to_owned();
        move |source| PostgresError::Statement { action, source }
    };
    let ended = client
        .query_one(
            "SELECT finished_at IS NOT NULL FROM docferry.runs WHERE run = $1 AND schema_name = $2",
            &[&ledger.run, &ledger.schema],
        )
        .await
        .map_err(failed("read the ledger"))?;
    if !ended.get::<_, bool>(0) {
        return Err(LoadError::NotEnded { run: ledger.run });
    }
    execute(&client, "begin".to_owned(), "BEGIN").await?;
    let mut tables = Vec::new();
    for saved in ledger.saved(&client).await?.iter().filter(|saved| !is_forgotten(saved)) {
        let place = qualified("docferry", &saved.place);
        let sql = format!(
            "SELECT count(*), pg_total_relation_size({}) FROM {place}",
            quote_literal(&place)
        );
        let kept = client.query_one(&sql, &[]).await.map_err(failed("look at the kept rows"))?;
        let [rows, bytes] = [0, 1].map(|column| kept.get::<_, i64>(column).unsigned_abs());
        tables.push(ForgottenTable { table: saved.table.clone(), rows, bytes });
        execute(&client, "drop kept rows".to_owned(), &format!("DROP TABLE {place}")).await?;
    }
    client
        .execute(
            "UPDATE docferry.saved_rows SET saved_in = $3 WHERE run = $1 AND schema_name = $2",
            &[&ledger.run, &ledger.schema, &NOWHERE],
        )
        .await
        .map_err(failed("record that no rows are kept"))?;
    let end = if dry_run { "ROLLBACK" } else { "COMMIT" };
    execute(&client, "end the transaction".to_owned(), end).await?;
    Ok(ForgetReport { run: ledger.run, schema: ledger.schema, dry_run, tables })
}
