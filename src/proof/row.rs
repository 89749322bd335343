//! The row that a table should hold for a record.

use bson::RawBsonRef;

use super::fate::{Rule, Take};
use super::identity::{is_digest, key_uuid, object_id_text, of_object_id};
use super::json::JsonText;
use super::mapping::{Claim, ColumnMap, Elsewhere, ReferenceMap, TableMap};
use super::node::Node;
use super::record::Record;
use super::sets::{Key, Sets};
use super::value::{
    Changed, Held, Reason, filled, hold, meets_rules, pointer_id, target_of_reference,
};
use super::wire;
use crate::pgcopy::PgType;
use crate::pipeline::model::{Dangling, Key as KeyKind, OnFail, Origin};

/// No row of so few columns fills a page.
const FEW_COLUMNS: usize = 300;

/// A row, and where the leaves of its record went.
pub(super) struct Row<'d, 'a> {
    pub(super) cells: Vec<Held>,
    pub(super) takes: Vec<Take>,
    /// The fields that columns and junctions read.
    pub(super) slots: Vec<Option<&'d Node<'a>>>,
}

/// A record that becomes no row.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) column: Option<usize>,
    /// Where it is refused for rows that are not there alone: the keys that each such column may
    /// mean.
    pub(super) missing: Vec<Vec<Key>>,
    /// Its values as far as they could be made; the others are NULL.
    pub(super) cells: Vec<Held>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, column: None, missing: Vec::new(), cells: Vec::new() }
    }
}

/// The fields of a record, sorted by what takes them.
struct Sorted<'d, 'a> {
    slots: Vec<Option<&'d Node<'a>>>,
    /// What nothing takes, under its dotted name.
    rest: Vec<(String, &'d Node<'a>)>,
    takes: Vec<Take>,
}

fn take(node: &Node<'_>, column: Option<usize>, rule: Option<Rule>) -> Take {
    Take { leaves: node.leaves.clone(), column, rule }
}

/// Works a record out. It can refer to rows that were there after so many retries.
pub(super) fn row<'d, 'a>(
    table: &TableMap<'_>,
    at: usize,
    record: &Record<'d, 'a>,
    sets: &Sets,
    retries: usize,
) -> Result<Row<'d, 'a>, Refused> {
    let mut sorted = Sorted { slots: vec![None; table.slots], rest: Vec::new(), takes: Vec::new() };
    if !table.takes_element {
        sort(&table.claims, record.own, "", &mut sorted)?;
    }
    let Sorted { slots, rest, mut takes } = sorted;
    if !table.takes_rest
        && let Some((name, _)) = rest.first()
    {
        if !table.drops_rest() {
            return Err(Reason::new("unmapped", format!("no column takes field {name}")).into());
        }
        takes.extend(rest.iter().map(|(_, node)| take(node, None, Some(Rule::DroppedField))));
    }
    let mut making = Making { table, record, sets, retries, slots: &slots, rest: &rest, takes };
    let mut cells = Vec::with_capacity(table.columns.len());
    let mut refused: Vec<(usize, Reason)> = Vec::new();
    for (place, column) in table.columns.iter().enumerate() {
        let cell = making.cell(at, place, column);
        cells.push(cell.unwrap_or_else(|reason| {
            refused.push((place, reason));
            Held::Null
        }));
    }
    if refused.is_empty()
        && table.types.len() > FEW_COLUMNS
        && wire::row_bytes(&cells, &table.types) > wire::PAGE_BYTES
    {
        return Err(Reason::new("row_size", "the row is larger than a page").into());
    }
    if refused.is_empty() {
        let takes = making.takes;
        return Ok(Row { cells, takes, slots });
    }
    // What the record itself breaks says more than what others do.
    let own = refused.iter().position(|(_, reason)| reason.missing.is_empty());
    let missing = match own {
        Some(_) => Vec::new(),
        None => refused.iter().map(|(_, reason)| reason.missing.clone()).collect(),
    };
    let (column, reason) = refused.swap_remove(own.unwrap_or(0));
    Err(Refused { reason, column: Some(column), missing, cells })
}

