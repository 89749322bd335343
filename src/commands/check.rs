//! `docferry check` and `docferry schema`.

use serde_json::json;

use super::load_pipeline;
use crate::cli::PipelineArgument;
use crate::failure::Failure;
use crate::pipeline::json_schema;
use crate::report::{Finished, Lines};

pub(super) fn run(arguments: &PipelineArgument) -> Result<Finished, Failure> {
    let pipeline = load_pipeline(&arguments.pipeline)?;
    let columns: usize = pipeline.tables.iter().map(|table| table.columns.len()).sum();
    let references = pipeline.tables.iter().flat_map(|table| &table.columns);
    let references = references.filter(|column| column.references.is_some()).count();
    let (tables, junctions, enums) =
        (pipeline.tables.len(), pipeline.junctions.len(), pipeline.enums.len());
    Ok(Finished::line(
        format!(
            "{}: {tables} tables, {columns} columns, {references} references, {junctions} junctions, {enums} enums",
            pipeline.name
        ),
        json!({
            "pipeline": pipeline.name, "tables": tables, "columns": columns,
            "references": references, "junctions": junctions, "enums": enums,
        }),
    ))
}

/// The JSON Schema of pipeline files.
pub(super) fn schema() -> Finished {
    let schema = json_schema();
    let mut lines = Lines::default();
    lines.json(&format!("{schema:#}"));
    Finished::done(lines, schema)
}
