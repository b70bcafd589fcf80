//! The static timeline: when each fault begins and ends at the earliest, known before anything runs.

use std::time::Duration;

use crate::scenario::{FaultSpec, Scenario, Start};

/// How long the load goes on after the last heal, so that recovery is seen under load.
pub const TAIL: Duration = Duration::from_secs(5);

/// One fault as far as the timeline is concerned.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its id.
    pub id: &'a str,
    /// When it begins.
    pub start: &'a Start,
    /// How long it is held.
    pub hold: Option<Duration>,
}

/// When a fault is in force, counted from the start of the storm, if everything it waits for happens without delay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its onset.
    pub onset: Duration,
    /// Its heal; `None` when it has no `for`: what it holds is undone in the heal phase.
    pub heal: Option<Duration>,
}

impl Slot {
    /// The last moment the timeline knows of it: its heal, or its onset when it has no `for`.
    pub fn end(&self) -> Duration {
        self.heal.unwrap_or(self.onset)
    }

    /// Whether two faults are ever in force together. Without `for`, a fault is in force to the end.
    pub fn overlaps(&self, other: &Self) -> bool {
        let before = |a: &Self, b: &Self| a.heal.is_some_and(|heal| heal <= b.onset);
        !before(self, other) && !before(other, self)
    }
}

/// Why a fault has no place on the timeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Misplaced {
    /// It waits for an id that no fault has.
    Unknown(String),
    /// It waits for the heal of a fault that has no `for`, which comes only after the storm.
    NeverHealed(String),
    /// It waits, through these ids, for itself.
    Cycle(Vec<String>),
    /// It waits for a fault that has no place itself.
    Behind(String),
}

