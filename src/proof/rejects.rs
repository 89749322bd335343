//! The records that are listed as rejects: each must have its reason, and no other may be missing.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Deserialize;

use super::ProofError;
use super::wire::digest;
use crate::progress::Stage;
use crate::staging::layout::RunDirectory;
use crate::staging::rejects::{List, lines};

/// What the proof needs of a line of the list.
#[derive(Deserialize)]
struct Line {
    id: String,
    #[serde(default)]
    table: String,
    rule: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    element: Option<u64>,
}

/// Under which kind of rule a record is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// Another row has its key or unique values.
    Unique,
    /// An earlier row has them.
    Earlier,
    /// The document before it has the same `_id`.
    Key,
    /// The document itself breaks a rule.
    Own,
}

/// The list, 17 bytes a line: a digest of table, `_id` and element, with the kind in its last bits.
pub(super) struct Rejects {
    sorted: Vec<u128>,
    met: Vec<AtomicBool>,
    /// Tables with rejects under `unique`.
    pub(super) with_unique: Vec<String>,
}

const KINDS: [Listed; 4] = [Listed::Unique, Listed::Key, Listed::Own, Listed::Earlier];
/// How the list says that the first of several rows stays. Records that are taken once more give way
/// to any.
const EARLIER: &str = "an earlier row";

fn mark(table: &str, id: &str, element: Option<u64>) -> u128 {
    let element = element.map_or_else(String::new, |element| element.to_string());
    digest(format!("{table}\0{element}\0{id}").as_bytes()) & !0b11
}

impl Rejects {
    pub(super) fn read(run: &RunDirectory) -> Result<Self, ProofError> {
        let mut sorted = Vec::new();
        let mut with_unique: Vec<String> = Vec::new();
        for line in lines::<Line>(run, List::Rejects, Stage::Transform)? {
            let line = line?;
            let kind = match line.rule.as_str() {
                "unique" if line.detail.starts_with(EARLIER) => 3,
                "unique" => 0,
                "key" => 1,
                _ => 2,
            };
            if line.rule == "unique" && !with_unique.contains(&line.table) {
                with_unique.push(line.table.clone());
            }
            sorted.push(mark(&line.table, &line.id, line.element) | kind);
        }
        sorted.sort_unstable();
        let met = sorted.iter().map(|_| AtomicBool::new(false)).collect();
        Ok(Self { sorted, met, with_unique })
    }

    /// How a record is listed, if it is. A document that repeats the `_id` of the one before it has
    /// lines of its own.
    pub(super) fn find(
        &self,
        table: &str,
        id: &str,
        element: Option<u64>,
        repeats: bool,
    ) -> Option<Listed> {
        if self.sorted.is_empty() {
            return None;
        }
        let mark = mark(table, id, element);
        let first = self.sorted.partition_point(|listed| *listed < mark);
        let own = self.sorted.get(first..).unwrap_or_default();
        let own = own.iter().take_while(|listed| **listed & !0b11 == mark);
        for (at, listed) in own.enumerate() {
            let kind = usize::try_from(listed & 0b11).ok().and_then(|kind| KINDS.get(kind));
            let kind = *kind?;
            if (kind == Listed::Key) == repeats {
                if let Some(met) = self.met.get(first + at) {
                    met.store(true, Ordering::Relaxed);
                }
                return Some(kind);
            }
        }
        None
    }

    /// Lines that no record of the export stands behind.
    pub(super) fn not_met(&self) -> u64 {
        self.met.iter().filter(|met| !met.load(Ordering::Relaxed)).count() as u64
    }
}
