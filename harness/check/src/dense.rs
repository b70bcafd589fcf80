//! Whole numbers as small numbers: as far as they are dense, through a list by the number itself, which is smaller than a table
//! and is read in the order of the numbers. Histories count upwards.

use crate::intern::{Interner, NONE, at};

/// What whole numbers stand for, of one of a few owners each (0 where there is none). What that is says who asks.
#[derive(Default, Debug)]
pub(crate) struct Dense {
    /// By owner and whole number, or [`NONE`].
    near: Vec<Vec<u32>>,
    /// Those that were too far away when they were first met.
    far: Interner,
    /// Of each that is in `far`.
    far_numbers: Vec<u32>,
    met: usize,
}

/// A list may have so many places for each number that was met, and so many before.
const SPREAD: usize = 4;
const FIRST: usize = 64;

/// Lists with more places do not grow without asking; so many numbers before.
const LARGE: usize = 1 << 17;
const NEAR: usize = 64;

impl Dense {
    /// What a whole number stands for, and whether it is new: then that is `next`.
    #[inline]
    pub(crate) fn int(&mut self, owner: u32, value: i64, next: u32) -> (u32, bool) {
        let place = usize::try_from(value).unwrap_or(usize::MAX);
        match self.near.get(at(owner)).and_then(|near| near.get(place)) {
            Some(number) if *number != NONE => (*number, false),
            Some(_) | None => self.meet(owner, value, next),
        }
    }

    #[inline(never)]
    fn meet(&mut self, owner: u32, value: i64, next: u32) -> (u32, bool) {
        let reach = SPREAD * self.met + FIRST;
        let place = usize::try_from(value).ok().filter(|place| *place < reach);
        let Some(place) = place else {
            let (far, is_new) = self.far.int(owner, value);
            if is_new {
                self.far_numbers.push(next);
                self.met += 1;
            }
            return (self.far_numbers.get(at(far)).copied().unwrap_or(next), is_new);
        };
        // It may have been too far away before.
        let far = if self.far_numbers.is_empty() { None } else { self.far.find(owner, value) };
        let known = far.and_then(|far| self.far_numbers.get(at(far))).copied();
        if at(owner) >= self.near.len() {
            self.near.resize_with(at(owner) + 1, Vec::new);
        }
        if let Some(near) = self.near.get_mut(at(owner)) {
            if place >= near.len() {
                near.resize(place + 1, NONE);
            }
            if let Some(number) = near.get_mut(place) {
                *number = known.unwrap_or(next);
            }
        }
        self.met += usize::from(known.is_none());
        (known.unwrap_or(next), known.is_none())
    }

    /// Bytes of the tables that take the place of present ones within the next few numbers, if they are large.
    pub(crate) fn growth(&self) -> usize {
        let full = |near: &&Vec<u32>| near.capacity() >= LARGE && near.len() + NEAR > near.capacity();
        let near = self.near.iter().filter(full).map(|near| near.capacity() * 2 * size_of::<u32>()).max();
        self.far.growth().max(near.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(asked in prop::collection::vec((0_u32..3, prop_oneof![-5_i64..400, 0_i64..3000, any::<i64>()]), 0..800)) {
            let (mut dense, mut map) = (Dense::default(), HashMap::new());
            for (number, (owner, value)) in asked.into_iter().enumerate() {
                let next = u32::try_from(number).unwrap() * 3;
                let is_new = !map.contains_key(&(owner, value));
                let want = *map.entry((owner, value)).or_insert(next);
                prop_assert_eq!(dense.int(owner, value, next), (want, is_new));
            }
            prop_assert_eq!(dense.met, map.len());
        }
    }

    #[test]
    fn what_is_dense_takes_a_list_and_what_is_not_a_table() {
        let mut dense = Dense::default();
        for value in 0..10_000 {
            assert_eq!(dense.int(0, value, 7), (7, true));
            assert_eq!(dense.int(1, -value - 1, 8), (8, true));
            assert_eq!(dense.int(2, value << 40, 9), (9, true));
        }
        let lengths: Vec<usize> = dense.near.iter().map(Vec::len).collect();
        assert_eq!((lengths, dense.far_numbers.len()), (vec![10_000, 0, 1], 19_999));
    }
}
