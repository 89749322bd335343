//! A pipeline file of any text: a pipeline, or mistakes that can be shown.
#![no_main]

use std::path::Path;

use docferry::pipeline::definitions::table_definitions;
use docferry::pipeline::parse;
use docferry::postgres::ddl::script;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| match parse(Path::new("fuzz.toml"), text) {
    Ok(pipeline) => {
        let definitions = table_definitions(&pipeline);
        let _ = script(&definitions.iter().collect::<Vec<_>>());
    }
    Err(error) => {
        let _ = error.to_string();
    }
});
