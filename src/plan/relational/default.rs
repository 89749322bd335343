//! Defaults: what the pipeline file can say of them.

use crate::document::datetime::{has_offset, parse_date, parse_timestamp};
use crate::plan::draft::{DraftColumn, text};
use crate::source::sqlite::token::{Placed, Token, tokens};

/// The moment in UTC, which is what SQLite's clock gives.
const NOW: &str = "CURRENT_TIMESTAMP AT TIME ZONE 'UTC'";

/// A default as the pipeline file writes it; nothing for NULL.
///
/// # Errors
/// Fails where the pipeline file has no words for it.
pub(super) fn default(sql: &str, column: &DraftColumn) -> Result<Option<String>, ()> {
    let all = tokens(sql);
    let mut words: &[Placed] = &all;
    while let [open, inner @ .., close] = words
        && open.token.is_symbol("(")
        && close.token.is_symbol(")")
        && balanced(inner)
    {
        words = inner;
    }
    let plain: Vec<&Token> = words.iter().map(|placed| &placed.token).collect();
    let found = match plain.as_slice() {
        [null] if null.is("NULL") => return Ok(None),
        [only] => one(only, column),
        [sign, Token::Number(number)] if sign.is_symbol("-") => {
            of_number(&format!("-{number}"), column)
        }
        [sign, Token::Number(number)] if sign.is_symbol("+") => of_number(number, column),
        [function, open, arguments @ .., close] if open.is_symbol("(") && close.is_symbol(")") => {
            of_function(function, arguments, column)
        }
        _ => None,
    };
    found.map(Some).ok_or(())
}

