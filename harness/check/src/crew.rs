//! Large texts in pieces: several threads read them, and one takes what was read in the order of the text.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Who reads a text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Crew {
    /// Threads, the caller's too.
    pub threads: usize,
    /// Bytes of a piece, about. Shorter texts are not cut.
    pub piece: usize,
}

/// A few milliseconds of work.
const PIECE: usize = 1 << 20;

/// The most threads: one of them takes what all read.
const MOST: usize = 8;

impl Crew {
    /// Only the caller.
    pub const ALONE: Self = Self { threads: 1, piece: usize::MAX };

    /// As many threads as there are cores, when a text of so many bytes is worth it.
    pub fn of_machine(bytes: usize) -> Self {
        // Asking for the cores reads files of control groups.
        if bytes < 4 * PIECE {
            return Self::ALONE;
        }
        let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST);
        Self { threads, piece: PIECE }
    }

    /// Whether there is anybody to share with.
    pub(crate) fn is_alone(self, bytes: usize) -> bool {
        self.threads < 2 || bytes <= self.piece
    }

    /// Reads pieces of a text, from a place on, side by side, and hands them to `take` one after the other, until it says that
    /// it is enough. A piece ends where `cut` says for a place at which it may end at the earliest.
    pub(crate) fn read<T: Send>(
        self,
        range: Range<usize>,
        cut: impl Fn(usize) -> usize + Sync,
        read: impl Fn(Range<usize>) -> T + Sync,
        mut take: impl FnMut(Range<usize>, T) -> bool,
    ) {
        let end = range.end;
        let board = Board::new(range.start, end);
        let claim = |work: &mut Work<T>| -> (usize, Range<usize>) {
            let from = work.next;
            work.next = cut(from.saturating_add(self.piece).min(end)).clamp(from + 1, end);
            work.begun += 1;
            (work.begun - 1, from..work.next)
        };
        // So that memory stays small when taking is slower than reading.
        let ahead = self.threads * 2;
        let help = || {
            let _leaving = Leaving(&board, false);
            let mut work = board.lock();
            while !work.is_over && work.next < end {
                if work.begun >= work.taken + ahead {
                    work = board.wait(work);
                    continue;
                }
                let (number, piece) = claim(&mut work);
                drop(work);
                let found = read(piece.clone());
                work = board.lock();
                work.done.insert(number, (piece, found));
                board.changed.notify_all();
            }
        };
        thread::scope(|scope| {
            let _leaving = Leaving(&board, true);
            for _ in 1..self.threads {
                scope.spawn(help);
            }
            let mut work = board.lock();
            while !work.is_over && (work.taken < work.begun || work.next < end) {
                let taken = work.taken;
                if let Some((piece, found)) = work.done.remove(&taken) {
                    work.taken += 1;
                    board.changed.notify_all();
                    drop(work);
                    if !take(piece, found) {
                        return;
                    }
                    work = board.lock();
                } else if work.next < end && work.begun < work.taken + ahead {
                    let (number, piece) = claim(&mut work);
                    drop(work);
                    let found = read(piece.clone());
                    work = board.lock();
                    work.done.insert(number, (piece, found));
                } else {
                    work = board.wait(work);
                }
            }
        });
    }
}

/// What all know of the pieces.
struct Work<T> {
    /// Where the next piece begins.
    next: usize,
    /// Pieces that somebody reads or has read, and pieces that were taken.
    begun: usize,
    taken: usize,
    done: BTreeMap<usize, (Range<usize>, T)>,
    is_over: bool,
}

struct Board<T> {
    work: Mutex<Work<T>>,
    changed: Condvar,
}

impl<T> Board<T> {
    fn new(next: usize, end: usize) -> Self {
        let work = Work { next, begun: 0, taken: 0, done: BTreeMap::new(), is_over: next >= end };
        Self { work: Mutex::new(work), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Work<T>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, work: MutexGuard<'a, Work<T>>) -> MutexGuard<'a, Work<T>> {
        self.changed.wait(work).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody waits for a thread that is gone: when the one that takes leaves, or any by a panic, it is over for all.
struct Leaving<'a, T>(&'a Board<T>, bool);

impl<T> Drop for Leaving<'_, T> {
    fn drop(&mut self) {
        if self.1 || thread::panicking() {
            self.0.lock().is_over = true;
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic;

    #[test]
    fn pieces_are_taken_in_order() {
        for (threads, piece, length) in [(1, 3, 100), (2, 1, 100), (3, 7, 100), (8, 5, 23), (2, 1000, 10), (4, 3, 0)] {
            let mut taken = Vec::new();
            let crew = Crew { threads, piece };
            crew.read(
                0..length,
                |at| at.next_multiple_of(2),
                Iterator::collect::<Vec<_>>,
                |range, found| {
                    assert_eq!(range.clone().collect::<Vec<_>>(), found);
                    taken.extend(range);
                    true
                },
            );
            assert_eq!(taken, (0..length).collect::<Vec<_>>());
        }
    }

    #[test]
    fn it_ends_when_it_is_enough() {
        let mut taken = 0;
        let crew = Crew { threads: 3, piece: 1 };
        crew.read(
            0..1000,
            |at| at,
            |_| (),
            |_, ()| {
                taken += 1;
                taken < 10
            },
        );
        assert_eq!(taken, 10);
    }

    #[test]
    fn a_panic_of_one_is_one_of_all() {
        for threads in 1..4 {
            let crew = Crew { threads, piece: 1 };
            let run = || crew.read(0..100, |at| at, |range| assert!(range.start != 50), |_, ()| true);
            panic::catch_unwind(run).unwrap_err();
        }
    }
}
