//! The ledger in the target database: which run made, loaded, changed and set aside what. All that
//! a repeated load or a rollback needs is here, not in the staging directory.

use std::collections::HashMap;
use std::time::Duration;

use tokio_postgres::Client;

use super::LoadError;
use super::forget::is_forgotten;
use crate::postgres::ledger::{LEDGER_SCHEMA, has_ledger, keep_to_oneself};
use crate::postgres::rights::make_schema;
use crate::postgres::{Aside, PostgresError, Target};
use crate::staging::part::PartFile;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS docferry.runs (
    run text NOT NULL, schema_name text NOT NULL, home text NOT NULL, mode text NOT NULL,
    tool_version text NOT NULL, started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz, PRIMARY KEY (run, schema_name));
CREATE TABLE IF NOT EXISTS docferry.created_objects (
    run text NOT NULL, schema_name text NOT NULL, position bigserial, kind text NOT NULL,
    name text NOT NULL, PRIMARY KEY (run, schema_name, kind, name));
CREATE TABLE IF NOT EXISTS docferry.ran_hooks (
    run text NOT NULL, schema_name text NOT NULL, path text NOT NULL,
    ran_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run, schema_name, path));
CREATE TABLE IF NOT EXISTS docferry.loaded_parts (
    run text NOT NULL, schema_name text NOT NULL, table_name text NOT NULL, part text NOT NULL,
    sha256 text NOT NULL, rows bigint NOT NULL, inserted bigint NOT NULL, xid bigint NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (run, schema_name, table_name, part));
CREATE TABLE IF NOT EXISTS docferry.saved_rows (
    run text NOT NULL, schema_name text NOT NULL, table_name text NOT NULL,
    saved_in text NOT NULL, by_columns text[], PRIMARY KEY (run, schema_name, table_name));
CREATE TABLE IF NOT EXISTS docferry.set_aside (
    run text NOT NULL, schema_name text NOT NULL, table_name text NOT NULL, kind text NOT NULL,
    name text NOT NULL, make text NOT NULL, position bigserial,
    PRIMARY KEY (schema_name, table_name, kind, name));
CREATE TABLE IF NOT EXISTS docferry.sequences (
    run text NOT NULL, schema_name text NOT NULL, sequence text NOT NULL,
    last_value bigint NOT NULL, is_called boolean NOT NULL,
    PRIMARY KEY (run, schema_name, sequence))";

const TABLE_NAMES: [&str; 7] = [
    "runs",
    "created_objects",
    "ran_hooks",
    "loaded_parts",
    "saved_rows",
    "set_aside",
    "sequences",
];

/// The run of a pipeline in one schema.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    /// `pipeline/run`: two pipelines may begin a run in the same second.
    pub(super) run: String,
    pub(super) schema: String,
}

/// How a run was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loaded {
    pub(super) home: String,
    pub(super) mode: String,
}

/// A table whose earlier rows are kept.
pub(super) struct Saved {
    pub(super) table: String,
    /// Table of schema docferry that holds them.
    pub(super) place: String,
    /// Columns that find a changed row; none when the table was replaced as a whole.
    pub(super) by: Option<Vec<String>>,
}

/// What the ledger says of a table's rows.
#[derive(Default)]
pub(super) struct TableEntry {
    pub(super) inserted: i64,
    pub(super) xids: Vec<i64>,
}

fn failed(action: &str) -> impl FnOnce(tokio_postgres::Error) -> LoadError {
    let action = action.to_owned();
    move |source| PostgresError::Statement { action, source }.into()
}

/// Whether the database has a ledger; an error where others could have written in it.
pub(super) async fn exists(client: &Client) -> Result<bool, LoadError> {
    Ok(has_ledger(client).await?)
}

/// Pauses before the lock is asked for again, in milliseconds: the server needs a moment to see
/// that the process which held it is gone.
const LOCK_PAUSES: [u64; 6] = [100, 200, 400, 800, 1500, 2000];

