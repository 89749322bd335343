//! What every command prints, on data and names that mean harm, and where nothing can be printed.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::pipe;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory;
use docferry::cli::Cli;
use docferry::escape::is_harmful;
use docferry::postgres::quote_identifier;
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc, oid::ObjectId};
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;

use crate::support::{fresh_database, server, shown, with_database};

/// A line that nobody but docferry may print.
const FORGED: &str = "run FORGED: every row is proved";

/// Names and texts of somebody who means harm, or has odd habits.
fn hostile() -> Vec<String> {
    let mut names: Vec<String> = [
        "a/../../evil",
        "a/b\\c",
        "a\nb",
        "a\r\nb",
        "x\nrun FORGED: every row is proved",
        "\nrun FORGED: every row is proved\n",
        "x\u{2028}run FORGED: every row is proved",
        "x\u{85}run FORGED: every row is proved",
        "tab\there",
        "\u{1b}[31mRED\u{1b}[0m",
        "\u{1b}]0;title\u{7}",
        "\u{1b}]8;;http://evil\u{1b}\\link",
        "\u{1b}c",
        "bell\u{7}",
        "back\u{8}\u{8}space",
        "\u{9b}2Jc1",
        "\u{9d}0;c1 title\u{9c}",
        "del\u{7f}ete",
        "\u{202e}gpj.exe",
        "\u{2066}isolate\u{2069}",
        "\u{200f}mark\u{200e}",
        "\u{61c}arabic mark",
        "zero\u{200b}width",
        "\u{feff}bom",
        "tag\u{e0041}\u{e007f}",
        "%2F%00%0a",
        "a%20b+c",
        "Case",
        "case",
        "-rf",
        "--help",
        "q'uote\"s`",
        "$HOME $(id) `id`",
        "{{7*7}} <script>",
        "\\u{202e}",
        "\\n",
        "ünïcode 名前 👩\u{200d}🔬",
        " spaces ",
    ]
    .map(str::to_owned)
    .into();
    names.push("long".repeat(40));
    names
}

/// Whether MongoDB takes it as the name of a collection.
fn kept(name: &str) -> bool {
    !name.contains('$') && !name.starts_with('.')
}

/// Text as TOML writes it.
fn toml(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        if character.is_alphanumeric() {
            quoted.push(character);
        } else {
            let _ = write!(quoted, "\\U{:08X}", u32::from(character));
        }
    }
    quoted + "\""
}

/// A name that PostgreSQL keeps whole.
fn short(name: &str) -> &str {
    &name[..name.floor_char_boundary(50)]
}

/// A pipeline with its source and target.
struct Place {
    folder: tempfile::TempDir,
    source: String,
    back: String,
    target: String,
    server: String,
    pipeline: String,
    collection: String,
    table: String,
    id: String,
}

