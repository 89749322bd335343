//! The target before a load.

use tokio_postgres::Client;

use super::error::failed;
use super::{Check, DoctorError, State, names};
use crate::postgres::Target;
use crate::postgres::ledger::LEDGER_SCHEMA;
use crate::postgres::rights::missing_rights;

const ABOUT: &str = "target";
/// The oldest version that docferry is tried with.
const OLDEST: i32 = 130_000;

/// One session that leads a load, and one that copies.
const LEAST_CONNECTIONS: i64 = 2;

/// What a load needs of a database.
#[derive(Clone, Copy, Debug)]
pub struct TargetNeeds<'n> {
    /// Target schema.
    pub schema: &'n str,
    /// Tables are made in it.
    pub makes_tables: bool,
    /// Connections at the same time, beside one that leads.
    pub connections: usize,
}

/// Looks at a database: whether it answers and can be written to, the rights of the role, and the
/// limits that are set.
pub async fn target(target: &Target, needs: &TargetNeeds<'_>) -> Result<Vec<Check>, DoctorError> {
    let client = target.connect().await?;
    let mut checks = vec![server(&client, target).await?];
    checks.push(writable(&client).await?);
    checks.push(encoding(&client).await?);
    checks.extend(rights(&client, needs).await?);
    checks.push(connections(&client, needs.connections).await?);
    checks.extend(limits(&client).await?);
    Ok(checks)
}

async fn server(client: &Client, target: &Target) -> Result<Check, DoctorError> {
    let sql = "SELECT current_setting('server_version'), \
               current_setting('server_version_num')::integer, current_user::text, \
               (SELECT s.version FROM pg_catalog.pg_stat_ssl s \
                WHERE s.pid = pg_catalog.pg_backend_pid() AND s.ssl)";
    let row = client.query_one(sql, &[]).await.map_err(failed("ask for the version"))?;
    let (version, number): (String, i32) = (row.get(0), row.get(1));
    let (role, tls): (String, Option<String>) = (row.get(2), row.get(3));
    let detail = format!(
        "PostgreSQL {version} answers at {} as role {role}, {}",
        target.display(),
        tls.map_or("not encrypted".to_owned(), |tls| format!("encrypted by {tls}"))
    );
    if number < OLDEST {
        return Ok(Check::new(State::Failure, ABOUT, format!("{detail}; it is older than 13"))
            .cured("Use a newer server."));
    }
    Ok(Check::fine(ABOUT, detail))
}

async fn writable(client: &Client) -> Result<Check, DoctorError> {
    let sql = "SELECT pg_catalog.pg_is_in_recovery(), \
               current_setting('default_transaction_read_only') = 'on'";
    let row =
        client.query_one(sql, &[]).await.map_err(failed("ask whether it can be written to"))?;
    if row.get(0) {
        return Ok(Check::new(
            State::Failure,
            ABOUT,
            "the server is a standby and takes no writes",
        )
        .cured("Name the primary; target_session_attrs=read-write finds it among several hosts."));
    }
    if row.get(1) {
        return Ok(Check::new(State::Failure, ABOUT, "the database or the role is set to read only")
            .cured("Add `options=-c default_transaction_read_only=off` to the address, or ALTER ROLE … RESET."));
    }
    Ok(Check::fine(ABOUT, "it can be written to"))
}

async fn encoding(client: &Client) -> Result<Check, DoctorError> {
    let sql = "SELECT current_setting('server_encoding')";
    let row = client.query_one(sql, &[]).await.map_err(failed("ask for the encoding"))?;
    let encoding: String = row.get(0);
    let detail = format!("its encoding is {encoding}");
    Ok(match encoding.as_str() {
        "UTF8" => Check::fine(ABOUT, detail),
        _ => Check::new(State::Warning, ABOUT, format!("{detail}, which does not hold every text"))
            .cured("Create a database with ENCODING 'UTF8' TEMPLATE template0."),
    })
}

