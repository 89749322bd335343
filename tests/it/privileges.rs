//! A target in which others may make objects: none of it runs with docferry's rights, and nobody
//! reads rows of others while a load runs.

use std::process::Command;

use mongodb::bson::doc;
use tokio_postgres::{Client, NoTls};

use crate::homes::{EXISTING, Place, book, two_authors};
use crate::support::{project, shown, write_dump};

impl Place {
    /// A role of this name anew, and a session of it.
    fn role(&self, name: &str, options: &str) -> Client {
        self.sql(&format!(
            "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN \
             EXECUTE 'DROP OWNED BY {name} CASCADE'; EXECUTE 'DROP ROLE {name}'; END IF; END $$"
        ));
        self.sql(&format!("CREATE ROLE {name} LOGIN {options}"));
        let address = self.address_of(name);
        self.runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        })
    }

    fn address_of(&self, role: &str) -> String {
        self.address.replace("postgres@", &format!("{role}@"))
    }

    fn database(&self) -> &str {
        self.address.rsplit_once('/').unwrap().1
    }

    fn is_superuser(&self, role: &str) -> bool {
        self.text(&format!("SELECT rolsuper::text FROM pg_roles WHERE rolname = '{role}'"))
            == "true"
    }
}

#[test]
fn functions_and_operators_of_others_are_never_called() {
    let Some(place) = Place::new("docferry_search_path") else { return };
    let mallory = place.role("docferry_mallory_a", "");
    place.sql("GRANT CREATE ON SCHEMA public TO docferry_mallory_a");
    let rise = "LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE docferry_mallory_a SUPERUSER; RETURN";
    let traps = [
        format!("CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint {rise} 1; END $$"),
        format!("CREATE FUNCTION public.qualified_equal(text, text) RETURNS boolean {rise} true; END $$"),
        "CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.qualified_equal)"
            .to_owned(),
        format!("CREATE FUNCTION public.differs(uuid, uuid) RETURNS boolean {rise} true; END $$"),
        "CREATE OPERATOR public.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = public.differs)".to_owned(),
        format!("CREATE FUNCTION public.to_regclass(unknown text) RETURNS regclass {rise} null; END $$"),
        format!("CREATE FUNCTION public.quote_ident(name) RETURNS text {rise} 'x'; END $$"),
        format!("CREATE FUNCTION public.count(integer) RETURNS bigint {rise} 1; END $$"),
        format!("CREATE FUNCTION public.setval(text, bigint) RETURNS bigint {rise} 1; END $$"),
        format!("CREATE FUNCTION public.pg_get_serial_sequence(text, name) RETURNS text {rise} ''; END $$"),
        "CREATE TABLE public.pg_class (oid oid, relname name)".to_owned(),
        "CREATE TABLE public.pg_constraint (oid oid)".to_owned(),
    ];
    for trap in traps {
        place.runtime.block_on(mallory.batch_execute(&trap)).unwrap();
    }
    place.sql(EXISTING);
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    for mode in ["insert", "upsert", "replace"] {
        let output = place.load(&run, &["--home", "existing", "--mode", mode]);
        assert!(output.status.success(), "{}", shown(&output));
        place.verify(&run);
        let output = place.rollback(&[]);
        assert!(output.status.success(), "{}", shown(&output));
        assert!(!place.is_superuser("docferry_mallory_a"), "{mode}");
    }
    place.sql("DROP SCHEMA app CASCADE");
    let output = place.load(&run, &[]);
    assert!(output.status.success(), "{}", shown(&output));
    place.verify(&run);
    assert!(!place.is_superuser("docferry_mallory_a"));
    place.sql("DROP OWNED BY docferry_mallory_a CASCADE; DROP ROLE docferry_mallory_a");
}

