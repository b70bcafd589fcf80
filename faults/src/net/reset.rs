//! `net.reset`: established TCP connections of the target are reset, those that are made meanwhile too.
//!
//! Both sides see a reset at the next segment in an impaired direction, as when a firewall forgets its connections.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;

use super::links;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.reset",
    summary: "resets established TCP connections of the target",
    example: r#"
[[fault]]
kind = "net.reset"
on      = "primary"
between = "clients"
port    = 5432         # default: every port
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::ImpairLinks],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    links::impaired(fields, Some(Impairment::Reset))
}
