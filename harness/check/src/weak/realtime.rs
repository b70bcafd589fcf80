//! Real time as barriers: one wherever a transaction begins after others ended. Linear in the history.

use super::registers::{Outcome, Registers};
use crate::intern::{NONE, at, id};

/// The barriers. Barrier `b` is the node `first + b`.
#[derive(Debug)]
pub(super) struct Realtime {
    first: u32,
    /// Of each transaction the last barrier before it, as a node, or [`NONE`].
    before: Vec<u32>,
    /// Transactions that ended, in that order, and where those between one barrier and the next begin.
    ended: Vec<u32>,
    rows: Vec<u32>,
}

impl Realtime {
    pub(super) fn new(all: &Registers) -> Self {
        let first = all.initial() + 1;
        let took_part = |txn: &u32| all.txns[at(*txn)].outcome != Outcome::Aborted;
        let mut begun: Vec<u32> = (0..all.initial()).filter(took_part).collect();
        let mut ended: Vec<u32> = begun.iter().copied().filter(|txn| all.txns[at(*txn)].ends != NONE).collect();
        begun.sort_unstable_by_key(|txn| all.txns[at(*txn)].begins);
        ended.sort_unstable_by_key(|txn| all.txns[at(*txn)].ends);
        let mut before = vec![NONE; all.txns.len()];
        let mut rows = vec![0];
        let mut next = 0;
        for txn in begun {
            let begins = all.txns[at(txn)].begins;
            let start = next;
            while ended.get(next).is_some_and(|done| all.txns[at(*done)].ends < begins) {
                next += 1;
            }
            if next > start {
                rows.push(id(next));
            }
            if rows.len() > 1 {
                before[at(txn)] = first + id(rows.len() - 2);
            }
        }
        ended.truncate(next);
        Self { first, before, ended, rows }
    }

    pub(super) fn barriers(&self) -> u32 {
        id(self.rows.len() - 1)
    }

    pub(super) fn barrier_before(&self, txn: u32) -> Option<u32> {
        self.before.get(at(txn)).copied().filter(|barrier| *barrier != NONE)
    }

    /// The barrier before this one, and who ended since.
    pub(super) fn before_barrier(&self, node: u32, cursor: u32) -> Option<u32> {
        let number = node - self.first;
        if number > 0 && cursor == 0 {
            return Some(node - 1);
        }
        self.ended_before(node).get(at(cursor - u32::from(number > 0))).copied()
    }

    /// Who ended between the barrier before this one and this one.
    pub(super) fn ended_before(&self, node: u32) -> &[u32] {
        let number = at(node - self.first);
        &self.ended[at(self.rows[number])..at(self.rows[number + 1])]
    }
}
