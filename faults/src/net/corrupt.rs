//! `net.corrupt`: in some packets a bit is flipped on the way.
//!
//! The receiver's kernel finds a wrong checksum and drops the packet, so that servers see slowness and never a wrong byte.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;

use super::links;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.corrupt",
    summary: "flips a bit in some packets of the target's links",
    example: r#"
[[fault]]
kind = "net.corrupt"
chance = "5%"
on     = "primary"
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::ImpairLinks],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let how = links::chance(fields).map(|chance| Impairment::Corrupt { chance });
    links::impaired(fields, how)
}
