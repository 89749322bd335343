//! A draft from a Prisma schema for MongoDB: the tables that Prisma Migrate makes of the same models
//! for PostgreSQL.

mod parse;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use self::parse::{Attribute, Enum, Field, Model, Schema, Value, attribute, parse};
use super::draft::{Draft, DraftColumn, DraftIndex, DraftJunction, DraftTable, From, text};
use crate::pipeline::{Mistake, PipelineError};

/// Drafts a pipeline file of this name from a schema file, or from all of a folder.
pub fn from_prisma(path: &Path, name: &str) -> Result<String, PipelineError> {
    let files = Files::read(path)?;
    let schema = parse(&files.text).map_err(|mistake| files.mistakes(vec![mistake]))?;
    let mut mapper = Mapper { schema: &schema, mistakes: Vec::new() };
    let mut draft = mapper.draft(name);
    if !mapper.mistakes.is_empty() {
        return Err(files.mistakes(mapper.mistakes));
    }
    draft.about.push(format!(
        "Drafted by docferry {} from {}.",
        env!("CARGO_PKG_VERSION"),
        path.display()
    ));
    Ok(draft.to_toml())
}

struct Mapper<'s> {
    schema: &'s Schema,
    mistakes: Vec<Mistake>,
}

/// The name that the database has for something.
fn mapped(attributes: &[Attribute]) -> Option<&str> {
    attribute(attributes, "map")?.get_or_first("name")?.name()
}

fn table_name(model: &Model) -> String {
    mapped(&model.attributes).unwrap_or(&model.name).to_owned()
}

fn enum_name(found: &Enum) -> String {
    mapped(&found.attributes).unwrap_or(&found.name).to_owned()
}

/// A field's name in the documents.
fn source_name(field: &Field) -> String {
    mapped(&field.attributes).unwrap_or(&field.name).to_owned()
}

/// A field's column: the mapped name, as the client asks for it, but for MongoDB's `_id`.
fn column_name(field: &Field) -> String {
    mapped(&field.attributes).filter(|name| *name != "_id").unwrap_or(&field.name).to_owned()
}

/// The access method of `@@index(…, type: …)`; B-trees need none.
fn method(word: &str) -> Option<&'static str> {
    match word {
        "Hash" => Some("hash"),
        "Gin" => Some("gin"),
        "Gist" => Some("gist"),
        "Brin" => Some("brin"),
        _ => None,
    }
}

