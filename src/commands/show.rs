//! `docferry show`.

use serde_json::{Value as Json, json};

use crate::audit::{AuditError, Condition, Rows, find_document, first_documents, rows};
use crate::cli::ShowArguments;
use crate::failure::{Exit, Failure};
use crate::report::{Finished, Lines, summary};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{ExportManifest, TransformManifest};
use crate::staging::raw_json::RawJson;

pub(super) fn run(arguments: &ShowArguments) -> Result<Finished, Failure> {
    let run = RunDirectory::find(&arguments.run.staging, &arguments.run.run)?;
    let name = &arguments.name;
    if arguments.id.is_none() && !arguments.documents {
        let manifest = TransformManifest::read(&run);
        let tables = manifest.as_ref().map(|manifest| manifest.tables.as_slice());
        let found = tables.unwrap_or_default().iter().find(|table| table.definition.name == *name);
        if let Some(table) = found {
            let conditions: Vec<Condition> = arguments
                .conditions
                .iter()
                .map(|text| Condition::parse(text, &table.definition))
                .collect::<Result<_, AuditError>>()?;
            let found = rows(&run, table, &conditions, arguments.limit)?;
            let text = summary::rows(&found, table.rows);
            return Ok(finished(&run, &found, text));
        }
    }
    let manifest = ExportManifest::read(&run)?;
    let collection = manifest.collections.iter().find(|collection| collection.name == *name);
    let Some(collection) = collection else {
        let transform = TransformManifest::read(&run).ok();
        let tables = transform.iter().flat_map(|manifest| &manifest.tables);
        let names = tables
            .map(|table| table.definition.name.as_str())
            .chain(manifest.collections.iter().map(|collection| collection.name.as_str()));
        return Err(AuditError::no_such(name, names).into());
    };
    let documents: Vec<RawJson> = match &arguments.id {
        Some(id) => match find_document(&run, collection, id)? {
            Some(document) => vec![document],
            None => {
                return Err(
                    AuditError::NoDocument { collection: name.clone(), id: id.clone() }.into()
                );
            }
        },
        None => first_documents(&run, collection, arguments.limit)?,
    };
    let mut text = Lines::default();
    for document in &documents {
        match &arguments.id {
            Some(_) => text.json(&document.pretty()),
            None => text.json(document.text()),
        }
    }
    let documents: Vec<Json> = documents.iter().map(RawJson::parsed).collect();
    let value = json!({"run": run.run(), "documents": documents});
    Ok(Finished { exit: Exit::Done, text, value })
}

fn finished(run: &RunDirectory, found: &Rows, text: Lines) -> Finished {
    let rows: Vec<Json> = found
        .rows
        .iter()
        .map(|row| {
            let fields = found.columns.iter().cloned().zip(row.iter().map(|value| json!(value)));
            Json::Object(fields.collect())
        })
        .collect();
    Finished { exit: Exit::Done, text, value: json!({"run": run.run(), "rows": rows}) }
}
