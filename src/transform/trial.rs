//! A trial of a pipeline file: which values of a source a transform would refuse, by the rules that
//! the transform itself goes by. Nothing is written. A key takes 16 bytes, as it does in a transform.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::TransformError;
use super::cell::Cell;
use super::keys::KeySet;
use super::plan::{Input, Plan, Sources, TablePlan};
use super::records::{Item, Router};
use super::settle::{Claims, hard_references};
use super::shape::{Broken, Row, Shaper};
use crate::document::raw::Value;
use crate::pipeline::model::Pipeline;

/// Kinds of mistakes that are told apart for each table; what is beyond is counted together.
const MOST_KINDS: usize = 1000;
/// Values shown of one kind of mistake.
const EXAMPLES: usize = 3;
/// Greatest length of such a value, in bytes.
const LONGEST_EXAMPLE: usize = 48;

/// Values that a transform would refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Collection.
    pub source: String,
    /// Table.
    pub table: String,
    /// Column, where one is concerned.
    pub column: Option<String>,
    /// Field, dotted.
    pub field: Option<String>,
    /// Rule that is broken.
    pub rule: &'static str,
    /// In which way.
    pub detail: String,
    /// How many records.
    pub count: u64,
    /// Some texts that broke it.
    pub examples: Vec<String>,
}

/// What tells kinds of mistakes apart: table, column, field, rule, detail.
type Kind = (usize, Option<usize>, Option<String>, &'static str, String);

/// What was found so far.
#[derive(Default)]
struct Found {
    mistakes: BTreeMap<Kind, (u64, Vec<String>)>,
    /// Accepted values, by set.
    feeds: Vec<Vec<u128>>,
    /// Values that only one record may have, by table.
    claims: Vec<Vec<Claims>>,
    /// Values that some row must have: table, column, set, and what may be meant.
    wanted: HashSet<(usize, usize, usize, [Option<u128>; 2])>,
}

impl Found {
    fn new(plan: &Plan) -> Self {
        Self {
            feeds: plan.sets.iter().map(|_| Vec::new()).collect(),
            claims: plan.tables.iter().map(|_| Vec::new()).collect(),
            ..Self::default()
        }
    }

    fn add(&mut self, table: usize, broken: Broken<'_>) {
        let tables =
            (table, None, None, "", String::new())..(table + 1, None, None, "", String::new());
        let mut kind = (table, broken.column, broken.field, broken.rule, broken.detail);
        if !self.mistakes.contains_key(&kind) && self.mistakes.range(tables).count() >= MOST_KINDS {
            kind = (table, None, None, broken.rule, "in many fields".to_owned());
        }
        let (count, examples) = self.mistakes.entry(kind).or_default();
        *count += 1;
        if let Some(Value::String(text)) = broken.value
            && examples.len() < EXAMPLES
            && text.len() <= LONGEST_EXAMPLE
            && !examples.iter().any(|known| known == text)
        {
            examples.push(text.to_owned());
        }
    }

    fn merge(&mut self, other: Self) {
        for (kind, (count, examples)) in other.mistakes {
            let (own, known) = self.mistakes.entry(kind).or_default();
            *own += count;
            let room = EXAMPLES.saturating_sub(known.len());
            let new: Vec<String> =
                examples.into_iter().filter(|text| !known.contains(text)).take(room).collect();
            known.extend(new);
        }
        for (own, more) in self.feeds.iter_mut().zip(other.feeds) {
            own.extend(more);
        }
        for (own, more) in self.claims.iter_mut().zip(other.claims) {
            own.extend(more);
        }
        self.wanted.extend(other.wanted);
    }
}

/// A pipeline file that documents are tried on.
pub struct Trial {
    plan: Plan,
    sets: Vec<Option<Arc<KeySet>>>,
    found: Mutex<Found>,
}

impl Trial {
    /// Compiles a pipeline. `kinds` are the collections with what they are: `collection`, `timeseries`,
    /// `table`.
    ///
    /// # Errors
    ///
    /// When no transform could be made by the file either.
    pub fn new(pipeline: &Pipeline, kinds: &[(String, String)]) -> Result<Self, TransformError> {
        let of = |wanted: &'static str| {
            let kinds = kinds.iter().filter(move |(_, kind)| kind == wanted);
            kinds.map(|(name, _)| name.clone())
        };
        let plan = Plan::new(pipeline, &Sources::named(of("table"), of("timeseries")))?;
        let sets = plan.sets.iter().map(|_| None).collect();
        let found = Mutex::new(Found::new(&plan));
        Ok(Self { plan, sets, found })
    }

    /// One thread's share of the trial.
    pub fn attempt(&self) -> Attempt<'_> {
        let tables = self.plan.tables.iter();
        let tables = tables
            .map(|table| (Shaper::new(table, &self.sets), Router::new(table, &self.plan.tables)));
        Attempt {
            trial: self,
            tables: tables.collect(),
            claims: self.plan.tables.iter().map(|_| Claims::default()).collect(),
            found: Found::new(&self.plan),
        }
    }

    /// What was found, in the order of the tables. What one record has to do with others is told
    /// where all documents of a collection were tried (`whole`).
    pub fn mistakes(&self, whole: impl Fn(&str) -> bool) -> Vec<Mistake> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let Found { mistakes, feeds, claims, wanted } = std::mem::take(&mut *found);
        drop(found);
        let mut all: Vec<Mistake> = mistakes
            .into_iter()
            .map(|((table, column, field, rule, detail), (count, examples))| Mistake {
                count,
                examples,
                ..mistake(&self.plan.tables[table], column, field, rule, detail)
            })
            .collect();
        for (table, claims) in self.plan.tables.iter().zip(claims) {
            for (column, repeats) in Claims::repeats(table, claims) {
                let field = column.map(|column| table.columns[column].field.clone());
                let detail = "an earlier row has the same".to_owned();
                let unique = mistake(table, column, field, "unique", detail);
                all.push(Mistake { count: repeats, ..unique });
            }
        }
        let sets: Vec<KeySet> = feeds
            .into_iter()
            .enumerate()
            .map(|(set, feed)| KeySet::from_feed(feed, self.plan.is_serial(set)))
            .collect();
        let mut dangling: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for (table, column, set, keys) in wanted {
            let target = &self.plan.tables[self.plan.sets[set].0];
            if whole(&target.source) && !keys.iter().flatten().any(|key| sets[set].contains(*key)) {
                *dangling.entry((table, column)).or_default() += 1;
            }
        }
        for ((table, column), count) in dangling {
            let table = &self.plan.tables[table];
            let target = table.columns[column].reference.as_ref();
            let target = target.map_or("", |target| target.table.as_str());
            let detail = format!("no row of {target} has this key");
            let field = Some(table.columns[column].field.clone());
            all.push(Mistake { count, ..mistake(table, Some(column), field, "dangling", detail) });
        }
        all
    }
}

