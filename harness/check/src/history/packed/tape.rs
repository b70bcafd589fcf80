//! Values as bytes: a tag, then what it needs. Equal values are equal bytes.

use super::super::Value;

pub(super) const NIL: u8 = 0;
pub(super) const FALSE: u8 = 1;
pub(super) const TRUE: u8 = 2;
/// A number that is not small: zigzag, seven bits a byte.
const INT: u8 = 3;
pub(super) const TEXT: u8 = 4;
const KEYWORD: u8 = 5;
const LITERAL: u8 = 6;
/// Values up to [`END`]. One of two elements is a [`PAIR`].
pub(super) const LIST: u8 = 7;
const SET: u8 = 8;
const MAP: u8 = 9;
/// Two values.
const PAIR: u8 = 10;
const END: u8 = 11;
/// This and everything above is a number from 0 on.
const SMALL: u8 = 16;

/// Ends a list that begins at this place.
pub(super) fn close(start: usize, count: usize, tape: &mut Vec<u8>) {
    match tape.get_mut(start) {
        Some(tag) if count == 2 => *tag = PAIR,
        Some(_) | None => tape.push(END),
    }
}

pub(super) fn write_int(number: i64, tape: &mut Vec<u8>) {
    if let Some(small) = u8::try_from(number).ok().and_then(|number| number.checked_add(SMALL)) {
        tape.push(small);
        return;
    }
    tape.push(INT);
    write_varint((number.cast_unsigned() << 1) ^ (number >> 63).cast_unsigned(), tape);
}

fn write_varint(mut word: u64, tape: &mut Vec<u8>) {
    while let Some(low) = u8::try_from(word & 0x7f).ok().filter(|_| word >= 0x80) {
        tape.push(low | 0x80);
        word >>= 7;
    }
    tape.extend(u8::try_from(word));
}

pub(super) fn write_text(tag: u8, text: &str, tape: &mut Vec<u8>) {
    tape.push(tag);
    write_varint(u64::try_from(text.len()).unwrap_or(u64::MAX), tape);
    tape.extend_from_slice(text.as_bytes());
}

pub(super) fn write(value: &Value, tape: &mut Vec<u8>) {
    let start = tape.len();
    match value {
        Value::Nil => tape.push(NIL),
        Value::Bool(value) => tape.push(if *value { TRUE } else { FALSE }),
        Value::Int(number) => write_int(*number, tape),
        Value::Text(text) => write_text(TEXT, text, tape),
        Value::Keyword(text) => write_text(KEYWORD, text, tape),
        Value::Literal(text) => write_text(LITERAL, text, tape),
        Value::List(items) => {
            tape.push(LIST);
            items.iter().for_each(|item| write(item, tape));
            close(start, items.len(), tape);
        }
        Value::Set(items) => {
            tape.push(SET);
            items.iter().for_each(|item| write(item, tape));
            tape.push(END);
        }
        Value::Map(entries) => {
            tape.push(MAP);
            for (key, value) in entries {
                write(key, tape);
                write(value, tape);
            }
            tape.push(END);
        }
    }
}

/// A value on the tape, which goes on after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a>(&'a [u8]);

impl<'a> View<'a> {
    pub(super) fn new(tape: &'a [u8]) -> Self {
        Self(tape)
    }

    /// Whether it is nil.
    pub(crate) fn is_nil(self) -> bool {
        self.0.first() == Some(&NIL)
    }

    /// Both elements of a list of two.
    pub(crate) fn pair(self) -> Option<(Self, Self)> {
        let [PAIR, first @ ..] = self.0 else { return None };
        let mut reader = Reader(first);
        reader.skip();
        Some((Self(first), Self(reader.0)))
    }

    /// Hands over every element of a list or a set; nothing is done when it is neither.
    #[inline]
    pub(crate) fn items(self, mut each: impl FnMut(Item<'a>)) -> Option<()> {
        let (tag, rest) = self.0.split_first()?;
        let mut reader = Reader(rest);
        match *tag {
            LIST | SET => {
                while !reader.is_end() {
                    each(reader.item());
                }
            }
            PAIR => {
                each(reader.item());
                each(reader.item());
            }
            _ => return None,
        }
        Some(())
    }

    /// As a tree.
    pub(crate) fn value(self) -> Value {
        Reader(self.0).value()
    }

    /// Its bytes: equal for equal values.
    pub(crate) fn bytes(self) -> &'a [u8] {
        let mut reader = Reader(self.0);
        reader.skip();
        self.0.get(..self.0.len() - reader.0.len()).unwrap_or_default()
    }
}

