//! Time series: measurements out of the buckets that a server stores.

use std::fs;
use std::path::{Path, PathBuf};

use docferry::source::archive::Checksum;
use docferry::source::buckets::{Measurements, Series};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex,
    Timestamp, doc,
};
use mongodb::{Client, Database};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use futures_util::TryStreamExt;

use crate::support::{docferry, fresh_database, server, shown, with_database};

/// All documents of a collection, as bytes, in an order of their own.
async fn documents(database: &Database, collection: &str) -> Vec<Vec<u8>> {
    let cursor = database.collection::<RawDocumentBuf>(collection).find(doc! {}).await.unwrap();
    let mut found: Vec<Vec<u8>> =
        cursor.map_ok(RawDocumentBuf::into_bytes).try_collect().await.unwrap();
    found.sort();
    found
}

/// Kinds of scalars below.
const KINDS: i64 = 24;

fn scalar(index: i64, kind: i64, random: i64) -> Bson {
    let small = i32::try_from(random % 1000).unwrap();
    let magnitude = usize::try_from(small.unsigned_abs()).unwrap();
    match kind {
        0 => Bson::Int32(small),
        1 => Bson::Int64(random),
        2 => Bson::Double(f64::from(small) / 10.0),
        3 => Bson::Double(f64::from_bits(random.cast_unsigned())),
        4 => Bson::Double(f64::from(small) * 1e-8),
        5 => Bson::String(format!("sensor-{}", index % 7)),
        6 => Bson::String("x".repeat(magnitude % 40)),
        7 => Bson::Boolean(random % 2 == 0),
        8 => Bson::DateTime(DateTime::from_millis(
            1_700_000_000_000 + index * 1000 + i64::from(small),
        )),
        9 => Bson::ObjectId(ObjectId::new()),
        10 => Bson::Null,
        11 => Bson::Decimal128(format!("{small}.5").parse::<Decimal128>().unwrap()),
        12 => Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: random.to_le_bytes()[..magnitude % 9].to_vec(),
        }),
        13 => Bson::Binary(Binary {
            subtype: BinarySubtype::Uuid,
            bytes: vec![small.to_le_bytes()[0]; 16],
        }),
        14 => Bson::Timestamp(Timestamp { time: 1_700_000_000, increment: small.unsigned_abs() }),
        15 => Bson::RegularExpression(Regex {
            pattern: "^a".try_into().unwrap(),
            options: "i".try_into().unwrap(),
        }),
        16 => Bson::JavaScriptCode(format!("f({})", small % 3)),
        17 => Bson::Undefined,
        18 => Bson::Symbol(format!("s{}", small % 3)),
        19 => Bson::String("\0zero first".to_owned()),
        20 => Bson::Document(doc! {}),
        21 => Bson::Array(vec![]),
        22 => Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
            code: "g()".to_owned(),
            scope: doc! {"n": small % 3},
        }),
        _ => Bson::Double(f64::NAN),
    }
}

/// The value of a field over time: of one kind mostly, as measurements are.
fn value(field: i64, index: i64, kind: i64, random: i64) -> Option<Bson> {
    match random.rem_euclid(20) {
        0 => None,
        1 => Some(scalar(index, random.rem_euclid(KINDS), random)),
        2..5 => Some(scalar(0, kind, 7)),
        _ if field == 0 => {
            let mut inner = doc! {"a": scalar(index, kind, random)};
            if random % 3 == 0 {
                inner.insert("deep", doc! {"b": index, "c": [scalar(index, 2, random), index % 3]});
            }
            Some(Bson::Document(inner))
        }
        _ if field == 1 => {
            Some(Bson::Array(vec![scalar(index, kind, random), Bson::Document(doc! {"k": index})]))
        }
        _ => Some(scalar(index, kind, random)),
    }
}

/// Measurements of one series: sparse fields of all types, most of one type each.
fn measurements(round: i64, random: &[i64]) -> Vec<Document> {
    let mut documents = Vec::new();
    for (index, random) in (0_i64..).zip(random.chunks_exact(4)) {
        let mut document = Document::new();
        for (field, random) in (0_i64..).zip(random) {
            if let Some(value) = value(field, index, (round + field * 5) % KINDS, *random) {
                document.insert(format!("f{field}"), value);
            }
        }
        let millis = 1_700_000_000_000 + index * 60_000 + random[0].rem_euclid(1000);
        document.insert("at", DateTime::from_millis(millis));
        if random[1].rem_euclid(40) > 0 {
            document.insert("who", doc! {"room": round % 3 == 0});
        }
        if random[2].rem_euclid(3) == 0 {
            document.insert("_id", index);
        }
        documents.push(document);
    }
    documents
}

