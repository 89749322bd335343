//! Drafted pipeline files: they run as they are, on databases that nobody has mapped.

use std::path::Path;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, doc, spec::BinarySubtype};

use crate::support::{
    Migrated, data, docferry, migrate, project, server, shown, with_database, write_dump,
};

/// Drafts a file and runs it.
#[track_caller]
fn plan_and_run(source: &str, name: &str, more: &[&str]) -> Option<Migrated> {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join(format!("{name}.toml"));
    let output = docferry()
        .args(["plan", source, "-o", pipeline.to_str().unwrap()])
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{source}: {}", shown(&output));
    let migrated = migrate(&pipeline, source, &format!("docferry_plan_{name}"))?;
    let code = migrated.output.status.code();
    assert!(matches!(code, Some(0 | 3)), "{source}: {}", migrated.shown());
    migrated.assert_proved();
    Some(migrated)
}

pub(crate) fn id(number: u32) -> ObjectId {
    let [a, b, c, d] = number.to_be_bytes();
    ObjectId::from_bytes([101, 0, 0, 0, 1, 2, 3, 4, a, b, c, d])
}

#[test]
fn real_databases_need_no_file_written_by_hand() {
    let Some(data) = data() else { return };
    let mut sources = Vec::new();
    for folder in ["mongodump", "mongodump_converted", "mongodump_gz", "mongoexport"] {
        for entry in std::fs::read_dir(data.join(folder)).unwrap() {
            sources.push(entry.unwrap().path());
        }
    }
    for entry in std::fs::read_dir(data.join("sqlite")).unwrap() {
        sources.push(entry.unwrap().path());
    }
    sources.push(data.join("pmo_playbook/data-export"));
    assert!(sources.len() >= 10);
    sources.sort();
    for (at, source) in sources.iter().enumerate() {
        let style: &[&str] = if at % 2 == 0 { &["--names", "snake"] } else { &[] };
        let Some(migrated) = plan_and_run(source.to_str().unwrap(), "real", style) else { return };
        assert_eq!(migrated.output.status.code(), Some(0), "{}", migrated.shown());
        migrated.assert_proved();
    }
}

/// A field with each kind of value that columns tell apart, and some that none does.
fn nine_types(number: u32) -> Bson {
    match number % 9 {
        0 => Bson::Int32(7),
        1 => Bson::Double(f64::NAN),
        2 => Bson::String("seven".into()),
        3 => Bson::ObjectId(id(7)),
        4 => Bson::Boolean(true),
        5 => Bson::DateTime(DateTime::from_millis(0)),
        // 7.00 would be the key of 7.
        6 => Bson::Decimal128("7.50".parse::<Decimal128>().unwrap()),
        7 => Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 1] }),
        _ => Bson::MinKey,
    }
}

fn deep(levels: u32) -> Bson {
    (0..levels)
        .fold(Bson::Int32(1), |inner, level| Bson::Document(doc! {format!("level{level}"): inner}))
}

