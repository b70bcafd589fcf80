//! A history in little memory: some sixteen bytes for an event of a register, whatever its text took.

mod event;
mod line;
mod lines;
mod tape;

use std::fmt;
use std::sync::Arc;

use super::pair::{Pair, pair};
use super::{Format, Loaded, Names, Process, RawOp, Unloaded};
use crate::hash::FastMap;
use crate::limits::Watch;

pub(crate) use event::Event;
use event::{NAMELESS, Small};
use lines::Lines;
pub(crate) use tape::{Item, View};

/// A history as its file has it, but for `:index` and `:time`, which bear on no order: that of the file does.
#[derive(Clone, Debug)]
pub struct Packed {
    /// How it was written.
    pub format: Format,
    events: Vec<Small>,
    lines: Lines,
    /// Values, one after the other.
    tape: Vec<u8>,
    names: Vec<Arc<str>>,
    processes: Vec<Process>,
}

impl Packed {
    /// Events, those of the nemesis too.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        self.events.capacity() * size_of::<Small>()
            + self.lines.bytes()
            + self.tape.capacity()
            + self.processes.capacity() * size_of::<Process>()
    }

    /// An event as it was read, without `:index` and `:time`.
    pub fn op(&self, place: usize) -> Option<RawOp> {
        let event = &self.event(place)?;
        Some(RawOp {
            index: None,
            time: None,
            process: self.process(event).clone(),
            kind: event.kind,
            f: self.names.get(usize::from(event.name)).map_or_else(|| "".into(), Arc::clone),
            value: self.view(event).value(),
            compare_false: event.compare_false,
            line: self.lines.of(place),
        })
    }

    /// Every event, as [`Packed::op`] gives it.
    pub fn ops(&self) -> impl Iterator<Item = RawOp> {
        (0..self.len()).filter_map(|place| self.op(place))
    }

    /// Everything, as a tree.
    pub fn unpacked(&self) -> Loaded {
        Loaded { format: self.format, ops: self.ops().collect() }
    }

    /// Forgets every event from a place on.
    pub fn truncate(&mut self, events: usize) {
        let Some(first) = self.event(events) else { return };
        self.events.truncate(events);
        self.tape.truncate(first.value);
        self.events.shrink_to_fit();
        self.tape.shrink_to_fit();
    }

    pub(crate) fn event(&self, place: usize) -> Option<Event> {
        self.events.get(place).map(|event| event.read())
    }

    pub(crate) fn name(&self, event: &Event) -> &str {
        self.names.get(usize::from(event.name)).map_or("", |name| name)
    }

    pub(crate) fn process(&self, event: &Event) -> &Process {
        const NOBODY: &Process = &Process::Client(0);
        usize::try_from(event.process).ok().and_then(|place| self.processes.get(place)).unwrap_or(NOBODY)
    }

    pub(crate) fn view(&self, event: &Event) -> View<'_> {
        View::new(self.tape.get(event.value..).unwrap_or_default())
    }

    /// The calls of clients among the first events, so many, in the order in which they begin.
    pub(crate) fn pairs(&self, until: usize, watch: &mut Watch<'_>) -> Result<Vec<Pair>, Unloaded> {
        let is_client: Vec<bool> = self.processes.iter().map(|process| matches!(process, Process::Client(_))).collect();
        let events = self.events.iter().take(until).enumerate().filter_map(|(place, event)| {
            let event = event.read();
            let process = usize::try_from(event.process).ok()?;
            is_client.get(process)?.then_some((place, process, event.kind, event.name))
        });
        pair(events, |place| self.op(place), watch)
    }
}

impl fmt::Display for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} events", self.format, self.len())
    }
}

impl From<&Loaded> for Packed {
    fn from(history: &Loaded) -> Self {
        let mut packing = Packing::new(0);
        for op in &history.ops {
            packing.push(op);
        }
        packing.finish(history.format)
    }
}

/// What takes the operations of a file, one after the other.
pub(super) trait Sink {
    /// Takes one.
    fn take(&mut self, op: RawOp);

    /// Reads one from an object of JSON at this place of a text, if it is as simple as most are; where it ends then.
    fn simple(&mut self, text: &str, at: usize, line: usize) -> Option<usize> {
        let _ = (text, at, line);
        None
    }

    /// Whether the next operation is wanted; otherwise reading ends there.
    fn goes_on(&mut self) -> bool {
        true
    }
}

/// A sink that can take what another one took of the lines that follow.
pub(super) trait Part: Sink + Send + Sized {
    /// An empty one, for a text of so many bytes.
    fn fresh(bytes: usize) -> Self;

    /// Takes what another one has, whose text begins so many lines further.
    fn append(&mut self, other: Self, lines: usize);
}

