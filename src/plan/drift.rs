//! What changed in a database since its pipeline file was written.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Surveyed;
use super::index::descend;
use super::survey::{Kind, Node};
use crate::pgcopy::PgType;
use crate::pipeline::model::{Column, EnumType, FieldPath, Origin, Pipeline, Table, Unmapped};

/// A difference between a database and its pipeline file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Drift {
    /// Collection.
    pub collection: String,
    /// Field, dotted; none for the collection as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What happened.
    pub change: Change,
    /// In which way.
    pub detail: String,
}

/// Kinds of differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The file does not know it.
    New,
    /// The file knows it, the database holds none.
    Gone,
    /// Its values do not fit the column.
    Type,
    /// Its texts are none of the enum's labels.
    Value,
}

impl Change {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Type => "other type",
            Self::Value => "new value",
        }
    }
}

/// The paths of a collection's documents that some table takes.
struct Taken<'p> {
    paths: BTreeSet<&'p [String]>,
}

impl<'p> Taken<'p> {
    fn of(pipeline: &'p Pipeline, tables: &[&'p Table]) -> Self {
        let mut paths: BTreeSet<&[String]> = BTreeSet::new();
        for table in tables {
            match &table.each {
                Some(each) => {
                    paths.insert(each.before_members());
                    continue;
                }
                None => paths.extend(table.ignore.iter().map(|path| path.0.as_slice())),
            }
            paths.extend(table.filter.iter().map(|(path, _)| path.0.as_slice()));
            for column in &table.columns {
                if let Origin::Paths(origins) = &column.origin {
                    paths.extend(origins.iter().map(|path| path.0.as_slice()));
                }
            }
            for junction in &pipeline.junctions {
                let own = junction.from.iter().filter(|from| from.table == table.name);
                paths.extend(own.map(|from| from.path.0.as_slice()));
            }
        }
        Self { paths }
    }

    /// Adds the fields that nothing takes.
    fn new_fields(&self, path: &mut Vec<String>, node: &Node, found: &mut Vec<(String, String)>) {
        if self.paths.iter().any(|taken| path.starts_with(taken)) {
            return;
        }
        let on_the_way = self.paths.iter().any(|taken| taken.starts_with(path));
        let Some(fields) = node.fields.as_deref().filter(|_| on_the_way) else {
            let kinds: Vec<&str> = node.kinds().into_iter().map(Kind::name).collect();
            let kinds = if kinds.is_empty() { "null".to_owned() } else { kinds.join(", ") };
            found.push((path.join("."), format!("{kinds} in {} documents", node.present)));
            return;
        };
        for (name, inner) in &fields.nodes {
            path.push(name.to_string());
            self.new_fields(path, inner, found);
            path.pop();
        }
    }
}

/// Whether a column takes values of a kind.
fn takes(column: &Column, pg_type: &PgType, kind: Kind) -> bool {
    let number = matches!(kind, Kind::Int32 | Kind::Int64 | Kind::Double | Kind::Decimal);
    let coerced = column.coerce && kind == Kind::String;
    match pg_type {
        PgType::Jsonb => true,
        PgType::Boolean => {
            kind == Kind::Boolean || column.coerce && (number || kind == Kind::String)
        }
        PgType::SmallInt
        | PgType::Integer
        | PgType::BigInt
        | PgType::Real
        | PgType::Double
        | PgType::Numeric(_) => number || coerced,
        PgType::Text | PgType::Varchar(_) | PgType::Enum(_) => {
            matches!(kind, Kind::String | Kind::ObjectId | Kind::Uuid | Kind::Other)
        }
        PgType::Uuid => {
            column.key.is_some()
                || matches!(kind, Kind::ObjectId | Kind::Uuid | Kind::String | Kind::Binary)
        }
        PgType::Bytea => kind == Kind::Binary,
        PgType::Date | PgType::Time(_) | PgType::Timestamp(_) | PgType::Timestamptz(_) => {
            let epoch = column.format.as_deref().is_some_and(|format| format.starts_with("epoch"));
            if epoch { number } else { matches!(kind, Kind::Date | Kind::String) }
        }
        PgType::Array(_) => kind == Kind::Array,
    }
}

