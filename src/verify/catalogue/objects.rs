//! Keys, indexes, checks and foreign keys.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::check::Tables;
use super::difference::Findings;
use super::scratch::Scratch;
use crate::postgres::objects::{Object, ObjectKind, expected_objects, read_objects};
use crate::verify::VerifyError;

/// Compares the keys, indexes, checks and foreign keys of all tables.
pub(super) async fn check(
    client: &Client,
    tables: &Tables<'_>,
    scratch: &Scratch,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let names: Vec<String> = tables.all().map(|definition| definition.name.clone()).collect();
    let found = read_objects(client, tables.schema, &names).await?;
    let none = Vec::new();
    let of = |table: &str| found.get(table).unwrap_or(&none);
    for definition in &tables.own {
        let found = of(&definition.name);
        for mut expected in expected_objects(definition) {
            findings.count();
            if expected.expressions.is_none() {
                expected.expressions = scratch.expressions(&definition.name, &expected);
            }
            // A partitioned table was made anew, so that its objects have other names.
            let sound = |object: &Object| {
                object.kind == expected.kind
                    && object.is_defined_as(&expected)
                    && object.faults.is_empty()
            };
            if tables.partitioned.contains(&definition.name) && found.iter().any(sound) {
                continue;
            }
            compare(&definition.name, &expected, found, findings);
        }
    }
    // Which keys there are is the application's choice; that they work is not.
    for definition in &tables.existing {
        for object in of(&definition.name) {
            let disabled = object.faults.iter().any(|fault| fault.ends_with("disabled"));
            if object.kind == ObjectKind::ForeignKey && disabled {
                let sound = Object { faults: Vec::new(), ..object.clone() };
                differs(&definition.name, &sound, Some(object), findings);
            }
        }
    }
    Ok(())
}

fn compare(table: &str, expected: &Object, found: &[Object], findings: &mut Findings) {
    let is_index = |kind: ObjectKind| kind == ObjectKind::Index;
    // An index and a constraint may have one name.
    let named = found.iter().filter(|object| object.name == expected.name).min_by_key(|object| {
        (object.kind != expected.kind, is_index(object.kind) != is_index(expected.kind))
    });
    match named {
        Some(object) if object.is_defined_as(expected) && object.faults.is_empty() => {}
        other => differs(table, expected, other, findings),
    }
}

fn differs(table: &str, expected: &Object, found: Option<&Object>, findings: &mut Findings) {
    let object = format!("{} {}", expected.kind, expected.name);
    findings.differs(table, object, expected.definition(), found.map(Object::definition));
}

/// Objects by table.
pub(super) type Objects = HashMap<String, Vec<Object>>;
