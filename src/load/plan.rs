//! What a load is going to do, decided before anything is written.

use std::collections::HashMap;

use serde::Serialize;
use tokio_postgres::Client;

use super::differences::{Difference, compare};
use super::ledger::{Ledger, Loaded};
use super::{Home, LoadError, LoadOptions, Mode, aside, copy, names, others, upsert};
use crate::pgcopy::PgType;
use crate::postgres::ddl::{
    Statement, create_statements, foreign_key_statements, key_statements, policy_statements,
};
use crate::postgres::dependents::Reference;
use crate::postgres::ledger::LEDGER_SCHEMA;
use crate::postgres::rights::check_rights;
use crate::postgres::{
    Aside, PostgresError, TableShape, enum_labels, qualified, quote_identifier, quote_literal,
    table_shape,
};
use crate::staging::manifest::{TableManifest, TransformManifest};
use crate::staging::table::{ColumnDefinition, TableDefinition};

/// A step, for people.
#[derive(Clone, Debug, Serialize)]
pub struct PlannedStep {
    /// The SQL.
    pub sql: String,
    /// Rows it concerns, where it concerns rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// What a load would do.
#[derive(Clone, Debug, Serialize)]
pub struct LoadPlan {
    /// What is otherwise in the database, and can be loaded all the same.
    pub differences: Vec<Difference>,
    /// The steps, in order.
    pub steps: Vec<PlannedStep>,
}

/// The same for the load itself.
pub(super) struct Plan {
    /// How an earlier attempt of this run began.
    pub(super) begun: Option<Loaded>,
    pub(super) differences: Vec<Difference>,
    /// Tables that are made by this run, now or in an earlier attempt.
    pub(super) own: Vec<String>,
    pub(super) create: Vec<Statement>,
    /// Labels that enums of this run have gained since it began.
    pub(super) alter: Vec<String>,
    /// Tables whose rows are kept and then deleted.
    pub(super) replace: Vec<String>,
    /// Tables whose changed rows are kept.
    pub(super) upsert: Vec<Upsert>,
    pub(super) asides: Vec<Aside>,
    /// Parts that are loaded: path to SHA-256.
    pub(super) parts: HashMap<String, String>,
    /// Whether everything that hinders a free order could be set aside.
    pub(super) free_order: bool,
    /// Sequences that give columns their values.
    pub(super) sequences: Vec<Sequence>,
    /// Tables and their columns of type `json`.
    pub(super) json: Vec<(String, String)>,
}

/// A table whose rows are changed where they differ.
pub(super) struct Upsert {
    pub(super) table: String,
    /// Columns by which a row is found again.
    pub(super) by: Vec<String>,
    /// Foreign keys of other tables that refer to columns which may change.
    pub(super) references: Vec<Reference>,
}

/// A sequence of a table of others.
pub(super) struct Sequence {
    pub(super) name: String,
    /// The statement that moves it past the staged values; none when nothing is staged.
    pub(super) advance: Option<String>,
}

/// Looks at the target and decides. Nothing is written.
pub(super) async fn decide(
    client: &Client,
    ledger: &Ledger,
    manifest: &TransformManifest,
    options: &LoadOptions,
) -> Result<Plan, LoadError> {
    let begun = ledger.loaded(client).await?;
    let wanted = Loaded { home: options.home.to_string(), mode: options.mode.to_string() };
    if let Some(begun) = begun.as_ref().filter(|begun| **begun != wanted) {
        let (home, mode) = (begun.home.clone(), begun.mode.clone());
        return Err(LoadError::OtherWay { home, mode });
    }
    let parts = ledger.parts(client).await?;
    let own = if begun.is_some() { ledger.created(client, "table").await? } else { Vec::new() };
    let labels = enum_labels(client, &manifest.schema).await?;
    let mut plan = Plan {
        begun,
        differences: Vec::new(),
        own,
        create: Vec::new(),
        alter: Vec::new(),
        replace: Vec::new(),
        upsert: Vec::new(),
        asides: Vec::new(),
        parts,
        free_order: true,
        sequences: Vec::new(),
        json: Vec::new(),
    };
    let mut missing: Vec<&TableDefinition> = Vec::new();
    let mut there: Vec<(String, bool)> = Vec::new();
    let left = manifest.tables.iter().flat_map(|table| &table.parts);
    let left = left.filter(|part| !plan.parts.contains_key(&part.path)).count();
    for table in &manifest.tables {
        let definition = &table.definition;
        if plan.own.contains(&definition.name) {
            // Rows that are added to a finished load come in any order.
            if left > 0 {
                there.push((definition.name.clone(), false));
            }
            plan.alter.extend(new_labels(definition, &labels));
            continue;
        }
        let shape = table_shape(client, &definition.schema, &definition.name).await?;
        if options.home == Home::Create && shape.is_none() && plan.begun.is_none() {
            missing.push(definition);
            continue;
        }
        let rows = match &shape {
            Some(_) => rows(client, definition, options.mode).await?,
            None => 0,
        };
        if options.home == Home::Create && options.mode == Mode::Insert {
            return Err(LoadError::TableExists { table: definition.name.clone(), rows });
        }
        let conflict = (options.mode == Mode::Upsert).then(|| definition.conflict_columns());
        plan.differences.extend(compare(table, shape.as_ref(), &labels, conflict));
        let begun = table.parts.iter().any(|part| plan.parts.contains_key(&part.path));
        match options.mode {
            Mode::Insert if rows > 0 && !begun => {
                return Err(LoadError::NotEmpty { table: definition.name.clone(), rows });
            }
            Mode::Insert => {}
            Mode::Upsert => {
                let (table, by) = (definition.name.clone(), definition.conflict_columns().to_vec());
                plan.upsert.push(Upsert { table, by, references: Vec::new() });
            }
            Mode::Replace => plan.replace.push(definition.name.clone()),
        }
        let owned = shape.as_ref().is_some_and(|shape| shape.owned);
        if owned {
            // Indexes of a table that holds rows would cost more than they save.
            there.push((definition.name.clone(), options.mode != Mode::Upsert || rows == 0));
        }
        plan.free_order &= owned;
        if let Some(shape) = &shape {
            plan.sequences.extend(sequences(client, definition, shape).await?);
            let json = shape.columns.iter().filter(|column| column.is_json);
            plan.json.extend(json.map(|column| (definition.name.clone(), column.name.clone())));
        }
    }
    if plan.differences.iter().any(|difference| difference.blocking) {
        return Err(LoadError::Differs(plan.differences));
    }
    let mut schemas = vec![LEDGER_SCHEMA];
    if !missing.is_empty() {
        schemas.push(&manifest.schema);
    }
    check_rights(client, &schemas).await?;
    if plan.begun.is_none() {
        let made = names::made_already(client, &missing, &labels, options.mode).await?;
        plan.create = create_statements(&missing)
            .into_iter()
            .filter(|statement| !made.contains(&(statement.kind, statement.name.clone())))
            .collect();
        plan.own = missing.iter().map(|definition| definition.name.clone()).collect();
        names::check_tables(client, &missing).await?;
    } else {
        names::check_objects(client, &plan.own_definitions(manifest)).await?;
    }
    check_tenants(client, &plan.own_definitions(manifest)).await?;
    plan.asides = aside::find(client, &manifest.schema, &there).await?;
    if plan.begun.is_none() {
        others::check_replace(client, &manifest.schema, &plan.replace).await?;
    }
    others::check_upsert(client, manifest, &mut plan.upsert).await?;
    Ok(plan)
}

/// Fails where policies of tables that the load makes would hold its own rows back.
async fn check_tenants(client: &Client, own: &[&TableDefinition]) -> Result<(), LoadError> {
    let tables = own.iter().filter(|definition| definition.tenant.is_some());
    let tables: Vec<String> = tables.map(|definition| definition.name.clone()).collect();
    if tables.is_empty() {
        return Ok(());
    }
    let sql =
        "SELECT rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user";
    let row = client.query_one(sql, &[]).await.map_err(|source| PostgresError::Statement {
        action: "look at the rights of the role".to_owned(),
        source,
    })?;
    if row.get(0) { Ok(()) } else { Err(LoadError::HeldBack { tables }) }
}

/// The statements that add the labels which an enum of the database lacks, each in its place.
fn new_labels(definition: &TableDefinition, labels: &HashMap<String, Vec<String>>) -> Vec<String> {
    let mut statements = Vec::new();
    for declared in &definition.enums {
        let Some(there) = labels.get(&declared.name) else { continue };
        for (index, label) in declared.labels.iter().enumerate() {
            if there.contains(label) {
                continue;
            }
            // The labels before it are there by then.
            let place = match index.checked_sub(1).map(|before| &declared.labels[before]) {
                Some(before) => format!(" AFTER {}", quote_literal(before)),
                None => there
                    .first()
                    .map_or_else(String::new, |next| format!(" BEFORE {}", quote_literal(next))),
            };
            statements.push(format!(
                "ALTER TYPE {} ADD VALUE IF NOT EXISTS {}{place}",
                qualified(&definition.schema, &declared.name),
                quote_literal(label)
            ));
        }
    }
    statements
}

/// Rows of a table; whether there are any is enough where they only hinder.
async fn rows(client: &Client, definition: &TableDefinition, mode: Mode) -> Result<i64, LoadError> {
    let name = qualified(&definition.schema, &definition.name);
    let sql = match mode {
        Mode::Upsert => format!("SELECT count(*) FROM (SELECT 1 FROM {name} LIMIT 1) t"),
        Mode::Insert | Mode::Replace => format!("SELECT count(*) FROM {name}"),
    };
    let row = client
        .query_one(&sql, &[])
        .await
        .map_err(|source| PostgresError::Statement { action: format!("look at {name}"), source })?;
    Ok(row.get(0))
}

/// Sequences that give rows their values: staged ones must stay behind them, and a rollback sets
/// them back.
async fn sequences(
    client: &Client,
    definition: &TableDefinition,
    shape: &TableShape,
) -> Result<Vec<Sequence>, LoadError> {
    let name = qualified(&definition.schema, &definition.name);
    let mut found = Vec::new();
    for column in &shape.columns {
        if !column.identity && column.default.is_none() {
            continue;
        }
        let row = client
            .query_one("SELECT pg_get_serial_sequence($1, $2)", &[&name, &column.name])
            .await
            .map_err(|source| PostgresError::Statement {
                action: format!("look for the sequence of {name}"),
                source,
            })?;
        if let Some(sequence) = row.get::<_, Option<String>>(0) {
            let staged = definition.columns.iter().find(|staged| staged.name == column.name);
            let advance = staged.map(|staged| advance_sequence(&sequence, &name, staged));
            found.push(Sequence { name: sequence, advance });
        }
    }
    Ok(found)
}

impl Plan {
    /// Whether this run made a table.
    pub(super) fn is_own(&self, table: &TableManifest) -> bool {
        self.own.contains(&table.definition.name)
    }

