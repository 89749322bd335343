//! Time series: measurements out of the buckets that a server stores.

use docferry::source::buckets::{Measurements, Series};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, RawDocumentBuf, Regex,
    Timestamp, doc,
};
use mongodb::options::FindOptions;
use mongodb::{Client, Database};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use futures_util::TryStreamExt;

use crate::support::{server, with_database};

/// All documents of a collection, as bytes, in an order of their own.
async fn documents(database: &Database, collection: &str) -> Vec<Vec<u8>> {
    let cursor = database
        .collection::<RawDocumentBuf>(collection)
        .find(doc! {})
        .with_options(FindOptions::default())
        .await
        .unwrap();
    let mut found: Vec<Vec<u8>> =
        cursor.map_ok(RawDocumentBuf::into_bytes).try_collect().await.unwrap();
    found.sort();
    found
}

fn scalar(index: i64, kind: u8, random: i64) -> Bson {
    let small = random % 1000;
    match kind {
        0 => Bson::Int32(i32::try_from(small).unwrap()),
        1 => Bson::Int64(random),
        2 => Bson::Double(small as f64 / 10.0),
        3 => Bson::Double(f64::from_bits(random.cast_unsigned())),
        4 => Bson::Double(small as f64 * 1e-8),
        5 => Bson::String(format!("sensor-{}", index % 7)),
        6 => Bson::String("x".repeat(usize::try_from(small.abs() % 40).unwrap())),
        7 => Bson::Boolean(random % 2 == 0),
        8 => Bson::DateTime(DateTime::from_millis(1_700_000_000_000 + index * 1000 + small)),
        9 => Bson::ObjectId(ObjectId::new()),
        10 => Bson::Null,
        11 => Bson::Decimal128(format!("{small}.5").parse::<Decimal128>().unwrap()),
        12 => Bson::Binary(Binary {
            subtype: BinarySubtype::Generic,
            bytes: random.to_le_bytes()[..usize::try_from(small.abs() % 9).unwrap()].to_vec(),
        }),
        13 => Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![small as u8; 16] }),
        14 => Bson::Timestamp(Timestamp { time: 1_700_000_000, increment: small.abs() as u32 }),
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
fn value(field: u8, index: i64, kind: u8, random: i64) -> Option<Bson> {
    match random.rem_euclid(20) {
        0 => None,
        1 => Some(scalar(index, random.rem_euclid(23) as u8, random)),
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

#[test]
fn buckets_unpack_to_what_the_server_gives() {
    let Some(uri) = server("DOCFERRY_TEST_MONGODB") else { return };
    let runtime = Runtime::new().unwrap();
    let mut runner = TestRunner::deterministic();
    let randoms = proptest::collection::vec(proptest::num::i64::ANY, 4000);
    runtime.block_on(async {
        let client = Client::with_uri_str(&with_database(&uri, "docferry_series")).await.unwrap();
        let database = client.default_database().unwrap();
        database.drop().await.unwrap();
        let (mut plain, mut compressed) = (0, 0);
        for round in 0..24_u8 {
            let random = randoms.new_tree(&mut runner).unwrap().current();
            let name = format!("s{round}");
            let series = doc! {"timeField": "at", "metaField": "who", "granularity": "hours"};
            database.run_command(doc! {"create": &name, "timeseries": series}).await.unwrap();
            let mut documents_in = Vec::new();
            for (index, random) in (0_i64..).zip(random.chunks(4)) {
                let mut document = doc! {"f0": Bson::Null};
                document.remove("f0");
                for (field, random) in (0_u8..).zip(random) {
                    let kind = (round + field * 5) % 23;
                    if let Some(value) = value(field, index, kind, *random) {
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
                documents_in.push(document);
            }
            let collection = database.collection::<Document>(&name);
            collection.insert_many(&documents_in).await.unwrap();
            let expected = documents(&database, &name).await;
            let series = Series { time_field: "at".to_owned(), meta_field: Some("who".to_owned()) };
            let (mut measurements, mut found) = (Measurements::default(), Vec::new());
            for bucket in documents(&database, &format!("system.buckets.{name}")).await {
                let parsed = Document::from_reader(bucket.as_slice()).unwrap();
                let version = parsed.get_document("control").unwrap().get_i32("version").unwrap();
                *if version == 1 { &mut plain } else { &mut compressed } += 1;
                measurements.unpack(&bucket, &series).unwrap_or_else(|error| {
                    panic!("{name}: {error}: {parsed}");
                });
                found.extend(measurements.iter().map(<[u8]>::to_vec));
            }
            found.sort();
            let decode = |bytes: &Vec<u8>| Document::from_reader(bytes.as_slice()).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert!(found == expected, "{name}: {} {}", decode(found), decode(expected));
            }
            assert_eq!((found.len(), expected.len()), (documents_in.len(), documents_in.len()));
        }
        assert!(plain > 0 && compressed > 100, "{plain} plain, {compressed} compressed buckets");
    });
}
