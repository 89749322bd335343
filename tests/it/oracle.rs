//! Random values of every type, with PostgreSQL as the oracle: what was loaded is what the server
//! itself makes of the value's text, and what it sends back is what was staged.

use docferry::document::id::{parse_object_id_hex, uuid_from_object_id};
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Bson, DateTime, Decimal128, Document, doc, oid::ObjectId};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::support::{docferry, fresh_database, project, server, write_dump};

const ROWS: usize = 600;

/// Column name, type, and the source value with the text from which PostgreSQL makes the same.
type Column = (&'static str, &'static str, BoxedStrategy<(Bson, String)>);

fn text() -> BoxedStrategy<String> {
    // Every character but U+0000, which PostgreSQL cannot store.
    proptest::collection::vec(any::<char>().prop_filter("no NUL", |c| *c != '\0'), 0..12)
        .prop_map(|characters| characters.into_iter().collect())
        .boxed()
}

fn json() -> BoxedStrategy<(Bson, serde_json::Value)> {
    let leaf = prop_oneof![
        Just((Bson::Null, serde_json::Value::Null)),
        any::<bool>().prop_map(|flag| (flag.into(), flag.into())),
        any::<i32>().prop_map(|number| (number.into(), number.into())),
        any::<i64>().prop_map(|number| (number.into(), number.into())),
        (-1.0e12..1.0e12)
            // Some doubles have two names that are equally short and equally near.
            .prop_filter("one shortest name", |number: &f64| {
                format!("{number:?}") == format!("{}", serde_json::Value::from(*number))
            })
            .prop_map(|number: f64| (number.into(), number.into())),
        text().prop_map(|text| (text.clone().into(), text.into())),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(|items| {
                let (bson, json): (Vec<Bson>, Vec<serde_json::Value>) = items.into_iter().unzip();
                (bson.into(), json.into())
            }),
            proptest::collection::btree_map(text(), inner, 0..5).prop_map(|fields| {
                let mut bson = Document::new();
                let mut json = serde_json::Map::new();
                for (name, (value, same)) in fields {
                    bson.insert(name.clone(), value);
                    json.insert(name, same);
                }
                (bson.into(), json.into())
            }),
        ]
    })
    .boxed()
}

fn decimal() -> BoxedStrategy<(Bson, String)> {
    let finite =
        (any::<bool>(), 0..10_i128.pow(34), -40..40_i32).prop_map(|(minus, digits, exponent)| {
            let sign = if minus { "-" } else { "" };
            format!("{sign}{digits}E{exponent}")
        });
    prop_oneof![20 => finite, 1 => Just("NaN".to_owned()), 1 => Just("-Infinity".to_owned())]
        .prop_map(|text| (text.parse::<Decimal128>().unwrap().into(), text))
        .boxed()
}

fn date(days: bool) -> BoxedStrategy<(Bson, String)> {
    let day = 86_400_000;
    (-60_000_000_000_000..250_000_000_000_000_i64)
        .prop_map(move |millis| if days { millis / day * day } else { millis })
        .prop_map(|millis| {
            let text = format!("epoch {millis}");
            (DateTime::from_millis(millis).into(), text)
        })
        .boxed()
}

/// Times of day in steps of so many microseconds, up to 24:00.
fn time(step: i64) -> BoxedStrategy<(Bson, String)> {
    const DAY: i64 = 86_400_000_000;
    let micros = prop_oneof![20 => 0..DAY, 1 => Just(0), 1 => Just(DAY)];
    (micros, any::<bool>())
        .prop_map(move |(micros, short)| {
            let micros = micros / step * step;
            let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
            let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let text = match (second, fraction) {
                (0, 0) if short => format!("{hour:02}:{minute:02}"),
                (_, 0) if short => format!("{hour:02}:{minute:02}:{second:02}"),
                _ => format!("{hour:02}:{minute:02}:{second:02}.{fraction:06}"),
            };
            (text.clone().into(), text)
        })
        .boxed()
}

