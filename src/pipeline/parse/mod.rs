//! TOML text to the model. All mistakes of a file are found in one go.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

mod column;
mod names;
mod reference;
mod table;

use super::error::{Mistake, PipelineError};
use super::fields::{Fields, Located, Mistakes, string, strings};
use super::model::{
    ChangedBy, Dangling, Deferrable, EnumType, FieldPath, Nul, NullElements, OnDelete, OnFail,
    Otherwise, Pipeline, Query, Table, UuidOrder,
};
use crate::sql::transaction_control;
use crate::staging::manifest::Hook;

/// The version of the file format this program reads.
const VERSION: &str = "1";
/// Bytes of an identifier that PostgreSQL keeps.
const IDENTIFIER_BYTES: usize = 63;
/// Columns of a table, and of an index, at most. PostgreSQL documentation, appendix K.
const MOST_COLUMNS: usize = 1600;
const MOST_INDEX_COLUMNS: usize = 32;
/// A day.
pub(super) const MOST_MILLISECONDS: f64 = 86_400_000.0;
/// Names that a column cannot have. PostgreSQL documentation, section 5.5.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// Reads a pipeline file.
pub fn load(path: &Path) -> Result<Pipeline, PipelineError> {
    let text = fs::read_to_string(path)
        .map_err(|source| PipelineError::Read { path: path.to_owned(), source })?;
    let mut pipeline = parse(path, &text)?;
    read_hooks(path, &text, &mut pipeline)?;
    Ok(pipeline)
}
/// Reads the SQL files that a pipeline file names. They are found from its own folder, or from the
/// folder above, where a project keeps `sql/` beside `pipelines/`.
fn read_hooks(path: &Path, text: &str, pipeline: &mut Pipeline) -> Result<(), PipelineError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut mistakes = Vec::new();
    for hook in pipeline.before_load.iter_mut().chain(&mut pipeline.after_load) {
        let near = folder.join(&hook.path);
        let above = folder.join("..").join(&hook.path);
        let file = if near.is_file() { near } else { above };
        let mut mistake = |message: String, help: &str| {
            let quoted = format!("\"{}\"", hook.path);
            // A path may be written in another way.
            let span = text.find(&quoted).map(|start| start..start + quoted.len());
            let span = span.unwrap_or(0..0);
            mistakes.push(Mistake { span, message, help: Some(help.to_owned()) });
        };
        match fs::read_to_string(&file) {
            Ok(sql) => {
                if let Some(found) = transaction_control(&sql) {
                    mistake(
                        format!(
                            "SQL file {}, line {}: {} would end the transaction that the file is \
                             part of",
                            hook.path, found.line, found.statement
                        ),
                        "leave it out: each file is run in a transaction, together with its entry \
                         in the ledger; SAVEPOINT is allowed",
                    );
                }
                hook.sql = sql;
            }
            Err(error) => mistake(
                format!("SQL file {} cannot be read: {error}", hook.path),
                "name it from the folder of this file, or from the one above",
            ),
        }
    }
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(PipelineError::Mistakes { path: path.to_owned(), text: text.to_owned(), mistakes })
}

/// Reads a pipeline file's text; `path` is for messages.
pub fn parse(path: &Path, text: &str) -> Result<Pipeline, PipelineError> {
    let fail = |mistakes: Vec<Mistake>| PipelineError::Mistakes {
        path: path.to_owned(),
        text: text.to_owned(),
        mistakes,
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mistakes = errors.iter().map(|error| Mistake {
            span: error.span().unwrap_or(0..0),
            message: error.message().to_owned(),
            help: None,
        });
        return Err(fail(mistakes.collect()));
    }
    let mut parser = Parser {
        mistakes: Mistakes::default(),
        defaults: Defaults::default(),
        enums: Vec::new(),
        index_names: Vec::new(),
    };
    let pipeline = parser.pipeline(document.get_ref());
    match pipeline {
        Some(pipeline) if parser.mistakes.0.is_empty() => Ok(pipeline),
        _ => {
            let mut mistakes = parser.mistakes.0;
            mistakes.sort_by_key(|mistake| mistake.span.start);
            Err(fail(mistakes))
        }
    }
}

