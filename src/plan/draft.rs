//! A pipeline file that is being drafted, and its text.

use std::fmt::Write as _;

use crate::escape::{self, toml};
use crate::pipeline::model::FieldPath;

/// A drafted file.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub(super) name: String,
    /// Lines at the top.
    pub(super) about: Vec<String>,
    pub(super) tables: Vec<DraftTable>,
    pub(super) junctions: Vec<DraftJunction>,
    pub(super) enums: Vec<(String, Vec<String>)>,
}

/// A drafted table.
#[derive(Clone, Debug, Default)]
pub(super) struct DraftTable {
    pub(super) name: String,
    pub(super) source: String,
    /// Path of the elements that are its rows.
    pub(super) each: Option<Vec<String>>,
    pub(super) about: Vec<String>,
    pub(super) optional: bool,
    pub(super) unmapped: Option<String>,
    pub(super) columns: Vec<DraftColumn>,
    pub(super) unique: Vec<Vec<String>>,
    pub(super) indexes: Vec<DraftIndex>,
    /// Conditions by name.
    pub(super) checks: Vec<(String, String)>,
    pub(super) search: Vec<DraftSearch>,
}

/// Where a drafted column's values come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    Path(Vec<String>),
    Rest,
    Parent,
    Ordinal,
    Member,
    Element,
    /// What the field at this path is.
    Presence(Vec<String>),
}

/// A drafted column.
#[derive(Clone, Debug)]
pub(super) struct DraftColumn {
    pub(super) name: String,
    pub(super) from: From,
    pub(super) pg_type: String,
    pub(super) key: bool,
    pub(super) required: bool,
    pub(super) optional: bool,
    pub(super) unique: bool,
    pub(super) coerce: bool,
    pub(super) json: bool,
    pub(super) index: bool,
    /// A reference that needs no index of its own.
    pub(super) indexed_by_key: bool,
    pub(super) references: Option<String>,
    /// `dangling = …` where it is not the default.
    pub(super) dangling: Option<&'static str>,
    pub(super) on_delete: Option<String>,
    pub(super) on_update: Option<String>,
    pub(super) deferrable: Option<&'static str>,
    /// Empty texts are NULL.
    pub(super) empty: bool,
    pub(super) identity: bool,
    pub(super) default: Option<String>,
    pub(super) comment: String,
    pub(super) decide: Option<String>,
}

impl DraftColumn {
    pub(super) fn new(name: String, from: From, pg_type: impl Into<String>) -> Self {
        Self {
            name,
            from,
            pg_type: pg_type.into(),
            key: false,
            required: false,
            optional: false,
            unique: false,
            coerce: false,
            json: false,
            index: false,
            indexed_by_key: false,
            references: None,
            dangling: None,
            on_delete: None,
            on_update: None,
            deferrable: None,
            empty: false,
            identity: false,
            default: None,
            comment: String::new(),
            decide: None,
        }
    }

    /// Adds a point for a person to decide.
    pub(super) fn decide(&mut self, point: impl Into<String>) {
        let point = point.into();
        self.decide = Some(match self.decide.take() {
            Some(before) => format!("{before}; {point}"),
            None => point,
        });
    }
}

/// A drafted index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DraftIndex {
    pub(super) columns: Vec<String>,
    /// Those of them that are indexed in lower case.
    pub(super) lower: Vec<String>,
    /// Those of them that are indexed from the greatest value to the least.
    pub(super) descending: Vec<String>,
    pub(super) unique: bool,
    pub(super) method: Option<&'static str>,
    /// Condition of a partial index.
    pub(super) predicate: Option<String>,
}

/// A drafted full-text column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DraftSearch {
    /// Its name, where the usual one is taken.
    pub(super) name: Option<String>,
    pub(super) columns: Vec<String>,
    /// Text search configuration.
    pub(super) language: &'static str,
}

