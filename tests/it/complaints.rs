//! What users of other tools complain of: for each, the exact value, a recorded reject, or the
//! stated rule.

use std::fs;
use std::future::IntoFuture;
use std::path::Path;
use std::process::Output;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, doc};
use tokio::runtime::Runtime;

use crate::support::{
    self, Migrated, docferry, failpoint, fresh_database, server, with_database, write_dump,
};

/// Documents through a real mongod into a real PostgreSQL.
fn migrate(name: &str, pipeline: &str, collections: &[(&str, Vec<Document>)]) -> Option<Migrated> {
    let mongodb = server("DOCFERRY_TEST_MONGODB")?;
    let postgres = server("DOCFERRY_TEST_POSTGRES")?;
    let runtime = Runtime::new().unwrap();
    let source = with_database(&mongodb, &format!("docferry_{name}"));
    runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&source).await.unwrap();
        let database = client.default_database().unwrap();
        database.drop().await.unwrap();
        for (collection, documents) in collections {
            database.collection::<Document>(collection).insert_many(documents).await.unwrap();
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pipeline.toml");
    fs::write(&file, format!("version = 1\nname = \"{name}\"\n{pipeline}")).unwrap();
    let (client, address) =
        runtime.block_on(fresh_database(&postgres, &format!("docferry_{name}")));
    // A server that is not at UTC must not shift anything.
    let zone = format!("ALTER DATABASE docferry_{name} SET timezone = 'America/New_York'");
    runtime.block_on(client.batch_execute(&zone)).unwrap();
    let output = docferry()
        .args([
            "run",
            file.to_str().unwrap(),
            "--source",
            &source,
            "--target",
            &address,
            "--staging",
        ])
        .arg(folder.path().join("staging"))
        .output()
        .unwrap();
    Some(Migrated { folder, runtime, client, address, output })
}

impl Migrated {
    /// `table.column rule` of each reject.
    fn rejects(&self) -> Vec<String> {
        self.list("rejects")
    }

    fn list(&self, list: &str) -> Vec<String> {
        let path = self.run().join(list).join("transform.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        let mut found: Vec<String> = text
            .lines()
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                format!("{} {}.{} {}", text("id"), text("table"), text("column"), text("rule"))
            })
            .collect();
        found.sort();
        found
    }

    #[track_caller]
    fn assert_exit(&self, code: i32) {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.shown());
    }
}

fn number(number: i32) -> String {
    format!("{{\"$numberInt\":\"{number}\"}}")
}

#[test]
fn nul_characters_are_refused_or_taken_out_as_the_file_says() {
    let pipeline = r#"
[tables.texts.columns]
id = { from = "_id", type = "integer", key = true }
kept = { type = "text" }
stripped = { type = "text", nul = "strip" }
tree = { type = "jsonb" }
"#;
    let documents = vec![
        doc! {"_id": 1, "kept": "a\0b", "stripped": "", "tree": {}},
        doc! {"_id": 2, "kept": "ab", "stripped": "a\0b", "tree": {"x": "y"}},
        doc! {"_id": 3, "kept": "ab", "stripped": "ab", "tree": {"x": ["y\0"]}},
    ];
    let Some(outcome) = migrate("nul", pipeline, &[("texts", documents)]) else { return };
    outcome.assert_exit(3);
    assert_eq!(
        outcome.rejects(),
        [format!("{} texts.kept nul", number(1)), format!("{} texts.tree nul", number(3))]
    );
    assert_eq!(outcome.rows("SELECT stripped FROM texts"), ["ab"]);
    assert_eq!(outcome.list("findings"), [format!("{} texts.stripped nul_stripped", number(2))]);
}

