//! The target tables of a pipeline: what load creates and `docferry ddl` prints.

use std::collections::HashSet;

use super::model::{
    Check, Column, Dangling, DefaultValue, Deferrable, Index, Junction, Literal, OnDelete,
    Pipeline, Table,
};
use super::object_names::name_objects;
use crate::pgcopy::PgType;
use crate::postgres::{qualified, quote_identifier};
use crate::staging::table::{
    CheckDefinition, ColumnDefinition, EnumDefinition, ForeignKeyDefinition, IndexDefinition,
    SearchDefinition, TableDefinition, TableKind, UniqueDefinition,
};

/// All tables, then all junction tables, in the order of the file. Derived names are empty until
/// all definitions are there: they share one namespace.
pub fn table_definitions(pipeline: &Pipeline) -> Vec<TableDefinition> {
    let tables = pipeline.tables.iter().map(|table| table_definition(pipeline, table));
    let junctions =
        pipeline.junctions.iter().map(|junction| junction_definition(pipeline, junction));
    let mut definitions: Vec<TableDefinition> = tables.chain(junctions).collect();
    name_objects(&mut definitions);
    definitions
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::String(text) => format!("'{}'", text.replace('\'', "''")),
        Literal::Integer(number) => number.to_string(),
        Literal::Float(number) => number.to_string(),
        Literal::Boolean(flag) => flag.to_string(),
    }
}

fn column_definition(column: &Column) -> ColumnDefinition {
    let default = column.default.as_ref().map(|default| match default {
        DefaultValue::Now => "CURRENT_TIMESTAMP".to_owned(),
        DefaultValue::Uuid => "gen_random_uuid()".to_owned(),
        DefaultValue::Literal(value) => literal(value),
        DefaultValue::Sql(expression) => format!("({expression})"),
    });
    ColumnDefinition {
        name: column.name.clone(),
        pg_type: column.pg_type.clone(),
        nullable: column.is_nullable() && !column.identity,
        identity: column.identity,
        default,
        // Known from the source, at the time of the transform.
        sequence: None,
    }
}

/// References of a tenant's row should lead to rows of the same tenant.
fn inside_tenant(pipeline: &Pipeline, table: &Table) -> Vec<CheckDefinition> {
    let Some(own) = &table.tenant else { return Vec::new() };
    let mut found = Vec::new();
    for column in table.columns.iter().filter(|column| column.name != *own) {
        let Some(reference) = &column.references else { continue };
        let target = pipeline.tables.iter().find(|target| target.name == reference.table);
        let Some(other) = target.and_then(|target| target.tenant.as_ref()) else { continue };
        let name = qualified(&pipeline.schema, &table.name);
        found.push(CheckDefinition {
            name: format!("{}_stays_inside_the_tenant", column.name),
            expression: format!(
                "coalesce({name}.{} = (SELECT r.{} FROM {} r WHERE r.{} = {name}.{}), {name}.{} IS NULL)",
                quote_identifier(own),
                quote_identifier(other),
                qualified(&pipeline.schema, &reference.table),
                quote_identifier(&reference.column),
                quote_identifier(&column.name),
                quote_identifier(&column.name),
            ),
        });
    }
    found
}

fn check_definition(check: &Check) -> CheckDefinition {
    CheckDefinition { name: check.name.clone(), expression: check.expression.clone() }
}

