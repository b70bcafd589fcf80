//! `clock.skew`: the wall clock goes wrong little by little until it is off by so much, and stays so until the heal.
//!
//! A node whose time server is wrong and followed politely, as ntpd and chrony do below their threshold for a step: no
//! reading ever leaps or goes back, so that nothing notices by itself. `over` is how long it takes to get there; an offset
//! back must be reached slowly enough that time never stands still. The heal is a leap: nothing wrong may outlast it.

use std::time::Duration;

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::ClockChange;
use firedrill_core::spec::Fields;

use super::Offset;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "clock.skew",
    summary: "the wall clock of a node's servers moves away little by little and stays off by so much",
    example: r#"
[[fault]]
kind    = "clock.skew"
on      = "primary"
process = "postgres"   # default: all whose clock can be changed
by      = "+2s"
over    = "5s"         # default: twice `by`, at most 10s
at      = "10s"
for     = "20s"
"#,
    deeds: &[Deed::ShiftClock],
    hold: HoldRule::Required,
    parse,
};

/// The longest default of `over`.
const LONGEST: Duration = Duration::from_secs(10);

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let by = fields.required::<Offset>("by");
    let over = fields.optional::<Duration>("over");
    let nanos = by.map_or(0, |by| by.0);
    let size = Duration::from_nanos(nanos.unsigned_abs());
    let over = over.unwrap_or_else(|| (size * 2).min(LONGEST));
    if over < Duration::from_millis(10) {
        fields.wrong("over", "`over` is at least 10ms", "for a clock that leaps use clock.jump".to_owned());
        return super::wrong(fields, None, None);
    }
    if nanos < 0 && size >= over {
        let help = "make `over` longer than `by`; for a clock that leaps back use clock.jump".to_owned();
        fields.wrong("by", "time would stand still or go back on the way", help);
        return super::wrong(fields, None, None);
    }
    let change = by.map(|by| ClockChange::Slew { nanos: by.0, over });
    super::wrong(fields, change, Some((over.max(super::MOVES_FOR), "it would be healed on the way")))
}
