//! Faults as a wrong transform would make them. Each is planted by transforming documents that are
//! changed, and putting what they led to beside the export of the documents as they are: counts,
//! hashes and lists of the staged files agree with one another. Digests of the staged rows find
//! none of them; the proof from the documents finds and names each.

use std::path::{Path, PathBuf};

use docferry::document::id::uuid_from_object_id;
use docferry::staging::checksum::sha256_file;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::{ExportManifest, TransformManifest};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, doc};
use serde_json::Value as Json;

use crate::support::{docferry, fresh_database, server, shown, write_dump};

const PIPELINE: &str = r#"
version = 1
name = "proof"
[enums]
state = ["NEW", "PAID", "SENT"]
[tables.people.columns]
id = { from = "_id", type = "uuid", key = true }
name = { type = "text" }
email = { type = "text", unique = true }
[tables.clubs.columns]
id = { from = "_id", type = "text", key = true }
name = { type = "text" }
[tables.things.columns]
id = { from = "_id", type = "uuid", key = true }
flag = { type = "boolean" }
small = { type = "smallint" }
whole = { type = "integer" }
big = { type = "bigint" }
narrow = { type = "real" }
wide = { type = "double precision" }
amount = { type = "numeric" }
price = { type = "numeric(12,4)" }
name = { type = "text" }
other = { type = "text" }
code = { type = "varchar(400)" }
body = { type = "bytea" }
token = { type = "uuid" }
legacy = { type = "uuid", uuid_order = "csharp" }
data = { type = "jsonb" }
day = { type = "date" }
clock = { type = "time" }
stamp = { type = "timestamp(3)" }
moment = { type = "timestamptz" }
written = { type = "timestamptz" }
state = { type = "state", values = { "paid" = "PAID" } }
tags = { type = "text[]" }
numbers = { type = "integer[]" }
chosen = { from = ["first", "second"], type = "text" }
owner = { references = "people" }
club = { type = "text", references = "clubs" }
note = { type = "integer", references = "notes" }
stripped = { type = "text", nul = "strip" }
items_state = { from = "items", presence = true }
rest = { from = "*", type = "jsonb" }
[tables.lines]
each = "things.items"
[tables.lines.columns]
thing = { parent = true, references = "things", key = true }
position = { ordinal = true, type = "integer", key = true }
sku = { type = "text" }
net = { type = "numeric" }
[tables.prices]
each = "things.prices.*"
[tables.prices.columns]
thing = { parent = true, references = "things", key = true }
year = { member = true, type = "integer", coerce = true, key = true }
net = { type = "numeric" }
[tables.notes.columns]
id = { from = "_id", type = "integer", key = "serial" }
title = { type = "text" }
before = { type = "integer", references = "notes" }
[junctions.readers]
columns = { thing = "things", person = "people" }
from = ["things.readers"]
[junctions.members]
columns = { person = "people", note = "notes" }
from = ["people.notes", "notes.members"]
[junctions.ranking]
columns = { thing = "things", person = "people" }
from = ["things.ranking"]
position = "place"
"#;

const PEOPLE: u8 = 12;
const THINGS: u8 = 90;

fn id(kind: u8, number: u8) -> ObjectId {
    ObjectId::from_bytes([0x65, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, number])
}

fn uuid(kind: u8, number: u8) -> String {
    uuid::Uuid::from_bytes(uuid_from_object_id(id(kind, number).bytes())).to_string()
}

fn person(number: u8) -> Bson {
    id(1, number).into()
}

/// All documents of the source.
#[derive(Clone)]
struct Documents {
    people: Vec<Document>,
    clubs: Vec<Document>,
    things: Vec<Document>,
    notes: Vec<Document>,
}

fn binary(subtype: BinarySubtype, bytes: Vec<u8>) -> Bson {
    Bson::Binary(Binary { subtype, bytes })
}

fn decimal(text: &str) -> Bson {
    Bson::Decimal128(text.parse::<Decimal128>().unwrap())
}

fn millis(millis: i64) -> Bson {
    Bson::DateTime(DateTime::from_millis(millis))
}

