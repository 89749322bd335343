//! Files of JSON: what they say arrives as they say it, and what cannot be read costs itself alone.

use std::path::{Path, PathBuf};
use std::process::Output;

use docferry::document::json::to_bson;
use docferry::progress::Stage;
use docferry::staging::checksum::from_hex;
use docferry::staging::exported::documents;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::ExportManifest;
use docferry::staging::raw_json::RawJson;
use docferry::staging::rejects::{List, Reject, read};
use mongodb::bson::{Bson, Document, doc};

use crate::support::{data, docferry, migrate, server, shown, write_dump};

/// A folder with one file in it.
fn file(name: &str, text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join(name), text).unwrap();
    (folder, source)
}

fn plan(folder: &Path, source: &Path) -> (Output, String) {
    let path = folder.join("drafted.toml");
    let mut docferry = docferry();
    let output = docferry.arg("plan").arg(source).arg("-o").arg(&path).output().unwrap();
    (output, std::fs::read_to_string(&path).unwrap_or_default())
}

/// Exports a folder: the output, the documents of its one collection, and the rejects.
fn export(folder: &Path, source: &Path) -> (Output, Vec<Document>, Vec<Reject>) {
    let pipeline = folder.join("any.toml");
    let text = "version = 1\nname = \"any\"\n[tables.t.columns]\n\
                id = { from = \"_id\", type = \"uuid\", key = true }\n";
    std::fs::write(&pipeline, text).unwrap();
    let staging = folder.join("staging");
    let output = docferry()
        .arg("export")
        .arg(&pipeline)
        .arg("--source")
        .arg(source)
        .arg("--staging")
        .arg(&staging)
        .output()
        .unwrap();
    let Ok(run) = RunDirectory::open(&staging, "any", "latest") else {
        return (output, Vec::new(), Vec::new());
    };
    let manifest = ExportManifest::read(&run).unwrap();
    let mut found = Vec::new();
    for part in manifest.collections.iter().flat_map(|collection| &collection.parts) {
        for batch in documents(&run, &part.file).unwrap() {
            let batch = batch.unwrap();
            found.extend(
                (0..batch.len()).map(|index| Document::from_reader(batch.bytes(index)).unwrap()),
            );
        }
    }
    (output, found, read(&run, List::Rejects, Stage::Export).unwrap())
}

#[test]
fn numbers_arrive_with_all_their_digits() {
    if server("DOCFERRY_TEST_POSTGRES").is_none() {
        return;
    }
    let text = "{\"_id\":1,\"f\":53.630839129292724,\"n\":9223372036854775807}\n\
                {\"_id\":2,\"f\":0.1,\"n\":9223372036854775808}\n\
                {\"_id\":3,\"f\":3.14159265358979323846,\"n\":-9999999999999999999999999999999999}\n\
                {\"_id\":4,\"n\":170141183460469231731687303715884105728}\n";
    let (folder, source) = file("n.json", text.as_bytes());
    let (output, _) = plan(folder.path(), &source);
    assert!(output.status.success(), "{}", shown(&output));
    let pipeline = folder.path().join("drafted.toml");
    let migrated = migrate(&pipeline, source.to_str().unwrap(), "docferry_json_numbers").unwrap();
    assert_eq!(migrated.output.status.code(), Some(3), "{}", migrated.shown());
    assert_eq!(
        migrated.rows("SELECT f::text || ' ' || n::text FROM n ORDER BY id"),
        [
            "53.630839129292724 9223372036854775807",
            "0.1 9223372036854775808",
            "3.14159265358979323846 -9999999999999999999999999999999999"
        ]
    );
    // The fourth has an integer of 39 digits, which no BSON number holds.
    let run = RunDirectory::open(&migrated.folder.path().join("staging"), "drafted", "latest");
    let rejects: Vec<Reject> = read(&run.unwrap(), List::Rejects, Stage::Export).unwrap();
    assert_eq!(rejects.len(), 1);
    assert!(rejects[0].detail.contains("more digits than any BSON number"), "{rejects:?}");
}

#[test]
fn what_was_exported_before_extended_json_2_is_read() {
    let text = r#"{"_id":1,"d":{"$date":"2014-06-02T14:28:41.000-0400"},"n":{"$numberLong":5}}
{"_id":2,"b":{"$binary":"AQID","$type":"00"},"u":{"$undefined":true},"x":NaN}
{"_id":3,"r":{"$regex":"^a","$options":"i"},"t":{"$timestamp":{"t":7,"i":8}}}
"#;
    let (folder, source) = file("old.json", text.as_bytes());
    let (output, found, _) = export(folder.path(), &source);
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(found[0].get_datetime("d").unwrap().timestamp_millis(), 1_401_733_721_000);
    assert_eq!(found[0].get_i64("n").unwrap(), 5);
    assert_eq!(found[1].get_binary_generic("b").unwrap(), &[1, 2, 3]);
    assert!(found[1].get_f64("x").unwrap().is_nan());
    assert_eq!(found[1].get("u"), Some(&Bson::Undefined));
    let Some(Bson::RegularExpression(regex)) = found[2].get("r") else { panic!("{found:?}") };
    assert_eq!((regex.pattern.as_str(), regex.options.as_str()), ("^a", "i"));
    assert_eq!(found[2].get_timestamp("t").unwrap().time, 7);
}

