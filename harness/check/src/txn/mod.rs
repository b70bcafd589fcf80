//! Transactions: which anomalies a history shows, which consistency models that violates, and the shortest evidence.
//!
//! Two models: lists with unique appends, whose reads show the order of versions, and registers with unique writes, where
//! that order is inferred and the answer is "no anomaly in the inferred graph". From the versions come dependencies
//! between transactions (write after write, read of a write, write after read), with the order of each process or real
//! time beside them; an anomaly is a read that no model explains or a cycle of dependencies. Names are those of Adya and
//! of Elle. Only data flows in: nothing here knows a database, a file or a clock.
//!
//! ```
//! use firedrill_check::history::load;
//! use firedrill_check::txn::{Model, Options, check};
//!
//! let history = load(
//!     b"{:process 0, :type :ok, :f :txn, :value [[:append :x 1] [:r :y]]}
//!       {:process 1, :type :ok, :f :txn, :value [[:append :y 1] [:r :x]]}",
//! )?;
//! let report = check(&history, Model::ListAppend, &Options::default())?;
//! assert_eq!(report.anomalies.iter().map(|anomaly| anomaly.name()).collect::<Vec<_>>(), ["G2-item"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod anomaly;
mod append;
mod consistency;
mod cycles;
mod findings;
mod graph;
mod ops;
mod order;
mod register;
#[cfg(test)]
mod tests;
mod versions;

use crate::history::Loaded;

pub use anomaly::{Anomaly, CycleKind, Order};
pub use consistency::Consistency;
pub use findings::Witness;
pub use ops::TxnError;

use findings::Findings;
pub(crate) use graph::components;
use graph::{Edges, ORDER, at};
use ops::Transactions;

/// What the micro-operations are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// `[:append key element]` and `[:r key list]`.
    ListAppend,
    /// `[:w key value]` and `[:r key value]`; the initial value is nil.
    RwRegister,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// The history must satisfy these.
    pub consistency: Vec<Consistency>,
    /// The history must not show these, whatever the models say.
    pub anomalies: Vec<Anomaly>,
    /// Registers: each key is linearizable, so that real time orders its versions.
    pub linearizable_keys: bool,
    /// Registers: each process meets the versions of a key in order.
    pub sequential_keys: bool,
    /// Registers: a transaction that reads a key and writes it replaces the version it read.
    pub wfr_keys: bool,
}

impl Default for Options {
    /// Strict serializability, and nothing assumed of registers.
    fn default() -> Self {
        Self {
            consistency: vec![Consistency::StrongSerializable],
            anomalies: Vec::new(),
            linearizable_keys: false,
            sequential_keys: false,
            wfr_keys: false,
        }
    }
}

impl Options {
    /// Whether an anomaly is looked for.
    fn wants(&self, model: Model, anomaly: Anomaly) -> bool {
        // A register may have had a value that the history does not show, so a read of one is only counted unless asked for.
        let by_model = model == Model::ListAppend || anomaly != Anomaly::GarbageRead;
        self.anomalies.contains(&anomaly)
            || (by_model && self.consistency.iter().any(|model| anomaly.is_forbidden_by(*model)))
    }

    /// Real time contains the order of processes, so only one of them is needed; a format without real time has no other.
    fn order(&self, model: Model, has_realtime: bool) -> Option<Order> {
        let wants = |order| {
            Anomaly::all().any(|anomaly| {
                matches!(anomaly, Anomaly::Cycle(_, Some(of)) if of == order) && self.wants(model, anomaly)
            })
        };
        let known = if has_realtime { &[Order::Realtime, Order::Process][..] } else { &[Order::Process] };
        known.iter().copied().find(|order| wants(*order))
    }
}

/// The verdict on a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing of what was asked for was found.
    Valid,
    /// An anomaly was found.
    Violated,
    /// There was nothing to check: no transaction depends on another.
    Unknown,
}

