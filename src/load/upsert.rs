//! A staged part into a table whose rows others change at the same time.
//!
//! The part waits in a temporary table. From there its rows are taken a few thousand at a time,
//! each time in one transaction: rows that are missing are inserted; rows that differ are locked,
//! kept as they are at that moment, and changed. A row that another transaction changed after it
//! was kept is left as that transaction made it, so none of its values is lost unseen.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::copy::{WAITING, Work, column_names, copy};
use super::ledger::Ledger;
use super::waiting::Waits;
use super::{LoadError, Shared, execute};
use crate::postgres::dependents::{Reference, own_rows};
use crate::postgres::{PostgresError, qualified, quote_identifier};
use crate::staging::table::TableDefinition;

/// Rows of one transaction: others wait for it no longer than these take.
const ROWS_AT_ONCE: u64 = 4096;
/// Bytes of a page of PostgreSQL.
const PAGE_BYTES: i64 = 8192;

/// A table whose rows are changed, and where they are kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// Table of schema docferry that keeps the rows as they were.
    pub(super) place: String,
    /// Foreign keys of other tables that refer to columns which the upsert may change.
    pub(super) references: Vec<Reference>,
}

/// The statements of an upsert.
struct Statements {
    insert: String,
    keep: String,
    /// None when the key is all that is staged.
    update: Option<String>,
}

/// `left` and `right` agree in the columns by which rows are found again.
fn same_key(definition: &TableDefinition, left: &str, right: &str) -> String {
    let pairs = definition.conflict_columns().iter().map(|column| {
        let column = quote_identifier(column);
        format!("{left}.{column} = {right}.{column}")
    });
    pairs.collect::<Vec<_>>().join(" AND ")
}

fn differs(definition: &TableDefinition) -> String {
    let side = |side: &str| {
        let columns = column_names(definition);
        columns.iter().map(|column| format!("{side}.{column}")).collect::<Vec<_>>().join(", ")
    };
    format!("({}) IS DISTINCT FROM ({})", side("t"), side("p"))
}

/// Columns that an upsert writes into rows that are there.
fn changed_columns(definition: &TableDefinition) -> Vec<&String> {
    let key = definition.conflict_columns();
    let names = definition.columns.iter().map(|column| &column.name);
    names.filter(|name| !key.contains(name)).collect()
}

fn insert_sql(definition: &TableDefinition, range: &str) -> String {
    let key = definition.conflict_columns().iter().map(|column| quote_identifier(column));
    format!(
        "INSERT INTO {} ({list}) OVERRIDING SYSTEM VALUE SELECT {list} FROM {WAITING} p{range} \
         ON CONFLICT ({}) DO NOTHING",
        qualified(&definition.schema, &definition.name),
        key.collect::<Vec<_>>().join(", "),
        list = column_names(definition).join(", "),
    )
}

fn set_sql(definition: &TableDefinition) -> Option<String> {
    let changed = changed_columns(definition);
    let set = changed.iter().map(|column| quote_identifier(column));
    let set: Vec<String> = set.map(|column| format!("{column} = p.{column}")).collect();
    (!set.is_empty()).then(|| set.join(", "))
}

/// The statements of an upsert, for people.
pub(super) fn upsert_sql(definition: &TableDefinition) -> String {
    let insert = insert_sql(definition, "");
    let Some(set) = set_sql(definition) else { return insert };
    format!(
        "{insert};\nUPDATE {} t SET {set} FROM {WAITING} p WHERE {} AND {}",
        qualified(&definition.schema, &definition.name),
        same_key(definition, "t", "p"),
        differs(definition),
    )
}

impl Statements {
    /// `own` is the table without the rows of those that inherit from it; `$1` and
    /// `$2` are the first page of the waiting table and the one after the last, `$3` the
    /// transactions of the load.
    fn new(definition: &TableDefinition, own: &str, kept: &Kept) -> Self {
        const RANGE: &str = "p.ctid >= ('(' || $1::bigint || ',0)')::tid \
                             AND p.ctid < ('(' || $2::bigint || ',0)')::tid";
        let saved = qualified("docferry", &kept.place);
        let (by_key, differs) = (same_key(definition, "t", "p"), differs(definition));
        // A row that the load changed before, and another since, is kept as the other made it.
        let keep = format!(
            "WITH found AS MATERIALIZED \
               (SELECT t.xmin::text::bigint AS docferry_xmin, t.* FROM {own} t JOIN {WAITING} p \
                  ON {by_key} WHERE {RANGE} AND {differs} \
                  AND t.xmin::text::bigint <> ALL ($3::bigint[]) FOR UPDATE OF t), \
             older AS (DELETE FROM {saved} t USING found p WHERE {by_key}) \
             INSERT INTO {saved} SELECT * FROM found"
        );
        let update = set_sql(definition).map(|set| {
            format!(
                "UPDATE {own} t SET {set} FROM {WAITING} p LEFT JOIN {saved} s ON {} \
                 WHERE {by_key} AND {RANGE} AND {differs} \
                 AND (t.xmin::text::bigint = s.docferry_xmin \
                      OR t.xmin::text::bigint = ANY ($3::bigint[]))",
                same_key(definition, "s", "p"),
            )
        });
        let insert = insert_sql(definition, &format!(" WHERE {RANGE}"));
        Self { insert, keep, update }
    }
}

