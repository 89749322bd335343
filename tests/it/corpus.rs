//! The conformance vectors of BSON: everything the format can hold, and what it cannot.

use std::fs;
use std::path::Path;
use std::process::Output;

use docferry::progress::Stage;
use docferry::staging::checksum::from_hex;
use docferry::staging::exported::documents;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::{ExportManifest, TransformManifest};
use docferry::staging::rejects::{self, List};
use serde_json::Value;

use crate::support::{data, docferry};

fn run(folder: &Path, command: &str, more: &[&str]) -> Output {
    let mut docferry = docferry();
    docferry.arg(command).arg(folder.join("corpus.toml"));
    docferry.arg("--staging").arg(folder.join("staging")).args(more).output().unwrap()
}

/// (description, BSON) of all vectors of a kind.
fn vectors(folder: &Path, kind: &str, field: &str) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let vectors: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        for vector in vectors[kind].as_array().into_iter().flatten() {
            let hex = vector[field].as_str().unwrap();
            let name = format!("{}: {}", file.display(), vector["description"]);
            found.push((name, from_hex(&hex.to_lowercase()).unwrap()));
        }
    }
    found
}

/// `{_id: number, value: <the vector>}`, without touching its bytes.
fn wrapped(number: i32, vector: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(b"\x10_id\0");
    body.extend(number.to_le_bytes());
    body.extend(b"\x03value\0");
    body.extend(vector);
    body.push(0);
    let length = i32::try_from(body.len() + 4).unwrap();
    [&length.to_le_bytes()[..], &body].concat()
}

fn exported(run: &RunDirectory) -> Vec<Vec<u8>> {
    let manifest = ExportManifest::read(run).unwrap();
    let mut all = Vec::new();
    for part in manifest.collections.iter().flat_map(|collection| &collection.parts) {
        for batch in documents(run, &part.file).unwrap() {
            let batch = batch.unwrap();
            all.extend((0..batch.len()).map(|at| batch.bytes(at).to_vec()));
        }
    }
    all
}

#[test]
fn everything_bson_can_hold_is_exported_as_it_is_and_becomes_a_row_or_a_reject() {
    let Some(data) = data() else { return };
    let vectors = vectors(&data.join("bson-corpus"), "valid", "canonical_bson");
    assert_eq!(vectors.len(), 728);
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/corpus");
    fs::create_dir_all(&dump).unwrap();
    let wrapped: Vec<Vec<u8>> =
        vectors.iter().zip(0..).map(|((_, vector), number)| wrapped(number, vector)).collect();
    fs::write(dump.join("vectors.bson"), wrapped.concat()).unwrap();
    let pipeline = "version = 1\nname = \"corpus\"\n[tables.vectors.columns]\n\
                    id = { from = \"_id\", type = \"integer\", key = true }\n\
                    value = { type = \"jsonb\", required = true }\n";
    fs::write(folder.path().join("corpus.toml"), pipeline).unwrap();
    let output = run(folder.path(), "export", &["--source", dump.to_str().unwrap()]);
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let directory = RunDirectory::open(&folder.path().join("staging"), "corpus", "latest").unwrap();
    let refused = rejects::read(&directory, List::Rejects, Stage::Export).unwrap();
    let exported = exported(&directory);
    // One vector is no BSON for the reference driver either.
    assert!(refused.len() <= 1, "{refused:?}");
    assert_eq!(exported.len() + refused.len(), 728);
    assert!(exported.iter().all(|document| wrapped.contains(document)), "byte for byte");
    let output = run(folder.path(), "transform", &[]);
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let manifest = TransformManifest::read(&directory).unwrap();
    let table = &manifest.tables[0];
    assert_eq!(table.rows + table.rejects, exported.len() as u64);
    let listed = rejects::read(&directory, List::Rejects, Stage::Transform).unwrap();
    assert_eq!(listed.len() as u64, table.rejects);
    // What PostgreSQL's jsonb cannot hold is U+0000 in names and text.
    for reject in &listed {
        assert_eq!(reject.rule, "nul", "{reject:?}");
    }
}

#[test]
fn bytes_that_are_no_bson_are_rejects_with_their_place_and_never_the_end() {
    let Some(data) = data() else { return };
    let vectors = vectors(&data.join("bson-corpus"), "decodeErrors", "bson");
    assert_eq!(vectors.len(), 75);
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/corpus");
    fs::create_dir_all(&dump).unwrap();
    let (first, last) = (wrapped(1, b"\x05\0\0\0\0"), wrapped(2, b"\x05\0\0\0\0"));
    for (number, (_, vector)) in vectors.iter().enumerate() {
        let bytes = [&first[..], vector, &last].concat();
        fs::write(dump.join(format!("bad{number:02}.bson")), bytes).unwrap();
    }
    let pipeline = "version = 1\nname = \"corpus\"\n[tables.bad00.columns]\n\
                    id = { from = \"_id\", type = \"integer\", key = true }\n";
    fs::write(folder.path().join("corpus.toml"), pipeline).unwrap();
    let output = run(folder.path(), "export", &["--source", dump.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let directory = RunDirectory::open(&folder.path().join("staging"), "corpus", "latest").unwrap();
    let manifest = ExportManifest::read(&directory).unwrap();
    let refused = rejects::read(&directory, List::Rejects, Stage::Export).unwrap();
    assert_eq!(manifest.collections.len(), 75);
    for (collection, (name, vector)) in manifest.collections.iter().zip(&vectors) {
        let own: Vec<_> =
            refused.iter().filter(|reject| reject.collection == collection.name).collect();
        assert!(!own.is_empty(), "{name}: nothing is refused");
        let offset = own[0].value.parsed()["offset"].as_u64().unwrap();
        assert!(offset >= first.len() as u64, "{name}");
        assert!(own[0].detail.contains("is no BSON document: "), "{name}: {}", own[0].detail);
        // The length a record states says where the next one begins.
        let length = vector.first_chunk::<4>().map(|bytes| i32::from_le_bytes(*bytes));
        let framed = length.is_some_and(|length| usize::try_from(length) == Ok(vector.len()));
        assert!(collection.documents >= 1, "{name}");
        if framed && vector.len() >= 5 {
            assert_eq!(collection.documents, 2, "{name}");
        }
    }
}
