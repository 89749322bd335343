//! One document: its rows, its links, and where each of its leaves ends.

use std::sync::atomic::Ordering;

use bson::RawBsonRef;
use rustc_hash::{FxHashMap, FxHashSet};

use super::circle::Waiting;
use super::fate::{Fate, Fates, Rule};
use super::gather::together;
use super::identity::key_uuid;
use super::mapping::{ArrayMap, JunctionMap, TableMap};
use super::node::Node;
use super::prove::{Proof, claims};
use super::record::{Item, Record, belongs, items};
use super::rejects::Listed;
use super::report::{Difference, LeafSums, NAMED};
use super::row::{Refused, Row, candidates, row};
use super::sets::Key;
use super::suspects::{Suspects, Verdict};
use super::trace::Trace;
use super::value::{Changed, Held, Reason};
use super::wire::{digest, tuple};
use crate::pgcopy::digest::{Compact, TableDigest};
use crate::pgcopy::reader::fields;
use crate::pgcopy::{PgType, show};
use crate::staging::manifest::CollectionManifest;

/// The rows that a table should hold, and the numbers that its keys are.
#[derive(Default)]
pub(super) struct Expected {
    digest: Option<TableDigest>,
    /// The first and the last number of a serial key.
    numbers: Option<(i64, i64)>,
    out_of_order: bool,
    claims: Claims,
}

/// Values that no two rows share: by constraint, with the position of their record.
#[derive(Default)]
struct Claims {
    rows: Vec<(u32, u128, u64)>,
    /// Records that are said to give way to an earlier row.
    giving_way: Vec<GivesWay>,
}

/// The `_id` of a record, its values, and its position.
type GivesWay = (String, Vec<(u32, u128)>, u64);

impl Expected {
    pub(super) fn compact(&self) -> Compact {
        self.digest.as_ref().map(TableDigest::compact).unwrap_or_default()
    }

    /// Records that gave way to rows that come after them.
    pub(super) fn too_early(&mut self) -> Vec<String> {
        let Claims { rows, giving_way } = std::mem::take(&mut self.claims);
        let wanted: FxHashSet<(u32, u128)> =
            giving_way.iter().flat_map(|(_, own, _)| own.iter().copied()).collect();
        let mut first: FxHashMap<(u32, u128), u64> = FxHashMap::default();
        for (at, value, position) in rows {
            if wanted.contains(&(at, value)) {
                let known = first.entry((at, value)).or_insert(position);
                *known = position.min(*known);
            }
        }
        let early = giving_way.into_iter().filter(|(_, own, position)| {
            !own.iter().any(|claim| first.get(claim).is_some_and(|first| first < position))
        });
        early.map(|(id, _, _)| id).collect()
    }

    fn number(&mut self, number: i64) {
        let (first, last) = self.numbers.unwrap_or((number, i64::MIN));
        self.out_of_order |= number <= last;
        self.numbers = Some((first, number));
    }

    fn add(&mut self, more: Self) {
        match (&mut self.digest, more.digest) {
            (Some(own), Some(more)) => own.merge(&more),
            (own, more) => *own = own.take().or(more),
        }
        self.out_of_order |= more.out_of_order;
        self.claims.rows.extend(more.claims.rows);
        self.claims.giving_way.extend(more.claims.giving_way);
        if let Some((first, last)) = more.numbers {
            self.number(first);
            self.numbers = self.numbers.map(|(first, _)| (first, last));
        }
    }
}

/// What some documents of a collection come to.
pub(super) struct Sum {
    pub(super) leaves: LeafSums,
    /// By table, in the order of the judge.
    pub(super) expected: Vec<Expected>,
    pub(super) differences: Vec<Difference>,
    pub(super) not_named: u64,
    /// Records that are refused for rows of which they may be the reason themselves.
    pub(super) waiting: Vec<Waiting>,
}

impl Sum {
    pub(super) fn new(collection: &str, tables: usize) -> Self {
        Self {
            leaves: LeafSums { collection: collection.to_owned(), ..LeafSums::default() },
            expected: (0..tables).map(|_| Expected::default()).collect(),
            differences: Vec::new(),
            not_named: 0,
            waiting: Vec::new(),
        }
    }

    /// Adds those of the part that follows.
    pub(super) fn add(&mut self, more: Self) {
        self.leaves.add(&more.leaves);
        for (own, more) in self.expected.iter_mut().zip(more.expected) {
            own.add(more);
        }
        self.not_named += more.not_named;
        self.waiting.extend(more.waiting);
        for difference in more.differences {
            self.name(difference);
        }
    }

