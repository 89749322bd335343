//! JSON text inside the lines of a list, kept as it is written: a key that an object has twice,
//! and any depth.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::document::extended_json::{base64, canonical};
use crate::document::raw::{Doc, Value};

/// JSON text, or nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(Option<Box<RawValue>>);

impl RawJson {
    /// Nothing.
    pub const ABSENT: Self = Self(None);

    /// Text that is JSON; nothing where it is not.
    pub fn of_text(text: String) -> Self {
        Self(RawValue::from_string(text).ok())
    }

    /// A BSON value as canonical Extended JSON; nothing where it cannot be read.
    pub fn of(value: &Value<'_>) -> Self {
        canonical(value).map_or(Self::ABSENT, Self::of_text)
    }

    /// A document as canonical Extended JSON; its base64 where that cannot hold it.
    pub fn of_document(bytes: &[u8]) -> Self {
        let value = Doc::new(bytes).map(|document| Self::of(&Value::Document(document)));
        value.ok().filter(|value| !value.is_absent()).unwrap_or_else(|| Self::base64(bytes))
    }

    /// Bytes as a string of base64.
    pub fn base64(bytes: &[u8]) -> Self {
        Json::String(base64(bytes)).into()
    }

    /// Whether there is nothing.
    pub fn is_absent(&self) -> bool {
        self.0.is_none()
    }

    /// Whether it is an object.
    pub fn is_object(&self) -> bool {
        self.text().starts_with('{')
    }

    /// Whether it is a string.
    pub fn is_string(&self) -> bool {
        self.text().starts_with('"')
    }

    /// The text; `null` where there is none.
    pub fn text(&self) -> &str {
        self.0.as_ref().map_or("null", |raw| raw.get())
    }

    /// The value, as far as this model of JSON can hold it; the text of one that is nested deeper.
    pub fn parsed(&self) -> Json {
        serde_json::from_str(self.text()).unwrap_or_else(|_| Json::String(self.text().to_owned()))
    }

    /// The text on several lines, for people.
    pub fn pretty(&self) -> String {
        let mut out = String::new();
        let mut depth = 0_usize;
        let (mut in_string, mut escaped) = (false, false);
        let newline = |out: &mut String, depth: usize| {
            out.push('\n');
            out.extend(std::iter::repeat_n("  ", depth));
        };
        let mut characters = self.text().chars().peekable();
        while let Some(character) = characters.next() {
            if in_string {
                in_string = character != '"' || escaped;
                escaped = character == '\\' && !escaped;
                out.push(character);
                continue;
            }
            match character {
                '{' | '[' => {
                    out.push(character);
                    if characters.peek().is_some_and(|next| !matches!(next, '}' | ']')) {
                        depth += 1;
                        newline(&mut out, depth);
                    } else {
                        out.extend(characters.next());
                    }
                }
                '}' | ']' => {
                    depth = depth.saturating_sub(1);
                    newline(&mut out, depth);
                    out.push(character);
                }
                ',' => {
                    out.push(character);
                    newline(&mut out, depth);
                }
                ':' => out.push_str(": "),
                _ => {
                    in_string = character == '"';
                    out.push(character);
                }
            }
        }
        out
    }
}

impl From<Json> for RawJson {
    fn from(value: Json) -> Self {
        if value.is_null() {
            return Self::ABSENT;
        }
        Self(RawValue::from_string(value.to_string()).ok())
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl fmt::Display for RawJson {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_occurs_twice_stays_twice() {
        let text = r#"{"a":1,"a":[{},"x\\",{"b":"{,:"}]}"#;
        let raw: RawJson = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&raw).unwrap(), text);
        let pretty = "{\n  \"a\": 1,\n  \"a\": [\n    {},\n    \"x\\\\\",\n    {\n      \"b\": \"{,:\"\n    }\n  ]\n}";
        assert_eq!(raw.pretty(), pretty);
        assert!(serde_json::from_str::<RawJson>("null").unwrap().is_absent());
    }
}
