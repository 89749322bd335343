//! What the documents of a collection look like, worked out from the tables that take them.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document};

use super::pattern::matching;
use super::sample::{self, Numbers};
use super::{GenerateError, GenerateOptions, LOOKUP_DOCUMENTS};
use crate::pgcopy::PgType;
use crate::pipeline::model::{Column, EnumType, FieldPath, Literal, Origin, Pipeline, Table};

/// Links of one document to the other side of a junction, where it has any.
const LINKS: u64 = 2;
/// The second of the first document's ObjectId: 13 September 2020.
const FIRST_SECOND: u64 = 1_600_000_000;

/// A collection.
pub(super) struct Collection {
    pub(super) name: String,
    /// Its number, which is part of its ids.
    pub(super) number: usize,
    /// Sound documents.
    pub(super) documents: u64,
    /// One per table that takes whole documents of the collection.
    pub(super) variants: Vec<Variant>,
    seed: u64,
    enums: Vec<EnumType>,
}

/// The documents of one table. Document `n` of a collection is of variant `n % variants`.
pub(super) struct Variant {
    pub(super) table: String,
    id_type: PgType,
    /// Column and path of the key, where it is not `_id`.
    fields: Vec<Field>,
}

struct Field {
    path: FieldPath,
    kind: Kind,
    /// Never null or missing.
    sure: bool,
}

enum Kind {
    Value(Box<Column>),
    /// A value that no other document has.
    Numbered(Box<Column>),
    Constant(Bson),
    Reference {
        target: Target,
        list: bool,
        /// No two documents have the same target, as far as there are enough.
        unique: bool,
    },
    Links(Links),
    Items(Vec<Field>),
}

/// The documents of a table, as a reference sees them.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) collection: usize,
    variant: usize,
    /// The referenced column, where it is not `_id`.
    column: Option<Box<Column>>,
}

/// One side of a junction.
struct Links {
    /// 0 or 1.
    side: usize,
    shift: u64,
    own: Target,
    other: Target,
}

impl Target {
    /// Sound documents of the table.
    pub(super) fn count(&self, collections: &[Collection]) -> u64 {
        let collection = &collections[self.collection];
        let variants = collection.variants.len() as u64;
        (collection.documents + variants - 1 - self.variant as u64) / variants
    }

    /// Whether references hold the `_id`.
    pub(super) fn is_by_id(&self) -> bool {
        self.column.is_none()
    }

    /// What refers to the table's sound document of this number.
    pub(super) fn value(&self, collections: &[Collection], number: u64) -> Bson {
        let collection = &collections[self.collection];
        let number = number * collection.variants.len() as u64 + self.variant as u64;
        self.value_of(collections, number)
    }

    /// What refers to the document with this number in its collection.
    fn value_of(&self, collections: &[Collection], number: u64) -> Bson {
        let collection = &collections[self.collection];
        match &self.column {
            None => collection.id(self.variant, number),
            Some(column) => numbered(column, number),
        }
    }
}

impl Links {
    fn targets(&self, collections: &[Collection], document: u64) -> Vec<Bson> {
        let variants = collections[self.own.collection].variants.len() as u64;
        let own = document / variants;
        let (mine, theirs) = (self.own.count(collections), self.other.count(collections));
        let numbers: Vec<u64> = if self.side == 0 {
            linked(own, theirs, self.shift).collect()
        } else {
            // All that link to this one, found backwards.
            let mut numbers: Vec<u64> = (0..LINKS.min(mine))
                .flat_map(|step| {
                    let first = (own + 2 * mine - self.shift % mine - step) % mine;
                    (first..theirs).step_by(usize::try_from(mine).unwrap_or(usize::MAX))
                })
                .filter(|number| number.is_multiple_of(2))
                .collect();
            numbers.sort_unstable();
            numbers
        };
        numbers.into_iter().map(|number| self.other.value(collections, number)).collect()
    }
}

/// Documents that document `number` of the first side links to, out of `count`.
pub(super) fn linked(number: u64, count: u64, shift: u64) -> impl Iterator<Item = u64> {
    let links = if number.is_multiple_of(2) { LINKS.min(count) } else { 0 };
    (0..links).map(move |step| (number + shift + step) % count.max(1))
}

impl Collection {
    /// The `_id` of a document.
    fn id(&self, variant: usize, number: u64) -> Bson {
        match self.variants[variant].id_type {
            PgType::Text | PgType::Varchar(_) => Bson::String(format!("{}-{number:08}", self.name)),
            PgType::SmallInt | PgType::Integer | PgType::BigInt => {
                Bson::Int64(number.cast_signed() + 1)
            }
            _ => Bson::ObjectId(self.object_id(number, 0)),
        }
    }

