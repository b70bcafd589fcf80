//! The calls of a history as every model here reads them.

use super::Ended;
use crate::history::{self, Kind, Loaded, Process, RawOp, Unloaded, Value};
use crate::limits::Watch;

/// What became of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Outcome {
    /// It happened.
    Ok,
    /// It did not happen.
    Failed,
    /// It may have happened, or happen still.
    Unknown,
}

/// A call of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) process: i64,
    pub(super) f: &'a str,
    /// What it was asked; what it answered when only that was recorded.
    pub(super) asked: &'a Value,
    pub(super) answered: Option<&'a Value>,
    pub(super) outcome: Outcome,
    /// Place of its beginning in the history.
    pub(super) begins: usize,
    /// Place of its end, when it is known to have happened or not.
    pub(super) ends: Option<usize>,
    /// The operation that is shown for it: its end, or else its beginning.
    pub(super) shown: usize,
}

impl Call<'_> {
    /// Where it was acknowledged.
    pub(super) fn acked(&self) -> Option<usize> {
        self.ends.filter(|_| self.outcome == Outcome::Ok)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.outcome == Outcome::Failed
    }
}

/// Every call of a client, in the order in which they begin.
pub(super) struct Calls<'a> {
    pub(super) history: &'a Loaded,
    pub(super) all: Vec<Call<'a>>,
}

impl<'a> Calls<'a> {
    pub(super) fn read(history: &'a Loaded, watch: &mut Watch<'_>) -> Result<Self, Ended> {
        watch.ask()?;
        let pairs = history::calls_within(history, watch).map_err(|unread| match unread {
            Unloaded::Mistake(error) => Ended::Refused(error.into()),
            Unloaded::Stopped(stop) => Ended::Stopped(stop),
        })?;
        let mut all = Vec::with_capacity(pairs.len());
        for pair in pairs {
            watch.spend(1)?;
            let complete = pair.complete.and_then(|place| history.ops.get(place));
            let invoke = pair.invoke.and_then(|place| history.ops.get(place));
            let Some(op) = invoke.or(complete) else { continue };
            let Process::Client(process) = op.process else { continue };
            let outcome = match complete.map(|op| op.kind) {
                Some(Kind::Ok) => Outcome::Ok,
                Some(Kind::Fail) => Outcome::Failed,
                Some(Kind::Info | Kind::Invoke) | None => Outcome::Unknown,
            };
            all.push(Call {
                process,
                f: &op.f,
                asked: &op.value,
                answered: complete.filter(|_| outcome == Outcome::Ok).map(|op| &op.value),
                outcome,
                begins: pair.begins(),
                ends: pair.complete.filter(|_| outcome != Outcome::Unknown),
                shown: pair.complete.or(pair.invoke).unwrap_or_default(),
            });
        }
        Ok(Self { history, all })
    }

    /// The operation at a place.
    pub(super) fn op(&self, place: usize) -> &'a RawOp {
        // Places come from this history.
        &self.history.ops[place]
    }

    /// Nanoseconds of an event, when the history has them.
    pub(super) fn time(&self, place: usize) -> Option<i64> {
        self.history.ops.get(place).and_then(|op| op.time)
    }

    /// Nanoseconds from one event to another.
    pub(super) fn between(&self, from: usize, to: usize) -> Option<i64> {
        Some(self.time(to)?.saturating_sub(self.time(from)?))
    }
}

/// The elements of a list or a set.
pub(super) fn items(value: &Value) -> Option<&[Value]> {
    match value {
        Value::List(items) | Value::Set(items) => Some(items),
        Value::Nil
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Text(_)
        | Value::Keyword(_)
        | Value::Map(_)
        | Value::Literal(_) => None,
    }
}

/// The entries of a map.
pub(super) fn entries(value: &Value) -> Option<&[(Value, Value)]> {
    if let Value::Map(entries) = value { Some(entries) } else { None }
}