fn hostile(folder: &Path) {
    let names = [
        "",
        " ",
        "\u{feff}bom",
        "a.b",
        "a$b",
        "$x",
        "*",
        "\\",
        "\"",
        "select",
        "user",
        "xmin",
        "ctid",
        "Name",
        "name",
        "NAME",
        "😀",
        "a b",
        "tab\tnew\nline",
        "rest",
        "id",
        "ñ",
        &"ž".repeat(60),
        &format!("{}a", "long".repeat(30)),
        &format!("{}b", "long".repeat(30)),
        "'; drop table x; --",
    ];
    let documents: Vec<Document> = (0..60)
        .map(|number| {
            let mut document = doc! {"_id": id(number)};
            for name in names {
                document.insert(name, i32::try_from(number).unwrap());
            }
            document.insert("nine", nine_types(number));
            document.insert(format!("sparse_{}", number % 20 * 50), "x");
            document
        })
        .collect();
    write_dump(folder, "select", &documents);
    write_dump(folder, "Select", &documents);
    write_dump(folder, &format!("{}.x", "c".repeat(80)), &documents);

    let sparse: Vec<Document> = (0..1000)
        .map(|number| doc! {"_id": id(number), "common": 1, format!("path {number}"): {"inner": [1, "x"]}})
        .collect();
    write_dump(folder, "sparse", &sparse);

    let keys: Document = (0..10_000).map(|key| (format!("{key:08}"), Bson::Int32(key))).collect();
    let maps = [
        doc! {"_id": 1, "by_number": keys, "by_id": {id(1).to_hex(): {"n": 1}, id(2).to_hex(): {"n": 2}}},
        doc! {"_id": 2, "by_number": {}, "by_id": {id(3).to_hex(): {"n": 1.5}}},
    ];
    write_dump(folder, "maps", &maps);

    let shapes = [
        doc! {"_id": "deep", "deep": deep(100)},
        doc! {"_id": "lists", "lists": [[{"a": 1}, {"b": [[2]]}], [], [{"a": Bson::Null}]], "mixed": [1, "x", {"y": 1}]},
        doc! {"_id": "large", "large": "x".repeat(15 << 20), "binary": Binary { subtype: BinarySubtype::UserDefined(0x80), bytes: vec![7; 1 << 20] }},
        doc! {"_id": "empty", "object": {}, "list": [], "null": Bson::Null},
    ];
    write_dump(folder, "shapes", &shapes);
    let any_id: Vec<Document> = (0..90)
        .map(|number| match number % 9 {
            // Equal keys are no two documents.
            4 => doc! {"_id": format!("text {number}"), "n": 1},
            _ if number >= 9 => doc! {"_id": number, "n": 1},
            _ => doc! {"_id": nine_types(number), "n": 1},
        })
        .collect();
    write_dump(folder, "any_id", &any_id);
    write_dump(folder, "nothing", &[]);
}

#[test]
fn hostile_shapes_and_names_run_as_drafted() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/hostile");
    hostile(&dump);
    for style in ["keep", "snake"] {
        let source = dump.to_str().unwrap();
        let Some(hostile) = plan_and_run(source, &format!("hostile_{style}"), &["--names", style])
        else {
            return;
        };
        assert_eq!(hostile.output.status.code(), Some(0), "{}", hostile.shown());
        let count = |sql: &str| hostile.rows(sql).remove(0);
        assert_eq!(count("SELECT count(*)::text FROM maps_by_number"), "10000");
        assert_eq!(count("SELECT sum(n)::text FROM maps_by_id"), "4.5");
        let columns = "SELECT count(*)::text FROM pg_attribute WHERE attrelid = 'sparse'::regclass AND attnum > 0";
        assert_eq!(count(columns), "3", "rare fields do not become columns");
        assert_eq!(count("SELECT count(*)::text FROM sparse WHERE rest <> '{}'"), "1000");
    }
}

#[test]
fn references_and_junctions_are_found_by_their_values() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/club");
    let pick = |number: u32, of: u32| number * 7919 % of;
    let members: Vec<Document> = (0..200)
        .map(|n| doc! {
            "_id": id(n), "name": format!("n{n}"),
            // Named after nothing, and one that leads nowhere.
            "x1": id(if n == 5 { 99_999 } else { pick(n, 200) }),
            "friends": (0..3).map(|k| Bson::ObjectId(id(pick(n + k, 200)))).collect::<Vec<_>>(),
            "groupIds": (0..20).filter(|g| (n * g) % 7 == 1).map(|g| Bson::ObjectId(id(10_000 + g))).collect::<Vec<_>>(),
            "liked": if n % 2 == 0 { id(pick(n, 200)) } else { id(10_000 + pick(n, 20)) },
            "number": i32::try_from(n % 20).unwrap(),
            "color_id": i32::try_from(n % 5).unwrap(),
        })
        .collect();
    write_dump(&dump, "members", &members);
    let groups: Vec<Document> = (0..20)
        .map(|g| doc! {
            "_id": id(10_000 + g), "owner": id(pick(g, 200)).to_hex(),
            "people": (0..200).filter(|n| (n * g) % 7 == 1).map(|n| Bson::ObjectId(id(n))).collect::<Vec<_>>(),
        })
        .collect();
    write_dump(&dump, "groups", &groups);
    let colors: Vec<Document> = (0..5).map(|n| doc! {"_id": n, "name": format!("c{n}")}).collect();
    write_dump(&dump, "colors", &colors);
    let Some(club) = plan_and_run(dump.to_str().unwrap(), "club", &[]) else { return };
    let keys = "SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' ORDER BY 1";
    let found = club.rows(keys).join("\n");
    for expected in [
        "groups FOREIGN KEY (owner) REFERENCES members(id)",
        "members FOREIGN KEY (color_id) REFERENCES colors(id)",
        "members_friends FOREIGN KEY (friends) REFERENCES members(id)",
        "groups_members FOREIGN KEY (groups_id) REFERENCES groups(id)",
    ] {
        assert!(found.contains(expected), "{expected} is not in\n{found}");
    }
    // Numbers that happen to be keys refer to nothing; ids of two collections have no one target.
    for wrong in ["(number)", "(liked)", "(x1)"] {
        assert!(!found.contains(wrong), "{wrong} is in\n{found}");
    }
    assert_eq!(club.rows("SELECT count(*)::text FROM members WHERE x1 IS NULL"), ["0"]);
    let text = std::fs::read_to_string(club.run().join("pipeline.toml")).unwrap();
    assert!(text.contains("ids of several collections: members 91 %, groups 9 %"), "{text}");
}

