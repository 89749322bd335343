//! Expressions as this server prints them: the expected ones stand in temporary tables for a
//! moment, and are rolled back.

use tokio_postgres::Client;

use super::columns::{self, Columns};
use super::difference::Findings;
use super::objects::Objects;
use super::policies::{self, Policies, Policy};
use crate::postgres::ddl::{Statement, create_table, key_statements, policy_statements};
use crate::postgres::objects::{Object, read_objects};
use crate::postgres::path_for_own_sql;
use crate::postgres::{PostgresError, Target, describe, qualified};
use crate::staging::table::{IndexDefinition, TableDefinition};
use crate::verify::VerifyError;

/// Tables made in one transaction: each takes several places in the server's table of locks.
const BATCH: usize = 100;

/// The expected expressions.
#[derive(Default)]
pub(super) struct Scratch {
    columns: Columns,
    objects: Objects,
    policies: Policies,
}

impl Scratch {
    /// The default of a column, or what it is generated from.
    pub(super) fn column(&self, table: &str, column: &str) -> Option<&str> {
        let found = self.columns.get(&(table.to_owned(), column.to_owned()))?;
        found.expression.as_deref()
    }

    /// The expressions of an object.
    pub(super) fn expressions(&self, table: &str, object: &Object) -> Option<Vec<String>> {
        let mut objects = self.objects.get(table)?.iter();
        objects
            .find(|made| made.kind == object.kind && made.name == object.name)?
            .expressions
            .clone()
    }

    /// The policy of a table.
    pub(super) fn policy(&self, table: &str) -> Option<&Policy> {
        self.policies.get(table)?.first()
    }

    /// Has the server print the expressions of the tables.
    pub(super) async fn read(
        target: &Target,
        definitions: &[&TableDefinition],
        findings: &mut Findings,
    ) -> Result<Self, VerifyError> {
        let mut scratch = Self::default();
        let definitions: Vec<&TableDefinition> =
            definitions.iter().copied().filter(|definition| has_expressions(definition)).collect();
        if definitions.is_empty() {
            return Ok(scratch);
        }
        let client = target.connect().await?;
        for batch in definitions.chunks(BATCH) {
            if let Err(error) = probe(&client).await {
                findings.left_out.push(format!(
                    "no temporary table can be made here ({}): defaults, checks, predicates and \
                     policies were compared by their presence, not by their text",
                    describe(&error)
                ));
                return Ok(scratch);
            }
            scratch.add(&client, batch, findings).await?;
            execute(&client, "ROLLBACK").await?;
        }
        Ok(scratch)
    }

    async fn add(
        &mut self,
        client: &Client,
        definitions: &[&TableDefinition],
        findings: &mut Findings,
    ) -> Result<(), VerifyError> {
        let statements: Vec<Statement> =
            definitions.iter().flat_map(|definition| statements(definition)).collect();
        let all: Vec<&str> = statements.iter().map(|statement| statement.sql.as_str()).collect();
        // Expressions find what they found when the load made them.
        let schema = definitions.first().map_or("public", |definition| definition.schema.as_str());
        execute(client, &path_for_own_sql(client, schema).await?).await?;
        execute(client, "SAVEPOINT made").await?;
        if client.batch_execute(&all.join(";\n")).await.is_err() {
            execute(client, "ROLLBACK TO SAVEPOINT made").await?;
            for statement in &statements {
                execute(client, "SAVEPOINT made").await?;
                let Err(error) = client.batch_execute(&statement.sql).await else { continue };
                execute(client, "ROLLBACK TO SAVEPOINT made").await?;
                findings.left_out.push(format!(
                    "{} {} of table {} cannot be made in a temporary table ({}): its text was not \
                     compared",
                    statement.kind,
                    statement.name,
                    statement.table,
                    describe(&error)
                ));
            }
        }
        execute(client, "SET LOCAL search_path TO pg_catalog, pg_temp").await?;
        let schema = client
            .query_one(
                "SELECT nspname::text FROM pg_namespace WHERE oid = pg_my_temp_schema()",
                &[],
            )
            .await
            .map_err(failed)?;
        let schema: String = schema.get(0);
        let names: Vec<String> =
            definitions.iter().map(|definition| definition.name.clone()).collect();
        self.columns.extend(columns::read(client, &schema, &names).await?);
        self.objects.extend(read_objects(client, &schema, &names).await?);
        self.policies.extend(policies::read(client, &schema, &names).await?);
        Ok(())
    }
}

fn failed(source: tokio_postgres::Error) -> PostgresError {
    let action = "print expressions in a temporary table".to_owned();
    PostgresError::Statement { action, source }
}

async fn execute(client: &Client, sql: &str) -> Result<(), VerifyError> {
    Ok(client.batch_execute(sql).await.map_err(failed)?)
}

/// Begins a transaction that may write, and makes the temporary schema of the session.
async fn probe(client: &Client) -> Result<(), tokio_postgres::Error> {
    client.batch_execute("BEGIN READ WRITE").await?;
    client
        .batch_execute("CREATE TEMPORARY TABLE docferry_probe (); DROP TABLE docferry_probe")
        .await
}

fn has_expressions(definition: &TableDefinition) -> bool {
    definition.columns.iter().any(|column| column.default.is_some())
        || !definition.checks.is_empty()
        || !definition.search.is_empty()
        || definition.tenant.is_some()
        || definition.indexes.iter().any(has_expression)
}

fn has_expression(index: &IndexDefinition) -> bool {
    index.predicate.is_some() || !index.lower.is_empty()
}

/// The statements that make a table with its expressions, as a temporary one of the same name.
fn statements(definition: &TableDefinition) -> Vec<Statement> {
    let mut bare = definition.clone();
    bare.primary_key.clear();
    bare.unique.clear();
    bare.search.iter_mut().for_each(|search| search.index.clear());
    bare.indexes.retain(has_expression);
    let mut statements = vec![create_table(&bare)];
    statements.extend(key_statements(&[&bare]).into_iter().filter(|made| !made.name.is_empty()));
    statements.extend(policy_statements(&[&bare]));
    // Each statement names its table before anything else that is qualified.
    let real = qualified(&definition.schema, &definition.name);
    let temporary = qualified("pg_temp", &definition.name);
    for statement in &mut statements {
        statement.sql = match statement.kind {
            "policy of" => statement.sql.replace(&real, &temporary),
            _ => statement.sql.replacen(&real, &temporary, 1),
        };
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{definitions::table_definitions, parse};

    #[test]
    fn a_scratch_table_is_made_in_the_temporary_schema_only() {
        let text = "version = 1\nname = \"a\"\nschema = \"s\"\n[enums]\nMood = [\"x\"]\n\
                    [tables.t]\ntenant = \"o\"\n[tables.t.columns]\n\
                    id = { from = \"_id\", type = \"uuid\", key = true }\n\
                    o = { type = \"text\" }\nmood = { type = \"Mood\", default = \"x\" }\n\
                    [tables.t.checks]\nc = \"o <> ''\"\n";
        let pipeline = parse(std::path::Path::new("a.toml"), text).unwrap();
        let made = statements(&table_definitions(&pipeline)[0]);
        assert_eq!(made.len(), 3, "{made:?}");
        for statement in &made {
            assert!(statement.sql.contains("\"pg_temp\".\"t\""), "{}", statement.sql);
            assert!(!statement.sql.contains("\"s\".\"t\""), "{}", statement.sql);
        }
        assert!(made[0].sql.contains("\"s\".\"Mood\""), "{}", made[0].sql);
    }
}
