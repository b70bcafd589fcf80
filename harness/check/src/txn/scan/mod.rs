//! The short way from a text to transactions: one operation map a line, in Jepsen's EDN or JSON, with whole numbers as
//! keys and values. Several threads read pieces of a large text, and one makes transactions of them in the order of the text,
//! so that they are the same however many read. Whatever is written otherwise is left to the importers, which read everything
//! and know how to say what is wrong.

mod lines;
#[cfg(test)]
mod tests;

use super::ops::{self, NONE, Outcome, Transactions, Txn};
use super::{Model, Unread};
use crate::crew::Crew;
use crate::history::Format;
use crate::intern::{Interner, at, id};
use crate::limits::Watch;
use lines::{End, Event, Kind, Mop, Piece, Syntax};

/// What was read.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) all: Transactions,
    pub(super) format: Format,
    /// Each is a line of the text.
    pub(super) events: usize,
}

/// Bytes of a piece at most: what is made of it stays in the caches.
const PIECE: usize = 1 << 18;

/// Reads the transactions of a text; none when it takes an importer. What is read does not depend on the crew.
pub(super) fn scan(text: &str, model: Model, crew: Crew, watch: &mut Watch<'_>) -> Result<Option<Scanned>, Unread> {
    let bytes = text.as_bytes();
    let start = blank(bytes);
    let is_vector = bytes.get(start) == Some(&b'[');
    let start = start + usize::from(is_vector);
    let is_json = bytes.get(start..start + 2) == Some(b"{\"");
    // An empty history, or one that is not of maps in lines.
    if bytes.get(start) != Some(&b'{') || bytes.get(..start).is_some_and(|before| before.contains(&b'\n')) {
        return Ok(None);
    }
    let syntax = Syntax { model, is_json, is_vector };
    let mut taking = Taking {
        bytes,
        syntax,
        all: Transactions::default(),
        numbers: Interner::default(),
        processes: Vec::new(),
        event: 0,
        is_closed: false,
    };
    let mut taken = Ok(Some(()));
    let crew = Crew { piece: crew.piece.min(PIECE), ..crew };
    let line_end = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length + 1)
    };
    let read = |range| lines::piece(bytes, range, syntax);
    crew.read(start..bytes.len(), line_end, read, |_, piece| {
        taken = taking.take(&piece, watch);
        matches!(taken, Ok(Some(()))) && piece.end == End::Whole
    });
    if taken?.is_none() || taking.is_closed != is_vector || taking.open()?.is_none() {
        return Ok(None);
    }
    let format = if is_json { Format::JepsenJson } else { Format::JepsenEdn };
    Ok(Some(Scanned { all: taking.all, format, events: at(taking.event) }))
}

/// How much blank space there is.
fn blank(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')).count()
}

/// What a process did last: nothing that is open, a call that began with this event and value, or it is retired.
#[derive(Clone, Copy)]
enum Last {
    Idle,
    Open(u32, usize),
    Retired,
}

/// Makes transactions of events.
struct Taking<'a> {
    bytes: &'a [u8],
    syntax: Syntax,
    all: Transactions,
    numbers: Interner,
    processes: Vec<(i64, Last)>,
    event: u32,
    is_closed: bool,
}

