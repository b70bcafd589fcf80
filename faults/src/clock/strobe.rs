//! `clock.strobe`: the wall clock leaps away and back, again and again.
//!
//! Two time servers that disagree, or a hypervisor that corrects what the guest corrects too: time goes back again and
//! again. `every` is how long each of the two lasts, beginning with the wrong one.

use std::time::Duration;

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::ClockChange;
use firedrill_core::spec::Fields;

use super::Offset;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "clock.strobe",
    summary: "the wall clock of a node's servers leaps away and back, again and again",
    example: r#"
[[fault]]
kind    = "clock.strobe"
on      = "primary"
process = "postgres"   # default: all whose clock can be changed
by      = "+30s"
every   = "200ms"
at      = "10s"
for     = "15s"
"#,
    deeds: &[Deed::ShiftClock],
    hold: HoldRule::Required,
    parse,
};

/// The least hold, however fast it goes.
const SHORTEST: Duration = Duration::from_secs(3);
/// Faster than this the agent's own timer, and slower than this the probe, cannot follow.
const EVERY: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let by = fields.required::<Offset>("by");
    let every = fields.required::<Duration>("every");
    let fits = every.is_none_or(|every| (EVERY[0]..=EVERY[1]).contains(&every));
    if !fits {
        let help = "to be seen, each of the two must come within a probe".to_owned();
        fields.wrong("every", "`every` is from 20ms to 1s", help);
    }
    let change = by.zip(every).filter(|_| fits);
    let change = change.map(|(by, every)| ClockChange::Strobe { nanos: by.0, every });
    super::wrong(fields, change, every.map(|every| ((every * 9).max(SHORTEST), "both must be seen, more than once")))
}
