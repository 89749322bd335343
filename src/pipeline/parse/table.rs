//! Tables: their source, columns, keys, indexes, conditions.

use toml::de::{DeTable, DeValue};

use super::{
    ColumnDraft, METHODS, MOST_COLUMNS, MOST_INDEX_COLUMNS, OTHERWISE, Parser, TableDraft,
    field_path, located, texts,
};
use crate::pgcopy::PgType;
use crate::pipeline::fields::{Fields, Located, string, strings};
use crate::pipeline::model::{Check, Column, Index, Origin, Otherwise, Search, Table, Unmapped};

impl Parser {
    pub(super) fn table(&mut self, name: Located<String>, table: &DeTable<'_>) -> TableDraft {
        self.identifier(&name);
        let mut fields = Fields::new(table);
        let source = fields.string("source", &mut self.mistakes);
        let aliases = texts(fields.strings("aliases", &mut self.mistakes));
        let optional = fields.boolean("optional", &mut self.mistakes).unwrap_or(false);
        // `orders.items`: the collection, then the path of the array.
        let each = fields.string("each", &mut self.mistakes);
        let (source, each) = match (source, each) {
            (None, None) => (name.value.clone(), None),
            (Some(source), None) => (source.value, None),
            (Some(source), Some(each)) => {
                let prefix = format!("{}.", source.value);
                let path = each.value.strip_prefix(&prefix).unwrap_or(&each.value);
                (source.value, Some(field_path(path)))
            }
            (None, Some(each)) => {
                if let Some((source, path)) = each.value.split_once('.') {
                    (source.to_owned(), Some(field_path(path)))
                } else {
                    self.mistakes.add(each.span, "`each` must be \"collection.array\"");
                    (name.value.clone(), None)
                }
            }
        };
        let mut filter = Vec::new();
        if let Some(conditions) = fields.table("where", &mut self.mistakes) {
            for (key, value) in conditions {
                if let Some(literal) = self.literal(value) {
                    filter.push((field_path(key.get_ref()), literal));
                }
            }
        }
        let otherwise = fields.word("otherwise", OTHERWISE, &mut self.mistakes);
        let unmapped = fields.string("unmapped", &mut self.mistakes);
        let ignore = fields.strings("ignore", &mut self.mistakes);
        let ignore = ignore.iter().map(|path| field_path(&path.value)).collect();

        let mut drafts: Vec<ColumnDraft> = Vec::new();
        let mut columns: Vec<Column> = Vec::new();
        let (mut indexes, mut unique) = (Vec::new(), Vec::new());
        match fields.table("columns", &mut self.mistakes) {
            None => self.mistakes.add(name.span.clone(), "a table needs `[tables.….columns]`"),
            Some(table) => {
                for (key, value) in table {
                    let DeValue::Table(table) = value.get_ref() else {
                        self.mistakes
                            .add(value.span(), "a column is written `name = { type = \"…\" }`");
                        continue;
                    };
                    if let Some((draft, column, wants)) = self.column(located(key), table) {
                        if wants.index {
                            indexes.push(simple_index(&column.name));
                        }
                        if wants.unique {
                            unique.push(vec![column.name.clone()]);
                        }
                        drafts.push(draft);
                        columns.push(column);
                    }
                }
            }
        }
        let column_names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        if let Some(value) = fields.get("unique") {
            let DeValue::Array(keys) = value.get_ref() else {
                self.mistakes.add(value.span(), "`unique` is a list of lists of columns");
                return TableDraft { name, table: empty_table(), columns: drafts };
            };
            for key in keys {
                let names = strings(key, "unique", &mut self.mistakes);
                self.at_most(MOST_INDEX_COLUMNS, "a unique key", names.iter());
                unique.push(self.known_columns(names, &column_names));
            }
        }
        for index in fields.tables("indexes", &mut self.mistakes) {
            indexes.push(self.index(index.value, &columns));
        }
        let mut search = Vec::new();
        for item in fields.tables("search", &mut self.mistakes) {
            let mut fields = Fields::new(item.value);
            let names = fields.strings("columns", &mut self.mistakes);
            if names.is_empty() {
                self.mistakes.add(item.span, "`search` needs `columns`");
            }
            let language = fields.string("language", &mut self.mistakes);
            let column = fields.string("name", &mut self.mistakes);
            if let Some(column) = &column {
                self.identifier(column);
            }
            fields.finish(&mut self.mistakes);
            search.push(Search {
                column: column.map_or_else(|| "search".to_owned(), |column| column.value),
                columns: self.known_columns(names, &column_names),
                language: language.map_or_else(|| "simple".to_owned(), |language| language.value),
            });
        }
        self.at_most(
            // A search is a column too.
            MOST_COLUMNS.saturating_sub(search.len()),
            "a table",
            drafts.iter().map(|draft| &draft.name),
        );
        let keys = drafts.iter().zip(&columns).filter(|(_, column)| column.key.is_some());
        self.at_most(MOST_INDEX_COLUMNS, "a primary key", keys.map(|(draft, _)| &draft.name));
        let upsert_by = fields.strings("upsert_by", &mut self.mistakes);
        let upsert_by = self.known_columns(upsert_by, &column_names);
        let tenant: Vec<Located<String>> =
            fields.string("tenant", &mut self.mistakes).into_iter().collect();
        let tenant = self.known_columns(tenant, &column_names).pop();
        let checks = fields.table("checks", &mut self.mistakes);
        for (key, _) in checks.into_iter().flatten() {
            self.identifier(&located(key));
        }
        let checks = self.conditions(checks);
        let expectations = fields.table("expectations", &mut self.mistakes);
        let expectations = self.conditions(expectations);
        fields.finish(&mut self.mistakes);
        let rest = columns.iter().find(|column| column.origin == Origin::Rest);
        let word = unmapped.as_ref().map_or(&self.defaults.unmapped, |unmapped| &unmapped.value);
        let unmapped = match (word.as_str(), rest) {
            (_, Some(rest)) => Unmapped::Column(rest.name.clone()),
            ("reject", None) => Unmapped::Reject,
            ("drop", None) => Unmapped::Drop,
            (other, None) => {
                let span =
                    unmapped.as_ref().map_or(name.span.clone(), |unmapped| unmapped.span.clone());
                self.mistakes.add(
                    span,
                    format!("`unmapped = \"{other}\"` needs a jsonb column `{other}` with `from = \"*\"`"),
                );
                Unmapped::Reject
            }
        };
        TableDraft {
            table: Table {
                name: name.value.clone(),
                source,
                aliases,
                optional,
                each,
                filter,
                otherwise: otherwise.unwrap_or(Otherwise::Reject),
                unmapped,
                ignore,
                columns,
                indexes,
                search,
                unique,
                upsert_by,
                tenant,
                checks,
                expectations,
            },
            name,
            columns: drafts,
        }
    }

