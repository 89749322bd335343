//! What only the SQL of a table or an index says, and no pragma: collations, checks, expressions,
//! AUTOINCREMENT, whether a reference can be deferred.
//! <https://www.sqlite.org/lang_createtable.html>

use super::token::{Placed, Token, closing, items, text_of, tokens};

/// What `CREATE TABLE` says of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    /// Its columns, in order.
    pub columns: Vec<ColumnDeclaration>,
    /// Conditions on its rows.
    pub checks: Vec<CheckDeclaration>,
    /// Its references, in order.
    pub references: Vec<ReferenceDeclaration>,
    /// Numbers of rows that are gone are not given out again.
    pub autoincrement: bool,
    /// `ON CONFLICT` clauses: the words behind them.
    pub conflicts: Vec<String>,
}

/// What `CREATE TABLE` says of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnDeclaration {
    /// Name.
    pub name: String,
    /// `COLLATE …`
    pub collation: Option<String>,
    /// Expression of a generated column.
    pub generated: Option<String>,
}

/// A condition on a table's rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckDeclaration {
    /// Name, where it has one.
    pub name: Option<String>,
    /// The column behind which it stands.
    pub column: Option<String>,
    /// The condition.
    pub expression: String,
}

/// A reference of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceDeclaration {
    /// Its columns.
    pub columns: Vec<String>,
    /// The table that it leads to.
    pub table: String,
    /// `INITIALLY IMMEDIATE` or `INITIALLY DEFERRED` where it can be deferred.
    pub deferrable: Option<&'static str>,
}

/// One part of an index: a column or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexPart {
    /// Its text, without collation and order.
    pub expression: String,
}

/// What `CREATE INDEX` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexDeclaration {
    /// What it orders by.
    pub parts: Vec<IndexPart>,
    /// The condition of a partial index.
    pub condition: Option<String>,
}

const CONSTRAINTS: [&str; 5] = ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"];

impl Declaration {
    /// Reads `CREATE TABLE …`. What cannot be read is left out.
    pub fn of_table(sql: &str) -> Self {
        let mut declaration = Self::default();
        let all = tokens(sql);
        let Some(open) = all.iter().position(|placed| placed.token.is_symbol("(")) else {
            return declaration;
        };
        let end = closing(&all, open).saturating_sub(1).max(open + 1);
        for item in items(&all[open + 1..end]) {
            let Some(first) = item.first() else { continue };
            let of_table = CONSTRAINTS.iter().any(|word| first.token.is(word));
            if of_table {
                declaration.constraints(sql, item, None);
            } else if let Some(name) = first.token.name() {
                let name = name.to_owned();
                declaration
                    .columns
                    .push(ColumnDeclaration { name: name.clone(), ..Default::default() });
                declaration.constraints(sql, &item[1..], Some(&name));
            }
        }
        declaration
    }

    /// Reads the constraints behind a column, or of the table.
    fn constraints(&mut self, sql: &str, item: &[Placed], column: Option<&str>) {
        let is = |at: usize, word: &str| item.get(at).is_some_and(|placed| placed.token.is(word));
        let opens = |at: usize| item.get(at).is_some_and(|placed| placed.token.is_symbol("("));
        let inside = |open: usize| &item[open + 1..(closing(item, open) - 1).max(open + 1)];
        let (mut at, mut name, mut own) = (0, None, Vec::new());
        while at < item.len() {
            if is(at, "CONSTRAINT") {
                name = item.get(at + 1).and_then(|placed| placed.token.name()).map(str::to_owned);
                at += 2;
            } else if is(at, "CHECK") && opens(at + 1) {
                self.checks.push(CheckDeclaration {
                    name: name.take(),
                    column: column.map(str::to_owned),
                    expression: text_of(sql, inside(at + 1)).to_owned(),
                });
                at = closing(item, at + 1);
            } else if is(at, "AS") && opens(at + 1) {
                if let Some(column) = self.columns.last_mut().filter(|_| column.is_some()) {
                    column.generated = Some(text_of(sql, inside(at + 1)).to_owned());
                }
                at = closing(item, at + 1);
            } else if is(at, "COLLATE") {
                let collation = item.get(at + 1).and_then(|placed| placed.token.name());
                if let Some(column) = self.columns.last_mut().filter(|_| column.is_some()) {
                    column.collation = collation.map(str::to_owned);
                }
                at += 2;
            } else if is(at, "DEFAULT") {
                at = if opens(at + 1) { closing(item, at + 1) } else { at + 2 };
            } else if is(at, "CONFLICT") {
                let word = item.get(at + 1).and_then(|placed| placed.token.name());
                self.conflicts.extend(word.map(str::to_uppercase));
                at += 2;
            } else if is(at, "FOREIGN") && is(at + 1, "KEY") && opens(at + 2) {
                own = names(inside(at + 2));
                at = closing(item, at + 2);
            } else if is(at, "REFERENCES") {
                let own = column.map_or(own.clone(), |column| vec![column.to_owned()]);
                at = self.reference(item, at, own);
            } else if opens(at) {
                // The key of a table may be counted inside its brackets.
                self.autoincrement |= inside(at).iter().any(|one| one.token.is("AUTOINCREMENT"));
                at = closing(item, at);
            } else {
                self.autoincrement |= is(at, "AUTOINCREMENT");
                at += 1;
            }
        }
    }

