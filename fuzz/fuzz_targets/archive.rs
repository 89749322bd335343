//! A mongodump archive of any bytes, read to its end.
#![no_main]

use std::io::Cursor;
use std::path::Path;

use docferry::source::archive::{Archive, Position};
use docferry::source::dump::DumpReader;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = Path::new("fuzz.archive");
    let reader = DumpReader::new(path, Box::new(Cursor::new(data.to_vec())));
    let Ok(mut archive) = Archive::read(path, reader, None) else { return };
    let (mut position, mut buffer) = (Position::default(), Vec::new());
    while let Ok(Some(_)) = archive.next(&mut position, &mut buffer) {
        buffer.clear();
    }
});
