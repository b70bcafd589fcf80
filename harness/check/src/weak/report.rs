//! The answer, in words.

use std::fmt;
use std::fmt::Write as _;

use super::levels::Level;
use super::registers::Registers;
use crate::evidence::{self, Evidence, Relation};
use crate::history::Value;
use crate::intern::{NONE, at};
use crate::limits::Stop;

/// So many witnesses of an anomaly are kept.
const KEPT: usize = 8;

/// What breaks a level.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Anomaly {
    /// An aborted write was read.
    AbortedRead,
    /// A write was read that its transaction replaced.
    IntermediateRead,
    /// Sessions, reads and, where it counts, real time are in a cycle: something was seen before it was there.
    CyclicCausality,
    /// The commit order that a level demands has a cycle.
    CyclicCommitOrder(Level),
    /// A transaction read what it wrote only later.
    FutureRead,
    /// A value was read that nobody wrote.
    GarbageRead,
    /// A transaction did not read its own write.
    Internal,
}

impl Anomaly {
    /// Its name.
    pub fn name(self) -> String {
        match self {
            Self::AbortedRead => "G1a".to_owned(),
            Self::IntermediateRead => "G1b".to_owned(),
            Self::CyclicCausality => "cyclic-causality".to_owned(),
            Self::CyclicCommitOrder(level) => format!("cyclic-commit-order-{level}"),
            Self::FutureRead => "future-read".to_owned(),
            Self::GarbageRead => "garbage-read".to_owned(),
            Self::Internal => "internal".to_owned(),
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

/// The verdict on a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every level that was asked about holds.
    Valid,
    /// One of them does not.
    Violated,
    /// A limit was reached before one was found broken.
    Unknown(Stop),
    /// There was no transaction.
    Nothing,
}

/// What a history shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// The answer to what was asked.
    pub verdict: Verdict,
    /// What was found, in order.
    pub anomalies: Vec<Anomaly>,
    /// The weakest levels that do not hold, of those asked about.
    pub violates: Vec<Level>,
    /// Every other level that then does not hold.
    pub also_violates: Vec<Level>,
    /// Up to eight for each anomaly.
    pub witnesses: Vec<Witness>,
    /// How many transactions there are, of whatever outcome.
    pub transactions: usize,
    /// How many reads and writes.
    pub operations: usize,
    /// Of each anomaly the smallest part of the history that shows it, as far as it was found within limits.
    pub evidence: Vec<Evidence>,
}

impl Report {
    /// What shows each anomaly, in lines for a person.
    pub fn words(&self) -> String {
        let line = |txn: &Shown| format!("line {}: session {} {}", txn.line, txn.session, txn.text);
        let bare = |witness: &Witness| {
            (witness.anomaly.name(), witness.transactions.iter().map(line).collect(), witness.reasons.clone())
        };
        evidence::words(&self.evidence, self.witnesses.iter().map(bare))
    }
}

/// An anomaly, and the evidence of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Witness {
    /// What it shows.
    pub anomaly: Anomaly,
    /// The transactions T1, T2, ….
    pub transactions: Vec<Shown>,
    /// Of a cycle how each of its transactions precedes the next, and the last the first.
    pub relations: Vec<Relation>,
    /// Why, one sentence each; of a cycle, one for each step.
    pub reasons: Vec<String>,
    /// The transactions by their numbers, and others that the reasons need.
    pub(super) numbers: Vec<u32>,
}

/// A transaction of a witness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Line of its last event, from 1.
    pub line: usize,
    /// Who performed it.
    pub session: i64,
    /// Its operations; of a long one the first.
    pub text: String,
    /// The place of its last event in the history's operations; nothing of the initial values.
    pub(super) place: Option<usize>,
}

/// Findings while they are made.
#[derive(Default, Debug)]
pub(super) struct Findings {
    pub(super) witnesses: Vec<Witness>,
}

impl Findings {
    /// Adds one, unless enough are known. The reasons are made only when it is kept.
    pub(super) fn add(
        &mut self,
        all: &Registers,
        anomaly: Anomaly,
        txns: &[u32],
        reasons: impl FnOnce() -> Vec<String>,
    ) {
        if self.lacks(anomaly) {
            let transactions = txns.iter().map(|txn| shown(all, *txn)).collect();
            let (relations, numbers) = (Vec::new(), txns.to_vec());
            self.witnesses.push(Witness { anomaly, transactions, relations, reasons: reasons(), numbers });
        }
    }

    /// Whether one more of these is kept.
    pub(super) fn lacks(&self, anomaly: Anomaly) -> bool {
        self.witnesses.iter().filter(|known| known.anomaly == anomaly).count() < KEPT
    }
}

/// A transaction in words.
pub(super) fn shown(all: &Registers, txn: u32) -> Shown {
    const SHOWN: usize = 24;
    let Some(of) = all.txns.get(at(txn)) else {
        return Shown { line: 0, session: -1, text: "the initial values".to_owned(), place: None };
    };
    let mops = all.mops_of(txn);
    let mut text = String::from("[");
    for (place, mop) in mops.iter().take(SHOWN).enumerate() {
        let name = if mop.is_write() { "w" } else { "r" };
        let value: Value = all.value(mop.version);
        // Writing to a string cannot fail.
        let gap = if place == 0 { "" } else { " " };
        let _written = write!(text, "{gap}[:{name} {} {value}]", all.key_name(mop.key()));
    }
    text.push_str(if mops.len() > SHOWN { " …]" } else { "]" });
    let place = Some(at(if of.ends == NONE { of.begins } else { of.ends }));
    Shown { line: at(of.line), session: all.sessions[at(of.session)].0, text, place }
}
