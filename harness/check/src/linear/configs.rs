//! Sets of configurations: what has been linearized and the state that makes, in as few words as the key needs.

/// How the words of a configuration are laid out: the state, the mask (a bit for each slot of an operation in flight,
/// and the level in its last word), and for each class of identical crashed operations how many of them took effect
/// (two classes a word).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Layout {
    pub(super) mask_words: usize,
    pub(super) classes: usize,
}

#[expect(clippy::unused_self, reason = "where the words are is for the layout to say")]
impl Layout {
    pub(super) fn stride(self) -> usize {
        1 + self.mask_words + self.classes.div_ceil(2)
    }

    /// State and mask.
    pub(super) fn prefix(self) -> usize {
        1 + self.mask_words
    }

    pub(super) fn state(self, config: &[u64]) -> u32 {
        config.first().and_then(|word| u32::try_from(*word).ok()).unwrap_or_default()
    }

    pub(super) fn set_state(self, config: &mut [u64], state: u32) {
        if let Some(word) = config.first_mut() {
            *word = u64::from(state);
        }
    }

    pub(super) fn has(self, config: &[u64], slot: usize) -> bool {
        config.get(1 + slot / 64).is_some_and(|word| (word >> (slot % 64)) & 1 == 1)
    }

    pub(super) fn set(self, config: &mut [u64], slot: usize) {
        if let Some(word) = config.get_mut(1 + slot / 64) {
            *word |= 1 << (slot % 64);
        }
    }

    pub(super) fn clear(self, config: &mut [u64], slot: usize) {
        if let Some(word) = config.get_mut(1 + slot / 64) {
            *word &= !(1 << (slot % 64));
        }
    }

    pub(super) fn level(self, config: &[u64]) -> usize {
        let word = config.get(self.mask_words).copied().unwrap_or_default();
        usize::try_from(word).unwrap_or(usize::MAX)
    }

    pub(super) fn set_level(self, config: &mut [u64], level: usize) {
        if let (Some(word), Ok(level)) = (config.get_mut(self.mask_words), u64::try_from(level)) {
            *word = level;
        }
    }

    /// How many crashed operations of a class took effect.
    pub(super) fn used(self, config: &[u64], class: usize) -> usize {
        let word = config.get(self.prefix() + class / 2).copied().unwrap_or_default();
        usize::try_from((word >> (32 * (class % 2))) & 0xffff_ffff).unwrap_or(usize::MAX)
    }

    pub(super) fn use_one(self, config: &mut [u64], class: usize) {
        if let Some(word) = config.get_mut(self.prefix() + class / 2) {
            *word += 1 << (32 * (class % 2));
        }
    }
}

/// Configurations, in the order in which they came, and a table to find them again.
#[derive(Debug)]
pub(super) struct Configs {
    stride: usize,
    /// Words that must be equal; the words after them are counts, of which fewer are better.
    prefix: usize,
    words: Vec<u64>,
    dead: Vec<bool>,
    /// Round in the upper half, place in the lower one: a table of an earlier round is empty.
    table: Vec<u64>,
    round: u64,
}

impl Configs {
    pub(super) fn new(stride: usize, prefix: usize) -> Self {
        Self { stride, prefix, words: Vec::new(), dead: Vec::new(), table: vec![0; 64], round: 1 }
    }

    pub(super) fn len(&self) -> usize {
        self.dead.len()
    }

    /// Bytes it holds, or will hold soon: while something grows there are the old and the new one, which is twice as long.
    pub(super) fn bytes(&self) -> usize {
        let soon =
            |length: usize, capacity: usize| if length + length / 8 > capacity { 3 * capacity } else { capacity };
        let table = soon(self.len() * 2, self.table.len());
        8 * (soon(self.words.len(), self.words.capacity()) + table) + soon(self.dead.len(), self.dead.capacity())
    }

    pub(super) fn empty(&mut self) {
        self.words.clear();
        self.dead.clear();
        self.round += 1;
    }

    pub(super) fn get(&self, place: usize) -> &[u64] {
        self.words.get(place * self.stride..(place + 1) * self.stride).unwrap_or_default()
    }

