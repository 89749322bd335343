//! Typed parts into PostgreSQL, into tables that docferry makes or that others own.
//!
//! Each part is one transaction together with its row in the ledger `docferry.loaded_parts`, so
//! that a repeated load never doubles a row. Whatever else changes is in the ledger too: a load
//! that was stopped goes on, and a rollback finds all it needs.

mod aside;
mod copy;
mod differences;
mod error;
mod forget;
mod hooks;
mod ledger;
mod left_out;
mod names;
mod others;
mod plan;
mod rollback;
mod undeclared;
mod upsert;
mod waiting;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use differences::Difference;
pub use error::LoadError;
pub use forget::{ForgetReport, ForgottenTable, forget};
pub use ledger::unfinished;
pub use left_out::LeftOut;
pub use plan::{LoadPlan, PlannedStep};
pub use rollback::{RollbackReport, UndoneTable, rollback};
use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::error::ErrorPosition;

use self::copy::{Work, load_part};
use self::hooks::{check_hooks, transaction};
use self::ledger::{Ledger, Loaded, Saved};
use self::plan::{Plan, decide};
use self::upsert::Kept;
use self::waiting::{Waits, session};
use crate::interrupt::unless_interrupted;
use crate::pgcopy::PgType;
use crate::postgres::ddl::{Statement, policy_statements};
use crate::postgres::dependents::own_rows;
use crate::postgres::ledger::keep_to_oneself;
use crate::postgres::rights::{make_schema, schema_exists};
use crate::postgres::{
    PostgresError, SEARCH_PATH, Target, enum_oids, path_for_own_sql, qualified, quote_identifier,
};
use crate::progress::{Progress, Stage, Total};
use crate::staging::checksum::sha256_hex;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{Hook, TableManifest, TransformManifest};
use crate::staging::table::TableDefinition;

/// Pauses before a load goes on after its server went away, in milliseconds.
const PAUSES: [u64; 8] = [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000];

/// Who makes the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Home {
    /// docferry makes them.
    #[default]
    Create,
    /// They are there: the application's migrations made them.
    Existing,
}

/// What becomes of rows that are there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// There may be none.
    #[default]
    Insert,
    /// Rows with the same key are changed, others stay.
    Upsert,
    /// They are deleted.
    Replace,
}

impl fmt::Display for Home {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Create => "create",
            Self::Existing => "existing",
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Insert => "insert",
            Self::Upsert => "upsert",
            Self::Replace => "replace",
        })
    }
}

/// How a load is done.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Connections that copy and build at the same time.
    pub connections: usize,
    /// Who makes the tables.
    pub home: Home,
    /// What becomes of rows that are there already.
    pub mode: Mode,
}

/// What a load did.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// Tables, in the order of the manifest.
    pub tables: Vec<LoadedTable>,
    /// What is otherwise in the database than in the staged files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
    /// Keys and indexes that PostgreSQL cannot hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// What became of a table.
#[derive(Clone, Debug, Serialize)]
pub struct LoadedTable {
    /// Table name.
    pub table: String,
    /// Rows that are there because of this run.
    pub rows: u64,
    /// Parts copied now.
    pub parts: usize,
    /// Parts that the ledger had already.
    pub skipped: usize,
}

/// What the attempts of a load share.
#[derive(Default)]
struct Attempts {
    /// The server was reached.
    connected: AtomicBool,
    /// Parts and statements that were finished.
    done: AtomicUsize,
}

