//! A generated NextCRM database through `run`: every planted flaw ends where its list says.

use std::collections::{BTreeMap, BTreeSet};
use std::future::IntoFuture;
use std::path::Path;

use docferry::document::id::{parse_object_id_hex, uuid_from_object_id};
use docferry::generate::{Expectation, Planted};
use docferry::postgres::quote_identifier;
use docferry::progress::Stage;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::TransformManifest;
use docferry::staging::rejects::{List, Reject, read};
use tokio_postgres::Client;

use crate::support::{docferry, fresh_database, project, server, with_database};

fn generate(to: &str, planted: &Path) -> Planted {
    let output = docferry()
        .arg("generate")
        .arg(project("pipelines/nextcrm.toml"))
        .args(["--documents", "3000", "--seed", "20", "--to", to, "--planted"])
        .arg(planted)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(planted).unwrap()).unwrap()
}

/// Runs the migration and compares what came out with the planted list.
fn run_and_compare(folder: &Path, source: &str, database: &str, planted: &Planted) {
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&postgres, database));
    let staging = folder.join("staging");
    let output = docferry()
        .arg("run")
        .arg(project("pipelines/nextcrm.toml"))
        .args(["--json", "--source", source, "--target", &address, "--staging"])
        .arg(&staging)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{shown}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["proved"], true, "{result}");

    let run = RunDirectory::open(&staging, "nextcrm", "latest").unwrap();
    compare_totals(&TransformManifest::read(&run).unwrap(), planted);
    let by_id = |list| {
        let mut lines: BTreeMap<(String, String), Vec<Reject>> = BTreeMap::new();
        for line in read(&run, list, Stage::Transform).unwrap() {
            lines.entry((line.collection.clone(), line.id.clone())).or_default().push(line);
        }
        lines
    };
    let (rejects, findings) = (by_id(List::Rejects), by_id(List::Findings));
    let mut kinds = BTreeSet::new();
    for flaw in &planted.flaws {
        let shown = format!("{flaw:?}");
        let id = (flaw.collection.clone(), flaw.id.clone());
        let value = || runtime.block_on(stored(&client, flaw));
        kinds.insert(flaw.flaw.as_str());
        let rejected = rejects.get(&id).map(Vec::as_slice).unwrap_or_default();
        match &flaw.expect {
            Expectation::Reject(rule) => {
                assert_eq!(rejected.len(), 1, "{shown}");
                assert_eq!(
                    (&rejected[0].rule, &rejected[0].column),
                    (rule, &flaw.column),
                    "{shown}"
                );
                assert!(rejected[0].document.is_object(), "{shown}");
                assert_eq!(value(), None, "{shown}");
            }
            expected => {
                assert_eq!(rejected.len(), 0, "{shown}");
                let stored = value().unwrap_or_else(|| panic!("no row for {shown}"));
                match expected {
                    Expectation::Value(expected) => assert_eq!(&stored, expected, "{shown}"),
                    Expectation::Finding(rule) => {
                        let found = findings.get(&id).map(Vec::as_slice).unwrap_or_default();
                        let named =
                            |line: &Reject| line.rule == *rule && line.column == flaw.column;
                        assert!(found.iter().any(named), "{shown}");
                        assert_eq!(stored, None, "{shown}");
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(kinds.len() >= 40, "only {} kinds of flaw: {kinds:?}", kinds.len());
}

/// The value of the flaw's column, as PostgreSQL prints it; none when there is no row.
async fn stored(client: &Client, flaw: &docferry::generate::PlantedFlaw) -> Option<Option<String>> {
    let key = uuid_from_object_id(parse_object_id_hex(&flaw.id).unwrap());
    let column = quote_identifier(flaw.column.as_deref().unwrap_or("id"));
    let sql = format!(
        "SELECT {column}::text FROM {} WHERE id = '{}'",
        quote_identifier(&flaw.table),
        uuid::Uuid::from_bytes(key)
    );
    client.query_opt(&sql, &[]).await.unwrap().map(|row| row.get(0))
}

fn compare_totals(manifest: &TransformManifest, planted: &Planted) {
    for table in &manifest.tables {
        let name = &table.definition.name;
        if let Some(links) = &table.junction {
            let totals = &planted.junctions[name];
            let found = docferry::generate::JunctionTotals {
                elements: links.elements.values().sum(),
                both_sides: links.both_sides,
                only_first: links.only_first,
                only_second: links.only_second,
                repeats: links.repeats,
                nulls: links.nulls,
                dangling: links.dangling,
                refused: links.refused,
            };
            assert_eq!(found, *totals, "{name}");
            assert!(links.both_sides + links.only_first > 0, "{name} links something");
        } else {
            let totals = &planted.tables[name];
            assert_eq!((table.records, table.rows), (totals.records, totals.rows), "{name}");
            assert_eq!(table.rejects_by_rule, totals.rejects, "{name}");
            assert_eq!(table.findings, totals.findings, "{name}");
        }
    }
}

#[test]
fn every_planted_flaw_of_a_dump_ends_where_its_list_says() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("nextcrm");
    let planted = generate(dump.to_str().unwrap(), &folder.path().join("planted.json"));
    run_and_compare(folder.path(), dump.to_str().unwrap(), "docferry_planted_dump", &planted);
}

#[test]
fn every_planted_flaw_of_a_live_server_ends_where_its_list_says() {
    let Some(uri) = server("DOCFERRY_TEST_MONGODB") else { return };
    let database = format!("docferry_planted_{}", std::process::id());
    let source = with_database(&uri, &database);
    let folder = tempfile::tempdir().unwrap();
    let planted = generate(&source, &folder.path().join("planted.json"));
    run_and_compare(folder.path(), &source, "docferry_planted_live", &planted);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
        client.database(&database).drop().into_future().await.unwrap();
    });
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let dump = folder.path().join(name).join("nextcrm");
        let planted = generate(dump.to_str().unwrap(), &folder.path().join("planted.json"));
        let bytes = std::fs::read(dump.join("Documents.bson")).unwrap();
        assert!(bytes.len() > 100_000);
        (planted, bytes)
    };
    assert!(make("one") == make("two"));
}
