//! Conditions of the pipeline file that rows should meet, such as dates in their order.

use tokio_postgres::Client;

use super::{Expectation, VerifyError};
use crate::postgres::{PostgresError, SEARCH_PATH, path_for_own_sql, qualified, quote_identifier};
use crate::staging::table::TableDefinition;

/// Rows that are named for each condition.
const EXAMPLES: i64 = 10;

/// Counts and names the rows that do not meet each condition. NULL meets it, as in a CHECK.
pub(super) async fn check_expectations(
    client: &Client,
    definition: &TableDefinition,
) -> Result<Vec<Expectation>, VerifyError> {
    let table = qualified(&definition.schema, &definition.name);
    let key: Vec<String> = definition
        .primary_key
        .iter()
        .map(|name| format!("{}::text", quote_identifier(name)))
        .collect();
    let key = if key.is_empty() {
        "ctid::text".to_owned()
    } else {
        format!("concat_ws(', ', {})", key.join(", "))
    };
    if definition.expectations.is_empty() {
        return Ok(Vec::new());
    }
    let choose =
        |source| PostgresError::Statement { action: "choose the search path".to_owned(), source };
    let path = path_for_own_sql(client, &definition.schema).await?;
    client.batch_execute(&path).await.map_err(choose)?;
    let mut found = Vec::new();
    for expectation in &definition.expectations {
        let failed = |source| PostgresError::Statement {
            action: format!("check expectation {} of {}", expectation.name, definition.name),
            source,
        };
        let condition = format!("NOT ({})", expectation.expression);
        let count = format!("SELECT count(*) FROM {table} WHERE {condition}");
        let rows: i64 = client.query_one(&count, &[]).await.map_err(failed)?.get(0);
        let mut examples = Vec::new();
        if rows > 0 {
            let sql =
                format!("SELECT {key} FROM {table} WHERE {condition} ORDER BY 1 LIMIT {EXAMPLES}");
            let named = client.query(&sql, &[]).await.map_err(failed)?;
            examples = named.iter().map(|row| row.get(0)).collect();
        }
        let rows = rows.unsigned_abs();
        found.push(Expectation { name: expectation.name.clone(), rows, examples });
    }
    client.batch_execute(SEARCH_PATH).await.map_err(choose)?;
    Ok(found)
}
