//! `disk.latency`: operations take longer, as on a busy or remote storage.

use std::time::Duration;

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::DiskHarm;
use firedrill_core::spec::Fields;
use firedrill_core::units::human;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.latency",
    summary: "operations on files take longer",
    example: r#"
[[fault]]
kind  = "disk.latency"
on    = "primary"
delay = "50ms"
path  = "pg_wal"     # default: all files of the node
ops   = ["fsync"]    # default: all but opening
at    = "10s"
for   = "20s"
"#,
    deeds: &[Deed::HarmDisk],
    hold: HoldRule::Required,
    parse,
};

/// The longest delay that makes sense: what takes longer is a stall.
const LONGEST: Duration = Duration::from_secs(30);

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let delay = fields.required::<Duration>("delay");
    if let Some(wrong) = delay.filter(|delay| delay.is_zero() || *delay > LONGEST) {
        let message = format!("a delay of {} is none that can be tried", human(wrong));
        fields.wrong("delay", message, format!("write more than nothing and at most {}", human(LONGEST)));
    }
    super::held(fields, DiskHarm::Latency { delay: delay.unwrap_or_default() }).filter(|_| delay.is_some())
}
