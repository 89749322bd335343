//! The schema `docferry` of a target, in which loads keep their ledger. What stands in it decides
//! what docferry drops, deletes and makes, so it is used only where nobody else could have
//! written it.

use tokio_postgres::Client;

use super::PostgresError;

/// Its name.
pub const LEDGER_SCHEMA: &str = "docferry";

/// Everything in the schema that belongs to others, that others may write to, or that docferry
/// never makes. What a superuser owns is trusted: a superuser could do all of it without docferry.
const FOREIGN: &str = "
WITH me (oid) AS (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = current_user),
trusted (oid) AS (SELECT oid FROM me UNION SELECT oid FROM pg_catalog.pg_roles WHERE rolsuper),
ledger (oid, owner, acl) AS (
    SELECT oid, nspowner, nspacl FROM pg_catalog.pg_namespace WHERE nspname = 'docferry'),
relations AS (SELECT c.* FROM pg_catalog.pg_class c JOIN ledger l ON l.oid = c.relnamespace
              WHERE c.relkind IN ('r', 'p', 'S', 'v', 'm', 'f'))
SELECT 'schema docferry belongs to role ' || pg_get_userbyid(owner)
    FROM ledger WHERE owner NOT IN (SELECT oid FROM trusted)
UNION ALL SELECT relname || ' belongs to role ' || pg_get_userbyid(relowner)
    FROM relations WHERE relowner NOT IN (SELECT oid FROM trusted)
UNION ALL SELECT relname || ' is no table' FROM relations WHERE relkind NOT IN ('r', 'S')
UNION ALL SELECT 'function ' || p.proname || ' is not docferry''s'
    FROM pg_catalog.pg_proc p JOIN ledger l ON l.oid = p.pronamespace
UNION ALL SELECT 'operator ' || o.oprname || ' is not docferry''s'
    FROM pg_catalog.pg_operator o JOIN ledger l ON l.oid = o.oprnamespace
UNION ALL SELECT 'trigger ' || g.tgname || ' of ' || c.relname || ' is not docferry''s'
    FROM pg_catalog.pg_trigger g JOIN relations c ON c.oid = g.tgrelid WHERE NOT g.tgisinternal
UNION ALL SELECT 'rule ' || r.rulename || ' of ' || c.relname || ' is not docferry''s'
    FROM pg_catalog.pg_rewrite r JOIN relations c ON c.oid = r.ev_class WHERE c.relkind = 'r'
UNION ALL SELECT 'policy ' || p.polname || ' of ' || c.relname || ' is not docferry''s'
    FROM pg_catalog.pg_policy p JOIN relations c ON c.oid = p.polrelid
UNION ALL SELECT c.relname || ' inherits from another table'
    FROM pg_catalog.pg_inherits i JOIN relations c ON c.oid = i.inhrelid
UNION ALL SELECT what || ' may be changed by role '
        || CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END
    FROM (SELECT 'schema docferry' AS what, (pg_catalog.aclexplode(acl)).* FROM ledger
          UNION ALL SELECT relname, (pg_catalog.aclexplode(relacl)).* FROM relations
          UNION ALL SELECT c.relname || '.' || a.attname, (pg_catalog.aclexplode(a.attacl)).*
              FROM pg_catalog.pg_attribute a JOIN relations c ON c.oid = a.attrelid) granted
    WHERE privilege_type NOT IN ('SELECT', 'USAGE')
      AND grantee NOT IN (SELECT oid FROM trusted)
";

/// Takes every right on the schema and its tables back that default privileges gave to others.
const KEEP_TO_ONESELF: &str = "
SELECT DISTINCT pg_catalog.quote_ident(r.rolname)
    FROM (SELECT (pg_catalog.aclexplode(nspacl)).grantee FROM pg_catalog.pg_namespace
          WHERE nspname = 'docferry'
          UNION SELECT (pg_catalog.aclexplode(relacl)).grantee FROM pg_catalog.pg_class
          WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'docferry')
         ) granted JOIN pg_catalog.pg_roles r ON r.oid = granted.grantee
    WHERE r.rolname <> current_user AND NOT r.rolsuper
";

fn failed(source: tokio_postgres::Error) -> PostgresError {
    PostgresError::Statement { action: "look for the ledger".to_owned(), source }
}

/// Whether the database has a ledger; an error where others could have written in it.
pub async fn has_ledger(client: &Client) -> Result<bool, PostgresError> {
    let rows = client.query(FOREIGN, &[]).await.map_err(failed)?;
    let found: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    if !found.is_empty() {
        return Err(PostgresError::ForeignLedger { found });
    }
    let sql = "SELECT to_regclass('docferry.sequences') IS NOT NULL";
    Ok(client.query_one(sql, &[]).await.map_err(failed)?.get(0))
}

/// Leaves the ledger to the role that made it, whatever default privileges say.
pub async fn keep_to_oneself(client: &Client) -> Result<(), PostgresError> {
    let rows = client.query(KEEP_TO_ONESELF, &[]).await.map_err(failed)?;
    let mut roles: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    roles.push("PUBLIC".to_owned());
    let roles = roles.join(", ");
    let sql = format!(
        "REVOKE ALL ON ALL TABLES IN SCHEMA docferry FROM {roles}; \
         REVOKE ALL ON ALL SEQUENCES IN SCHEMA docferry FROM {roles}; \
         REVOKE ALL ON SCHEMA docferry FROM {roles}"
    );
    client.batch_execute(&sql).await.map_err(failed)
}
