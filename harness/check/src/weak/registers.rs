//! Transactions of registers, compact: those of a session have numbers that follow each other.

use std::ops::Range;

use crate::history::{Access, Format, INITIAL, Loaded, RawOp, Value, scan_accesses};
use crate::intern::{Interner, Kept, NONE, at, id};
use crate::limits::{Stop, Watch};
pub(super) use crate::micro::Outcome;
use crate::micro::{Micro, called, micro};
use crate::txn::{TxnError, Unread};

/// A transaction.
#[derive(Clone, Debug)]
pub(super) struct Txn {
    pub(super) session: u32,
    pub(super) outcome: Outcome,
    /// Of its last event, from 1.
    pub(super) line: u32,
    /// Places in the history. An end of [`NONE`] is open.
    pub(super) begins: u32,
    pub(super) ends: u32,
    pub(super) mops: Range<u32>,
}

/// A read or a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mop {
    /// The highest bit says that it is a write.
    key: u32,
    pub(super) version: u32,
}

const WRITE: u32 = 1 << 31;

impl Mop {
    fn new(is_write: bool, key: u32, version: u32) -> Self {
        Self { key: if is_write { key | WRITE } else { key & !WRITE }, version }
    }

    pub(super) fn is_write(self) -> bool {
        self.key & WRITE != 0
    }

    pub(super) fn key(self) -> u32 {
        self.key & !WRITE
    }
}

/// A value of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Version {
    value: i64,
    /// Who wrote it, or who wrote it and aborted, or the initial transaction, or [`NONE`].
    pub(super) writer: u32,
    flags: u8,
}

const ODD: u8 = 1;
const ABORTED: u8 = 2;
const INTERMEDIATE: u8 = 4;
const INITIALLY: u8 = 8;

impl Version {
    pub(super) fn is_aborted(self) -> bool {
        self.flags & ABORTED != 0
    }

    /// Its writer wrote the key once more.
    pub(super) fn is_intermediate(self) -> bool {
        self.flags & INTERMEDIATE != 0
    }
}

/// Every transaction of a history. The initial transaction has the number after the last; it has no operations here.
#[derive(Default, Debug)]
pub(super) struct Registers {
    pub(super) txns: Vec<Txn>,
    pub(super) mops: Vec<Mop>,
    pub(super) versions: Vec<Version>,
    /// Of each session its name and its first transaction.
    pub(super) sessions: Vec<(i64, u32)>,
    /// The transactions as the file has them.
    pub(super) in_file_order: Vec<u32>,
    pub(super) has_realtime: bool,
    keys: Vec<Kept>,
    key_ids: Interner,
    version_ids: Interner,
    session_ids: Interner,
    /// A key's value 0 is the initial one unless somebody wrote it.
    zero_is_initial: bool,
}

impl Registers {
    /// Those of a text of Plume or AWDIT.
    pub(super) fn scan(text: &str, format: Format, watch: &mut Watch<'_>) -> Result<Self, Unread> {
        let mut all = Self { zero_is_initial: true, ..Self::default() };
        let mut names = Interner::default();
        // What follows each other in the file and belongs to one transaction.
        let mut runs: Vec<(u32, u32)> = Vec::new();
        let mut last = None;
        let mut stopped = None;
        scan_accesses(text, format, |access| {
            if let Err(stop) = watch.spend(1).and_then(|()| all.room(watch)) {
                stopped = Some(stop);
                return false;
            }
            if format == Format::Plume && access.txn == INITIAL {
                all.initially(access);
                return true;
            }
            if last != Some((access.session, access.txn)) {
                last = Some((access.session, access.txn));
                let session = all.session(access.session);
                let (txn, is_new) = names.int(session, access.txn);
                if is_new {
                    let place = id(all.txns.len());
                    let line = id(access.line);
                    let (outcome, mops) = (Outcome::Committed, 0..0);
                    all.txns.push(Txn { session, outcome, line, begins: place, ends: place, mops });
                }
                runs.push((txn, id(all.mops.len())));
            }
            let key = all.key(&Value::Int(access.key));
            let version = all.version(key, &Value::Int(access.value));
            all.mops.push(Mop::new(access.is_write, key, version));
            true
        })
        .map_err(TxnError::Calls)?;
        if let Some(stop) = stopped {
            return Err(stop.into());
        }
        drop(names);
        all.gather(&runs);
        all.finish(watch)?;
        Ok(all)
    }

