//! A draft from a Prisma schema for MongoDB: the tables that Prisma Migrate makes of the same models
//! for PostgreSQL.

mod parse;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use self::parse::{Attribute, Enum, Field, Model, Schema, Value, attribute, parse};
use super::draft::{Draft, DraftColumn, DraftIndex, DraftJunction, DraftTable, From, text};
use crate::pipeline::{Mistake, PipelineError};

/// Drafts a pipeline file of this name from a schema file.
pub fn from_prisma(path: &Path, name: &str) -> Result<String, PipelineError> {
    let schema_text = fs::read_to_string(path)
        .map_err(|source| PipelineError::Read { path: path.to_owned(), source })?;
    let schema = parse(path, &schema_text)?;
    let mut mapper = Mapper { schema: &schema, mistakes: Vec::new() };
    let mut draft = mapper.draft(name);
    if !mapper.mistakes.is_empty() {
        let (path, text) = (path.to_owned(), schema_text);
        return Err(PipelineError::Mistakes { path, text, mistakes: mapper.mistakes });
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

/// A field's column: the mapped name, but for those that only MongoDB needs (`_id`, `__v`).
fn column_name(field: &Field) -> String {
    mapped(&field.attributes)
        .filter(|name| !name.starts_with('_'))
        .unwrap_or(&field.name)
        .to_owned()
}

impl Mapper<'_> {
    fn mistake(&mut self, field: &Field, message: impl Into<String>) {
        self.mistakes.push(Mistake {
            span: field.span.clone(),
            message: message.into(),
            help: None,
        });
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
        for model in &self.schema.models {
            if attribute(&model.attributes, "ignore").is_some() {
                continue;
            }
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
            if self.model(&field.kind).is_some() || attribute(&field.attributes, "ignore").is_some()
            {
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
                    None => self.mistake(relation, format!("there is no model {}", relation.kind)),
                }
                continue;
            }
            let Some(mut column) = self.column(field) else { continue };
            if let Some(relation) = relation {
                self.refer(relation, field, &mut column);
            }
            table.columns.push(column);
        }
        let columns = |names: Vec<String>| -> Option<Vec<String>> {
            let field = |name: &String| model.fields.iter().find(|field| field.name == *name);
            names.iter().map(|name| field(name).map(column_name)).collect()
        };
        for found in &model.attributes {
            let Some(names) = found.get_or_first("fields").map(Value::names).and_then(columns)
            else {
                continue;
            };
            match found.name.as_str() {
                "unique" => table.unique.push(names),
                "index" => {
                    table.indexes.push(DraftIndex { columns: names, ..DraftIndex::default() });
                }
                _ => {}
            }
        }
        if !table.columns.iter().any(|column| column.key) {
            let message = format!("model {} has no @id", model.name);
            self.mistakes.push(Mistake { span: model.span.clone(), message, help: None });
        }
        table
    }

    fn column(&mut self, field: &Field) -> Option<DraftColumn> {
        let native = field.attributes.iter().find_map(|found| found.name.strip_prefix("db."));
        let kind = match (field.kind.as_str(), native) {
            ("String", Some("ObjectId")) => "uuid".to_owned(),
            ("String", _) => "text".to_owned(),
            ("Boolean", _) => "boolean".to_owned(),
            ("Int", Some("Long")) | ("BigInt", _) => "bigint".to_owned(),
            ("Int", _) => "integer".to_owned(),
            ("Float", _) => "double precision".to_owned(),
            ("Decimal", _) => "numeric(65,30)".to_owned(),
            ("DateTime", Some("Date")) => "date".to_owned(),
            ("DateTime", _) => "timestamp(3)".to_owned(),
            ("Json", _) => "jsonb".to_owned(),
            ("Bytes", Some("ObjectId")) => "uuid".to_owned(),
            ("Bytes", _) => "bytea".to_owned(),
            (name, _) => {
                if let Some(found) = self.schema.enums.iter().find(|found| found.name == name) {
                    enum_name(found)
                } else if self.schema.types.iter().any(|known| known == name) {
                    "jsonb".to_owned()
                } else {
                    self.mistake(field, format!("there is no type, enum or model {name}"));
                    return None;
                }
            }
        };
        let composite = self.schema.types.contains(&field.kind);
        let kind = if field.list && !composite { format!("{kind}[]") } else { kind };
        let mut column =
            DraftColumn::new(column_name(field), From::Path(vec![source_name(field)]), kind);
        column.key = attribute(&field.attributes, "id").is_some();
        // Prisma gives lists no NOT NULL; a list that a document lacks is empty to it.
        column.required = !column.key && !field.optional && !field.list;
        column.optional = column.required;
        column.unique = attribute(&field.attributes, "unique").is_some();
        let default =
            attribute(&field.attributes, "default").and_then(|found| found.get_or_first("value"));
        column.default = default.and_then(|value| match value {
            Value::Call(name, _) if name == "now" => Some("\"now\"".to_owned()),
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
            self.mistake(relation, format!("there is no model {}", relation.kind));
            return;
        };
        let found = attribute(&relation.attributes, "relation");
        let referred = found.and_then(|found| found.get("references")).map(Value::names);
        let to = referred.unwrap_or_default();
        let table = table_name(target);
        let Some(field) =
            to.first().and_then(|name| target.fields.iter().find(|field| field.name == *name))
        else {
            self.mistake(relation, "`references` names no field of the other model");
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
