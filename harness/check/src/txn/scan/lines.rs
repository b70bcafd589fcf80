//! Lines, one operation map each: nothing is made of them but the numbers that matter. What they mean together is for others,
//! so that several threads can read pieces of a text.

use std::ops::Range;

use super::super::Model;
use super::super::ops::Outcome;

/// How a text is written, and what its operations are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syntax {
    pub(super) model: Model,
    pub(super) is_json: bool,
    /// All maps are in one vector.
    pub(super) is_vector: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// One line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) kind: Kind,
    /// None is the nemesis.
    pub(super) process: Option<i64>,
    /// Where its value is.
    pub(super) value: usize,
    /// So many micro-operations, when they were read at once.
    pub(super) mops: Option<usize>,
}

/// A micro-operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mop {
    /// This value.
    Write(i64, i64),
    /// Of this key: nobody knows what it read.
    Unread(i64),
    /// Of a register; none is nil.
    Read(i64, Option<i64>),
    /// Of a list: so many elements of [`Piece::elements`].
    ReadList(i64, usize),
}

/// What was read of a piece of the text.
#[derive(Default, Debug)]
pub(super) struct Piece {
    pub(super) events: Vec<Event>,
    /// Those of all events, one after the other, and the elements that they read.
    pub(super) mops: Vec<Mop>,
    pub(super) elements: Vec<i64>,
    /// The vector has ended.
    pub(super) is_closed: bool,
    pub(super) end: End,
}

/// Where a piece ends.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum End {
    /// With its last line.
    #[default]
    Whole,
    /// Here, where no operation begins.
    At(usize),
    /// Where it takes an importer.
    Strange,
}

/// Reads a piece that begins where a line does, or the first map.
pub(super) fn piece(bytes: &[u8], range: Range<usize>, syntax: Syntax) -> Piece {
    let mut reader = Reader::new(bytes.get(..range.end).unwrap_or(bytes), range.start, syntax);
    while reader.at < range.end {
        reader.skip_indent();
        if reader.peek() != Some(b'{') || reader.piece.is_closed {
            reader.piece.end = End::At(reader.at);
            break;
        }
        if reader.event().and_then(|event| reader.line_end(event)).is_none() {
            reader.piece.end = End::Strange;
            break;
        }
    }
    reader.piece
}

/// Reads the micro-operations at a place.
pub(super) fn mops(bytes: &[u8], at: usize, syntax: Syntax, outcome: Outcome) -> Option<Piece> {
    let mut reader = Reader::new(bytes, at, syntax);
    reader.mops(outcome)?;
    Some(reader.piece)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    syntax: Syntax,
    piece: Piece,
}

/// None everywhere below means: this takes an importer.
impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], at: usize, syntax: Syntax) -> Self {
        Self { bytes, at, syntax, piece: Piece::default() }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_indent(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            self.at += 1;
        }
    }

    /// Blanks and commas within a line.
    fn skip_gap(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b',' | b'\t')) {
            self.at += 1;
        }
    }

    /// After a map: nothing more in this line.
    fn line_end(&mut self, event: Event) -> Option<()> {
        self.piece.events.push(event);
        while let Some(byte) = self.peek().filter(|byte| matches!(byte, b' ' | b',' | b'\t' | b'\r' | b']')) {
            if byte == b']' {
                if self.piece.is_closed || !self.syntax.is_vector {
                    return None;
                }
                self.piece.is_closed = true;
            }
            self.at += 1;
        }
        (self.at >= self.bytes.len() || self.take(b'\n')).then_some(())
    }

    /// A name: `"x"` in JSON, `:x` in EDN.
    fn name(&mut self) -> Option<&'a [u8]> {
        let open = if self.syntax.is_json { b'"' } else { b':' };
        if !self.take(open) {
            return None;
        }
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/'))
        {
            self.at += 1;
        }
        let end = self.at;
        if self.syntax.is_json && !self.take(b'"') {
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
        let word: &[u8] = if self.syntax.is_json { b"null" } else { b"nil" };
        let found = self.bytes.get(self.at..self.at + word.len()) == Some(word);
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// Anything, up to the end of the value. What goes on in another line is strange.
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
                    loop {
                        match self.peek()? {
                            b'"' => break,
                            b'\\' if self.bytes.get(self.at + 1) != Some(&b'\n') => self.at += 2,
                            b'\n' | b'\\' => return None,
                            _ => self.at += 1,
                        }
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
        let (mut kind, mut process, mut value, mut mops, mut is_txn) = (None, None, None, None, false);
        loop {
            self.skip_gap();
            if self.take(b'}') {
                break;
            }
            let name = self.name()?;
            self.skip_gap();
            if self.syntax.is_json {
                self.take(b':').then_some(())?;
                self.skip_gap();
            }
            match name {
                b"type" if kind.is_none() => {
                    kind = Some(match self.name()? {
                        b"invoke" => Kind::Invoke,
                        b"ok" => Kind::Ok,
                        b"fail" => Kind::Fail,
                        b"info" => Kind::Info,
                        _ => return None,
                    });
                }
                b"process" => {
                    process = Some(if self.peek()? == b'"' || self.peek()? == b':' {
                        self.name()?;
                        None
                    } else {
                        Some(self.int()?)
                    });
                }
                b"f" => is_txn = self.name()? == b"txn",
                b"value" if value.is_none() => {
                    value = Some(self.at);
                    if kind? == Kind::Ok {
                        let before = self.piece.mops.len();
                        self.mops(Outcome::Committed)?;
                        mops = Some(self.piece.mops.len() - before);
                    } else {
                        self.skip_value()?;
                    }
                }
                b"index" | b"time" => {
                    if !self.nil() {
                        self.int()?;
                    }
                }
                // Twice, or part of the value.
                b"type" | b"value" | b"key" => return None,
                _ => self.skip_value()?,
            }
        }
        let event = Event { kind: kind?, process: process?, value: value?, mops };
        // The nemesis does as it likes, unless it looks like a transaction.
        let is_sound = if event.process.is_none() { mops.is_none() } else { is_txn };
        is_sound.then_some(event)
    }

    fn mops(&mut self, outcome: Outcome) -> Option<()> {
        self.take(b'[').then_some(())?;
        loop {
            self.skip_gap();
            if self.take(b']') {
                return Some(());
            }
            self.take(b'[').then_some(())?;
            let mop = self.mop(outcome)?;
            self.piece.mops.push(mop);
            self.skip_gap();
            self.take(b']').then_some(())?;
        }
    }

    fn mop(&mut self, outcome: Outcome) -> Option<Mop> {
        let is_list = self.syntax.model == Model::ListAppend;
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
            return Some(Mop::Write(key, self.int()?));
        }
        if outcome != Outcome::Committed {
            self.skip_value()?;
            return Some(Mop::Unread(key));
        }
        if !is_list {
            return Some(Mop::Read(key, if self.nil() { None } else { Some(self.int()?) }));
        }
        let before = self.piece.elements.len();
        if !self.nil() {
            self.take(b'[').then_some(())?;
            loop {
                self.skip_gap();
                if self.take(b']') {
                    break;
                }
                let element = self.int()?;
                self.piece.elements.push(element);
            }
        }
        Some(Mop::ReadList(key, self.piece.elements.len() - before))
    }
}