    /// The ObjectId of a document; `flaw` tells those apart that stand after the same one.
    pub(super) fn object_id(&self, number: u64, flaw: u16) -> ObjectId {
        let second = u32::try_from(FIRST_SECOND + number / 4).unwrap_or(u32::MAX);
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&second.to_be_bytes());
        bytes[4] = if flaw == 0 { 0x10 } else { 0xF0 };
        bytes[5] = u8::try_from(self.number % 256).unwrap_or(0);
        bytes[6..8].copy_from_slice(&flaw.to_be_bytes());
        bytes[8..].copy_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
        ObjectId::from_bytes(bytes)
    }

    /// The sound document of this number.
    pub(super) fn document(&self, collections: &[Self], number: u64) -> Document {
        let variant = usize::try_from(number % self.variants.len() as u64).unwrap_or(0);
        let id = self.id(variant, number);
        self.make(collections, variant, number, id, true)
    }

    /// A sound document without links, to be spoilt.
    pub(super) fn spare(
        &self,
        collections: &[Self],
        variant: usize,
        spare: u64,
        id: Bson,
    ) -> Document {
        self.make(collections, variant, self.documents + spare, id, false)
    }

    fn make(
        &self,
        collections: &[Self],
        variant: usize,
        number: u64,
        id: Bson,
        links: bool,
    ) -> Document {
        let mut numbers = Numbers::new(self.seed, self.number, number);
        let mut document = Document::new();
        document.insert("_id", id);
        for field in &self.variants[variant].fields {
            if let Kind::Links(side) = &field.kind {
                if links {
                    let targets = side.targets(collections, number);
                    set(&mut document, &field.path, Bson::Array(targets));
                }
                continue;
            }
            self.fill(collections, &mut document, field, &mut numbers, number, links);
        }
        document
    }

    fn fill(
        &self,
        collections: &[Self],
        document: &mut Document,
        field: &Field,
        numbers: &mut Numbers,
        number: u64,
        full: bool,
    ) {
        if !field.sure {
            match numbers.below(10) {
                0 => return,
                1 => return set(document, &field.path, Bson::Null),
                _ => {}
            }
        }
        let value = match &field.kind {
            Kind::Value(column) => sample::value(numbers, column, &self.enums, number),
            Kind::Numbered(column) => numbered(column, number),
            Kind::Constant(value) => value.clone(),
            Kind::Reference { target, list, unique } => {
                let count = target.count(collections);
                let mut one = || {
                    let any = numbers.below(count);
                    target.value(collections, if *unique { number % count } else { any })
                };
                if *list { Bson::Array(vec![one(), one()]) } else { one() }
            }
            Kind::Items(fields) => {
                let count = if full { numbers.below(4) } else { 1 };
                let items = (0..count).map(|_| {
                    let mut item = Document::new();
                    for field in fields {
                        self.fill(collections, &mut item, field, numbers, number, full);
                    }
                    item.remove(ELEMENT).unwrap_or(Bson::Document(item))
                });
                if let Some((FieldPath::MEMBERS, path)) =
                    field.path.0.split_last().map(|(last, path)| (last.as_str(), path))
                {
                    let members = items.zip(0..).map(|(item, at)| (format!("key {at}"), item));
                    let members = Bson::Document(members.collect());
                    return set(document, &FieldPath(path.to_vec()), members);
                }
                Bson::Array(items.collect())
            }
            Kind::Links(_) => return,
        };
        set(document, &field.path, value);
    }
}

/// A value that only the document of this number has.
fn numbered(column: &Column, number: u64) -> Bson {
    match column.pg_type {
        PgType::SmallInt | PgType::Integer | PgType::BigInt => {
            Bson::Int64(number.cast_signed() + 1)
        }
        PgType::Timestamp(_) | PgType::Timestamptz(_) => {
            let second = 1_700_000_000 + number.cast_signed();
            Bson::DateTime(mongodb::bson::DateTime::from_millis(second * 1000))
        }
        PgType::Uuid => {
            let name = format!("{}-{number}", column.name);
            Bson::String(
                uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()).to_string(),
            )
        }
        _ => {
            let text = column.pattern.as_ref().and_then(|pattern| matching(pattern, number));
            let text = text.unwrap_or_else(|| format!("{}-{number}@example.org", column.name));
            match column.pg_type {
                PgType::Varchar(limit) if text.len() > limit as usize => {
                    Bson::String(number.to_string())
                }
                _ => Bson::String(text),
            }
        }
    }
}

