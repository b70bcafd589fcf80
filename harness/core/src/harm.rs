//! The ways in which links, disks, resources, clocks and names are spoilt: the details of actions, as data.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
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

/// Operations on files that a disk can harm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskOp {
    /// Making a file or a directory.
    Create,
    /// `fsync` and `fdatasync`.
    Fsync,
    /// Opening a file that is there.
    Open,
    /// Reading a file.
    Read,
    /// Renaming or linking.
    Rename,
    /// Changing a file's length, or allocating space for it.
    Truncate,
    /// Removing a file or a directory.
    Unlink,
    /// Writing a file.
    Write,
}

/// The operations by the words of scenarios.
pub const DISK_OPS: [(&str, DiskOp); 8] = [
    ("create", DiskOp::Create),
    ("fsync", DiskOp::Fsync),
    ("open", DiskOp::Open),
    ("read", DiskOp::Read),
    ("rename", DiskOp::Rename),
    ("truncate", DiskOp::Truncate),
    ("unlink", DiskOp::Unlink),
    ("write", DiskOp::Write),
];

/// Which occurrences of an operation are harmed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occurrence {
    /// Every one.
    #[default]
    Always,
    /// Each with this probability.
    Chance(Chance),
    /// Only the n-th since the onset, counted from 1.
    Nth(u64),
}

/// What of a disk is harmed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DiskTarget {
    /// A file or folder below the node's home, by any trailing part of the path to it (`pg_wal`); all when absent.
    pub path: Option<String>,
    /// The operations; those that the harm is about when empty.
    pub ops: BTreeSet<DiskOp>,
    /// Which of them.
    pub when: Occurrence,
}

impl fmt::Display for DiskTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |op: &DiskOp| DISK_OPS.iter().find(|(_, known)| known == op).map_or("?", |(word, _)| *word);
        match self.when {
            Occurrence::Always => {}
            Occurrence::Chance(chance) => write!(f, "{chance} of ")?,
            Occurrence::Nth(nth) => write!(f, "number {nth} of ")?,
        }
        if !self.ops.is_empty() {
            write!(f, "{} in ", self.ops.iter().map(word).collect::<Vec<_>>().join(", "))?;
        }
        f.write_str(self.path.as_deref().unwrap_or("all files"))
    }
}

/// How a disk is spoilt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "harm", rename_all = "kebab-case")]
pub enum DiskHarm {
    /// Operations do not return until the revert.
    Stall,
    /// Operations take so much longer.
    Latency {
        /// For so long.
        delay: Duration,
    },
    /// Operations fail with EIO.
    Error,
    /// Writing fails with ENOSPC.
    Full,
    /// Changing anything fails with EROFS.
    ReadOnly,
    /// Reading and writing together go no faster.
    Throttle {
        /// Bytes a second.
        bytes_per_second: u64,
    },
    /// A bit of what is read is flipped; the file stays as it is.
    CorruptRead,
    /// So many bits of the file are flipped on the device; the revert flips back what nobody has overwritten since.
    CorruptAtRest {
        /// How many.
        bits: u32,
    },
    /// At the next power loss the last write that was not synced is there in part.
    TornWrite,
    /// Syncs report success and sync nothing: a later power loss drops what they acknowledged.
    LostFsync,
}

impl DiskHarm {
    /// The operations it harms when a scenario names none.
    pub const fn usual_ops(self) -> &'static [DiskOp] {
        use DiskOp::{Create, Fsync, Open, Read, Rename, Truncate, Unlink, Write};
        match self {
            Self::Stall | Self::Latency { .. } => &[Create, Fsync, Read, Rename, Truncate, Unlink, Write],
            Self::Error => &[Fsync, Read, Write],
            Self::Full => &[Create, Truncate, Write],
            Self::ReadOnly => &[Create, Open, Rename, Truncate, Unlink, Write],
            Self::Throttle { .. } => &[Read, Write],
            Self::CorruptRead => &[Read],
            Self::TornWrite => &[Write],
            Self::LostFsync => &[Fsync],
            Self::CorruptAtRest { .. } => &[],
        }
    }

    /// The operations it can harm at all.
    pub const fn possible_ops(self) -> &'static [DiskOp] {
        use DiskOp::{Create, Fsync, Open, Read, Rename, Truncate, Unlink, Write};
        match self {
            Self::Stall | Self::Latency { .. } | Self::Error => {
                &[Create, Fsync, Open, Read, Rename, Truncate, Unlink, Write]
            }
            Self::Full
            | Self::ReadOnly
            | Self::Throttle { .. }
            | Self::CorruptRead
            | Self::TornWrite
            | Self::LostFsync
            | Self::CorruptAtRest { .. } => self.usual_ops(),
        }
    }

    /// Whether it shows only at a power loss while it is in force.
    pub const fn bites_at_power_loss(self) -> bool {
        matches!(self, Self::TornWrite | Self::LostFsync)
    }
}

impl fmt::Display for DiskHarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stall => f.write_str("stall the disk"),
            Self::Latency { delay } => write!(f, "slow the disk by {}", human(*delay)),
            Self::Error => f.write_str("fail with EIO"),
            Self::Full => f.write_str("disk full"),
            Self::ReadOnly => f.write_str("read-only disk"),
            Self::Throttle { bytes_per_second } => write!(f, "throttle the disk to {}/s", Bytes(*bytes_per_second)),
            Self::CorruptRead => f.write_str("flip bits on reading"),
            Self::CorruptAtRest { bits: 1 } => f.write_str("flip 1 bit at rest"),
            Self::CorruptAtRest { bits } => write!(f, "flip {bits} bits at rest"),
            Self::TornWrite => f.write_str("tear the last write"),
            Self::LostFsync => f.write_str("lose fsyncs"),
        }
    }
}

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
