//! Names that a load gives: those that other objects have are found before rows are copied, and an
//! object counts as made only where table, name and definition agree.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use super::{LoadError, Mode};
use crate::postgres::ddl::{Statement, TEXT_OF_ARRAY, TEXT_OF_ARRAY_BODY};
use crate::postgres::objects::{
    Object, ObjectKind, Wanted, expected_objects, occupied_names, read_objects, wanted_names,
};
use crate::postgres::rights::schema_exists;
use crate::postgres::{PostgresError, quote_identifier};
use crate::staging::table::TableDefinition;

/// Fails where names of tables that are to be made, or of their keys and indexes, are taken.
pub(super) async fn check_tables(
    client: &Client,
    definitions: &[&TableDefinition],
) -> Result<(), LoadError> {
    let wanted = definitions.iter().flat_map(|definition| wanted_names(definition));
    check(client, definitions, wanted.collect()).await
}

/// The same for keys and indexes that tables of this run still lack.
pub(super) async fn check_objects(
    client: &Client,
    definitions: &[&TableDefinition],
) -> Result<(), LoadError> {
    let made = Made::of(client, definitions).await?;
    let wanted = definitions.iter().flat_map(|definition| wanted_names(definition));
    let lacks = |wanted: &Wanted| {
        let expected = made.expected(&wanted.table, &wanted.kind, &wanted.name);
        expected.is_some_and(|expected| !made.is_made(&wanted.table, expected))
    };
    check(client, definitions, wanted.filter(lacks).collect()).await
}

async fn check(
    client: &Client,
    definitions: &[&TableDefinition],
    wanted: Vec<Wanted>,
) -> Result<(), LoadError> {
    let Some(schema) = definitions.first().map(|definition| definition.schema.clone()) else {
        return Ok(());
    };
    let occupants = occupied_names(client, &schema, wanted).await?;
    if occupants.is_empty() { Ok(()) } else { Err(LoadError::NamesTaken { schema, occupants }) }
}

/// The schema, and enum types and functions that the tables share with others, where they are there
/// already as the tables need them.
pub(super) async fn made_already(
    client: &Client,
    definitions: &[&TableDefinition],
    labels: &HashMap<String, Vec<String>>,
    mode: Mode,
) -> Result<HashSet<(&'static str, String)>, LoadError> {
    let mut made = HashSet::new();
    let Some(schema) = definitions.first().map(|definition| definition.schema.clone()) else {
        return Ok(made);
    };
    if schema_exists(client, &schema).await? {
        made.insert(("schema", schema.clone()));
    }
    let mut wanted = Vec::new();
    for declared in definitions.iter().flat_map(|definition| &definition.enums) {
        let name = declared.name.clone();
        let Some(found) = labels.get(&name) else {
            let kind = "enum type".to_owned();
            wanted.push(Wanted { table: name.clone(), kind, name });
            continue;
        };
        // Rows that are added to those of others need the labels only.
        let enough =
            mode != Mode::Insert && declared.labels.iter().all(|label| found.contains(label));
        if *found != declared.labels && !enough {
            let (expected, found) = (declared.labels.join(", "), found.join(", "));
            return Err(LoadError::OtherType { schema, kind: "enum type", name, expected, found });
        }
        made.insert(("enum", name));
    }
    wanted.dedup_by(|right, left| right.name == left.name);
    let occupants = occupied_names(client, &schema, wanted).await?;
    if !occupants.is_empty() {
        return Err(LoadError::NamesTaken { schema, occupants });
    }
    let name = format!("{}.{TEXT_OF_ARRAY}(text[])", quote_identifier(&schema));
    let body = client
        .query_opt("SELECT prosrc FROM pg_proc WHERE oid = to_regprocedure($1)", &[&name])
        .await
        .map_err(|source| PostgresError::Statement {
            action: format!("look for function {name}"),
            source,
        })?;
    if let Some(found) = body.map(|row| row.get::<_, String>(0)) {
        let searched = definitions.iter().any(|definition| !definition.search.is_empty());
        if searched && found != TEXT_OF_ARRAY_BODY {
            let expected = TEXT_OF_ARRAY_BODY.trim().to_owned();
            let found = found.trim().to_owned();
            return Err(LoadError::OtherType { schema, kind: "function", name, expected, found });
        }
        made.insert(("function", TEXT_OF_ARRAY.to_owned()));
    }
    Ok(made)
}

/// The objects that tables of a run should have, and those that they have.
pub(super) struct Made {
    expected: HashMap<String, Vec<Object>>,
    found: HashMap<String, Vec<Object>>,
}

impl Made {
    /// Reads the objects of these tables.
    pub(super) async fn of(
        client: &Client,
        definitions: &[&TableDefinition],
    ) -> Result<Self, LoadError> {
        let mut found = HashMap::new();
        if let Some(first) = definitions.first() {
            let tables: Vec<String> =
                definitions.iter().map(|definition| definition.name.clone()).collect();
            found = read_objects(client, &first.schema, &tables).await?;
        }
        let expected = definitions
            .iter()
            .map(|definition| (definition.name.clone(), expected_objects(definition)))
            .collect();
        Ok(Self { expected, found })
    }

    /// The object of a table that should have this name.
    fn expected(&self, table: &str, kind: &str, name: &str) -> Option<&Object> {
        let mut expected = self.expected.get(table)?.iter();
        expected.find(|object| object.name == name && object.kind.to_string() == kind)
    }

    /// The objects that a table has.
    fn found(&self, table: &str) -> impl Iterator<Item = &Object> + use<'_> {
        self.found.get(table).into_iter().flatten()
    }

    /// Whether a table has an object. An SQL file that made the table anew, as a partitioned one
    /// for example, may have given it another name.
    fn is_made(&self, table: &str, expected: &Object) -> bool {
        let mut same = self
            .found(table)
            .filter(|found| found.kind == expected.kind && expected.is_defined_as(found));
        same.any(|found| {
            found.name == expected.name
                || self.expected(table, &found.kind.to_string(), &found.name).is_none()
        })
    }

    /// Those statements whose object is not there yet.
    ///
    /// # Errors
    /// The table has an object of that name with another definition.
    pub(super) fn missing(&self, statements: Vec<Statement>) -> Result<Vec<Statement>, LoadError> {
        let mut fresh = Vec::new();
        for statement in statements {
            let Some(expected) = self.expected(&statement.table, statement.kind, &statement.name)
            else {
                fresh.push(statement);
                continue;
            };
            if self.is_made(&statement.table, expected) {
                continue;
            }
            let mut named = self.found(&statement.table).filter(|found| {
                found.name == expected.name && share_names(expected.kind, found.kind)
            });
            if let Some(found) = named.next() {
                return Err(LoadError::OtherDefinition {
                    kind: found.kind,
                    name: found.name.clone(),
                    expected: expected.definition(),
                    found: found.definition(),
                    table: statement.table,
                });
            }
            fresh.push(statement);
        }
        Ok(fresh)
    }
}

/// Whether two objects of one table cannot have the same name.
fn share_names(left: ObjectKind, right: ObjectKind) -> bool {
    let is_constraint = |kind: ObjectKind| kind != ObjectKind::Index;
    (left.is_relation() && right.is_relation()) || (is_constraint(left) && is_constraint(right))
}
