//! A reader of Prisma schemas: models, composite types and enums with their attributes, as the
//! Prisma schema reference describes them. Other blocks are passed over.

use crate::pipeline::Mistake;
use std::ops::Range;

/// A schema.
#[derive(Clone, Debug, Default)]
pub(super) struct Schema {
    pub(super) models: Vec<Model>,
    /// Composite types, by name.
    pub(super) types: Vec<String>,
    pub(super) enums: Vec<Enum>,
    /// The datasource is a PostgreSQL: the schema says what the target is.
    pub(super) is_target: bool,
    /// Views, by name.
    pub(super) views: Vec<String>,
}

/// A model.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) name: String,
    pub(super) span: Range<usize>,
    pub(super) fields: Vec<Field>,
    /// `@@…`
    pub(super) attributes: Vec<Attribute>,
}

/// A field.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) span: Range<usize>,
    pub(super) kind: String,
    pub(super) optional: bool,
    pub(super) list: bool,
    /// `@…`
    pub(super) attributes: Vec<Attribute>,
}

/// An attribute with its arguments.
#[derive(Clone, Debug)]
pub(super) struct Attribute {
    pub(super) name: String,
    pub(super) arguments: Vec<(Option<String>, Value)>,
}

/// The value of an argument.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Number(String),
    Word(String),
    /// `now()`
    Call(String, Vec<Value>),
    List(Vec<Value>),
}

impl Value {
    /// The text of a word, a call's name or a string.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Word(text) | Self::Call(text, _) => Some(text),
            _ => None,
        }
    }

    /// The names in a list.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::List(items) => items.iter().filter_map(Self::name).map(str::to_owned).collect(),
            other => other.name().map(str::to_owned).into_iter().collect(),
        }
    }

    /// The names in a list that are sorted from the greatest value: `at(sort: Desc)`.
    pub(super) fn descending(&self) -> Vec<String> {
        let Self::List(items) = self else { return Vec::new() };
        let names = items.iter().filter_map(|item| match item {
            Self::Call(name, options) if options.contains(&Self::Word("Desc".to_owned())) => {
                Some(name.clone())
            }
            _ => None,
        });
        names.collect()
    }
}

impl Attribute {
    /// An argument by name, or the first without one.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let named = self.arguments.iter().find(|(own, _)| own.as_deref() == Some(name));
        named.map(|(_, value)| value)
    }

    /// An argument by name, or the first that has none.
    pub(super) fn get_or_first(&self, name: &str) -> Option<&Value> {
        self.get(name).or_else(|| {
            self.arguments.iter().find(|(own, _)| own.is_none()).map(|(_, value)| value)
        })
    }
}

/// The attribute of this name.
pub(super) fn attribute<'a>(attributes: &'a [Attribute], name: &str) -> Option<&'a Attribute> {
    attributes.iter().find(|attribute| attribute.name == name)
}

/// An enum.
#[derive(Clone, Debug)]
pub(super) struct Enum {
    pub(super) name: String,
    pub(super) attributes: Vec<Attribute>,
    /// Values, with the name that the database has for each.
    pub(super) values: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Number(String),
    Mark(char),
    Line,
}

/// Reads a schema.
pub(super) fn parse(text: &str) -> Result<Schema, Mistake> {
    let tokens = tokens(text)?;
    let mut parser = Parser { tokens, at: 0, end: text.len() };
    parser.schema()
}

fn mistake(span: Range<usize>, message: impl Into<String>) -> Mistake {
    Mistake { span, message: message.into(), help: None }
}

fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, Mistake> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(character) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let start = at;
        let word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '-');
        let token = match character {
            '\n' => {
                at += 1;
                Token::Line
            }
            _ if character.is_whitespace() || character == '\u{feff}' => {
                at += character.len_utf8();
                continue;
            }
            '/' if bytes.get(at + 1) == Some(&b'/') => {
                at += text[at..].find('\n').unwrap_or(text.len() - at);
                continue;
            }
            '/' if bytes.get(at + 1) == Some(&b'*') => {
                let Some(length) = text[at..].find("*/") else {
                    return Err(mistake(start..text.len(), "the comment does not end"));
                };
                at += length + 2;
                continue;
            }
            '"' => {
                let mut value = String::new();
                let mut rest = text[at + 1..].char_indices();
                let end = loop {
                    match rest.next() {
                        Some((_, '\\')) => match rest.next() {
                            Some((_, 'n')) => value.push('\n'),
                            Some((_, 't')) => value.push('\t'),
                            Some((_, other)) => value.push(other),
                            None => {}
                        },
                        Some((length, '"')) => break at + 1 + length + 1,
                        Some((_, '\n')) | None => {
                            return Err(mistake(
                                start..start + 1,
                                "the text does not end on its line",
                            ));
                        }
                        Some((_, other)) => value.push(other),
                    }
                };
                at = end;
                Token::Text(value)
            }
            _ if character.is_ascii_digit()
                || character == '-' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) =>
            {
                let length = text[at + 1..]
                    .find(|next: char| !(next.is_ascii_digit() || next == '.'))
                    .unwrap_or(text.len() - at - 1);
                at += 1 + length;
                Token::Number(text[start..at].to_owned())
            }
            _ if word(character) => {
                at += text[at..].find(|next| !word(next)).unwrap_or(text.len() - at);
                Token::Word(text[start..at].to_owned())
            }
            other => {
                at += other.len_utf8();
                Token::Mark(other)
            }
        };
        found.push((token, start..at));
    }
    Ok(found)
}

