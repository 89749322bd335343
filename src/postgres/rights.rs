//! What a role may do in a database, and the statements that let it.

use tokio_postgres::Client;

use super::{PostgresError, quote_identifier};

fn failed(source: tokio_postgres::Error) -> PostgresError {
    PostgresError::Statement { action: "look at the rights of the role".to_owned(), source }
}

/// A right that a role lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingRight {
    /// What it may not do.
    pub detail: String,
    /// The statement by which an owner or a superuser lets it.
    pub cure: String,
}

/// Whether a schema is there.
pub async fn schema_exists(client: &Client, name: &str) -> Result<bool, PostgresError> {
    let sql = "SELECT count(*) > 0 FROM pg_catalog.pg_namespace WHERE nspname = $1";
    Ok(client.query_one(sql, &[&name]).await.map_err(failed)?.get(0))
}

/// Makes a schema where there is none. `IF NOT EXISTS` would ask for the right to make schemas even
/// where there is one.
pub async fn make_schema(client: &Client, name: &str) -> Result<(), PostgresError> {
    if schema_exists(client, name).await? {
        return Ok(());
    }
    let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", quote_identifier(name));
    client.batch_execute(&sql).await.map_err(|source| PostgresError::Statement {
        action: format!("create schema {name}"),
        source,
    })
}

/// Rights that the role of a session lacks to make tables in these schemas, and the schemas
/// themselves where they are not there.
pub async fn missing_rights(
    client: &Client,
    schemas: &[&str],
) -> Result<Vec<MissingRight>, PostgresError> {
    let sql = "SELECT current_user::text, current_database()::text, \
               has_database_privilege(current_database(), 'CREATE')";
    let row = client.query_one(sql, &[]).await.map_err(failed)?;
    let (role, database): (String, String) = (row.get(0), row.get(1));
    let makes_schemas: bool = row.get(2);
    let (quoted, database) = (quote_identifier(&role), quote_identifier(&database));
    let mut missing = Vec::new();
    for schema in schemas {
        let sql = "SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE') \
                   FROM pg_catalog.pg_namespace WHERE nspname = $1";
        let may: Option<bool> =
            client.query_opt(sql, &[schema]).await.map_err(failed)?.map(|row| row.get(0));
        let name = quote_identifier(schema);
        match may {
            Some(true) => {}
            Some(false) => missing.push(MissingRight {
                detail: format!("role {role} may not make tables in schema {schema}"),
                cure: format!("GRANT USAGE, CREATE ON SCHEMA {name} TO {quoted};"),
            }),
            None if makes_schemas => {}
            None => missing.push(MissingRight {
                detail: format!(
                    "there is no schema {schema}, and role {role} may not make schemas in the database"
                ),
                cure: format!(
                    "CREATE SCHEMA {name} AUTHORIZATION {quoted}; -- or: GRANT CREATE ON DATABASE \
                     {database} TO {quoted};"
                ),
            }),
        }
    }
    Ok(missing)
}

/// Fails where [`missing_rights`] finds some.
pub async fn check_rights(client: &Client, schemas: &[&str]) -> Result<(), PostgresError> {
    let missing = missing_rights(client, schemas).await?;
    if missing.is_empty() { Ok(()) } else { Err(PostgresError::MissingRights { missing }) }
}
