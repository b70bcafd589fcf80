//! How long a file is, while that is known. To ask the file system has the next write noted in the file's times at once, and
//! the next sync bring that to the disk (multigrain timestamps, Linux 6.13).

use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Default, Debug)]
struct State {
    /// In bytes, if no change is under way and the last one was a write alone.
    known: Option<u64>,
    under_way: usize,
    begun: u64,
}

/// The length of a file that changes.
#[derive(Default, Debug)]
pub(super) struct Length(Mutex<State>);

impl Length {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change is about to be made, and is under way until what this gives is dropped.
    pub(super) fn begin(&self, file: &File) -> io::Result<Changing<'_>> {
        let mut state = self.state();
        let alone = state.under_way == 0;
        state.under_way += 1;
        state.begun += 1;
        let (known, turn) = (state.known.take(), state.begun);
        drop(state);
        let mut change = Changing { length: self, before: 0, alone, turn };
        change.before = match known {
            Some(bytes) => bytes,
            None => file.metadata()?.len(),
        };
        Ok(change)
    }
}

/// A change that is under way.
#[derive(Debug)]
pub(super) struct Changing<'a> {
    length: &'a Length,
    before: u64,
    alone: bool,
    turn: u64,
}

impl Changing<'_> {
    /// How long the file was, in bytes.
    pub(super) fn before(&self) -> u64 {
        self.before
    }

    /// It was a write, and has been made up to here. The kernel has one at a time write to a file, but brings mapped pages
    /// back beside it: then neither knows what the other has done.
    pub(super) fn written(self, end: u64) {
        let mut state = self.length.state();
        if self.alone && state.begun == self.turn {
            state.known = Some(self.before.max(end));
        }
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.length.state().under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write<'a>(length: &'a Length, file: &File) -> Changing<'a> {
        length.begin(file).unwrap()
    }

    #[test]
    fn it_is_remembered_between_writes_and_asked_for_after_all_else() {
        let file = tempfile::tempfile().unwrap();
        let length = Length::default();
        write(&length, &file).written(10);
        // What was remembered, not what is.
        assert_eq!(write(&length, &file).before(), 10);
        assert_eq!(write(&length, &file).before(), 0, "a change that was no write");
        write(&length, &file).written(10);
        write(&length, &file).written(4);
        assert_eq!(write(&length, &file).before(), 10);
    }

    #[test]
    fn what_changes_at_the_same_time_is_not_remembered() {
        let file = tempfile::tempfile().unwrap();
        for other_first in [true, false] {
            for longer_first in [true, false] {
                let length = Length::default();
                let (longer, other) = if longer_first {
                    let longer = write(&length, &file);
                    (longer, write(&length, &file))
                } else {
                    let other = write(&length, &file);
                    (write(&length, &file), other)
                };
                if other_first {
                    file.set_len(0).unwrap();
                    other.written(4);
                    // Already longer, when the next change comes before its end is told.
                    file.set_len(10).unwrap();
                    assert_eq!(write(&length, &file).before(), 10);
                    longer.written(10);
                } else {
                    file.set_len(10).unwrap();
                    longer.written(10);
                    assert_eq!(write(&length, &file).before(), 10);
                    other.written(4);
                }
                assert_eq!(write(&length, &file).before(), 10);
                file.set_len(0).unwrap();
            }
        }
    }
}