async fn create(database: &Database, name: &str, documents: &[Document]) {
    let series = doc! {"timeField": "at", "metaField": "who", "granularity": "hours"};
    database.run_command(doc! {"create": name, "timeseries": series}).await.unwrap();
    database.collection::<Document>(name).insert_many(documents).await.unwrap();
}

async fn fresh(uri: &str, name: &str) -> Database {
    let client = Client::with_uri_str(&with_database(uri, name)).await.unwrap();
    let database = client.default_database().unwrap();
    database.drop().await.unwrap();
    database
}

fn randoms(count: usize) -> Vec<i64> {
    let mut runner = TestRunner::deterministic();
    proptest::collection::vec(proptest::num::i64::ANY, count)
        .new_tree(&mut runner)
        .unwrap()
        .current()
}

#[test]
fn buckets_unpack_to_what_the_server_gives() {
    let Some(uri) = server("DOCFERRY_TEST_MONGODB") else { return };
    let random = randoms(96_000);
    Runtime::new().unwrap().block_on(async {
        let database = fresh(&uri, "docferry_series").await;
        let (mut plain, mut compressed) = (0, 0);
        for (round, random) in (0..).zip(random.chunks(4000)) {
            let (name, inserted) = (format!("s{round}"), measurements(round, random));
            create(&database, &name, &inserted).await;
            let expected = documents(&database, &name).await;
            let series = Series { time_field: "at".to_owned(), meta_field: Some("who".to_owned()) };
            let (mut unpacked, mut found) = (Measurements::default(), Vec::new());
            for bucket in documents(&database, &format!("system.buckets.{name}")).await {
                let parsed = Document::from_reader(bucket.as_slice()).unwrap();
                let version = parsed.get_document("control").unwrap().get_i32("version").unwrap();
                *(if version == 1 { &mut plain } else { &mut compressed }) += 1;
                unpacked.unpack(&bucket, &series).unwrap_or_else(|error| {
                    panic!("{name}: {error}: {parsed}");
                });
                found.extend(unpacked.iter().map(<[u8]>::to_vec));
            }
            found.sort();
            let decode = |bytes: &Vec<u8>| Document::from_reader(bytes.as_slice()).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found == expected, "{name}: {} {}", decode(found), decode(expected));
            }
            assert_eq!((found.len(), expected.len()), (inserted.len(), inserted.len()));
        }
        assert!(plain > 0 && compressed > 100, "{plain} plain, {compressed} compressed buckets");
    });
}

#[test]
fn measurements_with_one_id_arrive_and_come_back() {
    let Some(uri) = server("DOCFERRY_TEST_MONGODB") else { return };
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let runtime = Runtime::new().unwrap();
    let (client, target) = runtime.block_on(async {
        let database = fresh(&uri, "docferry_series_ids").await;
        let measurement = |id: i32, hour: i64, fields: Document| {
            let mut document = fields;
            document.insert("_id", id);
            document.insert("at", DateTime::from_millis(1_700_000_000_000 + hour * 3_600_000));
            document
        };
        let documents = [
            measurement(1, 0, doc! {"v": 0.5}),
            measurement(1, 1, doc! {"w": 1, "v": 1.5}),
            measurement(1, 2, doc! {"v": 2.5, "w": 2}),
            measurement(2, 3, doc! {"v": 3.5}),
            measurement(1, 3, doc! {"v": 0.5}),
        ];
        create(&database, "weather", &documents).await;
        fresh_database(&postgres, "docferry_series_ids").await
    });
    let folder = tempfile::tempdir().unwrap();
    let (pipeline, staging) = (folder.path().join("w.toml"), folder.path().join("staging"));
    let source = with_database(&uri, "docferry_series_ids");
    let run = |arguments: &[&str]| {
        let output = docferry().args(arguments).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", shown(&output));
    };
    let (pipeline, staging) = (pipeline.to_str().unwrap(), staging.to_str().unwrap());
    run(&["plan", &source, "-o", pipeline]);
    run(&["run", pipeline, "--source", &source, "--target", &target, "--staging", staging]);
    let rows = runtime
        .block_on(client.query("SELECT (_id || ' ' || v)::text FROM weather ORDER BY v, _id", &[]))
        .unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, ["1 0.5", "1 0.5", "1 1.5", "1 2.5", "2 3.5"]);
    let scratch = with_database(&uri, "");
    run(&["restore-check", "w/latest", "--staging", staging, "--scratch", &scratch]);
}

/// A dump of one time series and one collection, as a folder and as an archive.
struct Dumped {
    folder: tempfile::TempDir,
    /// The measurements as the server gives them.
    expected: Vec<Vec<u8>>,
}

