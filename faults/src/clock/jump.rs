//! `clock.jump`: the wall clock leaps at once, forward or back, and stays wrong until the heal, when it leaps back.
//!
//! What an administrator does with `date`, a machine that is resumed from a snapshot, or a time server that is wrong and
//! stepped to: what was now is suddenly long ago, or has not happened yet.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::ClockChange;
use firedrill_core::spec::Fields;

use super::Offset;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "clock.jump",
    summary: "the wall clock of a node's servers leaps at once, and back at the heal",
    example: r#"
[[fault]]
kind    = "clock.jump"
on      = "primary"
process = "postgres"   # default: all whose clock can be changed
by      = "-10m"
at      = "10s"
for     = "15s"
"#,
    deeds: &[Deed::ShiftClock],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let change = fields.required::<Offset>("by").map(|by| ClockChange::Offset { nanos: by.0 });
    super::wrong(fields, change, None)
}
