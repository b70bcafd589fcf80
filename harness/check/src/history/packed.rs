//! A history in little memory: some thirty bytes for an event of a register, whatever its text took.

mod line;
mod tape;

use std::fmt;
use std::sync::Arc;

use super::pair::{Pair, pair};
use super::{Format, Kind, Loaded, Names, Process, RawOp, Unloaded};
use crate::hash::FastMap;
use crate::limits::Watch;

pub(crate) use tape::View;

/// A history as its file has it, but for `:index` and `:time`, which bear on no order: that of the file does.
#[derive(Clone, Debug)]
pub struct Packed {
    /// How it was written.
    pub format: Format,
    events: Vec<Event>,
    /// Values, one after the other.
    tape: Vec<u8>,
    names: Vec<Arc<str>>,
    processes: Vec<Process>,
}

/// One event, with names by number and its value by place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    value: u64,
    process: u32,
    line: u32,
    /// The name of the operation.
    pub(crate) name: u16,
    /// What became of it.
    pub(crate) kind: Kind,
    /// See [`RawOp::compare_false`].
    pub(crate) compare_false: bool,
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
        self.events.capacity() * size_of::<Event>()
            + self.tape.capacity()
            + self.processes.capacity() * size_of::<Process>()
    }

    /// An event as it was read, without `:index` and `:time`.
    pub fn op(&self, place: usize) -> Option<RawOp> {
        let event = self.events.get(place)?;
        Some(RawOp {
            index: None,
            time: None,
            process: self.process(event).clone(),
            kind: event.kind,
            f: self.names.get(usize::from(event.name)).map_or_else(|| "".into(), Arc::clone),
            value: self.view(event).value(),
            compare_false: event.compare_false,
            line: usize::try_from(event.line).unwrap_or(usize::MAX),
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

    pub(crate) fn event(&self, place: usize) -> Option<&Event> {
        self.events.get(place)
    }

    pub(crate) fn name(&self, event: &Event) -> &str {
        self.names.get(usize::from(event.name)).map_or("", |name| name)
    }

    pub(crate) fn process(&self, event: &Event) -> &Process {
        const NOBODY: &Process = &Process::Client(0);
        usize::try_from(event.process).ok().and_then(|place| self.processes.get(place)).unwrap_or(NOBODY)
    }

    pub(crate) fn view(&self, event: &Event) -> View<'_> {
        let place = usize::try_from(event.value).unwrap_or(usize::MAX);
        View::new(self.tape.get(place..).unwrap_or_default())
    }

    /// The calls of clients, in the order in which they begin.
    pub(crate) fn pairs(&self, watch: &mut Watch<'_>) -> Result<Vec<Pair>, Unloaded> {
        let is_client: Vec<bool> = self.processes.iter().map(|process| matches!(process, Process::Client(_))).collect();
        let events = self.events.iter().enumerate().filter_map(|(place, event)| {
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
        let packed = Packed { format: Format::JepsenJson, events, tape, names: Vec::new(), processes: Vec::new() };
        Self { packed, names: Names::default(), numbers: FastMap::default(), named: FastMap::default() }
    }

    pub(super) fn finish(mut self, format: Format) -> Packed {
        self.packed.format = format;
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
        let place = u16::try_from(self.packed.names.len()).ok()?;
        self.packed.names.push(self.names.get(name));
        Some(place)
    }

    fn push(&mut self, op: &RawOp) {
        let event = Event {
            value: u64::try_from(self.packed.tape.len()).unwrap_or(u64::MAX),
            process: self.process(&op.process),
            line: u32::try_from(op.line).unwrap_or(u32::MAX),
            // No model knows so many names; the last ones are told apart no more.
            name: self.name(&op.f).unwrap_or(u16::MAX),
            kind: op.kind,
            compare_false: op.compare_false,
        };
        tape::write(&op.value, &mut self.packed.tape);
        self.packed.events.push(event);
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
            value: u64::try_from(start).unwrap_or(u64::MAX),
            process: self.client(read.process),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            name: self.name(read.f)?,
            kind: read.kind,
            compare_false: read.compare_false,
        };
        self.packed.events.push(event);
        Some(end)
    }
}
