//! The ways in which links, disks, resources, clocks and names are spoilt: the details of actions, as data.

mod disk;
mod link;

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::disk::{DISK_OPS, DiskHarm, DiskOp, DiskTarget, FILE_SYSTEMS, FileSystem, Occurrence};
pub use self::link::{Chance, Impairment};
use crate::units::{Bytes, human};

/// How much of a resource is taken away. All bounded, and given back when whoever takes it dies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "resource", rename_all = "kebab-case")]
pub enum Pressure {
    /// So many processes spin.
    Cpu {
        /// How many.
        workers: u32,
    },
    /// So much memory is taken.
    Memory {
        /// In bytes.
        bytes: u64,
    },
    /// So many processes write to the node's disk and sync, as fast as they can.
    Io {
        /// How many.
        workers: u32,
    },
    /// Each process of the node may open so many file descriptors more than it has.
    Fds {
        /// How many more.
        spare: u64,
    },
    /// The node may start so many processes more than it has.
    Pids {
        /// How many more.
        spare: u64,
    },
}

impl fmt::Display for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu { workers } => write!(f, "keep {workers} processors busy"),
            Self::Memory { bytes } => write!(f, "take {} of memory", Bytes(*bytes)),
            Self::Io { workers } => write!(f, "keep the disk busy with {workers} writers"),
            Self::Fds { spare } => write!(f, "leave {spare} file descriptors"),
            Self::Pids { spare } => write!(f, "leave {spare} process numbers"),
        }
    }
}

/// How a wall clock is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "clock", rename_all = "kebab-case")]
pub enum ClockChange {
    /// By a fixed offset.
    Offset {
        /// In nanoseconds, ahead of the true time.
        nanos: i64,
    },
    /// By an offset that is reached little by little, so that no reading leaps, and then stays.
    Slew {
        /// In nanoseconds, ahead of the true time.
        nanos: i64,
        /// How long it takes to get there.
        over: Duration,
    },
    /// By an offset that comes and goes.
    Strobe {
        /// In nanoseconds.
        nanos: i64,
        /// How long each of the two lasts.
        every: Duration,
    },
    /// By more and more.
    Drift {
        /// How much faster it goes, in parts per million; below 0 slower.
        parts_per_million: i64,
    },
}

impl ClockChange {
    /// How far ahead of the true time the clock is, in nanoseconds, so long after the onset.
    pub fn offset_after(self, elapsed: Duration) -> i64 {
        let since = i128::try_from(elapsed.as_nanos()).unwrap_or(i128::MAX / 1_000_000_000);
        let part = |of: i128, whole: i128| i64::try_from(of / whole).unwrap_or(i64::MAX);
        match self {
            Self::Offset { nanos } => nanos,
            Self::Slew { nanos, over } => match i128::try_from(over.as_nanos()).unwrap_or(i128::MAX) {
                over if since >= over => nanos,
                over => part(i128::from(nanos) * since, over),
            },
            Self::Strobe { nanos, every } => {
                let every = i128::try_from(every.as_nanos()).unwrap_or(i128::MAX).max(1);
                if (since / every) % 2 == 0 { nanos } else { 0 }
            }
            Self::Drift { parts_per_million } => part(i128::from(parts_per_million) * since, 1_000_000),
        }
    }
}

impl fmt::Display for ClockChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = |nanos: i64| {
            let sign = if nanos < 0 { "-" } else { "+" };
            format!("{sign}{}", human(Duration::from_nanos(nanos.unsigned_abs())))
        };
        match self {
            Self::Offset { nanos } => write!(f, "clock {}", signed(*nanos)),
            Self::Slew { nanos, over } => write!(f, "clock {} within {}", signed(*nanos), human(*over)),
            Self::Strobe { nanos, every } => write!(f, "clock {} and back every {}", signed(*nanos), human(*every)),
            Self::Drift { parts_per_million } => write!(f, "clock drifting by {parts_per_million} ppm"),
        }
    }
}

/// What is answered to whoever asks for a node's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum NameAnswer {
    /// This address.
    Wrong {
        /// The address.
        address: Ipv4Addr,
    },
    /// The address of the node after it, in the order of the cluster, and of the first for the last.
    OtherNode,
    /// SERVFAIL: the name server could not find out.
    Failure,
    /// NXDOMAIN: there is no such name.
    NoSuchName,
    /// The truth, late.
    Delay {
        /// By so much.
        delay: Duration,
    },
}

impl fmt::Display for NameAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong { address } => write!(f, "answer {address}"),
            Self::OtherNode => f.write_str("answer another node's address"),
            Self::Failure => f.write_str("answer SERVFAIL"),
            Self::NoSuchName => f.write_str("answer NXDOMAIN"),
            Self::Delay { delay } => write!(f, "answer {} late", human(*delay)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_wrong_as_they_are_told() {
        let seconds = |nanos: i64| Duration::from_secs(nanos.unsigned_abs());
        let second = 1_000_000_000;
        let slew = ClockChange::Slew { nanos: -10 * second, over: seconds(5) };
        let strobe = ClockChange::Strobe { nanos: second, every: seconds(2) };
        for (change, after, want) in [
            (ClockChange::Offset { nanos: 7 }, 0, 7),
            (slew, 0, 0),
            (slew, 1, -2 * second),
            (slew, 60, -10 * second),
            (strobe, 1, second),
            (strobe, 2, 0),
            (strobe, 4, second),
            (ClockChange::Drift { parts_per_million: -200 }, 10, -2_000_000),
        ] {
            assert_eq!(change.offset_after(seconds(after)), want, "{change} after {after} s");
        }
    }
}
