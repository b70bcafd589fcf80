//! Sessions over sets that only grow, as of a ledger's rows: each read is compared with counts of what must be in it, so
//! that only a read that lacks something is searched.

use std::time::Duration;

use super::calls::Calls;
use super::sessions::{Oldest, Question, age, words};
use super::sets::{Read, Sets};
use super::{Anomaly, Asked, Ended, Findings};
use crate::hash::FastMap;
use crate::intern::{at, id};

/// The acknowledged additions of a process, in its order: where each ended, and the element.
type Own = FastMap<i64, Vec<(usize, u32)>>;

pub(super) fn check(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
    let sets = Sets::read(asked, calls, findings)?;
    let mut own: Own = FastMap::default();
    let mut added: Vec<(usize, u32)> = Vec::new();
    for (element, number) in sets.elements.iter().zip(0..) {
        added.extend(element.acked.map(|place| (place, number)));
    }
    added.sort_unstable();
    for (place, number) in &added {
        let Some(by) = sets.elements[at(*number)].acked_by else { continue };
        own.entry(calls.all[by].process).or_default().push((*place, *number));
    }
    let mut looker = Looker { asked, calls, sets: &sets, is_there: vec![0; sets.elements.len()], read: 0 };
    match Question::of(looker.asked.model) {
        Question::Staleness => looker.staleness(&added, findings)?,
        Question::OwnWrites => looker.own_writes(&own, findings)?,
        Question::Order => {
            looker.reads(findings)?;
            looker.writes(&own, findings)?;
        }
    }
    findings.count("reads", findings.looked_at);
    Ok(())
}

struct Looker<'a, 'b, 'c, 'w> {
    asked: &'a mut Asked<'b, 'w>,
    calls: &'a Calls<'c>,
    sets: &'a Sets,
    /// For each element the last read that had it, counted from 1, in the order in which they were looked at.
    is_there: Vec<u32>,
    read: u32,
}

impl Looker<'_, '_, '_, '_> {
    /// Marks the elements of the next read.
    fn mark(&mut self, read: &Read) -> Result<(), Ended> {
        self.asked.watch.spend(read.elements.len() + 1)?;
        self.read += 1;
        for element in &read.elements {
            self.is_there[at(*element)] = self.read;
        }
        Ok(())
    }

    fn lacks(&self, element: u32) -> bool {
        self.is_there[at(element)] != self.read
    }

    fn value(&self, element: u32) -> &crate::history::Value {
        &self.sets.elements[at(element)].value
    }

    /// What a process saw it sees again.
    fn reads(&mut self, findings: &mut Findings) -> Result<(), Ended> {
        // Of each process its last read that had all it had seen before.
        let mut fullest: FastMap<i64, usize> = FastMap::default();
        for (place, read) in self.sets.reads.iter().enumerate() {
            self.mark(read)?;
            let call = &self.calls.all[read.call];
            let before = *fullest.entry(call.process).or_insert(place);
            let earlier = &self.sets.reads[before];
            self.asked.watch.spend(earlier.elements.len())?;
            match earlier.elements.iter().find(|element| self.lacks(**element)) {
                Some(missing) => {
                    let ops = [self.calls.all[earlier.call].shown, call.shown];
                    findings.add(Anomaly::NonmonotonicRead, &ops, || {
                        format!("process {} read {}, and later it was missing", call.process, self.value(*missing))
                    });
                }
                None => {
                    fullest.insert(call.process, place);
                }
            }
        }
        Ok(())
    }

    /// Where a process's addition is, those that it made before are too.
    fn writes(&mut self, own: &Own, findings: &mut Findings) -> Result<(), Ended> {
        let mut processes: Vec<i64> = own.keys().copied().collect();
        processes.sort_unstable();
        // Of each element who added it, and how many acknowledged ones that process had added before.
        let mut place_of: Vec<Option<(usize, usize)>> = vec![None; self.sets.elements.len()];
        for (process, name) in processes.iter().enumerate() {
            for (place, (_, element)) in own[name].iter().enumerate() {
                place_of[at(*element)] = Some((process, place));
            }
        }
        for read in &self.sets.reads {
            self.mark(read)?;
            self.asked.watch.spend(processes.len())?;
            // How many of each process are there, and the last.
            let mut seen: Vec<(usize, Option<usize>)> = vec![(0, None); processes.len()];
            for (process, place) in read.elements.iter().filter_map(|element| place_of[at(*element)]) {
                seen[process].0 += 1;
                seen[process].1 = seen[process].1.max(Some(place));
            }
            for (process, (count, last)) in processes.iter().zip(seen) {
                let Some(last) = last.filter(|last| last + 1 > count) else { continue };
                let all = &own[process];
                let Some((ended, missing)) = all[..last].iter().find(|(_, element)| self.lacks(*element)) else {
                    continue;
                };
                let (later, call) = (all[last], &self.calls.all[read.call]);
                findings.add(Anomaly::NonmonotonicWrite, &[*ended, later.0, call.shown], || {
                    let (later, missing) = (self.value(later.1), self.value(*missing));
                    format!("{later} was read without {missing}, which process {process} had added before it")
                });
            }
        }
        Ok(())
    }

    /// What a process added it sees.
    fn own_writes(&mut self, own: &Own, findings: &mut Findings) -> Result<(), Ended> {
        for read in &self.sets.reads {
            let call = &self.calls.all[read.call];
            let Some(added) = own.get(&call.process) else { continue };
            self.mark(read)?;
            let before = added.partition_point(|(ended, _)| *ended < read.begins);
            self.asked.watch.spend(before)?;
            for (ended, missing) in added[..before].iter().filter(|(_, element)| self.lacks(*element)).take(1) {
                findings.add(Anomaly::OwnWriteMissing, &[*ended, call.shown], || {
                    format!("process {} added {}, and did not see it", call.process, self.value(*missing))
                });
            }
        }
        Ok(())
    }

    /// What was acknowledged longer ago than the bound is there.
    fn staleness(&mut self, added: &[(usize, u32)], findings: &mut Findings) -> Result<(), Ended> {
        let rank = {
            let mut rank = vec![u32::MAX; self.sets.elements.len()];
            for (place, (_, element)) in added.iter().enumerate() {
                rank[at(*element)] = id(place);
            }
            rank
        };
        let bound: Duration = self.asked.options.staleness;
        let mut oldest = Oldest::default();
        for read in &self.sets.reads {
            self.mark(read)?;
            let before = added.partition_point(|(ended, _)| *ended < read.begins);
            let there = read.elements.iter().filter(|element| at(rank[at(**element)]) < before).count();
            if there == before {
                continue;
            }
            self.asked.watch.spend(before)?;
            // The one that has been missing longest.
            let Some((ended, missing)) = added[..before].iter().find(|(_, element)| self.lacks(*element)) else {
                continue;
            };
            let Some(age) = age(self.calls, bound, *ended, read.begins)? else { continue };
            oldest.note(age);
            if age.is_too_old {
                let shown = self.calls.all[read.call].shown;
                findings.add(Anomaly::TooStale, &[*ended, read.begins, shown], || {
                    format!("{} was missing, and had been acknowledged {}", self.value(*missing), words(age))
                });
            }
        }
        oldest.figures(findings);
        Ok(())
    }
}
