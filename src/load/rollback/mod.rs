//! Undoes a load from what the ledger says: in one transaction, or in several where the server has
//! too few locks for one.
//!
//! All tables are locked before they are looked at, so nothing that another transaction commits
//! meanwhile is undone unseen.

mod batches;
mod changes;
mod rows;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::forget::is_forgotten;
use super::ledger::{self, Ledger, Saved, TableEntry};
use super::waiting::{Waits, session};
use super::{LoadError, execute, others};
use crate::postgres::{
    Aside, PostgresError, Target, foreign_keys, qualified, quote_identifier, quote_literal,
    table_shape,
};
use crate::progress::{Progress, Stage};
use crate::staging::layout::LATEST;

/// Objects that use an enum type, or arrays of it.
const TYPE_USED: &str = "SELECT count(*) FROM pg_depend d JOIN pg_type t \
    ON t.oid = to_regtype($1) AND d.refobjid IN (t.oid, t.typarray) \
    WHERE d.refclassid = 'pg_type'::regclass AND d.deptype = 'n'";
/// Objects that use a function.
const FUNCTION_USED: &str = "SELECT count(*) FROM pg_depend d \
    WHERE d.refclassid = 'pg_proc'::regclass AND d.deptype = 'n' AND d.refobjid = to_regproc($1)";

/// Result of a rollback.
#[derive(Clone, Debug, Serialize)]
pub struct RollbackReport {
    /// `pipeline/run`.
    pub run: String,
    /// Target schema.
    pub schema: String,
    /// Whether it was only tried, and nothing changed.
    pub dry_run: bool,
    /// Tables, by name.
    pub tables: Vec<UndoneTable>,
    /// SQL files that were run with the load; what they did stays.
    pub hooks: Vec<String>,
    /// Results that somebody should know of: triggers that did not fire, foreign keys that rows
    /// of others break.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Result of undoing the load of one table.
#[derive(Clone, Debug, Serialize)]
pub struct UndoneTable {
    /// Table name.
    pub table: String,
    /// It was made by the load and is gone.
    pub dropped: bool,
    /// Rows of the load that are gone.
    pub deleted: u64,
    /// Rows that are as they were before.
    pub restored: u64,
}

/// Rows of a table whose last change is one of the load's transactions.
fn ours(entry: Option<&TableEntry>) -> String {
    let xids: Vec<String> =
        entry.map(|entry| &entry.xids).into_iter().flatten().map(i64::to_string).collect();
    if xids.is_empty() {
        return "false".to_owned();
    }
    format!("t.xmin::text::bigint = ANY ('{{{}}}'::bigint[])", xids.join(","))
}

/// The load that is meant by `pipeline/run`, a run's id, `pipeline/latest`, or `latest` where all
/// are of one pipeline.
pub(super) fn meant(found: &[Ledger], run: &str) -> Result<Ledger, LoadError> {
    let pipeline = |ledger: &Ledger| {
        let named = ledger.run.rsplit_once('/');
        named.map_or(ledger.run.clone(), |(pipeline, _)| pipeline.to_owned())
    };
    let names: BTreeSet<String> = match found {
        [] => return Err(LoadError::NotLoaded { run: run.to_owned() }),
        [ledger] => return Ok(ledger.clone()),
        [newest, others @ ..] if run == LATEST || run.ends_with("/latest") => {
            if others.iter().all(|other| pipeline(other) == pipeline(newest)) {
                return Ok(newest.clone());
            }
            found.iter().map(|ledger| format!("{}/{LATEST}", pipeline(ledger))).collect()
        }
        several => several.iter().map(|ledger| ledger.run.clone()).collect(),
    };
    Err(LoadError::Ambiguous { run: run.to_owned(), names: names.into_iter().collect() })
}

/// Undoes the load of a run, or with `dry_run` tries to and changes nothing.
///
/// With `force`, rows that were changed after the load are undone too. Rows of tables that the
/// load has nothing to do with are never changed.
pub async fn rollback(
    target: &Target,
    run: &str,
    (force, dry_run): (bool, bool),
    progress: &Arc<dyn Progress>,
) -> Result<RollbackReport, LoadError> {
    let client = session(target).await?;
    let ledger = meant(&ledger::find(&client, run).await?, run)?;
    let undoing = format!(
        "the load of run {} into schema {} of {} is to be undone",
        ledger.run,
        ledger.schema,
        target.display()
    );
    progress.note(Stage::Load, &undoing);
    ledger::lock(&client, &ledger.schema).await?;
    if ledger.saved(&client).await?.iter().any(is_forgotten) {
        return Err(LoadError::Forgotten { run: ledger.run });
    }
    let hooks = ledger.hooks(&client).await?;
    let work = Undo { client: &client, target, ledger: &ledger, force, dry_run, progress };
    let dropped = work.drop_in_batches().await?;
    let mut waits = Waits::new(&client, target, progress);
    let (mut tables, notes) = loop {
        match work.undo_the_rest(&dropped).await {
            Ok(undone) => break undone,
            Err(error) => waits.after("undo the load", error).await?,
        }
    };
    tables.extend(dropped);
    tables.sort_by(|left, right| left.table.cmp(&right.table));
    let Ledger { run, schema } = ledger.clone();
    Ok(RollbackReport { run, schema, dry_run, tables, hooks, notes })
}

/// A load to undo.
struct Undo<'u> {
    client: &'u Client,
    target: &'u Target,
    ledger: &'u Ledger,
    force: bool,
    dry_run: bool,
    progress: &'u Arc<dyn Progress>,
}

