//! One number is one `_id`, whatever its type: MongoDB's own `$lookup` is the oracle.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures_util::TryStreamExt;
use mongodb::bson::{Bson, Decimal128, Document, doc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::runtime::Runtime;

use crate::support::{docferry, migrate, server, shown, with_database, write_dump};

fn decimal(text: &str) -> Bson {
    text.parse::<Decimal128>().unwrap().into()
}

/// A number out of a small set, in a type that holds it.
fn any_number() -> BoxedStrategy<Bson> {
    let whole = prop_oneof![-9_i64..9, Just(1 << 40), Just((1 << 53) + 1), Just(i64::MIN)];
    let whole = (whole, 0..4_u8).prop_map(|(number, form)| match form {
        0 if i32::try_from(number).is_ok() => Bson::Int32(number.try_into().unwrap()),
        1 if number.unsigned_abs() <= 1 << 53 => Bson::Double(number as f64),
        2 => decimal(&format!("{number}.000")),
        _ => Bson::Int64(number),
    });
    let quarter = (-9_i32..9, any::<bool>()).prop_map(|(number, double)| {
        let number = f64::from(number) / 4.0;
        if double { Bson::Double(number) } else { decimal(&format!("{number:.3}")) }
    });
    let special = prop_oneof![
        Just(Bson::Double(-0.0)),
        Just(decimal("-0E+3")),
        Just(Bson::Double(f64::NAN)),
        Just(decimal("NaN")),
        Just(Bson::Double(f64::INFINITY)),
        Just(decimal("Infinity")),
        // 0.1 is no double.
        Just(Bson::Double(0.1)),
        Just(decimal("0.1")),
        Just(decimal("0.10")),
        Just(Bson::Double(1e300)),
        Just(decimal("1E+300")),
        Just(Bson::Double(9_223_372_036_854_775_808.0)),
        Just(decimal("9223372036854775808")),
    ];
    let scalar = prop_oneof![4 => whole, 2 => quarter, 2 => special];
    prop_oneof![
        8 => scalar.clone(),
        1 => scalar.prop_map(|number| Bson::Document(doc! {"n": number})),
    ]
    .boxed()
}

/// What MongoDB finds of each child: the labels of the parents that `field` leads to.
async fn lookups(
    database: &mongodb::Database,
    parents: &str,
    field: &str,
) -> BTreeMap<i32, Vec<String>> {
    let lookup = doc! {"$lookup":
    {"from": parents, "localField": field, "foreignField": "_id", "as": "found"}};
    let children = database.collection::<Document>("children");
    let rows: Vec<Document> =
        children.aggregate([lookup]).await.unwrap().try_collect().await.unwrap();
    rows.iter()
        .map(|row| {
            let found = row.get_array("found").unwrap().iter();
            let labels = found
                .map(|parent| parent.as_document().unwrap().get_str("label").unwrap().to_owned());
            let mut labels: Vec<String> = labels.collect();
            labels.sort();
            (row.get_i32("_id").unwrap(), labels)
        })
        .collect()
}

const TABLES: &str = r#"
[tables.parents.columns]
id = { from = "_id", KEY }
label = { type = "text" }
[tables.children.columns]
id = { from = "_id", type = "integer", key = true }
parent = { type = "TYPE", references = "parents" }
[junctions.links]
columns = { child = "children", parent = "parents" }
from = ["children.all"]
[tables.pairs]
each = "parents.list"
[tables.pairs.columns]
parent = { parent = true, type = "TYPE", references = "parents", key = true }
position = { ordinal = true, type = "integer", key = true }
value = { element = true, type = "integer" }
"#;

#[test]
fn a_number_of_any_type_leads_to_the_rows_that_mongodb_finds() {
    let Some(mongodb) = server("DOCFERRY_TEST_MONGODB") else { return };
    let mut runner = TestRunner::deterministic();
    let mut draw = || any_number().new_tree(&mut runner).unwrap().current();
    let parents: Vec<Document> = (0..300)
        .map(|at| doc! {"_id": draw(), "label": format!("parent {at}"), "list": [1, 2]})
        .collect();
    let children: Vec<Document> = (0..400)
        .map(|at| doc! {"_id": at, "parent": draw(), "all": [draw(), draw(), draw(), draw()]})
        .collect();
    let runtime = Runtime::new().unwrap();
    let source = with_database(&mongodb, "docferry_identity");
    let (one, many, labels) = runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&source).await.unwrap();
        let database = client.default_database().unwrap();
        database.drop().await.unwrap();
        let collection = database.collection::<Document>("parents");
        // The server itself says which ids are one.
        let mut labels = 0;
        for parent in &parents {
            labels += usize::from(collection.insert_one(parent).await.is_ok());
        }
        database.collection::<Document>("children").insert_many(&children).await.unwrap();
        let one = lookups(&database, "parents", "parent").await;
        (one, lookups(&database, "parents", "all").await, labels)
    });
    assert!((40..250).contains(&labels), "{labels} distinct ids");
    let found = one.values().filter(|found| !found.is_empty()).count();
    assert!((100..400).contains(&found), "{found} of 400 references lead somewhere");

    let folder = tempfile::tempdir().unwrap();
    for (name, key, pg_type) in [
        ("uuid", r#"type = "uuid", key = true"#, "uuid"),
        ("serial", r#"type = "integer", key = "serial""#, "integer"),
    ] {
        let tables = TABLES.replace("KEY", key).replace("TYPE", pg_type);
        let file = folder.path().join(format!("identity_{name}.toml"));
        let text = format!("version = 1\nname = \"identity_{name}\"\n{tables}");
        std::fs::write(&file, text).unwrap();
        let database = format!("docferry_identity_{name}");
        let Some(migrated) = migrate(&file, &source, &database) else { return };
        assert_eq!(migrated.output.status.code(), Some(0), "{}", migrated.shown());
        let rows = migrated.rows(
            "SELECT c.id || ' ' || coalesce(p.label, '-') FROM children c \
             LEFT JOIN parents p ON p.id = c.parent ORDER BY c.id",
        );
        for (row, (id, found)) in rows.iter().zip(&one) {
            let label = found.first().map_or("-", String::as_str);
            assert_eq!(*row, format!("{id} {label}"), "{name}");
        }
        let rows = migrated.rows(
            "SELECT c.id || ' ' || coalesce(string_agg(p.label, ',' ORDER BY p.label COLLATE \"C\"), '') \
             FROM children c LEFT JOIN links l ON l.child = c.id \
             LEFT JOIN parents p ON p.id = l.parent GROUP BY c.id ORDER BY c.id",
        );
        for (row, (id, found)) in rows.iter().zip(&many) {
            assert_eq!(*row, format!("{id} {}", found.join(",")), "{name}");
        }
        let pairs = "SELECT count(*)::text FROM pairs p JOIN parents q ON q.id = p.parent";
        assert_eq!(migrated.rows(pairs), [(2 * labels).to_string()], "{name}");
    }
}

fn drafted(folder: &tempfile::TempDir, dump: &std::path::Path, name: &str) -> (PathBuf, String) {
    let file = folder.path().join(format!("{name}.toml"));
    let output = docferry()
        .args(["plan", dump.to_str().unwrap(), "-o", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text)
}

#[test]
fn ids_made_as_doubles_are_whole_numbers_in_a_draft() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/shop");
    let customers: Vec<Document> =
        (0..40).map(|n| doc! {"_id": f64::from(n), "name": format!("n{n}")}).collect();
    let orders: Vec<Document> = (0..80)
        .map(|n| {
            let customer: Bson =
                if n % 2 == 0 { (n % 40).into() } else { i64::from(n % 40).into() };
            doc! {"_id": decimal(&n.to_string()), "customer": customer, "customers": [n % 40]}
        })
        .collect();
    write_dump(&dump, "customers", &customers);
    write_dump(&dump, "orders", &orders);
    let (file, text) = drafted(&folder, &dump, "doubles");
    assert!(text.contains(r#"id = { from = "_id", type = "bigint", key = true }"#), "{text}");
    assert!(
        text.contains(r#"customer = { type = "bigint", required = true, references = "customers""#),
        "{text}"
    );
    let Some(migrated) = migrate(&file, dump.to_str().unwrap(), "docferry_doubles") else { return };
    migrated.assert_whole(120, 0);
    let joined = "SELECT count(*)::text FROM orders o JOIN customers c ON c.id = o.customer \
                  WHERE c.name = 'n' || o.id % 40";
    assert_eq!(migrated.rows(joined), ["80"]);
}

#[test]
fn an_id_that_its_key_cannot_hold_is_a_reject() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/shop");
    let things = [
        doc! {"_id": 7.0},
        doc! {"_id": 7.5},
        doc! {"_id": decimal("8.0")},
        doc! {"_id": 1e30},
        // To MongoDB the same as the first.
        doc! {"_id": decimal("7")},
    ];
    write_dump(&dump, "things", &things);
    let file = folder.path().join("exact.toml");
    let text = "version = 1\nname = \"exact\"\n[tables.things.columns]\n\
                id = { from = \"_id\", type = \"bigint\", key = true }\n";
    std::fs::write(&file, text).unwrap();
    let Some(migrated) = migrate(&file, dump.to_str().unwrap(), "docferry_exact") else { return };
    migrated.assert_whole(5, 3);
    assert_eq!(migrated.rows("SELECT id::text FROM things ORDER BY id"), ["7", "8"]);
}

#[test]
fn the_uuid_of_an_id_is_printed_whatever_form_the_number_has() {
    let ids = [
        "1",
        "1.0",
        r#"{"$numberLong":"1"}"#,
        r#"{"$numberDecimal":"1.00"}"#,
        r#"{"$numberInt":"1"}"#,
    ];
    let output = docferry().arg("id").args(ids).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 5);
    lines.dedup();
    assert_eq!(lines.len(), 1, "{text}");
}