/// Sorts the fields of a document; the names of what is left over begin with `prefix`.
fn sort<'d, 'a>(
    claim: &Claim,
    document: &'d Node<'a>,
    prefix: &str,
    sorted: &mut Sorted<'d, 'a>,
) -> Result<(), Reason> {
    for field in &document.children {
        let name = || format!("{prefix}{}", field.name);
        let Some(own) = claim.inside.get(field.name) else {
            sorted.rest.push((name(), field));
            continue;
        };
        if let Some(told) = own.told.and_then(|told| sorted.slots.get_mut(told)) {
            *told = Some(field);
        }
        if let Some(slot) = own.slot.and_then(|slot| sorted.slots.get_mut(slot))
            && slot.replace(field).is_some()
        {
            return Err(Reason::new("malformed", format!("field {} occurs twice", name())));
        }
        if let Some(Elsewhere::Rule(rule)) = own.elsewhere {
            sorted.takes.push(take(field, None, Some(rule)));
        }
        let placed = own.slot.is_some() || own.elsewhere.is_some();
        if own.inside.is_empty() {
            if !placed {
                sorted.rest.push((name(), field));
            }
            continue;
        }
        let left_over = sorted.rest.len();
        let inner = format!("{}.", name());
        match field.value {
            RawBsonRef::Document(_) => {
                if field.children.is_empty() && !placed {
                    sorted.takes.push(take(field, None, Some(Rule::Empty)));
                }
                sort(own, field, &inner, sorted)?;
                if placed {
                    // All of it has its place, what is inside as well.
                    sorted.rest.truncate(left_over);
                }
            }
            // The columns that take fields inside it are NULL.
            RawBsonRef::Null => sorted.takes.push(take(field, None, None)),
            _ if placed => {}
            RawBsonRef::Undefined => sorted.takes.push(take(field, None, Some(Rule::Undefined))),
            RawBsonRef::Array(_) if own.on_the_way => {
                if field.children.is_empty() {
                    sorted.takes.push(take(field, None, Some(Rule::Empty)));
                }
                for element in field.children.iter().filter(|element| element.is_document()) {
                    if element.children.is_empty() {
                        sorted.takes.push(take(element, None, Some(Rule::Empty)));
                    }
                    sort(own, element, &inner, sorted)?;
                }
                // What its elements hold besides stays together.
                if sorted.rest.len() > left_over {
                    sorted.rest.truncate(left_over);
                    sorted.rest.push((name(), field));
                }
            }
            _ => {
                let detail = format!("columns take fields inside {}, which is no document", name());
                return Err(Reason::new("type", detail));
            }
        }
    }
    Ok(())
}

/// A row in the making.
struct Making<'w, 'd, 'a> {
    table: &'w TableMap<'w>,
    record: &'w Record<'d, 'a>,
    sets: &'w Sets,
    retries: usize,
    slots: &'w [Option<&'d Node<'a>>],
    rest: &'w [(String, &'d Node<'a>)],
    takes: Vec<Take>,
}

