//! Names that the file gives and that PostgreSQL keeps in one namespace.

use std::collections::HashMap;

use super::{Parser, TableDraft};
use crate::pipeline::fields::Located;
use crate::pipeline::model::Junction;

impl Parser {
    /// Tables share their names with enum types (each table has a row type), with indexes and with
    /// the sequences of identity columns.
    pub(super) fn shared_names(
        &mut self,
        enums: &[Located<String>],
        drafts: &[TableDraft],
        junctions: &[Junction],
    ) {
        let mut relations: HashMap<String, String> = HashMap::new();
        for draft in drafts {
            let name = &draft.name.value;
            relations.insert(name.clone(), "a table".to_owned());
            for column in draft.table.columns.iter().filter(|column| column.identity) {
                let sequence = format!("{name}_{}_seq", column.name);
                let owner = format!("the sequence of {name}.{}", column.name);
                relations.entry(sequence).or_insert(owner);
            }
        }
        for junction in junctions {
            relations.insert(junction.name.clone(), "a table".to_owned());
        }
        for name in enums {
            if relations.get(&name.value).is_some_and(|owner| owner == "a table") {
                let help = "tables and enum types share one namespace: rename one of them";
                let message = "a table has this name already";
                self.mistakes.add_with_help(name.span.clone(), message, Some(help.to_owned()));
            }
        }
        for name in std::mem::take(&mut self.index_names) {
            let owner = relations.insert(name.value.clone(), "another index".to_owned());
            if let Some(owner) = owner {
                let help = "tables, indexes and sequences share one namespace: rename one of them";
                self.mistakes.add_with_help(
                    name.span.clone(),
                    format!("{owner} has this name already"),
                    Some(help.to_owned()),
                );
            }
        }
    }
}
