//! Quantities as people write them: always with a unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Parses `"250ms"`, `"1.5s"`, `"2m"`, `"1h"`, `"10us"`, `"1m30s"`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write a number and a unit, as \"250ms\", \"5s\" or \"2m\"");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1e-9,
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        rest = &rest[letters..];
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
    }
    Ok(total)
}

/// Renders a duration for people: `250ms`, `1.5s`, `2m 5s`.
pub fn human(span: Duration) -> String {
    let millis = span.as_millis();
    if span.is_zero() {
        "0s".to_owned()
    } else if millis == 0 {
        format!("{}us", span.as_micros())
    } else if millis < 1000 {
        format!("{millis}ms")
    } else if millis < 60_000 {
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
    } else {
        let seconds = millis / 1000;
        if seconds.is_multiple_of(60) {
            format!("{}m", seconds / 60)
        } else {
            format!("{}m {}s", seconds / 60, seconds % 60)
        }
    }
}

/// A part of a whole, 0 to 1; written `"99.9%"`.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ratio(pub f64);

impl FromStr for Ratio {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a ratio: write a percentage from 0% to 100%, as \"99.9%\"");
        let number: f64 = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim().parse().map_err(|_| wrong())?;
        if (0.0..=100.0).contains(&number) { Ok(Self(number / 100.0)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.3}", self.0 * 100.0);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Operations per second; written `"400/s"` or `"30/m"`.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rate(pub f64);

impl Rate {
    /// The time between two operations; [`Duration::MAX`] for a rate of zero.
    pub fn interval(self) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.0).unwrap_or(Duration::MAX)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a rate: write operations and a time, as \"400/s\" or \"30/m\"");
        let (number, unit) = text.trim().split_once('/').ok_or_else(wrong)?;
        let number: f64 = number.trim().parse().map_err(|_| wrong())?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        if number.is_finite() && number >= 0.0 { Ok(Self(number / seconds)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.0);
        write!(f, "{}/s", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A size in bytes; written `"64MiB"`, `"1GB"`, `"512B"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a size: write a whole number and a unit, as \"64MiB\" or \"512B\"");
        let text = text.trim();
        let (suffix, unit) = SIZES.iter().find(|(suffix, _)| text.ends_with(suffix)).ok_or_else(wrong)?;
        let number: u64 = text[..text.len() - suffix.len()].trim().parse().map_err(|_| wrong())?;
        number.checked_mul(*unit).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (suffix, unit) in [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{suffix}", self.0 / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_required_and_read() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        for wrong in ["5", "", "s", "5 parsecs", "-1s", "1e400s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert_eq!("12.5%".parse(), Ok(Ratio(0.125)));
        assert!("0.9".parse::<Ratio>().is_err());
        assert!("101%".parse::<Ratio>().is_err());
        assert_eq!("60/m".parse(), Ok(Rate(1.0)));
        assert!("400".parse::<Rate>().is_err());
        assert_eq!("64MiB".parse(), Ok(Bytes(64 << 20)));
        assert!("64".parse::<Bytes>().is_err());
    }

    #[test]
    fn human_is_short_and_exact_to_the_millisecond() {
        for (millis, want) in [(0, "0s"), (250, "250ms"), (1500, "1.5s"), (20_000, "20s"), (125_000, "2m 5s")] {
            assert_eq!(human(Duration::from_millis(millis)), want);
        }
    }
}
