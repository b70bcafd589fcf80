//! Transactions as numbers: keys and versions are interned, reads of lists are rows of versions.

use std::collections::HashMap;
use std::ops::Range;

use thiserror::Error;

use super::Model;
use super::graph::{at, id};
use crate::history::{ImportError, Kind, Loaded, RawOp, Value, calls};

/// Nothing: no version, no transaction, no place.
pub(super) const NONE: u32 = u32::MAX;

/// Why a history is not one of transactions of this model.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum TxnError {
    /// The calls cannot be told apart.
    #[error("{0}")]
    Calls(#[from] ImportError),
    /// Something else than a list of micro-operations of the model.
    #[error("line {line}: expected {expected}, found {found}")]
    Shape {
        /// Line, from 1.
        line: usize,
        /// What should have been there.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// The model can only be checked when every write of a key has its own value.
    #[error("line {second}: the value {value} of key {key} is written a second time, first in line {first}")]
    WrittenTwice {
        /// The key.
        key: String,
        /// The value.
        value: String,
        /// Line of the first write, from 1.
        first: usize,
        /// Line of the second write, from 1.
        second: usize,
    },
}

impl TxnError {
    pub(crate) fn shape(op: &RawOp, expected: &'static str, found: &Value) -> Self {
        Self::Shape { line: op.line, expected, found: found.to_string() }
    }
}

/// What became of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    Committed,
    Unknown,
    Aborted,
}

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
    /// A list: a row of [`Transactions::elements`].
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
    pub(super) value: Value,
    /// Who wrote it and did not abort, or [`NONE`].
    pub(super) writer: u32,
    /// Who wrote it and aborted, or [`NONE`].
    pub(super) aborted: u32,
    /// Its writer wrote the key once more.
    pub(super) intermediate: bool,
}

/// Every transaction of a history.
#[derive(Default, Debug)]
pub(super) struct Transactions {
    pub(super) txns: Vec<Txn>,
    pub(super) mops: Vec<Mop>,
    pub(super) elements: Vec<u32>,
    pub(super) keys: Vec<Value>,
    pub(super) versions: Vec<Version>,
    key_ids: HashMap<Value, u32>,
    version_ids: HashMap<(u32, Value), u32>,
}

impl Transactions {
    /// Reads those of a history. Reads of transactions that did not commit are not kept.
    pub(super) fn read(history: &Loaded, model: Model) -> Result<Self, TxnError> {
        let mut all = Self::default();
        for call in calls(history)? {
            let complete = call.complete.map(|place| &history.ops[place]);
            let op = match (complete, call.invoke) {
                (Some(op), None) => op,
                (Some(op), Some(_)) if op.kind == Kind::Ok || op.value.list().is_some() => op,
                (_, Some(invoke)) => &history.ops[invoke],
                (None, None) => continue,
            };
            let outcome = match complete.map(|op| op.kind) {
                Some(Kind::Ok) => Outcome::Committed,
                Some(Kind::Fail) => Outcome::Aborted,
                Some(Kind::Info | Kind::Invoke) | None => Outcome::Unknown,
            };
            let first = id(all.mops.len());
            let items = op.value.list().ok_or_else(|| TxnError::shape(op, "a list of micro-operations", &op.value))?;
            for item in items {
                all.mop(op, item, model, outcome)?;
            }
            let ends = match outcome {
                Outcome::Unknown => NONE,
                Outcome::Committed | Outcome::Aborted => call.complete.map_or(NONE, id),
            };
            let crate::history::Process::Client(process) = op.process else { continue };
            let mops = first..id(all.mops.len());
            all.txns.push(Txn { process, outcome, begins: id(call.begins()), ends, mops });
            all.writes_of(id(all.txns.len() - 1), history)?;
        }
        Ok(all)
    }