#[test]
fn a_broken_line_costs_that_line_and_is_said() {
    let broken = r#"{"_id":2,"v":"no end}"#;
    let text = format!(
        "{{\"_id\":1,\"v\":\"ok\"}}\n{broken}\n{{\"_id\":3,\"v\":\"ok\",\"v\":\"ko\"}}\n{{\"_id\":4,\"v\":\"ok\"}}\n"
    );
    let (folder, source) = file("l.json", text.as_bytes());
    let (output, draft) = plan(folder.path(), &source);
    assert!(output.status.success(), "{}", shown(&output));
    assert!(shown(&output).contains("l: 2 records are no documents"), "{}", shown(&output));
    assert!(draft.contains("decide: 2 other records are no documents"), "{draft}");
    let (output, found, rejects) = export(folder.path(), &source);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    let ids: Vec<i32> = found.iter().map(|document| document.get_i32("_id").unwrap()).collect();
    assert_eq!(ids, [1, 4]);
    assert!(
        rejects[0].detail.starts_with("record at byte 19: the line ends inside a string"),
        "{rejects:?}"
    );
    assert_eq!(rejects[0].document, RawJson::base64(broken.as_bytes()));
    assert!(rejects[1].detail.contains("key \"v\" occurs twice in one object"), "{rejects:?}");
    assert_eq!(rejects[1].value.parsed()["offset"], 41);
}

#[test]
fn an_array_without_its_bracket_is_a_reject() {
    for (text, reason) in [
        ("[{\"_id\":1},\n", "the closing bracket is missing"),
        ("[{\"_id\":1},{\"_id\":2,", "the file ends inside the record"),
        ("[{\"_id\":1}]\n[{\"_id\":2}]\n", "text follows the end of the array"),
    ] {
        let (folder, source) = file("a.json", text.as_bytes());
        let (output, found, rejects) = export(folder.path(), &source);
        assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
        assert_eq!(found, [doc! {"_id": 1}]);
        assert_eq!(rejects.len(), 1, "{rejects:?}");
        assert!(rejects[0].detail.contains(reason), "{rejects:?}");
    }
}

#[test]
fn utf_16_is_an_error_that_says_so() {
    let text: Vec<u8> =
        "\u{feff}{\"_id\":1}\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (folder, source) = file("w.json", &text);
    let (output, _) = plan(folder.path(), &source);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("UTF-16"), "{}", shown(&output));
    assert!(shown(&output).contains("iconv -f UTF-16 -t UTF-8"), "{}", shown(&output));
    let (output, ..) = export(folder.path(), &source);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("UTF-16"), "{}", shown(&output));
}

#[test]
fn records_without_an_id_are_rows_with_their_number() {
    if server("DOCFERRY_TEST_POSTGRES").is_none() {
        return;
    }
    let text = "{\"v\":\"a\"}\n{\"v\":\n{\"v\":\"c\"}\n";
    let (folder, source) = file("n.ndjson", text.as_bytes());
    let (output, draft) = plan(folder.path(), &source);
    assert!(output.status.success(), "{}", shown(&output));
    let key = draft.lines().find(|line| line.starts_with("id = ")).unwrap();
    assert!(key.contains("bigint") && key.contains("key = true"), "{draft}");
    assert!(draft.contains("decide: the records have no _id"), "{draft}");
    let pipeline = folder.path().join("drafted.toml");
    for _ in 0..2 {
        let migrated = migrate(&pipeline, source.to_str().unwrap(), "docferry_json_ids").unwrap();
        assert_eq!(migrated.output.status.code(), Some(3), "{}", migrated.shown());
        assert_eq!(migrated.rows("SELECT id || v FROM n ORDER BY id"), ["1a", "3c"]);
        let manifest = std::fs::read_to_string(migrated.run().join("export/manifest.json"));
        assert!(manifest.unwrap().contains("\"numbered\": true"));
    }
    let (folder, source) = file("n.ndjson", b"{\"_id\":1}\n{\"v\":1}\n");
    let (_, found, rejects) = export(folder.path(), &source);
    assert_eq!((found.len(), rejects.len()), (1, 1));
    assert!(rejects[0].detail.contains("has no _id"), "{rejects:?}");
}

