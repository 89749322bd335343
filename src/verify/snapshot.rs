//! One moment of the target for all that is compared, over several connections.

use serde::Serialize;
use tokio_postgres::{Client, Row};

use super::VerifyError;
use crate::postgres::{PostgresError, Target, qualified};

/// A moment of the target.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// As other sessions take it over.
    name: String,
    /// The transactions that it sees: `xmin:xmax:those in progress`.
    sees: String,
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// The first session waits for the others.
const WAIT: &str = "SET LOCAL idle_in_transaction_session_timeout = 0";

async fn execute(client: &Client, sql: &str) -> Result<(), PostgresError> {
    client.batch_execute(sql).await.map_err(failed)
}

fn failed(source: tokio_postgres::Error) -> PostgresError {
    PostgresError::Statement { action: "read from one snapshot".to_owned(), source }
}

impl Snapshot {
    /// Takes a snapshot, which lasts as long as the session.
    pub(super) async fn take(target: &Target) -> Result<(Client, Self), PostgresError> {
        let client = target.connect().await?;
        execute(&client, &format!("{BEGIN}; {WAIT}")).await?;
        let sql = "SELECT pg_export_snapshot(), pg_current_snapshot()::text";
        let row = client.query_one(sql, &[]).await.map_err(failed)?;
        let snapshot = Self { name: row.get(0), sees: row.get(1) };
        Ok((client, snapshot))
    }

    /// Opens another session on the same moment.
    pub(super) async fn join(&self, target: &Target) -> Result<Client, PostgresError> {
        let client = target.connect().await?;
        let sql = format!("{BEGIN}; SET TRANSACTION SNAPSHOT '{}'; {WAIT}", self.name);
        execute(&client, &sql).await?;
        Ok(client)
    }

    /// What was written to these tables since; `of_snapshot` is a session on it.
    pub(super) async fn written_since(
        &self,
        of_snapshot: &Client,
        target: &Target,
        schema: &str,
        tables: &[&str],
    ) -> Result<Vec<WrittenSince>, PostgresError> {
        let client = target.connect().await?;
        let row = client
            .query_one("SELECT pg_snapshot_xmax(pg_current_snapshot())::text", &[])
            .await
            .map_err(failed)?;
        let now: u64 = row.get::<_, String>(0).parse().unwrap_or(0);
        let mut parts = self.sees.split(':');
        let (_, end, running) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        let end: u64 = end.and_then(|end| end.parse().ok()).unwrap_or(0);
        let running: Vec<i64> = running
            .split(',')
            .filter_map(|id| id.parse::<u64>().ok())
            .filter_map(|id| i64::try_from(id & u64::from(u32::MAX)).ok())
            .collect();
        let mut written = Vec::new();
        if now <= end && running.is_empty() {
            return Ok(written);
        }
        // Numbers of transactions are 32 bits wide in a row, and begin anew.
        let first = i64::try_from(end & u64::from(u32::MAX)).unwrap_or(0);
        let count = i64::try_from(now.saturating_sub(end)).unwrap_or(i64::MAX);
        for table in tables {
            let name = qualified(schema, table);
            let count_all = format!("SELECT count(*) FROM {name}");
            let sql = format!(
                "SELECT count(*), count(*) FILTER (WHERE \
                 (xmin::text::int8 - $1 + 4294967296) % 4294967296 < $2 \
                 OR xmin::text::int8 = ANY($3)) FROM {name}"
            );
            // What cannot be read is reported where it is compared.
            let Ok(row) = client.query_one(&sql, &[&first, &count, &running]).await else {
                continue;
            };
            let before = guarded(of_snapshot, async {
                Ok(of_snapshot.query_one(&count_all, &[]).await.map_err(failed)?)
            });
            let Ok(Ok(before)) = before.await else { continue };
            let number = |row: &Row, at: usize| u64::try_from(row.get::<_, i64>(at)).unwrap_or(0);
            let (held, there, new) = (number(&before, 0), number(&row, 0), number(&row, 1));
            let gone = held.saturating_add(new).saturating_sub(there);
            if new > 0 || gone > 0 {
                written.push(WrittenSince { table: (*table).to_owned(), written: new, gone });
            }
        }
        Ok(written)
    }
}

/// Rows that were written while a table was verified; they are not part of the proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WrittenSince {
    /// Table.
    pub table: String,
    /// Rows that are new, or were changed.
    pub written: u64,
    /// Rows of the snapshot that are deleted, or were changed.
    pub gone: u64,
}

/// Does something that may fail without ending the transaction in hand; the server's refusal is
/// the inner error.
pub(super) async fn guarded<T>(
    client: &Client,
    work: impl Future<Output = Result<T, VerifyError>>,
) -> Result<Result<T, String>, VerifyError> {
    execute(client, "SAVEPOINT docferry_read").await?;
    match work.await {
        Ok(done) => {
            execute(client, "RELEASE SAVEPOINT docferry_read").await?;
            Ok(Ok(done))
        }
        Err(VerifyError::Postgres(refused)) if is_answer(&refused) => {
            execute(client, "ROLLBACK TO SAVEPOINT docferry_read").await?;
            Ok(Err(refused.to_string()))
        }
        Err(other) => Err(other),
    }
}

/// Whether the server answered: a lost connection says nothing of its tables.
fn is_answer(error: &PostgresError) -> bool {
    matches!(error, PostgresError::Statement { source, .. } if source.as_db_error().is_some())
}