impl Place {
    fn new(name: &str, names: &[String], pipeline: &str) -> Option<Self> {
        let mongodb = server("DOCFERRY_TEST_MONGODB")?;
        let postgres = server("DOCFERRY_TEST_POSTGRES")?;
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let (_, target) = runtime.block_on(fresh_database(&postgres, name));
        runtime.block_on(async {
            let client = Client::with_uri_str(&mongodb).await.unwrap();
            for database in [name.to_owned(), format!("{name}_back")] {
                client.database(&database).drop().await.unwrap();
            }
            let database = client.database(name);
            for collection in names {
                if !kept(collection) {
                    continue;
                }
                database.collection(collection).insert_many(documents(names)).await.unwrap();
            }
        });
        std::fs::write(folder.path().join("p.toml"), pipeline).unwrap();
        Some(Self {
            source: with_database(&mongodb, name),
            back: with_database(&mongodb, &format!("{name}_back")),
            target,
            server: mongodb,
            pipeline: folder.path().join("p.toml").to_str().unwrap().to_owned(),
            collection: names[0].clone(),
            table: short(&names[0]).to_owned(),
            id: names[0].clone(),
            folder,
        })
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    /// Every command, in an order that gives each something to say.
    fn steps(&self) -> Vec<Vec<String>> {
        let Self { source, back, target, server, pipeline, collection, table, id, .. } = self;
        let (dump, made, planned) = (self.path("dump"), self.path("made"), self.path("q.toml"));
        let steps: Vec<Vec<&str>> = vec![
            vec!["plan", source],
            vec!["plan", source, "--names", "snake", "-o", &planned, "--force"],
            vec!["plan", source, "--diff", pipeline],
            vec!["check", pipeline],
            vec!["check", &planned],
            vec!["ddl", pipeline],
            vec!["schema"],
            vec!["doctor", pipeline, "--source", source, "--target", target],
            vec!["doctor", pipeline, "--health", "--target", target],
            vec!["id", id],
            vec!["id", "507f1f77bcf86cd799439011"],
            vec!["generate", pipeline, "--documents", "20", "--to", &made],
            vec!["export", pipeline, "--source", source],
            vec!["backup", pipeline, "--source", source, "--keep-last", "5"],
            vec!["runs", pipeline],
            vec!["prune", pipeline, "--keep-last", "1", "--dry-run"],
            vec!["transform", pipeline],
            vec!["rejects", pipeline],
            vec!["rejects", pipeline, "--list"],
            vec!["rejects", pipeline, "--show", id],
            vec!["load", pipeline, "--target", target, "--dry-run"],
            vec!["load", pipeline, "--target", target],
            vec!["verify", pipeline, "--target", target],
            vec!["verify", pipeline, "--target", target, "--documents"],
            vec!["trace", "--", pipeline, collection, id],
            vec!["trace", "--target", target, "--", pipeline, table, id],
            vec!["trace", "--", pipeline, collection, "070707070707070707070707"],
            vec!["dump", "latest", "--target", target],
            vec!["audit", "latest", "--read-data"],
            vec!["show", "latest", table],
            vec!["show", "latest", collection, "--documents"],
            vec!["show", "latest", collection, "--documents", "--limit", "1"],
            vec!["restore", "latest", "--to", &dump],
            vec!["restore", "latest", "--to", back],
            vec!["restore-check", "latest", "--scratch", server],
            vec!["rollback", "latest", "--target", target, "--dry-run"],
            vec!["rollback", "latest", "--target", target],
            vec!["run", pipeline, "--source", source, "--target", target],
            vec!["rollback", "latest", "--forget", "--target", target],
            // Errors that quote what they were given.
            vec!["show", "latest", id],
            vec!["show", "latest", "--id", id, "--", collection],
            vec!["show", "latest", table, "--where", id],
            vec!["trace", "--", pipeline, collection, id],
            vec!["trace", "--", pipeline, id, id],
            vec!["audit", id],
            vec!["rollback", id, "--target", target],
            vec!["restore", "latest", "--to", back, "--collection", id],
            vec!["restore", "latest", "--to", "mysql:x", "--filter", id],
            vec!["export", pipeline, "--source", id],
            vec!["export", id, "--source", source],
            vec!["verify", pipeline, "--target", id],
            vec!["doctor", pipeline, "--source", id, "--target", id],
            vec!["load", pipeline, "--target", target, "--run", id],
            vec!["audit", "latest", id],
            vec![id],
        ];
        let staged = [
            "run",
            "export",
            "backup",
            "prune",
            "runs",
            "transform",
            "rejects",
            "load",
            "audit",
            "show",
            "restore",
            "restore-check",
            "dump",
            "verify",
            "trace",
            "doctor",
        ];
        let staging = self.path("staging");
        let with_staging = steps.into_iter().map(|mut step| {
            if staged.contains(&step[0]) {
                step.splice(1..1, ["--staging", &staging]);
            }
            step.into_iter().map(str::to_owned).collect()
        });
        with_staging.collect()
    }
}

/// The names as ids, fields and values.
fn documents(names: &[String]) -> Vec<Document> {
    let named = names.iter().enumerate().map(|(at, name)| {
        let mut document = doc! {"_id": name, "e": name, "n": i32::try_from(at).unwrap()};
        document.insert("v", Bson::from(name.clone()));
        document
    });
    let mut all: Vec<Document> = named.collect();
    all.push(doc! {"_id": ObjectId::from_bytes([7; 12]), "e": "fine", "n": "no number"});
    all
}

fn command(arguments: &[String]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("docferry"));
    command.args(arguments).env_remove("MONGODB_URI").env_remove("DATABASE_URL");
    command
}

