//! `resource.cpu`: processes spin beside the servers of a node and want the processor all the time.
//!
//! A noisy neighbour, a runaway job, a backup that compresses. They share what the node has of the processor where it has a
//! control group of its own for that, so that other nodes on the same machine feel little of it.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Pressure;
use firedrill_core::spec::Fields;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "resource.cpu",
    summary: "processes spin on a node, so that its servers wait for the processor",
    example: r#"
[[fault]]
kind    = "resource.cpu"
on      = "primary"
workers = 4          # default
at      = "10s"
for     = "15s"
"#,
    deeds: &[Deed::PressCpu],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let workers = super::bounded(fields, "workers", 4, 1..=64, "from 1 to 64 processes");
    super::pressed(Pressure::Cpu { workers })
}
