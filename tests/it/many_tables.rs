//! A load of more tables than one transaction of the server can drop.

use crate::homes::{Place, book, two_authors};
use crate::support::shown;

/// Tables, and indexes of each: more locks together than a server has room for by default.
const TABLES: i32 = 90;
const INDEXES: i32 = 64;

#[test]
fn a_rollback_of_many_tables_takes_several_transactions_and_says_so() {
    let Some(place) = Place::new("docferry_many_tables") else { return };
    let run = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    assert!(place.load(&run, &[]).status.success());
    // Each table refers to the next, the last to the first.
    for from in (1..=TABLES).step_by(10) {
        place.sql(&format!(
            "DO $$ BEGIN FOR t IN {from} .. {from} + 9 LOOP \
               EXECUTE format('CREATE TABLE app.many%s (id integer PRIMARY KEY, next integer)', t); \
               FOR i IN 1 .. {INDEXES} LOOP \
                 EXECUTE format('CREATE INDEX ON app.many%s ((id + %s))', t, i); END LOOP; \
               INSERT INTO docferry.created_objects (run, schema_name, kind, name) \
                 SELECT run, schema_name, 'table', 'many' || t FROM docferry.runs; \
             END LOOP; END $$"
        ));
    }
    for table in 1..=TABLES {
        let next = table % TABLES + 1;
        place.sql(&format!(
            "ALTER TABLE app.many{table} ADD FOREIGN KEY (next) REFERENCES app.many{next}"
        ));
    }
    let tables = "SELECT count(*)::text FROM pg_tables WHERE schemaname = 'app'";
    let all = place.text(tables);
    // A row of others in any of them refuses the whole, before a table is gone.
    place.sql("INSERT INTO app.many77 VALUES (1, NULL)");
    let output = place.rollback(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("1 rows of many77 were added"), "{}", shown(&output));
    assert_eq!(place.text(tables), all);
    place.sql("DELETE FROM app.many77");

    let output = place.rollback(&["--dry-run"]);
    let text = shown(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("93 tables are dropped in several transactions"), "{text}");
    assert!(text.contains("max_locks_per_transaction"), "{text}");
    assert_eq!(place.text(tables), all);
    // A view on one of them stops it on the way; it goes on from there.
    place.sql("CREATE VIEW public.on_it AS SELECT * FROM app.many9");
    let output = place.rollback(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
    assert!(shown(&output).contains("on_it"), "{}", shown(&output));
    place.sql("DROP VIEW public.on_it");
    let output = place.rollback(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", shown(&output));
    assert_eq!(place.text(tables), "0");
    assert_eq!(place.text("SELECT to_regnamespace('docferry')::text"), "");
}