/// The steps name every command there is.
#[track_caller]
fn assert_all_commands(steps: &[Vec<String>]) {
    let cli = Cli::command();
    let all: BTreeSet<&str> = cli.get_subcommands().map(clap::Command::get_name).collect();
    let tried: BTreeSet<&str> = steps.iter().map(|step| step[0].as_str()).collect();
    assert_eq!(all.difference(&tried).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[track_caller]
fn assert_harmless(what: &[String], output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = std::str::from_utf8(bytes).unwrap();
        let bad: Vec<char> = text.chars().filter(|c| *c != '\n' && is_harmful(*c)).collect();
        assert!(bad.is_empty(), "{what:?} printed {bad:?} in {text:?}");
        let forged = text.lines().any(|line| line.trim_start().starts_with(FORGED));
        assert!(!forged, "{what:?} printed {text:?}");
    }
    assert!(output.status.code().is_some_and(|code| code != 101), "{what:?}: {}", shown(output));
}

/// A table for each collection, with a column and an enum of its name.
fn hostile_pipeline(names: &[String]) -> String {
    let mut text = String::from("version = 1\nname = \"hostile\"\nschema = \"app\"\n[enums]\n");
    let _ = writeln!(text, "{} = [\"fine\", {}]", toml("e\nnum\u{1b}"), toml(short(&names[4])));
    for name in names.iter().filter(|name| kept(name)) {
        let column = toml(&format!("c\u{202e}{}", short(name)));
        let (table, source) = (toml(short(name)), toml(name));
        let _ = write!(
            text,
            "[tables.{table}]\nsource = {source}\n[tables.{table}.columns]\n\
             id = {{ from = \"_id\", type = \"text\", key = true }}\n\
             {column} = {{ from = \"v\", type = \"text\", optional = true, index = true }}\n\
             e = {{ type = \"text\", optional = true, references = {table}, dangling = \"null\" }}\n\
             n = {{ type = \"integer\", optional = true }}\n\
             [tables.{table}.expectations]\n{column} = \"n < 3\"\n"
        );
    }
    // Its rows are refused, by rules that quote them.
    let refused = toml("refu\u{1b}sed");
    let mood = toml("e\nnum\u{1b}");
    text + &format!(
        "[tables.{refused}]\nsource = {}\n[tables.{refused}.columns]\n\
         id = {{ from = \"_id\", type = \"uuid\", key = true }}\n\
         mood = {{ from = \"e\", type = {mood} }}\nn = {{ type = \"integer\" }}\n\
         v = {{ type = \"text\", optional = true }}\n\
         [junctions.{}]\ncolumns = {{ a = {refused}, b = {refused} }}\n\
         from = [{{ path = {}, side = \"a\", optional = true }}]\n",
        toml(&names[0]),
        toml("li\nnks"),
        toml("refu\u{1b}sed.none"),
    )
}

#[test]
fn nothing_that_is_printed_obeys_the_data() {
    let names = hostile();
    let Some(mut place) =
        Place::new("docferry_hostile", &names[..12], &hostile_pipeline(&names[..12]))
    else {
        return;
    };
    for name in names[12..].iter().filter(|name| kept(name)) {
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let client = Client::with_uri_str(&place.server).await.unwrap();
            let one = client.database("docferry_hostile").collection::<Document>(name);
            one.insert_many(documents(&names)).await.unwrap();
        });
    }
    std::fs::write(place.path("p.toml"), hostile_pipeline(&names)).unwrap();
    place.id = format!("\u{1b}]0;x\u{7}{}", names[5]);
    place.collection.clone_from(&names[4]);
    short(&names[4]).clone_into(&mut place.table);
    let steps = place.steps();
    assert_all_commands(&steps);
    let mut done = BTreeSet::new();
    for step in &steps {
        let output = command(step).output().unwrap();
        assert_harmless(step, &output);
        if output.status.code().is_some_and(|code| matches!(code, 0 | 3 | 4)) {
            done.insert(step[0].clone());
        } else {
            assert!(step.contains(&place.id), "{step:?}: {}", shown(&output));
        }
        for format in ["--json", "--log-format=json"] {
            // What was done stays done: they say so, or do it again.
            let arguments = [&[format.to_owned()], step.as_slice()].concat();
            let output = command(&arguments).output().unwrap();
            assert_harmless(step, &output);
            let clap = step.len() == 1 || step.last() == Some(&place.id) && step.len() == 5;
            let text = if format == "--json" { &output.stdout } else { &output.stderr };
            for line in String::from_utf8_lossy(text).lines().filter(|_| !clap) {
                let read: Result<serde_json::Value, _> = serde_json::from_str(line);
                assert!(read.is_ok(), "{step:?} {format}: {line}");
            }
        }
    }
    assert_all_commands(&done.into_iter().map(|name| vec![name]).collect::<Vec<_>>());
    // What differs is named by its key.
    let runtime = Runtime::new().unwrap();
    let table = quote_identifier(short(&names[4]));
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&place.target, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&format!("UPDATE app.{table} SET n = 99")).await.unwrap();
    });
    let verify = place.steps().into_iter().find(|step| step[0] == "verify").unwrap();
    let output = command(&verify).output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", shown(&output));
    assert!(shown(&output).contains("\\u{a}run FORGED: every row is proved"), "{}", shown(&output));
    assert_harmless(&verify, &output);
    // A mistake quotes the file and what was meant.
    let wrong = format!(
        "version = 1\nname = \"x\"\n[tables.t.columns]\nid = {{ type = \"uuid\", references = {} }}\n\
         a = {{ type = \"\"\"\n{FORGED}\u{202e}\"\"\" }}\n{} = {{ type = \"uuid\", on_delete = {0} }}\n",
        toml(&names[4]),
        toml(&names[5])
    );
    std::fs::write(place.path("wrong.toml"), wrong).unwrap();
    let step = ["check".to_owned(), place.path("wrong.toml")];
    let output = command(&step).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", shown(&output));
    assert!(shown(&output).contains("x\\u{a}run FORGED"), "{}", shown(&output));
    assert_harmless(&step, &output);
    // The SQL that is printed makes what a load makes.
    let script = command(&["ddl".to_owned(), place.pipeline.clone()]).output().unwrap();
    let script = String::from_utf8(script.stdout).unwrap();
    let postgres = server("DOCFERRY_TEST_POSTGRES").unwrap();
    let (client, _address) = runtime.block_on(fresh_database(&postgres, "docferry_hostile_ddl"));
    runtime.block_on(client.batch_execute(&script)).unwrap();
    let made = "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'app'::regnamespace \
                AND c.relkind = 'r' AND c.relname <> ALL ($1)";
    let mut tables: Vec<&str> =
        names.iter().filter(|name| kept(name)).map(|name| short(name)).collect();
    tables.extend(["refu\u{1b}sed", "li\nnks"]);
    let others = runtime.block_on(client.query(made, &[&tables])).unwrap();
    assert!(others.is_empty(), "{others:?}");
    let count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'app'";
    let count: i64 = runtime.block_on(client.query_one(count, &[])).unwrap().get(0);
    assert_eq!(usize::try_from(count).unwrap(), tables.len());
    // A page obeys some of them too.
    let runs = std::fs::read_dir(place.path("staging/hostile")).unwrap().flatten();
    let pages: Vec<String> = runs
        .filter_map(|run| std::fs::read_to_string(run.path().join("report.html")).ok())
        .collect();
    assert!(!pages.is_empty());
    for page in pages {
        let bad: Vec<char> = page.chars().filter(|c| *c != '\n' && is_harmful(*c)).collect();
        assert!(bad.is_empty(), "{bad:?}");
    }
}

