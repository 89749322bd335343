//! Every kind of source, sound and damaged, and exports that are stopped and go on.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use docferry::progress::Stage;
use docferry::staging::exported::documents;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::ExportManifest;
use docferry::staging::rejects::{List, Reject, read};
use mongodb::bson::{Document, RawDocumentBuf, doc};

use crate::support::{data, docferry, server, with_database, write_dump};

/// A pipeline file; exports need no more of it than its name.
fn pipeline(folder: &Path) -> PathBuf {
    let path = folder.join("any.toml");
    let text = "version = 1\nname = \"any\"\n[tables.t.columns]\n\
                id = { from = \"_id\", type = \"uuid\", key = true }\n";
    std::fs::write(&path, text).unwrap();
    path
}

fn export(folder: &Path, source: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = docferry()
        .arg("export")
        .arg(pipeline(folder))
        .args(["--source", source, "--staging"])
        .arg(folder.join("staging"))
        .args(more)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn run(folder: &Path) -> (RunDirectory, ExportManifest) {
    let run = RunDirectory::open(&folder.join("staging"), "any", "latest").unwrap();
    let manifest = ExportManifest::read(&run).unwrap();
    (run, manifest)
}

/// Every exported document, by collection, in order.
fn exported(folder: &Path) -> BTreeMap<String, Vec<Vec<u8>>> {
    let (run, manifest) = run(folder);
    let mut collections = BTreeMap::new();
    for collection in manifest.collections {
        let mut all = Vec::new();
        for part in &collection.parts {
            for batch in documents(&run, &part.file).unwrap() {
                let batch = batch.unwrap();
                all.extend((0..batch.len()).map(|at| batch.bytes(at).to_vec()));
            }
        }
        collections.insert(collection.name, all);
    }
    collections
}

fn bytes(document: &Document) -> Vec<u8> {
    RawDocumentBuf::try_from(document).unwrap().into_bytes()
}

fn numbered(count: i32, filler: &str) -> Vec<Document> {
    (0..count).map(|number| doc! {"_id": number, "filler": filler}).collect()
}

/// An archive as mongodump writes it, with blocks of two collections in turn.
fn archive(collections: &[(&str, Vec<Document>)], with_admin: bool) -> Vec<u8> {
    let terminator = [0xff; 4];
    let mut archive = 0x8199_e26d_u32.to_le_bytes().to_vec();
    archive.extend(bytes(&doc! {"concurrent_collections": 2, "version": "0.1"}));
    let mut described: Vec<(&str, &str)> =
        collections.iter().map(|(name, _)| ("shop", *name)).collect();
    if with_admin {
        described.push(("admin", "system.version"));
    }
    for (database, name) in described {
        let metadata = r#"{"options":{},"indexes":[],"type":"collection"}"#;
        archive.extend(bytes(
            &doc! {"db": database, "collection": name, "metadata": metadata, "size": 0, "type": "collection"},
        ));
    }
    archive.extend(terminator);
    let crc = crc::Crc::<u64>::new(&crc::CRC_64_XZ);
    let header = |name: &str, end: bool, sum: u64| {
        bytes(&doc! {"db": "shop", "collection": name, "EOF": end, "CRC": sum.cast_signed()})
    };
    let longest = collections.iter().map(|(_, documents)| documents.len()).max().unwrap_or(0);
    for start in (0..longest).step_by(3) {
        for (name, documents) in collections {
            let block = documents.iter().skip(start).take(3);
            if block.len() > 0 {
                archive.extend(header(name, false, 0));
                block.for_each(|document| archive.extend(bytes(document)));
                archive.extend(terminator);
            }
        }
    }
    for (name, documents) in collections {
        let all: Vec<u8> = documents.iter().flat_map(bytes).collect();
        archive.extend(header(name, true, crc.checksum(&all)));
        archive.extend(terminator);
    }
    if with_admin {
        let end = doc! {"db": "admin", "collection": "system.version", "EOF": true, "CRC": 0_i64};
        archive.extend(bytes(&end));
        archive.extend(terminator);
    }
    archive
}

#[test]
fn an_archive_gives_every_document_of_its_interleaved_collections() {
    let folder = tempfile::tempdir().unwrap();
    let collections = [("orders", numbered(10, "o")), ("people", numbered(4, "p"))];
    let plain = folder.path().join("dump.archive");
    std::fs::write(&plain, archive(&collections, true)).unwrap();
    let gzipped = folder.path().join("dump.archive.gz");
    let file = std::fs::File::create(&gzipped).unwrap();
    let mut packer = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    packer.write_all(&archive(&collections, false)).unwrap();
    packer.finish().unwrap();
    for source in [plain, gzipped] {
        let folder = tempfile::tempdir().unwrap();
        let (code, shown) = export(folder.path(), source.to_str().unwrap(), &[]);
        assert_eq!(code, Some(0), "{shown}");
        let found = exported(folder.path());
        for (name, documents) in &collections {
            let expected: Vec<Vec<u8>> = documents.iter().map(bytes).collect();
            assert!(found[*name] == expected, "{name}");
        }
        assert_eq!(run(folder.path()).1.source.database, "shop");
    }
}

#[test]
fn a_changed_byte_of_an_archive_is_found_by_its_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.archive");
    let mut bytes = archive(&[("orders", numbered(10, "filler"))], false);
    let at = bytes.windows(6).position(|window| window == b"filler").unwrap();
    let at = at + 20 + bytes[at + 20..].windows(6).position(|window| window == b"filler").unwrap();
    bytes[at] = b'F';
    std::fs::write(&path, bytes).unwrap();
    let (code, shown) = export(folder.path(), path.to_str().unwrap(), &[]);
    assert_eq!(code, Some(1));
    assert!(shown.contains("the checksum of collection shop.orders"), "{shown}");
}

