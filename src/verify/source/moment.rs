//! The moment at which a source is read again: that of the export, or now.

use std::collections::BTreeSet;

use mongodb::bson::Timestamp;

use crate::source::mongodb::{Identity, ListedCollection, Server};
use crate::staging::manifest::{ExportManifest, Snapshot};

/// The moments that there are.
pub(super) struct Moments {
    /// The cluster time of the export, or why it cannot be read.
    export: Result<Timestamp, String>,
}

impl Moments {
    /// Looks whether the export is of a moment of this server.
    pub(super) fn choose(
        manifest: &ExportManifest,
        server: &Server,
        listing: &[ListedCollection],
    ) -> Self {
        Self { export: moment_of(manifest, server, listing).map_err(str::to_owned) }
    }

    /// What is said of it.
    pub(super) fn told(&self) -> String {
        match &self.export {
            Ok(Timestamp { time, increment }) => {
                format!("the source was read again at the export's cluster time {time}.{increment}")
            }
            Err(why) => format!("the source was read again as it is now: {why}"),
        }
    }

    /// The server at the moment of the export.
    pub(super) fn at_export(&self, server: &Server) -> Option<Server> {
        let time = *self.export.as_ref().ok()?;
        let mut server = server.clone();
        server.cluster_time = Some(time);
        Some(server)
    }
}

/// The server as it is now.
pub(super) fn now(server: &Server) -> Server {
    let mut server = server.clone();
    server.cluster_time = None;
    server
}

fn moment_of(
    manifest: &ExportManifest,
    server: &Server,
    listing: &[ListedCollection],
) -> Result<Timestamp, &'static str> {
    let time = match &manifest.snapshot {
        Snapshot::ClusterTime { seconds, increment } => {
            Timestamp { time: *seconds, increment: *increment }
        }
        _ => return Err("the export is not of one moment of a replica set"),
    };
    let Some(now) = server.cluster_time else {
        return Err("the server is not a member of a replica set and has no snapshots");
    };
    if (now.time, now.increment) < (time.time, time.increment) {
        return Err("the clock of the server is before the export, so it is another one");
    }
    // A cluster time says nothing of another server.
    let numbers = manifest.collections.iter().filter_map(|exported| exported.uuid.as_deref());
    let numbers: BTreeSet<&str> = numbers.collect();
    let known = |listed: &ListedCollection| {
        listed.uuid.as_deref().is_some_and(|uuid| numbers.contains(uuid))
    };
    if !numbers.is_empty() && !listing.iter().any(known) {
        return Err(
            "no collection has the number with which it was exported: all were made again, or it \
             is another server",
        );
    }
    Ok(time)
}

/// Why a collection cannot be read at an earlier moment, as far as the listing of now tells.
pub(super) fn check(
    server: &Server,
    listed: &ListedCollection,
    now: &[ListedCollection],
) -> Result<(), String> {
    if listed.is_capped() {
        return Err(
            "it is capped, and such collections may be read outside of snapshots".to_owned()
        );
    }
    if server.identity_of(listed) != Identity::Name {
        return Ok(());
    }
    // By its name alone whatever has the name now would be read, or nothing.
    let same = |other: &ListedCollection| {
        other.name == listed.name
            && other.kind == listed.kind
            && (listed.uuid.is_none() || other.uuid == listed.uuid)
    };
    if now.iter().any(same) {
        return Ok(());
    }
    Err("it was renamed, dropped or made again since the export".to_owned())
}
