//! Definitions of collections and indexes as a server of today takes them. Servers before 3.4 kept
//! whatever option a client had sent with an index, and any value in its key.

use mongodb::bson::{Bson, Document, doc};
use serde_json::Value as Json;

use super::RestoreError;
use crate::document::extended_json::to_document;

/// What says where an index belongs and how it was built: no part of its definition.
const BUILD: [&str; 2] = ["ns", "background"];

/// Options of an index that MongoDB knows, from its `index_key_validate.cpp`. Of those that it takes
/// and forgets, such as `dropDups`, none is here.
const INDEX_OPTIONS: [&str; 26] = [
    "2dsphereIndexVersion",
    "bits",
    "bucketSize",
    "clustered",
    "coarsestIndexedLevel",
    "collation",
    "columnstoreProjection",
    "default_language",
    "expireAfterSeconds",
    "finestIndexedLevel",
    "hidden",
    "key",
    "language_override",
    "max",
    "min",
    "name",
    "originalSpec",
    "partialFilterExpression",
    "prepareUnique",
    "sparse",
    "storageEngine",
    "textIndexVersion",
    "unique",
    "v",
    "weights",
    "wildcardProjection",
];

/// An index as `createIndexes` takes it, and what had to be changed for that.
pub(super) struct Index {
    /// The definition.
    pub(super) definition: Document,
    /// What is not as it was exported, a sentence each, without the names.
    pub(super) changes: Vec<String>,
}

impl Index {
    /// Reads an index of an export.
    pub(super) fn parse(collection: &str, index: &Json) -> Result<Self, RestoreError> {
        let definition = to_document(index).map_err(|detail| RestoreError::Definition {
            what: "an index",
            collection: collection.to_owned(),
            detail,
        })?;
        Ok(Self::of(definition))
    }

    /// Makes a definition one of today, as `mongorestore --convertLegacyIndexes` does: key values
    /// that old servers took as 1 become 1.
    pub(super) fn of(mut definition: Document) -> Self {
        for name in BUILD {
            definition.remove(name);
        }
        // No server of today makes an index of this version.
        if definition.get("v").is_some_and(counted_as_one) {
            definition.remove("v");
        }
        let mut changes = Vec::new();
        if let Ok(key) = definition.get_document_mut("key") {
            for (field, value) in key.iter_mut().filter(|(_, value)| counted_as_one(value)) {
                let old = std::mem::replace(value, Bson::Int32(1));
                changes.push(format!(
                    "its key {field} was {}, which old servers took as 1",
                    old.into_relaxed_extjson()
                ));
            }
        }
        Self { definition, changes }
    }

    /// Its options that no server knows.
    pub(super) fn unknown(&self) -> Vec<String> {
        let names = self.definition.keys();
        names.filter(|name| !INDEX_OPTIONS.contains(&name.as_str())).cloned().collect()
    }

    /// The definition without them.
    pub(super) fn known(&self) -> Document {
        let known = self.definition.iter();
        let known = known.filter(|(name, _)| INDEX_OPTIONS.contains(&name.as_str()));
        known.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Its options that an index which was made of it does not have.
    pub(super) fn forgotten(&self, made: &Document) -> Vec<String> {
        let gone = self.definition.iter().filter(|(name, value)| {
            // A server need not keep an option that says what goes without saying.
            let said = !matches!(value, Bson::Boolean(false));
            !made.contains_key(name) && (said || !INDEX_OPTIONS.contains(&name.as_str()))
        });
        gone.map(|(name, _)| name.clone()).collect()
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.definition.get_str("name").unwrap_or_default()
    }

    /// The server makes it with the collection.
    pub(super) fn comes_by_itself(&self) -> bool {
        self.name() == "_id_" || self.definition.get_bool("clustered").unwrap_or(false)
    }
}

/// Says which options of an index the server does not know.
pub(super) fn left_out(names: &[String]) -> String {
    format!("options that the server does not know are left out: {}", names.join(", "))
}

/// Old servers took what is neither a negative number nor the name of a kind of index as 1.
fn counted_as_one(value: &Bson) -> bool {
    match value {
        Bson::Int32(number) => *number == 0,
        Bson::Int64(number) => *number == 0,
        Bson::Double(number) => *number == 0.0 || number.is_nan(),
        Bson::Decimal128(number) => {
            let text = number.to_string();
            text == "NaN" || text.split(['E', 'e']).next().is_some_and(is_zero)
        }
        Bson::String(kind) => kind.is_empty(),
        _ => true,
    }
}

fn is_zero(digits: &str) -> bool {
    digits.chars().all(|digit| matches!(digit, '0' | '.' | '-'))
}

/// The command that makes a collection or a view.
pub(super) fn create(name: &str, options: &Json) -> Result<Document, RestoreError> {
    let mut command = doc! {"create": name};
    if options.is_object() {
        let options = to_document(options).map_err(|detail| RestoreError::Definition {
            what: "options",
            collection: name.to_owned(),
            detail,
        })?;
        // Old servers tell how the `_id` index was made, and that the collection was made.
        command.extend(
            options
                .into_iter()
                .filter(|(key, _)| !["create", "autoIndexId"].contains(&key.as_str())),
        );
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_old_servers_become_those_of_today() {
        let index = Index::of(doc! {
            "v": 1, "ns": "d.c", "name": "n", "background": true, "safe": Bson::Null,
            "dropDups": true, "unique": true,
            "key": {
                "a": true, "b": 0, "c": "", "d": 0.0, "e": -1, "f": "2dsphere", "g": 5,
                "h": f64::NAN, "i": {"x": 1}, "j": -0.5, "k": Bson::Null, "l": 0_i64,
            },
        });
        assert_eq!(
            index.definition,
            doc! {
                "v": 1, "name": "n", "safe": Bson::Null, "dropDups": true, "unique": true,
                "key": {
                    "a": 1, "b": 1, "c": 1, "d": 1, "e": -1, "f": "2dsphere", "g": 5, "h": 1,
                    "i": 1, "j": -0.5, "k": 1, "l": 1,
                },
            }
        );
        assert_eq!(
            index.changes[..2],
            [
                "its key a was true, which old servers took as 1",
                "its key b was 0, which old servers took as 1",
            ]
        );
        assert_eq!(index.changes.len(), 8);
        assert_eq!(index.unknown(), ["safe", "dropDups"]);
        let made = doc! {"v": 2, "key": {}, "name": "n", "unique": true};
        assert_eq!(index.forgotten(&made), ["safe", "dropDups"]);
    }
}
