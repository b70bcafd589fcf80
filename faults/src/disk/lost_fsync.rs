//! `disk.lost-fsync`: syncs report success and sync nothing, as a disk that lies about its cache. At the next loss of power
//! everything is gone that was written since the onset.
//!
//! Contents and lengths of files are taken back; names are not, because the file system has its own log for them. Nothing
//! shows before the node loses its power, so that a scenario without a later `node.power-loss` of it is refused.

use firedrill_core::action::Deed;
use firedrill_core::fault::{FaultEntry, HoldRule};
use firedrill_core::harm::DiskHarm;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.lost-fsync",
    summary: "syncs succeed and sync nothing: a power loss drops what they acknowledged",
    example: r#"
[[fault]]
kind = "disk.lost-fsync"
on   = "primary"
path = "postgres"   # default: all files of the node
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::HarmDisk],
    hold: HoldRule::Required,
    parse: |fields| super::until_power_loss(fields, DiskHarm::LostFsync),
};
