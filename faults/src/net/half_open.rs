//! `net.half-open`: TCP connections are made and stay, and no data passes.
//!
//! Nobody sees an error: only a timeout of one's own, or TCP giving up after many minutes, ends the wait.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;

use super::links;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.half-open",
    summary: "lets TCP connections of the target look alive while no data passes",
    example: r#"
[[fault]]
kind = "net.half-open"
on      = "primary"
between = "peers"
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::ImpairLinks],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    links::impaired(fields, Some(Impairment::HalfOpen))
}
