//! In which order the versions of one register were.

use super::Options;
use super::graph::{at, id};
use super::ops::{NONE, Transactions};
use super::register::cyclic;
use crate::limits::Watch;

/// What a transaction did to a key.
#[derive(Clone, Debug)]
pub(super) struct Touch {
    pub(super) key: u32,
    pub(super) txn: u32,
    /// The version it read first, before any write of its own.
    pub(super) read: Option<u32>,
    /// The version it left.
    pub(super) written: Option<u32>,
}

impl Touch {
    fn versions(&self) -> impl Iterator<Item = u32> + '_ {
        self.read.into_iter().chain(self.written)
    }
}

/// Why a version is before another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Why {
    Initial,
    WritesFollowReads,
    Process,
    Realtime,
}

impl Why {
    /// A clause that ends a sentence.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Initial => " (the first is the initial version)",
            Self::WritesFollowReads => " (one transaction read the first and wrote the second)",
            Self::Process => " (a process met them in this order)",
            Self::Realtime => " (in real time the first was met before the second)",
        }
    }
}

/// The order of the versions of a key, as far as it is known.
#[derive(Debug)]
pub(super) struct Order {
    /// Sorted.
    versions: Vec<u32>,
    /// Places of the versions that follow each.
    next: Vec<Vec<u32>>,
    why: Vec<(u32, u32, Why)>,
    initial: u32,
    cycle: Option<Vec<u32>>,
}

impl Order {
    /// Infers it from what was done to the key, in order of the history.
    pub(super) fn infer(all: &Transactions, touches: &[Touch], initial: u32, options: &Options) -> Self {
        let mut versions: Vec<u32> = touches.iter().flat_map(Touch::versions).chain([initial]).collect();
        versions.sort_unstable();
        versions.dedup();
        let next = vec![Vec::new(); versions.len()];
        let mut order = Self { versions, next, why: Vec::new(), initial, cycle: None };
        if options.wfr_keys {
            order.writes_follow_reads(touches);
        }
        if options.sequential_keys {
            order.by_process(all, touches);
        }
        if options.linearizable_keys {
            order.in_realtime(all, touches);
        }
        order.after_initial();
        if order.cycle.is_none() {
            let cycle = cyclic(order.versions.len(), &order.next);
            order.cycle = cycle.map(|places| places.into_iter().map(|place| order.versions[place]).collect());
        }
        order
    }

    fn add(&mut self, from: u32, to: u32, why: Why) {
        if from != to {
            self.why.push((from, to, why));
            let (from, to) = (self.place(from), id(self.place(to)));
            self.next[from].push(to);
        }
    }

    fn place(&self, version: u32) -> usize {
        self.versions.partition_point(|known| *known < version)
    }

    fn writes_follow_reads(&mut self, touches: &[Touch]) {
        for touch in touches {
            if let (Some(read), Some(written)) = (touch.read, touch.written) {
                self.add(read, written, Why::WritesFollowReads);
            }
        }
    }

    fn by_process(&mut self, all: &Transactions, touches: &[Touch]) {
        let mut ordered: Vec<&Touch> = touches.iter().collect();
        let process = |touch: &Touch| all.txns[at(touch.txn)].process;
        ordered.sort_by_key(|touch| (process(touch), touch.txn));
        for pair in ordered.windows(2).filter(|pair| process(pair[0]) == process(pair[1])) {
            for from in pair[0].versions() {
                for to in pair[1].versions() {
                    self.add(from, to, Why::Process);
                }
            }
        }
    }

