//! Conditions of SQLite as PostgreSQL writes them, as far as both mean the same.
//! <https://www.sqlite.org/lang_expr.html>

use crate::document::datetime::{has_offset, parse_date, parse_timestamp};
use crate::plan::draft::DraftColumn;
use crate::postgres::{quote_identifier, quote_literal};
use crate::source::sqlite::token::{Token, tokens};

/// A column that a condition may name.
pub(super) struct Known<'k> {
    /// Its name in the source.
    pub(super) source: &'k str,
    pub(super) column: &'k DraftColumn,
    /// Texts are compared without case.
    pub(super) nocase: bool,
}

/// What a part of a condition is.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    /// True or false.
    Truth,
    Boolean,
    Number,
    /// A number as it is written.
    NumberLiteral(String),
    Text {
        nocase: bool,
    },
    TextLiteral(String),
    /// `date`, `timestamp`, `timestamptz`, `uuid`, by name.
    Other(String),
    Null,
}

#[derive(Clone, Debug)]
struct Part {
    sql: String,
    kind: Kind,
}

impl Part {
    fn new(sql: impl Into<String>, kind: Kind) -> Self {
        Self { sql: sql.into(), kind }
    }
}

/// Translates a condition; `None` where PostgreSQL would judge rows otherwise. `true` stands for a
/// condition that the columns' types meet by themselves.
pub(super) fn condition(sql: &str, columns: &[Known<'_>]) -> Option<String> {
    let tokens: Vec<Token> = tokens(sql).into_iter().map(|placed| placed.token).collect();
    let mut reader = Reader { tokens: &tokens, place: 0, depth: 0, columns };
    let found = reader.any()?;
    let found = truth(found)?;
    (reader.place == tokens.len()).then_some(found.sql)
}

/// Depth of brackets that are followed.
const DEEPEST: usize = 50;

struct Reader<'r> {
    tokens: &'r [Token],
    place: usize,
    depth: usize,
    columns: &'r [Known<'r>],
}

