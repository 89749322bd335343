//! The systems that are mapped: on their real files, where those are here, and on small ones.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};

use crate::support::{data, docferry, generated, migrate, project, shown, write_dump};

#[test]
fn the_assessment_bot_keeps_its_ids_and_goes_on_behind_them() {
    let Some(data) = data() else { return };
    let source = format!("sqlite:{}", data.join("sqlite/writely_ielts_bot.db").display());
    let Some(bot) = migrate(&project("pipelines/assessment-bot.toml"), &source, "docferry_bot")
    else {
        return;
    };
    bot.assert_whole(412, 0);
    assert_eq!(
        bot.rows("SELECT jsonb_typeof(improvement_suggestions) FROM assessments GROUP BY 1"),
        ["array"]
    );
    assert_eq!(
        bot.rows("INSERT INTO users (telegram_id, created_at, is_pro, daily_submissions) VALUES (9007199254740993, now(), true, 0) RETURNING id::text"),
        ["41"]
    );
}

#[test]
fn both_files_of_neo_alexandria_are_migrated_whole() {
    let Some(data) = data() else { return };
    let pipeline = project("pipelines/neo-alexandria.toml");
    for (file, records) in [("neo_alexandria_test.db", 37), ("neo_alexandria_oldest.db", 10)] {
        let source = format!("sqlite:{}", data.join("sqlite").join(file).display());
        let Some(neo) = migrate(&pipeline, &source, "docferry_neo") else { return };
        neo.assert_whole(records, 0);
        if records == 37 {
            // The text `null` is JSON's null, which is not NULL.
            assert_eq!(neo.rows("SELECT embedding::text FROM collections"), ["null"]);
            assert_eq!(neo.rows("SELECT count(*)::text FROM resources WHERE search_vector @@ to_tsquery('untitled')").len(), 1);
            assert_eq!(
                neo.rows("SELECT keywords->>0 FROM classification_codes WHERE code = '000'"),
                ["artificial intelligence"]
            );
        }
        neo.assert_rollback();
    }
}

#[test]
fn a_database_with_composite_keys_and_references_to_itself_is_migrated_whole() {
    let Some(data) = data() else { return };
    let source = format!("sqlite:{}", data.join("sqlite/Chinook_Sqlite.sqlite").display());
    let pipeline = project("tests/fixtures/chinook.toml");
    let Some(chinook) = migrate(&pipeline, &source, "docferry_chinook") else { return };
    chinook.assert_whole(15_607, 0);
    assert_eq!(
        chinook.rows("SELECT e.\"LastName\" || ' ' || b.\"LastName\" FROM \"Employee\" e JOIN \"Employee\" b ON b.\"EmployeeId\" = e.\"ReportsTo\" WHERE e.\"EmployeeId\" = 8"),
        ["Callahan Mitchell"]
    );
    chinook.assert_rollback();
}

#[test]
fn the_exported_folder_of_the_playbook_gets_serial_keys() {
    let Some(data) = data() else { return };
    let source = data.join("pmo_playbook/data-export");
    let pipeline = project("pipelines/pmo-playbook.toml");
    let Some(pmo) = migrate(&pipeline, source.to_str().unwrap(), "docferry_pmo") else { return };
    pmo.assert_whole(18, 0);
    assert_eq!(
        pmo.rows("SELECT h.sop_id || ' ' || (h.data->>'_id' IS NOT NULL) FROM agent_sops a JOIN human_sops h ON h.id = a.human_sop_id WHERE a.sop_id = 'SOP-003'"),
        ["SOP-003 true"]
    );
    let created = "SELECT (min(created_at) < '2025-12-31')::text FROM projects";
    assert_eq!(pmo.rows(created), ["true"], "dates are those of the documents");
    pmo.assert_rollback();
}

#[test]
fn references_and_junctions_follow_serial_keys() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("serial.toml");
    let text = r#"