fn types(column: &Column, node: &Node, enums: &[EnumType]) -> Option<(Change, String)> {
    let mapped = |text: &str| column.values.iter().any(|(from, _)| from == text);
    let strange = |pg_type: &PgType, node: &Node| -> Option<String> {
        let only_empty = column.empty_is_null && node.forms.texts == node.forms.empty;
        let kinds: Vec<&str> = node
            .kinds()
            .into_iter()
            .filter(|kind| *kind != Kind::String || !only_empty)
            .filter(|kind| {
                !takes(column, pg_type, *kind)
                    && (column.values.is_empty() || *kind == Kind::Document)
            })
            .map(Kind::name)
            .collect();
        (!kinds.is_empty()).then(|| format!("{} in a column of type {pg_type}", kinds.join(", ")))
    };
    if let Some(detail) = strange(&column.pg_type, node) {
        return Some((Change::Type, detail));
    }
    if let (PgType::Array(element), Some(inner)) = (&column.pg_type, &node.element)
        && let Some(detail) = strange(element, inner)
    {
        return Some((Change::Type, detail));
    }
    if let PgType::Enum(name) = &column.pg_type {
        let labels = enums.iter().find(|known| known.name == *name).map(|known| &known.labels)?;
        let unknown: Vec<&str> = node
            .examples
            .iter()
            .flatten()
            .map(|(text, _)| text.as_str())
            .filter(|text| !labels.iter().any(|label| label == text) && !mapped(text))
            .collect();
        if !unknown.is_empty() {
            return Some((Change::Value, format!("{} is not in enum {name}", unknown.join(", "))));
        }
    }
    None
}

/// Compares a database with a pipeline file.
pub(super) fn drift(pipeline: &Pipeline, surveyed: &[Surveyed]) -> Vec<Drift> {
    let pipeline = pipeline.resolved(|name| surveyed.iter().any(|one| one.listed.name == name));
    let mut found = BTreeSet::new();
    for one in surveyed {
        let name = &one.listed.name;
        let mut add = |field: Option<String>, change: Change, detail: String| {
            found.insert(Drift { collection: name.clone(), field, change, detail });
        };
        let tables: Vec<&Table> =
            pipeline.tables.iter().filter(|table| table.source == *name).collect();
        if tables.is_empty() {
            if !pipeline.ignore.contains(name) {
                let documents = one.survey.documents;
                add(None, Change::New, format!("{documents} documents"));
            }
            continue;
        }
        let open = tables.iter().any(|table| {
            table.unmapped == Unmapped::Drop
                || table.each.is_none()
                    && table.columns.iter().any(|column| column.origin == Origin::Rest)
        });
        if !open {
            let taken = Taken::of(&pipeline, &tables);
            let mut fields = Vec::new();
            let relational = super::relational(&one.listed);
            for (name, node) in one.survey.fields() {
                if !(relational && **name == *"_id") {
                    taken.new_fields(&mut vec![name.to_string()], node, &mut fields);
                }
            }
            for (field, detail) in fields {
                add(Some(field), Change::New, detail);
            }
        }
        for table in tables.iter().filter(|table| table.each.is_none()) {
            for column in &table.columns {
                let Origin::Paths(paths) = &column.origin else { continue };
                let nodes: Vec<(&FieldPath, &Node)> = paths
                    .iter()
                    .filter_map(|path| Some((path, descend(&one.survey, &path.0)?)))
                    .collect();
                if nodes.is_empty() && one.survey.documents > 0 && one.whole && !column.optional {
                    let field = paths.first().map(ToString::to_string);
                    add(
                        field,
                        Change::Gone,
                        format!("no document holds it for {}.{}", table.name, column.name),
                    );
                }
                for (path, node) in nodes {
                    if let Some((change, detail)) = types(column, node, &pipeline.enums) {
                        add(
                            Some(path.to_string()),
                            change,
                            format!("{detail}, {}.{}", table.name, column.name),
                        );
                    }
                }
            }
        }
    }
    for table in pipeline.tables.iter().filter(|table| !table.optional) {
        if !surveyed.iter().any(|one| one.listed.name == table.source) {
            found.insert(Drift {
                collection: table.source.clone(),
                field: None,
                change: Change::Gone,
                detail: format!("table {} comes from it", table.name),
            });
        }
    }
    found.into_iter().collect()
}
