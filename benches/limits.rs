//! What bounds a stage, measured alone: `scripts/bench` runs it in turn with docferry itself.
//!
//! Each command is followed by the number of threads, and prints one line of JSON with the seconds
//! of each step:
//!
//! - `export RUN OUT`: its exported batches, ready in memory, are written as Parquet;
//! - `transform RUN OUT`: its exported parts are read, their BSON is walked, its typed batches are
//!   written;
//! - `encode RUN OUT`: its rows become files for `\copy`;
//! - `drain URI`: raw replies of a MongoDB are read and dropped;
//! - `read DUMP`: the files of a dump are read and hashed;
//! - `direct DUMP TARGET PIPELINE`: documents go from a dump into COPY, without staging.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Instant;

use arrow::array::{ArrayRef, FixedSizeBinaryArray};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use docferry::document::raw::{Doc, Value};
use docferry::pgcopy::{CopyEncoder, PgType};
use docferry::progress::Stage;
use docferry::source::dump::{Dump, DumpReader, Frame};
use docferry::source::mongodb::{IdRange, Server, Wanted, range_count};
use docferry::staging::checksum::HashingWriter;
use docferry::staging::layout::RunDirectory;
use docferry::staging::manifest::{ExportManifest, TransformManifest};
use docferry::staging::part::{self, PartFile};
use docferry::staging::schema::table_schema;
use docferry::staging::schema::{export_properties, table_properties};
use docferry::staging::table::TableDefinition;
use docferry::transform::direct::{Direct, DirectLink};
use futures_util::SinkExt;
use parquet::arrow::ArrowWriter;
use rayon::prelude::*;
use serde_json::json;
use sha2::{Digest, Sha256};

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

