//! `resource.io`: processes write to the disk of a node and sync, as fast as they can, into files that have no name.
//!
//! A backup, a vacuum of everything, a neighbour on the same device: syncs of the servers wait behind those.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Pressure;
use firedrill_core::spec::Fields;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "resource.io",
    summary: "processes write and sync on a node's disk as fast as they can",
    example: r#"
[[fault]]
kind    = "resource.io"
on      = "primary"
workers = 4          # default
at      = "10s"
for     = "15s"
"#,
    deeds: &[Deed::PressIo],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let workers = super::bounded(fields, "workers", 4, 1..=32, "from 1 to 32 processes");
    super::pressed(Pressure::Io { workers })
}
