//! Filters of any text on documents of any bytes.
#![no_main]

use docferry::document::filter::Filter;
use docferry::document::raw::Doc;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: (&str, &[u8])| {
    let (text, bytes) = data;
    if let (Ok(filter), Ok(document)) = (Filter::parse(text), Doc::new(bytes)) {
        let _ = filter.takes(document).map_err(|error| error.to_string());
    }
});