struct Parser {
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
    end: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn span(&self) -> Range<usize> {
        self.tokens.get(self.at).map_or(self.end..self.end, |(_, span)| span.clone())
    }

    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).map(|(token, _)| token.clone())
    }

    fn takes(&mut self, mark: char) -> bool {
        let found = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), Mistake> {
        if self.takes(mark) {
            Ok(())
        } else {
            Err(mistake(self.span(), format!("`{mark}` is expected")))
        }
    }

    fn word(&mut self, what: &str) -> Result<String, Mistake> {
        let span = self.span();
        match self.next() {
            Some(Token::Word(word)) => Ok(word),
            _ => Err(mistake(span, format!("{what} is expected"))),
        }
    }

    fn skip_lines(&mut self) {
        while self.peek() == Some(&Token::Line) {
            self.at += 1;
        }
    }

    fn schema(&mut self) -> Result<Schema, Mistake> {
        let mut schema = Schema::default();
        loop {
            self.skip_lines();
            if self.peek().is_none() {
                return Ok(schema);
            }
            let keyword = self.word("`model`, `enum` or `type`")?;
            let span = self.span();
            let name = self.word("a name")?;
            self.skip_lines();
            self.expect('{')?;
            match keyword.as_str() {
                "model" => schema.models.push(self.model(name, span)?),
                "enum" => schema.enums.push(self.labels(name)?),
                "type" => {
                    self.model(name.clone(), span)?;
                    schema.types.push(name);
                }
                "datasource" => schema.is_target |= self.datasource(),
                "view" => {
                    self.pass_over();
                    schema.views.push(name);
                }
                "generator" => self.pass_over(),
                _ => {
                    return Err(mistake(
                        span,
                        format!("`{keyword}` is no block of a Prisma schema"),
                    ));
                }
            }
        }
    }

    /// Passes over a datasource; whether its provider is a PostgreSQL.
    fn datasource(&mut self) -> bool {
        let begun = self.at;
        self.pass_over();
        let words = self.tokens[begun..self.at.min(self.tokens.len())].windows(3);
        let mut providers = words.filter_map(|words| match words {
            [(Token::Word(word), _), (Token::Mark('='), _), (Token::Text(text), _)] => {
                (word == "provider").then_some(text.as_str())
            }
            _ => None,
        });
        providers.any(|provider| matches!(provider, "postgresql" | "postgres" | "cockroachdb"))
    }

    /// Passes over the rest of a block.
    fn pass_over(&mut self) {
        let mut depth = 1;
        while depth > 0 {
            match self.next() {
                Some(Token::Mark('{')) => depth += 1,
                Some(Token::Mark('}')) => depth -= 1,
                None => return,
                _ => {}
            }
        }
    }

    fn model(&mut self, name: String, span: Range<usize>) -> Result<Model, Mistake> {
        let mut model = Model { name, span, fields: Vec::new(), attributes: Vec::new() };
        loop {
            self.skip_lines();
            if self.takes('}') {
                return Ok(model);
            }
            if self.takes('@') {
                self.expect('@')?;
                model.attributes.push(self.attribute()?);
                continue;
            }
            let span = self.span();
            let name = self.word("a field")?;
            let kind = self.word("a type")?;
            if kind == "Unsupported" && self.takes('(') {
                self.next();
                self.expect(')')?;
            }
            let list = self.takes('[');
            if list {
                self.expect(']')?;
            }
            let optional = self.takes('?');
            let mut attributes = Vec::new();
            while self.takes('@') {
                attributes.push(self.attribute()?);
            }
            match self.peek() {
                Some(Token::Line | Token::Mark('}')) => {}
                _ => {
                    return Err(mistake(
                        self.span(),
                        "an attribute or the end of the line is expected",
                    ));
                }
            }
            model.fields.push(Field { name, span, kind, optional, list, attributes });
        }
    }

    fn labels(&mut self, name: String) -> Result<Enum, Mistake> {
        let mut found = Enum { name, attributes: Vec::new(), values: Vec::new() };
        loop {
            self.skip_lines();
            if self.takes('}') {
                return Ok(found);
            }
            if self.takes('@') {
                self.expect('@')?;
                found.attributes.push(self.attribute()?);
                continue;
            }
            let value = self.word("a value")?;
            let mut stored = value.clone();
            while self.takes('@') {
                let attribute = self.attribute()?;
                if attribute.name == "map"
                    && let Some(Value::Text(name)) = attribute.get_or_first("name")
                {
                    stored.clone_from(name);
                }
            }
            found.values.push((value, stored));
        }
    }

    /// `name.more(arguments)`, after its `@`.
    fn attribute(&mut self) -> Result<Attribute, Mistake> {
        let mut name = self.word("an attribute")?;
        while self.takes('.') {
            name = format!("{name}.{}", self.word("an attribute")?);
        }
        let arguments = if self.takes('(') { self.arguments()? } else { Vec::new() };
        Ok(Attribute { name, arguments })
    }

    fn arguments(&mut self) -> Result<Vec<(Option<String>, Value)>, Mistake> {
        let mut arguments = Vec::new();
        loop {
            self.skip_lines();
            if self.takes(')') {
                return Ok(arguments);
            }
            let named = match (self.peek(), self.tokens.get(self.at + 1)) {
                (Some(Token::Word(name)), Some((Token::Mark(':'), _))) => Some(name.clone()),
                _ => None,
            };
            if named.is_some() {
                self.at += 2;
            }
            self.skip_lines();
            arguments.push((named, self.value(0)?));
            self.skip_lines();
            if !self.takes(',') && self.peek() != Some(&Token::Mark(')')) {
                return Err(mistake(self.span(), "`,` or `)` is expected"));
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Mistake> {
        let span = self.span();
        if depth > 32 {
            return Err(mistake(span, "the value is nested too deep"));
        }
        match self.next() {
            Some(Token::Text(text)) => Ok(Value::Text(text)),
            Some(Token::Number(number)) => Ok(Value::Number(number)),
            Some(Token::Mark('[')) => {
                let mut items = Vec::new();
                loop {
                    self.skip_lines();
                    if self.takes(']') {
                        return Ok(Value::List(items));
                    }
                    items.push(self.value(depth + 1)?);
                    self.skip_lines();
                    if !self.takes(',') && self.peek() != Some(&Token::Mark(']')) {
                        return Err(mistake(self.span(), "`,` or `]` is expected"));
                    }
                }
            }
            Some(Token::Word(mut word)) => {
                while self.takes('.') {
                    word = format!("{word}.{}", self.word("a name")?);
                }
                if !self.takes('(') {
                    return Ok(Value::Word(word));
                }
                let arguments = self.arguments()?;
                Ok(Value::Call(word, arguments.into_iter().map(|(_, value)| value).collect()))
            }
            _ => Err(mistake(span, "a value is expected")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Schema {
        parse(text).unwrap()
    }

    #[test]
    fn blocks_fields_and_attributes_are_read() {
        let schema = read(
            "datasource db { provider = \"mongodb\"\n url = env(\"X\") }\n\
             /// doc\nmodel User { // trailing\n  id String @id @default(auto()) @map(\"_id\") @db.ObjectId\n\
             tags String[]\n  at DateTime? @default(now())\n /* c */ role Role @default(USER)\n\
             posts Post[] @relation(\"P\", fields: [postIds],\n references: [id])\n\
             @@index([role, at(sort: Desc)])\n @@map(\"users\") }\n\
             enum Role { USER\n ADMIN @map(\"admin\") }\ntype Photo { url String }",
        );
        let user = &schema.models[0];
        assert_eq!(user.fields.len(), 5);
        assert!(user.fields[1].list && user.fields[2].optional);
        let relation = attribute(&user.fields[4].attributes, "relation").unwrap();
        assert_eq!(relation.get("fields").unwrap().names(), ["postIds"]);
        assert_eq!(relation.get_or_first("name").unwrap().name(), Some("P"));
        let index = attribute(&user.attributes, "index").unwrap();
        assert_eq!(index.get_or_first("fields").unwrap().names(), ["role", "at"]);
        assert_eq!(index.get_or_first("fields").unwrap().descending(), ["at"]);
        assert_eq!(schema.enums[0].values[1], ("ADMIN".to_owned(), "admin".to_owned()));
        assert_eq!(schema.types, ["Photo"]);
    }

    #[test]
    fn mistakes_are_shown_where_they_stand() {
        for (text, line) in [
            ("model A {\n  id String @id(\n", 2),
            ("model A {\n  id \n}", 2),
            ("modell A {}", 1),
            ("model A { s String @default(\"x\n\") }", 1),
            ("model A {\n id String }} ", 2),
        ] {
            let mistake = parse(text).unwrap_err();
            let start = mistake.span.start.min(text.trim_end().len());
            assert_eq!(1 + text[..start].matches('\n').count(), line, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_too_strange(text in "(model|enum|[a-z]+|[@{}()\\[\\]?,.:\"\\\\/*\n -]|[0-9]+|é){0,40}") {
            let _ = parse(&text);
        }
    }
}