fn thing(number: u8) -> Document {
    let n = i32::from(number);
    let day = 86_400_000_i64;
    doc! {
        "_id": id(3, number), "flag": n % 2 == 0, "small": n, "whole": n + 1000, "big": (1_i64 << 40) + i64::from(n),
        "narrow": 0.5, "wide": 0.1 + f64::from(n), "amount": decimal(&format!("{n}.50")),
        "price": decimal(&format!("{n}.1234")), "name": format!(" Zoë {n}\r\nof Köln "),
        "other": format!("other {n}"), "code": "x".repeat(300), "body": binary(BinarySubtype::Generic, vec![0, 1, 2, number, 0xff]),
        "token": binary(BinarySubtype::Uuid, (0..16).map(|at| at + number).collect()),
        "legacy": binary(BinarySubtype::UuidOld, (0..16).map(|at| at * 3 + number).collect()),
        "data": {"b": {"n": n, "null": Bson::Null}, "a": [1, 2.5, "three"], "c": decimal("1.10")},
        "day": millis(day * (20_000 + i64::from(n))), "clock": "10:20:30.123456",
        "stamp": millis(1_700_000_000_123 + i64::from(n)), "moment": millis(1_700_000_000_789 - i64::from(n)),
        "written": "2024-02-29T12:00:00.123456+01:00",
        "state": if n % 3 == 0 { "paid" } else { "NEW" }, "tags": ["a", "b", "c"], "numbers": [1, 2, 3],
        "first": "one", "second": "two", "owner": id(1, 1), "club": "chess", "note": id(4, 1),
        "stripped": "a\0b", "items": [{"sku": "A", "net": decimal("1.5")}, {"sku": "B", "net": decimal("2.5")}],
        "prices": {"2024": {"net": decimal("3.0")}, "2025": {"net": decimal("4.0")}},
        "readers": [person(1), person(2), person(3)], "ranking": [person(3), person(1), person(3)],
        "unknown": {"kept": [n, "x"]}, "empty": "", "nothing": Bson::Null,
    }
}

impl Documents {
    fn new() -> Self {
        let people = (1..=PEOPLE).map(|number| {
            let email = if number == PEOPLE { 1 } else { number };
            doc! {"_id": person(number), "name": format!("P {number}"), "email": format!("p{email}@example.org"),
                  "notes": if number < 4 { vec![Bson::from(id(4, 1))] } else { Vec::new() }}
        });
        let clubs = ["chess", "go", "tennis"].map(|name| {
            doc! {"_id": name, "name": name.to_uppercase()}
        });
        let mut things: Vec<Document> = (1..=THINGS).map(thing).collect();
        // Rejects of several kinds, and references that dangle.
        things[80].insert("whole", "no number");
        things[81].insert("owner", person(99));
        things[82].insert("club", "curling");
        things[83].insert("items", vec![Bson::from(1), doc! {"sku": "C"}.into()]);
        things[84].insert("readers", vec![Bson::Null, person(1), person(1), person(99)]);
        let notes = (1..=6).map(|number| {
            doc! {"_id": id(4, number), "title": format!("note {number}"), "before": id(4, 1),
            "members": [person(1), person(5)]}
        });
        Self { people: people.collect(), clubs: clubs.into(), things, notes: notes.collect() }
    }

    fn write(&self, folder: &Path) {
        for (name, documents) in [
            ("people", &self.people),
            ("clubs", &self.clubs),
            ("things", &self.things),
            ("notes", &self.notes),
        ] {
            write_dump(folder, name, documents);
        }
    }
}

/// A fault: it changes the thing of its number, or something else.
struct Mutation {
    name: &'static str,
    table: &'static str,
    /// None where rows or links as a whole are concerned.
    column: Option<&'static str>,
    plant: fn(&mut Documents, u8),
    /// The key of the row that is named.
    key: fn(u8) -> String,
}

/// The key of the thing of a number.
fn thing_key(number: u8) -> String {
    uuid(3, number)
}

/// A fault in one column of a thing: what stands in the field instead.
const fn column(
    name: &'static str,
    column: &'static str,
    plant: fn(&mut Documents, u8),
) -> Mutation {
    Mutation { name, table: "things", column: Some(column), plant, key: thing_key }
}

/// A fault in another table.
const fn of(
    name: &'static str,
    table: &'static str,
    column: Option<&'static str>,
    plant: fn(&mut Documents, u8),
    key: fn(u8) -> String,
) -> Mutation {
    Mutation { name, table, column, plant, key }
}

fn of_thing(documents: &mut Documents, number: u8) -> &mut Document {
    &mut documents.things[usize::from(number) - 1]
}

