//! The queries of a pipeline file: what an application asks for, and how long it may take.

use std::time::Instant;

use futures_util::TryStreamExt;
use tokio_postgres::Client;

use super::error::failed;
use super::{Check, DoctorError, State};
use crate::pipeline::model::{Pipeline, Query};
use crate::postgres::{PostgresError, SEARCH_PATH, Target, describe, path_for_own_sql};

/// Runs of a query after the one that warms the cache; the one in the middle counts.
const RUNS: usize = 3;
/// A query may take so many times its limit until it is ended, and at least so many milliseconds.
const PATIENCE: u64 = 20;
const LEAST_PATIENCE: u64 = 5000;

/// Runs the queries of a pipeline file, each in a transaction that cannot write.
pub async fn queries(target: &Target, pipeline: &Pipeline) -> Result<Vec<Check>, DoctorError> {
    let mut checks = Vec::new();
    if pipeline.queries.is_empty() {
        return Ok(checks);
    }
    let client = target.connect().await?;
    let path = path_for_own_sql(&client, &pipeline.schema).await?;
    for query in &pipeline.queries {
        let patience = query.max_ms.saturating_mul(PATIENCE).max(LEAST_PATIENCE);
        let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {patience}; {path}");
        client.batch_execute(&begin).await.map_err(failed("begin a query"))?;
        let check = check(&client, query).await;
        let end = format!("ROLLBACK; {SEARCH_PATH}");
        client.batch_execute(&end).await.map_err(failed("end a query"))?;
        checks.push(check);
    }
    Ok(checks)
}

async fn check(client: &Client, query: &Query) -> Check {
    let about = format!("query {}", query.name);
    let took = match times(client, query).await {
        Ok(took) => took,
        Err(error) => {
            return Check::new(State::Failure, &about, error.to_string())
                .cured("Correct `sql` in [queries], or make the tables first.");
        }
    };
    let label = ("query", query.name.as_str());
    let detail = format!("{took:.1} ms of {} ms", query.max_ms);
    #[expect(clippy::cast_precision_loss, reason = "milliseconds, compared")]
    let most = query.max_ms as f64;
    let check = if took <= most {
        Check::fine(&about, detail)
    } else {
        let cure = "Look at the plan for scans of whole tables, and index what they filter by.";
        let check = Check::new(State::Warning, &about, detail).cured(cure);
        Check { plan: plan(client, query).await, ..check }
    };
    check.measured_of("query_milliseconds", label, took).measured_of(
        "query_limit_milliseconds",
        label,
        most,
    )
}

/// Milliseconds of the run in the middle.
async fn times(client: &Client, query: &Query) -> Result<f64, PostgresError> {
    let failed =
        |source| PostgresError::Statement { action: format!("run query {}", query.name), source };
    let statement = client.prepare(&query.sql).await.map_err(failed)?;
    let mut took = Vec::new();
    for run in 0..=RUNS {
        let begun = Instant::now();
        // All rows are waited for, and none is kept.
        let none: [&str; 0] = [];
        let rows = client.query_raw(&statement, none).await.map_err(failed)?;
        let mut rows = std::pin::pin!(rows);
        while rows.try_next().await.map_err(failed)?.is_some() {}
        if run > 0 {
            took.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
    took.sort_by(f64::total_cmp);
    Ok(took[RUNS / 2])
}

/// How the server carries a query out.
async fn plan(client: &Client, query: &Query) -> Vec<String> {
    let sql = format!("EXPLAIN (ANALYZE, BUFFERS) {}", query.sql.trim_end().trim_end_matches(';'));
    match client.query(&sql, &[]).await {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(error) => vec![format!("its plan is not known: {}", describe(&error))],
    }
}
