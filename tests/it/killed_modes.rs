//! Upserts that are killed between two of their transactions go on, and are undone as a whole.

use std::process::{Command, Stdio};

use mongodb::bson::{Document, doc};

use crate::homes::Place;
use crate::support::{assert_same, shown, state, write_dump};

const PIPELINE: &str = r#"
version = 1
name = "books"
schema = "app"
[tables.books.columns]
id = { from = "_id", type = "integer", key = true }
title = { type = "text" }
"#;

/// Rows: several transactions of an upsert.
const ROWS: i32 = 40_000;

/// Every second title is new, and so is every row after the last one that is there.
fn staged() -> Vec<Document> {
    let title = |n: i32| if n % 2 == 0 { format!("new {n}") } else { format!("old {n}") };
    (1..=ROWS + 5000).map(|n| doc! {"_id": n, "title": title(n)}).collect()
}

#[test]
fn an_upsert_that_is_killed_goes_on_and_is_undone_as_a_whole() {
    let Some(place) = Place::new("docferry_killed_upsert") else { return };
    std::fs::write(place.path("books.toml"), PIPELINE).unwrap();
    write_dump(&place.path("dump/books"), "books", &staged());
    let run = place.stage_dump();
    place.sql(
        "CREATE SCHEMA app; CREATE TABLE app.books (id integer PRIMARY KEY, title text, own text)",
    );
    place.sql(&format!(
        "INSERT INTO app.books SELECT n, 'old ' || n, 'own ' || n FROM generate_series(1, {ROWS}) n"
    ));
    let before = state(&place.address);
    for kills in 1..4_i64 {
        for kill in 0..kills {
            let mut load = Command::new(env!("CARGO_BIN_EXE_docferry"))
                .arg("load")
                .arg(place.path("books.toml"))
                .arg("--staging")
                .arg(place.path("staging"))
                .args(["--target", &place.address, "--run", &run, "--home", "existing"])
                .args(["--mode", "upsert", "--connections", "1"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            while pieces(&place) < 1 + kill * 2 && load.try_wait().unwrap().is_none() {}
            load.kill().unwrap();
            load.wait().unwrap();
            assert!(pieces(&place) > 0);
        }
        let output = place.load(&run, &["--home", "existing", "--mode", "upsert"]);
        assert!(output.status.success(), "{}", shown(&output));
        place.verify(&run);
        let own = "SELECT count(*)::text FROM app.books WHERE own = 'own ' || id";
        assert_eq!(place.text(own), ROWS.to_string());
        let output = place.rollback(&[]);
        assert!(output.status.success(), "{}", shown(&output));
        assert_same(&before, &state(&place.address));
    }
}

/// Transactions of the load that are in the ledger.
fn pieces(place: &Place) -> i64 {
    let there = place.text("SELECT (to_regclass('docferry.sequences') IS NOT NULL)::text");
    if there != "true" {
        return 0;
    }
    place.text("SELECT count(*)::text FROM docferry.loaded_parts").parse().unwrap()
}
