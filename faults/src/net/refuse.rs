//! `net.refuse`: new TCP connections are refused, as where nobody listens; those that exist go on.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;

use super::links;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.refuse",
    summary: "refuses new TCP connections of the target",
    example: r#"
[[fault]]
kind = "net.refuse"
on        = "primary"
port      = 5432       # default: every port
direction = "in"
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::ImpairLinks],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    links::impaired(fields, Some(Impairment::Refuse))
}