#[test]
fn a_drafted_file_finds_the_relations_of_a_crm() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("nextcrm");
    let output = docferry()
        .args([
            "generate",
            project("pipelines/nextcrm.toml").to_str().unwrap(),
            "--documents",
            "8000",
        ])
        .args(["--seed", "5", "--to", dump.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    let Some(drafted) = plan_and_run(dump.to_str().unwrap(), "crm", &[]) else { return };
    let manifest = |path: &Path| -> serde_json::Value {
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let drafted = manifest(&drafted.run().join("transform/manifest.json"));
    let declared = docferry::pipeline::load(&project("pipelines/nextcrm.toml")).unwrap();
    let own: std::collections::BTreeSet<(String, String, String)> = drafted["tables"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|table| table["definition"]["kind"] == "junction")
        .map(|table| {
            let name = |at: usize| {
                table["definition"]["foreign_keys"][at]["references_table"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            };
            let mut sides = [name(0), name(1)];
            sides.sort();
            let [first, second] = sides;
            ("junction".to_owned(), first, second)
        })
        .collect();
    for junction in &declared.junctions {
        let mut sides = junction.columns.each_ref().map(|column| column.table.clone());
        sides.sort();
        let [first, second] = sides;
        assert!(
            own.contains(&("junction".to_owned(), first, second)),
            "{} in {own:?}",
            junction.name
        );
    }
}

#[test]
fn no_reference_is_claimed_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("nextcrm");
    let file = project("pipelines/nextcrm.toml");
    let made = docferry()
        .args([
            "generate",
            file.to_str().unwrap(),
            "--documents",
            "20000",
            "--seed",
            "5",
            "--sound",
        ])
        .args(["--to", dump.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", shown(&made));
    let drafted = folder.path().join("crm.toml");
    let output =
        docferry().args(["plan", dump.to_str().unwrap(), "-o", drafted.to_str().unwrap()]).output();
    assert!(output.unwrap().status.success());
    // Field to target table, of both files; junctions as the arrays that fill them.
    let relations = |path: &Path| {
        let pipeline = docferry::pipeline::load(path).unwrap();
        let mut found = std::collections::BTreeSet::new();
        for table in pipeline.tables.iter().filter(|table| table.each.is_none()) {
            for column in &table.columns {
                let docferry::pipeline::model::Origin::Paths(paths) = &column.origin else {
                    continue;
                };
                let Some(reference) = &column.references else { continue };
                for path in paths {
                    found.insert(format!("{}.{path} {}", table.source, reference.table));
                }
            }
        }
        for junction in &pipeline.junctions {
            let mut arrays: Vec<String> =
                junction.from.iter().map(|from| format!("{}.{}", from.table, from.path)).collect();
            arrays.sort();
            found.insert(arrays.join(" = "));
        }
        found
    };
    let (declared, found) = (relations(&file), relations(&drafted));
    let wrong: Vec<_> = found.difference(&declared).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let missed: Vec<_> = declared.difference(&found).collect();
    // One field is not generated, and one has two declared targets, of which it holds the first.
    assert!(missed.len() <= 2, "{missed:?}");
}

#[test]
fn indexes_and_validators_of_a_server_are_read() {
    let Some(uri) = crate::support::server("DOCFERRY_TEST_MONGODB") else { return };
    let database = format!("docferry_plan_{}", std::process::id());
    let uri = crate::support::with_database(&uri, &database);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
        let database = client.default_database().unwrap();
        let created = database.run_command(doc! {
            "create": "orders",
            "validator": {"$jsonSchema": {
                "required": ["state"],
                "properties": {"state": {"enum": ["new", "paid"]}, "gone": {"bsonType": "int"}},
            }},
        });
        created.await.unwrap();
        let orders = database.collection::<Document>("orders");
        let documents = (0..50).map(|n| doc! {"_id": id(n), "state": "new", "number": n, "about": "x", "at": DateTime::now()});
        orders.insert_many(documents).await.unwrap();
        let indexes = database.run_command(doc! {"createIndexes": "orders", "indexes": [
            {"key": {"number": 1}, "name": "number", "unique": true},
            {"key": {"state": 1, "at": -1}, "name": "state"},
            {"key": {"about": "text"}, "name": "words"},
            {"key": {"at": 1}, "name": "old", "expireAfterSeconds": 3600},
            {"key": {"number": 1, "at": 1}, "name": "some", "partialFilterExpression": {"state": "new"}},
        ]});
        indexes.await.unwrap();
    });
    let output = docferry().args(["plan", &uri]).output().unwrap();
    runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&uri).await.unwrap();
        client.default_database().unwrap().drop().await.unwrap();
    });
    assert!(output.status.success(), "{}", shown(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "unique = [[\"number\"]]",
        "columns = [\"state\", \"at\"]",
        "[[tables.orders.search]]",
        "index old: decide: documents expire",
        "index some: decide: partial",
        "validator: state: enum new|paid, required",
        "validator: gone: bsonType int, in no document",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}

#[test]
fn a_sample_says_so_and_asks_for_nothing_that_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/many");
    let documents: Vec<Document> = (0..20_000)
        .map(|n| {
            let mut document = doc! {"_id": id(n), "n": i32::try_from(n).unwrap()};
            if n % 1000 == 999 {
                document.insert("late", "x");
            }
            document
        })
        .collect();
    write_dump(&dump, "many", &documents);
    let Some(many) = plan_and_run(dump.to_str().unwrap(), "many", &["--sample", "500"]) else {
        return;
    };
    assert_eq!(many.output.status.code(), Some(0), "{}", many.shown());
    let text = std::fs::read_to_string(many.run().join("pipeline.toml")).unwrap();
    assert!(text.contains("a sample") && !text.contains("required = true"), "{text}");
    assert_eq!(many.rows("SELECT count(*)::text FROM many"), ["20000"]);
}

