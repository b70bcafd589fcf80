//! `resource.pids`: nearly all process numbers of a node are taken, so that its servers cannot start processes or threads.
//!
//! A fork bomb beside them, or a limit on a container that was set too low (EAGAIN). PostgreSQL starts a process for each
//! connection, Patroni one for each command.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, HoldRule};
use firedrill_core::harm::Pressure;
use firedrill_core::spec::Fields;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "resource.pids",
    summary: "a node may hardly start another process or thread",
    example: r#"
[[fault]]
kind    = "resource.pids"
on      = "primary"
spare   = 2          # default: how many are left
at      = "10s"
for     = "15s"
"#,
    deeds: &[Deed::PressPids],
    hold: HoldRule::Required,
    parse,
};

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let spare = super::bounded(fields, "spare", 2, 0..=1000, "from 0 to 1000 process numbers");
    super::pressed(Pressure::Pids { spare })
}