    /// Reads `REFERENCES …`; gives the place after it.
    fn reference(&mut self, item: &[Placed], start: usize, columns: Vec<String>) -> usize {
        let is = |at: usize, word: &str| item.get(at).is_some_and(|placed| placed.token.is(word));
        let table = item.get(start + 1).and_then(|placed| placed.token.name()).unwrap_or_default();
        let mut reference =
            ReferenceDeclaration { columns, table: table.to_owned(), deferrable: None };
        let mut at = start + 2;
        if item.get(at).is_some_and(|placed| placed.token.is_symbol("(")) {
            at = closing(item, at);
        }
        loop {
            if is(at, "ON") {
                let two = is(at + 2, "SET") || is(at + 2, "NO");
                at += if two { 4 } else { 3 };
            } else if is(at, "MATCH") {
                at += 2;
            } else if is(at, "NOT") && is(at + 1, "DEFERRABLE") {
                at += 2;
                at += if is(at, "INITIALLY") { 2 } else { 0 };
            } else if is(at, "DEFERRABLE") {
                let deferred = is(at + 1, "INITIALLY") && is(at + 2, "DEFERRED");
                reference.deferrable =
                    Some(if deferred { "INITIALLY DEFERRED" } else { "INITIALLY IMMEDIATE" });
                at += if is(at + 1, "INITIALLY") { 3 } else { 1 };
            } else {
                break;
            }
        }
        self.references.push(reference);
        at
    }
}

fn names(tokens: &[Placed]) -> Vec<String> {
    let first = |item: &&[Placed]| item.first().and_then(|one| one.token.name()).map(str::to_owned);
    items(tokens).iter().filter_map(first).collect()
}

impl IndexDeclaration {
    /// Reads `CREATE INDEX …`.
    pub fn of_index(sql: &str) -> Self {
        let all = tokens(sql);
        let Some(on) = all.iter().position(|placed| placed.token.is("ON")) else {
            return Self::default();
        };
        let Some(open) = all[on..].iter().position(|placed| placed.token.is_symbol("(")) else {
            return Self::default();
        };
        let open = on + open;
        let end = closing(&all, open);
        let parts = items(&all[open + 1..(end - 1).max(open + 1)]);
        let part = |item: &&[Placed]| {
            let mut item = *item;
            loop {
                match item {
                    [rest @ .., last] if last.token.is("ASC") || last.token.is("DESC") => {
                        item = rest;
                    }
                    [rest @ .., collate, _] if collate.token.is("COLLATE") => item = rest,
                    _ => break,
                }
            }
            IndexPart { expression: text_of(sql, item).to_owned() }
        };
        let condition = all.get(end).is_some_and(|placed| placed.token.is("WHERE"));
        Self {
            parts: parts.iter().map(part).collect(),
            condition: condition.then(|| text_of(sql, &all[end + 1..]).to_owned()),
        }
    }
}

