//! What was found, in words, so many of each kind.

use super::anomaly::Anomaly;
use super::graph::at;
use super::ops::Transactions;
use crate::evidence::Relation;

/// So many witnesses of an anomaly are kept.
const KEPT: usize = 8;

/// An anomaly, and the smallest evidence of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Witness {
    /// What it shows.
    pub anomaly: Anomaly,
    /// The transactions T1, T2, …: the places of their last events in the history's operations.
    pub transactions: Vec<usize>,
    /// Of a cycle how each transaction precedes the next, and the last the first.
    pub relations: Vec<Relation>,
    /// Why, one sentence each; of a cycle, one for each step.
    pub reasons: Vec<String>,
    /// The transactions by their numbers.
    pub(super) numbers: Vec<u32>,
}

/// Findings while they are made.
#[derive(Default, Debug)]
pub(super) struct Findings {
    witnesses: Vec<Witness>,
}

impl Findings {
    /// Adds one, unless enough are known. The reasons are made only when it is kept.
    pub(super) fn add(
        &mut self,
        all: &Transactions,
        anomaly: Anomaly,
        txns: &[u32],
        reasons: impl FnOnce() -> Vec<String>,
    ) {
        self.add_cycle(all, anomaly, txns, || (Vec::new(), reasons()));
    }

    /// The same for a cycle.
    pub(super) fn add_cycle(
        &mut self,
        all: &Transactions,
        anomaly: Anomaly,
        txns: &[u32],
        steps: impl FnOnce() -> (Vec<Relation>, Vec<String>),
    ) {
        if self.witnesses.iter().filter(|known| known.anomaly == anomaly).count() < KEPT {
            let transactions = txns.iter().map(|txn| place(all, *txn)).collect();
            let (relations, reasons) = steps();
            self.witnesses.push(Witness { anomaly, transactions, relations, reasons, numbers: txns.to_vec() });
        }
    }

    pub(super) fn into_witnesses(self) -> Vec<Witness> {
        self.witnesses
    }
}

/// Where the history shows a transaction best: at its end.
fn place(all: &Transactions, txn: u32) -> usize {
    let txn = &all.txns[at(txn)];
    at(if txn.ends == super::ops::NONE { txn.begins } else { txn.ends })
}
