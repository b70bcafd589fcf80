//! `net.bandwidth`: no more than so much passes on each of the target's links, in each direction.
//!
//! What comes faster waits, for at most half a second or about twenty packets, and is dropped beyond that.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Impairment;
use firedrill_core::spec::Fields;
use firedrill_core::units::Bytes;

use super::links;

/// The least and the most bytes a second that a probe can tell from no limit.
const SLOWEST: u64 = 8 << 10;
const FASTEST: u64 = 16 << 20;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "net.bandwidth",
    summary: "limits how much passes on the target's links",
    example: r#"
[[fault]]
kind = "net.bandwidth"
rate = "256KiB"     # a second
on   = "primary"
at   = "10s"
for  = "20s"
"#,
    deeds: &[Deed::ImpairLinks],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let how = fields.required::<Bytes>("rate").and_then(|Bytes(bytes_per_second)| {
        if !(SLOWEST..=FASTEST).contains(&bytes_per_second) {
            let help = format!("write a rate from {} to {} a second", Bytes(SLOWEST), Bytes(FASTEST));
            fields.wrong("rate", "too slow or too fast to be proven", help);
            return None;
        }
        Some(Impairment::Bandwidth { bytes_per_second })
    });
    links::impaired(fields, how)
}
