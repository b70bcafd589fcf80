//! Objects whose values are all different: decided in the time of a sort, without a search.
//!
//! Whoever reads or takes a value then names the call that put it there, so that the order between values is forced and
//! only has to be compared with real time. Registers: zones (Gibbons and Korach, *Testing shared memories*, 1997), with
//! compare-and-set tying values into one block. Sets: reads form a chain. Queues: no pair of values is reversed and
//! nothing is surely there when the queue is found empty (Henzinger, Sezgin and Vafeiadis, *Aspect-oriented
//! linearizability proofs*, 2013; Lee and Mathur, arXiv 2410.04581).

mod queue;
mod register;
mod set;

use super::plan::Span;
use super::spec::{Spec, State};

/// What is known without a search.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Decided {
    /// There is an order.
    Order,
    /// There is none, and these spans are why.
    NoOrder(Vec<usize>),
}

/// Decides one object, if its values allow it.
pub(super) fn decide(spec: &Spec, spans: &[Span]) -> Option<Decided> {
    match spec.state(0)? {
        State::Value(initial) => register::decide(*initial, spec, spans),
        State::Set(initial) => set::decide(initial, spec, spans),
        State::Queue(initial) => queue::decide(initial, spec, spans),
        State::Values(_) | State::Text(_) | State::Sum(_) | State::Lock(_) | State::Balances(_) | State::Store(_) => {
            None
        }
    }
}

/// What [`decide`] holds at most, about: a map and a list of values, each seldom more than half empty.
pub(super) fn bytes(spans: &[Span]) -> usize {
    spans.len() * 200
}

/// A history until a place: calls that began later are not there, and those that ended later are still in flight.
pub(super) fn until(spans: &[Span], place: usize) -> Vec<Span> {
    let begun = spans.iter().take_while(|span| span.begins < place);
    begun.map(|span| Span { ends: span.ends.filter(|ends| *ends < place), ..*span }).collect()
}

/// The shortest prefix that has no order, by the place of its last event, and the spans that are why.
pub(super) fn shortest(spec: &Spec, spans: &[Span], why: Vec<usize>) -> (usize, Vec<usize>) {
    let last = why.iter().filter_map(|span| spans.get(*span)).map(|span| span.ends.unwrap_or(span.begins)).max();
    let all = spans.iter().map(|span| span.ends.unwrap_or(span.begins)).max().unwrap_or_default();
    let (mut passes, mut fails, mut why) = (0, all + 1, why);
    // Most often it is evident as soon as the last of the calls that contradict each other has ended, and not before.
    let mut guesses = last.map(|last| [(last + 1).min(all), last]).into_iter().flatten();
    while passes < fails {
        let guess = guesses.next().unwrap_or(passes + (fails - passes) / 2).clamp(passes, fails - 1);
        match decide(spec, &until(spans, guess)) {
            Some(Decided::NoOrder(found)) => (fails, why) = (guess, found),
            Some(Decided::Order) | None => passes = guess + 1,
        }
    }
    (fails.saturating_sub(1), why)
}

/// Moments: calls begin at even ones, and end at odd ones or never.
type Moment = i64;

const NEVER: Moment = Moment::MAX;

fn moment(place: usize) -> Moment {
    i64::try_from(place).map_or(NEVER - 1, |place| place.saturating_mul(2))
}

fn begin(span: &Span) -> Moment {
    moment(span.begins)
}

fn end(span: &Span) -> Moment {
    span.ends.map_or(NEVER, |place| moment(place).saturating_add(1))
}

/// A moment and the span whose it is, if it is one's.
type At = (Moment, Option<usize>);

/// Calls that take effect in any order among themselves: the first end and the last beginning.
#[derive(Clone, Copy, Debug)]
struct Group {
    end: At,
    begin: At,
}

impl Group {
    const EMPTY: Self = Self { end: (NEVER, None), begin: (Moment::MIN, None) };

    fn add(&mut self, place: usize, span: &Span) {
        self.end = self.end.min((end(span), Some(place)));
        self.begin = self.begin.max((begin(span), Some(place)));
    }

    fn join(&mut self, other: Self) {
        self.end = self.end.min(other.end);
        self.begin = self.begin.max(other.begin);
    }
}

/// Groups that take effect one after the other.
struct Chain {
    /// The latest beginning so far: everything that follows takes effect after it.
    last: At,
}

impl Chain {
    fn new() -> Self {
        Self { last: (Moment::MIN, None) }
    }

    /// Goes on with a group; the spans that prevent it, if any do.
    fn follow(&mut self, group: Group) -> Option<Vec<usize>> {
        if group.end.0 < self.last.0 {
            return Some(spans_of([self.last, group.end]));
        }
        self.last = self.last.max(group.begin);
        None
    }
}

fn spans_of(all: impl IntoIterator<Item = At>) -> Vec<usize> {
    let mut spans: Vec<usize> = all.into_iter().filter_map(|(_, span)| span).collect();
    spans.sort_unstable();
    spans.dedup();
    spans
}
