//! What differs between the definitions of an export and those that were made of it.

use serde_json::{Map, Value as Json};

use super::RestoreError;
use super::definitions::Index;
use crate::source::mongodb::extended;
use crate::staging::manifest::CollectionManifest;

/// Options that old servers told and that none takes any more; `restore` leaves them out.
const OLD_OPTIONS: [&str; 8] = [
    "$nExtents",
    "autoIndexId",
    "create",
    "flags",
    "noPadding",
    "paddingFactor",
    "temp",
    "usePowerOf2Sizes",
];
/// Options of a collection that a server adds to a validator, with what it adds.
const ADDED: [(&str, &str); 2] = [("validationLevel", "strict"), ("validationAction", "error")];
/// Options that make another index; a server adds others that describe what it made.
const CHANGING: [&str; 7] = [
    "unique",
    "sparse",
    "hidden",
    "expireAfterSeconds",
    "partialFilterExpression",
    "collation",
    "wildcardProjection",
];
/// Bytes to which a server rounds the size of a capped collection.
const CAPPED_STEP: f64 = 256.0;

/// Says what of the options of a collection, or of the definition of a view, is not the same.
pub(super) fn options(before: &Json, after: &Json) -> Vec<String> {
    let none = Map::new();
    let (before, after) = match (before, after) {
        (Json::Object(before), Json::Object(after)) => (before, after),
        (Json::Object(before), Json::Null) => (before, &none),
        (Json::Null, Json::Object(after)) => (&none, after),
        (before, after) if before == after => return Vec::new(),
        _ => return vec!["its definition is another one".to_owned()],
    };
    let mut differences = Vec::new();
    for (name, value) in before.iter().filter(|(name, _)| !OLD_OPTIONS.contains(&name.as_str())) {
        match after.get(name) {
            None => differences.push(format!("its option {name} is missing")),
            Some(found) if option_agrees(name, value, found) => {}
            Some(_) => differences.push(format!("its option {name} is another one")),
        }
    }
    let added = after.iter().filter(|(name, value)| {
        let own = ADDED.iter().any(|(own, usual)| own == name && value.as_str() == Some(*usual));
        !before.contains_key(*name) && !own
    });
    differences
        .extend(added.map(|(name, _)| format!("the export does not have its option {name}")));
    differences
}

fn option_agrees(name: &str, before: &Json, after: &Json) -> bool {
    let (before, after) = (plain(before), plain(after));
    match (name, before.as_f64(), after.as_f64()) {
        ("size", Some(before), Some(after)) => (0.0..CAPPED_STEP).contains(&(after - before)),
        ("collation" | "timeseries" | "clusteredIndex", ..) => is_part(&before, &after),
        _ => before == after,
    }
}

/// Says what of the indexes of a collection is not the same.
pub(super) fn indexes(
    collection: &CollectionManifest,
    found: &[Json],
) -> Result<Vec<String>, RestoreError> {
    let parse = |index: &Json| Index::parse(&collection.name, index);
    let after: Vec<Index> = found.iter().map(parse).collect::<Result<_, _>>()?;
    let before: Vec<Index> = collection.indexes.iter().map(parse).collect::<Result<_, _>>()?;
    let mut differences = Vec::new();
    for index in &before {
        match after.iter().find(|found| found.name() == index.name()) {
            None => differences.push(format!("its index {} is missing", index.name())),
            Some(found) => differences.extend(index_differs(index, found)?),
        }
    }
    // A server gives a time series an index of its own.
    for index in after.iter().filter(|_| collection.kind != "timeseries") {
        let known = before.iter().any(|known| known.name() == index.name());
        if !known && !index.comes_by_itself() {
            differences.push(format!("the export does not have its index {}", index.name()));
        }
    }
    Ok(differences)
}

fn index_differs(before: &Index, after: &Index) -> Result<Vec<String>, RestoreError> {
    let (name, unknown) = (before.name(), before.unknown());
    let (before, after) = (extended(&before.definition)?, extended(&after.definition)?);
    let (Json::Object(before), Json::Object(after)) = (&before, &after) else {
        return Ok(Vec::new());
    };
    let mut differences = Vec::new();
    // The version tells how a server keeps an index, not what it is.
    for (option, value) in before.iter().filter(|(option, _)| *option != "v") {
        let agrees = match (option.as_str(), after.get(option)) {
            (_, None) => *value == Json::Bool(false) || unknown.contains(option),
            ("key", Some(found)) => {
                let fields = |key: &Json| key.as_object().map(|key| key.keys().cloned().collect());
                let order: [Option<Vec<String>>; 2] = [fields(value), fields(found)];
                order[0] == order[1] && plain(value) == plain(found)
            }
            ("collation", Some(found)) => is_part(&plain(value), &plain(found)),
            (_, Some(found)) => plain(value) == plain(found),
        };
        if !agrees {
            let how = if after.contains_key(option) { "has another" } else { "lacks its" };
            differences.push(format!("its index {name} {how} {option}"));
        }
    }
    let added = CHANGING.iter().filter(|option| {
        let found = after.get(**option);
        !before.contains_key(**option) && found.is_some_and(|found| *found != Json::Bool(false))
    });
    differences
        .extend(added.map(|option| format!("its index {name} is {option}, not so in the export")));
    Ok(differences)
}

/// Everything of one definition stands in another, which may say more; the version of a collation's
/// rules is the server's.
fn is_part(part: &Json, whole: &Json) -> bool {
    match (part, whole) {
        (Json::Object(part), Json::Object(whole)) => part
            .iter()
            .filter(|(name, _)| *name != "version")
            .all(|(name, value)| whole.get(name).is_some_and(|found| is_part(value, found))),
        (part, whole) => part == whole,
    }
}

/// Numbers without their types: old dumps write them so.
fn plain(json: &Json) -> Json {
    match json {
        Json::Object(fields) => {
            let number = ["$numberInt", "$numberLong", "$numberDouble"]
                .iter()
                .find_map(|kind| fields.get(*kind)?.as_str()?.parse::<f64>().ok());
            match number {
                Some(number) => Json::from(number),
                None => Json::Object(
                    fields.iter().map(|(key, value)| (key.clone(), plain(value))).collect(),
                ),
            }
        }
        Json::Array(items) => Json::Array(items.iter().map(plain).collect()),
        Json::Number(number) => number.as_f64().map_or(Json::Null, Json::from),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_server_adds_is_no_difference_and_what_it_lacks_is_one() {
        let before = json!({"capped": true, "size": {"$numberInt": "1000"}, "flags": 1,
            "collation": {"locale": "de", "version": "57.1"}, "validator": {"a": 1}});
        let same = json!({"capped": true, "size": 1024, "validator": {"a": {"$numberInt": "1"}},
            "collation": {"locale": "de", "strength": 3, "version": "60"},
            "validationLevel": "strict", "validationAction": "error"});
        assert_eq!(options(&before, &same), Vec::<String>::new());
        let other = json!({"capped": true, "size": 2048, "validator": {"a": 2}, "max": 5,
            "validationLevel": "moderate"});
        assert_eq!(
            options(&before, &other),
            [
                "its option size is another one",
                "its option collation is missing",
                "its option validator is another one",
                "the export does not have its option max",
                "the export does not have its option validationLevel",
            ]
        );
        assert_eq!(options(&json!("CREATE VIEW v AS SELECT 1"), &json!("")).len(), 1);
    }
}
