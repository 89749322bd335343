//! The source before an export.

use std::collections::BTreeSet;
use std::path::Path;

use mongodb::bson::{Document, doc};

use super::collections::compare;
use super::{Check, DoctorError, State, names, size, span};
use crate::pipeline::model::Pipeline;
use crate::postgres::Target;
use crate::source::mongodb::{CAUTIOUS_BYTES_PER_SECOND, SNAPSHOT_SECONDS, Server};
use crate::source::sqlite::Sqlite;
use crate::source::whole::Whole;
use crate::source::{SourceAddress, plain_size};

const ABOUT: &str = "source";

/// Looks at a source: whether it answers, what it is, what of it can be read, and whether it holds
/// what the pipeline file needs. Returns the bytes of its documents too, or of the files that hold
/// them; none where nobody can tell.
pub async fn source(
    address: &SourceAddress,
    pipeline: Option<&Pipeline>,
) -> Result<(Vec<Check>, Option<u64>), DoctorError> {
    match address {
        SourceAddress::MongoDb(uri) => mongodb(uri, pipeline).await,
        SourceAddress::Postgres(uri) => {
            let target = Target::parse(uri)?;
            target.connect().await?;
            let detail = format!("PostgreSQL answers at {}", target.display());
            Ok((vec![Check::fine(ABOUT, detail)], None))
        }
        SourceAddress::Sqlite(path) => {
            // Whole::open would count all rows.
            let (tables, _) = Sqlite::open(path)?.tables()?;
            let names: Vec<String> = tables.into_iter().map(|table| table.name).collect();
            Ok(of_files(address, path, &names, pipeline))
        }
        SourceAddress::Dump(path)
        | SourceAddress::File(path)
        | SourceAddress::Archive(path, _)
        | SourceAddress::Json(path) => {
            let whole = Whole::open(address).await?;
            let names: Vec<String> =
                whole.collections.into_iter().map(|listed| listed.name).collect();
            Ok(of_files(address, path, &names, pipeline))
        }
    }
}

fn of_files(
    address: &SourceAddress,
    path: &Path,
    found: &[String],
    pipeline: Option<&Pipeline>,
) -> (Vec<Check>, Option<u64>) {
    let detail = format!("{} holds {} collections or tables", address.display(), found.len());
    let mut checks = vec![Check::fine(ABOUT, detail)];
    let found = found.iter().map(String::as_str).collect();
    checks.extend(pipeline.into_iter().flat_map(|pipeline| compare(pipeline, &found)));
    (checks, bytes_of(path))
}

/// Bytes of a file or of those of a folder; none where one is compressed.
fn bytes_of(path: &Path) -> Option<u64> {
    if path.is_file() {
        return plain_size(path);
    }
    let mut sum = 0;
    for entry in std::fs::read_dir(path).ok()? {
        let path = entry.ok()?.path();
        if path.is_file() {
            sum += plain_size(&path)?;
        }
    }
    Some(sum)
}

async fn mongodb(
    uri: &str,
    pipeline: Option<&Pipeline>,
) -> Result<(Vec<Check>, Option<u64>), DoctorError> {
    let server = Server::connect(uri).await?;
    let version = server.version.as_deref().unwrap_or("of unknown version");
    let mut checks = Vec::new();
    let what = format!("MongoDB {version} answers at {}", server.address());
    checks.push(match server.cluster_time {
        Some(_) => Check::fine(ABOUT, format!("{what}: all is read as of one moment")),
        None => Check::new(
            State::Note,
            ABOUT,
            format!("{what}, a server without a replica set: what is written meanwhile may be read or not"),
        )
        .cured("Stop writing during the export, or make the server a replica set of one."),
    });
    let (mut found, mut bytes, mut unreadable) = (BTreeSet::new(), 0, Vec::new());
    let listing = server.collections().await?;
    for listed in listing.iter().filter(|listed| listed.left_out().is_none()) {
        found.insert(listed.name.as_str());
        let find = doc! {"find": &listed.name, "limit": 1, "singleBatch": true};
        if let Err(error) = server.handle().run_command(find).await {
            unreadable.push(format!("{} ({})", listed.name, crate::source::describe(&error)));
            continue;
        }
        bytes += server.size(listed).await?.map_or(0, |size| size.bytes);
    }
    if !unreadable.is_empty() {
        let detail = format!("not every collection can be read: {}", names(&unreadable));
        checks.push(
            Check::new(State::Failure, ABOUT, detail)
                .cured(format!("Give the user the role `read` on database {}.", server.database())),
        );
    }
    if server.cluster_time.is_some() {
        checks.extend(history(&server, bytes).await);
    }
    if let Some(pipeline) = pipeline {
        checks.extend(compare(pipeline, &found));
    }
    Ok((checks, Some(bytes)))
}

/// How long the server keeps what an export at one moment, or one that follows, needs.
async fn history(server: &Server, bytes: u64) -> Vec<Check> {
    const ABOUT: &str = "history of the source";
    let admin = server.handle().client().database("admin");
    let parameter = doc! {"getParameter": 1, "minSnapshotHistoryWindowInSeconds": 1};
    let stated = admin.run_command(parameter).await.ok();
    let window = stated
        .and_then(|answer| answer.get("minSnapshotHistoryWindowInSeconds").and_then(seconds))
        .unwrap_or(SNAPSHOT_SECONDS);
    let needed = bytes / CAUTIOUS_BYTES_PER_SECOND;
    #[expect(clippy::cast_precision_loss, reason = "seconds, to be read")]
    let (kept, expected) = (window as f64, needed as f64);
    let mut checks = Vec::new();
    let detail = format!(
        "a snapshot is kept for {}; reading {} takes at most about {}",
        span(kept),
        size(bytes),
        span(expected.max(1.0))
    );
    checks.push(if needed > window {
        Check::new(State::Warning, ABOUT, detail).cured(
            "Raise minSnapshotHistoryWindowInSeconds on the server, or export with --no-snapshot.",
        )
    } else {
        Check::fine(ABOUT, detail)
    });
    let window = match oplog_window(server).await {
        Ok(Some(window)) => window,
        Ok(None) => return checks,
        Err(detail) => {
            checks.push(Check::new(
                State::Note,
                ABOUT,
                format!("how far the oplog reaches back is not known: {detail}"),
            ));
            return checks;
        }
    };
    let detail = format!("the oplog reaches back {}", span(window));
    // A young oplog reaches back to its beginning, and tells nothing of how long it keeps.
    let state = if window < expected { State::Note } else { State::Fine };
    checks.push(Check::new(state, ABOUT, detail).measured("oplog_window_seconds", window));
    checks
}

/// Seconds between the first and the last entry of the oplog; none where there is none to be seen,
/// as behind a router.
async fn oplog_window(server: &Server) -> Result<Option<f64>, String> {
    let oplog = server.handle().client().database("local").collection::<Document>("oplog.rs");
    let mut ends = Vec::new();
    for order in [1, -1] {
        let found = oplog.find_one(doc! {}).sort(doc! {"$natural": order}).await;
        let found = found.map_err(|error| crate::source::describe(&error))?;
        let Some(entry) = found else { return Ok(None) };
        ends.push(entry.get_timestamp("ts").map_or(0, |time| time.time));
    }
    Ok(Some(f64::from(ends[1].saturating_sub(ends[0]))))
}

fn seconds(value: &mongodb::bson::Bson) -> Option<u64> {
    let number = value.as_i64().or_else(|| value.as_i32().map(i64::from))?;
    u64::try_from(number).ok()
}
