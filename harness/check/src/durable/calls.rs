//! The calls of a history as every model here reads them.

use super::Ended;
use crate::history::{Loaded, RawOp, Unloaded, Value};
use crate::limits::Watch;
pub(super) use crate::micro::Outcome;
use crate::micro::called;

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
        self.ends.filter(|_| self.outcome == Outcome::Committed)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.outcome == Outcome::Aborted
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
        let mut all = Vec::new();
        let calls = called(history, watch).map_err(|unread| match unread {
            Unloaded::Mistake(error) => Ended::Refused(error.into()),
            Unloaded::Stopped(stop) => Ended::Stopped(stop),
        })?;
        for call in calls {
            watch.spend(1)?;
            let answer = call.complete.filter(|_| call.outcome == Outcome::Committed);
            let asked = call.invoke.unwrap_or(call.op);
            all.push(Call {
                process: call.process,
                f: &asked.f,
                asked: &asked.value,
                answered: answer.map(|op| &op.value),
                outcome: call.outcome,
                begins: call.begins,
                ends: call.ends,
                shown: call.shown,
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