/// Keeps two loads into one schema apart for as long as the session lasts.
pub(super) async fn lock(client: &Client, schema: &str) -> Result<(), LoadError> {
    let name = format!("docferry:{schema}");
    let mut pauses = LOCK_PAUSES.iter();
    loop {
        let taken = client
            .query_one("SELECT pg_catalog.pg_try_advisory_lock(pg_catalog.hashtextextended($1, 0::bigint))", &[&name])
            .await
            .map_err(failed("take the lock"))?
            .get::<_, bool>(0);
        if taken {
            return Ok(());
        }
        let Some(pause) = pauses.next() else {
            return Err(LoadError::Locked { schema: schema.to_owned() });
        };
        tokio::time::sleep(Duration::from_millis(*pause)).await;
    }
}

/// Makes the ledger where there is none.
pub(super) async fn create(client: &Client) -> Result<(), LoadError> {
    if exists(client).await? {
        return Ok(());
    }
    make_schema(client, LEDGER_SCHEMA).await?;
    client.batch_execute(TABLES).await.map_err(failed("create the ledger"))?;
    Ok(keep_to_oneself(client).await?)
}

/// Runs of a pipeline whose load into a database was begun and is not finished; the newest first.
pub async fn unfinished(target: &Target, pipeline: &str) -> Result<Vec<String>, LoadError> {
    let client = target.connect().await?;
    if !exists(&client).await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT run FROM docferry.runs WHERE finished_at IS NULL ORDER BY started_at DESC";
    let rows = client.query(sql, &[]).await.map_err(failed("read the ledger"))?;
    let id = |run: &str| Some(run.strip_prefix(pipeline)?.strip_prefix('/')?.to_owned());
    Ok(rows.iter().filter_map(|row| id(row.get(0))).collect())
}

/// Runs whose id, or whose pipeline and id, is given; the newest first. `latest` is any, and
/// `pipeline/latest` any of that pipeline.
pub(super) async fn find(client: &Client, run: &str) -> Result<Vec<Ledger>, LoadError> {
    if !exists(client).await? {
        return Ok(Vec::new());
    }
    let rows = client
        .query(
            "SELECT run, schema_name FROM docferry.runs \
             WHERE $1 = 'latest' OR run = $1 OR split_part(run, '/', 2) = $1 \
             OR left(run, greatest(length(run) - 17, 0)) || '/latest' = $1 \
             ORDER BY started_at DESC",
            &[&run],
        )
        .await
        .map_err(failed("read the ledger"))?;
    Ok(rows.iter().map(|row| Ledger { run: row.get(0), schema: row.get(1) }).collect())
}

impl Ledger {
    /// How the run was loaded; none when it was not.
    pub(super) async fn loaded(&self, client: &Client) -> Result<Option<Loaded>, LoadError> {
        if !exists(client).await? {
            return Ok(None);
        }
        let row = client
            .query_opt(
                "SELECT home, mode FROM docferry.runs WHERE run = $1 AND schema_name = $2",
                &[&self.run, &self.schema],
            )
            .await
            .map_err(failed("read the ledger"))?;
        Ok(row.map(|row| Loaded { home: row.get(0), mode: row.get(1) }))
    }

    /// Records the run; in the transaction that makes its tables.
    pub(super) async fn start(&self, client: &Client, loaded: &Loaded) -> Result<(), LoadError> {
        client
            .execute(
                "INSERT INTO docferry.runs (run, schema_name, home, mode, tool_version) \
                 VALUES ($1, $2, $3, $4, $5)",
                &[&self.run, &self.schema, &loaded.home, &loaded.mode, &env!("CARGO_PKG_VERSION")],
            )
            .await
            .map_err(failed("record the run"))?;
        Ok(())
    }

    /// Records that the run's load goes on: it has not ended until it ends again.
    pub(super) async fn reopen(&self, client: &Client) -> Result<(), LoadError> {
        client
            .execute(
                "UPDATE docferry.runs SET finished_at = NULL WHERE run = $1 AND schema_name = $2",
                &[&self.run, &self.schema],
            )
            .await
            .map_err(failed("record the run"))?;
        Ok(())
    }