    pub(super) fn name(&mut self, difference: Difference) {
        if self.differences.len() < NAMED {
            self.differences.push(difference);
        } else {
            self.not_named += 1;
        }
    }

    pub(super) fn out_of_order(&self) -> Vec<bool> {
        self.expected.iter().map(|expected| expected.out_of_order).collect()
    }
}

/// Goes through the documents of a part.
pub(super) struct Judge<'j, 'p> {
    proof: &'j Proof<'p>,
    collection: &'j str,
    tables: Vec<Judged<'j, 'p>>,
    /// Rows that differ, in the pass that names them.
    suspects: Option<&'j Suspects>,
    previous: Option<String>,
    /// Of the record in hand, in the order of the collection.
    position: u64,
    fates: Fates,
    sum: Sum,
    /// What one document leads to, where that is asked for.
    pub(super) trace: Option<Trace>,
}

/// A table and its place in the mapping.
#[derive(Clone, Copy)]
struct Judged<'j, 'p> {
    at: usize,
    table: &'j TableMap<'p>,
}

/// A document in hand.
#[derive(Clone, Copy)]
struct InHand<'d, 'a> {
    id: &'d str,
    root: &'d Node<'a>,
}

impl<'j, 'p> Judge<'j, 'p> {
    /// `part` is its number, `previous` the `_id` of the document before its first.
    pub(super) fn new(
        proof: &'j Proof<'p>,
        collection: &'j CollectionManifest,
        tables: &[usize],
        suspects: Option<&'j Suspects>,
        (part, previous): (usize, Option<String>),
    ) -> Self {
        let judged = tables.iter().filter_map(|at| {
            let table = proof.mapping.tables.get(*at)?;
            Some(Judged { at: *at, table })
        });
        Self {
            proof,
            collection: &collection.name,
            tables: judged.collect(),
            suspects,
            previous,
            position: u64::try_from(part).unwrap_or(u64::MAX) << 32,
            fates: Fates::default(),
            sum: Sum::new(&collection.name, tables.len()),
            trace: None,
        }
    }

    /// Where the leaves of the last document ended.
    pub(super) fn fates(&self) -> &[Fate] {
        self.fates.all()
    }

    pub(super) fn finish(self) -> Sum {
        self.sum
    }

    pub(super) fn document(&mut self, id: &str, bytes: &[u8]) {
        let repeats = self.previous.as_deref() == Some(id);
        if !repeats {
            self.previous = Some(id.to_owned());
        }
        let read = Node::read(bytes);
        let (node, wrong) = match read {
            Ok(node) => (node, None),
            Err(wrong) => (Node::apart(RawBsonRef::Undefined), Some(wrong)),
        };
        let leaves = node.leaves.end.max(1);
        self.fates.begin(leaves);
        let document = InHand { id, root: &node };
        let mappings = &self.proof.mapping.tables;
        let routed = self.tables.iter().any(|judged| {
            let own = mappings.get(judged.at);
            own.is_some_and(|own| own.table.each.is_none() && belongs(&node, own.filter()))
        });
        for place in 0..self.tables.len() {
            let Some(judged) = self.tables.get(place).copied() else { continue };
            let table = judged.table;
            if let Some(wrong) = &wrong {
                self.refused(
                    place,
                    document,
                    None,
                    0..leaves,
                    Reason::new("malformed", wrong),
                    false,
                );
                continue;
            }
            let repeats = repeats && table.ids_differ;
            let all = items(table, &node, routed, repeats, &mut self.fates);
            let has_elements = table.table.each.is_some();
            for (element, item) in (0_u64..).zip(all) {
                let element = has_elements.then_some(element);
                self.position += 1;
                match item {
                    Item::Dropped(leaves) => self.fates.mark(leaves, Fate::Ruled(Rule::Otherwise)),
                    Item::Refused(leaves, reason) => {
                        self.refused(place, document, element, leaves, reason, repeats);
                    }
                    Item::Record(record) => match self.work_out(judged, id, element, &record) {
                        Ok(row) => self.row(place, document, element, &record, &row),
                        Err(refused) => {
                            let leaves = record.own.leaves.clone();
                            let of_column = refused.column.and_then(|at| table.columns.get(at));
                            let reason = match of_column {
                                None => refused.reason,
                                Some(column) => refused.reason.of(&column.column.name),
                            };
                            self.waits(place, document, &refused.missing, &refused.cells);
                            self.refused(place, document, element, leaves, reason, false);
                        }
                    },
                }
            }
        }
        if self.tables.iter().all(|judged| judged.table.table.each.is_some()) {
            self.fates.mark(0..leaves, Fate::Ruled(Rule::NoTable));
        }
        if let Some(leaf) = self.fates.open() {
            let path = node.path_of(leaf);
            self.name(
                document,
                Difference {
                    path: Some(path),
                    table: self
                        .tables
                        .first()
                        .map_or_else(String::new, |it| it.table.table.name.clone()),
                    what: "no column takes the field, and no rule leaves it out".to_owned(),
                    ..Difference::default()
                },
            );
        }
        self.fates.count(&mut self.sum.leaves);
    }