/// Loads a run's transformed parts, or goes on with a load that was stopped. A server that goes
/// away is waited for.
pub async fn load(
    run: &RunDirectory,
    manifest: &TransformManifest,
    target: &Target,
    options: &LoadOptions,
    progress: &Arc<dyn Progress>,
) -> Result<LoadReport, LoadError> {
    check_hooks(manifest)?;
    let attempts = Arc::new(Attempts::default());
    let (mut tries, mut done) = (0, 0);
    loop {
        let job = Job { run, manifest, target, options, progress, attempts: &attempts };
        let error = match job.attempt().await {
            Ok(report) => return Ok(report),
            Err(error) => error,
        };
        let now = attempts.done.load(Ordering::Relaxed);
        if now > done {
            (tries, done) = (0, now);
        }
        // The session of a lost connection may hold its lock a little longer.
        let held = tries > 0 && matches!(error, LoadError::Locked { .. });
        let may_pass = error.may_pass() || error.is_lock() || held;
        if !attempts.connected.load(Ordering::Relaxed) || !may_pass {
            return Err(error);
        }
        let Some(pause) = PAUSES.get(tries).copied() else { return Err(error) };
        tries += 1;
        progress.note(Stage::Load, &format!("trying again: {error}"));
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// Says what a load would do.
pub async fn dry_run(
    run: &RunDirectory,
    manifest: &TransformManifest,
    target: &Target,
    options: &LoadOptions,
) -> Result<LoadPlan, LoadError> {
    check_hooks(manifest)?;
    let client = target.connect().await?;
    let plan = decide(&client, &ledger_of(run, manifest), manifest, options).await?;
    if plan.begun.is_none() {
        check_undeclared(&client, run, manifest, options).await?;
    }
    plan.describe(&client, manifest, options.mode).await
}

/// Fails where staged rows break foreign keys of the application that no pipeline file declares.
async fn check_undeclared(
    client: &Client,
    run: &RunDirectory,
    manifest: &TransformManifest,
    options: &LoadOptions,
) -> Result<(), LoadError> {
    if options.home != Home::Existing {
        return Ok(());
    }
    let orphans = undeclared::orphans(client, run, manifest, options).await?;
    if orphans.is_empty() { Ok(()) } else { Err(LoadError::Differs(orphans)) }
}

/// Looks whether a load of rows that are not staged yet could begin: whoever owns the tables, and
/// what is in them. `run` is one that is gone on with. Nothing is written.
pub async fn foresee(
    manifest: &TransformManifest,
    run: Option<&str>,
    target: &Target,
    options: &LoadOptions,
) -> Result<Vec<Difference>, LoadError> {
    let client = target.connect().await?;
    let run = format!("{}/{}", manifest.pipeline, run.unwrap_or("none"));
    let ledger = Ledger { run, schema: manifest.schema.clone() };
    Ok(decide(&client, &ledger, manifest, options).await?.differences)
}

fn ledger_of(run: &RunDirectory, manifest: &TransformManifest) -> Ledger {
    Ledger { run: format!("{}/{}", run.pipeline(), run.run()), schema: manifest.schema.clone() }
}

/// The table with the types in which its columns are sent: `json` takes the text that `jsonb` does,
/// without the version before it.
fn as_sent(definition: &TableDefinition, json: &[(String, String)]) -> TableDefinition {
    let mut sent = definition.clone();
    for column in &mut sent.columns {
        if json.iter().any(|(table, name)| *table == definition.name && *name == column.name) {
            column.pg_type = PgType::Text;
        }
    }
    sent
}

/// What the sessions of a load share.
struct Shared<'s> {
    run: &'s RunDirectory,
    target: &'s Target,
    progress: &'s Arc<dyn Progress>,
}

struct Job<'j> {
    run: &'j RunDirectory,
    manifest: &'j TransformManifest,
    target: &'j Target,
    options: &'j LoadOptions,
    progress: &'j Arc<dyn Progress>,
    attempts: &'j Arc<Attempts>,
}

