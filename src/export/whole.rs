//! An incremental export and all that it adds to, put together as one export for the stages that
//! read a run by itself.

use std::fs;
use std::sync::Arc;

use rayon::prelude::*;

use super::ExportError;
use super::part::{PartsWriter, id_of};
use crate::progress::{Progress, Stage, Total};
use crate::staging::StagingError;
use crate::staging::chain::Chain;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{CollectionManifest, ExportManifest};

/// The run to read: itself, or with the export that is put together beside its own.
pub fn whole(
    run: &RunDirectory,
    part_bytes: usize,
    progress: &Arc<dyn Progress>,
) -> Result<RunDirectory, ExportError> {
    if ExportManifest::read(run)?.base.is_none() {
        return Ok(run.clone());
    }
    let whole = run.whole();
    if ExportManifest::read(&whole).is_ok() {
        return Ok(whole);
    }
    let folder = whole.stage_directory(Stage::Export);
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|source| StagingError::Io {
            action: "remove",
            path: folder,
            source,
        })?;
    }
    let chain = Chain::open(run)?;
    let mut manifest = chain.newest().clone();
    manifest.base = None;
    let items: Vec<_> = manifest
        .collections
        .iter()
        .map(|collection| (collection.name.clone(), Total::Unknown))
        .collect();
    progress.expect(Stage::Export, &items);
    whole.name_folders(manifest.collections.iter().map(|collection| collection.name.clone()));
    let database = manifest.source.database.clone();
    let collections: Result<Vec<CollectionManifest>, ExportError> = manifest
        .collections
        .par_iter()
        .map(|collection| merged(&whole, &chain, &database, collection, part_bytes, progress))
        .collect();
    manifest.collections = collections?;
    // The source was asked for changes only; the sums of both are in the collections.
    for object in &mut manifest.source_objects {
        object.records = None;
    }
    manifest.write(&whole)?;
    Ok(whole)
}

fn merged(
    whole: &RunDirectory,
    chain: &Chain,
    database: &str,
    collection: &CollectionManifest,
    part_bytes: usize,
    progress: &Arc<dyn Progress>,
) -> Result<CollectionManifest, ExportError> {
    let name = &collection.name;
    let namespace = format!("{database}.{name}");
    progress.start(Stage::Export, name, Total::Unknown);
    let mut writer = PartsWriter::new(whole, (&namespace, name), part_bytes, None);
    for piece in chain.pieces(name)? {
        for batch in piece.read() {
            let batch = batch?;
            if progress.interrupted() {
                return Err(ExportError::Interrupted);
            }
            for at in 0..batch.len() {
                let document = batch.bytes(at);
                writer.push(document, id_of(name, document)?.as_ref())?;
            }
            progress.advance(Stage::Export, name, batch.len() as u64, batch.total_bytes());
        }
    }
    let parts = writer.finish()?;
    progress.finish(Stage::Export, name);
    Ok(CollectionManifest {
        documents: parts.iter().map(|part| part.file.rows).sum(),
        document_bytes: parts.iter().map(|part| part.document_bytes).sum(),
        parts,
        changes: None,
        ..collection.clone()
    })
}