#[test]
fn a_field_of_many_types_is_exact_in_jsonb_and_refused_where_it_does_not_fit() {
    let pipeline = r#"
[tables.mixed.columns]
id = { from = "_id", type = "integer", key = true }
value = { type = "jsonb" }
[tables.numbers.columns]
id = { from = "_id", type = "integer", key = true }
value = { type = "numeric" }
[tables.lists.columns]
id = { from = "_id", type = "integer", key = true }
value = { type = "text[]" }
"#;
    let mixed = vec![
        doc! {"_id": 1, "value": 1},
        doc! {"_id": 2, "value": 9_007_199_254_740_993_i64},
        doc! {"_id": 3, "value": "text"},
        doc! {"_id": 4, "value": [1, "two", {"three": 3}]},
        doc! {"_id": 5, "value": {"a.b": 1, "$c": 2, "": 3, " d ": 4}},
        doc! {"_id": 6, "value": true},
        doc! {"_id": 7, "value": null},
        doc! {"_id": 8, "value": 0.1},
    ];
    let numbers = vec![
        doc! {"_id": 1, "value": 7},
        doc! {"_id": 2, "value": i64::MAX},
        doc! {"_id": 3, "value": 0.1},
        doc! {"_id": 4, "value": "12".parse::<Decimal128>().unwrap()},
        doc! {"_id": 5, "value": "1.234567890123456789012345678901234E-6000".parse::<Decimal128>().unwrap()},
        doc! {"_id": 6, "value": "9.999999999999999999999999999999999E+6144".parse::<Decimal128>().unwrap()},
        doc! {"_id": 7, "value": "NaN".parse::<Decimal128>().unwrap()},
        doc! {"_id": 8, "value": "-Infinity".parse::<Decimal128>().unwrap()},
        doc! {"_id": 9, "value": f64::INFINITY},
        doc! {"_id": 10, "value": "eleven"},
    ];
    // A scalar in one document, an array in the next.
    let lists = vec![
        doc! {"_id": 1, "value": ["a", null, "b"]},
        doc! {"_id": 2, "value": "a"},
        doc! {"_id": 3, "value": []},
        doc! {"_id": 4, "value": ["a", 1]},
        doc! {"_id": 5},
    ];
    let collections = [("mixed", mixed), ("numbers", numbers), ("lists", lists)];
    let Some(outcome) = migrate("types", pipeline, &collections) else { return };
    outcome.assert_exit(3);
    assert_eq!(
        outcome.rows("SELECT value::text FROM mixed ORDER BY id"),
        [
            "1",
            "9007199254740993",
            "\"text\"",
            r#"[1, "two", {"three": 3}]"#,
            r#"{"": 3, "$c": 2, " d ": 4, "a.b": 1}"#,
            "true",
            "NULL",
            "0.1",
        ]
    );
    let numbers = outcome.rows("SELECT value::text FROM numbers ORDER BY id");
    assert_eq!(numbers[..4], ["7", "9223372036854775807", "0.1", "12"]);
    assert!(numbers[4].ends_with("1234567890123456789012345678901234"), "every digit is there");
    assert_eq!(numbers[5].len(), 6145);
    assert_eq!(numbers[6..], ["NaN", "-Infinity", "Infinity"]);
    let lists = outcome.rows("SELECT value::text FROM lists ORDER BY id");
    assert_eq!(lists[0], "{a,NULL,b}");
    let mut refused = outcome.rejects();
    refused.retain(|line| !line.contains("lists"));
    assert_eq!(refused, [format!("{} numbers.value type", number(10))]);
    // What is no list of texts is refused by name, never guessed.
    let refused: Vec<String> =
        outcome.rejects().into_iter().filter(|line| line.contains("lists")).collect();
    assert_eq!(
        refused,
        [format!("{} lists.value type", number(2)), format!("{} lists.value type", number(4))]
    );
}

#[test]
fn dates_are_exact_whatever_the_zone_and_refused_beyond_what_postgresql_has() {
    let pipeline = r#"
[tables.dates.columns]
id = { from = "_id", type = "integer", key = true }
moment = { type = "timestamptz" }
local = { from = "moment", type = "timestamp(3)" }
"#;
    let date = |number: i32, milliseconds: i64| doc! {"_id": number, "moment": DateTime::from_millis(milliseconds)};
    let documents = vec![
        date(1, 0),
        date(2, 253_402_300_800_000),
        date(3, -62_198_755_200_000),
        date(4, i64::MAX),
        date(5, i64::MIN),
        date(6, 1_710_054_000_123),
    ];
    let Some(outcome) = migrate("dates", pipeline, &[("dates", documents)]) else { return };
    outcome.assert_exit(3);
    assert_eq!(
        outcome.rows("SELECT local::text || ' ' || (moment AT TIME ZONE 'UTC' = local)::text FROM dates ORDER BY id"),
        [
            "1970-01-01 00:00:00 true", "10000-01-01 00:00:00 true", "0002-01-01 00:00:00 BC true",
            "2024-03-10 07:00:00.123 true",
        ]
    );
    assert_eq!(
        outcome.rejects(),
        [format!("{} dates.moment range", number(4)), format!("{} dates.moment range", number(5))]
    );
}