#[test]
fn a_draft_is_the_same_each_time_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/hostile");
    hostile(&dump);
    let run = |threads: &str, more: &[&str]| {
        docferry()
            .args(["plan", dump.to_str().unwrap(), "--threads", threads])
            .args(more)
            .output()
            .unwrap()
    };
    let first = run("1", &[]);
    assert!(first.status.success(), "{}", shown(&first));
    assert!(first.stdout == run("4", &[]).stdout, "threads change nothing");
    let file = folder.path().join("mine.toml");
    std::fs::write(&file, "by hand").unwrap();
    let output = run("2", &["-o", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "by hand");
    assert!(run("2", &["-o", file.to_str().unwrap(), "--force"]).status.success());
}

#[test]
fn what_changed_since_a_file_was_drafted_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/shop");
    let order = |n: u32| doc! {"_id": id(n), "total": 1, "to": {"city": "x", "zip": "1"}, "old": true, "lines": [{"sku": "a"}]};
    let orders: Vec<Document> = (0..300).map(order).collect();
    write_dump(&dump, "orders", &orders);
    let file = folder.path().join("shop.toml");
    let run = |arguments: &[&str]| {
        docferry().args(["plan", dump.to_str().unwrap()]).args(arguments).output().unwrap()
    };
    let file = file.to_str().unwrap();
    assert!(run(&["-o", file]).status.success());
    let output = run(&["--diff", file]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));

    let changed: Vec<Document> = (0..300)
        .map(|n| {
            let mut document = order(n);
            document.remove("old");
            document.insert(
                "total",
                if n % 2 == 0 { Bson::String("1".into()) } else { Bson::Int32(1) },
            );
            document.insert("new", 1);
            document.get_document_mut("to").unwrap().insert("country", "cz");
            document
        })
        .collect();
    write_dump(&dump, "orders", &changed);
    write_dump(&dump, "returns", &orders);
    let output = run(&["--diff", file, "--json"]);
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<String> = result["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!("{}.{} {}", one["collection"], one["field"], one["change"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        found,
        [
            "orders.new new",
            "orders.old gone",
            "orders.to.country new",
            "orders.total type",
            "returns.null new"
        ]
    );
}

