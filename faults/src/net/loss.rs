//! `net.loss`: some packets are lost, as on a bad cable or a full queue.
//!
//! Senders see it as slowness: lost segments are sent again. Each packet is drawn by itself.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;

use super::links;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.loss",
    summary: "drops some packets of the target's links",
    example: r#"
[[fault]]
kind = "net.loss"
chance    = "5%"
on        = "primary"
between   = "peers"    # or clients; default: all
direction = "both"     # or in, out: to or from the target
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::ImpairLinks],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let how = links::chance(fields).map(|chance| Impairment::Loss { chance });
    links::impaired(fields, how)
}