/// None everywhere below means: this takes an importer.
impl Taking<'_> {
    /// Takes the next piece of the text.
    fn take(&mut self, piece: &Piece, watch: &mut Watch<'_>) -> Result<Option<()>, Unread> {
        if self.is_closed && !piece.events.is_empty() {
            return Ok(None);
        }
        let (mut mops, mut elements) = (&*piece.mops, &*piece.elements);
        for event in &piece.events {
            watch.spend(4)?;
            self.all.room(watch)?;
            let first = event.mops.map(|count| {
                let (of, rest) = mops.split_at_checked(count).unwrap_or((mops, &[]));
                mops = rest;
                let first = id(self.all.mops.len());
                elements = self.mops(of, elements);
                first
            });
            if self.end(event, first)?.is_none() {
                return Ok(None);
            }
            self.event += 1;
        }
        self.is_closed |= piece.is_closed;
        let is_sound = match piece.end {
            End::Whole => true,
            End::At(at) => self.bytes.get(at..).is_none_or(|rest| blank(rest) == rest.len()),
            End::Strange => false,
        };
        Ok(is_sound.then_some(()))
    }

    /// Makes a transaction of a call that ends.
    fn end(&mut self, event: &Event, first: Option<u32>) -> Result<Option<()>, Unread> {
        let Some(process) = event.process else { return Ok(Some(())) };
        let (number, is_new) = self.numbers.int(0, process);
        if is_new {
            self.processes.push((process, Last::Idle));
        }
        let last = self.processes[at(number)].1;
        let (begins, invoked) = match (last, event.kind) {
            (Last::Idle, Kind::Invoke) => {
                self.processes[at(number)].1 = Last::Open(self.event, event.value);
                return Ok(Some(()));
            }
            (Last::Idle, _) => (self.event, None),
            (Last::Open(begins, value), Kind::Ok | Kind::Fail | Kind::Info) => (begins, Some(value)),
            (Last::Open(..), Kind::Invoke) | (Last::Retired, _) => return Ok(None),
        };
        self.processes[at(number)].1 = if event.kind == Kind::Info { Last::Retired } else { Last::Idle };
        let outcome = match event.kind {
            Kind::Ok => Outcome::Committed,
            Kind::Fail => Outcome::Aborted,
            Kind::Info | Kind::Invoke => Outcome::Unknown,
        };
        let ends = if outcome == Outcome::Unknown { NONE } else { self.event };
        let has_list = self.bytes.get(event.value) == Some(&b'[');
        let value = if has_list { event.value } else { invoked.unwrap_or(event.value) };
        let Some(first) = first.or_else(|| self.mops_at(value, outcome)) else { return Ok(None) };
        self.push(Txn { process, outcome, begins, ends, mops: first..id(self.all.mops.len()) })
    }

    fn push(&mut self, txn: Txn) -> Result<Option<()>, Unread> {
        self.all.txns.push(txn);
        self.all.note_writes(|txn| at(txn.begins) + 1)?;
        Ok(Some(()))
    }

    /// Calls that never ended.
    fn open(&mut self) -> Result<Option<()>, Unread> {
        for (process, last) in std::mem::take(&mut self.processes) {
            let Last::Open(begins, value) = last else { continue };
            let Some(first) = self.mops_at(value, Outcome::Unknown) else { return Ok(None) };
            let mops = first..id(self.all.mops.len());
            self.push(Txn { process, outcome: Outcome::Unknown, begins, ends: NONE, mops })?;
        }
        Ok(Some(()))
    }

    /// Takes the micro-operations at a place of the text; the number of the first.
    fn mops_at(&mut self, place: usize, outcome: Outcome) -> Option<u32> {
        let piece = lines::mops(self.bytes, place, self.syntax, outcome)?;
        let first = id(self.all.mops.len());
        self.mops(&piece.mops, &piece.elements);
        Some(first)
    }

    /// Takes micro-operations; the elements that are left.
    fn mops<'e>(&mut self, mops: &[Mop], mut elements: &'e [i64]) -> &'e [i64] {
        for mop in mops {
            let taken = match *mop {
                Mop::Write(key, value) => {
                    let key = self.all.int_key(key);
                    ops::Mop::Write { key, version: self.all.int_version(key, value) }
                }
                // A key counts as soon as it is named.
                Mop::Unread(key) => {
                    self.all.int_key(key);
                    continue;
                }
                Mop::Read(key, value) => {
                    let key = self.all.int_key(key);
                    let version = match value {
                        Some(value) => self.all.int_version(key, value),
                        None => self.all.initial(key),
                    };
                    ops::Mop::Read { key, version }
                }
                Mop::ReadList(key, count) => {
                    let key = self.all.int_key(key);
                    let (list, rest) = elements.split_at_checked(count).unwrap_or((elements, &[]));
                    elements = rest;
                    let mut row = self.all.row(key);
                    for element in list {
                        self.all.next_element(&mut row, *element);
                    }
                    ops::Mop::ReadList { key, elements: self.all.end_row(row) }
                }
            };
            self.all.mops.push(taken);
        }
        elements
    }
}
