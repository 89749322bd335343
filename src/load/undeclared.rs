//! Foreign keys of the application's tables that the pipeline file does not declare. The transform
//! could not look at them, so their staged rows are looked at before one is copied: else they would
//! be found broken at the end, when all rows are there.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

use super::differences::Difference;
use super::{LoadError, LoadOptions, Mode};
use crate::pgcopy::reader::fields;
use crate::pgcopy::{PgType, show};
use crate::postgres::{PostgresError, VALUE_TYPE, qualified, quote_identifier};
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{TableManifest, TransformManifest};
use crate::staging::tuples::{TupleError, staged_tuples};

/// Values that are shown of those that lead nowhere.
const EXAMPLES: usize = 3;

/// One foreign key.
struct Undeclared {
    name: String,
    table: String,
    columns: Vec<String>,
    target_schema: String,
    target: String,
    target_columns: Vec<String>,
}

fn failed(action: impl Into<String>) -> impl FnOnce(tokio_postgres::Error) -> LoadError {
    let action = action.into();
    move |source| PostgresError::Statement { action, source }.into()
}

/// Staged rows that foreign keys of the application would refuse.
pub(super) async fn orphans(
    client: &Client,
    run: &RunDirectory,
    manifest: &TransformManifest,
    options: &LoadOptions,
) -> Result<Vec<Difference>, LoadError> {
    let mut differences = Vec::new();
    let mut keys = find(client, manifest).await?;
    keys.retain(|key| columns_of(manifest, &key.table, &key.columns).is_some());
    // Keys are read once for all that lead there, and one set of them is held at a time.
    for group in keys.chunk_by(|one, next| one.leads_to() == next.leads_to()) {
        let Some(known) = targets(client, run, manifest, options, &group[0]).await? else {
            continue;
        };
        for key in group {
            let Some(own) = columns_of(manifest, &key.table, &key.columns) else { continue };
            let (mut count, mut examples) = (0_u64, Vec::new());
            read(run, &own, |hash, text| {
                if !known.contains(&hash) {
                    count += 1;
                    if examples.len() < EXAMPLES && !examples.iter().any(|known| known == text) {
                        examples.push(text.to_owned());
                    }
                }
            })?;
            if count > 0 {
                differences.push(key.broken(count, &examples));
            }
        }
    }
    Ok(differences)
}

/// The keys that rows can refer to once all is loaded; none where they cannot be told.
async fn targets(
    client: &Client,
    run: &RunDirectory,
    manifest: &TransformManifest,
    options: &LoadOptions,
    key: &Undeclared,
) -> Result<Option<FxHashSet<u128>>, LoadError> {
    let mut known = FxHashSet::default();
    let is_staged = key.target_schema == manifest.schema && staged(manifest, &key.target).is_some();
    if is_staged {
        let Some(theirs) = columns_of(manifest, &key.target, &key.target_columns) else {
            return Ok(None);
        };
        read(run, &theirs, |hash, _| {
            known.insert(hash);
        })?;
    }
    if !is_staged || options.mode != Mode::Replace {
        existing(client, key, &mut known).await?;
    }
    Ok(Some(known))
}

impl Undeclared {
    fn leads_to(&self) -> (&str, &str, &[String]) {
        (&self.target_schema, &self.target, &self.target_columns)
    }

    fn broken(&self, count: u64, examples: &[String]) -> Difference {
        let detail = format!(
            "{count} staged rows break the foreign key {} of the application: {} has no {} ({}); \
             declare it (`references`, with `dangling`), and transform again",
            self.name,
            self.target,
            self.target_columns.join(", "),
            examples.join(", ")
        );
        let column = Some(self.columns.join(", "));
        Difference { table: self.table.clone(), column, detail, blocking: true }
    }
}

