//! Names that others have, objects that are made once, and one namespace for a whole pipeline.

use std::path::Path;

use mongodb::bson::doc;

use crate::catalogue::{Place, id};
use crate::support::{docferry, shown, write_dump};

const SHOP: &str = r#"
version = 1
name = "shop"
[enums]
state = ["NEW", "OLD"]
[tables.customers.columns]
id = { key = "serial", type = "integer" }
email = { type = "text", unique = true }
state = { type = "state", index = true }
tags = { type = "text[]" }
[tables.customers.checks]
sane = "email <> ''"
[[tables.customers.search]]
columns = ["tags"]
[tables.orders.columns]
id = { from = "_id", type = "uuid", key = true }
customer = { type = "integer", references = "customers" }
[tables.orders.checks]
sane = "customer > 0"
"#;

fn write_shop(folder: &Path) {
    let customer = |number: u8| doc! {"_id": id(1, number), "email": format!("{number}"), "state": "OLD", "tags": ["a"]};
    write_dump(folder, "customers", &[customer(1), customer(2)]);
    write_dump(folder, "orders", &[doc! {"_id": id(2, 1), "customer": id(1, 2)}]);
}

#[test]
fn names_that_others_have_are_refused_before_rows_with_the_way_out() {
    let Some(place) = Place::new("docferry_catalogue_names") else { return };
    place.write("shop.toml", SHOP);
    write_shop(&place.path("dump/shop"));
    place.sql(
        "CREATE TABLE before (e text CONSTRAINT customers_email_key UNIQUE, CONSTRAINT sane CHECK (e <> 'x')); \
         CREATE INDEX customers_state_idx ON before (e); CREATE SEQUENCE customers_pkey; \
         CREATE VIEW orders AS SELECT 1 AS id; CREATE DOMAIN state AS text",
    );
    let output = place.run("shop.toml", "dump/shop");
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("type state has the name of a enum type of the load"), "{text}");
    place.stage("shop.toml", "dump/shop");
    place.sql("DROP DOMAIN state; CREATE TYPE state AS ENUM ('OLD', 'NEW')");
    let output = place.command("load", "shop.toml", &[]);
    assert!(
        shown(&output)
            .contains("enum type state exists in schema public as OLD, NEW, not as NEW, OLD"),
        "{}",
        shown(&output)
    );
    // One that is the same is shared.
    place.sql("DROP TYPE state; CREATE TYPE state AS ENUM ('NEW', 'OLD')");
    for command in ["load", "dry-run"] {
        let more: &[&str] = if command == "load" { &[] } else { &["--dry-run"] };
        let output = place.command("load", "shop.toml", more);
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for expected in [
            "index customers_email_key of table before has the name of the unique constraint of table customers",
            "index customers_state_idx of table before has the name of the index of table customers",
            "sequence customers_pkey has the name of the primary key of table customers",
            "view orders has the name of a table of the load",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
    assert_eq!(place.text("SELECT to_regclass('customers')::text"), "", "nothing was made");
    let output = place.command("load", "shop.toml", &[]);
    let statements: Vec<String> =
        shown(&output).lines().filter(|line| line.contains("ALTER ")).map(str::to_owned).collect();
    assert_eq!(statements.len(), 4, "{statements:?}");
    place.sql(&statements.concat());
    let output = place.command("load", "shop.toml", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    place.assert_verified("shop.toml");
    assert_eq!(
        place.text("SELECT count(*)::text FROM pg_index WHERE indrelid = 'customers'::regclass"),
        "4"
    );
    assert_eq!(place.text("SELECT count(*)::text FROM pg_constraint WHERE conname = 'sane'"), "3");
    let output =
        docferry().args(["rollback", "latest", "--target", &place.address]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
    assert_eq!(place.text("SELECT to_regtype('state')::text"), "state", "it was not the load's");
}

#[test]
fn tables_that_were_renamed_away_keep_their_keys_and_the_new_ones_get_theirs() {
    let Some(place) = Place::new("docferry_catalogue_renamed") else { return };
    place.write("shop.toml", SHOP);
    write_shop(&place.path("dump/shop"));
    let output = place.run("shop.toml", "dump/shop");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    place.sql("ALTER TABLE customers RENAME TO customers_before; ALTER TABLE orders RENAME TO orders_before");
    let output = place.run("shop.toml", "dump/shop");
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("index customers_pkey of table customers_before"), "{text}");
    let lines = text.lines().filter(|line| line.contains("ALTER "));
    // What `run` says of its own way on follows the last statement.
    let statements: Vec<&str> = lines.filter_map(|line| line.split_inclusive(';').next()).collect();
    place.sql(&statements.concat());
    // The enum type and the function of the first run are shared.
    let output = place.run("shop.toml", "dump/shop");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let keys = "SELECT string_agg(name, ' ' ORDER BY name) FROM (SELECT indexrelid::regclass::text AS name \
                FROM pg_index WHERE indrelid = 'customers'::regclass) i";
    assert_eq!(
        place.text(keys),
        "customers_email_key customers_pkey customers_search_idx customers_state_idx"
    );
    let output =
        docferry().args(["rollback", "latest", "--target", &place.address]).output().unwrap();
    assert!(output.status.success(), "{}", shown(&output));
}

#[test]
fn a_load_that_goes_on_makes_what_its_own_tables_lack() {
    let Some(place) = Place::new("docferry_catalogue_resumed") else { return };
    place.write("shop.toml", SHOP);
    write_shop(&place.path("dump/shop"));
    let output = place.run("shop.toml", "dump/shop");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    // As a load leaves it that is killed after the first of two checks of one name.
    place.sql(
        "ALTER TABLE orders DROP CONSTRAINT sane, DROP CONSTRAINT orders_customer_fkey; \
         ALTER TABLE customers DROP CONSTRAINT customers_email_key; \
         CREATE TABLE beside (customer int CONSTRAINT orders_customer_fkey CHECK (customer > 1)); \
         UPDATE docferry.runs SET finished_at = NULL",
    );
    place.assert_differs(
        "shop.toml",
        &[
            "orders: check sane is missing",
            "orders: foreign key orders_customer_fkey is missing",
            "customers: unique constraint customers_email_key is missing",
            "the load of run",
        ],
    );
    let output = place.command("load", "shop.toml", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    place.assert_verified("shop.toml");
    // A name that somebody took meanwhile is no object of the load.
    place.sql(
        "DROP INDEX customers_state_idx; CREATE INDEX customers_state_idx ON customers (email); \
         UPDATE docferry.runs SET finished_at = NULL",
    );
    let output = place.command("load", "shop.toml", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    let expected =
        "index customers_state_idx of table customers is btree (\"email\"), not btree (\"state\")";
    assert!(shown(&output).contains(expected), "{}", shown(&output));
    place.sql(
        "DROP INDEX customers_state_idx; CREATE INDEX customers_state_idx ON beside (customer)",
    );
    let output = place.command("load", "shop.toml", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(
        shown(&output)
            .contains("index customers_state_idx of table beside has the name of the index"),
        "{}",
        shown(&output)
    );
}

#[test]
fn tables_keys_and_indexes_of_one_pipeline_share_their_names() {
    let Some(place) = Place::new("docferry_catalogue_shared") else { return };
    let long = "a_table_whose_name_is_as_long_as_a_name_of_postgresql_can_be";
    let mut text = "version = 1\nname = \"shared\"\n".to_owned();
    let (one, two) = (format!("{long}_1"), format!("{long}_2"));
    let names = ["user", "user_a_key", "user_a_idx", "user_pkey", "user_id_seq", &one, &two];
    for name in names {
        let table = format!(
            "[tables.{name}]\nunique = [[\"a\", \"b\"], [\"a_b\"], [\"a\"]]\n[tables.{name}.columns]\n\
             id = {{ key = \"serial\", type = \"integer\" }}\na = {{ type = \"text\", index = true, unique = true }}\n\
             b = {{ type = \"text\" }}\na_b = {{ type = \"text\" }}\n\
             [tables.{name}.checks]\n{name}_a_key = \"a <> ''\"\n\
             [[tables.{name}.indexes]]\ncolumns = [\"a\"]\nwhere = \"b <> ''\"\n"
        );
        text.push_str(&table);
        let documents = [doc! {"_id": 1, "a": "x", "b": "y", "a_b": "z"}];
        write_dump(&place.path("dump/shared"), name, &documents);
    }
    // Names of 63 bytes at most: a check of the longest would be longer.
    let text = text.replace(&format!("{one}_a_key"), "c").replace(&format!("{two}_a_key"), "c");
    place.write("shared.toml", &text);
    let output = place.run("shared.toml", "dump/shared");
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    let unique = "SELECT count(*)::text FROM pg_constraint WHERE contype = 'u' \
                  AND connamespace = 'public'::regnamespace";
    assert_eq!(place.text(unique), (names.len() * 3).to_string());
    assert_eq!(
        place.text("SELECT string_agg(conname, ' ' ORDER BY conname) FROM pg_constraint WHERE contype <> 'n' AND conrelid = '\"user\"'::regclass"),
        "user_a_b_key user_a_b_key1 user_a_key user_a_key1 user_pkey1"
    );
}

#[test]
fn names_that_can_only_collide_are_mistakes_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("twice.toml");
    let long = "x".repeat(64);
    let text = format!(
        "version = 1\nname = \"twice\"\n[enums]\nusers = [\"A\"]\n\
         [tables.users.columns]\nid = {{ key = \"serial\", type = \"integer\" }}\n\
         [tables.users.checks]\n{long} = \"id > 0\"\n\
         [[tables.users.indexes]]\ncolumns = [\"id\"]\nname = \"users\"\n\
         [[tables.users.indexes]]\ncolumns = [\"id\"]\nname = \"users_id_seq\"\nmethod = \"hash\"\n"
    );
    std::fs::write(&path, text).unwrap();
    let output = docferry().arg("check").arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    for expected in [
        "a table has this name already",
        "the sequence of users.id has this name already",
        "this one has 64",
    ] {
        assert!(shown(&output).contains(expected), "{expected}\n{}", shown(&output));
    }
}
