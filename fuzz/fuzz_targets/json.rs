//! A file of JSON of any bytes: every document is sound BSON, every reject stands in the file.
#![no_main]

use std::io::Cursor;
use std::path::Path;

use docferry::document::extended_json::document_canonical;
use docferry::document::json::to_bson;
use docferry::document::raw::Doc;
use docferry::document::sound::validate;
use docferry::source::json::{JsonReader, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut reader = JsonReader::new(Path::new("fuzz"), Box::new(Cursor::new(data.to_vec())));
    let mut document = Vec::new();
    let mut end = 0;
    while let Ok(Some((offset, record))) = reader.record(&mut document) {
        let offset = usize::try_from(offset).expect("the file is in memory");
        assert!(offset >= end, "records come in order");
        end = offset;
        match record {
            Record::Document => {
                validate(&document).expect("a document is sound");
                let found = Doc::new(&document).expect("a document is sound");
                let text = document_canonical(found).expect("a document has a text");
                // A record without an `_id` got one, which the text has too.
                assert_eq!(to_bson(&text).expect("the text is read"), document);
            }
            Record::Broken { text, .. } => assert!(data[offset..].starts_with(&text)),
        }
        document.clear();
    }
});
