//! The transform and the proof, which do not know each other, read random documents alike: what one
//! accepts, refuses or changes, the other does too, on values that nobody chose.

use std::fmt::Write as _;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{
    Binary, Bson, DateTime, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::Value as Json;

use crate::support::{docferry, fresh_database, server, shown, write_dump};

/// Documents of a run: each has one value for each kind of column.
const DOCUMENTS: usize = 1500;

/// One column for each type and rule; each is nullable with `on_fail = "null"`, so that a value that
/// one column refuses does not hide what others do with theirs.
const COLUMNS: &[(&str, &str)] = &[
    ("boolean", r#"type = "boolean""#),
    ("coerced_boolean", r#"type = "boolean", coerce = true"#),
    ("small", r#"type = "smallint""#),
    ("whole", r#"type = "integer""#),
    ("coerced_whole", r#"type = "integer", coerce = true"#),
    ("big", r#"type = "bigint""#),
    ("coerced_big", r#"type = "bigint", coerce = true"#),
    ("narrow", r#"type = "real""#),
    ("wide", r#"type = "double precision""#),
    ("coerced_wide", r#"type = "double precision", coerce = true"#),
    ("amount", r#"type = "numeric""#),
    ("coerced_amount", r#"type = "numeric", coerce = true"#),
    ("price", r#"type = "numeric(12,4)""#),
    ("coerced_price", r#"type = "numeric(9,2)", coerce = true"#),
    ("word", r#"type = "text""#),
    ("coerced_word", r#"type = "text", coerce = true"#),
    ("stripped", r#"type = "text", nul = "strip", empty = "null""#),
    ("short", r#"type = "varchar(5)""#),
    ("kind", r#"type = "kind", values = { "1" = "a", "true" = "b", "x" = "c" }"#),
    ("bytes", r#"type = "bytea""#),
    ("token", r#"type = "uuid""#),
    ("legacy", r#"type = "uuid", uuid_order = "java""#),
    ("data", r#"type = "jsonb""#),
    ("stripped_data", r#"type = "jsonb", nul = "strip""#),
    ("parsed", r#"type = "jsonb", json = true"#),
    ("day", r#"type = "date""#),
    ("clock", r#"type = "time(3)""#),
    ("moment", r#"type = "timestamptz""#),
    ("second", r#"type = "timestamp(0)""#),
    ("epoch", r#"type = "timestamptz", format = "epoch""#),
    ("epoch_ms", r#"type = "timestamp(3)", format = "epoch_ms""#),
    ("formatted", r#"type = "date", format = "%d.%m.%Y""#),
    ("words", r#"type = "text[]""#),
    ("numbers", r#"type = "bigint[]", coerce = true"#),
    ("amounts", r#"type = "numeric[]""#),
    ("kinds", r#"type = "kind[]""#),
    ("documents", r#"type = "jsonb[]""#),
    ("filled", r#"type = "integer", coerce = true, fill = -1"#),
    ("filled_amount", r#"type = "numeric(12,4)", fill = 0.5"#),
    ("filled_kind", r#"type = "kind", fill = "a""#),
    ("filled_text", r#"type = "text", nul = "strip", empty = "null", fill = "none""#),
    ("filled_words", r#"type = "text[]", fill = [], null_elements = "drop""#),
    ("whole_words", r#"type = "text[]", coerce = true, null_elements = "reject""#),
    ("bounded", r#"type = "double precision", min = -1, max = 100"#),
    ("patterned", r#"type = "text", pattern = "^[a-c]+$""#),
    ("mail", r#"type = "text", email = true"#),
    ("target", r#"references = "targets""#),
    ("name", r#"type = "text", references = "names""#),
    ("number", r#"type = "integer", references = "numbered""#),
    ("state", r#"from = "data", presence = true"#),
];

fn pipeline() -> String {
    let mut columns = String::new();
    for (name, rules) in COLUMNS {
        let kept = if rules.contains("presence") { "" } else { ", on_fail = \"null\"" };
        let _ = writeln!(columns, "{name} = {{ {rules}{kept} }}");
    }
    format!(
        r#"version = 1
name = "agreement"
[enums]
kind = ["a", "b", "c"]
[defaults]
dangling = "null"
[tables.targets.columns]
id = {{ from = "_id", type = "uuid", key = true }}
[tables.names.columns]
id = {{ from = "_id", type = "text", key = true }}
[tables.numbered.columns]
id = {{ from = "_id", type = "integer", key = "serial" }}
[tables.things.columns]
id = {{ from = "_id", type = "uuid", key = true }}
{columns}
rest = {{ from = "*", type = "jsonb" }}
"#
    )
}

fn decimals() -> impl Strategy<Value = Bson> {
    let text = prop_oneof![
        Just("NaN".to_owned()),
        Just("Infinity".to_owned()),
        Just("-0".to_owned()),
        Just("1.50".to_owned()),
        Just("0E+3".to_owned()),
        Just("1E-20".to_owned()),
        (any::<i64>(), -25_i32..25).prop_map(|(digits, exponent)| format!("{digits}E{exponent:+}")),
        (-999_i64..999, -4_i32..4).prop_map(|(digits, exponent)| format!("{digits}E{exponent:+}")),
    ];
    text.prop_map(|text| Bson::Decimal128(text.parse().unwrap()))
}

fn texts() -> impl Strategy<Value = String> {
    let chosen = [
        "",
        "a",
        "x",
        "abc",
        "true",
        "false",
        "1",
        "-7",
        " 42 ",
        "1.50",
        "-0.0",
        "1e3",
        "NaN",
        "null",
        "[1, {\"b\":2,\"a\":1e2}]",
        "{\"a\":1,\"a\":-0}",
        "a\0b",
        "2024-02-29",
        "2024-02-30",
        "2024-02-29T12:34:56.789012+01:30",
        "2024-02-29 12:34",
        "12:34",
        "12:34:56.789",
        "24:00:00",
        "25:00",
        "29.02.2024",
        "9999-12-31T23:59:59.999999Z",
        "0001-01-01",
        "507f1f77bcf86cd799439011",
        "0123ABCD-4567-89ab-cdef-0123456789ab",
        "ann@example.org",
        "ann@b",
        "ünï\u{301}ç☃𝄞",
        "2016-12-31T23:59:60Z",
        "2024-W01-1",
        "20240229",
        "+002024-02-29T00:00:00Z",
        "12:00:00+02",
    ];
    prop_oneof![
        4 => prop::sample::select(chosen.to_vec()).prop_map(str::to_owned),
        1 => "[a-c0-9:. T+-]{0,12}",
        1 => any::<String>(),
    ]
}

fn scalars() -> impl Strategy<Value = Bson> {
    let whole = prop_oneof![
        Just(0_i64),
        Just(1),
        Just(-1),
        Just(i64::from(i16::MAX) + 1),
        Just(i64::from(i32::MIN) - 1),
        Just(1 << 24),
        Just((1 << 24) + 1),
        Just((1 << 53) + 1),
        Just(i64::MAX),
        Just(i64::MIN),
        any::<i64>(),
        -200_i64..200,
    ];
    let doubles = prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(0.1),
        Just(1.0),
        Just(1.5),
        Just(1e300),
        Just(5e-324),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(9_007_199_254_740_993.0),
        Just(1e19),
        any::<f64>(),
        (-200_i32..200).prop_map(|it| f64::from(it) / 8.0),
    ];
    let dates = prop_oneof![
        Just(0_i64),
        Just(-1),
        Just(1_709_164_800_000),
        Just(253_402_300_800_000),
        Just(-210_866_803_200_000),
        Just(-210_866_803_200_001),
        Just(i64::MAX),
        Just(i64::MIN),
        any::<i64>(),
        -9_000_000_000_000_i64..9_000_000_000_000,
    ];
    let subtypes = prop_oneof![
        Just(BinarySubtype::Generic),
        Just(BinarySubtype::Uuid),
        Just(BinarySubtype::UuidOld),
        Just(BinarySubtype::Md5),
    ];
    prop_oneof![
        2 => Just(Bson::Null),
        1 => Just(Bson::Undefined),
        2 => any::<bool>().prop_map(Bson::Boolean),
        4 => whole.clone().prop_map(Bson::Int64),
        3 => whole.prop_map(|it| Bson::Int32(i32::try_from(it).unwrap_or(7))),
        4 => doubles.prop_map(Bson::Double),
        3 => decimals(),
        8 => texts().prop_map(Bson::String),
        1 => texts().prop_map(Bson::Symbol),
        1 => texts().prop_map(Bson::JavaScriptCode),
        1 => texts().prop_map(|code| Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope { code, scope: doc! {"s": 1} })),
        3 => dates.prop_map(|it| Bson::DateTime(DateTime::from_millis(it))),
        2 => (0_u8..8).prop_map(|it| ObjectId::from_bytes([it; 12]).into()),
        2 => (subtypes, prop_oneof![Just(16_usize), 0_usize..20]).prop_map(|(subtype, length)| {
            Bson::Binary(Binary { subtype, bytes: (0..length).map(|at| u8::try_from(at * 11).unwrap()).collect() })
        }),
        1 => Just(Bson::MinKey),
        1 => Just(Bson::MaxKey),
        1 => any::<(u32, u32)>().prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        1 => Just(Bson::RegularExpression(Regex { pattern: "^a".try_into().unwrap(), options: "ix".try_into().unwrap() })),
        1 => (0_u8..8).prop_map(|it| doc! {"$ref": "targets", "$id": ObjectId::from_bytes([it; 12])}.into()),
    ]
}

fn values() -> impl Strategy<Value = Bson> {
    let keys = prop_oneof!["[a-z]{0,3}", Just("$a.b".to_owned()), Just("ключ".to_owned())];
    scalars().prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            prop::collection::vec((keys.clone(), inner), 0..4)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect::<Document>())),
        ]
    })
}

fn draw<S: Strategy>(strategy: &S, runner: &mut TestRunner) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

#[test]
fn the_proof_agrees_with_the_transform_on_random_documents() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let seed = std::env::var("DOCFERRY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand_seed);
    println!("DOCFERRY_TEST_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&u64::to_le_bytes(seed));
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("agreement.toml"), pipeline()).unwrap();
    let value = values();
    let documents: Vec<Document> = (0..DOCUMENTS)
        .map(|number| {
            let mut document = doc! {"_id": i32::try_from(number).unwrap()};
            if number % 3 == 0 {
                document
                    .insert("_id", ObjectId::from_bytes([3; 12]).to_hex() + &number.to_string());
            }
            for (name, _) in COLUMNS.iter().filter(|(_, rules)| !rules.contains("presence")) {
                document.insert(*name, draw(&value, &mut runner));
            }
            document.insert("more", draw(&value, &mut runner));
            document
        })
        .collect();
    let targets: Vec<Document> =
        (0_u8..4).map(|it| doc! {"_id": ObjectId::from_bytes([it; 12])}).collect();
    let mut names: Vec<Document> = ["", "a", "abc", "1", "x"].map(|name| doc! {"_id": name}).into();
    names.sort_by_key(|name| name.get_str("_id").unwrap().to_owned());
    let numbered: Vec<Document> =
        [Bson::Int32(0), Bson::Double(0.1), Bson::Int32(1)].map(|id| doc! {"_id": id}).into();
    for (name, documents) in
        [("things", &documents), ("targets", &targets), ("names", &names), ("numbered", &numbered)]
    {
        write_dump(&path("dump"), name, documents);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_, address) = runtime.block_on(fresh_database(&server, "docferry_agreement"));
    let output = docferry()
        .arg("run")
        .arg(path("agreement.toml"))
        .args([
            "--source",
            path("dump").to_str().unwrap(),
            "--target",
            &address,
            "--json",
            "--staging",
        ])
        .arg(path("staging"))
        .output()
        .unwrap();
    let report: Json = serde_json::from_slice(&output.stdout).unwrap();
    let proof = &report["report"]["documents"];
    assert_eq!(proof["differences"], serde_json::json!([]), "{}", shown(&output));
    let things = proof["collections"].as_array().unwrap().iter();
    let things = things.clone().find(|of| of["collection"] == "things").unwrap();
    let sum = |name: &str| things[name].as_u64().unwrap();
    assert_eq!(sum("leaves"), sum("equal") + sum("ruled") + sum("rejected"), "{things}");
    // A random value fits some column: most leaves arrive, and many are refused.
    assert!(sum("equal") > sum("leaves") / 10 && sum("ruled") > 0, "{things}");
}

fn rand_seed() -> u64 {
    let bytes = ObjectId::new().bytes();
    u64::from_le_bytes(bytes[4..].try_into().unwrap())
}
