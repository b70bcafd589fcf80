//! `disk.corrupt`: bits of files are flipped, on the device or only when they are read.
//!
//! At rest, any byte of the target's files is as likely as any other. A server that has the data in memory does not notice
//! until it reads it again, and may overwrite it before. The heal flips back what nobody has overwritten. On reading, the
//! file stays as it is, and the next read may be right.

use firedrill_core::action::Deed;
use firedrill_core::fault::{Fault, FaultEntry, Hold, HoldRule};
use firedrill_core::harm::{DiskHarm, DiskTarget};
use firedrill_core::spec::Fields;

use super::Harm;

/// Its place in the registry.
pub const ENTRY: FaultEntry = FaultEntry {
    kind: "disk.corrupt",
    summary: "flips bits of files, at rest or on reading",
    example: r#"
[[fault]]
kind  = "disk.corrupt"
on    = "replica"
where = "rest"     # or "read", which takes `chance` or `nth`
path  = "base"     # default: all files of the node
bits  = 3          # at rest only; default: 1
at    = "10s"
"#,
    deeds: &[Deed::HarmDisk],
    hold: HoldRule::Optional,
    parse,
};

/// Bits flipped at rest, at most.
const MOST_BITS: u32 = 10_000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    Rest,
    Read,
}

fn parse(fields: &mut Fields<'_, '_>) -> Option<Box<dyn Fault>> {
    let place = fields.required_word("where", &[("rest", Where::Rest), ("read", Where::Read)]);
    if place == Some(Where::Read) {
        return super::held(fields, DiskHarm::CorruptRead);
    }
    let bits = fields.or::<u32>("bits", 1);
    if !(1..=MOST_BITS).contains(&bits) {
        fields.wrong("bits", format!("{bits} bits cannot be flipped"), format!("write from 1 to {MOST_BITS}"));
    }
    let target = DiskTarget { path: super::path(fields), ..DiskTarget::default() };
    place?;
    // What is flipped stays flipped until somebody overwrites it: there is nothing to hold.
    Some(Box::new(Harm { target, how: DiskHarm::CorruptAtRest { bits }, hold: Hold::OneShot }))
}
