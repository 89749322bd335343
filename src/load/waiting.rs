//! Locks that others hold. A statement that waits for a lock makes all others wait behind it, so
//! docferry waits half a second at most, gives up what it holds, lets the others go first, and
//! tries again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{LoadError, execute};
use crate::postgres::Target;
use crate::progress::{Progress, Stage};

/// Shorter than PostgreSQL's own `deadlock_timeout` of a second: where docferry and another wait
/// for one another, docferry is the one that gives way.
const LOCK_TIMEOUT: &str = "500ms";
/// Pauses between attempts, in milliseconds; the last one goes on.
const PAUSES: [u64; 4] = [250, 500, 1000, 2000];
/// A load that got none of its locks for so long has failed.
const PATIENCE: Duration = Duration::from_mins(10);
/// How often the server is asked who blocks.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// Opens a session that never waits longer for a lock than others may wait for docferry.
pub(super) async fn session(target: &Target) -> Result<Client, LoadError> {
    let client = target.connect().await?;
    let sql = format!("SET lock_timeout = '{LOCK_TIMEOUT}'");
    execute(&client, "limit the wait for locks".to_owned(), &sql).await?;
    Ok(client)
}

/// The attempts of one session to get the locks of one transaction.
pub(super) struct Waits<'w> {
    client: &'w Client,
    target: &'w Target,
    progress: &'w Arc<dyn Progress>,
    since: Instant,
    tries: usize,
    watch: Option<Watch>,
    /// The blocking processes that were named last.
    named: String,
}

impl<'w> Waits<'w> {
    pub(super) fn new(
        client: &'w Client,
        target: &'w Target,
        progress: &'w Arc<dyn Progress>,
    ) -> Self {
        let since = Instant::now();
        Self { client, target, progress, since, tries: 0, watch: None, named: String::new() }
    }

    /// After a transaction failed: undoes it, and returns when it is time to try it again. An
    /// error that is not about locks is returned as it is.
    pub(super) async fn after(&mut self, action: &str, error: LoadError) -> Result<(), LoadError> {
        if !error.is_lock() {
            if !error.may_pass() {
                let _ = self.client.batch_execute("ROLLBACK").await;
            }
            return Err(error);
        }
        execute(self.client, "roll back".to_owned(), "ROLLBACK").await?;
        let seen = self.watch.as_ref().map(Watch::seen).unwrap_or_default();
        if self.since.elapsed() > PATIENCE {
            return Err(LoadError::Blocked { action: action.to_owned(), blockers: seen });
        }
        if self.watch.is_none() {
            self.watch = Watch::start(self.client, self.target).await;
        }
        if !seen.is_empty() && seen != self.named {
            let note = format!("waiting for a lock to {action}: {seen}");
            self.progress.note(Stage::Load, &note);
            self.named = seen;
        }
        let pause = PAUSES[self.tries.min(PAUSES.len() - 1)];
        self.tries += 1;
        // In small steps, so that a signal ends it at once.
        for _ in 0..pause / 50 {
            if self.progress.interrupted() {
                return Err(LoadError::Interrupted);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

/// Looks from a session of its own at whom another session waits for.
struct Watch {
    seen: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// None when the server cannot be asked: a load does not fail for it.
    async fn start(client: &Client, target: &Target) -> Option<Self> {
        let pid: i32 =
            client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]).await.ok()?.get(0);
        let watcher = target.connect().await.ok()?;
        let seen = Arc::new(Mutex::new(String::new()));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            while let Ok(blockers) = blockers(&watcher, pid).await {
                if !blockers.is_empty() {
                    *shared.lock().unwrap_or_else(PoisonError::into_inner) = blockers;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Some(Self { seen, task })
    }

    fn seen(&self) -> String {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The processes that hold what a session waits for, in words; other sessions of docferry do not
/// count. Their statements are left out: they may hold values.
async fn blockers(client: &Client, pid: i32) -> Result<String, tokio_postgres::Error> {
    let rows = client
        .query(
            "SELECT b.pid, coalesce(a.usename::text, ''), coalesce(a.application_name, ''), \
                    coalesce(a.state, 'unknown') \
             FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) b (pid) \
             LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid \
             WHERE coalesce(a.application_name, '') <> 'docferry' ORDER BY 1",
            &[&pid],
        )
        .await?;
    let lines = rows.iter().map(|row| {
        let (pid, user, name): (i32, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let name = if name.is_empty() { String::new() } else { format!(" of {name}") };
        format!("process {pid}{name} (role {user}, {})", row.get::<_, &str>(3))
    });
    Ok(lines.collect::<Vec<_>>().join(", "))
}

impl LoadError {
    /// Whether another transaction was in the way: a lock that was not to be had in time, or two
    /// that waited for one another.
    pub(super) fn is_lock(&self) -> bool {
        self.is(&[SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED])
    }
}