impl<'d, 'a> Making<'_, 'd, 'a> {
    fn cell(&mut self, at: usize, place: usize, column: &ColumnMap<'_>) -> Result<Held, Reason> {
        if column.column.key == Some(KeyKind::Serial) {
            let key = self.record.root.get("_id").and_then(|id| key_uuid(id.value));
            let number = key.and_then(|key| self.sets.number(at, key));
            return Ok(number.map_or(Held::Null, Held::Integer));
        }
        let member;
        let parent;
        let sources: Vec<&Node<'_>> = match &column.column.origin {
            Origin::Paths(_) => self.slots_of(column),
            Origin::Rest => return self.rest(place, column),
            Origin::Presence(_) => {
                let field = self.slots_of(column).into_iter().next();
                return Ok(Held::Text(presence(field).to_owned()));
            }
            Origin::Ordinal => return Ok(Held::Integer(self.record.ordinal)),
            Origin::Member => {
                member = self.record.member.map(|name| Node::apart(RawBsonRef::String(name)));
                member.iter().collect()
            }
            Origin::Element => vec![self.record.own],
            Origin::Parent => {
                parent = self.record.root.at(&self.table.parent);
                parent.into_iter().collect()
            }
        };
        self.from(place, column, &sources)
    }

    fn slots_of(&self, column: &ColumnMap<'_>) -> Vec<&'d Node<'a>> {
        let slots = column.slots.iter().filter_map(|slot| self.slots.get(*slot));
        slots.filter_map(|node| *node).collect()
    }

    /// The value of a column out of the fields that may hold it, the first of them first.
    fn from(
        &mut self,
        place: usize,
        column: &ColumnMap<'_>,
        sources: &[&Node<'_>],
    ) -> Result<Held, Reason> {
        let keeps_undefined = column.column.pg_type == PgType::Jsonb;
        let is_value = |node: &Node<'_>| {
            !node.is_null() || (keeps_undefined && node.value == RawBsonRef::Undefined)
        };
        let values: Vec<&Node<'_>> =
            sources.iter().copied().filter(|node| is_value(node)).collect();
        let fill = column.column.fill.as_ref();
        let fills = fill.filter(|_| values.is_empty()).map(|_| Rule::Filled);
        for node in sources.iter().filter(|node| !is_value(node)) {
            let undefined = node.value == RawBsonRef::Undefined;
            let rule = undefined.then_some(Rule::Undefined).or(fills);
            self.takes.push(take(node, Some(place), rule));
        }
        let first = values.first().copied();
        let empty = column.column.empty_is_null;
        let first = match first {
            Some(node) if empty && node.value == RawBsonRef::String("") => {
                self.takes.push(take(node, Some(place), Some(Rule::EmptyNull)));
                self.passed_over(&values, node);
                None
            }
            other => other,
        };
        let Some(first) = first else {
            if let Some(fill) = fill {
                return filled(column, fill);
            }
            if !column.nullable {
                return Err(Reason::new("required", "there is no value, and one is required"));
            }
            return Ok(Held::Null);
        };
        let mut changed = Changed::new();
        let single = !matches!(column.column.pg_type, PgType::Array(_));
        let found = match &column.reference {
            Some(reference) if single => self.refer(column, reference, &values, &mut changed),
            _ => {
                hold(column, &column.column.pg_type, first, &mut changed).map(|held| (held, first))
            }
        };
        let checked = found.and_then(|(held, node)| match meets_rules(column, &held) {
            Err(reason) if column.column.on_fail != OnFail::Report => Err(reason),
            _ => Ok((held, node)),
        });
        let (held, node) = match checked {
            Ok(found) => found,
            Err(_)
                if column.column.on_fail == OnFail::Null && (column.nullable || fill.is_some()) =>
            {
                changed.clear();
                changed.extend(first.leaves.clone().map(|leaf| (leaf, Rule::OnFail)));
                let held = fill.map_or(Ok(Held::Null), |fill| filled(column, fill))?;
                (held, first)
            }
            Err(reason) => return Err(reason),
        };
        if matches!(held, Held::Uuid(_))
            && column.is_key()
            && column.reference.is_none()
            && is_digest(node.value)
        {
            changed.extend(node.leaves.clone().map(|leaf| (leaf, Rule::DigestKey)));
        }
        self.passed_over(&values, node);
        for leaf in node.leaves.clone() {
            let rule = changed.iter().find(|(changed, _)| *changed == leaf).map(|(_, rule)| *rule);
            self.takes.push(Take { leaves: leaf..leaf + 1, column: Some(place), rule });
        }
        Ok(held)
    }

    /// Values beside the one that was taken.
    fn passed_over(&mut self, values: &[&Node<'_>], taken: &Node<'_>) {
        for node in values.iter().filter(|node| !std::ptr::eq(**node, taken)) {
            self.takes.push(take(node, None, Some(Rule::FirstOf)));
        }
    }

    /// The key of the row that a value names, and the field that names it.
    fn refer<'n, 'b>(
        &self,
        column: &ColumnMap<'_>,
        reference: &ReferenceMap,
        values: &[&'n Node<'b>],
        changed: &mut Changed,
    ) -> Result<(Held, &'n Node<'b>), Reason> {
        let (mut kept, mut missing) = (None, Vec::new());
        let place = (reference.table, reference.column);
        for node in values {
            for named in candidates(column, &reference.key_type, node, changed)? {
                if reference.serial {
                    let number = match &named {
                        Held::Uuid(key) => self.sets.number(reference.table, *key),
                        _ => None,
                    };
                    if let Some(number) = number {
                        return Ok((Held::Integer(number), node));
                    }
                    missing.extend(self.sets.key(place, &named, &reference.key_type));
                    continue;
                }
                if self.sets.holds(place, &named, &reference.key_type, self.retries) {
                    return Ok((named, node));
                }
                missing.extend(self.sets.key(place, &named, &reference.key_type));
                kept.get_or_insert((named, *node));
            }
        }
        let dangling =
            || Reason { missing, ..Reason::new("dangling", "no accepted row has this key") };
        let Some(first) = values.first().copied() else { return Err(dangling()) };
        match (column.column.dangling, kept) {
            (Dangling::Keep, Some((held, node))) => {
                if matches!(held, Held::Uuid(_)) && is_digest(node.value) {
                    changed.extend(node.leaves.clone().map(|leaf| (leaf, Rule::DigestKey)));
                }
                Ok((held, node))
            }
            (Dangling::Null, _) if column.nullable => {
                changed.clear();
                changed.extend(first.leaves.clone().map(|leaf| (leaf, Rule::Dangling)));
                Ok((Held::Null, first))
            }
            _ => Err(dangling()),
        }
    }

    /// What no other column takes, as one object.
    fn rest(&mut self, place: usize, column: &ColumnMap<'_>) -> Result<Held, Reason> {
        let mut changed = Changed::new();
        let mut text = JsonText::new(column.column.nul, &mut changed);
        text.object(self.rest.iter().map(|(name, node)| (name.as_str(), *node)).collect())?;
        let text = text.finish();
        for leaf in self.rest.iter().flat_map(|(_, node)| node.leaves.clone()) {
            let rule = changed.iter().find(|(changed, _)| *changed == leaf).map(|(_, rule)| *rule);
            self.takes.push(Take { leaves: leaf..leaf + 1, column: Some(place), rule });
        }
        Ok(Held::Json(text))
    }
}