/// Writes parts that are ready as Parquet, hashed and synced, with Arrow's own writer.
fn write(run: &RunDirectory, stage: Stage, parts: &[Ready<'_>]) -> Outcome<()> {
    parts
        .par_iter()
        .map(|ready| {
            let Some(first) = ready.batches.first() else { return Ok(()) };
            let properties = ready.definition.map_or_else(export_properties, table_properties);
            let path = run.resolve(&run.part_path(stage, &ready.name, ready.index));
            std::fs::create_dir_all(path.parent().unwrap_or(run.path()))?;
            let file = BufWriter::with_capacity(1 << 20, File::create(path)?);
            let output = HashingWriter::new(file);
            let mut writer = ArrowWriter::try_new(output, first.schema(), Some(properties))?;
            for batch in &ready.batches {
                writer.write(batch)?;
            }
            let (file, _, _) = writer.into_inner()?.finish();
            file.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()?;
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

/// Reads all collections of a server, in the ranges that an export would read, and drops the
/// replies.
async fn drain(uri: &str, threads: usize) -> Outcome<serde_json::Value> {
    let server = Server::connect(uri).await?;
    let mut work = Vec::new();
    for listed in server.collections().await? {
        let bytes = server.size(&listed).await?.map_or(0, |size| size.bytes);
        let ranges = match range_count(bytes, threads) {
            count @ 2.. => server.split(&listed, count).await?,
            _ => vec![IdRange::default()],
        };
        work.extend(ranges.into_iter().map(|range| (bytes, listed.clone(), range)));
    }
    work.sort_by_key(|(bytes, _, _)| std::cmp::Reverse(*bytes));
    let work = Arc::new(Mutex::new(work.into_iter()));
    let begun = Instant::now();
    let mut readers = Vec::new();
    for _ in 0..threads {
        let (server, work) = (server.clone(), Arc::clone(&work));
        readers.push(tokio::spawn(async move {
            let mut documents = 0;
            loop {
                let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((_, listed, range)) = next else { return Outcome::Ok(documents) };
                let wanted = Wanted { range: &range, by_index: true, filter: None, fields: None };
                let mut reader = server.read(&listed, wanted).await?;
                while let Some(reply) = reader.next().await? {
                    documents += server.documents(&listed, &reply)?.len();
                }
            }
        }));
    }
    let mut documents = 0;
    for reader in readers {
        documents += reader.await??;
    }
    Ok(json!({"drain": seconds(begun), "documents": documents}))
}

/// Reads and hashes the files of a dump, whole.
fn read(dump: &Path) -> Outcome<serde_json::Value> {
    let begun = Instant::now();
    let files: Vec<PathBuf> = Dump::open(dump)?
        .collections
        .into_iter()
        .filter_map(|collection| collection.data)
        .collect();
    let bytes: Outcome<Vec<u64>> = files
        .par_iter()
        .map(|path| {
            let mut digest = Sha256::new();
            let mut file = File::open(path)?;
            let mut buffer = vec![0; 1 << 20];
            let mut bytes = 0;
            loop {
                let read = std::io::Read::read(&mut file, &mut buffer)?;
                if read == 0 {
                    return Ok(bytes);
                }
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
        })
        .collect();
    Ok(json!({"read": seconds(begun), "bytes": bytes?.iter().sum::<u64>()}))
}

/// Bytes of documents that are shaped at a time, and of a COPY message, about.
const DIRECT_BYTES: usize = 4 << 20;
/// Links that are encoded at a time.
const DIRECT_LINKS: usize = 65_536;

fn encoder(definition: &TableDefinition) -> Outcome<CopyEncoder> {
    let columns: Vec<(String, PgType)> =
        definition.columns.iter().map(|one| (one.name.clone(), one.pg_type.clone())).collect();
    Ok(CopyEncoder::new(&columns, &HashMap::new())?)
}

/// Fills a table by COPY with what `produce`, on a thread of its own, hands over.
fn copy_in(
    target: &str,
    definition: &TableDefinition,
    produce: impl FnOnce(mpsc::SyncSender<Vec<u8>>) -> Outcome<()> + Send,
) -> Outcome<()> {
    let columns: Vec<String> =
        definition.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    let sql = format!(
        "COPY \"{}\".\"{}\" ({}) FROM STDIN (FORMAT binary)",
        definition.schema,
        definition.name,
        columns.join(", ")
    );
    let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(4);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| produce(sender));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(async {
            let (client, connection) =
                tokio_postgres::connect(target, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            let mut sink = pin!(client.copy_in::<_, Bytes>(&sql).await?);
            while let Ok(chunk) = receiver.recv() {
                sink.send(Bytes::from(chunk)).await?;
            }
            sink.finish().await?;
            Outcome::Ok(())
        })?;
        producer.join().map_err(|_| "the producer panicked")?
    })
}

/// One table straight from its collection's file.
fn direct_table(
    direct: &Direct,
    number: usize,
    definition: &TableDefinition,
    file: &Path,
    target: &str,
    links: &Mutex<Vec<DirectLink>>,
) -> Outcome<()> {
    let encoder = encoder(definition)?;
    copy_in(target, definition, |sender| {
        let mut reader = DumpReader::open(file)?;
        let mut own_links = Vec::new();
        let mut output = Vec::new();
        encoder.header(&mut output);
        let (mut buffer, mut ends) = (Vec::with_capacity(DIRECT_BYTES * 2), vec![0]);
        loop {
            let more = matches!(reader.frame(&mut buffer)?, Frame::Document { .. });
            if more {
                ends.push(buffer.len());
            }
            if !more || buffer.len() >= DIRECT_BYTES {
                let documents = ends.windows(2).map(|ends| &buffer[ends[0]..ends[1]]);
                let batch = direct.shape(number, documents, &mut own_links)?;
                encoder.encode(&batch, &mut output, None)?;
                if sender.send(std::mem::take(&mut output)).is_err() {
                    return Ok(());
                }
                buffer.clear();
                ends.truncate(1);
            }
            if !more {
                break;
            }
        }
        encoder.trailer(&mut output);
        let _ = sender.send(output);
        links.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own_links);
        Ok(())
    })
}

/// One junction table from the links of all documents.
fn direct_junction(
    definition: &TableDefinition,
    mut links: Vec<(u128, u128)>,
    target: &str,
) -> Outcome<()> {
    let encoder = encoder(definition)?;
    copy_in(target, definition, |sender| {
        links.sort_unstable();
        links.dedup();
        let schema = table_schema(definition);
        let mut output = Vec::new();
        encoder.header(&mut output);
        for chunk in links.chunks(DIRECT_LINKS) {
            let keys = |side: fn(&(u128, u128)) -> u128| -> Outcome<ArrayRef> {
                let bytes = chunk.iter().map(|link| side(link).to_be_bytes());
                Ok(Arc::new(FixedSizeBinaryArray::try_from_iter(bytes)?))
            };
            let columns = vec![keys(|link| link.0)?, keys(|link| link.1)?];
            encoder.encode(
                &RecordBatch::try_new(Arc::clone(&schema), columns)?,
                &mut output,
                None,
            )?;
            if sender.send(std::mem::take(&mut output)).is_err() {
                return Ok(());
            }
        }
        encoder.trailer(&mut output);
        let _ = sender.send(output);
        Ok(())
    })
}

/// Moves the documents of a dump into tables that are there, without staging; as many tables at a
/// time as there are threads. Keys are for the caller to add.
fn direct(
    dump: &Path,
    target: &str,
    pipeline: &Path,
    threads: usize,
) -> Outcome<serde_json::Value> {
    let pipeline = docferry::pipeline::load(pipeline)?;
    let direct = Direct::new(&pipeline)?;
    let files: HashMap<String, PathBuf> = Dump::open(dump)?
        .collections
        .into_iter()
        .filter_map(|collection| Some((collection.name, collection.data?)))
        .collect();
    let mut work = Vec::new();
    for (number, (definition, source)) in direct.tables().enumerate() {
        if let Some(file) = files.get(source) {
            work.push((file.metadata()?.len(), number, definition, file));
        }
    }
    work.sort_by_key(|(bytes, ..)| std::cmp::Reverse(*bytes));
    let begun = Instant::now();
    let links = Mutex::new(Vec::new());
    each(threads, work, |(_, number, definition, file)| {
        direct_table(&direct, number, definition, file, target, &links)
    })?;
    let definitions: Vec<_> = direct.junctions().collect();
    let mut junctions: Vec<_> =
        definitions.iter().map(|definition| (*definition, Vec::new())).collect();
    for (junction, first, second) in links.into_inner().unwrap_or_else(PoisonError::into_inner) {
        junctions[junction].1.push((first, second));
    }
    each(threads, junctions, |(definition, links)| direct_junction(definition, links, target))?;
    Ok(json!({"copy": seconds(begun)}))
}

/// Does all pieces of work, each thread the next that is left.
fn each<T: Send>(
    threads: usize,
    work: Vec<T>,
    act: impl Fn(T) -> Outcome<()> + Sync,
) -> Outcome<()> {
    let work = Mutex::new(work.into_iter());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Outcome<()> {
                    loop {
                        let next = work.lock().unwrap_or_else(PoisonError::into_inner).next();
                        match next {
                            Some(piece) => act(piece)?,
                            None => return Ok(()),
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "a worker panicked")?)
    })
}

fn seconds(from: Instant) -> f64 {
    from.elapsed().as_secs_f64()
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, threads, words @ ..] = arguments.as_slice() else {
        // `cargo bench` and `cargo test --benches` call it without arguments of ours.
        return Ok(());
    };
    let threads: usize = threads.parse()?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let value = match words {
        [uri] if command == "drain" => {
            tokio::runtime::Runtime::new()?.block_on(drain(uri, threads))?
        }
        [dump] if command == "read" => read(Path::new(dump))?,
        [dump, target, pipeline] if command == "direct" => {
            direct(Path::new(dump), target, Path::new(pipeline), threads)?
        }
        [run, out] => of_run(command, run, out)?,
        _ => return Err(format!("`{command}` is called in another way").into()),
    };
    writeln!(std::io::stdout(), "{value}")?;
    Ok(())
}

/// What is measured with a finished run.
fn of_run(command: &str, run: &str, out: &str) -> Outcome<serde_json::Value> {
    let run = RunDirectory::find(Path::new("."), run)?;
    Ok(match command {
        "export" => {
            let manifest = ExportManifest::read(&run)?;
            let ready = exported(&run, &manifest)?;
            let to = RunDirectory::create(Path::new(out), "limit")?;
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
            let to = RunDirectory::create(Path::new(out), "limit")?;
            let begun = Instant::now();
            write(&to, Stage::Transform, &ready)?;
            json!({"read": read, "walk": walk, "write": seconds(begun), "walked": walked})
        }
        "encode" => encode(&run, Path::new(out))?,
        other => return Err(format!("there is no measurement `{other}`").into()),
    })
}