    /// Works a record out as it was when it became a row: rows that came later, when rejects were
    /// taken once more, were not there to refer to.
    fn work_out<'d, 'a>(
        &self,
        judged: Judged<'_, '_>,
        id: &str,
        element: Option<u64>,
        record: &Record<'d, 'a>,
    ) -> Result<Row<'d, 'a>, Refused> {
        let (sets, table) = (&self.proof.sets, judged.table);
        let mut retries = sets.retries;
        loop {
            let worked = row(table, judged.at, record, sets, retries);
            let listed = || self.proof.rejects.find(&table.table.name, id, element, false);
            if retries == 0 || retries == sets.retries && listed().is_some() {
                return worked;
            }
            if let Ok(row) = &worked {
                let types: Vec<&PgType> = judged.table.types.iter().collect();
                let came = tuple(&row.cells, &types, &sets.oids)
                    .and_then(|bytes| sets.late_rows.get(&digest(&bytes)).copied());
                if came == Some(retries) {
                    return worked;
                }
            }
            retries -= 1;
        }
    }

    fn name(&mut self, document: InHand<'_, '_>, difference: Difference) {
        self.sum.name(Difference {
            collection: Some(self.collection.to_owned()),
            id: Some(document.id.to_owned()),
            ..difference
        });
    }

    fn table_name(&self, place: usize) -> String {
        self.tables.get(place).map_or_else(String::new, |it| it.table.table.name.clone())
    }

    /// Keeps a record that is refused for rows of which it may be the reason itself.
    fn waits(
        &mut self,
        place: usize,
        document: InHand<'_, '_>,
        missing: &[Vec<Key>],
        cells: &[Held],
    ) {
        let Some(judged) = self.tables.get(place).copied() else { return };
        let (at, sets) = (judged.at, &self.proof.sets);
        let leads_back = |((table, _), _): &Key| self.proof.mapping.leads(*table, at);
        if missing.is_empty() || !missing.iter().flatten().any(leads_back) {
            return;
        }
        let id = document.root.get("_id").and_then(|id| key_uuid(id.value)).map(Held::Uuid);
        let keys = self.proof.mapping.referred(at).filter_map(|column| {
            let serial = judged.table.serial && judged.table.key.first() == Some(&column);
            if serial {
                return sets.key((at, column), id.as_ref()?, &PgType::Uuid);
            }
            sets.key((at, column), cells.get(column)?, judged.table.types.get(column)?)
        });
        let waiting = Waiting {
            table: at,
            id: document.id.to_owned(),
            keys: keys.collect(),
            missing: missing.to_vec(),
        };
        self.sum.waiting.push(waiting);
    }

    /// A record of which no row can be made must be listed.
    fn refused(
        &mut self,
        place: usize,
        document: InHand<'_, '_>,
        element: Option<u64>,
        leaves: std::ops::Range<usize>,
        reason: Reason,
        repeats: bool,
    ) {
        let table = self.table_name(place);
        if let Some(trace) = &mut self.trace {
            trace.refused.push(format!("{table}: rule {} ({})", reason.rule, reason.detail));
        }
        if self.proof.rejects.find(&table, document.id, element, repeats).is_some() {
            self.fates.mark(leaves, Fate::Rejected);
            return;
        }
        self.fates.mark(leaves.clone(), Fate::Different);
        let Reason { rule, detail, .. } = reason;
        let what =
            format!("the record breaks rule {rule} ({detail}), but is not listed as a reject");
        let path = Some(document.root.path_of(leaves.start)).filter(|_| element.is_some());
        self.name(document, Difference { path, table, what, ..Difference::default() });
    }

