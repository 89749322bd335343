//! Objects and arrays of JSON onto documents and arrays of BSON, without recursion.

use super::number::{Number, number, short};
use super::token::{Cursor, Stop, named};
use super::types::unwrapped;
use crate::document::raw::Doc;

/// Greatest length of a document that is made; MongoDB's own limit is 16 MiB and 16 KiB.
const MAX_BYTES: usize = 48 << 20;

/// Nesting that is read; MongoDB itself stops at 180.
const MAX_LEVELS: usize = 200;
/// The same in the text of a document that was read: types are objects there, up to two in one.
const MAX_TEXT_LEVELS: usize = MAX_LEVELS + 2;

/// Why a text is no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The text ends before the document does.
    #[error("the text ends inside the document")]
    Incomplete,
    /// The text cannot be followed from here on.
    #[error("{reason} (byte {offset})")]
    Syntax {
        /// Where, from the beginning of the text.
        offset: usize,
        /// What is wrong.
        reason: String,
    },
    /// The text is an object, but BSON cannot hold it as it is written.
    #[error("{reason} (byte {offset})")]
    Refused {
        /// Where, from the beginning of the text.
        offset: usize,
        /// Where the object ends.
        end: usize,
        /// What is wrong.
        reason: String,
    },
}

/// A document that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Bytes of text that it took.
    pub length: usize,
    /// It has a field `_id`.
    pub has_id: bool,
}

/// An object or array that is not closed yet.
struct Open {
    array: bool,
    /// Its beginning in the text.
    from: usize,
    /// Its length prefix in the output.
    start: usize,
    /// The type of its element in the output; the document itself has none.
    kind: Option<usize>,
    /// Its first key among all that are kept.
    keys: usize,
    /// Elements so far.
    count: u32,
    /// Some key begins with a dollar sign.
    dollar: bool,
}

/// Reads documents; keeps its memory from one to the next.
#[derive(Default)]
pub struct Parser {
    open: Vec<Open>,
    /// Places of the keys of all open objects in the output.
    keys: Vec<(usize, usize)>,
    scratch: Vec<u8>,
    /// Documents hold operators of MongoDB's query language.
    queries: bool,
}

/// The document that a text is, as BSON; nothing but white space may follow it. It may hold queries,
/// as filters and the options of collections do.
pub fn to_bson(text: &str) -> Result<Vec<u8>, JsonError> {
    let mut document = Vec::new();
    let mut parser = Parser { queries: true, ..Parser::default() };
    let parsed = parser.document(text.as_bytes(), &mut document)?;
    let rest = &text[parsed.length..];
    if !rest.trim_ascii().is_empty() {
        let reason = "text follows the document".to_owned();
        return Err(JsonError::Syntax { offset: parsed.length, reason });
    }
    Ok(document)
}

/// The same for a value of JSON that is in memory already.
pub fn value_to_bson(json: &serde_json::Value) -> Result<Vec<u8>, JsonError> {
    to_bson(&json.to_string())
}

