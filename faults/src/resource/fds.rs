//! `resource.fds`: every process of a node may open only so many file descriptors more than it has.
//!
//! A leak, or a limit that was never raised: what is open stays open, and the next connection or file is refused (EMFILE).

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Pressure;
use firedrill_core::spec::Fields;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "resource.fds",
    summary: "the processes of a node may hardly open another file or connection",
    example: r#"
[[fault]]
kind    = "resource.fds"
on      = "primary"
spare   = 4          # default: how many more each may open
at      = "10s"
for     = "15s"
"#,
    deeds: &[Deed::PressFds],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let spare = super::bounded(fields, "spare", 4, 0..=10_000, "from 0 to 10000 file descriptors");
    super::pressed(Pressure::Fds { spare })
}
