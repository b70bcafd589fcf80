//! `disk.full`: what needs more room fails with ENOSPC.
//!
//! Overwriting what a file has already goes on, as on ext4 and xfs; new files, longer files and holes that are filled
//! need room. Without a `path` the file system also says that nothing is free.

use firedrill_core::action::Deed;
use firedrill_core::fault::{FaultEntry, HoldRule};
use firedrill_core::harm::DiskHarm;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.full",
    summary: "writing that needs more room fails with ENOSPC",
    example: r#"
[[fault]]
kind = "disk.full"
on   = "primary"
path = "base"       # default: all files of the node
at   = "10s"
for  = "10s"
"#,
    deeds: &[Deed::HarmDisk],
    hold: HoldRule::Required,
    parse: |fields| super::held(fields, DiskHarm::Full),
};
