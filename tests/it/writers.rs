//! An application that writes while tables are loaded, upserted, replaced and rolled back: none of
//! its commits is lost, and none is overwritten unseen.
//!
//! `DOCFERRY_TEST_WRITERS` sets the number of commits (10,000), or as `600s` the time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use tokio_postgres::NoTls;

use crate::homes::Place;
use crate::support::shown;

const PIPELINE: &str = r#"
version = 1
name = "books"
schema = "app"
[tables.books.columns]
id = { from = "_id", type = "integer", key = true }
title = { type = "text" }
"#;

/// Counters of the application stand in a column that is not staged, and in a table of its own
/// that refers to the books.
const TABLES: &str = "
CREATE SCHEMA app;
CREATE TABLE app.books (id integer PRIMARY KEY, title text, n integer NOT NULL DEFAULT 0);
CREATE TABLE app.loans (number serial PRIMARY KEY,
    book integer NOT NULL REFERENCES app.books ON DELETE CASCADE);
";

/// Books that are there; the staged ones change those with even numbers and add as many.
const BOOKS: i32 = 400;
const WRITERS: i32 = 3;

/// Which rows the application writes.
#[derive(Clone, Copy, PartialEq)]
enum Writes {
    /// All books that were there.
    All,
    /// Those that the load leaves as they are, new books, and rows that refer to them.
    Beside,
}

/// Commits of the application, by book.
#[derive(Default)]
struct Committed {
    counts: HashMap<i32, i64>,
    books: Vec<i32>,
    loans: i64,
}

impl Committed {
    fn add(&mut self, other: Self) {
        for (book, count) in other.counts {
            *self.counts.entry(book).or_default() += count;
        }
        self.books.extend(other.books);
        self.loans += other.loans;
    }
}

struct Trial {
    place: Place,
    committed: Committed,
    next_book: Arc<AtomicU64>,
    commits: u64,
}

fn staged() -> Vec<Document> {
    let title = |n: i32| if n % 2 == 0 { format!("new {n}") } else { format!("old {n}") };
    (1..=BOOKS * 2).map(|n| doc! {"_id": n, "title": title(n)}).collect()
}

impl Trial {
    fn new(database: &str) -> Option<Self> {
        let place = Place::new(database)?;
        std::fs::write(place.path("books.toml"), PIPELINE).unwrap();
        Some(Self {
            place,
            committed: Committed::default(),
            next_book: Arc::new(AtomicU64::new(1_000_000)),
            commits: 0,
        })
    }

    /// The application's tables anew.
    fn fill(&mut self) {
        self.place.sql("DROP SCHEMA IF EXISTS app, docferry CASCADE");
        self.place.sql(TABLES);
        self.place.sql(&format!(
            "INSERT INTO app.books SELECT n, 'old ' || n FROM generate_series(1, {BOOKS}) n"
        ));
        self.committed = Committed::default();
    }