    /// Those of a history of `[:w key value]` and `[:r key value]`.
    pub(super) fn read(history: &Loaded, watch: &mut Watch<'_>) -> Result<Self, Unread> {
        let mut all = Self { has_realtime: history.format.has_realtime(), ..Self::default() };
        for call in called(history, watch)? {
            let first = id(all.mops.len());
            let items = TxnError::items(call.op)?;
            watch.spend(items.len() + 1)?;
            for item in items {
                all.mop(call.op, item, call.outcome)?;
            }
            let session = all.session(call.process);
            let line = id(call.complete.unwrap_or(call.op).line);
            let (begins, ends) = (id(call.begins), call.ends.map_or(NONE, id));
            let (outcome, mops) = (call.outcome, first..id(all.mops.len()));
            all.txns.push(Txn { session, outcome, line, begins, ends, mops });
        }
        all.finish(watch)?;
        Ok(all)
    }

    fn mop(&mut self, op: &RawOp, item: &Value, outcome: Outcome) -> Result<(), TxnError> {
        let wrong = || TxnError::shape(op, "a micro-operation [:w key value] or [:r key value]", item);
        let Micro { name, key, value } = micro(item).ok_or_else(wrong)?;
        let is_write = match name {
            "w" if !value.is_nil() => true,
            "r" if outcome != Outcome::Committed => return Ok(()),
            "r" => false,
            _ => return Err(wrong()),
        };
        let key = self.key(key);
        let version = self.version(key, value);
        if value.is_nil() {
            self.versions[at(version)].flags |= INITIALLY;
        }
        self.mops.push(Mop::new(is_write, key, version));
        Ok(())
    }

    fn initially(&mut self, access: Access) {
        let key = self.key(&Value::Int(access.key));
        let version = self.version(key, &Value::Int(access.value));
        if access.is_write {
            self.versions[at(version)].flags |= INITIALLY;
        }
    }

    /// Asks before a large table is made in place of another.
    fn room(&self, watch: &mut Watch<'_>) -> Result<(), Stop> {
        let bytes = self.key_ids.growth() + self.version_ids.growth();
        if bytes > 0 { watch.ask_for(bytes) } else { Ok(()) }
    }

    fn session(&mut self, name: i64) -> u32 {
        let (session, is_new) = self.session_ids.int(0, name);
        if is_new {
            self.sessions.push((name, NONE));
        }
        session
    }

    fn key(&mut self, key: &Value) -> u32 {
        let (key, kept, is_new) = self.key_ids.any(0, key);
        if is_new {
            self.keys.push(kept);
        }
        key
    }

    fn version(&mut self, key: u32, value: &Value) -> u32 {
        let (version, kept, is_new) = self.version_ids.any(key, value);
        if is_new {
            let (value, odd) = match kept {
                Kept::Int(value) => (value, 0),
                Kept::Odd(place) => (i64::from(place), ODD),
            };
            self.versions.push(Version { value, writer: NONE, flags: odd });
        }
        version
    }

    /// Gives each transaction its operations, which may lie apart in the file.
    fn gather(&mut self, runs: &[(u32, u32)]) {
        let end = |run: usize| runs.get(run + 1).map_or(id(self.mops.len()), |(_, start)| *start);
        if runs.len() == self.txns.len() {
            for (place, (txn, start)) in runs.iter().enumerate() {
                self.txns[at(*txn)].mops = *start..end(place);
            }
            return;
        }
        let mut by_txn: Vec<(u32, u32, u32)> =
            runs.iter().enumerate().map(|(place, (txn, start))| (*txn, *start, end(place))).collect();
        by_txn.sort_unstable();
        let mut mops = Vec::with_capacity(self.mops.len());
        for of_txn in by_txn.chunk_by(|a, b| a.0 == b.0) {
            let start = id(mops.len());
            for (_, from, to) in of_txn {
                mops.extend_from_slice(&self.mops[at(*from)..at(*to)]);
            }
            self.txns[at(of_txn[0].0)].mops = start..id(mops.len());
        }
        self.mops = mops;
    }

