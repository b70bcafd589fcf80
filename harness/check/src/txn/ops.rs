//! Transactions as numbers: keys and versions are interned, reads of lists are rows of versions.

use std::ops::Range;

use super::error::TxnError;
use crate::history::Value;
pub(super) use crate::intern::NONE;
use crate::intern::{Interner, Kept, at, id};
use crate::limits::{Stop, Watch};
pub(super) use crate::micro::Outcome;

/// A transaction.
#[derive(Clone, Debug)]
pub(super) struct Txn {
    pub(super) process: i64,
    pub(super) outcome: Outcome,
    /// Places in the history. An end of [`NONE`] is open.
    pub(super) begins: u32,
    pub(super) ends: u32,
    pub(super) mops: Range<u32>,
}

/// A micro-operation.
#[derive(Clone, Debug)]
pub(super) enum Mop {
    /// Append or overwrite.
    Write { key: u32, version: u32 },
    /// A register; the initial version is one like others.
    Read { key: u32, version: u32 },
    /// A list: a row of [`Transactions::list`].
    ReadList { key: u32, elements: Range<u32> },
}

impl Mop {
    pub(super) fn key(&self) -> u32 {
        match self {
            Self::Write { key, .. } | Self::Read { key, .. } | Self::ReadList { key, .. } => *key,
        }
    }
}

/// A value of a key.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) key: u32,
    value: Kept,
    /// Who wrote it and did not abort, or [`NONE`].
    pub(super) writer: u32,
    /// Who wrote it and aborted, or [`NONE`].
    pub(super) aborted: u32,
    /// Its writer wrote the key once more.
    pub(super) intermediate: bool,
}

/// A key.
#[derive(Clone, Debug)]
struct Key {
    name: Kept,
    /// Its initial version, or [`NONE`] until somebody asks.
    initial: u32,
    /// The longest list that was read, in [`Transactions::elements`], and how much room there is.
    longest: Range<u32>,
    room: u32,
}

/// Every transaction of a history.
#[derive(Default, Debug)]
pub(super) struct Transactions {
    pub(super) txns: Vec<Txn>,
    pub(super) mops: Vec<Mop>,
    pub(super) versions: Vec<Version>,
    /// Lists that were read. A list that begins like the longest one of its key shares its room.
    elements: Vec<u32>,
    keys: Vec<Key>,
    key_ids: Interner,
    version_ids: Interner,
}

impl Transactions {
    /// Asks before a large table is made in place of another.
    pub(super) fn room(&self, watch: &mut Watch<'_>) -> Result<(), Stop> {
        let bytes = self.key_ids.growth() + self.version_ids.growth();
        if bytes > 0 { watch.ask_for(bytes) } else { Ok(()) }
    }

    pub(super) fn key(&mut self, key: &Value) -> u32 {
        let (number, name, is_new) = self.key_ids.any(0, key);
        self.new_key(is_new, name);
        number
    }

    pub(super) fn int_key(&mut self, key: i64) -> u32 {
        let (number, is_new) = self.key_ids.int(0, key);
        self.new_key(is_new, Kept::Int(key));
        number
    }

    fn new_key(&mut self, is_new: bool, name: Kept) {
        if is_new {
            self.keys.push(Key { name, initial: NONE, longest: 0..0, room: 0 });
        }
    }

    pub(super) fn version(&mut self, key: u32, value: &Value) -> u32 {
        if value.is_nil() {
            return self.initial(key);
        }
        let (number, value, is_new) = self.version_ids.any(key, value);
        self.new_version(is_new, key, value);
        number
    }

    pub(super) fn int_version(&mut self, key: u32, value: i64) -> u32 {
        let (number, is_new) = self.version_ids.int(key, value);
        self.new_version(is_new, key, Kept::Int(value));
        number
    }

    /// The version of nil.
    pub(super) fn initial(&mut self, key: u32) -> u32 {
        if self.keys[at(key)].initial == NONE {
            let (number, value, is_new) = self.version_ids.any(key, &Value::Nil);
            self.new_version(is_new, key, value);
            self.keys[at(key)].initial = number;
        }
        self.keys[at(key)].initial
    }

    fn new_version(&mut self, is_new: bool, key: u32, value: Kept) {
        if is_new {
            self.versions.push(Version { key, value, writer: NONE, aborted: NONE, intermediate: false });
        }
    }

    /// Begins a list that was read of a key.
    pub(super) fn row(&self, key: u32) -> Row {
        let longest = &self.keys[at(key)].longest;
        Row { key, at: longest.start, end: longest.end, length: 0, own: None }
    }

    /// The next element of a list. As long as the list is like the longest one, it is only compared.
    pub(super) fn next_element(&mut self, row: &mut Row, value: i64) {
        let place = row.at + row.length;
        if row.own.is_none() && place < row.end && self.versions[at(self.elements[at(place)])].value == Kept::Int(value)
        {
            row.length += 1;
            return;
        }
        let version = self.int_version(row.key, value);
        self.push_element(row, version);
    }

    /// The same for any value.
    pub(super) fn next_version(&mut self, row: &mut Row, version: u32) {
        let place = row.at + row.length;
        if row.own.is_none() && place < row.end && self.elements[at(place)] == version {
            row.length += 1;
            return;
        }
        self.push_element(row, version);
    }

    fn push_element(&mut self, row: &mut Row, version: u32) {
        let own = row.own.get_or_insert_with(|| self.elements[at(row.at)..at(row.at + row.length)].to_vec());
        own.push(version);
    }

