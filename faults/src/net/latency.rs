//! `net.latency`: packets take longer, as over a long distance; with `jitter` not all the same.
//!
//! A round trip takes twice as long more when both directions are impaired, which is the default. Order is kept.

use std::time::Duration;

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;

use super::links;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.latency",
    summary: "delays packets of the target's links",
    example: r#"
[[fault]]
kind = "net.latency"
delay  = "100ms"
jitter = "10ms"      # give or take; default: none
on     = "primary"
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::ImpairLinks],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let delay = links::span(fields, "delay", links::SHORTEST);
    let jitter = fields.or("jitter", Duration::ZERO);
    let how = delay.and_then(|delay| {
        if jitter > delay {
            fields.wrong(
                "jitter",
                "the jitter is longer than the delay",
                "packets cannot arrive before they are sent".to_owned(),
            );
            return None;
        }
        Some(Impairment::Delay { delay, jitter })
    });
    links::impaired(fields, how)
}