/// An element of a list or a set.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    /// A whole number.
    Int(i64),
    /// Anything else.
    Other(View<'a>),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            // Nobody wrote half a value.
            [] => END,
        }
    }

    fn varint(&mut self) -> u64 {
        let (mut word, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            word |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 || shift > 63 {
                return word;
            }
        }
    }

    /// After its tag.
    fn int(&mut self) -> i64 {
        let word = self.varint();
        (word >> 1).cast_signed() ^ -(word & 1).cast_signed()
    }

    /// Large reads are lists of numbers, each of which is passed once.
    #[inline]
    fn item(&mut self) -> Item<'a> {
        match self.0 {
            [INT, rest @ ..] => {
                self.0 = rest;
                Item::Int(self.int())
            }
            [small, rest @ ..] if *small >= SMALL => {
                self.0 = rest;
                Item::Int(i64::from(*small - SMALL))
            }
            _ => {
                let item = View(self.0);
                self.skip();
                Item::Other(item)
            }
        }
    }

    fn text(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.varint()).unwrap_or(usize::MAX).min(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }

    fn is_end(&mut self) -> bool {
        match self.0 {
            [END, rest @ ..] => {
                self.0 = rest;
                true
            }
            rest => rest.is_empty(),
        }
    }

    fn skip(&mut self) {
        match self.byte() {
            INT => drop(self.varint()),
            TEXT | KEYWORD | LITERAL => drop(self.text()),
            PAIR => {
                self.skip();
                self.skip();
            }
            LIST | SET | MAP => {
                while !self.is_end() {
                    self.skip();
                }
            }
            _ => {}
        }
    }

    fn value(&mut self) -> Value {
        match self.byte() {
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            INT => Value::Int(self.int()),
            TEXT => Value::Text(self.string()),
            KEYWORD => Value::Keyword(self.string()),
            LITERAL => Value::Literal(self.string()),
            PAIR => Value::List([self.value(), self.value()].into()),
            LIST => Value::List(self.items()),
            SET => Value::Set(self.items()),
            MAP => {
                let mut entries = Vec::new();
                while !self.is_end() {
                    entries.push((self.value(), self.value()));
                }
                Value::Map(entries.into())
            }
            small if small >= SMALL => Value::Int(i64::from(small - SMALL)),
            _ => Value::Nil,
        }
    }

    fn items(&mut self) -> Box<[Value]> {
        let mut items = Vec::new();
        while !self.is_end() {
            items.push(self.value());
        }
        items.into()
    }

    fn string(&mut self) -> Box<str> {
        String::from_utf8_lossy(self.text()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-300_i64..300).prop_map(Value::Int),
            ".{0,200}".prop_map(|text| Value::Text(text.into())),
            "[a-z]{1,3}".prop_map(|text| Value::Keyword(text.into())),
            "1\\.[0-9]{1,3}".prop_map(|text| Value::Literal(text.into())),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| Value::List(items.into())),
                prop::collection::vec(inner.clone(), 0..4).prop_map(|items| Value::Set(items.into())),
                prop::collection::vec((inner.clone(), inner), 0..3).prop_map(|items| Value::Map(items.into())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(first in values(), second in values()) {
            let mut tape = Vec::new();
            write(&first, &mut tape);
            let length = tape.len();
            write(&second, &mut tape);
            prop_assert_eq!(View::new(&tape).value(), first.clone());
            prop_assert_eq!(View::new(&tape).bytes().len(), length);
            prop_assert_eq!(View::new(&tape[length..]).value(), second);
            let mut items = Vec::new();
            let is_list = View::new(&tape).items(|item| items.push(match item {
                Item::Int(int) => Value::Int(int),
                Item::Other(item) => item.value(),
            })).is_some();
            let listed = match &first {
                Value::List(items) | Value::Set(items) => Some(items.to_vec()),
                Value::Nil
                | Value::Bool(_)
                | Value::Int(_)
                | Value::Text(_)
                | Value::Keyword(_)
                | Value::Map(_)
                | Value::Literal(_) => None,
            };
            prop_assert_eq!(is_list.then_some(items), listed);
            let pair = View::new(&tape).pair().map(|(left, right)| (left.value(), right.value()));
            prop_assert_eq!(pair, first.pair().map(|(left, right)| (left.clone(), right.clone())));
        }
    }
}