version = 1
name = "serial"
[tables.people.columns]
id = { key = "serial", type = "bigint" }
name = { type = "text", required = true }
boss = { type = "bigint", references = "people", optional = true }
[tables.notes.columns]
id = { key = "serial", type = "integer" }
author = { type = "bigint", references = "people", required = true }
data = { from = "*", type = "jsonb" }
[tables.lines]
each = "notes.lines"
[tables.lines.columns]
note = { parent = true, type = "integer", references = "notes", required = true }
text = { type = "text" }
[junctions.readers]
columns = { note_id = "notes", person_id = "people" }
from = ["notes.readers"]
"#;
    std::fs::write(&pipeline, text).unwrap();
    let id =
        |kind: u8, number: u8| ObjectId::from_bytes([101, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, number]);
    let dump = folder.path().join("dump/serial");
    let people: Vec<Document> = vec![
        doc! {"_id": id(1, 1), "name": "Ann"},
        doc! {"_id": id(1, 2)},
        doc! {"_id": id(1, 3), "name": "Cid", "boss": id(1, 1).to_hex()},
        doc! {"_id": "text", "name": "Dot", "boss": id(1, 2)},
    ];
    write_dump(&dump, "people", &people);
    let notes = vec![
        doc! {"_id": id(2, 1), "author": id(1, 3), "readers": [id(1, 1), "text", id(1, 2)], "lines": [{"text": "a"}, {"text": "b"}], "more": 1},
        doc! {"_id": id(2, 2), "author": "text", "readers": [], "lines": []},
        doc! {"_id": id(2, 3), "author": id(1, 2), "readers": [], "lines": []},
    ];
    write_dump(&dump, "notes", &notes);
    let Some(serial) = migrate(&pipeline, dump.to_str().unwrap(), "docferry_serial") else {
        return;
    };
    // One person without a name, and the note of that person.
    serial.assert_whole(4 + 3 + 2, 2);
    assert_eq!(
        serial.rows("SELECT p.id || ' ' || p.name || ' ' || coalesce(b.name, '-') FROM people p LEFT JOIN people b ON b.id = p.boss ORDER BY p.id"),
        // Text comes before ObjectIds; a refused document leaves its number free.
        ["1 Dot -", "2 Ann -", "4 Cid Ann"]
    );
    assert_eq!(
        serial.rows("SELECT n.id || ' ' || p.name || ' ' || (n.data->>'_id') FROM notes n JOIN people p ON p.id = n.author ORDER BY n.id"),
        [format!("1 Cid {}", id(2, 1)), format!("2 Dot {}", id(2, 2))]
    );
    assert_eq!(
        serial.rows("SELECT p.name FROM readers JOIN people p ON p.id = person_id ORDER BY 1"),
        ["Ann", "Dot"]
    );
    assert_eq!(serial.rows("SELECT note || text FROM lines ORDER BY 1"), ["1a", "1b"]);
    assert_eq!(serial.rows("INSERT INTO people (name) VALUES ('Eve') RETURNING id::text"), ["5"]);
    let ids =
        serial.folder.path().join("staging/serial/latest/transform/people.ids/part-00000.parquet");
    assert!(ids.exists(), "the map of old and new keys is staged");
}

#[test]
fn a_tenant_sees_and_writes_nothing_of_another() {
    let Some(data) = data() else { return };
    let source = data.join("mongodump/claude_platform_demo");
    let pipeline = project("pipelines/tenant-platform.toml");
    let Some(platform) = migrate(&pipeline, source.to_str().unwrap(), "docferry_tenants") else {
        return;
    };
    platform.assert_whole(26, 0);
    // A SQL file made a partitioned table of one: loading again finds its keys under other names.
    for command in ["load", "verify"] {
        let mut docferry = docferry();
        docferry.arg(command).arg(&pipeline).args(["--target", &platform.address]);
        let output = docferry.arg("--staging").arg(platform.folder.path().join("staging")).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    }
    let execute = |sql: &str| platform.runtime.block_on(platform.client.batch_execute(sql));
    let other = "00000000-0000-4000-8000-000000000001";
    execute(&format!(
        "INSERT INTO tenants (id, name, subdomain) VALUES ('{other}', 'Other', 'other')"
    ))
    .unwrap();
    let own = platform.rows("SELECT id::text FROM tenants WHERE subdomain = 'demo'").remove(0);
    let count =
        |table: &str| platform.rows(&format!("SELECT count(*)::text FROM {table}")).remove(0);

    execute("SET ROLE tenant_platform_app").unwrap();
    assert_eq!(count("users"), "0", "without a tenant there is nothing");
    execute(&format!("SELECT set_tenant('{other}')")).unwrap();
    let tables = platform.rows("SELECT quote_ident(c.relname) FROM pg_class c WHERE relrowsecurity AND relforcerowsecurity ORDER BY 1");
    assert!(tables.len() >= 10, "{tables:?}");
    for table in tables.iter().filter(|table| *table != "tenants") {
        assert_eq!(count(table), "0", "{table}");
    }
    assert_eq!(platform.rows("SELECT name FROM tenants"), ["Other"]);
    let insert = format!(
        "INSERT INTO users (id, tenant_id, email, role) VALUES (gen_random_uuid(), '{own}', 'a@b.cz', 'member')"
    );
    assert!(execute(&insert).is_err(), "a row of another tenant cannot be written");
    let update = "WITH changed AS (UPDATE users SET role = 'x' RETURNING 1) SELECT count(*)::text FROM changed";
    assert_eq!(platform.rows(update), ["0"]);
    execute(&format!("SELECT set_tenant('{own}')")).unwrap();
    assert_eq!(count("users"), "4");
    assert_eq!(platform.rows(update), ["4"]);

    // A partition that is made later keeps tenants apart as well, also when it is named itself.
    execute("RESET ROLE").unwrap();
    execute(&format!(
        "SELECT add_form_submissions_month('2031-05-17');
         INSERT INTO forms (id, tenant_id, name, created_at) VALUES ('{other}', '{other}', 'f', now());
         INSERT INTO form_submissions (id, created_at, tenant_id, form_id)
             VALUES ('{other}', '2031-05-31', '{other}', '{other}')"
    ))
    .unwrap();
    assert_eq!(count("form_submissions_2031_05"), "1");
    execute("SET ROLE tenant_platform_app").unwrap();
    assert_eq!(count("form_submissions"), "0");
    assert_eq!(count("form_submissions_2031_05"), "0");
    execute(&format!("SELECT set_tenant('{other}')")).unwrap();
    assert_eq!(count("form_submissions"), "1");
    assert_eq!(count("form_submissions_2031_05"), "1");
}