fn balanced(tokens: &[Placed]) -> bool {
    let mut depth = 0;
    for placed in tokens {
        depth += i32::from(placed.token.is_symbol("(")) - i32::from(placed.token.is_symbol(")"));
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

fn expression(sql: &str) -> String {
    format!("{{ sql = {} }}", text(sql))
}

fn one(token: &Token, column: &DraftColumn) -> Option<String> {
    match token {
        Token::Word(word) => match word.to_uppercase().as_str() {
            "CURRENT_TIMESTAMP" => now("YYYY-MM-DD HH24:MI:SS", column),
            "CURRENT_DATE" => now("YYYY-MM-DD", column),
            "CURRENT_TIME" => now("HH24:MI:SS", column),
            flag @ ("TRUE" | "FALSE") => {
                let flag = flag == "TRUE";
                match column.pg_type.as_str() {
                    "boolean" => Some(flag.to_string()),
                    _ => of_number(if flag { "1" } else { "0" }, column),
                }
            }
            _ => of_text(word, column),
        },
        Token::Quoted(word) | Token::Text(word) => of_text(word, column),
        Token::Number(number) => of_number(number, column),
        Token::Blob(digits) if column.pg_type == "bytea" => {
            let hex = digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex.then(|| expression(&format!("decode('{digits}', 'hex')")))
        }
        _ => None,
    }
}

/// The time of the insertion, in the form that SQLite writes.
fn now(form: &str, column: &DraftColumn) -> Option<String> {
    let (date, time) = (form.contains("YYYY"), form.contains("HH24"));
    match column.pg_type.as_str() {
        "timestamptz" if date => Some("\"now\"".to_owned()),
        "timestamp" if date && time => Some(expression(&format!("date_trunc('second', {NOW})"))),
        "timestamp" | "date" if date => Some(expression(&format!("({NOW})::date"))),
        "time" if time => Some(expression(&format!("({NOW})::time(0)"))),
        "text" => Some(expression(&format!("to_char({NOW}, '{form}')"))),
        other
            if other.starts_with("varchar") && fits(other, &form.replace(['"', '2', '4'], "")) =>
        {
            Some(expression(&format!("to_char({NOW}, '{form}')")))
        }
        _ => None,
    }
}

fn of_function(function: &Token, arguments: &[&Token], column: &DraftColumn) -> Option<String> {
    let Token::Word(name) = function else { return None };
    let texts: Vec<&str> = arguments
        .iter()
        .filter_map(|token| match token {
            Token::Text(text) | Token::Quoted(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let commas = arguments.iter().filter(|token| token.is_symbol(",")).count();
    let only_texts = texts.len() + commas == arguments.len();
    let epoch = || {
        let numbers = ["bigint", "numeric"].contains(&column.pg_type.as_str());
        numbers.then(|| {
            expression("extract(epoch FROM date_trunc('second', CURRENT_TIMESTAMP))::bigint")
        })
    };
    match (name.to_lowercase().as_str(), texts.as_slice()) {
        ("datetime", ["now"]) if only_texts => now("YYYY-MM-DD HH24:MI:SS", column),
        ("date", ["now"]) if only_texts => now("YYYY-MM-DD", column),
        ("time", ["now"]) if only_texts => now("HH24:MI:SS", column),
        ("unixepoch", [] | ["now"]) if only_texts => epoch(),
        ("strftime", ["%s"] | ["%s", "now"]) if only_texts => epoch(),
        ("strftime", [form] | [form, "now"]) if only_texts => now(&to_char(form)?, column),
        ("lower", []) if is_random(arguments) && column.pg_type == "text" => {
            Some(expression("replace(gen_random_uuid()::text, '-', '')"))
        }
        _ => None,
    }
}

/// `hex(randomblob(16))`
fn is_random(tokens: &[&Token]) -> bool {
    matches!(tokens, [hex, _, blob, _, Token::Number(bytes), _, _]
        if hex.is("hex") && blob.is("randomblob") && bytes == "16")
}

/// A format of `strftime` as `to_char` writes it.
fn to_char(form: &str) -> Option<String> {
    let (mut result, mut literal) = (String::new(), String::new());
    let mut letters = form.chars();
    let flush = |result: &mut String, literal: &mut String| {
        if !literal.is_empty() {
            result.push('"');
            result.push_str(literal);
            result.push('"');
            literal.clear();
        }
    };
    while let Some(letter) = letters.next() {
        let word = match letter {
            '%' => match letters.next()? {
                'Y' => "YYYY",
                'm' => "MM",
                'd' => "DD",
                'H' => "HH24",
                'M' => "MI",
                'S' => "SS",
                'f' => "SS.MS",
                'F' => "YYYY-MM-DD",
                'T' => "HH24:MI:SS",
                _ => return None,
            },
            '"' | '\'' | '\\' => return None,
            other => {
                literal.push(other);
                continue;
            }
        };
        flush(&mut result, &mut literal);
        result.push_str(word);
    }
    flush(&mut result, &mut literal);
    Some(result)
}

fn of_number(number: &str, column: &DraftColumn) -> Option<String> {
    let whole = number.parse::<i64>().ok();
    let decimal = number.parse::<f64>().ok().filter(|number| number.is_finite());
    match column.pg_type.as_str() {
        "boolean" => match whole? {
            0 => Some("false".to_owned()),
            1 => Some("true".to_owned()),
            _ => None,
        },
        "smallint" | "integer" | "bigint" => whole
            .or_else(|| {
                let number = decimal.filter(|number| number.fract() == 0.0)?;
                format!("{number:.0}").parse().ok()
            })
            .map(|number| number.to_string()),
        "double precision" | "real" => decimal.map(|_| text(number)),
        // SQLite stores the number in the column's kind, which is text.
        "text" => whole.map(|_| text(number)),
        "jsonb" => decimal
            .filter(|_| serde_json::from_str::<serde_json::Value>(number).is_ok())
            .map(|_| text(number)),
        other if other.starts_with("numeric") => decimal.map(|_| text(number)),
        other if other.starts_with("varchar") => {
            whole.filter(|_| fits(other, number)).map(|_| text(number))
        }
        _ => None,
    }
}

fn fits(varchar: &str, value: &str) -> bool {
    let length = varchar.trim_start_matches("varchar(").trim_end_matches(')').parse::<usize>();
    length.is_ok_and(|length| value.chars().count() <= length)
}

fn of_text(value: &str, column: &DraftColumn) -> Option<String> {
    if value.contains('\0') {
        return None;
    }
    let offset = has_offset(value);
    match column.pg_type.as_str() {
        "text" => Some(text(value)),
        "boolean" => match value.to_lowercase().as_str() {
            "1" | "true" => Some("true".to_owned()),
            "0" | "false" => Some("false".to_owned()),
            _ => None,
        },
        "uuid" => uuid::Uuid::try_parse(value).ok().map(|_| text(value)),
        "date" => parse_date(value).map(|_| text(value)),
        "timestamp" => parse_timestamp(value).filter(|_| !offset).map(|_| text(value)),
        "timestamptz" => parse_timestamp(value).filter(|_| offset).map(|_| text(value)),
        "jsonb" if column.json => {
            let json = serde_json::from_str::<serde_json::Value>(value);
            json.ok().filter(|_| !value.contains("\\u0000")).map(|_| text(value))
        }
        "jsonb" => Some(text(&serde_json::Value::String(value.to_owned()).to_string())),
        "bytea" | "time" => None,
        other if other.starts_with("varchar") => fits(other, value).then(|| text(value)),
        _ => of_number(value.trim(), column),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::draft::From;

    #[test]
    fn defaults_are_written_in_the_types_of_their_columns() {
        let of = |sql: &str, pg_type: &str| {
            let mut column = DraftColumn::new("c".to_owned(), From::Rest, pg_type);
            column.json = pg_type == "jsonb";
            default(sql, &column).map(Option::unwrap_or_default)
        };
        let said = |text: &str| Ok(text.to_owned());
        assert_eq!(of("'new'", "text"), said("\"new\""));
        assert_eq!(of("((NULL))", "text"), said(""));
        assert_eq!(of("1", "boolean"), said("true"));
        assert_eq!(of("2", "boolean"), Err(()));
        assert_eq!(of("-1", "bigint"), said("-1"));
        assert_eq!(of("1.50", "numeric(10,2)"), said("\"1.50\""));
        assert_eq!(of("''", "bigint"), Err(()));
        assert_eq!(of("'{}'", "jsonb"), said("\"{}\""));
        assert_eq!(of("{}", "jsonb"), Err(()));
        assert_eq!(of("CURRENT_TIMESTAMP", "timestamptz"), said("\"now\""));
        let shown = of("(strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))", "text").unwrap();
        assert!(shown.contains("to_char(CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'YYYY"), "{shown}");
        assert_eq!(of("(datetime('now', 'localtime'))", "timestamp"), Err(()));
        assert_eq!(of("'0000-00-00'", "date"), Err(()));
        assert_eq!(of("x'0a'", "bytea"), said("{ sql = \"decode('0a', 'hex')\" }"));
        assert_eq!(of("abs(-1)", "bigint"), Err(()));
    }
}