fn set(documents: &mut Documents, number: u8, field: &str, value: impl Into<Bson>) {
    of_thing(documents, number).insert(field, value);
}

/// Changes what a field holds.
fn change<R: Into<Bson>>(
    documents: &mut Documents,
    number: u8,
    field: &str,
    change: impl FnOnce(&Bson) -> R,
) {
    let document = of_thing(documents, number);
    let value = change(document.get(field).unwrap()).into();
    document.insert(field, value);
}

fn text(value: &Bson) -> &str {
    value.as_str().unwrap()
}

fn moved(value: &Bson, by: i64) -> Bson {
    millis(value.as_datetime().unwrap().timestamp_millis() + by)
}

fn array<'d>(documents: &'d mut Documents, number: u8, field: &str) -> &'d mut Vec<Bson> {
    of_thing(documents, number).get_array_mut(field).unwrap()
}

fn data(documents: &mut Documents, number: u8) -> &mut Document {
    of_thing(documents, number).get_document_mut("data").unwrap()
}

const DAY: i64 = 86_400_000;

const MUTATIONS: &[Mutation] = &[
    column("a day off by one", "day", |all, n| change(all, n, "day", |it| moved(it, DAY))),
    column("a month off by one", "day", |all, n| change(all, n, "day", |it| moved(it, -31 * DAY))),
    column("a millisecond off", "stamp", |all, n| change(all, n, "stamp", |it| moved(it, 1))),
    column("a lost fraction of a second", "moment", |all, n| {
        change(all, n, "moment", |it| {
            moved(it, -(it.as_datetime().unwrap().timestamp_millis() % 1000))
        });
    }),
    column("local time instead of UTC", "moment", |all, n| {
        change(all, n, "moment", |it| moved(it, 3_600_000));
    }),
    column("an offset that is passed over", "written", |all, n| {
        set(all, n, "written", "2024-02-29T12:00:00.123456Z");
    }),
    column("lost microseconds", "written", |all, n| {
        set(all, n, "written", "2024-02-29T12:00:00.123+01:00");
    }),
    column("a time of day without its fraction", "clock", |all, n| {
        set(all, n, "clock", "10:20:30");
    }),
    column("hours and minutes swapped", "clock", |all, n| set(all, n, "clock", "20:10:30.123456")),
    column("a day that takes the month's place", "written", |all, n| {
        set(all, n, "written", "2024-01-02T12:00:00.123456+01:00");
    }),
    column("a double narrowed to 32 bits", "wide", |all, n| {
        #[expect(clippy::cast_possible_truncation, reason = "the fault")]
        change(all, n, "wide", |it| f64::from(it.as_f64().unwrap() as f32));
    }),
    column("the sign of zero", "wide", |all, n| set(all, n, "wide", -0.0)),
    column("NaN for NULL", "wide", |all, n| set(all, n, "wide", f64::NAN)),
    column("a real that is rounded", "narrow", |all, n| set(all, n, "narrow", 1.0)),
    column("a small number off by one", "small", |all, n| {
        change(all, n, "small", |it| it.as_i32().unwrap() + 1);
    }),
    column("0 instead of NULL", "whole", |all, n| set(all, n, "whole", 0)),
    column("a number cut to 32 bits", "big", |all, n| {
        change(all, n, "big", |it| it.as_i64().unwrap() - (1 << 40));
    }),
    column("an inverted flag", "flag", |all, n| {
        change(all, n, "flag", |it| !it.as_bool().unwrap());
    }),
    column("a lost scale", "amount", |all, n| set(all, n, "amount", decimal(&format!("{n}.5")))),
    column("a lost digit", "price", |all, n| set(all, n, "price", decimal(&format!("{n}.123")))),
    column("a lost sign", "price", |all, n| set(all, n, "price", decimal(&format!("-{n}.1234")))),
    column("a number times ten", "amount", |all, n| {
        set(all, n, "amount", decimal(&format!("{n}5.0")));
    }),
    column("a truncated text", "code", |all, n| set(all, n, "code", "x".repeat(255))),
    column("a trimmed text", "name", |all, n| {
        change(all, n, "name", |it| text(it).trim().to_owned());
    }),
    column("a text in upper case", "other", |all, n| {
        change(all, n, "other", |it| text(it).to_uppercase());
    }),
    column("NFD instead of NFC", "name", |all, n| {
        change(all, n, "name", |it| text(it).replace('ë', "e\u{308}"));
    }),
    column("line ends without CR", "name", |all, n| {
        change(all, n, "name", |it| text(it).replace("\r\n", "\n"));
    }),
    column("a letter that was not understood", "name", |all, n| {
        change(all, n, "name", |it| text(it).replace('ö', "\u{fffd}"));
    }),
    column("UTF-8 read as Latin-1", "name", |all, n| {
        change(all, n, "name", |it| text(it).replace('ö', "Ã¶"));
    }),
    column("NULL instead of a text", "other", |all, n| set(all, n, "other", Bson::Null)),
    column("an empty text instead of another", "other", |all, n| set(all, n, "other", "")),
    column("two columns swapped", "other", |all, n| {
        let (name, other) =
            (of_thing(all, n).get("name").cloned(), of_thing(all, n).get("other").cloned());
        set(all, n, "name", other.unwrap());
        set(all, n, "other", name.unwrap());
    }),
    column("truncated bytes", "body", |all, n| {
        set(all, n, "body", binary(BinarySubtype::Generic, vec![0, 1, 2]));
    }),
    column("bytes until the first zero", "body", |all, n| {
        set(all, n, "body", binary(BinarySubtype::Generic, Vec::new()));
    }),
    column("the last byte of a UUID", "token", |all, n| {
        let bytes: Vec<u8> = (0..16).map(|at| if at == 15 { 0 } else { at + n }).collect();
        set(all, n, "token", binary(BinarySubtype::Uuid, bytes));
    }),
    column("the byte order of a UUID", "legacy", |all, n| {
        let mut bytes: Vec<u8> = (0..16).map(|at| at * 3 + n).collect();
        bytes[..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        set(all, n, "legacy", binary(BinarySubtype::UuidOld, bytes));
    }),
    column("another label", "state", |all, n| set(all, n, "state", "SENT")),
    column("a label for NULL", "state", |all, n| set(all, n, "state", Bson::Null)),
    column("a dropped element", "tags", |all, n| array(all, n, "tags").truncate(2)),
    column("an array in another order", "tags", |all, n| array(all, n, "tags").reverse()),
    column("an element twice", "numbers", |all, n| array(all, n, "numbers").push(3.into())),
    column("an element that is NULL", "numbers", |all, n| array(all, n, "numbers")[1] = Bson::Null),
    column("the second field before the first", "chosen", |all, n| set(all, n, "first", "two")),
    column("a reference to another row", "owner", |all, n| set(all, n, "owner", person(2))),
    column("a reference that is lost", "owner", |all, n| set(all, n, "owner", Bson::Null)),
    column("a text reference to another row", "club", |all, n| set(all, n, "club", "go")),
    column("a number that stands for another _id", "note", |all, n| set(all, n, "note", id(4, 2))),
    column("a space where U+0000 was", "stripped", |all, n| set(all, n, "stripped", "a b")),
    column("the text up to U+0000", "stripped", |all, n| set(all, n, "stripped", "a")),
    column("an array that counts as missing", "items_state", |all, n| {
        of_thing(all, n).remove("items");
    }),
    column("a key that jsonb lost", "data", |all, n| drop(data(all, n).remove("c"))),
    column("a number in jsonb as text", "data", |all, n| drop(data(all, n).insert("c", "1.10"))),
    column("a null in jsonb that was dropped", "data", |all, n| {
        drop(data(all, n).get_document_mut("b").unwrap().remove("null"));
    }),
    column("an array in jsonb in another order", "data", |all, n| {
        data(all, n).get_array_mut("a").unwrap().reverse();
    }),
    column("a scale in jsonb", "data", |all, n| drop(data(all, n).insert("c", decimal("1.1")))),
    column("a double in jsonb as an integer", "data", |all, n| {
        data(all, n).get_array_mut("a").unwrap()[1] = 2.into();
    }),
    column("an unmapped field that is lost", "rest", |all, n| {
        drop(of_thing(all, n).remove("unknown"));
    }),
    column("an unmapped null that is lost", "rest", |all, n| {
        drop(of_thing(all, n).remove("nothing"));
    }),
    of(
        "a value of a child",
        "lines",
        Some("sku"),
        |all, n| {
            array(all, n, "items")[0].as_document_mut().unwrap().insert("sku", "Z");
        },
        |n| format!("{}, 0", thing_key(n)),
    ),
    of(
        "children in another order",
        "lines",
        Some("net"),
        |all, n| array(all, n, "items").reverse(),
        |n| format!("{}, 1", thing_key(n)),
    ),
    of(
        "a child that is lost",
        "lines",
        None,
        |all, n| array(all, n, "items").truncate(1),
        |n| format!("{}, 1", thing_key(n)),
    ),
    of(
        "a child too many",
        "lines",
        None,
        |all, n| {
            let last = array(all, n, "items")[1].clone();
            array(all, n, "items").push(last);
        },
        |n| format!("{}, 2", thing_key(n)),
    ),
    of(
        "a child under another parent",
        "lines",
        None,
        |all, n| {
            let child = array(all, n, "items").pop().unwrap();
            array(all, 79, "items").push(child);
        },
        |n| format!("{}, 1", thing_key(n)),
    ),
    of(
        "a member under another name",
        "prices",
        None,
        |all, n| {
            let prices = of_thing(all, n).get_document_mut("prices").unwrap();
            let price = prices.remove("2025").unwrap();
            prices.insert("2026", price);
        },
        |n| format!("{}, 2026", thing_key(n)),
    ),
    of(
        "a value under another member",
        "prices",
        Some("net"),
        |all, n| {
            let prices = of_thing(all, n).get_document_mut("prices").unwrap();
            prices.insert("2024", doc! {"net": decimal("4.0")});
        },
        |n| format!("{}, 2024", thing_key(n)),
    ),
    of(
        "a link that is lost",
        "readers",
        None,
        |all, n| array(all, n, "readers").truncate(2),
        |n| format!("{}, {}", thing_key(n), uuid(1, 3)),
    ),
    of(
        "a link to another row",
        "readers",
        None,
        |all, n| array(all, n, "readers")[2] = person(4),
        |n| format!("{}, {}", thing_key(n), uuid(1, 4)),
    ),
    of(
        "a link in another place",
        "ranking",
        None,
        |all, n| array(all, n, "ranking").swap(0, 1),
        |n| format!("{}, {}", thing_key(n), uuid(1, 1)),
    ),
    of(
        "a link from the other side that is lost",
        "members",
        None,
        |all, _| {
            drop(all.notes[1].insert("members", vec![person(1)]));
        },
        |_| format!("{}, 2", uuid(1, 5)),
    ),
    of(
        "a record that is rejected without a reason",
        "things",
        None,
        |all, n| set(all, n, "whole", "x"),
        thing_key,
    ),
    of(
        "a record that should be rejected",
        "things",
        None,
        |all, _| set(all, 81, "whole", 5),
        |_| thing_key(81),
    ),
    of(
        "a dangling reference that leads somewhere",
        "things",
        Some("owner"),
        |all, _| set(all, 82, "owner", person(3)),
        |_| thing_key(82),
    ),
    of(
        "a row under another key",
        "notes",
        Some("title"),
        |all, _| {
            let (first, second) =
                (all.notes[3].get("title").cloned(), all.notes[4].get("title").cloned());
            all.notes[3].insert("title", second.unwrap());
            all.notes[4].insert("title", first.unwrap());
        },
        |_| "5".to_owned(),
    ),
    of(
        "a number that stands for another row",
        "notes",
        Some("before"),
        |all, _| drop(all.notes[2].insert("before", id(4, 2))),
        |_| "3".to_owned(),
    ),
    of(
        "the other of two rows with one unique value",
        "people",
        None,
        |all, _| {
            all.people[0].insert("email", "x@example.org");
        },
        |_| uuid(1, 1),
    ),
    of(
        "the last row of a part",
        "people",
        None,
        |all, _| drop(all.people[10].insert("email", "p2@example.org")),
        |_| uuid(1, 11),
    ),
    of(
        "the name of somebody else",
        "people",
        Some("name"),
        |all, _| drop(all.people[6].insert("name", "P 6")),
        |_| uuid(1, 7),
    ),
];

/// Mutations that are planted together: differences of a collection are named up to a number.
const TOGETHER: usize = 14;

struct Fixture {
    folder: tempfile::TempDir,
    server: String,
    runtime: tokio::runtime::Runtime,
}

impl Fixture {
    fn new() -> Option<Self> {
        let server = server("DOCFERRY_TEST_POSTGRES")?;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("proof.toml"), PIPELINE).unwrap();
        Some(Self { folder, server, runtime: tokio::runtime::Runtime::new().unwrap() })
    }

    fn command(&self, words: &[&str], staging: &Path) -> std::process::Output {
        let (command, rest) = words.split_first().unwrap();
        let mut docferry = docferry();
        docferry.arg(command).arg(self.folder.path().join("proof.toml"));
        docferry.args(rest).arg("--staging").arg(staging).output().unwrap()
    }

    /// Stages documents up to their rows.
    fn staged(&self, name: &str, documents: &Documents) -> (PathBuf, RunDirectory) {
        let dump = self.folder.path().join(format!("{name}-dump"));
        documents.write(&dump);
        let staging = self.folder.path().join(name);
        for words in
            [&["export", "--source", dump.to_str().unwrap(), "--part-mib", "1"][..], &["transform"]]
        {
            let output = self.command(words, &staging);
            assert!(matches!(output.status.code(), Some(0 | 3)), "{}", shown(&output));
        }
        let run = RunDirectory::open(&staging, "proof", "latest").unwrap();
        (staging, run)
    }

    /// A run of these documents whose rows were made from others.
    fn planted(&self, name: &str, documents: &Documents, others: &Documents) -> PathBuf {
        let (staging, run) = self.staged(name, documents);
        let (_, wrong) = self.staged(&format!("{name}-wrong"), others);
        let mut manifest = TransformManifest::read(&wrong).unwrap();
        let own = TransformManifest::read(&run).unwrap();
        for folder in ["transform", "rejects", "findings"] {
            let _ = std::fs::remove_dir_all(run.resolve(folder));
            let _ = copied(&wrong.resolve(folder), &run.resolve(folder));
        }
        manifest.export_sha256 = sha256_file(&run.resolve(ExportManifest::PATH)).unwrap();
        manifest.input_sha256 = own.input_sha256;
        manifest.write(&run).unwrap();
        staging
    }

    fn loaded(&self, database: &str, staging: &Path) -> String {
        let (_, address) = self.runtime.block_on(fresh_database(&self.server, database));
        let output = self.command(&["load", "--target", &address], staging);
        assert!(matches!(output.status.code(), Some(0 | 3)), "{}", shown(&output));
        address
    }

    /// What the proof says, and its exit status.
    fn proof(&self, address: &str, staging: &Path) -> (Option<i32>, Json) {
        let words = ["verify", "--target", address, "--documents", "--json"];
        let output = self.command(&words, staging);
        let value: Json = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", shown(&output)));
        assert!(matches!(output.status.code(), Some(0 | 3 | 4)), "{}", shown(&output));
        (output.status.code(), value["verify"]["documents"].clone())
    }
}