    /// Keys and indexes, then foreign keys, of the tables that this run makes; without those that
    /// an earlier attempt made.
    pub(super) async fn key_statements(
        &self,
        client: &Client,
        manifest: &TransformManifest,
    ) -> Result<[Vec<Statement>; 2], LoadError> {
        let definitions = self.own_definitions(manifest);
        let made = names::Made::of(client, &definitions).await?;
        Ok([
            made.missing(key_statements(&definitions))?,
            made.missing(foreign_key_statements(&definitions))?,
        ])
    }

    /// The definitions of the tables that this run makes.
    pub(super) fn own_definitions<'m>(
        &self,
        manifest: &'m TransformManifest,
    ) -> Vec<&'m TableDefinition> {
        let definitions = manifest.tables.iter().map(|table| &table.definition);
        definitions.filter(|definition| self.own.contains(&definition.name)).collect()
    }

    /// The whole of it, for people.
    pub(super) async fn describe(
        &self,
        client: &Client,
        manifest: &TransformManifest,
        mode: Mode,
    ) -> Result<LoadPlan, LoadError> {
        let mut steps = Vec::new();
        let mut step = |sql: String, rows: Option<u64>| steps.push(PlannedStep { sql, rows });
        if self.begun.is_none() {
            for hook in &manifest.before_load {
                step(format!("-- {}\n{}", hook.path, hook.sql.trim_end()), None);
            }
            let policies = policy_statements(&self.own_definitions(manifest));
            for statement in self.create.iter().chain(&policies) {
                step(statement.sql.clone(), None);
            }
        }
        for statement in &self.alter {
            step(statement.clone(), None);
        }
        for aside in self.asides.iter().rev() {
            step(aside.take.clone(), None);
        }
        for table in &manifest.tables {
            let definition = &table.definition;
            let name = qualified(&definition.schema, &definition.name);
            if self.replace.contains(&definition.name) {
                let count = rows(client, definition, Mode::Replace).await?;
                step(format!("DELETE FROM {name}"), u64::try_from(count).ok());
            }
            let parts = table.parts.iter().filter(|part| !self.parts.contains_key(&part.path));
            let count = parts.map(|part| part.rows).sum();
            let upserted = self.upsert.iter().any(|upsert| upsert.table == definition.name);
            let sql = if mode == Mode::Upsert && upserted {
                upsert::upsert_sql(definition)
            } else {
                copy::copy_sql(definition)
            };
            step(sql, Some(count));
        }
        let [keys, foreign_keys] = self.key_statements(client, manifest).await?;
        for statement in keys {
            step(statement.sql, None);
        }
        for aside in &self.asides {
            step(aside.make.clone(), None);
        }
        let aside = |name: &str| self.asides.iter().any(|aside| aside.name == name);
        for statement in foreign_keys.into_iter().filter(|key| !aside(&key.name)) {
            step(statement.sql, None);
        }
        for advance in self.sequences.iter().filter_map(|sequence| sequence.advance.clone()) {
            step(advance, None);
        }
        for hook in &manifest.after_load {
            step(format!("-- {}\n{}", hook.path, hook.sql.trim_end()), None);
        }
        for table in &manifest.tables {
            let definition = &table.definition;
            step(format!("ANALYZE {}", qualified(&definition.schema, &definition.name)), None);
        }
        Ok(LoadPlan { differences: self.differences.clone(), steps })
    }
}

