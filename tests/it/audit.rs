//! What is staged, looked at by people before anything is loaded.

use std::path::{Path, PathBuf};
use std::process::Output;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{DateTime, Document, doc};

use crate::support::{docferry, shown, write_dump};

const PIPELINE: &str = r#"
version = 1
name = "shop"
[tables.buyers.columns]
id = { from = "_id", type = "uuid", key = true }
name = { type = "text", required = true }
[tables.orders.columns]
id = { from = "_id", type = "uuid", key = true }
buyer = { type = "uuid", references = "buyers" }
total = { type = "numeric" }
state = { type = "text" }
at = { type = "timestamptz" }
"#;

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number])
}

struct Staged {
    folder: tempfile::TempDir,
}

impl Staged {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dump = folder.path().join("dump/shop");
        let mut buyers: Vec<Document> =
            (0..10).map(|n| doc! {"_id": id(n), "name": format!("n{n}")}).collect();
        buyers.push(doc! {"_id": id(10)});
        write_dump(&dump, "buyers", &buyers);
        let orders: Vec<Document> = (0..200)
            .map(|n| {
                doc! {
                    "_id": id(n), "buyer": id(n % 11), "total": f64::from(n) / 4.0,
                    "state": if n % 4 == 0 { "new" } else { "paid <b>" },
                    "at": DateTime::from_millis(1_700_000_000_000 + i64::from(n) * 86_400_000),
                }
            })
            .collect();
        write_dump(&dump, "orders", &orders);
        let staged = Self { folder };
        std::fs::write(staged.path("shop.toml"), PIPELINE).unwrap();
        for (command, source) in [("export", true), ("transform", false)] {
            let mut run = docferry();
            run.arg(command)
                .arg(staged.path("shop.toml"))
                .arg("--staging")
                .arg(staged.path("staging"));
            if source {
                run.arg("--source").arg(&dump);
            }
            let output = run.output().unwrap();
            assert!(matches!(output.status.code(), Some(0 | 3)), "{}", shown(&output));
        }
        staged
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self) -> PathBuf {
        self.path("staging/shop/latest")
    }

    fn docferry(&self, arguments: &[&str]) -> Output {
        docferry().args(arguments).arg("--staging").arg(self.path("staging")).output().unwrap()
    }
}

#[test]
fn a_run_can_be_read_by_someone_who_was_not_there() {
    let staged = Staged::new();
    let output = staged.docferry(&["audit", "latest", "--json"]);
    assert!(output.status.success(), "{}", shown(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let orders = &result["audit"]["tables"][1];
    assert_eq!(orders["rows"], 200);
    let column = |name: &str| {
        orders["columns"]
            .as_array()
            .unwrap()
            .iter()
            .find(|column| column["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(column("total")["greatest"], "49.75");
    assert_eq!(column("at")["least"], "2023-11-14T22:13:20.000Z");
    assert_eq!(column("state")["frequent"][0]["value"], "paid <b>");
    assert_eq!(column("state")["frequent"][0]["share"], 0.75);
    assert_eq!(column("buyer")["nulls"], 18);
    assert_eq!(orders["references"][0]["matched"], 182);
    assert_eq!(orders["references"][0]["dangling"], 18);
    let refused = &result["audit"]["tables"][0]["refused"][0];
    assert_eq!(
        (&refused["rule"], &refused["examples"][0]),
        (&"required".into(), &id(10).to_hex().into())
    );

    let page = std::fs::read_to_string(staged.run().join("report.html")).unwrap();
    assert!(page.contains("paid &lt;b&gt;") && !page.contains("paid <b>"), "values are escaped");
    assert!(page.contains("<svg") && page.contains(&id(10).to_hex()));
    for outside in ["http:", "https:", "src=", "<link", "@import", "url("] {
        assert!(!page.contains(outside), "the page needs nothing else: {outside}");
    }
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn an_audit_names_every_file_that_changed() {
    let staged = Staged::new();
    flip(&staged.run().join("export/orders/part-00000.parquet"));
    std::fs::remove_file(staged.run().join("transform/buyers/part-00000.parquet")).unwrap();
    let output = staged.docferry(&["audit", "shop/latest"]);
    assert_eq!(output.status.code(), Some(12), "{}", shown(&output));
    let text = shown(&output);
    assert!(
        text.contains("export/orders/part-00000.parquet") && text.contains("SHA-256"),
        "{text}"
    );
    assert!(text.contains("transform/buyers/part-00000.parquet"), "{text}");
    let page = std::fs::read_to_string(staged.run().join("report.html")).unwrap();
    assert!(page.contains("do not agree with their manifests"));
}

#[test]
fn rows_and_documents_are_shown() {
    let staged = Staged::new();
    let rows = |conditions: &[&str]| {
        let mut arguments = vec!["show", "latest", "orders", "--json", "--limit", "1000"];
        for condition in conditions {
            arguments.extend(["--where", condition]);
        }
        let output = staged.docferry(&arguments);
        assert!(output.status.success(), "{}", shown(&output));
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        result["rows"].as_array().unwrap().len()
    };
    assert_eq!(rows(&[]), 200);
    assert_eq!(rows(&["state = new"]), 50);
    assert_eq!(rows(&["state != 'new'", "total < 9"]), 27);
    assert_eq!(rows(&["total >= 49.75"]), 1);
    assert_eq!(rows(&["buyer is null"]), 18);
    assert_eq!(rows(&["buyer is not null"]), 182);
    assert_eq!(rows(&["state ~ aid"]), 150);
    assert_eq!(rows(&["at < 2023-11-15"]), 1);

    let output = staged.docferry(&["show", "latest", "orders", "--id", &id(7).to_hex()]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["total"]["$numberDouble"], "1.75");
    let output = staged.docferry(&["show", "latest", "buyers", "--documents", "--limit", "3"]);
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 3);
    for (arguments, hint) in [
        (vec!["show", "latest", "ordrs"], "`orders`"),
        (vec!["show", "latest", "orders", "--where", "totl = 1"], "`total`"),
        (vec!["show", "latest", "orders", "--where", "total"], "COLUMN = VALUE"),
        (vec!["show", "latest", "orders", "--id", "x"], "_id"),
    ] {
        let output = staged.docferry(&arguments);
        assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
        assert!(shown(&output).contains(hint), "{}", shown(&output));
    }
}
