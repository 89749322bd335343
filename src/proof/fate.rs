//! Where each leaf of a document ends.

use std::ops::Range;

use super::report::LeafSums;

/// Rules of the pipeline file, or of its documentation, that change a leaf or leave it out. Of several
/// rules the last in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// Only elements of the documents are rows: no table takes the documents themselves.
    NoTable,
    /// `ignore`.
    Ignored,
    /// `unmapped = "drop"`.
    DroppedField,
    /// `where`: the table says what the field holds, or does not take the document.
    Where,
    /// `otherwise = "drop"`.
    Otherwise,
    /// `dangling = "null"`.
    Dangling,
    /// `on_fail = "null"`.
    OnFail,
    /// `empty = "null"`.
    EmptyNull,
    /// `nul = "strip"`.
    Nul,
    /// Only floating-point numbers have a negative zero.
    NegativeZero,
    /// Undefined is NULL.
    Undefined,
    /// `fill`: a value stands for null.
    Filled,
    /// An earlier field of the column's list holds the value.
    FirstOf,
    /// An id that occurs earlier in the array of a junction.
    Repeat,
    /// A null in the array of a junction.
    NullElement,
    /// No id in the array of a junction.
    RefusedElement,
    /// An array or document without elements leaves no row and no value.
    Empty,
    /// A number stands for the `_id`.
    SerialKey,
    /// A digest stands for the `_id`.
    DigestKey,
    /// `values`.
    Values,
    /// The `_id` of a relational source repeats what its columns hold.
    RowId,
}

impl Rule {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ignored => "ignore",
            Self::DroppedField => "dropped_field",
            Self::Where => "where",
            Self::Otherwise => "otherwise",
            Self::Dangling => "dangling",
            Self::OnFail => "on_fail_null",
            Self::EmptyNull => "empty_null",
            Self::Nul => "nul_stripped",
            Self::NegativeZero => "negative_zero",
            Self::Undefined => "undefined",
            Self::Filled => "filled",
            Self::FirstOf => "first_of",
            Self::Repeat => "repeat",
            Self::NullElement => "null_element",
            Self::RefusedElement => "refused_element",
            Self::Empty => "empty",
            Self::SerialKey => "serial_key",
            Self::DigestKey => "digest_key",
            Self::Values => "values",
            Self::RowId => "row_id",
            Self::NoTable => "no_table",
        }
    }
}

/// Where a leaf ends. Several tables may look at one leaf: the greatest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// Nothing took it so far.
    #[default]
    Open,
    /// A rule says what happens to it.
    Ruled(Rule),
    /// It is part of a record that is listed as a reject.
    Rejected,
    /// PostgreSQL holds it.
    Equal,
    /// None of these.
    Different,
}

/// The fates of the leaves of one document.
#[derive(Debug, Default)]
pub(super) struct Fates(Vec<Fate>);

impl Fates {
    /// Of so many leaves, all open.
    pub(super) fn begin(&mut self, leaves: usize) {
        self.0.clear();
        self.0.resize(leaves, Fate::Open);
    }

    pub(super) fn mark(&mut self, leaves: Range<usize>, fate: Fate) {
        for leaf in self.0.get_mut(leaves).unwrap_or_default() {
            *leaf = fate.max(*leaf);
        }
    }

    /// All of them, in the order of the leaves.
    pub(super) fn all(&self) -> &[Fate] {
        &self.0
    }

    /// The first leaf that nothing took.
    pub(super) fn open(&self) -> Option<usize> {
        self.0.iter().position(|fate| *fate == Fate::Open)
    }

    /// Adds them up.
    pub(super) fn count(&self, sums: &mut LeafSums) {
        sums.documents += 1;
        sums.leaves += self.0.len() as u64;
        for fate in &self.0 {
            match fate {
                Fate::Ruled(rule) => {
                    sums.ruled += 1;
                    *sums.rules.entry(rule.name()).or_default() += 1;
                }
                Fate::Rejected => sums.rejected += 1,
                Fate::Equal => sums.equal += 1,
                Fate::Open | Fate::Different => sums.different += 1,
            }
        }
    }
}

/// What a column, or the table as a whole, does with some leaves of a record.
#[derive(Clone, Debug)]
pub(super) struct Take {
    pub(super) leaves: Range<usize>,
    /// None where no single column does.
    pub(super) column: Option<usize>,
    /// None where the column holds them.
    pub(super) rule: Option<Rule>,
}
