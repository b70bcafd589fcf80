//! Queues: what was surely put in first is not taken surely later, and what is surely in makes the queue not empty.

use super::{At, Decided, Moment, NEVER, begin, end, spans_of};
use crate::dense::Dense;
use crate::intern::{at, id};
use crate::linear::plan::Span;
use crate::linear::spec::{Op, Spec};

/// A value: when it was put in, and when it was taken.
#[derive(Clone, Copy, Debug)]
struct Stay {
    put: Option<(Moment, Moment, Option<usize>)>,
    taken: Option<(Moment, Moment, Option<usize>)>,
}

impl Stay {
    const NEW: Self = Self { put: None, taken: None };

    /// When it was in at the latest, and the span that put it in.
    fn in_by(&self) -> At {
        self.put.map_or((NEVER, None), |(_, end, span)| (end, span))
    }

    /// When it began to be taken, at the earliest.
    fn in_until(&self) -> At {
        self.taken.map_or((NEVER, None), |(begin, _, span)| (begin, span))
    }
}

#[derive(Default)]
struct Stays {
    of: Dense,
    all: Vec<Stay>,
}

impl Stays {
    fn get(&mut self, value: u32) -> Option<&mut Stay> {
        let (place, is_new) = self.of.int(0, i64::from(value), id(self.all.len()));
        if is_new {
            self.all.push(Stay::NEW);
        }
        self.all.get_mut(at(place))
    }
}

pub(super) fn decide(initial: &[u32], spec: &Spec, spans: &[Span]) -> Option<Decided> {
    let mut stays = Stays::default();
    let before = i64::try_from(initial.len()).ok()?;
    for (value, place) in initial.iter().zip(-before..) {
        let put = (place.checked_mul(2)?, place.checked_mul(2)? + 1, None);
        if stays.get(*value)?.put.replace(put).is_some() {
            return None;
        }
    }
    let (mut nothing, mut twice, mut is_sure) = (Vec::new(), None, true);
    for (place, span) in spans.iter().enumerate() {
        let call = (begin(span), end(span), Some(place));
        let op = spec.op(span.op)?;
        if let Op::Enqueue(value) = op {
            if stays.get(*value)?.put.replace(call).is_some() {
                return None;
            }
        } else if let Op::Dequeue(value) = op {
            let taken = &mut stays.get(*value)?.taken;
            match *taken {
                // One that is still in flight did not take it.
                Some((_, end, _)) if call.1 == NEVER || end == NEVER => {
                    if call.1 != NEVER {
                        *taken = Some(call);
                    }
                }
                Some((.., other)) => twice = Some(spans_of([(0, other), (0, Some(place))])),
                None => *taken = Some(call),
            }
        } else if *op == Op::DequeueSomething && span.ends.is_none() {
            // It may have taken nothing. If that gives no order, another value that it took may.
            is_sure = false;
        } else if *op != Op::DequeueNothing {
            return None;
        } else if span.ends.is_some() {
            nothing.push(place);
        }
    }
    let why = contradiction(stays.all, twice, &nothing, spans);
    if is_sure || why.is_none() { Some(why.map_or(Decided::Order, Decided::NoOrder)) } else { None }
}

/// The spans that have no order, if any have none, given the values, two spans that took the same one, and those that found
/// nothing.
fn contradiction(stays: Vec<Stay>, twice: Option<Vec<usize>>, nothing: &[usize], spans: &[Span]) -> Option<Vec<usize>> {
    if twice.is_some() {
        return twice;
    }
    let mut kept = Vec::with_capacity(stays.len());
    for stay in stays {
        let was_taken = stay.taken.is_some_and(|(_, end, _)| end != NEVER);
        match (stay.put, stay.taken) {
            (None, Some((.., span))) if was_taken => return Some(spans_of([(0, span)])),
            (Some((begin, _, put)), Some((_, end, taken))) if end < begin => {
                return Some(spans_of([(0, put), (0, taken)]));
            }
            // Nobody has seen it: it may never have been there.
            (Some((_, NEVER, _)), _) if !was_taken => {}
            // Taken at most by one who does not know.
            (None, _) => {}
            (Some(_), _) => kept.push(stay),
        }
    }
    let by_end = sorted(&kept, |stay| stay.in_by().0);
    reversed(&kept, &by_end).or_else(|| never_empty(&kept, &by_end, nothing, spans))
}

/// Places of values, by moments.
type Sorted = Vec<(Moment, u32)>;

fn sorted(stays: &[Stay], by: impl Fn(&Stay) -> Moment) -> Sorted {
    let mut places: Sorted = stays.iter().enumerate().map(|(place, stay)| (by(stay), id(place))).collect();
    places.sort_unstable();
    places
}

/// Two values of which the first put in is taken last.
fn reversed(stays: &[Stay], by_end: &Sorted) -> Option<Vec<usize>> {
    let by_begin = sorted(stays, |stay| stay.put.map_or(NEVER, |(begin, ..)| begin));
    let mut ended = by_end.iter().peekable();
    // The one that stays longest, of those that were in.
    let mut longest: Option<(At, Option<usize>)> = None;
    for stay in by_begin.iter().filter_map(|(_, place)| stays.get(at(*place))) {
        let (begin, _, put) = stay.put?;
        while let Some((_, place)) = ended.next_if(|(end, _)| *end < begin) {
            let other = stays.get(at(*place))?;
            longest = longest.max(Some((other.in_until(), other.in_by().1)));
        }
        if let (Some(((until, taken_first), put_first)), Some((_, end, taken))) = (longest, stay.taken)
            && end < until
        {
            return Some(spans_of([(0, put_first), (0, taken_first), (0, put), (0, taken)]));
        }
    }
    None
}

/// A dequeue of nothing during which something was always in.
fn never_empty(stays: &[Stay], by_end: &Sorted, nothing: &[usize], spans: &[Span]) -> Option<Vec<usize>> {
    let mut merged: Vec<(At, At)> = Vec::new();
    for stay in by_end.iter().filter_map(|(_, place)| stays.get(at(*place))) {
        let (from, until) = (stay.in_by(), stay.in_until());
        match merged.last_mut() {
            _ if from.0 >= until.0 => {}
            Some(last) if from.0 < last.1.0 => last.1 = last.1.max(until),
            Some(_) | None => merged.push((from, until)),
        }
    }
    for place in nothing {
        let span = spans.get(*place)?;
        let before = merged.partition_point(|(from, _)| from.0 < begin(span));
        if let Some((from, until)) = before.checked_sub(1).and_then(|before| merged.get(before))
            && end(span) < until.0
        {
            return Some(spans_of([*from, *until, (0, Some(*place))]));
        }
    }
    None
}
