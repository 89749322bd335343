//! Extensions of PostgreSQL that the documentation names: its lines are run as they stand.

use mongodb::bson::doc;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::plan::id;
use crate::support::{Spare, docferry, may_start, migrate_to, project, shown, write_dump};

/// A server that has this extension, and the folder that it lives in.
fn extended(extension: &str) -> Option<(TempDir, Spare, String)> {
    if !may_start() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (spare, server) = Spare::extended(folder.path(), extension);
    Some((folder, spare, server))
}

#[test]
fn geometries_are_made_of_geojson() {
    let Some((folder, _spare, server)) = extended("postgis") else { return };
    let documentation = std::fs::read_to_string(project("docs/pipeline-file.md")).unwrap();
    let line = documentation.lines().find(|line| line.contains("ST_GeomFromGeoJSON")).unwrap();
    std::fs::write(folder.path().join("geo.sql"), line.trim()).unwrap();
    let pipeline = folder.path().join("theaters.toml");
    std::fs::write(
        &pipeline,
        "version = 1\nname = \"theaters\"\n[hooks]\nbefore_load = [\"postgis.sql\"]\n\
         after_load = [\"geo.sql\"]\n[tables.theaters.columns]\n\
         id = { from = \"_id\", type = \"uuid\", key = true }\nlocation = { type = \"jsonb\" }\n",
    )
    .unwrap();
    std::fs::write(folder.path().join("postgis.sql"), "CREATE EXTENSION IF NOT EXISTS postgis;")
        .unwrap();
    let place = |at: u32, longitude: f64| {
        let geo = doc! {"type": "Point", "coordinates": [longitude, 48.25]};
        doc! {"_id": id(at), "location": {"city": "x", "geo": geo}}
    };
    let dump = folder.path().join("dump/theaters");
    write_dump(&dump, "theaters", &[place(1, 16.5), place(2, -0.125), doc! {"_id": id(3)}]);
    let migrated = migrate_to(&server, &pipeline, dump.to_str().unwrap(), "theaters", "", &[]);
    assert_eq!(migrated.output.status.code(), Some(0), "{}", migrated.shown());
    migrated.assert_proved();
    assert_eq!(
        migrated.rows("SELECT coalesce(ST_AsText(geo), '-') FROM theaters ORDER BY id"),
        ["POINT(16.5 48.25)", "POINT(-0.125 48.25)", "-"]
    );
}

#[test]
fn embeddings_become_vectors() {
    let Some((folder, _spare, server)) = extended("vector") else { return };
    // That server has no other extension of the pipeline.
    let text = std::fs::read_to_string(project("pipelines/neo-alexandria.toml")).unwrap();
    let hook = "sql/neo-alexandria/vectors.sql";
    let hooks = text.split_once("[hooks]").unwrap().1.split_once("\n\n").unwrap().0;
    assert!(hooks.contains(hook), "{hooks}");
    let pipeline = folder.path().join("neo.toml");
    let text = text.replace(hooks, "\nafter_load = [\"vectors.sql\"]");
    std::fs::write(&pipeline, text).unwrap();
    std::fs::copy(project(hook), folder.path().join("vectors.sql")).unwrap();
    let file = folder.path().join("neo.db");
    let source = format!("sqlite:{}", file.display());
    let output = docferry()
        .args(["generate", pipeline.to_str().unwrap(), "--to", &source, "--documents", "500"])
        .arg("--sound")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let sqlite = Connection::open(&file).unwrap();
    let made = sqlite.execute(
        "UPDATE resources SET embedding = '[' || rowid || ', 0.5, -2.25]' WHERE rowid > 1",
        [],
    );
    let vectors = made.unwrap();
    assert!(vectors > 3, "{vectors}");
    sqlite.execute("UPDATE resources SET embedding = NULL WHERE rowid = 1", []).unwrap();
    drop(sqlite);
    let migrated = migrate_to(&server, &pipeline, &source, "neo", "", &[]);
    // Some records refer to the same unique row.
    assert!(matches!(migrated.output.status.code(), Some(0 | 3)), "{}", migrated.shown());
    migrated.assert_proved();
    assert_eq!(
        migrated.rows("SELECT count(embedding_vector)::text FROM resources"),
        [vectors.to_string()]
    );
    // The nearest of a vector is itself.
    assert_eq!(
        migrated.rows(
            "SELECT embedding::text FROM resources
             ORDER BY embedding_vector <-> '[3, 0.5, -2.25]' LIMIT 1"
        ),
        ["[3, 0.5, -2.25]"]
    );
    assert_eq!(
        migrated.rows(
            "SELECT indexname::text FROM pg_indexes WHERE indexdef LIKE '%hnsw%' AND tablename = 'resources'"
        ),
        ["idx_resources_embedding"]
    );
}
