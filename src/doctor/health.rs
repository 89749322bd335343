//! What is to be watched at a database that an application works on.

use tokio_postgres::Client;

use super::error::failed;
use super::{Check, DoctorError, State, names, size, span};
use crate::postgres::Target;

/// Shares from which something is worth a word, or trouble.
const CROWDED: [f64; 2] = [0.8, 0.95];
/// A transaction that is this old holds back the cleaning of every table, in seconds.
const OLD: [f64; 2] = [300.0, 3600.0];
/// Share of blocks that should be found in memory, once so many were read from the disk.
const CACHED: f64 = 0.99;
const COLD: i64 = 10_000;
/// Rows from which a foreign key without an index is slow to follow.
const MANY: f32 = 1000.0;

/// What is too slow or too much.
#[derive(Clone, Copy, Debug)]
pub struct HealthOptions {
    /// Milliseconds on the average from which a statement is slow.
    pub slow_ms: f64,
}

/// Looks at a database in use.
pub async fn health(target: &Target, options: &HealthOptions) -> Result<Vec<Check>, DoctorError> {
    let client = target.connect().await?;
    let mut checks = vec![connections(&client).await?, transactions(&client).await?];
    checks.push(invalid_indexes(&client).await?);
    checks.push(foreign_keys(&client).await?);
    checks.extend(sequences(&client).await?);
    checks.push(cache(&client).await?);
    checks.push(statements(&client, options.slow_ms).await?);
    Ok(checks)
}

