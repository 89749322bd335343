//! The objects of a source: each file, namespace, table or view, with the collection that it was
//! taken into or the reason for leaving it out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::manifest::{CollectionManifest, ExportManifest, Skipped};

/// An object of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceObject {
    /// Its name in the source: a path below the folder, a namespace of an archive, a table.
    pub name: String,
    /// `bson`, `metadata`, `json` or `file`; `collection`, `timeseries`, `view`, `oplog`; `table`,
    /// `virtual table`, `trigger`.
    pub kind: String,
    /// Size of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Records that were read of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// The collection that it was taken into, or the reason for leaving it out.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Outcome of an export for an object of its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The exported collection that it belongs to.
    TakenInto(String),
    /// The reason for leaving it out.
    LeftOut(String),
}

impl SourceObject {
    /// An object that was taken into a collection.
    pub fn taken(name: &str, kind: &str, collection: &str) -> Self {
        let outcome = Outcome::TakenInto(collection.to_owned());
        Self { name: name.to_owned(), kind: kind.to_owned(), bytes: None, records: None, outcome }
    }

    /// An object that was left out.
    pub fn left_out(name: &str, kind: &str, reason: &str) -> Self {
        let outcome = Outcome::LeftOut(reason.to_owned());
        Self { name: name.to_owned(), kind: kind.to_owned(), bytes: None, records: None, outcome }
    }

    /// The collection that it was taken into; `None` if it was left out.
    pub fn collection(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::TakenInto(collection) => Some(collection),
            Outcome::LeftOut(_) => None,
        }
    }

    /// The reason for leaving it out; `None` if it was taken.
    pub fn reason(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::TakenInto(_) => None,
            Outcome::LeftOut(reason) => Some(reason),
        }
    }
}

/// Sums over the objects of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Objects taken.
    pub taken: u64,
    /// Their records: documents and rejects.
    pub records: u64,
    /// Objects left out.
    pub left_out: u64,
}

/// Adds up the objects of a source.
pub fn tally(objects: &[SourceObject]) -> Tally {
    let mut tally = Tally::default();
    for object in objects {
        if object.collection().is_some() {
            tally.taken += 1;
            tally.records += object.records.unwrap_or(0);
        } else {
            tally.left_out += 1;
        }
    }
    tally
}

/// The objects of a source that has one for each collection: a server, a SQLite file.
pub fn of_collections(
    collections: &[CollectionManifest],
    skipped: &[Skipped],
) -> Vec<SourceObject> {
    let taken = collections.iter().map(|collection| {
        let records = Some(collection.documents + collection.rejects);
        let taken = SourceObject::taken(&collection.name, &collection.kind, &collection.name);
        SourceObject { records, ..taken }
    });
    taken.chain(skipped.iter().map(of_skipped)).collect()
}

/// The object that was left out.
pub fn of_skipped(skipped: &Skipped) -> SourceObject {
    SourceObject::left_out(&skipped.name, kind_of_skipped(skipped), &skipped.reason)
}

/// The kind of an object that was left out, by its definition.
fn kind_of_skipped(skipped: &Skipped) -> &'static str {
    if skipped.options.get("viewOn").is_some() {
        return "view";
    }
    let Some(sql) = skipped.options.as_str() else { return "collection" };
    let sql = sql.trim_start().to_ascii_uppercase();
    let kinds = [
        ("CREATE VIRTUAL", "virtual table"),
        ("CREATE VIEW", "view"),
        ("CREATE TEMP", "view"),
        ("CREATE TRIGGER", "trigger"),
    ];
    kinds.iter().find(|(start, _)| sql.starts_with(start)).map_or("table", |(_, kind)| *kind)
}