#[test]
fn a_ledger_that_others_could_have_written_is_refused() {
    let Some(place) = Place::new("docferry_ledger_owner") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    let mallory = place.role("docferry_mallory_b", "");
    let database = place.database().to_owned();
    place.sql(&format!("GRANT CREATE ON DATABASE {database} TO docferry_mallory_b"));
    let as_mallory = |sql: &str| place.runtime.block_on(mallory.batch_execute(sql)).unwrap();
    let refused = |part: &str| {
        for output in [
            place.load(&run, &[]),
            place.run("verify", &["--target", &place.address, "--run", &run]),
            place.rollback(&[]),
        ] {
            let text = shown(&output);
            assert_eq!(output.status.code(), Some(1), "{text}");
            assert!(text.contains("cannot be trusted") && text.contains(part), "{part}: {text}");
            assert!(!place.is_superuser("docferry_mallory_b"));
        }
    };
    as_mallory("CREATE SCHEMA docferry");
    refused("schema docferry belongs to role docferry_mallory_b");
    place.sql("DROP SCHEMA docferry CASCADE");

    assert!(place.load(&run, &[]).status.success());
    // With its right to make objects in the schema, another role lays its traps.
    place.sql("GRANT USAGE, CREATE ON SCHEMA docferry TO docferry_mallory_b");
    refused("schema docferry may be changed by role docferry_mallory_b");
    as_mallory(
        "CREATE FUNCTION docferry.f() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN ALTER ROLE docferry_mallory_b SUPERUSER; RETURN NEW; END $$; \
                CREATE TABLE docferry.mine ()",
    );
    place.sql("REVOKE CREATE ON SCHEMA docferry FROM docferry_mallory_b");
    refused("mine belongs to role docferry_mallory_b");
    refused("function f is not docferry's");
    place.sql("DROP TABLE docferry.mine; GRANT TRIGGER, INSERT ON docferry.set_aside TO docferry_mallory_b");
    as_mallory(
        "CREATE TRIGGER t BEFORE INSERT ON docferry.set_aside FOR EACH ROW EXECUTE FUNCTION docferry.f()",
    );
    refused("trigger t of set_aside is not docferry's");
    place.sql("DROP FUNCTION docferry.f() CASCADE");
    refused("set_aside may be changed by role docferry_mallory_b");
    as_mallory(
        "INSERT INTO docferry.set_aside (position, run, schema_name, table_name, kind, name, make) \
                SELECT 1, 'r', 'app', 'books', 'index', 'i', \
                'CREATE INDEX i ON app.books (id); ALTER ROLE docferry_mallory_b SUPERUSER'",
    );
    place.sql("REVOKE ALL ON docferry.set_aside FROM docferry_mallory_b");
    let output = place.load(&run, &[]);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("set_aside holds a statement for index i of books"), "{text}");
    assert!(!place.is_superuser("docferry_mallory_b"));
    place.sql("DELETE FROM docferry.set_aside");
    assert!(place.load(&run, &[]).status.success());
    assert!(place.rollback(&[]).status.success());
    place.sql("DROP OWNED BY docferry_mallory_b CASCADE; DROP ROLE docferry_mallory_b");
}

#[test]
fn default_privileges_give_nobody_a_part_of_the_ledger() {
    let Some(place) = Place::new("docferry_ledger_defaults") else { return };
    drop(place.role("docferry_app_c", ""));
    place.sql(
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO docferry_app_c; \
               ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO docferry_app_c, PUBLIC; \
               ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO docferry_app_c",
    );
    place.sql(EXISTING);
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    for mode in ["upsert", "replace"] {
        let output = place.load(&run, &["--home", "existing", "--mode", mode]);
        assert!(output.status.success(), "{}", shown(&output));
        place.verify(&run);
        assert!(place.rollback(&[]).status.success());
    }
    place.sql("DROP OWNED BY docferry_app_c CASCADE; DROP ROLE docferry_app_c");
}

const TENANTS: &str = r#"
version = 1
name = "books"
schema = "app"
[tables.rows]
tenant = "tenant"
[tables.rows.columns]
id = { from = "_id", type = "integer", key = true }
tenant = { type = "integer", required = true }
[tables.plain.columns]
id = { from = "_id", type = "integer", key = true }
"#;

#[test]
fn no_tenant_sees_rows_of_another_while_a_load_runs_or_after_it_was_killed() {
    let Some(place) = Place::new("docferry_tenants_early") else { return };
    std::fs::write(place.path("books.toml"), TENANTS).unwrap();
    let rows: Vec<_> = (0..3000).map(|n| doc! {"_id": n, "tenant": n % 3}).collect();
    write_dump(&place.path("dump/books"), "rows", &rows);
    write_dump(&place.path("dump/books"), "plain", &[doc! {"_id": 1}]);
    let run = place.stage_dump();
    let app = place.role("docferry_app_d", "");
    place.sql(
        "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO docferry_app_d; \
               ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO docferry_app_d",
    );
    // Whatever adds keys to a table of the schema waits until the test lets it go on.
    place.sql(
        "CREATE TABLE public.gate (); \
        CREATE FUNCTION public.wait() RETURNS event_trigger LANGUAGE plpgsql AS \
            $$ BEGIN LOCK TABLE public.gate; END $$; \
        CREATE EVENT TRIGGER gate ON ddl_command_start WHEN TAG IN ('ALTER TABLE') \
            EXECUTE FUNCTION public.wait()",
    );
    let seen = || -> String {
        let look = "SELECT coalesce(string_agg(DISTINCT tenant::text, ' '), '') FROM app.rows";
        place.runtime.block_on(async {
            app.batch_execute("SET app.current_tenant_id = '1'").await.unwrap();
            match app.query_one(look, &[]).await {
                Ok(row) => row.get(0),
                Err(_) => String::new(),
            }
        })
    };
    for kill in [true, false] {
        let gate = place.role("docferry_gate_d", "SUPERUSER");
        let mut load = Command::new(env!("CARGO_BIN_EXE_docferry"))
            .arg("load")
            .arg(place.path("books.toml"))
            .arg("--staging")
            .arg(place.path("staging"))
            .args(["--target", &place.address, "--run", &run])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let there = "SELECT (to_regclass('docferry.loaded_parts') IS NOT NULL)::text";
        let loaded = "SELECT (count(*) >= 2)::text FROM docferry.loaded_parts";
        let mut held = false;
        while load.try_wait().unwrap().is_none() {
            let now = seen();
            assert!(["", "1"].contains(&now.as_str()), "{now}");
            if place.text(there) == "true" && place.text(loaded) == "true" && !held {
                // All rows are there, the keys are not.
                place
                    .runtime
                    .block_on(gate.batch_execute("BEGIN; LOCK TABLE public.gate"))
                    .unwrap();
                held = true;
                if kill {
                    load.kill().unwrap();
                } else {
                    place.runtime.block_on(gate.batch_execute("COMMIT")).unwrap();
                }
            }
        }
        load.wait().unwrap();
        drop(gate);
        assert!(held, "the load was looked at in the middle");
        assert_eq!(seen(), "1");
    }
    let output = place.load(&run, &[]);
    assert!(output.status.success(), "{}", shown(&output));
    place.verify(&run);
    assert_eq!(seen(), "1");
    place.sql("DROP EVENT TRIGGER gate");
    place.sql("DROP OWNED BY docferry_app_d CASCADE");
    drop(app);
    place.sql("DROP ROLE docferry_app_d; DROP ROLE docferry_gate_d");
}

