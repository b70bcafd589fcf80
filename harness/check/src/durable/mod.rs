//! Durability and replication: whether what was acknowledged is still there, and what readers may see of it.
//!
//! Each model is one small file that looks at all calls once or twice; nothing is searched, so that a history of any size is
//! decided in time that grows with what was read. The first four are Jepsen's workloads with Jepsen's shapes of operations.
//!
//! ```
//! use firedrill_check::durable::{Model, Options, Verdict, check};
//! use firedrill_check::history::load;
//! use firedrill_check::limits::Watch;
//!
//! let history = load(
//!     b"{:process 0, :type :ok, :f :add, :value 1}
//!       {:process 1, :type :ok, :f :read, :value [1]}
//!       {:process 1, :type :ok, :f :read, :value []}",
//! )?;
//! let report = check(&history, Model::SetFull, &Options::default(), &mut Watch::unlimited())?;
//! assert_eq!(report.verdict, Verdict::Violated);
//! assert_eq!(report.violated[0].anomaly.name(), "lost");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod anomaly;
mod bank_sum;
mod calls;
mod counter_bounds;
mod elements;
mod findings;
mod ledger;
mod log;
mod long_fork;
mod polls;
mod prefix_of_log;
mod registers;
mod sessions;
mod set_full;
mod sets;
mod states;
#[cfg(test)]
mod tests;
mod total_queue;
mod unique_ids;

use std::time::Duration;

use thiserror::Error;

use crate::history::{ImportError, Loaded, RawOp, Value};
use crate::limits::{Stop, Watch};

pub use anomaly::Anomaly;
pub use findings::{Example, Figure, Found};

use calls::Calls;
use findings::Findings;

/// What the operations are, and what must hold of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// `add`, `read` of all: what was acknowledged, or seen once, is never missing later for good. Jepsen's `set-full`.
    SetFull,
    /// `add`, `read` of all: the last read has all that was acknowledged and nothing else. Jepsen's `set`.
    Ledger,
    /// `send`, `poll`: messages by offset. Jepsen's `kafka`.
    Log,
    /// `enqueue`, `dequeue`, `drain`: what goes in comes out, in any order. Jepsen's `total-queue`.
    TotalQueue,
    /// `transfer`, `read` of all balances: the sum is always the same. Jepsen's `bank`.
    BankSum,
    /// `txn` of writes of one key and of reads of several: all readers see writes in one order. Jepsen's `long-fork`.
    LongFork,
    /// `generate`: no answer is given twice. Jepsen's `unique-ids`.
    UniqueIds,
    /// `add` of an amount, `read` of the sum: within what may have been added by then. Jepsen's `counter`.
    CounterBounds,
    /// `write` or `add`, `read`: no process sees a write and later what was before it.
    Monotonic,
    /// `write` or `add`, `read`: every process sees what it wrote.
    ReadYourWrites,
    /// `write` or `add`, `read`: nobody sees what was replaced longer ago than the bound.
    BoundedStaleness,
    /// `read` of the sequence of a node, `state` of its keys: each is one that the primary had.
    PrefixOfLog,
}

impl Model {
    /// Every model.
    pub const ALL: &[Self] = &[
        Self::SetFull,
        Self::Ledger,
        Self::Log,
        Self::TotalQueue,
        Self::BankSum,
        Self::LongFork,
        Self::UniqueIds,
        Self::CounterBounds,
        Self::Monotonic,
        Self::ReadYourWrites,
        Self::BoundedStaleness,
        Self::PrefixOfLog,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::SetFull => "set-full",
            Self::Ledger => "ledger",
            Self::Log => "log",
            Self::TotalQueue => "total-queue",
            Self::BankSum => "bank-sum",
            Self::LongFork => "long-fork",
            Self::UniqueIds => "unique-ids",
            Self::CounterBounds => "counter-bounds",
            Self::Monotonic => "monotonic",
            Self::ReadYourWrites => "read-your-writes",
            Self::BoundedStaleness => "bounded-staleness",
            Self::PrefixOfLog => "prefix-of-log",
        }
    }

    /// Whether its operations are those of a ledger: `add` and `read` of all.
    pub fn is_of_sets(self) -> bool {
        matches!(self, Self::SetFull | Self::Ledger)
    }

    fn knows(self) -> &'static str {
        match self {
            Self::SetFull | Self::Ledger => "add of an element and read of a list of them",
            Self::Log => {
                "send [[:send key value] …] answered by [[:send key [offset value]] …], poll [[:poll]] answered by \
                 [[:poll {key [[offset value] …]}]], txn of both, assign, subscribe and crash"
            }
            Self::TotalQueue => "enqueue of a value, dequeue, and drain of a list of them",
            Self::BankSum => "transfer and read of {account balance …}",
            Self::LongFork => "txn, read or write of [[:r key value] …] or [[:w key value]]",
            Self::UniqueIds => "generate",
            Self::CounterBounds => "add of an amount and read of the sum",
            Self::Monotonic | Self::ReadYourWrites | Self::BoundedStaleness => {
                "write and read of a value or [key value], or add of an element and read of a list of them"
            }
            Self::PrefixOfLog => "read of [node [element …]] and state of [node {key value …}]",
        }
    }
}