    /// Records the end of the run's load.
    pub(super) async fn finish(&self, client: &Client) -> Result<(), LoadError> {
        client
            .execute(
                "UPDATE docferry.runs SET finished_at = now() WHERE run = $1 AND schema_name = $2",
                &[&self.run, &self.schema],
            )
            .await
            .map_err(failed("record the end"))?;
        Ok(())
    }

    /// Names of what the run made, of one kind, in order.
    pub(super) async fn created(
        &self,
        client: &Client,
        kind: &str,
    ) -> Result<Vec<String>, LoadError> {
        self.texts(
            client,
            "SELECT name FROM docferry.created_objects \
             WHERE run = $1 AND schema_name = $2 AND kind = $3 ORDER BY position",
            Some(kind),
        )
        .await
    }

    /// Records something that the run makes; in the transaction that makes it.
    pub(super) async fn create_object(
        &self,
        client: &Client,
        kind: &str,
        name: &str,
    ) -> Result<(), LoadError> {
        client
            .execute(
                "INSERT INTO docferry.created_objects (run, schema_name, kind, name) \
                 VALUES ($1, $2, $3, $4)",
                &[&self.run, &self.schema, &kind, &name],
            )
            .await
            .map_err(failed("record a new object"))?;
        Ok(())
    }

    /// SQL files that were run.
    pub(super) async fn hooks(&self, client: &Client) -> Result<Vec<String>, LoadError> {
        self.texts(
            client,
            "SELECT path FROM docferry.ran_hooks WHERE run = $1 AND schema_name = $2",
            None,
        )
        .await
    }

    /// Records an SQL file; in the transaction that runs it.
    pub(super) async fn record_hook(&self, client: &Client, path: &str) -> Result<(), LoadError> {
        let sql = "INSERT INTO docferry.ran_hooks (run, schema_name, path) VALUES ($1, $2, $3)";
        client
            .execute(sql, &[&self.run, &self.schema, &path])
            .await
            .map_err(failed("record a hook"))?;
        Ok(())
    }

    async fn texts(
        &self,
        client: &Client,
        sql: &str,
        third: Option<&str>,
    ) -> Result<Vec<String>, LoadError> {
        let rows = match third {
            Some(third) => client.query(sql, &[&self.run, &self.schema, &third]).await,
            None => client.query(sql, &[&self.run, &self.schema]).await,
        };
        Ok(rows.map_err(failed("read the ledger"))?.iter().map(|row| row.get(0)).collect())
    }

