//! Objects of others that a change of a table's rows would set in motion: foreign keys of other
//! tables that refer to it, its triggers and its rules.

use tokio_postgres::Client;

use super::{PostgresError, qualified, quote_identifier};

/// A foreign key of one table that refers to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Name of the foreign key.
    pub name: String,
    /// Schema of the table that refers.
    pub schema: String,
    /// Table that refers.
    pub table: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Table that is referred to.
    pub target: String,
    /// Its columns, in the order of `columns`.
    pub target_columns: Vec<String>,
    /// The operators by which the server compares them, as `OPERATOR(schema.name)`: those of
    /// extension types (`citext`) are not in `pg_catalog`.
    equal: Vec<String>,
    /// What becomes of a row that refers to a deleted one, in SQL.
    pub on_delete: &'static str,
}

impl Reference {
    /// The table that refers, quoted.
    pub fn from(&self) -> String {
        qualified(&self.schema, &self.table)
    }

    /// The condition under which row `referring` refers to row `referred`.
    pub fn joins(&self, referring: &str, referred: &str) -> String {
        let pairs = self.columns.iter().zip(&self.target_columns).zip(&self.equal);
        let pairs = pairs.map(|((own, other), equal)| {
            let (own, other) = (quote_identifier(own), quote_identifier(other));
            format!("{referred}.{other} {equal} {referring}.{own}")
        });
        pairs.collect::<Vec<_>>().join(" AND ")
    }
}

/// A trigger of a table or of one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// Table or partition, quoted.
    pub table: String,
    /// Name.
    pub name: String,
    /// Whether it fires when rows are deleted.
    pub on_delete: bool,
    /// The state to which it is to be put back, as `ALTER TABLE` names it: `ENABLE`,
    /// `ENABLE ALWAYS` or `ENABLE REPLICA`.
    pub state: &'static str,
}

impl Firing {
    /// The statement that switches it off.
    pub fn off(&self) -> String {
        format!("ALTER TABLE ONLY {} DISABLE TRIGGER {}", self.table, quote_identifier(&self.name))
    }

    /// The statement that puts it back as it was.
    pub fn on(&self) -> String {
        let name = quote_identifier(&self.name);
        format!("ALTER TABLE ONLY {} {} TRIGGER {name}", self.table, self.state)
    }
}

/// A rule that rewrites statements on a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name.
    pub name: String,
    /// `INSERT`, `UPDATE` or `DELETE`.
    pub event: &'static str,
}

/// The operators of foreign key `k` between its target's columns and its own, in order.
const EQUAL: &str = "ARRAY(SELECT pg_catalog.format('OPERATOR(%I.%s)', n.nspname, p.oprname) \
    FROM unnest(k.conpfeqop) WITH ORDINALITY o (op, at) \
    JOIN pg_catalog.pg_operator p ON p.oid = o.op \
    JOIN pg_catalog.pg_namespace n ON n.oid = p.oprnamespace ORDER BY o.at)";

fn failed(action: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> PostgresError {
    let action = action.into();
    move |source| PostgresError::Statement { action, source }
}

/// The foreign keys by which tables other than these refer to one of these. A foreign key that a
/// partition has from its parent is its parent's.
pub async fn references_to(
    client: &Client,
    schema: &str,
    tables: &[String],
) -> Result<Vec<Reference>, PostgresError> {
    let rows = client
        .query(
            &format!("SELECT k.conname::text, rn.nspname::text, r.relname::text, t.relname::text, \
                    ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY o (num, at) \
                          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.num \
                          ORDER BY o.at), \
                    ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY o (num, at) \
                          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = o.num \
                          ORDER BY o.at), \
                    k.confdeltype::text, {EQUAL} \
             FROM pg_catalog.pg_constraint k \
             JOIN pg_catalog.pg_class t ON t.oid = k.confrelid \
             JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace \
             JOIN pg_catalog.pg_class r ON r.oid = k.conrelid \
             JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace \
             WHERE k.contype = 'f' AND tn.nspname = $1 AND t.relname = ANY ($2) \
               AND NOT (rn.nspname = $1 AND r.relname = ANY ($2)) \
               AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint p \
                               WHERE p.oid = k.conparentid AND p.confrelid = k.confrelid) \
             ORDER BY 2, 3, 1"),
            &[&schema, &tables],
        )
        .await
        .map_err(failed("look for foreign keys of other tables"))?;
    let reference = |row: &tokio_postgres::Row| Reference {
        name: row.get(0),
        schema: row.get(1),
        table: row.get(2),
        target: row.get(3),
        columns: row.get(4),
        target_columns: row.get(5),
        on_delete: match row.get::<_, &str>(6) {
            "c" => "CASCADE",
            "n" => "SET NULL",
            "d" => "SET DEFAULT",
            "r" => "RESTRICT",
            _ => "NO ACTION",
        },
        equal: row.get(7),
    };
    Ok(rows.iter().map(reference).collect())
}

/// A foreign key of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// Its table, quoted.
    pub table: String,
    /// Table that it refers to, quoted.
    pub target: String,
    /// Its columns, quoted, after those of the primary key of its table.
    shown: Vec<String>,
    /// Condition under which row `t` of its table refers to row `r` of the other.
    joined: String,
    /// Condition under which row `t` refers to any.
    present: String,
}

