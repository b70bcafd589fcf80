//! Sets of numbers, 32 of them in eight bytes where they are dense: a read of a large set has most of what there is.

use crate::intern::{at, id};

/// A set of numbers.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(super) struct Elements {
    blocks: Box<[Block]>,
}

/// Numbers of which the high 27 bits are the same: these bits above, and below a bit for each, of which at least one is set.
/// Those of a set are ascending.
type Block = u64;

/// So many low bits of a number tell its bit in a block.
const LOW: u32 = 5;

fn block(high: u32, bits: u32) -> Block {
    u64::from(high) << 32 | u64::from(bits)
}

fn high(block: Block) -> u32 {
    u32::try_from(block >> 32).unwrap_or(u32::MAX)
}

fn bits(block: Block) -> u32 {
    u32::try_from(block & 0xffff_ffff).unwrap_or(u32::MAX)
}

fn bit(number: u32) -> u32 {
    1 << (number & ((1 << LOW) - 1))
}

impl Elements {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.blocks.iter().map(|block| at(bits(*block).count_ones())).sum()
    }

    /// Bytes it holds.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }

    /// The numbers, 32 at a time: the place of such a group, and a bit for each that is in.
    pub(super) fn groups(&self) -> impl Iterator<Item = (usize, u32)> {
        self.blocks.iter().map(|block| (at(high(*block)), bits(*block)))
    }

    /// The numbers, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.blocks.iter().flat_map(|block| ones(bits(*block)).map(|one| high(*block) << LOW | one))
    }

    /// With one more.
    pub(super) fn with(&self, number: u32) -> Self {
        let wanted = number >> LOW;
        match self.blocks.binary_search_by_key(&wanted, |block| high(*block)) {
            Ok(place) => {
                let mut blocks = self.blocks.clone();
                if let Some(block) = blocks.get_mut(place) {
                    *block |= u64::from(bit(number));
                }
                Self { blocks }
            }
            Err(place) => {
                let (before, after) = self.blocks.split_at(place);
                let blocks = before.iter().chain([&block(wanted, bit(number))]).chain(after).copied().collect();
                Self { blocks }
            }
        }
    }
}

/// The places of the bits that are set.
pub(super) fn ones(mut bits: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros())?;
        bits &= bits - 1;
        Some(lowest)
    })
}

impl FromIterator<u32> for Elements {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        let groups = numbers.chunk_by(|left, right| left >> LOW == right >> LOW);
        let merged = |group: &[u32]| group.iter().fold(0, |bits, number| bits | bit(*number));
        let blocks = groups.filter_map(|group| Some(block(group.first()? >> LOW, merged(group)))).collect();
        Self { blocks }
    }
}

/// A set that grows by numbers in any order; one after the other with the same memory.
#[derive(Default, Debug)]
pub(super) struct Gathering {
    /// Of every 32 numbers.
    bits: Vec<u32>,
    /// Which of them are not 0.
    touched: Vec<u32>,
}

impl Gathering {
    /// Takes a number.
    pub(super) fn add(&mut self, number: u32) {
        let place = at(number >> LOW);
        if place >= self.bits.len() {
            self.bits.resize((place + 1).next_power_of_two(), 0);
        }
        if let Some(bits) = self.bits.get_mut(place) {
            if *bits == 0 {
                self.touched.push(id(place));
            }
            *bits |= bit(number);
        }
    }

    /// What it has taken; it is empty then.
    pub(super) fn take(&mut self) -> Elements {
        self.touched.sort_unstable();
        let bits = &mut self.bits;
        let taken = |high: &u32| block(*high, bits.get_mut(at(*high)).map_or(0, std::mem::take));
        let blocks = self.touched.iter().map(taken).collect();
        self.touched.clear();
        Elements { blocks }
    }
}

#[cfg(test)]
impl<const N: usize> From<[u32; N]> for Elements {
    fn from(numbers: [u32; N]) -> Self {
        numbers.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = Vec<u32>> {
        prop::collection::vec(prop_oneof![0_u32..70, 0_u32..5000], 0..60)
    }

    proptest! {
        #[test]
        fn it_is_a_set(numbers in numbers(), others in numbers(), more in prop_oneof![0_u32..5000, Just(u32::MAX)]) {
            let set: BTreeSet<u32> = numbers.iter().copied().collect();
            let elements: Elements = numbers.iter().copied().collect();
            let mut gathering = Gathering::default();
            for list in [&others, &numbers] {
                for number in list {
                    gathering.add(*number);
                }
                prop_assert_eq!(gathering.take(), list.iter().copied().collect::<Elements>());
            }
            prop_assert!(elements.iter().eq(set.iter().copied()));
            prop_assert_eq!(elements.len(), set.len());
            let apart = elements.groups().flat_map(|(place, bits)| ones(bits).map(move |one| id(place) * 32 + one));
            prop_assert!(apart.eq(set.iter().copied()));
            let longer: Elements = numbers.into_iter().chain([more]).collect();
            prop_assert_eq!(&elements.with(more), &longer);
            prop_assert_eq!(longer == elements, set.contains(&more));
        }
    }
}
