//! A key's calls as the search wants them: one level for each completion, with what is in flight there.

use std::collections::BTreeMap;

use super::configs::Layout;

/// A call that may have taken effect, on one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Place of its beginning in the history.
    pub(super) begins: usize,
    /// Place of its end; absent when it crashed.
    pub(super) ends: Option<usize>,
    /// The operation, by its place in the [`super::spec::Spec`].
    pub(super) op: usize,
}

/// A completion: at the latest here, `span` took effect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Level {
    pub(super) span: usize,
    pub(super) slot: usize,
    first: usize,
    fresh: usize,
    last: usize,
}

/// A call in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Live {
    pub(super) slot: usize,
    pub(super) span: usize,
    pub(super) op: usize,
}

/// Crashed calls of the same operation, which are interchangeable: the one that began first is used first.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) op: usize,
    /// For each, the first level at which it has begun.
    pub(super) from: Vec<usize>,
    pub(super) spans: Vec<usize>,
}

/// What the search walks through.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) levels: Vec<Level>,
    live: Vec<Live>,
    /// In the order in which their first call begins.
    pub(super) classes: Vec<Class>,
    pub(super) layout: Layout,
}

impl Plan {
    /// Bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        self.levels.capacity() * size_of::<Level>() + self.live.capacity() * size_of::<Live>()
    }

    /// Everything in flight at a level, its own call too.
    pub(super) fn live(&self, level: &Level) -> &[Live] {
        self.live.get(level.first..level.last).unwrap_or_default()
    }

    /// Those that began since the level before.
    pub(super) fn fresh(&self, level: &Level) -> &[Live] {
        self.live.get(level.fresh..level.last).unwrap_or_default()
    }

    /// The spans are in the order in which they begin.
    pub(super) fn new(spans: &[Span]) -> Self {
        let mut events: Vec<(usize, bool, usize)> = Vec::with_capacity(spans.len() * 2);
        for (span, of) in spans.iter().enumerate() {
            events.push((of.begins, false, span));
            if let Some(ends) = of.ends {
                events.push((ends, true, span));
            }
        }
        events.sort_unstable();
        let mut building = Building::default();
        for (_, ends, span) in events {
            let Some(of) = spans.get(span) else { continue };
            match (ends, of.ends) {
                (true, _) => building.end(span),
                (false, Some(_)) => building.begin(span, of.op),
                (false, None) => building.crash(span, of.op),
            }
        }
        // The last one is the level, see `Layout`.
        let mask_words = building.slots.div_ceil(64) + 1;
        let layout = Layout { mask_words, classes: building.classes.len() };
        Self { levels: building.levels, live: building.live, classes: building.classes, layout }
    }
}

#[derive(Default)]
struct Building {
    levels: Vec<Level>,
    live: Vec<Live>,
    classes: Vec<Class>,
    class_of: BTreeMap<usize, usize>,
    now: Vec<Live>,
    /// How many of `now` were in flight at the level before.
    known: usize,
    free: Vec<usize>,
    slots: usize,
}

impl Building {
    fn begin(&mut self, span: usize, op: usize) {
        let slot = self.free.pop().unwrap_or(self.slots);
        self.slots = self.slots.max(slot + 1);
        self.now.push(Live { slot, span, op });
    }

    fn crash(&mut self, span: usize, op: usize) {
        let class = *self.class_of.entry(op).or_insert_with(|| {
            self.classes.push(Class { op, from: Vec::new(), spans: Vec::new() });
            self.classes.len() - 1
        });
        if let Some(class) = self.classes.get_mut(class) {
            class.from.push(self.levels.len());
            class.spans.push(span);
        }
    }

    fn end(&mut self, span: usize) {
        let Some(place) = self.now.iter().position(|live| live.span == span) else { return };
        let first = self.live.len();
        self.live.extend_from_slice(&self.now);
        let ended = self.now.remove(place);
        self.levels.push(Level { span, slot: ended.slot, first, fresh: first + self.known, last: self.live.len() });
        self.known = self.now.len();
        self.free.push(ended.slot);
    }
}