fn truth(part: Part) -> Option<Part> {
    match part.kind {
        Kind::Truth | Kind::Boolean => Some(Part::new(part.sql, Kind::Truth)),
        Kind::Number => Some(Part::new(format!("{} <> 0", part.sql), Kind::Truth)),
        _ => None,
    }
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.place)
    }

    fn word(&mut self, keyword: &str) -> bool {
        let there = self.peek().is_some_and(|token| token.is(keyword));
        self.place += usize::from(there);
        there
    }

    fn symbol(&mut self, symbol: &str) -> bool {
        let there = self.peek().is_some_and(|token| token.is_symbol(symbol));
        self.place += usize::from(there);
        there
    }

    fn any(&mut self) -> Option<Part> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let mut left = self.all()?;
        while self.word("OR") {
            let (first, second) = (truth(left)?, truth(self.all()?)?);
            left = Part::new(format!("({} OR {})", first.sql, second.sql), Kind::Truth);
        }
        self.depth -= 1;
        Some(left)
    }

    fn all(&mut self) -> Option<Part> {
        let mut left = self.not()?;
        while self.word("AND") {
            let (first, second) = (truth(left)?, truth(self.not()?)?);
            left = Part::new(format!("({} AND {})", first.sql, second.sql), Kind::Truth);
        }
        Some(left)
    }

    fn not(&mut self) -> Option<Part> {
        if self.word("NOT") {
            self.depth += 1;
            if self.depth > DEEPEST {
                return None;
            }
            let inner = truth(self.not()?)?;
            self.depth -= 1;
            return Some(Part::new(format!("(NOT {})", inner.sql), Kind::Truth));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Option<Part> {
        let mut left = self.sum()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Symbol(symbol)) => match symbol.as_str() {
                    "=" | "==" => "=",
                    "<>" | "!=" => "<>",
                    "<" => "<",
                    "<=" => "<=",
                    ">" => ">",
                    ">=" => ">=",
                    _ => return Some(left),
                },
                Some(token) if token.is("IS") => {
                    self.place += 1;
                    let not = if self.word("NOT") { " NOT" } else { "" };
                    if !self.word("NULL") {
                        return None;
                    }
                    left = Part::new(format!("({} IS{not} NULL)", left.sql), Kind::Truth);
                    continue;
                }
                Some(token) if token.is("ISNULL") || token.is("NOTNULL") => {
                    let not = if token.is("ISNULL") { "" } else { " NOT" };
                    self.place += 1;
                    left = Part::new(format!("({} IS{not} NULL)", left.sql), Kind::Truth);
                    continue;
                }
                Some(token) if ["NOT", "IN", "BETWEEN"].iter().any(|word| token.is(word)) => {
                    left = self.among(&left)?;
                    continue;
                }
                _ => return Some(left),
            };
            self.place += 1;
            let right = self.sum()?;
            left = compare(&left, operator, &right)?;
        }
    }

    /// `[NOT] IN (…)`, `[NOT] BETWEEN … AND …`, `NOT NULL`
    fn among(&mut self, left: &Part) -> Option<Part> {
        let not = self.word("NOT");
        if not && self.word("NULL") {
            return Some(Part::new(format!("({} IS NOT NULL)", left.sql), Kind::Truth));
        }
        let found = if self.word("BETWEEN") {
            let least = self.sum()?;
            if !self.word("AND") {
                return None;
            }
            let greatest = self.sum()?;
            let (from, to) = (compare(left, ">=", &least)?, compare(left, "<=", &greatest)?);
            format!("({} AND {})", from.sql, to.sql)
        } else if self.word("IN") && self.symbol("(") {
            let mut equal = Vec::new();
            let mut values = Vec::new();
            loop {
                let value = self.sum()?;
                let (own, value) = aligned(left, "=", &value)?;
                equal.push(own);
                values.push(value);
                if self.symbol(")") {
                    break;
                }
                if !self.symbol(",") {
                    return None;
                }
            }
            let own = equal.first()?;
            if equal.iter().any(|other| other != own) {
                return None;
            }
            format!("({own} IN ({}))", values.join(", "))
        } else {
            return None;
        };
        let found = if not { format!("(NOT {found})") } else { found };
        Some(Part::new(found, Kind::Truth))
    }

    fn sum(&mut self) -> Option<Part> {
        let mut left = self.factor()?;
        loop {
            let operator = match self.peek() {
                Some(Token::Symbol(symbol)) if ["+", "-", "*"].contains(&symbol.as_str()) => {
                    symbol.clone()
                }
                _ => return Some(left),
            };
            self.place += 1;
            let right = self.factor()?;
            let number = |part: &Part| matches!(part.kind, Kind::Number | Kind::NumberLiteral(_));
            if !number(&left) || !number(&right) || operator == "*" && left.sql.contains(' ') {
                return None;
            }
            left = Part::new(format!("{} {operator} {}", left.sql, right.sql), Kind::Number);
        }
    }

    fn factor(&mut self) -> Option<Part> {
        if self.symbol("(") {
            let inner = self.any()?;
            if !self.symbol(")") {
                return None;
            }
            let sql = match inner.kind {
                Kind::Number => format!("({})", inner.sql),
                _ => inner.sql,
            };
            return Some(Part::new(sql, inner.kind));
        }
        if self.symbol("-") {
            return match self.factor()?.kind {
                Kind::NumberLiteral(number) if !number.starts_with('-') => {
                    Some(literal(&format!("-{number}")))
                }
                _ => None,
            };
        }
        let token = self.peek()?.clone();
        self.place += 1;
        match &token {
            Token::Number(number) => {
                let plain = number.parse::<f64>().is_ok_and(f64::is_finite);
                plain.then(|| literal(number))
            }
            Token::Text(text) => text_literal(text),
            Token::Word(word) if self.peek().is_some_and(|next| next.is_symbol("(")) => {
                self.function(&word.to_lowercase())
            }
            Token::Word(name) => match self.known(name) {
                Some(known) => part_of(known),
                None if name.eq_ignore_ascii_case("NULL") => Some(Part::new("NULL", Kind::Null)),
                None if name.eq_ignore_ascii_case("TRUE") => Some(literal("1")),
                None if name.eq_ignore_ascii_case("FALSE") => Some(literal("0")),
                None => None,
            },
            // A name in quotes that no column has is a text.
            Token::Quoted(name) => match self.known(name) {
                Some(known) => part_of(known),
                None => text_literal(name),
            },
            _ => None,
        }
    }

    fn known(&self, name: &str) -> Option<&Known<'_>> {
        self.columns.iter().find(|known| known.source.eq_ignore_ascii_case(name))
    }

    fn function(&mut self, name: &str) -> Option<Part> {
        if !self.symbol("(") {
            return None;
        }
        let inner = self.any()?;
        if !self.symbol(")") {
            return None;
        }
        match (name, &inner.kind) {
            ("length", Kind::Text { .. }) => {
                Some(Part::new(format!("length({})", inner.sql), Kind::Number))
            }
            ("lower" | "upper" | "trim", Kind::Text { nocase }) => {
                let kind = Kind::Text { nocase: *nocase };
                Some(Part::new(format!("{name}({})", inner.sql), kind))
            }
            ("abs", Kind::Number) => Some(Part::new(format!("abs({})", inner.sql), Kind::Number)),
            ("json_valid", Kind::Other(kind)) if kind == "jsonb" => {
                Some(Part::new("true", Kind::Truth))
            }
            _ => None,
        }
    }
}