fn copied(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
        if path.is_dir() {
            copied(&path, &to.join(name))?;
        } else {
            std::fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn assert_sums(proof: &Json) {
    for of in proof["collections"].as_array().unwrap() {
        let sum = |name: &str| of[name].as_u64().unwrap();
        let ended = sum("equal") + sum("ruled") + sum("rejected") + sum("different");
        assert_eq!(sum("leaves"), ended, "{of}");
    }
}

#[test]
fn the_proof_names_every_fault_of_a_transform_and_digests_find_none() {
    let Some(fixture) = Fixture::new() else { return };
    let documents = Documents::new();
    let mut unseen = Vec::new();
    for (group, mutations) in MUTATIONS.chunks(TOGETHER).enumerate() {
        let mut wrong = documents.clone();
        let number = |place: usize| u8::try_from(place * 3 + 1).unwrap();
        for (place, mutation) in mutations.iter().enumerate() {
            (mutation.plant)(&mut wrong, number(place));
        }
        let name = format!("group{group}");
        let staging = fixture.planted(&name, &documents, &wrong);
        let address = fixture.loaded(&format!("docferry_mutations_{group}"), &staging);
        let digests = fixture.command(&["verify", "--target", &address, "--json"], &staging);
        let report: Json = serde_json::from_slice(&digests.stdout).unwrap();
        assert_eq!(report["verify"]["balance"], serde_json::json!([]), "{}", shown(&digests));
        for table in report["verify"]["tables"].as_array().unwrap() {
            assert_eq!(table["staged_digest"], table["found_digest"], "{table}");
            // Junctions are compared with the arrays of the source in any case.
            let named = table["differences"].as_array().unwrap();
            assert!(named.is_empty() || !table["elements"].is_null(), "{table}");
        }
        let (status, proof) = fixture.proof(&address, &staging);
        assert_eq!(status, Some(4), "{proof}");
        assert_sums(&proof);
        let differences = proof["differences"].as_array().unwrap();
        for (place, mutation) in mutations.iter().enumerate() {
            let key = (mutation.key)(number(place));
            let named = differences.iter().any(|difference| {
                let found = |name: &str| difference[name].as_str();
                let id = found("id").is_some_and(|id| Some(key.as_str()) == uuid_of(id).as_deref());
                let row = found("key") == Some(&key) || found("key").is_none() && id;
                found("table") == Some(mutation.table)
                    && row
                    && mutation.column.is_none_or(|column| found("column") == Some(column))
            });
            if !named {
                unseen.push(format!("{} ({} {key})", mutation.name, mutation.table));
            }
        }
        assert!(unseen.is_empty(), "not named: {unseen:#?}\n{differences:#?}");
    }
    assert!(MUTATIONS.len() >= 40);
}

/// The UUID of an `_id` that is an ObjectId.
fn uuid_of(id: &str) -> Option<String> {
    let id = ObjectId::parse_str(id).ok()?;
    Some(uuid::Uuid::from_bytes(uuid_from_object_id(id.bytes())).to_string())
}

#[test]
fn changes_that_mean_nothing_are_no_differences() {
    let Some(fixture) = Fixture::new() else { return };
    let documents = Documents::new();
    // Fields of subdocuments have no order in jsonb; one number has many forms.
    let mut same = documents.clone();
    let reversed = |document: &Document| {
        let mut fields: Vec<_> = document.clone().into_iter().collect();
        fields.reverse();
        fields.into_iter().collect::<Document>()
    };
    let data = reversed(same.things[0].get_document("data").unwrap());
    same.things[0].insert("data", data);
    same.things[1] = reversed(&same.things[1]);
    same.things[2].insert("whole", 1003_i64);
    same.things[3].insert("small", 4.0);
    same.things[4].insert("written", "2024-02-29 11:00:00.123456");
    let staging = fixture.planted("same", &documents, &same);
    let address = fixture.loaded("docferry_equivalent", &staging);
    let client = fixture.runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&address, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    });
    for (name, sql) in [
        ("nothing", ""),
        ("verify once more", ""),
        (
            "rows in another order",
            "CLUSTER things USING things_pkey; CLUSTER lines USING lines_pkey",
        ),
        (
            "rows that are written anew",
            "UPDATE things SET data = data::text::jsonb, rest = rest::text::jsonb",
        ),
        ("rows that are touched", "UPDATE clubs SET name = name"),
        (
            "a number in another form",
            "UPDATE things SET amount = (amount::text || '')::numeric, wide = wide * 1",
        ),
        (
            "a time in another zone",
            "SET TimeZone = 'Asia/Tokyo'; UPDATE things SET moment = moment::text::timestamptz",
        ),
        ("another table", "CREATE TABLE strangers (id int); INSERT INTO strangers VALUES (1)"),
        ("statistics", "ANALYZE"),
        (
            "a database with another zone and style",
            "DO $$ BEGIN EXECUTE 'ALTER DATABASE docferry_equivalent SET TimeZone = ''Asia/Tokyo'''; EXECUTE 'ALTER DATABASE docferry_equivalent SET DateStyle = ''German'''; EXECUTE 'ALTER DATABASE docferry_equivalent SET extra_float_digits = 0'; EXECUTE 'ALTER DATABASE docferry_equivalent SET bytea_output = ''escape'''; END $$",
        ),
        ("rows without their holes", "VACUUM FULL things"),
        ("another compression", "ALTER TABLE things ALTER data SET STORAGE EXTERNAL"),
    ] {
        for statement in sql.split("; ").filter(|_| !sql.starts_with("DO")) {
            fixture.runtime.block_on(client.batch_execute(statement)).unwrap();
        }
        if sql.starts_with("DO") {
            fixture.runtime.block_on(client.batch_execute(sql)).unwrap();
        }
        let (_, proof) = fixture.proof(&address, &staging);
        assert_eq!(proof["differences"], serde_json::json!([]), "{name}");
        assert_sums(&proof);
    }
}
