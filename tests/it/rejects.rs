//! Refused records: looked at, repaired, added.

use std::path::Path;
use std::process::Output;

use mongodb::bson::doc;
use mongodb::bson::oid::ObjectId;

use crate::support::{docferry, fresh_database, server, shown, write_dump};

const PIPELINE: &str = r#"
version = 1
name = "club"
schema = "club"
[enums]
Mood = ["GOOD", "BAD"]
[tables.members.columns]
id = { from = "_id", type = "uuid", key = true }
name = { type = "text", required = true, unique = true }
mood = { type = "Mood" }
guest_of = { references = "members", optional = true }
[tables.visits]
each = "members.visits"
[tables.visits.columns]
member = { parent = true, required = true, references = "members" }
number = { ordinal = true, type = "integer" }
minutes = { type = "integer" }
[tables.games.columns]
id = { from = "_id", type = "uuid", key = true }
[junctions.players]
columns = { game_id = "games", member_id = "members" }
from = ["games.players"]
"#;

fn id(number: u8) -> ObjectId {
    ObjectId::from_bytes([101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number])
}

fn run(folder: &Path, command: &str, more: &[&str]) -> Output {
    let mut docferry = docferry();
    docferry.arg(command).arg(folder.join("club.toml"));
    docferry.arg("--staging").arg(folder.join("staging")).args(more).output().unwrap()
}

fn stage(folder: &Path) {
    std::fs::write(folder.join("club.toml"), PIPELINE).unwrap();
    let dump = folder.join("dump/club");
    let members = [
        doc! {"_id": id(1), "name": "Ann", "mood": "GOOD", "visits": [{"minutes": 1}, {"minutes": "x"}, {"minutes": 3}]},
        doc! {"_id": id(2), "name": "Bob", "mood": "UGLY", "visits": [{"minutes": 4}]},
        doc! {"_id": id(3), "name": "Cid", "mood": "BAD", "visits": [], "guest_of": id(2)},
        doc! {"_id": id(4), "name": "Ann", "mood": "UGLY", "visits": []},
    ];
    write_dump(&dump, "members", &members);
    let games = [
        doc! {"_id": id(11), "players": [id(1), id(2), id(9)]},
        doc! {"_id": id(12), "players": [id(2), id(3)]},
    ];
    write_dump(&dump, "games", &games);
    let output = run(folder, "export", &["--source", dump.to_str().unwrap()]);
    assert!(output.status.success(), "{}", shown(&output));
    let output = run(folder, "transform", &[]);
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
}

#[test]
fn rejects_are_counted_listed_and_shown_with_their_document() {
    let folder = tempfile::tempdir().unwrap();
    stage(folder.path());
    let output = run(folder.path(), "rejects", &["--json"]);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let counts: Vec<String> = value["counts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|count| format!("{} {} {}", count["table"], count["rule"], count["count"]))
        .collect();
    assert_eq!(
        counts,
        [r#""members" "enum" 2"#, r#""visits" "dangling" 1"#, r#""visits" "type" 1"#]
    );
    let output = run(folder.path(), "rejects", &["--table", "members", "--list"]);
    assert!(shown(&output).contains(&format!("members.mood {} enum", id(2))), "{}", shown(&output));
    let output = run(folder.path(), "rejects", &["--show", &id(2).to_string()]);
    assert!(shown(&output).contains(r#""name": "Bob""#), "{}", shown(&output));
    let output = run(folder.path(), "rejects", &["--show", "nobody"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn too_many_rejects_end_a_transform_early() {
    let folder = tempfile::tempdir().unwrap();
    stage(folder.path());
    let changed = format!("{PIPELINE}\n# changed\n");
    std::fs::write(folder.path().join("club.toml"), changed).unwrap();
    for (limit, code) in [("1", 1), ("10%", 1), ("4", 3), ("90%", 3)] {
        let output = run(folder.path(), "transform", &["--max-rejects", limit]);
        assert_eq!(output.status.code(), Some(code), "{limit}: {}", shown(&output));
    }
    assert_eq!(run(folder.path(), "transform", &["--max-rejects", "many"]).status.code(), Some(2));
}

#[test]
fn repaired_rejects_are_added_to_the_rows_that_are_loaded() {
    let Some(server) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&server, "docferry_rejects"));
    let text = |sql: &str| -> String {
        runtime
            .block_on(client.query_one(sql, &[]))
            .unwrap()
            .get::<_, Option<String>>(0)
            .unwrap_or_default()
    };
    stage(folder.path());
    let target = ["--target", address.as_str()];
    let output = run(folder.path(), "load", &target);
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(text("SELECT string_agg(name, ' ' ORDER BY name) FROM club.members"), "Ann Cid");

    // Another column is another table.
    let other = PIPELINE.replace("minutes = { type = \"integer\"", "minutes = { type = \"bigint\"");
    std::fs::write(folder.path().join("club.toml"), other).unwrap();
    let output = run(folder.path(), "transform", &["--retry-rejects"]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("visits"), "{}", shown(&output));

    let repaired = PIPELINE.replace(r#"["GOOD", "BAD"]"#, r#"["GOOD", "BAD", "UGLY"]"#).replace(
        "minutes = { type = \"integer\"",
        "minutes = { values = { \"x\" = \"2\" }, coerce = true, type = \"integer\"",
    );
    std::fs::write(folder.path().join("club.toml"), repaired).unwrap();
    for _ in 0..2 {
        let output = run(folder.path(), "transform", &["--retry-rejects"]);
        assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    }
    // The second Ann still breaks the unique name.
    let output = run(folder.path(), "rejects", &["--list"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1, "{}", shown(&output));
    assert!(
        shown(&output).contains(&format!("members.name {} unique", id(4))),
        "{}",
        shown(&output)
    );
    let manifest =
        std::fs::read_to_string(folder.path().join("staging/club/latest/transform/manifest.json"));
    let manifest: serde_json::Value = serde_json::from_str(&manifest.unwrap()).unwrap();
    for table in manifest["tables"].as_array().unwrap() {
        let number = |name: &str| table[name].as_u64().unwrap();
        assert_eq!(
            number("records"),
            number("rows") + number("rejects") + number("dropped"),
            "{table}"
        );
    }
    let sums = std::process::Command::new("sha256sum")
        .args(["--check", "--quiet", "SHA256SUMS"])
        .current_dir(folder.path().join("staging/club/latest/transform"))
        .status()
        .unwrap();
    assert!(sums.success());

    let output = run(folder.path(), "load", &target);
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(
        text("SELECT string_agg(name || ' ' || mood, ', ' ORDER BY name) FROM club.members"),
        "Ann GOOD, Bob UGLY, Cid BAD"
    );
    assert_eq!(
        text(
            "SELECT string_agg(name || number || ' ' || minutes, ', ' ORDER BY name, number) FROM club.visits JOIN club.members ON id = member"
        ),
        "Ann0 1, Ann1 2, Ann2 3, Bob0 4"
    );
    assert_eq!(text("SELECT count(*)::text FROM club.players"), "4");
    // A row refers to none that came after it: what was dangling then stays NULL.
    let output = run(folder.path(), "verify", &[&target[..], &["--documents"]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", shown(&output));
    assert!(shown(&output).contains("what arrived is proved"), "{}", shown(&output));
    let cleared = "UPDATE club.members SET guest_of = NULL WHERE guest_of IS NOT NULL";
    if runtime.block_on(client.execute(cleared, &[])).unwrap() > 0 {
        let output = run(folder.path(), "verify", &[&target[..], &["--documents"]].concat());
        assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    }
}
