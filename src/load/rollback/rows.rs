//! Rows of tables of others: those that the load inserted are deleted, those that it changed or
//! deleted are put back.
//!
//! A row that rows of other tables refer to is changed in place, so that their foreign keys have
//! nothing to do. All other rows are deleted before any is put back, so that values which moved
//! from one row to another meet no unique key on the way.

use super::changes::joined;
use super::{Loaded, Undo, UndoneTable, ours};
use crate::load::LoadError;
use crate::postgres::dependents::{
    Firing, Reference, firing_triggers, own_rows, references_to, rules,
};
use crate::postgres::{PostgresError, qualified, quote_identifier, table_shape};

/// Plan for the rows of one table.
pub(super) struct Plan {
    table: String,
    /// The table without rows of those that inherit from it.
    pub(super) own: String,
    /// Condition of the rows `t` that the load left, and that go or change.
    doomed: String,
    /// Table of rows as they were; none when the load only inserted.
    kept: Option<String>,
    /// Columns that are put back, quoted; those that only the server may change apart.
    columns: Vec<String>,
    fixed: Vec<String>,
    /// Foreign keys of other tables that refer to this one.
    references: Vec<Reference>,
    triggers: Vec<Firing>,
    owned: bool,
}

impl Plan {
    pub(super) async fn new(
        undo: &Undo<'_>,
        loaded: &Loaded,
        table: &str,
    ) -> Result<Self, LoadError> {
        let (client, schema) = (undo.client, &undo.ledger.schema);
        let ours = ours(loaded.entries.get(table));
        let saved = loaded.saved(table);
        let kept = saved.map(|saved| qualified("docferry", &saved.place));
        let doomed = match (saved, &kept) {
            (Some(saved), Some(kept)) if saved.by.is_some() => format!(
                "({ours} OR EXISTS (SELECT 1 FROM {kept} k WHERE {}))",
                joined(saved, "k", "t")
            ),
            (Some(_), _) => "true".to_owned(),
            (None, _) => ours,
        };
        let shape = table_shape(client, schema, table).await?;
        let own = own_rows(client, schema, table).await?;
        let every = references_to(client, schema, &loaded.tables()).await?;
        let columns = shape.iter().flat_map(|shape| &shape.columns);
        let (fixed, columns): (Vec<_>, Vec<_>) =
            columns.filter(|column| !column.generated).partition(|column| column.identity);
        let quoted = |columns: Vec<&crate::postgres::ColumnShape>| {
            columns.iter().map(|column| quote_identifier(&column.name)).collect()
        };
        Ok(Self {
            table: table.to_owned(),
            own,
            doomed,
            kept,
            columns: quoted(columns),
            fixed: quoted(fixed),
            references: every.into_iter().filter(|found| found.target == table).collect(),
            triggers: firing_triggers(client, schema, table).await?,
            owned: shape.is_some_and(|shape| shape.owned),
        })
    }

    /// Condition under which row `s` of the kept rows takes the place of row `t`: they agree in
    /// the columns that other tables refer to, and in those that no UPDATE may change.
    fn same(&self) -> Option<String> {
        let first = self.references.first()?;
        let key = first.target_columns.iter().map(|column| quote_identifier(column));
        let pairs = key.chain(self.fixed.iter().cloned());
        let pairs = pairs.map(|column| format!("s.{column} = t.{column}"));
        Some(pairs.collect::<Vec<_>>().join(" AND "))
    }

    /// Condition of the rows `t` whose values in the columns that a foreign key refers to will be
    /// gone.
    pub(super) fn gone(&self, reference: &Reference) -> String {
        let (Some(kept), Some(same)) = (&self.kept, self.same()) else {
            return self.doomed.clone();
        };
        let pairs = reference.target_columns.iter().map(|column| quote_identifier(column));
        let pairs = pairs.map(|column| format!("s.{column} = t.{column}"));
        format!(
            "{} AND NOT EXISTS (SELECT 1 FROM {kept} s WHERE {same} AND {})",
            self.doomed,
            pairs.collect::<Vec<_>>().join(" AND ")
        )
    }

    /// Condition of the rows `t` that rows of other tables refer to.
    fn referred(&self) -> String {
        let any = self.references.iter().map(|reference| {
            let joins = reference.joins("o", "t");
            format!("EXISTS (SELECT 1 FROM {} o WHERE {joins})", reference.from())
        });
        let any: Vec<String> = any.collect();
        if any.is_empty() { "false".to_owned() } else { format!("({})", any.join(" OR ")) }
    }

    /// Triggers that would fire.
    fn firing(&self) -> impl Iterator<Item = &Firing> {
        self.triggers.iter().filter(|trigger| self.kept.is_some() || trigger.on_delete)
    }
}