    /// Parts of the run that are loaded: path to SHA-256.
    pub(super) async fn parts(
        &self,
        client: &Client,
    ) -> Result<HashMap<String, String>, LoadError> {
        if !exists(client).await? {
            return Ok(HashMap::new());
        }
        let rows = client
            .query(
                "SELECT part, sha256 FROM docferry.loaded_parts WHERE run = $1 AND schema_name = $2",
                &[&self.run, &self.schema],
            )
            .await
            .map_err(failed("read the ledger"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// Records a part; in the transaction that loads it, whose rows are known by its number.
    pub(super) async fn record_part(
        &self,
        client: &Client,
        table: &str,
        part: &PartFile,
        inserted: i64,
    ) -> Result<(), LoadError> {
        let rows = i64::try_from(part.rows).unwrap_or(i64::MAX);
        client
            .execute(
                "INSERT INTO docferry.loaded_parts \
                 (run, schema_name, table_name, part, sha256, rows, inserted, xid) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, txid_current() & 4294967295)",
                &[&self.run, &self.schema, &table, &part.path, &part.sha256, &rows, &inserted],
            )
            .await
            .map_err(failed("record a part"))?;
        Ok(())
    }

    /// Records rows of a part that is not loaded as a whole yet; in the transaction that loads
    /// them.
    pub(super) async fn record_piece(
        &self,
        client: &Client,
        table: &str,
        part: &PartFile,
        inserted: i64,
    ) -> Result<(), LoadError> {
        client
            .execute(
                "INSERT INTO docferry.loaded_parts \
                 (run, schema_name, table_name, part, sha256, rows, inserted, xid) \
                 SELECT $1, $2, $3, $4::text || ' in transaction ' || xid, '', 0, $5, xid \
                 FROM (SELECT txid_current() & 4294967295 AS xid) t",
                &[&self.run, &self.schema, &table, &part.path, &inserted],
            )
            .await
            .map_err(failed("record rows of a part"))?;
        Ok(())
    }

    /// The transactions by which this run changed rows of a table, the one in hand included.
    pub(super) async fn transactions(
        &self,
        client: &Client,
        table: &str,
    ) -> Result<Vec<i64>, LoadError> {
        let rows = client
            .query(
                "SELECT xid FROM docferry.loaded_parts \
                 WHERE run = $1 AND schema_name = $2 AND table_name = $3 \
                 UNION SELECT txid_current() & 4294967295",
                &[&self.run, &self.schema, &table],
            )
            .await
            .map_err(failed("read the ledger"))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Every table that rows were loaded into, with the transactions that did it.
    pub(super) async fn tables(
        &self,
        client: &Client,
    ) -> Result<HashMap<String, TableEntry>, LoadError> {
        let rows = client
            .query(
                "SELECT table_name, sum(inserted)::bigint, array_agg(xid) FROM docferry.loaded_parts \
                 WHERE run = $1 AND schema_name = $2 GROUP BY 1",
                &[&self.run, &self.schema],
            )
            .await
            .map_err(failed("read the ledger"))?;
        let entry =
            |row: &tokio_postgres::Row| TableEntry { inserted: row.get(1), xids: row.get(2) };
        Ok(rows.iter().map(|row| (row.get(0), entry(row))).collect())
    }

    /// Other runs that loaded rows into a table, with their transactions.
    pub(super) async fn others(
        &self,
        client: &Client,
        table: &str,
    ) -> Result<Vec<(Self, Vec<i64>)>, LoadError> {
        let rows = client
            .query(
                "SELECT run, array_agg(xid) FROM docferry.loaded_parts \
                 WHERE run <> $1 AND schema_name = $2 AND table_name = $3 GROUP BY 1 ORDER BY 1",
                &[&self.run, &self.schema, &table],
            )
            .await
            .map_err(failed("read the ledger"))?;
        let other = |row: &tokio_postgres::Row| {
            (Self { run: row.get(0), schema: self.schema.clone() }, row.get(1))
        };
        Ok(rows.iter().map(other).collect())
    }

    /// Records that the transaction in hand may have changed rows of a table.
    pub(super) async fn record_change(
        &self,
        client: &Client,
        table: &str,
        by: &str,
    ) -> Result<(), LoadError> {
        let change = PartFile { path: by.to_owned(), rows: 0, bytes: 0, sha256: String::new() };
        self.record_part(client, table, &change, 0).await
    }

    /// Records that rows of this run are there again, by a transaction inside the one in hand.
    pub(super) async fn record_put_back(
        &self,
        client: &Client,
        table: &str,
        xid: i64,
    ) -> Result<(), LoadError> {
        client
            .execute(
                "INSERT INTO docferry.loaded_parts \
                 (run, schema_name, table_name, part, sha256, rows, inserted, xid) \
                 VALUES ($1, $2, $3, 'put back ' || $4::bigint, '', 0, 0, $4)",
                &[&self.run, &self.schema, &table, &xid],
            )
            .await
            .map_err(failed("record rows that are put back"))?;
        Ok(())
    }

    /// Tables whose earlier rows are kept.
    pub(super) async fn saved(&self, client: &Client) -> Result<Vec<Saved>, LoadError> {
        let rows = client
            .query(
                "SELECT table_name, saved_in, by_columns FROM docferry.saved_rows \
                 WHERE run = $1 AND schema_name = $2 ORDER BY 1",
                &[&self.run, &self.schema],
            )
            .await
            .map_err(failed("read the ledger"))?;
        let saved = |row: &tokio_postgres::Row| Saved {
            table: row.get(0),
            place: row.get(1),
            by: row.get(2),
        };
        let found: Vec<Saved> = rows.iter().map(saved).collect();
        let own = |saved: &&Saved| {
            is_forgotten(saved) || saved.place == super::place_of(self, &saved.table)
        };
        match found.iter().find(|saved| !own(saved)) {
            None => Ok(found),
            Some(Saved { place, table, .. }) => {
                let found = vec![format!(
                    "docferry.saved_rows names {place} for {table}, which docferry did not make"
                )];
                Err(PostgresError::ForeignLedger { found }.into())
            }
        }
    }

    /// Records where a table's earlier rows are kept.
    pub(super) async fn save(&self, client: &Client, saved: &Saved) -> Result<(), LoadError> {
        client
            .execute(
                "INSERT INTO docferry.saved_rows VALUES ($1, $2, $3, $4, $5)",
                &[&self.run, &self.schema, &saved.table, &saved.place, &saved.by],
            )
            .await
            .map_err(failed("record the rows that are kept"))?;
        Ok(())
    }

    /// Records what is taken away for a while; in the transaction that takes it. A foreign key
    /// that an earlier load put back unvalidated is still recorded as it was before that.
    pub(super) async fn set_aside(&self, client: &Client, aside: &Aside) -> Result<(), LoadError> {
        client
            .execute(
                "INSERT INTO docferry.set_aside (run, schema_name, table_name, kind, name, make) \
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                &[&self.run, &self.schema, &aside.table, &aside.kind, &aside.name, &aside.make],
            )
            .await
            .map_err(failed("record what is set aside"))?;
        Ok(())
    }

    /// What is still taken away in the schema, by whichever run.
    pub(super) async fn aside(&self, client: &Client) -> Result<Vec<Aside>, LoadError> {
        if !exists(client).await? {
            return Ok(Vec::new());
        }
        let rows = client
            .query(
                "SELECT table_name, kind, name, make FROM docferry.set_aside \
                 WHERE schema_name = $1 ORDER BY kind DESC, position",
                &[&self.schema],
            )
            .await
            .map_err(failed("read the ledger"))?;
        let aside = |row: &tokio_postgres::Row| Aside {
            table: row.get(0),
            kind: row.get(1),
            name: row.get(2),
            make: row.get(3),
            take: String::new(),
        };
        let found: Vec<Aside> = rows.iter().map(aside).collect();
        match found.iter().find(|aside| !aside.is_as_written(&self.schema)) {
            None => Ok(found),
            Some(Aside { kind, name, table, .. }) => {
                let found = vec![format!(
                    "docferry.set_aside holds a statement for {kind} {name} of {table} that docferry \
                     did not write"
                )];
                Err(PostgresError::ForeignLedger { found }.into())
            }
        }
    }

    /// Records that something is back; in the transaction that makes it.
    pub(super) async fn back(&self, client: &Client, aside: &Aside) -> Result<(), LoadError> {
        client
            .execute(
                "DELETE FROM docferry.set_aside \
                 WHERE schema_name = $1 AND table_name = $2 AND kind = $3 AND name = $4",
                &[&self.schema, &aside.table, &aside.kind, &aside.name],
            )
            .await
            .map_err(failed("record what is back"))?;
        Ok(())
    }

    /// Removes the run; the ledger itself with the last one. In the transaction that undoes it.
    pub(super) async fn forget(&self, client: &Client) -> Result<(), LoadError> {
        for table in TABLE_NAMES.into_iter().filter(|table| *table != "set_aside") {
            let sql = format!("DELETE FROM docferry.{table} WHERE run = $1 AND schema_name = $2");
            client
                .execute(&sql, &[&self.run, &self.schema])
                .await
                .map_err(failed("clear the ledger"))?;
        }
        let sql = "SELECT NOT EXISTS (SELECT 1 FROM docferry.runs), \
                   has_database_privilege(current_database(), 'CREATE')";
        let row = client.query_one(sql, &[]).await.map_err(failed("read the ledger"))?;
        // Who cannot make the schema anew was given it, and keeps it.
        let drop = match (row.get(0), row.get(1)) {
            (false, _) => return Ok(()),
            (true, true) => "DROP SCHEMA docferry CASCADE".to_owned(),
            (true, false) => format!(
                "DROP TABLE {}",
                TABLE_NAMES.map(|name| format!("docferry.{name}")).join(", ")
            ),
        };
        client.batch_execute(&drop).await.map_err(failed("drop the ledger"))
    }
}
