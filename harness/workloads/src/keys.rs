//! A window of keys that moves on: each key is written so many times and then left, so that no list or register grows
//! without end and every key is decided by itself.

use firedrill_core::seed::ChaCha8Rng;
use firedrill_core::spec::Fields;
use rand::RngExt as _;

/// The keys in use, and how often each was written.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// Key and writes so far.
    window: Vec<(u64, u64)>,
    next: u64,
    writes: u64,
}

/// How many keys, how often each is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysSpec {
    keys: u64,
    writes: u64,
}

impl KeysSpec {
    /// Reads `keys` and `writes-per-key`.
    pub(crate) fn parse(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let spec = Self { keys: fields.or("keys", 8), writes: fields.or("writes-per-key", 64) };
        let fine = (1..=10_000).contains(&spec.keys) && spec.writes > 0;
        if !fine {
            let help = "`keys` takes 1 to 10000, `writes-per-key` at least 1".to_owned();
            fields.wrong("keys", "there is nothing to write to", help);
        }
        fine.then_some(spec)
    }

    /// Fresh keys, from 0.
    pub(crate) fn open(self) -> Keys {
        Keys { window: (0..self.keys).map(|key| (key, 0)).collect(), next: self.keys, writes: self.writes }
    }
}

impl Keys {
    /// A key to read.
    pub(crate) fn read(&self, rng: &mut ChaCha8Rng) -> u64 {
        self.window[rng.random_range(0..self.window.len())].0
    }

    /// A key to write, and a value that was never written to it: 1, 2, 3…
    pub(crate) fn write(&mut self, rng: &mut ChaCha8Rng) -> (u64, u64) {
        let place = rng.random_range(0..self.window.len());
        let (key, written) = &mut self.window[place];
        *written += 1;
        let drawn = (*key, *written);
        if *written >= self.writes {
            self.window[place] = (self.next, 0);
            self.next += 1;
        }
        drawn
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use firedrill_core::seed::Seed;

    use super::*;

    #[test]
    fn no_value_is_written_to_a_key_twice_and_keys_move_on() {
        let mut keys = KeysSpec { keys: 3, writes: 5 }.open();
        let mut rng = Seed(7).stream("workload");
        let drawn: Vec<(u64, u64)> = (0..200).map(|_| keys.write(&mut rng)).collect();
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), 200);
        assert!(drawn.iter().all(|(_, value)| (1..=5).contains(value)));
        assert!(drawn.iter().any(|(key, _)| *key > 30));
    }
}
