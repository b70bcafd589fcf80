//! Linearizability: whether the calls of a history could have taken effect one after the other, each at a moment between
//! its beginning and its end, so that every result is what the model gives there.
//!
//! Independent keys are decided apart. What `fail`ed did not happen; what nobody knows may have happened at any time
//! after it began, or never.

mod bank;
mod beginning;
mod configs;
mod crew;
mod elements;
mod etcd;
mod known;
mod lock;
mod minimal;
mod models;
mod picture;
mod plan;
mod search;
mod spec;
mod tell;
mod translation;
mod unique;

#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

use crate::history::{ImportError, Packed, Pair, Unloaded, Value};
use crate::limits::{Exceeded, Watch};
use models::{Calls, Object, Translated, Untranslated};
use plan::Plan;
use search::Found;
use unique::Decided;

pub use beginning::explain_beginning;
pub use picture::{html, svg};
pub use tell::describe;

/// What an object does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Model {
    /// `read`, `write`.
    Register,
    /// `read`, `write`, and `cas [from to]`.
    CasRegister,
    /// Transactions of reads and writes of several registers.
    MultiRegister,
    /// `get`, `put` and `append` of texts by key.
    Kv,
    /// `add` of an element, `read` of all.
    Set,
    /// `enqueue`, `dequeue`: first in, first out.
    Queue,
    /// `add` of an amount, `read` of the sum.
    Counter,
    /// `acquire`, `release` by anybody; `reentrant-acquire`, `reentrant-release` by the process that holds it; an
    /// acquisition that answers a whole number got it as a fencing token, greater than every one before.
    Lock,
    /// `transfer {:from a, :to b, :amount n}`, and `read` of balances by account.
    Bank,
    /// `txn` of comparisons and of requests for either case, in a store that counts revisions.
    EtcdTxn,
}

impl Model {
    /// Every model.
    pub const ALL: &[Self] = &[
        Self::Register,
        Self::CasRegister,
        Self::MultiRegister,
        Self::Kv,
        Self::Set,
        Self::Queue,
        Self::Counter,
        Self::Lock,
        Self::Bank,
        Self::EtcdTxn,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::CasRegister => "cas-register",
            Self::MultiRegister => "multi-register",
            Self::Kv => "kv",
            Self::Set => "set",
            Self::Queue => "queue",
            Self::Counter => "counter",
            Self::Lock => "lock",
            Self::Bank => "bank",
            Self::EtcdTxn => "etcd-txn",
        }
    }
}

/// How far a search may go.
pub struct Limits<'a> {
    /// Whether a limit was reached, or would be if so many bytes more were held. Asked often, also by several threads, so that
    /// the memory of the process should not be looked at every time.
    pub exceeded: Exceeded<'a>,
    /// Bytes the search may hold, beside the history.
    pub memory: usize,
}

impl fmt::Debug for Limits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("memory", &self.memory).finish_non_exhaustive()
    }
}

/// Which limit ended a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Of time.
    Time,
    /// Of memory.
    Memory,
}

/// What a history is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Linearizable.
    Valid,
    /// Not linearizable.
    Violated(Box<Counterexample>),
    /// A limit was reached first.
    Unknown {
        /// Which.
        why: Stop,
        /// Completed calls of the first undecided key that were verified, from the beginning.
        verified: usize,
        /// Out of how many.
        of: usize,
        /// The key, when there are several objects.
        key: Option<Value>,
    },
    /// No client made a call.
    Nothing,
}

/// Why a history has no order, by places in [`Packed`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counterexample {
    /// The key, when there are several objects.
    pub key: Option<Value>,
    /// Where the call begins that fits nowhere; every call that ended before it has its place.
    pub begins: usize,
    /// Where it ends.
    pub ends: usize,
    /// States the object may have had when the call before it ended (a few of them).
    pub states: Vec<String>,
    /// Calls of the same object that ended last before, and calls that were in flight: beginning, and end if any.
    pub around: Vec<(usize, Option<usize>)>,
    /// Completed calls of the same object that have their place.
    pub verified: usize,
    /// Calls that have no order whatever became of all others, the fewest that were found: beginning and end. Empty when
    /// it would have taken too long, or nobody asked.
    pub core: Vec<(usize, usize)>,
    /// Where those begin of the calls above that took effect before, in an order in which they could. Empty when it would
    /// have taken too long, or nobody asked.
    pub order: Vec<usize>,
}

/// What was found in a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// Calls that bear on it: those that happened, or may have.
    pub calls: usize,
    /// Independent objects.
    pub objects: usize,
    /// The events that all this is about, when a limit was reached before the others were read.
    pub only_first: Option<usize>,
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
        /// Line of the file, from 1.
        line: usize,
        /// The operation, with its line.
        found: String,
        /// The model.
        model: &'static str,
        /// Its operations.
        knows: &'static str,
    },
    /// The initial value is not one of the model.
    #[error("the initial value of the model {model} is {expected}")]
    Initial {
        /// The model.
        model: &'static str,
        /// What it may be.
        expected: &'static str,
    },
}