/// Disagreements between the objects of a source and the collections taken from them. A manifest
/// of an older version lists no objects and has none.
pub fn problems(manifest: &ExportManifest) -> Vec<String> {
    let mut problems = Vec::new();
    if manifest.source_objects.is_empty() {
        return problems;
    }
    // Records of each collection's objects, of those that tell them.
    let mut found: BTreeMap<&str, Option<u64>> = BTreeMap::new();
    for object in &manifest.source_objects {
        let Some(collection) = object.collection() else { continue };
        if !manifest.has(collection) {
            problems.push(format!(
                "{} of the source was taken into collection {collection}, which was not exported",
                object.name
            ));
        }
        let sum = found.entry(collection).or_default();
        if let Some(records) = object.records {
            *sum = Some(sum.unwrap_or(0) + records);
        }
    }
    for collection in &manifest.collections {
        let staged = collection.documents + collection.rejects;
        match found.get(collection.name.as_str()) {
            None => problems.push(format!(
                "collection {} was taken from no object of the source",
                collection.name
            )),
            Some(Some(records)) if *records != staged => problems.push(format!(
                "the source held {records} records of collection {}, {} documents and {} rejects \
                 were exported",
                collection.name, collection.documents, collection.rejects
            )),
            Some(_) => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_object_is_taken_or_left_out_with_its_reason() {
        let taken = SourceObject { records: Some(3), ..SourceObject::taken("a.bson", "bson", "a") };
        let json = json!({"name": "a.bson", "kind": "bson", "records": 3, "taken_into": "a"});
        assert_eq!(serde_json::to_value(&taken).unwrap(), json);
        let left = SourceObject::left_out("README.txt", "file", "no file of a dump");
        let json = json!({"name": "README.txt", "kind": "file", "left_out": "no file of a dump"});
        assert_eq!(serde_json::to_value(&left).unwrap(), json);
        assert_eq!(serde_json::from_value::<SourceObject>(json).unwrap(), left);
        assert_eq!(tally(&[taken, left]), Tally { taken: 1, records: 3, left_out: 1 });
    }

    #[test]
    fn records_and_collections_that_do_not_agree_are_named() {
        let collection = |name: &str, documents: u64, rejects: u64| {
            json!({"name": name, "kind": "collection", "documents": documents,
                "document_bytes": 0, "rejects": rejects, "parts": []})
        };
        let manifest = |objects: Value| -> ExportManifest {
            serde_json::from_value(json!({
                "format_version": 1, "tool_version": "0", "pipeline": "p", "run": "r",
                "source": {"kind": "mongodump", "address": "d", "database": "d"},
                "snapshot": {"kind": "transaction"}, "skipped": [], "source_objects": objects,
                "collections": [collection("a", 2, 1), collection("b", 0, 0)],
            }))
            .unwrap()
        };
        let object = |name: &str, records: u64, into: &str| json!({"name": name, "kind": "bson", "records": records, "taken_into": into});
        let metadata = json!({"name": "a.metadata.json", "kind": "metadata", "taken_into": "a"});
        let left = json!({"name": "c.txt", "kind": "file", "left_out": "no file of a dump"});
        let (a, b) = (object("a.bson", 3, "a"), object("b.bson", 0, "b"));
        assert_eq!(problems(&manifest(json!([a, b, metadata, left]))), Vec::<String>::new());
        // An older version lists nothing.
        assert_eq!(problems(&manifest(json!([]))), Vec::<String>::new());
        for (objects, problem) in [
            (json!([object("a.bson", 4, "a"), b]), "the source held 4 records of collection a"),
            (json!([a]), "collection b was taken from no object"),
            (json!([a, b, object("c.bson", 1, "c")]), "taken into collection c, which was not"),
        ] {
            let found = problems(&manifest(objects));
            assert!(found.len() == 1 && found[0].contains(problem), "{found:?}");
        }
    }

    #[test]
    fn the_kind_of_what_was_skipped_is_read_off_its_definition() {
        for (options, kind) in [
            (json!("create view v as select 1"), "view"),
            (json!(" CREATE VIRTUAL TABLE f USING fts5(a)"), "virtual table"),
            (json!("CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT 1; END"), "trigger"),
            (json!("CREATE TABLE sqlite_sequence(name,seq)"), "table"),
            (json!({"viewOn": "a", "pipeline": []}), "view"),
            (Value::Null, "collection"),
        ] {
            let skipped = Skipped { name: "x".to_owned(), reason: "y".to_owned(), options };
            assert_eq!(kind_of_skipped(&skipped), kind);
        }
    }
}
