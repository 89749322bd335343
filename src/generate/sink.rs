//! Where a generated database goes: a mongodump directory, or a server.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use mongodb::bson::RawDocumentBuf;
use rayon::prelude::*;
use serde_json::json;
use tokio::task::JoinSet;

use super::{GenerateError, Generator};
use crate::redact::without_credentials;
use crate::source::mongodb::read_uri;
use crate::source::names::file_stem;
use crate::staging::own_files::{create_own, write_own};

/// Documents made by one thread at a time.
const CHUNK: u64 = 1000;
/// Inserts on the way to a server at the same time.
const INSERTS: usize = 4;

/// Called with the documents that were written since the last call.
pub type Written<'w> = &'w (dyn Fn(&str, u64) + Sync);

impl Generator {
    fn chunks(&self, collection: usize) -> Vec<std::ops::Range<u64>> {
        let sound = self.sound(collection);
        (0..sound.div_ceil(CHUNK)).map(|at| at * CHUNK..((at + 1) * CHUNK).min(sound)).collect()
    }
}

/// Writes the database as mongodump writes it: `<collection>.bson` and `.metadata.json`.
pub fn write_dump(
    generator: &Generator,
    folder: &Path,
    written: Written<'_>,
) -> Result<(), GenerateError> {
    fs::create_dir_all(folder)
        .map_err(|source| GenerateError::File { path: folder.to_owned(), source })?;
    for (at, name) in generator.names().enumerate() {
        let path = folder.join(format!("{}.bson", file_stem(name)));
        let failed = |source| GenerateError::File { path: path.clone(), source };
        let mut file = BufWriter::with_capacity(1 << 20, create_own(&path).map_err(failed)?);
        for group in generator.chunks(at).chunks(rayon::current_num_threads() * 4) {
            let made: Result<Vec<_>, _> =
                group.par_iter().map(|range| generator.documents(at, range.clone())).collect();
            for documents in made? {
                for document in &documents {
                    file.write_all(document.as_bytes()).map_err(failed)?;
                }
                written(name, documents.len() as u64);
            }
        }
        file.flush().map_err(failed)?;
        let metadata = json!({
            "options": {},
            "indexes": [{"v": {"$numberInt": "2"}, "key": {"_id": {"$numberInt": "1"}}, "name": "_id_"}],
            "collectionName": name,
            "type": "collection",
        });
        let path = folder.join(format!("{}.metadata.json", file_stem(name)));
        write_own(&path, metadata.to_string().as_bytes())
            .map_err(|source| GenerateError::File { path, source })?;
    }
    Ok(())
}

/// Inserts the database into a server, into collections that are empty.
pub async fn write_server(
    generator: &Generator,
    uri: &str,
    written: Written<'_>,
) -> Result<(), GenerateError> {
    let address = without_credentials(uri);
    let failed = |action: String| {
        let address = address.clone();
        move |cause| GenerateError::Server { action, address, cause }
    };
    let options = read_uri(uri).await?;
    let client = mongodb::Client::with_options(options).map_err(failed("use the URI".into()))?;
    let database =
        client.default_database().ok_or_else(|| GenerateError::NoDatabase(address.clone()))?;
    for (at, name) in generator.names().enumerate() {
        let collection = database.collection::<RawDocumentBuf>(name);
        let found = collection
            .find_one(mongodb::bson::doc! {})
            .await
            .map_err(failed(format!("look into {name}")))?;
        if found.is_some() {
            return Err(GenerateError::NotEmpty { collection: name.to_owned(), address });
        }
        let mut inserts: JoinSet<mongodb::error::Result<u64>> = JoinSet::new();
        for group in generator.chunks(at).chunks(rayon::current_num_threads() * 2) {
            let made: Result<Vec<_>, _> =
                group.par_iter().map(|range| generator.documents(at, range.clone())).collect();
            for documents in made? {
                while inserts.len() >= INSERTS {
                    finished(inserts.join_next().await, name, written, &failed)?;
                }
                let collection = collection.clone();
                inserts.spawn(async move {
                    collection.insert_many(&documents).ordered(false).await?;
                    Ok(documents.len() as u64)
                });
            }
        }
        while let Some(done) = inserts.join_next().await {
            finished(Some(done), name, written, &failed)?;
        }
    }
    Ok(())
}

fn finished<F: FnOnce(mongodb::error::Error) -> GenerateError>(
    done: Option<Result<mongodb::error::Result<u64>, tokio::task::JoinError>>,
    name: &str,
    written: Written<'_>,
    failed: &impl Fn(String) -> F,
) -> Result<(), GenerateError> {
    if let Some(done) = done {
        let inserted = done.map_err(GenerateError::Worker)?;
        written(name, inserted.map_err(failed(format!("insert into {name}")))?);
    }
    Ok(())
}
