//! The rules that a pipeline file states beyond the type.

use super::cell::Cell;
use super::convert::Refusal;
use super::plan::ColumnPlan;

/// The rules that the pipeline file states beyond the type.
pub(super) fn check(column: &ColumnPlan, cell: &Cell<'_>) -> Result<(), Refusal> {
    match cell {
        Cell::Text(text) => {
            if let Some(pattern) = &column.pattern
                && !pattern.is_match(text)
            {
                return Err(Refusal::new("pattern", format!("the text does not match {pattern}")));
            }
            if let Some(limit) = column.length
                && text.chars().count() > limit as usize
            {
                return Err(Refusal::new("length", format!("more than {limit} characters")));
            }
            if column.email && !looks_like_email(text) {
                return Err(Refusal::new(
                    "email",
                    "the text does not have the form of an e-mail address",
                ));
            }
        }
        Cell::List(items) => {
            if let Some(limit) = column.length
                && items.len() > limit as usize
            {
                return Err(Refusal::new("length", format!("more than {limit} elements")));
            }
        }
        Cell::Numeric(text) => {
            // The bounds are doubles; PostgreSQL's special values read as theirs.
            let near = text.parse::<f64>();
            bounds(column, near.unwrap_or(f64::NAN))?;
        }
        Cell::Integer(number) => bounds(column, *number as f64)?,
        Cell::Double(number) => bounds(column, *number)?,
        Cell::Real(number) => bounds(column, f64::from(*number))?,
        _ => {}
    }
    Ok(())
}

fn bounds(column: &ColumnPlan, number: f64) -> Result<(), Refusal> {
    if let Some(least) = column.min
        && (number < least || number.is_nan())
    {
        return Err(Refusal::new("min", format!("less than {least}")));
    }
    if let Some(greatest) = column.max
        && (number > greatest || number.is_nan())
    {
        return Err(Refusal::new("max", format!("more than {greatest}")));
    }
    Ok(())
}

/// One `@`, something before it, a domain with a dot after it, no white space.
fn looks_like_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let labels_filled = domain.split('.').all(|label| !label.is_empty());
    !local.is_empty()
        && domain.contains('.')
        && labels_filled
        && !domain.contains('@')
        && !text.contains(char::is_whitespace)
}
