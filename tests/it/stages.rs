//! Export and transform, from dumps and from real servers.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::path::Path;

use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::{ExportManifest, TransformManifest};
use docferry::staging::rejects::{List, read};
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};

use crate::support::{docferry, server, with_database, write_dump};

const PIPELINE: &str = r#"
version = 1
name = "shop"
[enums]
state = ["NEW", "PAID"]
[tables.people.columns]
id = { from = "_id", type = "uuid", key = true }
email = { type = "text", required = true, unique = true }
age = { type = "integer" }
[tables.orders.columns]
id = { from = "_id", type = "uuid", key = true }
buyer = { references = "people", required = true }
state = { type = "state" }
placed = { type = "timestamp(3)" }
note = { type = "text" }
extra = { type = "jsonb" }
[junctions.followers]
columns = { order_id = "orders", person_id = "people" }
from = ["orders.followers", "people.following"]
[tables.lines]
each = "orders.lines"
[tables.lines.columns]
order_id = { parent = true, references = "orders", required = true }
position = { ordinal = true, type = "integer" }
sku = { type = "text" }
"#;

fn id(kind: u8, number: u8) -> ObjectId {
    ObjectId::from_bytes([0x65, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, number])
}

/// Six people and seven orders, each flaw once.
pub(crate) fn people() -> Vec<Document> {
    let mut people: Vec<Document> = (1..=5_u8)
        .map(|number| doc! {"_id": id(1, number), "email": format!("p{number}@example.org"), "age": 30})
        .collect();
    people[0].insert("following", vec![Bson::ObjectId(id(2, 1)), Bson::ObjectId(id(2, 2))]);
    people[1].insert("age", 41.0);
    people[2].insert("age", 41.5);
    people.push(doc! {"_id": id(1, 6), "email": "p1@example.org"});
    people
}

pub(crate) fn orders() -> Vec<Document> {
    let order = |number: u8, buyer: Bson| doc! {"_id": id(2, number), "buyer": buyer};
    let mut orders = vec![
        order(1, id(1, 1).into()),
        order(2, id(1, 2).to_hex().into()),
        order(3, id(1, 3).into()),
        order(4, id(1, 1).into()),
        order(5, id(1, 1).into()),
        order(6, id(1, 1).into()),
        order(7, id(1, 1).into()),
    ];
    orders[0].insert(
        "followers",
        vec![id(1, 1).into(), id(1, 1).into(), Bson::Null, id(1, 99).into(), id(1, 2).into()],
    );
    orders[0].insert("lines", vec![doc! {"sku": "a"}, doc! {"sku": "b"}]);
    orders[1].insert("extra", doc! {"b.c": 1_i64, "$a": 2.0, "n": f64::NAN});
    orders[3].insert("state", "LOST");
    orders[4].insert("note", "a\0b");
    orders[5].insert("placed", Bson::DateTime(mongodb::bson::DateTime::MAX));
    orders[6].insert("surprise", 1);
    orders
}

pub(crate) fn run_stages(
    folder: &Path,
    source: &str,
    threads: &str,
) -> (RunDirectory, Option<i32>) {
    let pipeline = folder.join("shop.toml");
    std::fs::write(&pipeline, PIPELINE).unwrap();
    let staging = folder.join(format!("staging-{threads}"));
    let export = docferry()
        .arg("export")
        .arg(&pipeline)
        .args(["--source", source, "--threads", threads, "--staging"])
        .arg(&staging)
        .output()
        .unwrap();
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    let transform = docferry()
        .arg("transform")
        .arg(&pipeline)
        .args(["--threads", threads, "--staging"])
        .arg(&staging)
        .output()
        .unwrap();
    let code = transform.status.code();
    assert!(matches!(code, Some(0 | 3)), "{}", String::from_utf8_lossy(&transform.stderr));
    (RunDirectory::open(&staging, "shop", "latest").unwrap(), code)
}

/// What must become of `people` and `orders`, whatever the source.
fn assert_outcome(run: &RunDirectory, code: Option<i32>) {
    assert_eq!(code, Some(3));
    let manifest = TransformManifest::read(run).unwrap();
    let rows: BTreeMap<&str, (u64, u64, u64)> = manifest
        .tables
        .iter()
        .map(|table| (table.definition.name.as_str(), (table.records, table.rows, table.rejects)))
        .collect();
    assert_eq!(rows["people"], (6, 4, 2));
    assert_eq!(rows["orders"], (7, 2, 5));
    assert_eq!(rows["lines"], (2, 2, 0));
    assert_eq!(rows["followers"].1, 3);
    let followers = manifest.tables.iter().find_map(|table| table.junction.clone()).unwrap();
    assert_eq!((followers.both_sides, followers.only_first, followers.only_second), (1, 1, 1));
    assert_eq!((followers.repeats, followers.nulls, followers.dangling), (1, 1, 1));
    let rejects: Vec<(String, String)> =
        read(run, List::Rejects, docferry::progress::Stage::Transform)
            .unwrap()
            .into_iter()
            .map(|reject| {
                assert!(reject.document.is_object(), "a reject keeps its document");
                (reject.id, reject.rule)
            })
            .collect();
    let expected = [
        (id(1, 3), "type"),
        (id(1, 6), "unique"),
        (id(2, 3), "dangling"),
        (id(2, 4), "enum"),
        (id(2, 5), "nul"),
        (id(2, 6), "range"),
        (id(2, 7), "unmapped"),
    ];
    let expected: Vec<(String, String)> =
        expected.into_iter().map(|(id, rule)| (id.to_hex(), rule.to_owned())).collect();
    assert_eq!(rejects, expected);
}