impl Mapper<'_> {
    fn mistake(&mut self, span: &Range<usize>, message: impl Into<String>) {
        let (span, message) = (span.clone(), message.into());
        self.mistakes.push(Mistake { span, message, help: None });
    }

    fn model(&self, name: &str) -> Option<&Model> {
        self.schema.models.iter().find(|model| model.name == name)
    }

    fn draft(&mut self, name: &str) -> Draft {
        let mut draft = Draft { name: name.to_owned(), ..Draft::default() };
        for found in &self.schema.enums {
            let labels = found.values.iter().map(|(_, stored)| stored.clone()).collect();
            draft.enums.push((enum_name(found), labels));
        }
        let mut links = Vec::new();
        for view in &self.schema.views {
            draft.about.push(format!("view {view} is left out"));
        }
        // `@@ignore` and `@ignore` hide something from the client; Prisma Migrate makes it.
        for model in &self.schema.models {
            let table = self.table(model, &mut links);
            draft.tables.push(table);
        }
        draft.junctions = junctions(links);
        draft
    }

    fn table(&mut self, model: &Model, links: &mut Vec<Link>) -> DraftTable {
        let name = table_name(model);
        let mut table = DraftTable { name: name.clone(), source: name, ..DraftTable::default() };
        // Which scalar fields hold the ids of which relation.
        let mut relations: HashMap<String, &Field> = HashMap::new();
        for field in &model.fields {
            let relation = attribute(&field.attributes, "relation");
            if let Some(fields) = relation.and_then(|relation| relation.get("fields")) {
                for name in fields.names() {
                    relations.insert(name, field);
                }
            }
        }
        for field in &model.fields {
            if let Some(target) = self.model(&field.kind) {
                if self.schema.is_target && field.list && is_implicit(model, field, target) {
                    table.about.push(format!(
                        "decide: {} is an implicit many-to-many relation: say in [junctions] which \
                         arrays of ids it is made of",
                        field.name
                    ));
                }
                continue;
            }
            if field.kind == "Unsupported" {
                table.about.push(format!(
                    "decide: {} has an unsupported type and is left out",
                    field.name
                ));
                continue;
            }
            let relation = relations.get(&field.name).copied();
            if let Some(relation) = relation.filter(|relation| relation.list || field.list) {
                let name = attribute(&relation.attributes, "relation")
                    .and_then(|found| found.get_or_first("name"))
                    .and_then(Value::name)
                    .map(str::to_owned);
                match self.model(&relation.kind) {
                    Some(target) => links.push(Link {
                        name,
                        model: model.name.clone(),
                        table: table_name(model),
                        path: source_name(field),
                        target: target.name.clone(),
                        target_table: table_name(target),
                    }),
                    None => {
                        self.mistake(
                            &relation.span,
                            format!("there is no model {}", relation.kind),
                        );
                    }
                }
                continue;
            }
            let Some(mut column) = self.column(field) else { continue };
            if let Some(relation) = relation {
                self.refer(relation, field, &mut column);
            }
            table.columns.push(column);
        }
        self.key(model, &mut table);
        let columns = |names: Vec<String>| -> Option<Vec<String>> {
            let field = |name: &String| model.fields.iter().find(|field| field.name == *name);
            names.iter().map(|name| field(name).map(column_name)).collect()
        };
        for found in &model.attributes {
            let fields = found.get_or_first("fields");
            let Some(names) = fields.map(Value::names).and_then(columns) else { continue };
            match found.name.as_str() {
                "unique" => table.unique.push(names),
                "index" => {
                    let descending = fields.map(Value::descending).and_then(columns);
                    table.indexes.push(DraftIndex {
                        columns: names,
                        descending: descending.unwrap_or_default(),
                        method: found.get("type").and_then(Value::name).and_then(method),
                        ..DraftIndex::default()
                    });
                }
                _ => {}
            }
        }
        table
    }

    /// The key of a model: `@id`, `@@id`, or its first `@unique` as Prisma has it.
    fn key(&mut self, model: &Model, table: &mut DraftTable) {
        if table.columns.iter().any(|column| column.key) {
            return;
        }
        if let Some(found) = attribute(&model.attributes, "id") {
            let names = found.get_or_first("fields").map(Value::names).unwrap_or_default();
            for name in &names {
                let field = model.fields.iter().find(|field| field.name == *name);
                let own = field.map(column_name);
                match table.columns.iter_mut().find(|column| Some(&column.name) == own.as_ref()) {
                    Some(column) => column.key = true,
                    None => {
                        let message =
                            format!("@@id names {name}, which is no field of {}", model.name);
                        self.mistake(&model.span, message);
                    }
                }
            }
            let keys = |column: &&mut DraftColumn| column.key;
            for column in table.columns.iter_mut().filter(keys) {
                column.required = false;
                column.optional = false;
            }
            // Documents have one `_id`: such a table mostly holds what arrays of ids say.
            table.optional = true;
            table.about.push(
                "decide: if arrays of ids in another collection are its rows, make it one of \
                 [junctions]; where it is a collection, say which field of it holds each column"
                    .to_owned(),
            );
            return;
        }
        let has_unique = table.columns.iter().any(|column| column.unique)
            || attribute(&model.attributes, "unique").is_some();
        if has_unique {
            table.about.push("decide: it has no @id; a unique key stands for it".to_owned());
            return;
        }
        let message = format!("model {} has no @id, @@id or @unique", model.name);
        self.mistake(&model.span, message);
    }

    /// The type of a field by its own words.
    fn kind(&mut self, field: &Field, native: Option<&str>) -> Option<String> {
        let kind = match (field.kind.as_str(), native) {
            ("String" | "Bytes", Some("ObjectId")) => "uuid",
            ("String", _) => "text",
            ("Boolean", _) => "boolean",
            ("Int", Some("Long")) | ("BigInt", _) => "bigint",
            ("Int", _) => "integer",
            ("Float", _) => "double precision",
            ("Decimal", _) => "numeric(65,30)",
            // `@db.Date` of MongoDB is a moment with its time, too.
            ("DateTime", _) => "timestamp(3)",
            ("Json", _) => "jsonb",
            ("Bytes", _) => "bytea",
            (name, _) => {
                if let Some(found) = self.schema.enums.iter().find(|found| found.name == name) {
                    return Some(enum_name(found));
                }
                if !self.schema.types.iter().any(|known| known == name) {
                    self.mistake(&field.span, format!("there is no type, enum or model {name}"));
                    return None;
                }
                "jsonb"
            }
        };
        Some(kind.to_owned())
    }

    fn column(&mut self, field: &Field) -> Option<DraftColumn> {
        let native = field.attributes.iter().find(|found| found.name.starts_with("db."));
        let stated = native.filter(|_| self.schema.is_target).and_then(native_type);
        let native = native.and_then(|found| found.name.strip_prefix("db."));
        let (kind, is_kept) = match stated {
            Some(stated) => stated,
            None => (self.kind(field, native)?, true),
        };
        let composite = self.schema.types.contains(&field.kind);
        let kind = if field.list && !composite { format!("{kind}[]") } else { kind };
        let mut column =
            DraftColumn::new(column_name(field), From::Path(vec![source_name(field)]), kind);
        column.key = attribute(&field.attributes, "id").is_some();
        if column.key && self.schema.is_target {
            column.from = From::Path(vec!["_id".to_owned()]);
        }
        if let Some(native) = native.filter(|_| !is_kept) {
            column.decide(format!("@db.{native} has no type of its own here"));
        }
        // Prisma gives lists no NOT NULL; a list that a document lacks is empty to it.
        column.required = !column.key && !field.optional && !field.list;
        column.optional = column.required;
        column.unique = attribute(&field.attributes, "unique").is_some();
        let default =
            attribute(&field.attributes, "default").and_then(|found| found.get_or_first("value"));
        column.default = default.and_then(|value| match value {
            Value::Call(name, _) if name == "now" => Some("\"now\"".to_owned()),
            Value::Call(name, _) if name == "autoincrement" => {
                column.identity = true;
                None
            }
            Value::Text(value) if field.kind == "String" && !field.list => Some(text(value)),
            Value::Number(number) if !field.list => Some(number.clone()),
            Value::Word(word) if word == "true" || word == "false" => Some(word.clone()),
            Value::Word(word) => {
                let found = self.schema.enums.iter().find(|found| found.name == field.kind)?;
                let label = found.values.iter().find(|(name, _)| name == word);
                label.map(|(_, stored)| text(stored))
            }
            _ => None,
        });
        Some(column)
    }

    /// `@relation(fields: […], references: […])` of one field.
    fn refer(&mut self, relation: &Field, own: &Field, column: &mut DraftColumn) {
        let Some(target) = self.model(&relation.kind) else {
            self.mistake(&relation.span, format!("there is no model {}", relation.kind));
            return;
        };
        let found = attribute(&relation.attributes, "relation");
        let referred = found.and_then(|found| found.get("references")).map(Value::names);
        let to = referred.unwrap_or_default();
        if to.len() > 1 {
            column.decide(format!(
                "relation {} over {} columns is left out",
                relation.name,
                to.len()
            ));
            return;
        }
        let table = table_name(target);
        let Some(field) =
            to.first().and_then(|name| target.fields.iter().find(|field| field.name == *name))
        else {
            self.mistake(&relation.span, "`references` names no field of the other model");
            return;
        };
        let is_key = attribute(&field.attributes, "id").is_some();
        column.references =
            Some(if is_key { table } else { format!("{table}.{}", column_name(field)) });
        let action = found.and_then(|found| found.get("onDelete")).and_then(Value::name);
        column.on_delete = match action {
            Some("Cascade") => Some("cascade".to_owned()),
            Some("Restrict") => Some("restrict".to_owned()),
            Some("SetNull") => Some("set null".to_owned()),
            Some(_) => None,
            // Prisma's own defaults.
            None if own.optional => Some("set null".to_owned()),
            None => Some("restrict".to_owned()),
        };
        let action = found.and_then(|found| found.get("onUpdate")).and_then(Value::name);
        column.on_update = match action {
            Some("Restrict") => Some("restrict".to_owned()),
            Some("SetNull") => Some("set null".to_owned()),
            Some("SetDefault") => Some("set default".to_owned()),
            Some("NoAction") => None,
            _ => Some("cascade".to_owned()),
        };
    }
}