#[test]
fn generated_databases_are_as_their_files_expect_them() {
    for name in ["nextcrm", "pmo-playbook", "tenant-platform", "assessment-bot", "neo-alexandria"] {
        let folder = tempfile::tempdir().unwrap();
        let relational = ["assessment-bot", "neo-alexandria"].contains(&name);
        let place = folder.path().join(if relational { "made.db" } else { "made" });
        let to = format!("{}{}", if relational { "sqlite:" } else { "" }, place.display());
        let pipeline = project(&format!("pipelines/{name}.toml"));
        let pipeline = pipeline.to_str().unwrap();
        let made = docferry()
            .args(["generate", pipeline, "--to", &to, "--sound", "--documents", "3000"])
            .output();
        assert!(made.unwrap().status.success());
        let output = docferry().args(["plan", &to, "--diff", pipeline, "--json"]).output().unwrap();
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let found = result["differences"].as_array().unwrap();
        // Sound documents hold each field, so nothing is gone, and nothing is new or strange. Some
        // unique columns have fewer values than the program makes documents.
        let strange = found.iter().any(|one| {
            !one["detail"].as_str().unwrap_or_default().contains("an earlier row has the same")
        });
        assert!(!strange, "{name}: {}", shown(&output));
    }
}

#[test]
fn any_name_makes_a_file_that_can_be_read() {
    use proptest::strategy::{Strategy, ValueTree};
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let character = proptest::prop_oneof![
        4 => proptest::char::any(),
        2 => proptest::char::range('a', 'e'),
        3 => proptest::sample::select(vec!['"', '\'', '\\', '.', '*', '#', '=', '\n', '\r', '\t', '\u{7f}', '\u{85}', '\u{2028}', ' ', '[']),
    ];
    let names = proptest::collection::vec(character, 0..12)
        .prop_map(|all| all.into_iter().filter(|one| *one != '\0').collect::<String>());
    let folder = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let dump = folder.path().join(format!("dump{round}/odd"));
        let mut draw = || names.new_tree(&mut runner).unwrap().current();
        let document = |draw: &mut dyn FnMut() -> String| {
            let mut document = doc! {"_id": 1, "What's your \"nick\"": 1};
            for _ in 0..12 {
                let inner: Document = (0..12).map(|n| (draw(), Bson::Int32(n))).collect();
                document.insert(draw(), draw());
                document.insert(draw(), inner.clone());
                document.insert(draw(), vec![Bson::Document(inner)]);
            }
            document
        };
        for collection in ["one", "two"] {
            let documents: Vec<Document> = (0..2)
                .map(|n| {
                    let mut document = document(&mut draw);
                    document.insert("_id", n);
                    document
                })
                .collect();
            write_dump(&dump, collection, &documents);
        }
        let file = folder.path().join("odd.toml");
        let path = file.to_str().unwrap();
        let planned = docferry()
            .args(["plan", dump.to_str().unwrap(), "--force", "-o", path])
            .output()
            .unwrap();
        assert!(planned.status.success(), "{}", shown(&planned));
        let checked = docferry().args(["check", path]).output().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(checked.status.success(), "{text}\n{}", shown(&checked));
        let same =
            docferry().args(["plan", dump.to_str().unwrap(), "--diff", path]).output().unwrap();
        assert_eq!(same.status.code(), Some(0), "{text}\n{}", shown(&same));
    }
}

