//! Undoes a load from what the ledger says, in one transaction.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use tokio_postgres::Client;

use super::forget::is_forgotten;
use super::ledger::{self, Ledger, Saved, TableEntry};
use super::{LoadError, execute};
use crate::postgres::{
    PostgresError, Target, foreign_keys, qualified, quote_identifier, quote_literal, table_shape,
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

/// What a rollback did.
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
}

/// What became of a table.
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
/// With `force`, rows that were changed after the load are undone too.
pub async fn rollback(
    target: &Target,
    run: &str,
    (force, dry_run): (bool, bool),
    progress: &Arc<dyn Progress>,
) -> Result<RollbackReport, LoadError> {
    let client = target.connect().await?;
    let ledger = meant(&ledger::find(&client, run).await?, run)?;
    let undoing = format!(
        "the load of run {} into schema {} of {} is to be undone",
        ledger.run,
        ledger.schema,
        target.display()
    );
    progress.note(Stage::Load, &undoing);
    ledger::lock(&client, &ledger.schema).await?;
    let undo = Undo {
        created: ledger.created(&client, "table").await?,
        entries: ledger.tables(&client).await?,
        saved: ledger.saved(&client).await?,
        client: &client,
        ledger: &ledger,
    };
    if undo.saved.iter().any(is_forgotten) {
        return Err(LoadError::Forgotten { run: ledger.run });
    }
    if !force {
        let changed = undo.changed().await?;
        if !changed.is_empty() {
            return Err(LoadError::ChangedSince { changes: changed });
        }
    }
    let hooks = ledger.hooks(&client).await?;
    execute(&client, "begin".to_owned(), "BEGIN").await?;
    let tables = undo.undo().await?;
    if dry_run {
        execute(&client, "give the rollback up".to_owned(), "ROLLBACK").await?;
    } else {
        ledger.forget(&client).await?;
        execute(&client, "commit the rollback".to_owned(), "COMMIT").await?;
    }
    let Ledger { run, schema } = ledger;
    Ok(RollbackReport { run, schema, dry_run, tables, hooks })
}

struct Undo<'u> {
    client: &'u Client,
    ledger: &'u Ledger,
    created: Vec<String>,
    entries: HashMap<String, TableEntry>,
    saved: Vec<Saved>,
}

