//! `disk.read-only`: whatever changes anything fails with EROFS, also by files that are open, as after an error that made
//! the kernel remount the file system.

use firedrill_core::action::Deed;
use firedrill_core::fault::{FaultEntry, HoldRule};
use firedrill_core::harm::DiskHarm;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.read-only",
    summary: "changing anything fails with EROFS",
    example: r#"
[[fault]]
kind = "disk.read-only"
on   = "primary"
at   = "10s"
for  = "10s"
"#,
    deeds: &[Deed::HarmDisk],
    hold: HoldRule::Required,
    parse: |fields| super::held(fields, DiskHarm::ReadOnly),
};
