//! Foreign keys and indexes of tables that others own: taken away for the load, and put back as
//! they were.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::ledger::Ledger;
use super::waiting::{Waits, session};
use super::{LoadError, execute, session_for_indexes};
use crate::postgres::dependents::foreign_key;
use crate::postgres::{Aside, Target, foreign_keys, plain_indexes};
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

/// Takes them away and writes down how to make them again: each in a transaction of its own, so
/// that nobody waits for a table while docferry waits for another.
pub(super) async fn take(
    client: &Client,
    target: &Target,
    ledger: &Ledger,
    asides: &[Aside],
    progress: &Arc<dyn Progress>,
) -> Result<(), LoadError> {
    // Foreign keys first: they need the indexes of what they point to.
    for aside in asides.iter().rev() {
        let action = format!("set {} {} aside", aside.kind, aside.name);
        let mut waits = Waits::new(client, target, progress);
        loop {
            let taken = async {
                execute(client, "begin".to_owned(), "BEGIN").await?;
                ledger.set_aside(client, aside).await?;
                execute(client, action.clone(), &aside.take).await?;
                execute(client, "commit what is set aside".to_owned(), "COMMIT").await
            };
            match taken.await {
                Ok(()) => break,
                Err(error) => waits.after(&action, error).await?,
            }
        }
    }
    Ok(())
}

/// Puts back whatever is still away in the schema: indexes, then foreign keys. All are tried; the
/// first that failed is the error.
pub(super) async fn put_back(
    target: &Target,
    connections: usize,
    ledger: &Ledger,
    progress: &Arc<dyn Progress>,
) -> Result<(), LoadError> {
    let client = session(target).await?;
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
            let (queue, ledger, target) = (Arc::clone(&queue), ledger.clone(), target.clone());
            let progress = Arc::clone(progress);
            tasks.push(tokio::spawn(async move {
                let mut failure = None;
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(aside) = next else { return failure };
                    let place = Place { client: &client, target: &target, ledger: &ledger };
                    match place.put_back(&aside, &progress).await {
                        Ok(None) => progress.advance(Stage::Load, item, 1, 0),
                        Ok(Some(note)) => {
                            progress.note(Stage::Load, &note);
                            progress.advance(Stage::Load, item, 1, 0);
                        }
                        Err(error) => {
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

/// Where something is put back.
struct Place<'p> {
    client: &'p Client,
    target: &'p Target,
    ledger: &'p Ledger,
}

impl Place<'_> {
    /// Makes one again. A foreign key is made without a look at the rows, which takes a moment
    /// only, and then validated while others write.
    ///
    /// Rows of others that break it, written while it was away, leave it unvalidated, and the note
    /// says so. Rows of the load that break it are an error.
    async fn put_back(
        &self,
        aside: &Aside,
        progress: &Arc<dyn Progress>,
    ) -> Result<Option<String>, LoadError> {
        let Some(unvalidated) = aside.unvalidated() else {
            self.run(aside, &aside.make, true, progress).await?;
            return Ok(None);
        };
        let key = foreign_key(self.client, &self.ledger.schema, &aside.table, &aside.name).await?;
        if key.is_none() {
            let made = self.run(aside, &unvalidated, false, progress).await;
            // Partitioned tables of older servers have no foreign keys that are not validated.
            if let Err(error) = made {
                if !error.is(&[SqlState::FEATURE_NOT_SUPPORTED, SqlState::WRONG_OBJECT_TYPE]) {
                    return Err(error);
                }
                self.run(aside, &aside.make, true, progress).await?;
                return Ok(None);
            }
        }
        let validate = aside.validate(&self.ledger.schema);
        let Err(error) = self.run(aside, &validate, true, progress).await else { return Ok(None) };
        if !error.is(&[SqlState::FOREIGN_KEY_VIOLATION]) {
            return Err(error);
        }
        let Some(key) =
            foreign_key(self.client, &self.ledger.schema, &aside.table, &aside.name).await?
        else {
            return Err(error);
        };
        let ours = self.ledger.transactions(self.client, &aside.table).await?;
        let [own, others] = key.orphans(self.client, &ours).await?;
        if own > 0 {
            return Err(error);
        }
        Ok(Some(format!(
            "foreign key {} of {} is back, but not validated: {others} rows that others wrote \
             while it was away refer to no row of {}. Correct them, then load again, or run: \
             {validate}",
            aside.name, aside.table, key.target,
        )))
    }

    /// Runs a statement, in one transaction with the ledger where the thing is wholly back.
    async fn run(
        &self,
        aside: &Aside,
        sql: &str,
        back: bool,
        progress: &Arc<dyn Progress>,
    ) -> Result<(), LoadError> {
        let Self { client, target, ledger } = self;
        let action = format!("put {} {} back", aside.kind, aside.name);
        let mut waits = Waits::new(client, target, progress);
        loop {
            let made = async {
                execute(client, "begin".to_owned(), "BEGIN").await?;
                execute(client, action.clone(), sql).await?;
                if back {
                    ledger.back(client, aside).await?;
                }
                execute(client, format!("commit {} {}", aside.kind, aside.name), "COMMIT").await
            };
            match made.await {
                Ok(()) => return Ok(()),
                Err(error) => waits.after(&action, error).await?,
            }
        }
    }
}
