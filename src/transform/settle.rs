//! Which rows stay when keys must be unique and references form cycles: decided before any file
//! of the tables is written, so that no constraint can fail at the load.

use std::sync::Arc;

use rayon::prelude::*;
use rustc_hash::{FxHashMap, FxHashSet};

use super::cell::Cell;
use super::keys::{KeySet, digest_identity};
use super::plan::{Plan, TablePlan, UniquePlan};
use super::records::{Item, Walk};
use super::shape::{Row, Shaper};
use super::{PartTask, TransformError};
use crate::document::id::object_id_from_uuid;
use crate::pipeline::model::Dangling;
use crate::staging::checksum::to_hex;
use crate::staging::exported::documents;
use crate::staging::layout::RunDirectory;

/// Why a record that is well in itself is refused all the same.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) rule: &'static str,
    pub(super) column: Option<usize>,
    pub(super) detail: String,
}

/// Refused records of a part, by their number in it.
pub(super) type Verdicts = FxHashMap<u32, Verdict>;

/// The verdicts of every member's parts, and the accepted values by set.
pub(super) type Settled = (Vec<Vec<Verdicts>>, Vec<(usize, KeySet)>);

/// What is accepted already when refused records are taken once more.
pub(super) struct Prior<'p> {
    /// Accepted keys, by set.
    pub(super) sets: &'p [Arc<KeySet>],
    /// For each member of the group: the values that are taken, of every unique constraint and
    /// then of the key.
    pub(super) taken: Vec<Vec<KeySet>>,
}

/// What the decision needs to know of a record.
struct Candidate {
    number: u32,
    key: Option<u128>,
    unique: Vec<Option<u128>>,
    feeds: Vec<(usize, u128)>,
    hard: Vec<(usize, usize, [Option<u128>; 2])>,
}

