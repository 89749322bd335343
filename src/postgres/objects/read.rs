//! The objects of tables as a database has them: two queries for all tables of a schema.

use std::collections::HashMap;
use std::fmt::Write as _;

use tokio_postgres::Client;

use super::object::{Object, ObjectKind};
use crate::postgres::PostgresError;

/// Indexes, those of keys included. A property of later versions of PostgreSQL is read through
/// `to_jsonb`, which earlier ones answer with NULL.
const INDEXES: &str = r#"
SELECT c.relname::text, x.relname::text, coalesce(k.contype::text, 'i'), am.amname::text,
       i.indisunique, i.indisvalid AND i.indisready AND i.indislive,
       coalesce((to_jsonb(i)->>'indnullsnotdistinct')::boolean, false),
       coalesce(k.condeferrable, false), coalesce(k.condeferred, false),
       pg_get_expr(i.indpred, i.indrelid), keys.parts, keys.included, keys.expressions
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_am am ON am.oid = x.relam
JOIN pg_class c ON c.oid = i.indrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid
    AND k.contype IN ('p', 'u', 'x')
CROSS JOIN LATERAL (
    SELECT array_agg(part ORDER BY number) FILTER (WHERE number <= i.indnkeyatts) AS parts,
           coalesce(array_agg(part ORDER BY number) FILTER (WHERE number > i.indnkeyatts), '{}')
               AS included,
           coalesce(array_agg(pg_get_indexdef(i.indexrelid, number, false) ORDER BY number)
               FILTER (WHERE attnum IS NULL), '{}') AS expressions
    FROM (
        SELECT number, a.attnum,
               coalesce('"' || replace(a.attname::text, '"', '""') || '"', U&'\2026')
               || CASE WHEN number > i.indnkeyatts OR i.indcollation[number - 1] = 0
                            OR i.indcollation[number - 1]
                               = coalesce(a.attcollation, t.typcollation) THEN ''
                       ELSE ' COLLATE ' || coalesce((SELECT collname::text FROM pg_collation
                                WHERE oid = i.indcollation[number - 1]), '?') END
               || CASE WHEN number > i.indnkeyatts OR o.opcdefault THEN ''
                       ELSE ' ' || o.opcname::text END
               || CASE WHEN number > i.indnkeyatts THEN ''
                       WHEN i.indoption[number - 1] = 1 THEN ' DESC NULLS LAST'
                       WHEN i.indoption[number - 1] = 2 THEN ' NULLS FIRST'
                       WHEN i.indoption[number - 1] = 3 THEN ' DESC' ELSE '' END AS part
        FROM generate_series(1, i.indnatts) AS number
        JOIN pg_attribute own ON own.attrelid = i.indexrelid AND own.attnum = number
        JOIN pg_type t ON t.oid = own.atttypid
        LEFT JOIN pg_attribute a
            ON a.attrelid = i.indrelid AND a.attnum = i.indkey[number - 1] AND a.attnum <> 0
        LEFT JOIN pg_opclass o
            ON number <= i.indnkeyatts AND o.oid = i.indclass[number - 1]
    ) AS columns
) AS keys
WHERE n.nspname = $1 AND c.relname = ANY ($2) ORDER BY 1, 2"#;

/// Checks and foreign keys.
const CONSTRAINTS: &str = r#"
SELECT c.relname::text, k.conname::text, k.contype::text, k.convalidated,
       coalesce((to_jsonb(k)->>'conenforced')::boolean, true),
       k.condeferrable, k.condeferred, k.connoinherit, pg_get_expr(k.conbin, k.conrelid),
       coalesce(own.columns, ''), coalesce(target.columns, ''),
       coalesce('"' || replace(fn.nspname::text, '"', '""') || '"."'
                || replace(f.relname::text, '"', '""') || '"', ''),
       k.confupdtype::text, k.confdeltype::text, k.confmatchtype::text,
       EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgconstraint = k.oid AND k.contype = 'f'
               AND g.tgenabled NOT IN ('O', 'A')),
       (SELECT string_agg('"' || replace(attname::text, '"', '""') || '"', ', ' ORDER BY place)
        FROM jsonb_array_elements_text(CASE jsonb_typeof(to_jsonb(k)->'confdelsetcols')
                 WHEN 'array' THEN to_jsonb(k)->'confdelsetcols' ELSE '[]' END)
             WITH ORDINALITY AS s(number, place)
        JOIN pg_attribute ON attrelid = k.conrelid AND attnum = s.number::int)
FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_class f ON f.oid = k.confrelid
LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace
LEFT JOIN LATERAL (
    SELECT string_agg('"' || replace(attname::text, '"', '""') || '"', ', ' ORDER BY place) AS columns
    FROM unnest(k.conkey) WITH ORDINALITY AS u(number, place)
    JOIN pg_attribute ON attrelid = k.conrelid AND attnum = number) AS own ON true
LEFT JOIN LATERAL (
    SELECT string_agg('"' || replace(attname::text, '"', '""') || '"', ', ' ORDER BY place) AS columns
    FROM unnest(k.confkey) WITH ORDINALITY AS u(number, place)
    JOIN pg_attribute ON attrelid = k.confrelid AND attnum = number) AS target ON true
WHERE n.nspname = $1 AND c.relname = ANY ($2) AND k.contype IN ('c', 'f') ORDER BY 1, 2"#;

