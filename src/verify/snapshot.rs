//! One moment of the target for all that is compared, over several connections.

use tokio_postgres::Client;

use super::VerifyError;
use crate::postgres::{PostgresError, Target};

/// A moment of the target.
#[derive(Clone, Debug)]
pub(super) struct Snapshot(String);

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
        let row = client.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(failed)?;
        Ok((client, Self(row.get(0))))
    }

    /// Opens another session on the same moment.
    pub(super) async fn join(&self, target: &Target) -> Result<Client, PostgresError> {
        let client = target.connect().await?;
        let sql = format!("{BEGIN}; SET TRANSACTION SNAPSHOT '{}'; {WAIT}", self.0);
        execute(&client, &sql).await?;
        Ok(client)
    }
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
