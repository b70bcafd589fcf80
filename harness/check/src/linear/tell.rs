//! A violation in words.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

use super::models::Object;
use super::plan::Plan;
use super::search::{self, Found};
use super::spec::State;
use super::{Counterexample, Limits, Stop, Telling, minimal, unique};
use crate::history::{Kind, Packed, Value};

/// Calls shown that ended before.
const BEFORE: usize = 6;

/// Calls shown that were in flight.
const BESIDE: usize = 12;

/// How often a search that only tells of a violation may ask whether its time is up: 512 steps each.
const PATIENCE: u32 = 1000;

/// What is known of a violation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    /// The level whose call fits nowhere.
    pub(super) level: usize,
    /// States in which it does not.
    pub(super) states: &'a [u32],
    /// Spans that seem to be why.
    pub(super) why: &'a [usize],
}

/// A violation that was found without a search: in the shortest prefix, searched for the states.
pub(super) fn different(
    object: &mut Object,
    why: Vec<usize>,
    told: (&[Value], Telling),
    limits: &Limits<'_>,
) -> Counterexample {
    let (last, why) = unique::shortest(&object.spec, &object.spans, why);
    object.spans = unique::until(&object.spans, last + 1);
    let plan = Plan::new(&object.spans);
    let (level, states) = briefly(limits, |brief| match search::search(&plan, &mut object.spec, brief) {
        Found::NoOrder { level, states } => (level, states),
        Found::Order | Found::Stopped { .. } => (plan.levels.len().saturating_sub(1), Vec::new()),
    });
    counterexample(object, &plan, &Told { level, states: &states, why: &why }, told, limits)
}

/// With less time than there may be.
fn briefly<T>(limits: &Limits<'_>, search: impl FnOnce(&Limits<'_>) -> T) -> T {
    let asked = AtomicU32::new(0);
    let exceeded = |bytes| {
        let is_late = asked.fetch_add(1, Ordering::Relaxed) > PATIENCE;
        if is_late { Some(Stop::Time) } else { (limits.exceeded)(bytes) }
    };
    search(&Limits { exceeded: &exceeded, memory: limits.memory })
}

/// What is around the call of a level.
pub(super) fn counterexample(
    object: &mut Object,
    plan: &Plan,
    told: &Told<'_>,
    (values, telling): (&[Value], Telling),
    limits: &Limits<'_>,
) -> Counterexample {
    let level = told.level;
    let culprit = plan.levels.get(level).map_or(0, |level| level.span);
    let span = |place: usize| object.spans.get(place).map(|span| (span.begins, span.ends));
    let (begins, ends) = span(culprit).unwrap_or_default();
    let end = ends.unwrap_or(begins);
    let prefix = unique::until(&object.spans, end + 1);
    let (core, order) = match telling {
        Telling::Brief => (Vec::new(), Vec::new()),
        Telling::Full => (
            minimal::minimal(&mut object.spec, &prefix, culprit, told.why, limits),
            briefly(limits, |brief| search::order(&Plan::new(&prefix), &mut object.spec, brief)),
        ),
    };
    let span = |place: usize| object.spans.get(place).map(|span| (span.begins, span.ends));
    let before = plan.levels.get(level.saturating_sub(BEFORE)..level).unwrap_or_default();
    let live = plan.levels.get(level).map(|level| plan.live(level)).unwrap_or_default();
    let crashed = object.spans.iter().enumerate().filter(|(_, span)| span.ends.is_none() && span.begins < end);
    let crashed: Vec<usize> = crashed.map(|(place, _)| place).collect();
    let recent = crashed.iter().rev().copied();
    let in_flight = live.iter().map(|live| live.span).filter(|span| *span != culprit).chain(recent).take(BESIDE);
    let mut around: Vec<(usize, Option<usize>)> =
        before.iter().map(|level| level.span).chain(in_flight).filter_map(span).collect();
    around.sort_unstable();
    around.dedup();
    let mut core: Vec<(usize, usize)> = core
        .into_iter()
        .filter_map(|place| prefix.get(place))
        .filter_map(|span| Some((span.begins, span.ends?)))
        .collect();
    core.sort_unstable();
    let shown = |begins: usize| {
        around.binary_search_by_key(&begins, |call| call.0).is_ok()
            || core.binary_search_by_key(&begins, |call| call.0).is_ok()
    };
    let order = order
        .into_iter()
        .filter_map(|place| prefix.get(place))
        .map(|span| span.begins)
        .filter(|at| shown(*at))
        .collect();
    let states =
        told.states.iter().filter_map(|state| object.spec.state(*state)).map(|state| words(state, values)).collect();
    Counterexample { key: object.key.clone(), begins, ends: end, states, around, verified: level, core, order }
}

