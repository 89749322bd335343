//! What bounds a stage, measured alone: `scripts/bench` runs it in turn with docferry itself.
//!
//! Each command reads a finished run and prints one line of JSON with the seconds of each step.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use arrow::record_batch::RecordBatch;
use docferry::document::raw::{Doc, Value};
use docferry::pgcopy::{CopyEncoder, PgType};
use docferry::progress::Stage;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::{ExportManifest, TransformManifest};
use docferry::staging::part::{self, PartFile, PartWriter};
use docferry::staging::schema::{export_properties, table_properties};
use docferry::staging::table::TableDefinition;
use rayon::prelude::*;
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A part in memory.
struct Ready<'m> {
    name: String,
    index: usize,
    definition: Option<&'m TableDefinition>,
    batches: Vec<RecordBatch>,
}

fn batches(run: &RunDirectory, file: &PartFile) -> Outcome<Vec<RecordBatch>> {
    Ok(part::open(run, file)?.collect::<Result<_, _>>()?)
}

fn exported<'m>(run: &RunDirectory, manifest: &'m ExportManifest) -> Outcome<Vec<Ready<'m>>> {
    let parts = manifest.collections.iter().flat_map(|collection| {
        collection.parts.iter().enumerate().map(|(index, part)| (&collection.name, index, part))
    });
    let parts: Vec<_> = parts.collect();
    parts
        .par_iter()
        .map(|(name, index, part)| {
            let batches = batches(run, &part.file)?;
            Ok(Ready { name: (*name).clone(), index: *index, definition: None, batches })
        })
        .collect()
}

fn transformed<'m>(run: &RunDirectory, manifest: &'m TransformManifest) -> Outcome<Vec<Ready<'m>>> {
    let parts = manifest.tables.iter().flat_map(|table| {
        table.parts.iter().enumerate().map(|(index, part)| (&table.definition, index, part))
    });
    let parts: Vec<_> = parts.collect();
    parts
        .par_iter()
        .map(|(definition, index, part)| {
            let (name, batches) = (definition.name.clone(), batches(run, part)?);
            Ok(Ready { name, index: *index, definition: Some(*definition), batches })
        })
        .collect()
}

/// Writes parts that are ready as Parquet, hashed and synced.
fn write(run: &RunDirectory, stage: Stage, parts: &[Ready<'_>]) -> Outcome<()> {
    parts
        .par_iter()
        .map(|ready| {
            let Some(first) = ready.batches.first() else { return Ok(()) };
            let properties = ready.definition.map_or_else(export_properties, table_properties);
            let path = RunDirectory::part_path(stage, &ready.name, ready.index);
            let mut writer = PartWriter::create(run, &path, first.schema(), properties)?;
            for batch in &ready.batches {
                writer.write(batch)?;
            }
            writer.finish()?;
            Ok(())
        })
        .collect()
}

/// Looks at every field of a document.
fn walk(document: Doc<'_>) -> u64 {
    document
        .elements()
        .flatten()
        .map(|(name, value)| {
            name.len() as u64
                + match value {
                    Value::Document(inner) | Value::Array(inner) => walk(inner),
                    Value::String(text) => text.len() as u64,
                    _ => 1,
                }
        })
        .sum()
}

fn walk_all(parts: &[Ready<'_>]) -> u64 {
    parts
        .par_iter()
        .flat_map_iter(|ready| &ready.batches)
        .map(|batch| {
            let column = batch.column(1).as_any().downcast_ref::<arrow::array::BinaryArray>();
            let documents = column.into_iter().flat_map(|column| column.iter().flatten());
            documents.filter_map(|bytes| Doc::new(bytes).ok()).map(walk).sum::<u64>()
        })
        .sum()
}

/// Encodes every staged part as a file for `\copy … WITH (FORMAT binary)`.
fn encode(run: &RunDirectory, folder: &Path) -> Outcome<serde_json::Value> {
    let manifest = TransformManifest::read(run)?;
    std::fs::create_dir_all(folder)?;
    let mut files = Vec::new();
    for table in &manifest.tables {
        let columns: Vec<(String, PgType)> = table
            .definition
            .columns
            .iter()
            .map(|column| (column.name.clone(), column.pg_type.clone()))
            .collect();
        let encoder = CopyEncoder::new(&columns, &HashMap::new())?;
        for (index, file) in table.parts.iter().enumerate() {
            let path = folder.join(format!("{}-{index}.copy", table.definition.name));
            let mut output = BufWriter::new(File::create(&path)?);
            let mut buffer = Vec::new();
            encoder.header(&mut buffer);
            for batch in batches(run, file)? {
                encoder.encode(&batch, &mut buffer, None)?;
                output.write_all(&buffer)?;
                buffer.clear();
            }
            encoder.trailer(&mut buffer);
            output.write_all(&buffer)?;
            output.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
            let bytes = path.metadata()?.len();
            files.push(json!({"table": table.definition.name, "file": path, "bytes": bytes}));
        }
    }
    Ok(json!({"files": files}))
}

fn seconds(from: Instant) -> f64 {
    from.elapsed().as_secs_f64()
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, run, out, threads] = arguments.as_slice() else {
        // `cargo bench` and `cargo test --benches` call it without arguments of ours.
        return Ok(());
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    let run = RunDirectory::find(Path::new("."), run)?;
    let value = match command.as_str() {
        "export" => {
            let manifest = ExportManifest::read(&run)?;
            let ready = exported(&run, &manifest)?;
            let to = RunDirectory::create(Path::new(out), "limit", |later| format!("run-{later}"))?;
            let begun = Instant::now();
            write(&to, Stage::Export, &ready)?;
            json!({"write": seconds(begun)})
        }
        "transform" => {
            let (export, transform) = (ExportManifest::read(&run)?, TransformManifest::read(&run)?);
            let begun = Instant::now();
            let ready = exported(&run, &export)?;
            let read = seconds(begun);
            let begun = Instant::now();
            let walked = walk_all(&ready);
            let walk = seconds(begun);
            drop(ready);
            let ready = transformed(&run, &transform)?;
            let to = RunDirectory::create(Path::new(out), "limit", |later| format!("run-{later}"))?;
            let begun = Instant::now();
            write(&to, Stage::Transform, &ready)?;
            json!({"read": read, "walk": walk, "write": seconds(begun), "walked": walked})
        }
        "encode" => encode(&run, Path::new(out))?,
        other => return Err(format!("there is no measurement `{other}`").into()),
    };
    writeln!(std::io::stdout(), "{value}")?;
    Ok(())
}
