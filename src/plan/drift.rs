//! What changed in a database since its pipeline file was written.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;

use super::Surveyed;
use super::index::descend;
use super::survey::{Kind, Node};
use crate::pipeline::model::{Origin, Pipeline, Table, Unmapped};
use crate::transform::trial::Mistake;

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
    /// Its values break a rule of the file.
    Rule,
}

impl Change {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Gone => "gone",
            Self::Type => "other type",
            Self::Value => "new value",
            Self::Rule => "broken rule",
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

/// A mistake as a difference.
fn difference(mistake: &Mistake) -> Drift {
    let Mistake { source, table, column, field, rule, detail, count, examples } = mistake;
    let mut said = format!("{}: {detail}", super::column::count(*count));
    if !examples.is_empty() {
        let shown: Vec<String> = examples.iter().map(|text| format!("{text:?}")).collect();
        let _ = write!(said, " ({})", shown.join(", "));
    }
    let _ = write!(said, ", {table}");
    if let Some(column) = column {
        let _ = write!(said, ".{column}");
    }
    let change = match *rule {
        "unmapped" => Change::New,
        "type" => Change::Type,
        "enum" => Change::Value,
        _ => Change::Rule,
    };
    Drift { collection: source.clone(), field: field.clone(), change, detail: said }
}

/// Compares a database with a pipeline file.
///
/// `mistakes` are the values that a transform by the file would refuse.
pub(super) fn drift(
    pipeline: &Pipeline,
    surveyed: &[Surveyed],
    mistakes: &[Mistake],
) -> Vec<Drift> {
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
            let taken = Taken::of(pipeline, &tables);
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
                let held = paths.iter().any(|path| descend(&one.survey, &path.0).is_some());
                if !held && one.survey.documents > 0 && one.whole && !column.optional {
                    let field = paths.first().map(ToString::to_string);
                    add(
                        field,
                        Change::Gone,
                        format!("no document holds it for {}.{}", table.name, column.name),
                    );
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
    // A field that is new or gone as a whole needs no second line.
    let named: BTreeSet<(String, Option<String>)> =
        found.iter().map(|one| (one.collection.clone(), one.field.clone())).collect();
    let more = mistakes.iter().filter(|mistake| {
        let known = named.contains(&(mistake.source.clone(), mistake.field.clone()));
        let own_id = mistake.field.as_deref() == Some("_id")
            && surveyed
                .iter()
                .any(|one| one.listed.name == mistake.source && super::relational(&one.listed));
        !(known && matches!(mistake.rule, "unmapped" | "required")
            || own_id && mistake.rule == "unmapped")
    });
    found.extend(more.map(difference));
    found.into_iter().collect()
}