#[test]
fn a_role_that_policies_would_hold_back_is_told_before_anything_is_written() {
    let Some(place) = Place::new("docferry_held_back") else { return };
    std::fs::write(place.path("books.toml"), TENANTS).unwrap();
    write_dump(&place.path("dump/books"), "rows", &[doc! {"_id": 1, "tenant": 1}]);
    write_dump(&place.path("dump/books"), "plain", &[doc! {"_id": 1}]);
    let run = place.stage_dump();
    drop(place.role("docferry_held_f", ""));
    let database = place.database().to_owned();
    place.sql(&format!("GRANT CREATE, TEMPORARY ON DATABASE {database} TO docferry_held_f"));
    let before = crate::support::state(&place.address);
    let target = place.address_of("docferry_held_f");
    for more in [&["--dry-run"][..], &[]] {
        let output = place.run("load", &[&["--target", &target, "--run", &run], more].concat());
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("tables of tenants (rows)") && text.contains("BYPASSRLS"), "{text}");
        crate::support::assert_same(&before, &crate::support::state(&place.address));
    }
    place.sql("ALTER ROLE docferry_held_f BYPASSRLS");
    let output = place.run("load", &["--target", &target, "--run", &run]);
    assert!(output.status.success(), "{}", shown(&output));
    place.sql("DROP OWNED BY docferry_held_f CASCADE; DROP ROLE docferry_held_f");
}

/// The SQL block of a section of docs/security.md.
fn documented(heading: &str) -> String {
    let text = std::fs::read_to_string(project("docs/security.md")).unwrap();
    let section = text.split_once(heading).unwrap().1;
    let lines = section.lines().skip_while(|line| !line.starts_with("    "));
    let block = lines.take_while(|line| line.starts_with("    ") || line.is_empty());
    block.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_roles_of_the_documentation_have_the_rights_that_they_need() {
    let Some(place) = Place::new("docferry_least_rights") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    let fit = |sql: String| {
        let sql = sql.replace("DATABASE nextcrm", &format!("DATABASE {}", place.database()));
        sql.replace("docferry_loader", "docferry_loader_e").replace("SCHEMA public", "SCHEMA app")
    };
    // Tables of its own.
    drop(place.role("docferry_loader_e", ""));
    place.sql("DROP ROLE docferry_loader_e");
    place.sql(&fit(documented("### A role that makes the tables")));
    let target = place.address_of("docferry_loader_e");
    let all = |way: &[&str]| {
        for (command, more) in [("load", way), ("verify", &[][..])] {
            let arguments = [&["--target", &target, "--run", &run], more].concat();
            let output = place.run(command, &arguments);
            assert!(output.status.success(), "{command} {way:?}: {}", shown(&output));
        }
        let output = Command::new(env!("CARGO_BIN_EXE_docferry"))
            .args(["rollback", "latest", "--target", &target])
            .output()
            .unwrap();
        assert!(output.status.success(), "{way:?}: {}", shown(&output));
    };
    all(&[]);
    place.sql("DROP OWNED BY docferry_loader_e CASCADE; DROP ROLE docferry_loader_e");
    // Tables of an application, which belong to another role.
    place.sql("DROP SCHEMA IF EXISTS app CASCADE");
    place.sql(EXISTING);
    place.sql(&fit(documented("### A role that fills tables of an application")));
    for mode in ["insert", "upsert", "replace"] {
        all(&["--home", "existing", "--mode", mode]);
    }
    place.sql("DROP OWNED BY docferry_loader_e CASCADE; DROP ROLE docferry_loader_e");
}