/// True for a list of another model where no field of ids is on either side.
fn is_implicit(model: &Model, field: &Field, target: &Model) -> bool {
    let stated = |field: &Field| {
        attribute(&field.attributes, "relation").and_then(|found| found.get("fields")).is_some()
    };
    let name = |field: &Field| {
        let relation = attribute(&field.attributes, "relation")?;
        relation.get_or_first("name").and_then(Value::name).map(str::to_owned)
    };
    let back = target.fields.iter().find(|other| {
        other.kind == model.name
            && name(other) == name(field)
            && (other.name != field.name || target.name != model.name)
    });
    !stated(field) && back.is_none_or(|back| back.list && !stated(back))
}

/// The type that `@db.…` of a PostgreSQL schema states, and whether docferry has it too; none where
/// it is not known.
fn native_type(found: &Attribute) -> Option<(String, bool)> {
    let number = |at: usize| match found.arguments.get(at) {
        Some((_, Value::Number(number))) => Some(number.as_str()),
        _ => None,
    };
    let sized = |name: &str| match number(0) {
        Some(size) => format!("{name}({size})"),
        None => name.to_owned(),
    };
    let kept = match found.name.strip_prefix("db.")? {
        "Char" | "Citext" | "Money" | "Inet" | "Bit" | "VarBit" | "Xml" => {
            return Some(("text".to_owned(), false));
        }
        "Oid" => return Some(("bigint".to_owned(), false)),
        "Uuid" => "uuid".to_owned(),
        "Text" => "text".to_owned(),
        "VarChar" => number(0).map_or("text".to_owned(), |size| format!("varchar({size})")),
        "Boolean" => "boolean".to_owned(),
        "SmallInt" => "smallint".to_owned(),
        "Integer" => "integer".to_owned(),
        "BigInt" => "bigint".to_owned(),
        "Real" => "real".to_owned(),
        "DoublePrecision" => "double precision".to_owned(),
        "Decimal" => match (number(0), number(1)) {
            (Some(digits), Some(scale)) => format!("numeric({digits},{scale})"),
            (Some(digits), None) => format!("numeric({digits})"),
            _ => "numeric".to_owned(),
        },
        "Date" => "date".to_owned(),
        "Time" => sized("time"),
        "Timestamp" => sized("timestamp"),
        "Timestamptz" => sized("timestamptz"),
        "Json" | "JsonB" => "jsonb".to_owned(),
        "ByteA" => "bytea".to_owned(),
        _ => return None,
    };
    Some((kept, true))
}

