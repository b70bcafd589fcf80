//! Which completion belongs to which invocation.

use super::{ImportError, Kind, Loaded, Process, RawOp, Unloaded};
use crate::hash::FastMap;
use crate::limits::Watch;

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

/// A call in eight bytes: where it begins and ends. Both are one place when only its completion was recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    begins: u32,
    ends: u32,
}

/// The most events of a history that is paired.
const MOST: u32 = u32::MAX - 1;

const NEVER: u32 = u32::MAX;

impl Pair {
    /// Where it begins.
    pub(crate) fn begins(self) -> usize {
        usize::try_from(self.begins).unwrap_or(usize::MAX)
    }

    /// Where it ends, if that was recorded.
    pub(crate) fn ends(self) -> Option<usize> {
        if self.ends == NEVER { None } else { usize::try_from(self.ends).ok() }
    }
}

/// Pairs the events of clients; the calls are in the order in which they begin.
///
/// Refused, with both operations: two calls in flight for a process, a process that is used again after `info`, and a
/// completion of an operation other than the one invoked.
pub fn calls(history: &Loaded) -> Result<Vec<Call>, ImportError> {
    super::loading::unlimited(calls_within(history, &mut Watch::unlimited()))
}

/// [`calls`] that asks whether a limit was reached, again and again.
pub(crate) fn calls_within(history: &Loaded, watch: &mut Watch<'_>) -> Result<Vec<Call>, Unloaded> {
    let mut processes: FastMap<i64, usize> = FastMap::default();
    let events = history.ops.iter().enumerate().filter_map(|(place, op)| {
        let Process::Client(process) = op.process else { return None };
        let next = processes.len();
        let process = *processes.entry(process).or_insert(next);
        Some((place, process, op.kind, &*op.f))
    });
    let pairs = pair(events, |place| history.ops.get(place).cloned(), watch)?;
    let call = |pair: Pair| Call { invoke: (pair.begins != pair.ends).then_some(pair.begins()), complete: pair.ends() };
    Ok(pairs.into_iter().map(call).collect())
}

/// Pairs events: the place, a small number for the process, what became of it, and the name of the operation.
pub(super) fn pair<F: PartialEq>(
    events: impl Iterator<Item = (usize, usize, Kind, F)>,
    op: impl Fn(usize) -> Option<RawOp>,
    watch: &mut Watch<'_>,
) -> Result<Vec<Pair>, Unloaded> {
    let mut pairs: Vec<Pair> = Vec::with_capacity(events.size_hint().1.unwrap_or_default() / 2 + 1);
    let mut processes: Vec<Last<F>> = Vec::new();
    for (place, process, kind, f) in events {
        watch.spend(1)?;
        let Some(number) = u32::try_from(place).ok().filter(|number| *number < MOST) else {
            let expected = format!("at most {MOST} events");
            return Err(ImportError { line: op(place).map_or(1, |op| op.line), column: 1, expected }.into());
        };
        if process >= processes.len() {
            processes.resize_with(process + 1, || Last::Idle);
        }
        let Some(last) = processes.get_mut(process) else { continue };
        let next = match (&*last, kind) {
            (Last::Retired(before), _) => {
                return Err(refusal("no operation of a process after its :info", op(*before), op(place)).into());
            }
            (Last::InFlight(call, of), _) => {
                let Some(pair) = pairs.get_mut(*call) else { continue };
                if kind == Kind::Invoke {
                    return Err(refusal("one operation in flight for a process", op(pair.begins()), op(place)).into());
                }
                if *of != f {
                    let expected = "a completion of the operation that was invoked";
                    return Err(refusal(expected, op(pair.begins()), op(place)).into());
                }
                pair.ends = number;
                after(kind, place)
            }
            (Last::Idle, Kind::Invoke) => {
                pairs.push(Pair { begins: number, ends: NEVER });
                Last::InFlight(pairs.len() - 1, f)
            }
            (Last::Idle, Kind::Ok | Kind::Fail | Kind::Info) => {
                pairs.push(Pair { begins: number, ends: number });
                after(kind, place)
            }
        };
        *last = next;
    }
    Ok(pairs)
}

/// What a process did last.
#[derive(Clone, Copy, Debug)]
enum Last<F> {
    Idle,
    InFlight(usize, F),
    Retired(usize),
}

fn after<F>(kind: Kind, place: usize) -> Last<F> {
    match kind {
        Kind::Info => Last::Retired(place),
        Kind::Invoke | Kind::Ok | Kind::Fail => Last::Idle,
    }
}

fn refusal(expected: &str, before: Option<RawOp>, now: Option<RawOp>) -> ImportError {
    let line = now.as_ref().map_or(1, |now| now.line);
    let told = |word: &str, op: Option<RawOp>| op.map(|op| format!("\n  {word} {op}")).unwrap_or_default();
    ImportError { line, column: 1, expected: format!("{expected}{}{}", told("first", before), told("then ", now)) }
}