impl Undo<'_> {
    /// Undoes the rows of these tables, which come with those that refer to others first.
    pub(super) async fn undo_rows(
        &self,
        loaded: &Loaded,
        tables: &[String],
        notes: &mut Vec<String>,
    ) -> Result<Vec<UndoneTable>, LoadError> {
        let mut plans = Vec::new();
        for table in tables {
            plans.push(Plan::new(self, loaded, table).await?);
        }
        self.check_code(&plans).await?;
        let mut undone = Vec::new();
        for plan in &plans {
            for trigger in plan.firing() {
                self.execute("switch a trigger off", &trigger.off()).await?;
            }
            let delete = format!(
                "DELETE FROM {} t WHERE {} AND NOT {}",
                plan.own,
                plan.doomed,
                plan.referred()
            );
            let deleted = self.run(&format!("undo the rows of {}", plan.table), &delete).await?;
            let table = plan.table.clone();
            undone.push(UndoneTable { table, dropped: false, deleted, restored: 0 });
        }
        for (plan, undone) in plans.iter().zip(&mut undone).rev() {
            let (changed, inserted) = self.put_rows_back(plan).await?;
            undone.restored = changed + inserted;
            if loaded.saved(&plan.table).is_some_and(|saved| saved.by.is_some()) {
                undone.deleted = undone.deleted.saturating_sub(inserted);
            } else {
                undone.deleted += changed;
            }
            for trigger in plan.firing() {
                self.execute("put a trigger back", &trigger.on()).await?;
                notes.push(format!("trigger {} of {} did not fire", trigger.name, trigger.table));
            }
        }
        Ok(undone)
    }

    /// Fails where rules, or triggers that this role may not switch off, would do something else.
    async fn check_code(&self, plans: &[Plan]) -> Result<(), LoadError> {
        let mut found = Vec::new();
        for plan in plans {
            for rule in rules(self.client, &self.ledger.schema, &plan.table).await? {
                if plan.kept.is_some() || rule.event == "DELETE" {
                    let (name, event) = (&rule.name, rule.event);
                    found.push(format!("rule {name} of {} rewrites {event}", plan.table));
                }
            }
            for trigger in plan.firing().filter(|_| !plan.owned) {
                found.push(format!(
                    "trigger {} of {} would fire, and only the owner of the table can switch it off",
                    trigger.name, trigger.table
                ));
            }
        }
        if found.is_empty() { Ok(()) } else { Err(LoadError::RowsOfOthers { found, undo: true }) }
    }

    /// Puts rows back as they were: how many were changed in place, and how many inserted.
    ///
    /// Rows of an earlier run get a transaction of their own in its ledger, so that it can be
    /// undone in its turn.
    async fn put_rows_back(&self, plan: &Plan) -> Result<(u64, u64), LoadError> {
        let Some(kept) = &plan.kept else { return Ok((0, 0)) };
        let action = format!("put rows of {} back", plan.table);
        let (mut changed, mut inserted) = (0, 0);
        let mut known = Vec::new();
        for (owner, xids) in self.ledger.others(self.client, &plan.table).await? {
            self.execute(&action, "SAVEPOINT put_back").await?;
            let put = self.put(plan, kept, "s.docferry_xmin = ANY ($1)", &xids).await?;
            self.execute(&action, "RELEASE SAVEPOINT put_back").await?;
            if let Some(xid) = put.xid {
                owner.record_put_back(self.client, &plan.table, xid).await?;
            }
            changed += put.changed;
            inserted += put.inserted;
            known.extend(xids);
        }
        let put = self.put(plan, kept, "s.docferry_xmin <> ALL ($1)", &known).await?;
        Ok((changed + put.changed, inserted + put.inserted))
    }

    /// Puts the kept rows back that meet a condition over the transactions `$1`.
    async fn put(
        &self,
        plan: &Plan,
        kept: &str,
        condition: &str,
        xids: &[i64],
    ) -> Result<Put, LoadError> {
        let failed = |source| PostgresError::Statement {
            action: format!("put rows of {} back", plan.table),
            source,
        };
        let mut put = Put { changed: 0, inserted: 0, xid: None };
        if let Some(same) = plan.same().filter(|_| !plan.columns.is_empty()) {
            let set: Vec<String> =
                plan.columns.iter().map(|column| format!("{column} = s.{column}")).collect();
            // A kept row that found its place is not inserted as well.
            let update = format!(
                "WITH put AS (UPDATE {} t SET {} FROM {kept} s WHERE {same} AND {} AND {condition} \
                 RETURNING s.ctid AS at, t.xmin::text::bigint AS xid), \
                 placed AS (DELETE FROM {kept} s USING put WHERE s.ctid = put.at) \
                 SELECT count(*), max(xid) FROM put",
                plan.own,
                set.join(", "),
                plan.doomed,
            );
            let row = self.client.query_one(&update, &[&xids]).await.map_err(failed)?;
            put.changed = row.get::<_, i64>(0).unsigned_abs();
            put.xid = row.get(1);
        }
        let columns: Vec<String> = plan.columns.iter().chain(&plan.fixed).cloned().collect();
        let list = columns.join(", ");
        let insert = format!(
            "WITH put AS (INSERT INTO {} ({list}) OVERRIDING SYSTEM VALUE \
             SELECT {list} FROM {kept} s WHERE {condition} RETURNING xmin::text::bigint AS xid) \
             SELECT count(*), max(xid) FROM put",
            qualified(&self.ledger.schema, &plan.table),
        );
        let row = self.client.query_one(&insert, &[&xids]).await.map_err(failed)?;
        put.inserted = row.get::<_, i64>(0).unsigned_abs();
        put.xid = row.get::<_, Option<i64>>(1).or(put.xid);
        Ok(put)
    }
}

/// Result of putting rows back.
struct Put {
    changed: u64,
    inserted: u64,
    /// The transaction that did it, as rows name it.
    xid: Option<i64>,
}