/// The text of a schema, of one file or of all of a folder, one after another.
struct Files {
    text: String,
    /// Where each file begins.
    starts: Vec<(usize, PathBuf)>,
}

impl Files {
    fn read(path: &Path) -> Result<Self, PipelineError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PipelineError::ReadSchema { path, source }
        };
        let mut files = Vec::new();
        if path.is_dir() {
            let mut folders = vec![path.to_owned()];
            while let Some(folder) = folders.pop() {
                for entry in fs::read_dir(&folder).map_err(failed(&folder))? {
                    let entry = entry.map_err(failed(&folder))?;
                    // A link to a folder could lead round in a circle.
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        folders.push(entry.path());
                    } else if entry.path().extension().is_some_and(|end| end == "prisma") {
                        files.push(entry.path());
                    }
                }
            }
            files.sort();
        } else {
            files.push(path.to_owned());
        }
        if files.is_empty() {
            return Err(PipelineError::NoSchema { path: path.to_owned() });
        }
        let (mut text, mut starts) = (String::new(), Vec::new());
        for file in files {
            let read = fs::read_to_string(&file).map_err(failed(&file))?;
            starts.push((text.len(), file));
            text.push_str(&read);
            text.push('\n');
        }
        Ok(Self { text, starts })
    }

    /// The mistakes of the file with the first one.
    fn mistakes(&self, mistakes: Vec<Mistake>) -> PipelineError {
        let first = mistakes.iter().map(|mistake| mistake.span.start).min().unwrap_or(0);
        let file =
            |place: usize| self.starts.iter().rposition(|(start, _)| *start <= place).unwrap_or(0);
        let at = file(first);
        let (start, path) = &self.starts[at];
        let end = self.starts.get(at + 1).map_or(self.text.len(), |(next, _)| *next);
        let of_file = mistakes.into_iter().filter(|mistake| file(mistake.span.start) == at);
        let mistakes = of_file.map(|mistake| {
            let span = mistake.span.start - start..mistake.span.end.min(end) - start;
            Mistake { span, ..mistake }
        });
        PipelineError::Mistakes {
            path: path.clone(),
            text: self.text[*start..end].to_owned(),
            mistakes: mistakes.collect(),
        }
    }
}

/// An array of ids.
struct Link {
    name: Option<String>,
    model: String,
    table: String,
    path: String,
    target: String,
    target_table: String,
}

/// Many-to-many relations as Prisma's implicit tables: `_AToB` with the columns `A` and `B`, the
/// models in alphabetical order.
fn junctions(links: Vec<Link>) -> Vec<DraftJunction> {
    let mut relations: BTreeMap<String, Vec<Link>> = BTreeMap::new();
    for link in links {
        let mut models = [link.model.clone(), link.target.clone()];
        models.sort();
        let name = link.name.clone().unwrap_or_else(|| models.join("To"));
        relations.entry(format!("_{name}")).or_default().push(link);
    }
    relations
        .into_iter()
        .map(|(name, mut links)| {
            links.sort_by(|left, right| left.model.cmp(&right.model));
            let first = &links[0];
            let swapped = first.target < first.model;
            let (a, b) = if swapped {
                (first.target_table.clone(), first.table.clone())
            } else {
                (first.table.clone(), first.target_table.clone())
            };
            let to_itself = a == b;
            let from = links.iter().enumerate().map(|(at, link)| {
                // The side whose documents hold the array.
                let side = to_itself.then(|| if at == 0 { "A" } else { "B" }.to_owned());
                (link.table.clone(), vec![link.path.clone()], side)
            });
            DraftJunction {
                position: None,
                name,
                from: from.collect(),
                columns: [("A".to_owned(), a), ("B".to_owned(), b)],
                comment: "An implicit many-to-many relation.".to_owned(),
            }
        })
        .collect()
}
