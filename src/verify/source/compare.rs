//! Two documents with one `_id`: where they differ first.

use crate::document::extended_json::canonical;
use crate::document::raw::{Doc, Malformed, Value};

/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// Where two documents differ, and what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Path of the field.
    pub(super) path: String,
    /// The source's value; none where it has no such field.
    pub(super) source: Option<String>,
    /// The export's.
    pub(super) export: Option<String>,
}

/// The first field that differs. Bytes that differ in no value are told by the order of the fields,
/// or as bytes.
pub(super) fn first_difference(source: &[u8], export: &[u8]) -> Option<Place> {
    let (source, export) = (Doc::new(source).ok()?, Doc::new(export).ok()?);
    between(source, export, "").ok().flatten()
}

fn between(source: Doc<'_>, export: Doc<'_>, under: &str) -> Result<Option<Place>, Malformed> {
    let path = |name: &str| {
        if under.is_empty() { name.to_owned() } else { format!("{under}.{name}") }
    };
    let (mut left, mut right) = (source.elements(), export.elements());
    loop {
        let (name, there, here) = match (left.next().transpose()?, right.next().transpose()?) {
            (None, None) => return Ok(None),
            (Some((name, there)), Some((other, here))) if name == other => {
                (name, Some(there), Some(here))
            }
            (Some((name, there)), _) if export.get(name)?.is_none() => (name, Some(there), None),
            (_, Some((name, here))) if source.get(name)?.is_none() => (name, None, Some(here)),
            (Some((name, _)), Some((other, _))) => {
                let (source, export) = (format!("{name} here"), format!("{other} here"));
                let path = path("(order of the fields)");
                return Ok(Some(Place { path, source: Some(source), export: Some(export) }));
            }
            // A name that is there twice on one side.
            (Some((name, there)), None) => (name, Some(there), None),
            (None, Some((name, here))) => (name, None, Some(here)),
        };
        let place = match (&there, &here) {
            (Some(there), Some(here)) if same(there, here) => continue,
            (Some(Value::Document(there)), Some(Value::Document(here)))
            | (Some(Value::Array(there)), Some(Value::Array(here))) => {
                between(*there, *here, &path(name))?
            }
            _ => None,
        };
        let shown = |value: Option<Value<'_>>| value.as_ref().map(short);
        return Ok(Some(place.unwrap_or_else(|| Place {
            path: path(name),
            source: shown(there),
            export: shown(here),
        })));
    }
}

/// Whether two values are the same, bit by bit.
fn same(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => left.to_bits() == right.to_bits(),
        _ => left == right,
    }
}

fn short(value: &Value<'_>) -> String {
    let text = canonical(value).unwrap_or_else(|error| error.to_string());
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, RawDocumentBuf, doc};

    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        for (source, export, path, there, here) in [
            (
                doc! {"a": 1, "b": 2},
                doc! {"a": 1, "b": 3},
                "b",
                "{\"$numberInt\":\"2\"}",
                "{\"$numberInt\":\"3\"}",
            ),
            (
                doc! {"a": 1},
                doc! {"a": 1_i64},
                "a",
                "{\"$numberInt\":\"1\"}",
                "{\"$numberLong\":\"1\"}",
            ),
            (
                doc! {"a": 0.0},
                doc! {"a": -0.0},
                "a",
                "{\"$numberDouble\":\"0.0\"}",
                "{\"$numberDouble\":\"-0.0\"}",
            ),
            (
                doc! {"a": {"b": ["x", "y"]}},
                doc! {"a": {"b": ["x", "z"]}},
                "a.b.1",
                "\"y\"",
                "\"z\"",
            ),
            (doc! {"a": {"b": ["x", "y"]}}, doc! {"a": {"b": ["x"]}}, "a.b.1", "\"y\"", "-"),
            (doc! {"a": 1}, doc! {"a": 1, "b": "é"}, "b", "-", "\"é\""),
            (doc! {"n": "new", "a": 1}, doc! {"a": 1}, "n", "\"new\"", "-"),
            (
                doc! {"a": "1", "b": "2"},
                doc! {"b": "2", "a": "1"},
                "(order of the fields)",
                "a here",
                "b here",
            ),
        ] {
            let bytes = |document: &Document| RawDocumentBuf::try_from(document).unwrap();
            let (source, export) = (bytes(&source), bytes(&export));
            let found = first_difference(source.as_bytes(), export.as_bytes()).unwrap();
            let shown = |value: Option<String>| value.unwrap_or("-".to_owned());
            assert_eq!(
                (found.path.as_str(), shown(found.source).as_str(), shown(found.export).as_str()),
                (path, there, here)
            );
            assert_eq!(first_difference(source.as_bytes(), source.as_bytes()), None);
        }
    }

    #[test]
    fn a_long_value_is_shown_in_part() {
        assert_eq!(short(&Value::String(&"é".repeat(100))), format!("\"{}…", "é".repeat(59)));
    }
}