#[derive(Clone)]
struct Defaults {
    dangling: Dangling,
    unmapped: String,
    nul: Nul,
    on_fail: OnFail,
    on_delete: Option<OnDelete>,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            dangling: Dangling::Null,
            unmapped: "reject".to_owned(),
            nul: Nul::Reject,
            on_fail: OnFail::Reject,
            on_delete: None,
        }
    }
}

pub(super) const DANGLING: &[(&str, Dangling)] =
    &[("null", Dangling::Null), ("reject", Dangling::Reject), ("keep", Dangling::Keep)];
pub(super) const NUL: &[(&str, Nul)] = &[("reject", Nul::Reject), ("strip", Nul::Strip)];
pub(super) const ON_FAIL: &[(&str, OnFail)] =
    &[("reject", OnFail::Reject), ("null", OnFail::Null), ("report", OnFail::Report)];
pub(super) const ON_DELETE: &[(&str, OnDelete)] = &[
    ("cascade", OnDelete::Cascade),
    ("set null", OnDelete::SetNull),
    ("set default", OnDelete::SetDefault),
    ("restrict", OnDelete::Restrict),
];
pub(super) const DEFERRABLE: &[(&str, Deferrable)] =
    &[("immediate", Deferrable::Immediate), ("deferred", Deferrable::Deferred)];
pub(super) const OTHERWISE: &[(&str, Otherwise)] =
    &[("reject", Otherwise::Reject), ("drop", Otherwise::Drop)];
pub(super) const UUID_ORDER: &[(&str, UuidOrder)] =
    &[("standard", UuidOrder::Standard), ("csharp", UuidOrder::CSharp), ("java", UuidOrder::Java)];

/// Words of `null_elements`.
pub(super) const NULL_ELEMENTS: &[(&str, NullElements)] =
    &[("keep", NullElements::Keep), ("drop", NullElements::Drop), ("reject", NullElements::Reject)];
/// Words of `empty`.
pub(super) const EMPTY: &[(&str, bool)] = &[("null", true)];
/// Access methods of indexes.
pub(super) const METHODS: &[(&str, &str)] =
    &[("btree", "btree"), ("gin", "gin"), ("gist", "gist"), ("hash", "hash"), ("brin", "brin")];

struct Parser {
    mistakes: Mistakes,
    defaults: Defaults,
    enums: Vec<EnumType>,
    /// Names that the file gives to indexes.
    index_names: Vec<Located<String>>,
}

/// A table with the places that later checks need.
struct TableDraft {
    name: Located<String>,
    table: Table,
    columns: Vec<ColumnDraft>,
}

struct ColumnDraft {
    name: Located<String>,
    reference: Option<Located<String>>,
    on_delete: Option<OnDelete>,
    on_update: Option<OnDelete>,
    deferrable: Option<Deferrable>,
}