/// A virtual table: the module that makes it, and what the module is told.
pub fn module_of(sql: &str) -> Option<(String, Vec<String>)> {
    let all = tokens(sql);
    let using = all.iter().position(|placed| placed.token.is("USING"))?;
    let module = all.get(using + 1)?.token.name()?.to_ascii_lowercase();
    let open = using + 2;
    let arguments = if all.get(open).is_some_and(|placed| placed.token.is_symbol("(")) {
        let end = closing(&all, open).saturating_sub(1).max(open + 1);
        items(&all[open + 1..end]).iter().map(|item| text_of(sql, item).to_owned()).collect()
    } else {
        Vec::new()
    };
    Some((module, arguments))
}

/// `content='notes'` of a virtual table's arguments.
pub fn option_of(arguments: &[String], wanted: &str) -> Option<String> {
    arguments.iter().find_map(|argument| {
        let all = tokens(argument);
        match all.as_slice() {
            [name, equals, value @ ..] if name.token.is(wanted) && equals.token.is_symbol("=") => {
                let first = value.first().map(|placed| &placed.token);
                Some(match first {
                    Some(Token::Number(text)) => text.clone(),
                    Some(token) => token.name().unwrap_or_default().to_owned(),
                    None => String::new(),
                })
            }
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_more_than_its_pragmas() {
        let found = Declaration::of_table(
            "CREATE TABLE \"a (b\" (id INTEGER PRIMARY KEY AUTOINCREMENT, -- the (key\n\
             name VARCHAR(20) NOT NULL COLLATE NOCASE DEFAULT ('x,y') CHECK(length(name) > 1),\n\
             total REAL GENERATED ALWAYS AS (price * (1 + rate)) STORED,\n\
             state TEXT CONSTRAINT known CHECK (state IN ('a', 'b')) ON CONFLICT IGNORE,\n\
             parent INT REFERENCES [a (b](id) ON DELETE SET NULL ON UPDATE CASCADE \
                 DEFERRABLE INITIALLY DEFERRED NOT NULL COLLATE binary,\n\
             CHECK (price > 0) FOREIGN KEY (name, state) REFERENCES c NOT DEFERRABLE)",
        );
        let column = |at: usize| &found.columns[at];
        assert_eq!(found.columns.len(), 5);
        assert!(found.autoincrement);
        assert_eq!(column(1).collation.as_deref(), Some("NOCASE"));
        assert_eq!(column(2).generated.as_deref(), Some("price * (1 + rate)"));
        assert_eq!(column(4).collation.as_deref(), Some("binary"));
        let checks: Vec<(Option<&str>, Option<&str>, &str)> = found
            .checks
            .iter()
            .map(|check| (check.name.as_deref(), check.column.as_deref(), &*check.expression))
            .collect();
        assert_eq!(
            checks,
            [
                (None, Some("name"), "length(name) > 1"),
                (Some("known"), Some("state"), "state IN ('a', 'b')"),
                (None, None, "price > 0"),
            ]
        );
        assert_eq!(found.conflicts, ["IGNORE"]);
        assert_eq!(found.references[0].deferrable, Some("INITIALLY DEFERRED"));
        assert_eq!(found.references[1].columns, ["name", "state"]);
        assert_eq!(found.references[1].deferrable, None);
    }

    #[test]
    fn an_index_says_what_it_orders_by() {
        let found = IndexDeclaration::of_index(
            "CREATE UNIQUE INDEX i ON t(lower(a) COLLATE NOCASE DESC, \"b\", c+1 ASC) WHERE d = 0",
        );
        let parts: Vec<&str> = found.parts.iter().map(|part| &*part.expression).collect();
        assert_eq!(parts, ["lower(a)", "\"b\"", "c+1"]);
        assert_eq!(found.condition.as_deref(), Some("d = 0"));
        let (module, arguments) =
            module_of("CREATE VIRTUAL TABLE n USING fts5(body, content='notes', a = \"\")")
                .unwrap();
        assert_eq!(module, "fts5");
        assert_eq!(option_of(&arguments, "content").as_deref(), Some("notes"));
        assert_eq!(option_of(&arguments, "a").as_deref(), Some(""));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(sql in "(CREATE TABLE t)?[(),'\"x AS CHECK REFERENCES ON]{0,80}") {
            let _ = Declaration::of_table(&sql);
            let _ = IndexDeclaration::of_index(&sql);
            let _ = module_of(&sql);
        }
    }
}