impl Undo<'_> {
    /// Every table that the load touched, by name.
    fn tables(&self) -> Vec<String> {
        let mut tables: Vec<String> = self.entries.keys().cloned().collect();
        tables.extend(self.created.iter().cloned());
        tables.extend(self.saved.iter().map(|saved| saved.table.clone()));
        tables.sort();
        tables.dedup();
        tables
    }

    fn saved(&self, table: &str) -> Option<&Saved> {
        self.saved.iter().find(|saved| saved.table == table)
    }

    async fn count(&self, action: &str, sql: &str) -> Result<i64, LoadError> {
        let row = self
            .client
            .query_one(sql, &[])
            .await
            .map_err(|source| PostgresError::Statement { action: action.to_owned(), source })?;
        Ok(row.get(0))
    }

    async fn run(&self, action: String, sql: &str) -> Result<u64, LoadError> {
        self.client
            .execute(sql, &[])
            .await
            .map_err(|source| PostgresError::Statement { action, source }.into())
    }

    /// What others did to the rows of the load since.
    async fn changed(&self) -> Result<Vec<String>, LoadError> {
        let mut changes = Vec::new();
        for table in self.tables() {
            let action = format!("look for changes of {table}");
            let name = qualified(&self.ledger.schema, &table);
            if table_shape(self.client, &self.ledger.schema, &table).await?.is_none() {
                changes.push(format!("table {table} is not there any more"));
                continue;
            }
            let entry = self.entries.get(&table);
            let inserted = entry.map_or(0, |entry| entry.inserted);
            let ours = ours(entry);
            let kept = self.saved(&table).filter(|saved| saved.by.is_some());
            let there = if let Some(saved) = kept {
                let is_kept = joined(saved, "s", "t");
                let kept = qualified("docferry", &saved.place);
                let sql = format!(
                    "SELECT count(*) FROM {kept} s WHERE NOT EXISTS \
                     (SELECT 1 FROM {name} t WHERE {is_kept} AND {ours})"
                );
                let count = self.count(&action, &sql).await?;
                if count > 0 {
                    changes
                        .push(format!("{count} updated rows of {table} were changed or deleted"));
                }
                let sql = format!(
                    "SELECT count(*) FROM {name} t WHERE {ours} AND NOT EXISTS \
                     (SELECT 1 FROM {kept} s WHERE {is_kept})"
                );
                self.count(&action, &sql).await?
            } else {
                let sql = format!("SELECT count(*) FROM {name} t WHERE NOT ({ours})");
                let others = self.count(&action, &sql).await?;
                if others > 0 {
                    changes.push(format!("{others} rows of {table} were added or changed"));
                }
                self.count(&action, &format!("SELECT count(*) FROM {name} t WHERE {ours}")).await?
            };
            if there < inserted {
                let gone = inserted - there;
                changes.push(format!("{gone} loaded rows of {table} were changed or deleted"));
            }
        }
        Ok(changes)
    }

    async fn undo(&self) -> Result<Vec<UndoneTable>, LoadError> {
        let schema = &self.ledger.schema;
        let mut undone = Vec::new();
        let (mine, others): (Vec<String>, Vec<String>) =
            self.tables().into_iter().partition(|table| self.created.contains(table));
        // What a load that was killed set aside and never put back.
        let away = self.ledger.aside(self.client).await?;
        let mut keys = Vec::new();
        for table in &others {
            keys.extend(foreign_keys(self.client, schema, table).await?);
        }
        for key in &keys {
            execute(self.client, format!("set foreign key {} aside", key.name), &key.take).await?;
        }
        for table in &others {
            undone.push(self.undo_rows(table).await?);
        }
        for key in &keys {
            execute(self.client, format!("put foreign key {} back", key.name), &key.make).await?;
        }
        for aside in away {
            let action = format!("put {} {} back", aside.kind, aside.name);
            execute(self.client, action, &aside.make).await?;
            self.ledger.back(self.client, &aside).await?;
        }
        for table in &mine {
            let deleted = self.entries.get(table).map_or(0, |entry| entry.inserted);
            undone.push(UndoneTable {
                table: table.clone(),
                dropped: true,
                deleted: deleted.unsigned_abs(),
                restored: 0,
            });
        }
        if !mine.is_empty() {
            let names: Vec<String> = mine.iter().map(|table| qualified(schema, table)).collect();
            let sql = format!("DROP TABLE IF EXISTS {}", names.join(", "));
            execute(self.client, "drop the tables of the load".to_owned(), &sql).await?;
        }
        for (kind, drop, used) in [
            ("enum", "DROP TYPE IF EXISTS", TYPE_USED),
            ("function", "DROP FUNCTION IF EXISTS", FUNCTION_USED),
        ] {
            for name in self.ledger.created(self.client, kind).await? {
                let name = qualified(schema, &name);
                let action = format!("look for users of {name}");
                let sql = used.replace("$1", &quote_literal(&name));
                // Tables of another run may share it.
                if self.count(&action, &sql).await? == 0 {
                    execute(self.client, format!("drop {kind} {name}"), &format!("{drop} {name}"))
                        .await?;
                }
            }
        }
        for saved in &self.saved {
            let sql = format!("DROP TABLE {}", qualified("docferry", &saved.place));
            execute(self.client, "drop kept rows".to_owned(), &sql).await?;
        }
        let sequences = format!(
            "SELECT setval(sequence::regclass, last_value, is_called) FROM docferry.sequences \
             WHERE run = {} AND schema_name = {}",
            quote_literal(&self.ledger.run),
            quote_literal(schema)
        );
        execute(self.client, "set the sequences back".to_owned(), &sequences).await?;
        if !self.ledger.created(self.client, "schema").await?.is_empty() {
            let empty = format!(
                "SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass \
                 AND refobjid = to_regnamespace({})",
                quote_literal(&quote_identifier(schema))
            );
            if self.count("look into the schema", &empty).await? == 0 {
                let sql = format!("DROP SCHEMA {}", quote_identifier(schema));
                execute(self.client, "drop the schema".to_owned(), &sql).await?;
            }
        }
        undone.sort_by(|left, right| left.table.cmp(&right.table));
        Ok(undone)
    }

    /// Deletes what the load inserted into a table of others, and restores what it changed.
    async fn undo_rows(&self, table: &str) -> Result<UndoneTable, LoadError> {
        let name = qualified(&self.ledger.schema, table);
        let ours = ours(self.entries.get(table));
        let action = || format!("undo the rows of {table}");
        let (mut deleted, mut restored) = (0, 0);
        match self.saved(table) {
            None => {
                deleted +=
                    self.run(action(), &format!("DELETE FROM {name} t WHERE {ours}")).await?;
            }
            Some(saved) => {
                let kept = qualified("docferry", &saved.place);
                let delete = match &saved.by {
                    None => format!("DELETE FROM {name} t"),
                    Some(_) => format!(
                        "DELETE FROM {name} t WHERE {ours} OR EXISTS (SELECT 1 FROM {kept} s WHERE {})",
                        joined(saved, "s", "t")
                    ),
                };
                deleted += self.run(action(), &delete).await?;
                let shape = table_shape(self.client, &self.ledger.schema, table).await?;
                let columns: Vec<String> = shape
                    .iter()
                    .flat_map(|shape| &shape.columns)
                    .filter(|column| !column.generated)
                    .map(|column| quote_identifier(&column.name))
                    .collect();
                let list = columns.join(", ");
                // Triggers of the application would change what is put back.
                let owned = shape.is_some_and(|shape| shape.owned && !shape.triggers.is_empty());
                if owned {
                    let off = format!("ALTER TABLE {name} DISABLE TRIGGER USER");
                    execute(self.client, action(), &off).await?;
                }
                // Rows of an earlier run get a transaction of their own in its ledger, so that it
                // can be undone in its turn.
                let mut known = Vec::new();
                for (owner, xids) in self.ledger.others(self.client, table).await? {
                    let put = format!(
                        "WITH put AS (INSERT INTO {name} ({list}) OVERRIDING SYSTEM VALUE \
                         SELECT {list} FROM {kept} WHERE docferry_xmin = ANY ($1) \
                         RETURNING xmin::text::bigint AS xid) SELECT count(*), max(xid) FROM put"
                    );
                    execute(self.client, action(), "SAVEPOINT put_back").await?;
                    let row =
                        self.client.query_one(&put, &[&xids]).await.map_err(|source| {
                            PostgresError::Statement { action: action(), source }
                        })?;
                    execute(self.client, action(), "RELEASE SAVEPOINT put_back").await?;
                    restored += row.get::<_, i64>(0).unsigned_abs();
                    if let Some(xid) = row.get::<_, Option<i64>>(1) {
                        owner.record_put_back(self.client, table, xid).await?;
                    }
                    known.extend(xids);
                }
                let insert = format!(
                    "INSERT INTO {name} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {kept} \
                     WHERE docferry_xmin <> ALL ($1)"
                );
                restored += self
                    .client
                    .execute(&insert, &[&known])
                    .await
                    .map_err(|source| PostgresError::Statement { action: action(), source })?;
                if owned {
                    let on = format!("ALTER TABLE {name} ENABLE TRIGGER USER");
                    execute(self.client, action(), &on).await?;
                }
                if saved.by.is_some() {
                    deleted = deleted.saturating_sub(restored);
                }
            }
        }
        Ok(UndoneTable { table: table.to_owned(), dropped: false, deleted, restored })
    }
}

fn joined(saved: &Saved, left: &str, right: &str) -> String {
    let pairs = saved.by.iter().flatten().map(|column| {
        let column = quote_identifier(column);
        format!("{left}.{column} = {right}.{column}")
    });
    pairs.collect::<Vec<_>>().join(" AND ")
}
