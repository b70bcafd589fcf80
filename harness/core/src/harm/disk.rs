//! How a disk is spoilt: what of it, which operations, how.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Chance;
use crate::units::{Bytes, human};

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

/// The file systems that a volume of a node's own can have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

/// The file systems by the words of scenarios, which are the kernel's.
pub const FILE_SYSTEMS: [(&str, FileSystem); 2] = [("ext4", FileSystem::Ext4), ("xfs", FileSystem::Xfs)];

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(FILE_SYSTEMS.iter().find(|(_, known)| known == self).map_or("?", |(word, _)| word))
    }
}

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