#[test]
fn rejected_elements_do_not_carry_their_document_again() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    let items: Vec<Document> = (0..400)
        .map(|number| doc! {"price": format!("{number} EUR"), "note": "x".repeat(50)})
        .collect();
    let document = doc! {"_id": 1, "name": "n", "items": items};
    write_dump(&dump, "orders", std::slice::from_ref(&document));
    let pipeline = folder.path().join("shop.toml");
    let text = "version = 1\nname = \"shop\"\n[tables.orders.columns]\n\
                id = { from = \"_id\", type = \"integer\", key = true }\nname = { type = \"text\" }\n\
                [tables.items]\neach = \"orders.items\"\n[tables.items.columns]\n\
                order = { parent = true, type = \"integer\" }\nnote = { type = \"text\" }\n\
                price = { type = \"numeric\" }\n";
    std::fs::write(&pipeline, text).unwrap();
    let docferry = |command: &str, more: &[&str]| {
        let mut docferry = docferry();
        docferry.arg(command).arg(&pipeline).arg("--staging").arg(folder.path().join("staging"));
        docferry.args(more).output().unwrap()
    };
    docferry("export", &["--source", dump.to_str().unwrap()]);
    let output = docferry("transform", &[]);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    let run = RunDirectory::open(&folder.path().join("staging"), "shop", "latest").unwrap();
    let rejects: Vec<Reject> = read(&run, List::Rejects, Stage::Transform).unwrap();
    assert_eq!(rejects.len(), 400);
    assert_eq!(rejects[0].element, Some(0));
    assert!(rejects[0].document.is_object() && rejects[1].document.is_absent());
    assert_eq!(rejects[399].element_value.parsed()["price"], "399 EUR");
    let bytes = std::fs::metadata(run.resolve("rejects/transform.jsonl")).unwrap().len();
    let size = document.to_vec().unwrap().len() as u64;
    assert!(bytes < 8 * size, "{bytes} bytes for a document of {size}");
    let output = docferry("rejects", &["--list", "2"]);
    assert!(
        shown(&output).contains("items.price {\"$numberInt\":\"1\"} element 0 "),
        "{}",
        shown(&output)
    );
    let output = docferry("rejects", &["--show", "{\"$numberInt\":\"1\"}", "--rule", "type"]);
    assert!(shown(&output).contains("\"price\": \"399 EUR\""), "{}", shown(&output));
    let repaired = text.replace("\"numeric\"", "\"text\"");
    std::fs::write(&pipeline, repaired).unwrap();
    assert_eq!(docferry("transform", &[]).status.code(), Some(0));
}

#[test]
fn a_reject_shows_both_values_of_a_key_that_occurs_twice() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    write_dump(&dump, "orders", &[doc! {"_id": 1, "name": "first", "nama": "second"}]);
    let path = dump.join("orders.bson");
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.windows(4).position(|window| window == b"nama").unwrap();
    bytes[place + 3] = b'e';
    std::fs::write(&path, bytes).unwrap();
    let pipeline = folder.path().join("shop.toml");
    let text = "version = 1\nname = \"shop\"\n[tables.orders.columns]\n\
                id = { from = \"_id\", type = \"integer\", key = true }\nname = { type = \"text\" }\n";
    std::fs::write(&pipeline, text).unwrap();
    let docferry = |command: &str, more: &[&str]| {
        let mut docferry = docferry();
        docferry.arg(command).arg(&pipeline).arg("--staging").arg(folder.path().join("staging"));
        docferry.args(more).output().unwrap()
    };
    docferry("export", &["--source", dump.to_str().unwrap()]);
    docferry("transform", &[]);
    let output = docferry("rejects", &["--show", "{\"$numberInt\":\"1\"}"]);
    let text = shown(&output);
    assert!(text.contains("\"name\": \"first\",\n  \"name\": \"second\""), "{text}");
}

/// All forms of the conformance vectors: those that are written otherwise than canonical too.
#[test]
fn the_conformance_vectors_are_read_in_every_form() {
    let Some(data) = data() else { return };
    let mut read = 0;
    for entry in std::fs::read_dir(data.join("bson-corpus")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
        for vector in vectors["valid"].as_array().into_iter().flatten() {
            let canonical = vector["canonical_bson"].as_str().unwrap().to_lowercase();
            let canonical = from_hex(&canonical).unwrap();
            for form in ["canonical_extjson", "degenerate_extjson"] {
                let Some(text) = vector[form].as_str() else { continue };
                if vector["lossy"] == true {
                    continue;
                }
                assert_eq!(to_bson(text), Ok(canonical.clone()), "{form}: {text}");
                read += 1;
            }
        }
        for vector in vectors["parseErrors"].as_array().into_iter().flatten() {
            let text = vector["string"].as_str().unwrap();
            let text = if text.trim_start().starts_with('{') {
                text.to_owned()
            } else {
                format!("{{\"d\":{{\"$numberDecimal\":{}}}}}", serde_json::json!(text))
            };
            // Version 1 has numbers without quotes.
            let version_1 = text.ends_with(": 42}}") && !text.contains("$oid");
            assert!(to_bson(&text).is_err() || version_1, "{text}");
        }
    }
    assert!(read > 700, "{read}");
}