fn list(items: BoxedStrategy<(Bson, String)>) -> BoxedStrategy<(Bson, String)> {
    let item = prop_oneof![9 => items.prop_map(|(bson, text)| (bson, Some(text))),
        1 => Just((Bson::Null, None))];
    proptest::collection::vec(item, 0..5)
        .prop_map(|items| {
            let (bson, texts): (Vec<Bson>, Vec<Option<String>>) = items.into_iter().unzip();
            let quoted = texts.iter().map(|text| match text {
                None => "NULL".to_owned(),
                Some(text) => {
                    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
                }
            });
            (bson.into(), format!("{{{}}}", quoted.collect::<Vec<_>>().join(",")))
        })
        .boxed()
}

fn columns() -> Vec<Column> {
    let integer = || any::<i32>().prop_map(|number| (number.into(), number.to_string())).boxed();
    let strings = || text().prop_map(|text| (text.clone().into(), text)).boxed();
    let double = || {
        any::<f64>()
            .prop_map(|number| {
                let text = if number.is_nan() { "NaN".to_owned() } else { format!("{number:e}") };
                (number.into(), text.replace("inf", "Infinity"))
            })
            .boxed()
    };
    let ids = || {
        any::<[u8; 12]>()
            .prop_map(|id| {
                let uuid = uuid::Uuid::from_bytes(uuid_from_object_id(id));
                (ObjectId::from_bytes(id).into(), uuid.to_string())
            })
            .boxed()
    };
    let whole_float = any::<i64>().prop_map(|number| {
        // The same number in another BSON type, where that is exact.
        let double = Bson::Double(number as f64);
        let exact = number.unsigned_abs() <= 1 << 53;
        (if exact { double } else { number.into() }, number.to_string())
    });
    vec![
        ("a_boolean", "boolean", any::<bool>().prop_map(|b| (b.into(), b.to_string())).boxed()),
        (
            "a_smallint",
            "smallint",
            any::<i16>().prop_map(|n| (i32::from(n).into(), n.to_string())).boxed(),
        ),
        ("an_integer", "integer", integer()),
        ("a_bigint", "bigint", whole_float.boxed()),
        ("a_double", "double precision", double()),
        (
            "a_real",
            "real",
            any::<f32>()
                .prop_filter("not NaN", |n| !n.is_nan())
                .prop_map(|n| (f64::from(n).into(), format!("{n:e}").replace("inf", "Infinity")))
                .boxed(),
        ),
        ("a_numeric", "numeric", decimal()),
        ("a_money", "numeric(20,4)", any::<i32>().prop_map(|n| (n.into(), n.to_string())).boxed()),
        ("a_text", "text", strings()),
        ("a_varchar", "varchar(40)", strings()),
        (
            "a_bytea",
            "bytea",
            proptest::collection::vec(any::<u8>(), 0..20)
                .prop_map(|bytes| {
                    let text = docferry::staging::checksum::to_hex(&bytes);
                    (
                        Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes }),
                        format!("\\x{text}"),
                    )
                })
                .boxed(),
        ),
        ("a_uuid", "uuid", ids()),
        ("a_json", "jsonb", json().prop_map(|(bson, json)| (bson, json.to_string())).boxed()),
        ("a_date", "date", date(true)),
        ("a_timestamp", "timestamp(3)", date(false)),
        ("a_timestamptz", "timestamptz", date(false)),
        ("a_time", "time", time(1)),
        ("a_coarse_time", "time(3)", time(1000)),
        ("times", "time[]", list(time(1))),
        ("integers", "integer[]", list(integer())),
        ("texts", "text[]", list(strings())),
        ("doubles", "double precision[]", list(double())),
        ("numerics", "numeric[]", list(decimal())),
        ("uuids", "uuid[]", list(ids())),
    ]
}

