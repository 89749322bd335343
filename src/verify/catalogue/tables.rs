//! Tables as such: their kind, what inherits, what redirects rows, what is switched off.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use super::check::{Tables, failed};
use super::difference::Findings;
use crate::staging::table::TableDefinition;
use crate::verify::VerifyError;

const TABLES: &str = "
SELECT c.relname::text, c.relkind::text, c.relpersistence::text,
       c.relrowsecurity, c.relforcerowsecurity,
       ARRAY(SELECT inhparent::regclass::text FROM pg_inherits WHERE inhrelid = c.oid ORDER BY 1),
       ARRAY(SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = c.oid ORDER BY 1),
       ARRAY(SELECT rulename::text FROM pg_rewrite
             WHERE ev_class = c.oid AND is_instead AND ev_enabled <> 'D' ORDER BY 1),
       ARRAY(SELECT tgname::text FROM pg_trigger
             WHERE tgrelid = c.oid AND NOT tgisinternal AND tgenabled = 'D' ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = ANY ($2) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";

/// Compares the tables, and takes those away that are not there: all else about them is missing too.
pub(super) async fn check(
    client: &Client,
    tables: &mut Tables<'_>,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let names: Vec<String> = tables.all().map(|definition| definition.name.clone()).collect();
    let rows = client.query(TABLES, &[&tables.schema, &names]).await.map_err(failed("tables"))?;
    let found: HashMap<&str, &tokio_postgres::Row> =
        rows.iter().map(|row| (row.get(0), row)).collect();
    for definition in &tables.own {
        findings.count();
        match found.get(definition.name.as_str()) {
            Some(row) => own(definition, row, findings),
            None => missing(definition, findings),
        }
    }
    for definition in &tables.existing {
        findings.count();
        if !found.contains_key(definition.name.as_str()) {
            missing(definition, findings);
        }
    }
    let partitioned = rows.iter().filter(|row| row.get::<_, &str>(1) == "p");
    tables.partitioned = partitioned.map(|row| row.get(0)).collect();
    let is_table = |definition: &&TableDefinition| {
        let row = found.get(definition.name.as_str());
        row.is_some_and(|row| matches!(row.get(1), "r" | "p"))
    };
    tables.own.retain(is_table);
    tables.existing.retain(is_table);
    Ok(())
}

fn missing(definition: &TableDefinition, findings: &mut Findings) {
    findings.differs(&definition.name, "table", "a table", None);
}

fn own(definition: &TableDefinition, row: &tokio_postgres::Row, findings: &mut Findings) {
    let name = &definition.name;
    let kind = match row.get(1) {
        "r" | "p" => None,
        "v" => Some("a view"),
        "m" => Some("a materialized view"),
        _ => Some("a foreign table"),
    };
    if let Some(kind) = kind {
        findings.differs(name, "table", "a plain table", kind.to_owned());
    }
    if row.get::<_, &str>(2) == "u" {
        let found = "unlogged: a crash empties it";
        findings.differs(name, "table", "logged", found.to_owned());
    }
    let lists: [(usize, &str, &str); 4] = [
        (5, "inheritance", "inherits from nothing"),
        (6, "children", "nothing inherits from it"),
        (7, "rules", "no rule that does something else instead"),
        (8, "triggers", "all enabled"),
    ];
    for (index, object, expected) in lists {
        let list: Vec<String> = row.get(index);
        let partitions = object == "children" && row.get::<_, &str>(1) == "p";
        // A view is a rule itself.
        if list.is_empty() || partitions || kind.is_some_and(|kind| kind.ends_with("view")) {
            continue;
        }
        let list = list.join(", ");
        let found = match index {
            5 => format!("inheriting from {list}"),
            6 => format!("{list}: rows of theirs are read as its own"),
            7 => list,
            _ => format!("disabled: {list}"),
        };
        findings.differs(name, object, expected, found);
    }
    if definition.tenant.is_some() {
        let (enabled, forced): (bool, bool) = (row.get(3), row.get(4));
        let found = match (enabled, forced) {
            (true, true) => return,
            (false, _) => "disabled",
            (true, false) => "enabled, not forced",
        };
        findings.differs(name, "row-level security", "enabled and forced", found.to_owned());
    }
}

/// The names of tables that have columns of a kind, for later queries.
pub(super) fn named<'d>(
    definitions: impl Iterator<Item = &'d TableDefinition>,
) -> HashSet<&'d str> {
    definitions.map(|definition| definition.name.as_str()).collect()
}