#[test]
fn generated_databases_of_each_system_end_as_rows_and_rejects() {
    for name in ["assessment-bot", "neo-alexandria", "pmo-playbook", "tenant-platform"] {
        let folder = tempfile::tempdir().unwrap();
        let (to, pipeline) = generated(name, folder.path(), &[]);
        let Some(migrated) =
            migrate(&pipeline, &to, &format!("docferry_made_{}", name.replace('-', "_")))
        else {
            return;
        };
        assert_eq!(migrated.output.status.code(), Some(3), "{name}: {}", migrated.shown());
        migrated.assert_proved();
        let total = migrated
            .shown()
            .lines()
            .find(|line| line.contains("│ total"))
            .unwrap()
            .replace(',', "");
        let numbers: Vec<u64> =
            total.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // Read, rejected, merged, dropped, rows: each record is one of them, and most are rows.
        assert_eq!(numbers[0], numbers[1..5].iter().sum::<u64>(), "{name}: {total}");
        assert!(numbers[4] > 1000, "{name}: {total}");
        let reports = "DROP MATERIALIZED VIEW IF EXISTS bookings_by_month";
        migrated.runtime.block_on(migrated.client.batch_execute(reports)).unwrap();
        migrated.assert_rollback();
    }
}

const SHOP: &str = r#"
version = 1
name = "shop"
[tables.customers]
unmapped = "reject"
[tables.customers.columns]
id = { from = "_id", type = "uuid", key = true }
[tables.tiers]
each = "customers.tiers.*"
[tables.tiers.columns]
customer = { parent = true, references = "customers", key = true }
code = { member = true, type = "text", key = true }
name = { type = "text", required = true }
active = { type = "boolean" }
[tables.visits]
each = "customers.by_day.*"
[tables.visits.columns]
customer = { parent = true, references = "customers" }
day = { member = true, type = "date", required = true }
count = { element = true, type = "integer", required = true }
[tables.labels]
each = "customers.labels"
[tables.labels.columns]
customer = { parent = true, references = "customers" }
position = { ordinal = true, type = "integer" }
label = { element = true, type = "text" }
[tables.lines]
each = "customers.orders.*.lines"
[tables.lines.columns]
order = { member = true, type = "text" }
position = { ordinal = true, type = "integer" }
sku = { type = "text" }
"#;

#[test]
fn names_that_are_data_become_rows() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = folder.path().join("shop.toml");
    std::fs::write(&pipeline, SHOP).unwrap();
    let dump = folder.path().join("dump/shop");
    let id = |number: u8| ObjectId::from_bytes([101, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number]);
    let customers = [
        doc! {
            "_id": id(1),
            "tiers": {"a.1": {"name": "gold", "active": true}, "": {"name": "none"}, "$x": {"name": 3}},
            "by_day": {"2024-02-29": 3, "2024-02-30": 1, "2024-03-01": {"n": 1}},
            "labels": ["a", mongodb::bson::Bson::Null, "b", 7],
            "orders": {"o1": {"lines": [{"sku": "x"}, {"sku": "y"}]}, "o2": {"lines": []}, "o3": 5},
        },
        doc! {"_id": id(2), "tiers": {}, "by_day": mongodb::bson::Bson::Null},
        doc! {"_id": id(3), "tiers": ["x"]},
    ];
    write_dump(&dump, "customers", &customers);
    let Some(shop) = migrate(&pipeline, dump.to_str().unwrap(), "docferry_shop") else { return };
    // Refused: a tier's name that is a number, a tier in an array that is no subdocument, a day
    // that does not exist, a count that is a document, a label that is a number, an order that is
    // one.
    shop.assert_whole(3 + 4 + 3 + 4 + 3, 6);
    assert_eq!(
        shop.rows("SELECT code || '=' || name FROM tiers ORDER BY 1"),
        ["=none", "a.1=gold"]
    );
    assert_eq!(shop.rows("SELECT day || ' ' || count FROM visits"), ["2024-02-29 3"]);
    assert_eq!(
        shop.rows("SELECT position || coalesce(label, '-') FROM labels ORDER BY 1"),
        ["0a", "1-", "2b"]
    );
    assert_eq!(
        shop.rows("SELECT \"order\" || position || sku FROM lines ORDER BY 1"),
        ["o10x", "o11y"]
    );
}