    /// A record of which a row can be made is a row, or gives way to another one.
    fn row(
        &mut self,
        place: usize,
        document: InHand<'_, '_>,
        element: Option<u64>,
        record: &Record<'_, '_>,
        row: &Row<'_, '_>,
    ) {
        let Some(judged) = self.tables.get(place).copied() else { return };
        let (at, table) = (judged.at, judged.table);
        let kinds: Vec<&PgType> = judged.table.types.iter().collect();
        let name = table.table.name.clone();
        let Some(bytes) = tuple(&row.cells, &kinds, &self.proof.sets.oids) else {
            self.fates.mark(record.own.leaves.clone(), Fate::Different);
            let what = "a value of the record does not go into its column".to_owned();
            self.name(document, Difference { table: name, what, ..Difference::default() });
            return;
        };
        match self.proof.rejects.find(&name, document.id, element, false) {
            Some(Listed::Unique) if self.gives_way(at, table, &bytes, &judged.table.types) => {
                self.fates.mark(record.own.leaves.clone(), Fate::Rejected);
                return;
            }
            Some(Listed::Earlier) if self.gives_way(at, table, &bytes, &judged.table.types) => {
                self.fates.mark(record.own.leaves.clone(), Fate::Rejected);
                let own = self.claimed(judged.table, &bytes);
                if let Some(expected) = self.sum.expected.get_mut(place) {
                    let record = (document.id.to_owned(), own, self.position);
                    expected.claims.giving_way.push(record);
                }
                return;
            }
            Some(_) => {
                self.fates.mark(record.own.leaves.clone(), Fate::Different);
                let key = Some(show::row(&bytes, &judged.table.types, &table.key));
                let what = "the record is listed as a reject, but breaks no rule".to_owned();
                self.name(document, Difference { table: name, key, what, ..Difference::default() });
                return;
            }
            None => {}
        }
        let own = self.claimed(judged.table, &bytes);
        if let Some(expected) = self.sum.expected.get_mut(place) {
            let rows = own.into_iter().map(|(at, value)| (at, value, self.position));
            expected.claims.rows.extend(rows);
            expected.digest.get_or_insert_default().add(&bytes, &table.key);
            if table.serial
                && let Some(Held::Integer(number)) =
                    table.key.first().and_then(|key| row.cells.get(*key))
            {
                expected.number(*number);
            }
        }
        let verdict = match self.suspects {
            None => Verdict::Equal,
            Some(suspects) => suspects.verdict(at, &bytes, &table.key),
        };
        if let Some(trace) = &mut self.trace {
            trace.row(table, document.root, &judged.table.types, &bytes, &row.takes);
        }
        self.mark(place, document, record, row, &bytes, &verdict);
        self.links(place, document, row);
    }

    /// The values of a row that no other may have, where some record of its table gives way for them.
    fn claimed(&self, table: &TableMap<'_>, tuple: &[u8]) -> Vec<(u32, u128)> {
        if !self.proof.rejects.with_unique.contains(&table.table.name) {
            return Vec::new();
        }
        let values: Vec<Option<&[u8]>> = fields(tuple).collect();
        let own = (0_u32..).zip(claims(table)).filter_map(|(at, (columns, lower))| {
            Some((at, together(&values, &table.types, &columns, &lower)?))
        });
        own.collect()
    }

    /// Another row has the same key or the same unique values.
    fn gives_way(&self, at: usize, table: &TableMap<'_>, tuple: &[u8], types: &[PgType]) -> bool {
        let values: Vec<Option<&[u8]>> = fields(tuple).collect();
        let Some(found) = self.proof.found.get(at) else { return false };
        claims(table).iter().zip(&found.unique).any(|((columns, lower), taken)| {
            let own = together(&values, types, columns, lower);
            own.is_some_and(|own| taken.binary_search(&own).is_ok())
        })
    }

