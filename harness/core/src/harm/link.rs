//! How packets on a link are spoilt.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, human};

/// A probability in parts per million; written `"1%"` or `"0.01%"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chance(u32);

impl Chance {
    /// Always.
    pub const CERTAIN: Self = Self(1_000_000);

    /// The least that a probe of a second or two is sure to see: 0.1%.
    pub const LEAST_PROVEN: Self = Self(1000);

    /// So many of a million; more than a million is always.
    pub fn per_million(parts: u32) -> Self {
        Self(parts.min(1_000_000))
    }

    /// So many of a million.
    pub const fn parts(self) -> u32 {
        self.0
    }

    /// From 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

impl FromStr for Chance {
    type Err = String;

    /// A percentage above 0, with at most four digits after the point.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a chance: write a percentage from 0.0001% to 100%, as \"1%\"");
        let number = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim();
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if whole.is_empty() || part.len() > 4 || !digits(whole) || !digits(part) {
            return Err(wrong());
        }
        let parts: u32 = format!("{whole}{part:0<4}").parse().map_err(|_| wrong())?;
        if (1..=1_000_000).contains(&parts) { Ok(Self(parts)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Chance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// How packets on a link are spoilt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "impairment", rename_all = "kebab-case")]
pub enum Impairment {
    /// Some are dropped.
    Loss {
        /// Which share.
        chance: Chance,
    },
    /// All are held back.
    Delay {
        /// For so long.
        delay: Duration,
        /// Give or take, drawn evenly. Order is kept.
        jitter: Duration,
    },
    /// Some arrive twice.
    Duplicate {
        /// Which share.
        chance: Chance,
    },
    /// In some a bit is flipped, so that the receiver's checksum does not match.
    Corrupt {
        /// Which share.
        chance: Chance,
    },
    /// Some are held back, so that later ones overtake them.
    Reorder {
        /// Which share.
        chance: Chance,
        /// For so long.
        by: Duration,
    },
    /// No more than so much passes; what does not is queued and then dropped.
    Bandwidth {
        /// Bytes a second, of whole IPv4 packets.
        bytes_per_second: u64,
    },
    /// Established TCP connections are reset at their next segment.
    Reset,
    /// New TCP connections are refused by a reset, as where nobody listens.
    Refuse,
    /// New and old TCP connections look alive, and no data passes.
    HalfOpen,
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loss { chance } => write!(f, "lose {chance} of packets"),
            Self::Delay { delay, jitter } if jitter.is_zero() => write!(f, "delay packets by {}", human(*delay)),
            Self::Delay { delay, jitter } => write!(f, "delay packets by {} ± {}", human(*delay), human(*jitter)),
            Self::Duplicate { chance } => write!(f, "duplicate {chance} of packets"),
            Self::Corrupt { chance } => write!(f, "corrupt {chance} of packets"),
            Self::Reorder { chance, by } => write!(f, "hold {chance} of packets back by {}", human(*by)),
            Self::Bandwidth { bytes_per_second } => write!(f, "limit to {}/s", Bytes(*bytes_per_second)),
            Self::Reset => f.write_str("reset TCP connections"),
            Self::Refuse => f.write_str("refuse TCP connections"),
            Self::HalfOpen => f.write_str("pass no TCP data"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_percentages() {
        for (text, parts) in [("1%", 10_000), ("100%", 1_000_000), ("0.0001%", 1), ("12.5%", 125_000)] {
            let chance: Chance = text.parse().unwrap();
            assert_eq!((chance.parts(), chance.to_string().as_str()), (parts, text));
        }
        for text in ["0%", "101%", "1", "-1%", "%", "1.00001%", "a%", "1.2.3%"] {
            assert!(text.parse::<Chance>().is_err(), "{text}");
        }
    }
}
