//! One document to one row: every field is taken by a column, named as a reason for a reject, or
//! left out under a rule. Nothing is passed over.

use std::sync::Arc;

use super::cell::{Cell, unordered};
use super::checks::check;
use super::convert::{Refusal, convert, key_uuid, reference_candidates, take_as_it_is};
use super::findings::{Presence, digest, found, lacks, undefined};
use super::keys::KeySet;
use super::plan::{ColumnPlan, Input, Node, ReferencePlan, TablePlan};
use super::row_size;
use super::settle::identity_of;
use crate::document::id::{is_digest, uuid_from_object_id};
use crate::document::jsonb::{Changed, NulRule, write_jsonb_fields};
use crate::document::raw::{Doc, Name, Value};
use crate::pgcopy::PgType;
use crate::pipeline::model::{Dangling, Nul, OnFail, Unmapped};

/// What the field of a column held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Present,
    Null,
    Missing,
}

/// Why a document is refused.
#[derive(Debug)]
pub(super) struct Broken<'a> {
    pub(super) rule: &'static str,
    pub(super) column: Option<usize>,
    pub(super) field: Option<String>,
    pub(super) value: Option<Value<'a>>,
    pub(super) detail: String,
}

/// Something a rule of the pipeline file changed or made notable.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) rule: &'static str,
    pub(super) column: Option<usize>,
    pub(super) field: Option<String>,
    pub(super) value: Option<Value<'a>>,
    pub(super) detail: String,
}

/// A reference into a set that is not settled yet, on which the row's acceptance depends.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) column: usize,
    pub(super) set: usize,
    pub(super) candidates: [Option<u128>; 2],
}

/// A row in the making; reused from document to document.
#[derive(Default)]
pub(super) struct Row<'a> {
    pub(super) slots: Vec<Option<Value<'a>>>,
    pub(super) cells: Vec<Cell<'a>>,
    pub(super) states: Vec<State>,
    pub(super) findings: Vec<Found<'a>>,
    pub(super) pending: Vec<Pending>,
    /// The identity of the `_id` for which the row's serial key stands.
    pub(super) serial: Option<u128>,
    /// Slots whose value some column resolved as a reference.
    resolved: Vec<usize>,
    rest: Vec<(String, Value<'a>)>,
}

impl Row<'_> {
    /// What the row feeds to a set: the value of its column, or the identity of its `_id` and the
    /// number that stands for it.
    pub(super) fn feed(&self, column: usize) -> impl Iterator<Item = u128> + use<> {
        let own = self.cells[column].identity();
        let pair = match self.serial {
            Some(serial) => {
                [Some(serial), own.map(|own| u128::from(unordered(own).cast_unsigned()))]
            }
            None => [own, None],
        };
        pair.into_iter().flatten()
    }

    /// The identity by which links find the row.
    pub(super) fn link_identity(&self, key: &[usize]) -> Option<u128> {
        self.serial.or_else(|| identity_of(&self.cells, key))
    }
}

/// What a row is made from.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    /// The document, or the array element.
    pub(super) document: Doc<'a>,
    /// The whole document.
    pub(super) root: Doc<'a>,
    /// The array element as it is; it may be no document.
    pub(super) element: Option<Value<'a>>,
    /// Name of the field that holds the element, where names are data.
    pub(super) member: Option<&'a str>,
    /// Position of the element in its array.
    pub(super) ordinal: i64,
    /// Position of the record in its table, from 1: a serial key.
    pub(super) number: u64,
}

/// Shapes the documents of one table.
pub(super) struct Shaper<'p> {
    pub(super) plan: &'p TablePlan,
    pub(super) sets: &'p [Option<Arc<KeySet>>],
    /// Slots that held anything in any document.
    pub(super) seen: Vec<bool>,
    /// The record is an element that some column takes as it is.
    takes_element: bool,
    /// Some column takes what no other does.
    takes_rest: bool,
}

impl<'p> Shaper<'p> {
    pub(super) fn new(plan: &'p TablePlan, sets: &'p [Option<Arc<KeySet>>]) -> Self {
        let any = |wanted: fn(&Input) -> bool| plan.columns.iter().any(|one| wanted(&one.input));
        Self {
            plan,
            sets,
            seen: vec![false; plan.slots],
            takes_element: any(|input| matches!(input, Input::Element)),
            takes_rest: any(|input| matches!(input, Input::Rest)),
        }
    }