fn mistake(
    table: &TablePlan,
    column: Option<usize>,
    field: Option<String>,
    rule: &'static str,
    detail: String,
) -> Mistake {
    Mistake {
        source: table.source.clone(),
        table: table.name.clone(),
        column: column.map(|column| table.columns[column].name.clone()),
        field: match (&table.each, field) {
            (Some(each), Some(field)) => Some(format!("{each}.{field}")),
            (Some(each), None) => Some(each.to_string()),
            (None, field) => field,
        },
        rule,
        detail,
        count: 0,
        examples: Vec::new(),
    }
}

/// One thread's share of a trial.
pub struct Attempt<'t> {
    trial: &'t Trial,
    tables: Vec<(Shaper<'t>, Router<'t>)>,
    claims: Vec<Claims>,
    found: Found,
}

impl Attempt<'_> {
    /// Tries a document of a collection on every table that is made of it.
    pub fn document(&mut self, source: &str, bytes: &[u8]) {
        let Self { trial, tables, claims, found } = self;
        let (mut items, mut row) = (Vec::new(), Row::default());
        for (number, (shaper, router)) in tables.iter_mut().enumerate() {
            let table = &trial.plan.tables[number];
            if table.source != source {
                continue;
            }
            router.expand(bytes, false, &mut items);
            for item in items.drain(..) {
                match item {
                    Item::Dropped => {}
                    Item::Broken(broken) => found.add(number, broken),
                    Item::Record(record) => {
                        let sound = shaper.try_all(record, &mut row, |broken| {
                            found.add(number, broken);
                        });
                        if sound {
                            // The number that stands for an `_id` is not given yet.
                            if let (Some(serial), [key]) = (row.serial, table.key.as_slice()) {
                                row.cells[*key] = Cell::Uuid(serial.to_be_bytes());
                            }
                            claims[number].add(table, &row);
                            for (set, column) in &table.feeds {
                                found.feeds[*set].extend(row.feed(*column));
                            }
                            found.wanted.extend(
                                hard_references(table, &row)
                                    // An element goes with its document.
                                    .filter(|(column, ..)| {
                                        !matches!(table.columns[*column].input, Input::Parent)
                                    })
                                    .map(|(column, set, keys)| (number, column, set, keys)),
                            );
                        }
                    }
                }
            }
        }
    }

    /// Ends the share.
    pub fn finish(mut self) {
        for (claims, own) in self.found.claims.iter_mut().zip(self.claims) {
            claims.push(own);
        }
        self.trial.found.lock().unwrap_or_else(PoisonError::into_inner).merge(self.found);
    }
}
