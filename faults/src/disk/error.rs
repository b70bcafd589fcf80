//! `disk.error`: operations fail with EIO, as where a disk has bad sectors or a cable is loose.
//!
//! A server cannot know what of a failed write or sync is on the disk. PostgreSQL panics after a failed fsync and
//! recovers from its log, because a second fsync would report success without the data.

use firedrill_core::action::Deed;
use firedrill_core::fault::{FaultEntry, HoldRule};
use firedrill_core::harm::DiskHarm;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.error",
    summary: "operations on files fail with EIO",
    example: r#"
[[fault]]
kind   = "disk.error"
on     = "primary"
path   = "pg_wal"            # default: all files of the node
ops    = ["write", "fsync"]  # default: read, write, fsync
chance = "10%"               # or `nth = 5`; default: all of them
at     = "10s"
for    = "10s"
"#,
    deeds: &[Deed::HarmDisk],
    hold: HoldRule::Required,
    parse: |fields| super::held(fields, DiskHarm::Error),
};