    /// Ends the leaves of a row as it was found.
    fn mark(
        &mut self,
        place: usize,
        document: InHand<'_, '_>,
        record: &Record<'_, '_>,
        row: &Row<'_, '_>,
        bytes: &[u8],
        verdict: &Verdict,
    ) {
        let differs = |column: Option<usize>| match verdict {
            Verdict::Equal => false,
            Verdict::Missing | Verdict::Unknown => true,
            Verdict::Differs(_, columns) => column.is_some_and(|column| columns.contains(&column)),
        };
        for take in &row.takes {
            let fate = match take.rule {
                _ if differs(take.column) => Fate::Different,
                Some(rule) => Fate::Ruled(rule),
                None => Fate::Equal,
            };
            self.fates.mark(take.leaves.clone(), fate);
        }
        if matches!(verdict, Verdict::Equal) {
            return;
        }
        let Some(judged) = self.tables.get(place).copied() else { return };
        let table = judged.table;
        let key = Some(show::row(bytes, &judged.table.types, &table.key));
        let name = table.table.name.clone();
        let path_of = |column: usize| {
            let mut own = row.takes.iter().filter(|take| take.column == Some(column));
            own.next().map(|take| document.root.path_of(take.leaves.start))
        };
        let mut named = Vec::new();
        match verdict {
            Verdict::Equal => {}
            Verdict::Unknown => self.sum.not_named += 1,
            Verdict::Missing => {
                let path = (!std::ptr::eq(record.own, record.root))
                    .then(|| document.root.path_of(record.own.leaves.start));
                let what = "the row is missing".to_owned();
                named.push(Difference { table: name, path, key, what, ..Difference::default() });
            }
            Verdict::Differs(other, columns) => {
                let values: Vec<_> = fields(bytes).zip(fields(other)).collect();
                for column in columns {
                    let shown =
                        |field: Option<&[u8]>| match (field, judged.table.types.get(*column)) {
                            (Some(bytes), Some(pg_type)) => {
                                Some(show::field(bytes, pg_type, false))
                            }
                            _ => Some("NULL".to_owned()),
                        };
                    let (source, target) = values.get(*column).copied().unwrap_or_default();
                    let of_table = table.columns.get(*column);
                    named.push(Difference {
                        path: path_of(*column),
                        table: name.clone(),
                        key: key.clone(),
                        column: of_table.map(|column| column.column.name.clone()),
                        source: shown(source),
                        target: shown(target),
                        what: "the values differ".to_owned(),
                        ..Difference::default()
                    });
                }
            }
        }
        for difference in named {
            self.name(document, difference);
        }
    }

    /// Every id in the arrays of an accepted row is a link, or has its reason.
    fn links(&mut self, place: usize, document: InHand<'_, '_>, row: &Row<'_, '_>) {
        let Some(table) = self.tables.get(place).map(|judged| judged.table) else { return };
        let own = match self.own_key(place, document, row) {
            Some(own) if !table.arrays.is_empty() => own,
            _ => return,
        };
        for array in &table.arrays {
            let Some(field) = row.slots.get(array.slot).copied().flatten() else { continue };
            let mut seen = FxHashSet::default();
            if field.is_array() {
                if field.children.is_empty() {
                    self.fates.mark(field.leaves.clone(), Fate::Ruled(Rule::Empty));
                }
                for (position, element) in (0_i64..).zip(&field.children) {
                    self.link(document, array, &own, (position, element), &mut seen);
                }
            } else if field.is_null() {
                self.fates.mark(field.leaves.clone(), Fate::Ruled(Rule::Empty));
            } else {
                // One id where an array is expected is one link.
                self.link(document, array, &own, (0, field), &mut seen);
            }
        }
    }

    /// The key by which links name the row.
    fn own_key(&self, place: usize, document: InHand<'_, '_>, row: &Row<'_, '_>) -> Option<Held> {
        let judged = self.tables.get(place)?;
        if judged.table.serial {
            let key = key_uuid(document.root.get("_id")?.value)?;
            return self.proof.sets.number(judged.at, key).map(Held::Integer);
        }
        row.cells.get(*judged.table.key.first()?).cloned()
    }

