//! What is notable of a row that is accepted, and what a field is apart from what it holds.

use super::convert::Refusal;
use super::plan::ColumnPlan;
use super::shape::Found;
use crate::document::jsonb::Changed;
use crate::document::raw::Value;

/// What a field is, apart from what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Filled,
    Empty,
    Null,
    Missing,
    Undefined,
}

impl Presence {
    pub(super) fn of(value: Option<&Value<'_>>) -> Self {
        match value {
            None => Self::Missing,
            Some(Value::Null) => Self::Null,
            Some(Value::Undefined) => Self::Undefined,
            Some(Value::Array(inner) | Value::Document(inner)) if inner.is_empty() => Self::Empty,
            Some(_) => Self::Filled,
        }
    }

    /// As a column of it has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Filled => "filled",
            Self::Empty => "empty",
            Self::Null => "null",
            Self::Missing => "missing",
            Self::Undefined => "undefined",
        }
    }
}

/// BSON's undefined, for which only jsonb has a form.
pub(super) fn undefined<'a>(column: Option<usize>, field: String) -> Found<'a> {
    Found {
        rule: "undefined",
        column,
        field: Some(field),
        value: Some(Value::Undefined),
        detail: "the field is undefined; NULL is stored".to_owned(),
    }
}

/// A refusal that stays a finding.
pub(super) fn found<'a>(
    at: usize,
    column: &ColumnPlan,
    rule: &'static str,
    value: Value<'a>,
    refusal: &Refusal,
) -> Found<'a> {
    Found {
        rule,
        column: Some(at),
        field: Some(column.field.clone()),
        value: Some(value),
        detail: refusal.detail.clone(),
    }
}

/// What a stored value lacks, as rules and details of findings.
pub(super) fn lacks(changed: Changed) -> Vec<(&'static str, String)> {
    let Changed { nuls, negative_zeros, null_elements } = changed;
    [
        ("nul_stripped", nuls, "U+0000 taken out"),
        ("negative_zero", negative_zeros, "negative zeros are 0 in jsonb"),
        ("null_element", null_elements, "nulls taken out of the array"),
    ]
    .into_iter()
    .filter(|(_, count, _)| *count > 0)
    .map(|(rule, count, what)| (rule, format!("{count} {what}")))
    .collect()
}

/// A key from which the `_id` does not return.
pub(super) fn digest<'a>(at: usize, column: &ColumnPlan, value: Value<'a>) -> Found<'a> {
    Found {
        rule: "digest_key",
        column: Some(at),
        field: Some(column.field.clone()),
        value: Some(value),
        detail: "the UUID is made from the value, and no column holds the value itself".to_owned(),
    }
}
