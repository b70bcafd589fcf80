//! Of each key who wrote it.

use super::reads::Access;
use super::registers::Registers;
use crate::intern::{NONE, at, id};

/// Writers in rows by key.
#[derive(Debug)]
pub(super) struct Writers {
    rows: Vec<u32>,
    list: Vec<u32>,
}

impl Writers {
    /// In order of their numbers: by session, and in each session as it performed them.
    pub(super) fn by_session(all: &Registers, access: &Access) -> Self {
        let mut rows = vec![0_u32; all.key_count() + 2];
        for txn in 0..all.initial() {
            for key in access.writes(txn) {
                rows[at(*key) + 2] += 1;
            }
        }
        for key in 2..rows.len() {
            rows[key] += rows[key - 1];
        }
        let mut list = vec![0; access.write_count()];
        for txn in 0..all.initial() {
            for key in access.writes(txn) {
                let next = &mut rows[at(*key) + 1];
                list[at(*next)] = txn;
                *next += 1;
            }
        }
        rows.pop();
        Self { rows, list }
    }

    /// In the order in which they ended; those that never did come last.
    pub(super) fn by_end(all: &Registers, access: &Access) -> Self {
        let mut new = Self::by_session(all, access);
        for key in 0..all.key_count() {
            let row = at(new.rows[key])..at(new.rows[key + 1]);
            new.list[row].sort_unstable_by_key(|txn| all.txns[at(*txn)].ends);
        }
        new
    }

    pub(super) fn of(&self, key: u32) -> &[u32] {
        &self.list[at(self.rows[at(key)])..at(self.rows[at(key) + 1])]
    }

    /// Where the writers of a key begin among all.
    pub(super) fn start(&self, key: u32) -> u32 {
        self.rows[at(key)]
    }

    /// Who wrote the key and ended before this transaction began, but for those that ended before another of them
    /// began. The writers must be in the order of their ends. Says how many were looked at.
    pub(super) fn ended_before(&self, all: &Registers, txn: u32, key: u32, mut found: impl FnMut(u32)) -> usize {
        let begins = all.txns[at(txn)].begins;
        let writers = self.of(key);
        let end = writers.partition_point(|writer| all.txns[at(*writer)].ends < begins);
        let mut latest = 0;
        for (looked, writer) in writers[..end].iter().rev().enumerate() {
            let of = &all.txns[at(*writer)];
            if of.ends < latest {
                return looked + 1;
            }
            latest = latest.max(of.begins);
            found(*writer);
        }
        end
    }
}

/// The writers of one key in one session.
#[derive(Clone, Copy, Debug)]
pub(super) struct InSession {
    pub(super) session: u32,
    start: u32,
    end: u32,
    /// Where the last question was answered. Questions mostly come in the order of the history.
    cursor: u32,
}

/// Writers by key and session.
#[derive(Debug)]
pub(super) struct BySession {
    writers: Writers,
    rows: Vec<u32>,
    sessions: Vec<InSession>,
}

impl BySession {
    pub(super) fn new(all: &Registers, access: &Access) -> Self {
        let writers = Writers::by_session(all, access);
        let mut rows = vec![0];
        let mut sessions: Vec<InSession> = Vec::new();
        for key in 0..id(all.key_count()) {
            let start = writers.start(key);
            let first = sessions.len();
            for (place, txn) in (start..).zip(writers.of(key)) {
                let session = all.txns[at(*txn)].session;
                match sessions[first..].last_mut() {
                    Some(last) if last.session == session => last.end = place + 1,
                    _ => sessions.push(InSession { session, start: place, end: place + 1, cursor: place }),
                }
            }
            rows.push(id(sessions.len()));
        }
        Self { writers, rows, sessions }
    }

    /// Where the sessions that wrote this key are.
    pub(super) fn of(&self, key: u32) -> std::ops::Range<usize> {
        at(self.rows[at(key)])..at(self.rows[at(key) + 1])
    }

    pub(super) fn session(&self, place: usize) -> u32 {
        self.sessions[place].session
    }

    /// The last writer before a transaction of the session; [`NONE`] when there is none.
    pub(super) fn last_before(&mut self, place: usize, limit: u32) -> u32 {
        let of = &mut self.sessions[place];
        let list = &self.writers.list;
        if list[at(of.start)] >= limit {
            return NONE;
        }
        // Doubling steps from the last answer, then a binary search between the last two.
        let (mut low, mut high) = (of.start, of.end);
        let mut step = 1;
        if list[at(of.cursor)] < limit {
            low = of.cursor;
            while low + step < of.end && list[at(low + step)] < limit {
                low += step;
                step *= 2;
            }
            high = high.min(low + step);
        } else {
            high = of.cursor;
            while high >= of.start + step && list[at(high - step)] >= limit {
                high -= step;
                step *= 2;
            }
            low = low.max(high.saturating_sub(step));
        }
        let row = &list[at(low)..at(high)];
        of.cursor = low + id(row.partition_point(|txn| *txn < limit)) - 1;
        list[at(of.cursor)]
    }
}