/// Puts a value at a path, making the subdocuments on the way.
pub(super) fn set(document: &mut Document, path: &FieldPath, value: Bson) {
    let Some((last, parents)) = path.0.split_last() else { return };
    let mut at = document;
    for name in parents {
        if !matches!(at.get(name), Some(Bson::Document(_))) {
            at.insert(name.clone(), Document::new());
        }
        match at.get_document_mut(name) {
            Ok(inner) => at = inner,
            Err(_) => return,
        }
    }
    at.insert(last.clone(), value);
}

/// Takes away what is at a path.
pub(super) fn remove(document: &mut Document, path: &FieldPath) {
    let Some((last, parents)) = path.0.split_last() else { return };
    let mut at = document;
    for name in parents {
        match at.get_document_mut(name) {
            Ok(inner) => at = inner,
            Err(_) => return,
        }
    }
    at.remove(last);
}

/// Where the documents of a table are found.
pub(super) fn target(
    pipeline: &Pipeline,
    names: &[String],
    table: &str,
    column: Option<&str>,
) -> Result<Target, GenerateError> {
    let unsupported = |detail: &str| GenerateError::Unsupported {
        what: format!("table {table}"),
        detail: detail.to_owned(),
    };
    let found = pipeline
        .tables
        .iter()
        .find(|candidate| candidate.name == table)
        .ok_or_else(|| unsupported("there is no such table"))?;
    if found.each.is_some() {
        return Err(unsupported("elements of arrays have no ids to refer to"));
    }
    let collection = names
        .iter()
        .position(|name| *name == found.source)
        .ok_or_else(|| unsupported("its collection is not made"))?;
    let variant = whole(pipeline, &found.source)
        .position(|candidate| candidate.name == table)
        .ok_or_else(|| unsupported("its collection is not made"))?;
    let column = found
        .columns
        .iter()
        .find(|candidate| match column {
            Some(name) => candidate.name == name,
            None => candidate.key.is_some(),
        })
        .ok_or_else(|| unsupported("it has no key"))?;
    let column = if is_id(column) { None } else { Some(Box::new(column.clone())) };
    Ok(Target { collection, variant, column })
}

fn is_id(column: &Column) -> bool {
    matches!(&column.origin, Origin::Paths(paths) if paths.first().is_some_and(|path| path.0 == ["_id"]))
}

/// Tables that take whole documents of a collection.
fn whole<'p>(pipeline: &'p Pipeline, source: &'p str) -> impl Iterator<Item = &'p Table> {
    pipeline.tables.iter().filter(move |table| table.source == source && table.each.is_none())
}

/// Plans every collection that the pipeline's tables take.
pub(super) fn collections(
    pipeline: &Pipeline,
    options: &GenerateOptions,
) -> Result<Vec<Collection>, GenerateError> {
    let mut names: Vec<String> = Vec::new();
    for table in pipeline.tables.iter().filter(|table| table.each.is_none()) {
        if !names.contains(&table.source) {
            names.push(table.source.clone());
        }
    }
    let sizes = sizes(pipeline, &names, options.documents);
    let mut collections = Vec::new();
    for (number, (name, documents)) in names.iter().zip(sizes).enumerate() {
        let mut variants = Vec::new();
        for table in whole(pipeline, name) {
            variants.push(variant(pipeline, &names, table)?);
        }
        collections.push(Collection {
            name: name.clone(),
            number,
            documents: documents.max(variants.len() as u64),
            variants,
            seed: options.seed,
            enums: pipeline.enums.clone(),
        });
    }
    Ok(collections)
}

/// How many documents each collection gets: lookup tables a handful, the others in proportion to
/// how much they are linked.
fn sizes(pipeline: &Pipeline, names: &[String], documents: u64) -> Vec<u64> {
    let weights: Vec<u64> = names
        .iter()
        .map(|name| {
            let tables = || pipeline.tables.iter().filter(|table| table.source == *name);
            let references: usize = tables()
                .map(|table| {
                    table.columns.iter().filter(|column| column.references.is_some()).count()
                })
                .sum();
            let arrays = pipeline.junctions.iter().flat_map(|junction| &junction.from);
            let arrays =
                arrays.filter(|from| tables().any(|table| table.name == from.table)).count();
            (references + arrays) as u64
        })
        .collect();
    let linked: u64 = weights.iter().filter(|weight| **weight > 0).map(|weight| weight + 1).sum();
    let lookup = if linked == 0 { 0 } else { LOOKUP_DOCUMENTS.min(documents / 100).max(1) };
    let lookups = weights.iter().filter(|weight| **weight == 0).count() as u64;
    let rest = documents.saturating_sub(lookup * lookups);
    let mut sizes: Vec<u64> = weights
        .iter()
        .map(|weight| match (weight, linked) {
            (_, 0) => (documents / names.len() as u64).max(1),
            (0, _) => lookup,
            (weight, linked) => (rest * (weight + 1) / linked).max(1),
        })
        .collect();
    let missing = documents.saturating_sub(sizes.iter().sum());
    if let Some(largest) = sizes.iter_mut().max() {
        *largest += missing;
    }
    sizes
}

