//! PostgreSQL's SQL as text: where its tokens and statements begin and end (manual, "Lexical
//! Structure").

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::escape::is_harmful;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Space,
    Comment,
    /// A keyword or a name without quotes.
    Word,
    /// `"…"`
    Name,
    /// `'…'`
    Text,
    /// `$tag$…$tag$`
    Dollar,
    /// `E'…'`, `U&"…"` and whatever else has letters before its quote.
    Prefixed,
    Other,
}

#[derive(Clone, Copy, Debug)]
struct Token<'s> {
    kind: Kind,
    text: &'s str,
    start: usize,
}

/// Splits a text into tokens; together they are the text.
fn tokens(sql: &str) -> impl Iterator<Item = Token<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = sql.get(start..).filter(|rest| !rest.is_empty())?;
        let (kind, length) = first(rest);
        let token = Token { kind, text: &rest[..length], start };
        start += length;
        Some(token)
    })
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '$') || !character.is_ascii()
}

/// Kind and length of the first token of a text that is not empty.
fn first(rest: &str) -> (Kind, usize) {
    let end = |found: Option<usize>| found.unwrap_or(rest.len());
    let letter = rest.chars().next().unwrap_or_default();
    match letter {
        space if space.is_ascii_whitespace() => {
            (Kind::Space, end(rest.find(|c: char| !c.is_ascii_whitespace())))
        }
        '-' if rest.starts_with("--") => (Kind::Comment, end(rest.find('\n'))),
        '/' if rest.starts_with("/*") => (Kind::Comment, block_comment(rest)),
        '\'' => (Kind::Text, quoted(rest, 0, '\'', false)),
        '"' => (Kind::Name, quoted(rest, 0, '"', false)),
        '$' => match dollar_quoted(rest) {
            Some(length) => (Kind::Dollar, length),
            None => (Kind::Other, 1),
        },
        digit if digit.is_ascii_digit() => {
            (Kind::Other, end(rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))))
        }
        letter if is_word(letter) => {
            let word = end(rest.find(|c: char| !is_word(c)));
            let prefix = &rest[..word];
            match rest[word..].chars().next() {
                Some('\'') if matches!(prefix, "e" | "E") => {
                    (Kind::Prefixed, quoted(rest, word, '\'', true))
                }
                Some('\'') if matches!(prefix, "b" | "B" | "x" | "X" | "n" | "N") => {
                    (Kind::Prefixed, quoted(rest, word, '\'', false))
                }
                Some('&') if matches!(prefix, "u" | "U") => match rest[word + 1..].chars().next() {
                    Some(quote @ ('\'' | '"')) => {
                        (Kind::Prefixed, quoted(rest, word + 1, quote, false))
                    }
                    _ => (Kind::Word, word),
                },
                _ => (Kind::Word, word),
            }
        }
        other => (Kind::Other, other.len_utf8()),
    }
}

/// Length up to the end of what is quoted from `start` on; a quote that stands twice is part of it.
fn quoted(rest: &str, start: usize, quote: char, backslashes: bool) -> usize {
    let mut characters = rest[start + 1..].char_indices().peekable();
    while let Some((index, character)) = characters.next() {
        if backslashes && character == '\\' {
            characters.next();
        } else if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return start + 1 + index + 1;
        }
    }
    rest.len()
}

/// Length of a comment that may hold others.
fn block_comment(rest: &str) -> usize {
    let (bytes, mut depth, mut index) = (rest.as_bytes(), 0_usize, 0);
    while index < bytes.len() {
        match bytes.get(index..index + 2) {
            Some(b"/*") => depth += 1,
            Some(b"*/") => depth -= 1,
            _ => {
                index += 1;
                continue;
            }
        }
        index += 2;
        if depth == 0 {
            return index;
        }
    }
    rest.len()
}

/// Length of a dollar-quoted text; none where a dollar begins something else.
fn dollar_quoted(rest: &str) -> Option<usize> {
    let tag = rest[1..].find(|c: char| !is_word(c) || c == '$')? + 1;
    let named = !rest[1..tag].starts_with(|c: char| c.is_ascii_digit());
    let delimiter = rest.get(..=tag).filter(|tag| named && tag.ends_with('$'))?;
    let body = &rest[delimiter.len()..];
    let end = body.find(delimiter).map(|end| delimiter.len() + end + delimiter.len());
    Some(end.unwrap_or(rest.len()))
}