/// The place of each fault, in their order. Of each cycle only its first fault is told; the others are behind it.
pub fn slots(entries: &[Entry<'_>]) -> Vec<Result<Slot, Misplaced>> {
    let mut placed: Vec<Option<Slot>> = vec![None; entries.len()];
    // Each round places at least one more fault or none ever will be.
    for _ in entries {
        for (place, entry) in entries.iter().enumerate() {
            let before = |id: &str| entries.iter().position(|other| other.id == id).and_then(|other| placed[other]);
            let onset = match entry.start {
                Start::At(at) => Some(*at),
                Start::AfterOnset(id, delay) => before(id).map(|slot| slot.onset.saturating_add(*delay)),
                Start::AfterHealed(id, delay) => {
                    before(id).and_then(|slot| slot.heal).map(|heal| heal.saturating_add(*delay))
                }
            };
            placed[place] = onset.map(|onset| Slot { onset, heal: entry.hold.map(|hold| onset.saturating_add(hold)) });
        }
    }
    let result = |place: usize| placed[place].ok_or_else(|| misplaced(entries, place));
    (0..entries.len()).map(result).collect()
}

fn waits_for(start: &Start) -> Option<&str> {
    match start {
        Start::At(_) => None,
        Start::AfterOnset(id, _) | Start::AfterHealed(id, _) => Some(id),
    }
}

fn misplaced(entries: &[Entry<'_>], place: usize) -> Misplaced {
    let find = |id: &str| entries.iter().position(|other| other.id == id);
    let Some(id) = waits_for(entries[place].start) else { return Misplaced::Behind(entries[place].id.to_owned()) };
    let Some(next) = find(id) else { return Misplaced::Unknown(id.to_owned()) };
    let mut chain = vec![place];
    let mut at = Some(next);
    while let Some(here) = at.filter(|here| !chain.contains(here)) {
        chain.push(here);
        at = waits_for(entries[here].start).and_then(find);
    }
    if at == Some(place) && chain.iter().all(|link| *link >= place) {
        let mut ids: Vec<String> = chain.iter().map(|link| entries[*link].id.to_owned()).collect();
        ids.push(entries[place].id.to_owned());
        return Misplaced::Cycle(ids);
    }
    match entries[place].start {
        Start::AfterHealed(id, _) if at.is_none() && entries[next].hold.is_none() => Misplaced::NeverHealed(id.clone()),
        Start::At(_) | Start::AfterOnset(..) | Start::AfterHealed(..) => Misplaced::Behind(id.to_owned()),
    }
}

fn entry(fault: &FaultSpec) -> Entry<'_> {
    Entry { id: &fault.id, start: &fault.start, hold: fault.hold }
}

impl Scenario {
    /// The place of each fault on the static timeline, in file order. Faults without a place, which a loaded scenario
    /// has none of, are left out.
    pub fn timeline(&self) -> Vec<(&FaultSpec, Slot)> {
        let entries: Vec<Entry<'_>> = self.faults.iter().map(entry).collect();
        let placed = slots(&entries).into_iter().map(Result::ok);
        self.faults.iter().zip(placed).filter_map(|(fault, slot)| Some((fault, slot?))).collect()
    }

    /// How long the storm lasts by the static timeline: `[workload] duration` if the file has it; else until [`TAIL`]
    /// after the last heal. A fault without `for` has no heal to wait for, and is watched as long as the system says
    /// that recovery may take. Faults that wait for others may make it longer.
    pub fn storm_length(&self) -> Duration {
        let recovery = self.cluster.system.recovery_bound();
        self.load.duration.unwrap_or_else(|| {
            let slots = self.timeline().into_iter().map(|(_, slot)| slot);
            let ends = slots.map(|slot| slot.heal.unwrap_or(slot.onset.saturating_add(recovery)).saturating_add(TAIL));
            ends.max().unwrap_or(BASELINE)
        })
    }
}

/// How long a scenario without faults loads the cluster.
pub const BASELINE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn places(faults: &[(&str, Start, Option<u64>)]) -> Vec<Result<Slot, Misplaced>> {
        let entries: Vec<Entry<'_>> =
            faults.iter().map(|(id, start, hold)| Entry { id, start, hold: hold.map(secs) }).collect();
        slots(&entries)
    }

    #[test]
    fn chains_add_up_in_any_order() {
        let found = places(&[
            ("c", Start::AfterOnset("b".to_owned(), secs(1)), None),
            ("b", Start::AfterHealed("a".to_owned(), secs(5)), Some(8)),
            ("a", Start::At(secs(10)), Some(20)),
        ]);
        let slot = |onset, heal: Option<u64>| Ok(Slot { onset: secs(onset), heal: heal.map(secs) });
        assert_eq!(found, [slot(36, None), slot(35, Some(43)), slot(10, Some(30))]);
    }

    #[test]
    fn what_has_no_place_is_told_once() {
        let after = |id: &str| Start::AfterOnset(id.to_owned(), secs(1));
        let found = places(&[
            ("a", after("b"), None),
            ("b", after("a"), None),
            ("c", after("b"), None),
            ("d", after("nobody"), None),
            ("e", Start::At(secs(1)), None),
            ("f", Start::AfterHealed("e".to_owned(), secs(1)), None),
            ("g", after("g"), None),
        ]);
        let cycle = |ids: &[&str]| Err(Misplaced::Cycle(ids.iter().map(ToString::to_string).collect()));
        assert_eq!(found[0], cycle(&["a", "b", "a"]));
        assert_eq!(found[1], Err(Misplaced::Behind("a".to_owned())));
        assert_eq!(found[2], Err(Misplaced::Behind("b".to_owned())));
        assert_eq!(found[3], Err(Misplaced::Unknown("nobody".to_owned())));
        assert_eq!(found[5], Err(Misplaced::NeverHealed("e".to_owned())));
        assert_eq!(found[6], cycle(&["g", "g"]));
    }

    #[test]
    fn overlap_needs_both_in_force() {
        let slot = |onset, heal: Option<u64>| Slot { onset: secs(onset), heal: heal.map(secs) };
        assert!(slot(1, Some(5)).overlaps(&slot(4, Some(6))));
        assert!(!slot(1, Some(5)).overlaps(&slot(5, Some(6))));
        assert!(slot(1, None).overlaps(&slot(50, Some(60))));
    }
}
