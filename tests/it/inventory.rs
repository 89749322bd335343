//! Every file of a source folder and every namespace of an archive is taken, or named with the
//! reason for leaving it out, or the command fails and names it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use docferry::source::archive::{Archive, Position};
use docferry::source::dump::DumpReader;
use docferry::source::names::file_stem;
use docferry::staging::exported::documents;
use docferry::staging::inventory::SourceObject;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::ExportManifest;
use mongodb::Client;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use proptest::prelude::*;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::support::{docferry, server, shown, with_database};

fn bytes(document: &Document) -> Vec<u8> {
    RawDocumentBuf::try_from(document).unwrap().into_bytes()
}

fn numbered(count: i32) -> Vec<u8> {
    (0..count).flat_map(|number| bytes(&doc! {"_id": number})).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// A source with a staging directory beside it.
struct Trial {
    folder: tempfile::TempDir,
}

/// What an export gave.
struct Exported {
    /// Documents, one after another, by collection.
    collections: BTreeMap<String, Vec<u8>>,
    objects: Vec<SourceObject>,
    shown: String,
}

impl Exported {
    fn names(&self) -> Vec<&str> {
        self.collections.keys().map(String::as_str).collect()
    }

    /// Objects that were left out, with their reasons.
    fn left_out(&self) -> Vec<(&str, &str)> {
        let left = self.objects.iter();
        left.filter_map(|object| Some((object.name.as_str(), object.reason()?))).collect()
    }

    /// Objects that were taken, with their collections.
    fn taken(&self) -> Vec<(&str, &str)> {
        let taken = self.objects.iter();
        taken.filter_map(|object| Some((object.name.as_str(), object.collection()?))).collect()
    }
}

impl Trial {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("source").join(name)
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn command(&self, source: &str) -> std::process::Output {
        let pipeline = self.folder.path().join("any.toml");
        let text = "version = 1\nname = \"any\"\n[tables.t.columns]\n\
                    id = { from = \"_id\", type = \"uuid\", key = true }\n";
        std::fs::write(&pipeline, text).unwrap();
        let address = self.path(source);
        docferry()
            .arg("export")
            .arg(pipeline)
            .arg("--source")
            .arg(address)
            .arg("--staging")
            .arg(self.folder.path().join("staging"))
            .output()
            .unwrap()
    }

    #[track_caller]
    fn exported(&self, source: &str) -> Exported {
        let output = self.command(source);
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
        self.read(&output)
    }

    /// What the newest run holds.
    fn read(&self, output: &std::process::Output) -> Exported {
        let run = RunDirectory::open(&self.folder.path().join("staging"), "any", "latest").unwrap();
        let manifest = ExportManifest::read(&run).unwrap();
        let mut collections = BTreeMap::new();
        for collection in &manifest.collections {
            let mut all = Vec::new();
            for part in &collection.parts {
                for batch in documents(&run, &part.file).unwrap() {
                    let batch = batch.unwrap();
                    (0..batch.len()).for_each(|index| all.extend_from_slice(batch.bytes(index)));
                }
            }
            collections.insert(collection.name.clone(), all);
        }
        Exported { collections, objects: manifest.source_objects, shown: shown(output) }
    }

    /// The command fails, and names all of these.
    #[track_caller]
    fn fails(&self, source: &str, named: &[&str]) {
        let output = self.command(source);
        let shown = shown(&output);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{shown}");
        for name in named {
            assert!(shown.contains(name), "{name}: {shown}");
        }
        // `plan` reads the same.
        let address = self.path(source);
        let output = docferry().arg("plan").arg(address).output().unwrap();
        assert!(matches!(output.status.code(), Some(1 | 2)), "{}", self::shown(&output));
    }
}

#[test]
fn the_version_note_of_mongodump_is_no_collection() {
    let trial = Trial::new();
    trial.write("shop/orders.bson", &numbered(3));
    let note = br#"{"ServerVersion":"8.0.4","ToolVersion":"100.13.0"}"#;
    trial.write("shop/prelude.json", note);
    trial.write("prelude.json.gz", &gzip(note));
    let found = trial.exported("shop");
    assert_eq!(found.names(), ["orders"]);
    assert_eq!(found.taken(), [("orders.bson", "orders")]);
    assert_eq!(found.left_out()[0].0, "prelude.json");
    assert!(found.shown.contains("1 object taken with 3 records, 1 left out"), "{}", found.shown);
    let found = trial.exported("");
    assert_eq!(found.names(), ["orders"]);
    let left: Vec<&str> = found.left_out().into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["prelude.json.gz", "shop/prelude.json"]);
    // Alone it is no source.
    std::fs::remove_file(trial.path("shop/orders.bson")).unwrap();
    trial.fails("shop", &["prelude.json", "no collections"]);
}

