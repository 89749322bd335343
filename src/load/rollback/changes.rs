//! Changes since the load: those of others in its tables, and rows of other tables that refer to
//! its rows.

use super::rows::Plan;
use super::{Loaded, Undo, ours};
use crate::load::ledger::Saved;
use crate::load::{LoadError, others};
use crate::postgres::dependents::{own_rows, references_to};
use crate::postgres::{qualified, quote_identifier, table_shape};

impl Undo<'_> {
    /// Fails where these tables are not as the load left them, unless that is forced; and always
    /// where rows of other tables would lose what they refer to.
    pub(super) async fn check(&self, loaded: &Loaded, tables: &[String]) -> Result<(), LoadError> {
        let found = self.referring(loaded, tables).await?;
        if !found.is_empty() {
            return Err(LoadError::RowsOfOthers { found, undo: true });
        }
        if self.force {
            return Ok(());
        }
        let mut changes = Vec::new();
        for table in tables {
            changes.extend(self.changes_of(loaded, table).await?);
        }
        if changes.is_empty() { Ok(()) } else { Err(LoadError::ChangedSince { changes }) }
    }

    /// Foreign keys of other tables that hinder a table from being dropped, and rows of others
    /// that refer to rows which would be gone.
    async fn referring(
        &self,
        loaded: &Loaded,
        tables: &[String],
    ) -> Result<Vec<String>, LoadError> {
        let schema = &self.ledger.schema;
        let mut found = Vec::new();
        for reference in references_to(self.client, schema, &loaded.tables()).await? {
            if !tables.contains(&reference.target) {
                continue;
            }
            if loaded.mine.contains(&reference.target) {
                found.push(format!(
                    "foreign key {} of {} refers to {}",
                    reference.name,
                    reference.from(),
                    reference.target
                ));
                continue;
            }
            let plan = Plan::new(self, loaded, &reference.target).await?;
            let gone = plan.gone(&reference);
            let rows = others::referring(self.client, &reference, &plan.own, &gone).await?;
            if rows > 0 {
                found.push(others::sentence(&reference, rows));
            }
        }
        Ok(found)
    }

    /// Rows of one table that others changed, added or deleted.
    async fn changes_of(&self, loaded: &Loaded, table: &str) -> Result<Vec<String>, LoadError> {
        let mut changes = Vec::new();
        let action = format!("look for changes of {table}");
        if table_shape(self.client, &self.ledger.schema, table).await?.is_none() {
            return Ok(vec![format!("table {table} is not there any more")]);
        }
        let name = own_rows(self.client, &self.ledger.schema, table).await?;
        let entry = loaded.entries.get(table);
        let inserted = entry.map_or(0, |entry| entry.inserted);
        let ours = ours(entry);
        let kept = loaded.saved(table).filter(|saved| saved.by.is_some());
        let there = if let Some(saved) = kept {
            let is_kept = joined(saved, "s", "t");
            let kept = qualified("docferry", &saved.place);
            let sql = format!(
                "SELECT count(*) FROM {kept} s WHERE NOT EXISTS \
                 (SELECT 1 FROM {name} t WHERE {is_kept} AND {ours})"
            );
            let count = self.count(&action, &sql).await?;
            if count > 0 {
                changes.push(format!("{count} updated rows of {table} were changed or deleted"));
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
        Ok(changes)
    }
}

/// `left` and `right` agree in the columns by which the load found rows again.
pub(super) fn joined(saved: &Saved, left: &str, right: &str) -> String {
    let pairs = saved.by.iter().flatten().map(|column| {
        let column = quote_identifier(column);
        format!("{left}.{column} = {right}.{column}")
    });
    pairs.collect::<Vec<_>>().join(" AND ")
}
