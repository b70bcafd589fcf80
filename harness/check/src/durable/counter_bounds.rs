//! Jepsen's `counter`: a read is at least what had been added for sure when it began, and at most what may have been added
//! by its end. Amounts below zero move the bounds the other way.

use super::calls::Calls;
use super::{Anomaly, Asked, Ended, Findings};
use crate::history::Value;

/// How an event of an addition moves the bounds.
#[derive(Clone, Copy)]
enum Event {
    /// It may have happened from here on.
    May(i64),
    /// It has happened.
    Has(i64),
    /// A read begins, by its place in the calls.
    Begins(usize),
    /// A read ends.
    Ends(usize),
}

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let initial = &asked.options.initial;
    let initial = if initial.is_nil() { Some(0) } else { initial.int() };
    let initial = initial.ok_or_else(|| asked.initial("a whole number"))?;
    let mut events: Vec<(usize, Event)> = Vec::new();
    for (number, call) in calls.all.iter().enumerate() {
        asked.watch.spend(1)?;
        let alien = || asked.alien(calls.op(call.shown));
        match call.f {
            "add" | "increment" | "decrement" if call.has_failed() => {}
            "add" | "increment" | "decrement" => {
                let amount = call.asked.int().ok_or_else(alien)?;
                let amount = if call.f == "decrement" { amount.saturating_neg() } else { amount };
                events.push((call.begins, Event::May(amount)));
                events.extend(call.acked().map(|place| (place, Event::Has(amount))));
            }
            "read" => {
                if let (Some(answer), Some(ends)) = (call.answered, call.acked()) {
                    answer.int().ok_or_else(alien)?;
                    events.push((call.begins, Event::Begins(number)));
                    events.push((ends, Event::Ends(number)));
                }
            }
            _ => return Err(alien()),
        }
    }
    // Of one place, what may happen there comes before what has.
    events.sort_by_key(|(place, _)| *place);
    walk(asked, calls, (initial, &events), findings)
}

fn walk(
    asked: &mut Asked<'_, '_>,
    calls: &Calls<'_>,
    (initial, events): (i64, &[(usize, Event)]),
    findings: &mut Findings,
) -> Result<(), Ended> {
    // The bounds of a read: the lowest of the lower ones and the highest of the upper ones while it lasted. Amounts of one
    // sign only move a bound one way, so that those at its ends are enough for each sign.
    let (mut sure, mut maybe) = (Bounds::default(), Bounds::default());
    let mut began: Vec<(i64, i64)> = vec![(0, 0); calls.all.len()];
    for (_, event) in events {
        asked.watch.spend(1)?;
        match *event {
            Event::May(amount) => maybe.add(amount),
            Event::Has(amount) => sure.add(amount),
            Event::Begins(number) => began[number] = (sure.up, sure.down),
            Event::Ends(number) => {
                let call = &calls.all[number];
                let Some(answer) = call.answered.and_then(Value::int) else { continue };
                findings.looked_at += 1;
                let (up, down) = began[number];
                let lower = initial.saturating_add(up).saturating_add(maybe.down);
                let upper = initial.saturating_add(maybe.up).saturating_add(down);
                if !(lower..=upper).contains(&answer) {
                    findings.add(Anomaly::OutOfBounds, &[call.begins, call.shown], || {
                        format!("process {} read {answer}, which is not in {lower} to {upper}", call.process)
                    });
                }
            }
        }
    }
    findings.count("reads", findings.looked_at);
    Ok(())
}

/// Sums of amounts above and below zero.
#[derive(Clone, Copy, Default)]
struct Bounds {
    up: i64,
    down: i64,
}

impl Bounds {
    fn add(&mut self, amount: i64) {
        let sum = if amount > 0 { &mut self.up } else { &mut self.down };
        *sum = sum.saturating_add(amount);
    }
}