#[test]
fn collections_called_prelude_and_oplog_are_collections() {
    let trial = Trial::new();
    for name in ["oplog", "prelude", "orders"] {
        trial.write(&format!("shop/{name}.bson"), &numbered(2));
    }
    assert_eq!(trial.exported("shop").names(), ["oplog", "orders", "prelude"]);
    trial.write("oplog.bson", &numbered(1));
    let found = trial.exported("");
    assert_eq!(found.names(), ["oplog", "orders", "prelude"]);
    assert_eq!(found.left_out(), [("oplog.bson", "the oplog of the server")]);
    trial.write("exports/prelude.json", b"{\"_id\": 1}\n");
    assert_eq!(trial.exported("exports").names(), ["prelude"]);
}

#[test]
fn names_are_read_and_written_as_mongodump_does_it() {
    let trial = Trial::new();
    let long = "ж".repeat(45);
    let bucketless = "n".repeat(238);
    for name in ["a b", "a+b", "a%b", "π/ß", &long, &bucketless] {
        let stem = file_stem(name);
        trial.write(&format!("shop/{stem}.bson"), &bytes(&doc! {"_id": name}));
        let metadata = json!({"options": {}, "indexes": [], "collectionName": name});
        trial.write(&format!("shop/{stem}.metadata.json"), metadata.to_string().as_bytes());
    }
    assert!(trial.path("shop/a+b.bson").is_file() && trial.path("shop/a%2Bb.bson").is_file());
    let found = trial.exported("shop");
    let mut expected = ["a b", "a+b", "a%b", "π/ß", &long, &bucketless];
    expected.sort_unstable();
    assert_eq!(found.names(), expected);
    for (name, documents) in &found.collections {
        assert_eq!(documents, &bytes(&doc! {"_id": name}));
    }
    // The directory that a restore writes has the same names, and is read back.
    let back = trial.path("back");
    let output = docferry()
        .args(["restore", "any/latest", "--to"])
        .arg(&back)
        .arg("--staging")
        .arg(trial.folder.path().join("staging"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let files = |folder: &str| {
        let entries = std::fs::read_dir(trial.path(folder)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(files("shop"), files("back/shop"));
    let again = trial.exported("back");
    assert_eq!(again.collections, found.collections);
    // A name that was cut is nowhere else.
    let cut = format!("shop/{}.metadata.json", file_stem(&long));
    std::fs::remove_file(trial.path(&cut)).unwrap();
    trial.fails("shop", &[&file_stem(&long), "its name was cut"]);
}

#[test]
fn names_that_mongodump_does_not_write_are_errors() {
    for name in ["100%.bson", "%FF.bson", "a%zz.metadata.json"] {
        let trial = Trial::new();
        trial.write("shop/orders.bson", &numbered(1));
        trial.write(&format!("shop/{name}"), b"{}");
        trial.fails("shop", &[name]);
    }
    let trial = Trial::new();
    trial.write("shop/orders.bson", &numbered(1));
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"caf\xe9.bson");
    std::fs::write(trial.path("shop").join(name), numbered(1)).unwrap();
    trial.fails("shop", &[".bson", "not UTF-8"]);
}

#[test]
fn two_files_of_one_collection_are_an_error_that_names_both() {
    let packed = gzip(&numbered(1));
    let text = b"{\"_id\": 1}\n".as_slice();
    for (first, second, content) in [
        ("orders.bson", "orders.bson.gz", packed.as_slice()),
        ("a b.bson", "a+b.bson", &numbered(1)),
        ("c.json", "c.jsonl", text),
        ("c.ndjson", "c.json", text),
        ("c.json", "c.json.gz", &gzip(text)),
    ] {
        let trial = Trial::new();
        let plain = if first.contains("bson") { numbered(2) } else { text.to_vec() };
        trial.write(&format!("shop/{first}"), &plain);
        trial.write(&format!("shop/{second}"), content);
        trial.fails("shop", &[first, second]);
    }
    let trial = Trial::new();
    trial.write("shop/orders.bson", &numbered(2));
    trial.write("shop/orders.metadata.json", b"{}");
    trial.write("shop/orders.metadata.json.gz", &gzip(b"{}"));
    trial.fails("shop", &["orders.metadata.json", "orders.metadata.json.gz"]);
}

#[test]
fn a_folder_of_two_kinds_or_of_none_is_an_error() {
    let trial = Trial::new();
    trial.write("mixed/orders.bson", &numbered(2));
    trial.write("mixed/people.json", b"{\"_id\": 1}\n");
    trial.fails("mixed", &["orders.bson", "people.json"]);
    trial.write("above/people.json", b"{\"_id\": 1}\n");
    trial.write("above/shop/orders.bson", &numbered(2));
    trial.fails("above", &["shop/orders.bson", "people.json"]);
    trial.write("tables/people.csv", b"id,name\n1,Ann\n");
    trial.fails("tables", &["people.csv", "--type=json"]);
    trial.fails("tables/people.csv", &["--type=json"]);
    trial.write("nothing/README.txt", b"nothing");
    trial.fails("nothing", &["no .bson files"]);
}

#[test]
fn strangers_in_a_folder_are_named() {
    let trial = Trial::new();
    trial.write("shop/orders.bson", &numbered(2));
    trial.write("shop/orders.metadata.json", br#"{"options": {}, "indexes": []}"#);
    trial.write("shop/open.metadata.json", br#"{"options": {"viewOn": "orders", "pipeline": []}}"#);
    trial.write("shop/system.indexes.bson", &numbered(1));
    trial
        .write("shop/$admin.system.users.bson", &bytes(&doc! {"_id": "shop.app", "key": "secret"}));
    trial.write("shop/README.txt", b"by hand");
    trial.write("shop/._orders.bson", b"finder");
    trial.write("shop/old/orders.bson", &numbered(7));
    trial.write("shop/table.csv", b"a,b\n");
    std::os::unix::fs::symlink("gone", trial.path("shop/link")).unwrap();
    let found = trial.exported("shop");
    assert_eq!(found.names(), ["orders"]);
    assert_eq!(found.taken(), [("orders.bson", "orders"), ("orders.metadata.json", "orders")]);
    let left: Vec<&str> = found.left_out().into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        left,
        [
            "$admin.system.users.bson",
            "._orders.bson",
            "README.txt",
            "link",
            "old/orders.bson",
            "open.metadata.json",
            "system.indexes.bson",
            "table.csv",
        ]
    );
    assert!(found.shown.contains("README.txt (no file of a dump"), "{}", found.shown);
    // What the server keeps of its users is nowhere in the staging directory.
    let staged = std::process::Command::new("grep")
        .args(["-rlF", "shop.app"])
        .arg(trial.folder.path().join("staging"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&staged.stdout), "");
    let drafted = trial.folder.path().join("x.toml");
    let output =
        docferry().arg("plan").arg(trial.path("shop")).arg("-o").arg(drafted).output().unwrap();
    assert!(shown(&output).contains("2 objects taken, 8 left out"), "{}", shown(&output));
}

#[test]
fn one_database_of_several_is_read_when_it_is_named() {
    let trial = Trial::new();
    trial.write("dump/shop/orders.bson", &numbered(3));
    trial.write("dump/admin/system.version.bson", &numbered(1));
    trial.write("dump/config/settings.bson", &numbered(1));
    trial.write("dump/empty/note.txt", b"");
    let found = trial.exported("dump");
    assert_eq!(found.names(), ["orders"]);
    assert_eq!(
        found.left_out(),
        [
            ("admin/system.version.bson", "only database shop is read"),
            ("config/settings.bson", "only database shop is read"),
            ("empty/note.txt", "only database shop is read"),
        ]
    );
    trial.write("dump/crm/people.bson", &numbered(2));
    trial.fails("dump", &["admin, config, crm, shop", "dump/crm"]);
    assert_eq!(trial.exported("dump/crm").names(), ["people"]);
    assert_eq!(trial.exported("dump#shop").names(), ["orders"]);
    trial.fails("dump#none", &["no folder of that name"]);
    std::fs::remove_dir_all(trial.path("dump/shop")).unwrap();
    std::fs::remove_dir_all(trial.path("dump/crm")).unwrap();
    trial.fails("dump", &["admin, config"]);
}

#[test]
fn a_database_is_chosen_by_an_option_as_well() {
    let trial = Trial::new();
    trial.write("dump/shop/orders.bson", &numbered(3));
    trial.write("dump/crm/people.bson", &numbered(2));
    let namespaces = [("shop", "orders"), ("crm", "people")];
    let mut archive = Archived::new(&namespaces);
    for namespace in namespaces {
        archive.block(namespace, None, &numbered(2));
        archive.end(namespace, &numbered(2));
    }
    trial.write("all.archive", &archive.bytes);
    let plan = |source: &str, more: &[&str]| {
        let source = trial.path(source).display().to_string();
        docferry().args(["plan", &source]).args(more).output().unwrap()
    };
    for source in ["dump", "all.archive"] {
        let chosen = plan(source, &["--database", "crm"]);
        assert!(chosen.status.success(), "{}", shown(&chosen));
        let text = String::from_utf8_lossy(&chosen.stdout);
        assert!(text.contains("[tables.people]") && !text.contains("orders"), "{text}");
        assert_eq!(chosen.stdout, plan(&format!("{source}#crm"), &[]).stdout);
    }
    std::fs::write(trial.path("one.db"), b"").unwrap();
    let source = format!("sqlite:{}", trial.path("one.db").display());
    let output = docferry().args(["plan", &source, "--database", "crm"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("Leave --database out"), "{}", shown(&output));
    // Of a server it is the one that the URI names.
    let Some(server) = server("DOCFERRY_TEST_MONGODB") else { return };
    let source = with_database(&server, "docferry_no_such_database");
    Runtime::new().unwrap().block_on(async {
        let client = Client::with_uri_str(&server).await.unwrap();
        let people = client.database("docferry_chosen").collection("people");
        people.drop().await.unwrap();
        people.insert_one(doc! {"_id": 1}).await.unwrap();
    });
    let output =
        docferry().args(["plan", &source, "--database", "docferry_chosen"]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert!(shown(&output).contains("[tables.people]"), "{}", shown(&output));
}

#[test]
fn files_without_their_content_are_damaged() {
    let trial = Trial::new();
    for (name, content) in [
        ("orders.bson.gz", b"".as_slice()),
        ("orders.bson.gz", &numbered(2)),
        ("orders.json.gz", b""),
        ("orders.bson.gz", &gzip(&numbered(100))[..30]),
    ] {
        let _ = std::fs::remove_dir_all(trial.path("shop"));
        trial.write(&format!("shop/{name}"), content);
        trial.fails("shop", &[name]);
    }
    for name in ["zero.db", "zero.archive", "zero.archive.gz"] {
        trial.write(name, b"");
        trial.fails(name, &[name]);
    }
    // A gzip of nothing has a header and a trailer, and is an empty collection.
    let _ = std::fs::remove_dir_all(trial.path("shop"));
    trial.write("shop/orders.bson.gz", &gzip(b""));
    trial.write("shop/people.bson", b"");
    assert_eq!(trial.exported("shop").names(), ["orders", "people"]);
}

#[test]
fn metadata_must_be_whole_and_have_their_documents() {
    for content in [b"".as_slice(), b"{\"options\"", b"[]"] {
        let trial = Trial::new();
        trial.write("shop/orders.bson", &numbered(2));
        trial.write("shop/people.bson", &numbered(2));
        trial.write("shop/orders.metadata.json", content);
        trial.fails("shop", &["orders.metadata.json"]);
        // Another collection that is named alone needs nothing of it.
        assert_eq!(trial.exported("shop/people.bson").names(), ["people"]);
        trial.fails("shop/orders.bson", &["orders.metadata.json"]);
    }
    let trial = Trial::new();
    trial.write("shop/orders.bson", &numbered(2));
    trial.write("shop/people.metadata.json", br#"{"options": {}, "indexes": []}"#);
    trial.fails("shop", &["people.metadata.json", "missing"]);
    trial.write("shop/people.metadata.json", br#"{"options": {"viewOn": "orders"}}"#);
    trial.write("shop/people.bson", &numbered(1));
    trial.fails("shop", &["people.bson"]);
}

/// An archive, made block by block.
struct Archived {
    bytes: Vec<u8>,
    /// Ends of the prelude and of each block.
    boundaries: Vec<usize>,
}

impl Archived {
    const TERMINATOR: [u8; 4] = [0xff; 4];

    fn new(namespaces: &[(&str, &str)]) -> Self {
        let mut made = 0x8199_e26d_u32.to_le_bytes().to_vec();
        made.extend(bytes(&doc! {"concurrent_collections": 4, "version": "0.1"}));
        for (database, name) in namespaces {
            let metadata = r#"{"options":{},"indexes":[]}"#;
            made.extend(bytes(
                &doc! {"db": database, "collection": name, "metadata": metadata, "size": 0, "type": "collection"},
            ));
        }
        made.extend(Self::TERMINATOR);
        Self { boundaries: vec![made.len()], bytes: made }
    }

    fn block(&mut self, namespace: (&str, &str), end: Option<u64>, content: &[u8]) {
        let sum = end.unwrap_or(0).cast_signed();
        let (database, name) = namespace;
        self.bytes.extend(bytes(
            &doc! {"db": database, "collection": name, "EOF": end.is_some(), "CRC": sum},
        ));
        self.bytes.extend_from_slice(content);
        self.bytes.extend(Self::TERMINATOR);
        self.boundaries.push(self.bytes.len());
    }

    fn end(&mut self, namespace: (&str, &str), content: &[u8]) {
        let sum = crc::Crc::<u64>::new(&crc::CRC_64_XZ).checksum(content);
        self.block(namespace, Some(sum), &[]);
    }
}

#[test]
fn an_archive_needs_the_end_of_every_collection() {
    let trial = Trial::new();
    let (orders, people) = (("shop", "orders"), ("shop", "people"));
    let mut whole = Archived::new(&[orders, people]);
    whole.block(orders, None, &numbered(3));
    whole.end(orders, &numbered(3));
    whole.end(people, &[]);
    trial.write("whole.archive", &whole.bytes);
    let found = trial.exported("whole.archive");
    assert_eq!(found.collections["orders"], numbered(3));
    assert_eq!(found.taken(), [("shop.orders", "orders"), ("shop.people", "people")]);
    let cut = &whole.bytes[..whole.boundaries[1]];
    trial.write("cut.archive", cut);
    trial.fails("cut.archive", &["shop.orders", "cut off"]);
    trial.write("short.archive", &whole.bytes[..whole.boundaries[2]]);
    trial.fails("short.archive", &["shop.people"]);
    let more: [&[u8]; 3] = [&Archived::TERMINATOR, &[1, 2], &numbered(1)];
    for (index, trailing) in more.into_iter().enumerate() {
        let name = format!("more{index}.archive");
        trial.write(&name, &[whole.bytes.as_slice(), trailing].concat());
        trial.fails(&name, &["damaged"]);
    }
    let mut again = Archived { bytes: whole.bytes.clone(), boundaries: Vec::new() };
    again.block(orders, None, &numbered(1));
    trial.write("again.archive", &again.bytes);
    trial.fails("again.archive", &["shop.orders", "after its end"]);
    let mut unnamed = Archived::new(&[orders]);
    unnamed.end(people, &[]);
    unnamed.end(orders, &[]);
    trial.write("unnamed.archive", &unnamed.bytes);
    trial.fails("unnamed.archive", &["shop.people"]);
    let mut unsigned = Archived::new(&[orders]);
    unsigned.bytes.extend(bytes(&doc! {"db": "shop", "collection": "orders", "EOF": true}));
    unsigned.bytes.extend(Archived::TERMINATOR);
    trial.write("unsigned.archive", &unsigned.bytes);
    trial.fails("unsigned.archive", &["no checksum"]);
    let mut torn = 0x8199_e26d_u32.to_le_bytes().to_vec();
    torn.extend(bytes(&doc! {"version": "0.1"}));
    torn.extend(bytes(&doc! {"db": "shop", "collection": "orders", "metadata": "{\"opt"}));
    torn.extend(Archived::TERMINATOR);
    trial.write("torn.archive", &torn);
    trial.fails("torn.archive", &["shop.orders", "no JSON"]);
}

#[test]
fn one_database_of_an_archive_is_read_when_it_is_named() {
    let trial = Trial::new();
    let namespaces =
        [("shop", "orders"), ("crm", "people"), ("admin", "system.version"), ("", "oplog")];
    let mut archive = Archived::new(&namespaces);
    for namespace in namespaces {
        archive.block(namespace, None, &numbered(2));
        archive.end(namespace, &numbered(2));
    }
    trial.write("all.archive", &archive.bytes);
    trial.fails("all.archive", &["admin, crm, shop", "all.archive#crm"]);
    let found = trial.exported("all.archive#crm");
    assert_eq!(found.names(), ["people"]);
    assert_eq!(found.taken(), [("crm.people", "people")]);
    assert_eq!(
        found.left_out(),
        [
            (".oplog", "the oplog of the server"),
            ("admin.system.version", "only database crm is read"),
            ("shop.orders", "only database crm is read"),
        ]
    );
    trial.fails("all.archive#none", &["no such database"]);
}

#[test]
fn a_time_series_of_a_dump_is_never_left_out_in_silence() {
    let trial = Trial::new();
    trial.write("shop/orders.bson", &numbered(1));
    trial.write("shop/system.buckets.weather.bson", &numbered(1));
    trial.fails("shop", &["system.buckets.weather.bson"]);
    let metadata = json!({"options": {}, "indexes": [], "type": "timeseries"}).to_string();
    std::fs::remove_file(trial.path("shop/system.buckets.weather.bson")).unwrap();
    trial.write("shop/weather.metadata.json", metadata.as_bytes());
    trial.fails("shop", &["weather.metadata.json"]);
}

#[test]
fn buckets_are_found_under_a_name_that_was_cut() {
    let trial = Trial::new();
    // Short enough to be whole alone, too long behind `system.buckets.`; then too long by itself.
    for name in ["w".repeat(230), "ж".repeat(60)] {
        let (stem, buckets) = (file_stem(&name), file_stem(&format!("system.buckets.{name}")));
        let options = json!({"timeseries": {"timeField": "t"}});
        let metadata = json!({"options": options, "indexes": [], "type": "timeseries", "collectionName": name});
        trial.write(&format!("shop/{stem}.metadata.json"), metadata.to_string().as_bytes());
        trial.write(&format!("shop/{buckets}.bson"), b"");
    }
    let found = trial.exported("shop");
    assert_eq!(found.names(), ["w".repeat(230), "ж".repeat(60)]);
    assert!(found.left_out().is_empty() && found.taken().len() == 4);
}

/// Reads an archive to its end: the bytes of all documents by collection, or an error.
fn read_archive(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let input = Box::new(std::io::Cursor::new(bytes.to_vec()));
    let reader = DumpReader::new(Path::new("a.archive"), input);
    let mut archive =
        Archive::read(Path::new("a.archive"), reader, None).map_err(|error| error.to_string())?;
    let names: Vec<String> =
        archive.collections.iter().map(|collection| collection.name.clone()).collect();
    let mut found: BTreeMap<String, Vec<u8>> =
        names.iter().map(|name| (name.clone(), Vec::new())).collect();
    let (mut position, mut document) = (Position::default(), Vec::new());
    while let Some(event) =
        archive.next(&mut position, &mut document).map_err(|error| error.to_string())?
    {
        if let docferry::source::archive::Event::Document { collection, .. } = event {
            found.get_mut(&names[collection]).unwrap().extend_from_slice(&document);
        }
        document.clear();
    }
    Ok(found)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn an_archive_that_is_cut_anywhere_is_an_error(
        sizes in prop::collection::vec(0_i32..12, 1..5),
        order in prop::collection::vec(0_usize..5, 0..12),
    ) {
        let names: Vec<String> = (0..sizes.len()).map(|index| format!("c{index}")).collect();
        let namespaces: Vec<(&str, &str)> =
            names.iter().map(|name| ("shop", name.as_str())).collect();
        let mut archive = Archived::new(&namespaces);
        let whole: Vec<Vec<u8>> = sizes.iter().map(|size| numbered(*size)).collect();
        // Documents are of one length.
        let length = numbered(1).len();
        let mut given = vec![0; sizes.len()];
        for next in order.iter().map(|next| next % sizes.len()).chain(0..sizes.len()) {
            let rest = &whole[next][given[next]..];
            let last = next >= sizes.len();
            let take = if last { rest.len() } else { rest.len().min(2 * length) };
            if take > 0 {
                archive.block(namespaces[next], None, &rest[..take]);
                given[next] += take;
            }
        }
        for (index, namespace) in namespaces.iter().enumerate() {
            if given[index] < whole[index].len() {
                archive.block(*namespace, None, &whole[index][given[index]..]);
            }
            archive.end(*namespace, &whole[index]);
        }
        let found = read_archive(&archive.bytes).unwrap();
        let expected: BTreeMap<String, Vec<u8>> = names.iter().cloned().zip(whole).collect();
        prop_assert_eq!(found, expected);
        archive.boundaries.pop();
        for cut in archive.boundaries {
            prop_assert!(read_archive(&archive.bytes[..cut]).is_err(), "cut at byte {}", cut);
        }
    }
}

/// A file of a random folder.
#[derive(Clone, Debug)]
struct File {
    name: String,
    content: Vec<u8>,
}

fn collection_name() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        "[a-z]{1,6}",
        "[a-zA-Z0-9 +%.$_~-]{1,12}".prop_filter("hidden", |name| !name.starts_with(['.', '$'])),
        "[äжπ☃]{1,5}",
        "[жa ]{40,90}",
    ]
}

/// Files of one dumped collection, of an export, or of neither.
fn files() -> impl Strategy<Value = Vec<File>> {
    let dumped = (collection_name(), 0_i32..5, any::<bool>(), any::<bool>(), 0_u8..10).prop_map(
        |(name, count, packed, described, odd)| {
            let stem = file_stem(&name);
            let pack = |bytes: Vec<u8>| if packed { gzip(&bytes) } else { bytes };
            let ending = if packed { ".gz" } else { "" };
            let metadata = json!({"options": {}, "indexes": [], "collectionName": name});
            let mut files = Vec::new();
            if odd != 0 {
                files.push(File {
                    name: format!("{stem}.bson{ending}"),
                    content: pack(numbered(count)),
                });
            }
            if described || odd == 0 {
                files.push(File {
                    name: format!("{stem}.metadata.json{ending}"),
                    content: pack(metadata.to_string().into_bytes()),
                });
            }
            files
        },
    );
    let json = ("[a-z]{1,3}", 0_usize..3, any::<bool>()).prop_map(|(name, ending, packed)| {
        let ending = [".json", ".jsonl", ".ndjson"][ending];
        let text = b"{\"_id\":{\"$numberInt\":\"0\"}}\n".to_vec();
        let (content, gz) = if packed { (gzip(&text), ".gz") } else { (text, "") };
        vec![File { name: format!("{name}{ending}{gz}"), content }]
    });
    let stranger = prop_oneof![
        Just("README"),
        Just("notes.txt"),
        Just(".DS_Store"),
        Just("t.csv"),
        Just("inner/a.txt"),
        Just("inner/b.bson"),
        Just("system.profile.bson"),
        Just("$admin.system.roles.bson"),
        Just("prelude.json"),
        Just("oplog.bson"),
        Just("x.bson.bak"),
        Just("bad%.bson"),
    ]
    .prop_map(|name| {
        let content = match name {
            "prelude.json" => br#"{"ServerVersion":"8.0.1","ToolVersion":"100.12.0"}"#.to_vec(),
            _ => numbered(1),
        };
        vec![File { name: name.to_owned(), content }]
    });
    let of = prop_oneof![Just(0), Just(0), Just(1), Just(2)];
    of.prop_flat_map(move |kind| {
        let (dumped, json, stranger) = (dumped.clone(), json.clone(), stranger.clone());
        // Mostly dumps or exports, at times both.
        let part = match kind {
            0 => prop_oneof![4 => dumped, 1 => stranger].boxed(),
            1 => prop_oneof![4 => json, 1 => stranger].boxed(),
            _ => prop_oneof![2 => dumped, 1 => json, 1 => stranger].boxed(),
        };
        prop::collection::vec(part, 1..7)
            .prop_map(|parts: Vec<Vec<File>>| parts.into_iter().flatten().collect())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_file_of_a_folder_is_taken_or_named(files in files()) {
        let trial = Trial::new();
        let mut written: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for file in files {
            trial.write(&format!("shop/{}", file.name), &file.content);
            written.insert(file.name, file.content);
        }
        let output = trial.command("shop");
        if output.status.code() != Some(0) {
            let shown = shown(&output);
            if output.status.code() == Some(13) {
                // A source without a document to take is held.
                prop_assert!(!written.iter().any(|(name, content)| holds_documents(name, content)), "{}", shown);
                return Ok(());
            }
            prop_assert!(matches!(output.status.code(), Some(1 | 2)), "{}", shown);
            let named = written.keys().any(|name| shown.contains(name.as_str()));
            prop_assert!(named || shown.contains("no .bson files"), "{}", shown);
            return Ok(());
        }
        let found = trial.read(&output);
        let objects: Vec<&str> =
            found.objects.iter().map(|object| object.name.as_str()).collect();
        let mut expected: Vec<&str> = written.keys().map(String::as_str).collect();
        expected.sort_unstable();
        prop_assert_eq!(objects, expected);
        for object in &found.objects {
            let content = &written[&object.name];
            prop_assert_eq!(object.bytes, Some(content.len() as u64));
            let Some(collection) = object.collection() else { continue };
            let documents = &found.collections[collection];
            match object.kind.as_str() {
                "bson" => {
                    let plain = if content.starts_with(&[0x1f, 0x8b]) { unpack(content) } else { content.clone() };
                    prop_assert_eq!(documents, &plain);
                    prop_assert_eq!(object.records, Some((plain.len() / numbered(1).len()) as u64));
                }
                "json" => {
                    prop_assert_eq!(documents, &numbered(1));
                    prop_assert_eq!(object.records, Some(1));
                }
                kind => prop_assert_eq!(kind, "metadata"),
            }
        }
        // Each collection is the one that its name stands for.
        for (name, documents) in &found.collections {
            let of = found.objects.iter().filter(|object| object.collection() == Some(name));
            let data: Vec<_> = of.filter(|object| object.kind == "bson").collect();
            if let [data] = data.as_slice() {
                let plain = data.name.rsplit('/').next().unwrap_or_default();
                let plain = plain.strip_suffix(".gz").unwrap_or(plain);
                prop_assert_eq!(plain, format!("{}.bson", file_stem(name)));
                prop_assert!(documents.len() < 1000);
            }
        }
    }
}

/// Whether a file of a random folder holds documents of a collection: neither of MongoDB's own, nor
/// of what is no collection's.
fn holds_documents(name: &str, content: &[u8]) -> bool {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    let documents = if name == plain { content.to_vec() } else { unpack(content) };
    let data = [".bson", ".json", ".jsonl", ".ndjson"].iter().any(|ending| plain.ends_with(ending));
    let own = ["system.", "$admin.", "inner/"].iter().any(|start| name.starts_with(start))
        || ["prelude.json", "oplog.bson"].contains(&name)
        || plain.ends_with(".metadata.json");
    data && !own && !documents.is_empty()
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain).unwrap();
    plain
}
