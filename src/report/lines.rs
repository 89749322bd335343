//! Text for a person. Line breaks are those between lines and nothing else: what is put into a line
//! or a cell is escaped there, so that no name, value or message makes a line of its own.

use std::borrow::Cow;
use std::fmt;

use comfy_table::{CellAlignment, presets};

use crate::escape;

/// Lines, each without anything that a terminal obeys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(Vec<String>);

impl Lines {
    /// One line.
    pub fn of(text: impl fmt::Display) -> Self {
        let mut lines = Self::default();
        lines.push(text);
        lines
    }

    /// Adds one line, whatever is in the text.
    pub fn push(&mut self, text: impl fmt::Display) {
        self.0.push(escape::line(&text.to_string()).into_owned());
    }

    /// Adds the lines of others.
    pub fn append(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Adds a table.
    pub(super) fn table(&mut self, table: &Table) {
        self.raw(&table.0.to_string());
    }

    /// Adds a JSON value as it is laid out.
    pub fn json(&mut self, text: &str) {
        self.raw(&escape::json(text));
    }

    /// Adds a file that is printed: SQL or TOML, whose writer has escaped its names and texts.
    pub fn file(&mut self, text: &str) {
        self.raw(text.trim_end());
    }

    fn raw(&mut self, text: &str) {
        // A line break of another system, or one of Unicode, is none.
        self.0.extend(text.split('\n').map(|line| escape::lines(line).into_owned()));
    }

    /// Adds text whose layout is that of an error, as [`Explain::has_layout`] says.
    ///
    /// [`Explain::has_layout`]: crate::failure::Explain::has_layout
    pub(super) fn laid_out(&mut self, first: &str, text: &str) {
        self.raw(&format!("{first}{text}"));
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            formatter.write_str(line)?;
        }
        Ok(())
    }
}

/// A table of one line a row. Columns are as wide as their cells once these are escaped.
pub(super) struct Table(comfy_table::Table);

impl Table {
    /// The first column is on the left, numbers follow.
    pub(super) fn new(header: &[&str]) -> Self {
        let mut table = Self::plain(header);
        for column in table.0.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// All columns are on the left.
    pub(super) fn plain(header: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        let header: Vec<Cow<'_, str>> = header.iter().map(|name| escape::line(name)).collect();
        table.load_style(presets::UTF8_BORDERS_ONLY).set_header(header);
        Self(table)
    }

    pub(super) fn left(&mut self, column: usize) {
        if let Some(column) = self.0.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }

    pub(super) fn add_row<T: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells = cells.into_iter().map(|cell| escape::line(cell.as_ref()).into_owned());
        self.0.add_row(cells.collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_makes_a_line_of_its_own() {
        let mut lines = Lines::of("a\nrun 1: every row is proved");
        let mut table = Table::new(&["na\u{1b}me", "n"]);
        table.add_row(["x\ny\r\u{202e}", "1"]);
        lines.table(&table);
        lines.json("{\n  \"a\": \"\u{9b}\"\n}");
        let text = lines.to_string();
        assert_eq!(text.lines().count(), 1 + 5 + 3, "{text}");
        assert!(text.starts_with("a\\u{a}run 1"), "{text}");
        assert!(text.contains("x\\u{a}y\\u{d}\\u{202e}"), "{text}");
        assert!(text.ends_with("{\n  \"a\": \"\\u009b\"\n}"), "{text}");
        assert!(text.chars().all(|c| c == '\n' || !escape::is_harmful(c)), "{text:?}");
    }
}
