//! What read committed and read atomic demand of the commit order.
//!
//! After Møldrup, Pavlogiannis and others, "AWDIT: An Optimal Weak Database Isolation Tester" (PLDI 2025): of each two
//! sets of keys the smaller one is walked, which makes the work O(n^1.5).

use super::graph::Inferred;
use super::reads::{Access, Read};
use super::realtime::Realtime;
use super::registers::Registers;
use super::writers::Writers;
use crate::intern::{NONE, at};
use crate::limits::{Stop, Watch};

/// For each key who was met there last, good for one transaction.
struct Met {
    by_key: Vec<(u32, u32)>,
    keys: Vec<u32>,
    /// The transaction that last read from each, so that each is taken once.
    by_writer: Vec<u32>,
}

impl Met {
    fn new(all: &Registers) -> Self {
        Self {
            by_key: vec![(NONE, NONE); all.key_count()],
            keys: Vec::new(),
            by_writer: vec![NONE; at(all.initial()) + 1],
        }
    }

    fn of(&self, txn: u32, key: u32) -> Option<u32> {
        let (by, met) = self.by_key[at(key)];
        (by == txn).then_some(met)
    }

    fn set(&mut self, txn: u32, key: u32, met: u32) {
        if self.by_key[at(key)].0 != txn {
            self.keys.push(key);
        }
        self.by_key[at(key)] = (txn, met);
    }

    /// Whether this transaction reads from that one for the first time.
    fn is_first(&mut self, txn: u32, writer: u32) -> bool {
        std::mem::replace(&mut self.by_writer[at(writer)], txn) != txn
    }

    /// Of the keys that were met, those that `seen` wrote, each with who was met there.
    fn written_by(&self, txn: u32, seen: u32, access: &Access, mut found: impl FnMut(u32)) -> usize {
        let writes = access.writes(seen);
        if writes.len() <= self.keys.len() {
            writes.iter().filter_map(|key| self.of(txn, *key)).for_each(&mut found);
            return writes.len();
        }
        let is_written = |key: &&u32| writes.binary_search(key).is_ok();
        self.keys.iter().filter(is_written).filter_map(|key| self.of(txn, *key)).for_each(&mut found);
        self.keys.len()
    }
}

/// Whoever a transaction read from before it read a key, and who also wrote that key, commits before whom it read the
/// key from. Of several reads of a key the next one is enough: the rest follows.
pub(super) fn read_committed(all: &Registers, access: &Access, watch: &mut Watch<'_>) -> Result<Inferred, Stop> {
    let mut inferred = Inferred::default();
    let mut met = Met::new(all);
    let mut is_first: Vec<bool> = Vec::new();
    for txn in 0..all.initial() {
        let reads = access.reads(txn);
        watch.spend(reads.len() + 1)?;
        is_first.clear();
        is_first.extend(reads.iter().map(|read| met.is_first(txn, read.writer)));
        met.keys.clear();
        for (Read { key, writer }, is_first) in reads.iter().zip(&is_first).rev() {
            if *is_first {
                let work = met.written_by(txn, *writer, access, |next| inferred.add(*writer, next, txn));
                watch.spend(work)?;
            }
            if let Some(next) = met.of(txn, *key) {
                inferred.add(*writer, next, txn);
            }
            met.set(txn, *key, *writer);
        }
    }
    Ok(inferred)
}

/// Whoever a transaction read from anything, and who wrote a key that it read, commits before whom it read that key
/// from; and so does the last of its session, and of those that ended before it began, to write the key.
pub(super) fn read_atomic(
    all: &Registers,
    access: &Access,
    realtime: Option<&Realtime>,
    watch: &mut Watch<'_>,
) -> Result<Inferred, Stop> {
    let mut inferred = Inferred::default();
    let mut met = Met::new(all);
    let writers = realtime.map(|_| Writers::by_end(all, access));
    // Of each key the last writer, and its session.
    let mut last: Vec<(u32, u32)> = vec![(NONE, NONE); all.key_count()];
    for txn in 0..all.initial() {
        let reads = access.reads(txn);
        let session = all.txns[at(txn)].session;
        watch.spend(reads.len() + 1)?;
        met.keys.clear();
        for Read { key, writer } in reads {
            match met.of(txn, *key) {
                Some(other) if other != *writer => {
                    inferred.add(*writer, other, txn);
                    inferred.add(other, *writer, txn);
                }
                Some(_) => continue,
                None => met.set(txn, *key, *writer),
            }
            let (of, before) = last[at(*key)];
            if of == session {
                inferred.add(before, *writer, txn);
            }
            if let Some(writers) = &writers {
                let work = writers.ended_before(all, txn, *key, |before| inferred.add(before, *writer, txn));
                watch.spend(work)?;
            }
        }
        for Read { writer, .. } in reads {
            if met.is_first(txn, *writer) {
                let work = met.written_by(txn, *writer, access, |of| inferred.add(*writer, of, txn));
                watch.spend(work)?;
            }
        }
        for key in access.writes(txn) {
            last[at(*key)] = (session, txn);
        }
    }
    Ok(inferred)
}