#[test]
fn records_that_are_no_documents_are_rejects_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    write_dump(&dump, "sound", &numbered(3, "s"));
    let mut torn = bytes(&doc! {"_id": 1});
    let mut bad = bytes(&doc! {"_id": 2, "text": "abc"});
    let text = bad.windows(3).position(|window| window == b"abc").unwrap();
    bad[text] = 0xff;
    torn.extend(&bad);
    torn.extend(bytes(&doc! {"_id": 3}));
    torn.extend([40, 0, 0, 0, 1, 2]);
    std::fs::write(dump.join("torn.bson"), torn).unwrap();
    let (code, shown) = export(folder.path(), dump.to_str().unwrap(), &[]);
    assert_eq!(code, Some(3), "{shown}");
    let (run, manifest) = run(folder.path());
    let counts: Vec<(&str, u64, u64)> = manifest
        .collections
        .iter()
        .map(|collection| (collection.name.as_str(), collection.documents, collection.rejects))
        .collect();
    assert_eq!(counts, [("sound", 3, 0), ("torn", 2, 2)]);
    let rejects: Vec<Reject> = read(&run, List::Rejects, Stage::Export).unwrap();
    assert_eq!(rejects.len(), 2);
    assert!(rejects[0].detail.contains("record at byte 14 is no BSON document"), "{rejects:?}");
    assert!(rejects[0].detail.contains("not UTF-8"), "{rejects:?}");
    assert!(rejects[1].detail.contains("ends inside a document"), "{rejects:?}");
    assert!(rejects.iter().all(|reject| reject.rule == "malformed" && reject.document.is_string()));
}

#[test]
fn a_single_file_is_a_source() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    write_dump(&dump, "one", &numbered(5, "x"));
    write_dump(&dump, "other", &numbered(5, "y"));
    let (code, shown) = export(folder.path(), dump.join("one.bson").to_str().unwrap(), &[]);
    assert_eq!(code, Some(0), "{shown}");
    let found = exported(folder.path());
    assert_eq!(found.len(), 1);
    assert_eq!(found["one"].len(), 5);
}

#[test]
fn a_time_series_is_exported_through_its_view() {
    let Some(uri) = server("DOCFERRY_TEST_MONGODB") else { return };
    let database = format!("docferry_series_{}", std::process::id());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
        let handle = client.database(&database);
        handle.drop().await.unwrap();
        let series = doc! {"create": "weather", "timeseries": {"timeField": "at"}};
        handle.run_command(series).await.unwrap();
        let at = mongodb::bson::DateTime::from_millis;
        let readings: Vec<Document> = (0..50_i64)
            .map(|number| doc! {"_id": (number * 7) % 50, "at": at(number * 60_000), "t": number})
            .collect();
        handle.collection("weather").insert_many(readings).await.unwrap();
        handle
    });
    let folder = tempfile::tempdir().unwrap();
    let (code, shown) = export(folder.path(), &with_database(&uri, &database), &[]);
    runtime.block_on(async { handle.drop().await.unwrap() });
    assert_eq!(code, Some(0), "{shown}");
    let (_, manifest) = run(folder.path());
    let [weather] = manifest.collections.as_slice() else { panic!("{manifest:?}") };
    assert_eq!((weather.kind.as_str(), weather.documents), ("timeseries", 50));
    let ids: Vec<i64> = exported(folder.path())["weather"]
        .iter()
        .map(|bytes| Document::from_reader(bytes.as_slice()).unwrap().get_i64("_id").unwrap())
        .collect();
    assert_eq!(ids, (0..50).collect::<Vec<_>>());
}

#[test]
fn real_dumps_are_exported_byte_for_byte() {
    let Some(data) = data() else { return };
    for name in ["mongodump/sample_analytics", "mongodump/claude_platform_demo", "mongodump/dbkoda"]
    {
        let folder = tempfile::tempdir().unwrap();
        let source = data.join(name);
        let (code, shown) = export(folder.path(), source.to_str().unwrap(), &[]);
        assert_eq!(code, Some(0), "{name}: {shown}");
        for (collection, documents) in exported(folder.path()) {
            let mut expected = std::fs::read(source.join(format!("{collection}.bson"))).unwrap();
            let mut found = documents.concat();
            assert_eq!(found.len(), expected.len(), "{name}.{collection}");
            // The export sorts by `_id`.
            expected.sort_unstable();
            found.sort_unstable();
            assert!(found == expected, "{name}.{collection}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let source = data.join("mongo-tools/test.bar.archive");
    let (code, shown) = export(folder.path(), source.to_str().unwrap(), &[]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(!exported(folder.path())["bar"].is_empty());
}