/// Upserts a part; the number of its rows.
pub(super) async fn upsert_part(
    client: &Client,
    shared: &Shared<'_>,
    ledger: &Ledger,
    work: &Work,
    kept: &Kept,
    oids: &HashMap<String, u32>,
) -> Result<u64, LoadError> {
    let Work { definition, part, .. } = work;
    let target = qualified(&definition.schema, &definition.name);
    let columns = column_names(definition).join(", ");
    let make = format!(
        "DROP TABLE IF EXISTS {WAITING}; \
         CREATE TEMP TABLE docferry_part AS SELECT {columns} FROM {target} LIMIT 0"
    );
    execute(client, "make a table for the part".to_owned(), &make).await?;
    let sql = format!("COPY {WAITING} ({columns}) FROM STDIN (FORMAT binary)");
    copy(client, shared.run, &sql, work, oids).await?;
    // Without it the server takes the table for empty or large, and reads the whole target.
    execute(client, "count the waiting rows".to_owned(), &format!("ANALYZE {WAITING}")).await?;
    let pages = pages(client).await?;
    let own = own_rows(client, &definition.schema, &definition.name).await?;
    let piece = Piece {
        client,
        ledger,
        work,
        kept,
        own: &own,
        statements: Statements::new(definition, &own, kept),
    };
    let rows_of_page = (part.rows / pages.max(1).unsigned_abs()).max(1);
    let step = i64::try_from(ROWS_AT_ONCE.div_ceil(rows_of_page)).unwrap_or(i64::MAX).max(1);
    let mut from: i64 = 0;
    loop {
        let to = from.saturating_add(step);
        let last = to >= pages;
        let mut waits = Waits::new(client, shared.target, shared.progress);
        while let Err(error) = piece.upsert(from, to, last).await {
            waits.after(&format!("change rows of {}", definition.name), error).await?;
        }
        if last {
            break;
        }
        if shared.progress.interrupted() {
            return Err(LoadError::Interrupted);
        }
        from = to;
    }
    execute(client, "drop the waiting rows".to_owned(), &format!("DROP TABLE {WAITING}")).await?;
    Ok(part.rows)
}

/// Pages of the waiting table.
async fn pages(client: &Client) -> Result<i64, LoadError> {
    let sql = format!("SELECT pg_catalog.pg_relation_size('{WAITING}')");
    let row = client.query_one(&sql, &[]).await.map_err(|source| PostgresError::Statement {
        action: "measure the waiting rows".to_owned(),
        source,
    })?;
    Ok(row.get::<_, i64>(0) / PAGE_BYTES)
}

/// Some rows of a part.
struct Piece<'p> {
    client: &'p Client,
    ledger: &'p Ledger,
    work: &'p Work,
    kept: &'p Kept,
    /// The target without rows of tables that inherit from it.
    own: &'p str,
    statements: Statements,
}

impl Piece<'_> {
    /// Upserts the rows of these pages of the waiting table in one transaction. With the last of
    /// them the part is recorded as loaded.
    async fn upsert(&self, from: i64, to: i64, last: bool) -> Result<(), LoadError> {
        let Self { client, ledger, statements, .. } = self;
        let Work { definition, part, .. } = self.work;
        let failed = |source| PostgresError::Statement {
            action: format!("load {} into {}", part.path, definition.name),
            source,
        };
        // A few thousand rows are found by index, however large the tables are that they meet:
        // the server knows too little of new rows to see that.
        let begin = "BEGIN; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";
        execute(client, "begin".to_owned(), begin).await?;
        let ours = ledger.transactions(client, &definition.name).await?;
        let inserted = client.execute(&statements.insert, &[&from, &to]).await.map_err(failed)?;
        if let Some(update) = &statements.update {
            client.execute(&statements.keep, &[&from, &to, &ours]).await.map_err(failed)?;
            self.check_references(from, to).await?;
            client.execute(update, &[&from, &to, &ours]).await.map_err(failed)?;
        }
        let inserted = i64::try_from(inserted).unwrap_or(i64::MAX);
        if last {
            ledger.record_part(client, &definition.name, part, inserted).await?;
        } else {
            ledger.record_piece(client, &definition.name, part, inserted).await?;
        }
        execute(client, format!("commit {}", part.path), "COMMIT").await
    }

    /// Fails where rows of other tables refer to a value that the upsert would change: their
    /// foreign keys would change or delete them. The rows that are referred to are locked, so no
    /// new ones can come.
    async fn check_references(&self, from: i64, to: i64) -> Result<(), LoadError> {
        let Work { definition, .. } = self.work;
        let mut hindrances = Vec::new();
        for reference in &self.kept.references {
            let changed = reference
                .target_columns
                .iter()
                .filter(|column| definition.columns.iter().any(|staged| staged.name == **column));
            let changed: Vec<String> = changed
                .map(|column| quote_identifier(column))
                .map(|column| format!("t.{column} IS DISTINCT FROM p.{column}"))
                .collect();
            if changed.is_empty() {
                continue;
            }
            let sql = format!(
                "SELECT count(*) FROM {} o JOIN {} t ON {} JOIN {WAITING} p ON {} \
                 WHERE p.ctid >= ('(' || $1::bigint || ',0)')::tid \
                 AND p.ctid < ('(' || $2::bigint || ',0)')::tid AND ({})",
                reference.from(),
                self.own,
                reference.joins("o", "t"),
                same_key(definition, "t", "p"),
                changed.join(" OR "),
            );
            let row = self.client.query_one(&sql, &[&from, &to]).await.map_err(|source| {
                PostgresError::Statement {
                    action: format!("count the rows of {} that refer to it", reference.from()),
                    source,
                }
            })?;
            let rows: i64 = row.get(0);
            if rows > 0 {
                hindrances.push(format!(
                    "{rows} rows of {} refer by foreign key {} to rows of {} whose {} changes",
                    reference.from(),
                    reference.name,
                    definition.name,
                    reference.target_columns.join(", "),
                ));
            }
        }
        if hindrances.is_empty() {
            Ok(())
        } else {
            Err(LoadError::RowsOfOthers { found: hindrances, undo: false })
        }
    }
}