/// The keys that a value may mean, the likeliest first.
pub(super) fn candidates(
    column: &ColumnMap<'_>,
    key_type: &PgType,
    node: &Node<'_>,
    changed: &mut Changed,
) -> Result<Vec<Held>, Reason> {
    let inner;
    let node = match target_of_reference(node.value) {
        Some(id) => {
            inner = match node.get("$id") {
                Some(found) => Node { leaves: found.leaves.clone(), ..Node::apart(id) },
                None => Node::apart(id),
            };
            &inner
        }
        None => node,
    };
    if *key_type != PgType::Uuid {
        return Ok(vec![hold(column, key_type, node, changed)?]);
    }
    let unfit = || Reason::new("type", "the value is no id");
    let own = || key_uuid(node.value).map(Held::Uuid).ok_or_else(unfit);
    match node.value {
        RawBsonRef::DbPointer(_) => {
            let id = pointer_id(node.value).ok_or_else(unfit)?;
            Ok(vec![Held::Uuid(of_object_id(id))])
        }
        RawBsonRef::String(text) => {
            let digits = object_id_text(text).map(|id| Held::Uuid(of_object_id(id)));
            Ok(digits.into_iter().chain([own()?]).collect())
        }
        RawBsonRef::Array(_) | RawBsonRef::Null | RawBsonRef::Undefined => Err(unfit()),
        _ => Ok(vec![own()?]),
    }
}

/// What a field is, not what it holds.
fn presence(field: Option<&Node<'_>>) -> &'static str {
    match field {
        None => "missing",
        Some(node) => match node.value {
            RawBsonRef::Null => "null",
            RawBsonRef::Undefined => "undefined",
            RawBsonRef::Document(_) | RawBsonRef::Array(_) if node.children.is_empty() => "empty",
            _ => "filled",
        },
    }
}
