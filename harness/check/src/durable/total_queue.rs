//! Jepsen's `total-queue`: what was enqueued comes out once, in whatever order. A dequeue of unknown outcome may have taken
//! one element along.

use super::calls::{Calls, items};
use super::{Anomaly, Asked, Ended, Findings};
use crate::history::Value;
use crate::intern::{Interner, at};

/// How often an element went in and came out, and where.
#[derive(Clone, Debug)]
struct Element {
    value: Value,
    attempts: usize,
    acked: usize,
    out: usize,
    /// The last time it went in, and the last time it came out.
    shown: [Option<usize>; 2],
}

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let mut elements: Vec<Element> = Vec::new();
    let mut names = Interner::default();
    let mut element = |value: &Value| {
        let (number, _, is_new) = names.any(0, value);
        if is_new {
            elements.push(Element { value: value.clone(), attempts: 0, acked: 0, out: 0, shown: [None, None] });
        }
        at(number)
    };
    // Going in, or coming out: element, whether it is acknowledged, and the operation.
    let mut ins: Vec<(usize, bool, usize)> = Vec::new();
    let mut outs: Vec<(usize, usize)> = Vec::new();
    let mut unknown = 0;
    for call in &calls.all {
        asked.watch.spend(1)?;
        match (call.f, call.answered) {
            ("enqueue", _) if call.has_failed() => {}
            ("enqueue", answer) => ins.push((element(call.asked), answer.is_some(), call.shown)),
            ("dequeue", Some(Value::Nil)) => findings.looked_at += 1,
            ("dequeue", Some(value)) => outs.push((element(value), call.shown)),
            ("drain", Some(values)) => {
                findings.looked_at += 1;
                for value in items(values).ok_or_else(|| asked.alien(calls.op(call.shown)))? {
                    outs.push((element(value), call.shown));
                }
            }
            ("dequeue", None) => unknown += usize::from(!call.has_failed()),
            // A drain that did not end may have taken everything.
            ("drain", None) => unknown = if call.has_failed() { unknown } else { usize::MAX },
            _ => return Err(asked.alien(calls.op(call.shown))),
        }
    }
    findings.looked_at += outs.len();
    for (place, is_acked, shown) in ins {
        let element = &mut elements[place];
        element.attempts += 1;
        element.acked += usize::from(is_acked);
        element.shown[0] = Some(shown);
    }
    for (place, shown) in outs {
        elements[place].out += 1;
        elements[place].shown[1] = Some(shown);
    }
    tell(&elements, unknown, findings);
    Ok(())
}

fn tell(elements: &[Element], unknown: usize, findings: &mut Findings) {
    let missing: usize = elements.iter().map(|element| element.acked.saturating_sub(element.out)).sum();
    let mut recovered = 0;
    for element in elements {
        let (value, ops) = (&element.value, element.shown.iter().copied().flatten().collect::<Vec<_>>());
        recovered += element.out.min(element.attempts).saturating_sub(element.acked);
        if element.attempts == 0 {
            findings.add(Anomaly::Unexpected, &ops, || format!("{value} came out, and nobody put it in"));
        } else if element.out > element.attempts {
            findings.add(Anomaly::Duplicate, &ops, || {
                format!("{value} went in {} times and came out {} times", element.attempts, element.out)
            });
        } else if element.out < element.acked && missing > unknown {
            findings.add(Anomaly::Lost, &ops, || format!("{value} was acknowledged, and never came out"));
        }
    }
    findings.count("recovered", recovered);
    findings.count("missing", missing);
    findings.count("dequeues-of-unknown-outcome", unknown);
}