#[test]
fn a_terminal_obeys_nothing_but_progress_bars() {
    let names = hostile();
    let pipeline = hostile_pipeline(&names);
    let Some(place) = Place::new("docferry_terminal", &names, &pipeline) else { return };
    let staging = place.path("staging");
    let line = ["export", &place.pipeline, "--source", &place.source, "--staging", &staging];
    let quoted: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
    let program = assert_cmd::cargo::cargo_bin!("docferry").display().to_string();
    let text = format!("{program} {}", quoted.join(" "));
    let Ok(output) = Command::new("script").args(["-qec", &text, "/dev/null"]).output() else {
        eprintln!("skipped: script is not installed");
        return;
    };
    assert!(output.status.success(), "{}", shown(&output));
    let seen = String::from_utf8(output.stdout).unwrap();
    assert!(seen.contains("\\u{1b}]0;title\\u{7}"), "{seen:?}");
    for harm in
        ["\u{1b}]", "\u{1b}[31m", "\u{1b}c", "\u{7}", "\u{8}", "\u{9b}", "\u{202e}", "\u{feff}"]
    {
        assert!(!seen.contains(harm), "{harm:?} in {seen:?}");
    }
    let parts = seen.split(['\n', '\r']).map(|part| part.trim_start_matches("\u{1b}[2K"));
    assert!(parts.into_iter().all(|part| !part.starts_with(FORGED)), "{seen:?}");
}

