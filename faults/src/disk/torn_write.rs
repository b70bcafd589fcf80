//! `disk.torn-write`: at the next loss of power the last write that was not synced is on the disk in part: its first
//! sectors of 512 bytes are new, the others old.
//!
//! Databases guard against it: PostgreSQL with full pages in its log. Nothing shows before the node loses its power, so
//! that a scenario without a later `node.power-loss` of it is refused.

use firedrill_core::action::Deed;
use firedrill_core::fault::{FaultEntry, HoldRule};
use firedrill_core::harm::DiskHarm;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.torn-write",
    summary: "the last write before a power loss is there in part",
    example: r#"
[[fault]]
kind = "disk.torn-write"
on   = "primary"
path = "postgres"   # default: all files of the node
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::HarmDisk],
    hold: HoldRule::Required,
    parse: |fields| super::until_power_loss(fields, DiskHarm::TornWrite),
};