    /// Runs something while the application writes, until it made a hundred commits at least.
    fn beside<T>(&mut self, writes: Writes, work: impl FnOnce(&Place) -> T) -> T {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicU64::new(0));
        let tasks: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                let (address, next) = (self.place.address.clone(), Arc::clone(&self.next_book));
                self.place.runtime.spawn(write(address, writes, writer, stop, done, next))
            })
            .collect();
        let begun = || done.load(Ordering::Relaxed) > 30;
        while !begun() {
            std::thread::yield_now();
        }
        let result = work(&self.place);
        let so_far = done.load(Ordering::Relaxed);
        while done.load(Ordering::Relaxed) < so_far + 70 {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Relaxed);
        for task in tasks {
            self.committed.add(self.place.runtime.block_on(task).unwrap());
        }
        self.commits += done.load(Ordering::Relaxed);
        result
    }

    fn number(&self, sql: &str) -> i64 {
        self.place.text(&format!("SELECT ({sql})::text")).parse().unwrap()
    }

    /// Each book counts as many commits as there were, together with those that are kept for a
    /// rollback; all books and rows that the application made are there.
    #[track_caller]
    fn assert_kept(&self, counts: &str) {
        let sql = format!("SELECT string_agg(id || ' ' || n, ',') FROM ({counts}) t WHERE n > 0");
        let text = self.place.text(&sql);
        let found: HashMap<i32, i64> = text
            .split(',')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once(' ').unwrap())
            .map(|(id, n)| (id.parse().unwrap(), n.parse().unwrap()))
            .collect();
        let of = |all: &HashMap<i32, i64>| {
            let mut all: Vec<_> = all.iter().map(|(id, n)| (*id, *n)).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(of(&found), of(&self.committed.counts));
        assert_eq!(self.number("SELECT count(*) FROM app.loans"), self.committed.loans);
        let books = i64::try_from(self.committed.books.len()).unwrap();
        assert_eq!(self.number("SELECT count(*) FROM app.books WHERE id >= 1000000"), books);
    }

    fn upsert(&mut self, run: &str, writes: Writes) {
        let output = self
            .beside(writes, |place| place.load(run, &["--home", "existing", "--mode", "upsert"]));
        assert!(output.status.success(), "{}", shown(&output));
        self.assert_kept("SELECT id, n FROM app.books");
        let new = "SELECT count(*) FROM app.books WHERE title = 'new ' || id";
        assert_eq!(self.number(new), i64::from(BOOKS), "every row is upserted");
        // A row that nobody changed after the load differs from the kept one by the load alone.
        let kept = self.place.text("SELECT saved_in FROM docferry.saved_rows");
        let unseen = format!(
            "SELECT count(*) FROM docferry.{kept} s JOIN app.books t USING (id) WHERE s.n <> t.n \
             AND t.xmin::text::bigint IN (SELECT xid FROM docferry.loaded_parts)"
        );
        assert_eq!(self.number(&unseen), 0, "commits that were overwritten unseen");
    }

    /// Where the application changed the loaded rows itself, a rollback refuses; rows that it
    /// changed beside the load's are as it left them.
    fn upsert_and_roll_back(&mut self, run: &str) {
        self.fill();
        self.upsert(run, Writes::All);
        let output = self.beside(Writes::All, |place| place.rollback(&[]));
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        assert!(shown(&output).contains("were changed or deleted"), "{}", shown(&output));
        self.assert_kept("SELECT id, n FROM app.books");

        self.fill();
        self.upsert(run, Writes::Beside);
        let output = self.beside(Writes::Beside, |place| place.rollback(&[]));
        assert!(output.status.success(), "{}", shown(&output));
        self.assert_kept("SELECT id, n FROM app.books");
        let old = self.number("SELECT count(*) FROM app.books WHERE title = 'old ' || id");
        assert_eq!(old, i64::from(BOOKS));
    }

    /// What was committed before the tables were emptied is kept for the rollback.
    fn replace_and_roll_back(&mut self, run: &str) {
        self.fill();
        let output = self.beside(Writes::All, |place| {
            place.load(run, &["--home", "existing", "--mode", "replace"])
        });
        assert!(output.status.success(), "{}", shown(&output));
        let kept = self.place.text("SELECT saved_in FROM docferry.saved_rows");
        let both = format!(
            "SELECT id, sum(n) AS n FROM (SELECT id, n FROM app.books \
             UNION ALL SELECT id, n FROM docferry.{kept}) t GROUP BY id"
        );
        self.assert_kept(&both);
        let output = self.place.rollback(&[]);
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        self.assert_kept(&both);
    }

    /// Rows that the application adds to the tables while they are loaded stay, whatever happens.
    fn load_and_roll_back(&mut self, run: &str) {
        self.fill();
        self.place.sql("TRUNCATE app.books CASCADE");
        let output = self.place.load(run, &["--home", "existing"]);
        assert!(output.status.success(), "{}", shown(&output));
        let output = self.beside(Writes::Beside, |place| place.load(run, &["--home", "existing"]));
        assert!(output.status.success(), "{}", shown(&output));
        self.assert_kept("SELECT id, n FROM app.books");
        let output = self.beside(Writes::Beside, |place| place.rollback(&[]));
        assert_eq!(output.status.code(), Some(1), "{}", shown(&output));
        self.assert_kept("SELECT id, n FROM app.books");
    }
}

/// Writes until it is told to stop; what it committed.
async fn write(
    address: String,
    writes: Writes,
    writer: i32,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    next_book: Arc<AtomicU64>,
) -> Committed {
    let (client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
    tokio::spawn(connection);
    let mut committed = Committed::default();
    let mut turn = writer;
    while !stop.load(Ordering::Relaxed) {
        turn += 7;
        let book = match writes {
            Writes::All => 1 + turn % BOOKS,
            Writes::Beside => 1 + (turn % BOOKS) / 2 * 2,
        };
        let sql = format!("UPDATE app.books SET n = n + 1 WHERE id = {book}");
        let changed = client.execute(&sql, &[]).await.unwrap();
        if changed > 0 {
            *committed.counts.entry(book).or_default() += 1;
        }
        if writes == Writes::Beside && turn % 5 == 0 {
            let new = i32::try_from(next_book.fetch_add(1, Ordering::Relaxed)).unwrap();
            client.execute("INSERT INTO app.books VALUES ($1, 'own')", &[&new]).await.unwrap();
            committed.books.push(new);
            let sql = format!("INSERT INTO app.loans (book) VALUES ({new})");
            committed.loans += i64::try_from(client.execute(&sql, &[]).await.unwrap()).unwrap();
            done.fetch_add(2, Ordering::Relaxed);
        }
        done.fetch_add(changed, Ordering::Relaxed);
    }
    committed
}

#[test]
fn no_commit_of_an_application_is_lost_beside_any_mode_or_rollback() {
    let Some(mut trial) = Trial::new("docferry_writers") else { return };
    crate::support::write_dump(&trial.place.path("dump/books"), "books", &staged());
    let run = trial.place.stage_dump();
    let limit = std::env::var("DOCFERRY_TEST_WRITERS").unwrap_or("10000".to_owned());
    let (commits, time) = match limit.strip_suffix('s') {
        Some(seconds) => (0, Duration::from_secs(seconds.parse().unwrap())),
        None => (limit.parse().unwrap(), Duration::ZERO),
    };
    let begun = Instant::now();
    while trial.commits < commits || begun.elapsed() < time {
        trial.upsert_and_roll_back(&run);
        trial.replace_and_roll_back(&run);
        trial.load_and_roll_back(&run);
    }
    eprintln!("{} commits beside loads and rollbacks, none lost", trial.commits);
}