/// The foreign keys of staged tables that the pipeline file does not declare.
async fn find(client: &Client, manifest: &TransformManifest) -> Result<Vec<Undeclared>, LoadError> {
    // PostgreSQL alone can check keys that are equal to it though their texts differ.
    let sql = format!(
        "
        SELECT k.conname::text, c.relname::text, tn.nspname::text, t.relname::text,
            (SELECT array_agg(a.attname::text ORDER BY p.place)
             FROM unnest(k.conkey) WITH ORDINALITY p (number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = p.number),
            (SELECT array_agg(a.attname::text ORDER BY p.place)
             FROM unnest(k.confkey) WITH ORDINALITY p (number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = p.number)
        FROM pg_catalog.pg_constraint k
        JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_class t ON t.oid = k.confrelid
        JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
        WHERE k.contype = 'f' AND k.conparentid = 0 AND k.convalidated
          AND n.nspname = $1 AND c.relname = ANY ($2)
          AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_attribute a {VALUE_TYPE}
            LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
            WHERE (t.folds_case OR t.typname = 'bpchar' OR NOT l.collisdeterministic) AND a.attrelid IN (k.conrelid, k.confrelid)
              AND (a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
                OR a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey)))
        ORDER BY 3, 4, 6, 2, 1"
    );
    let names: Vec<&str> =
        manifest.tables.iter().map(|table| table.definition.name.as_str()).collect();
    let rows = client
        .query(&sql, &[&manifest.schema, &names])
        .await
        .map_err(failed("read the foreign keys of the application"))?;
    let found = rows.iter().map(|row| Undeclared {
        name: row.get(0),
        table: row.get(1),
        target_schema: row.get(2),
        target: row.get(3),
        columns: row.get(4),
        target_columns: row.get(5),
    });
    let is_declared = |key: &Undeclared| {
        staged(manifest, &key.table).is_some_and(|table| {
            table.definition.foreign_keys.iter().any(|own| {
                own.columns == key.columns
                    && own.references_table == key.target
                    && key.target_schema == manifest.schema
            })
        })
    };
    Ok(found.filter(|key| !is_declared(key)).collect())
}

fn staged<'m>(manifest: &'m TransformManifest, name: &str) -> Option<&'m TableManifest> {
    manifest.tables.iter().find(|table| table.definition.name == name)
}

/// A staged table with these columns alone, in their order; none where one is not staged, or has a
/// type whose equal values may have different texts.
fn columns_of(
    manifest: &TransformManifest,
    table: &str,
    columns: &[String],
) -> Option<TableManifest> {
    let mut found = staged(manifest, table)?.clone();
    let all = std::mem::take(&mut found.definition.columns);
    for name in columns {
        let column = all.iter().find(|column| column.name == *name)?;
        let is_plain = matches!(
            column.pg_type,
            PgType::Uuid
                | PgType::Text
                | PgType::Varchar(_)
                | PgType::SmallInt
                | PgType::Integer
                | PgType::BigInt
        );
        found.definition.columns.push(is_plain.then(|| column.clone())?);
    }
    Some(found)
}

/// Hands over the values of a table's columns, row by row, as a hash and as text; not those with a
/// NULL.
fn read(
    run: &RunDirectory,
    table: &TableManifest,
    mut take: impl FnMut(u128, &str),
) -> Result<(), LoadError> {
    let types: Vec<&PgType> =
        table.definition.columns.iter().map(|column| &column.pg_type).collect();
    // No column is an enum, nor an array of one.
    let oids = HashMap::new();
    // Reading the files is work for the processor: other tasks go on on other threads.
    tokio::task::block_in_place(|| {
        staged_tuples(run, table, &oids, |_, _, tuple| {
            let values = fields(tuple).zip(&types);
            let texts: Option<Vec<String>> = values
                .map(|(bytes, pg_type)| bytes.map(|bytes| show::field(bytes, pg_type, false)))
                .collect();
            if let Some(texts) = texts {
                take(hash(&texts), &texts.join(", "));
            }
        })
    })
    .map_err(|error| match error {
        TupleError::Staging(error) => LoadError::Staging(error),
        TupleError::Copy(error) => LoadError::Copy(error),
    })
}

/// Adds the values that the table of the database holds.
async fn existing(
    client: &Client,
    key: &Undeclared,
    known: &mut FxHashSet<u128>,
) -> Result<(), LoadError> {
    let columns: Vec<String> = key
        .target_columns
        .iter()
        .map(|column| format!("{}::text", quote_identifier(column)))
        .collect();
    let target = qualified(&key.target_schema, &key.target);
    let sql = format!("SELECT {} FROM {target}", columns.join(", "));
    let action = || failed(format!("read the keys of {target}"));
    let none: [&str; 0] = [];
    let rows = client.query_raw(&sql, none).await.map_err(action())?;
    let mut rows = std::pin::pin!(rows);
    while let Some(row) = rows.try_next().await.map_err(action())? {
        let texts: Option<Vec<String>> = (0..row.len()).map(|at| row.get(at)).collect();
        known.extend(texts.map(|texts| hash(&texts)));
    }
    Ok(())
}

fn hash(texts: &[String]) -> u128 {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text.as_bytes());
    }
    let digest = hasher.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(bytes)
}
