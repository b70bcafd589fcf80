//! The short way from a text to transactions: one operation map a line, in Jepsen's EDN or JSON, with whole numbers as
//! keys and values. Nothing is made of a line but the numbers that matter. Whatever is written otherwise is left to the
//! importers, which read everything and know how to say what is wrong.

use super::ops::{Mop, NONE, Outcome, Transactions, Txn};
use super::{Model, Unread};
use crate::history::Format;
use crate::intern::{Interner, at, id};
use crate::limits::Watch;

/// What was read.
pub(super) struct Scanned {
    pub(super) all: Transactions,
    pub(super) format: Format,
    /// Each is a line of the text.
    pub(super) events: usize,
}

/// Reads the transactions of a text; none when it takes an importer.
pub(super) fn scan(text: &str, model: Model, watch: &mut Watch<'_>) -> Result<Option<Scanned>, Unread> {
    let mut scan = Scan {
        bytes: text.as_bytes(),
        at: 0,
        is_json: false,
        model,
        all: Transactions::default(),
        numbers: Interner::default(),
        processes: Vec::new(),
        event: 0,
        brackets: 0,
    };
    scan.skip_blank();
    scan.brackets = u32::from(scan.take(b'['));
    let is_vector = scan.brackets == 1;
    scan.is_json = scan.bytes.get(scan.at..scan.at + 2) == Some(b"{\"");
    // An empty history, or one that is not of maps in lines.
    if scan.peek() != Some(b'{') || scan.bytes.get(..scan.at).is_some_and(|before| before.contains(&b'\n')) {
        return Ok(None);
    }
    while scan.peek() == Some(b'{') && is_vector == (scan.brackets == 1) {
        watch.spend(4)?;
        scan.all.room(watch)?;
        let Some(event) = scan.event() else { return Ok(None) };
        if scan.end(event)?.is_none() {
            return Ok(None);
        }
        scan.event += 1;
        if scan.line_end().is_none() {
            return Ok(None);
        }
    }
    scan.skip_blank();
    if scan.brackets > 0 || scan.at < scan.bytes.len() || scan.open()?.is_none() {
        return Ok(None);
    }
    let format = if scan.is_json { Format::JepsenJson } else { Format::JepsenEdn };
    Ok(Some(Scanned { all: scan.all, format, events: at(scan.event) }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// What a process did last: nothing that is open, a call that began with this event and value, or it is retired.
#[derive(Clone, Copy)]
enum Last {
    Idle,
    Open(u32, usize),
    Retired,
}

/// One line.
#[derive(Clone, Copy)]
struct Event {
    kind: Kind,
    /// None is the nemesis.
    process: Option<i64>,
    /// Where its value is.
    value: usize,
    /// The first micro-operation, when they were read at once.
    first: Option<u32>,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    is_json: bool,
    model: Model,
    all: Transactions,
    numbers: Interner,
    processes: Vec<(i64, Last)>,
    event: u32,
    /// So many are open around the maps.
    brackets: u32,
}

/// None everywhere below means: this takes an importer.
impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_blank(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    /// Blanks and commas within a line.
    fn skip_gap(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b',' | b'\t')) {
            self.at += 1;
        }
    }

    /// After a map: nothing more in this line, and no empty lines before the next.
    fn line_end(&mut self) -> Option<()> {
        while let Some(byte) = self.peek().filter(|byte| matches!(byte, b' ' | b',' | b'\t' | b'\r' | b']')) {
            if byte == b']' {
                self.brackets = self.brackets.checked_sub(1)?;
            }
            self.at += 1;
        }
        (self.at >= self.bytes.len() || self.take(b'\n')).then_some(())?;
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            self.at += 1;
        }
        Some(())
    }

    /// A name: `"x"` in JSON, `:x` in EDN.
    fn name(&mut self) -> Option<&[u8]> {
        let is_json = self.is_json;
        let open = if is_json { b'"' } else { b':' };
        if !self.take(open) {
            return None;
        }
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
        {
            self.at += 1;
        }
        let end = self.at;
        if is_json && !self.take(b'"') {
            return None;
        }
        self.bytes.get(start..end)
    }

    fn int(&mut self) -> Option<i64> {
        let is_negative = self.take(b'-');
        let start = self.at;
        let mut number = 0_i64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            number = number.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let ends = self.peek().is_none_or(|byte| matches!(byte, b' ' | b',' | b']' | b'}' | b'\t' | b'\n' | b'\r'));
        (ends && (1..=18).contains(&(self.at - start))).then_some(if is_negative { -number } else { number })
    }

    fn nil(&mut self) -> bool {
        let word: &[u8] = if self.is_json { b"null" } else { b"nil" };
        let found = self.bytes.get(self.at..self.at + word.len()) == Some(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Anything, up to the end of the value.
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        let start = self.at;
        loop {
            match self.peek()? {
                b'[' | b'{' | b'(' => depth += 1,
                b']' | b'}' | b')' | b' ' | b',' if depth == 0 => return (self.at > start).then_some(()),
                b']' | b'}' | b')' => depth -= 1,
                b'"' => {
                    self.at += 1;
                    while self.peek()? != b'"' {
                        self.at += if self.peek()? == b'\\' { 2 } else { 1 };
                    }
                }
                b'\n' | b';' | b'\\' | b'#' => return None,
                _ => {}
            }
            self.at += 1;
        }
    }

    /// A map of one line.
    fn event(&mut self) -> Option<Event> {
        self.take(b'{');
        let (mut kind, mut process, mut value, mut first, mut is_txn) = (None, None, None, None, false);
        loop {
            self.skip_gap();
            if self.take(b'}') {
                break;
            }
            let name: [u8; 8] = {
                let name = self.name()?;
                let mut padded = [0; 8];
                padded.get_mut(..name.len())?.copy_from_slice(name);
                padded
            };
            self.skip_gap();
            if self.is_json {
                self.take(b':').then_some(())?;
                self.skip_gap();
            }
            match &name {
                b"type\0\0\0\0" => {
                    kind = Some(match self.name()? {
                        b"invoke" => Kind::Invoke,
                        b"ok" => Kind::Ok,
                        b"fail" => Kind::Fail,
                        b"info" => Kind::Info,
                        _ => return None,
                    });
                }
                b"process\0" => {
                    process = Some(if self.peek()? == b'"' || self.peek()? == b':' {
                        self.name()?;
                        None
                    } else {
                        Some(self.int()?)
                    });
                }
                b"f\0\0\0\0\0\0\0" => is_txn = self.name()? == b"txn",
                b"value\0\0\0" => {
                    value = Some(self.at);
                    if kind? == Kind::Ok {
                        first = Some(id(self.all.mops.len()));
                        self.mops(Outcome::Committed)?;
                    } else {
                        self.skip_value()?;
                    }
                }
                b"index\0\0\0" | b"time\0\0\0\0" => {
                    if !self.nil() {
                        self.int()?;
                    }
                }
                _ => self.skip_value()?,
            }
        }
        let event = Event { kind: kind?, process: process?, value: value?, first };
        // The nemesis does as it likes, unless it looks like a transaction.
        let is_sound = if event.process.is_none() { first.is_none() } else { is_txn };
        is_sound.then_some(event)
    }

    /// Makes a transaction of a call that ends.
    fn end(&mut self, event: Event) -> Result<Option<()>, Unread> {
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
        let Some(first) = event.first.or_else(|| self.mops_at(value, outcome)) else { return Ok(None) };
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

    fn mops_at(&mut self, place: usize, outcome: Outcome) -> Option<u32> {
        let first = id(self.all.mops.len());
        let here = std::mem::replace(&mut self.at, place);
        let read = self.mops(outcome);
        self.at = here;
        read.map(|()| first)
    }

    fn mops(&mut self, outcome: Outcome) -> Option<()> {
        self.take(b'[').then_some(())?;
        loop {
            self.skip_gap();
            if self.take(b']') {
                return Some(());
            }
            self.take(b'[').then_some(())?;
            self.mop(outcome)?;
            self.skip_gap();
            self.take(b']').then_some(())?;
        }
    }

    fn mop(&mut self, outcome: Outcome) -> Option<()> {
        let is_list = self.model == Model::ListAppend;
        self.skip_gap();
        let is_write = match self.name()? {
            b"append" if is_list => true,
            b"w" if !is_list => true,
            b"r" => false,
            _ => return None,
        };
        self.skip_gap();
        let key = self.int()?;
        self.skip_gap();
        if is_write {
            let value = self.int()?;
            let key = self.all.int_key(key);
            let version = self.all.int_version(key, value);
            self.all.mops.push(Mop::Write { key, version });
            return Some(());
        }
        // A key counts as soon as it is named.
        let key = self.all.int_key(key);
        if outcome != Outcome::Committed {
            return self.skip_value();
        }
        let mop = if is_list {
            let mut row = self.all.row(key);
            if !self.nil() {
                self.take(b'[').then_some(())?;
                loop {
                    self.skip_gap();
                    if self.take(b']') {
                        break;
                    }
                    let value = self.int()?;
                    self.all.next_element(&mut row, value);
                }
            }
            Mop::ReadList { key, elements: self.all.end_row(row) }
        } else if self.nil() {
            Mop::Read { key, version: self.all.initial(key) }
        } else {
            let value = self.int()?;
            Mop::Read { key, version: self.all.int_version(key, value) }
        };
        self.all.mops.push(mop);
        Some(())
    }
}