fn graded(value: f64, [warning, failure]: [f64; 2]) -> State {
    match value {
        value if value >= failure => State::Failure,
        value if value >= warning => State::Warning,
        _ => State::Fine,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of Prometheus is a double")]
fn gauge(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of Prometheus is a double")]
fn number_of(list: &[String]) -> f64 {
    list.len() as f64
}

async fn connections(client: &Client) -> Result<Check, DoctorError> {
    // Every role can see these counts.
    let sql = "SELECT sum(numbackends)::bigint, current_setting('max_connections')::bigint \
               FROM pg_catalog.pg_stat_database";
    let row = client.query_one(sql, &[]).await.map_err(failed("count connections"))?;
    let (used, most): (i64, i64) = (row.get(0), row.get(1));
    let share = gauge(used) / gauge(most).max(1.0);
    let state = graded(share, CROWDED);
    let mut check = Check::new(state, "connections", format!("{used} of {most} are in use"))
        .measured("connections", gauge(used))
        .measured("connections_limit", gauge(most));
    if state != State::Fine {
        check = check
            .cured("Let applications share connections by a pooler, or raise max_connections.");
    }
    Ok(check)
}

async fn transactions(client: &Client) -> Result<Check, DoctorError> {
    let about = "longest transaction";
    let sql = "SELECT pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), \
               quote_ident(current_user)";
    let row = client.query_one(sql, &[]).await.map_err(failed("look at the rights of the role"))?;
    if !row.get::<_, bool>(0) {
        let detail = "it is not known: the role sees no transactions of others";
        let cure = format!("GRANT pg_read_all_stats TO {};", row.get::<_, &str>(1));
        return Ok(Check::new(State::Note, about, detail).cured(cure));
    }
    let sql = "SELECT pid, coalesce(usename::text, ''), coalesce(application_name, ''), state, \
               extract(epoch FROM clock_timestamp() - xact_start)::float8 \
               FROM pg_catalog.pg_stat_activity \
               WHERE xact_start IS NOT NULL AND backend_type = 'client backend' \
                 AND pid <> pg_catalog.pg_backend_pid() ORDER BY xact_start LIMIT 1";
    let row = client.query_opt(sql, &[]).await.map_err(failed("look at transactions"))?;
    let Some(row) = row else {
        return Ok(Check::fine(about, "none is open").measured("longest_transaction_seconds", 0.0));
    };
    let (pid, role, program): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    let (state, seconds): (Option<String>, f64) = (row.get(3), row.get(4));
    let graded = graded(seconds, OLD);
    let mut check = Check::new(
        graded,
        about,
        format!(
            "{} old: process {pid} of {role} ({program}), {}",
            span(seconds),
            state.as_deref().unwrap_or("state unknown")
        ),
    )
    .measured("longest_transaction_seconds", seconds);
    if graded != State::Fine {
        check = check.cured(format!(
            "It keeps dead rows from being cleaned away. End it: SELECT pg_terminate_backend({pid}); \
             or set idle_in_transaction_session_timeout."
        ));
    }
    Ok(check)
}

/// The texts of a query's only column.
async fn texts(client: &Client, action: &str, sql: &str) -> Result<Vec<String>, DoctorError> {
    let rows = client.query(sql, &[]).await.map_err(failed(action))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn invalid_indexes(client: &Client) -> Result<Check, DoctorError> {
    let sql = "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_index i \
               JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE NOT i.indisvalid ORDER BY 1";
    let found = texts(client, "look for invalid indexes", sql).await?;
    let about = "invalid indexes";
    Ok(if found.is_empty() {
        Check::fine(about, "none")
    } else {
        Check::new(State::Failure, about, names(&found))
            .cured(format!("REINDEX INDEX CONCURRENTLY {};", found[0]))
    }
    .measured("invalid_indexes", number_of(&found)))
}

async fn foreign_keys(client: &Client) -> Result<Check, DoctorError> {
    // An index helps where its first columns are those of the key, in any order, over all rows.
    let sql = format!(
        "SELECT format('%I.%I (%s)', n.nspname, c.relname, (
             SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.place)
             FROM unnest(f.conkey) WITH ORDINALITY k (number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.number))
         FROM pg_catalog.pg_constraint f
         JOIN pg_catalog.pg_class c ON c.oid = f.conrelid
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
         WHERE f.contype = 'f' AND f.conparentid = 0 AND c.reltuples >= {MANY}
           AND NOT EXISTS (
             SELECT FROM pg_catalog.pg_index i
             WHERE i.indrelid = f.conrelid AND i.indisvalid AND i.indpred IS NULL
               AND (SELECT array_agg(number) FROM (
                        SELECT number FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place)
                        WHERE place <= cardinality(f.conkey)) firsts) @> f.conkey)
         ORDER BY 1"
    );
    let found = texts(client, "look for foreign keys without an index", &sql).await?;
    let about = "foreign keys without an index";
    Ok(if found.is_empty() {
        Check::fine(about, "none on tables of 1,000 rows or more")
    } else {
        Check::new(State::Warning, about, names(&found))
            .cured(format!("CREATE INDEX CONCURRENTLY ON {};", found[0]))
    }
    .measured("unindexed_foreign_keys", number_of(&found)))
}

async fn sequences(client: &Client) -> Result<Vec<Check>, DoctorError> {
    // A sequence of bigint that fills a column of integer ends with the column.
    let sql = "
        SELECT name, used FROM (
            SELECT format('%I.%I', s.schemaname, s.sequencename) AS name,
                s.last_value::float8 / least(s.max_value, coalesce((
                    SELECT min(CASE a.atttypid WHEN 'int2'::regtype THEN 32767
                                               WHEN 'int4'::regtype THEN 2147483647
                                               ELSE s.max_value END)
                    FROM pg_catalog.pg_depend d
                    JOIN pg_catalog.pg_attribute a
                        ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                    WHERE d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
                      AND d.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass),
                    s.max_value))::float8 AS used
            FROM pg_catalog.pg_sequences s
            WHERE s.last_value IS NOT NULL AND s.increment_by > 0 AND NOT s.cycle) fill
        ORDER BY used DESC LIMIT 20";
    let rows = client.query(sql, &[]).await.map_err(failed("look at sequences"))?;
    let about = "sequences";
    let found: Vec<(String, f64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let fullest = found.first().map_or(0.0, |(_, used)| *used);
    let mut checks = Vec::new();
    for (name, used) in found.iter().filter(|(_, used)| *used >= CROWDED[0]) {
        let detail = format!("{name} has given out {:.0} % of its numbers", used * 100.0);
        checks.push(Check::new(graded(*used, CROWDED), about, detail).cured(
            "Make the column and its sequence bigint: ALTER TABLE … ALTER COLUMN … TYPE bigint.",
        ));
    }
    let sql = "SELECT format('%I.%I', schemaname, sequencename) FROM pg_catalog.pg_sequences \
               WHERE NOT has_sequence_privilege( \
                   format('%I.%I', schemaname, sequencename)::regclass, 'USAGE,SELECT') ORDER BY 1";
    let hidden = texts(client, "look at sequences of others", sql).await?;
    if !hidden.is_empty() {
        let detail = format!("what these have given out is not known: {}", names(&hidden));
        let cure = format!("GRANT SELECT ON SEQUENCE {} TO the role of this check.", hidden[0]);
        checks.push(Check::new(State::Note, about, detail).cured(cure));
    }
    if checks.is_empty() {
        checks.push(Check::fine(
            about,
            format!("the fullest has given out {:.1} %", fullest * 100.0),
        ));
    }
    checks[0] = checks[0].clone().measured("fullest_sequence_ratio", fullest);
    Ok(checks)
}

async fn cache(client: &Client) -> Result<Check, DoctorError> {
    let sql = "SELECT blks_hit, blks_read, pg_catalog.pg_database_size(datname) \
               FROM pg_catalog.pg_stat_database WHERE datname = current_database()";
    let row = client.query_one(sql, &[]).await.map_err(failed("look at the cache"))?;
    let (hit, read, bytes): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let share = gauge(hit) / gauge(hit.saturating_add(read)).max(1.0);
    let detail = format!(
        "{:.1} % of blocks were found in memory; the database has {}",
        share * 100.0,
        size(u64::try_from(bytes).unwrap_or_default())
    );
    let about = "cache";
    Ok(if share < CACHED && read > COLD {
        Check::new(State::Note, about, detail).cured(
            "Raise shared_buffers if this lasts: numbers are since the last reset of statistics.",
        )
    } else {
        Check::fine(about, detail)
    }
    .measured("cache_hit_ratio", share)
    .measured("database_bytes", gauge(bytes)))
}

async fn statements(client: &Client, slow_ms: f64) -> Result<Check, DoctorError> {
    let about = "slow statements";
    let sql = "SELECT quote_ident(n.nspname) FROM pg_catalog.pg_extension e \
               JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace \
               WHERE e.extname = 'pg_stat_statements'";
    let schema = client.query_opt(sql, &[]).await.map_err(failed("look for pg_stat_statements"))?;
    let Some(schema) = schema.map(|row| row.get::<_, String>(0)) else {
        return Ok(Check::new(State::Note, about, "pg_stat_statements is not there")
            .cured("Add it to shared_preload_libraries and CREATE EXTENSION pg_stat_statements."));
    };
    let sql = format!(
        "SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 120), calls, mean_exec_time \
         FROM {schema}.pg_stat_statements \
         WHERE dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) \
           AND mean_exec_time >= $1 ORDER BY mean_exec_time * calls DESC LIMIT 10"
    );
    let rows = match client.query(&sql, &[&slow_ms]).await {
        Ok(rows) => rows,
        // It is there, and not among the preloaded libraries.
        Err(error) => {
            let detail = crate::postgres::describe(&error);
            return Ok(Check::new(State::Note, about, format!("they are not known: {detail}")));
        }
    };
    let found: Vec<String> = rows
        .iter()
        .map(|row| {
            let (query, calls, mean): (String, i64, f64) = (row.get(0), row.get(1), row.get(2));
            format!("{mean:.0} ms × {calls}: {query}")
        })
        .collect();
    Ok(if found.is_empty() {
        Check::fine(about, format!("none takes {slow_ms} ms or more on the average"))
    } else {
        Check::new(State::Warning, about, found.join("; "))
            .cured("EXPLAIN (ANALYZE, BUFFERS) the first; a statement that matters belongs into [queries].")
    }
    .measured("slow_statements", number_of(&found)))
}