/// A statement that would end, or begin, the transaction around a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionControl {
    /// Its first words.
    pub statement: String,
    /// Its line in the script, from 1 on.
    pub line: usize,
}

/// The first statement of a script that controls the transaction. Savepoints do not.
pub fn transaction_control(sql: &str) -> Option<TransactionControl> {
    let mut statement: Vec<Token<'_>> = Vec::new();
    let (mut parentheses, mut atomic) = (0_usize, 0_usize);
    let mut before = String::new();
    let end = Token { kind: Kind::Other, text: ";", start: sql.len() };
    for token in tokens(sql).chain([end]) {
        let word = match token.kind {
            Kind::Space | Kind::Comment => continue,
            Kind::Word => token.text.to_ascii_uppercase(),
            _ => String::new(),
        };
        // The body of a function in standard SQL has statements of its own.
        match word.as_str() {
            "ATOMIC" if before == "BEGIN" => atomic += 1,
            "CASE" if atomic > 0 => atomic += 1,
            "END" => atomic = atomic.saturating_sub(1),
            _ => {}
        }
        match token.text {
            "(" => parentheses += 1,
            ")" => parentheses = parentheses.saturating_sub(1),
            _ => {}
        }
        before = word;
        let last = token.start == sql.len();
        if token.text == ";" && (last || (parentheses == 0 && atomic == 0)) {
            if let Some(found) = controls(&statement) {
                let line = 1 + sql[..statement[0].start].matches('\n').count();
                return Some(TransactionControl { statement: found, line });
            }
            statement.clear();
        } else {
            statement.push(token);
        }
    }
    None
}

/// The first words of a statement that controls the transaction.
fn controls(statement: &[Token<'_>]) -> Option<String> {
    let word = |index: usize| {
        let token = statement.get(index).filter(|token| token.kind == Kind::Word);
        token.map(|token| token.text.to_ascii_uppercase()).unwrap_or_default()
    };
    let (first, second) = (word(0), word(1));
    // ROLLBACK [WORK | TRANSACTION] TO [SAVEPOINT] name
    let to_savepoint =
        second == "TO" || (matches!(second.as_str(), "WORK" | "TRANSACTION") && word(2) == "TO");
    match (first.as_str(), second.as_str()) {
        ("ROLLBACK", _) if to_savepoint => None,
        ("BEGIN" | "COMMIT" | "END" | "ROLLBACK" | "ABORT", _) => Some(first),
        ("START" | "PREPARE", "TRANSACTION") => Some(format!("{first} {second}")),
        _ => None,
    }
}

/// The same SQL without characters that a terminal obeys. Line breaks stay where they lay out a
/// statement; in names and texts they are escaped like the others.
pub fn printable(sql: &str) -> Cow<'_, str> {
    let laid_out = |kind: Kind| matches!(kind, Kind::Space | Kind::Comment | Kind::Dollar);
    let harmful = |token: &Token<'_>| {
        token.text.contains(|c: char| {
            is_harmful(c) && !(laid_out(token.kind) && matches!(c, '\n' | '\t'))
        })
    };
    if !sql.contains(is_harmful) {
        return Cow::Borrowed(sql);
    }
    let mut text = String::with_capacity(sql.len() + 16);
    for token in tokens(sql) {
        if !harmful(&token) {
            text.push_str(token.text);
            continue;
        }
        let inner = |skip: usize| {
            let end = token.text.len().saturating_sub(skip).max(skip);
            token.text.get(skip..end).unwrap_or_default()
        };
        match token.kind {
            Kind::Name => {
                let _ = write!(text, "U&\"{}\"", escaped(inner(1), "\\\\", unicode_name));
            }
            Kind::Text => {
                let _ = write!(text, "E'{}'", escaped(inner(1), "\\\\", unicode_text));
            }
            Kind::Dollar => {
                let tag = token.text[1..].find('$').map_or(1, |end| end + 2);
                let body = inner(tag).replace('\'', "''");
                let _ = write!(text, "E'{}'", escaped(&body, "\\\\", unicode_text));
            }
            // An escape within another quoting would need to know it.
            Kind::Prefixed if token.text.starts_with(['e', 'E']) => {
                text.push_str(&escaped(token.text, "\\", unicode_text));
            }
            _ => text.push_str(&escaped(token.text, "\\", |text, character| {
                let _ = write!(text, "\\u{{{:x}}}", u32::from(character));
            })),
        }
    }
    Cow::Owned(text)
}