/// What is asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// The first value: the sum of a bank (or balances by account), the counter's start. Nil where nothing is known.
    pub initial: Value,
    /// How old what is read may be.
    pub staleness: Duration,
    /// What counts as a violation; by default whatever [`Anomaly::is_note`] is not.
    pub anomalies: Option<Vec<Anomaly>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { initial: Value::Nil, staleness: Duration::ZERO, anomalies: None }
    }
}

/// What a history is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing that counts was found.
    Valid,
    /// Something was.
    Violated,
    /// A limit was reached first.
    Unknown(Stop),
    /// Nothing was there to be looked at: no read was answered.
    Nothing,
}

/// What was found in a history.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// What counts, by anomaly.
    pub violated: Vec<Found>,
    /// What was seen beside it and does not count.
    pub noted: Vec<Found>,
    /// Numbers that say how much was looked at, and how long things took.
    pub figures: Vec<Figure>,
    /// Calls of clients.
    pub operations: usize,
}

/// Why a history cannot be judged by a model.
#[derive(Clone, PartialEq, Eq, Error, Debug)]
pub enum Refusal {
    /// Its processes do what a process cannot do.
    #[error(transparent)]
    Processes(#[from] ImportError),
    /// An operation is not one of the model.
    #[error("{found} is none of the model {model}, which knows {knows}")]
    Operation {
        /// The operation, with its line.
        found: String,
        /// The model.
        model: &'static str,
        /// Its operations.
        knows: &'static str,
    },
    /// A value that must be unique is written again.
    #[error("{found} writes a value that was written before; the model {model} tells writes apart by their values")]
    WrittenTwice {
        /// The operation, with its line.
        found: String,
        /// The model.
        model: &'static str,
    },
    /// The first value is not one of the model.
    #[error("the initial value of the model {model} is {expected}")]
    Initial {
        /// The model.
        model: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// How old something is cannot be told.
    #[error("{found} has no :time, which a bound of staleness needs")]
    Timeless {
        /// The operation, with its line.
        found: String,
    },
}

/// Why a model came to no end.
enum Ended {
    Refused(Refusal),
    Stopped(Stop),
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

/// What a model is given.
struct Asked<'a, 'w> {
    history: &'a Loaded,
    model: Model,
    options: &'a Options,
    watch: &'a mut Watch<'w>,
}

impl Asked<'_, '_> {
    fn alien(&self, op: &RawOp) -> Ended {
        let (model, knows) = (self.model.name(), self.model.knows());
        Ended::Refused(Refusal::Operation { found: op.to_string(), model, knows })
    }

    fn written_twice(&self, op: &RawOp) -> Ended {
        Ended::Refused(Refusal::WrittenTwice { found: op.to_string(), model: self.model.name() })
    }

    fn initial(&self, expected: &'static str) -> Ended {
        Ended::Refused(Refusal::Initial { model: self.model.name(), expected })
    }
}

/// Judges a history. When a limit is reached, what was found until then still counts.
pub fn check(history: &Loaded, model: Model, options: &Options, watch: &mut Watch<'_>) -> Result<Report, Refusal> {
    let mut findings = Findings::default();
    let mut asked = Asked { history, model, options, watch };
    let stop = match look(&mut asked, &mut findings) {
        Ok(()) => None,
        Err(Ended::Stopped(stop)) => Some(stop),
        Err(Ended::Refused(refusal)) => return Err(refusal),
    };
    Ok(findings.report(options, stop))
}

/// The answer when a limit was reached before anything was read.
pub fn nothing_read(stop: Stop) -> Report {
    Findings::default().report(&Options::default(), Some(stop))
}

fn look(asked: &mut Asked<'_, '_>, findings: &mut Findings) -> Result<(), Ended> {
    let calls = Calls::read(asked.history, asked.watch)?;
    findings.operations = calls.all.len();
    match asked.model {
        Model::SetFull => set_full::check(asked, &calls, findings),
        Model::Ledger => ledger::check(asked, &calls, findings),
        Model::Log => log::check(asked, &calls, findings),
        Model::TotalQueue => total_queue::check(asked, &calls, findings),
        Model::BankSum => bank_sum::check(asked, &calls, findings),
        Model::LongFork => long_fork::check(asked, &calls, findings),
        Model::UniqueIds => unique_ids::check(asked, &calls, findings),
        Model::CounterBounds => counter_bounds::check(asked, &calls, findings),
        Model::Monotonic | Model::ReadYourWrites | Model::BoundedStaleness => sessions::check(asked, &calls, findings),
        Model::PrefixOfLog => prefix_of_log::check(asked, &calls, findings),
    }
}
