//! References: no row points to nothing, whatever constraints there are.

use tokio_postgres::Client;

use super::VerifyError;
use super::snapshot::guarded;
use crate::postgres::{PostgresError, qualified, quote_identifier};
use crate::staging::table::TableDefinition;

/// No row points to nothing. The foreign keys themselves are part of the catalogue.
pub(super) async fn check_references(
    client: &Client,
    definition: &TableDefinition,
) -> Result<Vec<String>, VerifyError> {
    let mut differences = Vec::new();
    let table = qualified(&definition.schema, &definition.name);
    for key in &definition.foreign_keys {
        let failed = |source| PostgresError::Statement {
            action: format!("check foreign key {}", key.name),
            source,
        };
        let joined: Vec<String> = key
            .columns
            .iter()
            .zip(&key.references_columns)
            .map(|(own, other)| {
                format!("t.{} = r.{}", quote_identifier(own), quote_identifier(other))
            })
            .collect();
        let present: Vec<String> = key
            .columns
            .iter()
            .map(|own| format!("t.{} IS NOT NULL", quote_identifier(own)))
            .collect();
        let sql = format!(
            "SELECT count(*) FROM {table} t WHERE {} AND NOT EXISTS (SELECT 1 FROM {} r WHERE {})",
            present.join(" AND "),
            qualified(&definition.schema, &key.references_table),
            joined.join(" AND ")
        );
        let count =
            async { Ok(client.query_one(&sql, &[]).await.map_err(failed)?.get::<_, i64>(0)) };
        let orphans = match guarded(client, count).await? {
            Ok(orphans) => orphans,
            Err(refused) => {
                differences.push(refused);
                continue;
            }
        };
        if orphans > 0 {
            differences.push(format!(
                "{orphans} rows point by {} to no row of {}",
                key.columns.join(", "),
                key.references_table
            ));
        }
    }
    Ok(differences)
}