async fn rights(client: &Client, needs: &TargetNeeds<'_>) -> Result<Vec<Check>, DoctorError> {
    const ABOUT: &str = "rights";
    let mut schemas = vec![LEDGER_SCHEMA];
    if needs.makes_tables {
        schemas.push(needs.schema);
    }
    let missing = missing_rights(client, &schemas).await?;
    if missing.is_empty() {
        let schemas: Vec<String> = schemas.iter().map(|schema| (*schema).to_owned()).collect();
        let detail = format!("the role may make tables in schema {}", names(&schemas));
        return Ok(vec![Check::fine(ABOUT, detail)]);
    }
    let check = |missing: crate::postgres::rights::MissingRight| {
        Check::new(State::Failure, ABOUT, missing.detail).cured(missing.cure)
    };
    Ok(missing.into_iter().map(check).collect())
}

async fn connections(client: &Client, wanted: usize) -> Result<Check, DoctorError> {
    const ABOUT: &str = "connections";
    // A limit of -1 is none. A superuser may use the reserved ones. Sessions of others are counted
    // where every role can see them.
    let sql = "
        SELECT least(
            current_setting('max_connections')::integer
                - CASE WHEN r.rolsuper THEN 0
                       ELSE current_setting('superuser_reserved_connections')::integer END
                - (SELECT sum(numbackends) FROM pg_catalog.pg_stat_database),
            CASE WHEN r.rolconnlimit < 0 OR r.rolsuper THEN 1000000 ELSE r.rolconnlimit
                - (SELECT count(*) FROM pg_catalog.pg_stat_activity
                   WHERE usename = r.rolname AND backend_type = 'client backend') END,
            CASE WHEN d.datconnlimit < 0 OR r.rolsuper THEN 1000000 ELSE d.datconnlimit
                - (SELECT numbackends FROM pg_catalog.pg_stat_database
                   WHERE datname = d.datname) END)::bigint
        FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
        WHERE r.rolname = session_user AND d.datname = current_database()";
    let row = client.query_one(sql, &[]).await.map_err(failed("count connections"))?;
    // This session is one of those that a load needs.
    let free = row.get::<_, i64>(0) + 1;
    let needed = i64::try_from(wanted).unwrap_or(i64::MAX).saturating_add(1);
    let detail = format!("{} are free, a load uses {needed}", free.max(0));
    Ok(if free >= needed {
        Check::fine(ABOUT, detail)
    } else {
        let cure = match free - 1 {
            fewer if fewer > 0 => format!("Use --connections {fewer}, or end sessions of others."),
            _ => "End sessions of others, or raise the limit of the server, database or role."
                .to_owned(),
        };
        let state = if free < LEAST_CONNECTIONS { State::Failure } else { State::Warning };
        Check::new(state, ABOUT, detail).cured(cure)
    })
}

/// Limits that roles and databases have for applications: they do not hold for docferry's sessions.
async fn limits(client: &Client) -> Result<Vec<Check>, DoctorError> {
    const ABOUT: &str = "limits";
    let sql = "
        SELECT name, coalesce(stated, '') FROM (
            SELECT DISTINCT ON (name) split_part(setting, '=', 1) AS name,
                substr(setting, strpos(setting, '=') + 1) AS stated
            FROM pg_catalog.pg_db_role_setting s, unnest(s.setconfig) AS setting
            WHERE s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database
                                        WHERE datname = current_database()))
              AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles
                                    WHERE rolname = session_user))
            ORDER BY name, s.setrole DESC) settings
        WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
                       'idle_session_timeout', 'transaction_timeout')";
    let rows = client.query(sql, &[]).await.map_err(failed("read the limits of the role"))?;
    let set: Vec<String> = rows
        .iter()
        .map(|row| format!("{} = {}", row.get::<_, &str>(0), row.get::<_, &str>(1)))
        .collect();
    let mut checks = Vec::new();
    if !set.is_empty() {
        let detail = format!("{}: set aside for docferry's own sessions", set.join(", "));
        checks.push(Check::new(State::Note, ABOUT, detail));
    }
    let sql = "SELECT current_setting('temp_file_limit')";
    let row = client.query_one(sql, &[]).await.map_err(failed("read the limits of the server"))?;
    let limit: String = row.get(0);
    if limit != "-1" {
        let detail = format!("temp_file_limit is {limit}: a big index may need more to be sorted");
        checks.push(
            Check::new(State::Warning, ABOUT, detail)
                .cured("ALTER ROLE … SET temp_file_limit = -1, as a superuser."),
        );
    }
    Ok(checks)
}