impl ForeignKey {
    /// How many rows refer to no row: those that these transactions wrote, and the others.
    pub async fn orphans(
        &self,
        client: &Client,
        transactions: &[i64],
    ) -> Result<[i64; 2], PostgresError> {
        let sql = format!(
            "SELECT count(*) FILTER (WHERE t.xmin::text::bigint = ANY ($1)), \
                    count(*) FILTER (WHERE t.xmin::text::bigint <> ALL ($1)) FROM {} t \
             WHERE {}",
            self.table,
            self.orphan()
        );
        let action = format!("look for rows of {} that refer to no row", self.table);
        let row = client.query_one(&sql, &[&transactions]).await.map_err(failed(action))?;
        Ok([row.get(0), row.get(1)])
    }

    fn orphan(&self) -> String {
        let Self { present, target, joined, .. } = self;
        format!("{present} AND NOT EXISTS (SELECT 1 FROM {target} r WHERE {joined})")
    }

    /// Some of the rows that refer to no row: their keys and the values that refer, as JSON.
    pub async fn examples(&self, client: &Client, most: i64) -> Result<Vec<String>, PostgresError> {
        let columns: Vec<String> = self.shown.iter().map(|name| format!("t.{name}")).collect();
        let sql = format!(
            "SELECT pg_catalog.row_to_json(s)::text FROM (SELECT {} FROM {} t WHERE {} LIMIT $1) s",
            columns.join(", "),
            self.table,
            self.orphan()
        );
        let action = format!("name rows of {} that refer to no row", self.table);
        let rows = client.query(&sql, &[&most]).await.map_err(failed(action))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

/// A foreign key of a table by its name.
pub async fn foreign_key(
    client: &Client,
    schema: &str,
    table: &str,
    name: &str,
) -> Result<Option<ForeignKey>, PostgresError> {
    let row = client
        .query_opt(
            &format!("SELECT rn.nspname::text, r.relname::text, \
                    ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY o (num, at) \
                          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = o.num \
                          ORDER BY o.at), \
                    ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY o (num, at) \
                          JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = o.num \
                          ORDER BY o.at), \
                    ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index i \
                          JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) \
                          WHERE i.indrelid = k.conrelid AND i.indisprimary ORDER BY a.attnum), \
                    {EQUAL} \
             FROM pg_catalog.pg_constraint k \
             JOIN pg_catalog.pg_class t ON t.oid = k.conrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace \
             JOIN pg_catalog.pg_class r ON r.oid = k.confrelid \
             JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace \
             WHERE k.contype = 'f' AND n.nspname = $1 AND t.relname = $2 AND k.conname = $3"),
            &[&schema, &table, &name],
        )
        .await
        .map_err(failed(format!("look for foreign key {name}")))?;
    Ok(row.map(|row| {
        let (own, other): (Vec<String>, Vec<String>) = (row.get(2), row.get(3));
        let own: Vec<String> = own.iter().map(|name| quote_identifier(name)).collect();
        let key: Vec<String> = row.get(4);
        let mut shown: Vec<String> = key.iter().map(|name| quote_identifier(name)).collect();
        shown.extend(own.clone());
        let mut seen = std::collections::HashSet::new();
        shown.retain(|name| seen.insert(name.clone()));
        let equal: Vec<String> = row.get(5);
        let joined =
            own.iter().zip(&other).zip(&equal).map(|((own, other), equal)| {
                format!("r.{} {equal} t.{own}", quote_identifier(other))
            });
        ForeignKey {
            table: qualified(schema, table),
            target: qualified(row.get(0), row.get(1)),
            shown,
            joined: joined.collect::<Vec<_>>().join(" AND "),
            present: own
                .iter()
                .map(|name| format!("t.{name} IS NOT NULL"))
                .collect::<Vec<_>>()
                .join(" AND "),
        }
    }))
}

/// The triggers that users made on a table and its partitions, and that are not switched off.
pub async fn firing_triggers(
    client: &Client,
    schema: &str,
    table: &str,
) -> Result<Vec<Firing>, PostgresError> {
    let rows = client
        .query(
            "WITH RECURSIVE tree (oid) AS ( \
                 SELECT c.oid FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE n.nspname = $1 AND c.relname = $2 \
                 UNION ALL \
                 SELECT c.oid FROM tree JOIN pg_catalog.pg_inherits i ON i.inhparent = tree.oid \
                 JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid WHERE c.relispartition) \
             SELECT n.nspname::text, c.relname::text, g.tgname::text, (g.tgtype & 8) <> 0, \
                    g.tgenabled::text \
             FROM tree JOIN pg_catalog.pg_trigger g ON g.tgrelid = tree.oid \
             JOIN pg_catalog.pg_class c ON c.oid = tree.oid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE NOT g.tgisinternal AND g.tgenabled <> 'D' ORDER BY 1, 2, 3",
            &[&schema, &table],
        )
        .await
        .map_err(failed(format!("read the triggers of {table}")))?;
    let trigger = |row: &tokio_postgres::Row| Firing {
        table: qualified(row.get(0), row.get(1)),
        name: row.get(2),
        on_delete: row.get(3),
        state: match row.get::<_, &str>(4) {
            "A" => "ENABLE ALWAYS",
            "R" => "ENABLE REPLICA",
            _ => "ENABLE",
        },
    };
    Ok(rows.iter().map(trigger).collect())
}

/// The rules of a table that are not switched off.
pub async fn rules(client: &Client, schema: &str, table: &str) -> Result<Vec<Rule>, PostgresError> {
    let rows = client
        .query(
            "SELECT r.rulename::text, r.ev_type::text FROM pg_catalog.pg_rewrite r \
             JOIN pg_catalog.pg_class c ON c.oid = r.ev_class \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND r.ev_type IN ('2', '3', '4') \
               AND r.ev_enabled <> 'D' ORDER BY 1",
            &[&schema, &table],
        )
        .await
        .map_err(failed(format!("read the rules of {table}")))?;
    let rule = |row: &tokio_postgres::Row| Rule {
        name: row.get(0),
        event: match row.get::<_, &str>(1) {
            "2" => "UPDATE",
            "3" => "INSERT",
            _ => "DELETE",
        },
    };
    Ok(rows.iter().map(rule).collect())
}

/// The tables that inherit from a table and are no partitions of it, quoted. Statements that do
/// not say ONLY reach their rows, too.
pub async fn inheriting(
    client: &Client,
    schema: &str,
    table: &str,
) -> Result<Vec<String>, PostgresError> {
    let rows = client
        .query(
            "SELECT cn.nspname::text, c.relname::text FROM pg_catalog.pg_inherits i \
             JOIN pg_catalog.pg_class p ON p.oid = i.inhparent \
             JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace \
             JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid \
             JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace \
             WHERE pn.nspname = $1 AND p.relname = $2 AND NOT c.relispartition ORDER BY 1, 2",
            &[&schema, &table],
        )
        .await
        .map_err(failed(format!("look for tables that inherit from {table}")))?;
    Ok(rows.iter().map(|row| qualified(row.get(0), row.get(1))).collect())
}

/// The table by the name under which its own rows are reached: without those of tables that
/// inherit from it, with those of its partitions.
pub async fn own_rows(client: &Client, schema: &str, table: &str) -> Result<String, PostgresError> {
    let name = qualified(schema, table);
    let heirs = inheriting(client, schema, table).await?;
    Ok(if heirs.is_empty() { name } else { format!("ONLY {name}") })
}
