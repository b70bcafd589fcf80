//! What causal consistency demands of the commit order.
//!
//! Every transaction has a clock: of each session, how many of its transactions came before it through any chain of
//! sessions and reads. A transaction that read a key sees of each session the last writer of the key within its clock,
//! which commits before whom it read from. A clock is a row that transactions of a session share until one of them
//! learns something new; a row goes when the last reader of its transactions was done, so that only as many are held
//! as there are writes that somebody will still read.

use std::cmp::Ordering;

use super::graph::Inferred;
use super::reads::{Access, Read};
use super::realtime::Realtime;
use super::registers::Registers;
use super::writers::BySession;
use crate::intern::{NONE, at, id};
use crate::limits::{Stop, Watch};

/// Rows of one number for each session. What a session knows of itself is not in its rows.
struct Clocks {
    width: usize,
    numbers: Vec<u32>,
    /// How many use each row.
    users: Vec<u32>,
    free: Vec<u32>,
}

impl Clocks {
    /// A new row with one user: a copy, or zeros.
    fn row(&mut self, of: u32) -> u32 {
        let new = self.free.pop().unwrap_or_else(|| {
            self.users.push(0);
            self.numbers.resize(self.users.len() * self.width, 0);
            id(self.users.len() - 1)
        });
        self.users[at(new)] = 1;
        let to = at(new) * self.width;
        if of == NONE {
            self.numbers[to..to + self.width].fill(0);
        } else {
            let from = at(of) * self.width;
            self.numbers.copy_within(from..from + self.width, to);
        }
        new
    }

    fn get(&self, row: u32) -> &[u32] {
        let start = at(row) * self.width;
        &self.numbers[start..start + self.width]
    }

    fn raise(&mut self, row: u32, session: u32, number: u32) {
        let known = &mut self.numbers[at(row) * self.width + at(session)];
        *known = (*known).max(number);
    }

    /// Raises a row to another.
    fn join(&mut self, row: u32, other: u32) {
        let (to, from) = (at(row) * self.width, at(other) * self.width);
        let (to, from) = match to.cmp(&from) {
            Ordering::Less => {
                let (low, high) = self.numbers.split_at_mut(from);
                (&mut low[to..to + self.width], &high[..self.width])
            }
            Ordering::Greater => {
                let (low, high) = self.numbers.split_at_mut(to);
                (&mut high[..self.width], &low[from..from + self.width])
            }
            Ordering::Equal => return,
        };
        for (known, learned) in to.iter_mut().zip(from) {
            *known = (*known).max(*learned);
        }
    }

    fn release(&mut self, row: u32) {
        self.users[at(row)] -= 1;
        if self.users[at(row)] == 0 {
            self.free.push(row);
        }
    }
}

/// Walks the history once, each transaction after everything before it.
struct Walk<'a> {
    all: &'a Registers,
    access: &'a Access,
    realtime: Option<&'a Realtime>,
    clocks: Clocks,
    /// Of each session the row it is at.
    current: Vec<u32>,
    /// Of each node its row while somebody will ask for it.
    rows: Vec<u32>,
    /// How many will.
    pending: Vec<u32>,
    writers: BySession,
    inferred: Inferred,
}

/// The commit order that causal consistency demands. `order` has every node after its predecessors.
pub(super) fn causal(
    all: &Registers,
    access: &Access,
    realtime: Option<&Realtime>,
    order: &[u32],
    watch: &mut Watch<'_>,
) -> Result<Inferred, Stop> {
    let width = all.sessions.len();
    let mut clocks = Clocks { width, numbers: Vec::new(), users: Vec::new(), free: Vec::new() };
    let current = (0..width).map(|_| clocks.row(NONE)).collect();
    let nodes = at(all.initial()) + 1 + at(realtime.map_or(0, Realtime::barriers));
    let writers = BySession::new(all, access);
    let (rows, pending) = (vec![NONE; nodes], vec![0; nodes]);
    let inferred = Inferred::default();
    let mut walk = Walk { all, access, realtime, clocks, current, rows, pending, writers, inferred };
    walk.count();
    for node in order {
        let steps = match node.cmp(&all.initial()) {
            Ordering::Less => walk.transaction(*node),
            Ordering::Equal => 1,
            Ordering::Greater => walk.barrier(*node),
        };
        watch.spend(steps)?;
    }
    Ok(walk.inferred)
}

