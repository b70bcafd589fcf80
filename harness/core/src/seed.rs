//! Everything random in a run comes from named streams of one seed, so that adding a fault does not shift the others.

use std::fmt;
use std::str::FromStr;

use rand::SeedableRng as _;
pub use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The seed of a run. Printed first, and enough with the scenario to plan the same run again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// The random stream called `name`. Streams of different names are independent.
    pub fn stream(self, name: &str) -> ChaCha8Rng {
        let mut state = self.0 ^ fnv1a(name.as_bytes());
        let mut key = [0_u8; 32];
        for chunk in key.chunks_mut(8) {
            chunk.copy_from_slice(&split_mix(&mut state).to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }

    /// The seed of the `i`-th repeat (from 0). Repeat 0 keeps the seed itself, so that `--seed S --repeat 1` repeats it.
    #[must_use]
    pub fn derive(self, i: u32) -> Self {
        if i == 0 {
            return self;
        }
        let mut state = self.0 ^ (u64::from(i) << 32);
        Self(split_mix(&mut state) >> 16)
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| format!("a seed is a whole number from 0 to {}", u64::MAX))
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): a stable hash, unlike the standard library's.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
