//! Many tables: one transaction that drops them all needs more locks than a server has by default
//! (a few for each table, index and large-value table), so they are dropped some at a time. The
//! ledger forgets each with its transaction: a rollback that was stopped goes on from there.

use super::{Loaded, Undo, UndoneTable};
use crate::load::waiting::Waits;
use crate::load::{LoadError, others};
use crate::postgres::{PostgresError, foreign_keys, quote_literal};
use crate::progress::Stage;

/// Locks that dropping a table takes: one for it, one for each index, two for large values, one
/// for each sequence of its columns, and the same for its partitions.
const LOCKS: &str = "WITH RECURSIVE tree (root, oid) AS ( \
        SELECT c.relname::text, c.oid FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relname = ANY ($2) \
        UNION ALL \
        SELECT root, i.inhrelid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid) \
    SELECT root, sum(1 + CASE WHEN c.reltoastrelid <> 0 THEN 2 ELSE 0 END \
        + (SELECT count(*) FROM pg_catalog.pg_index WHERE indrelid = tree.oid) \
        + (SELECT count(*) FROM pg_catalog.pg_depend WHERE refobjid = tree.oid \
           AND refclassid = 'pg_class'::regclass AND classid = 'pg_class'::regclass \
           AND deptype IN ('a', 'i') AND refobjsubid > 0))::bigint \
    FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid GROUP BY root";
/// Locks that the server has room for, and those that are held now.
const ROOM: &str = "SELECT (SELECT setting::bigint FROM pg_settings WHERE name = 'max_locks_per_transaction') \
    * (SELECT sum(setting::bigint)::bigint FROM pg_settings \
       WHERE name IN ('max_connections', 'max_prepared_transactions')), \
    (SELECT count(*) FROM pg_locks)";

impl Undo<'_> {
    /// Drops the tables that the load made, where they are too many for one transaction; those
    /// that were dropped.
    pub(super) async fn drop_in_batches(&self) -> Result<Vec<UndoneTable>, LoadError> {
        let loaded = self.read().await?;
        let there = self.there(&loaded.mine).await?;
        let failed = |source| PostgresError::Statement {
            action: "count the locks of a rollback".to_owned(),
            source,
        };
        let rows = self.client.query(LOCKS, &[&self.ledger.schema, &there]).await;
        let locks: Vec<(String, i64)> =
            rows.map_err(failed)?.iter().map(|row| (row.get(0), row.get(1))).collect();
        let row = self.client.query_one(ROOM, &[]).await.map_err(failed)?;
        let (room, held): (i64, i64) = (row.get(0), row.get(1));
        let needed: i64 = locks.iter().map(|(_, locks)| locks).sum();
        let free = (room - held).max(0);
        if needed * 5 <= free * 4 {
            return Ok(Vec::new());
        }
        self.progress.note(
            Stage::Load,
            &format!(
                "{} tables are dropped in several transactions: one would need {needed} locks, and \
                 the server has room for {free} (max_locks_per_transaction)",
                there.len()
            ),
        );
        // What hinders a later table is to be known before the first is gone.
        self.check(&loaded, &loaded.tables()).await?;
        if self.dry_run {
            return Ok(there.iter().map(|table| loaded.dropped(table)).collect());
        }
        let batches = batches(&locks, free / 4);
        for batch in &batches {
            self.patiently(async || self.drop_keys(batch).await).await?;
        }
        for batch in &batches {
            self.patiently(async || self.drop_batch(&loaded, batch).await).await?;
        }
        Ok(there.iter().map(|table| loaded.dropped(table)).collect())
    }

    async fn patiently(
        &self,
        work: impl AsyncFn() -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let mut waits = Waits::new(self.client, self.target, self.progress);
        while let Err(error) = work().await {
            waits.after("drop tables of the load", error).await?;
        }
        if self.progress.interrupted() { Err(LoadError::Interrupted) } else { Ok(()) }
    }

    /// Drops the foreign keys of some tables, which hinder the drop of those that they refer to.
    async fn drop_keys(&self, batch: &[String]) -> Result<(), LoadError> {
        self.execute("begin", "BEGIN").await?;
        for table in batch {
            for key in foreign_keys(self.client, &self.ledger.schema, table).await? {
                self.execute(&format!("drop foreign key {}", key.name), &key.take).await?;
            }
        }
        self.execute("commit", "COMMIT").await
    }

    async fn drop_batch(&self, loaded: &Loaded, batch: &[String]) -> Result<(), LoadError> {
        self.execute("begin", "BEGIN").await?;
        others::lock_in(self.client, &self.ledger.schema, batch, "ACCESS EXCLUSIVE").await?;
        self.check(loaded, batch).await?;
        self.drop_tables(batch).await?;
        for table in batch {
            for (ledger, and) in [
                ("created_objects", format!("kind = 'table' AND name = {}", quote_literal(table))),
                ("loaded_parts", format!("table_name = {}", quote_literal(table))),
            ] {
                let sql = format!(
                    "DELETE FROM docferry.{ledger} WHERE run = {} AND schema_name = {} AND {and}",
                    quote_literal(&self.ledger.run),
                    quote_literal(&self.ledger.schema)
                );
                self.execute("note that a table is gone", &sql).await?;
            }
        }
        self.execute("commit", "COMMIT").await
    }
}

/// Tables in groups that need no more locks than this each, at least one.
fn batches(locks: &[(String, i64)], most: i64) -> Vec<Vec<String>> {
    let mut batches: Vec<Vec<String>> = Vec::new();
    let mut held = i64::MAX;
    for (table, locks) in locks {
        if held.saturating_add(*locks) > most {
            batches.push(Vec::new());
            held = 0;
        }
        held += locks;
        if let Some(batch) = batches.last_mut() {
            batch.push(table.clone());
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::batches;

    #[test]
    fn batches_hold_every_table_once_and_no_more_locks_than_may_be() {
        let tables = |locks: &[i64]| -> Vec<(String, i64)> {
            locks.iter().enumerate().map(|(at, locks)| (at.to_string(), *locks)).collect()
        };
        assert_eq!(batches(&tables(&[]), 5), Vec::<Vec<String>>::new());
        assert_eq!(
            batches(&tables(&[2, 3, 1, 9, 1]), 5),
            [vec!["0", "1"], vec!["2"], vec!["3"], vec!["4"]]
        );
    }
}
