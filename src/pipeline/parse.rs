//! TOML text to the model. All mistakes of a file are found in one go.

use std::fs;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Mistake, PipelineError};
use super::fields::{Fields, Located, Mistakes, nearest, string, strings};
use super::model::{
    Check, Column, Dangling, DefaultValue, EnumType, FieldPath, Index, Junction, JunctionColumn,
    JunctionSource, Key, Literal, Nul, OnDelete, OnFail, Origin, Otherwise, Pipeline, Reference,
    Search, Table, Unmapped, UuidOrder,
};
use crate::pgcopy::PgType;
use crate::staging::manifest::Hook;

/// The version of the file format this program reads.
const VERSION: &str = "1";
/// Bytes of an identifier that PostgreSQL keeps.
const IDENTIFIER_BYTES: usize = 63;
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
        match fs::read_to_string(&file) {
            Ok(sql) => hook.sql = sql,
            Err(error) => {
                let quoted = format!("\"{}\"", hook.path);
                let start = text.find(&quoted).unwrap_or(0);
                mistakes.push(Mistake {
                    span: start..start + quoted.len(),
                    message: format!("SQL file {} cannot be read: {error}", hook.path),
                    help: Some(
                        "name it from the folder of this file, or from the one above".into(),
                    ),
                });
            }
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
    let mut parser =
        Parser { mistakes: Mistakes::default(), defaults: Defaults::default(), enums: Vec::new() };
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

const DANGLING: &[(&str, Dangling)] =
    &[("null", Dangling::Null), ("reject", Dangling::Reject), ("keep", Dangling::Keep)];
const NUL: &[(&str, Nul)] = &[("reject", Nul::Reject), ("strip", Nul::Strip)];
const ON_FAIL: &[(&str, OnFail)] =
    &[("reject", OnFail::Reject), ("null", OnFail::Null), ("report", OnFail::Report)];
const ON_DELETE: &[(&str, OnDelete)] = &[
    ("cascade", OnDelete::Cascade),
    ("set null", OnDelete::SetNull),
    ("restrict", OnDelete::Restrict),
];
const OTHERWISE: &[(&str, Otherwise)] = &[("reject", Otherwise::Reject), ("drop", Otherwise::Drop)];
const UUID_ORDER: &[(&str, UuidOrder)] =
    &[("standard", UuidOrder::Standard), ("csharp", UuidOrder::CSharp), ("java", UuidOrder::Java)];

struct Parser {
    mistakes: Mistakes,
    defaults: Defaults,
    enums: Vec<EnumType>,
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
        let schema = schema.map_or_else(|| "public".to_owned(), |schema| schema.value);
        if let Some(table) = fields.table("defaults", &mut self.mistakes) {
            self.read_defaults(table);
        }
        if let Some(table) = fields.table("enums", &mut self.mistakes) {
            for (key, value) in table {
                let labels = strings(value, key.get_ref(), &mut self.mistakes);
                let labels: Vec<String> = labels.into_iter().map(|label| label.value).collect();
                if labels.is_empty() {
                    self.mistakes.add(value.span(), "an enum needs at least one label");
                }
                self.identifier(&located(key));
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
        fields.finish(&mut self.mistakes);
        self.references(&mut drafts);
        Some(Pipeline {
            name: name?.value,
            schema,
            enums: std::mem::take(&mut self.enums),
            tables: drafts.into_iter().map(|draft| draft.table).collect(),
            junctions,
            before_load,
            after_load,
            ignore: texts(ignore),
        })
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

    fn table(&mut self, name: Located<String>, table: &DeTable<'_>) -> TableDraft {
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
                unique.push(self.known_columns(names, &column_names));
            }
        }
        for index in fields.tables("indexes", &mut self.mistakes) {
            indexes.push(self.index(index.value, &column_names));
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
            fields.finish(&mut self.mistakes);
            search.push(Search {
                column: column.map_or_else(|| "search".to_owned(), |column| column.value),
                columns: self.known_columns(names, &column_names),
                language: language.map_or_else(|| "simple".to_owned(), |language| language.value),
            });
        }
        let upsert_by = fields.strings("upsert_by", &mut self.mistakes);
        let upsert_by = self.known_columns(upsert_by, &column_names);
        let tenant: Vec<Located<String>> =
            fields.string("tenant", &mut self.mistakes).into_iter().collect();
        let tenant = self.known_columns(tenant, &column_names).pop();
        let checks = fields.table("checks", &mut self.mistakes);
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
    fn conditions(&mut self, table: Option<&DeTable<'_>>) -> Vec<Check> {
        let mut conditions = Vec::new();
        for (key, value) in table.into_iter().flatten() {
            if let Some(expression) = string(value, key.get_ref(), &mut self.mistakes) {
                let name = key.get_ref().clone().into_owned();
                conditions.push(Check { name, expression: expression.value });
            }
        }
        conditions
    }

    fn known_columns(&mut self, names: Vec<Located<String>>, columns: &[String]) -> Vec<String> {
        for name in &names {
            if !columns.contains(&name.value) {
                self.mistakes.unknown("column", name, columns.iter().map(String::as_str));
            }
        }
        texts(names)
    }

    fn index(&mut self, table: &DeTable<'_>, columns: &[String]) -> Index {
        let mut fields = Fields::new(table);
        let names = fields.strings("columns", &mut self.mistakes);
        let name = fields.string("name", &mut self.mistakes);
        let unique = fields.boolean("unique", &mut self.mistakes).unwrap_or(false);
        let methods = [
            ("btree", "btree"),
            ("gin", "gin"),
            ("gist", "gist"),
            ("hash", "hash"),
            ("brin", "brin"),
        ];
        let method = fields.word("method", &methods, &mut self.mistakes).unwrap_or("btree");
        let predicate = fields.string("where", &mut self.mistakes);
        fields.finish(&mut self.mistakes);
        Index {
            name: name.map(|name| name.value),
            columns: self.known_columns(names, columns),
            unique,
            method: method.to_owned(),
            predicate: predicate.map(|predicate| predicate.value),
        }
    }

    fn pg_type(&mut self, text: &Located<String>) -> Option<PgType> {
        let (base, array) = match text.value.strip_suffix("[]") {
            Some(base) => (base, true),
            None => (text.value.as_str(), false),
        };
        let found = if self.enums.iter().any(|known| known.name == base) {
            Ok(PgType::Enum(base.to_owned()))
        } else {
            base.parse::<PgType>()
        };
        match found {
            Ok(PgType::Enum(name)) if !self.enums.iter().any(|known| known.name == name) => {}
            Ok(PgType::Array(_)) => {}
            Ok(scalar) => {
                return Some(if array { PgType::Array(Box::new(scalar)) } else { scalar });
            }
            Err(_) => {}
        }
        let known = [
            "boolean",
            "smallint",
            "integer",
            "bigint",
            "real",
            "double precision",
            "numeric",
            "text",
            "varchar",
            "bytea",
            "uuid",
            "jsonb",
            "date",
            "time",
            "timestamp",
            "timestamptz",
        ];
        let enums: Vec<String> = self.enums.iter().map(|known| known.name.clone()).collect();
        let help = nearest(base, known.into_iter().chain(enums.iter().map(String::as_str)));
        self.mistakes.add_with_help(
            text.span.clone(),
            format!("there is no type or enum `{}`", text.value),
            help,
        );
        None
    }

    fn column(
        &mut self,
        name: Located<String>,
        table: &DeTable<'_>,
    ) -> Option<(ColumnDraft, Column, Wants)> {
        self.identifier(&name);
        if SYSTEM_COLUMNS.contains(&name.value.as_str()) {
            self.mistakes.add_with_help(
                name.span.clone(),
                format!("every table of PostgreSQL has a column `{}` of its own", name.value),
                Some(format!("name it otherwise: `{0}_ = {{ from = \"{0}\", … }}`", name.value)),
            );
        }
        let mut fields = Fields::new(table);
        let type_text = fields.string("type", &mut self.mistakes);
        let parent = fields.boolean("parent", &mut self.mistakes).unwrap_or(false);
        let ordinal = fields.boolean("ordinal", &mut self.mistakes).unwrap_or(false);
        let member = fields.boolean("member", &mut self.mistakes).unwrap_or(false);
        let element = fields.boolean("element", &mut self.mistakes).unwrap_or(false);
        let origin = match fields.get("from") {
            _ if parent => Origin::Parent,
            _ if ordinal => Origin::Ordinal,
            _ if member => Origin::Member,
            _ if element => Origin::Element,
            None => Origin::Paths(vec![FieldPath(vec![name.value.clone()])]),
            Some(value) => match value.get_ref() {
                DeValue::String(text) if text == "*" => Origin::Rest,
                DeValue::String(text) => Origin::Paths(vec![field_path(text)]),
                _ => {
                    let paths = strings(value, "from", &mut self.mistakes);
                    Origin::Paths(paths.iter().map(|path| field_path(&path.value)).collect())
                }
            },
        };
        if let Origin::Paths(paths) = &origin
            && paths.iter().flat_map(|path| &path.0).any(|step| step == FieldPath::MEMBERS)
        {
            let message = "only `each` goes through all members (`*`)";
            self.mistakes.add_with_help(
                name.span.clone(),
                message,
                Some("write `\\\\*` for a field of that name".to_owned()),
            );
        }
        let mistakes = &mut self.mistakes;
        let key = match fields.get("key") {
            None => None,
            Some(value) => match value.get_ref() {
                DeValue::Boolean(true) => Some(Key::Value),
                DeValue::Boolean(false) => None,
                DeValue::String(text) if text == "serial" => Some(Key::Serial),
                _ => {
                    mistakes.add(value.span(), "`key` must be true or \"serial\"");
                    None
                }
            },
        };
        let identity =
            fields.boolean("identity", mistakes).unwrap_or(false) || key == Some(Key::Serial);
        let required = fields.boolean("required", mistakes).unwrap_or(false);
        let optional = fields.boolean("optional", mistakes).unwrap_or(false);
        let unique = fields.boolean("unique", mistakes).unwrap_or(false);
        let index = fields.boolean("index", mistakes);
        let coerce = fields.boolean("coerce", mistakes).unwrap_or(false);
        let email = fields.boolean("email", mistakes).unwrap_or(false);
        let reference = fields.string("references", mistakes);
        let on_delete = fields.word("on_delete", ON_DELETE, mistakes).or(self.defaults.on_delete);
        let dangling =
            fields.word("dangling", DANGLING, mistakes).unwrap_or(self.defaults.dangling);
        let nul = fields.word("nul", NUL, mistakes).unwrap_or(self.defaults.nul);
        let on_fail = fields.word("on_fail", ON_FAIL, mistakes).unwrap_or(self.defaults.on_fail);
        let uuid_order = fields.word("uuid_order", UUID_ORDER, mistakes);
        let parse_json = fields.boolean("json", mistakes).unwrap_or(false);
        let format = fields.string("format", mistakes).map(|format| format.value);
        let min = fields.number("min", mistakes);
        let max = fields.number("max", mistakes);
        let length = fields.get("length").and_then(|value| {
            if let DeValue::Integer(number) = value.get_ref() {
                number.as_str().parse().ok()
            } else {
                mistakes.add(value.span(), "`length` must be a whole number");
                None
            }
        });
        let pattern = fields.string("pattern", mistakes);
        if let Some(pattern) = &pattern
            && let Err(error) = regex::Regex::new(&pattern.value)
        {
            mistakes.add(pattern.span.clone(), format!("the pattern cannot be read: {error}"));
        }
        let default = fields.get("default");
        let values_table = fields.table("values", mistakes);
        let pg_type = match (&type_text, &origin) {
            (Some(text), _) => self.pg_type(text),
            // A reference has the type of its target's key, which is a UUID unless it says so.
            (None, _) if reference.is_some() || parent => Some(PgType::Uuid),
            (None, _) => {
                self.mistakes
                    .add(name.span.clone(), format!("column `{}` needs a `type`", name.value));
                None
            }
        };
        let values =
            values_table.map(|table| self.values(table, pg_type.as_ref())).unwrap_or_default();
        let default = default.and_then(|value| self.default_value(value, pg_type.as_ref()));
        fields.finish(&mut self.mistakes);
        let pg_type = pg_type?;
        let numbers = matches!(pg_type, PgType::SmallInt | PgType::Integer | PgType::BigInt);
        if identity && !numbers {
            self.mistakes.add(
                name.span.clone(),
                format!("an identity or serial key needs a whole number, not {pg_type}"),
            );
        }
        if parse_json && pg_type != PgType::Jsonb {
            self.mistakes.add(name.span.clone(), "`json = true` needs a jsonb column");
        }
        if origin == Origin::Rest && pg_type != PgType::Jsonb {
            self.mistakes.add(name.span.clone(), "a column with `from = \"*\"` must be jsonb");
        }
        if (min.is_some() || max.is_some())
            && !matches!(
                pg_type,
                PgType::SmallInt | PgType::Integer | PgType::BigInt | PgType::Real | PgType::Double
            )
        {
            self.mistakes
                .add(name.span.clone(), format!("`min` and `max` do not apply to {pg_type}"));
        }
        if let (Some(least), Some(greatest)) = (min, max)
            && least > greatest
        {
            self.mistakes.add(name.span.clone(), "`min` is greater than `max`");
        }
        if (pattern.is_some() || email) && !matches!(pg_type, PgType::Text | PgType::Varchar(_)) {
            self.mistakes
                .add(name.span.clone(), format!("`pattern` and `email` do not apply to {pg_type}"));
        }
        let wants = Wants { unique, index: index.unwrap_or(reference.is_some() && key.is_none()) };
        let column = Column {
            name: name.value.clone(),
            origin,
            pg_type,
            key,
            required: required || key.is_some(),
            optional,
            default,
            references: None,
            dangling,
            values,
            pattern: pattern.map(|pattern| pattern.value),
            min,
            max,
            length,
            email,
            on_fail,
            nul,
            coerce,
            format,
            identity,
            parse_json,
            uuid_order,
        };
        Some((ColumnDraft { name, reference, on_delete }, column, wants))
    }

    fn values(&mut self, table: &DeTable<'_>, pg_type: Option<&PgType>) -> Vec<(String, String)> {
        let mut result = Vec::new();
        for (key, value) in table {
            let Some(stored) = string(value, key.get_ref(), &mut self.mistakes) else { continue };
            if let Some(PgType::Enum(name)) = pg_type
                && let Some(labels) = self.enums.iter().find(|known| known.name == *name)
                && !labels.labels.contains(&stored.value)
            {
                let help = nearest(&stored.value, labels.labels.iter().map(String::as_str));
                self.mistakes.add_with_help(
                    stored.span.clone(),
                    format!("enum {name} has no label `{}`", stored.value),
                    help,
                );
            }
            result.push((key.get_ref().clone().into_owned(), stored.value));
        }
        result
    }

    fn literal(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Literal> {
        let literal = match value.get_ref() {
            DeValue::String(text) => Some(Literal::String(text.clone().into_owned())),
            DeValue::Integer(number) => number.as_str().parse().ok().map(Literal::Integer),
            DeValue::Float(number) => number.as_str().parse().ok().map(Literal::Float),
            DeValue::Boolean(flag) => Some(Literal::Boolean(*flag)),
            _ => None,
        };
        if literal.is_none() {
            self.mistakes.add(value.span(), "text, a number, true or false is expected");
        }
        literal
    }

    fn default_value(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        pg_type: Option<&PgType>,
    ) -> Option<DefaultValue> {
        let literal = self.literal(value)?;
        let pg_type = pg_type?;
        let temporal = matches!(
            pg_type,
            PgType::Date | PgType::Time(_) | PgType::Timestamp(_) | PgType::Timestamptz(_)
        );
        match (&literal, pg_type) {
            (Literal::String(word), _) if word == "now" && temporal => {
                return Some(DefaultValue::Now);
            }
            (Literal::String(word), PgType::Uuid) if word == "uuid" => {
                return Some(DefaultValue::Uuid);
            }
            (Literal::String(label), PgType::Enum(name)) => {
                let known = self.enums.iter().find(|known| known.name == *name);
                if let Some(known) = known.filter(|known| !known.labels.contains(label)) {
                    let help = nearest(label, known.labels.iter().map(String::as_str));
                    self.mistakes.add_with_help(
                        value.span(),
                        format!("enum {name} has no label `{label}`"),
                        help,
                    );
                }
            }
            (Literal::String(_), _) => {}
            (Literal::Boolean(_), PgType::Boolean)
            | (Literal::Integer(_), PgType::SmallInt | PgType::Integer | PgType::BigInt)
            | (
                Literal::Integer(_) | Literal::Float(_),
                PgType::Real | PgType::Double | PgType::Numeric(_),
            ) => {}
            _ => self.mistakes.add(value.span(), format!("the default does not fit {pg_type}")),
        }
        Some(DefaultValue::Literal(literal))
    }

    /// Resolves references, once every table is known.
    fn references(&mut self, drafts: &mut [TableDraft]) {
        let mut resolved = Vec::new();
        for (at, draft) in drafts.iter().enumerate() {
            let twin = drafts[..at].iter().any(|other| other.name.value == draft.name.value);
            if twin {
                self.mistakes.add(draft.name.span.clone(), "a table has this name already");
            }
            for (column, place) in draft.columns.iter().enumerate() {
                let Some(target) = &place.reference else { continue };
                let Some((table, named)) = find_table(drafts, &target.value) else {
                    let names = drafts.iter().map(|draft| draft.name.value.as_str());
                    self.mistakes.unknown("table", target, names);
                    continue;
                };
                let columns = &drafts[table].table.columns;
                let found = if let Some(named) = named {
                    columns.iter().find(|candidate| candidate.name == named)
                } else {
                    let mut keys = columns.iter().filter(|candidate| candidate.key.is_some());
                    keys.next().filter(|_| keys.next().is_none())
                };
                match found {
                    Some(found) => resolved.push((
                        at,
                        column,
                        Reference {
                            table: drafts[table].name.value.clone(),
                            column: found.name.clone(),
                            on_delete: place.on_delete,
                        },
                        found.pg_type.clone(),
                    )),
                    None => self.mistakes.add(
                        target.span.clone(),
                        format!("`{}` names no key of one column", target.value),
                    ),
                }
            }
        }
        for (table, column, reference, pg_type) in resolved {
            let own = &mut drafts[table].table.columns[column];
            if own.pg_type != pg_type {
                let span = drafts[table].columns[column].name.span.clone();
                let own_type = own.pg_type.clone();
                self.mistakes.add(
                    span,
                    format!("the column is {own_type}, what it references is {pg_type}"),
                );
                continue;
            }
            own.references = Some(reference);
        }
    }

    fn junction(
        &mut self,
        name: Located<String>,
        table: &DeTable<'_>,
        drafts: &[TableDraft],
    ) -> Option<Junction> {
        let mut fields = Fields::new(table);
        let optional = fields.boolean("optional", &mut self.mistakes).unwrap_or(false);
        let mut columns = Vec::new();
        if let Some(sides) = fields.table("columns", &mut self.mistakes) {
            for (key, value) in sides {
                let Some(target) = string(value, key.get_ref(), &mut self.mistakes) else {
                    continue;
                };
                if !drafts.iter().any(|draft| draft.name.value == target.value) {
                    self.mistakes.unknown(
                        "table",
                        &target,
                        drafts.iter().map(|draft| draft.name.value.as_str()),
                    );
                }
                columns.push(JunctionColumn {
                    name: key.get_ref().clone().into_owned(),
                    table: target.value,
                });
            }
        }
        let columns: Option<[JunctionColumn; 2]> = columns.try_into().ok();
        if columns.is_none() {
            self.mistakes.add(
                name.span.clone(),
                "a junction needs `columns = { first = \"Table\", second = \"Table\" }`",
            );
        }
        let mut from = Vec::new();
        match fields.get("from").map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Array(items))) => {
                for item in items {
                    let (path, optional_path, side) = match item.get_ref() {
                        DeValue::Table(table) => {
                            let mut fields = Fields::new(table);
                            let path = fields.string("path", &mut self.mistakes);
                            let optional = fields.boolean("optional", &mut self.mistakes);
                            let side = fields.string("side", &mut self.mistakes);
                            fields.finish(&mut self.mistakes);
                            (path, optional.unwrap_or(false), side)
                        }
                        _ => (string(item, "from", &mut self.mistakes), false, None),
                    };
                    let (Some(path), Some(columns)) = (path, &columns) else { continue };
                    let Some((at, Some(rest))) = find_table(drafts, &path.value) else {
                        let names = drafts.iter().map(|draft| draft.name.value.as_str());
                        self.mistakes.unknown("array (`Table.path`)", &path, names);
                        continue;
                    };
                    let table = drafts[at].name.value.clone();
                    let sides: Vec<usize> =
                        (0..2).filter(|side| columns[*side].table == table).collect();
                    let side = match (sides.as_slice(), side) {
                        ([], _) => {
                            self.mistakes.add(
                                path.span.clone(),
                                format!("{table} is neither side of the junction"),
                            );
                            continue;
                        }
                        ([side], _) => *side,
                        (_, Some(named)) => {
                            if let Some(side) =
                                columns.iter().position(|column| column.name == named.value)
                            {
                                side
                            } else {
                                self.mistakes.unknown(
                                    "side",
                                    &named,
                                    columns.iter().map(|column| column.name.as_str()),
                                );
                                continue;
                            }
                        }
                        // Both sides are the same table: the first array is the first side's.
                        (_, None) => from.len().min(1),
                    };
                    from.push(JunctionSource {
                        side,
                        table,
                        path: field_path(&rest),
                        optional: optional || optional_path,
                    });
                }
            }
            Some((value, _)) => {
                self.mistakes.add(value.span(), "`from` is a list of arrays: \"Table.path\"");
            }
            None => {}
        }
        if from.is_empty() {
            self.mistakes.add(name.span.clone(), "a junction needs `from = [\"Table.path\"]`");
        }
        fields.finish(&mut self.mistakes);
        Some(Junction { name: name.value, columns: columns?, from })
    }
}

