//! The moment that an export is of, and the collections that there were at it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use mongodb::bson::Timestamp;

use super::journal::{Entry, ListedEntry, State};
use super::writer::Context;
use super::{ExportError, ExportOptions};
use crate::progress::Stage;
use crate::source::SourceError;
use crate::source::mongodb::{
    Difference, Identity, ListedCollection, Moment, Server, differences, extended,
};
use crate::staging::StagingError;
use crate::staging::manifest::{Skipped, Snapshot};

/// Listings until two are alike.
const MOST_LISTINGS: usize = 10;

/// What an export begins with.
pub(super) struct Beginning {
    pub(super) snapshot: Snapshot,
    /// The collections that there are at that moment.
    pub(super) listing: Vec<ListedCollection>,
    /// The server's clock in milliseconds since 1970; the beginning of time where it tells none, so
    /// that no date passes for one that came already.
    pub(super) now: i64,
}

/// Chooses the moment, that of an earlier attempt while the server still has it, and lists the
/// collections. What an earlier attempt read of others is forgotten.
pub(super) async fn begin(
    context: &Context,
    state: &mut State,
    server: &mut Server,
    options: &ExportOptions,
) -> Result<Beginning, ExportError> {
    if !options.snapshot {
        server.cluster_time = None;
    }
    let stopped = if server.cluster_time.is_some() { stopped_at(state) } else { None };
    if let Some(time) = stopped {
        server.cluster_time = Some(time);
        if lasts(state, server).await? {
            let listing = match &state.listing {
                Some((_, listing)) => listing.clone(),
                None => server.collections().await?,
            };
            let now = state.listing.as_ref().and_then(|(now, _)| *now);
            name_folders(context, state, &listing);
            return Ok(Beginning { snapshot: at(time), listing, now: now.unwrap_or(i64::MIN) });
        }
    }
    let (moment, listing) = list(server, options.snapshot).await?;
    server.cluster_time = moment.cluster_time.filter(|_| options.snapshot);
    let snapshot = match (&state.snapshot, server.cluster_time) {
        // What an earlier attempt said of its documents stays true.
        (Some(Snapshot::None { reason }), _) => Snapshot::None { reason: reason.clone() },
        (Some(Snapshot::ClusterTime { seconds, increment }), Some(now)) => {
            let reason = format!(
                "the export was stopped and its snapshot at {seconds}.{increment} ended: what \
                 was read before is of that moment, the rest of {}.{}",
                now.time, now.increment
            );
            context.progress.note(Stage::Export, &reason);
            Snapshot::None { reason }
        }
        (Some(Snapshot::ClusterTime { seconds, increment }), None) => Snapshot::None {
            reason: format!(
                "only what was read before the export was stopped is of one moment, \
                 {seconds}.{increment}"
            ),
        },
        (Some(Snapshot::Transaction) | None, Some(time)) => at(time),
        (Some(Snapshot::Transaction) | None, None) if moment.cluster_time.is_some() => {
            Snapshot::None { reason: "the export was asked not to use one".to_owned() }
        }
        (Some(Snapshot::Transaction) | None, None) => Snapshot::None {
            reason: "the server is not a member of a replica set and has no snapshots".to_owned(),
        },
    };
    if state.snapshot.as_ref() != Some(&snapshot) {
        context.journal.append(&Entry::Snapshot { snapshot: snapshot.clone() })?;
    }
    name_folders(context, state, &listing);
    forget_others(context, state, &listing)?;
    let collections = listing.iter().map(entry).collect::<Result<_, _>>()?;
    let earlier = state.listing.as_ref().map(|(now, _)| *now);
    let now = earlier.unwrap_or(moment.local_time);
    context.journal.append(&Entry::Listed { now, collections })?;
    Ok(Beginning { snapshot, listing, now: now.unwrap_or(i64::MIN) })
}

/// Names the folders of all collections that the run has, or had.
fn name_folders(context: &Context, state: &State, listing: &[ListedCollection]) {
    let before = state.listing.iter().flat_map(|(_, listing)| listing);
    let all = listing.iter().chain(before).filter(|listed| listed.left_out().is_none());
    let names: BTreeSet<String> = all.map(|listed| listed.name.clone()).collect();
    context.run.name_folders(names);
}

fn at(time: Timestamp) -> Snapshot {
    Snapshot::ClusterTime { seconds: time.time, increment: time.increment }
}

/// The moment of an earlier attempt.
fn stopped_at(state: &State) -> Option<Timestamp> {
    match &state.snapshot {
        Some(Snapshot::ClusterTime { seconds, increment }) => {
            Some(Timestamp { time: *seconds, increment: *increment })
        }
        _ => None,
    }
}