fn variant(pipeline: &Pipeline, names: &[String], table: &Table) -> Result<Variant, GenerateError> {
    let id_type = table
        .columns
        .iter()
        .find(|column| is_id(column) && column.key != Some(crate::pipeline::model::Key::Serial))
        .map_or(PgType::Uuid, |column| column.pg_type.clone());
    let mut fields = Vec::new();
    for (path, literal) in &table.filter {
        let value = match literal {
            Literal::String(text) => Bson::String(text.clone()),
            Literal::Integer(number) => Bson::Int64(*number),
            Literal::Float(number) => Bson::Double(*number),
            Literal::Boolean(flag) => Bson::Boolean(*flag),
        };
        fields.push(Field { path: path.clone(), kind: Kind::Constant(value), sure: true });
    }
    columns(pipeline, names, table, &mut fields)?;
    for (junction, shift) in pipeline.junctions.iter().zip(0_u64..) {
        for from in junction.from.iter().filter(|from| from.table == table.name) {
            let side = |at: usize| target(pipeline, names, &junction.columns[at].table, None);
            fields.push(Field {
                path: from.path.clone(),
                kind: Kind::Links(Links {
                    side: from.side,
                    shift,
                    own: side(from.side)?,
                    other: side(1 - from.side)?,
                }),
                sure: true,
            });
        }
    }
    let mut children: Vec<&Table> = pipeline
        .tables
        .iter()
        .filter(|child| child.source == table.source && child.each.is_some())
        .collect();
    children.sort_by_key(|child| child.each.as_ref().map_or(0, |each| each.0.len()));
    for child in children {
        let Some(each) = &child.each else { continue };
        let members = each.0.iter().position(|step| step == FieldPath::MEMBERS);
        if members.is_some_and(|at| at + 1 < each.0.len()) {
            // What is inside a member is not made up.
            continue;
        }
        let mut items = Vec::new();
        columns(pipeline, names, child, &mut items)?;
        place(&mut fields, each, items);
    }
    Ok(Variant { table: table.name.clone(), id_type, fields })
}

/// The name under which an item that is no document is made; no field of BSON has it.
const ELEMENT: &str = "\0element";

/// Puts an array of subdocuments where it belongs: into the items of an outer array, or at its
/// path.
fn place(fields: &mut Vec<Field>, path: &FieldPath, items: Vec<Field>) {
    let outer = fields.iter_mut().find_map(|field| match &mut field.kind {
        Kind::Items(inner)
            if path.0.len() > field.path.0.len() && path.0.starts_with(&field.path.0) =>
        {
            Some((inner, field.path.0.len()))
        }
        _ => None,
    });
    match outer {
        Some((inner, depth)) => place(inner, &FieldPath(path.0[depth..].to_vec()), items),
        None => fields.push(Field { path: path.clone(), kind: Kind::Items(items), sure: true }),
    }
}

fn columns(
    pipeline: &Pipeline,
    names: &[String],
    table: &Table,
    fields: &mut Vec<Field>,
) -> Result<(), GenerateError> {
    let unique = |name: &String| table.unique.iter().any(|columns| columns.contains(name));
    for column in &table.columns {
        let element = [FieldPath(vec![ELEMENT.to_owned()])];
        let paths = match &column.origin {
            Origin::Paths(paths) => paths.as_slice(),
            Origin::Element => &element,
            _ => continue,
        };
        let Some(path) = paths.first() else { continue };
        if path.0 == ["_id"] || fields.iter().any(|field| field.path == *path) {
            continue;
        }
        let sure = column.required || column.key.is_some();
        let kind = match &column.references {
            Some(reference) => Kind::Reference {
                target: target(pipeline, names, &reference.table, Some(&reference.column))?,
                list: matches!(column.pg_type, PgType::Array(_)),
                unique: table.unique.iter().any(|columns| *columns == [column.name.clone()])
                    || column.key.is_some()
                        && table.columns.iter().filter(|other| other.key.is_some()).count() == 1,
            },
            None if column.key.is_some() || unique(&column.name) => {
                Kind::Numbered(Box::new(column.clone()))
            }
            None => Kind::Value(Box::new(column.clone())),
        };
        // One of two columns that may take the same field leaves it to the other.
        let shared = paths.len() > 1
            && paths[1..].iter().any(|other| fields.iter().any(|field| field.path == *other));
        if !(shared && column.references.is_some()) {
            fields.push(Field { path: path.clone(), kind, sure });
        }
    }
    Ok(())
}