/// A drafted junction table.
#[derive(Clone, Debug)]
pub(super) struct DraftJunction {
    pub(super) name: String,
    /// Columns with the tables that they refer to.
    pub(super) columns: [(String, String); 2],
    /// Arrays: table, path, and the side that holds them where both are one table.
    pub(super) from: Vec<(String, Vec<String>, Option<String>)>,
    pub(super) comment: String,
    /// Column of the positions, where the order and the repeats of ids are kept.
    pub(super) position: Option<String>,
}

/// A path as pipeline files write it.
pub(super) fn path_text(path: &[String]) -> String {
    let steps = path.iter().map(|step| match step.as_str() {
        FieldPath::MEMBERS => "*".to_owned(),
        "*" => "\\*".to_owned(),
        step => step.replace('\\', "\\\\").replace('.', "\\."),
    });
    steps.collect::<Vec<_>>().join(".")
}

/// A text, or a key that must be quoted, as TOML writes it on one line (TOML 1.0, "Basic strings").
pub(super) fn text(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for character in value.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push_str(&toml(other.encode_utf8(&mut [0; 4]))),
        }
    }
    quoted.push('"');
    quoted
}

fn texts(values: &[String]) -> String {
    format!("[{}]", values.iter().map(|value| text(value)).collect::<Vec<_>>().join(", "))
}

/// A key as TOML writes it.
fn key(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(bare) { name.to_owned() } else { text(name) }
}

/// A comment is one line, whatever is in it.
fn comment(line: &str) -> String {
    escape::line(line).into_owned()
}

impl DraftColumn {
    fn line(&self) -> (String, String) {
        let mut parts = Vec::new();
        match &self.from {
            // Without `from` the name itself is the field, whatever is in it.
            From::Path(path) if *path == [self.name.clone()] => {}
            From::Path(path) => parts.push(format!("from = {}", text(&path_text(path)))),
            From::Rest => parts.push("from = \"*\"".to_owned()),
            From::Parent => parts.push("parent = true".to_owned()),
            From::Ordinal => parts.push("ordinal = true".to_owned()),
            From::Member => parts.push("member = true".to_owned()),
            From::Element => parts.push("element = true".to_owned()),
            From::Presence(path) => {
                parts.push(format!("from = {}", text(&path_text(path))));
                parts.push("presence = true".to_owned());
            }
        }
        parts.push(format!("type = {}", text(&self.pg_type)));
        for (flag, word) in [
            (self.key, "key"),
            (self.identity, "identity"),
            (self.required && !self.key, "required"),
            (self.optional, "optional"),
            (self.unique, "unique"),
            (self.coerce, "coerce"),
            (self.json, "json"),
        ] {
            if flag {
                parts.push(format!("{word} = true"));
            }
        }
        if let Some(target) = &self.references {
            parts.push(format!("references = {}", text(target)));
        }
        if let Some(dangling) = self.dangling {
            parts.push(format!("dangling = \"{dangling}\""));
        }
        if let Some(action) = &self.on_delete {
            parts.push(format!("on_delete = {}", text(action)));
        }
        if let Some(action) = &self.on_update {
            parts.push(format!("on_update = {}", text(action)));
        }
        if let Some(checked) = self.deferrable {
            parts.push(format!("deferrable = \"{checked}\""));
        }
        if self.empty {
            parts.push("empty = \"null\"".to_owned());
        }
        if let Some(default) = &self.default {
            parts.push(format!("default = {default}"));
        }
        if self.index {
            parts.push("index = true".to_owned());
        } else if self.indexed_by_key {
            parts.push("index = false".to_owned());
        }
        let mut said = comment(&self.comment);
        if let Some(decide) = &self.decide {
            if !said.is_empty() {
                said.push_str(". ");
            }
            let _ = write!(said, "decide: {}", comment(decide));
        }
        (format!("{} = {{ {} }}", key(&self.name), parts.join(", ")), said)
    }
}

/// Comments stand behind columns up to this width; longer lines get them on a line of their own.
const WIDTH: usize = 100;

