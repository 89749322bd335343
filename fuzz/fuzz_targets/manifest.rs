//! Manifests of any bytes.
#![no_main]

use std::path::Path;

use docferry::staging::manifest::{ExportManifest, TransformManifest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let path = Path::new("manifest.json");
    let _ = ExportManifest::parse(path, data).map_err(|error| error.to_string());
    let _ = TransformManifest::parse(path, data).map_err(|error| error.to_string());
});
