//! Junction tables: links are gathered in sorted runs, one per part, then merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::TransformError;
use super::work::{WorkFile, WorkWriter};
use crate::staging::own_files;

/// A link from a row of the first table to a row of the second, and the side that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    pub(super) first: u128,
    pub(super) second: u128,
    /// Position in its array, where rows have one; else 0.
    pub(super) position: u32,
    /// Bit 0: found on the first side; bit 1: found on the second.
    pub(super) sides: u8,
}

const LINK_BYTES: usize = 37;
/// Enough to keep reads sequential while hundreds of runs are open.
const RUN_BUFFER_BYTES: usize = 64 * 1024;

impl Link {
    fn to_bytes(self) -> [u8; LINK_BYTES] {
        let mut bytes = [0; LINK_BYTES];
        bytes[..16].copy_from_slice(&self.first.to_be_bytes());
        bytes[16..32].copy_from_slice(&self.second.to_be_bytes());
        bytes[32..36].copy_from_slice(&self.position.to_be_bytes());
        bytes[36] = self.sides;
        bytes
    }

    fn read(input: &mut impl Read) -> io::Result<Option<Self>> {
        let mut bytes = [0; LINK_BYTES];
        match input.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let half = |from: usize| {
            let mut half = [0; 16];
            half.copy_from_slice(&bytes[from..from + 16]);
            u128::from_be_bytes(half)
        };
        let [.., b0, b1, b2, b3, sides] = bytes;
        let position = u32::from_be_bytes([b0, b1, b2, b3]);
        Ok(Some(Self { first: half(0), second: half(16), position, sides }))
    }
}

/// Sorts links and writes them as a run.
pub(super) fn write_run(
    folder: &Path,
    name: &str,
    mut links: Vec<Link>,
) -> Result<WorkFile, TransformError> {
    links.sort_unstable();
    let mut writer = WorkWriter::create(folder, name)?;
    for link in &links {
        writer.write(folder, &link.to_bytes())?;
    }
    writer.finish(folder)
}

/// Merges sorted runs; equal links come out once, with the sides of all of them.
pub(super) struct Merge {
    runs: Vec<(PathBuf, BufReader<File>)>,
    heap: BinaryHeap<Reverse<(Link, usize)>>,
    /// Links met again on a side that had them already.
    pub(super) repeats: u64,
}

impl Merge {
    pub(super) fn open(paths: Vec<PathBuf>) -> Result<Self, TransformError> {
        let mut merge = Self { runs: Vec::new(), heap: BinaryHeap::new(), repeats: 0 };
        for path in paths {
            let file = own_files::open(&path)
                .map_err(|source| TransformError::Work { path: path.clone(), source })?;
            merge.runs.push((path, BufReader::with_capacity(RUN_BUFFER_BYTES, file)));
            merge.advance(merge.runs.len() - 1)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, run: usize) -> Result<(), TransformError> {
        let (path, reader) = &mut self.runs[run];
        let next = Link::read(reader)
            .map_err(|source| TransformError::Work { path: path.clone(), source })?;
        if let Some(link) = next {
            self.heap.push(Reverse((link, run)));
        }
        Ok(())
    }

    /// The next link in order.
    pub(super) fn next(&mut self) -> Result<Option<Link>, TransformError> {
        let Some(Reverse((mut link, run))) = self.heap.pop() else { return Ok(None) };
        self.advance(run)?;
        while let Some(Reverse((other, run))) = self.heap.peek().copied() {
            let place = |link: &Link| (link.first, link.second, link.position);
            if place(&other) != place(&link) {
                break;
            }
            self.repeats += u64::from((link.sides & other.sides).count_ones());
            link.sides |= other.sides;
            self.heap.pop();
            self.advance(run)?;
        }
        Ok(Some(link))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_links_of_several_runs_are_one_with_all_sides() {
        let folder = tempfile::tempdir().unwrap();
        let link = |first, second, sides| Link { first, second, position: 0, sides };
        let runs = [vec![link(3, 1, 1), link(1, 2, 1)], vec![link(1, 2, 2), link(2, 9, 2)], vec![]];
        let paths: Vec<_> = (0..3).map(|run| folder.path().join(run.to_string())).collect();
        for (name, run) in runs.into_iter().enumerate() {
            write_run(folder.path(), &name.to_string(), run).unwrap();
        }
        let mut merge = Merge::open(paths).unwrap();
        let mut merged = Vec::new();
        while let Some(link) = merge.next().unwrap() {
            merged.push(link);
        }
        assert_eq!(merged, [link(1, 2, 3), link(2, 9, 2), link(3, 1, 1)]);
    }
}
