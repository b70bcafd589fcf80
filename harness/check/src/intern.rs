//! Names and values as small numbers: whole numbers through a flat table, everything else through an ordinary map.

use std::collections::HashMap;

use crate::history::Value;

/// Nothing: no key, no value, no transaction.
pub(crate) const NONE: u32 = u32::MAX;

/// A number of things. Four thousand million do not fit in memory.
pub(crate) fn id(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The place of a number.
pub(crate) fn at(id: u32) -> usize {
    usize::try_from(id).unwrap_or(usize::MAX)
}

/// Numbers for pairs of an owner (0 where there is none) and a value, in the order in which they are first met.
#[derive(Debug)]
pub(crate) struct Interner {
    /// Open addressing; the length is a power of two. A slot whose number is [`NONE`] is free.
    slots: Vec<Slot>,
    used: usize,
    odd: HashMap<(u32, Value), u32>,
    odd_values: Vec<Value>,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    value: i64,
    owner: u32,
    number: u32,
}

/// Tables with more slots are not made without asking; so many numbers before.
const LARGE: usize = 1 << 16;
const NEAR: usize = 64;

const FREE: Slot = Slot { value: 0, owner: 0, number: NONE };

/// A value as it is kept: a whole number, or the place of another one in [`Interner::value`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// The number itself.
    Int(i64),
    /// Any other value.
    Odd(u32),
}

impl Default for Interner {
    fn default() -> Self {
        Self { slots: vec![FREE; 16], used: 0, odd: HashMap::new(), odd_values: Vec::new(), next: 0 }
    }
}

impl Interner {
    /// Its number, or else the slot that is free for it.
    #[inline]
    fn look(&self, owner: u32, value: i64) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut place = home(owner, value) & mask;
        loop {
            let slot = self.slots[place];
            if slot.number == NONE {
                return Err(place);
            }
            if slot.value == value && slot.owner == owner {
                return Ok(slot.number);
            }
            place = (place + 1) & mask;
        }
    }

    /// The number of a whole number, if it has one.
    pub(crate) fn find(&self, owner: u32, value: i64) -> Option<u32> {
        self.look(owner, value).ok()
    }

    /// The number of a whole number, and whether it is new.
    pub(crate) fn int(&mut self, owner: u32, value: i64) -> (u32, bool) {
        let place = match self.look(owner, value) {
            Ok(number) => return (number, false),
            Err(place) => place,
        };
        let number = self.next;
        self.next += 1;
        self.slots[place] = Slot { value, owner, number };
        self.used += 1;
        if self.used * 8 > self.slots.len() * 5 {
            self.grow();
        }
        (number, true)
    }

    /// The number of any value, how it is kept, and whether it is new.
    pub(crate) fn any(&mut self, owner: u32, value: &Value) -> (u32, Kept, bool) {
        if let Value::Int(whole) = value {
            let (number, is_new) = self.int(owner, *whole);
            return (number, Kept::Int(*whole), is_new);
        }
        let named = (owner, value.clone());
        if let Some(known) = self.odd.get(&named) {
            return (*known, Kept::Odd(NONE), false);
        }
        let number = self.next;
        self.next += 1;
        self.odd.insert(named, number);
        self.odd_values.push(value.clone());
        (number, Kept::Odd(id(self.odd_values.len() - 1)), true)
    }

    /// The value that is kept so.
    pub(crate) fn value(&self, kept: Kept) -> Value {
        match kept {
            Kept::Int(value) => Value::Int(value),
            Kept::Odd(place) => self.odd_values.get(at(place)).cloned().unwrap_or(Value::Nil),
        }
    }

    /// Bytes of the table that takes the place of the present one within the next few numbers, if it is large.
    pub(crate) fn growth(&self) -> usize {
        let is_near = (self.used + NEAR) * 8 > self.slots.len() * 5;
        if is_near && self.slots.len() >= LARGE { self.slots.len() * 2 * size_of::<Slot>() } else { 0 }
    }

    /// Only what [`Interner::value`] needs.
    pub(crate) fn without_numbers(&mut self) -> Self {
        Self { odd_values: std::mem::take(&mut self.odd_values), ..Self::default() }
    }

    fn grow(&mut self) {
        let length = self.slots.len() * 2;
        let old = std::mem::replace(&mut self.slots, vec![FREE; length]);
        for slot in old.into_iter().filter(|slot| slot.number != NONE) {
            let mut place = home(slot.owner, slot.value) & (length - 1);
            while self.slots[place].number != NONE {
                place = (place + 1) & (length - 1);
            }
            self.slots[place] = slot;
        }
    }
}

/// Where to look first. Neighbours of one owner are in neighbouring slots, since histories count upwards.
fn home(owner: u32, value: i64) -> usize {
    let value = value.cast_unsigned();
    let mut mixed = (value >> 4).wrapping_add(u64::from(owner) << 36 ^ u64::from(owner));
    mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 32;
    usize::try_from((mixed << 4 | (value & 15)) & 0x7fff_ffff_ffff_ffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_pairs_have_equal_numbers() {
        let mut interner = Interner::default();
        let mut numbers = Vec::new();
        for owner in 0..40 {
            for value in (-50..50).chain((1..40).map(|shift| 1_i64 << shift)) {
                numbers.push((owner, value, interner.int(owner, value).0));
            }
        }
        for (owner, value, number) in &numbers {
            assert_eq!(interner.find(*owner, *value), Some(*number));
            assert_eq!(interner.find(*owner + 40, *value), None);
            assert_eq!(interner.int(*owner, *value), (*number, false));
        }
        let mut all: Vec<u32> = numbers.iter().map(|(_, _, number)| *number).collect();
        all.sort_unstable();
        all.dedup();
        // 1, 2, 4, 8, 16 and 32 are in both ranges, but 1 is not among the shifts.
        assert_eq!(all.len(), numbers.len() - 40 * 5);
    }

    #[test]
    fn other_values_are_kept_as_they_are() {
        let mut interner = Interner::default();
        let text = Value::Text("x".into());
        let (number, kept, is_new) = interner.any(3, &text);
        assert!(is_new);
        assert_eq!(interner.any(3, &text).0, number);
        assert_ne!(interner.any(4, &text).0, number);
        assert_eq!(interner.value(kept), text);
    }
}