    /// Fills `row` as far as that goes, and hands over every reason for which the record is refused.
    /// Says whether there was none.
    pub(super) fn try_all<'a>(
        &mut self,
        record: Record<'a>,
        row: &mut Row<'a>,
        mut refuse: impl FnMut(Broken<'a>),
    ) -> bool {
        self.begin(row);
        if !self.takes_element
            && let Err(broken) = Self::fill(&self.plan.tree, record.document, &mut Vec::new(), row)
        {
            refuse(broken);
            return false;
        }
        let mut sound = true;
        if !self.takes_rest && self.plan.unmapped == Unmapped::Reject {
            for (field, value) in row.rest.drain(..) {
                sound = false;
                refuse(unmapped(field, value));
            }
        }
        let slots = std::mem::take(&mut row.slots);
        for (at, column) in self.plan.columns.iter().enumerate() {
            if let Err(broken) = self.column(at, column, &record, &slots, row) {
                sound = false;
                refuse(broken);
                row.cells.resize(at + 1, Cell::Null);
                row.states.resize(at + 1, State::Missing);
            }
        }
        row.slots = slots;
        if sound
            && self.plan.can_overflow
            && let Err(broken) = self.check_size(&row.cells)
        {
            sound = false;
            refuse(broken);
        }
        sound
    }

    fn begin(&self, row: &mut Row<'_>) {
        row.slots.clear();
        row.slots.resize(self.plan.slots, None);
        row.cells.clear();
        row.states.clear();
        row.findings.clear();
        row.pending.clear();
        row.serial = None;
        row.resolved.clear();
        row.rest.clear();
    }

