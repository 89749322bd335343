//! Pieces of work side by side, each as soon as those it waits for are done.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::Scope;

/// A piece of work.
pub(super) struct Piece {
    /// Pieces that come before it, by their numbers, which are lower than its own.
    pub(super) after: Vec<usize>,
    /// How long it takes, beside the others.
    pub(super) weight: u64,
}

struct Schedule<A, E> {
    act: A,
    /// The pieces that wait for each, the most urgent last.
    next: Vec<Vec<usize>>,
    /// How many pieces each still waits for.
    waits: Vec<AtomicUsize>,
    failure: Mutex<Option<E>>,
}

/// Does all pieces, by their numbers, on the threads of the pool that it is called in. After an
/// error no other is begun.
pub(super) fn run<E: Send>(
    pieces: &[Piece],
    act: impl Fn(usize) -> Result<(), E> + Sync,
) -> Result<(), E> {
    // What the longest way to the end hangs on is done first.
    let mut urgency: Vec<u64> = pieces.iter().map(|piece| piece.weight).collect();
    let mut next: Vec<Vec<usize>> = pieces.iter().map(|_| Vec::new()).collect();
    for (at, piece) in pieces.iter().enumerate().rev() {
        for before in &piece.after {
            next[*before].push(at);
            urgency[*before] = urgency[*before].max(pieces[*before].weight + urgency[at]);
        }
    }
    let mut first: Vec<usize> =
        (0..pieces.len()).filter(|at| pieces[*at].after.is_empty()).collect();
    for list in next.iter_mut().chain([&mut first]) {
        // A thread takes what was handed to it last.
        list.sort_by_key(|at| (urgency[*at], Reverse(*at)));
    }
    let waits = pieces.iter().map(|piece| AtomicUsize::new(piece.after.len())).collect();
    let schedule = Schedule { act, next, waits, failure: Mutex::new(None) };
    rayon::scope(|scope| {
        for at in first {
            schedule.begin(scope, at);
        }
    });
    match schedule.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

impl<A: Fn(usize) -> Result<(), E> + Sync, E: Send> Schedule<A, E> {
    fn begin<'s>(&'s self, scope: &Scope<'s>, at: usize) {
        scope.spawn(move |scope| {
            let failure = || self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            if failure().is_some() {
                return;
            }
            if let Err(error) = (self.act)(at) {
                failure().get_or_insert(error);
                return;
            }
            for next in &self.next[at] {
                if self.waits[*next].fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.begin(scope, *next);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_is_done_once_and_after_those_it_waits_for() {
        let after = [vec![], vec![0], vec![], vec![0, 2], vec![1, 3]];
        let pieces: Vec<Piece> = after
            .iter()
            .map(|after| Piece { after: after.clone(), weight: after.len() as u64 })
            .collect();
        let done = Mutex::new(Vec::new());
        let all = run(&pieces, |at| {
            let mut done = done.lock().unwrap();
            assert!(after[at].iter().all(|before| done.contains(before)), "{at} before {done:?}");
            done.push(at);
            Ok::<(), ()>(())
        });
        assert_eq!(all, Ok(()));
        let mut done = done.into_inner().unwrap();
        done.sort_unstable();
        assert_eq!(done, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn what_waits_for_a_piece_that_failed_is_not_begun() {
        let piece = |after: &[usize]| Piece { after: after.to_vec(), weight: 1 };
        let begun = Mutex::new(Vec::new());
        let failed = run(&[piece(&[]), piece(&[0]), piece(&[1])], |at| {
            begun.lock().unwrap().push(at);
            if at == 1 { Err("no") } else { Ok(()) }
        });
        assert_eq!((failed, begun.into_inner().unwrap()), (Err("no"), vec![0, 1]));
    }
}