impl Job<'_> {
    async fn attempt(&self) -> Result<LoadReport, LoadError> {
        let client = session(self.target).await?;
        self.attempts.connected.store(true, Ordering::Relaxed);
        let ledger = ledger_of(self.run, self.manifest);
        ledger::lock(&client, &ledger.schema).await?;
        // What a load that was killed left away is put back first: then all is seen as it is.
        if let Err(error) = self.put_back(&ledger).await
            && (error.may_pass() || ledger.loaded(&client).await?.is_none())
        {
            return Err(error);
        }
        let plan = decide(&client, &ledger, self.manifest, self.options).await?;
        if plan.begun.is_none() {
            check_undeclared(&client, self.run, self.manifest, self.options).await?;
        }
        for difference in &plan.differences {
            self.progress.note(Stage::Load, &difference.to_string());
        }
        ledger::create(&client).await?;
        if plan.begun.is_none() {
            let mut waits = Waits::new(&client, self.target, self.progress);
            while let Err(error) = self.begin(&client, &ledger, &plan).await {
                waits.after("begin the load", error).await?;
            }
        } else {
            ledger.reopen(&client).await?;
        }
        for statement in &plan.alter {
            execute(&client, "add a label".to_owned(), statement).await?;
        }
        aside::take(&client, self.target, &ledger, &plan.asides, self.progress).await?;
        let filled = self.fill(&client, &ledger, &plan).await;
        // Others own these tables: they get back what was theirs, whatever happened.
        let back = match &filled {
            Err(error) if error.may_pass() => Ok(()),
            _ => self.put_back(&ledger).await,
        };
        let filled = match (filled, back) {
            (Ok(left_out), Ok(())) => Ok(left_out),
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        let mut left_out = filled?;
        self.conclude(&client, &ledger, &plan, &mut left_out).await?;
        let skipped = |path: &String| plan.parts.contains_key(path);
        let tables = self.manifest.tables.iter().map(|table| {
            let skipped = table.parts.iter().filter(|part| skipped(&part.path)).count();
            LoadedTable {
                table: table.definition.name.clone(),
                rows: table.rows,
                parts: table.parts.len() - skipped,
                skipped,
            }
        });
        Ok(LoadReport { tables: tables.collect(), differences: plan.differences, left_out })
    }

    async fn put_back(&self, ledger: &Ledger) -> Result<(), LoadError> {
        aside::put_back(self.target, self.options.connections, ledger, self.progress).await
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.progress.interrupted() { Err(LoadError::Interrupted) } else { Ok(()) }
    }

    /// All rows, and the keys and indexes of the run's own tables, but for those that PostgreSQL
    /// cannot hold.
    async fn fill(
        &self,
        client: &Client,
        ledger: &Ledger,
        plan: &Plan,
    ) -> Result<Vec<LeftOut>, LoadError> {
        self.load_parts(client, ledger, plan).await?;
        let [keys, _] = plan.key_statements(client, self.manifest).await?;
        self.run_statements("keys and indexes", keys).await
    }

    /// What needs all rows and keys.
    async fn conclude(
        &self,
        client: &Client,
        ledger: &Ledger,
        plan: &Plan,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<(), LoadError> {
        let [_, mut foreign_keys] = plan.key_statements(client, self.manifest).await?;
        left_out::without_key(self.manifest, left_out, &mut foreign_keys);
        left_out.extend(self.run_statements("keys and indexes", foreign_keys).await?);
        for left in left_out.iter() {
            self.progress.note(Stage::Load, &left.to_string());
        }
        for sequence in &plan.sequences {
            if let Some(advance) = &sequence.advance {
                execute(client, format!("advance {}", sequence.name), advance).await?;
            }
        }
        for table in self.manifest.tables.iter().filter(|table| plan.is_own(table)) {
            for column in table.definition.columns.iter().filter(|column| column.identity) {
                let sql = plan::advance_identity(&table.definition, column);
                execute(client, format!("advance {}", column.name), &sql).await?;
            }
        }
        let ran = ledger.hooks(client).await?;
        for hook in self.manifest.after_load.iter().filter(|hook| !ran.contains(&hook.path)) {
            let mut waits = Waits::new(client, self.target, self.progress);
            while let Err(error) = self.after_load(client, ledger, hook).await {
                waits.after(&format!("run {}", hook.path), error).await?;
            }
        }
        let analyze = self.manifest.tables.iter().map(|table| Statement {
            table: table.definition.name.clone(),
            kind: "statistics of",
            name: table.definition.name.clone(),
            sql: format!("ANALYZE {}", qualified(&table.definition.schema, &table.definition.name)),
        });
        self.run_statements("statistics", analyze.collect()).await?;
        ledger.finish(client).await
    }

    /// Runs an SQL file, in one transaction with the ledger.
    async fn after_load(
        &self,
        client: &Client,
        ledger: &Ledger,
        hook: &Hook,
    ) -> Result<(), LoadError> {
        execute(client, "begin".to_owned(), "BEGIN").await?;
        run_hook(client, self.manifest, hook).await?;
        ledger.record_hook(client, &hook.path).await?;
        // Rows that it changed are rows of the load still.
        for table in &self.manifest.tables {
            ledger.record_change(client, &table.definition.name, &hook.path).await?;
        }
        execute(client, format!("commit {}", hook.path), "COMMIT").await
    }

    /// Makes tables, and the room for rows that must be kept, in one transaction with the run's
    /// entry in the ledger.
    async fn begin(&self, client: &Client, ledger: &Ledger, plan: &Plan) -> Result<(), LoadError> {
        execute(client, "begin".to_owned(), "BEGIN").await?;
        others::lock(client, &ledger.schema, &plan.replace).await?;
        others::check_replace(client, &ledger.schema, &plan.replace).await?;
        let (home, mode) = (self.options.home.to_string(), self.options.mode.to_string());
        ledger.start(client, &Loaded { home, mode }).await?;
        if !schema_exists(client, &ledger.schema).await? {
            ledger.create_object(client, "schema", &ledger.schema).await?;
        }
        for hook in &self.manifest.before_load {
            run_hook(client, self.manifest, hook).await?;
        }
        let path = path_for_own_sql(client, &ledger.schema).await?;
        let own = plan.own_definitions(self.manifest);
        // Nobody sees a row of another tenant at any moment: policies are there before rows are.
        for statement in plan.create.iter().chain(&policy_statements(&own)) {
            let action = format!("create {} {}", statement.kind, statement.name);
            let sql = format!("{path}; {}; {SEARCH_PATH}", statement.sql);
            execute(client, action, &sql).await?;
            if !["schema", "policy of"].contains(&statement.kind) {
                ledger.create_object(client, statement.kind, &statement.name).await?;
            }
        }
        // A hook may have taken a name meanwhile.
        names::check_objects(client, &plan.own_definitions(self.manifest)).await?;
        for sequence in plan.sequences.iter().map(|sequence| &sequence.name) {
            let sql = format!(
                "INSERT INTO docferry.sequences SELECT $1, $2, $3, last_value, is_called FROM {sequence}"
            );
            client.execute(&sql, &[&ledger.run, &ledger.schema, sequence]).await.map_err(
                |source| PostgresError::Statement {
                    action: format!("read sequence {sequence}"),
                    source,
                },
            )?;
        }
        for upsert in &plan.upsert {
            let (table, by) = (&upsert.table, &upsert.by);
            let saved = saved(ledger, table, Some(by.clone()));
            let (name, kept) =
                (qualified(&ledger.schema, table), qualified("docferry", &saved.place));
            let columns: Vec<String> = by.iter().map(|column| quote_identifier(column)).collect();
            let sql = format!(
                "CREATE TABLE {kept} AS SELECT 0::bigint AS docferry_xmin, * FROM {name} LIMIT 0; \
                 CREATE INDEX ON {kept} ({})",
                columns.join(", ")
            );
            execute(client, format!("make room for rows of {table}"), &sql).await?;
            ledger.save(client, &saved).await?;
        }
        for table in &plan.replace {
            let saved = saved(ledger, table, None);
            let kept = qualified("docferry", &saved.place);
            let sql = format!(
                "CREATE TABLE {kept} AS SELECT xmin::text::bigint AS docferry_xmin, * FROM {own}",
                own = own_rows(client, &ledger.schema, table).await?
            );
            execute(client, format!("keep the rows of {table}"), &sql).await?;
            ledger.save(client, &saved).await?;
        }
        // Rows of others are kept there.
        keep_to_oneself(client).await?;
        if !plan.replace.is_empty() {
            self.empty(client, ledger, plan).await?;
        }
        execute(client, "commit the beginning".to_owned(), "COMMIT").await
    }

    /// Deletes the rows of tables that are replaced, whatever points to what among them.
    async fn empty(&self, client: &Client, ledger: &Ledger, plan: &Plan) -> Result<(), LoadError> {
        let keys: Vec<_> = plan.asides.iter().filter(|aside| aside.kind == "foreign key").collect();
        for key in &keys {
            execute(client, format!("set foreign key {} aside", key.name), &key.take).await?;
        }
        // Rows that refer to others go before these.
        let ordered = in_order(self.manifest.tables.iter().collect());
        let ordered = ordered.iter().map(|table| &table.definition.name).rev();
        for table in ordered.filter(|table| plan.replace.contains(table)) {
            let own = own_rows(client, &ledger.schema, table).await?;
            execute(client, format!("empty {table}"), &format!("DELETE FROM {own}")).await?;
        }
        for key in &keys {
            execute(client, format!("put foreign key {} back", key.name), &key.make).await?;
        }
        Ok(())
    }

    async fn load_parts(
        &self,
        client: &Client,
        ledger: &Ledger,
        plan: &Plan,
    ) -> Result<(), LoadError> {
        let mut tables: Vec<_> = self.manifest.tables.iter().collect();
        if plan.free_order {
            // The largest first, so that no connection is left with it at the end.
            tables.sort_by_key(|table| {
                std::cmp::Reverse(table.parts.iter().map(|part| part.bytes).sum::<u64>())
            });
        } else {
            tables = in_order(tables);
        }
        let expected =
            tables.iter().map(|table| (table.definition.name.clone(), Total::Records(table.rows)));
        self.progress.expect(Stage::Load, &expected.collect::<Vec<_>>());
        let saved = ledger.saved(client).await?;
        let mut queue = VecDeque::new();
        for table in tables {
            let definition = Arc::new(as_sent(&table.definition, &plan.json));
            self.progress.start(Stage::Load, &definition.name, Total::Records(table.rows));
            let kept = saved.iter().find(|kept| kept.table == definition.name && kept.by.is_some());
            let kept = kept.map(|kept| {
                let upsert = plan.upsert.iter().find(|upsert| upsert.table == definition.name);
                let references = upsert.map(|upsert| upsert.references.clone());
                let references = references.unwrap_or_default();
                Arc::new(Kept { place: kept.place.clone(), references })
            });
            for part in &table.parts {
                match plan.parts.get(&part.path) {
                    None => queue.push_back(Work {
                        definition: Arc::clone(&definition),
                        part: part.clone(),
                        kept: kept.clone(),
                    }),
                    Some(sha256) if *sha256 == part.sha256 => {
                        self.progress.advance(Stage::Load, &definition.name, part.rows, part.bytes);
                    }
                    Some(_) => return Err(LoadError::OtherPart { part: part.path.clone() }),
                }
            }
        }
        if !queue.is_empty() && saved.iter().any(forget::is_forgotten) {
            return Err(LoadError::Forgotten { run: ledger.run.clone() });
        }
        let oids = Arc::new(enum_oids(client, &ledger.schema).await?);
        let queue = Arc::new(Mutex::new(queue));
        let connections = if plan.free_order { self.options.connections.max(1) } else { 1 };
        let mut tasks = Vec::new();
        for _ in 0..connections {
            let client = session(self.target).await?;
            let target = self.target.clone();
            let (run, ledger, queue) = (self.run.clone(), ledger.clone(), Arc::clone(&queue));
            let (oids, progress) = (Arc::clone(&oids), Arc::clone(self.progress));
            let attempts = Arc::clone(self.attempts);
            tasks.push(tokio::spawn(async move {
                let shared = Shared { run: &run, target: &target, progress: &progress };
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(work) = next else { return Ok::<(), LoadError>(()) };
                    if progress.interrupted() {
                        return Err(LoadError::Interrupted);
                    }
                    let rows = load_part(&client, &shared, &ledger, &work, &oids).await?;
                    attempts.done.fetch_add(1, Ordering::Relaxed);
                    let (name, bytes) = (&work.definition.name, work.part.bytes);
                    progress.advance(Stage::Load, name, rows, bytes);
                }
            }));
        }
        join(tasks).await?;
        for table in &self.manifest.tables {
            self.progress.finish(Stage::Load, &table.definition.name);
        }
        Ok(())
    }

    /// Statements that do not depend on one another, over all connections.
    async fn run_statements(
        &self,
        item: &'static str,
        statements: Vec<Statement>,
    ) -> Result<Vec<LeftOut>, LoadError> {
        self.check()?;
        self.progress.start(Stage::Load, item, Total::Records(statements.len() as u64));
        let queue = Arc::new(Mutex::new(VecDeque::from(statements)));
        let left_out = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for _ in 0..self.options.connections.max(1) {
            let client = session_for_indexes(self.target).await?;
            let path = path_for_own_sql(&client, &self.manifest.schema).await?;
            execute(&client, "choose the search path".to_owned(), &path).await?;
            let target = self.target.clone();
            let (queue, progress) = (Arc::clone(&queue), Arc::clone(self.progress));
            let (attempts, left_out) = (Arc::clone(self.attempts), Arc::clone(&left_out));
            let schema = self.manifest.schema.clone();
            tasks.push(tokio::spawn(async move {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(statement) = next else { return Ok::<(), LoadError>(()) };
                    if progress.interrupted() {
                        return Err(LoadError::Interrupted);
                    }
                    // Foreign keys lock both tables, and two of them each other.
                    let action = format!("create {} {}", statement.kind, statement.name);
                    let mut waits = Waits::new(&client, &target, &progress);
                    loop {
                        // The server ends the statement once its client is gone.
                        let made = execute(&client, action.clone(), &statement.sql);
                        match unless_interrupted(made).await {
                            None => return Err(LoadError::Interrupted),
                            Some(Ok(())) => break,
                            Some(Err(error)) => {
                                match left_out::of(&client, &schema, &statement, &error).await {
                                    None => waits.after(&action, error).await?,
                                    Some(left) => {
                                        let mut list =
                                            left_out.lock().unwrap_or_else(PoisonError::into_inner);
                                        list.push(left);
                                        break;
                                    }
                                }
                            }
                        }
                    }
                    attempts.done.fetch_add(1, Ordering::Relaxed);
                    progress.advance(Stage::Load, item, 1, 0);
                }
            }));
        }
        join(tasks).await?;
        self.progress.finish(Stage::Load, item);
        let mut left_out =
            std::mem::take(&mut *left_out.lock().unwrap_or_else(PoisonError::into_inner));
        left_out.sort();
        Ok(left_out)
    }
}

