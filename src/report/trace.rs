//! One document from its leaves to its rows, for people.

use super::lines::{Lines, Table};
use super::summary::count;
use crate::staging::rejects::Reject;
use crate::trace::{Held, Place, Traced};

/// Characters of a value that are shown in a table.
const SHOWN: usize = 60;

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The document, its leaves, its rows, and what was listed of it.
pub fn document(traced: &Traced) -> Lines {
    let mut text = Lines::default();
    line!(text, "collection {}, _id {}", traced.collection, traced.id);
    line!(
        text,
        "document {} of {} (SHA-256 {}): {} bytes, SHA-256 {}",
        traced.number,
        traced.part,
        traced.part_sha256,
        count(traced.bytes),
        traced.sha256
    );
    let mut leaves = Table::new(&["field", "value", "ends", "in"]);
    for leaf in &traced.trace.leaves {
        let columns = leaf.columns.join(", ");
        leaves.add_row([leaf.path.clone(), cut(&leaf.value), leaf.end.to_owned(), columns]);
    }
    text.table(&leaves);
    for (row, place) in traced.trace.rows.iter().zip(&traced.places) {
        line!(text, "{} row {}{}", row.table, row.key, at(place));
        let mut columns = Table::new(&["column", "value", "from", "by rule"]);
        for column in &row.columns {
            columns.add_row([
                column.column.clone(),
                cut(column.value.as_deref().unwrap_or("NULL")),
                column.path.clone().unwrap_or_default(),
                column.rule.unwrap_or_default().to_owned(),
            ]);
        }
        text.table(&columns);
    }
    for refused in &traced.trace.refused {
        line!(text, "refused: {refused}");
    }
    for (kind, lines) in [("reject", &traced.rejects), ("finding", &traced.findings)] {
        for Reject { table, column, rule, detail, .. } in lines {
            let table = table.as_deref().unwrap_or_default();
            let dot = if column.is_some() { "." } else { "" };
            let column = column.as_deref().unwrap_or_default();
            line!(text, "{kind}: {table}{dot}{column}: rule {rule}: {detail}");
        }
    }
    text
}

fn at(place: &Place) -> String {
    let staged = match (&place.part, place.number) {
        (Some(part), Some(number)) => format!(": row {number} of {part}"),
        _ => ": not staged so".to_owned(),
    };
    let target = match &place.target {
        None => String::new(),
        Some(Held::Equal) => "; PostgreSQL holds the same".to_owned(),
        Some(Held::Missing) => "; PostgreSQL has no such row".to_owned(),
        Some(Held::Differs(columns)) => {
            let columns = columns.iter().map(|(name, value)| {
                format!("{name} is {}", cut(value.as_deref().unwrap_or("NULL")))
            });
            format!("; in PostgreSQL {}", columns.collect::<Vec<_>>().join(", "))
        }
    };
    format!("{staged}{target}")
}