    /// Numbers the transactions by session, and notes who wrote what.
    fn finish(&mut self, watch: &mut Watch<'_>) -> Result<(), Unread> {
        let mut next: Vec<u32> = vec![0; self.sessions.len() + 1];
        for txn in &self.txns {
            next[at(txn.session) + 1] += 1;
        }
        for session in 1..next.len() {
            next[session] += next[session - 1];
        }
        for (session, start) in self.sessions.iter_mut().zip(&next) {
            session.1 = *start;
        }
        let mut order = vec![0; self.txns.len()];
        self.in_file_order = Vec::with_capacity(order.len());
        for (place, txn) in self.txns.iter().enumerate() {
            let number = &mut next[at(txn.session)];
            order[at(*number)] = id(place);
            self.in_file_order.push(*number);
            *number += 1;
        }
        let txns = order.iter().map(|place| self.txns[at(*place)].clone()).collect();
        self.txns = txns;
        watch.spend(self.txns.len())?;
        self.note_writers(watch)?;
        let initial = self.initial();
        for version in &mut self.versions {
            let is_zero = self.zero_is_initial && version.value == 0 && version.flags & ODD == 0;
            if version.writer == NONE && (is_zero || version.flags & INITIALLY != 0) {
                version.writer = initial;
            }
        }
        (self.session_ids, self.version_ids) = (Interner::default(), self.version_ids.without_numbers());
        Ok(())
    }

    fn note_writers(&mut self, watch: &mut Watch<'_>) -> Result<(), Unread> {
        // Of each key the last transaction that wrote it, and what.
        let mut last: Vec<(u32, u32)> = vec![(NONE, NONE); self.keys.len()];
        for number in 0..id(self.txns.len()) {
            let Txn { outcome, ref mops, .. } = self.txns[at(number)];
            watch.spend(mops.len())?;
            for place in at(mops.start)..at(mops.end) {
                let mop = self.mops[place];
                if !mop.is_write() {
                    continue;
                }
                let version = &mut self.versions[at(mop.version)];
                match outcome {
                    Outcome::Aborted if version.writer != NONE => continue,
                    Outcome::Aborted => version.flags |= ABORTED,
                    Outcome::Committed | Outcome::Unknown if version.writer == NONE || version.is_aborted() => {
                        version.flags &= !ABORTED;
                    }
                    Outcome::Committed | Outcome::Unknown => {
                        let (first, key) = (version.writer, mop.key());
                        return Err(self.written_twice(key, mop.version, (first, number)).into());
                    }
                }
                version.writer = number;
                let last = &mut last[at(mop.key())];
                let before = std::mem::replace(last, (number, mop.version));
                if before.0 == number {
                    self.versions[at(before.1)].flags |= INTERMEDIATE;
                }
            }
        }
        Ok(())
    }

    fn written_twice(&self, key: u32, version: u32, (first, second): (u32, u32)) -> TxnError {
        let line = |txn: u32| at(self.txns[at(txn)].line);
        let (first, second) = (line(first).min(line(second)), line(first).max(line(second)));
        let (key, value) = (self.key_name(key).to_string(), self.value(version).to_string());
        TxnError::WrittenTwice { key, value, first, second }
    }

    /// The transaction that came before every other.
    pub(super) fn initial(&self) -> u32 {
        id(self.txns.len())
    }

    /// Its operations; of the initial transaction none are kept.
    pub(super) fn mops_of(&self, txn: u32) -> &[Mop] {
        self.txns.get(at(txn)).map_or(&[], |txn| &self.mops[at(txn.mops.start)..at(txn.mops.end)])
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn key_name(&self, key: u32) -> Value {
        self.key_ids.value(self.keys[at(key)])
    }

    pub(super) fn value(&self, version: u32) -> Value {
        let version = self.versions[at(version)];
        if version.flags & ODD == 0 {
            return Value::Int(version.value);
        }
        self.version_ids.value(Kept::Odd(u32::try_from(version.value).unwrap_or(NONE)))
    }

    /// The transaction that its session performed before this one; the initial one before the first.
    pub(super) fn before_in_session(&self, txn: u32) -> u32 {
        let first = self.sessions[at(self.txns[at(txn)].session)].1;
        if txn == first { self.initial() } else { txn - 1 }
    }

    /// Its place in its session, from 0.
    pub(super) fn place(&self, txn: u32) -> u32 {
        txn - self.sessions[at(self.txns[at(txn)].session)].1
    }
}