    /// Whether a later one made it needless.
    pub(super) fn is_dead(&self, place: usize) -> bool {
        self.dead.get(place).copied().unwrap_or_default()
    }

    /// Adds one unless there is one that is at least as good: with the same state and mask, and no crashed operation
    /// spent that the new one kept. Those that the new one makes needless die.
    pub(super) fn insert(&mut self, config: &[u64]) -> bool {
        if (self.len() + 1) * 2 > self.table.len() {
            self.grow();
        }
        let mut slot = self.start(config);
        let (new, spent) = config.split_at(self.prefix);
        while let Some(place) = self.occupant(slot) {
            let (old, old_spent) = self.get(place).split_at(self.prefix);
            if new == old {
                if no_more(old_spent, spent) && !self.is_dead(place) {
                    return false;
                }
                if no_more(spent, old_spent)
                    && let Some(dead) = self.dead.get_mut(place)
                {
                    *dead = true;
                }
            }
            slot = (slot + 1) & (self.table.len() - 1);
        }
        self.occupy(slot, self.len());
        self.words.extend_from_slice(config);
        self.dead.push(false);
        true
    }

    fn occupant(&self, slot: usize) -> Option<usize> {
        let entry = self.table.get(slot).copied().unwrap_or_default();
        (entry >> 32 == self.round).then(|| usize::try_from(entry & 0xffff_ffff).unwrap_or_default())
    }

    fn occupy(&mut self, slot: usize, place: usize) {
        if let (Some(entry), Ok(place)) = (self.table.get_mut(slot), u32::try_from(place)) {
            *entry = (self.round << 32) | u64::from(place);
        }
    }

    fn start(&self, config: &[u64]) -> usize {
        let words = config.get(..self.prefix).unwrap_or_default();
        // The multiplier of FxHash, and the high bits down to where the table looks.
        let mixed =
            words.iter().fold(0_u64, |hash, word| (hash.rotate_left(5) ^ word).wrapping_mul(0x51_7c_c1_b7_27_22_0a_95));
        usize::try_from((mixed ^ (mixed >> 32)) & 0xffff_ffff).unwrap_or_default() & (self.table.len() - 1)
    }

    fn grow(&mut self) {
        self.table = vec![0; self.table.len() * 2];
        for place in 0..self.len() {
            let mut slot = self.start(self.get(place));
            while self.occupant(slot).is_some() {
                slot = (slot + 1) & (self.table.len() - 1);
            }
            self.occupy(slot, place);
        }
    }
}

/// Whether no count of `left` is greater than that of `right`.
fn no_more(left: &[u64], right: &[u64]) -> bool {
    left.iter().zip(right).all(|(left, right)| left & LOW <= right & LOW && left >> 32 <= right >> 32)
}

const LOW: u64 = 0xffff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_spent_least() {
        let layout = Layout { mask_words: 1, classes: 3 };
        let mut set = Configs::new(layout.stride(), layout.prefix());
        let mut spent = vec![7, 1, 0, 0];
        layout.use_one(&mut spent, 1);
        layout.use_one(&mut spent, 2);
        assert_eq!((layout.used(&spent, 0), layout.used(&spent, 1), layout.used(&spent, 2)), (0, 1, 1));
        assert!(set.insert(&spent));
        assert!(!set.insert(&spent), "the same again");
        let mut other = vec![7, 1, 0, 0];
        layout.use_one(&mut other, 0);
        assert!(set.insert(&other), "neither is better");
        assert!(set.insert(&[7, 1, 0, 0]), "better than both");
        assert_eq!((set.is_dead(0), set.is_dead(1), set.is_dead(2)), (true, true, false));
        assert!(!set.insert(&spent), "worse");
        assert!(set.insert(&[8, 1, 0, 0]), "another state");
        set.empty();
        assert!(set.insert(&spent), "emptied");
    }

    #[test]
    fn finds_again_what_it_holds_after_growing() {
        let mut set = Configs::new(2, 2);
        for word in 0..1000 {
            assert!(set.insert(&[word, word * 3]));
        }
        assert!((0..1000).all(|word| !set.insert(&[word, word * 3])));
        assert_eq!(set.len(), 1000);
    }
}
