//! Calls with their outcomes, and micro-operations, as every model reads them out of a history.

use crate::history::{Kind, Loaded, Process, RawOp, Unloaded, Value, calls_within};
use crate::limits::Watch;

/// What became of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It happened.
    Committed,
    /// It may have happened, or happen still.
    Unknown,
    /// It did not happen.
    Aborted,
}

/// A call of a client. One of both events is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called<'a> {
    pub(crate) process: i64,
    pub(crate) outcome: Outcome,
    pub(crate) invoke: Option<&'a RawOp>,
    pub(crate) complete: Option<&'a RawOp>,
    /// Place of its beginning in the history.
    pub(crate) begins: usize,
    /// Place of its end, when it is known to have happened or not.
    pub(crate) ends: Option<usize>,
    /// Place of the event that is shown for it: its end, or else its beginning.
    pub(crate) shown: usize,
    /// The event whose value says most.
    pub(crate) op: &'a RawOp,
}

/// The calls of clients, in the order in which they begin.
pub(crate) fn called<'a>(
    history: &'a Loaded,
    watch: &mut Watch<'_>,
) -> Result<impl Iterator<Item = Called<'a>> + use<'a>, Unloaded> {
    let event = |place: usize| history.ops.get(place);
    Ok(calls_within(history, watch)?.into_iter().filter_map(move |call| {
        let (invoke, complete) = (call.invoke.and_then(event), call.complete.and_then(event));
        let outcome = match complete.map(|op| op.kind) {
            Some(Kind::Ok) => Outcome::Committed,
            Some(Kind::Fail) => Outcome::Aborted,
            Some(Kind::Info | Kind::Invoke) | None => Outcome::Unknown,
        };
        let says_it = |op: &&RawOp| op.kind == Kind::Ok || invoke.is_none() || op.value.list().is_some();
        let op = complete.filter(says_it).or(invoke)?;
        let Process::Client(process) = op.process else { return None };
        Some(Called {
            process,
            outcome,
            invoke,
            complete,
            begins: call.begins(),
            ends: call.complete.filter(|_| outcome != Outcome::Unknown),
            shown: call.complete.unwrap_or_else(|| call.begins()),
            op,
        })
    }))
}

/// `[:name key value]`, or `[:name key]` with nil.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Micro<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: &'a Value,
    pub(crate) value: &'a Value,
}

/// Reads a micro-operation; none when it has another shape.
pub(crate) fn micro(item: &Value) -> Option<Micro<'_>> {
    const NIL: &Value = &Value::Nil;
    let (name, key, value) = match item.list()? {
        [name, key, value] => (name, key, value),
        [name, key] => (name, key, NIL),
        _ => return None,
    };
    Some(Micro { name: name.name()?, key, value })
}
