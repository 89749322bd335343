//! Scratch databases and folders, in which restores are tried. Each has a mark, so that what a killed
//! process left behind is recognised and removed by the next one, and nothing else ever is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::{Client, Database};
use tokio::task::JoinHandle;
use tokio_postgres::Client as PgClient;

use crate::postgres::quote_identifier;

/// Every name of a scratch place begins so.
const PREFIX: &str = "docferry_check_";
/// The file that marks a folder. Its lock is held as long as the folder is in use.
const MARK: &str = ".docferry-scratch";
/// The collection that marks a database of MongoDB.
pub const MARK_COLLECTION: &str = "docferry.scratch";
/// The comment that marks a database of PostgreSQL.
const COMMENT: &str = "a scratch database of docferry restore-check; it may be removed";
/// How often a process says that it still uses its database.
const BEAT: Duration = Duration::from_mins(1);
/// After so many seconds without a sign a database belongs to nobody.
const ABANDONED_SECONDS: f64 = 900.0;

/// The name of a scratch place for a run. No two processes of a machine have the same.
pub fn name(run: &str) -> String {
    format!("{PREFIX}{}_{}", run.to_lowercase(), std::process::id())
}

/// `docferry_check_<run>_<process>`, as [`name`] writes it.
fn is_name(name: &str) -> bool {
    let Some((run, process)) = name.strip_prefix(PREFIX).and_then(|rest| rest.rsplit_once('_'))
    else {
        return false;
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    run.starts_with(|c: char| c.is_ascii_digit())
        && run.chars().all(plain)
        && !process.is_empty()
        && process.chars().all(|c| c.is_ascii_digit())
}

/// A folder in which a restore is tried.
#[derive(Debug)]
pub struct ScratchFolder {
    path: PathBuf,
    _lock: File,
}

impl ScratchFolder {
    /// Makes one, and removes those that nobody uses any more.
    pub fn create(parent: &Path, name: &str) -> io::Result<Self> {
        sweep_folders(parent)?;
        let path = parent.join(name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let mut mark = OpenOptions::new();
        mark.write(true).create_new(true).mode(0o600);
        let lock = mark.open(path.join(MARK))?;
        // On a file system without locks a folder that was left stays.
        let _ = lock.try_lock();
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it.
    pub fn remove(self) -> io::Result<()> {
        fs::remove_dir_all(&self.path)
    }
}

/// Removes marked folders whose process is gone.
fn sweep_folders(parent: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(parent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let named = entry.file_name().to_str().is_some_and(is_name);
        if !named || !entry.file_type()?.is_dir() {
            continue;
        }
        // Of another user, or gone meanwhile.
        let Ok(mark) = File::open(entry.path().join(MARK)) else { continue };
        match mark.try_lock() {
            Ok(()) => fs::remove_dir_all(entry.path())?,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
    Ok(())
}

/// A database of a MongoDB server in which a restore is tried.
#[derive(Debug)]
pub struct ScratchDatabase {
    database: Database,
    beat: JoinHandle<()>,
}

impl ScratchDatabase {
    /// Marks a new database, and drops those that nobody uses any more.
    pub async fn create(client: &Client, name: &str) -> Result<Self, mongodb::error::Error> {
        sweep_databases(client).await?;
        let database = client.database(name);
        let marks = database.collection::<Document>(MARK_COLLECTION);
        let place = place().unwrap_or_default();
        let mark = doc! {
            "$set": {"place": place, "process": i64::from(std::process::id())},
            "$currentDate": {"alive": true},
        };
        marks.update_one(doc! {"_id": name}, mark).upsert(true).await?;
        let name = name.to_owned();
        let beat = tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                // A server that does not answer now may do so at the next beat.
                let alive = doc! {"$currentDate": {"alive": true}};
                let _ = marks.update_one(doc! {"_id": name.as_str()}, alive).await;
            }
        });
        Ok(Self { database, beat })
    }

    /// Drops it.
    pub async fn remove(self) -> Result<(), mongodb::error::Error> {
        self.beat.abort();
        // A beat after the drop would make it again.
        let _ = self.beat.await;
        self.database.drop().await
    }
}

/// Drops marked databases whose process is gone.
async fn sweep_databases(client: &Client) -> Result<(), mongodb::error::Error> {
    // Who may not list databases may still use one.
    let Ok(names) = client.list_database_names().await else { return Ok(()) };
    for name in names.iter().filter(|name| is_name(name)) {
        let database = client.database(name);
        let marks = database.collection::<Document>(MARK_COLLECTION);
        let age = vec![
            doc! {"$match": {"_id": name}},
            doc! {"$project": {
                "place": 1, "process": 1,
                "age": {"$divide": [{"$subtract": ["$$NOW", "$alive"]}, 1000]},
            }},
        ];
        // A server before 4.2 knows no `$$NOW`; then what was left stays.
        let Ok(mut found) = marks.aggregate(age).await else { continue };
        if !found.advance().await? {
            continue;
        }
        let mark: Document = found.deserialize_current()?;
        let abandoned = mark.get_f64("age").is_ok_and(|age| age > ABANDONED_SECONDS);
        let place_of = mark.get_str("place").unwrap_or_default();
        let process = mark.get_i64("process").unwrap_or_default();
        if abandoned || is_gone(place_of, process) {
            database.drop().await?;
        }
    }
    Ok(())
}

/// Where a process number means the same process: a boot of a machine, and a namespace of processes.
fn place() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let space = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), space.display()))
}

