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
#[cfg(test)]
mod differential;
mod error;
#[cfg(test)]
mod exhaustive;
mod findings;
mod graph;
mod judge;
mod ops;
mod order;
mod part;
#[cfg(test)]
mod part_tests;
mod read;
mod register;
mod scan;
#[cfg(test)]
mod tests;
mod versions;

use crate::evidence::Relation;
use crate::history::Loaded;
use crate::limits::{Stop, Watch};

pub use anomaly::{Anomaly, CycleKind, Order};
pub use consistency::Consistency;
pub use error::TxnError;
pub(crate) use error::Unread;
pub use findings::Witness;
pub use judge::{Judged, judge, judge_by, judge_loaded, nothing_read};

use crate::intern::at;
use findings::Findings;
pub(crate) use graph::components;
use graph::{Edges, ORDER, RW, WR, WW};
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
    /// There was nothing to check, because no transaction depends on another; or a limit was reached before an anomaly
    /// was found.
    Unknown,
}

/// What a history shows.
#[derive(Clone, Debug)]
pub struct Report {
    /// The answer to what was asked.
    pub verdict: Verdict,
    /// The limit that was reached before all was looked at.
    pub stopped: Option<Stop>,
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
    check_within(history, model, options, &mut Watch::unlimited())
}

/// Checks a history within limits: once one is reached, the verdict is that on what was found before.
pub fn check_within(
    history: &Loaded,
    model: Model,
    options: &Options,
    watch: &mut Watch<'_>,
) -> Result<Report, TxnError> {
    let read = Transactions::read(history, model, watch);
    conclude(read, history.format.has_realtime(), model, options, watch).map(|concluded| concluded.report)
}

/// A report with the transactions it is about.
struct Concluded {
    report: Report,
    all: Transactions,
}

impl Concluded {
    /// A limit was reached before anything was read.
    fn stopped(stop: Stop) -> Self {
        let all = Transactions::default();
        Self { report: report(Vec::new(), &all, None, Err(stop)), all }
    }
}

fn conclude(
    read: Result<Transactions, Unread>,
    has_realtime: bool,
    model: Model,
    options: &Options,
    watch: &mut Watch<'_>,
) -> Result<Concluded, TxnError> {
    let mut all = match read {
        Ok(all) => all,
        Err(Unread::Mistake(error)) => return Err(error),
        Err(Unread::Stopped(stop)) => {
            return Ok(Concluded::stopped(stop));
        }
    };
    let mut findings = Findings::default();
    let mut inferred = None;
    let decided = decide(&mut all, has_realtime, (model, options), (&mut findings, &mut inferred), watch);
    let witnesses: Vec<Witness> =
        findings.into_witnesses().into_iter().filter(|of| options.wants(model, of.anomaly)).collect();
    Ok(Concluded { report: report(witnesses, &all, inferred.as_ref(), decided), all })
}

/// Adds to the findings; whether there was nothing to check.
fn decide(
    all: &mut Transactions,
    has_realtime: bool,
    (model, options): (Model, &Options),
    (findings, found): (&mut Findings, &mut Option<Inferred>),
    watch: &mut Watch<'_>,
) -> Result<bool, Stop> {
    let effective = all.effective(watch)?;
    let mut edges = Edges::new(all.txns.len());
    let inferred = match model {
        Model::ListAppend => Inferred::Lists(append::infer(all, &effective, &mut edges, findings, watch)?),
        Model::RwRegister => {
            Inferred::Registers(register::infer(all, &effective, options, &mut edges, findings, watch)?)
        }
    };
    let inferred = &*found.insert(inferred);
    let order = options.order(model, has_realtime);
    if let Some(order) = order {
        order::add(&mut edges, all, &effective, order);
    }
    watch.ask()?;
    let graph = edges.build();
    for mut cycle in cycles::cycles(&graph, order, &|anomaly| options.wants(model, anomaly), watch)? {
        // The first of them in the history is T1.
        let begins = |place: &usize| all.txns[at(cycle.steps[*place].0)].begins;
        let first = (0..cycle.steps.len()).min_by_key(begins).unwrap_or_default();
        cycle.steps.rotate_left(first);
        let txns: Vec<u32> = cycle.steps.iter().map(|(txn, _)| *txn).collect();
        findings.add_cycle(all, cycle.anomaly, &txns, || {
            let relations = cycle.steps.iter().map(|(_, relation)| relation_of(*relation, order)).collect();
            (relations, reasons(all, inferred, order, &cycle.steps))
        });
    }
    Ok(graph.is_empty())
}

fn report(
    witnesses: Vec<Witness>,
    all: &Transactions,
    inferred: Option<&Inferred>,
    is_empty: Result<bool, Stop>,
) -> Report {
    let mut anomalies: Vec<Anomaly> = witnesses.iter().map(|witness| witness.anomaly).collect();
    let verdict = match (anomalies.is_empty(), is_empty) {
        (false, _) => Verdict::Violated,
        (true, Ok(true) | Err(_)) => Verdict::Unknown,
        (true, Ok(false)) => Verdict::Valid,
    };
    if is_empty == Ok(true) {
        anomalies.push(Anomaly::EmptyTransactionGraph);
    }
    anomalies.sort_unstable();
    anomalies.dedup();
    let broken: Vec<Consistency> = anomalies.iter().flat_map(|anomaly| anomaly.violates()).copied().collect();
    let (violates, also_violates) = consistency::violated(&broken);
    let (unknown_keys, garbage_reads) = match inferred {
        None | Some(Inferred::Lists(_)) => (0, 0),
        Some(Inferred::Registers(orders)) => (orders.unknown_keys, orders.garbage_reads),
    };
    let transactions = all.txns.len();
    let stopped = is_empty.err();
    Report {
        verdict,
        stopped,
        anomalies,
        violates,
        also_violates,
        witnesses,
        transactions,
        unknown_keys,
        garbage_reads,
    }
}

/// The order of versions.
enum Inferred {
    Lists(append::Orders),
    Registers(register::Orders),
}

fn relation_of(edge: u8, order: Option<Order>) -> Relation {
    match (edge, order) {
        (WW, _) => Relation::WriteWrite,
        (WR, _) => Relation::WriteRead,
        (RW, _) => Relation::ReadWrite,
        (_, Some(Order::Process)) => Relation::Process,
        (_, Some(Order::Realtime) | None) => Relation::Realtime,
    }
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