#[test]
fn every_value_is_what_postgresql_makes_of_its_text() {
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let mut runner = TestRunner::deterministic();
    let columns = columns();
    let mut documents = Vec::new();
    let mut texts = Vec::new();
    for number in 0..ROWS {
        let id = ObjectId::from_bytes(
            [&[0x65; 8][..], &u32::try_from(number).unwrap().to_be_bytes()]
                .concat()
                .try_into()
                .unwrap(),
        );
        let mut document = doc! {"_id": id};
        let uuid = uuid::Uuid::from_bytes(uuid_from_object_id(id.bytes()));
        let mut row = vec![Some(uuid.to_string())];
        for (name, _, strategy) in &columns {
            let (bson, text) = strategy.new_tree(&mut runner).unwrap().current();
            // JSON null is no missing field, but it becomes NULL all the same.
            row.push((bson != Bson::Null).then_some(text));
            document.insert(*name, bson);
        }
        documents.push(document);
        texts.push(row);
    }
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("types");
    write_dump(&dump, "values", &documents);
    let mut toml = "version = 1\nname = \"types\"\n[tables.values.columns]\n\
                    id = { from = \"_id\", type = \"uuid\", key = true }\n"
        .to_owned();
    for (name, pg_type, _) in &columns {
        toml.extend([name, " = { type = \"", pg_type, "\" }\n"]);
    }
    let pipeline = folder.path().join("types.toml");
    std::fs::write(&pipeline, toml).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, address) = runtime.block_on(fresh_database(&postgres, "docferry_oracle"));
    let output = docferry()
        .arg("run")
        .arg(&pipeline)
        .args(["--source", dump.to_str().unwrap(), "--target", &address, "--staging"])
        .arg(folder.path().join("staging"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{shown}{}", String::from_utf8_lossy(&output.stderr));

    let names: Vec<&str> = columns.iter().map(|(name, _, _)| *name).collect();
    let declared: Vec<String> = names.iter().map(|name| format!("{name} text")).collect();
    let create = format!("CREATE TABLE expected (id uuid, {})", declared.join(", "));
    let places: Vec<String> = (1..=names.len()).map(|at| format!("${}", at + 1)).collect();
    let insert = format!("INSERT INTO expected VALUES ($1::text::uuid, {})", places.join(", "));
    runtime.block_on(async {
        client.batch_execute("SET timezone = 'UTC'").await.unwrap();
        client.batch_execute(&create).await.unwrap();
        let insert = client.prepare(&insert).await.unwrap();
        for row in &texts {
            let values: Vec<_> = row.iter().map(|text| text as _).collect();
            client.execute(&insert, values.as_slice()).await.unwrap();
        }
        for (name, pg_type, _) in &columns {
            let wanted = match *pg_type {
                "date" | "timestamp(3)" | "timestamptz" => {
                    // Whole days apart, because an interval times a number is a double's work.
                    let millis = format!("substr(e.{name}, 7)::bigint");
                    let moment = format!(
                        "(timestamptz 'epoch' + {millis} / 86400000 * interval '1 day' \
                         + {millis} % 86400000 * interval '1 millisecond')"
                    );
                    match *pg_type {
                        "timestamptz" => moment,
                        other => format!("({moment} AT TIME ZONE 'UTC')::{other}"),
                    }
                }
                other => format!("e.{name}::{other}"),
            };
            let sql = format!(
                "SELECT v.{name}::text, {wanted}::text FROM values v JOIN expected e USING (id) \
                 WHERE v.{name}::text IS DISTINCT FROM {wanted}::text"
            );
            let sql = sql.replace("FROM values", "FROM \"values\"");
            let rows = client.query(&sql, &[]).await.unwrap();
            let first = rows
                .first()
                .map(|row| (row.get::<_, Option<String>>(0), row.get::<_, Option<String>>(1)));
            assert_eq!(rows.len(), 0, "{name}: found and expected {first:?}");
        }
        let count =
            client.query_one("SELECT count(*) FROM \"values\" JOIN expected USING (id)", &[]);
        assert_eq!(count.await.unwrap().get::<_, i64>(0), i64::try_from(ROWS).unwrap());
    });
}

#[test]
fn a_text_is_a_time_of_day_where_postgresql_takes_it_without_rounding() {
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let mut runner = TestRunner::deterministic();
    let form = "(2[0-9]|[01]?[0-9]):[0-6][0-9](:[0-6][0-9](\\.[0-9]{1,8})?)?";
    let texts = proptest::string::string_regex(form).unwrap();
    let documents: Vec<Document> = (0..600)
        .map(|n| doc! {"_id": n, "t": texts.new_tree(&mut runner).unwrap().current()})
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let dump = folder.path().join("clock");
    write_dump(&dump, "times", &documents);
    let file = folder.path().join("clock.toml");
    let toml = "version = 1\nname = \"clock\"\n[tables.times.columns]\n\
                id = { from = \"_id\", type = \"integer\", key = true }\n\
                t = { type = \"time(4)\", required = true }\n";
    std::fs::write(&file, toml).unwrap();
    let Some(clock) = crate::support::migrate(&file, dump.to_str().unwrap(), "docferry_clock")
    else {
        return;
    };
    assert_eq!(clock.output.status.code(), Some(3), "{}", clock.shown());
    let rows: std::collections::HashMap<String, String> = clock
        .rows("SELECT id || ' ' || t FROM times")
        .into_iter()
        .map(|row| row.split_once(' ').map(|(id, t)| (id.to_owned(), t.to_owned())).unwrap())
        .collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, _) = runtime.block_on(fresh_database(&postgres, "docferry_clocks"));
    let function = "CREATE FUNCTION time_of(text) RETURNS text LANGUAGE plpgsql AS \
                    $$ BEGIN RETURN $1::time(4)::text; EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$";
    runtime.block_on(client.batch_execute(function)).unwrap();
    for document in &documents {
        let (id, text) = (document.get_i32("_id").unwrap(), document.get_str("t").unwrap());
        let answer = runtime.block_on(client.query_one("SELECT time_of($1)", &[&text])).unwrap();
        let wanted: Option<String> = answer.get(0);
        let fraction = text.split_once('.').map_or("", |(_, digits)| digits).trim_end_matches('0');
        // PostgreSQL takes an hour of one digit and a 60th second, and rounds.
        let plain = text.len() >= 5 && text.as_bytes()[2] == b':' && text.get(6..8) != Some("60");
        let wanted = wanted.filter(|_| plain && fraction.len() <= 4);
        assert_eq!(rows.get(&id.to_string()), wanted.as_ref(), "{text}");
    }
}

