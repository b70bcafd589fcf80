//! `net.jitter`: packets take longer, each by another time up to `by`. Order is kept.
//!
//! It is what makes timeouts that are tuned to the usual round trip fire.

use std::time::Duration;

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;

use super::links;

/// Shorter jitter is hard to tell from that of a busy machine.
const SHORTEST: Duration = Duration::from_millis(10);

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.jitter",
    summary: "delays packets of the target's links by times that vary from none to the given",
    example: r#"
[[fault]]
kind = "net.jitter"
by = "100ms"
on = "primary"
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::ImpairLinks],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    // Drawn evenly from nothing to `by`.
    let half = links::span(fields, "by", SHORTEST).map(|by| by / 2);
    let how = half.map(|half| Impairment::Delay { delay: half, jitter: half });
    links::impaired(fields, how)
}
