//! What points to other tables: references and junctions.

use toml::de::{DeTable, DeValue};

use super::{Parser, TableDraft, field_path};
use crate::pipeline::fields::{Fields, Located, string};
use crate::pipeline::model::{Junction, JunctionColumn, JunctionSource, Reference};

impl Parser {
    /// Resolves references, once every table is known.
    pub(super) fn references(&mut self, drafts: &mut [TableDraft]) {
        let mut resolved = Vec::new();
        for (at, draft) in drafts.iter().enumerate() {
            let twin = drafts[..at].iter().any(|other| other.name.value == draft.name.value);
            if twin {
                self.mistakes.add(draft.name.span.clone(), "a table has this name already");
            }
            for (column, place) in draft.columns.iter().enumerate() {
                let Some(target) = &place.reference else { continue };
                let Some((table, named)) = find_table(drafts, &target.value) else {
                    let names = drafts.iter().map(|draft| draft.name.value.as_str());
                    self.mistakes.unknown("table", target, names);
                    continue;
                };
                let columns = &drafts[table].table.columns;
                let found = if let Some(named) = named {
                    columns.iter().find(|candidate| candidate.name == named)
                } else {
                    let mut keys = columns.iter().filter(|candidate| candidate.key.is_some());
                    keys.next().filter(|_| keys.next().is_none())
                };
                match found {
                    Some(found) => resolved.push((
                        at,
                        column,
                        Reference {
                            table: drafts[table].name.value.clone(),
                            column: found.name.clone(),
                            on_delete: place.on_delete,
                            on_update: place.on_update,
                            deferrable: place.deferrable,
                        },
                        found.pg_type.clone(),
                    )),
                    None => self.mistakes.add(
                        target.span.clone(),
                        format!("`{}` names no key of one column", target.value),
                    ),
                }
            }
        }
        for (table, column, reference, pg_type) in resolved {
            let own = &mut drafts[table].table.columns[column];
            if own.pg_type != pg_type {
                let span = drafts[table].columns[column].name.span.clone();
                let own_type = own.pg_type.clone();
                self.mistakes.add(
                    span,
                    format!("the column is {own_type}, what it references is {pg_type}"),
                );
                continue;
            }
            own.references = Some(reference);
        }
    }

    pub(super) fn junction(
        &mut self,
        name: Located<String>,
        table: &DeTable<'_>,
        drafts: &[TableDraft],
    ) -> Option<Junction> {
        let mut fields = Fields::new(table);
        let optional = fields.boolean("optional", &mut self.mistakes).unwrap_or(false);
        let position = fields.string("position", &mut self.mistakes);
        let mut columns = Vec::new();
        if let Some(sides) = fields.table("columns", &mut self.mistakes) {
            for (key, value) in sides {
                let Some(target) = string(value, key.get_ref(), &mut self.mistakes) else {
                    continue;
                };
                if !drafts.iter().any(|draft| draft.name.value == target.value) {
                    self.mistakes.unknown(
                        "table",
                        &target,
                        drafts.iter().map(|draft| draft.name.value.as_str()),
                    );
                }
                columns.push(JunctionColumn {
                    name: key.get_ref().clone().into_owned(),
                    table: target.value,
                });
            }
        }
        let columns: Option<[JunctionColumn; 2]> = columns.try_into().ok();
        if columns.is_none() {
            self.mistakes.add(
                name.span.clone(),
                "a junction needs `columns = { first = \"Table\", second = \"Table\" }`",
            );
        }
        let mut from = Vec::new();
        match fields.get("from").map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Array(items))) => {
                for item in items {
                    let (path, optional_path, side) = match item.get_ref() {
                        DeValue::Table(table) => {
                            let mut fields = Fields::new(table);
                            let path = fields.string("path", &mut self.mistakes);
                            let optional = fields.boolean("optional", &mut self.mistakes);
                            let side = fields.string("side", &mut self.mistakes);
                            fields.finish(&mut self.mistakes);
                            (path, optional.unwrap_or(false), side)
                        }
                        _ => (string(item, "from", &mut self.mistakes), false, None),
                    };
                    let (Some(path), Some(columns)) = (path, &columns) else { continue };
                    let Some((at, Some(rest))) = find_table(drafts, &path.value) else {
                        let names = drafts.iter().map(|draft| draft.name.value.as_str());
                        self.mistakes.unknown("array (`Table.path`)", &path, names);
                        continue;
                    };
                    let table = drafts[at].name.value.clone();
                    let sides: Vec<usize> =
                        (0..2).filter(|side| columns[*side].table == table).collect();
                    let side = match (sides.as_slice(), side) {
                        ([], _) => {
                            self.mistakes.add(
                                path.span.clone(),
                                format!("{table} is neither side of the junction"),
                            );
                            continue;
                        }
                        ([side], _) => *side,
                        (_, Some(named)) => {
                            if let Some(side) =
                                columns.iter().position(|column| column.name == named.value)
                            {
                                side
                            } else {
                                self.mistakes.unknown(
                                    "side",
                                    &named,
                                    columns.iter().map(|column| column.name.as_str()),
                                );
                                continue;
                            }
                        }
                        // Both sides are the same table: the first array is the first side's.
                        (_, None) => from.len().min(1),
                    };
                    from.push(JunctionSource {
                        side,
                        table,
                        path: field_path(&rest),
                        optional: optional || optional_path,
                    });
                }
            }
            Some((value, _)) => {
                self.mistakes.add(value.span(), "`from` is a list of arrays: \"Table.path\"");
            }
            None => {}
        }
        if from.is_empty() {
            self.mistakes.add(name.span.clone(), "a junction needs `from = [\"Table.path\"]`");
        }
        fields.finish(&mut self.mistakes);
        let columns = columns?;
        if let Some(position) = &position {
            self.identifier(position);
            if columns.iter().any(|column| column.name == position.value) {
                self.mistakes.add(position.span.clone(), "a column of the junction has this name");
            }
            if from.len() > 1 {
                self.mistakes.add(
                    position.span.clone(),
                    "positions are those of one array: `from` may name no second one",
                );
            }
        }
        let position = position.map(|position| position.value);
        Some(Junction { name: name.value, columns, from, position })
    }
}

/// The table with the longest name that begins the text, and what follows its dot.
fn find_table(drafts: &[TableDraft], text: &str) -> Option<(usize, Option<String>)> {
    let mut best: Option<(usize, usize, Option<String>)> = None;
    for (at, draft) in drafts.iter().enumerate() {
        let name = &draft.name.value;
        let rest = match text.strip_prefix(name.as_str()) {
            Some("") => None,
            Some(rest) if rest.starts_with('.') => Some(rest[1..].to_owned()),
            _ => continue,
        };
        if best.as_ref().is_none_or(|(_, length, _)| name.len() > *length) {
            best = Some((at, name.len(), rest));
        }
    }
    best.map(|(at, _, rest)| (at, rest))
}
