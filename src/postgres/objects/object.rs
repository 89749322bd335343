//! An object of a table, apart from its name and its expressions.

use std::fmt;

/// Stands for an expression in a definition: the server prints expressions in its own way.
pub(super) const HOLE: char = '\u{2026}';

/// Kinds of objects that belong to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// Primary key.
    PrimaryKey,
    /// Unique constraint.
    Unique,
    /// Exclusion constraint.
    Exclusion,
    /// Index that belongs to no constraint.
    Index,
    /// Check constraint.
    Check,
    /// Foreign key.
    ForeignKey,
}

impl ObjectKind {
    /// Whether its name is taken in the namespace of tables and indexes.
    pub fn is_relation(self) -> bool {
        !matches!(self, Self::Check | Self::ForeignKey)
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PrimaryKey => "primary key",
            Self::Unique => "unique constraint",
            Self::Exclusion => "exclusion constraint",
            Self::Index => "index",
            Self::Check => "check",
            Self::ForeignKey => "foreign key",
        })
    }
}

/// A key, an index, a check or a foreign key of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Kind.
    pub kind: ObjectKind,
    /// Name.
    pub name: String,
    /// Definition in which [`HOLE`] stands for each expression.
    pub structure: String,
    /// The expressions, in their order, as the server prints them; none when that is not known.
    pub expressions: Option<Vec<String>>,
    /// What keeps it from working: not validated, not ready, switched off.
    pub faults: Vec<&'static str>,
}

impl Object {
    /// Whether both have the same definition, as far as it is known of both.
    pub fn is_defined_as(&self, other: &Self) -> bool {
        let same = match (&self.expressions, &other.expressions) {
            (Some(own), Some(others)) => own == others,
            _ => true,
        };
        self.structure == other.structure && same
    }

    /// Its definition, for people.
    pub fn definition(&self) -> String {
        let mut text = String::new();
        let mut expressions = self.expressions.iter().flatten();
        for character in self.structure.chars() {
            let expression = if character == HOLE { expressions.next() } else { None };
            match expression {
                Some(expression) => text.push_str(expression),
                None => text.push(character),
            }
        }
        for fault in &self.faults {
            text.push_str(", ");
            text.push_str(fault);
        }
        text
    }
}
