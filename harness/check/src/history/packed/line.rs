//! An operation in JSON as Jepsen writes it: known keys, small values, no escapes. Anything else is for the reader of all
//! JSON, which also knows what to say of mistakes.

use super::super::Kind;
use super::tape;

/// How deep values may be nested here.
const DEPTH: usize = 16;

/// A simple operation; its value is on the tape.
pub(super) struct Simple<'a> {
    pub(super) process: i64,
    pub(super) kind: Kind,
    pub(super) f: &'a str,
    pub(super) compare_false: bool,
}

/// Reads one, and where it ends.
pub(super) fn read<'a>(text: &'a str, at: usize, tape: &mut Vec<u8>) -> Option<(Simple<'a>, usize)> {
    let mut line = Line { text, rest: text.as_bytes().get(at..)? };
    let whole = line.rest.len();
    let (mut process, mut kind, mut f, mut valued, mut compare_false) = (None, None, None, false, false);
    line.mark(b'{')?;
    loop {
        let key = line.string()?;
        line.mark(b':')?;
        match key.as_bytes() {
            b"process" => process = Some(line.number()?),
            b"type" => kind = Some(line.kind()?),
            b"f" => f = Some(line.string()?),
            b"value" if !valued => {
                line.value(tape, 0)?;
                valued = true;
            }
            b"index" | b"time" => {
                line.number()?;
            }
            b"compare" if line.rest.starts_with(b"false") => {
                line.rest = line.rest.get(5..)?;
                compare_false = true;
            }
            _ => return None,
        }
        if line.mark(b',').is_none() {
            line.mark(b'}')?;
            break;
        }
        line.blank();
    }
    if !valued {
        tape.push(tape::NIL);
    }
    Some((Simple { process: process?, kind: kind?, f: f?, compare_false }, at + whole - line.rest.len()))
}

struct Line<'a> {
    text: &'a str,
    rest: &'a [u8],
}

impl<'a> Line<'a> {
    fn blank(&mut self) {
        while let [b' ', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// This byte, and blanks after it.
    fn mark(&mut self, mark: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        if *first != mark {
            return None;
        }
        self.rest = rest;
        self.blank();
        Some(())
    }

    fn string(&mut self) -> Option<&'a str> {
        let [b'"', inside @ ..] = self.rest else { return None };
        let length = inside.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let from = self.text.len() - inside.len();
        self.rest = inside.get(length..)?;
        let string = self.text.get(from..from + length)?;
        self.mark(b'"')?;
        Some(string)
    }

    fn kind(&mut self) -> Option<Kind> {
        match self.string()?.as_bytes() {
            b"invoke" => Some(Kind::Invoke),
            b"ok" => Some(Kind::Ok),
            b"fail" => Some(Kind::Fail),
            b"info" => Some(Kind::Info),
            _ => None,
        }
    }

    /// A whole number of at most eighteen digits.
    fn number(&mut self) -> Option<i64> {
        let negative = self.rest.first() == Some(&b'-');
        let digits = self.rest.get(usize::from(negative)..)?;
        let mut number: i64 = 0;
        let mut length = 0;
        while let Some(digit) = digits.get(length).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            if length >= 18 {
                return None;
            }
            number = number * 10 + i64::from(digit);
            length += 1;
        }
        let rest = digits.get(length..)?;
        let ends = matches!(rest.first(), Some(b',' | b'}' | b']' | b' '));
        if length == 0 || !ends {
            return None;
        }
        self.rest = rest;
        self.blank();
        Some(if negative { -number } else { number })
    }

    fn value(&mut self, tape: &mut Vec<u8>, depth: usize) -> Option<()> {
        match self.rest.first()? {
            b'0'..=b'9' | b'-' => tape::write_int(self.number()?, tape),
            b'"' => tape::write_text(tape::TEXT, self.string()?, tape),
            b'[' if depth < DEPTH => self.items(tape, depth)?,
            b'n' => self.word(b"null", tape::NIL, tape)?,
            b't' => self.word(b"true", tape::TRUE, tape)?,
            b'f' => self.word(b"false", tape::FALSE, tape)?,
            _ => return None,
        }
        Some(())
    }

    fn items(&mut self, tape: &mut Vec<u8>, depth: usize) -> Option<()> {
        self.mark(b'[')?;
        let start = tape.len();
        tape.push(tape::LIST);
        let mut count = 0;
        if self.mark(b']').is_none() {
            loop {
                self.value(tape, depth + 1)?;
                count += 1;
                if self.mark(b',').is_none() {
                    self.mark(b']')?;
                    break;
                }
            }
        }
        tape::close(start, count, tape);
        Some(())
    }

    fn word(&mut self, word: &[u8], tag: u8, tape: &mut Vec<u8>) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        if !matches!(self.rest.first(), Some(b',' | b'}' | b']' | b' ')) {
            return None;
        }
        self.blank();
        tape.push(tag);
        Some(())
    }
}