fn table_definition(pipeline: &Pipeline, table: &Table) -> TableDefinition {
    let mut foreign_keys = Vec::new();
    for column in &table.columns {
        let Some(reference) =
            column.references.as_ref().filter(|_| column.dangling != Dangling::Keep)
        else {
            continue;
        };
        foreign_keys.push(ForeignKeyDefinition {
            name: String::new(),
            columns: vec![column.name.clone()],
            references_table: reference.table.clone(),
            references_columns: vec![reference.column.clone()],
            on_delete: reference.on_delete.map(|action| OnDelete::sql(action).to_owned()),
            on_update: reference.on_update.map(|action| OnDelete::sql(action).to_owned()),
            deferrable: reference.deferrable.map(|checked| {
                match checked {
                    Deferrable::Immediate => "INITIALLY IMMEDIATE",
                    Deferrable::Deferred => "INITIALLY DEFERRED",
                }
                .to_owned()
            }),
        });
    }
    let mut indexes: Vec<IndexDefinition> = Vec::new();
    let mut indexed = HashSet::new();
    for index in &table.indexes {
        // A column may be indexed for its reference and be named again as a filter field.
        if !indexed.insert(Index { name: None, ..index.clone() }) {
            continue;
        }
        indexes.push(IndexDefinition {
            name: index.name.clone().unwrap_or_default(),
            columns: index.columns.clone(),
            lower: index.lower.clone(),
            descending: index.descending.clone(),
            unique: index.unique,
            method: index.method.clone(),
            predicate: index.predicate.clone(),
        });
    }
    let columns: Vec<ColumnDefinition> = table.columns.iter().map(column_definition).collect();
    TableDefinition {
        schema: pipeline.schema.clone(),
        name: table.name.clone(),
        kind: TableKind::Table,
        source: Some(table.source.clone()),
        primary_key_name: None,
        primary_key: table
            .columns
            .iter()
            .filter(|column| column.key.is_some())
            .map(|column| column.name.clone())
            .collect(),
        upsert_by: table.upsert_by.clone(),
        unique: distinct(&table.unique)
            .map(|columns| UniqueDefinition { name: String::new(), columns: columns.clone() })
            .collect(),
        foreign_keys,
        indexes,
        search: table
            .search
            .iter()
            .map(|search| SearchDefinition {
                column: search.column.clone(),
                index: String::new(),
                sources: search.columns.clone(),
                language: search.language.clone(),
            })
            .collect(),
        checks: table.checks.iter().map(check_definition).collect(),
        expectations: table
            .expectations
            .iter()
            .map(check_definition)
            .chain(inside_tenant(pipeline, table))
            .collect(),
        tenant: table.tenant.clone(),
        enums: enums(pipeline, &columns),
        columns,
    }
}

/// The column lists, each once.
fn distinct(unique: &[Vec<String>]) -> impl Iterator<Item = &Vec<String>> {
    let mut known = HashSet::new();
    unique.iter().filter(move |columns| known.insert(*columns))
}

fn enums(pipeline: &Pipeline, columns: &[ColumnDefinition]) -> Vec<EnumDefinition> {
    let used: HashSet<&str> = columns
        .iter()
        .filter_map(|column| match column.pg_type.element() {
            PgType::Enum(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    pipeline
        .enums
        .iter()
        .filter(|declared| used.contains(declared.name.as_str()))
        .map(|declared| EnumDefinition {
            name: declared.name.clone(),
            labels: declared.labels.clone(),
        })
        .collect()
}

fn junction_definition(pipeline: &Pipeline, junction: &Junction) -> TableDefinition {
    let key_of = |table: &str| {
        let table = pipeline.tables.iter().find(|candidate| candidate.name == table);
        table.and_then(|table| table.columns.iter().find(|column| column.key.is_some()))
    };
    let mandatory = |name: &str, pg_type: PgType| ColumnDefinition {
        name: name.to_owned(),
        pg_type,
        nullable: false,
        identity: false,
        default: None,
        sequence: None,
    };
    let sides = junction.columns.iter().map(|column| {
        let pg_type = key_of(&column.table).map_or(PgType::Uuid, |key| key.pg_type.clone());
        mandatory(&column.name, pg_type)
    });
    let position = junction.position.as_ref().map(|name| mandatory(name, PgType::Integer));
    // The primary key serves look-ups by its first column only.
    let other = match junction.ordered() {
        Some((side, _)) => &junction.columns[1 - side],
        None => &junction.columns[1],
    };
    let foreign_keys = junction.columns.iter().map(|column| ForeignKeyDefinition {
        name: String::new(),
        columns: vec![column.name.clone()],
        references_table: column.table.clone(),
        references_columns: vec![
            key_of(&column.table).map_or("id".to_owned(), |key| key.name.clone()),
        ],
        on_delete: Some("CASCADE".to_owned()),
        on_update: None,
        deferrable: None,
    });
    TableDefinition {
        schema: pipeline.schema.clone(),
        name: junction.name.clone(),
        kind: TableKind::Junction,
        source: None,
        columns: sides.chain(position).collect(),
        primary_key_name: None,
        primary_key: junction.key(),
        upsert_by: Vec::new(),
        unique: Vec::new(),
        foreign_keys: foreign_keys.collect(),
        indexes: vec![IndexDefinition {
            name: String::new(),
            columns: vec![other.name.clone()],
            lower: Vec::new(),
            descending: Vec::new(),
            unique: false,
            method: "btree".to_owned(),
            predicate: None,
        }],
        search: Vec::new(),
        checks: Vec::new(),
        expectations: Vec::new(),
        tenant: None,
        enums: Vec::new(),
    }
}
