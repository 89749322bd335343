//! Flawed documents: each has one flaw, of every kind that its table's columns can have.

use std::cell::Cell;

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, DateTime, Decimal128, Document, doc};

use super::GenerateOptions;
use super::planted::{Expectation, JunctionTotals, Planted, PlantedFlaw, TableTotals};
use super::sample::{Numbers, loose_id};
use super::shape::{Collection, linked, remove, set, target};
use crate::document::id::uuid_from_object_id;
use crate::pgcopy::PgType;
use crate::pipeline::model::{
    Column, Dangling, FieldPath, Fill, Junction, Literal, Nul, NullElements, OnFail, Origin,
    Pipeline, Table, Unmapped,
};

/// A field that no pipeline file maps.
pub(super) const UNMAPPED_FIELD: &str = "field_of_nobody";

/// Bytes of the long text that one document of the database holds.
const LONG_TEXT: usize = 2_000_000;

/// The dates that a staged timestamp can hold: from Julian day 0 on, as PostgreSQL's, and up to
/// what 64 bits of microseconds since 1970 reach.
const FIRST_MILLIS: i64 = -210_866_803_200_000;
const LAST_MILLIS: i64 = i64::MAX / 1000;

/// A document with a flaw, and the sound one after which it stands.
pub(super) struct FlawedDocument {
    pub(super) after: u64,
    pub(super) document: Document,
}

struct Planter<'p> {
    pipeline: &'p Pipeline,
    names: Vec<String>,
    collections: &'p [Collection],
    numbers: Numbers,
    flawed: Vec<Vec<FlawedDocument>>,
    planted: Planted,
    long_text: bool,
}

/// Plants the flaws of every table and junction.
pub(super) fn plant(
    pipeline: &Pipeline,
    options: &GenerateOptions,
    collections: &[Collection],
) -> (Vec<Vec<FlawedDocument>>, Planted) {
    let mut planter = Planter {
        pipeline,
        names: collections.iter().map(|collection| collection.name.clone()).collect(),
        collections,
        numbers: Numbers::new(options.seed, usize::MAX, 0),
        flawed: collections.iter().map(|_| Vec::new()).collect(),
        planted: Planted {
            pipeline: pipeline.name.clone(),
            seed: options.seed,
            ..Planted::default()
        },
        long_text: false,
    };
    planter.count_sound();
    if options.flaws {
        for table in pipeline.tables.iter().filter(|table| table.each.is_none()) {
            planter.table(table);
        }
        for junction in &pipeline.junctions {
            planter.junction(junction);
        }
    }
    for flawed in &mut planter.flawed {
        flawed.sort_by_key(|flawed| flawed.after);
    }
    (planter.flawed, planter.planted)
}

/// A value put at a path, or the field taken away.
type Edit = (FieldPath, Option<Bson>);

