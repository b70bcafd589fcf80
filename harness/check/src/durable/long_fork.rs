//! Jepsen's `long-fork`: each key is written once; of two reads of the same keys one must have seen all that the other saw.
//!
//! Of the reads of one group of keys, sorted by how much they saw, each must contain the one before; then all do.

use super::calls::{Calls, Outcome};
use super::{Anomaly, Asked, Ended, Findings};
use crate::hash::FastMap;
use crate::history::Value;
use crate::micro::{Micro, micro};

/// What somebody read: for each key of the group whether it was written.
struct Read {
    shown: usize,
    saw: Vec<bool>,
}

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let mut written: FastMap<Value, (Value, Outcome)> = FastMap::default();
    let mut groups: FastMap<Vec<Value>, usize> = FastMap::default();
    let mut reads: Vec<Vec<Read>> = Vec::new();
    for call in &calls.all {
        asked.watch.spend(1)?;
        if !matches!(call.f, "txn" | "read" | "write") {
            return Err(asked.alien(calls.op(call.shown)));
        }
        for (is_write, micro) in mops(call.asked).ok_or_else(|| asked.alien(calls.op(call.begins)))? {
            if is_write && written.insert(micro.key.clone(), (micro.value.clone(), call.outcome)).is_some() {
                return Err(asked.written_twice(calls.op(call.begins)));
            }
        }
    }
    for call in &calls.all {
        let Some(answer) = call.answered else { continue };
        let micros = mops(answer).ok_or_else(|| asked.alien(calls.op(call.shown)))?;
        let mut micros: Vec<Micro<'_>> =
            micros.into_iter().filter(|(is_write, _)| !is_write).map(|(_, micro)| micro).collect();
        asked.watch.spend(micros.len())?;
        micros.sort_by_key(|micro| micro.key);
        for micro in micros.iter().filter(|micro| !micro.value.is_nil()) {
            let sound = written
                .get(micro.key)
                .is_some_and(|(value, outcome)| value == micro.value && *outcome != Outcome::Aborted);
            if !sound {
                findings.add(Anomaly::Unexpected, &[call.shown], || {
                    format!("{} of {} was read, and nobody wrote it", micro.value, micro.key)
                });
            }
        }
        if micros.is_empty() {
            continue;
        }
        findings.looked_at += 1;
        let keys: Vec<Value> = micros.iter().map(|micro| micro.key.clone()).collect();
        let next = reads.len();
        let group = *groups.entry(keys).or_insert(next);
        if group == next {
            reads.push(Vec::new());
        }
        let saw = micros.iter().map(|micro| !micro.value.is_nil()).collect();
        reads[group].push(Read { shown: call.shown, saw });
    }
    for group in &mut reads {
        forks(asked, group, findings)?;
    }
    findings.count("reads", findings.looked_at);
    findings.count("groups", reads.len());
    Ok(())
}

fn forks(asked: &mut Asked<'_, '_>, reads: &mut [Read], findings: &mut Findings) -> Result<(), Ended> {
    reads.sort_by_cached_key(|read| read.saw.iter().filter(|saw| **saw).count());
    for pair in reads.windows(2) {
        let [less, more] = pair else { continue };
        asked.watch.spend(less.saw.len())?;
        if less.saw.iter().zip(&more.saw).any(|(less, more)| *less && !*more) {
            findings.add(Anomaly::LongFork, &[less.shown, more.shown], || {
                "each of these two reads saw a write that the other did not see".to_owned()
            });
        }
    }
    Ok(())
}

/// Whether it writes, the key, and the value.
fn mops(value: &Value) -> Option<Vec<(bool, Micro<'_>)>> {
    value.list()?.iter().map(access).collect()
}

fn access(item: &Value) -> Option<(bool, Micro<'_>)> {
    let found = micro(item)?;
    match found.name {
        "w" | "write" => Some((true, found)),
        "r" | "read" => Some((false, found)),
        _ => None,
    }
}