    /// Fills `row`, or says why the record is refused.
    pub(super) fn shape<'a>(
        &mut self,
        record: Record<'a>,
        row: &mut Row<'a>,
    ) -> Result<(), Broken<'a>> {
        self.begin(row);
        let filled = if self.takes_element {
            Ok(())
        } else {
            Self::fill(&self.plan.tree, record.document, &mut Vec::new(), row)
        };
        for (seen, slot) in self.seen.iter_mut().zip(&row.slots) {
            *seen |= slot.is_some();
        }
        filled?;
        if !self.takes_rest && !row.rest.is_empty() {
            if self.plan.unmapped == Unmapped::Drop {
                for (field, value) in row.rest.drain(..) {
                    row.findings.push(Found {
                        rule: "dropped_field",
                        column: None,
                        field: Some(field),
                        value: Some(value),
                        detail: "no column takes the field".to_owned(),
                    });
                }
            } else {
                let (field, value) = row.rest.swap_remove(0);
                return Err(unmapped(field, value));
            }
        }
        let slots = std::mem::take(&mut row.slots);
        let mut columns = self.plan.columns.iter().enumerate();
        let shaped =
            columns.try_for_each(|(at, column)| self.column(at, column, &record, &slots, row));
        row.slots = slots;
        shaped?;
        if self.plan.can_overflow {
            self.check_size(&row.cells)?;
        }
        if !row.resolved.is_empty() && !row.findings.is_empty() {
            self.drop_resolved(row);
        }
        Ok(())
    }

    /// Refuses a row that no page holds.
    fn check_size<'a>(&self, cells: &[Cell<'a>]) -> Result<(), Broken<'a>> {
        let bytes = row_size::bytes(&self.plan.columns, cells);
        if bytes <= row_size::PAGE {
            return Ok(());
        }
        Err(Broken {
            rule: "row_size",
            column: None,
            field: None,
            value: None,
            detail: format!(
                "the row takes {bytes} bytes of the {} that a page has, with its long values moved \
                 out: put some fields into a column with from = \"*\"",
                row_size::PAGE
            ),
        })
    }

    /// Sorts the fields of a document into slots, and gathers those that nothing takes.
    fn fill<'a>(
        node: &'p Node,
        document: Doc<'a>,
        prefix: &mut Vec<&'p str>,
        row: &mut Row<'a>,
    ) -> Result<(), Broken<'a>> {
        let mut expected = 0;
        let mut elements = document.elements();
        while let Some(element) = elements.next_expecting(node.expected(expected)) {
            let (name, value) = element.map_err(|error| Broken {
                rule: "malformed",
                column: None,
                field: None,
                value: None,
                detail: error.to_string(),
            })?;
            let at = match name {
                Name::Expected => expected,
                Name::Other(name) => match node.child(name) {
                    Some(at) => at,
                    None => {
                        row.rest.push((dotted(prefix, name), value));
                        continue;
                    }
                },
            };
            expected = at + 1;
            let child = &node.children[at];
            if let Some(slot) = child.presence {
                row.slots[slot] = Some(value);
            }
            if let Some(slot) = child.slot {
                if row.slots[slot].is_some() {
                    return Err(Broken {
                        rule: "malformed",
                        column: None,
                        field: Some(dotted(prefix, node.name(at))),
                        value: Some(value),
                        detail: "the field occurs twice in one document".to_owned(),
                    });
                }
                row.slots[slot] = Some(value);
            }
            if child.children.is_empty() {
                if child.slot.is_none() && !child.taken {
                    row.rest.push((dotted(prefix, node.name(at)), value));
                }
                continue;
            }
            let name = node.name(at);
            match value {
                Value::Document(inner) => {
                    prefix.push(name);
                    let depth = row.rest.len();
                    Self::fill(child, inner, prefix, row)?;
                    prefix.pop();
                    if child.slot.is_some() || child.taken {
                        // The whole subdocument is taken: what is inside has a place.
                        row.rest.truncate(depth);
                    }
                }
                Value::Null => {}
                _ if child.slot.is_some() || child.taken => {}
                Value::Undefined => {
                    row.findings.push(undefined(None, dotted(prefix, name)));
                }
                Value::Array(items) if child.on_the_way => {
                    // Its elements hold arrays that another table takes. What else they hold has
                    // no place, and stays together.
                    let depth = row.rest.len();
                    prefix.push(name);
                    for (_, item) in items.elements().flatten() {
                        if let Value::Document(inner) = item {
                            Self::fill(child, inner, prefix, row)?;
                        }
                    }
                    prefix.pop();
                    if row.rest.len() > depth {
                        row.rest.truncate(depth);
                        row.rest.push((dotted(prefix, name), value));
                    }
                }
                other => {
                    return Err(Broken {
                        rule: "type",
                        column: None,
                        field: Some(dotted(prefix, name)),
                        value: Some(other),
                        detail: format!(
                            "columns take fields inside it, but it is of BSON type {}",
                            other.type_name()
                        ),
                    });
                }
            }
        }
        Ok(())
    }

    fn column<'a>(
        &self,
        at: usize,
        column: &ColumnPlan,
        record: &Record<'a>,
        slots: &[Option<Value<'a>>],
        row: &mut Row<'a>,
    ) -> Result<(), Broken<'a>> {
        if let Some(slot) = column.plain_slot {
            match &slots[slot] {
                Some(value) if take_as_it_is(&column.pg_type, value, &mut row.cells) => {
                    row.states.push(State::Present);
                    return Ok(());
                }
                None if column.nullable => {
                    row.cells.push(Cell::Null);
                    row.states.push(State::Missing);
                    return Ok(());
                }
                _ => {}
            }
        }
        // What comes from no slot.
        let other;
        let (value, state) = match &column.input {
            Input::Slots(which) => pick(column, which.iter().map(|slot| slots[*slot].as_ref())),
            Input::Serial => {
                let id = record.root.get("_id").ok().flatten();
                row.serial = id.and_then(|id| key_uuid(&id).ok()).map(u128::from_be_bytes);
                row.cells.push(Cell::Integer(i64::try_from(record.number).unwrap_or(i64::MAX)));
                row.states.push(State::Present);
                return Ok(());
            }
            Input::Presence(slot) => {
                row.cells.push(Cell::Text(Presence::of(slots[*slot].as_ref()).name().into()));
                row.states.push(State::Present);
                return Ok(());
            }
            Input::Ordinal => {
                row.cells.push(Cell::Integer(record.ordinal));
                row.states.push(State::Present);
                return Ok(());
            }
            Input::Member => {
                other = record.member.map(Value::String);
                pick(column, std::iter::once(other.as_ref()))
            }
            Input::Element => pick(column, std::iter::once(record.element.as_ref())),
            Input::Parent => {
                let path = self.plan.parent.as_ref();
                other = path.and_then(|path| record.root.at(&path.0).ok().flatten());
                pick(column, std::iter::once(other.as_ref()))
            }
            Input::Rest => {
                row.states.push(State::Present);
                let cell = rest(column, row).map_err(|refusal| Broken {
                    rule: refusal.rule,
                    column: Some(at),
                    field: Some("*".to_owned()),
                    value: None,
                    detail: refusal.detail,
                })?;
                row.cells.push(cell);
                return Ok(());
            }
        };
        let empty = |value: &Value<'_>| column.empty_is_null && matches!(value, Value::String(""));
        let (value, state) = match value {
            Some(value) if empty(value) => {
                let refusal = Refusal::new("empty", "the empty text is stored as NULL");
                row.findings.push(found(at, column, "empty_null", *value, &refusal));
                (None, State::Null)
            }
            other => (other, state),
        };
        row.states.push(state);
        let Some(value) = value else {
            if let Some(fill) = &column.fill {
                row.cells.push(fill.clone());
                return Ok(());
            }
            if !column.nullable {
                let what = if state == State::Null { "null" } else { "missing" };
                return Err(Broken {
                    rule: "required",
                    column: Some(at),
                    field: Some(column.field.clone()),
                    value: None,
                    detail: format!("the field is {what}, the column is required"),
                });
            }
            if undefined_of(column, slots) {
                row.findings.push(undefined(Some(at), column.field.clone()));
            }
            row.cells.push(Cell::Null);
            return Ok(());
        };
        if let Some(reference) = &column.reference
            && self.resolves(column, reference, value, row)
        {
            return Ok(());
        }
        let mut changed = Changed::default();
        let result = match &column.reference {
            Some(reference) if !matches!(column.pg_type, PgType::Array(_)) => {
                self.reference(at, column, reference, value, slots, row, &mut changed)
            }
            _ => convert(column, &column.pg_type, value, &mut changed),
        };
        let refused = match result {
            Ok(cell) => {
                if column.digest_only && is_digest(value) {
                    row.findings.push(digest(at, column, *value));
                }
                let checked = if column.has_rules { check(column, &cell) } else { Ok(()) };
                row.cells.push(cell);
                match checked {
                    Err(refusal) if column.on_fail == OnFail::Report => {
                        row.findings.push(found(at, column, "on_fail_report", *value, &refusal));
                        Ok(())
                    }
                    Err(refusal) => {
                        row.cells.pop();
                        Err(refusal)
                    }
                    Ok(()) => Ok(()),
                }
            }
            Err(refusal) => Err(refusal),
        };
        match refused {
            Ok(()) => {}
            Err(refusal)
                if column.on_fail == OnFail::Null && (column.nullable || column.fill.is_some()) =>
            {
                row.findings.push(found(at, column, "on_fail_null", *value, &refusal));
                row.cells.push(column.fill.clone().unwrap_or(Cell::Null));
            }
            Err(refusal) => {
                return Err(Broken {
                    rule: refusal.rule,
                    column: Some(at),
                    field: Some(column.field.clone()),
                    value: Some(*value),
                    detail: refusal.detail,
                });
            }
        }
        if changed != Changed::default() {
            let lacks = lacks(changed);
            row.findings.extend(lacks.into_iter().map(|(rule, detail)| Found {
                rule,
                column: Some(at),
                field: Some(column.field.clone()),
                value: Some(*value),
                detail,
            }));
        }
        Ok(())
    }

    /// Where columns share a field, a value that one of them resolved does not dangle for the others.
    fn drop_resolved(&self, row: &mut Row<'_>) {
        let Row { findings, slots, resolved, .. } = row;
        findings.retain(|found| {
            let column = found.column.map(|at| &self.plan.columns[at].input);
            let Some(Input::Slots(own)) = column.filter(|_| found.rule == "dangling") else {
                return true;
            };
            let left_over = |slot: &usize| {
                slots[*slot].is_some_and(|value| !is_null(&value)) && !resolved.contains(slot)
            };
            own.iter().any(left_over)
        });
    }

    /// Resolves what nearly every reference is: one ObjectId whose row is there.
    #[inline]
    fn resolves<'a>(
        &self,
        column: &ColumnPlan,
        reference: &ReferencePlan,
        value: &Value<'a>,
        row: &mut Row<'a>,
    ) -> bool {
        let (Input::Slots(slots), Value::ObjectId(id)) = (&column.input, value) else {
            return false;
        };
        let ([slot], PgType::Uuid, PgType::Uuid, false, false, Some(set)) = (
            slots.as_slice(),
            &column.pg_type,
            &reference.key_type,
            reference.serial,
            column.has_rules,
            &self.sets[reference.set],
        ) else {
            return false;
        };
        let uuid = uuid_from_object_id(*id);
        if !set.contains(u128::from_be_bytes(uuid)) {
            return false;
        }
        row.resolved.push(*slot);
        row.cells.push(Cell::Uuid(uuid));
        true
    }

    /// Resolves a reference against the accepted rows of its target.
    #[expect(clippy::too_many_arguments, reason = "the record in hand, taken apart")]
    fn reference<'a>(
        &self,
        at: usize,
        column: &ColumnPlan,
        reference: &ReferencePlan,
        first: &Value<'a>,
        slots: &[Option<Value<'a>>],
        row: &mut Row<'a>,
        changed: &mut Changed,
    ) -> Result<Cell<'a>, Refusal> {
        let which = match &column.input {
            Input::Slots(which) => which.as_slice(),
            _ => &[],
        };
        let mut kept = None;
        let mut digested = None;
        for nth in 0..which.len().max(1) {
            let slot = which.get(nth).copied();
            let value = slot.map_or(Some(first), |slot| slots[slot].as_ref());
            let Some(value) = value.filter(|value| !is_null(value)) else { continue };
            let candidates = reference_candidates(column, &reference.key_type, value, changed)?;
            let identities =
                candidates.each_ref().map(|cell| cell.as_ref().and_then(Cell::identity));
            let Some(set) = &self.sets[reference.set] else {
                row.pending.push(Pending {
                    column: at,
                    set: reference.set,
                    candidates: identities,
                });
                return Ok(candidates.into_iter().flatten().next().unwrap_or(Cell::Null));
            };
            for (cell, identity) in candidates.into_iter().zip(identities) {
                let Some(cell) = cell else { continue };
                if let Some(identity) = identity.filter(|identity| set.contains(*identity)) {
                    row.resolved.extend(slot);
                    return Ok(match set.number(identity) {
                        Some(number) if reference.serial => Cell::Integer(number),
                        _ => cell,
                    });
                }
                // An id is no number: it cannot stand in for the row that is missing.
                if !reference.serial {
                    kept.get_or_insert(cell);
                    if is_digest(value) && reference.key_type == PgType::Uuid {
                        digested.get_or_insert(*value);
                    }
                }
            }
        }
        let detail = format!("no accepted row of {} has this key", reference.table);
        match (reference.dangling, kept) {
            (Dangling::Keep, Some(cell)) => {
                row.findings.extend(digested.map(|value| digest(at, column, value)));
                Ok(cell)
            }
            (Dangling::Null, _) if column.nullable => {
                let refusal = Refusal::new("dangling", detail);
                row.findings.push(found(at, column, "dangling", *first, &refusal));
                Ok(Cell::Null)
            }
            _ => Err(Refusal::new("dangling", detail)),
        }
    }
}