#[test]
fn ids_are_converted_in_sql_as_in_rust() {
    let Some(postgres) = server("DOCFERRY_TEST_POSTGRES") else { return };
    let mut runner = TestRunner::deterministic();
    let functions = std::fs::read_to_string(project("sql/functions/object_id.sql")).unwrap();
    let mut ids: Vec<[u8; 12]> =
        vec![[0; 12], [0xff; 12], parse_object_id_hex("507f1f77bcf86cd799439011").unwrap()];
    ids.extend((0..2000).map(|_| any::<[u8; 12]>().new_tree(&mut runner).unwrap().current()));
    let hex: Vec<String> = ids.iter().map(|id| docferry::staging::checksum::to_hex(id)).collect();
    let uuids: Vec<String> =
        ids.iter().map(|id| uuid::Uuid::from_bytes(uuid_from_object_id(*id)).to_string()).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (client, _) = runtime.block_on(fresh_database(&postgres, "docferry_ids"));
    runtime.block_on(async {
        client.batch_execute(&functions).await.unwrap();
        let sql = "SELECT docferry_uuid(id)::text, docferry_object_id(uuid::uuid) \
                   FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t (id, uuid, at) ORDER BY at";
        let rows = client.query(sql, &[&hex, &uuids]).await.unwrap();
        assert_eq!(rows.len(), hex.len());
        for (at, row) in rows.iter().enumerate() {
            assert_eq!(row.get::<_, String>(0), uuids[at]);
            assert_eq!(row.get::<_, Option<String>>(1).as_deref(), Some(hex[at].as_str()));
        }
        // A UUID that was not made from an ObjectId has none.
        let other = uuid::Uuid::from_u128(0x1234_5678_9abc_4def_8123_4567_89ab_cdef).to_string();
        let sql = "SELECT docferry_object_id($1::text::uuid)";
        assert_eq!(client.query_one(sql, &[&other]).await.unwrap().get::<_, Option<String>>(0), None);
    });
}