    /// A version is before another when a transaction that met it ended before one that met the other began. Only what
    /// does not follow from the rest is added.
    fn in_realtime(&mut self, all: &Transactions, touches: &[Touch]) {
        // Of each version: when a transaction that met it ended first, when one began last.
        let mut spans = vec![(NONE, 0_u32); self.versions.len()];
        for touch in touches {
            let txn = &all.txns[at(touch.txn)];
            for version in touch.versions() {
                let span = &mut spans[self.place(version)];
                // One more, so that 0 is "before everything".
                span.0 = span.0.min(txn.ends.saturating_add(1));
                span.1 = span.1.max(txn.begins + 1);
            }
        }
        let mut by_end: Vec<usize> = (0..spans.len()).filter(|place| spans[*place].0 != NONE).collect();
        by_end.sort_unstable_by_key(|place| spans[*place].0);
        // The three latest beginnings among the first so many of them.
        let mut latest: Vec<[(u32, usize); 3]> = vec![[(0, usize::MAX); 3]];
        for place in &by_end {
            let mut top = latest[latest.len() - 1];
            let mut new = (spans[*place].1, *place);
            for known in &mut top {
                if new.0 > known.0 {
                    std::mem::swap(known, &mut new);
                }
            }
            latest.push(top);
        }
        for place in 0..spans.len() {
            let (end, begin) = spans[place];
            let earlier = by_end.partition_point(|other| spans[*other].0 < begin);
            let top = latest[earlier];
            let latest_but = |one: usize, other: usize| {
                top.iter().find(|(_, of)| *of != one && *of != other).map_or((0, usize::MAX), |known| *known)
            };
            let (other_begin, other) = latest_but(place, place);
            if other_begin > end {
                self.cycle.get_or_insert_with(|| vec![self.versions[place], self.versions[other]]);
                return;
            }
            let from = self.versions[place];
            let is_next = |before: usize| before != place && spans[before].0 >= latest_but(place, before).0;
            let mut before: Vec<usize> =
                by_end[..earlier].iter().rev().copied().take_while(|of| spans[*of].0 >= other_begin).collect();
            before.retain(|of| is_next(*of));
            if other != usize::MAX && is_next(other) && !before.contains(&other) {
                before.push(other);
            }
            for of in before {
                let earlier = self.versions[of];
                self.add(earlier, from, Why::Realtime);
            }
        }
    }

    /// The initial version is before those that nothing else is before.
    fn after_initial(&mut self) {
        let mut has_before = vec![false; self.versions.len()];
        for places in &self.next {
            for place in places {
                has_before[at(*place)] = true;
            }
        }
        let is_cyclic_start = has_before[self.place(self.initial)];
        for (place, has_before) in has_before.into_iter().enumerate() {
            if !has_before || is_cyclic_start {
                self.add(self.initial, self.versions[place], Why::Initial);
            }
        }
    }

    /// Versions that precede each other.
    pub(super) fn cycle(&self) -> Option<&[u32]> {
        self.cycle.as_deref()
    }

    /// The versions, sorted by number, not by order.
    pub(super) fn versions(&self) -> &[u32] {
        &self.versions
    }

    /// Whether of each two versions it is known which was first. There must be no cycle.
    pub(super) fn is_total(&self) -> bool {
        let component = super::graph::components(self.versions.len(), &mut Watch::unlimited(), |node, cursor| {
            let next = self.next[at(node)].get(at(*cursor)).copied();
            *cursor += 1;
            next
        });
        let Ok(component) = component else { return false };
        let mut backwards: Vec<usize> = (0..self.versions.len()).collect();
        backwards.sort_unstable_by_key(|place| component[*place]);
        backwards.windows(2).all(|pair| self.next[pair[1]].contains(&id(pair[0])))
    }

    /// The nearest versions after this one that satisfy a condition.
    pub(super) fn next_where(&self, place: usize, condition: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut found = Vec::new();
        let mut passed: Vec<usize> = Vec::new();
        let mut open = vec![place];
        while let Some(place) = open.pop() {
            for next in &self.next[place] {
                let version = self.versions[at(*next)];
                if condition(version) {
                    found.push(version);
                } else if !passed.contains(&at(*next)) {
                    passed.push(at(*next));
                    open.push(at(*next));
                }
            }
        }
        found
    }

    /// Version before version, and why.
    pub(super) fn into_edges(self) -> Vec<(u32, u32, Why)> {
        self.why
    }
}
