//! Canonical Extended JSON, version 2, as MongoDB's specification defines it.

use std::fmt::Write as _;

use mongodb::bson::Document;
use serde_json::{Map, Value as Json, json};

use super::datetime::iso8601_millis;
use super::decimal::decimal128_text;
use super::json::value_to_bson;
use super::raw::{Doc, Malformed, Value};
use crate::staging::checksum::to_hex;

/// A value as canonical Extended JSON text: all of it, a key that occurs twice among it.
pub fn canonical(value: &Value<'_>) -> Result<String, Malformed> {
    let mut text = String::new();
    write(&mut text, value, 0)?;
    Ok(text)
}

/// A document as canonical Extended JSON text.
pub fn document_canonical(document: Doc<'_>) -> Result<String, Malformed> {
    canonical(&Value::Document(document))
}

/// A value as canonical Extended JSON. Of a key that occurs twice the last value stays.
pub fn to_json(value: &Value<'_>) -> Result<Json, Malformed> {
    nested(value, 0)
}

/// The document that Extended JSON stands for.
pub fn to_document(json: &Json) -> Result<Document, String> {
    Document::from_reader(to_bson(json)?.as_slice()).map_err(|error| error.to_string())
}

/// The same as BSON bytes.
pub fn to_bson(json: &Json) -> Result<Vec<u8>, String> {
    value_to_bson(json).map_err(|error| error.to_string())
}

fn write(out: &mut String, value: &Value<'_>, depth: usize) -> Result<(), Malformed> {
    if depth > super::raw::MAX_DEPTH {
        return Err(Malformed { offset: 0, reason: "the document is nested too deeply" });
    }
    match value {
        Value::Document(document) => write_object(out, *document, depth),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.values().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(out, &item?, depth + 1)?;
            }
            out.push(']');
            Ok(())
        }
        Value::JavaScriptWithScope { code, scope } => {
            let _ = write!(out, "{{\"$code\":{},\"$scope\":", json!(code));
            write_object(out, *scope, depth)?;
            out.push('}');
            Ok(())
        }
        scalar => {
            let _ = write!(out, "{}", nested(scalar, depth)?);
            Ok(())
        }
    }
}

fn write_object(out: &mut String, document: Doc<'_>, depth: usize) -> Result<(), Malformed> {
    out.push('{');
    for (index, element) in document.elements().enumerate() {
        let (name, value) = element?;
        if index > 0 {
            out.push(',');
        }
        let _ = write!(out, "{}:", json!(name));
        write(out, &value, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

fn nested(value: &Value<'_>, depth: usize) -> Result<Json, Malformed> {
    if depth > super::raw::MAX_DEPTH {
        return Err(Malformed { offset: 0, reason: "the document is nested too deeply" });
    }
    Ok(match value {
        Value::Double(number) => json!({"$numberDouble": double_text(*number)}),
        Value::String(text) => json!(text),
        Value::Document(document) => Json::Object(object(*document, depth)?),
        Value::Array(items) => Json::Array(
            items.elements().map(|item| nested(&item?.1, depth + 1)).collect::<Result<_, _>>()?,
        ),
        Value::Binary { subtype, bytes } => {
            json!({"$binary": {"base64": base64(bytes), "subType": format!("{subtype:02x}")}})
        }
        Value::Undefined => json!({"$undefined": true}),
        Value::ObjectId(id) => json!({"$oid": to_hex(id)}),
        Value::Boolean(flag) => json!(flag),
        Value::DateTime(millis) => json!({"$date": {"$numberLong": millis.to_string()}}),
        Value::Null => Json::Null,
        Value::Regex { pattern, options } => {
            let mut options: Vec<char> = options.chars().collect();
            options.sort_unstable();
            let options: String = options.into_iter().collect();
            json!({"$regularExpression": {"pattern": pattern, "options": options}})
        }
        Value::DbPointer { namespace, id } => {
            json!({"$dbPointer": {"$ref": namespace, "$id": {"$oid": to_hex(id)}}})
        }
        Value::JavaScript(code) => json!({"$code": code}),
        Value::Symbol(text) => json!({"$symbol": text}),
        Value::JavaScriptWithScope { code, scope } => {
            json!({"$code": code, "$scope": object(*scope, depth)?})
        }
        Value::Int32(number) => json!({"$numberInt": number.to_string()}),
        Value::Timestamp { time, increment } => json!({"$timestamp": {"t": time, "i": increment}}),
        Value::Int64(number) => json!({"$numberLong": number.to_string()}),
        Value::Decimal128(bytes) => json!({"$numberDecimal": decimal128_text(*bytes)}),
        Value::MinKey => json!({"$minKey": 1}),
        Value::MaxKey => json!({"$maxKey": 1}),
    })
}

fn object(document: Doc<'_>, depth: usize) -> Result<Map<String, Json>, Malformed> {
    document
        .elements()
        .map(|element| {
            let (name, value) = element?;
            Ok((name.to_owned(), nested(&value, depth + 1)?))
        })
        .collect()
}

/// The shortest digits that read back as this double, with a point or an exponent.
fn double_text(number: f64) -> String {
    if number.is_nan() {
        "NaN".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
    } else {
        zmij::Buffer::new().format_finite(number).to_owned()
    }
}

/// Base64 of RFC 4648, section 4, with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .enumerate()
            .fold(0_u32, |group, (at, byte)| group | u32::from(*byte) << (16 - 8 * at));
        for position in 0..4 {
            if position > chunk.len() {
                text.push('=');
            } else {
                text.push(char::from(ALPHABET[((group >> (18 - 6 * position)) & 63) as usize]));
            }
        }
    }
    text
}

/// A date as jsonb holds it.
pub(crate) fn date_text(millis: i64) -> String {
    iso8601_millis(millis)
}
