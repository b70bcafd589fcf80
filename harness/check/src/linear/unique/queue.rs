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
    let (mut nothing, mut twice) = (Vec::new(), None);
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
        } else if *op != Op::DequeueNothing {
            return None;
        } else if span.ends.is_some() {
            nothing.push(place);
        }
    }
    if let Some(why) = twice {
        return Some(Decided::NoOrder(why));
    }
    let mut kept = Vec::with_capacity(stays.all.len());
    for stay in stays.all {
        let was_taken = stay.taken.is_some_and(|(_, end, _)| end != NEVER);
        match (stay.put, stay.taken) {
            (None, Some((.., span))) if was_taken => return Some(Decided::NoOrder(spans_of([(0, span)]))),
            (Some((begin, _, put)), Some((_, end, taken))) if end < begin => {
                return Some(Decided::NoOrder(spans_of([(0, put), (0, taken)])));
            }
            // Nobody has seen it: it may never have been there.
            (Some((_, NEVER, _)), _) if !was_taken => {}
            // Taken at most by one who does not know.
            (None, _) => {}
            (Some(_), _) => kept.push(stay),
        }
    }
    let why = reversed(&mut kept).or_else(|| never_empty(&kept, &nothing, spans));
    Some(why.map_or(Decided::Order, Decided::NoOrder))
}

/// Two values of which the first put in is taken last.
fn reversed(stays: &mut [Stay]) -> Option<Vec<usize>> {
    let mut ended: Vec<(Moment, At, Option<usize>)> =
        stays.iter().map(|stay| (stay.in_by().0, stay.in_until(), stay.in_by().1)).collect();
    ended.sort_unstable();
    stays.sort_unstable_by_key(|stay| stay.put);
    let mut ended = ended.into_iter().peekable();
    // The one that stays longest, of those that were in.
    let mut longest: Option<(At, Option<usize>)> = None;
    for stay in stays {
        let (begin, _, put) = stay.put?;
        while let Some((_, until, span)) = ended.next_if(|(end, ..)| *end < begin) {
            longest = longest.max(Some((until, span)));
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
fn never_empty(stays: &[Stay], nothing: &[usize], spans: &[Span]) -> Option<Vec<usize>> {
    let mut full: Vec<(At, At)> = stays.iter().map(|stay| (stay.in_by(), stay.in_until())).collect();
    full.retain(|(from, until)| from.0 < until.0);
    full.sort_unstable();
    let mut merged: Vec<(At, At)> = Vec::new();
    for (from, until) in full {
        match merged.last_mut() {
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
