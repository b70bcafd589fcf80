//! `disk.stall`: operations do not return until the heal, as with a storage that has lost its path.
//!
//! Nothing fails, and no timeout of the file system's helps: a server waits in the kernel, and cannot even be killed.

use firedrill_core::action::Deed;
use firedrill_core::fault::{FaultEntry, HoldRule};
use firedrill_core::harm::DiskHarm;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.stall",
    summary: "operations on files do not return until the heal",
    example: r#"
[[fault]]
kind = "disk.stall"
on   = "primary"
path = "pg_wal"              # default: all files of the node
ops  = ["write", "fsync"]    # default: all but opening
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::HarmDisk],
    hold: HoldRule::Required,
    parse: |fields| super::held(fields, DiskHarm::Stall),
};