struct Wants {
    unique: bool,
    index: bool,
}

fn located(key: &Spanned<std::borrow::Cow<'_, str>>) -> Located<String> {
    Located { span: key.span(), value: key.get_ref().clone().into_owned() }
}

fn texts(items: Vec<Located<String>>) -> Vec<String> {
    items.into_iter().map(|item| item.value).collect()
}

/// `a.b.c`; a backslash takes a dot's meaning away.
fn field_path(text: &str) -> FieldPath {
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

/// The table with the longest name that begins the text, and what follows its dot.
fn find_table(drafts: &[TableDraft], text: &str) -> Option<(usize, Option<String>)> {
    let mut best: Option<(usize, usize, Option<String>)> = None;
    for (at, draft) in drafts.iter().enumerate() {
        let name = &draft.name.value;
        let rest = match text.strip_prefix(name.as_str()) {
            Some("") => None,
            Some(rest) if rest.starts_with('.') => Some(rest[1..].to_owned()),
            _ => continue,
        };
        if best.as_ref().is_none_or(|(_, length, _)| name.len() > *length) {
            best = Some((at, name.len(), rest));
        }
    }
    best.map(|(at, _, rest)| (at, rest))
}

fn simple_index(column: &str) -> Index {
    Index {
        name: None,
        columns: vec![column.to_owned()],
        unique: false,
        method: "btree".to_owned(),
        predicate: None,
    }
}

fn empty_table() -> Table {
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