    /// Ends a list: where it is.
    pub(super) fn end_row(&mut self, row: Row) -> Range<u32> {
        let Some(own) = row.own else { return row.at..row.at + row.length };
        let key = &mut self.keys[at(row.key)];
        let known = row.at..row.end;
        let is_longer = own.len() > known.len();
        if is_longer && own.starts_with(&self.elements[at(known.start)..at(known.end)]) {
            if id(own.len()) > key.room {
                // Twice the room, so that a list that grows is seldom copied.
                key.room = id(own.len()).saturating_mul(2);
                key.longest.start = id(self.elements.len());
                self.elements.resize(self.elements.len() + at(key.room), NONE);
            }
            let start = at(key.longest.start);
            self.elements[start..start + own.len()].copy_from_slice(&own);
            key.longest.end = key.longest.start + id(own.len());
            return key.longest.clone();
        }
        let start = id(self.elements.len());
        self.elements.extend_from_slice(&own);
        let stored = start..id(self.elements.len());
        if is_longer {
            key.longest = stored.clone();
            key.room = id(own.len());
        }
        stored
    }

    /// The longest list that was read of a key.
    pub(super) fn longest(&self, key: usize) -> Range<u32> {
        self.keys[key].longest.clone()
    }

    /// Notes who wrote what in the last transaction.
    pub(super) fn note_writes(&mut self, line: impl Fn(&Txn) -> usize) -> Result<(), TxnError> {
        let txn = id(self.txns.len() - 1);
        let of = self.txns[at(txn)].clone();
        // Transactions are small; of a large one the keys are sorted instead of searched.
        let mut written: Vec<(u32, u32, u32)> = Vec::new();
        for place in of.mops {
            let Mop::Write { key, version } = self.mops[at(place)] else { continue };
            let known = self.versions[at(version)].writer;
            match of.outcome {
                Outcome::Aborted => {
                    self.versions[at(version)].aborted = txn;
                    continue;
                }
                Outcome::Committed | Outcome::Unknown if known != NONE => {
                    let lines = [line(&self.txns[at(known)]), line(&self.txns[at(txn)])];
                    return Err(TxnError::WrittenTwice {
                        key: self.key_name(key).to_string(),
                        value: self.value(version).to_string(),
                        first: lines[0].min(lines[1]),
                        second: lines[0].max(lines[1]),
                    });
                }
                Outcome::Committed | Outcome::Unknown => self.versions[at(version)].writer = txn,
            }
            written.push((key, place, version));
        }
        if written.len() > 1 {
            written.sort_unstable();
            for pair in written.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
                self.versions[at(pair[0].2)].intermediate = true;
            }
        }
        Ok(())
    }

    pub(super) fn mops_of(&self, txn: u32) -> &[Mop] {
        let mops = &self.txns[at(txn)].mops;
        &self.mops[at(mops.start)..at(mops.end)]
    }

    pub(super) fn list(&self, elements: &Range<u32>) -> &[u32] {
        &self.elements[at(elements.start)..at(elements.end)]
    }

    /// Transactions that committed for sure, with their numbers.
    pub(super) fn committed(&self) -> impl Iterator<Item = u32> + '_ {
        let all = self.txns.iter().zip(0..);
        all.filter(|(txn, _)| txn.outcome == Outcome::Committed).map(|(_, number)| number)
    }

    /// Which transactions took effect: those that committed, and those of unknown outcome of which a write was read.
    pub(super) fn effective(&self, watch: &mut Watch<'_>) -> Result<Vec<bool>, Stop> {
        let mut effective: Vec<bool> = self.txns.iter().map(|txn| txn.outcome == Outcome::Committed).collect();
        if effective.iter().all(|effective| *effective) {
            return Ok(effective);
        }
        let mut read = |version: u32| {
            let writer = self.versions[at(version)].writer;
            if writer != NONE {
                effective[at(writer)] = true;
            }
        };
        for mop in &self.mops {
            watch.spend(1)?;
            match mop {
                Mop::Write { .. } => {}
                Mop::Read { version, .. } => read(*version),
                // Of those like the longest list of the key, that one is enough.
                Mop::ReadList { key, elements } if self.keys[at(*key)].longest.start == elements.start => {}
                Mop::ReadList { elements, .. } => self.list(elements).iter().copied().for_each(&mut read),
            }
        }
        for key in &self.keys {
            self.list(&key.longest).iter().copied().for_each(&mut read);
        }
        Ok(effective)
    }

    /// Who wrote a version, when that took effect; otherwise [`NONE`].
    pub(super) fn writer(&self, version: u32, effective: &[bool]) -> u32 {
        let writer = self.versions[at(version)].writer;
        if writer != NONE && effective[at(writer)] { writer } else { NONE }
    }

    pub(super) fn key_count(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn key_name(&self, key: u32) -> Value {
        self.key_ids.value(self.keys[at(key)].name)
    }

    pub(super) fn value(&self, version: u32) -> Value {
        self.version_ids.value(self.versions[at(version)].value)
    }
}

/// A list while it is read.
#[derive(Debug)]
pub(super) struct Row {
    key: u32,
    /// The longest list of the key.
    at: u32,
    end: u32,
    /// So many elements are like those of the longest.
    length: u32,
    /// All elements, once they are not.
    own: Option<Vec<u32>>,
}