/// A process of this very place that is there no longer.
fn is_gone(place_of: &str, process: i64) -> bool {
    let here = place().is_some_and(|place| place == place_of);
    // What has our own number cannot be ours: we have made none yet.
    let own = process == i64::from(std::process::id());
    here && (own || !Path::new("/proc").join(process.to_string()).exists())
}

/// Makes a marked database, and drops those that nobody uses any more. The connection carries its
/// name as long as it is in use.
pub async fn create_postgres(admin: &PgClient, name: &str) -> Result<(), tokio_postgres::Error> {
    let quoted = quote_identifier(name);
    admin.batch_execute(&format!("SET application_name = {quoted}")).await?;
    let left = admin
        .query(
            "SELECT datname::text FROM pg_database d \
             WHERE datname LIKE 'docferry\\_check\\_%' \
             AND shobj_description(d.oid, 'pg_database') = $1 \
             AND NOT EXISTS (SELECT FROM pg_stat_activity a \
                             WHERE a.application_name = d.datname OR a.datid = d.oid)",
            &[&COMMENT],
        )
        .await?;
    for row in left {
        let left: String = row.get(0);
        if is_name(&left) {
            // It may be another user's, who has to remove it.
            let drop = format!("DROP DATABASE IF EXISTS {}", quote_identifier(&left));
            let _ = admin.batch_execute(&drop).await;
        }
    }
    admin.batch_execute(&format!("CREATE DATABASE {quoted}")).await?;
    admin.batch_execute(&format!("COMMENT ON DATABASE {quoted} IS '{COMMENT}'")).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_scratch_places_are_recognised() {
        assert!(is_name(&name("20261121T081504Z")));
        assert!(is_name(&name("20261121T081504Z-2")));
        for other in [
            "docferry_check_",
            "docferry_check_shop_12",
            "docferry_check_20261121t081504z",
            "docferry_check_20261121t081504z_",
            "docferry_check_20261121t081504z_x",
            "docferry_check_2026../x_1",
            "shop",
        ] {
            assert!(!is_name(other), "{other}");
        }
    }

    #[test]
    fn a_folder_that_is_in_use_or_has_no_mark_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let used =
            ScratchFolder::create(parent.path(), "docferry_check_20261121t081504z_1").unwrap();
        fs::create_dir(at("docferry_check_20261121t081504z_2")).unwrap();
        fs::create_dir(at("docferry_check_20261121t081504z_3")).unwrap();
        fs::write(at("docferry_check_20261121t081504z_3").join(MARK), "").unwrap();
        fs::create_dir(at("other")).unwrap();
        fs::write(at("other").join(MARK), "").unwrap();
        sweep_folders(parent.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(parent.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(
            left,
            ["docferry_check_20261121t081504z_1", "docferry_check_20261121t081504z_2", "other"]
        );
        used.remove().unwrap();
        assert!(!at("docferry_check_20261121t081504z_1").exists());
    }
}