impl Planter<'_> {
    /// Totals of the database without its flaws.
    fn count_sound(&mut self) {
        for table in self.pipeline.tables.iter().filter(|table| table.each.is_none()) {
            let count = target(self.pipeline, &self.names, &table.name, None)
                .map_or(0, |target| target.count(self.collections));
            let totals = TableTotals { records: count, rows: count, ..TableTotals::default() };
            self.planted.tables.insert(table.name.clone(), totals);
        }
        for (junction, shift) in self.pipeline.junctions.iter().zip(0_u64..) {
            let [first, second] = junction.columns.each_ref().map(|column| {
                target(self.pipeline, &self.names, &column.table, None)
                    .map_or(0, |target| target.count(self.collections))
            });
            let links: u64 =
                (0..first).map(|number| linked(number, second, shift).count() as u64).sum();
            let sides = [0, 1]
                .map(|side| junction.from.iter().filter(|from| from.side == side).count() as u64);
            let totals = JunctionTotals {
                elements: links * (sides[0] + sides[1]),
                both_sides: if sides[0] > 0 && sides[1] > 0 { links } else { 0 },
                only_first: if sides[1] == 0 { links } else { 0 },
                only_second: if sides[0] == 0 { links } else { 0 },
                repeats: sides.iter().map(|side| side.saturating_sub(1) * links).sum(),
                ..JunctionTotals::default()
            };
            self.planted.junctions.insert(junction.name.clone(), totals);
        }
    }

    /// Adds a document of `table` with these changes; gives its `_id`.
    fn add(
        &mut self,
        table: &Table,
        column: Option<&Column>,
        flaw: &str,
        edits: Vec<Edit>,
        expect: Expectation,
    ) -> ObjectId {
        let at = self.names.iter().position(|name| *name == table.source).unwrap_or(0);
        let collection = &self.collections[at];
        let variant =
            collection.variants.iter().position(|variant| variant.table == table.name).unwrap_or(0);
        let spare = self.flawed[at].len() as u64;
        // Behind the last of four documents of one second, spread over the whole collection.
        let fours = (collection.documents / 4).max(1);
        let after = (spare * 7919 % fours) * 4 + 3;
        let id = collection.object_id(after, u16::try_from(spare + 1).unwrap_or(u16::MAX));
        let variants = collection.variants.len() as u64;
        let spare_number = spare * variants + variant as u64;
        let mut document =
            collection.spare(self.collections, variant, spare_number, Bson::ObjectId(id));
        for (path, value) in edits {
            match value {
                Some(value) => set(&mut document, &path, value),
                None => remove(&mut document, &path),
            }
        }
        self.flawed[at].push(FlawedDocument { after, document });
        let totals = self.planted.tables.entry(table.name.clone()).or_default();
        totals.records += 1;
        match &expect {
            Expectation::Reject(rule) => *totals.rejects.entry(rule.clone()).or_default() += 1,
            other => {
                totals.rows += 1;
                if let Expectation::Finding(rule) = other {
                    *totals.findings.entry(rule.clone()).or_default() += 1;
                }
            }
        }
        self.planted.flaws.push(PlantedFlaw {
            collection: table.source.clone(),
            id: id.to_hex(),
            table: table.name.clone(),
            column: column.map(|column| column.name.clone()),
            flaw: flaw.to_owned(),
            expect,
        });
        id
    }

    fn table(&mut self, table: &Table) {
        if table.unmapped == Unmapped::Reject {
            let edit = (FieldPath(vec![UNMAPPED_FIELD.into()]), Some(Bson::Int32(1)));
            let reject = Expectation::Reject("unmapped".into());
            self.add(table, None, "a field that no column takes", vec![edit], reject);
        }
        for column in &table.columns {
            let Origin::Paths(paths) = &column.origin else { continue };
            let Some(path) = paths.first() else { continue };
            if path.0 == ["_id"] {
                continue;
            }
            if column.references.is_some() {
                self.reference(table, column, paths);
            } else {
                self.column(table, column, path);
            }
        }
    }

    fn column(&mut self, table: &Table, column: &Column, path: &FieldPath) {
        let filled = column.fill.as_ref().map(fill_text);
        // Findings of values that are there all the same.
        let (fallen, dropped) = (Cell::new(0_u64), Cell::new(0_u64));
        let reject = |rule: &str| match (column.on_fail, &filled) {
            (OnFail::Null, Some(text)) => {
                fallen.set(fallen.get() + 1);
                Expectation::Value(Some(text.clone()))
            }
            (OnFail::Null, None) if column.is_nullable() => {
                Expectation::Finding("on_fail_null".into())
            }
            _ => Expectation::Reject(rule.into()),
        };
        let value = |text: &str| Expectation::Value(Some(text.to_owned()));
        let mut one = |flaw: &str, put: Option<Bson>, expect: Expectation| {
            self.add(table, Some(column), flaw, vec![(path.clone(), put)], expect);
        };
        if let Some(text) = &filled {
            one("a field that is filled is missing", None, value(text));
            one("a field that is filled is null", Some(Bson::Null), value(text));
        } else if column.required || column.key.is_some() {
            one("a required field is missing", None, Expectation::Reject("required".into()));
            one(
                "a required field is null",
                Some(Bson::Null),
                Expectation::Reject("required".into()),
            );
        } else {
            one("the field is missing", None, Expectation::Value(None));
            one("the field is null", Some(Bson::Null), Expectation::Value(None));
        }
        let plain = column.pattern.is_none()
            && !column.email
            && column.length.is_none()
            && column.values.is_empty()
            && column.format.is_none();
        let identity = column.key.is_some()
            || table.unique.iter().any(|columns| columns.contains(&column.name));
        match &column.pg_type {
            PgType::SmallInt | PgType::Integer | PgType::BigInt if plain && !identity => {
                if column.min.is_none_or(|least| least <= 7.0)
                    && column.max.is_none_or(|most| most >= 7.0)
                {
                    one("a double that is whole", Some(Bson::Double(7.0)), value("7"));
                    one("an int64 that is small", Some(Bson::Int64(7)), value("7"));
                    one("a decimal that is whole", decimal("7.0"), value("7"));
                }
                one("a number with a fraction", Some(Bson::Double(3.5)), reject("type"));
                if column.pg_type != PgType::BigInt {
                    one("an int64 beyond int32", Some(Bson::Int64(1 << 31)), reject("range"));
                }
                one("a double beyond int64", Some(Bson::Double(1e19)), reject("range"));
                if !column.coerce {
                    one("text instead of a number", Some("seven".into()), reject("type"));
                }
            }
            PgType::Boolean if plain && !column.coerce => {
                one("text instead of a boolean", Some("yes".into()), reject("type"));
            }
            PgType::Text if plain && !identity => {
                one("empty text", Some(Bson::String(String::new())), value(""));
                let stripped = match column.nul {
                    Nul::Reject => reject("nul"),
                    Nul::Strip => value("ab"),
                };
                one("U+0000 inside text", Some("a\0b".into()), stripped);
                if !column.coerce {
                    one("a number instead of text", Some(Bson::Int32(5)), reject("type"));
                }
            }
            PgType::Enum(_) if plain => {
                one("a value that is no label", Some("NOT_A_LABEL".into()), reject("enum"));
            }
            PgType::Timestamp(_) | PgType::Timestamptz(_) if plain => {
                let date = |millis| Some(Bson::DateTime(DateTime::from_millis(millis)));
                let zone =
                    if matches!(column.pg_type, PgType::Timestamptz(_)) { "+00" } else { "" };
                let last = format!("294247-01-10 04:00:54.775{zone}");
                one("the last date there is", date(LAST_MILLIS), value(&last));
                let first = format!("4714-11-24 00:00:00{zone} BC");
                one("the first date there is", date(FIRST_MILLIS), value(&first));
                one("a date before the first", date(FIRST_MILLIS - 1), reject("range"));
                one("a date after the last", date(LAST_MILLIS + 1), reject("range"));
                one("text that is no date", Some("soon".into()), reject("type"));
            }
            PgType::Jsonb => {
                let odd = doc! {
                    "a.b": 1, "$c": 2_i64, "": [], "x": {}, "nan": f64::NAN,
                    "big": decimal("1E+40").unwrap_or(Bson::Null), "half": 0.5,
                };
                let text = r#"{"": [], "x": {}, "$c": 2, "a.b": 1, "big": 10000000000000000000000000000000000000000, "nan": "NaN", "half": 0.5}"#;
                one(
                    "keys with dots and dollars, numbers of every kind",
                    Some(odd.into()),
                    value(text),
                );
                one("an empty array", Some(Bson::Array(Vec::new())), value("[]"));
                let nul = match column.nul {
                    Nul::Reject => reject("nul"),
                    Nul::Strip => value(r#"{"k": "ab"}"#),
                };
                one("U+0000 inside JSON", Some(doc! {"k": "a\0b"}.into()), nul);
            }
            PgType::Array(element) if **element == PgType::Text => {
                one("an empty array", Some(Bson::Array(Vec::new())), value("{}"));
                let items = vec![Bson::String(String::new()), Bson::Null, "z".into()];
                let expected = match column.null_elements {
                    NullElements::Keep => value(r#"{"",NULL,z}"#),
                    NullElements::Drop => {
                        dropped.set(1);
                        value(r#"{"",z}"#)
                    }
                    NullElements::Reject => reject("null_element"),
                };
                one("an array with empty text and null", Some(items.into()), expected);
                if !column.coerce {
                    one("one text instead of an array", Some("alone".into()), reject("type"));
                }
            }
            PgType::Numeric(None) if plain && !identity => {
                one(
                    "an exact decimal",
                    decimal("0.10000000000000000000000001"),
                    value("0.10000000000000000000000001"),
                );
            }
            _ => {}
        }
        if identity
            && column.pg_type == PgType::Text
            && table.unique.contains(&vec![column.name.clone()])
        {
            let repeated = Bson::String(format!("{}-0@example.org", column.name));
            one(
                "a value that an earlier document has",
                Some(repeated),
                Expectation::Reject("unique".into()),
            );
        }
        let searched = table.search.iter().any(|search| search.columns.contains(&column.name));
        let indexed = table.indexes.iter().any(|index| index.columns.contains(&column.name));
        if !self.long_text
            && plain
            && column.pg_type == PgType::Text
            && searched
            && !indexed
            && !identity
        {
            self.long_text = true;
            // Words that all differ are the hardest for full-text search.
            let text: String = (0..LONG_TEXT / 10)
                .map(|word| format!("ferry{word:04x} "))
                .collect::<Vec<_>>()
                .concat();
            let expect = Expectation::Value(Some(text.clone()));
            let edit = (path.clone(), Some(Bson::String(text)));
            self.add(table, Some(column), "a document of 2 MB", vec![edit], expect);
        }
        let totals = self.planted.tables.entry(table.name.clone()).or_default();
        for (rule, count) in [("on_fail_null", fallen.get()), ("null_element", dropped.get())] {
            if count > 0 {
                *totals.findings.entry(rule.to_owned()).or_default() += count;
            }
        }
    }

    fn reference(&mut self, table: &Table, column: &Column, paths: &[FieldPath]) {
        let Some(reference) = &column.references else { return };
        if matches!(column.pg_type, PgType::Array(_)) {
            return;
        }
        let Ok(to) = target(self.pipeline, &self.names, &reference.table, Some(&reference.column))
        else {
            return;
        };
        let nullable = !column.required && column.key.is_none();
        let others: Vec<Edit> = paths[1..].iter().map(|path| (path.clone(), None)).collect();
        let put = |value: Bson| {
            let mut edits = others.clone();
            edits.push((paths[0].clone(), Some(value)));
            edits
        };
        let dangling = match (column.dangling, nullable) {
            (Dangling::Keep, _) => None,
            (Dangling::Null, true) => Some(Expectation::Finding("dangling".into())),
            _ => Some(Expectation::Reject("dangling".into())),
        };
        if nullable {
            let mut gone = others.clone();
            gone.push((paths[0].clone(), None));
            self.add(table, Some(column), "a reference is missing", gone, Expectation::Value(None));
        } else {
            let reject = Expectation::Reject("required".into());
            self.add(table, Some(column), "a required reference is null", put(Bson::Null), reject);
        }
        let first = to.value(self.collections, 0);
        if let Bson::ObjectId(first) = first {
            let key = uuid::Uuid::from_bytes(uuid_from_object_id(first.bytes())).to_string();
            let found = || Expectation::Value(Some(key.clone()));
            let hex = put(Bson::String(first.to_hex()));
            self.add(table, Some(column), "a reference as 24 digits", hex, found());
            let dbref = put(doc! {"$ref": &reference.table, "$id": first}.into());
            self.add(table, Some(column), "a reference as a DBRef", dbref, found());
            // The field of another column, which this one looks into as well.
            for path in &paths[1..] {
                let edits = vec![(paths[0].clone(), None), (path.clone(), Some(first.into()))];
                let flaw = format!("the reference stands in {path}");
                self.add(table, Some(column), &flaw, edits, found());
            }
        }
        let Some(dangling) = dangling else { return };
        let nobody = Bson::ObjectId(loose_id(&mut self.numbers));
        let mut cases = vec![("a reference to nobody", nobody)];
        let rejected = self.planted.flaws.iter().find(|flaw| {
            flaw.table == reference.table && matches!(flaw.expect, Expectation::Reject(_))
        });
        if let Some(id) = rejected.and_then(|flaw| ObjectId::parse_str(&flaw.id).ok())
            && to.is_by_id()
        {
            cases.push(("a reference to a rejected document", Bson::ObjectId(id)));
        }
        // Columns that look into this field too find nothing either.
        let sharing = table.columns.iter().filter(|other| {
            matches!(&other.origin, Origin::Paths(theirs) if theirs[1..].contains(&paths[0]))
        });
        let sharing = sharing.count() as u64;
        for (flaw, value) in cases {
            self.add(table, Some(column), flaw, put(value), dangling.clone());
            if let Expectation::Finding(rule) = &dangling
                && sharing > 0
            {
                let totals = self.planted.tables.entry(table.name.clone()).or_default();
                *totals.findings.entry(rule.clone()).or_default() += sharing;
            }
        }
    }

    fn junction(&mut self, junction: &Junction) {
        let two_sided =
            [0, 1].iter().all(|side| junction.from.iter().any(|from| from.side == *side));
        let name = &junction.name;
        for from in &junction.from {
            let Some(table) = self.pipeline.tables.iter().find(|table| table.name == from.table)
            else {
                continue;
            };
            let other = &junction.columns[1 - from.side].table;
            let Ok(to) = target(self.pipeline, &self.names, other, None) else { continue };
            let Bson::ObjectId(first) = to.value(self.collections, 0) else { continue };
            let nobody = loose_id(&mut self.numbers);
            let rejected = self
                .planted
                .flaws
                .iter()
                .find(|flaw| flaw.table == *other && matches!(flaw.expect, Expectation::Reject(_)))
                .and_then(|flaw| ObjectId::parse_str(&flaw.id).ok())
                .unwrap_or(nobody);
            // With positions the second is a row of its own.
            let repeated = match junction.position {
                Some(_) => JunctionTotals { only_first: 2, ..Default::default() },
                None => JunctionTotals { only_first: 1, repeats: 1, ..Default::default() },
            };
            let cases: [(&str, Vec<Bson>, JunctionTotals); 8] = [
                ("an empty array of links", vec![], JunctionTotals::default()),
                (
                    "a null link",
                    vec![Bson::Null],
                    JunctionTotals { nulls: 1, ..Default::default() },
                ),
                (
                    "a link of one side",
                    vec![first.into()],
                    JunctionTotals { only_first: 1, ..Default::default() },
                ),
                (
                    "a link as 24 digits",
                    vec![first.to_hex().into()],
                    JunctionTotals { only_first: 1, ..Default::default() },
                ),
                ("a repeated link", vec![first.into(), first.into()], repeated),
                (
                    "a link to nobody",
                    vec![nobody.into()],
                    JunctionTotals { dangling: 1, ..Default::default() },
                ),
                (
                    "a link to a rejected document",
                    vec![rejected.into()],
                    JunctionTotals { dangling: 1, ..Default::default() },
                ),
                (
                    "a link that is no id",
                    vec![Bson::Array(vec![])],
                    JunctionTotals { refused: 1, ..Default::default() },
                ),
            ];
            for (flaw, items, counts) in cases {
                let elements = items.len() as u64;
                let edit = (from.path.clone(), Some(Bson::Array(items)));
                self.add(table, None, flaw, vec![edit], Expectation::Junction(name.clone()));
                let totals = self.planted.junctions.entry(name.clone()).or_default();
                totals.elements += elements;
                totals.nulls += counts.nulls;
                totals.repeats += counts.repeats;
                totals.dangling += counts.dangling;
                totals.refused += counts.refused;
                if from.side == 0 {
                    totals.only_first += counts.only_first;
                } else {
                    totals.only_second += counts.only_first;
                }
            }
        }
        if two_sided {
            self.pair(junction);
        }
    }

    /// Two documents that name each other.
    fn pair(&mut self, junction: &Junction) {
        let side = |wanted: usize| junction.from.iter().find(|from| from.side == wanted);
        let (Some(first), Some(second)) = (side(0), side(1)) else { return };
        let table = |name: &str| self.pipeline.tables.iter().find(|table| table.name == name);
        let (Some(left), Some(right)) = (table(&first.table), table(&second.table)) else { return };
        let expect = || Expectation::Junction(junction.name.clone());
        let flaw = "a link that both sides hold";
        let id = self.add(left, None, flaw, Vec::new(), expect());
        let edit = (second.path.clone(), Some(Bson::Array(vec![id.into()])));
        let other = self.add(right, None, flaw, vec![edit], expect());
        let at = self.names.iter().position(|name| *name == left.source).unwrap_or(0);
        let holder = self.flawed[at]
            .iter_mut()
            .find(|flawed| flawed.document.get_object_id("_id").is_ok_and(|found| found == id));
        if let Some(holder) = holder {
            set(&mut holder.document, &first.path, Bson::Array(vec![other.into()]));
        }
        let totals = self.planted.junctions.entry(junction.name.clone()).or_default();
        totals.elements += 2;
        totals.both_sides += 1;
    }
}

fn decimal(text: &str) -> Option<Bson> {
    text.parse::<Decimal128>().ok().map(Bson::Decimal128)
}

/// The value of `fill` as PostgreSQL prints it.
fn fill_text(fill: &Fill) -> String {
    match fill {
        Fill::EmptyArray => "{}".to_owned(),
        Fill::Literal(Literal::String(text)) => text.clone(),
        Fill::Literal(Literal::Integer(number)) => number.to_string(),
        Fill::Literal(Literal::Float(number)) => number.to_string(),
        Fill::Literal(Literal::Boolean(flag)) => flag.to_string(),
    }
}