#[test]
fn the_comparison_names_all_that_a_transform_would_reject() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/shop");
    let sound = |n: i32| {
        doc! {"_id": n, "code": format!("C-{n:04}"), "state": "new", "count": 3, "ratio": 0.5,
        "mail": "a@b.example", "short": "abc", "made": DateTime::from_millis(0),
        "owner": n, "lines": [{"sku": "a", "amount": 1}], "flag": true}
    };
    // One mistake each, among a thousand that are sound.
    let mistakes: [(&str, Bson); 13] = [
        ("code", "c1".into()),
        ("state", "lost".into()),
        ("count", 11.into()),
        ("count", "3".into()),
        ("ratio", (-0.5).into()),
        ("mail", "nobody".into()),
        ("short", "abcdef".into()),
        ("made", "yesterday".into()),
        ("owner", 5000.into()),
        ("lines", vec![doc! {"sku": "a", "amount": "x"}].into()),
        ("flag", 2.into()),
        ("extra", 1.into()),
        ("code", "C-0001".into()),
    ];
    let mut documents: Vec<Document> = (0..1000).map(sound).collect();
    for ((field, value), document) in mistakes.iter().zip(&mut documents[100..]) {
        document.insert(*field, value.clone());
    }
    documents[200].remove("count");
    write_dump(&dump, "orders", &documents);
    let file = folder.path().join("shop.toml");
    let text = r#"version = 1
name = "shop"
[enums]
order_state = ["new", "sent"]
[tables.orders.columns]
id = { from = "_id", type = "integer", key = true }
code = { type = "text", pattern = '^C-\d+$', unique = true }
state = { type = "order_state" }
count = { type = "integer", required = true, min = 0, max = 10 }
ratio = { type = "double precision", min = 0 }
mail = { type = "text", email = true }
short = { type = "varchar(4)" }
made = { type = "timestamptz" }
owner = { type = "integer", references = "orders", dangling = "reject" }
flag = { type = "boolean" }
[tables.order_lines]
each = "orders.lines"
[tables.order_lines.columns]
order_id = { parent = true, type = "integer", references = "orders", key = true }
position = { ordinal = true, type = "integer", key = true }
sku = { type = "text" }
amount = { type = "numeric" }
"#;
    std::fs::write(&file, text).unwrap();
    let source = dump.to_str().unwrap();
    let output = docferry()
        .args(["plan", source, "--diff", file.to_str().unwrap(), "--json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<String> = result["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {}", one["field"], one["change"]).replace('"', ""))
        .collect();
    assert_eq!(
        found,
        [
            "code rule",
            "code rule",
            "count type",
            "count rule",
            "count rule",
            "extra new",
            "flag type",
            "lines.amount type",
            "made type",
            "mail rule",
            "owner rule",
            "ratio rule",
            "short rule",
            "state value",
        ],
        "{}",
        shown(&output)
    );
    assert!(shown(&output).contains("lost"), "the text is named");
    let Some(shop) = migrate(&file, source, "docferry_drift") else { return };
    let rejects = std::fs::read_to_string(shop.run().join("rejects/transform.jsonl")).unwrap();
    let named = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let field = line["field"].as_str().unwrap_or_default().to_owned();
        found.iter().any(|one| {
            let own = one.split(' ').next().unwrap_or_default();
            own == field || own == format!("lines.{field}") || field == "(parent)"
        })
    };
    let missed: Vec<&str> = rejects.lines().filter(|line| !named(line)).collect();
    assert!(missed.is_empty(), "{missed:?}");
    assert!(rejects.lines().count() >= 14, "{rejects}");
}

