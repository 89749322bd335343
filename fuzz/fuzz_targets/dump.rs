//! A dump of any bytes: framed, looked through, converted. Nothing may panic, and a document that
//! passes as sound must be readable in every way.
#![no_main]

use std::io::Cursor;
use std::path::Path;

use docferry::document::extended_json::to_json;
use docferry::document::id::id_text;
use docferry::document::jsonb::{NulRule, write_jsonb};
use docferry::document::order::compare;
use docferry::document::raw::{Doc, Value};
use docferry::document::sound::validate;
use docferry::source::dump::{DumpReader, Frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut reader = DumpReader::new(Path::new("fuzz.bson"), Box::new(Cursor::new(data.to_vec())));
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.frame(&mut buffer) {
            Ok(Frame::Document { .. }) => {}
            Ok(Frame::Terminator { .. }) => continue,
            Ok(Frame::End | Frame::Broken { .. }) | Err(_) => return,
        }
        if validate(&buffer).is_err() {
            continue;
        }
        let document = Doc::new(&buffer).expect("a sound document can be read");
        let value = Value::Document(document);
        to_json(&value).expect("a sound document has Extended JSON");
        let mut text = String::new();
        let _ = write_jsonb(&mut text, &value, NulRule::Strip);
        for element in document.elements() {
            let (_, value) = element.expect("a sound document has sound elements");
            let _ = id_text(&value);
            assert!(compare(&value, &value).is_eq());
        }
    }
});
