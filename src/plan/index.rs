//! Indexes and unique keys that a collection has. Each of their properties is carried over, or has
//! a line that says what gets weaker.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::Surveyed;
use super::column::count;
use super::draft::{DraftColumn, DraftIndex, DraftSearch, DraftTable, From, path_text};
use super::survey::{Kind, Node, Survey};

/// Bytes that an index takes of one text, with a margin: a third of a page at the most.
pub(super) const INDEX_BYTES: u64 = 2000;
/// Bytes that a B-tree takes of all columns of a row, with a margin for what it adds to each.
/// PostgreSQL refuses the index over 2,704 (`BTMaxItemSize`).
pub(super) const INDEX_ROW_BYTES: u64 = 2600;
/// Bytes of a column that is no text, at most, in an index.
const FIXED_BYTES: u64 = 16;

/// Bytes of the longest values of an index's columns, given those of the texts among them.
pub(super) fn row_bytes(texts: impl Iterator<Item = Option<u64>>) -> u64 {
    texts.map(|bytes| bytes.unwrap_or(FIXED_BYTES)).sum()
}

/// Options of indexes that ask for nothing here: versions, names, how an index was built, what only
/// its own kind reads.
const SILENT: [&str; 17] = [
    "v",
    "key",
    "name",
    "ns",
    "background",
    "dropDups",
    "unique",
    "sparse",
    "collation",
    "partialFilterExpression",
    "expireAfterSeconds",
    "weights",
    "default_language",
    "language_override",
    "textIndexVersion",
    "2dsphereIndexVersion",
    "clustered",
];

/// Text search configurations of PostgreSQL by the names that MongoDB has for a language.
const LANGUAGES: [(&str, &str, &str); 15] = [
    ("danish", "da", "danish"),
    ("dutch", "nl", "dutch"),
    ("english", "en", "english"),
    ("finnish", "fi", "finnish"),
    ("french", "fr", "french"),
    ("german", "de", "german"),
    ("hungarian", "hu", "hungarian"),
    ("italian", "it", "italian"),
    ("norwegian", "nb", "norwegian"),
    ("portuguese", "pt", "portuguese"),
    ("romanian", "ro", "romanian"),
    ("russian", "ru", "russian"),
    ("spanish", "es", "spanish"),
    ("swedish", "sv", "swedish"),
    ("turkish", "tr", "turkish"),
];

/// One index of the collection, and the table that it is for.
struct Draftsman<'t> {
    one: &'t Surveyed,
    paths: &'t BTreeMap<String, String>,
    table: &'t mut DraftTable,
    name: String,
    index: &'t Json,
    keys: &'t Map<String, Json>,
}

/// Indexes and unique keys that the collection has.
pub(super) fn indexes(one: &Surveyed, paths: &BTreeMap<String, String>, table: &mut DraftTable) {
    table.about.extend(of_collection(&one.listed.options));
    for index in &one.listed.indexes {
        let name = index["name"].as_str().unwrap_or_default().to_owned();
        let Some(keys) = index["key"].as_object().filter(|_| name != "_id_") else { continue };
        Draftsman { one, paths, table: &mut *table, name, index, keys }.index();
    }
}

/// Properties of the collection that its table does not have.
fn of_collection(options: &Json) -> Vec<String> {
    let mut about = Vec::new();
    if let Some(collation) = collation(&options["collation"]) {
        about.push(format!(
            "decide: the collection compares texts, ids too, by collation {collation}; PostgreSQL \
             by the database's"
        ));
    }
    if options["capped"] == true {
        about.push(
            "decide: capped: the oldest documents make room; PostgreSQL needs a job for that"
                .to_owned(),
        );
    }
    if is_set(&options["expireAfterSeconds"]) {
        about.push("decide: documents expire; PostgreSQL needs a job for that".to_owned());
    }
    about
}

fn is_set(option: &Json) -> bool {
    let empty = option.as_object().is_some_and(Map::is_empty);
    !option.is_null() && *option != false && !empty
}

