//! Arrays that become tables: order, repeats, and what an array without elements was.

use std::path::Path;

use mongodb::bson::{Bson, Document, doc};

use crate::support::{docferry, migrate, shown, write_dump};

fn planned(folder: &Path, dump: &Path, name: &str) -> (std::path::PathBuf, String) {
    let file = folder.join(format!("{name}.toml"));
    let output = docferry()
        .args(["plan", dump.to_str().unwrap(), "-o", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text)
}

fn songs() -> Vec<Document> {
    (1..40).map(|n| doc! {"_id": n, "title": format!("song {n}")}).collect()
}

#[test]
fn a_list_of_ids_keeps_its_order_and_its_repeats() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/music");
    write_dump(&dump, "songs", &songs());
    let mut lists: Vec<Document> =
        (0..30).map(|n| doc! {"_id": n, "songs": [7, 3, 9, 7, n + 1]}).collect();
    lists[1].insert("songs", vec![Bson::Int32(5), Bson::Null, Bson::Int32(999), Bson::Int32(5)]);
    lists[2].insert("songs", Bson::Array(vec![]));
    write_dump(&dump, "playlists", &lists);
    let (file, text) = planned(folder.path(), &dump, "music");
    assert!(text.contains("position = \"position\""), "{text}");
    assert!(
        text.contains("29 arrays not in the order of their ids, 29 arrays with an id twice"),
        "{text}"
    );
    let source = dump.to_str().unwrap();
    let Some(music) = migrate(&file, source, "docferry_music") else { return };
    assert_eq!(music.output.status.code(), Some(0), "{}", music.shown());
    let list = |id: i32| {
        music.rows(&format!(
            "SELECT string_agg(position || ':' || songs_id, ' ' ORDER BY position) \
             FROM playlists_songs WHERE playlists_id = {id}"
        ))
    };
    assert_eq!(list(0), ["0:7 1:3 2:9 3:7 4:1"]);
    assert_eq!(list(1), ["0:5 3:5"], "a null and a song that is not there leave their places");
    assert_eq!(list(2), ["NULL"]);
    let key = "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
               WHERE conrelid = 'playlists_songs'::regclass AND contype = 'p'";
    assert_eq!(music.rows(key), ["PRIMARY KEY (playlists_id, \"position\")"]);
    let verify = || {
        let staging = music.folder.path().join("staging");
        docferry()
            .args(["verify", file.to_str().unwrap(), "--target", &music.address, "--staging"])
            .arg(staging)
            .output()
            .unwrap()
    };
    assert_eq!(verify().status.code(), Some(0), "{}", shown(&verify()));
    let swap = "UPDATE playlists_songs SET songs_id = 10 - songs_id + 0 \
                WHERE playlists_id = 0 AND position IN (0, 1)";
    music.runtime.block_on(music.client.batch_execute(swap)).unwrap();
    let output = verify();
    assert_eq!(output.status.code(), Some(4), "songs that changed places: {}", shown(&output));
}

#[test]
fn links_of_sorted_sets_need_no_position() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/music");
    write_dump(&dump, "songs", &songs());
    let lists: Vec<Document> =
        (0..30).map(|n| doc! {"_id": n, "songs": [n % 5 + 1, 9, 12]}).collect();
    write_dump(&dump, "playlists", &lists);
    let (_, text) = planned(folder.path(), &dump, "sets");
    assert!(text.contains("[junctions.playlists_songs]") && !text.contains("position"), "{text}");
}

#[test]
fn positions_are_those_of_one_array() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two.toml");
    let text = r#"version = 1
name = "two"
[tables.a.columns]
id = { from = "_id", type = "integer", key = true }
[tables.b.columns]
id = { from = "_id", type = "integer", key = true }
[junctions.links]
columns = { a = "a", b = "b" }
from = ["a.bs", "b.as"]
position = "a"
"#;
    std::fs::write(&file, text).unwrap();
    let output = docferry().arg("check").arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = shown(&output);
    assert!(said.contains("positions are those of one array"), "{said}");
    assert!(said.contains("a column of the junction has this name"), "{said}");
}

/// Documents whose array is there, empty, null, missing or undefined in turn.
fn five_kinds(field: &str, item: &Bson) -> Vec<Document> {
    let documents = (0..50).map(|n| {
        let mut document = doc! {"_id": n};
        match n % 5 {
            0 => _ = document.insert(field, vec![item.clone()]),
            1 => _ = document.insert(field, Bson::Array(vec![])),
            2 => _ = document.insert(field, Bson::Null),
            3 => {}
            _ => _ = document.insert(field, Bson::Undefined),
        }
        document
    });
    documents.collect()
}

#[test]
fn what_an_array_without_elements_was_is_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/shop");
    write_dump(&dump, "orders", &five_kinds("items", &Bson::Document(doc! {"sku": "a"})));
    let (file, text) = planned(folder.path(), &dump, "kinds");
    assert!(
        text.contains(r#"items_state = { from = "items", presence = true, type = "text" }"#),
        "{text}"
    );
    assert!(text.contains("empty in 10, null in 10, missing in 10, undefined in 10"), "{text}");
    let source = dump.to_str().unwrap();
    let Some(kinds) = migrate(&file, source, "docferry_kinds") else { return };
    assert_eq!(kinds.output.status.code(), Some(0), "{}", kinds.shown());
    assert_eq!(
        kinds.rows(
            "SELECT items_state || ' ' || count(*) FROM orders GROUP BY items_state ORDER BY 1"
        ),
        ["empty 10", "filled 10", "missing 10", "null 10", "undefined 10"]
    );
    assert_eq!(kinds.rows("SELECT count(*)::text FROM orders_items"), ["10"]);

    // By hand, without the column: the counts are in the manifest, and it is said.
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("presence")).collect();
    let without = lines.join("\n");
    std::fs::write(&file, without).unwrap();
    let Some(merged) = migrate(&file, source, "docferry_kinds") else { return };
    let said = "orders.items is empty in 10, null in 10, missing in 10, undefined in 10";
    assert!(merged.shown().contains(said), "{}", merged.shown());
    let manifest = std::fs::read_to_string(merged.run().join("transform/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let counts = &manifest["tables"][0]["arrays"][0];
    assert_eq!(counts["path"], "items");
    for kind in ["filled", "empty", "null", "missing", "undefined"] {
        assert_eq!(counts[kind], 10, "{kind}: {counts}");
    }
}

#[test]
fn a_column_that_tells_what_a_field_is_takes_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/shop");
    write_dump(&dump, "orders", &[doc! {"_id": 1, "to": {"city": "x", "zip": 1}}, doc! {"_id": 2}]);
    let file = folder.path().join("told.toml");
    let text = "version = 1\nname = \"told\"\n[tables.orders.columns]\n\
                id = { from = \"_id\", type = \"integer\", key = true }\n\
                city = { from = \"to.city\", type = \"text\" }\n\
                there = { from = \"to\", presence = true }\n";
    std::fs::write(&file, text).unwrap();
    let Some(told) = migrate(&file, dump.to_str().unwrap(), "docferry_told") else { return };
    told.assert_whole(2, 1);
    assert_eq!(told.rows("SELECT id || there FROM orders"), ["2missing"], "zip has no place");
}
