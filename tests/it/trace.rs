//! One document, and one row, told from the source to PostgreSQL.

use std::path::Path;
use std::process::Output;

use mongodb::bson::oid::ObjectId;
use serde_json::{Value as Json, json};

use crate::stages::{orders, people, run_stages};
use crate::support::{docferry, fresh_database, server, shown, write_dump};

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        let dump = place.folder.path().join("shop");
        write_dump(&dump, "people", &people());
        write_dump(&dump, "orders", &orders());
        run_stages(place.path(), dump.to_str().unwrap(), "2");
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, command: &str, words: &[&str]) -> Output {
        let mut docferry = docferry();
        docferry.arg(command).arg(self.path().join("shop.toml")).args(words);
        docferry.arg("--staging").arg(self.path().join("staging-2")).output().unwrap()
    }

    fn trace(&self, words: &[&str]) -> (Option<i32>, Json) {
        let output = self.command("trace", &[words, &["--json"]].concat());
        let value: Json = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), value["trace"].clone())
    }
}

/// The `_id` of an order, and the key of its row.
fn order(number: u8) -> (String, String) {
    let id = ObjectId::from_bytes([0x65, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, number]);
    let uuid = docferry::document::id::uuid_from_object_id(id.bytes());
    (id.to_hex(), uuid::Uuid::from_bytes(uuid).to_string())
}

fn leaf<'t>(trace: &'t Json, path: &str) -> &'t Json {
    trace["leaves"].as_array().unwrap().iter().find(|leaf| leaf["path"] == path).unwrap()
}

#[test]
fn every_leaf_row_and_link_of_a_document_is_told() {
    let place = Place::new();
    let (id, key) = order(1);
    let (status, trace) = place.trace(&["orders", &id]);
    assert_eq!(status, Some(0));
    assert_eq!((&trace["collection"], &trace["id"]), (&json!("orders"), &json!(id)));
    assert_eq!(trace["part_sha256"].as_str().unwrap().len(), 64);
    for (path, end, columns) in [
        ("_id", "equal", json!(["orders.id", "lines.order_id"])),
        ("buyer", "equal", json!(["orders.buyer"])),
        ("followers.0", "equal", json!(["followers"])),
        ("followers.1", "repeat", json!([])),
        ("followers.2", "null_element", json!([])),
        ("followers.3", "dangling", json!([])),
        ("lines.1.sku", "equal", json!(["lines.sku"])),
    ] {
        let leaf = leaf(&trace, path);
        assert_eq!((&leaf["end"], &leaf["columns"]), (&json!(end), &columns), "{path}");
    }
    let rows: Vec<(&str, &str)> = trace["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["table"].as_str().unwrap(), row["key"].as_str().unwrap()))
        .collect();
    assert_eq!(rows[0], ("orders", key.as_str()));
    assert_eq!(rows.iter().filter(|(table, _)| *table == "followers").count(), 2);
    assert_eq!(rows.iter().filter(|(table, _)| *table == "lines").count(), 2);
    assert!(trace["places"].as_array().unwrap().iter().all(|place| place["part"].is_string()));

    // A text says the same to people.
    let text = shown(&place.command("trace", &["orders", &id]));
    for part in ["lines.1.sku", "followers.3", "dangling", &key, "transform/orders/"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_rejected_document_is_told_with_its_rule() {
    let place = Place::new();
    let (status, trace) = place.trace(&["orders", &order(4).0]);
    assert_eq!(status, Some(0));
    assert_eq!(leaf(&trace, "state")["end"], "rejected");
    assert_eq!(trace["rejects"][0]["rule"], "enum");
    assert!(trace["refused"][0].as_str().unwrap().starts_with("orders: rule enum"), "{trace}");
    assert_eq!(trace["rows"], json!([]));
}

#[test]
fn a_row_leads_to_its_document_and_to_what_postgresql_holds() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let place = Place::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_trace"));
    let loaded = place.command("load", &["--target", &address]);
    assert!(loaded.status.success(), "{}", shown(&loaded));
    let (id, key) = order(2);
    let ask = || place.trace(&["orders", &key, "--target", &address]);
    let (status, trace) = ask();
    assert_eq!((status, &trace["id"]), (Some(0), &json!(id)));
    assert_eq!(trace["rows"].as_array().unwrap().len(), 1);
    assert_eq!(trace["places"][0]["target"], "equal");
    let extra = trace["rows"][0]["columns"].as_array().unwrap().iter();
    let extra = extra.clone().find(|column| column["column"] == "extra").unwrap();
    assert_eq!(extra["value"], r#"{"n": "NaN", "$a": 2.0, "b.c": 1}"#);

    runtime.block_on(client.batch_execute("UPDATE orders SET note = 'new'")).unwrap();
    let (status, trace) = ask();
    assert_eq!(status, Some(4));
    assert_eq!(trace["places"][0]["target"], json!({"differs": [["note", "new"]]}));
    runtime
        .block_on(
            client.batch_execute("DELETE FROM followers; DELETE FROM lines; DELETE FROM orders"),
        )
        .unwrap();
    assert_eq!(ask().1["places"][0]["target"], "missing");
    // A key of several columns.
    let (_, trace) = place.trace(&["lines", &format!("{}, 1", order(1).1)]);
    assert_eq!(trace, Json::Null, "lines have no key here: their whole row is it");
    let (status, trace) = place.trace(&["lines", &format!("({}, 1, b)", order(1).1)]);
    assert_eq!((status, &trace["id"]), (Some(0), &json!(order(1).0)));
}

#[test]
fn what_is_not_there_is_named() {
    let place = Place::new();
    for (words, part) in [
        (["order", "x"], "Did you mean `orders`?"),
        (["orders", "507f1f77bcf86cd799439011"], "507f1f77bcf86cd799439011"),
        (["followers", "a, b"], "no document leads to a row of followers"),
    ] {
        let output = place.command("trace", &words);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains(part), "{}", shown(&output));
    }
}
