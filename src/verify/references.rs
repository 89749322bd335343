//! References: every foreign key is there and validated, and no row points to nothing.

use tokio_postgres::Client;

use super::VerifyError;
use crate::postgres::{PostgresError, qualified, quote_identifier, quote_literal};
use crate::staging::table::TableDefinition;

/// Every foreign key is there and validated, and no row points to nothing. Where the tables are
/// `existing` ones, their owner decides which foreign keys there are.
pub(super) async fn check_references(
    client: &Client,
    definition: &TableDefinition,
    existing: bool,
) -> Result<Vec<String>, VerifyError> {
    let mut differences = Vec::new();
    let table = qualified(&definition.schema, &definition.name);
    for key in &definition.foreign_keys {
        let failed = |source| PostgresError::Statement {
            action: format!("check foreign key {}", key.name),
            source,
        };
        // The owner of the tables may have named it otherwise.
        let valid = client
            .query_opt(
                &format!(
                    "SELECT convalidated FROM pg_constraint k \
                     WHERE conrelid = to_regclass({}) AND confrelid = to_regclass({}) AND contype = 'f' \
                       AND $1 = (SELECT array_agg(attname::text ORDER BY at) \
                                 FROM unnest(conkey) WITH ORDINALITY AS c(number, at) \
                                 JOIN pg_attribute ON attrelid = conrelid AND attnum = number) \
                     ORDER BY 1 LIMIT 1",
                    quote_literal(&table),
                    quote_literal(&qualified(&definition.schema, &key.references_table))
                ),
                &[&key.columns],
            )
            .await
            .map_err(failed)?;
        match valid.map(|row| row.get::<_, bool>(0)) {
            None if existing => {}
            None => differences.push(format!("foreign key {} is missing", key.name)),
            Some(false) if existing => {}
            Some(false) => differences.push(format!("foreign key {} is not validated", key.name)),
            Some(true) => {}
        }
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
        let orphans = client.query_one(&sql, &[]).await.map_err(failed)?.get::<_, i64>(0);
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