/// Every key, index, check and foreign key of some tables of a schema, by table.
pub async fn read_objects(
    client: &Client,
    schema: &str,
    tables: &[String],
) -> Result<HashMap<String, Vec<Object>>, PostgresError> {
    let failed = |source| PostgresError::Statement {
        action: format!("read the keys and indexes of schema {schema}"),
        source,
    };
    let mut found: HashMap<String, Vec<Object>> = HashMap::new();
    for row in client.query(INDEXES, &[&schema, &tables]).await.map_err(failed)? {
        found.entry(row.get(0)).or_default().push(index(&row));
    }
    for row in client.query(CONSTRAINTS, &[&schema, &tables]).await.map_err(failed)? {
        let kind: &str = row.get(2);
        let object = if kind == "c" { check(&row) } else { foreign_key(&row) };
        found.entry(row.get(0)).or_default().push(object);
    }
    Ok(found)
}

fn index(row: &tokio_postgres::Row) -> Object {
    let kind = match row.get(2) {
        "p" => ObjectKind::PrimaryKey,
        "u" => ObjectKind::Unique,
        "x" => ObjectKind::Exclusion,
        _ => ObjectKind::Index,
    };
    let (parts, included): (Vec<String>, Vec<String>) = (row.get(10), row.get(11));
    let mut expressions: Vec<String> = row.get(12);
    let predicate: Option<String> = row.get(9);
    let shape = IndexShape {
        kind,
        method: row.get(3),
        unique: row.get(4),
        parts: &parts,
        included: &included,
        nulls_not_distinct: row.get(6),
        partial: predicate.is_some(),
    };
    let structure = shape.structure() + deferrable(row.get(7), row.get(8));
    expressions.extend(predicate);
    let faults = if row.get(5) { Vec::new() } else { vec!["not valid"] };
    Object { kind, name: row.get(1), structure, expressions: Some(expressions), faults }
}

/// An index, as its definition is written.
pub(super) struct IndexShape<'i> {
    pub(super) kind: ObjectKind,
    pub(super) method: &'i str,
    pub(super) unique: bool,
    /// Quoted columns, or holes for expressions, with what differs from the default order.
    pub(super) parts: &'i [String],
    pub(super) included: &'i [String],
    pub(super) nulls_not_distinct: bool,
    pub(super) partial: bool,
}

impl IndexShape<'_> {
    pub(super) fn structure(&self) -> String {
        let mut text = match self.kind {
            ObjectKind::PrimaryKey => "PRIMARY KEY".to_owned(),
            ObjectKind::Unique => "UNIQUE".to_owned(),
            ObjectKind::Exclusion => format!("EXCLUDE {}", self.method),
            _ if self.unique => format!("UNIQUE {}", self.method),
            _ => self.method.to_owned(),
        };
        let _ = write!(text, " ({})", self.parts.join(", "));
        if !self.included.is_empty() {
            let _ = write!(text, " INCLUDE ({})", self.included.join(", "));
        }
        if self.nulls_not_distinct {
            text.push_str(" NULLS NOT DISTINCT");
        }
        if self.partial {
            text.push_str(" WHERE \u{2026}");
        }
        text
    }
}

/// How late a constraint is checked; nothing where that is at once.
pub(super) fn deferrable(deferrable: bool, deferred: bool) -> &'static str {
    match (deferrable, deferred) {
        (false, _) => "",
        (true, false) => " DEFERRABLE",
        (true, true) => " DEFERRABLE INITIALLY DEFERRED",
    }
}

fn check(row: &tokio_postgres::Row) -> Object {
    let mut structure = "CHECK \u{2026}".to_owned();
    if row.get(7) {
        structure.push_str(" NO INHERIT");
    }
    let expression: Option<String> = row.get(8);
    let expressions = Some(expression.into_iter().collect());
    Object {
        kind: ObjectKind::Check,
        name: row.get(1),
        structure,
        expressions,
        faults: faults(row),
    }
}

fn faults(row: &tokio_postgres::Row) -> Vec<&'static str> {
    let mut faults = Vec::new();
    if !row.get::<_, bool>(4) {
        faults.push("not enforced");
    } else if !row.get::<_, bool>(3) {
        faults.push("not validated");
    }
    if row.get(15) {
        faults.push("its triggers are disabled");
    }
    faults
}

fn foreign_key(row: &tokio_postgres::Row) -> Object {
    let (columns, target, target_columns): (&str, &str, &str) =
        (row.get(9), row.get(11), row.get(10));
    let mut structure = format!("FOREIGN KEY ({columns}) REFERENCES {target} ({target_columns})");
    match row.get(14) {
        "f" => structure.push_str(" MATCH FULL"),
        "p" => structure.push_str(" MATCH PARTIAL"),
        _ => {}
    }
    for (event, action) in [("UPDATE", row.get(12)), ("DELETE", row.get(13))] {
        let action = match action {
            "r" => "RESTRICT",
            "c" => "CASCADE",
            "n" => "SET NULL",
            "d" => "SET DEFAULT",
            _ => continue,
        };
        let _ = write!(structure, " ON {event} {action}");
    }
    if let Some(columns) = row.get::<_, Option<&str>>(16) {
        let _ = write!(structure, " ({columns})");
    }
    structure.push_str(deferrable(row.get(5), row.get(6)));
    Object {
        kind: ObjectKind::ForeignKey,
        name: row.get(1),
        structure,
        expressions: Some(Vec::new()),
        faults: faults(row),
    }
}
