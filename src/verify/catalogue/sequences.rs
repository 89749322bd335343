//! Sequences that give rows their values: the next one is above all that are there.

use std::fmt::Write as _;

use tokio_postgres::Client;

use super::check::{Tables, failed};
use super::difference::Findings;
use super::tables::named;
use crate::postgres::{qualified, quote_identifier};
use crate::verify::VerifyError;

const SEQUENCES: &str = "
SELECT t.relname::text, a.attname::text, sn.nspname::text, s.relname::text, q.seqincrement,
       q.seqcycle, has_sequence_privilege(s.oid, 'SELECT'), q.seqmax
FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND NOT a.attisdropped
JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
    AND d.refobjsubid = a.attnum AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_namespace sn ON sn.oid = s.relnamespace
JOIN pg_sequence q ON q.seqrelid = s.oid
WHERE n.nspname = $1 AND t.relname = ANY ($2) ORDER BY 1, 2";

/// Sequences that are asked for in one query.
const BATCH: usize = 200;

/// Compares every sequence of a staged column with the rows of its table.
pub(super) async fn check(
    client: &Client,
    tables: &Tables<'_>,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let names: Vec<&str> = named(tables.all()).into_iter().collect();
    let failed = failed("sequences");
    let rows = client.query(SEQUENCES, &[&tables.schema, &names]).await.map_err(&failed)?;
    let staged = |table: &str, column: &str| {
        let mut tables = tables.all().filter(|definition| definition.name == table);
        tables.next()?.columns.iter().find(|own| own.name == column)
    };
    let mut sequences = Vec::new();
    for row in rows.iter().filter(|row| staged(row.get(0), row.get(1)).is_some()) {
        if row.get(6) {
            sequences.push(row);
        } else {
            findings.left_out.push(format!(
                "sequence {} may not be read by this role: its next value was not compared",
                row.get::<_, &str>(3)
            ));
        }
    }
    for batch in sequences.chunks(BATCH) {
        let mut sql = String::new();
        for row in batch {
            let separator = if sql.is_empty() { "" } else { " UNION ALL " };
            let _ = write!(
                sql,
                "{separator}SELECT last_value, is_called, (SELECT max({})::bigint FROM {}) FROM {}",
                quote_identifier(row.get(1)),
                qualified(tables.schema, row.get(0)),
                qualified(row.get(2), row.get(3))
            );
        }
        let values = client.query(&sql, &[]).await.map_err(&failed)?;
        for (row, values) in batch.iter().zip(values) {
            findings.count();
            let (last, called): (i64, bool) = (values.get(0), values.get(1));
            let increment: i64 = row.get(4);
            let held: Option<i64> = values.get(2);
            let given = staged(row.get(0), row.get(1)).and_then(|column| column.sequence);
            let Some(greatest) = held.max(given.map(|given| given.min(row.get(7)))) else {
                continue;
            };
            let passed = if called { last >= greatest } else { last > greatest };
            if increment > 0 && passed && !row.get::<_, bool>(5) {
                continue;
            }
            let next = if called { last.saturating_add(increment) } else { last };
            let found = match (increment > 0, row.get(5)) {
                (false, _) => "counting down".to_owned(),
                (true, true) => format!("{next} as its next value, and begins again at its end"),
                (true, false) => format!("{next} as its next value"),
            };
            findings.differs(
                row.get(0),
                format!("sequence {} of column {}", row.get::<_, &str>(3), row.get::<_, &str>(1)),
                format!("a next value above {greatest}"),
                found,
            );
        }
    }
    Ok(())
}
