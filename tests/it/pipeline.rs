//! Pipeline files: those of the project are right, wrong ones are shown where they are wrong.

use std::path::Path;

use docferry::pipeline::{load, parse};

use crate::support::{docferry, project};

#[test]
fn nextcrm_maps_every_model_enum_and_junction() {
    let pipeline = load(&project("pipelines/nextcrm.toml")).unwrap();
    assert_eq!(pipeline.tables.len(), 29);
    assert_eq!(pipeline.enums.len(), 10);
    assert_eq!(pipeline.junctions.len(), 10);
}

#[test]
fn each_mistake_is_shown_with_its_line_and_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.toml");
    let text = "\
version = 1
name = \"wrong\"
[tables.users.columns]
id = { from = \"_id\", type = \"uuid\", key = true }
mail = { type = \"txet\" }
boss = { type = \"uuid\", references = \"user\" }
age = { type = \"integer\", requred = true }
";
    std::fs::write(&path, text).unwrap();
    let output = docferry().arg("check").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let shown = String::from_utf8(output.stderr).unwrap();
    for expected in
        ["wrong.toml:5", "`text`", "wrong.toml:6", "`users`", "wrong.toml:7", "`required`"]
    {
        assert!(shown.contains(expected), "{expected} is not in\n{shown}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(cut in 0_usize..2000, with in ".{0,20}") {
        let text = std::fs::read_to_string(project("pipelines/nextcrm.toml")).unwrap();
        let at = text.floor_char_boundary(cut);
        let damaged = format!("{}{with}{}", &text[..at], &text[at..text.floor_char_boundary(4000)]);
        let _ = parse(Path::new("damaged.toml"), &damaged);
    }
}
