//! Foreign keys and indexes of tables that others own: taken away for the load, and put back as
//! they were.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;

use super::ledger::Ledger;
use super::{LoadError, execute, session_for_indexes};
use crate::postgres::{Aside, PostgresError, Target, foreign_keys, plain_indexes};
use crate::progress::{Progress, Stage, Total};

/// What would be taken away from these tables: (table, whether its indexes too).
pub(super) async fn find(
    client: &Client,
    schema: &str,
    tables: &[(String, bool)],
) -> Result<Vec<Aside>, LoadError> {
    let mut all = Vec::new();
    for (table, indexes) in tables {
        if *indexes {
            all.extend(plain_indexes(client, schema, table).await?);
        }
    }
    for (table, _) in tables {
        all.extend(foreign_keys(client, schema, table).await?);
    }
    Ok(all)
}

/// Takes them away, all or none, and writes down how to make them again.
pub(super) async fn take(
    client: &Client,
    ledger: &Ledger,
    asides: &[Aside],
) -> Result<(), LoadError> {
    execute(client, "begin".to_owned(), "BEGIN").await?;
    // Foreign keys first: they need the indexes of what they point to.
    for aside in asides.iter().rev() {
        ledger.set_aside(client, aside).await?;
        execute(client, format!("set {} {} aside", aside.kind, aside.name), &aside.take).await?;
    }
    execute(client, "commit what is set aside".to_owned(), "COMMIT").await
}

/// Puts back whatever is still away in the schema: indexes, then foreign keys. All are tried; the
/// first that failed is the error.
pub(super) async fn put_back(
    target: &Target,
    connections: usize,
    ledger: &Ledger,
    progress: &Arc<dyn Progress>,
) -> Result<(), LoadError> {
    let client = target.connect().await?;
    let all = ledger.aside(&client).await?;
    if all.is_empty() {
        return Ok(());
    }
    let item = "set aside";
    progress.start(Stage::Load, item, Total::Records(all.len() as u64));
    let (indexes, keys): (Vec<Aside>, Vec<Aside>) =
        all.into_iter().partition(|aside| aside.kind == "index");
    let mut failure = None;
    for group in [indexes, keys] {
        let queue = Arc::new(Mutex::new(VecDeque::from(group)));
        let mut tasks = Vec::new();
        for _ in 0..connections.max(1) {
            let client = session_for_indexes(target).await?;
            let (queue, ledger) = (Arc::clone(&queue), ledger.clone());
            let progress = Arc::clone(progress);
            tasks.push(tokio::spawn(async move {
                let mut failure = None;
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(aside) = next else { return failure };
                    match make(&client, &ledger, &aside).await {
                        Ok(()) => progress.advance(Stage::Load, item, 1, 0),
                        Err(error) => {
                            let _ = client.batch_execute("ROLLBACK").await;
                            if !error.may_pass() {
                                progress.note(Stage::Load, &format!("still set aside: {error}"));
                            }
                            failure.get_or_insert(error);
                        }
                    }
                }
            }));
        }
        for task in tasks {
            if let Some(error) = task.await.map_err(LoadError::Worker)? {
                failure.get_or_insert(error);
            }
        }
    }
    progress.finish(Stage::Load, item);
    match failure {
        None => Ok(()),
        Some(error) => Err(error),
    }
}

/// Makes one again, in one transaction with the ledger.
async fn make(client: &Client, ledger: &Ledger, aside: &Aside) -> Result<(), LoadError> {
    loop {
        execute(client, "begin".to_owned(), "BEGIN").await?;
        let made = client.batch_execute(&aside.make).await;
        match made {
            Ok(()) => {
                ledger.back(client, aside).await?;
                let action = format!("commit {} {}", aside.kind, aside.name);
                return execute(client, action, "COMMIT").await;
            }
            Err(source) => {
                let deadlock =
                    source.code() == Some(&tokio_postgres::error::SqlState::T_R_DEADLOCK_DETECTED);
                if !deadlock {
                    let action = format!("put {} {} back", aside.kind, aside.name);
                    return Err(PostgresError::Statement { action, source }.into());
                }
                execute(client, "roll back".to_owned(), "ROLLBACK").await?;
            }
        }
    }
}