/// The greatest number that a column holds, or that its source has given out for it.
fn highest(column: &ColumnDefinition) -> String {
    let held = format!("max({})", quote_identifier(&column.name));
    let most = match column.pg_type {
        PgType::SmallInt => i64::from(i16::MAX),
        PgType::Integer => i64::from(i32::MAX),
        _ => i64::MAX,
    };
    match column.sequence {
        Some(given) => format!("greatest({held}, {})", given.min(most)),
        None => held,
    }
}

/// Moves the sequence of an identity column past the numbers that were given out before. A
/// sequence begins at 1, whatever lies below.
pub(super) fn advance_identity(definition: &TableDefinition, column: &ColumnDefinition) -> String {
    let name = qualified(&definition.schema, &definition.name);
    format!(
        "SELECT setval(pg_get_serial_sequence({}, {}), highest) \
         FROM (SELECT {} AS highest FROM {name}) t WHERE highest >= 1",
        quote_literal(&name),
        quote_literal(&column.name),
        highest(column),
    )
}

/// Moves a sequence past the numbers that were given out before. One that is there already stays
/// as it is: others may take numbers from it at the same time.
fn advance_sequence(sequence: &str, table: &str, column: &ColumnDefinition) -> String {
    let (highest, literal) = (highest(column), quote_literal(sequence));
    format!(
        "SELECT setval({literal}, highest) FROM (SELECT {highest} AS highest FROM {table}) t, \
         {sequence} WHERE highest > last_value OR (highest = last_value AND NOT is_called)"
    )
}