/// A column of the table; nothing where its values are no scalars.
fn part_of(known: &Known<'_>) -> Option<Part> {
    let pg_type = known.column.pg_type.as_str();
    let kind = match pg_type {
        "boolean" => Kind::Boolean,
        "smallint" | "integer" | "bigint" | "real" | "double precision" => Kind::Number,
        "date" | "timestamp" | "timestamptz" | "uuid" => Kind::Other(pg_type.to_owned()),
        "jsonb" if known.column.json => Kind::Other(pg_type.to_owned()),
        _ if pg_type.starts_with("numeric") => Kind::Number,
        _ if pg_type == "text" || pg_type.starts_with("varchar") => {
            Kind::Text { nocase: known.nocase }
        }
        _ => return None,
    };
    Some(Part::new(quote_identifier(&known.column.name), kind))
}

fn literal(number: &str) -> Part {
    Part::new(number, Kind::NumberLiteral(number.to_owned()))
}

fn text_literal(text: &str) -> Option<Part> {
    let plain = !text.contains('\0');
    plain.then(|| Part::new(quote_literal(text).trim(), Kind::TextLiteral(text.to_owned())))
}

fn compare(left: &Part, operator: &str, right: &Part) -> Option<Part> {
    if matches!(left.kind, Kind::TextLiteral(_) | Kind::NumberLiteral(_)) {
        let turned = match operator {
            "<" => ">",
            "<=" => ">=",
            ">" => "<",
            ">=" => "<=",
            same => same,
        };
        let literal = matches!(right.kind, Kind::TextLiteral(_) | Kind::NumberLiteral(_));
        return if literal { None } else { compare(right, turned, left) };
    }
    let (own, value) = aligned(left, operator, right)?;
    Some(Part::new(format!("({own} {operator} {value})"), Kind::Truth))
}

