//! Histories of `add` and of `read` of all: elements by number, and what each read saw.

use super::calls::{Call, Calls, Outcome, items};
use super::{Anomaly, Asked, Ended, Findings};
use crate::history::Value;
use crate::intern::{Interner, at};

/// An element.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) value: Value,
    /// Where somebody first tried to add it.
    pub(super) begins: Option<usize>,
    /// The first call that added it and was acknowledged, by its place in [`Calls::all`].
    pub(super) acked_by: Option<usize>,
    /// Where that was acknowledged.
    pub(super) acked: Option<usize>,
    /// Somebody tried who did not fail.
    pub(super) may_be: bool,
}

/// A read that was answered.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// By its place in [`Calls::all`].
    pub(super) call: usize,
    pub(super) begins: usize,
    pub(super) ends: usize,
    /// Each element once, in numeric order.
    pub(super) elements: Vec<u32>,
}

/// Everything that was added, and everything that was read.
#[derive(Debug)]
pub(super) struct Sets {
    pub(super) elements: Vec<Element>,
    /// In the order in which they begin.
    pub(super) reads: Vec<Read>,
}

impl Sets {
    /// Also notes what was read and never written, and what a read has twice.
    pub(super) fn read(asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<Self, Ended> {
        let mut names = Interner::default();
        let mut sets = Self { elements: Vec::new(), reads: Vec::new() };
        for (number, call) in calls.all.iter().enumerate() {
            asked.watch.spend(2)?;
            match call.f {
                "add" => sets.add(&mut names, number, call),
                "read" => {
                    let Some(answer) = call.answered else { continue };
                    let elements = items(answer).ok_or_else(|| asked.alien(calls.op(call.shown)))?;
                    asked.watch.spend(elements.len())?;
                    sets.seen(&mut names, (number, call), elements, findings);
                }
                _ => return Err(asked.alien(calls.op(call.shown))),
            }
        }
        findings.looked_at = sets.reads.len();
        sets.unexpected(asked, calls, findings)?;
        Ok(sets)
    }

    fn element(&mut self, names: &mut Interner, value: &Value) -> u32 {
        let (number, _, is_new) = names.any(0, value);
        if is_new {
            let value = value.clone();
            self.elements.push(Element { value, begins: None, acked_by: None, acked: None, may_be: false });
        }
        number
    }

    fn add(&mut self, names: &mut Interner, number: usize, call: &Call<'_>) {
        let place = self.element(names, call.asked);
        let element = &mut self.elements[at(place)];
        element.begins = element.begins.or(Some(call.begins));
        element.may_be |= call.outcome != Outcome::Aborted;
        if let Some(acked) = call.acked().filter(|acked| element.acked.is_none_or(|first| *acked < first)) {
            (element.acked, element.acked_by) = (Some(acked), Some(number));
        }
    }

    fn seen(
        &mut self,
        names: &mut Interner,
        (number, call): (usize, &Call<'_>),
        values: &[Value],
        findings: &mut Findings,
    ) {
        let mut elements: Vec<u32> = values.iter().map(|value| self.element(names, value)).collect();
        elements.sort_unstable();
        for twice in elements.chunk_by(|a, b| a == b).filter(|same| same.len() > 1) {
            let value = &self.elements[at(twice[0])].value;
            findings
                .add(Anomaly::Duplicate, &[call.shown], || format!("{value} was read {} times at once", twice.len()));
        }
        elements.dedup();
        let ends = call.ends.unwrap_or(call.begins);
        self.reads.push(Read { call: number, begins: call.begins, ends, elements });
    }

    /// What was read, though nobody wrote it, or it failed.
    fn unexpected(&self, asked: &mut Asked<'_, '_>, calls: &Calls<'_>, findings: &mut Findings) -> Result<(), Ended> {
        let mut told = vec![false; self.elements.len()];
        for read in &self.reads {
            asked.watch.spend(read.elements.len())?;
            let shown = calls.all[read.call].shown;
            for number in &read.elements {
                let element = &self.elements[at(*number)];
                let is_early = element.begins.is_none_or(|begins| begins > read.ends);
                if (element.may_be && !is_early) || std::mem::replace(&mut told[at(*number)], true) {
                    continue;
                }
                let value = &element.value;
                let mut ops = vec![shown];
                ops.extend(element.begins);
                findings.add(Anomaly::Unexpected, &ops, || match element.begins {
                    None => format!("{value} was read, and nobody added it"),
                    Some(_) if is_early => format!("{value} was read before anybody added it"),
                    Some(_) => format!("{value} was read, and adding it had failed"),
                });
            }
        }
        Ok(())
    }
}