fn escaped(text: &str, backslash: &str, escape: impl Fn(&mut String, char)) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str(backslash),
            harmful if is_harmful(harmful) => escape(&mut escaped, harmful),
            other => escaped.push(other),
        }
    }
    escaped
}

fn unicode_name(text: &mut String, character: char) {
    let code = u32::from(character);
    let _ =
        if code > 0xFFFF { write!(text, "\\+{code:06x}") } else { write!(text, "\\{code:04x}") };
}

fn unicode_text(text: &mut String, character: char) {
    let code = u32::from(character);
    let _ =
        if code > 0xFFFF { write!(text, "\\U{code:08x}") } else { write!(text, "\\u{code:04x}") };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_statements_control_a_transaction() {
        for sql in [
            "SELECT 'a; COMMIT; b'; SELECT \"x; ROLLBACK;\"",
            "DO $$ BEGIN PERFORM 1; END $$; DO $x$ BEGIN COMMIT; END $x$",
            "-- COMMIT;\nSELECT 1 /* ; COMMIT; /* ; */ ; END; */",
            "SELECT E'\\'; COMMIT; --'",
            "SAVEPOINT a; ROLLBACK TO a; ROLLBACK WORK TO SAVEPOINT a; RELEASE a",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 1",
            "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)",
            "SELECT commit FROM t; SELECT U&'\\0041; COMMIT;'",
            "PREPARE p AS SELECT $1; EXECUTE p('x')",
        ] {
            assert_eq!(transaction_control(sql), None, "{sql}");
        }
        for (sql, statement, line) in [
            ("COMMIT", "COMMIT", 1),
            ("SELECT 1;\n\n  commit work;", "COMMIT", 3),
            ("begin;", "BEGIN", 1),
            ("START /* now */ TRANSACTION", "START TRANSACTION", 1),
            ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION", 1),
            ("SELECT $a$ ; $a$; ROLLBACK;", "ROLLBACK", 1),
            ("SELECT (1;\nEND", "SELECT", 0),
            ("SELECT 'it''s' ;-- x\nABORT;", "ABORT", 2),
            ("CREATE FUNCTION f() BEGIN ATOMIC SELECT 1; END; END", "END", 1),
        ] {
            let found = transaction_control(sql).map(|found| (found.statement, found.line));
            let expected = (line > 0).then(|| (statement.to_owned(), line));
            assert_eq!(found, expected, "{sql}");
        }
    }

    #[test]
    fn names_and_texts_are_written_so_that_they_stay_the_same() {
        for (sql, shown) in [
            ("SELECT \"a\nb\\\"", "SELECT U&\"a\\000ab\\\\\""),
            ("SELECT 'it''s\u{1b}'", "SELECT E'it''s\\u001b'"),
            ("AS $$a'\u{202e}$$", "AS E'a''\\u202e'"),
            ("SELECT\n\t$$a\nb$$, 'ä'", "SELECT\n\t$$a\nb$$, 'ä'"),
            ("-- \u{9b}", "-- \\u{9b}"),
            ("\"\u{e0041}\"", "U&\"\\+0e0041\""),
        ] {
            assert_eq!(printable(sql), shown);
        }
    }

    proptest! {
        #[test]
        fn tokens_are_the_text_and_what_is_printed_is_harmless(sql in "[-/*'\"$;a\\\\Eé\n\u{1b}\u{202e} U&]{0,30}") {
            let joined: String = tokens(&sql).map(|token| token.text).collect();
            prop_assert_eq!(&joined, &sql);
            let _ = transaction_control(&sql);
            let shown = printable(&sql);
            prop_assert!(!shown.contains(|c: char| is_harmful(c) && c != '\n'), "{:?}", shown);
        }
    }
}