impl Dumped {
    async fn new(database: &Database) -> Self {
        create(database, "s", &measurements(3, &randoms(2000))).await;
        let folder = tempfile::tempdir().unwrap();
        let expected = documents(database, "s").await;
        let dumped = Self { folder, expected };
        let buckets = documents(database, "system.buckets.s").await;
        dumped.write(&buckets);
        dumped
    }

    fn write(&self, buckets: &[Vec<u8>]) {
        let folder = self.folder.path().join("dump");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("system.buckets.s.bson"), buckets.concat()).unwrap();
        fs::write(folder.join("s.metadata.json"), METADATA).unwrap();
        let mut archive = 0x8199_e26d_u32.to_le_bytes().to_vec();
        let mut add = |document: Document| archive.extend(document.to_vec().unwrap());
        add(doc! {"concurrent_collections": 1, "version": "0.1"});
        add(doc! {"db": "d", "collection": "s", "metadata": METADATA, "type": "timeseries"});
        archive.extend([0xff; 4]);
        let name = "system.buckets.s";
        let block = |eof: bool, crc: u64| {
            let crc = crc.cast_signed();
            doc! {"db": "d", "collection": name, "EOF": eof, "CRC": crc}.to_vec().unwrap()
        };
        let mut crc = Checksum::default();
        for buckets in buckets.chunks(7) {
            archive.extend(block(false, 0));
            for bucket in buckets {
                crc.update(bucket);
                archive.extend(bucket);
            }
            archive.extend([0xff; 4]);
        }
        archive.extend(block(true, crc.finish()));
        archive.extend([0xff; 4]);
        fs::write(self.folder.path().join("d.archive"), archive).unwrap();
    }

    /// Exports one of the two, and gives status and measurements.
    fn exported(&self, source: &str) -> (Option<i32>, Vec<Vec<u8>>) {
        let _ = fs::remove_dir_all(self.folder.path().join("staging"));
        let _ = fs::remove_dir_all(self.folder.path().join("back"));
        fs::write(self.folder.path().join("d.toml"), "version = 1\nname = \"d\"\n").unwrap();
        let run = |arguments: &[&str]| {
            docferry().args(arguments).current_dir(self.folder.path()).output().unwrap()
        };
        let output = run(&["export", "d.toml", "--source", source, "--staging", "staging"]);
        let status = output.status.code();
        assert!(matches!(status, Some(0 | 3)), "{}", shown(&output));
        let output = run(&["restore", "staging/d/latest", "--to", "back"]);
        assert!(output.status.success(), "{}", shown(&output));
        let back = walk(&self.folder.path().join("back"));
        let path = back.iter().find(|path| path.ends_with("s.bson")).unwrap();
        let bytes = fs::read(path).unwrap();
        let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
        while let Some(length) = rest.first_chunk::<4>() {
            let length = usize::try_from(i32::from_le_bytes(*length)).unwrap();
            found.push(rest[..length].to_vec());
            rest = &rest[length..];
        }
        found.sort();
        (status, found)
    }
}

const METADATA: &str = r#"{"options":{"timeseries":{"timeField":"at","metaField":"who"}},"indexes":[],"collectionName":"s","type":"timeseries"}"#;

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn dumps_of_time_series_give_their_measurements() {
    let Some(uri) = server("DOCFERRY_TEST_MONGODB") else { return };
    let runtime = Runtime::new().unwrap();
    let (dumped, buckets) = runtime.block_on(async {
        let database = fresh(&uri, "docferry_series_dump").await;
        let dumped = Dumped::new(&database).await;
        (dumped, documents(&database, "system.buckets.s").await)
    });
    for source in ["dump", "d.archive"] {
        assert!(dumped.exported(source) == (Some(0), dumped.expected.clone()), "{source}");
    }
    // A damaged bucket costs its own measurements, and is a reject.
    let mut damaged = buckets.clone();
    let place = damaged[3].windows(4).position(|bytes| bytes == b"data").unwrap();
    damaged[3][place] = b'D';
    let lost = {
        let mut measurements = Measurements::default();
        let series = Series { time_field: "at".to_owned(), meta_field: Some("who".to_owned()) };
        measurements.unpack(&buckets[3], &series).unwrap();
        measurements.iter().count()
    };
    dumped.write(&damaged);
    for source in ["dump", "d.archive"] {
        let (status, found) = dumped.exported(source);
        assert_eq!((status, found.len()), (Some(3), dumped.expected.len() - lost), "{source}");
        let rejects = dumped.folder.path().join("staging/d/latest/rejects/export.jsonl");
        let rejects = fs::read_to_string(rejects).unwrap();
        assert_eq!(rejects.lines().count(), 1, "{rejects}");
        assert!(rejects.contains("the bucket has no field data"), "{rejects}");
    }
}