#[test]
fn every_flaw_of_a_dump_ends_where_it_must() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    write_dump(&dump, "people", &people());
    // Out of order on purpose: the export sorts.
    let mut shuffled = orders();
    shuffled.reverse();
    write_dump(&dump, "orders", &shuffled);
    let (run, code) = run_stages(folder.path(), dump.to_str().unwrap(), "2");
    assert_outcome(&run, code);
    let (other, _) = run_stages(folder.path(), dump.to_str().unwrap(), "1");
    let sums = |run: &RunDirectory| {
        let text = std::fs::read_to_string(run.resolve("transform/SHA256SUMS")).unwrap();
        // The manifest names the export that was used.
        text.lines().filter(|line| line.contains("parquet")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(sums(&run), sums(&other), "the output does not depend on the threads");
}

fn live(variable: &str, snapshot: bool) {
    let Some(uri) = server(variable) else { return };
    let database = format!("docferry_{}_{snapshot}", std::process::id());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = runtime.block_on(mongodb::Client::with_uri_str(&uri)).unwrap();
    let handle = client.database(&database);
    runtime.block_on(async {
        handle.drop().await.unwrap();
        handle.collection("people").insert_many(people()).await.unwrap();
        handle.collection("orders").insert_many(orders()).await.unwrap();
        let view = doc! {"create": "view", "viewOn": "people", "pipeline": []};
        handle.run_command(view).await.unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let (run, code) = run_stages(folder.path(), &with_database(&uri, &database), "2");
    runtime.block_on(handle.drop().into_future()).unwrap();
    assert_outcome(&run, code);
    let manifest = ExportManifest::read(&run).unwrap();
    assert!(manifest.skipped.iter().any(|skipped| skipped.name == "view"));
    let text = serde_json::to_string(&manifest.snapshot).unwrap();
    assert_eq!(text.contains("cluster_time"), snapshot, "{text}");
}

#[test]
fn a_replica_set_is_read_at_one_snapshot() {
    live("DOCFERRY_TEST_MONGODB", true);
}

#[test]
fn a_standalone_server_says_that_it_has_no_snapshot() {
    live("DOCFERRY_TEST_MONGODB_STANDALONE", false);
}

#[test]
fn a_changed_byte_of_a_staged_part_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("shop");
    write_dump(&dump, "people", &people());
    write_dump(&dump, "orders", &orders());
    let (run, _) = run_stages(folder.path(), dump.to_str().unwrap(), "1");
    let manifest = ExportManifest::read(&run).unwrap();
    let part = &manifest.collections[0].parts[0].file;
    let path = run.resolve(&part.path);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_dir_all(run.resolve("transform")).unwrap();
    let output = docferry()
        .arg("transform")
        .arg(folder.path().join("shop.toml"))
        .arg("--staging")
        .arg(folder.path().join("staging-1"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(12));
    assert!(String::from_utf8(output.stderr).unwrap().contains("part-00000.parquet"));
}

/// Tables are written before it is known whether unique values repeat. Of a part whose rows all
/// turn out to be refused, nothing may be left.
#[test]
fn no_file_is_left_of_a_part_whose_rows_all_repeat_others() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("mail.toml");
    let text = "version = 1\nname = \"mail\"\n[tables.people.columns]\n\
                id = { from = \"_id\", type = \"uuid\", key = true }\n\
                email = { type = \"text\", unique = true }\nnote = { type = \"text\" }\n";
    std::fs::write(&pipeline, text).unwrap();
    let dump = folder.path().join("dump/mail");
    // Four documents fill a part of 1 MiB; those of the second have the addresses of the first.
    let note = "n".repeat(300 << 10);
    let people: Vec<Document> = (0..8_u8)
        .map(|number| doc! {"_id": id(1, number), "email": format!("p{}@example.org", number % 4), "note": &note})
        .collect();
    write_dump(&dump, "people", &people);
    let run = |command: &str, more: &[&str]| {
        let mut docferry = docferry();
        docferry.arg(command).arg(&pipeline).arg("--staging").arg(folder.path().join("staging"));
        docferry.args(more).output().unwrap().status.code()
    };
    let source = ["--part-mib", "1", "--source", dump.to_str().unwrap()];
    assert_eq!(run("export", &source), Some(0));
    assert_eq!(run("transform", &[]), Some(3));
    let latest = folder.path().join("staging/mail/latest");
    let directory = RunDirectory::find(Path::new("."), latest.to_str().unwrap()).unwrap();
    assert_eq!(ExportManifest::read(&directory).unwrap().collections[0].parts.len(), 2);
    let table = &TransformManifest::read(&directory).unwrap().tables[0];
    assert_eq!((table.rows, table.rejects, table.parts.len()), (4, 4, 1));
    let files = std::fs::read_dir(latest.join("transform/people")).unwrap();
    assert_eq!(files.count(), 1);
}
