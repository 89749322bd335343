//! SQL files of a pipeline must leave the load's transactions alone.

use tokio_postgres::Client;

use super::LoadError;
use crate::postgres::PostgresError;
use crate::sql::{TransactionControl, transaction_control};
use crate::staging::manifest::TransformManifest;

/// Refuses SQL files that would end the transactions which they are run in. A file of an earlier
/// version is staged as it was.
pub(super) fn check_hooks(manifest: &TransformManifest) -> Result<(), LoadError> {
    for hook in manifest.before_load.iter().chain(&manifest.after_load) {
        if let Some(TransactionControl { statement, line }) = transaction_control(&hook.sql) {
            return Err(LoadError::HookControls { path: hook.path.clone(), line, statement });
        }
    }
    Ok(())
}

/// The transaction of a session, if it is in one that has written.
pub(super) async fn transaction(client: &Client, path: &str) -> Result<Option<i64>, LoadError> {
    let row = client.query_one("SELECT txid_current_if_assigned()", &[]).await;
    let row = row.map_err(|source| PostgresError::Statement {
        action: format!("look at the transaction of {path}"),
        source,
    })?;
    Ok(row.get(0))
}