/// Two sides of a comparison in one type; nothing where SQLite compares otherwise.
fn aligned(left: &Part, operator: &str, right: &Part) -> Option<(String, String)> {
    let equality = matches!(operator, "=" | "<>");
    let plain = Some((left.sql.clone(), right.sql.clone()));
    match (&left.kind, &right.kind) {
        (Kind::Number, Kind::Number | Kind::NumberLiteral(_)) => plain,
        (Kind::Boolean, Kind::NumberLiteral(number)) if equality => match number.as_str() {
            "0" => Some((left.sql.clone(), "false".to_owned())),
            "1" => Some((left.sql.clone(), "true".to_owned())),
            _ => None,
        },
        (Kind::Boolean, Kind::Boolean) if equality => plain,
        (Kind::Text { nocase: true }, Kind::TextLiteral(text)) if equality && text.is_ascii() => {
            let value = quote_literal(&text.to_ascii_lowercase());
            Some((format!("lower({})", left.sql), value.trim().to_owned()))
        }
        (Kind::Text { nocase: false }, Kind::TextLiteral(_) | Kind::Text { .. }) if equality => {
            plain
        }
        // SQLite compares bytes, PostgreSQL as the database's language does.
        (Kind::Text { nocase: false }, Kind::TextLiteral(_) | Kind::Text { .. }) => {
            Some((left.sql.clone(), format!("{} COLLATE \"C\"", right.sql)))
        }
        (Kind::Other(own), Kind::Other(other)) if own == other && own != "jsonb" => plain,
        (Kind::Other(own), Kind::TextLiteral(text)) => {
            let fits = match own.as_str() {
                "date" => parse_date(text).is_some(),
                "timestamp" => parse_timestamp(text).is_some() && !has_offset(text),
                "timestamptz" => parse_timestamp(text).is_some() && has_offset(text),
                "uuid" => equality && uuid::Uuid::try_parse(text).is_ok(),
                _ => false,
            };
            plain.filter(|_| fits)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::draft::From;

    fn of(sql: &str) -> Option<String> {
        let column =
            |name: &str, pg_type: &str| DraftColumn::new(name.to_lowercase(), From::Rest, pg_type);
        let columns = [
            ("state", column("state", "text"), false),
            ("mail", column("mail", "text"), true),
            ("n", column("n", "bigint"), false),
            ("Active", column("Active", "boolean"), false),
            ("at", column("at", "timestamp"), false),
            ("data", column("data", "jsonb"), false),
        ];
        let known: Vec<Known<'_>> = columns
            .iter()
            .map(|(source, column, nocase)| Known { source, column, nocase: *nocase })
            .collect();
        condition(sql, &known)
    }

    #[test]
    fn conditions_keep_their_meaning_or_are_left_out() {
        for (sql, expected) in [
            ("state IN ('new', \"done\")", "(\"state\" IN ('new', 'done'))"),
            ("n > 0 and n<=10", "((\"n\" > 0) AND (\"n\" <= 10))"),
            ("0 < n", "(\"n\" > 0)"),
            ("active in (0,1) or n is null", "((\"active\" IN (false, true)) OR (\"n\" IS NULL))"),
            (
                "length(state) BETWEEN 1 AND 3",
                "((length(\"state\") >= 1) AND (length(\"state\") <= 3))",
            ),
            ("mail <> 'A@x'", "(lower(\"mail\") <> 'a@x')"),
            ("state >= 'a'", "(\"state\" >= 'a' COLLATE \"C\")"),
            ("NOT (n = -1)", "(NOT (\"n\" = -1))"),
            ("at >= '2024-01-01 00:00:00'", "(\"at\" >= '2024-01-01 00:00:00')"),
            ("state NOTNULL", "(\"state\" IS NOT NULL)"),
            ("active", "\"active\""),
        ] {
            assert_eq!(of(sql).as_deref(), Some(expected), "{sql}");
        }
        for sql in [
            "state GLOB 'a*'",
            "n = 'x'",
            "typeof(n) = 'integer'",
            "data = 'x'",
            "at > 'soon'",
            "state = 1",
            "n / 2 = 1",
            "unknown = 1",
            "n >",
            "(n > 1",
            "mail < 'a'",
            "state LIKE 'a%'",
        ] {
            assert_eq!(of(sql), None, "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_ends(sql in "[nst at()<>='0-9NOTINAD ,\"-]{0,60}") {
            let _ = of(&sql);
        }
    }
}
