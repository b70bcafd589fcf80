//! What each transaction read from whom and wrote, without what it read of its own; and what single reads show.

use super::registers::{Mop, Outcome, Registers};
use super::report::{Anomaly, Findings};
use crate::intern::{NONE, at, id};
use crate::limits::{Stop, Watch};

/// A read of another transaction's write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) key: u32,
    /// Who wrote it; it may be the initial transaction.
    pub(super) writer: u32,
}

/// Of each transaction that took effect its reads in order, and the keys it wrote.
#[derive(Debug)]
pub(super) struct Access {
    reads: Vec<Read>,
    read_rows: Vec<u32>,
    writes: Vec<u32>,
    write_rows: Vec<u32>,
}

impl Access {
    /// Adds what single reads show to the findings. Such reads are left out of the rest.
    pub(super) fn new(all: &Registers, findings: &mut Findings, watch: &mut Watch<'_>) -> Result<Self, Stop> {
        let mut new = Self { reads: Vec::new(), read_rows: vec![0], writes: Vec::new(), write_rows: vec![0] };
        // Of each key the last transaction that wrote it, and the version it left so far.
        let mut own: Vec<(u32, u32)> = vec![(NONE, NONE); all.key_count()];
        for txn in 0..all.initial() {
            let mops = all.mops_of(txn);
            watch.spend(mops.len() + 1)?;
            let outcome = all.txns[at(txn)].outcome;
            for mop in mops {
                let known = own[at(mop.key())];
                if mop.is_write() {
                    if outcome != Outcome::Aborted {
                        if known.0 != txn {
                            new.writes.push(mop.key());
                        }
                        own[at(mop.key())] = (txn, mop.version);
                    }
                    continue;
                }
                if outcome != Outcome::Committed {
                    continue;
                }
                if known.0 == txn {
                    if known.1 != mop.version {
                        findings.add(all, Anomaly::Internal, &[txn], || vec![internal(all, *mop, known.1)]);
                    }
                    continue;
                }
                if let Some(writer) = read_from(all, txn, *mop, findings) {
                    new.reads.push(Read { key: mop.key(), writer });
                }
            }
            new.read_rows.push(id(new.reads.len()));
            let start = at(new.write_rows[at(txn)]);
            new.writes[start..].sort_unstable();
            new.write_rows.push(id(new.writes.len()));
        }
        Ok(new)
    }

    /// Reads of other transactions' writes. The initial transaction has none.
    pub(super) fn reads(&self, txn: u32) -> &[Read] {
        match self.read_rows.get(at(txn)..at(txn) + 2) {
            Some([start, end]) => &self.reads[at(*start)..at(*end)],
            _ => &[],
        }
    }

    /// The keys it wrote, sorted, each once. Of the initial transaction none are listed.
    pub(super) fn writes(&self, txn: u32) -> &[u32] {
        match self.write_rows.get(at(txn)..at(txn) + 2) {
            Some([start, end]) => &self.writes[at(*start)..at(*end)],
            _ => &[],
        }
    }

    pub(super) fn write_count(&self) -> usize {
        self.writes.len()
    }
}

fn internal(all: &Registers, mop: Mop, expected: u32) -> String {
    let (key, found, expected) = (all.key_name(mop.key()), all.value(mop.version), all.value(expected));
    format!("T1 read {found} of key {key} after it wrote {expected} itself")
}

/// Whom a read is from, unless that alone is an anomaly.
fn read_from(all: &Registers, txn: u32, mop: Mop, findings: &mut Findings) -> Option<u32> {
    let version = all.versions[at(mop.version)];
    let words = || (all.value(mop.version), all.key_name(mop.key()));
    if version.writer == NONE {
        findings.add(all, Anomaly::GarbageRead, &[txn], || {
            let (value, key) = words();
            vec![format!("T1 read {value} of key {key}, and nobody wrote it")]
        });
        return None;
    }
    if version.is_aborted() {
        findings.add(all, Anomaly::AbortedRead, &[version.writer, txn], || {
            let (value, key) = words();
            vec![format!("T2 read {value} of key {key}, and T1, which wrote it, aborted")]
        });
        return None;
    }
    if version.writer == txn {
        findings.add(all, Anomaly::FutureRead, &[txn], || {
            let (value, key) = words();
            vec![format!("T1 read {value} of key {key} before it wrote it")]
        });
        return None;
    }
    if version.is_intermediate() {
        findings.add(all, Anomaly::IntermediateRead, &[version.writer, txn], || {
            let (value, key) = words();
            vec![format!("T2 read {value} of key {key}, and T1, which wrote it, wrote another value after it")]
        });
        return None;
    }
    Some(version.writer)
}
