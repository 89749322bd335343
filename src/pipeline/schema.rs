//! The JSON Schema (draft 7) of pipeline files, for editors that complete and check them.
//!
//! It knows the keys and the kinds of their values. `docferry check` says whether names exist, types
//! fit and rules agree.

use serde_json::{Map, Value, json};

use super::parse::{
    DANGLING, DEFERRABLE, EMPTY, METHODS, MOST_MILLISECONDS, NUL, NULL_ELEMENTS, ON_DELETE,
    ON_FAIL, OTHERWISE, UUID_ORDER,
};

/// The schema of a pipeline file.
pub fn json_schema() -> Value {
    let mut schema = object(&[
        ("version", json!({ "const": 1, "description": "Version of the file format" })),
        ("name", text("Folder of the pipeline's runs in the staging directory")),
        ("schema", text("Target schema; public when absent")),
        ("ignore", texts("Collections left out on purpose")),
        ("defaults", defaults()),
        ("enums", map(&json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 }))),
        ("tables", map(&json!({ "$ref": "#/definitions/table" }))),
        ("junctions", map(&junction())),
        ("hooks", hooks()),
        ("backup", backup()),
        ("queries", map(&query())),
    ]);
    schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    schema["title"] = json!("docferry pipeline file");
    schema["required"] = json!(["version", "name"]);
    schema["definitions"] = json!({ "table": table(), "column": column() });
    schema
}

fn defaults() -> Value {
    object(&[
        ("dangling", words(DANGLING, "References whose target does not exist")),
        ("unmapped", text("Fields that no column takes: reject, drop, or a jsonb column's name")),
        ("nul", words(NUL, "U+0000 in text")),
        ("on_fail", words(ON_FAIL, "Values that break a rule")),
        ("on_delete", words(ON_DELETE, "What the deletion of a target does to its rows")),
    ])
}

fn table() -> Value {
    let mut table = object(&[
        ("source", text("Collection; the table's own name when absent")),
        ("aliases", texts("Other names under which the collection may be found")),
        ("optional", flag("The collection, or the `each` path, may be absent")),
        ("each", text("A row per element: collection, then the path of the array")),
        ("where", map(&literal("Value that the field must have"))),
        ("otherwise", words(OTHERWISE, "Documents that no table of the collection takes")),
        ("unmapped", text("Fields that no column takes: reject, drop, or a jsonb column's name")),
        ("ignore", texts("Fields left out on purpose")),
        ("columns", map(&json!({ "$ref": "#/definitions/column" }))),
        ("unique", json!({ "type": "array", "items": texts("Columns of a unique key") })),
        ("indexes", json!({ "type": "array", "items": index() })),
        ("search", json!({ "type": "array", "items": search() })),
        ("upsert_by", texts("Columns by which an upsert finds rows; the key when absent")),
        ("tenant", text("Column of the row's tenant, for row-level security")),
        ("checks", map(&text("SQL condition of a check constraint"))),
        ("expectations", map(&text("SQL condition; verify counts rows that do not meet it"))),
    ]);
    table["required"] = json!(["columns"]);
    table
}

fn column() -> Value {
    object(&[
        ("type", text("PostgreSQL type, or an enum of this file; `[]` makes arrays of it")),
        (
            "from",
            json!({
                "description": "Field, dotted for subdocuments; a list takes the first that holds \
                                a value; \"*\" takes all that no other column does",
                "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }],
            }),
        ),
        ("parent", flag("The key of the document that holds the element")),
        ("ordinal", flag("The element's position in its array, from 0")),
        ("member", flag("The name of the field that holds the element")),
        ("element", flag("The element itself")),
        ("presence", flag("What the field is, not what it holds")),
        (
            "key",
            json!({ "enum": [true, false, "serial"], "description": "Part of the primary key" }),
        ),
        ("identity", flag("Later rows get the next number")),
        ("required", flag("Missing and null are rejects")),
        ("optional", flag("The field may occur in no document")),
        ("unique", flag("No two rows have the same value")),
        ("index", flag("An index on this column alone")),
        ("default", default()),
        (
            "fill",
            json!({
                "description": "What stands for a field that is null or missing",
                "anyOf": [literal("A value"), { "type": "array", "maxItems": 0 }],
            }),
        ),
        ("null_elements", words(NULL_ELEMENTS, "Nulls among the elements of an array")),
        ("references", text("Table, or table.column, that the column points to")),
        ("on_delete", words(ON_DELETE, "What the deletion of the target does to the row")),
        ("on_update", words(ON_DELETE, "What a change of the target's key does to the row")),
        ("deferrable", words(DEFERRABLE, "The foreign key can wait for the end of a transaction")),
        ("dangling", words(DANGLING, "References whose target does not exist")),
        ("nul", words(NUL, "U+0000 in text")),
        ("on_fail", words(ON_FAIL, "Values that break a rule")),
        ("empty", words(EMPTY, "The empty text")),
        ("values", map(&text("Stored value"))),
        ("pattern", text("Regular expression that the text must match")),
        ("min", number("Least number")),
        ("max", number("Greatest number")),
        (
            "length",
            json!({ "type": "integer", "minimum": 0, "description": "Most characters, or elements" }),
        ),
        ("email", flag("The text must have the form of an e-mail address")),
        ("coerce", flag("Take 0/1 and \"true\"/\"false\" as booleans, numbers inside strings")),
        ("format", text("Form of dates inside strings, as strftime writes it; epoch, epoch_ms")),
        ("json", flag("The text holds JSON")),
        ("uuid_order", words(UUID_ORDER, "Byte order of binary subtype 3")),
    ])
}