impl Parser {
    /// Appends the document at the beginning of a text as BSON. After an error the output is what
    /// it was.
    pub fn document(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<Parsed, JsonError> {
        let start = out.len();
        self.open.clear();
        self.keys.clear();
        let mut cursor = Cursor::new(text);
        let result = self.run(&mut cursor, out, start);
        let error = match (result, cursor.refused) {
            (Ok(parsed), None) => return Ok(parsed),
            (Ok(parsed), Some((offset, reason))) => {
                JsonError::Refused { offset, end: parsed.length, reason }
            }
            (Err(Stop::End), _) => JsonError::Incomplete,
            (Err(Stop::Syntax(offset, reason)), _) => JsonError::Syntax { offset, reason },
        };
        out.truncate(start);
        Err(error)
    }

    fn run(
        &mut self,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
        start: usize,
    ) -> Result<Parsed, Stop> {
        let first = cursor.peek()?;
        match first {
            b'{' => {}
            b'[' => cursor
                .refuse(cursor.offset, || "a document is expected, an array is there".to_owned()),
            _ => {
                return cursor.syntax(format!("a document is expected, {} is there", named(first)));
            }
        }
        self.begin(cursor, out, None)?;
        // After `{`, `[` and `,` another element is due; the first two may be closed at once.
        let mut fresh = true;
        let mut due = true;
        while let Some(open) = self.open.last() {
            let close = if open.array { b']' } else { b'}' };
            let byte = cursor.peek()?;
            if byte == close && (fresh || !due) {
                cursor.offset += 1;
                let has_id = self.end(cursor, out, start);
                if self.open.is_empty() {
                    return Ok(Parsed { length: cursor.offset, has_id });
                }
                (fresh, due) = (false, false);
            } else if !due {
                if byte != b',' {
                    let close = char::from(close);
                    return cursor
                        .syntax(format!("`,` or `{close}` is expected, {} is there", named(byte)));
                }
                cursor.offset += 1;
                (fresh, due) = (false, true);
            } else {
                if out.len() - start > MAX_BYTES {
                    let reason =
                        format!("the document has more than {} MiB as BSON", MAX_BYTES >> 20);
                    return cursor.syntax(reason);
                }
                fresh = self.element(cursor, out, byte)?;
                due = fresh;
            }
        }
        // The loop ends with the document.
        Err(Stop::End)
    }

    /// Reads a key, where there is one, and its value. Says whether that is an object or array
    /// which is now open.
    fn element(
        &mut self,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
        byte: u8,
    ) -> Result<bool, Stop> {
        let kind = out.len();
        out.push(0);
        let open = self.open.last_mut().expect("invariant: an object or array is open");
        if open.array {
            let mut digits = [0; 10];
            out.extend_from_slice(decimal(open.count, &mut digits));
        } else {
            if byte != b'"' {
                return cursor
                    .syntax(format!("a key in quotes is expected, {} is there", named(byte)));
            }
            let from = cursor.offset;
            let first = out.len();
            cursor.string(out)?;
            let key = &out[first..];
            open.dollar |= key.first() == Some(&b'$');
            if memchr::memchr(0, key).is_some() {
                cursor.refuse(from, || "a key holds U+0000, which BSON cannot".to_owned());
            }
            self.keys.push((first, out.len()));
            let byte = cursor.peek()?;
            if byte != b':' {
                return cursor.syntax(format!("`:` is expected, {} is there", named(byte)));
            }
            cursor.offset += 1;
        }
        open.count = open.count.saturating_add(1);
        out.push(0);
        match cursor.peek()? {
            b'{' | b'[' => {
                self.begin(cursor, out, Some(kind))?;
                return Ok(true);
            }
            b'"' => {
                out[kind] = 0x02;
                let start = out.len();
                out.extend_from_slice(&[0; 4]);
                cursor.string(out)?;
                out.push(0);
                let length = length(out.len() - start - 4);
                out[start..start + 4].copy_from_slice(&length);
            }
            _ => scalar(cursor, out, kind)?,
        }
        Ok(false)
    }

    fn begin(
        &mut self,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
        kind: Option<usize>,
    ) -> Result<(), Stop> {
        let most = if self.queries { MAX_TEXT_LEVELS } else { MAX_LEVELS };
        if self.open.len() >= most {
            return cursor.syntax(format!("the document has more than {most} levels"));
        }
        let array = cursor.text[cursor.offset] == b'[';
        self.open.push(Open {
            array,
            from: cursor.offset,
            start: out.len(),
            kind,
            keys: self.keys.len(),
            count: 0,
            dollar: false,
        });
        if let Some(kind) = kind {
            out[kind] = if array { 0x04 } else { 0x03 };
        }
        out.extend_from_slice(&[0; 4]);
        cursor.offset += 1;
        Ok(())
    }

    /// Ends the innermost object or array. Says whether it has a field `_id`.
    fn end(&mut self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>, first: usize) -> bool {
        let Some(open) = self.open.pop() else { return false };
        out.push(0);
        let length = length(out.len() - open.start);
        out[open.start..open.start + 4].copy_from_slice(&length);
        let keys = &mut self.keys[open.keys..];
        let has_id = open.start == first && keys.iter().any(|key| out[key.0..key.1] == *b"_id");
        if let Some((from, to)) = repeated(keys, out) {
            let key = String::from_utf8_lossy(&out[from..to]);
            cursor.refuse(open.from, || {
                format!("key \"{}\" occurs twice in one object", short(&key))
            });
        }
        self.keys.truncate(open.keys);
        if open.dollar && cursor.refused.is_none() {
            self.scratch.clear();
            let value = Doc::new(&out[open.start..])
                .map_err(|error| error.to_string())
                .and_then(|object| unwrapped(object, self.queries, &mut self.scratch));
            match (value, open.kind) {
                (Ok(None), _) => {}
                (Ok(Some(kind)), Some(place)) => {
                    out[place] = kind;
                    out.truncate(open.start);
                    out.extend_from_slice(&self.scratch);
                }
                (Ok(Some(_)), None) => cursor.refuse(open.from, || {
                    "a document is expected, a value of Extended JSON is there".to_owned()
                }),
                (Err(reason), _) => cursor.refuse(open.from, || reason),
            }
        }
        has_id
    }
}

/// A key that an object has twice. The keys are brought into order.
fn repeated(keys: &mut [(usize, usize)], out: &[u8]) -> Option<(usize, usize)> {
    /// Up to so many, comparing each with each is faster than sorting.
    const FEW: usize = 12;
    let key = |place: (usize, usize)| &out[place.0..place.1];
    if keys.len() <= FEW {
        for (index, first) in keys.iter().enumerate() {
            if keys[..index].iter().any(|other| key(*other) == key(*first)) {
                return Some(*first);
            }
        }
        return None;
    }
    keys.sort_unstable_by(|left, right| key(*left).cmp(key(*right)));
    keys.windows(2).find(|pair| key(pair[0]) == key(pair[1])).map(|pair| pair[0])
}

/// Appends a number or a word; the type of its element is at `kind`.
fn scalar(cursor: &mut Cursor<'_>, out: &mut Vec<u8>, kind: usize) -> Result<(), Stop> {
    let offset = cursor.offset;
    let token = cursor.bare()?;
    out[kind] = match token {
        "true" | "false" => {
            out.push(u8::from(token == "true"));
            0x08
        }
        "null" => 0x0a,
        // As mongoexport wrote them before it quoted them.
        "NaN" => double(f64::NAN, out),
        "Infinity" => double(f64::INFINITY, out),
        "-Infinity" => double(f64::NEG_INFINITY, out),
        _ if token.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) => {
            match number(token) {
                Ok(Number::Int32(number)) => {
                    out.extend_from_slice(&number.to_le_bytes());
                    0x10
                }
                Ok(Number::Int64(number)) => {
                    out.extend_from_slice(&number.to_le_bytes());
                    0x12
                }
                Ok(Number::Double(number)) => double(number, out),
                Ok(Number::Decimal128(bytes)) => {
                    out.extend_from_slice(&bytes);
                    0x13
                }
                Err(reason) => {
                    cursor.refuse(offset, || reason);
                    0x0a
                }
            }
        }
        word => {
            cursor.refuse(offset, || format!("`{}` is no value of JSON", short(word)));
            0x0a
        }
    };
    Ok(())
}