/// Whether what an earlier attempt left unread can still be read at its moment.
async fn lasts(state: &State, server: &Server) -> Result<bool, ExportError> {
    let current = server.collections().await?;
    let listing = state.listing.as_ref().map_or(&current, |(_, listing)| listing);
    // What is read by its name cannot be read any more when the name stands for something else.
    let named = |(listed, _): &(&ListedCollection, Difference)| {
        server.identity_of(listed) == Identity::Name
    };
    if differences(listing, &current).iter().any(named) {
        return Ok(false);
    }
    for listed in listing.iter().filter(|listed| listed.left_out().is_none()) {
        let finished = state
            .collections
            .get(&listed.name)
            .is_some_and(|before| before.finished.is_some() || before.ordered.is_some());
        if !finished && !server.snapshot_lasts(listed).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Lists the collections as they are at a moment: alike before and after it.
async fn list(
    server: &Server,
    snapshot: bool,
) -> Result<(Moment, Vec<ListedCollection>), ExportError> {
    let mut before = server.collections().await?;
    for _ in 0..MOST_LISTINGS {
        let moment = server.moment().await?;
        if moment.cluster_time.is_none() || !snapshot {
            return Ok((moment, before));
        }
        let after = server.collections().await?;
        if alike(&before, &after) {
            return Ok((moment, after));
        }
        before = after;
    }
    Err(ExportError::Restless { address: server.address().to_owned() })
}

/// Whether two listings have the same collections by the same names.
fn alike(left: &[ListedCollection], right: &[ListedCollection]) -> bool {
    let same = |(left, right): (&ListedCollection, &ListedCollection)| {
        left.name == right.name && left.kind == right.kind && left.identity == right.identity
    };
    left.len() == right.len() && left.iter().zip(right).all(same)
}

fn entry(listed: &ListedCollection) -> Result<ListedEntry, SourceError> {
    Ok(ListedEntry {
        name: listed.name.clone(),
        kind: listed.kind.clone(),
        options: extended(&listed.options)?,
        uuid: listed.uuid.clone(),
        identity: listed.identity.clone(),
    })
}

/// Forgets what an earlier attempt read of collections that are not there, or not the same.
fn forget_others(
    context: &Context,
    state: &mut State,
    listing: &[ListedCollection],
) -> Result<(), ExportError> {
    let identities = |listing: &[ListedCollection]| -> BTreeMap<String, Option<String>> {
        let pairs = listing.iter().map(|listed| (listed.name.clone(), listed.identity.clone()));
        pairs.collect()
    };
    let now = identities(listing);
    let then = state.listing.as_ref().map(|(_, listing)| identities(listing));
    let others: Vec<String> = state
        .collections
        .keys()
        .filter(|name| match (&then, now.get(*name)) {
            (Some(then), Some(identity)) => then.get(*name) != Some(identity),
            (None, Some(_)) => false,
            (_, None) => true,
        })
        .cloned()
        .collect();
    for name in others {
        let note = format!("{name} is no longer what was read of it: that is forgotten");
        context.progress.note(Stage::Export, &note);
        forget(context, &name)?;
        state.take(&name);
    }
    Ok(())
}

/// Makes void what was read of a collection.
pub(super) fn forget(context: &Context, collection: &str) -> Result<(), ExportError> {
    context.journal.append(&Entry::Forgotten { collection: collection.to_owned() })?;
    let path = context.run.resolve(&context.run.part_folder(Stage::Export, collection));
    match fs::remove_dir_all(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StagingError::Io { action: "remove", path, source }.into())
        }
        _ => Ok(()),
    }
}

/// Lists the collections again: what was read must be what was listed at the start. Gives back
/// those that were made meanwhile and are not exported.
pub(super) async fn confirm(
    context: &Context,
    server: &Server,
    listing: &[ListedCollection],
) -> Result<Vec<Skipped>, ExportError> {
    let after = server.collections().await?;
    let snapshot = server.cluster_time.is_some();
    for (listed, difference) in differences(listing, &after) {
        // What is read by its number is what was listed, and was read to its end.
        let proven = server.identity_of(listed) != Identity::Name
            && match difference {
                Difference::Renamed(_) => true,
                Difference::Dropped | Difference::Replaced => snapshot && !listed.is_capped(),
            };
        if !proven {
            let collection = listed.name.clone();
            forget(context, &collection)?;
            return Err(ExportError::Changed { collection, difference });
        }
        let moment = if snapshot { "after the snapshot" } else { "while it was read" };
        let note = format!(
            "{} was {difference} {moment}; it is exported whole, under its name at the start",
            listed.name
        );
        context.progress.note(Stage::Export, &note);
    }
    let new = differences(&after, listing).into_iter().filter(|(listed, difference)| {
        !matches!(difference, Difference::Renamed(_)) && listed.left_out().is_none()
    });
    Ok(new
        .map(|(listed, _)| {
            Ok(Skipped {
                name: listed.name.clone(),
                reason: "made while the export ran".to_owned(),
                options: extended(&listed.options)?,
            })
        })
        .collect::<Result<_, SourceError>>()?)
}
