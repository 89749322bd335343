//! Rows, triggers and rules of others: no mode of a load and no rollback changes them.

use std::process::Output;

use crate::homes::{EXISTING, Place, author, book, two_authors};
use crate::support::{assert_same, shown, state};

/// Tables of the application that no pipeline names, and that refer to books and authors in every
/// way there is.
const OUTSIDE: &str = "
CREATE SCHEMA shop;
CREATE TABLE shop.loans (book uuid REFERENCES app.books ON DELETE CASCADE, reader text);
CREATE TABLE shop.marks (book uuid REFERENCES app.books ON DELETE SET NULL, page integer);
CREATE TABLE shop.prizes (book uuid DEFAULT '00000000-0000-0000-0000-000000000000'
    REFERENCES app.books ON DELETE SET DEFAULT);
CREATE TABLE shop.orders (title varchar(40) REFERENCES app.books (title) ON UPDATE CASCADE);
CREATE TABLE shop.stock (book uuid PRIMARY KEY REFERENCES app.books);
";

/// One row in each, for the book of this title.
fn refer(title: &str) -> String {
    let book = format!("(SELECT id FROM app.books WHERE title = '{title}')");
    format!(
        "INSERT INTO shop.loans VALUES ({book}, 'Ann'); INSERT INTO shop.marks VALUES ({book}, 7); \
         INSERT INTO shop.prizes VALUES ({book}); INSERT INTO shop.orders VALUES ('{title}'); \
         INSERT INTO shop.stock VALUES ({book})"
    )
}

/// All rows outside, as text.
const ROWS: &str = "SELECT string_agg(row, E'\\n' ORDER BY row) FROM \
    (SELECT 'loan ' || t::text AS row FROM shop.loans t UNION ALL SELECT 'mark ' || t::text FROM shop.marks t \
     UNION ALL SELECT 'prize ' || t::text FROM shop.prizes t UNION ALL SELECT 'order ' || t::text FROM shop.orders t \
     UNION ALL SELECT 'stock ' || t::text FROM shop.stock t) t";

const REFERENCES: [&str; 5] = [
    "1 rows of \"shop\".\"loans\" refer to books (foreign key loans_book_fkey, ON DELETE CASCADE)",
    "1 rows of \"shop\".\"marks\" refer to books (foreign key marks_book_fkey, ON DELETE SET NULL)",
    "1 rows of \"shop\".\"prizes\" refer to books (foreign key prizes_book_fkey, ON DELETE SET DEFAULT)",
    "1 rows of \"shop\".\"orders\" refer to books (foreign key orders_title_fkey, ON DELETE NO ACTION)",
    "1 rows of \"shop\".\"stock\" refer to books (foreign key stock_book_fkey, ON DELETE NO ACTION)",
];