impl Parser {
    fn pipeline(&mut self, document: &DeTable<'_>) -> Option<Pipeline> {
        let mut fields = Fields::new(document);
        match fields.get("version") {
            Some(value) => {
                let right = matches!(value.get_ref(), DeValue::Integer(number) if number.as_str() == VERSION);
                if !right {
                    self.mistakes
                        .add(value.span(), "this docferry reads pipeline files of `version = 1`");
                }
            }
            None => self.mistakes.add(0..0, "`version = 1` is missing"),
        }
        let name = fields.string("name", &mut self.mistakes);
        if name.is_none() {
            self.mistakes.add(0..0, "`name = \"…\"` is missing");
        }
        let schema = fields.string("schema", &mut self.mistakes);
        if let Some(schema) = &schema {
            self.identifier(schema);
        }
        let schema = schema.map_or_else(|| "public".to_owned(), |schema| schema.value);
        if let Some(table) = fields.table("defaults", &mut self.mistakes) {
            self.read_defaults(table);
        }
        let mut enum_names = Vec::new();
        if let Some(table) = fields.table("enums", &mut self.mistakes) {
            for (key, value) in table {
                let labels = strings(value, key.get_ref(), &mut self.mistakes);
                self.labels(&labels);
                let labels = texts(labels);
                if labels.is_empty() {
                    self.mistakes.add(value.span(), "an enum needs at least one label");
                }
                self.identifier(&located(key));
                enum_names.push(located(key));
                self.enums.push(EnumType { name: key.get_ref().clone().into_owned(), labels });
            }
        }
        let mut drafts = Vec::new();
        if let Some(tables) = fields.table("tables", &mut self.mistakes) {
            for (key, value) in tables {
                match value.get_ref() {
                    DeValue::Table(table) => drafts.push(self.table(located(key), table)),
                    _ => self.mistakes.add(value.span(), "a table of the mapping must be a table"),
                }
            }
        }
        let mut junctions = Vec::new();
        if let Some(tables) = fields.table("junctions", &mut self.mistakes) {
            for (key, value) in tables {
                match value.get_ref() {
                    DeValue::Table(table) => {
                        let name = located(key);
                        self.identifier(&name);
                        if drafts.iter().any(|draft| draft.name.value == name.value) {
                            self.mistakes.add(name.span.clone(), "a table has this name already");
                        }
                        junctions.extend(self.junction(name, table, &drafts));
                    }
                    _ => self.mistakes.add(value.span(), "a junction must be a table"),
                }
            }
        }
        let ignore = fields.strings("ignore", &mut self.mistakes);
        let (mut before_load, mut after_load) = (Vec::new(), Vec::new());
        if let Some(table) = fields.table("hooks", &mut self.mistakes) {
            let mut hooks = Fields::new(table);
            let hook = |path| Hook { path, sql: String::new() };
            let before = texts(hooks.strings("before_load", &mut self.mistakes));
            before_load = before.into_iter().map(hook).collect();
            let after = texts(hooks.strings("after_load", &mut self.mistakes));
            after_load = after.into_iter().map(hook).collect();
            hooks.finish(&mut self.mistakes);
        }
        let mut changed = ChangedBy::default();
        if let Some(table) = fields.table("backup", &mut self.mistakes) {
            let mut backup = Fields::new(table);
            let field = backup.string("changed", &mut self.mistakes);
            changed.field = field.map(|field| field_path(&field.value));
            if let Some(table) = backup.table("collections", &mut self.mistakes) {
                for (key, value) in table {
                    if let Some(field) = string(value, key.get_ref(), &mut self.mistakes) {
                        let name = key.get_ref().clone().into_owned();
                        changed.collections.push((name, field_path(&field.value)));
                    }
                }
            }
            backup.finish(&mut self.mistakes);
        }
        let mut queries = Vec::new();
        if let Some(table) = fields.table("queries", &mut self.mistakes) {
            for (key, value) in table {
                match value.get_ref() {
                    DeValue::Table(table) => queries.extend(self.query(&located(key), table)),
                    _ => self.mistakes.add(
                        value.span(),
                        "a query must be a table: { sql = \"…\", max_ms = 100 }",
                    ),
                }
            }
        }
        fields.finish(&mut self.mistakes);
        self.references(&mut drafts);
        self.shared_names(&enum_names, &drafts, &junctions);
        Some(Pipeline {
            name: name?.value,
            schema,
            enums: std::mem::take(&mut self.enums),
            tables: drafts.into_iter().map(|draft| draft.table).collect(),
            junctions,
            before_load,
            after_load,
            ignore: texts(ignore),
            changed,
            queries,
        })
    }

