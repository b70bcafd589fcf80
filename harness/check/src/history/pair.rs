//! Which completion belongs to which invocation.

use std::collections::BTreeMap;

use super::{ImportError, Kind, Loaded, Process, RawOp};

/// A call of a client, by the places of its events in [`Loaded::ops`]. One of both is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Where it begins; absent when only its completion was recorded: then it began there.
    pub invoke: Option<usize>,
    /// Where it ends; absent when nothing more was recorded: then it may take effect at any later time.
    pub complete: Option<usize>,
}

impl Call {
    /// Where it begins.
    pub fn begins(&self) -> usize {
        self.invoke.or(self.complete).unwrap_or_default()
    }
}

/// Pairs the events of clients; the calls are in the order in which they begin.
///
/// Refused, with both operations: two calls in flight for a process, a process that is used again after `info`, and a
/// completion of an operation other than the one invoked.
pub fn calls(history: &Loaded) -> Result<Vec<Call>, ImportError> {
    let mut calls: Vec<Call> = Vec::with_capacity(history.ops.len() / 2 + 1);
    let mut processes: BTreeMap<i64, Last> = BTreeMap::new();
    for (place, op) in history.ops.iter().enumerate() {
        let Process::Client(process) = op.process else { continue };
        let last = processes.get(&process).copied();
        let next = match last {
            Some(Last::Retired(before)) => {
                let expected = "no operation of a process after its :info";
                return Err(refusal(expected, history.ops.get(before), op));
            }
            Some(Last::InFlight(call)) => {
                let before = calls.get(call).and_then(|call| history.ops.get(call.begins()));
                if op.kind == Kind::Invoke {
                    return Err(refusal("one operation in flight for a process", before, op));
                }
                if before.is_some_and(|before| before.f != op.f) {
                    return Err(refusal("a completion of the operation that was invoked", before, op));
                }
                if let Some(call) = calls.get_mut(call) {
                    call.complete = Some(place);
                }
                after(op.kind, place)
            }
            Some(Last::Idle) | None if op.kind == Kind::Invoke => {
                calls.push(Call { invoke: Some(place), complete: None });
                Last::InFlight(calls.len() - 1)
            }
            Some(Last::Idle) | None => {
                calls.push(Call { invoke: None, complete: Some(place) });
                after(op.kind, place)
            }
        };
        processes.insert(process, next);
    }
    Ok(calls)
}

/// What a process did last.
#[derive(Clone, Copy, Debug)]
enum Last {
    Idle,
    InFlight(usize),
    Retired(usize),
}

fn after(kind: Kind, place: usize) -> Last {
    match kind {
        Kind::Info => Last::Retired(place),
        Kind::Invoke | Kind::Ok | Kind::Fail => Last::Idle,
    }
}

fn refusal(expected: &str, before: Option<&RawOp>, now: &RawOp) -> ImportError {
    let before = before.map(|before| format!("\n  first {before}")).unwrap_or_default();
    ImportError { line: now.line, column: 1, expected: format!("{expected}{before}\n  then  {now}") }
}
