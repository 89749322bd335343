//! What the server says of its own objects.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::PostgresError;

/// The server's identifiers of the enum types of a schema, which arrays of them carry.
pub async fn enum_oids(
    client: &Client,
    schema: &str,
) -> Result<HashMap<String, u32>, PostgresError> {
    let rows = client
        .query(
            "SELECT typname::text, t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace \
             WHERE typtype = 'e' AND nspname = $1",
            &[&schema],
        )
        .await
        .map_err(|source| PostgresError::Statement {
            action: "read the enum types".to_owned(),
            source,
        })?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