fn dotted(prefix: &[&str], name: &str) -> String {
    let mut path = String::new();
    for part in prefix {
        path.push_str(part);
        path.push('.');
    }
    path.push_str(name);
    path
}

fn is_null(value: &Value<'_>) -> bool {
    matches!(value, Value::Null | Value::Undefined)
}

/// A column that finds no value in its slots passes over BSON's undefined in one of them.
fn undefined_of(column: &ColumnPlan, slots: &[Option<Value<'_>>]) -> bool {
    let Input::Slots(which) = &column.input else { return false };
    which.iter().any(|slot| matches!(slots[*slot], Some(Value::Undefined)))
}

/// A field that has no place.
fn unmapped(field: String, value: Value<'_>) -> Broken<'_> {
    Broken {
        rule: "unmapped",
        column: None,
        detail: format!(
            "no column takes field {field}: map it, name it in `ignore`, or set `unmapped`"
        ),
        field: Some(field),
        value: Some(value),
    }
}

/// The first value that is there, or what stands in its place.
fn pick<'v, 'a>(
    column: &ColumnPlan,
    values: impl Iterator<Item = Option<&'v Value<'a>>>,
) -> (Option<&'v Value<'a>>, State) {
    let mut state = State::Missing;
    let keeps_undefined = column.pg_type == PgType::Jsonb;
    for value in values.flatten() {
        if !is_null(value) || keeps_undefined && *value == Value::Undefined {
            return (Some(value), State::Present);
        }
        state = State::Null;
    }
    (None, state)
}

fn rest<'a>(column: &ColumnPlan, row: &mut Row<'a>) -> Result<Cell<'a>, Refusal> {
    let rule = match column.nul {
        Nul::Reject => NulRule::Reject,
        Nul::Strip => NulRule::Strip,
    };
    let mut text = String::new();
    let fields = row.rest.iter().map(|(name, value)| (name.as_str(), *value));
    let changed = write_jsonb_fields(&mut text, fields, rule)
        .map_err(|error| Refusal::new(error.rule(), error.to_string()))?;
    row.findings.extend(lacks(changed).into_iter().map(|(rule, detail)| Found {
        rule,
        column: None,
        field: Some("*".to_owned()),
        value: None,
        detail,
    }));
    Ok(Cell::Text(text.into()))
}