fn words(state: &State, values: &[Value]) -> String {
    let value = |number: u32| {
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        values.get(place).map_or_else(|| "?".to_owned(), ToString::to_string)
    };
    let list = |numbers: &mut dyn Iterator<Item = u32>| numbers.map(value).collect::<Vec<_>>().join(" ");
    match state {
        State::Value(number) => value(*number),
        State::Values(numbers) | State::Queue(numbers) => format!("[{}]", list(&mut numbers.iter().copied())),
        State::Text(text) => format!("{text:?}"),
        State::Set(elements) => format!("#{{{}}}", list(&mut elements.iter())),
        State::Sum(sum) => sum.to_string(),
        State::Lock(lock) => lock.words(),
        State::Balances(balances) => format!("{balances:?}"),
        State::Store(store) => {
            let keys = store.keys.iter().map(|key| key.map_or_else(|| "nil".to_owned(), |entry| value(entry.value)));
            format!("revision {} [{}]", store.revision, keys.collect::<Vec<_>>().join(" "))
        }
    }
}

/// A violation as lines for a person.
pub fn describe(history: &Packed, found: &Counterexample) -> String {
    let mut out = String::new();
    let object = found.key.as_ref().map(|key| format!(" of key {key}")).unwrap_or_default();
    // Writing to a string cannot fail, here and below.
    let _written = writeln!(out, "no order: {}", call(history, found.begins, Some(found.ends)));
    let states = found.states.join(", or ");
    let placed = found.verified;
    let _written =
        writeln!(out, "  could not take effect; calls{object} that ended before it and have their place: {placed}");
    if !states.is_empty() {
        let _written = writeln!(out, "  when the last of them ended, the state may have been: {states}");
    }
    if !found.core.is_empty() {
        out.push_str("  these calls contradict each other, whatever became of all others:\n");
    }
    for (begins, ends) in &found.core {
        let _written = writeln!(out, "    {}", call(history, *begins, Some(*ends)));
    }
    if !found.around.is_empty() {
        out.push_str("  the calls before it and beside it:\n");
    }
    for (begins, ends) in &found.around {
        let _written = writeln!(out, "    {}", call(history, *begins, *ends));
    }
    out
}

pub(super) fn call(history: &Packed, begins: usize, ends: Option<usize>) -> String {
    let Some(first) = history.op(begins) else { return String::new() };
    let name = if first.f.is_empty() { "nil" } else { &*first.f };
    let mut text = format!("process {} {name} {}", first.process, first.value);
    match ends.and_then(|ends| history.op(ends)) {
        Some(last) => {
            let result = match last.kind {
                Kind::Ok if last.compare_false => "compare false".to_owned(),
                Kind::Invoke | Kind::Ok | Kind::Fail | Kind::Info if last.value == first.value => last.kind.to_string(),
                Kind::Invoke | Kind::Ok | Kind::Fail | Kind::Info => format!("{} {}", last.kind, last.value),
            };
            let _written = write!(text, " → {result} (lines {} to {})", first.line, last.line);
        }
        None => {
            let _written = write!(text, " → unknown (from line {})", first.line);
        }
    }
    text
}
