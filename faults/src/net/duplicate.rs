//! `net.duplicate`: some packets arrive twice.
//!
//! TCP hides it from servers; those that speak UDP, and middleboxes, see it.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;

use super::links;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.duplicate",
    summary: "delivers some packets of the target's links twice",
    example: r#"
[[fault]]
kind = "net.duplicate"
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
    let how = links::chance(fields).map(|chance| Impairment::Duplicate { chance });
    links::impaired(fields, how)
}