    /// `name = "SQL condition"`.
    pub(super) fn conditions(&mut self, table: Option<&DeTable<'_>>) -> Vec<Check> {
        let mut conditions = Vec::new();
        for (key, value) in table.into_iter().flatten() {
            if let Some(expression) = string(value, key.get_ref(), &mut self.mistakes) {
                let name = key.get_ref().clone().into_owned();
                conditions.push(Check { name, expression: expression.value });
            }
        }
        conditions
    }

    pub(super) fn known_columns(
        &mut self,
        names: Vec<Located<String>>,
        columns: &[String],
    ) -> Vec<String> {
        for name in &names {
            if !columns.contains(&name.value) {
                self.mistakes.unknown("column", name, columns.iter().map(String::as_str));
            }
        }
        texts(names)
    }

    pub(super) fn index(&mut self, table: &DeTable<'_>, columns: &[Column]) -> Index {
        let mut fields = Fields::new(table);
        let names = fields.strings("columns", &mut self.mistakes);
        self.at_most(MOST_INDEX_COLUMNS, "an index", names.iter());
        let lower = fields.strings("lower", &mut self.mistakes);
        let descending = fields.strings("descending", &mut self.mistakes);
        let name = fields.string("name", &mut self.mistakes);
        if let Some(name) = &name {
            self.identifier(name);
            self.index_names.push(Located { span: name.span.clone(), value: name.value.clone() });
        }
        let unique = fields.boolean("unique", &mut self.mistakes).unwrap_or(false);
        let method = fields.word("method", METHODS, &mut self.mistakes).unwrap_or("btree");
        let predicate = fields.string("where", &mut self.mistakes);
        fields.finish(&mut self.mistakes);
        for part in &lower {
            let column = columns.iter().find(|column| column.name == part.value);
            let text =
                |column: &Column| matches!(column.pg_type, PgType::Text | PgType::Varchar(_));
            if let Some(column) = column.filter(|column| !text(column)) {
                self.mistakes.add(
                    part.span.clone(),
                    format!("`lower` needs a text column, this one is {}", column.pg_type),
                );
            }
        }
        if let Some(first) = descending.first()
            && method != "btree"
        {
            self.mistakes.add(first.span.clone(), format!("a {method} index has no order"));
        }
        let own: Vec<String> = names.iter().map(|name| name.value.clone()).collect();
        let columns: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        Index {
            name: name.map(|name| name.value),
            lower: self.known_columns(lower, &own),
            descending: self.known_columns(descending, &own),
            columns: self.known_columns(names, &columns),
            unique,
            method: method.to_owned(),
            predicate: predicate.map(|predicate| predicate.value),
        }
    }
}

pub(super) fn simple_index(column: &str) -> Index {
    Index {
        name: None,
        columns: vec![column.to_owned()],
        lower: Vec::new(),
        descending: Vec::new(),
        unique: false,
        method: "btree".to_owned(),
        predicate: None,
    }
}

pub(super) fn empty_table() -> Table {
    Table {
        name: String::new(),
        source: String::new(),
        aliases: Vec::new(),
        optional: false,
        each: None,
        filter: Vec::new(),
        otherwise: Otherwise::Reject,
        unmapped: Unmapped::Reject,
        ignore: Vec::new(),
        columns: Vec::new(),
        indexes: Vec::new(),
        search: Vec::new(),
        unique: Vec::new(),
        upsert_by: Vec::new(),
        tenant: None,
        checks: Vec::new(),
        expectations: Vec::new(),
    }
}