/// What a history shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// The answer to what was asked.
    pub verdict: Verdict,
    /// What was found of what was asked for, in order.
    pub anomalies: Vec<Anomaly>,
    /// The weakest models that are violated.
    pub violates: Vec<Consistency>,
    /// Every other model that is then violated.
    pub also_violates: Vec<Consistency>,
    /// Up to eight for each anomaly; of cycles the shortest first.
    pub witnesses: Vec<Witness>,
    /// How many transactions there are, of whatever outcome.
    pub transactions: usize,
    /// Registers: how many keys have versions of which it is not known which was first.
    pub unknown_keys: usize,
    /// Registers: how many reads returned a value that nobody wrote.
    pub garbage_reads: usize,
}

/// Checks a history.
pub fn check(history: &Loaded, model: Model, options: &Options) -> Result<Report, TxnError> {
    let mut all = Transactions::read(history, model)?;
    let effective = all.effective();
    let mut edges = Edges::new(all.txns.len());
    let mut findings = Findings::default();
    let inferred = match model {
        Model::ListAppend => Inferred::Lists(append::infer(&all, &effective, &mut edges, &mut findings)),
        Model::RwRegister => {
            Inferred::Registers(register::infer(&mut all, &effective, options, &mut edges, &mut findings))
        }
    };
    let order = options.order(model, history.format.has_realtime());
    if let Some(order) = order {
        order::add(&mut edges, &all, &effective, order);
    }
    let graph = edges.build();
    for cycle in cycles::cycles(&graph, order, &|anomaly| options.wants(model, anomaly)) {
        let txns: Vec<u32> = cycle.steps.iter().map(|(txn, _)| *txn).collect();
        findings.add(&all, cycle.anomaly, &txns, || reasons(&all, &inferred, order, &cycle.steps));
    }
    let witnesses: Vec<Witness> =
        findings.into_witnesses().into_iter().filter(|of| options.wants(model, of.anomaly)).collect();
    Ok(report(witnesses, &all, &inferred, graph.is_empty()))
}

fn report(witnesses: Vec<Witness>, all: &Transactions, inferred: &Inferred, is_empty: bool) -> Report {
    let mut anomalies: Vec<Anomaly> = witnesses.iter().map(|witness| witness.anomaly).collect();
    let verdict = match (anomalies.is_empty(), is_empty) {
        (false, _) => Verdict::Violated,
        (true, true) => Verdict::Unknown,
        (true, false) => Verdict::Valid,
    };
    if is_empty {
        anomalies.push(Anomaly::EmptyTransactionGraph);
    }
    anomalies.sort_unstable();
    anomalies.dedup();
    let broken: Vec<Consistency> = anomalies.iter().flat_map(|anomaly| anomaly.violates()).copied().collect();
    let (violates, also_violates) = consistency::violated(&broken);
    let (unknown_keys, garbage_reads) = match inferred {
        Inferred::Lists(_) => (0, 0),
        Inferred::Registers(orders) => (orders.unknown_keys, orders.garbage_reads),
    };
    let transactions = all.txns.len();
    Report { verdict, anomalies, violates, also_violates, witnesses, transactions, unknown_keys, garbage_reads }
}

/// The order of versions.
enum Inferred {
    Lists(append::Orders),
    Registers(register::Orders),
}

/// One sentence for each step of a cycle.
fn reasons(all: &Transactions, inferred: &Inferred, order: Option<Order>, steps: &[(u32, u8)]) -> Vec<String> {
    let name = |place: usize| format!("T{}", place % steps.len() + 1);
    let step = |(place, (txn, relation)): (usize, &(u32, u8))| {
        let next = steps[(place + 1) % steps.len()].0;
        let (from, to) = (name(place), name(place + 1));
        if *relation == ORDER {
            let (before, after) = (&all.txns[at(*txn)], &all.txns[at(next)]);
            let event = |place: u32| at(place) + 1;
            return match order {
                Some(Order::Process) => format!("process {} performed {from} before {to}", before.process),
                Some(Order::Realtime) | None => {
                    let (end, begin) = (event(before.ends), event(after.begins));
                    format!("{from} ended (event {end} of the history) before {to} began (event {begin})")
                }
            };
        }
        match inferred {
            Inferred::Lists(orders) => orders.why(all, (*txn, next), *relation, (&from, &to)),
            Inferred::Registers(orders) => orders.why(all, (*txn, next), *relation, (&from, &to)),
        }
    };
    steps.iter().enumerate().map(step).collect()
}