    /// A query of `[queries]`.
    fn query(&mut self, name: &Located<String>, table: &DeTable<'_>) -> Option<Query> {
        let mut fields = Fields::new(table);
        let sql = fields.string("sql", &mut self.mistakes);
        let most = fields.number("max_ms", &mut self.mistakes);
        fields.finish(&mut self.mistakes);
        let (Some(sql), Some(most)) = (sql, most) else {
            self.mistakes.add(name.span.clone(), "a query needs `sql` and `max_ms`");
            return None;
        };
        if most < 1.0 || most.fract() != 0.0 || most > MOST_MILLISECONDS {
            self.mistakes.add(
                name.span.clone(),
                "`max_ms` is a whole number of milliseconds, from 1 to a day",
            );
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number in these bounds"
        )]
        let max_ms = most as u64;
        Some(Query { name: name.value.clone(), sql: sql.value, max_ms })
    }

    fn read_defaults(&mut self, table: &DeTable<'_>) {
        let mut fields = Fields::new(table);
        let mistakes = &mut self.mistakes;
        let defaults = &mut self.defaults;
        if let Some(value) = fields.word("dangling", DANGLING, mistakes) {
            defaults.dangling = value;
        }
        if let Some(value) = fields.string("unmapped", mistakes) {
            defaults.unmapped = value.value;
        }
        if let Some(value) = fields.word("nul", NUL, mistakes) {
            defaults.nul = value;
        }
        if let Some(value) = fields.word("on_fail", ON_FAIL, mistakes) {
            defaults.on_fail = value;
        }
        defaults.on_delete = fields.word("on_delete", ON_DELETE, mistakes);
        fields.finish(mistakes);
    }

    /// Labels of an enum: PostgreSQL keeps them as names, and each once.
    fn labels(&mut self, labels: &[Located<String>]) {
        let mut seen = HashSet::new();
        for label in labels {
            if label.value.len() > IDENTIFIER_BYTES {
                let message = format!(
                    "an enum's labels have at most {IDENTIFIER_BYTES} bytes in PostgreSQL; this \
                     one has {}",
                    label.value.len()
                );
                let help = "give it a shorter label and map the text to it with `values`, or use \
                            a text column";
                self.mistakes.add_with_help(label.span.clone(), message, Some(help.to_owned()));
            } else if label.value.contains('\0') {
                self.mistakes.add(label.span.clone(), "a label must not hold U+0000");
            }
            if !seen.insert(&label.value) {
                self.mistakes.add(label.span.clone(), "the enum has this label already");
            }
        }
    }

    /// Refuses the first of a list that is too long for PostgreSQL.
    fn at_most<'n>(
        &mut self,
        most: usize,
        what: &str,
        mut names: impl Iterator<Item = &'n Located<String>>,
    ) {
        if let Some(name) = names.nth(most) {
            self.mistakes
                .add(name.span.clone(), format!("{what} of PostgreSQL has at most {most} columns"));
        }
    }

    fn identifier(&mut self, name: &Located<String>) {
        if name.value.is_empty() || name.value.contains('\0') {
            self.mistakes.add(name.span.clone(), "a name must not be empty or hold U+0000");
        } else if name.value.len() > IDENTIFIER_BYTES {
            self.mistakes.add(
                name.span.clone(),
                format!(
                    "PostgreSQL cuts names after {IDENTIFIER_BYTES} bytes; this one has {}",
                    name.value.len()
                ),
            );
        }
    }
}

fn located(key: &Spanned<std::borrow::Cow<'_, str>>) -> Located<String> {
    Located { span: key.span(), value: key.get_ref().clone().into_owned() }
}

fn texts(items: Vec<Located<String>>) -> Vec<String> {
    items.into_iter().map(|item| item.value).collect()
}

/// `a.b.c`; a backslash takes a dot's meaning away.
pub fn field_path(text: &str) -> FieldPath {
    let mut segments = vec![String::new()];
    let mut characters = text.chars();
    let push = |segments: &mut Vec<String>, character| {
        if let Some(last) = segments.last_mut() {
            last.push(character);
        }
    };
    while let Some(character) = characters.next() {
        match character {
            '.' => segments.push(String::new()),
            '\\' => {
                if let Some(next) = characters.next() {
                    push(&mut segments, next);
                }
            }
            // A field of this name is written with a backslash.
            '*' if segments.last().is_some_and(String::is_empty)
                && (characters.as_str().is_empty() || characters.as_str().starts_with('.')) =>
            {
                if let Some(last) = segments.last_mut() {
                    FieldPath::MEMBERS.clone_into(last);
                }
            }
            other => push(&mut segments, other),
        }
    }
    FieldPath(segments)
}

struct Wants {
    unique: bool,
    index: bool,
}