#[test]
fn names_that_differ_in_case_or_look_like_syntax_are_kept_apart() {
    let long = "a".repeat(60);
    let pipeline = format!(
        r#"
[tables."Order Items".columns]
id = {{ from = "_id", type = "integer", key = true }}
name = {{ type = "text" }}
Name = {{ type = "text" }}
"first name" = {{ type = "text" }}
dotted = {{ from = 'a\.b', type = "text" }}
nested = {{ from = "a.b", type = "text" }}
"$price" = {{ type = "text" }}
xmin_ = {{ from = "xmin", type = "text" }}
"select" = {{ type = "text" }}
{long}1 = {{ type = "text", index = true }}
{long}2 = {{ type = "text", index = true }}
rest = {{ from = "*", type = "jsonb" }}
"#
    );
    let mut document = doc! {"_id": 1, "name": "n", "Name": "N", "first name": "f", "a.b": "dotted",
    "a": {"b": "nested"}, "$price": "p", "xmin": "x", "select": "s", "": "empty", "ctid": "c"};
    document.insert(format!("{long}1"), "one");
    document.insert(format!("{long}2"), "two");
    let Some(outcome) = migrate("names", &pipeline, &[("Order Items", vec![document])]) else {
        return;
    };
    outcome.assert_exit(0);
    let sql = format!(
        r#"SELECT concat_ws(' ', name, "Name", "first name", dotted, nested, "$price", xmin_, "select", {long}1, {long}2, rest::text)
           FROM "Order Items""#
    );
    assert_eq!(
        outcome.rows(&sql),
        [r#"n N f dotted nested p x s one two {"": "empty", "ctid": "c"}"#]
    );
    // A column that PostgreSQL has itself is a mistake of the file, found before any data is read.
    let wrong = "[tables.a.columns]\nid = { from = \"_id\", type = \"uuid\", key = true }\nctid = { type = \"text\" }\n";
    let Some(outcome) = migrate("ctid", wrong, &[("a", vec![doc! {"ctid": "c"}])]) else { return };
    outcome.assert_exit(2);
    assert!(outcome.shown().contains("ctid_"), "{}", outcome.shown());
}

#[test]
fn ids_of_every_type_and_uuids_of_both_subtypes_are_keys() {
    let pipeline = r#"
[tables.things.columns]
id = { from = "_id", type = "uuid", key = true }
label = { type = "text" }
friend = { references = "things" }
legacy = { type = "uuid", uuid_order = "csharp" }
raw = { from = "legacy", type = "bytea" }
"#;
    let object_id = ObjectId::from_bytes([101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let bytes: Vec<u8> = (0..16).collect();
    let binary = |subtype: BinarySubtype| Bson::Binary(Binary { subtype, bytes: bytes.clone() });
    let documents = vec![
        doc! {"_id": object_id, "label": "objectid", "friend": 7},
        doc! {"_id": 7, "label": "int", "friend": "seven"},
        doc! {"_id": "seven", "label": "string", "friend": {"a": 1}},
        doc! {"_id": {"a": 1}, "label": "document", "friend": object_id},
        doc! {"_id": binary(BinarySubtype::Uuid), "label": "uuid", "legacy": binary(BinarySubtype::UuidOld)},
        doc! {"_id": 7.5, "label": "double", "friend": "nobody", "legacy": binary(BinarySubtype::Uuid)},
    ];
    let Some(outcome) = migrate("ids", pipeline, &[("things", documents)]) else { return };
    outcome.assert_exit(0);
    assert_eq!(
        outcome.rows("SELECT t.label || ' ' || coalesce(f.label, '-') FROM things t LEFT JOIN things f ON f.id = t.friend ORDER BY 1"),
        ["document objectid", "double -", "int string", "objectid int", "string document", "uuid -"]
    );
    assert_eq!(
        outcome.rows("SELECT legacy::text || ' ' || encode(raw, 'hex') FROM things WHERE legacy IS NOT NULL ORDER BY 1"),
        [
            "00010203-0405-0607-0809-0a0b0c0d0e0f 000102030405060708090a0b0c0d0e0f",
            "03020100-0504-0706-0809-0a0b0c0d0e0f 000102030405060708090a0b0c0d0e0f",
        ]
    );
    assert_eq!(
        outcome.list("findings"),
        [
            r#""seven" things.id digest_key"#.to_owned(),
            r#"{"$numberDouble":"7.5"} things.friend dangling"#.to_owned(),
            r#"{"$numberDouble":"7.5"} things.id digest_key"#.to_owned(),
            format!("{} things.id digest_key", number(7)),
            format!(r#"{{"a":{}}} things.id digest_key"#, number(1)),
        ],
        "what returns from no column, and the dangling reference"
    );
}

#[test]
fn undefined_stays_what_it_is_where_a_column_can_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/odd");
    let things = [
        doc! {"_id": 1, "j": Bson::Undefined, "t": Bson::Undefined, "in": {"x": Bson::Undefined}},
        doc! {"_id": 2, "j": [Bson::Undefined, Bson::Null], "t": "t", "to": Bson::Undefined},
        doc! {"_id": 3, "j": Bson::Null, "to": {"city": "c"}},
    ];
    write_dump(&dump, "things", &things);
    let file = folder.path().join("odd.toml");
    let text = r#"version = 1
name = "odd"
[tables.things.columns]
id = { from = "_id", type = "integer", key = true }
j = { type = "jsonb" }
t = { type = "text" }
in = { type = "jsonb" }
city = { from = "to.city", type = "text" }
"#;
    fs::write(&file, text).unwrap();
    let Some(odd) = support::migrate(&file, dump.to_str().unwrap(), "docferry_odd") else { return };
    odd.assert_exit(0);
    assert_eq!(
        odd.rows("SELECT id || coalesce(j::text, '-') || coalesce(t, '-') || coalesce(\"in\"::text, '-') FROM things ORDER BY 1"),
        [
            r#"1{"$undefined": true}-{"x": {"$undefined": true}}"#,
            r#"2[{"$undefined": true}, null]t-"#,
            "3---",
        ]
    );
    assert_eq!(
        odd.list("findings"),
        [format!("{} things.t undefined", number(1)), format!("{} things. undefined", number(2)),]
    );
}

#[test]
fn a_zero_with_a_sign_keeps_it_or_is_a_reject() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/zeros");
    let minus: Bson = "-0".parse::<Decimal128>().unwrap().into();
    let things = [
        doc! {"_id": 1, "d": -0.0, "j": {"z": -0.0}},
        doc! {"_id": 2, "d": minus.clone(), "j": minus.clone()},
        doc! {"_id": 3, "n": -0.0},
        doc! {"_id": 4, "n": minus},
        doc! {"_id": 5, "i": -0.0},
        doc! {"_id": 6, "n": 0.0, "i": 0.0, "d": 0.0},
        doc! {"_id": -0.0},
    ];
    write_dump(&dump, "things", &things);
    let file = folder.path().join("zeros.toml");
    let text = r#"version = 1
name = "zeros"
[tables.things.columns]
id = { from = "_id", type = "integer", key = true }
d = { type = "double precision" }
n = { type = "numeric" }
i = { type = "bigint" }
j = { type = "jsonb" }
"#;
    fs::write(&file, text).unwrap();
    let Some(zeros) = support::migrate(&file, dump.to_str().unwrap(), "docferry_zeros") else {
        return;
    };
    zeros.assert_exit(3);
    assert_eq!(
        zeros.rejects(),
        [
            format!("{} things.n type", number(3)),
            format!("{} things.n type", number(4)),
            format!("{} things.i type", number(5)),
        ]
    );
    assert_eq!(
        zeros.rows("SELECT id || ':' || coalesce(d::text, '') FROM things ORDER BY id"),
        ["0:", "1:-0", "2:-0", "6:0"],
        "as an _id, -0 and 0 are one"
    );
    assert_eq!(
        zeros.list("findings"),
        [
            format!("{} things.j negative_zero", number(1)),
            format!("{} things.j negative_zero", number(2)),
        ],
        "jsonb has none"
    );
    // A draft takes the type that holds them.
    write_dump(
        &dump,
        "things",
        &[doc! {"_id": 1, "x": -0.0}, doc! {"_id": 2, "x": 1}, doc! {"_id": 3, "x": 0.5}],
    );
    let drafted = docferry().args(["plan", dump.to_str().unwrap()]).output().unwrap();
    let text = String::from_utf8(drafted.stdout).unwrap();
    assert!(text.contains("x = { type = \"double precision\""), "{text}");
}

#[test]
fn a_late_field_and_nested_arrays_are_not_missed() {
    let pipeline = r#"
[tables.orders.columns]
id = { from = "_id", type = "integer", key = true }
[tables.lines]
each = "orders.boxes.lines"
[tables.lines.columns]
order_id = { parent = true, required = true, type = "integer", references = "orders" }
position = { ordinal = true, type = "integer" }
sku = { type = "text" }
"#;
    let mut documents: Vec<Document> =
        (0..12_000).map(|number| doc! {"_id": number, "boxes": []}).collect();
    documents[11_000].insert("late", "never sampled");
    documents[5].insert(
        "boxes",
        vec![doc! {"lines": [{"sku": "a"}, {"sku": "b"}]}, doc! {"lines": [{"sku": "c"}]}],
    );
    let Some(outcome) = migrate("late", pipeline, &[("orders", documents)]) else { return };
    // Success with a part of the data does not exist: a document that is not there is a reject.
    outcome.assert_exit(3);
    assert_eq!(outcome.rejects(), [format!("{} orders. unmapped", number(11_000))]);
    assert_eq!(outcome.rows("SELECT count(*)::text FROM orders"), ["11999"]);
    assert_eq!(outcome.rows("SELECT order_id || sku FROM lines ORDER BY sku"), ["5a", "5b", "5c"]);
    let keys =
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND convalidated";
    assert_eq!(outcome.rows(keys), ["FOREIGN KEY (order_id) REFERENCES orders(id)"]);
}

#[test]
fn parts_are_sized_by_bytes_however_large_the_documents_are() {
    let pipeline = r#"
[tables.files.columns]
id = { from = "_id", type = "integer", key = true }
content = { type = "bytea" }
"#;
    let content = |fill: u8| {
        Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![fill; 6 << 20] })
    };
    let documents: Vec<Document> =
        (0..9).map(|number| doc! {"_id": i32::from(number), "content": content(number)}).collect();
    let Some(outcome) = migrate("large", pipeline, &[("files", documents)]) else { return };
    outcome.assert_exit(0);
    let latest = outcome.folder.path().join("staging/large/latest");
    let text = fs::read_to_string(latest.join("export/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    for part in manifest["collections"][0]["parts"].as_array().unwrap() {
        // 16 MiB, and the document that crosses it.
        assert!(part["document_bytes"].as_u64().unwrap() < 23 << 20, "{part}");
    }
    assert_eq!(
        outcome.rows("SELECT sum(length(content))::text FROM files"),
        [(9_u64 * (6 << 20)).to_string()]
    );
}

#[test]
fn a_snapshot_that_ends_names_the_setting_and_a_tier_that_refuses_timeouts_is_read() {
    let Some(mongodb) = server("DOCFERRY_TEST_MONGODB") else { return };
    let _turn = failpoint();
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(mongodb::Client::with_uri_str(&mongodb)).unwrap();
    let database = client.database("docferry_snapshot");
    runtime.block_on(async {
        database.drop().await.unwrap();
        database.collection::<Document>("a").insert_one(doc! {"_id": 1}).await.unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("a.toml");
    let text = "version = 1\nname = \"a\"\n[tables.a.columns]\nid = { from = \"_id\", type = \"integer\", key = true }\n";
    fs::write(&pipeline, text).unwrap();
    let export = |app: &str, code: i32, times: i32, more: &[&str]| {
        let data = doc! {"failCommands": ["find"], "errorCode": code, "appName": app};
        let point =
            doc! {"configureFailPoint": "failCommand", "mode": {"times": times}, "data": data};
        runtime.block_on(client.database("admin").run_command(point).into_future()).unwrap();
        let source = format!("{}&appName={app}", with_database(&mongodb, "docferry_snapshot"));
        run_export(folder.path(), &pipeline, &source, more)
    };
    let output = export("docferry-snapshot", 239, 1, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("minSnapshotHistoryWindowInSeconds") && text.contains("--no-snapshot"),
        "{text}"
    );
    let output = export("docferry-atlas", 8000, 1, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

fn run_export(folder: &Path, pipeline: &Path, source: &str, more: &[&str]) -> Output {
    docferry()
        .arg("export")
        .arg(pipeline)
        .args(["--source", source, "--staging"])
        .arg(folder.join("staging"))
        .args(more)
        .output()
        .unwrap()
}
