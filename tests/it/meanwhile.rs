//! Rows that are written while a verification reads: one moment is proved, whatever comes after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mongodb::bson::doc;
use serde_json::{Value as Json, json};
use tokio_postgres::NoTls;

use crate::support::{docferry, fresh_database, server, shown, write_dump};

const PIPELINE: &str = r#"
version = 1
name = "bank"
[tables.accounts.columns]
id = { from = "_id", type = "integer", key = true }
owner = { type = "text" }
[tables.still.columns]
id = { from = "_id", type = "integer", key = true }
account = { type = "integer", references = "accounts" }
"#;

const ACCOUNTS: i32 = 20_000;
const VERIFICATIONS: usize = 4;

/// At every moment exactly one account has another owner: each transaction gives one back and takes
/// the next. Who reads different moments sees none of them, or several.
async fn write(address: String, ended: Arc<AtomicBool>, commits: Arc<AtomicU64>) {
    let (mut client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
    tokio::spawn(connection);
    let take = client.prepare("UPDATE accounts SET owner = 'taken' WHERE id = $1").await.unwrap();
    let give =
        client.prepare("UPDATE accounts SET owner = 'owner ' || id WHERE id = $1").await.unwrap();
    let mut taken = 1;
    client.execute(&take, &[&taken]).await.unwrap();
    while !ended.load(Ordering::Relaxed) {
        let next = (taken + 7_919) % ACCOUNTS + 1;
        let transaction = client.transaction().await.unwrap();
        transaction.execute(&give, &[&taken]).await.unwrap();
        transaction.execute(&take, &[&next]).await.unwrap();
        transaction.commit().await.unwrap();
        taken = next;
        commits.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_writer_brings_about_neither_a_false_proof_nor_a_false_alarm() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("bank.toml"), PIPELINE).unwrap();
    let dump = folder.path().join("dump");
    let accounts: Vec<_> =
        (1..=ACCOUNTS).map(|id| doc! {"_id": id, "owner": format!("owner {id}")}).collect();
    let still: Vec<_> = (1..=ACCOUNTS).map(|id| doc! {"_id": id, "account": id}).collect();
    write_dump(&dump, "accounts", &accounts);
    write_dump(&dump, "still", &still);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_meanwhile"));
    let command = |words: &[&str]| {
        let mut docferry = docferry();
        docferry.arg(words[0]).arg(path("bank.toml")).args(&words[1..]);
        docferry.args(["--target", &address, "--staging", &path("staging")]).output().unwrap()
    };
    let run = command(&["run", "--source", dump.to_str().unwrap()]);
    assert!(run.status.success(), "{}", shown(&run));

    let (ended, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writing = runtime.spawn(write(address.clone(), Arc::clone(&ended), Arc::clone(&commits)));
    // The first commit: from here on there is always one.
    while commits.load(Ordering::Relaxed) == 0 {
        assert!(!writing.is_finished());
        std::thread::yield_now();
    }
    let mut told = false;
    for _ in 0..VERIFICATIONS {
        let before = commits.load(Ordering::Relaxed);
        let output = command(&["verify", "--documents", "--connections", "2", "--json"]);
        let written = commits.load(Ordering::Relaxed) - before;
        assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
        let report: Json = serde_json::from_slice(&output.stdout).unwrap();
        let report = &report["verify"];
        let named = report["documents"]["differences"].as_array().unwrap();
        assert_eq!(named.len(), 1, "{named:?}");
        assert_eq!(
            (&named[0]["table"], &named[0]["column"]),
            (&json!("accounts"), &json!("owner"))
        );
        assert_eq!(named[0]["target"], "taken");
        for table in report["tables"].as_array().unwrap() {
            let expected = usize::from(table["table"] == "accounts");
            assert_eq!(table["differences"].as_array().unwrap().len(), expected, "{table}");
        }
        let since = report["written_since"].as_array().cloned().unwrap_or_default();
        assert!(since.iter().all(|of| of["table"] == "accounts"), "{since:?}");
        told |= !since.is_empty();
        println!("{written} transactions meanwhile");
    }
    assert!(told, "nothing is said of what was written since");
    ended.store(true, Ordering::Relaxed);
    runtime.block_on(writing).unwrap();
    let taken = "UPDATE accounts SET owner = 'owner ' || id WHERE owner = 'taken'";
    assert_eq!(runtime.block_on(client.execute(taken, &[])).unwrap(), 1);
    let output = command(&["verify", "--documents"]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert!(!shown(&output).contains("were written"), "{}", shown(&output));
}
