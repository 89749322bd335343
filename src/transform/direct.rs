//! Rows straight out of documents: the shaping of a transform without staging, without the sets of
//! accepted keys, without lists of what was refused. The benchmark program measures with it what
//! an unstaged way would cost; no command uses it.

use arrow::record_batch::RecordBatch;

use super::TransformError;
use super::cell::Cell;
use super::columns::BatchBuilder;
use super::plan::{ColumnPlan, Input, Plan, Sources};
use super::records::{Item, Router};
use super::shape::{Row, Shaper};
use crate::document::id::uuid_from_object_id;
use crate::document::raw::Value;
use crate::pipeline::model::Pipeline;
use crate::staging::schema::table_schema;
use crate::staging::table::TableDefinition;

/// A pipeline ready to shape documents.
pub struct Direct {
    plan: Plan,
}

/// A link between two rows: the junction's number, the keys of its first and second side.
pub type DirectLink = (usize, u128, u128);

impl Direct {
    /// Compiles a pipeline.
    pub fn new(pipeline: &Pipeline) -> Result<Self, TransformError> {
        Ok(Self { plan: Plan::new(pipeline, &Sources::default())? })
    }

    /// The tables that are made of documents, each with its collection.
    pub fn tables(&self) -> impl Iterator<Item = (&TableDefinition, &str)> {
        self.plan.tables.iter().map(|table| (&table.definition, table.source.as_str()))
    }

    /// The junction tables, in the order of their numbers.
    pub fn junctions(&self) -> impl Iterator<Item = &TableDefinition> {
        self.plan.junctions.iter().map(|junction| &junction.definition)
    }

    /// Shapes documents for the table of this number; links to ObjectIds are added to `links`.
    pub fn shape<'a>(
        &self,
        table: usize,
        documents: impl Iterator<Item = &'a [u8]>,
        links: &mut Vec<DirectLink>,
    ) -> Result<RecordBatch, TransformError> {
        let table = &self.plan.tables[table];
        let sets: Vec<_> = self.plan.sets.iter().map(|_| None).collect();
        let mut shaper = Shaper::new(table, &sets);
        let router = Router::new(table, &self.plan.tables);
        let types = table.columns.iter().map(|column| column.pg_type.clone());
        let mut builder = BatchBuilder::new(table_schema(&table.definition), types);
        let failed = |source| TransformError::Batch { table: table.name.clone(), source };
        // Where columns share a field, only the sets would tell which of them it belongs to.
        let shared: Vec<bool> = table
            .columns
            .iter()
            .map(|column| {
                let meets = |other: &&ColumnPlan| {
                    slots_of(other).iter().any(|slot| slots_of(column).contains(slot))
                };
                column.reference.is_some() && table.columns.iter().filter(meets).count() > 1
            })
            .collect();
        let (mut row, mut items) = (Row::default(), Vec::new());
        for bytes in documents {
            router.expand(bytes, false, &mut items);
            for item in items.drain(..) {
                let Item::Record(record) = item else { continue };
                if shaper.shape(record, &mut row).is_err() {
                    continue;
                }
                for (cell, _) in row.cells.iter_mut().zip(&shared).filter(|(_, shared)| **shared) {
                    *cell = Cell::Null;
                }
                builder.append(&row.cells).map_err(failed)?;
                let Some(own) = row.link_identity(&table.key) else { continue };
                for array in &table.arrays {
                    let Some(Value::Array(ids)) = row.slots[array.slot] else { continue };
                    for (_, id) in ids.elements().flatten() {
                        let Value::ObjectId(id) = id else { continue };
                        let other = u128::from_be_bytes(uuid_from_object_id(id));
                        links.push(match array.side {
                            0 => (array.junction, own, other),
                            _ => (array.junction, other, own),
                        });
                    }
                }
            }
        }
        builder.finish().map_err(failed)
    }
}

fn slots_of(column: &ColumnPlan) -> &[usize] {
    match &column.input {
        Input::Slots(slots) => slots,
        _ => &[],
    }
}