fn default() -> Value {
    let mut expression = object(&[("sql", text("SQL expression"))]);
    expression["required"] = json!(["sql"]);
    json!({
        "description": "For rows that are inserted later: \"now\", \"uuid\", a value, or SQL",
        "anyOf": [literal("A value"), expression],
    })
}

fn index() -> Value {
    let mut index = object(&[
        ("columns", texts("Columns of the index")),
        ("lower", texts("Those that are indexed as lower(column)")),
        ("descending", texts("Those from the greatest value to the least")),
        ("unique", flag("No two rows have the same values")),
        ("method", words(METHODS, "Access method")),
        ("where", text("SQL condition of a partial index")),
        ("name", text("Name of the index")),
    ]);
    index["required"] = json!(["columns"]);
    index
}

fn search() -> Value {
    let mut search = object(&[
        ("columns", texts("Columns that are searched")),
        ("language", text("Text search configuration; simple when absent")),
        ("name", text("Name of the tsvector column; search when absent")),
    ]);
    search["required"] = json!(["columns"]);
    search
}

fn junction() -> Value {
    let mut array = object(&[
        ("path", text("Table.path of the array")),
        ("optional", flag("The array may occur in no document")),
        ("side", text("Column of the side whose documents hold the array")),
    ]);
    array["required"] = json!(["path"]);
    let mut sides = map(&text("Table"));
    sides["minProperties"] = json!(2);
    sides["maxProperties"] = json!(2);
    let mut junction = object(&[
        ("columns", sides),
        (
            "from",
            json!({ "type": "array", "minItems": 1, "items": { "oneOf": [text("Table.path"), array] } }),
        ),
        ("optional", flag("The arrays may occur in no document")),
        ("position", text("Integer column for the place in the array")),
    ]);
    junction["required"] = json!(["columns", "from"]);
    junction
}

fn hooks() -> Value {
    object(&[
        ("before_load", texts("SQL files that are run before the tables are made")),
        ("after_load", texts("SQL files that are run after the last constraint")),
    ])
}

fn backup() -> Value {
    object(&[
        ("changed", text("Field that is set to the time of each change")),
        ("collections", map(&text("The field of this collection"))),
    ])
}

fn query() -> Value {
    let most = json!({
        "type": "number", "multipleOf": 1, "minimum": 1, "maximum": MOST_MILLISECONDS,
        "description": "The most milliseconds that it may take",
    });
    let mut query = object(&[("sql", text("One statement that reads")), ("max_ms", most)]);
    query["required"] = json!(["sql", "max_ms"]);
    query
}

/// A table with these keys and no others.
fn object(keys: &[(&str, Value)]) -> Value {
    let keys: Map<String, Value> =
        keys.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": keys })
}

/// A table whose keys are names of the user's.
fn map(value: &Value) -> Value {
    json!({ "type": "object", "additionalProperties": value })
}

fn text(about: &str) -> Value {
    json!({ "type": "string", "description": about })
}

fn texts(about: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": about })
}

fn flag(about: &str) -> Value {
    json!({ "type": "boolean", "description": about })
}

fn number(about: &str) -> Value {
    json!({ "type": "number", "description": about })
}

fn literal(about: &str) -> Value {
    json!({ "type": ["string", "number", "boolean"], "description": about })
}

fn words<T>(words: &[(&str, T)], about: &str) -> Value {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    json!({ "enum": words, "description": about })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::pipeline::fields::read_keys;
    use crate::pipeline::parse;

    /// A file with a table of each kind.
    const FILE: &str = r#"
version = 1
name = "all"
[defaults]
[hooks]
[backup]
[queries]
q = { sql = "SELECT 1", max_ms = 1 }
[tables.a]
[tables.a.columns]
id = { from = "_id", type = "uuid", key = true, default = { sql = "f()" } }
[[tables.a.indexes]]
columns = ["id"]
[[tables.a.search]]
columns = ["id"]
[junctions.j]
columns = { x = "a", y = "a" }
from = [{ path = "a.others" }]
"#;

    /// The key sets of all objects of the schema that name their keys.
    fn key_sets(value: &Value, found: &mut BTreeSet<BTreeSet<String>>) {
        if let Some(keys) = value.get("properties").and_then(Value::as_object)
            && value["additionalProperties"] == false
        {
            found.insert(keys.keys().cloned().collect());
        }
        match value {
            Value::Object(members) => members.values().for_each(|value| key_sets(value, found)),
            Value::Array(items) => items.iter().for_each(|value| key_sets(value, found)),
            _ => {}
        }
    }

    #[test]
    fn the_schema_has_the_keys_that_the_parser_reads() {
        let read: BTreeSet<BTreeSet<String>> = read_keys(|| {
            parse(Path::new("all.toml"), FILE).unwrap();
        })
        .into_iter()
        .map(|keys| keys.into_iter().map(str::to_owned).collect())
        .collect();
        let mut stated = BTreeSet::new();
        key_sets(&json_schema(), &mut stated);
        assert_eq!(stated, read);
    }
}
