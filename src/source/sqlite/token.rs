//! SQL of SQLite in words. <https://www.sqlite.org/lang_keywords.html>, `tokenize.c`.

use std::ops::Range;

/// A word of SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A keyword or a name without quotes.
    Word(String),
    /// A name in quotes, backquotes or brackets.
    Quoted(String),
    /// Text in apostrophes.
    Text(String),
    /// A number as it is written.
    Number(String),
    /// Hexadecimal digits of a blob: `x'00ff'`.
    Blob(String),
    /// An operator or punctuation.
    Symbol(String),
}

impl Token {
    /// Whether it is this keyword.
    pub fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }

    /// Whether it is this operator or mark.
    pub fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self, Self::Symbol(found) if found == symbol)
    }

    /// The name that it may be; SQLite takes text in apostrophes as a name too.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Quoted(name) | Self::Text(name) => Some(name),
            _ => None,
        }
    }
}

/// A word and its bytes in the text.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The word.
    pub token: Token,
    /// Its place.
    pub place: Range<usize>,
}

/// Takes a text apart. Comments and white space are passed over; what is no SQL is a symbol.
pub fn tokens(sql: &str) -> Vec<Placed> {
    let bytes = sql.as_bytes();
    let mut result = Vec::new();
    let mut start = 0;
    while start < bytes.len() {
        let (token, end) = next(sql, start);
        if let Some(token) = token {
            result.push(Placed { token, place: start..end });
        }
        start = end.max(start + 1);
    }
    result
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

fn next(sql: &str, start: usize) -> (Option<Token>, usize) {
    let bytes = sql.as_bytes();
    let rest = &sql[start..];
    let first = bytes[start];
    let word_end = |from: usize, wanted: fn(u8) -> bool| {
        bytes[from..].iter().position(|byte| !wanted(*byte)).map_or(bytes.len(), |at| from + at)
    };
    match first {
        _ if first.is_ascii_whitespace() => (None, start + 1),
        b'-' if rest.starts_with("--") => {
            (None, rest.find('\n').map_or(bytes.len(), |end| start + end + 1))
        }
        b'/' if rest.starts_with("/*") => {
            (None, rest.find("*/").map_or(bytes.len(), |end| start + end + 2))
        }
        b'\'' => quoted(sql, start, '\'', Token::Text),
        b'"' => quoted(sql, start, '"', Token::Quoted),
        b'`' => quoted(sql, start, '`', Token::Quoted),
        b'[' => {
            let end = rest.find(']').map_or(bytes.len(), |end| start + end);
            (Some(Token::Quoted(sql[start + 1..end].to_owned())), (end + 1).min(bytes.len()))
        }
        b'x' | b'X' if rest[1..].starts_with('\'') => quoted(sql, start + 1, '\'', Token::Blob),
        b'0'..=b'9' | b'.' if number_end(bytes, start) > start => {
            let end = number_end(bytes, start);
            (Some(Token::Number(sql[start..end].to_owned())), end)
        }
        _ if is_word(first) => {
            let end = word_end(start, is_word);
            (Some(Token::Word(sql[start..end].to_owned())), end)
        }
        _ => {
            let two = ["<=", ">=", "<>", "!=", "==", "||", "<<", ">>", "->"];
            let length = if two.iter().any(|symbol| rest.starts_with(symbol)) { 2 } else { 1 };
            (Some(Token::Symbol(rest[..length].to_owned())), start + length)
        }
    }
}

/// What stands between two marks; a mark inside is written twice.
fn quoted(
    sql: &str,
    start: usize,
    mark: char,
    token: fn(String) -> Token,
) -> (Option<Token>, usize) {
    let mut text = String::new();
    let mut letters = sql[start + 1..].char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != mark {
            text.push(letter);
        } else if letters.peek().is_some_and(|(_, next)| *next == mark) {
            text.push(mark);
            letters.next();
        } else {
            return (Some(token(text)), start + 1 + at + 1);
        }
    }
    (Some(token(text)), sql.len())
}

/// The end of a number; its start where none is.
fn number_end(bytes: &[u8], start: usize) -> usize {
    let digits = |from: usize| {
        bytes[from..]
            .iter()
            .position(|byte| !byte.is_ascii_digit() && *byte != b'_')
            .map_or(bytes.len(), |at| from + at)
    };
    if bytes[start] == b'0' && matches!(bytes.get(start + 1), Some(b'x' | b'X')) {
        let hex = |byte: &u8| !byte.is_ascii_hexdigit();
        return bytes[start + 2..].iter().position(hex).map_or(bytes.len(), |at| start + 2 + at);
    }
    let mut end = digits(start);
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if fraction == end + 1 && end == start {
            return start;
        }
        end = fraction;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = end + 1 + sign;
        if bytes.get(exponent).is_some_and(u8::is_ascii_digit) {
            end = digits(exponent);
        }
    }
    end
}

/// The place after the bracket that closes the one at `open`; the end where none does.
pub fn closing(tokens: &[Placed], open: usize) -> usize {
    let mut depth = 0;
    for (at, placed) in tokens.iter().enumerate().skip(open) {
        if placed.token.is_symbol("(") {
            depth += 1;
        } else if placed.token.is_symbol(")") {
            depth -= 1;
            if depth == 0 {
                return at + 1;
            }
        }
    }
    tokens.len()
}

/// The words between commas that stand in no bracket.
pub fn items(tokens: &[Placed]) -> Vec<&[Placed]> {
    let (mut result, mut start, mut at) = (Vec::new(), 0, 0);
    while at < tokens.len() {
        if tokens[at].token.is_symbol("(") {
            at = closing(tokens, at);
            continue;
        }
        if tokens[at].token.is_symbol(",") {
            result.push(&tokens[start..at]);
            start = at + 1;
        }
        at += 1;
    }
    if start < tokens.len() {
        result.push(&tokens[start..]);
    }
    result
}

/// The text from the first word to the last.
pub fn text_of<'s>(sql: &'s str, tokens: &[Placed]) -> &'s str {
    match (tokens.first(), tokens.last()) {
        (Some(first), Some(last)) => &sql[first.place.start..last.place.end],
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_is_taken_apart() {
        let found: Vec<Token> =
            tokens("a /* , */ \"b\"\"c\" 'it''s' [x y] `z` x'0F' 1.5e-3 .5 <= -- end\n,é")
                .into_iter()
                .map(|placed| placed.token)
                .collect();
        let word = |text: &str| Token::Word(text.to_owned());
        let name = |text: &str| Token::Quoted(text.to_owned());
        assert_eq!(
            found,
            [
                word("a"),
                name("b\"c"),
                Token::Text("it's".to_owned()),
                name("x y"),
                name("z"),
                Token::Blob("0F".to_owned()),
                Token::Number("1.5e-3".to_owned()),
                Token::Number(".5".to_owned()),
                Token::Symbol("<=".to_owned()),
                Token::Symbol(",".to_owned()),
                word("é"),
            ]
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_ends(sql in ".{0,60}") {
            for placed in tokens(&sql) {
                proptest::prop_assert!(sql.get(placed.place).is_some());
            }
        }
    }
}