    fn mop(&mut self, op: &RawOp, item: &Value, model: Model, outcome: Outcome) -> Result<(), TxnError> {
        let expected = match model {
            Model::ListAppend => "a micro-operation [:append key value] or [:r key list]",
            Model::RwRegister => "a micro-operation [:w key value] or [:r key value]",
        };
        let wrong = || TxnError::shape(op, expected, item);
        let (name, key, value) = match item.list() {
            Some([name, key, value]) => (name, key, value),
            Some([name, key]) => (name, key, &Value::Nil),
            Some(_) | None => return Err(wrong()),
        };
        let key = self.key(key);
        let mop = match (name.name(), model) {
            (Some("append"), Model::ListAppend) | (Some("w"), Model::RwRegister) if !value.is_nil() => {
                Mop::Write { key, version: self.version(key, value) }
            }
            (Some("r"), _) if outcome != Outcome::Committed => return Ok(()),
            (Some("r"), Model::RwRegister) => Mop::Read { key, version: self.version(key, value) },
            (Some("r"), Model::ListAppend) => {
                let first = id(self.elements.len());
                if !value.is_nil() {
                    for element in value.list().ok_or_else(wrong)? {
                        let version = self.version(key, element);
                        self.elements.push(version);
                    }
                }
                Mop::ReadList { key, elements: first..id(self.elements.len()) }
            }
            (Some(_) | None, _) => return Err(wrong()),
        };
        self.mops.push(mop);
        Ok(())
    }

    fn key(&mut self, key: &Value) -> u32 {
        if let Some(known) = self.key_ids.get(key) {
            return *known;
        }
        let new = id(self.keys.len());
        self.keys.push(key.clone());
        self.key_ids.insert(key.clone(), new);
        new
    }

    pub(super) fn version(&mut self, key: u32, value: &Value) -> u32 {
        let named = (key, value.clone());
        if let Some(known) = self.version_ids.get(&named) {
            return *known;
        }
        let new = id(self.versions.len());
        let value = value.clone();
        self.versions.push(Version { key, value, writer: NONE, aborted: NONE, intermediate: false });
        self.version_ids.insert(named, new);
        new
    }

    /// Notes who wrote what.
    fn writes_of(&mut self, txn: u32, history: &Loaded) -> Result<(), TxnError> {
        let of = self.txns[at(txn)].clone();
        let mut last: Vec<(u32, u32)> = Vec::new();
        for place in of.mops {
            let Mop::Write { key, version } = self.mops[at(place)] else { continue };
            let known = self.versions[at(version)].writer;
            match of.outcome {
                Outcome::Aborted => {
                    self.versions[at(version)].aborted = txn;
                    continue;
                }
                Outcome::Committed | Outcome::Unknown if known != NONE => {
                    let line = |txn: u32| history.ops[at(self.txns[at(txn)].begins)].line;
                    return Err(TxnError::WrittenTwice {
                        key: self.keys[at(key)].to_string(),
                        value: self.versions[at(version)].value.to_string(),
                        first: line(known),
                        second: line(txn),
                    });
                }
                Outcome::Committed | Outcome::Unknown => self.versions[at(version)].writer = txn,
            }
            match last.iter_mut().find(|(of, _)| *of == key) {
                Some((_, before)) => {
                    self.versions[at(*before)].intermediate = true;
                    *before = version;
                }
                None => last.push((key, version)),
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
    pub(super) fn effective(&self) -> Vec<bool> {
        let mut effective: Vec<bool> = self.txns.iter().map(|txn| txn.outcome == Outcome::Committed).collect();
        let mut read = |version: u32| {
            let writer = self.versions[at(version)].writer;
            if writer != NONE {
                effective[at(writer)] = true;
            }
        };
        for mop in &self.mops {
            match mop {
                Mop::Write { .. } => {}
                Mop::Read { version, .. } => read(*version),
                Mop::ReadList { elements, .. } => self.list(elements).iter().copied().for_each(&mut read),
            }
        }
        effective
    }

    /// Who wrote a version, when that took effect; otherwise [`NONE`].
    pub(super) fn writer(&self, version: u32, effective: &[bool]) -> u32 {
        let writer = self.versions[at(version)].writer;
        if writer != NONE && effective[at(writer)] { writer } else { NONE }
    }

    pub(super) fn key_name(&self, key: u32) -> &Value {
        &self.keys[at(key)]
    }

    pub(super) fn value(&self, version: u32) -> &Value {
        &self.versions[at(version)].value
    }
}