/// The identity of the values of several columns together; none when one of them is NULL.
pub(super) fn identity_of(cells: &[Cell<'_>], columns: &[usize]) -> Option<u128> {
    if let [column] = columns {
        return cells[*column].identity();
    }
    let mut bytes = Vec::with_capacity(columns.len() * 16);
    for column in columns {
        bytes.extend(cells[*column].identity()?.to_be_bytes());
    }
    Some(digest_identity(&bytes))
}

impl UniquePlan {
    /// The identity of a row's values; none when one of them is NULL.
    pub(super) fn identity(&self, cells: &[Cell<'_>]) -> Option<u128> {
        if self.lower.is_empty() {
            return identity_of(cells, &self.columns);
        }
        let mut folded = Vec::with_capacity(self.columns.len());
        for (place, column) in self.columns.iter().enumerate() {
            folded.push(match &cells[*column] {
                Cell::Text(text) if self.lower.contains(&place) => Cell::Text(lowered(text).into()),
                other => other.clone(),
            });
        }
        let all: Vec<usize> = (0..folded.len()).collect();
        identity_of(&folded, &all)
    }
}

/// A text as PostgreSQL's `lower` gives it, letter by letter. The two small sigmas count as one:
/// which of them ends a word depends on the server's library.
fn lowered(text: &str) -> String {
    let letters = text.chars().flat_map(char::to_lowercase);
    letters.map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect()
}

/// Settles a group of tables: the verdicts of every part, and the accepted values of the columns
/// that the group's members refer to. `parts[i]` are the parts of `members[i]`.
pub(super) fn settle(
    run: &RunDirectory,
    plan: &Plan,
    members: &[usize],
    parts: &[Vec<PartTask<'_>>],
    sets: &[Option<Arc<KeySet>>],
    prior: Option<&Prior<'_>>,
) -> Result<Settled, TransformError> {
    let mut candidates: Vec<Vec<Vec<Candidate>>> = Vec::new();
    for (member, tasks) in members.iter().zip(parts) {
        let table = &plan.tables[*member];
        let read: Result<Vec<_>, _> =
            tasks.par_iter().map(|task| read_part(run, plan, table, task, sets)).collect();
        candidates.push(read?);
    }
    let mut verdicts: Vec<Vec<Verdicts>> =
        parts.iter().map(|tasks| vec![Verdicts::default(); tasks.len()]).collect();
    for (at, member) in members.iter().enumerate() {
        let taken = prior.map(|prior| prior.taken[at].as_slice()).unwrap_or_default();
        first_stays(&plan.tables[*member], &candidates[at], taken, &mut verdicts[at]);
    }

    // References into the group: refusing a row can leave others without their target, so this
    // repeats until nothing changes. Sets only shrink, so it ends.
    let inside: FxHashSet<usize> = candidates
        .iter()
        .flatten()
        .flatten()
        .flat_map(|candidate| candidate.hard.iter().map(|(_, set, _)| *set))
        .collect();
    loop {
        let accepted: FxHashMap<usize, KeySet> =
            inside.iter().map(|set| (*set, gather(plan, &candidates, &verdicts, *set))).collect();
        let mut changed = false;
        for (at, member) in members.iter().enumerate() {
            for (part, records) in candidates[at].iter().enumerate() {
                for record in records {
                    if verdicts[at][part].contains_key(&record.number) {
                        continue;
                    }
                    let missing = record.hard.iter().find(|(_, set, wanted)| {
                        !wanted.iter().flatten().any(|key| {
                            accepted[set].contains(*key)
                                || prior.is_some_and(|prior| prior.sets[*set].contains(*key))
                        })
                    });
                    if let Some((column, _, _)) = missing {
                        let reference = plan.tables[*member].columns[*column].reference.as_ref();
                        let target = reference.map_or("", |reference| reference.table.as_str());
                        verdicts[at][part].insert(
                            record.number,
                            Verdict {
                                rule: "dangling",
                                column: Some(*column),
                                detail: format!("no accepted row of {target} has this key"),
                            },
                        );
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            break;
        }
    }
    let mut own_sets: Vec<usize> = members
        .iter()
        .flat_map(|member| plan.tables[*member].feeds.iter().map(|(set, _)| *set))
        .collect();
    own_sets.sort_unstable();
    let settled =
        own_sets.into_iter().map(|set| (set, gather(plan, &candidates, &verdicts, set))).collect();
    Ok((verdicts, settled))
}

fn gather(
    plan: &Plan,
    candidates: &[Vec<Vec<Candidate>>],
    verdicts: &[Vec<Verdicts>],
    set: usize,
) -> KeySet {
    let mut keys = Vec::new();
    for (tables, verdicts) in candidates.iter().zip(verdicts) {
        for (records, verdicts) in tables.iter().zip(verdicts) {
            for record in records {
                if !verdicts.contains_key(&record.number) {
                    let fed = record.feeds.iter().filter(|(fed, _)| *fed == set);
                    keys.extend(fed.map(|(_, key)| *key));
                }
            }
        }
    }
    KeySet::from_feed(keys, plan.is_serial(set))
}

fn read_part(
    run: &RunDirectory,
    plan: &Plan,
    table: &TablePlan,
    task: &PartTask<'_>,
    sets: &[Option<Arc<KeySet>>],
) -> Result<Vec<Candidate>, TransformError> {
    let mut walk = Walk::new(table, &plan.tables, task);
    let mut shaper = Shaper::new(table, sets);
    let mut result = Vec::new();
    for batch in documents(run, &task.part.file)? {
        let batch = batch?;
        let mut row = Row::default();
        walk.each(&batch, |place, item| {
            let Item::Record(record) = item else { return Ok(()) };
            if shaper.shape(record, &mut row).is_ok() {
                result.push(Candidate::new(table, place.number, &row));
            }
            Ok(())
        })?;
    }
    Ok(result)
}

impl Candidate {
    fn new(table: &TablePlan, number: u32, row: &Row<'_>) -> Self {
        let feed = |(set, column): &(usize, usize)| {
            let set = *set;
            row.feed(*column).map(move |key| (set, key))
        };
        Self {
            feeds: table.feeds.iter().flat_map(feed).collect(),
            hard: hard_references(table, row).collect(),
            number,
            key: identity_of(&row.cells, &table.key),
            unique: table.unique.iter().map(|unique| unique.identity(&row.cells)).collect(),
        }
    }
}

/// References of a row whose target must be there: column, set, and the keys that may be meant.
pub(super) fn hard_references(
    table: &TablePlan,
    row: &Row<'_>,
) -> impl Iterator<Item = (usize, usize, [Option<u128>; 2])> {
    let hard = row.pending.iter().filter(|pending| {
        let column = &table.columns[pending.column];
        let rule = column.reference.as_ref().map(|reference| reference.dangling);
        rule == Some(Dangling::Reject) || (rule == Some(Dangling::Null) && !column.nullable)
    });
    hard.map(|pending| (pending.column, pending.set, pending.candidates))
}

/// The values of accepted records that no other may have: those of every unique constraint and
/// then of the key, 16 bytes each.
#[derive(Clone, Debug, Default)]
pub(super) struct Claims(Vec<Vec<u128>>);

impl Claims {
    pub(super) fn add(&mut self, table: &TablePlan, row: &Row<'_>) {
        self.0.resize_with(table.unique.len() + 1, Vec::new);
        let unique = table.unique.iter().map(|unique| unique.identity(&row.cells));
        let key = (!table.key.is_empty()).then(|| identity_of(&row.cells, &table.key));
        for (values, identity) in self.0.iter_mut().zip(unique.chain(key)) {
            values.extend(identity);
        }
    }

    /// How many records of these parts of a table claim what an earlier one has, with the first column
    /// of each key or unique constraint that is concerned.
    pub(super) fn repeats(table: &TablePlan, mut parts: Vec<Self>) -> Vec<(Option<usize>, u64)> {
        let mut repeats = Vec::new();
        for constraint in 0..=table.unique.len() {
            let claims = parts.iter_mut().filter_map(|part| part.0.get_mut(constraint));
            let mut all: Vec<u128> = claims.flat_map(std::mem::take).collect();
            all.par_sort_unstable();
            let count = all.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
            if count > 0 {
                let unique = table.unique.get(constraint).map(|unique| &unique.columns);
                let columns = unique.unwrap_or(&table.key);
                repeats.push((columns.first().copied(), count));
            }
        }
        repeats
    }

    /// Whether no two records of these parts of a table claim the same.
    pub(super) fn all_differ(mut parts: Vec<Self>) -> bool {
        let constraints = parts.iter().map(|part| part.0.len()).max().unwrap_or(0);
        (0..constraints).all(|at| {
            let claims = parts.iter_mut().filter_map(|part| part.0.get_mut(at));
            let mut all: Vec<u128> = claims.flat_map(std::mem::take).collect();
            if !all.is_sorted() {
                all.par_sort_unstable();
            }
            all.windows(2).all(|pair| pair[0] != pair[1])
        })
    }
}

/// Refuses every record whose key or unique values an earlier record has.
fn first_stays(
    table: &TablePlan,
    parts: &[Vec<Candidate>],
    taken: &[KeySet],
    verdicts: &mut [Verdicts],
) {
    let constraints = table.unique.len() + usize::from(!table.key.is_empty());
    for constraint in 0..constraints {
        let unique = table.unique.get(constraint);
        let columns = unique.map_or(&table.key, |unique| &unique.columns);
        let apart = if unique.is_some_and(|unique| !unique.lower.is_empty()) {
            " in lower case"
        } else {
            ""
        };
        let value = |record: &Candidate| match record.unique.get(constraint) {
            Some(value) => *value,
            None => record.key,
        };
        let mut order: Vec<(u128, u32, u32)> = Vec::new();
        for (part, records) in parts.iter().enumerate() {
            for (at, record) in records.iter().enumerate() {
                if !verdicts[part].contains_key(&record.number)
                    && let Some(value) = value(record)
                {
                    let part = u32::try_from(part).unwrap_or(u32::MAX);
                    order.push((value, part, u32::try_from(at).unwrap_or(u32::MAX)));
                }
            }
        }
        if let Some(taken) = taken.get(constraint) {
            order.retain(|(value, part, at)| {
                let free = !taken.contains(*value);
                if !free {
                    let record = &parts[*part as usize][*at as usize];
                    let detail = "an accepted row has the same values".to_owned();
                    let verdict =
                        Verdict { rule: "unique", column: columns.first().copied(), detail };
                    verdicts[*part as usize].insert(record.number, verdict);
                }
                free
            });
        }
        order.sort_unstable();
        let names: Vec<&str> =
            columns.iter().map(|column| table.columns[*column].name.as_str()).collect();
        for group in order.chunk_by(|left, right| left.0 == right.0) {
            let (_, part, at) = group[0];
            let winner = &parts[part as usize][at as usize];
            for (_, part, at) in &group[1..] {
                let record = &parts[*part as usize][*at as usize];
                verdicts[*part as usize].insert(
                    record.number,
                    Verdict {
                        rule: "unique",
                        column: columns.first().copied(),
                        detail: format!(
                            "an earlier row, {}, has the same {}{apart}",
                            describe_key(winner.key),
                            names.join(", ")
                        ),
                    },
                );
            }
        }
    }
}

/// A key as a person can look it up in the source.
pub(super) fn describe_key(key: Option<u128>) -> String {
    match key {
        None => "without a key".to_owned(),
        Some(key) => match object_id_from_uuid(key.to_be_bytes()) {
            Some(id) => to_hex(&id),
            None => uuid::Uuid::from_u128(key).to_string(),
        },
    }
}