impl Walk<'_> {
    fn count(&mut self) {
        for txn in 0..self.all.initial() {
            for read in self.access.reads(txn) {
                self.pending[at(read.writer)] += 1;
            }
            if let Some(barrier) = self.realtime.and_then(|realtime| realtime.barrier_before(txn)) {
                self.pending[at(barrier)] += 1;
            }
        }
        let Some(realtime) = self.realtime else { return };
        for barrier in self.all.initial() + 1..id(self.pending.len()) {
            for txn in realtime.ended_before(barrier) {
                self.pending[at(*txn)] += 1;
            }
            if at(barrier) + 1 < self.pending.len() {
                self.pending[at(barrier)] += 1;
            }
        }
    }

    /// Somebody asked for the last time for now.
    fn done_with(&mut self, node: u32) {
        self.pending[at(node)] -= 1;
        if self.pending[at(node)] == 0 && self.rows[at(node)] != NONE {
            self.clocks.release(self.rows[at(node)]);
        }
    }

    /// The row of a session, to be written.
    fn own_row(&mut self, session: u32) -> u32 {
        let row = self.current[at(session)];
        if self.clocks.users[at(row)] == 1 {
            return row;
        }
        let new = self.clocks.row(row);
        self.clocks.release(row);
        self.current[at(session)] = new;
        new
    }

    fn transaction(&mut self, txn: u32) -> usize {
        let session = self.all.txns[at(txn)].session;
        let mut steps = 1;
        if let Some(barrier) = self.realtime.and_then(|realtime| realtime.barrier_before(txn)) {
            let row = self.own_row(session);
            self.clocks.join(row, self.rows[at(barrier)]);
            self.done_with(barrier);
            steps += self.clocks.width / 8;
        }
        for Read { writer, .. } in self.access.reads(txn) {
            steps += self.learn(session, *writer);
        }
        for Read { key, writer } in self.access.reads(txn) {
            steps += self.see(txn, *key, *writer);
        }
        for Read { writer, .. } in self.access.reads(txn) {
            if *writer != self.all.initial() {
                self.done_with(*writer);
            }
        }
        if self.pending[at(txn)] > 0 {
            let row = self.current[at(session)];
            self.clocks.users[at(row)] += 1;
            self.rows[at(txn)] = row;
        }
        steps
    }

    /// Takes over what a writer knew, unless it is known: who knows of a transaction knows what that knew.
    fn learn(&mut self, session: u32, writer: u32) -> usize {
        let Some(of) = self.all.txns.get(at(writer)).map(|txn| txn.session).filter(|of| *of != session) else {
            return 1;
        };
        let number = self.all.place(writer) + 1;
        if self.clocks.get(self.current[at(session)])[at(of)] >= number {
            return 1;
        }
        let row = self.own_row(session);
        self.clocks.join(row, self.rows[at(writer)]);
        self.clocks.raise(row, of, number);
        1 + self.clocks.width / 8
    }

    /// Every session's last writer of the key that came before the transaction, and not before the one it read from.
    fn see(&mut self, txn: u32, key: u32, writer: u32) -> usize {
        let all = self.all;
        let session = all.txns[at(txn)].session;
        let known = self.clocks.get(self.current[at(session)]);
        let (of, base) = match all.txns.get(at(writer)) {
            Some(of) => (of.session, Some(self.clocks.get(self.rows[at(writer)]))),
            None => (NONE, None),
        };
        let sessions = self.writers.of(key);
        let steps = sessions.len() / 4 + 1;
        for place in sessions {
            let other = self.writers.session(place);
            let limit = if other == session { all.place(txn) } else { known[at(other)] };
            let below = if other == of { all.place(writer) + 1 } else { base.map_or(0, |base| base[at(other)]) };
            if limit <= below {
                continue;
            }
            let first = all.sessions[at(other)].1;
            let seen = self.writers.last_before(place, first + limit);
            if seen != NONE && seen >= first + below {
                self.inferred.add(seen, writer, txn);
            }
        }
        steps
    }

    fn barrier(&mut self, node: u32) -> usize {
        let Some(realtime) = self.realtime else { return 1 };
        let is_first = node == self.all.initial() + 1;
        let row = self.clocks.row(if is_first { NONE } else { self.rows[at(node) - 1] });
        if !is_first {
            self.done_with(node - 1);
        }
        for txn in realtime.ended_before(node) {
            self.clocks.join(row, self.rows[at(*txn)]);
            self.clocks.raise(row, self.all.txns[at(*txn)].session, self.all.place(*txn) + 1);
            self.done_with(*txn);
        }
        self.rows[at(node)] = row;
        if self.pending[at(node)] == 0 {
            self.clocks.release(row);
        }
        self.clocks.width / 8 * (realtime.ended_before(node).len() + 1) + 1
    }
}
