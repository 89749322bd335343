//! Tables of a relational source: what is declared leads, as far as the values agree. What is not
//! carried over has a `decide:` line.
//!
//! `table` lays out columns and keys with `column` and `default`, then all tables together get their
//! indexes (`index`), conditions (`expression`) and references (`reference`).

mod column;
mod default;
mod expression;
mod index;
mod reference;
mod table;

pub(super) use reference::relate;
pub(super) use table::table;