impl DraftTable {
    fn write(&self, text_out: &mut String) {
        let out = text_out;
        out.push('\n');
        for line in &self.about {
            let _ = writeln!(out, "# {}", comment(line));
        }
        let name = key(&self.name);
        let _ = writeln!(out, "[tables.{name}]");
        let path = self.each.as_ref().map(|path| path_text(path));
        if self.source != self.name || path.is_some() {
            let _ = writeln!(out, "source = {}", text(&self.source));
        }
        if let Some(path) = path {
            let _ = writeln!(out, "each = {}", text(&format!("{}.{path}", self.source)));
        }
        if self.optional {
            out.push_str("optional = true\n");
        }
        if let Some(unmapped) = &self.unmapped {
            let _ = writeln!(out, "unmapped = {}", text(unmapped));
        }
        if !self.unique.is_empty() {
            let lists: Vec<String> = self.unique.iter().map(|columns| texts(columns)).collect();
            let _ = writeln!(out, "unique = [{}]", lists.join(", "));
        }
        let _ = writeln!(out, "[tables.{name}.columns]");
        for column in &self.columns {
            let (line, said) = column.line();
            if said.is_empty() {
                let _ = writeln!(out, "{line}");
            } else if line.len() + said.len() + 4 <= WIDTH {
                let _ = writeln!(out, "{line}  # {said}");
            } else {
                let _ = writeln!(out, "# {said}\n{line}");
            }
        }
        if !self.checks.is_empty() {
            let _ = writeln!(out, "[tables.{name}.checks]");
            for (check, condition) in &self.checks {
                let _ = writeln!(out, "{} = {}", key(check), text(condition));
            }
        }
        for index in &self.indexes {
            let _ = writeln!(out, "[[tables.{name}.indexes]]\ncolumns = {}", texts(&index.columns));
            if !index.lower.is_empty() {
                let _ = writeln!(out, "lower = {}", texts(&index.lower));
            }
            if !index.descending.is_empty() {
                let _ = writeln!(out, "descending = {}", texts(&index.descending));
            }
            if index.unique {
                out.push_str("unique = true\n");
            }
            if let Some(method) = index.method {
                let _ = writeln!(out, "method = \"{method}\"");
            }
            if let Some(predicate) = &index.predicate {
                let _ = writeln!(out, "where = {}", text(predicate));
            }
        }
        for search in &self.search {
            let columns = texts(&search.columns);
            let language = text(search.language);
            let _ = writeln!(
                out,
                "[[tables.{name}.search]]\ncolumns = {columns}\nlanguage = {language}"
            );
            if let Some(column) = &search.name {
                let _ = writeln!(out, "name = {}", text(column));
            }
        }
    }
}

impl Draft {
    /// The file.
    pub(super) fn to_toml(&self) -> String {
        let mut out = String::new();
        for line in &self.about {
            let _ = writeln!(out, "# {}", comment(line));
        }
        let _ = writeln!(out, "version = 1\nname = {}", text(&self.name));
        if !self.enums.is_empty() {
            out.push_str("\n[enums]\n");
            for (name, labels) in &self.enums {
                let _ = writeln!(out, "{} = {}", key(name), texts(labels));
            }
        }
        for table in &self.tables {
            table.write(&mut out);
        }
        for junction in &self.junctions {
            let [first, second] = &junction.columns;
            let _ = writeln!(
                out,
                "\n# {}\n[junctions.{}]\ncolumns = {{ {} = {}, {} = {} }}",
                comment(&junction.comment),
                key(&junction.name),
                key(&first.0),
                text(&first.1),
                key(&second.0),
                text(&second.1),
            );
            let arrays = junction.from.iter().map(|(table, path, side)| {
                let array = text(&format!("{table}.{}", path_text(path)));
                match side {
                    Some(side) => format!("{{ path = {array}, side = {} }}", text(side)),
                    None => array,
                }
            });
            let _ = writeln!(out, "from = [{}]", arrays.collect::<Vec<_>>().join(", "));
            if let Some(position) = &junction.position {
                let _ = writeln!(out, "position = {}", text(position));
            }
        }
        out
    }
}
