//! What PostgreSQL cannot hold: long index rows, texts with too many words.

use std::fmt::Write as _;
use std::fs;
use std::process::Output;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, Document, doc};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::homes::Place;
use crate::support::{docferry, shown, write_dump};

/// Letters that cannot be compressed.
fn noise(generator: &mut ChaCha8Rng, length: usize) -> String {
    let mut text = String::new();
    while text.len() < length {
        let _ = write!(text, "{:016x}", generator.next_u64());
    }
    text.truncate(length);
    text
}

/// Drafts a pipeline file from a dump with these indexes, and runs it.
fn drafted(
    place: &Place,
    collection: &str,
    documents: &[Document],
    indexes: &Value,
) -> (String, Output) {
    let dump = place.path(collection).join("limits");
    write_dump(&dump, collection, documents);
    let metadata = json!({"options": {}, "indexes": indexes});
    fs::write(dump.join(format!("{collection}.metadata.json")), metadata.to_string()).unwrap();
    let (pipeline, dump) = (place.path("drafted.toml"), dump.to_str().unwrap().to_owned());
    let mut plan = docferry();
    plan.args(["plan", &dump, "--force", "-o"]).arg(&pipeline);
    let output = plan.output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    place.sql(&format!(
        "DROP TABLE IF EXISTS public.\"{collection}\"; DROP SCHEMA IF EXISTS docferry CASCADE"
    ));
    let mut run = docferry();
    run.arg("run").arg(&pipeline).args([
        "--source",
        &dump,
        "--target",
        &place.address,
        "--staging",
    ]);
    let output = run.arg(place.path("staging")).output().unwrap();
    (fs::read_to_string(&pipeline).unwrap(), output)
}

fn assert_whole(place: &Place, output: &Output, table: &str, rows: usize) {
    assert_eq!(output.status.code(), Some(0), "{}", shown(output));
    let found = place.text(&format!("SELECT count(*)::text FROM \"{table}\""));
    assert_eq!(found, rows.to_string());
}

#[test]
fn a_draft_leaves_out_what_an_index_cannot_hold() {
    let Some(place) = Place::new("docferry_limits_draft") else { return };
    let mut generator = ChaCha8Rng::seed_from_u64(19);
    let id = json!({"v": 2, "key": {"_id": 1}, "name": "_id_"});
    // Each text is short enough, all of them are not.
    let documents: Vec<Document> = (0..3)
        .map(|at| {
            let mut text = || noise(&mut generator, 1400);
            doc! {"_id": at, "a": text(), "b": text(), "c": text(), "d": at}
        })
        .collect();
    let indexes = json!([id, {"v": 2, "key": {"a": 1, "b": 1, "c": 1}, "name": "abc", "unique": true},
        {"v": 2, "key": {"a": 1, "d": 1}, "name": "ad"}]);
    let (pipeline, output) = drafted(&place, "texts", &documents, &indexes);
    assert_whole(&place, &output, "texts", 3);
    assert!(
        pipeline.contains("index abc: decide: texts, taken together, are too long"),
        "{pipeline}"
    );
    assert!(pipeline.contains("nothing in PostgreSQL refuses a second document"), "{pipeline}");
    // The index that fits is there.
    let sql = "SELECT count(*)::text FROM pg_indexes WHERE tablename = 'texts' AND indexdef LIKE '%(a, d)'";
    assert_eq!(place.text(sql), "1");
    // An element of an array.
    let documents = [doc! {"_id": 1, "tags": [noise(&mut generator, 6000), "short"]}];
    let indexes = json!([id, {"v": 2, "key": {"tags": 1}, "name": "tags"}]);
    let (pipeline, output) = drafted(&place, "arrays", &documents, &indexes);
    assert_whole(&place, &output, "arrays", 1);
    assert!(pipeline.contains("elements are too long for a GIN index"), "{pipeline}");
}

#[test]
fn texts_of_any_words_can_be_searched() {
    let Some(place) = Place::new("docferry_limits_words") else { return };
    let mut generator = ChaCha8Rng::seed_from_u64(3);
    // Words of 1 to 3 letters of 1 to 4 bytes, put together in every way that doubles them.
    let mut documents = Vec::new();
    for (first, letters) in [(0x61, 26), (0x400, 0x80), (0x4e00, 20_000), (0x20000, 40_000)] {
        for length in [1, 3_usize] {
            for joint in ["-", " ", ".com/"] {
                let mut text = String::new();
                while text.chars().count() < 210_000 {
                    for _ in 0..length {
                        let letter = first + generator.next_u32() % letters;
                        text.push(char::from_u32(letter).unwrap_or('x'));
                    }
                    text.push_str(joint);
                    // Words over 2 kB are not searched for.
                    if generator.next_u32().is_multiple_of(300) {
                        text.push(' ');
                    }
                }
                documents.push(doc! {"_id": i32::try_from(documents.len()).unwrap(), "t": text});
            }
        }
    }
    let indexes = json!([{"v": 2, "key": {"_id": 1}, "name": "_id_"},
        {"v": 2, "key": {"_fts": "text", "_ftsx": 1}, "name": "t", "weights": {"t": 1}}]);
    let (_, output) = drafted(&place, "words", &documents, &indexes);
    assert_whole(&place, &output, "words", documents.len());
}

