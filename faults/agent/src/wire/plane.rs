//! The way of packets through the impairments in force, and the queue of those that wait. Knows no socket and no clock.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::net::Ipv4Addr;

use super::frame;
use super::stage::{Exit, Fate, Port, Stage};

/// Frames that wait at once, at most.
const FRAMES: usize = 1 << 16;
/// Their bytes, at most.
const BYTES: usize = 256 << 20;

/// Where frames are given back.
pub trait Exits {
    /// Gives a frame back.
    fn send(&mut self, port: Port, bytes: &[u8]);
}

/// A frame that waits. Ordered by when it goes on, then by when it came.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Waiting {
    due: u64,
    number: u64,
    /// The impairment that holds it back.
    stage: u64,
    input: Port,
    exit: Exit,
    bytes: Vec<u8>,
}

/// A frame on its way.
#[derive(Clone, Copy)]
struct Place {
    input: Port,
    /// Known once an impairment concerns it; a frame that none concerns is the kernel's to forward.
    exit: Option<Exit>,
    /// Impairments of lower numbers are behind it.
    next: u64,
}

/// All impairments in force, in the order in which packets pass them.
#[derive(Debug, Default)]
pub struct Plane {
    stages: Vec<Stage>,
    /// Links where nothing passes.
    cuts: Vec<Stage>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    bytes: usize,
    number: u64,
    /// Frames dropped because too many waited.
    pub overflowed: u64,
}

impl Plane {
    /// Puts an impairment behind the others.
    pub fn add(&mut self, stage: Stage) {
        self.stages.push(stage);
    }

    /// From now on nothing passes where this would; what waits for such a link is gone when its time comes.
    pub fn cut(&mut self, cut: Stage) {
        self.cuts.push(cut);
    }

    /// Cuts no longer.
    pub fn mend(&mut self, tag: &str) {
        self.cuts.retain(|cut| cut.tag != tag);
    }

    /// Takes an impairment out, and sends what it holds back on its way at once. `None` if it is not in force.
    pub fn remove(&mut self, tag: &str, now: u64, exits: &mut impl Exits) -> Option<Stage> {
        let at = self.stages.iter().position(|stage| stage.tag == tag)?;
        let stage = self.stages.remove(at);
        let all = std::mem::take(&mut self.waiting).into_sorted_vec();
        let (mut freed, kept): (Vec<_>, Vec<_>) = all.into_iter().partition(|Reverse(held)| held.stage == stage.id);
        self.waiting = kept.into();
        // The heap sorts the latest first.
        while let Some(Reverse(held)) = freed.pop() {
            self.go_on(held, now, exits);
        }
        Some(stage)
    }

    /// Whether an impairment is in force.
    pub fn has(&self, tag: &str) -> bool {
        self.stages.iter().any(|stage| stage.tag == tag)
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// The impairments whose deadline has passed.
    pub fn overdue(&self, now: u64) -> Vec<String> {
        let overdue = self.stages.iter().filter(|stage| stage.deadline.is_some_and(|deadline| deadline <= now));
        overdue.map(|stage| stage.tag.clone()).collect()
    }

    /// When something is to be done next: a frame goes on, or a deadline passes.
    pub fn next(&self) -> Option<u64> {
        let frame = self.waiting.peek().map(|Reverse(held)| held.due);
        frame.into_iter().chain(self.stages.iter().filter_map(|stage| stage.deadline)).min()
    }

    /// The addresses whose frames are to be taken at an interface.
    pub fn wanted(&self, input: Port) -> BTreeSet<Ipv4Addr> {
        let lanes = self.stages.iter().flat_map(Stage::lanes);
        lanes.filter(|((port, ..), _)| *port == input).map(|((_, _, to), _)| to).collect()
    }

    /// The places at which impairments take frames or give them back.
    pub fn used(&self) -> BTreeSet<Port> {
        let lanes = self.stages.iter().flat_map(Stage::lanes);
        lanes.flat_map(|((input, ..), exit)| [input, exit.on, exit.back]).collect()
    }

    /// Takes a frame that came in at a place.
    pub fn take(&mut self, input: Port, bytes: &mut [u8], now: u64, exits: &mut impl Exits) {
        self.pass(Place { input, exit: None, next: 0 }, bytes, now, exits);
    }

    /// Sends on whose time has come.
    pub fn turn(&mut self, now: u64, exits: &mut impl Exits) {
        while self.waiting.peek().is_some_and(|Reverse(held)| held.due <= now) {
            if let Some(Reverse(held)) = self.waiting.pop() {
                self.go_on(held, now, exits);
            }
        }
    }

    fn go_on(&mut self, held: Waiting, now: u64, exits: &mut impl Exits) {
        let Waiting { stage, input, exit, mut bytes, .. } = held;
        self.bytes = self.bytes.saturating_sub(bytes.len());
        self.pass(Place { input, exit: Some(exit), next: stage + 1 }, &mut bytes, now, exits);
    }

    fn pass(&mut self, mut place: Place, bytes: &mut [u8], now: u64, exits: &mut impl Exits) {
        let Some(packet) = frame::look(bytes) else { return };
        if self.cuts.iter().any(|cut| cut.concerns(place.input, &packet).is_some()) {
            return;
        }
        for index in 0..self.stages.len() {
            let Some(stage) = self.stages.get_mut(index) else { return };
            let Some(exit) = stage.concerns(place.input, &packet).filter(|_| stage.id >= place.next) else {
                continue;
            };
            let id = stage.id;
            place.exit = Some(exit);
            match stage.decide(place.input, &packet, bytes, now) {
                Fate::Pass => {}
                Fate::Drop => return,
                Fate::Twice => self.pass(Place { next: id + 1, ..place }, &mut bytes.to_vec(), now, exits),
                Fate::Hold(due) => return self.hold(due, id, (place.input, exit), bytes),
                Fate::Split => {
                    for mut part in frame::segments(bytes).unwrap_or_default() {
                        self.pass(Place { next: id, ..place }, &mut part, now, exits);
                    }
                    return;
                }
                Fate::Answer { back, on } => {
                    if let Some(back) = back {
                        exits.send(exit.back, &back);
                    }
                    if let Some(on) = on {
                        exits.send(exit.on, &on);
                    }
                    return;
                }
            }
        }
        if let Some(exit) = place.exit {
            exits.send(exit.on, bytes);
        }
    }

    fn hold(&mut self, due: u64, stage: u64, (input, exit): (Port, Exit), bytes: &[u8]) {
        if self.waiting.len() >= FRAMES || self.bytes + bytes.len() > BYTES {
            self.overflowed += 1;
            return;
        }
        self.bytes += bytes.len();
        self.number += 1;
        self.waiting.push(Reverse(Waiting { due, number: self.number, stage, input, exit, bytes: bytes.to_vec() }));
    }
}

#[cfg(test)]
mod tests;