impl Part for Vec<RawOp> {
    fn fresh(_: usize) -> Self {
        Self::new()
    }

    fn append(&mut self, other: Self, lines: usize) {
        self.extend(other.into_iter().map(|op| RawOp { line: op.line + lines, ..op }));
    }
}

impl Part for Packing {
    fn fresh(bytes: usize) -> Self {
        Self::new(bytes)
    }

    fn append(&mut self, other: Self, lines: usize) {
        let processes: Vec<u32> = other.packed.processes.iter().map(|process| self.process(process)).collect();
        let names: Vec<u16> = other.packed.names.iter().map(|name| self.name(name).unwrap_or(NAMELESS)).collect();
        let before = self.packed.tape.len();
        self.packed.tape.extend_from_slice(&other.packed.tape);
        self.packed.lines.append(&other.packed.lines, lines);
        self.packed.events.extend(other.packed.events.iter().map(|event| {
            let event = event.read();
            let process = usize::try_from(event.process).ok().and_then(|place| processes.get(place));
            Small::new(Event {
                value: before + event.value,
                process: process.copied().unwrap_or_default(),
                name: names.get(usize::from(event.name)).copied().unwrap_or(NAMELESS),
                ..event
            })
        }));
    }
}

impl Sink for Vec<RawOp> {
    fn take(&mut self, op: RawOp) {
        self.push(op);
    }
}

/// A history that grows.
pub(super) struct Packing {
    packed: Packed,
    names: Names,
    numbers: FastMap<i64, u32>,
    named: FastMap<Arc<str>, u32>,
}

impl Packing {
    /// For a text of so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        // A line of Jepsen's JSON for a register has about ninety.
        let events = Vec::with_capacity(bytes / 88);
        let tape = Vec::with_capacity(bytes / 24);
        let (names, processes) = (Vec::new(), Vec::new());
        let packed = Packed { format: Format::JepsenJson, events, lines: Lines::default(), tape, names, processes };
        Self { packed, names: Names::default(), numbers: FastMap::default(), named: FastMap::default() }
    }

    pub(super) fn finish(mut self, format: Format) -> Packed {
        self.packed.format = format;
        // What was reserved and not needed.
        self.packed.events.shrink_to_fit();
        self.packed.tape.shrink_to_fit();
        self.packed
    }

    /// The number of a client.
    fn client(&mut self, number: i64) -> u32 {
        let next = self.packed.processes.len();
        let place = *self.numbers.entry(number).or_insert(u32::try_from(next).unwrap_or(u32::MAX));
        if usize::try_from(place) == Ok(next) {
            self.packed.processes.push(Process::Client(number));
        }
        place
    }

    fn process(&mut self, process: &Process) -> u32 {
        match process {
            Process::Client(number) => self.client(*number),
            Process::Named(name) => {
                let next = self.packed.processes.len();
                let place = *self.named.entry(Arc::clone(name)).or_insert(u32::try_from(next).unwrap_or(u32::MAX));
                if usize::try_from(place) == Ok(next) {
                    self.packed.processes.push(process.clone());
                }
                place
            }
        }
    }

    /// The number of the name of an operation. There are few.
    fn name(&mut self, name: &str) -> Option<u16> {
        if let Some(place) = self.packed.names.iter().position(|known| **known == *name) {
            return u16::try_from(place).ok();
        }
        let place = u16::try_from(self.packed.names.len()).ok().filter(|place| *place < NAMELESS)?;
        self.packed.names.push(self.names.get(name));
        Some(place)
    }

    fn push(&mut self, op: &RawOp) {
        let event = Event {
            value: self.packed.tape.len(),
            process: self.process(&op.process),
            // No model knows so many names; the last ones are told apart no more.
            name: self.name(&op.f).unwrap_or(NAMELESS),
            kind: op.kind,
            compare_false: op.compare_false,
        };
        tape::write(&op.value, &mut self.packed.tape);
        self.note(event, op.line);
    }

    fn note(&mut self, event: Event, line: usize) {
        self.packed.lines.push(line);
        self.packed.events.push(Small::new(event));
    }
}

impl Sink for Packing {
    fn take(&mut self, op: RawOp) {
        self.push(&op);
    }

    fn simple(&mut self, text: &str, at: usize, line: usize) -> Option<usize> {
        let start = self.packed.tape.len();
        let Some((read, end)) = line::read(text, at, &mut self.packed.tape) else {
            self.packed.tape.truncate(start);
            return None;
        };
        let event = Event {
            value: start,
            process: self.client(read.process),
            name: self.name(read.f).unwrap_or(NAMELESS),
            kind: read.kind,
            compare_false: read.compare_false,
        };
        self.note(event, line);
        Some(end)
    }
}