fn double(number: f64, out: &mut Vec<u8>) -> u8 {
    out.extend_from_slice(&number.to_le_bytes());
    0x01
}

/// The digits of an array index.
fn decimal(mut number: u32, digits: &mut [u8; 10]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        if number == 0 {
            return &digits[first..];
        }
    }
}

/// Documents are held below 2^31 bytes while they are made.
fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("invariant: a document is below 2^31 bytes").to_le_bytes()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::spec::BinarySubtype;
    use mongodb::bson::{
        Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocumentBuf,
        Regex, Timestamp, oid::ObjectId,
    };
    use proptest::prelude::*;

    use super::*;
    use crate::document::extended_json::{base64, document_canonical};

    /// JSON text, and the value that was written down.
    type Written = (String, Bson);

    fn quoted(text: &str, escape_all: bool) -> String {
        if !escape_all {
            return serde_json::to_string(text).unwrap();
        }
        let units: Vec<_> = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
        format!("\"{}\"", units.concat())
    }

    fn object(fields: &[(&str, String)]) -> String {
        let fields = fields.iter().map(|(name, value)| format!("\"{name}\" :\t{value}"));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
    }

    fn number() -> impl Strategy<Value = Written> {
        let integer =
            prop_oneof![any::<i64>(), -5_i64..5, i64::from(i32::MAX) - 2..i64::from(i32::MAX) + 3];
        let double = any::<u64>().prop_map(f64::from_bits);
        let double = double.prop_filter("JSON has no such number", |value| value.is_finite());
        prop_oneof![
            integer.prop_map(|value| {
                let bson = i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32);
                (value.to_string(), bson)
            }),
            (double, 0..4).prop_map(|(value, form)| {
                let text = match form {
                    0 => format!("{value:?}"),
                    1 => format!("{value:e}").replace('e', "E+").replace("+-", "-"),
                    2 => format!("{value:.20e}"),
                    _ => object(&[("$numberDouble", format!("\"{value:e}\""))]),
                };
                // Without a point or an exponent it is an integer.
                let text = if text.contains(['.', 'e', 'E']) { text } else { format!("{text}.0") };
                (text, Bson::Double(value))
            }),
            "[1-9][0-9]{19,33}".prop_map(|digits| {
                let decimal: Decimal128 = digits.parse().unwrap();
                (digits, Bson::Decimal128(decimal))
            }),
            "-?[0-9]{1,20}\\.[0-9]{1,14}(E[+-]?[0-9]{1,3})?".prop_map(|digits| {
                let decimal: Decimal128 = digits.parse().unwrap();
                (object(&[("$numberDecimal", format!("\"{digits}\""))]), Bson::Decimal128(decimal))
            }),
            any::<i64>().prop_map(|value| {
                (object(&[("$numberLong", format!("\"{value}\""))]), Bson::Int64(value))
            }),
            any::<i64>().prop_map(|value| {
                (object(&[("$numberLong", value.to_string())]), Bson::Int64(value))
            }),
            any::<i32>().prop_map(|value| {
                (object(&[("$numberInt", format!("\"{value}\""))]), Bson::Int32(value))
            }),
            prop_oneof![Just("NaN"), Just("Infinity"), Just("-Infinity")]
                .prop_map(|word| (word.to_owned(), Bson::Double(word.parse().unwrap()))),
        ]
    }

    /// Milliseconds of the years that mongoexport writes as text.
    fn date() -> impl Strategy<Value = Written> {
        (-62_135_596_800_000_i64..253_402_200_000_000, 0..4).prop_map(|(millis, form)| {
            let text = |millis| DateTime::from_millis(millis).try_to_rfc3339_string().unwrap();
            let text = match form {
                0 => format!("{{\"$numberLong\":\"{millis}\"}}"),
                1 => format!("\"{}\"", text(millis)),
                2 => format!("\"{}\"", text(millis + 5_400_000).replace('Z', "+0130")),
                _ => millis.to_string(),
            };
            (object(&[("$date", text)]), DateTime::from_millis(millis).into())
        })
    }

    fn binary() -> impl Strategy<Value = Written> {
        let subtype = prop_oneof![Just(0_u8), Just(2), Just(5), Just(0x80), Just(0xfe)];
        (proptest::collection::vec(any::<u8>(), 0..20), subtype, any::<bool>()).prop_map(
            |(bytes, subtype, old)| {
                let (content, kind) =
                    (quoted(&base64(&bytes), false), format!("\"{subtype:02x}\""));
                let text = if old {
                    object(&[("$binary", content), ("$type", kind)])
                } else {
                    object(&[("$binary", object(&[("subType", kind), ("base64", content)]))])
                };
                (text, Bson::Binary(Binary { subtype: BinarySubtype::from(subtype), bytes }))
            },
        )
    }

    fn leaf() -> impl Strategy<Value = Written> {
        let text = || "[^\u{0}]{0,6}";
        prop_oneof![
            number(),
            number(),
            Just(("null".to_owned(), Bson::Null)),
            any::<bool>().prop_map(|flag| (flag.to_string(), Bson::Boolean(flag))),
            (".{0,10}", any::<bool>())
                .prop_map(|(text, escape)| (quoted(&text, escape), Bson::String(text))),
            date(),
            binary(),
            any::<[u8; 12]>().prop_map(|bytes| {
                let id = ObjectId::from_bytes(bytes);
                (object(&[("$oid", format!("\"{id}\""))]), Bson::ObjectId(id))
            }),
            any::<[u8; 16]>().prop_map(|bytes| {
                let uuid = uuid::Uuid::from_bytes(bytes);
                let binary = Binary { subtype: BinarySubtype::Uuid, bytes: bytes.to_vec() };
                (object(&[("$uuid", format!("\"{uuid}\""))]), Bson::Binary(binary))
            }),
            (text(), any::<bool>()).prop_map(|(pattern, old)| {
                let (text, options) = (quoted(&pattern, false), "\"xi\"".to_owned());
                let text = if old {
                    object(&[("$options", options), ("$regex", text)])
                } else {
                    object(&[(
                        "$regularExpression",
                        object(&[("options", options), ("pattern", text)]),
                    )])
                };
                let [pattern, options] =
                    [pattern.as_str(), "ix"].map(|text| text.to_owned().try_into().unwrap());
                (text, Bson::RegularExpression(Regex { pattern, options }))
            }),
            any::<(u32, u32)>().prop_map(|(time, increment)| {
                let parts = object(&[("i", increment.to_string()), ("t", time.to_string())]);
                (object(&[("$timestamp", parts)]), Bson::Timestamp(Timestamp { time, increment }))
            }),
            text().prop_map(|text| {
                (object(&[("$symbol", quoted(&text, false))]), Bson::Symbol(text))
            }),
            text().prop_map(|text| {
                (object(&[("$code", quoted(&text, true))]), Bson::JavaScriptCode(text))
            }),
            text().prop_map(|code| {
                let scope = object(&[("a", object(&[("$numberLong", "\"1\"".to_owned())]))]);
                let text = object(&[("$scope", scope), ("$code", quoted(&code, false))]);
                let scope = mongodb::bson::doc! {"a": 1_i64};
                (text, Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code, scope }))
            }),
            Just((object(&[("$undefined", "true".to_owned())]), Bson::Undefined)),
            Just((object(&[("$minKey", "1".to_owned())]), Bson::MinKey)),
            Just((object(&[("$maxKey", "1".to_owned())]), Bson::MaxKey)),
        ]
    }

    fn fields(value: impl Strategy<Value = Written>) -> impl Strategy<Value = Written> {
        let name = ("[^\u{0}$][^\u{0}]{0,3}|", any::<bool>());
        proptest::collection::vec((name, value), 0..16).prop_map(|fields| {
            let mut document = Document::new();
            let mut texts = Vec::new();
            for ((name, escape), (text, value)) in fields {
                if !document.contains_key(&name) {
                    texts.push(format!("\n {}:{text}", quoted(&name, escape)));
                    document.insert(name, value);
                }
            }
            (format!("{{{}\r\n}}", texts.join(" ,")), Bson::Document(document))
        })
    }

    fn value() -> impl Strategy<Value = Written> {
        leaf().prop_recursive(4, 40, 8, |inner| {
            let items = proptest::collection::vec(inner.clone(), 0..14).prop_map(|items| {
                let (texts, values): (Vec<_>, Vec<_>) = items.into_iter().unzip();
                (format!("[{}]", texts.join(" , ")), Bson::Array(values))
            });
            prop_oneof![items, fields(inner)]
        })
    }

    proptest! {
        #[test]
        fn documents_are_what_was_written((text, value) in fields(value())) {
            let Bson::Document(document) = value else { panic!("no document") };
            let expected = RawDocumentBuf::try_from(&document).unwrap().into_bytes();
            let mut found = Vec::new();
            let parsed = Parser::default().document(text.as_bytes(), &mut found).unwrap();
            prop_assert_eq!(parsed.length, text.len());
            prop_assert_eq!(&found, &expected, "{}", text);
            // What docferry writes comes back, and every text that was cut is incomplete.
            let canonical = document_canonical(Doc::new(&found).unwrap()).unwrap();
            prop_assert_eq!(to_bson(&canonical).unwrap(), expected, "{}", canonical);
            for (length, _) in text.char_indices().step_by(1 + text.len() / 20) {
                prop_assert_eq!(to_bson(&text[..length]), Err(JsonError::Incomplete), "{}", &text[..length]);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, text in "[\\[\\]{}:,\"\\\\$a0-9.eE \n-]{0,40}") {
            let mut out = vec![7];
            let mut parser = Parser::default();
            for bytes in [bytes.as_slice(), text.as_bytes(), &[b"{\"a\":", text.as_bytes(), b"}"].concat()] {
                if parser.document(bytes, &mut out).is_ok() {
                    prop_assert!(crate::document::sound::validate(&out[1..]).is_ok());
                    out.truncate(1);
                }
                prop_assert_eq!(&out, &[7]);
            }
        }
    }

    #[track_caller]
    fn refused(text: &str, reason: &str) {
        let error = to_bson(text).unwrap_err();
        assert!(matches!(error, JsonError::Refused { .. }), "{text}: {error:?}");
        assert!(error.to_string().contains(reason), "{text}: {error}");
    }

    #[test]
    fn what_bson_cannot_hold_is_refused_with_the_reason() {
        refused(r#"{"a":1,"b":2,"a":3}"#, "key \"a\" occurs twice in one object");
        refused(r#"{"a":[{"b":{"c":1,"c":1}}]}"#, "key \"c\" occurs twice in one object");
        refused(r#"{"\u0061":1,"a":3}"#, "key \"a\" occurs twice in one object");
        let many: Vec<String> = (0..30).map(|key| format!("\"k{key}\":1")).collect();
        refused(
            &format!("{{{},\"k7\":1}}", many.join(",")),
            "key \"k7\" occurs twice in one object",
        );
        refused(r#"{"a\u0000":1}"#, "U+0000");
        refused(r#"{"a":"\ud800"}"#, "surrogate");
        refused(r#"{"a":"\udc00\ud800"}"#, "surrogate");
        refused(r#"{"a":"\ud800\u0041"}"#, "surrogate");
        refused("{\"a\":\"\t\"}", "U+0009");
        refused(r#"{"a":"\x"}"#, "no escape of JSON");
        refused(r#"{"a":"\u00g0"}"#, "hexadecimal");
        refused(r#"{"a":undefined}"#, "`undefined` is no value of JSON");
        refused(r#"{"a":01}"#, "no JSON number");
        refused(r#"{"a":1e9999}"#, "more digits than any BSON number holds");
        refused("[{\"a\":1}]", "an array is there");
        refused(r#"{"$oid":"656565656565656565656565"}"#, "a value of Extended JSON is there");
        for (value, reason) in [
            (r#"{"$oid":"short"}"#, "$oid has a value that is none of its forms: \"short\""),
            (
                r#"{"$oid":"656565656565656565656565","b":1}"#,
                "an object with $oid has other fields",
            ),
            (
                r#"{"b":1,"$oid":"656565656565656565656565"}"#,
                "an object with $oid has other fields",
            ),
            (r#"{"$date":"2024-01-01T00:00:00.0001Z"}"#, "finer than a millisecond"),
            (r#"{"$date":"yesterday"}"#, "no date-time of ISO 8601"),
            (r#"{"$numberInt":"2147483648"}"#, "$numberInt"),
            (r#"{"$numberDouble":"1e400"}"#, "digits that no double holds"),
            (r#"{"$numberDouble":"inf"}"#, "$numberDouble"),
            (r#"{"$numberDecimal":1.5}"#, "in quotes"),
            (r#"{"$binary":{"base64":"?","subType":"00"}}"#, "no base64"),
            (r#"{"$binary":"AAAA","$type":"100"}"#, "no subtype"),
            (r#"{"$regularExpression":{"pattern":"a\u0000","options":""}}"#, "U+0000"),
            (r#"{"$timestamp":{"t":-1,"i":0}}"#, "$timestamp"),
            (r#"{"$undefined":false}"#, "$undefined"),
        ] {
            refused(&format!("{{\"a\":{value}}}"), reason);
        }
        let error = Parser::default().document(b"{\"a\":\"\xff\"}", &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
    }

    #[test]
    fn other_keys_with_dollar_signs_are_keys() {
        for text in [
            r#"{"a":{"$regex":"a"}}"#,
            r#"{"a":{"$regex":"a","$options":"i"}}"#,
            r#"{"a":{"$type":"string"}}"#,
            r#"{"$and":[{"$options":"a"}]}"#,
            r#"{"a":{"$ref":"b","$id":"c","$db":"d","e":"f"}}"#,
            r#"{"a":{"$regex":{"$regularExpression":{"pattern":"b","options":""}},"$options":"x"}}"#,
        ] {
            let bytes = to_bson(text).unwrap();
            assert_eq!(document_canonical(Doc::new(&bytes).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| {
            format!("{}{}", "{\"a\":".repeat(depth) + "[", "]".to_owned() + &"}".repeat(depth))
        };
        let read = |text: String| Parser::default().document(text.as_bytes(), &mut Vec::new());
        assert!(read(nested(MAX_LEVELS - 1)).is_ok());
        assert!(read(nested(MAX_LEVELS)).unwrap_err().to_string().contains("200 levels"));
        // The deepest document that is read has a text that is read.
        let mut document = Vec::new();
        let deepest = nested(MAX_LEVELS - 2).replace("[]", "[{\"$code\":\"\",\"$scope\":{}}]");
        Parser::default().document(deepest.as_bytes(), &mut document).unwrap_err();
        let deepest = nested(MAX_LEVELS - 1).replace("[]", "[1]");
        Parser::default().document(deepest.as_bytes(), &mut document).unwrap();
        let text = document_canonical(Doc::new(&document).unwrap()).unwrap();
        assert_eq!(to_bson(&text).unwrap(), document);
        assert!(to_bson(&"{\"a\":[".repeat(1_000_000)).is_err());
    }
}