/// How much is told of a violation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Telling {
    /// Where it shows, and in which states.
    Brief,
    /// Also [`Counterexample::core`] and [`Counterexample::order`].
    Full,
}

/// Decides a history. `initial` is nil where nothing else is known. Objects are decided on as many threads as there are
/// cores; what is said does not depend on them. Of a violation it tells where it shows; [`explain`] tells more.
pub fn check(history: &Packed, model: Model, initial: &Value, limits: &Limits<'_>) -> Result<Report, Refusal> {
    tell_all(history, (model, initial), Telling::Brief, limits)
}

/// [`check`] that also looks for the fewest calls of a violation that contradict each other, and for an order of those before:
/// of a small history that takes longer than the verdict.
pub fn explain(history: &Packed, model: Model, initial: &Value, limits: &Limits<'_>) -> Result<Report, Refusal> {
    tell_all(history, (model, initial), Telling::Full, limits)
}

fn tell_all(
    history: &Packed,
    asked: (Model, &Value),
    telling: Telling,
    limits: &Limits<'_>,
) -> Result<Report, Refusal> {
    match pairs(history, history.len(), limits)? {
        Ok(all) => {
            let calls = Calls { history, all: &all, until: history.len() };
            decide_part(calls, asked, telling, limits).map(|part| part.report)
        }
        Err(stop) => Ok(nothing_read(stop)),
    }
}

/// The calls among so many first events, unless a limit is reached before.
fn pairs(history: &Packed, until: usize, limits: &Limits<'_>) -> Result<Result<Vec<Pair>, Stop>, Refusal> {
    match history.pairs(until, &mut Watch::new(limits.exceeded)) {
        Ok(pairs) => Ok(Ok(pairs)),
        Err(Unloaded::Stopped(stop)) => Ok(Err(stop)),
        Err(Unloaded::Mistake(error)) => Err(error.into()),
    }
}

/// What was found in so many first events of a history.
struct Part {
    report: Report,
    /// Calls that ended, of those that bear on the verdict.
    completed: usize,
    /// Whether the operations mean the same whatever follows.
    is_sure: bool,
}

fn decide_part(
    of: Calls<'_>,
    (model, initial): (Model, &Value),
    telling: Telling,
    limits: &Limits<'_>,
) -> Result<Part, Refusal> {
    let translated = match models::translate(of, model, initial, &mut Watch::new(limits.exceeded)) {
        Ok(translated) => translated,
        Err(Untranslated::Refused(refusal)) => return Err(refusal),
        Err(Untranslated::Stopped(stop)) => {
            return Ok(Part { report: nothing_read(stop), completed: 0, is_sure: false });
        }
    };
    let Translated { recorded, objects, values, is_sure } = translated;
    let calls = objects.iter().map(|object| object.spans.len()).sum();
    let completed = objects.iter().map(Object::completed).sum();
    let count = objects.len();
    let verdict = if recorded == 0 { Verdict::Nothing } else { crew::decide_all(objects, &values, telling, limits) };
    Ok(Part { report: Report { verdict, calls, objects: count, only_first: None }, completed, is_sure })
}

/// The answer when a limit was reached before every operation was read.
pub fn nothing_read(why: Stop) -> Report {
    let verdict = Verdict::Unknown { why, verified: 0, of: 0, key: None };
    Report { verdict, calls: 0, objects: 0, only_first: Some(0) }
}

fn decide(object: &mut Object, values: &[Value], telling: Telling, limits: &Limits<'_>) -> Verdict {
    let unknown = |why| Verdict::Unknown { why, verified: 0, of: object.completed(), key: object.key.clone() };
    if let Some(stop) = (limits.exceeded)(0) {
        return unknown(stop);
    }
    if unique::bytes(&object.spans) > limits.memory {
        return unknown(Stop::Memory);
    }
    match unique::decide(&object.spec, &object.spans) {
        Some(Decided::Order) => return Verdict::Valid,
        Some(Decided::NoOrder(why)) => {
            return Verdict::Violated(Box::new(tell::different(object, why, (values, telling), limits)));
        }
        None => {}
    }
    let plan = Plan::new(&object.spans);
    match search::search(&plan, &mut object.spec, limits) {
        Found::Order => Verdict::Valid,
        Found::Stopped { level, why } => {
            Verdict::Unknown { why, verified: level, of: plan.levels.len(), key: object.key.clone() }
        }
        Found::NoOrder { level, states } => {
            let told = tell::Told { level, states: &states, why: &[] };
            Verdict::Violated(Box::new(tell::counterexample(object, &plan, &told, (values, telling), limits)))
        }
    }
}
