//! Jepsen's `set-full`: for each element when it was known, last seen and last missed.
//!
//! It is known from its acknowledgement, or from the end of the first read that saw it. It is *lost* when a read that missed
//! it began after that, and after every read that saw it had ended; *never read* when nobody saw it and no later read missed
//! it; *stale* when it is not lost, and was missed after it was known. Source: `jepsen.checker/set-full`, which compares where
//! reads begin; of two reads at the same time neither is the later one here.

use super::calls::Calls;
use super::findings::spread;
use super::sets::{Read, Sets};
use super::{Anomaly, Asked, Ended, Findings};
use crate::intern::at;

/// Reads that saw an element.
#[derive(Clone, Default)]
struct Seen {
    /// Places in [`Sets::reads`], which is in the order in which they begin.
    by: Vec<u32>,
    /// Where the first of them ended, and the one that ended last.
    first_end: Option<usize>,
    last: Option<usize>,
}

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let sets = Sets::read(asked, calls, findings)?;
    let mut seen = vec![Seen::default(); sets.elements.len()];
    for (read, number) in sets.reads.iter().zip(0_u32..) {
        asked.watch.spend(read.elements.len())?;
        for element in &read.elements {
            let seen = &mut seen[at(*element)];
            seen.by.push(number);
            seen.first_end = Some(seen.first_end.map_or(read.ends, |first| first.min(read.ends)));
            if seen.last.is_none_or(|last| sets.reads[last].ends < read.ends) {
                seen.last = Some(at(number));
            }
        }
    }
    // Before this place every read that began earlier had ended.
    let mut latest_end = 0;
    let ended_by: Vec<usize> = sets
        .reads
        .iter()
        .map(|read| {
            latest_end = latest_end.max(read.ends);
            latest_end
        })
        .collect();
    let mut told = Told::default();
    for (element, seen) in sets.elements.iter().zip(&seen) {
        let Some(begins) = element.begins else { continue };
        asked.watch.spend(1)?;
        let mut by = seen.by.iter().rev().map(|number| at(*number)).peekable();
        let mut missed = None;
        for (number, read) in sets.reads.iter().enumerate().rev() {
            if ended_by[number] < begins {
                break;
            }
            asked.watch.spend(1)?;
            if by.next_if_eq(&number).is_none() && read.ends > begins {
                missed = Some(number);
                break;
            }
        }
        let known = [element.acked, seen.first_end].into_iter().flatten().min();
        told.element(calls, &sets, (&element.value.to_string(), known), (seen.last, missed), findings);
    }
    told.figures(sets.elements.iter().filter(|element| element.begins.is_some()).count(), findings);
    Ok(())
}

#[derive(Default)]
struct Told {
    stable: usize,
    lost: usize,
    stable_latencies: Vec<i64>,
    lost_latencies: Vec<i64>,
}

impl Told {
    fn element(
        &mut self,
        calls: &Calls<'_>,
        sets: &Sets,
        (value, known): (&str, Option<usize>),
        (seen, missed): (Option<usize>, Option<usize>),
        findings: &mut Findings,
    ) {
        let read = |number: Option<usize>| number.and_then(|number| sets.reads.get(number));
        let shown = |read: &Read| calls.all[read.call].shown;
        let missed_after_known = read(missed).filter(|missed| known.is_some_and(|known| known < missed.begins));
        let latency = |last: Option<&Read>| {
            // From when it was known to just after the last read that said otherwise began.
            last.map_or(Some(0), |last| calls.between(known?, last.begins)).map(|nanos| nanos.max(0))
        };
        let lost_in = missed_after_known.filter(|missed| read(seen).is_none_or(|seen| seen.ends < missed.begins));
        match (seen, lost_in) {
            (_, Some(missed)) => {
                self.lost += 1;
                self.lost_latencies.extend(latency(read(seen)));
                let ops: Vec<usize> = known.into_iter().chain([shown(missed)]).chain(read(seen).map(shown)).collect();
                findings.add(Anomaly::Lost, &ops, || match seen {
                    Some(_) => format!("{value} was read, and then missing for good"),
                    None => format!("{value} was acknowledged, and is missing"),
                });
            }
            (Some(_), None) => {
                self.stable += 1;
                self.stable_latencies.extend(latency(read(missed)));
                if let (Some(late), Some(known)) = (missed_after_known, known) {
                    findings.add(Anomaly::Stale, &[known, shown(late)], || {
                        format!("{value} was known and then missing, and came back later")
                    });
                }
            }
            (None, None) => {
                if let Some(known) = known {
                    findings.add(Anomaly::NeverRead, &[known], || {
                        format!("{value} was acknowledged, and no later read says whether it is there")
                    });
                }
            }
        }
    }

    fn figures(self, attempts: usize, findings: &mut Findings) {
        findings.count("attempts", attempts);
        findings.count("stable", self.stable);
        findings.count("lost", self.lost);
        if let Some([median, late, worst]) = spread(self.stable_latencies) {
            findings.figure("stable-latency-median-ns", median);
            findings.figure("stable-latency-p99-ns", late);
            findings.figure("stable-latency-worst-ns", worst);
        }
        if let Some([median, _, worst]) = spread(self.lost_latencies) {
            findings.figure("lost-latency-median-ns", median);
            findings.figure("lost-latency-worst-ns", worst);
        }
    }
}