/// A step, its exit status, and what it said.
type Ran = (Vec<String>, Option<i32>, String);

/// Each step with a standard output that takes nothing.
fn statuses(name: &str, stdout: impl Fn() -> Stdio) -> Option<Vec<Ran>> {
    let pipeline = "version = 1\nname = \"plain\"\n[tables.people.columns]\n\
                    id = { from = \"_id\", type = \"text\", key = true }\n\
                    e = { type = \"text\" }\nv = { type = \"text\", optional = true }\n\
                    n = { type = \"integer\" }\n";
    let place = Place::new(name, &["people".to_owned()], pipeline)?;
    let steps = place.steps();
    assert_all_commands(&steps);
    let ran = steps.iter().enumerate().map(|(at, step)| {
        // One half as JSON.
        let mut command = command(step);
        let command = if at % 2 == 0 { &mut command } else { command.arg("--json") };
        let output = command.stdout(stdout()).output().unwrap();
        (step.clone(), output.status.code(), shown(&output))
    });
    Some(ran.collect())
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_and_a_reader_that_left_is_none() {
    let Some(plain) = statuses("docferry_out_plain", Stdio::piped) else { return };
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let full = statuses("docferry_out_full", full).unwrap();
    let gone = statuses("docferry_out_gone", || Stdio::from(pipe().unwrap().1)).unwrap();
    let mut lost = BTreeSet::new();
    for ((plain, full), gone) in plain.iter().zip(full).zip(gone) {
        let (step, code, said) = plain;
        assert_eq!(*code, gone.1, "{step:?}\n{said}\n{}", gone.2);
        let expected = if matches!(code, Some(0 | 3)) { Some(15) } else { *code };
        assert_eq!(expected, full.1, "{step:?}\n{said}\n{}", full.2);
        if expected == Some(15) {
            assert!(full.2.contains("could not be written to standard output"), "{}", full.2);
            lost.insert(vec![step[0].clone()]);
        }
    }
    assert_all_commands(&lost.into_iter().collect::<Vec<_>>());
    for option in ["--help", "--version"] {
        let mut help = command(&[option.to_owned()]);
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(help.stdout(full).status().unwrap().code(), Some(15), "{option}");
    }
}