/// Waits for all, so that what is in hand is kept when one fails.
async fn join(tasks: Vec<tokio::task::JoinHandle<Result<(), LoadError>>>) -> Result<(), LoadError> {
    let mut failure = None;
    for task in tasks {
        if let Err(error) = task.await.map_err(LoadError::Worker)? {
            failure.get_or_insert(error);
        }
    }
    failure.map_or(Ok(()), Err)
}

/// Where rows of a table are kept for a rollback.
fn saved(ledger: &Ledger, table: &str, by: Option<Vec<String>>) -> Saved {
    Saved { table: table.to_owned(), place: place_of(ledger, table), by }
}

/// Name of the table of schema docferry that keeps rows of a table.
fn place_of(ledger: &Ledger, table: &str) -> String {
    let name = format!("{}\0{}\0{table}", ledger.run, ledger.schema);
    format!("saved_{}", &sha256_hex(name.as_bytes())[..16])
}

/// Tables after those that they refer to, as far as there are no cycles.
fn in_order(tables: Vec<&TableManifest>) -> Vec<&TableManifest> {
    let mut ordered: Vec<&TableManifest> = Vec::new();
    let mut left = tables;
    while !left.is_empty() {
        let waits = |table: &TableManifest| {
            table.definition.foreign_keys.iter().any(|key| {
                key.references_table != table.definition.name
                    && left.iter().any(|other| other.definition.name == key.references_table)
            })
        };
        let at = left.iter().position(|table| !waits(table)).unwrap_or(0);
        ordered.push(left.remove(at));
    }
    ordered
}

