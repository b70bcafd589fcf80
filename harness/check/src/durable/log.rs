//! Jepsen's `kafka`: messages have offsets by key; what is acknowledged is in the log once, and consumers and producers
//! meet it in its order.
//!
//! The order of a key is that of the offsets that acknowledgements and polls show; an offset that nobody showed is no gap,
//! because transactions leave marks of their own there. A process that (re)assigns, subscribes or crashes starts anew.
//! Source: `jepsen.tests.kafka`.

use super::calls::{Calls, Outcome};
use super::polls::{Act, Acts};
use super::{Anomaly, Asked, Ended, Findings};
use crate::hash::FastMap;
use crate::history::Value;
use crate::intern::at;

/// A value of a key.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) key: u32,
    pub(super) value: Value,
    /// Somebody sent it and did not fail; whether anybody tried at all.
    pub(super) may_be: bool,
    pub(super) tried: Option<usize>,
    pub(super) acked: Option<usize>,
    pub(super) polled: Option<usize>,
    /// Where it is, as it was shown: the offset, and by which operation first.
    pub(super) offsets: Vec<(i64, usize)>,
}

/// The offsets of a key that were shown, in order, each with the first message there.
type Offsets = Vec<(i64, u32)>;

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let acts = Acts::read(asked, calls, findings)?;
    let mut offsets: Vec<Vec<(i64, u32, usize)>> = vec![Vec::new(); acts.keys.len()];
    for (message, number) in acts.messages.iter().zip(0..) {
        asked.watch.spend(1)?;
        offsets[at(message.key)].extend(message.offsets.iter().map(|(offset, shown)| (*offset, number, *shown)));
        let (key, value) = (&acts.keys[at(message.key)], &message.value);
        if let [first, second, ..] = message.offsets.as_slice() {
            findings.add(Anomaly::Duplicate, &[first.1, second.1], || {
                format!("{value} of {key} is at the offsets {} and {}", first.0, second.0)
            });
        }
        if let Some(polled) = message.polled.filter(|_| !message.may_be) {
            let ops: Vec<usize> = message.tried.into_iter().chain([polled]).collect();
            findings.add(Anomaly::Unexpected, &ops, || match message.tried {
                Some(_) => format!("{value} of {key} was polled, and sending it had failed"),
                None => format!("{value} of {key} was polled, and nobody sent it"),
            });
        }
    }
    let mut orders: Vec<Offsets> = Vec::with_capacity(offsets.len());
    for (of_key, key) in offsets.iter_mut().zip(&acts.keys) {
        asked.watch.spend(of_key.len())?;
        of_key.sort_unstable();
        for same in of_key.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > 1) {
            let value = |place: usize| &acts.messages[at(same[place].1)].value;
            findings.add(Anomaly::InconsistentOffsets, &[same[0].2, same[1].2], || {
                format!("offset {} of {key} has {} and {}", same[0].0, value(0), value(1))
            });
        }
        of_key.dedup_by_key(|(offset, ..)| *offset);
        orders.push(of_key.iter().map(|(offset, message, _)| (*offset, *message)).collect());
    }
    losses(asked, &acts, &orders, findings)?;
    positions(asked, calls, (&acts, &orders), findings)
}

/// Acknowledged, never polled, and somebody polled beyond it.
fn losses(asked: &mut Asked<'_, '_>, acts: &Acts, orders: &[Offsets], findings: &mut Findings) -> Result<(), Ended> {
    for (order, key) in orders.iter().zip(&acts.keys) {
        asked.watch.spend(order.len())?;
        let polled = |place: &(i64, u32)| acts.messages[at(place.1)].polled;
        let Some(last) = order.iter().rposition(|place| polled(place).is_some()) else { continue };
        let beyond = polled(&order[last]);
        for (place, (offset, number)) in order.iter().enumerate() {
            let message = &acts.messages[at(*number)];
            let Some(sent) = message.acked.filter(|_| message.polled.is_none()) else { continue };
            if place < last {
                let ops: Vec<usize> = [sent].into_iter().chain(beyond).collect();
                findings.add(Anomaly::Lost, &ops, || {
                    let (value, beyond) = (&message.value, order[last].0);
                    format!(
                        "{value} of {key} was acknowledged at offset {offset}; up to {beyond} was polled, but not it"
                    )
                });
            } else {
                findings.add(Anomaly::Unseen, &[sent], || {
                    format!("{} of {key} was acknowledged at offset {offset}, and nobody polled so far", message.value)
                });
            }
        }
    }
    Ok(())
}

/// What each process met in which order.
fn positions(
    asked: &mut Asked<'_, '_>,
    calls: &Calls<'_>,
    (acts, orders): (&Acts, &[Offsets]),
    findings: &mut Findings,
) -> Result<(), Ended> {
    // By process and key: the rank of the last message, and the operation.
    let mut polled: FastMap<i64, FastMap<u32, (usize, usize)>> = FastMap::default();
    let mut sent: FastMap<(i64, u32), (usize, usize)> = FastMap::default();
    let rank = |key: u32, offset: i64| orders[at(key)].binary_search_by_key(&offset, |(offset, _)| *offset).ok();
    for (number, act) in &acts.all {
        asked.watch.spend(1)?;
        let call = &calls.all[*number];
        match act {
            Act::Reset => {
                polled.remove(&call.process);
            }
            Act::Sent { key, offset } => {
                let Some(rank) = rank(*key, *offset) else { continue };
                let before = sent.insert((call.process, *key), (rank, call.shown));
                if let Some((_, shown)) = before.filter(|(last, _)| *last >= rank) {
                    findings.add(Anomaly::NonmonotonicSend, &[shown, call.shown], || {
                        let key = &acts.keys[at(*key)];
                        format!("process {} sent to {key} and got offset {offset}, not after its last", call.process)
                    });
                }
            }
            Act::Polled { key, offset } => {
                let Some(rank) = rank(*key, *offset) else { continue };
                let of_process = polled.entry(call.process).or_default();
                let before = of_process.insert(*key, (rank, call.shown));
                let Some((last, shown)) = before.filter(|(last, _)| *last + 1 != rank) else { continue };
                let (key, process) = (&acts.keys[at(*key)], call.process);
                if rank <= last {
                    findings.add(Anomaly::NonmonotonicPoll, &[shown, call.shown], || {
                        let last = orders[at(act.key())][last].0;
                        format!("process {process} polled offset {offset} of {key} after {last}")
                    });
                } else {
                    findings.add(Anomaly::PollSkip, &[shown, call.shown], || {
                        let (skipped, message) = orders[at(act.key())][last + 1];
                        let value = &acts.messages[at(message)].value;
                        format!("process {process} polled offset {offset} of {key} and not {skipped} before it, which is {value}")
                    });
                }
            }
        }
    }
    Ok(())
}

/// Whether a call may have sent.
pub(super) fn may_be(outcome: Outcome) -> bool {
    outcome != Outcome::Aborted
}