    /// An element of an array is a link, or has its reason.
    fn link(
        &mut self,
        document: InHand<'_, '_>,
        array: &ArrayMap,
        own: &Held,
        (position, element): (i64, &Node<'_>),
        seen: &mut FxHashSet<u128>,
    ) {
        let leaves = element.leaves.clone();
        let Some(junction) = self.proof.mapping.junctions.get(array.junction) else { return };
        if let Some(elements) = self.proof.elements.get(array.junction) {
            elements.fetch_add(1, Ordering::Relaxed);
        }
        let ruled = match self.target(junction, array, element) {
            _ if element.is_null() => Err(Rule::NullElement),
            None => Err(Rule::RefusedElement),
            Some(target) => Ok(target),
        };
        let (target, accepted) = match ruled {
            Ok(target) => target,
            Err(rule) => return self.fates.mark(leaves, Fate::Ruled(rule)),
        };
        let (first, second) = if array.side == 0 { (own, &target) } else { (&target, own) };
        let mut cells = vec![first.clone(), second.clone()];
        let ordered = junction.junction.position.is_some();
        if ordered {
            cells.push(Held::Integer(position));
        }
        let kinds = &junction.types;
        let types: Vec<&PgType> = kinds.iter().collect();
        let Some(bytes) = tuple(&cells, &types, &self.proof.sets.oids) else {
            return self.fates.mark(leaves, Fate::Ruled(Rule::Dangling));
        };
        let link = digest(&bytes);
        if !ordered && !seen.insert(link) {
            return self.fates.mark(leaves, Fate::Ruled(Rule::Repeat));
        }
        if !accepted {
            return self.fates.mark(leaves, Fate::Ruled(Rule::Dangling));
        }
        let Some((links, held)) = self.proof.links.get(array.junction) else { return };
        if let Ok(at) = links.binary_search(&link) {
            if let Some(held) = held.get(at) {
                held.store(true, Ordering::Relaxed);
            }
            if let Some(trace) = &mut self.trace {
                trace.link(junction, element, kinds, &bytes);
            }
            return self.fates.mark(leaves, Fate::Equal);
        }
        self.fates.mark(leaves.clone(), Fate::Different);
        self.name(
            document,
            Difference {
                path: Some(document.root.path_of(leaves.start)),
                table: junction.junction.name.clone(),
                key: Some(show::row(&bytes, kinds, &[0, 1])),
                what: "the link is missing".to_owned(),
                ..Difference::default()
            },
        );
    }

    /// The row that an element names, as its key has it, and whether it is there; none where the
    /// element is no id.
    fn target(
        &self,
        junction: &JunctionMap<'_>,
        array: &ArrayMap,
        element: &Node<'_>,
    ) -> Option<(Held, bool)> {
        let (at, place) = *junction.sides.get(1 - array.side)?;
        let table = self.proof.mapping.tables.get(at)?;
        let column = table.columns.get(place)?;
        let key_type = if table.serial { PgType::Uuid } else { column.column.pg_type.clone() };
        let named = candidates(column, &key_type, element, &mut Changed::new()).ok()?;
        let named = named.into_iter().next()?;
        match named {
            Held::Uuid(key) if table.serial => {
                let number = self.proof.sets.number(at, key);
                Some((number.map_or(Held::Uuid(key), Held::Integer), number.is_some()))
            }
            named => {
                let accepted =
                    self.proof.sets.holds((at, place), &named, &key_type, self.proof.sets.retries);
                Some((named, accepted))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_rows_stays() {
        let gives_way = |own: Vec<(u32, u128)>, position: u64, rows: Vec<(u32, u128, u64)>| {
            let giving_way = vec![("it".to_owned(), own, position)];
            Expected { claims: Claims { rows, giving_way }, ..Expected::default() }.too_early()
        };
        let none: Vec<String> = Vec::new();
        assert_eq!(gives_way(vec![(0, 7)], 5, vec![(0, 7, 2)]), none);
        assert_eq!(gives_way(vec![(0, 7)], 5, vec![(0, 7, 9)]), ["it"]);
        assert_eq!(gives_way(vec![(0, 7)], 5, vec![(1, 7, 2), (0, 8, 2)]), ["it"]);
        assert_eq!(gives_way(vec![(0, 7), (1, 3)], 5, vec![(0, 7, 9), (1, 3, 4)]), none);
    }

    #[test]
    fn numbers_of_parts_follow_one_another() {
        let part = |numbers: &[i64]| {
            let mut expected = Expected::default();
            for number in numbers {
                expected.number(*number);
            }
            expected
        };
        for (parts, out_of_order) in [
            (vec![vec![1, 2], vec![], vec![4, 7]], false),
            (vec![vec![1, 2], vec![2, 3]], true),
            (vec![vec![2, 1]], true),
            (vec![vec![5, 6], vec![1]], true),
        ] {
            let mut all = Expected::default();
            for numbers in &parts {
                all.add(part(numbers));
            }
            assert_eq!(all.out_of_order, out_of_order, "{parts:?}");
        }
    }
}