#[test]
fn properties_of_indexes_are_carried_over_or_said() {
    let Some(mongodb) = server("DOCFERRY_TEST_MONGODB") else { return };
    let source = with_database(&mongodb, "docferry_indexes");
    let key = |field: &str| doc! {field: 1};
    let indexes = vec![
        doc! {"name": "mail", "key": key("mail"), "unique": true,
        "collation": {"locale": "en", "strength": 2}},
        doc! {"name": "sorted", "key": key("city"), "collation": {"locale": "fr"}},
        doc! {"name": "tags", "key": key("tags"), "unique": true},
        doc! {"name": "nick", "key": key("nick"), "unique": true},
        doc! {"name": "login", "key": key("login"), "unique": true},
        doc! {"name": "some", "key": key("some"), "unique": true, "sparse": true},
        doc! {"name": "part", "key": key("city"), "unique": true,
        "partialFilterExpression": {"age": {"$gt": 1000}}},
        doc! {"name": "old", "key": key("made"), "expireAfterSeconds": 60},
        doc! {"name": "any", "key": {"$**": 1}},
        doc! {"name": "hash", "key": {"age": "hashed"}},
        doc! {"name": "place", "key": {"place": "2dsphere"}},
        doc! {"name": "both", "key": {"age": 1, "made": -1}},
        doc! {"name": "down", "key": {"age": -1}},
        doc! {"name": "hidden", "key": {"city": 1, "age": 1}, "hidden": true},
        doc! {"name": "texts", "key": {"about": "text"}, "default_language": "german"},
    ];
    let people: Vec<Document> = (0..40)
        .map(|n| {
            let mut person = doc! {"mail": format!("m{n}@x"), "login": format!("l{n}"), "city": "b",
            "age": n, "about": "der die das", "tags": [n], "made": DateTime::now(),
            "place": {"type": "Point", "coordinates": [1.0, 2.0]}};
            if n > 0 {
                person.insert("nick", format!("n{n}"));
                person.insert("some", n);
            }
            person
        })
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&source).await.unwrap();
        let database = client.default_database().unwrap();
        database.drop().await.unwrap();
        database.collection::<Document>("people").insert_many(&people).await.unwrap();
        let create = doc! {"createIndexes": "people", "indexes": indexes};
        database.run_command(create).await.unwrap();
        database.collection::<Document>("plain").insert_one(doc! {"text": "none"}).await.unwrap();
        let none = doc! {"name": "none", "key": {"text": "text"}, "default_language": "none"};
        let create = doc! {"createIndexes": "plain", "indexes": [none]};
        database.run_command(create).await.unwrap();
    });
    let output = docferry().args(["plan", &source]).output().unwrap();
    let text = shown(&output);
    let said = |wanted: &str| assert!(text.contains(wanted), "{wanted}\n{text}");
    said("# index mail: decide: unique under collation en, strength 2: lower() stands for it");
    said("columns = [\"mail\"]\nlower = [\"mail\"]\nunique = true");
    said("# index sorted: decide: ordered by collation fr");
    said("# index tags: decide: unique over an array");
    said("# index nick: decide: unique, and nick may be NULL: MongoDB takes one");
    said("# index some: sparse and unique");
    said("# index part: decide: partial");
    said("with it goes the unique key");
    said("# index old: decide: documents expire by it");
    said("# index any: decide: wildcard");
    said("method = \"hash\"");
    said("# index place: decide: 2dsphere, left out");
    said("columns = [\"age\", \"made\"]\ndescending = [\"made\"]");
    said("# index hidden: decide: hidden of it is not carried over");
    said("columns = [\"about\"]\nlanguage = \"german\"");
    said("columns = [\"text\"]\nlanguage = \"simple\"");
    for silent in ["index login:", "index down:", "index both:"] {
        assert!(!text.contains(silent), "{silent}\n{text}");
    }
}

#[test]
fn one_value_among_few_takes_no_type_and_no_reference_away() {
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("dump/shop");
    let people: Vec<Document> = (0..200).map(|n| doc! {"_id": id(n)}).collect();
    let orders: Vec<Document> = (0..189)
        .map(|n| {
            let person: Bson = if n == 70 { "".into() } else { id(n).into() };
            let flag: Bson = if n == 80 { 2.into() } else { true.into() };
            doc! {"_id": id(1000 + n), "person": person, "flag": flag}
        })
        .collect();
    write_dump(&dump, "people", &people);
    write_dump(&dump, "orders", &orders);
    let output = docferry().args(["plan", dump.to_str().unwrap()]).output().unwrap();
    let text = shown(&output);
    assert!(text.contains("person = { type = \"uuid\""), "{text}");
    assert!(
        text.contains("references = \"people\"") && text.contains("empty = \"null\""),
        "{text}"
    );
    assert!(text.contains("1 of 189 values are empty texts, and become NULL"), "{text}");
    assert!(text.contains("flag = { type = \"boolean\", required = true }"), "{text}");
    assert!(text.contains("decide: 1 of 189 values do not fit and are rejects"), "{text}");
    let file = folder.path().join("shop.toml");
    std::fs::write(&file, String::from_utf8(output.stdout).unwrap()).unwrap();
    let Some(shop) = migrate(&file, dump.to_str().unwrap(), "docferry_few") else { return };
    shop.assert_whole(389, 1);
    assert_eq!(shop.rows("SELECT count(*)::text FROM orders WHERE person IS NULL"), ["1"]);
}