#[test]
fn a_load_goes_on_without_an_index_that_cannot_be_held() {
    let Some(place) = Place::new("docferry_limits_index") else { return };
    let mut generator = ChaCha8Rng::seed_from_u64(7);
    let pipeline = "version = 1\nname = \"books\"\nschema = \"app\"\n\
        [tables.pages.columns]\nid = { from = \"_id\", type = \"integer\", key = true }\n\
        url = { type = \"text\", unique = true }\nbody = { type = \"text\", index = true }\n\
        size = { type = \"integer\", index = true }\n\
        [tables.visits.columns]\nid = { from = \"_id\", type = \"integer\", key = true }\n\
        url = { type = \"text\", references = \"pages.url\" }\n";
    fs::write(place.path("books.toml"), pipeline).unwrap();
    let dump = place.path("dump/books");
    let long = noise(&mut generator, 5000);
    let even = "a".repeat(5000);
    let pages = [
        doc! {"_id": 1, "url": "short", "body": &even, "size": 1},
        doc! {"_id": 2, "url": &long, "body": "b", "size": 2},
    ];
    write_dump(&dump, "pages", &pages);
    write_dump(&dump, "visits", &[doc! {"_id": 1, "url": &long}]);
    let run = place.stage_dump();
    let output = place.load(&run, &[]);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(4), "{text}");
    assert!(
        text.contains("pages: unique constraint pages_url_key is left out: index row size"),
        "{text}"
    );
    assert!(text.contains("the row (2,"), "{text}");
    assert!(
        text.contains("visits: foreign key visits_url_fkey is left out: pages_url_key"),
        "{text}"
    );
    // A long text that can be compressed is no reason to leave an index out.
    assert!(!text.contains("pages_body"), "{text}");
    let indexes = "SELECT string_agg(indexname, ' ' ORDER BY indexname) FROM pg_indexes \
                   WHERE schemaname = 'app' AND tablename = 'pages'";
    assert_eq!(place.text(indexes), "pages_body_idx pages_pkey pages_size_idx");
    assert_eq!(place.text("SELECT count(*)::text FROM app.pages"), "2");
    // It is missed by everyone who asks, and the load can be repeated and undone.
    let output = place.run("verify", &["--target", &place.address, "--run", &run]);
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    assert!(shown(&output).contains("pages_url_key"), "{}", shown(&output));
    let output = place.load(&run, &["--json"]);
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["load"]["left_out"].as_array().unwrap().len(), 3, "{value}");
    let output = place.rollback(&[]);
    assert!(output.status.success(), "{}", shown(&output));
}

#[test]
fn rows_that_no_page_holds_are_rejects_and_all_others_load() {
    let Some(place) = Place::new("docferry_limits_rows") else { return };
    let mut generator = ChaCha8Rng::seed_from_u64(11);
    let kinds = [
        "text", "text", "text", "integer", "bigint", "jsonb", "text[]", "numeric", "bytea",
        "boolean",
    ];
    let mut columns = String::new();
    for at in 0..690 {
        let _ = writeln!(columns, "c{at} = {{ type = \"{}\" }}", kinds[at % kinds.len()]);
    }
    let pipeline = format!(
        "version = 1\nname = \"books\"\nschema = \"app\"\n[tables.wide.columns]\n\
         id = {{ from = \"_id\", type = \"integer\", key = true }}\n{columns}"
    );
    fs::write(place.path("books.toml"), pipeline).unwrap();
    // Rows of every size around the limit.
    let documents: Vec<Document> = (0..300)
        .map(|number| {
            let mut document = doc! {"_id": number};
            let longest = 5 + usize::try_from(number).unwrap() / 6;
            for at in 0..690 {
                if generator.next_u32().is_multiple_of(12) {
                    continue;
                }
                let length = generator.next_u32() as usize % longest;
                let value: Bson = match kinds[at % kinds.len()] {
                    "integer" => Bson::Int32(generator.next_u32().cast_signed()),
                    "bigint" => Bson::Int64(generator.next_u64().cast_signed()),
                    "jsonb" => doc! {"k": noise(&mut generator, length)}.into(),
                    "text[]" => vec![noise(&mut generator, length)].into(),
                    "numeric" => Bson::Int64(generator.next_u64().cast_signed()),
                    "bytea" => Bson::Binary(Binary {
                        subtype: BinarySubtype::Generic,
                        bytes: noise(&mut generator, length).into_bytes(),
                    }),
                    "boolean" => true.into(),
                    _ => noise(&mut generator, length).into(),
                };
                document.insert(format!("c{at}"), value);
            }
            document
        })
        .collect();
    let dump = place.path("dump/books");
    write_dump(&dump, "wide", &documents);
    let output =
        place.run("run", &["--source", dump.to_str().unwrap(), "--target", &place.address]);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(3), "{text}");
    let rows: u32 = place.text("SELECT count(*)::text FROM app.wide").parse().unwrap();
    assert!((50..280).contains(&rows), "{rows} rows: the limit is not among them");
    let rejects = shown(&place.run("rejects", &[]));
    assert!(rejects.contains("row_size") && !rejects.contains("type"), "{rejects}");
    // The smallest that was refused is refused by PostgreSQL, too, or nearly so.
    let largest = place.text("SELECT max(pg_column_size(w.*))::text FROM app.wide w");
    assert!(largest.parse::<u32>().unwrap() > 7000, "{largest}");
}