/// The load as the ledger describes it.
struct Loaded {
    /// Tables that it made.
    mine: Vec<String>,
    /// Tables of others that it changed, those that refer to others first.
    others: Vec<String>,
    entries: HashMap<String, TableEntry>,
    saved: Vec<Saved>,
}

impl Loaded {
    fn saved(&self, table: &str) -> Option<&Saved> {
        self.saved.iter().find(|saved| saved.table == table)
    }

    fn tables(&self) -> Vec<String> {
        self.mine.iter().chain(&self.others).cloned().collect()
    }

    /// A table of the load that is dropped.
    fn dropped(&self, table: &str) -> UndoneTable {
        let deleted = self.entries.get(table).map_or(0, |entry| entry.inserted);
        UndoneTable {
            table: table.to_owned(),
            dropped: true,
            deleted: deleted.unsigned_abs(),
            restored: 0,
        }
    }
}

impl Undo<'_> {
    async fn read(&self) -> Result<Loaded, LoadError> {
        let mine = self.ledger.created(self.client, "table").await?;
        let entries = self.ledger.tables(self.client).await?;
        let saved = self.ledger.saved(self.client).await?;
        let touched = entries.keys().chain(saved.iter().map(|saved| &saved.table));
        let others: BTreeSet<String> =
            touched.filter(|table| !mine.contains(table)).cloned().collect();
        let others = self.referring_first(others.into_iter().collect()).await?;
        Ok(Loaded { mine, others, entries, saved })
    }

    /// Tables before those that they refer to, as far as there are no cycles.
    async fn referring_first(&self, tables: Vec<String>) -> Result<Vec<String>, LoadError> {
        let rows = self
            .client
            .query(
                "SELECT DISTINCT r.relname::text, t.relname::text FROM pg_catalog.pg_constraint k \
                 JOIN pg_catalog.pg_class r ON r.oid = k.conrelid \
                 JOIN pg_catalog.pg_class t ON t.oid = k.confrelid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace AND n.oid = t.relnamespace \
                 WHERE k.contype = 'f' AND k.conrelid <> k.confrelid AND n.nspname = $1",
                &[&self.ledger.schema],
            )
            .await
            .map_err(|source| PostgresError::Statement {
                action: "read the foreign keys".to_owned(),
                source,
            })?;
        let edges: Vec<(String, String)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let (mut left, mut ordered) = (tables, Vec::new());
        while !left.is_empty() {
            let referred =
                |table: &String| edges.iter().any(|(from, to)| to == table && left.contains(from));
            let at = left.iter().position(|table| !referred(table)).unwrap_or(0);
            ordered.push(left.remove(at));
        }
        Ok(ordered)
    }

    async fn count(&self, action: &str, sql: &str) -> Result<i64, LoadError> {
        let row = self
            .client
            .query_one(sql, &[])
            .await
            .map_err(|source| PostgresError::Statement { action: action.to_owned(), source })?;
        Ok(row.get(0))
    }

    async fn run(&self, action: &str, sql: &str) -> Result<u64, LoadError> {
        self.client
            .execute(sql, &[])
            .await
            .map_err(|source| PostgresError::Statement { action: action.to_owned(), source }.into())
    }

    async fn execute(&self, action: &str, sql: &str) -> Result<(), LoadError> {
        execute(self.client, action.to_owned(), sql).await
    }

    /// Undoes everything in one transaction, besides the tables that are dropped already.
    async fn undo_the_rest(
        &self,
        dropped: &[UndoneTable],
    ) -> Result<(Vec<UndoneTable>, Vec<String>), LoadError> {
        self.execute("begin", "BEGIN").await?;
        let mut loaded = self.read().await?;
        // A rehearsal has dropped none of them.
        loaded.mine.retain(|table| dropped.iter().all(|dropped| dropped.table != *table));
        let schema = &self.ledger.schema;
        let [mine, others] = [self.there(&loaded.mine).await?, self.there(&loaded.others).await?];
        others::lock_in(self.client, schema, &mine, "ACCESS EXCLUSIVE").await?;
        others::lock(self.client, schema, &others).await?;
        let keys = self.take_keys(&others).await?;
        self.check(&loaded, &loaded.tables()).await?;
        let mut notes = Vec::new();
        let mut undone = self.undo_rows(&loaded, &others, &mut notes).await?;
        // What a load that was killed set aside and never put back.
        let away = self.ledger.aside(self.client).await?;
        for aside in keys.iter().chain(&away) {
            notes.extend(self.put_back(aside).await?);
        }
        for aside in &away {
            self.ledger.back(self.client, aside).await?;
        }
        undone.extend(loaded.mine.iter().map(|table| loaded.dropped(table)));
        self.drop_tables(&loaded.mine).await?;
        self.drop_the_rest(&loaded).await?;
        if self.dry_run {
            self.execute("give the rollback up", "ROLLBACK").await?;
        } else {
            self.ledger.forget(self.client).await?;
            self.execute("commit the rollback", "COMMIT").await?;
        }
        Ok((undone, notes))
    }

    /// Those of the tables that exist.
    async fn there(&self, tables: &[String]) -> Result<Vec<String>, LoadError> {
        let mut there = Vec::new();
        for table in tables {
            if table_shape(self.client, &self.ledger.schema, table).await?.is_some() {
                there.push(table.clone());
            }
        }
        Ok(there)
    }

    /// Takes the foreign keys of tables of others away for the rest of the transaction. Where a
    /// table belongs to another role they stay: rows are then deleted and put back in order.
    async fn take_keys(&self, tables: &[String]) -> Result<Vec<Aside>, LoadError> {
        let mut keys = Vec::new();
        for table in tables {
            let shape = table_shape(self.client, &self.ledger.schema, table).await?;
            if shape.is_some_and(|shape| shape.owned) {
                keys.extend(foreign_keys(self.client, &self.ledger.schema, table).await?);
            }
        }
        for key in &keys {
            self.execute(&format!("set foreign key {} aside", key.name), &key.take).await?;
        }
        Ok(keys)
    }

    /// Makes a foreign key or an index again. A foreign key that rows break comes back
    /// unvalidated, and the note says so: the rollback goes on.
    async fn put_back(&self, aside: &Aside) -> Result<Option<String>, LoadError> {
        let action = format!("put {} {} back", aside.kind, aside.name);
        let Some(unvalidated) = aside.unvalidated() else {
            self.execute(&action, &aside.make).await?;
            return Ok(None);
        };
        self.execute(&action, "SAVEPOINT put_back").await?;
        let made = self.execute(&action, &aside.make).await;
        let broken = [SqlState::FOREIGN_KEY_VIOLATION, SqlState::DUPLICATE_OBJECT];
        let Err(error) = made else {
            self.execute(&action, "RELEASE SAVEPOINT put_back").await?;
            return Ok(None);
        };
        if !error.is(&broken) {
            return Err(error);
        }
        self.execute(&action, "ROLLBACK TO SAVEPOINT put_back").await?;
        // One that is there already came back unvalidated at the end of the load.
        if error.is(&[SqlState::FOREIGN_KEY_VIOLATION]) {
            self.execute(&action, &unvalidated).await?;
        }
        Ok(Some(format!(
            "foreign key {} of {} is back, but not validated: rows that others wrote break it. \
             Correct them, then run: {}",
            aside.name,
            aside.table,
            aside.validate(&self.ledger.schema)
        )))
    }

    async fn drop_tables(&self, tables: &[String]) -> Result<(), LoadError> {
        if tables.is_empty() {
            return Ok(());
        }
        let names: Vec<String> =
            tables.iter().map(|table| qualified(&self.ledger.schema, table)).collect();
        let sql = format!("DROP TABLE IF EXISTS {}", names.join(", "));
        self.execute("drop the tables of the load", &sql).await
    }

    /// Drops types, functions, kept rows and the schema, and sets sequences back.
    async fn drop_the_rest(&self, loaded: &Loaded) -> Result<(), LoadError> {
        let schema = &self.ledger.schema;
        for (kind, drop, used) in [
            ("enum", "DROP TYPE IF EXISTS", TYPE_USED),
            ("function", "DROP FUNCTION IF EXISTS", FUNCTION_USED),
        ] {
            for name in self.ledger.created(self.client, kind).await? {
                let name = qualified(schema, &name);
                let sql = used.replace("$1", &quote_literal(&name));
                // Tables of another run may share it.
                if self.count(&format!("look for users of {name}"), &sql).await? == 0 {
                    self.execute(&format!("drop {kind} {name}"), &format!("{drop} {name}")).await?;
                }
            }
        }
        for saved in &loaded.saved {
            let sql = format!("DROP TABLE {}", qualified("docferry", &saved.place));
            self.execute("drop kept rows", &sql).await?;
        }
        self.set_sequences_back().await?;
        if !self.ledger.created(self.client, "schema").await?.is_empty() {
            let empty = format!(
                "SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass \
                 AND refobjid = to_regnamespace({})",
                quote_literal(&quote_identifier(schema))
            );
            if self.count("look into the schema", &empty).await? == 0 {
                let sql = format!("DROP SCHEMA {}", quote_identifier(schema));
                self.execute("drop the schema", &sql).await?;
            }
        }
        Ok(())
    }

    /// Sets sequences to where they were, but never below a value that a row holds now.
    async fn set_sequences_back(&self) -> Result<(), LoadError> {
        let action = "set the sequences back";
        let failed = |source| PostgresError::Statement { action: action.to_owned(), source };
        let rows = self
            .client
            .query(
                "SELECT q.sequence, q.last_value, q.is_called, n.nspname::text, c.relname::text, \
                        a.attname::text \
                 FROM docferry.sequences q \
                 LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_class'::regclass \
                      AND d.objid = q.sequence::regclass AND d.refclassid = 'pg_class'::regclass \
                      AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
                 LEFT JOIN pg_catalog.pg_class c ON c.oid = d.refobjid \
                 LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 LEFT JOIN pg_catalog.pg_attribute a \
                      ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
                 WHERE q.run = $1 AND q.schema_name = $2",
                &[&self.ledger.run, &self.ledger.schema],
            )
            .await
            .map_err(failed)?;
        for row in rows {
            let (sequence, last, called): (String, i64, bool) =
                (row.get(0), row.get(1), row.get(2));
            let held = match (row.get::<_, Option<&str>>(3), row.get::<_, Option<&str>>(4)) {
                (Some(schema), Some(table)) => format!(
                    "(SELECT max({})::bigint FROM {})",
                    quote_identifier(row.get::<_, Option<&str>>(5).unwrap_or_default()),
                    qualified(schema, table)
                ),
                _ => "NULL::bigint".to_owned(),
            };
            let sql = format!(
                "SELECT setval({}, greatest({last}, held), {called} OR coalesce(held >= {last}, false)) \
                 FROM (SELECT {held} AS held) t",
                quote_literal(&sequence),
            );
            self.execute(action, &sql).await?;
        }
        Ok(())
    }
}