/// A whole number of Extended JSON, in whatever form.
fn number(value: &Json) -> Option<f64> {
    let wrapped = ["$numberInt", "$numberLong", "$numberDouble"]
        .iter()
        .find_map(|form| value.get(form))
        .and_then(Json::as_str);
    wrapped.map_or_else(|| value.as_f64(), |text| text.parse().ok())
}

/// `en, strength 2`, where a collation is not MongoDB's own comparison of bytes.
fn collation(collation: &Json) -> Option<String> {
    let locale = collation["locale"].as_str().filter(|locale| *locale != "simple")?;
    let mut said = locale.to_owned();
    if let Some(strength) = number(&collation["strength"]) {
        let _ = write!(said, ", strength {strength}");
    }
    for option in ["caseLevel", "numericOrdering", "backwards"] {
        if collation[option] == true {
            let _ = write!(said, ", {option}");
        }
    }
    Some(said)
}

impl Draftsman<'_> {
    fn say(&mut self, what: &str) {
        self.table.about.push(format!("index {}: {what}", self.name));
    }

    fn unique(&self) -> bool {
        self.index["unique"] == true
    }

    /// An index that no line of the file stands for.
    fn leave_out(&mut self, why: &str) {
        let lost = if self.unique() {
            "; with it goes the unique key: nothing in PostgreSQL refuses a second document"
        } else {
            ""
        };
        self.say(&format!("decide: {why}, left out{lost}"));
    }

    fn index(mut self) {
        self.options();
        if is_set(&self.index["partialFilterExpression"]) {
            self.leave_out("partial: write its condition as `where`");
            return;
        }
        let special = self.keys.values().find_map(Json::as_str);
        match special {
            Some("text") => return self.search(),
            Some("hashed") if self.keys.len() == 1 => {}
            Some(special) => {
                let special = special.to_owned();
                return self.leave_out(&special);
            }
            None => {}
        }
        if self.keys.keys().any(|field| field.split('.').any(|step| step == "$**")) {
            self.leave_out("wildcard: a GIN index on a jsonb column serves searches by any field");
            return;
        }
        let columns: Option<Vec<String>> = self
            .keys
            .keys()
            .map(|field| self.paths.get(&path_text(&split(field))).cloned())
            .collect();
        let Some(columns) = columns else {
            if self.unique() {
                self.leave_out("a field of it is no column of this table");
            } else {
                self.say("left out: a field of it is no column of this table");
            }
            return;
        };
        self.over(columns, special == Some("hashed"));
    }

    /// Says of options, which any index may have, what gets weaker.
    fn options(&mut self) {
        let Some(options) = self.index.as_object() else { return };
        if is_set(&self.index["expireAfterSeconds"]) {
            self.say("decide: documents expire by it; PostgreSQL needs a job for that");
        }
        let unknown: Vec<&str> = options
            .iter()
            .filter(|(option, value)| !SILENT.contains(&option.as_str()) && is_set(value))
            .map(|(option, _)| option.as_str())
            .collect();
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            self.say(&format!("decide: {unknown} of it is not carried over"));
        }
    }

    /// Texts of these columns are equal to the index where they are in lower case.
    fn lower(&self, columns: &[String]) -> Vec<String> {
        if !matches!(number(&self.index["collation"]["strength"]), Some(1.0 | 2.0)) {
            return Vec::new();
        }
        let is_text = |column: &&DraftColumn| {
            columns.contains(&column.name)
                && (column.pg_type == "text" || column.pg_type.starts_with("varchar"))
        };
        self.table.columns.iter().filter(is_text).map(|column| column.name.clone()).collect()
    }

    /// Columns of an index that sorts in both directions, from the greatest value to the least. One
    /// that only descends is read backwards.
    fn descending(&self, columns: &[String]) -> Vec<String> {
        let falls: Vec<bool> = self
            .keys
            .values()
            .map(|direction| number(direction).is_some_and(|direction| direction < 0.0))
            .collect();
        if falls.iter().all(|falls| *falls) {
            return Vec::new();
        }
        let pairs = columns.iter().zip(falls);
        pairs.filter(|(_, falls)| *falls).map(|(column, _)| column.clone()).collect()
    }

    /// Says which values the index's collation holds to be equal, and in which order they are.
    fn collation(&mut self, lower: bool) {
        let Some(said) = collation(&self.index["collation"]) else { return };
        let accents = number(&self.index["collation"]["strength"]) == Some(1.0);
        let unique = if self.unique() { "unique under" } else { "ordered by" };
        let rest = match (lower, accents) {
            (true, true) => {
                "lower() stands for it, but keeps \"a\" and \"á\" apart, which are one to it"
            }
            (true, false) => {
                "lower() stands for it; queries must ask for lower() too, and letters whose case \
                 the database's locale does not know stay apart"
            }
            (false, _) => "PostgreSQL compares by the collation of the database",
        };
        self.say(&format!("decide: {unique} collation {said}: {rest}"));
    }

    /// A full-text index.
    fn search(&mut self) {
        let weights = self.index["weights"].as_object();
        let fields: Vec<String> =
            weights.map(|weights| weights.keys().cloned().collect()).unwrap_or_default();
        let column = |field: &String| self.paths.get(&path_text(&split(field))).cloned();
        let is_text = |name: &String| {
            let texts = |column: &DraftColumn| {
                column.name == *name && matches!(column.pg_type.as_str(), "text" | "text[]")
            };
            self.table.columns.iter().any(texts)
        };
        let columns: Vec<String> = fields.iter().filter_map(column).filter(is_text).collect();
        if columns.is_empty() || !self.table.search.is_empty() {
            self.leave_out("full text over fields that are no text columns");
            return;
        }
        if columns.len() < fields.len() {
            let of = format!("{} of {} fields", columns.len(), fields.len());
            self.say(&format!("decide: full text over {of}; the others are no text columns"));
        }
        let equal = weights.is_none_or(|weights| {
            let mut numbers = weights.values().map(number);
            let first = numbers.next().flatten();
            numbers.all(|other| other == first)
        });
        if !equal {
            self.say("decide: its weights are not carried over; all fields count alike");
        }
        if self.keys.keys().any(|field| !field.starts_with("_fts")) {
            self.say("decide: the fields beside its texts are not part of the search index");
        }
        let override_field = self.index["language_override"].as_str().unwrap_or("language");
        if descend(&self.one.survey, &split(override_field)).is_some() {
            let said = format!(
                "decide: documents name their own language in {override_field}; the search column \
                 has one for all"
            );
            self.say(&said);
        }
        let wanted = self.index["default_language"].as_str().unwrap_or("english");
        let known = LANGUAGES.iter().find(|(name, code, _)| wanted == *name || wanted == *code);
        let language = match known {
            Some((_, _, configuration)) => *configuration,
            None if wanted == "none" => "simple",
            None => {
                let said = format!(
                    "decide: its language {wanted} has no text search configuration known here; \
                     \"simple\" finds words as they stand"
                );
                self.say(&said);
                "simple"
            }
        };
        let taken = self.table.columns.iter().any(|column| column.name == "search");
        let free = |number: u64| {
            let name = format!("search_{number}");
            let taken = self.table.columns.iter().any(|column| column.name == name);
            (!taken).then_some(name)
        };
        let name = if taken { (2..).find_map(free) } else { None };
        self.table.search.push(DraftSearch { name, columns, language });
    }

    /// An index over columns of the table.
    fn over(&mut self, columns: Vec<String>, hashed: bool) {
        let found: Vec<&DraftColumn> =
            self.table.columns.iter().filter(|column| columns.contains(&column.name)).collect();
        let node = |column: &DraftColumn| match &column.from {
            From::Path(path) => descend(&self.one.survey, path),
            _ => None,
        };
        let texts = |column: &DraftColumn| {
            let node = node(column)?;
            // An array's index holds its elements.
            let element = node.element.as_deref().map_or(0, |element| element.forms.bytes);
            let elements = if column.pg_type == "text[]" { element } else { 0 };
            let bytes = node.forms.bytes.max(elements);
            (bytes > 0).then_some(bytes)
        };
        let bytes: Vec<Option<u64>> = found.iter().map(|column| texts(column)).collect();
        let long = bytes.iter().flatten().any(|bytes| *bytes > INDEX_BYTES)
            || row_bytes(bytes.iter().copied()) > INDEX_ROW_BYTES;
        let nested =
            found.iter().any(|column| column.pg_type == "jsonb" || column.pg_type.ends_with("[]"));
        let arrays =
            found.iter().any(|column| node(column).is_some_and(|node| node.count(Kind::Array) > 0));
        let nullable: Vec<String> = found
            .iter()
            .filter(|column| !column.required && !column.key)
            .map(|column| column.name.clone())
            .collect();
        let simple = found.len() == 1 && found[0].index;
        let is_key =
            self.table.columns.iter().any(|column| column.key && columns == [column.name.clone()]);
        let (lower, descending) = (self.lower(&columns), self.descending(&columns));
        let folds = !lower.is_empty();
        if long && !hashed {
            let what = if columns.len() > 1 {
                "texts, taken together, are too long for a B-tree"
            } else if nested {
                "elements are too long for a GIN index"
            } else {
                "texts are too long for a B-tree"
            };
            self.leave_out(what);
        } else if nested && let [only] = columns.as_slice() {
            if self.unique() {
                let what = if arrays { "an array" } else { "a document" };
                self.say(&format!(
                    "decide: unique over {what}: MongoDB refuses a value that another document \
                     has, this index does not"
                ));
            }
            let columns = vec![only.clone()];
            let method = Some("gin");
            self.table.indexes.push(DraftIndex { columns, method, ..DraftIndex::default() });
        } else if nested {
            self.leave_out("over arrays or documents");
        } else if self.unique() {
            self.collation(folds);
            if !is_key && folds {
                let unique = true;
                let index =
                    DraftIndex { columns, lower, descending, unique, ..DraftIndex::default() };
                self.table.indexes.push(index);
            } else if !is_key && !self.table.unique.contains(&columns) {
                self.table.unique.push(columns);
            }
            if !is_key && !nullable.is_empty() {
                self.nulls(&nullable);
            }
        } else {
            self.collation(folds);
            let method = hashed.then_some("hash");
            let draft = DraftIndex { columns, lower, descending, method, ..DraftIndex::default() };
            let simple = simple && !folds;
            if !simple && !self.table.indexes.contains(&draft) {
                self.table.indexes.push(draft);
            }
        }
    }

    /// A unique key over columns that can be NULL.
    fn nulls(&mut self, nullable: &[String]) {
        if self.index["sparse"] == true {
            self.say("sparse and unique: PostgreSQL's unique keys take any number of NULLs");
            return;
        }
        let fields: u64 = nullable.len() as u64;
        let which =
            if fields == 1 { nullable[0].clone() } else { format!("{} columns", count(fields)) };
        self.say(&format!(
            "decide: unique, and {which} may be NULL: MongoDB takes one document without a value, \
             PostgreSQL any number; UNIQUE NULLS NOT DISTINCT in an after_load file keeps that"
        ));
    }
}

/// An index names a field by its path.
fn split(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

pub(super) fn descend<'s>(survey: &'s Survey, path: &[String]) -> Option<&'s Node> {
    let (last, parents) = path.split_last()?;
    let mut fields = survey.root.fields.as_deref()?;
    for name in parents {
        fields = fields.get(name)?.fields.as_deref()?;
    }
    fields.get(last)
}