#[track_caller]
fn assert_refused(output: &Output, parts: &[&str]) {
    let text = shown(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[track_caller]
fn assert_done(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", shown(output));
}

/// The application's tables with two books, as a first run made them.
fn with_books(database: &str) -> Option<Place> {
    let place = Place::new(database)?;
    place.sql(EXISTING);
    let first = place.stage(&two_authors(), &[book(1, "Dune", 1), book(2, "Emma", 2)]);
    assert_done(&place.load(&first, &["--home", "existing"]));
    place.sql("DROP SCHEMA docferry CASCADE");
    place.sql(OUTSIDE);
    Some(place)
}

#[test]
fn rows_that_other_tables_refer_to_are_not_replaced() {
    let Some(place) = with_books("docferry_replace_others") else { return };
    place.sql(&refer("Dune"));
    let before = state(&place.address);
    let next = place.stage(&two_authors(), &[book(1, "Dune II", 1), book(3, "Faust", 1)]);
    for more in [&["--dry-run"][..], &[]] {
        let way = [&["--home", "existing", "--mode", "replace"], more].concat();
        let output = place.load(&next, &way);
        assert_refused(&output, &REFERENCES);
        assert!(shown(&output).contains("--mode upsert"), "{}", shown(&output));
        assert_same(&before, &state(&place.address));
    }
    // Foreign keys without rows that refer hinder nothing.
    place.sql("TRUNCATE shop.loans, shop.marks, shop.prizes, shop.orders, shop.stock");
    let before = state(&place.address);
    assert_done(&place.load(&next, &["--home", "existing", "--mode", "replace"]));
    assert_eq!(place.titles(), "Dune II Faust");
    // Rows that refer to what comes back stay; a row that refers to what goes refuses.
    place.sql("INSERT INTO shop.loans SELECT id, 'Bob' FROM app.books WHERE title = 'Faust'");
    place.sql("INSERT INTO shop.marks SELECT id, 3 FROM app.books WHERE title = 'Dune II'");
    let with_rows = state(&place.address);
    for more in [&[][..], &["--force"], &["--dry-run"]] {
        let output = place.rollback(more);
        assert_refused(&output, &REFERENCES[..1]);
        assert!(!shown(&output).contains("marks_book_fkey"), "{}", shown(&output));
        assert_same(&with_rows, &state(&place.address));
    }
    place.sql("DELETE FROM shop.loans");
    assert_done(&place.rollback(&[]));
    assert_eq!(
        place.text("SELECT count(*)::text FROM shop.marks m JOIN app.books b ON b.id = book"),
        "1"
    );
    place.sql("DELETE FROM shop.marks");
    assert_same(&before, &state(&place.address));
}

/// References are followed as the server follows them: types of extensions have their own equality.
#[test]
fn references_by_an_extension_type_are_seen() {
    let Some(place) = with_books("docferry_citext_others") else { return };
    if place.text("SELECT count(*)::text FROM pg_available_extensions WHERE name = 'citext'") == "0"
    {
        eprintln!("skipped: this server has no citext");
        return;
    }
    place.sql(
        "CREATE EXTENSION citext SCHEMA public; ALTER TABLE app.books ADD code citext UNIQUE; \
         UPDATE app.books SET code = title; \
         CREATE TABLE shop.codes (code citext REFERENCES app.books (code) ON DELETE CASCADE); \
         INSERT INTO shop.codes VALUES ('DUNE')",
    );
    let next = place.stage(&two_authors(), &[book(3, "Faust", 1)]);
    let output = place.load(&next, &["--home", "existing", "--mode", "replace"]);
    assert_refused(&output, &["1 rows of \"shop\".\"codes\" refer to books"]);
    assert_eq!(place.text("SELECT string_agg(code, ' ') FROM shop.codes"), "DUNE");
}

#[test]
fn rows_that_other_tables_refer_to_outlive_an_upsert_and_its_rollback() {
    let Some(place) = with_books("docferry_upsert_others") else { return };
    place.sql(&refer("Emma"));
    place.sql("DELETE FROM shop.orders");
    let before = state(&place.address);
    let rows = place.text(ROWS);
    // The titles are exchanged: each was unique before, and is after.
    let next = place.stage(&two_authors(), &[book(2, "Emma II", 1), book(3, "Faust", 1)]);
    let output = place.load(&next, &["--home", "existing", "--mode", "upsert"]);
    assert_done(&output);
    assert_eq!(place.titles(), "Dune Emma II Faust");
    assert_eq!(place.text(ROWS), rows);
    // A row that refers to a book of the load would be lost with it.
    place.sql("INSERT INTO shop.loans SELECT id, 'Bob' FROM app.books WHERE title = 'Faust'");
    for more in [&[][..], &["--force"]] {
        assert_refused(&place.rollback(more), &REFERENCES[..1]);
    }
    assert_eq!(place.titles(), "Dune Emma II Faust");
    place.sql("DELETE FROM shop.loans WHERE reader = 'Bob'");
    assert_done(&place.rollback(&[]));
    assert_eq!(place.text(ROWS), rows);
    assert_same(&before, &state(&place.address));
}

#[test]
fn a_value_that_other_tables_refer_to_is_not_changed_by_an_upsert() {
    let Some(place) = with_books("docferry_upsert_value") else { return };
    place.sql(&refer("Emma"));
    let before = state(&place.address);
    let next = place.stage(&two_authors(), &[book(1, "Dune II", 1), book(2, "Emma II", 1)]);
    let output = place.load(&next, &["--home", "existing", "--mode", "upsert"]);
    let named = "1 rows of \"shop\".\"orders\" refer by foreign key orders_title_fkey to rows of \
                 books whose title changes";
    assert_refused(&output, &[named]);
    assert_eq!(place.titles(), "Dune Emma");
    assert_done(&place.rollback(&[]));
    assert_same(&before, &state(&place.address));
}

#[test]
fn a_table_of_the_load_that_others_refer_to_is_not_dropped() {
    let Some(place) = Place::new("docferry_drop_others") else { return };
    let first = place.stage(&two_authors(), &[book(1, "Dune", 1)]);
    assert_done(&place.load(&first, &[]));
    place.sql("CREATE TABLE public.loans (book uuid CONSTRAINT of_book REFERENCES app.books)");
    let before = state(&place.address);
    for more in [&[][..], &["--force"], &["--dry-run"]] {
        let named = "foreign key of_book of \"public\".\"loans\" refers to books";
        assert_refused(&place.rollback(more), &[named]);
        assert_same(&before, &state(&place.address));
    }
    place.sql("DROP TABLE public.loans");
    assert_done(&place.rollback(&[]));
}

#[test]
fn code_of_others_does_not_run_for_rows_that_are_deleted() {
    let Some(place) = with_books("docferry_triggers") else { return };
    place.sql(
        "CREATE TABLE shop.log (what text);
         CREATE FUNCTION shop.log() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO shop.log VALUES (TG_NAME || ' ' || TG_OP); RETURN NULL; END $$;
         CREATE TRIGGER plain AFTER DELETE OR UPDATE ON app.books FOR EACH ROW EXECUTE FUNCTION shop.log();
         CREATE TRIGGER always AFTER DELETE ON app.books FOR EACH STATEMENT EXECUTE FUNCTION shop.log();
         CREATE TRIGGER replica AFTER DELETE ON app.books FOR EACH ROW EXECUTE FUNCTION shop.log();
         CREATE TRIGGER \"switched Off\" AFTER DELETE ON app.books FOR EACH ROW EXECUTE FUNCTION shop.log();
         ALTER TABLE app.books ENABLE ALWAYS TRIGGER always, ENABLE REPLICA TRIGGER replica,
             DISABLE TRIGGER \"switched Off\"",
    );
    let before = state(&place.address);
    let next = place.stage(&two_authors(), &[book(1, "Dune II", 1), book(3, "Faust", 1)]);
    let output = place.load(&next, &["--home", "existing", "--mode", "replace"]);
    assert_refused(
        &output,
        &["trigger plain of \"app\".\"books\" fires on DELETE", "trigger always"],
    );
    assert!(!shown(&output).contains("switched Off"), "{}", shown(&output));
    assert_same(&before, &state(&place.address));
    let output = place.load(&next, &["--home", "existing", "--mode", "upsert"]);
    assert_done(&output);
    assert_eq!(place.text("SELECT string_agg(what, ' ') FROM shop.log"), "plain UPDATE");
    let output = place.rollback(&[]);
    assert_done(&output);
    assert!(
        shown(&output).contains("trigger plain of \"app\".\"books\" did not fire"),
        "{}",
        shown(&output)
    );
    place.sql("DELETE FROM shop.log WHERE what = 'plain UPDATE'");
    assert_same(&before, &state(&place.address));
}

#[test]
fn rules_are_refused_and_tables_that_inherit_keep_their_rows() {
    let Some(place) = with_books("docferry_rules") else { return };
    place.sql("CREATE TABLE shop.rare () INHERITS (app.authors)");
    let rare = "SELECT string_agg(name, ' ') FROM shop.rare";
    place.sql("INSERT INTO shop.rare (id, name) VALUES (gen_random_uuid(), 'Hal')");
    for (rule, mode) in [("UPDATE", "upsert"), ("INSERT", "upsert"), ("DELETE", "replace")] {
        place.sql(&format!("CREATE RULE other AS ON {rule} TO app.authors DO ALSO NOTHING"));
        let next = place.stage(&[author(1, "Anna"), author(2, "Bob")], &[]);
        let output = place.load(&next, &["--home", "existing", "--mode", mode]);
        assert_refused(&output, &[&format!("rule other of authors rewrites {rule}")]);
        place.sql("DROP RULE other ON app.authors");
    }
    let before = state(&place.address);
    for mode in ["upsert", "replace"] {
        let next = place.stage(&[author(1, "Anna"), author(2, "Bob")], &[book(1, "Dune", 1)]);
        assert_done(&place.load(&next, &["--home", "existing", "--mode", mode]));
        assert_eq!(place.text(rare), "Hal", "{mode}");
        place.sql("CREATE RULE other AS ON DELETE TO app.authors DO ALSO NOTHING");
        assert_refused(&place.rollback(&[]), &["rule other of authors rewrites DELETE"]);
        place.sql("DROP RULE other ON app.authors");
        assert_done(&place.rollback(&["--force"]));
        assert_same(&before, &state(&place.address));
    }
}
