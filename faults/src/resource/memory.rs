//! `resource.memory`: so much memory of a node is taken that its servers have little left for their caches.
//!
//! Less than would call the kernel's killer, which is `process.oom`: the servers' pages are read again and again instead.
//! Nodes of the lab have 512MiB each while this fault is in the scenario.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Pressure;
use firedrill_core::spec::Fields;
use firedrill_core::units::Bytes;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "resource.memory",
    summary: "memory of a node is taken, short of the kernel's killer",
    example: r#"
[[fault]]
kind    = "resource.memory"
on      = "primary"
take    = "256MiB"   # default
at      = "10s"
for     = "15s"
"#,
    deeds: &[Deed::PressMemory],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let default = Bytes(256 << 20);
    let bounds = Bytes(16 << 20)..=Bytes(256 << 30);
    let take = super::bounded(fields, "take", default, bounds, "from 16MiB to 256GiB");
    super::pressed(Pressure::Memory { bytes: take.0 })
}
