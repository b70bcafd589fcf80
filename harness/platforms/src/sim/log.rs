//! The log of one simulated node. Everything in it survives a crash.

use firedrill_core::cluster::{Epoch, Position};
use firedrill_core::time::RunTime;

/// One entry of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// The epoch it was written on.
    pub(super) epoch: Epoch,
    /// When, on its primary.
    pub(super) at: RunTime,
    /// The row it adds; none for the entry that begins an epoch or makes the ledger.
    pub(super) row: Option<u64>,
}

/// The position after so many entries.
pub(super) fn position(len: usize) -> Position {
    Position(u64::try_from(len).unwrap_or(u64::MAX))
}

#[derive(Default)]
pub(super) struct Log {
    entries: Vec<Entry>,
    commit: usize,
}

impl Log {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn commit(&self) -> usize {
        self.commit
    }

    /// Never goes back.
    pub(super) fn commit_to(&mut self, len: usize) {
        self.commit = self.commit.max(len.min(self.len()));
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// The epoch of the last of the first `len` entries; epoch 0 before the first.
    pub(super) fn epoch_at(&self, len: usize) -> Epoch {
        len.checked_sub(1).and_then(|last| self.entries.get(last)).map_or(Epoch(0), |entry| entry.epoch)
    }

    /// What candidates are compared by (Raft §5.4.1).
    pub(super) fn last(&self) -> (Epoch, usize) {
        (self.epoch_at(self.len()), self.len())
    }

    /// How many entries were written before or at `moment`.
    pub(super) fn written_before(&self, moment: RunTime) -> usize {
        self.entries.partition_point(|entry| entry.at <= moment)
    }

    pub(super) fn between(&self, start: usize, end: usize) -> Vec<Entry> {
        self.entries.get(start..end).unwrap_or_default().to_vec()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.entries.truncate(len);
        self.commit = self.commit.min(len);
    }

    /// Takes over what a primary ships after `before` entries, dropping a tail that differs. Returns how far the log agrees
    /// with the primary's, or from where it should ship again.
    pub(super) fn accept(
        &mut self,
        before: usize,
        before_epoch: Epoch,
        entries: Vec<Entry>,
        commit: usize,
    ) -> Result<usize, usize> {
        if before > self.len() || self.epoch_at(before) != before_epoch {
            return Err(self.commit.min(before.saturating_sub(1)));
        }
        let end = before + entries.len();
        for (index, entry) in (before..).zip(entries) {
            if self.entries.get(index).is_some_and(|mine| mine.epoch != entry.epoch) {
                self.truncate(index);
            }
            if index == self.len() {
                self.entries.push(entry);
            }
        }
        self.commit_to(commit.min(end));
        Ok(end)
    }

    /// The committed rows, ascending.
    pub(super) fn rows(&self) -> Vec<u64> {
        let mut rows: Vec<u64> = self.entries.iter().take(self.commit).filter_map(|entry| entry.row).collect();
        rows.sort_unstable();
        rows
    }

    /// Where the epoch changes: old, new, entries before the change.
    pub(super) fn forks(&self) -> Vec<(Epoch, Epoch, u64)> {
        let pairs = (1_u64..).zip(self.entries.windows(2));
        let changes = pairs.filter_map(|(fork, pair)| match pair {
            [old, new] if old.epoch != new.epoch => Some((old.epoch, new.epoch, fork)),
            _ => None,
        });
        changes.collect()
    }
}