async fn session_for_indexes(target: &Target) -> Result<Client, LoadError> {
    let client = session(target).await?;
    execute(&client, "raise the memory".to_owned(), "SET maintenance_work_mem = '256MB'").await?;
    Ok(client)
}

async fn execute(client: &Client, action: String, sql: &str) -> Result<(), LoadError> {
    client
        .batch_execute(sql)
        .await
        .map_err(|source| LoadError::Postgres(PostgresError::Statement { action, source }))
}

/// Runs an SQL file of the pipeline in the target schema; an error names its line.
async fn run_hook(
    client: &Client,
    manifest: &TransformManifest,
    hook: &Hook,
) -> Result<(), LoadError> {
    let schema = quote_identifier(&manifest.schema);
    make_schema(client, &manifest.schema).await?;
    let prepare = format!("SET LOCAL search_path TO {schema}, public");
    execute(client, format!("prepare for {}", hook.path), &prepare).await?;
    execute(client, format!("begin {}", hook.path), "SELECT txid_current()").await?;
    let begun = transaction(client, &hook.path).await?;
    let ran = client.batch_execute(&hook.sql).await;
    ran.map_err(|source| {
        let position = match source.as_db_error().and_then(|answer| answer.position()) {
            Some(ErrorPosition::Original(position)) => usize::try_from(*position).ok(),
            _ => None,
        };
        let line = position.map(|position| {
            let before = hook.sql.chars().take(position.saturating_sub(1));
            1 + before.filter(|character| *character == '\n').count()
        });
        let action = match line {
            Some(line) => format!("run {}, line {line}", hook.path),
            None => format!("run {}", hook.path),
        };
        LoadError::Postgres(PostgresError::Statement { action, source })
    })?;
    // A setting can change how the server reads what follows.
    if transaction(client, &hook.path).await? != begun {
        return Err(LoadError::HookEnded { path: hook.path.clone() });
    }
    // What docferry says next is found in its own search path again.
    execute(client, format!("go on after {}", hook.path), SEARCH_PATH).await
}
