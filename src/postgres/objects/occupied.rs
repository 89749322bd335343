//! Names that a load needs and that other objects of the schema have.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::expected::expected_objects;
use crate::postgres::{PostgresError, qualified, quote_identifier};
use crate::staging::table::TableDefinition;

/// Bytes of an identifier that PostgreSQL keeps.
const IDENTIFIER_BYTES: usize = 63;

/// A name that a load gives.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Table it belongs to; the table itself included.
    pub table: String,
    /// Kind of the object: `table`, `primary key`, …
    pub kind: String,
    /// The name.
    pub name: String,
}

/// An object that has the name already.
#[derive(Clone, Debug)]
pub struct Occupant {
    /// What the load wants the name for.
    pub wanted: Wanted,
    /// Kind of the object that has it.
    pub kind: String,
    /// Table that it belongs to, where it belongs to one.
    pub table: Option<String>,
    /// Statement that gives it another name.
    pub rename: String,
}

/// The names that a table, its keys and its indexes take in its schema.
pub fn wanted_names(definition: &TableDefinition) -> Vec<Wanted> {
    let wanted = |kind: String, name: &str| Wanted {
        table: definition.name.clone(),
        kind,
        name: name.to_owned(),
    };
    let objects = expected_objects(definition);
    let objects = objects.iter().filter(|object| object.kind.is_relation());
    let objects = objects.map(|object| wanted(object.kind.to_string(), &object.name));
    [wanted("table".to_owned(), &definition.name)].into_iter().chain(objects).collect()
}

/// Those names that an object of something else has: of another table, or none of a table.
pub async fn occupied_names(
    client: &Client,
    schema: &str,
    wanted: Vec<Wanted>,
) -> Result<Vec<Occupant>, PostgresError> {
    let failed = |source| PostgresError::Statement {
        action: format!("read the names of schema {schema}"),
        source,
    };
    let names: Vec<&str> = wanted.iter().map(|wanted| wanted.name.as_str()).collect();
    let sql = "SELECT c.relname::text, c.relkind::text, t.relname::text \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               LEFT JOIN pg_index i ON i.indexrelid = c.oid \
               LEFT JOIN pg_class t ON t.oid = i.indrelid \
               WHERE nspname = $1 AND c.relname = ANY ($2)";
    let rows = client.query(sql, &[&schema, &names]).await.map_err(failed)?;
    let mut relations: HashMap<String, (String, Option<String>)> =
        rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
    // Types without a relation of their own; arrays make room by themselves.
    let sql = "SELECT typname::text FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace \
               WHERE nspname = $1 AND typname = ANY ($2) AND typrelid = 0 AND typcategory <> 'A'";
    let rows = client.query(sql, &[&schema, &names]).await.map_err(failed)?;
    let types: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut occupants = Vec::new();
    for wanted in wanted {
        let typed = wanted.kind == "table" || wanted.kind == "enum type";
        let found = relations.remove(&wanted.name);
        let of_type = || {
            let kind = ("T".to_owned(), None);
            Some(kind).filter(|_| typed && types.contains(&wanted.name))
        };
        let Some((kind, table)) = found.or_else(of_type) else { continue };
        let beside = wanted.kind == "enum type" && matches!(kind.as_str(), "i" | "I" | "S");
        if beside || (table.as_deref() == Some(&wanted.table) && wanted.kind != "table") {
            continue;
        }
        let (kind, alter) = match kind.as_str() {
            "i" | "I" => ("index", "INDEX"),
            "S" => ("sequence", "SEQUENCE"),
            "v" => ("view", "VIEW"),
            "m" => ("materialized view", "MATERIALIZED VIEW"),
            "f" => ("foreign table", "FOREIGN TABLE"),
            "c" | "T" => ("type", "TYPE"),
            _ => ("table", "TABLE"),
        };
        occupants.push(Occupant {
            rename: format!(
                "ALTER {alter} {} RENAME TO {}",
                qualified(schema, &wanted.name),
                quote_identifier(&old_name(&wanted.name))
            ),
            kind: kind.to_owned(),
            table,
            wanted,
        });
    }
    Ok(occupants)
}

/// A name for an object that makes room.
fn old_name(name: &str) -> String {
    let cut = name.floor_char_boundary((IDENTIFIER_BYTES - 4).min(name.len()));
    format!("{}_old", &name[..cut])
}
